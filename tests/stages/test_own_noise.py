"""A noise of a user's own package: after an edit of its code no older result is used, as with ngldm's own code."""

import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ngldm.noise import registry
from ngldm.pipeline import workspace as paths
from ngldm.pipeline.experiments.study import run as jobs
from stages.curve import curve
from stages.study import study
from stages.train import train

MODULE = """
from torch.distributions import HalfNormal
from ngldm.noise import Base, register

@register("my_half")
def my_half() -> Base:
    return Base(HalfNormal(1.0), skewness=0.995272, excess_kurtosis=0.869177)
"""


@pytest.fixture
def edit(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A workspace of recipe smoke, where the label `laplace` means the noise of an installed package.

    The fixture edits that package's module.
    """
    site, workspace = tmp_path / "site", tmp_path / "workspace"
    (site / "my_noises-1.dist-info").mkdir(parents=True)
    (site / "my_noises.py").write_text(MODULE)
    (site / "my_noises-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: my_noises\nVersion: 1\n")
    (site / "my_noises-1.dist-info" / "entry_points.txt").write_text("[ngldm.noises]\nmine = my_noises\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    for name in ("data", "models", "snapshots"):
        shutil.copytree(smoke / name, workspace / name)
    shutil.copy(smoke / "mlflow.db", workspace)
    content = YAML(typ="safe").load(smoke / "params.yaml")
    content["noises"] = ["laplace"]
    content["trainings"] = {"laplace": {"noise": "laplace", "seed": 0}}
    content["noise_options"]["laplace"] = {"distribution": "my_half"}
    content["study"] |= {
        "variants": {"a": {"noise": {"distribution": "mirrored", "base": {"distribution": "my_half"}}}},
        "samplers": {"s": {"method": "heun", "num_inference_steps": 3}},
        "train_seeds": 1,
        "sample_seeds": 1,
        "num_images": 32,
    }
    YAML().dump(content, workspace / "params.yaml")
    monkeypatch.chdir(workspace)

    def edit() -> None:
        with (site / "my_noises.py").open("a") as file:
            file.write("# edited\n")

    yield edit
    sys.modules.pop("my_noises", None)


def refused(said: str) -> list[str]:
    return [line.split("changed since: ")[1] for line in said.splitlines() if "not used" in line]


def test_a_stopped_training_starts_anew_and_snapshots_are_scored_anew(
    edit: Callable[[], None], steps: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    steps(lambda: train("laplace", "cpu"), 15)
    edit()
    train("laplace", "cpu")
    assert refused(capsys.readouterr().out) == ["own_noise.my_half"]
    curve("cpu")
    curve("cpu")
    assert refused(capsys.readouterr().out) == []
    edit()
    curve("cpu")
    assert refused(capsys.readouterr().out) == ["own_noise.my_half"] * 2


def test_a_job_of_the_study_is_computed_anew(
    edit: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # In this process, which has its imports already.
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", lambda workers, **settings: ThreadPoolExecutor(1))
    study("cpu")
    edit()
    study("cpu")
    assert refused(capsys.readouterr().out) == ["own_noise.my_half"]
    assert len(list(Path("checkpoints/study").iterdir())) == 2
    assert (paths.STUDY / "scores.csv").is_file()
