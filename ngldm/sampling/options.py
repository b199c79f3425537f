"""The options of sampling, and their defaults for each noise."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ngldm.diffusion.classes import Asked
from ngldm.diffusion.forward import AnnealedMarginal
from ngldm.diffusion.process import Diffusion
from ngldm.sampling.best import Option, Scalar, best_sampler
from ngldm.sampling.names import check_annealed, check_coupling, check_settings


@dataclass(frozen=True)
class SamplingOptions:
    """A sampler and its options.

    Attributes:
        method: the name of a sampler (`ngldm.sampling.samplers`).
        num_inference_steps: 1 to T.
        timestep_spacing, sigma_max: which timesteps the sampler visits (`ngldm.sampling.timesteps`).
        x0_handling, x0_limit: how to change a predicted x_0 (`ngldm.sampling.denoiser.X0Handling`). A limit of None
            means the default of `X0Handling`.
        start_noise, step_noise: the distributions of x_T and of the noise of the steps (`ngldm.sampling.randomness`).
            None means the choice that fits the model's noise.
        classes: of a model with classes: a name, a number or several of them; image number i gets number i mod n of
            these n. None means the proportions of the training images (`ngldm.diffusion.classes.Classes.labels`).
        guidance_scale, guidance_rescale, guidance_sigma_min, guidance_sigma_max: of `ngldm.sampling.guidance.Guidance`.
            A scale of None means 1, the conditional model.
        own: the method's own options: eta (ddim, stein), variance (ancestral), refresh (posterior).

    Raises:
        InputError: the method is unknown or does not have an option. The code that uses a value checks its range.
    """

    method: str
    num_inference_steps: int
    timestep_spacing: str = "trailing"
    sigma_max: float | None = None
    x0_handling: str = "none"
    x0_limit: float | None = None
    start_noise: str | None = None
    step_noise: str | None = None
    classes: Asked | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    guidance_sigma_min: float | None = None
    guidance_sigma_max: float | None = None
    own: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        common = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("own", "classes")
        }
        check_settings({**common, **self.own})

    @classmethod
    def choose(cls, noise: str, num_train_timesteps: int, chosen: Mapping[str, Option]) -> "SamplingOptions":
        """The best known sampler for a noise, with the chosen options instead of its own.

        If a method is chosen, only the number of steps is taken from the best known sampler. Its other options are the
        best for its own method only.

        Args:
            noise: the name of the model's noise.
            num_train_timesteps: T.
            chosen: a map from attribute to value. The method's own options are keys too. None means not chosen.

        Raises:
            InputError: the method is unknown or does not have an option.
        """
        chosen = {key: value for key, value in chosen.items() if value is not None}
        best: Mapping[str, object] = best_sampler(noise, num_train_timesteps)
        if "method" in chosen:
            best = {"num_inference_steps": best["num_inference_steps"]}
        values: dict[str, Any] = {**best, **chosen}
        common = {key: values.pop(key) for key in {f.name for f in fields(cls)} & set(values) - {"own"}}
        return cls(**common, own=values)


def check_sampler(diffusion: Diffusion, method: str, noisy: bool, key: str = "sampler method") -> None:
    """Check that a sampler is right for a diffusion.

    Args:
        method: the sampler's name.
        noisy: whether it adds noise at its steps (`ngldm.sampling.names.adds_noise`).
        key: the name of the setting that holds the method, for the error message.

    Raises:
        InputError: it is wrong: it adds noise after training with a coupling, the law changes with t and the sampler
            takes it to be the same, or it needs K_bar, which is not known.
    """
    check_coupling(diffusion.coupling, method, noisy, key)
    if isinstance(diffusion.forward, AnnealedMarginal):
        check_annealed(diffusion.noise.name, method, noisy, key)
    if method == "stein":
        diffusion.stein_head.require_k_bar(key)
