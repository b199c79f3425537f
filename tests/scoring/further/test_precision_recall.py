"""Precision and recall against a case by hand and against torch-fidelity's implementation."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch_fidelity.metric_prc import prc_features_to_metric

from ngldm.io.errors import InputError
from ngldm.scoring.further.precision_recall import distances, inside, precision_recall, radii


def test_by_hand() -> None:
    """Real 0, 1, 10 with k = 1: radii 1, 1, 9. Generated 0.5 and 30: the first inside. Theirs: radius 29.5 of each."""
    real, generated = torch.tensor([[0.0], [1.0], [10.0]]), torch.tensor([[0.5], [30.0]])
    found = precision_recall(real, generated, neighbours=1)
    assert (found.precision, found.recall) == (0.5, 1.0)


def test_the_same_set_is_all_there() -> None:
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    found = precision_recall(x, x)
    assert (found.precision, found.recall) == (1.0, 1.0)


def test_one_mode_of_two_is_precise_and_half_recalled() -> None:
    generator = torch.Generator().manual_seed(0)
    modes = torch.randn(200, 4, generator=generator) + 100.0 * (torch.arange(200) % 2)[:, None]
    found = precision_recall(modes, torch.randn(200, 4, generator=generator))
    assert found.precision > 0.7
    assert 0.2 < found.recall <= 0.5


@pytest.mark.parametrize(("count", "dim", "shift"), [(300, 16, 0.0), (257, 64, 0.5), (120, 4, 1.0)])
def test_as_torch_fidelity(count: int, dim: int, shift: float) -> None:
    generator = torch.Generator().manual_seed(count)
    real = torch.randn(count, dim, generator=generator)
    generated = torch.randn(count - 10, dim, generator=generator) * 0.8 + shift
    theirs = prc_features_to_metric(generated, real, prc_neighborhood=3, prc_batch_size=64, verbose=False)
    ours = precision_recall(real, generated, neighbours=3, chunk=50)
    # A vector on the edge of a ball may fall on either side by rounding.
    assert ours.precision == pytest.approx(theirs["precision"], abs=1.01 / (count - 10))
    assert ours.recall == pytest.approx(theirs["recall"], abs=1.01 / count)


@pytest.mark.parametrize("chunk", [7, 50, 97])
def test_the_blocks_do_not_change_a_figure(chunk: int) -> None:
    """Radii by scipy, which holds the whole matrix; blocks that end within a set, with it, and that hold it whole."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(97, 5, generator=generator), 1.2 * torch.randn(50, 5, generator=generator)
    whole = np.sort(cdist(x.double().numpy(), x.double().numpy()), axis=1)
    assert radii(x, 3, chunk).numpy() == pytest.approx(whole[:, 3], rel=1e-6)
    within = cdist(y.double().numpy(), x.double().numpy()) <= whole[:, 3]
    assert inside(y, x, 3, chunk).tolist() == within.any(1).tolist()
    assert precision_recall(x, y, 3, chunk).precision == within.any(1).mean()


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_distances_are_scipys_however_far_from_the_origin(offset: float) -> None:
    """To float32's rounding of the distance, also where all vectors are 10^4 times longer than their distances."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(70, 33, generator=generator) + offset, torch.randn(50, 33, generator=generator) + offset
    found = distances(a, torch.cat([b, a]))
    expected = cdist(a.double().numpy(), torch.cat([b, a]).double().numpy())
    assert found.numpy() == pytest.approx(expected, rel=1e-6)
    assert (found[:, 50:].diagonal() == 0.0).all()


def test_a_set_of_equal_vectors_has_balls_of_radius_0() -> None:
    """So a vector beside them is outside: 0 of the 20 generated, and the real ones in the large balls of those."""
    same = torch.full((20, 64), 0.1) * torch.arange(1, 65)
    found = precision_recall(same, same + torch.linspace(0.1, 2.0, 20)[:, None])
    assert (found.precision, found.recall) == (0.0, 1.0)
    assert precision_recall(same, same.clone()).precision == 1.0


def test_too_few_images_are_counted() -> None:
    with pytest.raises(InputError, match=r"neighbours: 3 .*there are 3 generated"):
        precision_recall(torch.randn(10, 2), torch.randn(3, 2))
