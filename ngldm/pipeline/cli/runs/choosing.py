"""Which runs a command is about: those of a noise, of a sweep, with a setting, or by name."""

import math
from collections.abc import Sequence
from typing import Any

from ngldm.io.errors import InputError, unknown
from ngldm.pipeline.cli.runs.reading import SHOWN, higher_is_better, listed
from ngldm.pipeline.tracking.runs import PARENT_ID

SAME = ("git_commit", "recipe", "dataset")  # tags that the runs of a sweep without a name share


def setting(run: Any, key: str) -> str | None:
    """A param or tag of a run. None if it has none."""
    value: str | None = run.data.params.get(key, run.data.tags.get(key))
    return value


def of_noises(runs: Sequence[Any], noises: Sequence[str]) -> list[Any]:
    """The runs of these noises; all if none is named.

    Raises:
        InputError: no run has such a noise.
    """
    known = {noise for run in runs if (noise := setting(run, "noise"))}
    for noise in noises:
        if noise not in known:
            raise unknown("noise", noise, known)
    return [run for run in runs if not noises or setting(run, "noise") in noises]


def where(runs: Sequence[Any], condition: str) -> list[Any]:
    """The runs that have a param or tag with a value: "train.lr=2e-4". Numbers are compared as numbers.

    Raises:
        InputError: it has no "=", no run has such a key, or none has that value.
    """
    key, equals, value = (part.strip() for part in condition.partition("="))
    if not equals or not key:
        raise InputError(f"--where: {condition!r} must be KEY=VALUE, for example train.lr=2e-4")
    values = {found for run in runs if (found := setting(run, key)) is not None}
    if not values:
        keys = sorted({key for run in runs for key in run.data.params})
        near = [other for other in keys if key.rpartition(".")[2] in other] or keys
        raise InputError(f"--where: no run has {key!r}; there are: {listed(near, 20)}")
    kept = [run for run in runs if _equal(setting(run, key), value)]
    if not kept:
        raise InputError(f"--where: no run has {key}={value}; there are: {listed(sorted(values))}")
    return kept


def _equal(found: str | None, wanted: str) -> bool:
    if found is None or found == wanted:
        return found is not None
    try:
        return float(found) == float(wanted)
    except ValueError:
        return False


def of_sweep(runs: Sequence[Any], everything: Sequence[Any], name: str) -> list[Any]:
    """The runs below the parents with that name, or with an id that begins so.

    Args:
        runs: to choose from.
        everything: all runs of the experiment, parents included.

    Raises:
        InputError: there is no such parent.
    """
    parents = {run.data.tags.get(PARENT_ID) for run in runs}
    known = [run for run in everything if run.info.run_id in parents]
    ids = {run.info.run_id for run in known if run.info.run_name == name or (name and run.info.run_id.startswith(name))}
    if not ids:
        raise InputError(f"--sweep: no {name!r}; there are: {listed(run.info.run_name for run in known)}")
    return [run for run in runs if run.data.tags.get(PARENT_ID) in ids]


def newest_sweep(runs: Sequence[Any], everything: Sequence[Any]) -> list[Any]:
    """All runs that belong together with the newest one: of its named sweep, study or search; else of its commit.

    Without a name, runs belong together if commit, recipe and data set are the same, as experiments of DVC do that have
    one baseline.

    Args:
        runs: newest first.
        everything: all runs of the experiment, parents included.
    """
    newest = runs[0]
    above = {run.info.run_id: run for run in everything}.get(newest.data.tags.get(PARENT_ID, ""))
    if above is not None and not above.data.params:  # the parent of a plain comparison has the settings that it shares
        return [run for run in runs if run.data.tags.get(PARENT_ID) == above.info.run_id]
    shared = {key: newest.data.tags.get(key) for key in SAME}
    named = {run.info.run_id for run in everything if not run.data.params}
    own = [run for run in runs if run.data.tags.get(PARENT_ID) not in named]
    return [run for run in own if all(run.data.tags.get(key) == value for key, value in shared.items())]


def pick(found: Sequence[Any], name: str, experiment: str) -> Any:
    """The run with that id, with that name (the newest), of that noise (the newest), or with an id that begins so.

    Raises:
        InputError: there is none, or several ids begin so.
    """
    named = [run for run in found if name in (run.info.run_name, run.info.run_id)]
    named += [run for run in found if setting(run, "noise") == name]
    if named:
        return named[0]
    fits = [run for run in found if run.info.run_id.startswith(name)] if name else []
    if len(fits) > 1:
        raise InputError(f"RUN: {name!r} begins {len(fits)} ids: {', '.join(run.info.run_id for run in fits[:SHOWN])}")
    if not fits:
        shown = listed(run.info.run_name for run in found)
        raise InputError(f"RUN: {name!r} is no scored run of experiment {experiment!r}, which has: {shown}")
    return fits[0]


def best_first(runs: Sequence[Any], metric: str, reverse: bool = False) -> list[Any]:
    """The runs by a metric: the lowest first, of precision and its like the highest. Runs without it come last."""

    def value(run: Any) -> float:
        return float(run.data.metrics.get(metric, math.nan))

    known = sorted((run for run in runs if not math.isnan(value(run))), key=value)
    if higher_is_better(metric) != reverse:
        known.reverse()
    return known + [run for run in runs if math.isnan(value(run))]
