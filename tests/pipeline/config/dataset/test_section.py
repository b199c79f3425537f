"""The section of the data set: points of a law or of a table; `tests/data/sources/test_names.py` has all options."""

from typing import Any

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.config.params import Params, parse_params

POINTS = {
    "name": "points",
    "source": "table.csv",
    "test_size": 100,
    "transform": "none",
    "train_size": 200,
    "law": {"dim": 2, "tails": "student_t", "df": 3.0, "shared": True, "weights": [1.0], "radius": 4.0, "scale": 0.5},
}


def points_params(content: dict[str, Any], dataset: dict[str, Any], **sections: dict[str, Any]) -> Params:
    identity = {**content["autoencoder"], "kind": "identity"}
    return parse_params({**content, "autoencoder": identity, **sections, "dataset": {**POINTS, **dataset}})


def test_points_of_a_law_or_of_a_table_are_accepted(content: dict[str, Any]) -> None:
    law = points_params(content, {}).dataset.law
    assert law is not None
    assert law.df == 3.0
    assert points_params(content, {"law": None, "train_size": None}).dataset.law is None


@pytest.mark.parametrize(
    ("dataset", "named"),
    [
        ({"law": None}, "dataset.train_size: needed with a law, and only there"),
        ({"train_size": None}, "dataset.train_size: needed with a law, and only there"),
        ({"transform": None}, "dataset.transform: missing; data set 'points' needs it"),
        ({"transform": "log"}, "dataset.transform: 'log' is not allowed"),
        ({"size": 8}, "dataset.size: not an option of data set 'points'"),
        ({"law": {**POINTS["law"], "df": None}}, "dataset.law.df: None; needed with tails 'student_t'"),
        ({"law": {**POINTS["law"], "alpha": 1.5}}, "dataset.law.alpha: 1.5; needed with tails 'stable'"),
        ({"law": {**POINTS["law"], "tails": "stable", "df": None, "alpha": 2.0}}, "dataset.law.alpha: 2.0 is not"),
    ],
)
def test_points_that_do_not_fit_are_refused(content: dict[str, Any], dataset: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        points_params(content, dataset)


def test_points_are_neither_encoded_nor_classified(content: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"autoencoder.kind: 'kl' is for images; points need 'identity'"):
        points_params(content, {}, autoencoder=content["autoencoder"])
    with pytest.raises(InputError, match=r"evaluate.extractor: 'classifier' does not fit the data set 'points'"):
        points_params(content, {}, evaluate={**content["evaluate"], "extractor": "classifier"})
    with pytest.raises(InputError, match=r"evaluate.extractor: 'points' does not fit the data set 'digits'"):
        parse_params({**content, "evaluate": {**content["evaluate"], "extractor": "points"}})
