"""The rules between settings of a diffusion."""

import pytest
import torch

from ngldm.diffusion.names import (
    OBJECTIVES,
    SCHEDULES,
    check_preconditioning,
    ends_in_noise,
    require_bounded_velocity,
    require_chain,
    require_signal,
)
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError


def test_eps_cannot_be_predicted_from_pure_noise() -> None:
    with pytest.raises(
        InputError, match=r"^diffusion\.objective: 'eps' cannot be used with schedule\.zero_terminal_snr.*'v' or 'x0'"
    ):
        require_signal("eps", True)
    with pytest.raises(InputError, match=r"^study\.variants\.a: 'eps'"):
        require_signal("eps", True, "study.variants.a")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_everything_else_can(objective: str) -> None:
    require_signal(objective, False)
    if objective != "eps":
        require_signal(objective, True)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "edm_ve"])
def test_the_rules_by_name_are_those_of_the_schedules(name: str, zero: bool) -> None:
    """params.yaml is checked by name, without torch; the library asks the schedule itself."""
    schedule = make_schedule(name, 10, zero_terminal_snr=zero)
    assert ends_in_noise(name, zero) == (float(schedule.signal[-1]) == 0.0)
    if schedule.chain is None:
        with pytest.raises(
            InputError, match=r"^who: needs a variance-preserving schedule; use schedule\.name constant, "
        ):
            require_chain("who", name)
    else:
        require_chain("who", name)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_preconditioning_is_of_x0(objective: str) -> None:
    check_preconditioning("none", objective)
    if objective != "x0":
        with pytest.raises(InputError, match=f"use diffusion.objective 'x0', not '{objective}'"):
            check_preconditioning("edm", objective)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_velocity_is_refused_where_it_ends_in_hundreds(name: str, objective: str) -> None:
    """The root mean square of u at T, for x_0 and noise of variance 1, is sqrt(a'^2 + b'^2)."""
    schedule = make_schedule(name, 1000)
    if objective == "u" and float(torch.hypot(schedule.signal_rate, schedule.noise_rate)[-1]) > 100.0:
        with pytest.raises(InputError, match=r"'u' cannot be trained with schedule.name 'edm_ve'"):
            require_bounded_velocity(objective, name)
    else:
        require_bounded_velocity(objective, name)
