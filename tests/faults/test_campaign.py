"""A part of the campaign of kills (`python -m tests.faults.campaign`): moments of each kind, and random ones."""

from pathlib import Path

import pytest

from tests.faults.campaign.cases import Bench
from tests.faults.campaign.moments import MOMENTS, Moment

WANTED = (
    "half of the second checkpoint's bytes",
    "before the new checkpoint becomes the last",
    "after a run is made",
    "after the samples get their name",
)
TAKEN = [m for m in MOMENTS if m.what in WANTED and m.stage in ("train", "sample")]


@pytest.fixture(scope="module")
def bench(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(smoke, tmp_path_factory.mktemp("campaign") / "cases")


@pytest.mark.parametrize("moment", TAKEN, ids=lambda moment: moment.what)
def test_a_kill_at_a_chosen_moment(bench: Bench, moment: Moment) -> None:
    assert len(TAKEN) == len(WANTED)
    assert bench.chosen(moment) == []


@pytest.mark.parametrize("number", [1, 4])
def test_a_kill_at_a_random_moment(bench: Bench, number: int) -> None:
    """Of the stages `latents` and `sample`."""
    assert bench.random(number, seed=1) == []
