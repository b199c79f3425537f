"""The model file: one safetensors that says of itself all that generating images (`ngldm.generate`) needs.

Weights of the EMA U-Net and of the autoencoder are its tensors, with the latents' statistics; the metadata names the
networks' settings, the schedule, the forward process, what the network predicts and, by name and parameters, the noise.
A Laplace model cannot be sampled with Gaussian noise by accident.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ngldm.data.statistics import LatentExtent, LatentStatistics
from ngldm.diffusion.forward import Forward, make_forward
from ngldm.diffusion.objective import Objective
from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.io.errors import InputError
from ngldm.io.images import UInt8Array
from ngldm.io.tensors import load_tensors, save_tensors, strip_prefix, to_uint8
from ngldm.networks.autoencoders.autoencoder import Autoencoder
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.noise import Noise, make_noise
from ngldm.sampling.denoiser import Denoise, X0Handling, make_denoiser

FORMAT = "ngldm-bundle-2"


@dataclass(frozen=True)
class Model:
    """A trained model and everything that sampling from it needs.

    Attributes:
        config: what the file's metadata says: noise, schedule, diffusion, unet, autoencoder, image_shape (C, H, W),
            dataset.
        extent: of the standardised training latents.
    """

    config: Mapping[str, Any]
    unet: UNet
    autoencoder: Autoencoder
    statistics: LatentStatistics
    extent: LatentExtent
    noise: Noise
    schedule: Schedule
    forward: Forward
    objective: Objective

    @classmethod
    def build(
        cls,
        config: Mapping[str, Any],
        autoencoder: Autoencoder | None = None,
        statistics: LatentStatistics | None = None,
        extent: LatentExtent | None = None,
    ) -> "Model":
        """A bundle with a fresh U-Net.

        Args:
            config: `noise` (name, params), `schedule`, `unet`, `autoencoder` (each the arguments of its maker),
                `diffusion` (forward, objective, weighting, gamma or None), `image_shape` (C, H, W) and, for the record,
                `dataset`.
            autoencoder, statistics, extent: trained and measured ones; without them, fresh weights, mean 0, deviation
                1 and no bounds.

        Raises:
            InputError: a value that its maker refuses, or settings that exclude each other.
        """
        schedule = make_schedule(**config["schedule"])
        autoencoder = autoencoder or build_autoencoder(config["autoencoder"], tuple(config["image_shape"]))
        channels = autoencoder.latent_shape[0]
        unet = UNet(channels, UNetSettings(**config["unet"]), schedule.num_train_timesteps)
        statistics = statistics or LatentStatistics(torch.zeros(channels), torch.ones(channels))
        extent = extent or LatentExtent.standard(autoencoder.latent_shape)
        noise = make_noise(config["noise"]["name"], config["noise"]["params"])
        diffusion = config["diffusion"]
        objective = Objective(diffusion["objective"], diffusion["weighting"], diffusion["gamma"])
        objective.check(schedule)
        forward = make_forward(diffusion["forward"], noise, schedule)
        return cls(config, unet, autoencoder, statistics, extent, noise, schedule, forward, objective)

    def to(self, device: torch.device | str) -> "Model":
        """Move the networks, laid out as convolutions like it; in place, returned for chaining."""
        for network in (self.unet, self.autoencoder):
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def compiled(self) -> "Model":
        """The same with a compiled U-Net. The first call of each batch size takes a minute or so on a CPU."""
        network: Any = torch.compile(self.unet, dynamic=False)
        return replace(self, unet=network)

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    def denoiser(self, handling: str = "none", limit: float = 3.0) -> Denoise:
        """The network as samplers use it; `handling` and `limit` say what is done to a predicted x_0 (`X0Handling`)."""
        change = X0Handling(handling, limit, low=self.extent.low, high=self.extent.high)
        return make_denoiser(self.unet, self.schedule, self.objective.target, change)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> UInt8Array:
        """Standardised latents (B, c, h, w) to uint8 images (B, H, W, C)."""
        return to_uint8(self.autoencoder.decode(self.statistics.unstandardise(latents)))

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        modules: dict[str, nn.Module] = {"unet": self.unet, "autoencoder": self.autoencoder}
        tensors = {f"{part}.{k}": v for part, module in modules.items() for k, v in module.state_dict().items()}
        tensors |= {"latent_mean": self.statistics.mean, "latent_std": self.statistics.std}
        tensors |= {f"extent.{key}": value for key, value in vars(self.extent).items()}
        save_tensors(tensors, {"format": FORMAT, **self.config}, path)


def load_model(path: Path, device: torch.device | str = "cpu") -> Model:
    """A saved model, ready to generate.

    Raises:
        InputError: the file is missing, damaged, of another format, or its weights do not fit its own settings.
    """
    tensors, config = load_tensors(path, made_by="the stage `train`")
    if config.get("format") != FORMAT:
        raise InputError(f"{path}: format {config.get('format')!r}; this version reads {FORMAT!r}")
    try:
        bundle = Model.build(config)
    except (KeyError, TypeError) as error:  # a setting is missing, or is one that this version does not know
        raise InputError(f"{path}: its settings are not those of a model of this version ({error})") from error
    try:
        bundle.unet.load_state_dict(strip_prefix(tensors, "unet."))
        bundle.autoencoder.load_state_dict(strip_prefix(tensors, "autoencoder."))
        statistics = LatentStatistics(tensors["latent_mean"], tensors["latent_std"])
        extent = LatentExtent(**strip_prefix(tensors, "extent."))
    except (RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its weights do not fit its own settings ({error})") from error
    bundle.unet.eval()
    bundle.autoencoder.eval()
    return replace(bundle, statistics=statistics, extent=extent).to(device)
