"""Noise distributions, each standardised to mean 0 and variance 1. Other rooms import from here.

A distribution is registered by a decorated function that returns a `Base`: a `torch.distributions` object, at any
location and scale, with its skewness and excess kurtosis, which standardising leaves as they are:

    @register("laplace")
    def laplace() -> Base:
        return Base(Laplace(0.0, 1.0), skewness=0.0, excess_kurtosis=3.0)

One `Noise` object serves training, the start of sampling and its steps. A model file holds its name and parameters.
A package of yours can add distributions by an entry point of the group `ngldm.noises`: it names a module that calls
`register`.
"""

from ngldm.noise import bounded, combinators, discrete, families
from ngldm.noise.distribution import Base, Draw, Noise
from ngldm.noise.law import JointLaw, Law, draw_with_stein
from ngldm.noise.laws import annealed, composed, covariance, filtered, scale_mixtures, spherical
from ngldm.noise.registry import make_iid, make_noise, noise_factory, noise_names, register
from ngldm.noise.traits import Traits

__all__ = [
    "Base",
    "Draw",
    "JointLaw",
    "Law",
    "Noise",
    "Traits",
    "annealed",
    "bounded",
    "combinators",
    "composed",
    "covariance",
    "discrete",
    "draw_with_stein",
    "families",
    "filtered",
    "make_iid",
    "make_noise",
    "noise_factory",
    "noise_names",
    "register",
    "scale_mixtures",
    "spherical",
]
