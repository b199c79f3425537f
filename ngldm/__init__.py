"""ngldm: non-Gaussian latent diffusion models.

    import ngldm

    images = ngldm.load("model.safetensors").sample(16, seed=0)  # uint8 (16, H, W, C)

`import ngldm` is fast: torch is imported when one of the names below is first used. docs/python.md has examples.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ngldm.diffusion.process import Diffusion as Diffusion
    from ngldm.diffusion.schedules import make_schedule as make_schedule
    from ngldm.io.errors import InputError as InputError
    from ngldm.model import Model as Model
    from ngldm.noise import Base as Base
    from ngldm.noise import make_noise as make_noise
    from ngldm.noise import noise_names as noise_names
    from ngldm.noise import register as register
    from ngldm.sampling.denoiser import make_denoiser as make_denoiser
    from ngldm.sampling.generator import Generator as Generator
    from ngldm.sampling.generator import load as load
    from ngldm.sampling.samplers import ancestral as ancestral
    from ngldm.sampling.samplers import ddim as ddim
    from ngldm.sampling.samplers import dpmpp_2m as dpmpp_2m
    from ngldm.sampling.samplers import heun as heun
    from ngldm.sampling.samplers import posterior as posterior
    from ngldm.sampling.timesteps import inference_timesteps as inference_timesteps
    from ngldm.scoring.distance.frechet import frechet_distance as frechet_distance
    from ngldm.training.config import FitConfig as FitConfig
    from ngldm.training.ema import EMA as EMA
    from ngldm.training.loop import fit as fit
    from ngldm.training.task import Split as Split
    from ngldm.training.task import Task as Task

__version__ = "0.1.0"

_NAMES = {
    "diffusion.process": ("Diffusion",),
    "diffusion.schedules": ("make_schedule",),
    "io.errors": ("InputError",),
    "model": ("Model",),
    "noise": ("Base", "make_noise", "noise_names", "register"),
    "sampling.denoiser": ("make_denoiser",),
    "sampling.generator": ("Generator", "load"),
    "sampling.samplers": ("ancestral", "ddim", "dpmpp_2m", "heun", "posterior"),
    "sampling.timesteps": ("inference_timesteps",),
    "scoring.distance.frechet": ("frechet_distance",),
    "training.config": ("FitConfig",),
    "training.ema": ("EMA",),
    "training.loop": ("fit",),
    "training.task": ("Split", "Task"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
