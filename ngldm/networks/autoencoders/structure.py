"""Class and config of an autoencoder of diffusers, checked before memory is taken: a file may ask for anything."""

from collections.abc import Collection, Mapping

import torch
from torch import nn

from ngldm.io.errors import InputError, require_real, require_whole, shown, unknown
from ngldm.io.limits import MAX_BLOCKS, MAX_LEVELS, MAX_WIDTH
from ngldm.io.registry import import_extra

KIND, KEY = "diffusers", "autoencoder.options"
CLASSES = ("AutoencoderKL", "AutoencoderTiny", "VQModel")
BLOCKS = ("layers_per_block", "num_encoder_blocks", "num_decoder_blocks")
LARGEST = 1e30  # of a factor; float32 holds its product with a latent
CODES = {"num_vq_embeddings": 2**20}  # codebooks are longer than any layer is wide
LISTS = {
    "latents_mean": MAX_WIDTH,
    "latents_std": MAX_WIDTH,
}  # a number for each channel; others have one for each level


def known_class(name: object) -> str:
    """`name`, if it is an autoencoder of diffusers that is taken here.

    Raises:
        InputError: it is not.
    """
    if name not in CLASSES:
        raise unknown("class of a diffusers autoencoder", name, CLASSES)
    return str(name)


def make_empty(name: object, config: object) -> nn.Module:
    """The autoencoder of a class and config, without memory for its weights: what it asks for can then be counted.

    Raises:
        InputError: no such class, a number is out of range, or diffusers cannot make it.
    """
    made_by = getattr(import_extra("diffusers", f"autoencoder.kind {KIND!r}"), known_class(name))
    if not isinstance(config, Mapping):  # diffusers would take a text for the name of a repository, and ask the hub
        raise InputError(f"{KEY}.structure.config: {shown(config)} must be a mapping")
    for key, value in config.items():
        _check(key, value)
    try:
        with torch.device("meta"):
            made: nn.Module = made_by.from_config(dict(config))
    except Exception as error:  # its code checks little: what is wrong shows in any way
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{KEY}.model: diffusers makes no {name} of its config ({reason})") from error
    return made


def _check(key: str, value: object) -> None:
    """Check the numbers of one key: those that could ask for endless work, and those that are used here.

    Raises:
        InputError: one is out of range.
    """
    place = f"{KEY}.model: config.json: {key}"
    values = value if isinstance(value, list | tuple) else [value]
    if len(values) > (most := LISTS.get(key, MAX_LEVELS)):
        raise InputError(f"{place}: {len(values)} entries; at most {most} are allowed")
    for one in values:
        if key in BLOCKS:
            require_whole(place, one, 1, MAX_BLOCKS)
        elif isinstance(one, int) and not isinstance(one, bool):
            require_whole(place, one, 0, CODES.get(key, MAX_WIDTH))
    if key in ("scaling_factor", "shift_factor") and value is not None:
        number = require_real(place, value)
        if not abs(number) <= LARGEST or (key == "scaling_factor" and number == 0.0):
            zero = " and not be 0" if key == "scaling_factor" else ""
            raise InputError(f"{place}: {number} must lie between -{LARGEST:g} and {LARGEST:g}{zero}")


def require_weights(model: nn.Module, size: int, file: object) -> None:
    """Check that a file can hold the weights of `model`, before memory is taken for them.

    Args:
        size: of the file, in bytes. No weight has less than one.

    Raises:
        InputError: it is too small.
    """
    wanted = sum(parameter.numel() for parameter in model.parameters())
    if wanted > size:
        raise InputError(f"{KEY}.model: its config asks for {wanted} weights, but {file} has {size} bytes")


def require_loaded(model: nn.Module, missing: Collection[str], file: object) -> None:
    """Check that all weights came from the file, and that they are numbers.

    Args:
        missing: names of weights that the file lacks; diffusers gives them random values.

    Raises:
        InputError: some are missing, NaN or infinite.
    """
    if missing:
        raise InputError(f"{KEY}.model: {file} lacks {shown(sorted(missing))}")
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"{KEY}.model: {file}: NaN or infinite numbers in {name}")
