"""The model file: one safetensors that says of itself all that generating images (`ngldm.load`) needs.

Weights of the EMA U-Net and of the autoencoder are its tensors, with the latents' statistics; the metadata names the
networks' settings, the schedule, the forward process, what the network predicts and, by name and parameters, the noise.
A Laplace model cannot be sampled with Gaussian noise by accident.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ngldm.data.statistics import LatentExtent, LatentStatistics
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.io.images import UInt8Array
from ngldm.io.tensors import load_tensors, require_finite, save_tensors, strip_prefix, to_uint8
from ngldm.networks.autoencoders.autoencoder import Autoencoder
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.noise import make_noise

FORMAT = "ngldm-bundle-2"


@dataclass(frozen=True)
class Model:
    """A trained model and everything that sampling from it needs.

    Attributes:
        config: what the file's metadata says; see `build`.
        extent: of the standardised training latents.
    """

    config: Mapping[str, object]
    unet: UNet
    autoencoder: Autoencoder
    statistics: LatentStatistics
    extent: LatentExtent
    diffusion: Diffusion

    @classmethod
    def build(
        cls,
        config: Mapping[str, object],
        autoencoder: Autoencoder | None = None,
        statistics: LatentStatistics | None = None,
        extent: LatentExtent | None = None,
    ) -> "Model":
        """A model with a fresh U-Net.

        Args:
            config: `noise`, `schedule`, `diffusion`, `unet`, `autoencoder`: for each, the arguments of `make_noise`,
                `make_schedule`, `Diffusion.make`, `UNet`, `build_autoencoder`; `image_shape` (C, H, W) and, for the
                record, `dataset`.
            autoencoder, statistics, extent: trained and measured ones; without them, fresh weights, mean 0, deviation
                1 and no bounds.

        Raises:
            InputError: a value that its maker refuses, or settings that exclude each other.
        """
        parts: dict[str, Any] = dict(config)  # whose makers check them
        schedule = make_schedule(**parts["schedule"])
        autoencoder = autoencoder or build_autoencoder(parts["autoencoder"], tuple(parts["image_shape"]))
        channels = autoencoder.latent_shape[0]
        unet = UNet(channels, UNetSettings(**parts["unet"]), schedule.num_train_timesteps)
        statistics = statistics or LatentStatistics(torch.zeros(channels), torch.ones(channels))
        extent = extent or LatentExtent.standard(autoencoder.latent_shape)
        diffusion = Diffusion.make(make_noise(**parts["noise"]), schedule, **parts["diffusion"])
        return cls(config, unet, autoencoder, statistics, extent, diffusion)

    def to(self, device: torch.device | str) -> "Model":
        """Move the networks, laid out as convolutions like it; in place, returned for chaining."""
        for network in (self.unet, self.autoencoder):
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def compiled(self) -> "Model":
        """The same with a compiled U-Net. The first call of each batch size takes a minute or so on a CPU."""
        return replace(self, unet=cast(UNet, torch.compile(self.unet, dynamic=False)))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = cast(tuple[int, int, int], self.config["image_shape"])
        return channels, height, width

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> UInt8Array:
        """Standardised latents (B, c, h, w) to uint8 images (B, H, W, C).

        Raises:
            InputError: NaN or infinite latents or pixels, which would be black images.
        """
        images = self.autoencoder.decode(self.statistics.unstandardise(latents))
        for name, values in (("latents", latents), ("images", images)):
            if not values.isfinite().all():
                bad = len(values) - int(values.isfinite().flatten(1).all(1).sum())
                raise InputError(
                    f"{name}: {bad} of {len(values)} hold NaN or infinite numbers; the sampler's steps left the range "
                    "of float32: choose another sampler, more steps, or x0_handling"
                )
        return to_uint8(images)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        modules: dict[str, nn.Module] = {"unet": self.unet, "autoencoder": self.autoencoder}
        tensors = {f"{part}.{k}": v for part, module in modules.items() for k, v in module.state_dict().items()}
        tensors |= {"latent_mean": self.statistics.mean, "latent_std": self.statistics.std}
        tensors |= {f"extent.{key}": value for key, value in vars(self.extent).items()}
        save_tensors(tensors, {"format": FORMAT, **self.config}, path)


def load_model(path: str | PathLike[str], device: torch.device | str = "cpu") -> Model:
    """A saved model, ready to generate.

    Raises:
        InputError: no path, or the file is missing, damaged, of another format, or its weights do not fit its own
            settings.
    """
    if not isinstance(path, str | PathLike):
        raise InputError(f"path: {path!r} is a {type(path).__name__}; it must be a str or a pathlib.Path")
    tensors, config = load_tensors(Path(path), made_by="the stage `train`")
    if config.get("format") != FORMAT:
        raise InputError(f"{path}: format {config.get('format')!r}; this version reads {FORMAT!r}")
    try:
        model = Model.build(config)
    except (KeyError, TypeError) as error:  # a setting is missing, or is one that this version does not know
        raise InputError(f"{path}: its settings are not those of a model of this version ({error})") from error
    require_finite(tensors, Path(path), unbounded=("extent.low", "extent.high"))
    try:
        model.unet.load_state_dict(strip_prefix(tensors, "unet."))
        model.autoencoder.load_state_dict(strip_prefix(tensors, "autoencoder."))
        statistics = LatentStatistics(tensors["latent_mean"], tensors["latent_std"])
        extent = LatentExtent(**strip_prefix(tensors, "extent."))
    except (RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its weights do not fit its own settings ({error})") from error
    model.unet.eval()
    model.autoencoder.eval()
    return replace(model, statistics=statistics, extent=extent).to(device)
