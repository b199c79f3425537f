"""The model file: one safetensors file that holds everything needed to generate images or points (`ngldm.load`).

- Its tensors are the EMA weights of the network, the weights of the autoencoder, and the statistics of the latents; and
  the root of the covariance of a noise that has one in a file.
- Its metadata are the settings of the networks, the schedule, the forward process, what the network predicts, and the
  name and parameters of the noise. So a Laplace model cannot be sampled with Gaussian noise by accident. A model with
  classes has their names and how many training images each had.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ngldm.data.cache.statistics import LatentExtent, LatentStatistics
from ngldm.diffusion.classes import Classes
from ngldm.diffusion.names import check_coupling_of_classes
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError, require_whole, shown
from ngldm.io.files import entry
from ngldm.io.items import Items
from ngldm.io.limits import MAX_SIDE, MAX_T, MAX_WIDTH, require_values
from ngldm.io.tensors import load_tensors, require_finite, save_tensors, strip_prefix, to_items
from ngldm.networks.autoencoders.autoencoder import Autoencoder
from ngldm.networks.autoencoders.build import build_autoencoder
from ngldm.networks.autoencoders.names import OWN_KEYS
from ngldm.networks.build import build_network
from ngldm.networks.names import AUTO, OWN_SECTIONS
from ngldm.networks.registry import NetworkInput
from ngldm.noise import make_noise
from ngldm.noise.laws.covariance import remember, roots_in

FORMAT = "ngldm-bundle-2"
AXES = 3  # of an image: channels, height, width
LONGEST = 500  # characters of another library's message: torch names each tensor that is missing
SPARE = 10**7  # weights that a model may have beyond those of its file, for parts that it takes from elsewhere
SCALAR_HEAD = {"scalar_head": 2}  # in the file of a model with a scalar head: the form of K_hat (`SteinHead`)


@dataclass(frozen=True)
class Model:
    """A trained model and everything that is needed to sample from it.

    Attributes:
        config: the settings in the file's metadata; see `build`.
        network: network(x_t, t), an `nn.Module`; see `diffusion` for what it predicts.
        autoencoder: turns latents into images or points.
        statistics: mean and standard deviation of the training latents, per channel.
        extent: range and moments of the standardised training latents, at each position.
        diffusion: noise, schedule, forward process and objective.
        classes: of the images; None if the network gets none. With classes it is network(x_t, t, labels).
    """

    config: Mapping[str, object]
    network: nn.Module
    autoencoder: Autoencoder
    statistics: LatentStatistics
    extent: LatentExtent
    diffusion: Diffusion
    classes: Classes | None = None

    @classmethod
    def build(
        cls,
        config: Mapping[str, object],
        autoencoder: Autoencoder | None = None,
        statistics: LatentStatistics | None = None,
        extent: LatentExtent | None = None,
    ) -> "Model":
        """A model with an untrained network.

        Args:
            config: the keys `noise`, `schedule`, `diffusion` and `autoencoder` hold the arguments of `make_noise`,
                `make_schedule`, `Diffusion.make` and `build_autoencoder`. A model of images has `image_shape`,
                (C, H, W), one of points `dim`, d. The network is `unet`, the arguments of `UNetSettings`, or `mlp`,
                those of `MLPSettings`, or for any other kind `network`, a mapping with `kind` and `options`
                (`ngldm.networks.build.build_network`). `classes`, if the network gets them, is what `Classes.of` reads.
                `dataset`, the name of the data set, and `ema_sigma_rel`, the length of the average that the weights
                are, are optional and only kept for information.
            autoencoder: a trained one; None makes one with random weights.
            statistics: those of the training latents; None takes mean 0 and standard deviation 1.
            extent: that of the training latents; None takes mean 0, standard deviation 1 and no bounds.

        Raises:
            InputError: a value is not allowed, or two settings exclude each other.
        """
        parts: dict[str, Any] = dict(config)  # the functions below check the values
        schedule = make_schedule(**parts["schedule"])
        autoencoder = autoencoder or build_autoencoder(parts["autoencoder"], _item_shape(config))
        channels = autoencoder.latent_shape[0]
        statistics = statistics or LatentStatistics(torch.zeros(channels), torch.ones(channels))
        extent = extent or LatentExtent.standard(autoencoder.latent_shape)
        noise = make_noise(**parts["noise"])
        noise.check_item(autoencoder.latent_shape)
        if parts["diffusion"].get("loss") == "squared":  # the default is not kept, so files are as they always were
            parts["diffusion"] = {key: value for key, value in parts["diffusion"].items() if key != "loss"}
        if parts["diffusion"].get("preconditioning", "none") != "none":  # the file keeps what was measured
            parts["diffusion"] = {"data_std": extent.root_mean_square, **parts["diffusion"]}
        diffusion = Diffusion.make(noise, schedule, **parts["diffusion"])
        classes = None
        if "classes" in parts:
            classes = Classes.of(entry(parts, "classes", dict))
            check_coupling_of_classes(diffusion.coupling)
        made_for = NetworkInput(
            *(autoencoder.latent_shape, schedule.num_train_timesteps, diffusion.stein_head.kind),
            num_classes=len(classes.names) if classes else 0,
        )
        network = build_network(*network_choice(config), made_for)
        return cls(parts, network, autoencoder, statistics, extent, diffusion, classes)

    def to(self, device: torch.device | str) -> "Model":
        """Move the networks, in the memory layout that convolutions prefer. Changes this model and returns it."""
        for network in (self.network, self.autoencoder):
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def compiled(self) -> "Model":
        """The same model with a compiled network. On a CPU the first call of each batch size takes about a minute."""
        return replace(self, network=cast(nn.Module, torch.compile(self.network, dynamic=False)))

    @property
    def network_kind(self) -> str:
        """The name under which the network is registered."""
        return network_choice(self.config)[0]

    @property
    def autoencoder_kind(self) -> str:
        """The name under which the autoencoder is registered."""
        return entry(self.autoencoder.settings, "kind", str)

    @property
    def parameter_count(self) -> int:
        """The number of weights that a training of the network changes."""
        return sum(parameter.numel() for parameter in self.network.parameters() if parameter.requires_grad)

    @property
    def file_bytes(self) -> int:
        """About how large the file is that `save` writes: the bytes of all weights."""
        parts = (self.network.state_dict(), self.autoencoder.carried())
        return sum(value.nbytes for part in parts for value in part.values())

    @property
    def item_shape(self) -> tuple[int, ...]:
        """(C, H, W) of images, (d,) of points."""
        return _item_shape(self.config)

    def no_items(self) -> Items:
        """An array of no image (0, H, W, C), or of no point (0, d), to join others to."""
        return to_items(torch.empty(0, *self.item_shape))

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Items:
        """Convert standardised latents to items: (B, c, h, w) to uint8 images (B, H, W, C), (B, d) to float32 points.

        Raises:
            InputError: latents, pixels or points are NaN or infinite. Such pixels would become black images.
        """
        decoded = self.autoencoder.decode(self.statistics.unstandardise(latents))
        for name, values in (("latents", latents), ("points" if decoded.ndim == 2 else "images", decoded)):
            if not values.isfinite().all():
                bad = len(values) - int(values.isfinite().flatten(1).all(1).sum())
                raise InputError(
                    f"{name}: {bad} of {len(values)} hold NaN or infinite numbers; the sampler's steps left the range "
                    "of float32: choose another sampler, more steps, or x0_handling"
                )
        return to_items(decoded)

    def save(self, path: Path) -> None:
        """Write the file. It appears complete or not at all."""
        parts = {_network_key(self.config): self.network.state_dict(), "autoencoder": self.autoencoder.carried()}
        tensors = {f"{part}.{k}": v for part, content in parts.items() for k, v in content.items()}
        tensors |= {"latent_mean": self.statistics.mean, "latent_std": self.statistics.std}
        tensors |= {f"extent.{key}": value for key, value in vars(self.extent).items()}
        tensors |= {f"noise.{sha256}": root for sha256, root in roots_in(self.diffusion.noise.params).items()}
        form = SCALAR_HEAD if self.diffusion.stein_head.kind == "scalar" else {}
        save_tensors(tensors, {"format": FORMAT, **self.config, **form}, path)


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
        remember(strip_prefix(tensors, "noise."))
        _require_room(config, tensors)
        model = Model.build(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # missing, of another type, or not known here
        raise InputError(
            f"{path}: its settings are not those of a model of this version ({str(error)[:LONGEST]})"
        ) from error
    if model.diffusion.stein_head.kind == "scalar" and not SCALAR_HEAD.items() <= config.items():
        raise InputError(f"{path}: its scalar head was trained by an older version, to another form; train it again")
    _require_shapes(tensors, model, path)
    require_finite(tensors, Path(path), unbounded=("extent.low", "extent.high"))
    try:
        model.network.load_state_dict(strip_prefix(tensors, f"{_network_key(config)}."))
        model.autoencoder.restore(strip_prefix(tensors, "autoencoder."))
        statistics = LatentStatistics(tensors["latent_mean"], tensors["latent_std"])
        extent = LatentExtent(**strip_prefix(tensors, "extent."))
    except (RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its weights do not fit its own settings ({str(error)[:LONGEST]})") from error
    model.network.eval()
    model.autoencoder.eval()
    return replace(model, statistics=statistics, extent=extent).to(device)


def _require_room(config: Mapping[str, object], tensors: Mapping[str, Tensor]) -> None:
    """Compare the sizes that settings ask for with the weights in the file, before memory is taken for them.

    The networks are made without memory for their weights. One that cannot be made so is passed over.

    Raises:
        InputError: the settings are of a network with many more weights than the file has.
    """
    item, key = _item_shape(config), _network_key(config)
    schedule, head = entry(config, "schedule", dict), str(entry(config, "diffusion", dict).get("stein_head", "none"))
    steps = require_whole("schedule.num_train_timesteps", schedule.get("num_train_timesteps", 1), 1, MAX_T)
    autoencoder = entry(config, "autoencoder", dict)
    num_classes = len(entry(entry(config, "classes", dict), "names", list)) if "classes" in config else 0
    with torch.device("meta"):
        latent = item
        if autoencoder.get("kind") in OWN_KEYS or any(key.startswith("autoencoder.") for key in tensors):
            made = build_autoencoder(autoencoder, item)
            latent = made.latent_shape
            _require_weights("autoencoder", made, strip_prefix(tensors, "autoencoder."))
        elif "extent.mean" in tensors:
            latent = tuple(tensors["extent.mean"].shape)
        require_values("latent_shape", latent)
        try:
            made_for = NetworkInput(latent, steps, head, num_classes)
            network = build_network(*network_choice(config), made_for)
        except (RuntimeError, NotImplementedError):  # it needs numbers while it is made; only others' networks do
            return
    _require_weights(key, network, strip_prefix(tensors, f"{key}."))


def _require_weights(key: str, network: nn.Module, stored: Mapping[str, Tensor]) -> None:
    wanted = sum(parameter.numel() for parameter in network.parameters())
    found = sum(tensor.numel() for tensor in stored.values())
    if wanted > 2 * found + SPARE:
        raise InputError(f"{key}: its settings are of a network with {wanted} weights, but {found} are in the file")


def _network_key(config: Mapping[str, object]) -> str:
    """What the network is called in the file, in its settings and in the names of its tensors."""
    return next((key for key in OWN_SECTIONS if key in config), "network")


def network_choice(config: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    """Kind and options of the network in the settings of a model, see `Model.build`.

    Raises:
        InputError: they name none.
    """
    key = _network_key(config)
    section = entry(config, key, dict)
    return (key, section) if key in OWN_SECTIONS else (entry(section, "kind", str), entry(section, "options", dict))


def _item_shape(config: Mapping[str, object]) -> tuple[int, ...]:
    """(C, H, W) of images, (d,) of points."""
    if "dim" in config:
        return (require_whole("dim", config["dim"], 1, MAX_WIDTH),)
    shape = config["image_shape"]
    if not isinstance(shape, list | tuple) or len(shape) != AXES:
        raise InputError(f"image_shape: {shown(shape)} must be channels, height and width")
    channels, height, width = (require_whole("image_shape", size, 1, MAX_SIDE) for size in shape)
    require_values("image_shape", (channels, height, width))
    return channels, height, width


def item_settings(
    item_shape: tuple[int, ...], network: Mapping[str, object], **own: Mapping[str, object]
) -> dict[str, object]:
    """The keys of `Model.build` that say what one item is, which network predicts it, and whether it gets classes.

    Args:
        item_shape: (C, H, W) of images, (d,) of points.
        network: `kind` and `options`. The kind "auto" is "mlp" for points, else "unet".
        own: the options of the kinds `OWN_SECTIONS`, and `classes` if the network gets them.
    """
    points = len(item_shape) == 1
    kind = network["kind"]
    if kind == AUTO:
        kind = "mlp" if points else "unet"
    chosen = {kind: own[kind]} if kind in OWN_SECTIONS else {"network": network}
    if "classes" in own:
        chosen["classes"] = own["classes"]
    return {**chosen, **({"dim": item_shape[0]} if points else {"image_shape": item_shape})}


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
