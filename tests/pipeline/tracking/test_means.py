"""The means over the trainings of a noise in MLflow: one run per noise, beside those of its trainings."""

import pytest

from ngldm.pipeline.config.params import parse_params
from ngldm.pipeline.tracking.comparison import create_run
from ngldm.pipeline.tracking.means import record_means
from ngldm.pipeline.tracking.runs import PARENT_ID
from ngldm.pipeline.tracking.store import DATA_TAG, EXTRACTOR_TAG

ABOUT = {"dataset_sha256": "d", "weights_sha256": "w"}
SCORES = {"kid": 0.25, "precision": 0.75, "recall": 0.5, "seeds": "0, 1", "metric": "fd"}
MEANS = [
    {"noise": noise, "sampler": sampler, "value": value, "spread": value / 10, **SCORES}
    for noise, value in (("gaussian", 4.0), ("laplace", 3.0))
    for sampler in ("ancestral", "auto")
]
DIFFERENCES = [{"noise": "laplace", "sampler": "auto", "difference": -1.0, "low": -1.5, "high": -0.5}]


@pytest.fixture
def params(content):
    return parse_params({**content, "noises": ["gaussian", "laplace"], "seeds": [0, 1], "experiment": "means"})


def test_a_noise_has_a_run_with_its_means_errors_and_difference(store, params):
    trained = create_run(store, params, "laplace-s1", {})
    about = store.client.get_run(trained.id).data
    assert (about.tags["noise"], about.tags["seed"]) == ("laplace", "1")
    assert (about.params["noise"], about.params["seed"], about.params["shared_seed"]) == ("laplace", "1", "0")
    trained.finish()
    for _ in range(2):  # a report that is written again adds nothing
        record_means(store, params, MEANS, DIFFERENCES, ABOUT)
    parent = about.tags[PARENT_ID]
    found = store.client.search_runs([store.experiment_id], f"tags.`{PARENT_ID}` = '{parent}'")
    runs = {run.info.run_name: run for run in found}
    assert set(runs) == {"laplace-s1", "gaussian mean of 2 seeds", "laplace mean of 2 seeds"}
    assert len(found) == 3
    laplace = runs["laplace mean of 2 seeds"]
    assert laplace.info.status == "FINISHED"
    assert laplace.data.metrics == {
        "trainings": 2.0,
        **{f"fd.{sampler}": 3.0 for sampler in ("ancestral", "auto")},
        **{f"fd_std_error.{sampler}": pytest.approx(0.3) for sampler in ("ancestral", "auto")},
        **{
            f"{key}.{sampler}": SCORES[key]
            for key in ("kid", "precision", "recall")
            for sampler in ("ancestral", "auto")
        },
        "minus_gaussian.auto": -1.0,
        "minus_gaussian_ci95.auto": 0.5,
    }
    assert (laplace.data.tags[DATA_TAG], laplace.data.tags[EXTRACTOR_TAG]) == ("d", "w")
    assert (laplace.data.params["noise"], laplace.data.params["seed"]) == ("laplace", "0, 1")
    assert "minus_gaussian.auto" not in runs["gaussian mean of 2 seeds"].data.metrics
    assert store.client.get_run(parent).info.status == "FINISHED"
