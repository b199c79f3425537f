"""Stage `theory`: measure moments, densities and Theorem 1's ratio of the noises."""

from ngldm.data.cache.latents import open_cache
from ngldm.diffusion.schedules import Schedule, make_schedule
from ngldm.io.device import be_deterministic
from ngldm.noise import make_noise
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import command, progress, summary
from ngldm.theory.measure import count_ratios, measure_theory
from ngldm.theory.tables import write_theory


def theory() -> None:
    """Measure moments and densities of each noise, and Theorem 1's ratios on the training latents."""
    params = load_params()
    be_deterministic()
    latents, longest = open_cache(workspace.LATENTS).train, params.schedule.num_train_timesteps
    noises = {label: make_noise(**params.noise_arguments(label)) for label in params.noises}

    def schedule(num_train_timesteps: int) -> Schedule:
        return make_schedule(**{**params.schedule.model_dump(), "num_train_timesteps": num_train_timesteps})

    ratios = count_ratios(noises, schedule(longest))
    with progress("theory", ratios, "ratios") as advance:
        found = measure_theory(latents, noises, schedule, longest, advance)
    write_theory(found, workspace.THEORY)
    summary("theory", {"noises": len(noises), "ratios of theorem 1": ratios, "folder": workspace.THEORY})


main = command(theory)
if __name__ == "__main__":
    main()
