"""`ngldm compare` marks a best only among runs that can be compared, and only beyond two standard errors."""

from types import SimpleNamespace

import pytest

from ngldm.pipeline.cli.compare import _score_rows, best_value
from ngldm.pipeline.tracking.store import DATA_TAG, EXTRACTOR_TAG

TAGS = {"recipe": "mini", "dataset": "digits", DATA_TAG: "a", EXTRACTOR_TAG: "b"}
PARAMS = {"evaluate.extractor": "auto", "evaluate.fid_protocol": "standard", "sample.num_images": "1000"}


def run(value: float, **changes: str) -> SimpleNamespace:
    metrics = {"fd_classifier.auto": value, "fd_classifier_std.auto": 0.1, "recall.auto": value / 10}
    tags = {**TAGS, **{key: changes[key] for key in changes.keys() & TAGS.keys()}}
    params = {**PARAMS, **{key: changes[key] for key in changes.keys() & PARAMS.keys()}}
    return SimpleNamespace(data=SimpleNamespace(metrics=metrics, tags=tags, params=params))


def bold(*runs: SimpleNamespace) -> set[str]:
    return {row[0] for row in _score_rows(runs, True) if any("[bold]" in cell for cell in row[1:])}


def test_runs_of_the_same_conditions_have_a_best():
    assert bold(run(1.0), run(2.0)) == {"fd_classifier.auto", "recall.auto"}


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "paper"},
        {"dataset": "cifar10"},
        {DATA_TAG: "c"},
        {EXTRACTOR_TAG: "c"},
        {"evaluate.extractor": "inception"},
        {"evaluate.fid_protocol": "paper"},
        {"sample.num_images": "64"},
    ],
)
def test_other_conditions_have_no_best(change):
    assert bold(run(1.0), run(2.0, **change)) == set()
    assert bold(run(1.0), run(2.0), run(3.0, **change)) == set()


@pytest.mark.parametrize(
    ("values", "spreads", "best"),
    [
        ([1.0, 1.28], [0.1, 0.1], None),  # 2 * sqrt(2) * 0.1 = 0.283
        ([1.0, 1.29], [0.1, 0.1], 1.0),
        ([1.99, 1.0], [0.4, 0.3], None),  # 2 * 0.5
        ([2.01, 1.0], [0.4, 0.3], 1.0),
        ([1.0, 2.0, 1.1], [0.1, 0.1, 0.1], None),
        ([1.0, 1.0, 3.0], [0.1, 0.1, 0.1], None),
        ([1.0, 2.0], [None, 0.1], None),
        ([1.0, 2.0], [None, None], None),
    ],
)
def test_a_distance_is_best_by_two_standard_errors(values, spreads, best):
    assert best_value("fid.auto", values, spreads) == best
