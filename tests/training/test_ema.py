"""The moving average of the weights: its recursion, its warm-up, and that it is a network of its own."""

import pytest
import torch
from torch import nn

from ngldm.training.ema import EMA


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_ema_is_the_written_out_recursion_with_its_warm_up(decay: float) -> None:
    model = nn.Linear(3, 2).double()
    ema = EMA(model, decay)
    expected = model.weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    for n in range(30):
        model.weight.data = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        ema.update(model)
        d = min(decay, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * model.weight.detach()
        torch.testing.assert_close(ema.model.weight, expected, rtol=1e-12, atol=1e-12)
    assert ema.updates == 30


def test_ema_of_constant_weights_is_those_weights() -> None:
    model = nn.Linear(3, 2)
    ema = EMA(model, 0.9)
    ema.update(model)
    assert torch.equal(ema.model.weight, model.weight)


def test_ema_copies_buffers_as_they_are() -> None:
    model = nn.BatchNorm1d(3)
    ema = EMA(model, 0.9)
    model(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) + 5.0)
    ema.update(model)
    torch.testing.assert_close(dict(ema.model.named_buffers()), dict(model.named_buffers()), rtol=0, atol=0)
    assert int(ema.model.num_batches_tracked) == 1


def test_ema_is_a_separate_frozen_network_in_eval_mode() -> None:
    model = nn.Linear(3, 2).train()
    ema = EMA(model, 0.9)
    with torch.no_grad():
        model.weight.zero_()
    assert ema.model.weight.abs().sum() > 0
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert not ema.model.training
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
