"""`ngldm compare` marks a best only among runs that can be compared, and only beyond two standard errors."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import sem, ttest_ind

from ngldm.pipeline.cli.runs.compare import _obstacles, _score_rows, best_value
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
    """Recall is higher too, but nothing says by how many standard errors."""
    assert bold(run(1.0), run(2.0)) == {"fd_classifier.auto"}


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


@pytest.mark.parametrize("key", [*TAGS, *PARAMS])
def test_runs_that_do_not_say_their_conditions_have_no_best(key):
    """Two runs of an older version may have been scored on different images: neither says."""
    runs = run(1.0), run(2.0)
    for each in runs:
        (each.data.tags if key in TAGS else each.data.params).pop(key)
    assert bold(*runs) == set()
    assert _obstacles(runs) == [f"not all runs have {key}"]


def test_a_run_is_told_from_another_of_unknown_conditions():
    older = run(2.0)
    del older.data.tags[DATA_TAG]
    assert _obstacles((run(1.0, recipe="paper"), older)) == [
        "the runs differ in recipe",
        f"not all runs have {DATA_TAG}",
    ]


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
        ([1.0, 2.0], [0.0, 0.0], None),  # the same rule as in the report
        ([1.0, float("nan")], [0.1, 0.1], None),
        ([float("nan"), 1.0], [0.1, 0.1], None),
        ([1.0, 2.0], [0.1, float("nan")], None),
        ([1.0], [0.1], None),
    ],
)
def test_a_distance_is_best_by_two_standard_errors(values, spreads, best):
    scores = [(value, spread, None) for value, spread in zip(values, spreads, strict=True)]
    assert best_value("fid.auto", scores) == best


def test_means_over_trainings_are_best_by_welchs_interval():
    """Welch's t test of scipy on the same trainings says so at 5 %."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        ours, others = rng.normal(0.0, 1.0, 3), rng.normal(3.0, 1.5, 4)
        scores = [(float(np.mean(one)), float(sem(one)), float(len(one))) for one in (ours, others)]
        clear = ttest_ind(ours, others, equal_var=False).pvalue < 0.05 and np.mean(ours) < np.mean(others)
        assert (best_value("fid.auto", scores) == scores[0][0]) == clear


def test_a_mean_and_a_single_training_have_no_best():
    assert best_value("fid.auto", [(1.0, 0.1, 3.0), (9.0, 0.1, None)]) is None
    assert best_value("fid.auto", [(1.0, 0.1, None), (9.0, 0.1, 3.0)]) is None
