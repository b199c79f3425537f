"""Minibatch optimal transport: the pairing of least cost, the same noise, and which samplers it excludes."""

import itertools

import pytest
import torch

from ngldm.diffusion.coupling import pair_by_transport
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.noise import make_noise


def batch(seed: int, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 2, 3, generator=generator), torch.randn(count, 1, 2, 3, generator=generator)


@pytest.mark.parametrize("seed", range(5))
def test_no_order_of_the_noise_is_nearer(seed: int) -> None:
    """Against all 720 orders of 6."""
    x0, eps = batch(seed)
    paired = pair_by_transport(x0, eps)
    costs = [float((x0 - eps[list(order)]).square().sum()) for order in itertools.permutations(range(6))]
    assert float((x0 - paired).square().sum()) == pytest.approx(min(costs), rel=1e-6)
    assert sorted(eps.flatten(1).tolist()) == sorted(paired.flatten(1).tolist())


def test_training_pairs_its_batches() -> None:
    """A network that sees x_t at t = T, nearly eps, and returns 0: the loss is |eps|^2, with the pairs' own order."""
    schedule, x0 = make_schedule("linear", 10), batch(0)[0]
    losses = {}
    for coupling in ("independent", "minibatch_ot"):
        diffusion = Diffusion.make(make_noise("gaussian"), schedule, coupling=coupling)
        generator = torch.Generator().manual_seed(1)
        losses[coupling] = diffusion.loss(lambda x, t: torch.zeros_like(x), x0, generator)
    assert sorted(losses["independent"].tolist()) == pytest.approx(sorted(losses["minibatch_ot"].tolist()))
    generator = torch.Generator().manual_seed(1)
    torch.randint(1, 11, (6,), generator=generator)  # t, which is drawn first
    paired = pair_by_transport(x0, make_noise("gaussian").sample(x0.shape, generator))
    torch.testing.assert_close(losses["minibatch_ot"], paired.flatten(1).square().mean(1))


def test_an_unknown_coupling_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"unknown diffusion.coupling 'sinkhorn'; choose one of: independent, minibatch"
    ):
        Diffusion.make(make_noise("gaussian"), make_schedule("linear", 10), coupling="sinkhorn")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_without_a_distance_are_named(bad: float) -> None:
    x = torch.zeros(3, 2)
    with pytest.raises(InputError, match="eps: NaN or infinite numbers"):
        pair_by_transport(x, torch.full((3, 2), bad))
    with pytest.raises(InputError, match="x0: NaN or infinite numbers"):
        pair_by_transport(torch.full((3, 2), bad), x)


def test_a_batch_of_one_has_one_pairing() -> None:
    eps = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pair_by_transport(torch.zeros(1, 4), eps), eps)
