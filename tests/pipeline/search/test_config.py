"""The file of a search: what is refused, with the key and what is allowed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ngldm.io.errors import InputError
from ngldm.pipeline.search.config import Dimension, load_search

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "search").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_tracked_searches_are_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert load_search(file.stem).trials > 0


def test_whole_numbers_make_a_whole_range_and_others_a_real_one() -> None:
    assert Dimension(low=1, high=4).ends() == [1, 4]
    assert Dimension(low=1, high=4).is_whole
    assert not Dimension(low=1, high=4.5).is_whole
    assert [type(end) for end in Dimension(low=1, high=4.5).ends()] == [float, float]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 3, "high": 3}, "low: 3 to high: 3 is an empty range"),
        ({"low": 3.0, "high": 1.0}, "empty range"),
        ({"choices": []}, "empty range"),
        ({"low": 0.0, "high": 1.0, "log": True}, "above 0 with log"),
        ({"low": 1}, "missing"),
        ({}, "missing"),
        ({"choices": [1], "low": 0}, "not together"),
        ({"choices": ["a", "b", "a"]}, "'a' is named twice"),
    ],
)
def test_a_dimension_without_values_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Dimension(**fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimiser": "grid"}, "optimiser: 'grid' is not allowed"),
        ({"trials": 0}, "trials: 0 is not allowed"),
        ({"trails": 3}, "trails: unknown key; known here: trials, "),
        ({"halving": {"first": 5, "reduction": 1}}, "halving.reduction: 1 is not allowed"),
        ({"noises": {}}, "noises"),
        ({"trials": 10**6}, "trials: 1000000 is not allowed: input should be less than or equal to 100000"),
        ({"startup": 10**9}, "startup: 1000000000 is not allowed: input should be less than or equal to 100000"),
        ({"attempts": 10**9}, "attempts: 1000000000 is not allowed: input should be less than or equal to 1000"),
        ({"seed": 2**63}, f"seed: {2**63} is not allowed"),
        ({"halving": {"first": 5, "reduction": 10**30}}, "halving.reduction: 10+ is not allowed"),
        ({"confirm": {"first_seed": 2**63 - 2}}, f"confirm.first_seed: {2**63 - 2} is not allowed"),
        ({"confirm": {"train_seeds": 10**9}}, "confirm.train_seeds: 1000000000 is not allowed"),
        ({"seed": 1000}, "confirm.first_seed: 1000 to 1002 have the search's own seed, 1000"),
        ({"seed": 1001, "confirm": {"train_seeds": 1, "sample_seeds": 2}}, "1000 to 1001 have the search's own seed"),
        ({"space": {"train.lr": {"low": 1, "high": 2, "when": {"schedule.name": []}}}}, "when.schedule.name: \\[\\]"),
        ({"space": {"train.lr": {"low": 2, "high": 1}}}, r"space.train.lr.*low: 2 to high: 1 is an empty range"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(
    write_search: Callable[..., None], changes: dict[str, Any], message: str
) -> None:
    write_search(**changes)
    with pytest.raises(InputError, match=message) as error:
        load_search("tiny")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("conf/search/tiny.yaml: ")


def test_an_unknown_search_is_named_with_those_that_exist(write_search: Callable[..., None]) -> None:
    for name in ("none", "", "../recipe/smoke", "digits.yaml"):
        with pytest.raises(InputError, match=rf"unknown search '{name}'; choose one of: .*digits"):
            load_search(name)
