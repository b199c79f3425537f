"""The part of params.yaml that only the registry of noises can check."""

from ngldm.io.errors import InputError
from ngldm.noise import make_noise
from ngldm.pipeline.config.params import Params


def check_noises(params: Params) -> None:
    """Make every noise of `noise_options` once: the registry knows what types and ranges cannot say.

    Raises:
        InputError: an unknown distribution or parameter, or a distribution without finite variance.
    """
    for label in params.noise_options:
        try:
            make_noise(**params.noise_arguments(label))
        except InputError as error:
            raise InputError(f"noise_options.{label}: {error}") from None
