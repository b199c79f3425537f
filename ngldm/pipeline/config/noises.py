"""The check of the noises in params.yaml. It needs the registry of noises, and therefore torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ngldm.diffusion.forward import check_forward
from ngldm.diffusion.stein_head import SteinHead, keeps_law
from ngldm.io.errors import InputError
from ngldm.noise import Law
from ngldm.noise.laws.annealed import Annealed
from ngldm.noise.registry import make_part
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.config.samplers import SamplerOptions
from ngldm.sampling.best import resolve_sampler
from ngldm.sampling.names import adds_noise, check_annealed


@dataclass(frozen=True)
class _Use:
    """What a noise is trained and sampled with.

    Attributes:
        forward, coupling, stein_head: as in the section `diffusion`.
        samplers: by the key of the setting, for the error message.
        points: columns of the items if they are points, else 0.
    """

    forward: str
    coupling: str
    stein_head: str
    samplers: Mapping[str, SamplerOptions]
    points: int


def check_noises(params: Params) -> None:
    """Check `noise_options` and the noises of the study by making each once.

    Raises:
        InputError: an unknown distribution, an unknown or wrong parameter, a distribution without finite variance, or
            one that the data, the forward process, the coupling, the head or a sampler is not for.
    """
    diffusion = params.diffusion
    points = (params.dataset.law.dim if params.dataset.law else 1) if params.dataset.name == "points" else 0
    labels = [*params.samplers, *([params.curve.sampler] if params.train.snapshot_every else [])]
    own = {f"sampler_options.{label}": params.sampler_options[label] for label in labels}
    for label, options in params.noise_options.items():
        law = make_part(f"noise_options.{label}", options)
        if label in params.noises:  # only the listed are trained
            use = _Use(diffusion.forward, diffusion.coupling, diffusion.stein_head, own, points)
            _check(f"noise_options.{label}", law, use)
    for label, variant in params.study.variants.items():
        use = _Use(
            variant.forward or diffusion.forward,
            variant.coupling or diffusion.coupling,
            variant.stein_head or diffusion.stein_head,
            {
                f"study.samplers.{name}": params.study.samplers[name]
                for name in variant.samplers or params.study.samplers
            },
            points,
        )
        key = f"study.variants.{label}.noise"
        _check(key, make_part(key, variant.noise), use)


def _check(key: str, law: Law, use: _Use) -> None:
    try:
        check_forward(use.forward, law, use.coupling)
        if use.points:
            law.check_item((use.points,))
        head = SteinHead.choose(law, use.stein_head, keeps_law(law, use.forward, use.coupling))
        _check_samplers(law, head, use.samplers.items())
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def _check_samplers(law: Law, head: SteinHead, samplers: Iterable[tuple[str, SamplerOptions]]) -> None:
    for key, options in samplers:
        chosen = resolve_sampler(options.settings(), law.name, 1)  # the number of steps is of no interest here
        if isinstance(law, Annealed):
            check_annealed(law.name, chosen["method"], adds_noise(chosen), f"{key}.method")
        if chosen["method"] == "stein":
            try:
                head.require_k_bar()
            except InputError as error:
                raise InputError(f"{key}.{error}") from None
