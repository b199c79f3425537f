"""What a noise law is like, in the words that samplers and the report ask for."""

from dataclasses import dataclass
from typing import Literal

Needs = Literal["nothing", "eps", "scalar", "element", "unknown"]


@dataclass(frozen=True)
class Traits:
    """Properties of a noise law, beside its moments.

    K is the law's Stein kernel: E[n phi(n)] = E[K grad phi(n)] for smooth phi. A sampler that adds noise needs
    K_bar(x) = E[K | x_t = x].

    Attributes:
        shared: the elements of an image share random numbers (such as one scale), so that they are dependent though
            they may be uncorrelated.
        correlated: the elements of an image are correlated.
        symmetric: n and -n have the same law.
        gaussian: every linear function of n is Gaussian.
        closed_under_sums: p n + q n' is r n in law for independent n and n' and some r: a Markov chain of such noise
            has the same law at every t.
        needs: from what K_bar follows. "nothing": it is 1. "eps": it is a function of the predicted noise. "scalar": a
            network must learn one number for each image. "element": one number for each element. "unknown": no K is
            known that has one of these forms.
    """

    shared: bool
    correlated: bool
    symmetric: bool
    gaussian: bool
    closed_under_sums: bool
    needs: Needs
