"""Which names of further scores are possible, without knowledge of the data."""

import numpy as np
import pytest

from ngldm.io.errors import InputError
from ngldm.scoring.features.names import check_names
from ngldm.scoring.further.images import image_score_names
from ngldm.scoring.further.points import point_score_names

POINTS, IMAGES = point_score_names(2, 3), image_score_names(np.arange(10), head=True)


@pytest.mark.parametrize(("names", "points"), [(POINTS, True), (IMAGES, False)])
def test_every_score_that_there_is_may_be_asked_for_and_only_for_its_kind(names: list[str], points: bool) -> None:
    check_names([*names, "*", *(f"{name[:3]}*" for name in names)], points, "key")
    for name in names:
        with pytest.raises(InputError, match=f"^key: '{name}'; {'images' if points else 'points'} have the scores"):
            check_names([name], not points, "key")


def test_an_unknown_score_is_named_also_with_a_star() -> None:
    for name in ("msl", "fid*", "*le"):
        with pytest.raises(InputError, match="have the scores msle, beyond_"):
            check_names([name], True, "key")
