"""What can be chosen when sampling, and what is chosen for those who choose nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ngldm.sampling.best import Option, best_sampler
from ngldm.sampling.names import check_settings


@dataclass(frozen=True)
class SamplingOptions:
    """A sampler and all that it is told.

    Attributes:
        method: name of a sampler (`ngldm.sampling.samplers`).
        num_inference_steps: 1 to T.
        timestep_spacing, sigma_max: which timesteps are visited (`ngldm.sampling.timesteps`).
        x0_handling, x0_limit: what is done to a predicted x_0 (`ngldm.sampling.denoiser.X0Handling`); None is
            its own limit.
        start_noise, step_noise: what x_T and the steps' noise are drawn from (`ngldm.sampling.randomness`); None is
            what suits the model's noise.
        own: the method's own options: eta (ddim), variance (ancestral), refresh (posterior).

    Raises:
        InputError: an unknown method, or an option that it does not have. Values are checked where they are used.
    """

    method: str
    num_inference_steps: int
    timestep_spacing: str = "trailing"
    sigma_max: float | None = None
    x0_handling: str = "none"
    x0_limit: float | None = None
    start_noise: str | None = None
    step_noise: str | None = None
    own: Mapping[str, Option] = field(default_factory=dict)

    def __post_init__(self) -> None:
        common = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "own"}
        check_settings({**common, **self.own})

    @classmethod
    def choose(cls, noise: str, num_train_timesteps: int, chosen: Mapping[str, Option]) -> "SamplingOptions":
        """The best known sampler of a noise, changed by what is chosen.

        Another method keeps the best sampler's number of steps alone: its other options were found for that sampler.

        Args:
            noise: name of the model's noise.
            num_train_timesteps: T.
            chosen: attribute to value; the method's own options stand beside the others. None is not chosen.

        Raises:
            InputError: an unknown method, or an option that it does not have.
        """
        chosen = {key: value for key, value in chosen.items() if value is not None}
        best: Mapping[str, object] = best_sampler(noise, num_train_timesteps)
        if "method" in chosen:
            best = {"num_inference_steps": best["num_inference_steps"]}
        values: dict[str, Any] = {**best, **chosen}
        common = {key: values.pop(key) for key in {f.name for f in fields(cls)} & set(values) - {"own"}}
        return cls(**common, own=values)
