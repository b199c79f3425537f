"""The check of the noises in params.yaml. It needs the registry of noises, and therefore torch."""

from collections.abc import Mapping

from ngldm.diffusion.forward import check_forward
from ngldm.io.errors import InputError
from ngldm.noise.registry import make_part
from ngldm.pipeline.config.params import Params


def check_noises(params: Params) -> None:
    """Check `noise_options` and the noises of the study by making each once.

    Raises:
        InputError: an unknown distribution, an unknown or wrong parameter, a distribution without finite variance, or
            one that the forward process is not for.
    """
    for label in params.noise_options:
        forward = params.diffusion.forward if label in params.noises else "marginal"  # only the listed are trained
        _check(f"noise_options.{label}", params.noise_options[label], forward)
    for label, variant in params.study.variants.items():
        _check(f"study.variants.{label}.noise", variant.noise, variant.forward or params.diffusion.forward)


def _check(key: str, options: Mapping[str, object], forward: str) -> None:
    noise = make_part(key, options)
    try:
        check_forward(forward, noise)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
