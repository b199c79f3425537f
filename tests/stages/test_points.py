"""All stages on points, from a .csv table: files, scores, the report, the model file and MLflow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas
import pytest

import ngldm

STAGES = """
import sys
from pathlib import Path
from ngldm.pipeline.config.compose import compose_params
compose_params(Path("params.yaml"), sys.argv[1:])
from stages import autoencoder, curve, download, evaluate, latents, reference, report, sample, study, theory, train
download.download()
for stage in (autoencoder.autoencoder, latents.latents, reference.reference, theory.theory):
    stage() if stage is theory.theory else stage("cpu")
train.train("student_t", "cpu")
for sampler in ("ddim", "stein"):
    sample.sample("student_t", sampler, "cpu")
evaluate.evaluate("student_t", "cpu")
curve.curve("cpu")
study.study("cpu")
report.report()
"""
OPTIONS = (
    *("dataset=points", "recipe=smoke", "noise=student_t", "sampler=ddim", "dataset.law=null"),
    *("dataset.train_size=null", "dataset.test_size=400", "dataset.transform=soft_log", "dataset.source=table.csv"),
    *("sample.num_images=300", "train.max_steps=200", "train.eval_every=100", "train.checkpoint_every=100"),
    *("train.snapshot_every=100", "train.lr=0.003", "mlp.width=32"),
    *("diffusion.stein_head=element", "samplers=[ddim,stein]", "sampler_options.stein.num_inference_steps=10"),
)
STUDY = (
    "study.train_seeds=1",
    "study.sample_seeds=1",
    "study.num_images=64",
    "study.workers=1",
    "+study.samplers.few={method: ddim, num_inference_steps: 5}",
    "+study.variants.plain={noise: {distribution: gaussian}}",
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages have run."""
    root, folder = Path(__file__).parents[2], tmp_path_factory.mktemp("points")
    (folder / "conf").symlink_to(root / "conf")
    (folder / "dvc.yaml").write_bytes((root / "dvc.yaml").read_bytes())
    values = np.random.default_rng(0).standard_t(4, (1200, 3)) * [1.0, 10.0, 100.0] + [0.0, 50.0, -300.0]
    pandas.DataFrame(values, columns=["wind", "rain", "claims"]).to_csv(folder / "table.csv", index=False)
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, "-c", STAGES, *OPTIONS, *STUDY],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_samples_are_points_of_the_datas_scale(workspace: Path) -> None:
    points = np.load(workspace / "samples/student_t/ddim/points.npy")
    train = np.load(workspace / "data/dataset/train.npy")
    assert (points.shape, points.dtype) == ((300, 3), np.float32)
    spread = [np.subtract(*np.quantile(values, (0.75, 0.25), axis=0)) for values in (points, train)]
    np.testing.assert_array_less(np.abs(np.log(spread[0] / spread[1])), np.log(3.0))


def test_the_model_file_alone_gives_the_samples_of_both_samplers(workspace: Path) -> None:
    """`stein` needs the head that learned K_bar, which is in the file."""
    generator = ngldm.load(workspace / "models/student_t/model.safetensors", "cpu")
    both = []
    for method, steps in (("ddim", 5), ("stein", 10)):
        both.append(generator.sample(20, seed=0, method=method, num_inference_steps=steps))
        made = np.load(workspace / f"samples/student_t/{method}/points.npy")[:20]
        np.testing.assert_allclose(both[-1], made, rtol=1e-3, atol=1e-3)
    assert generator.model.diffusion.stein_head.kind == "element"
    assert not np.allclose(*both, rtol=0.1)


def test_the_scores_are_finite_and_have_a_floor(workspace: Path) -> None:
    content = json.loads((workspace / "metrics/evaluate/student_t.json").read_text())
    assert list(content["samplers"]) == ["ddim", "stein"]
    assert np.isfinite(content["samplers"]["stein"]["fd_points"])
    scores, floor = content["samplers"]["ddim"], content["further_floor"]
    assert {"fd_points", "fd_points_std", "msle", "beyond_0.99", "bulk_sw1"} <= set(scores)
    assert all(np.isfinite(value) for value in scores.values() if value is not None)
    assert set(floor) <= set(scores)
    assert floor["bulk_sw1"] < scores["bulk_sw1"]
    assert len(content["tails"]["real"]) == len(content["tails"]["shares"])
    assert "msle" in json.loads((workspace / "metrics/scores.json").read_text())


def test_curve_and_study_score_points_too(workspace: Path) -> None:
    curve = pandas.read_csv(workspace / "plots/curve/student_t.csv")
    study = pandas.read_csv(workspace / "study/scores.csv")
    assert (list(curve["step"]), list(study["variant"])) == ([100, 200], ["plain"])
    assert np.isfinite([*curve["value"], *study["value"]]).all()


def test_the_report_shows_points(workspace: Path) -> None:
    page = (workspace / "reports/index.html").read_text()
    for said in ("Tails, bulk and modes", 'id="tails"', "From noise to point", "generated points", "training points"):
        assert said in page
    assert "Grid of images" not in page
    table = pandas.read_csv(workspace / "reports/further.csv")
    assert list(table["noise"]) == ["training points", "student_t", "student_t"]


def test_mlflow_has_the_scores_and_serves_points(workspace: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{workspace / 'mlflow.db'}")
    runs = mlflow.search_runs(search_all_experiments=True, filter_string="tags.noise = 'student_t'")
    assert runs["metrics.msle.ddim"].notna().any()
    served = mlflow.pyfunc.load_model("models:/ngldm-student_t@best")
    points = served.predict({"n": [3], "seed": [0]}, params={"method": "ddim", "num_inference_steps": 5})
    assert (points.shape, points.dtype) == ((3, 3), np.float32)
