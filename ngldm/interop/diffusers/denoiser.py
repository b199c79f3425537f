"""A model of ngldm as a component of a diffusers pipeline: network, autoencoder and statistics of the latents."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor

from ngldm.data.cache.statistics import LatentExtent, LatentStatistics
from ngldm.diffusion.classes import given
from ngldm.io.files import entry
from ngldm.model import Model

STATISTICS = ("mean", "std")
EXTENT = ("mean", "std", "low", "high")


@dataclass
class DenoiserOutput(BaseOutput):  # type: ignore[misc]  # mypy does not read diffusers
    """What `Denoiser` returns.

    Attributes:
        sample: (B, C', ...) the predicted target of the objective; with a head for K_bar, C' is above C.
    """

    sample: Tensor


class Denoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The network with its preconditioning, called as diffusers' networks are, and what turns latents into images.

    Args:
        model: the settings of a model file; see `ngldm.Model.build`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, model: Mapping[str, object]) -> None:
        super().__init__()
        self._take(Model.build(model))

    @classmethod
    def of(cls, model: Model) -> "Denoiser":
        """A component with the weights of a model, which it shares."""
        made: Denoiser = cls({**model.config, "autoencoder": _carried(model)})
        made._take(model)
        made.eval()
        return made

    def _take(self, model: Model) -> None:
        self._built = model
        self.network, self.autoencoder = model.network, model.autoencoder
        for key in STATISTICS:
            self.register_buffer(f"latent_{key}", getattr(model.statistics, key))
        for key in EXTENT:
            self.register_buffer(f"extent_{key}", getattr(model.extent, key))

    @property
    def model(self) -> Model:
        """The model, on this component's device and with its weights."""
        statistics = LatentStatistics(*(self.get_buffer(f"latent_{key}") for key in STATISTICS))
        extent = LatentExtent(*(self.get_buffer(f"extent_{key}") for key in EXTENT))
        return replace(self._built, statistics=statistics, extent=extent).to(self.device)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> DenoiserOutput | tuple[Tensor]:
        """What the network predicts from x_t.

        Args:
            sample: (B, C, ...) x_t.
            timestep: one, or (B,), from 0 to T - 1.
            class_labels: (B,) int64, of a model with K classes: from 0 to K - 1. K and None mean no class.
        """
        t = torch.as_tensor(timestep, device=sample.device).long().expand(len(sample)) + 1
        network = self.network if class_labels is None else given(self.network, class_labels)
        output = self._built.diffusion.predictor(network)(sample.to(self.dtype), t).to(sample.dtype)
        return DenoiserOutput(output) if return_dict else (output,)


def _carried(model: Model) -> object:
    """The settings of a model's autoencoder, with its weights in the folder: not a reference to others."""
    if not model.autoencoder.pretrained:
        return model.config["autoencoder"]
    settings = model.autoencoder.settings
    return {**settings, "options": {**entry(settings, "options", dict), "bundle_autoencoder": True}}
