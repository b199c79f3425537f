"""The check of the noises in params.yaml. It needs the registry of noises, and therefore torch."""

from ngldm.diffusion.forward import check_forward
from ngldm.io.errors import InputError
from ngldm.noise import make_noise
from ngldm.pipeline.config.params import Params


def check_noises(params: Params) -> None:
    """Check `noise_options` by making every noise once.

    Raises:
        InputError: an unknown distribution, an unknown or wrong parameter, a distribution without finite variance, or
            one that the forward process is not for.
    """
    for label in params.noise_options:
        try:
            noise = make_noise(**params.noise_arguments(label))
            if label in params.noises:
                check_forward(params.diffusion.forward, noise)
        except InputError as error:
            raise InputError(f"noise_options.{label}: {error}") from None
