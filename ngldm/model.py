"""The model file: one safetensors file that holds everything needed to generate images (`ngldm.load`).

- Its tensors are the EMA weights of the U-Net, the weights of the autoencoder, and the statistics of the latents.
- Its metadata are the settings of the networks, the schedule, the forward process, what the network predicts, and the
  name and parameters of the noise. So a Laplace model cannot be sampled with Gaussian noise by accident.
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
    """A trained model and everything that is needed to sample from it.

    Attributes:
        config: the settings in the file's metadata; see `build`.
        unet: the network that predicts; see `diffusion` for what it predicts.
        autoencoder: turns latents into images.
        statistics: mean and standard deviation of the training latents, per channel.
        extent: range and moments of the standardised training latents, at each position.
        diffusion: noise, schedule, forward process and objective.
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
        """A model with an untrained U-Net.

        Args:
            config: the keys `noise`, `schedule`, `diffusion`, `unet` and `autoencoder` hold the arguments of
                `make_noise`, `make_schedule`, `Diffusion.make`, `UNetSettings` and `build_autoencoder`. `image_shape`
                is (C, H, W). `dataset`, the name of the data set, is optional and only kept for information.
            autoencoder: a trained one; None makes one with random weights.
            statistics: those of the training latents; None takes mean 0 and standard deviation 1.
            extent: that of the training latents; None takes mean 0, standard deviation 1 and no bounds.

        Raises:
            InputError: a value is not allowed, or two settings exclude each other.
        """
        parts: dict[str, Any] = dict(config)  # the functions below check the values
        schedule = make_schedule(**parts["schedule"])
        autoencoder = autoencoder or build_autoencoder(parts["autoencoder"], tuple(parts["image_shape"])).float()
        channels = autoencoder.latent_shape[0]
        statistics = statistics or LatentStatistics(torch.zeros(channels), torch.ones(channels))
        extent = extent or LatentExtent.standard(autoencoder.latent_shape)
        noise = make_noise(**parts["noise"])
        noise.check_item(autoencoder.latent_shape)
        if parts["diffusion"].get("preconditioning", "none") != "none":  # the file keeps what was measured
            parts["diffusion"] = {"data_std": extent.root_mean_square, **parts["diffusion"]}
        diffusion = Diffusion.make(noise, schedule, **parts["diffusion"])
        settings, head = UNetSettings(**parts["unet"]), diffusion.stein_head.kind
        unet = UNet(channels, settings, schedule.num_train_timesteps, head).float()
        return cls(parts, unet, autoencoder, statistics, extent, diffusion)

    def to(self, device: torch.device | str) -> "Model":
        """Move the networks, in the memory layout that convolutions prefer. Changes this model and returns it."""
        for network in (self.unet, self.autoencoder):
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def compiled(self) -> "Model":
        """The same model with a compiled U-Net. On a CPU the first call of each batch size takes about a minute."""
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
        """Convert standardised latents (B, c, h, w) to uint8 images (B, H, W, C).

        Raises:
            InputError: latents or pixels are NaN or infinite. They would become black images.
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
        """Write the file. It appears complete or not at all."""
        modules: dict[str, nn.Module] = {"unet": self.unet, "autoencoder": self.autoencoder}
        tensors = {f"{part}.{k}": v for part, module in modules.items() for k, v in module.state_dict().items()}
        tensors |= {"latent_mean": self.statistics.mean, "latent_std": self.statistics.std}
        tensors |= {f"extent.{key}": value for key, value in vars(self.extent).items()}
        save_tensors(tensors, {"format": FORMAT, **self.config}, path)


def load_model(path: str | PathLike[str], device: torch.device | str = "cpu") -> Model:
    """Load a saved model, ready to generate.

    Raises:
        InputError: `path` is not a path, or the file is missing, damaged or of another format, or its weights do not
            fit its own settings.
    """
    if not isinstance(path, str | PathLike):
        raise InputError(f"path: {path!r} is a {type(path).__name__}; it must be a str or a pathlib.Path")
    tensors, config = load_tensors(Path(path), made_by="the stage `train`")
    if config.get("format") != FORMAT:
        raise InputError(f"{path}: format {config.get('format')!r}; this version reads {FORMAT!r}")
    settings = config.get("diffusion")
    if isinstance(settings, dict) and settings.get("weighting") == "none" and "gamma" in settings:
        settings["gamma"] = None  # older versions wrote a number, which had no effect
    try:
        model = Model.build(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (KeyError, TypeError) as error:  # a setting is missing, or is one that this version does not know
        raise InputError(f"{path}: its settings are not those of a model of this version ({error})") from error
    _require_shapes(tensors, model, path)
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


def _require_shapes(tensors: Mapping[str, Tensor], model: Model, path: str | PathLike[str]) -> None:
    """Check the shapes of the latents' statistics: those of the model of the file's settings.

    Raises:
        InputError: one is missing or has another shape. Broadcasting it would give wrong images.
    """
    wanted = {"latent_mean": model.statistics.mean, "latent_std": model.statistics.std}
    wanted |= {f"extent.{key}": value for key, value in vars(model.extent).items()}
    for name, like in wanted.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != tuple(like.shape):
            fault = f"{name} has shape {found}, must be {tuple(like.shape)}"
            raise InputError(f"{path}: its weights do not fit its own settings ({fault})")
