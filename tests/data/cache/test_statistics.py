"""What is measured of latents, against plain computations in float64."""

import numpy as np
import pytest
import torch

from ngldm.data.cache.statistics import (
    ChannelMoments,
    LatentExtent,
    LatentStatistics,
    channel_statistics,
    latent_extent,
)

RNG = np.random.default_rng(0)
# Channels of very different scale and offset, so that mixing them up shows.
LATENTS = (RNG.normal(size=(50, 3, 4, 5)) * [[[3.0]], [[0.02]], [[40.0]]] + [[[-1.5]], [[0.3]], [[500.0]]]).astype("f4")


def test_unstandardise_inverts_standardise():
    statistics = LatentStatistics(torch.tensor([-2.0, 5.0]), torch.tensor([0.1, 30.0]))
    z = torch.randn(4, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(statistics.unstandardise(statistics.standardise(z)), z)
    torch.testing.assert_close(statistics.standardise(statistics.unstandardise(z)), z, rtol=1e-4, atol=1e-4)


def test_standardise_acts_on_the_channel_axis():
    statistics = LatentStatistics(torch.tensor([1.0, 10.0]), torch.tensor([2.0, 4.0]))
    out = statistics.standardise(torch.full((1, 2, 2, 2), 3.0))
    assert out[0, 0].unique().tolist() == [1.0]
    assert out[0, 1].unique().tolist() == [-1.75]


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_channel_statistics_are_those_of_a_plain_computation(batch_size):
    found, exact = channel_statistics(LATENTS, batch_size), LATENTS.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean((0, 2, 3)), rtol=2e-7)
    np.testing.assert_allclose(found.std, exact.std((0, 2, 3)), rtol=2e-7)


@pytest.mark.parametrize("sizes", [(50,), (1, 49), (7, 7, 7, 29), (1,) * 50])
def test_streamed_channel_moments_are_those_of_a_plain_computation(sizes):
    exact, moments = LATENTS.astype(np.float64), ChannelMoments(3)
    for part in np.split(LATENTS, np.cumsum(sizes)[:-1]):
        moments.update(part)
    assert moments.count == LATENTS.size // 3
    np.testing.assert_allclose(moments.mean, exact.mean((0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(moments.scatter / moments.count, exact.var((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(moments.statistics().std, exact.std((0, 2, 3)), rtol=2e-7)


def test_moments_of_parts_are_merged_whatever_their_sizes():
    """One part is empty; points have no axes beside their columns."""
    points, whole = LATENTS[:, :, 0, 0], ChannelMoments(3)
    for part in (points[:3], points[:0], points[3:]):
        one = ChannelMoments(3)
        if len(part):
            one.update(part)
        whole.merge(one.count, one.mean, one.scatter)
    np.testing.assert_allclose(whole.mean, points.mean(0, dtype=np.float64), rtol=1e-13)
    np.testing.assert_allclose(whole.scatter / 50, points.var(0, dtype=np.float64), rtol=1e-12)


def test_a_channel_that_never_varies_is_left_as_it_is():
    latents = LATENTS.copy()
    latents[:, 1] = 7.0
    found = channel_statistics(latents, 16)
    assert (found.mean[1], found.std[1]) == (7.0, 1.0)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_the_extent_is_that_of_a_plain_computation(batch_size):
    found, exact = latent_extent(LATENTS, batch_size), LATENTS.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.std, exact.std(0), rtol=1e-5)
    np.testing.assert_array_equal(found.low, LATENTS.min(0))
    np.testing.assert_array_equal(found.high, LATENTS.max(0))


def test_without_data_the_extent_is_that_of_standardised_latents():
    extent = LatentExtent.standard((2, 3, 4))
    assert {tuple(value.shape) for value in vars(extent).values()} == {(2, 3, 4)}
    assert (extent.mean == 0.0).all()
    assert (extent.std == 1.0).all()
    x = torch.tensor([-1e30, 1e30])
    assert (x > extent.low[0, 0, 0]).all()
    assert (x < extent.high[0, 0, 0]).all()


def test_extent_by_hand() -> None:
    latents = np.array([[[[1.0, 2.0]]], [[[3.0, -2.0]]]], dtype=np.float32)
    extent: LatentExtent = latent_extent(latents, batch_size=1)
    assert extent.mean.flatten().tolist() == [2.0, 0.0]
    assert extent.std.flatten().tolist() == [1.0, 2.0]
    assert (extent.low.flatten().tolist(), extent.high.flatten().tolist()) == ([1.0, -2.0], [3.0, 2.0])
