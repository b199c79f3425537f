"""Pretrained autoencoders of diffusers, used as they are: `AutoencoderKL`, `AutoencoderTiny`, `VQModel`.

They come from a folder or from the Hugging Face hub. Nothing trains them. The hub is asked only if `download` says so.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ngldm.io.errors import InputError, shown, unknown
from ngldm.io.files import read_json, sha256_file
from ngldm.io.registry import import_extra
from ngldm.networks.autoencoders.autoencoder import Autoencoder
from ngldm.networks.autoencoders.names import PRECISIONS
from ngldm.networks.autoencoders.structure import (
    KEY,
    KIND,
    known_class,
    make_empty,
    require_loaded,
    require_weights,
)

WEIGHTS, CONFIG = "diffusion_pytorch_model.safetensors", "config.json"
DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))


@dataclass(frozen=True)
class PretrainedSettings:
    """Which autoencoder, and how it is used.

    Attributes:
        model: a folder that `save_pretrained` wrote, or the id of a repository on the hub.
        revision: of the repository: a commit, a tag or a branch. None is its newest version.
        subfolder: where it lies in the folder or repository, for example "vae".
        precision: of weights and computation: "fp32", "bf16" or "fp16".
        tiling: encode and decode images that are larger than the autoencoder's own in overlapping tiles, which saves
            memory. Not for VQModel.
        sha256: of the file of the weights. If it is given, other weights are refused.
        download: whether the hub may be asked for what is not in its cache on this machine.
        bundle_autoencoder: whether our files carry the weights. If not, they refer to them by model, revision and
            sha256, and whoever loads them needs those.
        structure: class and config. ngldm writes it into its files.

    Raises:
        InputError: a value is not allowed.
    """

    model: str
    revision: str | None = None
    subfolder: str | None = None
    precision: str = "fp32"
    tiling: bool = False
    sha256: str | None = None
    download: bool = False
    bundle_autoencoder: bool = True
    structure: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or self.model in ("", "???"):
            raise InputError(f"{KEY}.model: {self.model!r} must be a folder, or the id of a repository on the hub")
        if self.precision not in PRECISIONS:
            raise unknown(f"{KEY}.precision", self.precision, PRECISIONS)
        for key in ("revision", "subfolder", "sha256"):
            if not isinstance(getattr(self, key), str | None):
                raise InputError(f"{KEY}.{key}: {getattr(self, key)!r} must be a text, or null")
        if not isinstance(self.structure, Mapping | None):
            raise InputError(
                f"{KEY}.structure: {shown(self.structure)} must be a mapping; ngldm writes it into its files"
            )
        for key in ("tiling", "download", "bundle_autoencoder"):
            if not isinstance(getattr(self, key), bool):
                raise InputError(f"{KEY}.{key}: {getattr(self, key)!r} must be true or false")

    @property
    def is_path(self) -> bool:
        """Whether the model is a folder and not the id of a repository."""
        return self.model.startswith(("/", ".", "~")) or Path(self.model).is_dir()

    def locate(self) -> Path:
        """The folder with config and weights; of a repository, that of the hub's cache.

        Raises:
            InputError: there is none; the message says what to do.
        """
        root = Path(self.model).expanduser() if self.is_path else self._repository()
        folder = root / (self.subfolder or "")
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise InputError(f"{KEY}.model: no file {folder / name}. {self._remedy()}")
        return folder

    def _repository(self) -> Path:
        hub = import_extra("huggingface_hub", f"autoencoder.kind {KIND!r}")
        files = [f"{self.subfolder}/{name}" if self.subfolder else name for name in (CONFIG, WEIGHTS)]
        try:
            return Path(
                hub.snapshot_download(
                    self.model, revision=self.revision, allow_patterns=files, local_files_only=not self.download
                )
            )
        except (OSError, ValueError) as error:  # all errors of the hub and of the network are of these types
            first = str(error).strip().split("\n")[0]
            reason = f"the hub did not give it ({first})" if self.download else "it is not in the hub's cache here"
            raise InputError(f"{KEY}.model: {self.model!r} is no folder, and {reason}. {self._remedy()}") from error

    def _remedy(self) -> str:
        """What to do if the autoencoder is not here."""
        if self.is_path:
            said = "Give a folder that diffusers' save_pretrained wrote, with safetensors"
            return f"{said}, or put it there: the file refers to it" if self.structure else said
        revision = f" --revision {self.revision}" if self.revision else ""
        fetch = f"`hf download {self.model}{revision}` puts it into the cache"
        if self.structure:
            return f"This file refers to it. With a network, {fetch}; without one, copy the cache from another machine"
        online = "check id and revision" if self.download else f"set {KEY}.download=true, or {fetch}"
        offline = f"copy the folder from another machine and give its path as {KEY}.model"
        return f"With a network, {online}. Without one, {offline}"


class PretrainedAutoencoder(Autoencoder):
    """An autoencoder of diffusers. Latents are (z - shift_factor) * scaling_factor, as diffusers' pipelines use them.

    z is the mean of q(z|x) for `AutoencoderKL`, and not yet quantised for `VQModel`, whose `decode` quantises.

    Args:
        image_shape: (C, H, W).
        model: the autoencoder, in the precision of the settings.
        settings: as saved: with the structure, and for weights from outside with their hash.

    Raises:
        InputError: it does not fit the images, or cannot work in tiles.
    """

    pretrained = True

    def __init__(self, image_shape: tuple[int, int, int], model: nn.Module, settings: PretrainedSettings) -> None:
        super().__init__()
        self.model, self.own = model.eval().requires_grad_(False), settings
        self.options, self.weights_sha256 = asdict(settings), settings.sha256
        config = model.config
        self.shift = float(getattr(config, "shift_factor", None) or 0.0)
        self.scale = float(getattr(config, "scaling_factor", None) or 1.0)
        self.latent_shape = _latent_shape(image_shape, model)
        if settings.tiling:
            if not hasattr(model, "use_tiling"):
                raise InputError(f"{KEY}.tiling: true, but a {type(model).__name__} has no tiles; use false")
            model.enable_tiling()  # type: ignore[operator]

    def encode(self, x: Tensor) -> Tensor:
        return (_latents(self.model, x.to(self.dtype)).float() - self.shift) * self.scale

    def decode(self, z: Tensor) -> Tensor:
        x: Tensor = self.model.decode((z / self.scale + self.shift).to(self.dtype)).sample  # type: ignore[operator]
        return x.float()

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and computation."""
        return DTYPES[self.own.precision]

    def carried(self) -> dict[str, Tensor]:
        return super().carried() if self.own.bundle_autoencoder else {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        if self.own.bundle_autoencoder:
            super().restore(tensors)


def load_pretrained(image_shape: tuple[int, int, int], settings: PretrainedSettings) -> PretrainedAutoencoder:
    """The autoencoder of settings.

    With a structure, and weights in our file, it has random weights, which the file's then replace.

    Raises:
        InputError: it is not here, is of another class, has other weights than the hash says, or does not fit the
            images; or diffusers is not installed.
    """
    library = import_extra("diffusers", f"autoencoder.kind {KIND!r}")
    if settings.structure is not None and settings.bundle_autoencoder:
        name, config = known_class(settings.structure.get("class")), settings.structure.get("config")
        make_empty(name, config)
        model = getattr(library, name).from_config(config)
        nn.Module.to(model, DTYPES[settings.precision])  # diffusers' own `to` prints a warning for every type
        return PretrainedAutoencoder(image_shape, model, settings)
    if settings.structure is not None:  # from a file, which never makes this machine ask the hub
        settings = replace(settings, download=False)
    folder = settings.locate()
    config = read_json(folder / CONFIG)
    name = known_class(config.get("_class_name"))
    plain = {key: value for key, value in config.items() if not key.startswith("_")}
    require_weights(make_empty(name, plain), (folder / WEIGHTS).stat().st_size, folder / WEIGHTS)
    sha256 = sha256_file(folder / WEIGHTS)
    if settings.sha256 not in (None, sha256):
        raise InputError(f"{KEY}.sha256: {settings.sha256}, but {folder / WEIGHTS} has {sha256}")
    try:
        model, loaded = getattr(library, name).from_pretrained(
            folder,
            torch_dtype=DTYPES[settings.precision],
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{KEY}.model: {folder} holds no {name} that diffusers can load ({error})") from error
    require_loaded(model, loaded["missing_keys"], folder / WEIGHTS)
    # A loaded file never asks the hub by itself.
    found = replace(settings, sha256=sha256, download=False, structure={"class": name, "config": plain})
    if not settings.is_path:
        depth = len(Path(settings.subfolder or "").parts)
        found = replace(found, revision=(folder, *folder.parents)[depth].name)  # snapshots/<commit>/... of the cache
    return PretrainedAutoencoder(image_shape, model, found)


def _latents(model: nn.Module, x: Tensor) -> Tensor:
    """z of images, as the model has it: without factors."""
    encoded = model.encode(x)  # type: ignore[operator]
    z: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return z


@torch.no_grad()
def _latent_shape(image_shape: tuple[int, int, int], model: nn.Module) -> tuple[int, ...]:
    """The shape of the latents of one image, without computing them.

    Raises:
        InputError: the autoencoder does not fit the images.
    """
    channels, height, width = image_shape
    config = dict(model.config)  # type: ignore[arg-type]
    if channels != config["in_channels"]:
        raise InputError(
            f"{KEY}.model: takes images of {config['in_channels']} channels, these have {channels}; "
            "dataset.channels can change those of an image_folder"
        )
    with torch.device("meta"):
        empty = type(model).from_config(config)  # type: ignore[attr-defined]
        try:
            latents = _latents(empty, torch.empty(1, *image_shape))
            decoded = empty.decode(latents).sample
        except RuntimeError as error:
            raise InputError(f"{KEY}.model: does not take images of {height}x{width} ({error})") from error
    if decoded.shape[1:] != image_shape:
        factor = decoded.shape[2] // latents.shape[2]
        raise InputError(
            f"{KEY}.model: makes images of {tuple(decoded.shape[2:])} from images of {height}x{width}; each side must "
            f"be a multiple of {factor}"
        )
    return tuple(latents.shape[1:])
