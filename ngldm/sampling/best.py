"""The one table of best known samplers; `method: auto` reads it."""

Option = str | float  # one choice of sampling, as a user gives it

# The best known sampler of each noise (docs/study.md); conf/config.yaml's `auto` has the same.
_KARRAS_20: dict[str, Option] = {"method": "dpmpp_2m", "num_inference_steps": 20, "timestep_spacing": "karras"}
BEST_SAMPLERS: dict[str, dict[str, Option]] = {
    "default": _KARRAS_20,
    "laplace": {**_KARRAS_20, "start_noise": "gaussian"},
    "uniform": {**_KARRAS_20, "start_noise": "gaussian"},
}


def best_sampler(noise: str, num_train_timesteps: int = 1000) -> dict[str, Option]:
    """The options of `SamplingOptions` that suit a noise best, as far as we know; at most T steps."""
    options = dict(BEST_SAMPLERS.get(noise, BEST_SAMPLERS["default"]))
    options["num_inference_steps"] = min(int(options["num_inference_steps"]), num_train_timesteps)
    return options
