"""`ngldm runs`: which runs, in which order, and in which form."""

import csv
import io
import json

import pytest

SWEEP = ["gumbel lr=2e-4", "laplace lr=0.001", "laplace lr=0.0005", "laplace lr=0.0002", "laplace"]  # newest first


def test_all_scored_runs_are_listed_newest_first_with_their_distances(ngldm, there, names, lines):
    code, out, err = ngldm("runs")
    assert (code, err) == (0, "")
    assert names(out) == [*SWEEP, "b", "a"]
    heading, row, *_ = lines(out)
    assert heading.split()[-1] == "fd_classifier.auto"
    assert "42 s" in row
    assert row.split()[-1] == "7"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--sort", "fd_classifier.auto"), ["b", "a", SWEEP[2], SWEEP[1], SWEEP[3], SWEEP[0], SWEEP[4]]),
        (("--sort", "recall", "--limit", 1), [SWEEP[0]]),  # the highest first
        (("--sort", "train_seconds", "--noise", "gumbel"), [SWEEP[0]]),
        (("--sort", "fd_classifier", "--limit", 1), ["b"]),  # not the curve by step
        (("--sort", "fd_classifier.auto", "--reverse", "--limit", 1), [SWEEP[4]]),
        (("--noise", "gumbel", "--noise", "a"), [SWEEP[0], "a"]),
        (("--where", "train.lr=2e-4"), [SWEEP[0], SWEEP[3]]),  # a number, however it is written
        (("--where", "git_commit=old"), ["laplace"]),
        (("--where", "train.lr=0.001", "--where", "git_commit=new"), [SWEEP[1]]),
        (("--sweep", "rates"), ["b", "a"]),
        (("--sweep", "rates", "--reverse"), ["a", "b"]),
        (("--all", "--noise", "uniform"), ["uniform"]),
    ],
)
def test_runs_are_chosen_and_sorted(ngldm, there, names, arguments, expected):
    code, out, err = ngldm("runs", *arguments)
    assert (code, err) == (0, "")
    assert [name for name in names(out) if not name.endswith("shows all")] == expected


def test_what_was_left_out_is_said(ngldm, there):
    assert "5 more; --limit 7 shows all" in ngldm("runs", "--limit", 2)[1]


def test_runs_without_the_metric_come_last(ngldm, there, names):
    found = names(ngldm("runs", "--sort", "recall.auto")[1])
    assert found == [SWEEP[0], SWEEP[3], SWEEP[1], SWEEP[2], "laplace", "b", "a"]


def test_a_column_is_a_param_a_tag_or_a_metric(ngldm, there, lines):
    _, out, _ = ngldm("runs", "--noise", "gumbel", "--column", "train.lr", "--column", "recipe", "--column", "recall")
    heading, row = (line.split() for line in lines(out))
    assert heading[-4:] == ["train.lr", "recipe", "recall.auto", "fd_classifier.auto"]
    assert row[-4:] == ["0.0002", "smoke", "0.9", "7"]


def test_json_has_everything_of_each_run(ngldm, there):
    code, out, _ = ngldm("runs", "--format", "json", "--noise", "gumbel")
    (found,) = json.loads(out)
    assert code == 0
    assert (found["name"], found["parent"], found["status"]) == ("gumbel lr=2e-4", "smoke digits 0.0002", "FINISHED")
    assert found["seconds"] == 42.0
    assert found["params"] == {"noise": "gumbel", "train.lr": "0.0002"}
    assert found["metrics"]["fd_classifier.auto"] == 7.0
    assert found["tags"]["git_commit"] == "new"
    assert len(found["id"]) == 32


def test_csv_has_a_column_for_each_param_and_metric(ngldm, there):
    rows = list(csv.DictReader(io.StringIO(ngldm("runs", "--format", "csv", "--sort", "fd_classifier.auto")[1])))
    assert [row["name"] for row in rows[:2]] == ["b", "a"]
    assert rows[0]["train.lr"] == ""
    assert [float(row["fd_classifier.auto"]) for row in rows] == sorted(float(r["fd_classifier.auto"]) for r in rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sort", "fdd"), ["--sort", "'fdd'", "fd_classifier.auto"]),
        (("--column", "nonsense"), ["--column", "'nonsense'"]),
        (("--noise", "laplase"), ["unknown noise 'laplase'", "gumbel, laplace"]),
        (("--where", "train.lr"), ["--where", "'train.lr'", "KEY=VALUE"]),
        (("--where", "train.lrr=1"), ["--where", "'train.lrr'", "train.lr"]),
        (("--where", "lr=1"), ["--where", "'lr'", "train.lr"]),
        (("--where", "train.lr=7"), ["--where", "train.lr=7", "0.0002"]),
        (("--sweep", "rate"), ["--sweep", "'rate'", "rates"]),
        (("--experiment", "empty"), ["'empty'", "no run with scores"]),
        (("--experiment", "none"), ["--experiment", "'none'", "ngldm"]),
    ],
)
def test_bad_input_is_one_line(ngldm, there, arguments, words):
    code, out, err = ngldm("runs", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
