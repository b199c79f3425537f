"""Scores while training: snapshots, their curve, and the paper's figures beside it."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from ruamel.yaml import YAML

from ngldm.data.reference import load_reference
from ngldm.data.snapshots import snapshot_files
from ngldm.io.errors import InputError
from ngldm.io.files import fingerprint, write_described
from ngldm.io.tensors import load_tensors
from ngldm.pipeline import workspace as paths
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.params import parse_params
from ngldm.pipeline.report.curve import read_curve
from ngldm.sampling.generator import load
from ngldm.scoring.features.classifier import ClassifierExtractor
from stages.curve import curve
from stages.train import train


@pytest.fixture(scope="module")
def built(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of recipe smoke, one noise, trained with snapshots, with an MLflow store of its own."""
    folder = tmp_path_factory.mktemp("curve")
    for name in ("conf", "data"):
        shutil.copytree(smoke / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        paths.AUTOENCODER.parent.mkdir()
        shutil.copy(smoke / paths.AUTOENCODER, paths.AUTOENCODER)
        compose_params(Path("params.yaml"), ["recipe=smoke", "noise=laplace"])
        train("laplace", "cpu")
    return folder


@pytest.fixture
def workspace(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, MLflow's database included; pictures in MLflow go to the folder of what was copied."""
    folder = tmp_path / "workspace"
    shutil.copytree(built, folder)
    monkeypatch.chdir(folder)
    return folder


def change(section: str, **values: object) -> None:
    content = YAML(typ="safe").load(Path("params.yaml"))
    content[section].update(values)
    YAML().dump(content, Path("params.yaml"))


def read(noise: str = "laplace") -> list[dict[str, str]]:
    with (paths.CURVE / f"{noise}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_training_keeps_whole_models_on_its_way(workspace: Path) -> None:
    files = snapshot_files(paths.snapshots("laplace"))
    assert [file.name for file in files] == ["000000010.safetensors", "000000020.safetensors"]
    last, model = load_tensors(files[-1])[0], load_tensors(paths.model("laplace"))[0]
    assert last.keys() == model.keys()
    assert all(torch.equal(last[key], model[key]) for key in model)
    first = load_tensors(files[0])[0]
    assert any(not torch.equal(first[key], model[key]) for key in model)


def test_the_curve_holds_the_distances_that_pytorch_fid_finds(workspace: Path) -> None:
    curve("cpu")
    rows = read()
    assert [int(row["step"]) for row in rows] == [10, 20]
    assert [float(row["epoch"]) for row in rows] == [10 * 32 / 1500, 20 * 32 / 1500]
    extractor, real = ClassifierExtractor(paths.REFERENCE / "classifier.safetensors"), load_reference(paths.REFERENCE)
    for row in rows:
        generator = load(paths.snapshots("laplace") / f"{int(row['step']):09d}.safetensors")
        images = generator.sample(32, batch_size=32)
        features = extractor(images).double().numpy()
        expected = calculate_frechet_distance(
            features.mean(0), np.cov(features, rowvar=False), real.mu.numpy(), real.sigma.numpy()
        )
        assert float(row["value"]) == pytest.approx(expected, rel=1e-3)
        assert (row["metric"], row["num_images"]) == ("fd_classifier", "32")


def test_another_precision_is_sampled_in_and_its_scores_are_kept_apart(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve("cpu")
    usual = read()
    change("curve", precision="fp32", layout="channels_last", deterministic=True)
    mark(-1.0)
    curve("cpu")
    assert {float(row["value"]) for row in read()} == {-1.0}  # what is written out is the same as the default
    change("curve", precision="bf16", layout="contiguous")
    capsys.readouterr()
    curve("cpu")
    assert capsys.readouterr().out.count("changed since: settings.precision, settings.layout") == 2
    extractor, real = ClassifierExtractor(paths.REFERENCE / "classifier.safetensors"), load_reference(paths.REFERENCE)
    generator = load(paths.snapshots("laplace") / "000000020.safetensors").computing("bf16", "contiguous", 32)[0]
    features = extractor(generator.sample(32, batch_size=32)).double().numpy()
    expected = calculate_frechet_distance(
        features.mean(0), np.cov(features, rowvar=False), real.mu.numpy(), real.sigma.numpy()
    )
    assert float(read()[-1]["value"]) == pytest.approx(expected, rel=1e-3)
    assert read()[-1]["value"] != usual[-1]["value"]


def test_the_fastest_computation_is_measured_once_said_and_part_of_what_a_score_is_kept_by(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(workspace / "torch"))
    change("curve", precision="auto")
    curve("cpu")
    (file,) = (workspace / "torch" / "ngldm").glob("*.json")
    chosen = json.loads(file.read_text())
    assert f"curve laplace: precision auto: {chosen['precision']}, {chosen['layout']} (" in capsys.readouterr().out
    mark(-1.0)
    curve("cpu")
    assert {float(row["value"]) for row in read()} == {-1.0}
    assert "as measured before" in capsys.readouterr().out
    other = "fp32" if chosen["precision"] == "bf16" else "bf16"
    file.write_text(json.dumps({**chosen, "precision": other}))  # as on another machine
    curve("cpu")
    assert "changed since: settings.precision" in capsys.readouterr().out
    assert -1.0 not in {float(row["value"]) for row in read()}


def test_the_papers_protocol_scores_as_many_real_images_as_generated_ones(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change("evaluate", fid_protocol="paper")
    curve("cpu")
    said = capsys.readouterr().out
    assert "32 generated and 1500 real ones, so 32 of each count" in said
    extractor, real = ClassifierExtractor(paths.REFERENCE / "classifier.safetensors"), load_reference(paths.REFERENCE)
    generator = load(paths.snapshots("laplace") / "000000020.safetensors")
    images = generator.sample(32, batch_size=32)
    ours, theirs = extractor(images).double().numpy(), real.features[:32].double().numpy()
    expected = calculate_frechet_distance(
        ours.mean(0), np.cov(ours, rowvar=False), theirs.mean(0), np.cov(theirs, rowvar=False)
    )
    assert float(read()[-1]["value"]) == pytest.approx(expected, rel=1e-3)
    assert {(row["metric"], row["num_images"]) for row in read()} == {("fd_paper_protocol", "32")}


def test_mlflow_gets_the_curve_and_a_picture_of_each_snapshot(workspace: Path) -> None:
    import mlflow

    (workspace / "mlflow.db").unlink()
    train("laplace", "cpu")  # into a store of this test's own, pictures included
    curve("cpu")
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    (run,) = client.search_runs(["1"], "attributes.run_name = 'laplace'")
    history = client.get_metric_history(run.info.run_id, "fd_classifier.by_step")
    assert [(point.step, point.value) for point in history] == [(int(r["step"]), float(r["value"])) for r in read()]
    names = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, "images")]
    steps = {name.split("+")[2] for name in names if name.startswith("by_step+") and name.endswith(".png")}
    assert steps == {"10", "20"}  # what the slider of the image view reads


def mark(value: float) -> None:
    """Write a value that no scoring gives into the kept results: it shows where they are read back."""
    for file in Path("checkpoints/curve").iterdir():
        content = json.loads(file.read_text())
        content["rows"][0]["value"] = value
        content["sha256"] = fingerprint(content["rows"])
        file.write_text(json.dumps(content))


def test_done_snapshots_are_not_scored_again(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import mlflow

    curve("cpu")
    first, client = read(), mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    curve("cpu")
    assert read() == first
    (run,) = client.search_runs(["1"], "attributes.run_name = 'laplace'")
    assert len(client.get_metric_history(run.info.run_id, "fd_classifier.by_step")) == len(first)
    mark(-1.0)
    curve("cpu")
    assert [float(row["value"]) for row in read()] == [-1.0, -1.0]
    assert "not used" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "values", "reason"),
    [
        ("curve", {"num_images": 16}, "changed since: settings.num_images"),
        ("evaluate", {"fid_protocol": "paper"}, "changed since: settings.evaluate.fid_protocol"),
        ("evaluate", {"kid_subsets": 3, "neighbours": 2}, None),
        ("train", {"log_every": 2}, None),
    ],
)
def test_a_score_is_kept_until_something_that_decides_it_changes(
    workspace: Path, capsys: pytest.CaptureFixture[str], section: str, values: dict[str, Any], reason: str | None
) -> None:
    curve("cpu")
    mark(-1.0)
    change(section, **values)
    capsys.readouterr()
    curve("cpu")
    said = capsys.readouterr().out
    kept = [float(row["value"]) == -1.0 for row in read()]
    if reason is None:
        assert all(kept)
        assert "not used" not in said
    else:
        assert not any(kept)
        assert said.count("not used") == said.count(reason) == 2


def test_another_reference_is_noticed(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve("cpu")
    about = json.loads((paths.REFERENCE / "reference.json").read_text())
    features = np.load(paths.REFERENCE / "features.npy")
    features = np.concatenate([features, features[:1]])
    np.save(paths.REFERENCE / "features.npy", features)
    moments = {"mu": features.mean(0, np.float64), "sigma": np.cov(features.astype(np.float64), rowvar=False)}
    np.savez(paths.REFERENCE / "statistics.npz", **moments)
    names = [name for name in about.pop("sha256") if name != "reference.json"]
    other = {**about, "num_images": 1501, "train_images": 1600}
    write_described(paths.REFERENCE / "reference.json", other, names)
    curve("cpu")
    said = capsys.readouterr().out
    assert "curve laplace-000000010: kept result" in said
    reason = said.partition("changed since: ")[2].partition("\n")[0]
    changed = {"features.npy", "statistics.npz", "reference.json"}
    assert set(reason.split(", ")) == {f"inputs.data/reference/{name}" for name in changed}
    assert float(read()[0]["epoch"]) == 10 * 32 / 1600


def test_without_snapshots_the_curve_is_empty(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change("train", snapshot_every=0)
    curve("cpu")
    assert read() == []
    assert read_curve({"laplace": ["laplace"]}) == []
    assert "train.snapshot_every is 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("train", {"snapshot_every": 7}, r"train\.snapshot_every: 7 must be a multiple of log_every = 50"),
        ("train", {"snapshot_every": 50, "max_steps": 10_050}, r"snapshot_every: 50 makes 201 .* at most 200"),
        ("train", {"snapshot_every": -50}, r"train\.snapshot_every: -50 is not allowed"),
        ("curve", {"sampler": "none"}, r"curve\.sampler: 'none' is none of \['ancestral', 'auto'"),
        ("curve", {"num_images": 1}, r"curve\.num_images: 1 is too few"),
        ("evaluate", {"fid_protocol": "mine"}, r"evaluate\.fid_protocol: 'mine' is not allowed.*'paper'"),
    ],
)
def test_bad_settings_are_refused_by_name(content: dict, section: str, values: dict, message: str) -> None:
    content[section].update(values)
    with pytest.raises(InputError, match=message):
        parse_params(content)
