"""Models as pipelines of diffusers, and diffusers' networks as models. It needs the extra `diffusers`."""

from ngldm.interop.diffusers.denoiser import Denoiser
from ngldm.interop.diffusers.pipeline import Pipeline
from ngldm.interop.diffusers.scheduler import Scheduler

__all__ = ["Denoiser", "Pipeline", "Scheduler"]
