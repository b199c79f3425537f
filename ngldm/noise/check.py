"""Draws of a noise against its declared moments and quantiles."""

import math

import torch
from torch import Tensor

from ngldm.io.errors import InputError
from ngldm.noise.distribution import Noise

CHECK_DRAWS = 2**14
CHECK_ERRORS = 7.0  # standard errors by which sampled moments may differ from the declared ones
CHECK_CUT = 30.0  # deviations
CHECK_KURTOSIS = 10.0  # above, a sample's third and fourth moments say too little
_CHECKED: set[tuple[str, str]] = set()  # name and parameters


def check_moments(noise: Noise) -> None:
    """Refuse a noise whose draws contradict what it declares; once per name and parameters.

    Bounds are standard errors: of the mean; of the variance, sqrt((kurtosis + 2) / n), where the kurtosis is moderate,
    else of the variance cut at 30 deviations, which the whole one bounds from above; of the third and fourth moment by
    the sample's own spread, where the kurtosis is small enough for that to be known from these few draws. Draws that do
    not come from `icdf` are compared with it at some quantiles.
    """
    key = (noise.name, str(noise.params))
    if key in _CHECKED:
        return
    with torch.random.fork_rng(devices=[]):  # a `draw` may leave its generator aside and use the global one
        torch.manual_seed(0)
        x = noise.sample((CHECK_DRAWS,), torch.Generator().manual_seed(0), dtype=torch.float64)
    z, root, kurtosis = (x - noise.mean) / noise.variance**0.5, CHECK_DRAWS**0.5, noise.excess_kurtosis
    found = {}  # the variance first: where it is wrong, the mean's error is too
    if kurtosis <= 100.0:
        error = noise.variance * (max(kurtosis, -1.9) + 2.0) ** 0.5 / root
        found["variance"] = (float(x.var()), noise.variance, error)
    else:
        cut = noise.variance * z.square().clamp(max=CHECK_CUT**2)
        found["variance"] = (float(cut.mean()), noise.variance, float(cut.std()) / root)
    found["mean"] = (float(x.mean()), noise.mean, noise.variance**0.5 / root)
    if kurtosis <= CHECK_KURTOSIS:
        for order, moment, declared in ((3, "skewness", noise.skewness), (4, "excess_kurtosis", kurtosis)):
            power, normal = z**order, 3.0 * (order == 4)
            # What a tail has beyond the largest draw shows neither in the mean nor in its spread.
            unseen = (0.01 if order == 3 else 0.05) * max(kurtosis, 0.0)
            error = float(power.std()) / root + unseen
            found[moment] = (float(power.mean()) - normal, declared, error)
    for moment, (sampled, declared, error) in found.items():
        above = sampled - declared
        if moment == "variance" and not kurtosis <= 100.0:
            above = max(above, 0.0)
        if math.isfinite(declared) and not abs(above) <= CHECK_ERRORS * error + 1e-3:
            raise InputError(
                f"noise {noise.name!r}: {CHECK_DRAWS} draws have {moment} {sampled:.4f}, but the declared one "
                f"is {declared:.4f}: its draw or a declared moment is wrong"
            )
    if noise.base.draw is not None and noise.base.function("icdf") is not None:
        check_quantiles(noise, x)
    _CHECKED.add(key)


def forget_checks(name: str) -> None:
    """Check the noises of that name again: another function makes them now."""
    _CHECKED.difference_update([key for key in _CHECKED if key[0] == name])


def check_quantiles(noise: Noise, x: Tensor) -> None:
    for u in (0.05, 0.25, 0.5, 0.75, 0.95):
        q = float(noise.icdf(torch.tensor(u, dtype=torch.float64)))
        slack = 1e-5 * max(1.0, abs(q))  # rounding must not decide on which side an atom lies
        below, until = (float((x <= q + side).double().mean()) for side in (-slack, slack))
        error = CHECK_ERRORS * (u * (1.0 - u) / CHECK_DRAWS) ** 0.5
        if below > u + error or until < u - error:
            raise InputError(
                f"noise {noise.name!r}: {until:.4f} of {CHECK_DRAWS} draws lie below the quantile {q:.4f} that its "
                f"icdf gives for {u}: its draw or its icdf is wrong"
            )
