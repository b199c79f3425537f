"""The means over the trainings of a noise in MLflow: a run for each noise, beside the runs of its trainings."""

from collections.abc import Mapping, Sequence
from typing import Any

from ngldm.io.files import fingerprint
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.tracking.comparison import comparison, origin_tags, scored_against, training_params
from ngldm.pipeline.tracking.names import description, flatten
from ngldm.pipeline.tracking.runs import PARENT_ID, Run
from ngldm.pipeline.tracking.store import Store

MEANS_TAG = "ngldm.means"


def record_means(
    store: Store,
    params: Params,
    means: Sequence[Mapping[str, Any]],
    differences: Sequence[Mapping[str, Any]],
    about: Mapping[str, object],
) -> None:
    """Write a finished run for each noise, with the means over its trainings; one that is there already stays alone.

    Args:
        means: a row per noise and sampler (`ngldm.pipeline.report.rows.average`).
        differences: to the Gaussian (`ngldm.pipeline.report.seeds.differences`).
        about: reference.json.
    """
    parent = comparison(store, params)
    for noise in dict.fromkeys(row["noise"] for row in means):
        own = [row for row in means if row["noise"] == noise]
        metrics: dict[str, float] = {"trainings": len(params.seeds)}
        for row in own:
            metrics |= _named(row, {row["metric"]: row["value"], f"{row['metric']}_std_error": row["spread"]})
            metrics |= _named(row, {key: row[key] for key in ("kid", "precision", "recall")})
        for row in (row for row in differences if row["noise"] == noise):
            margin = (row["high"] - row["low"]) / 2
            metrics |= _named(row, {"minus_gaussian": row["difference"], "minus_gaussian_ci95": margin})
        _record(store, params, noise, (metrics, own[0]["seeds"], scored_against(about)), parent)
    parent.finish()


def _named(row: Mapping[str, Any], figures: Mapping[str, float]) -> dict[str, float]:
    return {f"{key}.{row['sampler']}": value for key, value in figures.items()}


def _record(
    store: Store, params: Params, noise: str, found: tuple[dict[str, float], str, dict[str, str]], parent: Run
) -> None:
    metrics, seeds, against = found
    key = fingerprint([noise, seeds, metrics, against])

    def there(client: Any) -> bool:
        found = client.search_runs([store.experiment_id], f"tags.`{MEANS_TAG}` = '{key}'")
        return any(run.info.status == "FINISHED" for run in found)  # a kill leaves one without all figures

    if parent.id is None or store.ask(there):
        return
    note = description(f"Means over the trainings of {noise} with the seeds {seeds}.", {}, "python -m stages.report")
    tags = {**origin_tags(params, noise, "stages/report.py"), **against, **note, MEANS_TAG: key, PARENT_ID: parent.id}
    run = Run(store, store.create_run(f"{noise} mean of {len(params.seeds)} seeds", tags), seconds=0.0)
    shared = training_params(params, params.labels_of(noise)[0])
    scoring = {"sample": params.sample.model_dump(exclude={"seed"}), "evaluate": params.evaluate.model_dump()}
    run.params(flatten({**shared, "seed": seeds, **scoring}))
    run.metrics(metrics)
    run.finish()
