"""Which models a sampler can sample; for `stein`, K_bar must be known."""

from ngldm.diffusion.forward import AnnealedMarginal
from ngldm.diffusion.process import Diffusion
from ngldm.io.errors import InputError
from ngldm.sampling.names import check_coupling

NOISELESS = "ddim with eta 0, dpmpp_2m, heun"  # right for every noise with a mean


def check_sampler(diffusion: Diffusion, method: str, noisy: bool) -> None:
    """Check that a sampler is right for a diffusion.

    Args:
        method: the sampler's name.
        noisy: whether it adds noise at its steps (`ngldm.sampling.names.adds_noise`).

    Raises:
        InputError: it is wrong.
    """
    check_coupling(diffusion.coupling, method, noisy)
    if method == "stein":
        require_k_bar(diffusion)
    elif isinstance(diffusion.forward, AnnealedMarginal) and (method != "ddim" or noisy):
        raise InputError(
            f"sampler method: {method!r} takes the law of the noise to be the same at all t, and that of "
            f"{diffusion.noise.name!r} changes; use ddim with eta 0"
        )


def require_k_bar(diffusion: Diffusion) -> None:
    """Check that K_bar of the model's noise is known, which the sampler `stein` needs.

    Raises:
        InputError: it is not: the law has no K, or the model has no head that learned K_bar.
    """
    head, noise = diffusion.stein_head, diffusion.noise
    if head.kind != "none" or head.needed == "none":
        return
    if head.needed is None:
        why = (
            f"no Stein kernel is known for the noise {noise.name!r}"
            if head.fixed
            else f"none is known for the sums of {noise.name!r} that diffusion.forward markov makes"
        )
        raise InputError(f"method: 'stein', but {why}; use {NOISELESS}")
    raise InputError(
        f"method: 'stein' needs K_bar of the noise {noise.name!r}, which a head of the network must learn, and this "
        f"model was trained with diffusion.stein_head none; train with {head.needed}, or use {NOISELESS}"
    )
