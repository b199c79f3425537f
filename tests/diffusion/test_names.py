"""The one rule between settings of a diffusion."""

import pytest

from ngldm.diffusion.names import OBJECTIVES, require_signal
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
