"""Precision and layout of sampling: with precision "auto" a few network calls of each are timed."""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ngldm.io.device import BF16, Choice, Computation, choose_computation
from ngldm.model import Model
from ngldm.sampling.classes.choice import of_class
from ngldm.sampling.options import SamplingOptions
from ngldm.sampling.seeds import image_seeds


def computing(model: Model, precision: str, layout: str, batch_size: int) -> tuple[Model, Choice]:
    """The model with its network in that precision and layout, and how they were chosen. The decoder stays as it is.

    Args:
        precision: "fp32", "bf16", or "auto": the fastest here, with its layout.
        layout: "channels_last" or "contiguous". It is that of the given model's weights too afterwards.
        batch_size: images of a network call.

    Raises:
        InputError: there is no such precision or layout, or a layout beside "auto".
    """
    seeds, shape = image_seeds(0, 0, batch_size), (batch_size, *model.autoencoder.latent_shape)

    def work(one: Computation) -> Callable[[], None]:
        """A call of a copy of the network, on pure noise."""
        clone = _with(replace(model, network=copy.deepcopy(model.network)), one)
        network = model.diffusion.predictor(of_class(clone, seeds, SamplingOptions("ddim", 1)))
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(model.device)
        t = torch.full((batch_size,), model.diffusion.schedule.num_train_timesteps, device=model.device)

        def call() -> None:
            with torch.inference_mode():
                network(x, t)

        return call

    about = {
        "work": "sampling",
        "network": {key: list(weight.shape) for key, weight in model.network.named_parameters()},
        "batch": list(shape),
    }
    choice = choose_computation(precision, layout, model.device, work, about)
    return _with(model, choice.computation), choice


class _InBfloat16(nn.Module):
    """A network in bfloat16 autocast, with a float32 result."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network, self.device = network, device

    def forward(self, *inputs: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            output: Tensor = self.network(*inputs)
        return output.float()


def _with(model: Model, one: Computation) -> Model:
    """The model whose network computes so, without training."""
    one.place(model.network, model.device)
    return replace(model, network=_InBfloat16(model.network, model.device)) if one.precision == BF16 else model
