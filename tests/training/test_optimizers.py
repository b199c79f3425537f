"""Muon against the singular values that it changes and against torch's; a training with it, stopped and resumed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ngldm.networks.unet import UNet, UNetSettings
from ngldm.training.checkpoints.checkpointer import Checkpointer
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.optimizers import hidden_matrices, make_optimizer, orthogonalised
from ngldm.training.task import Split, Task

CONFIG = FitConfig(12, 8, 0.01, weight_decay=0.1, warmup_steps=2, log_every=4, eval_every=100, optimizer="muon")
CPU = torch.device("cpu")


def close(ours: Tensor, theirs: Tensor) -> float:
    """The relative difference of two tensors, in the norm."""
    return float(((ours - theirs).norm() / theirs.norm()).detach())


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (20, 20)])
def test_singular_values_go_through_the_polynomial_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    values = values / np.sqrt((values**2).sum())
    for _ in range(5):  # Jordan's polynomial, five times
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    expected = torch.from_numpy(left * values @ right)
    assert close(orthogonalised(matrix).double(), expected) < 1e-5
    assert values.max() < 1.3
    assert values.min() > 0.6 or shape == (20, 20)  # a square matrix has singular values near 0


def test_a_zero_gradient_moves_nothing() -> None:
    assert torch.equal(orthogonalised(torch.zeros(16, 20)), torch.zeros(16, 20))


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.names = nn.Embedding(20, 32)
        self.first, self.conv = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 24, 3)
        self.norm, self.linear, self.last = nn.GroupNorm(4, 24), nn.Linear(24, 64), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        features = self.norm(self.conv(self.first(x))).mean((2, 3)) + self.names.weight.mean()
        out: Tensor = self.last(self.linear(features).tanh())
        return out


def test_hidden_layers_are_matrices_and_the_rest_is_not() -> None:
    layers = Layers()
    assert hidden_matrices(layers) == [layers.conv.weight, layers.linear.weight]
    layers.linear.weight = nn.Parameter(layers.linear.weight, requires_grad=False)
    assert hidden_matrices(layers) == [layers.conv.weight]
    unet = UNet(4, UNetSettings((16, 32), 1, (1,), 16))
    ends = {unet.conv_in.weight, unet.conv_out.weight}
    assert set(hidden_matrices(unet)) == {p for p in unet.parameters() if p.ndim > 1} - ends


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_steps_are_those_of_torchs_muon_and_adamw(layout: torch.memory_format) -> None:
    """To the rounding of torch's to bfloat16, 4 % here. It takes a convolution as a matrix, given the gradients."""
    ours, theirs = Layers().to(memory_format=layout), Layers()
    optimizer = make_optimizer(ours, CONFIG, CPU)
    named = dict(theirs.named_parameters())
    matrices = {key: named.pop(key).detach().flatten(1) for key in ("conv.weight", "linear.weight")}
    start = {key: value.clone() for key, value in matrices.items()}
    muon = torch.optim.Muon(list(matrices.values()), 0.01, 0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(named.values(), 0.01, weight_decay=0.1)
    for step in range(4):
        x = torch.randn(200, 3, 6, 6, generator=torch.Generator().manual_seed(step))  # for all directions
        for network in (ours, theirs):
            network(x).square().mean().backward()
        for key, matrix in matrices.items():
            matrix.grad = theirs.get_parameter(key).grad.flatten(1)  # type: ignore[union-attr]
        for one in (optimizer, muon, adamw):
            one.step()
        optimizer.zero_grad()
        theirs.zero_grad()
    for key, matrix in matrices.items():
        moved = ours.get_parameter(key).flatten(1) - start[key]
        assert close(moved, matrix - start[key]) < 0.1, key
    for key, weight in named.items():
        assert close(ours.get_parameter(key), weight) < 0.02, key


def test_the_steps_have_the_size_of_adamws() -> None:
    """The root mean square of a step without weight decay is 0.2 lr, to the 30 % that singular values differ from 1."""
    layers = Layers()
    before = {key: value.clone() for key, value in layers.state_dict().items()}
    optimizer = make_optimizer(layers, replace(CONFIG, weight_decay=0.0), CPU)
    layers(torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))).square().mean().backward()
    optimizer.step()
    moved = (layers.conv.weight - before["conv.weight"]).detach().square().mean().sqrt()
    assert 0.7 * 0.2 * 0.01 < float(moved) < 1.3 * 0.2 * 0.01


def test_a_resumed_training_gives_the_same_bits_and_learns(tmp_path: Path) -> None:
    data = torch.randn(40, 2, 4, 4, generator=torch.Generator().manual_seed(1))

    def loss(network: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(batch.shape, generator=generator)
        return (network(batch + noise, torch.ones(len(batch))) - batch).square().flatten(1).mean(1)

    def train(until: int, folder: str) -> tuple[dict[str, Tensor], list[float]]:
        torch.manual_seed(0)
        network = UNet(2, UNetSettings((16, 16), 1, (1,), 16))
        checkpointer = Checkpointer(tmp_path / folder, "run", {}, 3)
        losses = []
        task, ema = Task(loss, Split.of(data)), EMA(network, 0.9)
        for report in fit(network, ema, task, CONFIG, seed=5, checkpointer=checkpointer):
            losses.append(report.loss)
            if report.step == until:
                break
        return {**network.state_dict(), **{f"ema.{k}": v for k, v in ema.model.state_dict().items()}}, losses

    whole, losses = train(12, "whole")
    train(8, "stopped")  # its checkpoint is of step 6
    resumed, again = train(12, "stopped")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert losses == again
    assert losses[-1] < 0.9 * losses[0]
