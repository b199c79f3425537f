"""Which runs belong together, by the tags of MLflow."""

from ngldm.pipeline.cli.runs.choosing import best_first, newest_sweep, of_sweep, pick, where
from ngldm.pipeline.cli.runs.reading import is_scored, read_runs


def names(runs):
    return [run.info.run_name for run in runs]


def test_the_newest_sweep_is_what_shares_commit_recipe_and_data_set(there):
    known = read_runs("ngldm")
    scored = [run for run in known if is_scored(run)]
    assert names(newest_sweep(scored, known)) == [
        *("gumbel lr=2e-4", "laplace lr=0.001", "laplace lr=0.0005", "laplace lr=0.0002"),
    ]  # neither the older commit nor the named sweep


def test_the_newest_sweep_is_the_named_one_if_the_newest_run_is_in_it(there):
    known = read_runs("ngldm")
    scored = [run for run in known if run.info.run_name in ("a", "b", "laplace")]
    named = [run for run in scored if run.info.run_name in ("a", "b")]
    assert names(newest_sweep(named, known)) == ["b", "a"]
    assert names(newest_sweep(scored, known)) == ["laplace"]


def test_a_sweep_is_found_by_the_beginning_of_its_id(there):
    known = read_runs("ngldm")
    (parent,) = (run for run in known if run.info.run_name == "rates")
    assert names(of_sweep(known, known, parent.info.run_id[:10])) == ["b", "a"]


def test_text_is_compared_as_text(there):
    known = read_runs("ngldm")
    assert names(where(known, "noise = gumbel")) == ["gumbel lr=2e-4"]


def test_reverse_keeps_runs_without_the_metric_last(there):
    known = read_runs("ngldm")
    assert names(best_first(known, "recall.auto", reverse=True))[:2] == ["laplace", "laplace lr=0.0005"]


def test_a_run_is_picked_by_its_name_before_its_noise(there):
    runs = [run for run in read_runs("ngldm") if run.data.params]
    assert (
        pick(runs, "gumbel", "ngldm").info.run_name == "gumbel lr=2e-4"
    )  # no run has this name, so the noise's newest
    newest = next(run for run in runs if run.info.run_name == "laplace")
    assert pick(runs, "laplace", "ngldm").info.run_id == newest.info.run_id
