"""A name from a file is never a command, and never leads out of its folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from ngldm.io.errors import InputError, require_name
from ngldm.io.registry import Registry
from ngldm.pipeline.config.params import load_params, parse_params

ROOT = Path(__file__).parents[2]
UNSAFE = [
    "",
    " ",
    ".",
    "..",
    "../x",
    "../../x",
    "a/b",
    "/etc",
    "a\\b",
    "-rf",
    "--help",
    "a\nb",
    "a\0b",
    "\x1b[2J",
    "a..b",
]
UNSAFE += ["\u202etxt", "a\tb", "x" * 101]
SHELL = ["a; touch INJECTED", "a$(touch INJECTED)", "a`touch INJECTED`", "a' ; touch INJECTED; '", "a|touch INJECTED"]
SHELL += ['a" ; touch INJECTED ; "', "a\ntouch INJECTED", "a && touch INJECTED", "a > INJECTED", "$(touch INJECTED)"]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with our dvc.yaml and params.yaml, and no code: its commands can only fail."""
    folder = tmp_path / "repo"
    folder.mkdir()
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def rewrite(repo: Path, **changes: object) -> None:
    content = yaml.safe_load((repo / "params.yaml").read_text())
    (repo / "params.yaml").write_text(yaml.safe_dump({**content, **changes}))


def run_all_commands(repo: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give each command to the shell as DVC does, however much of the pipeline is cached; returns them."""
    monkeypatch.chdir(repo)
    environment = {**os.environ, "PATH": f"{repo / 'bin'}:{os.environ['PATH']}"}
    (repo / "bin").mkdir()
    (repo / "bin" / "python").write_text("#!/bin/sh\nexit 0\n")  # fast, and it runs nothing
    (repo / "bin" / "python").chmod(0o755)
    commands = [stage.cmd for stage in Repo().index.stages]
    for command in {command for command in commands if "--noise" in command or "touch" in command}:
        subprocess.run(["/bin/sh", "-c", command], cwd=repo, env=environment, check=False, capture_output=True)
    return commands


@pytest.mark.parametrize("label", SHELL)
def test_a_label_is_never_run_by_the_shell(repo: Path, monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    """Also with everything before it cached, where no stage of ours has seen params.yaml yet."""
    rewrite(repo, noises=[label], trainings={label: {"noise": "laplace", "seed": 0}}, samplers=["auto", label])
    commands = run_all_commands(repo, monkeypatch)
    assert any("touch" in command or "INJECTED" in command for command in commands), "the label is in some command"
    assert not list(repo.rglob("INJECTED"))


@pytest.mark.parametrize("label", SHELL)
def test_a_hostile_entry_of_a_training_is_never_run(repo: Path, monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    rewrite(repo, trainings={"laplace": {"noise": "laplace", "seed": label, label: 0}})
    run_all_commands(repo, monkeypatch)
    assert not list(repo.rglob("INJECTED"))


def test_the_commands_name_the_labels_that_they_should(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    commands = {stage.addressing: stage.cmd for stage in Repo().index.stages}
    assert commands["sample@laplace-auto"] == "python -m stages.sample --noise laplace --sampler auto"
    assert commands["evaluate@gumbel"] == "python -m stages.evaluate --noise gumbel"
    assert commands["train@laplace"] == "python -m stages.train"


@pytest.mark.parametrize("stage", ["train@cauchy", "train@a; touch INJECTED", "train@../../x", "sub/dvc.yaml:train@x"])
def test_train_takes_its_label_from_dvc_and_refuses_one_that_params_do_not_list(repo: Path, stage: str) -> None:
    environment = {**os.environ, "DVC_STAGE": stage, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "stages.train"], cwd=repo, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: unknown noise {stage.partition('@')[2]!r}")


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="key: "):
        require_name("key", name)


@pytest.mark.parametrize("name", ["ngldm", "my paper (v2)", "Größe", "a.b", "x_T", "laplace-s1", "100%"])
def test_an_ordinary_name_is_taken(name: str) -> None:
    assert require_name("key", name) == name


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("key", ["experiment", "recipe"])
def test_params_refuse_unsafe_names(content: dict, key: str, name: str) -> None:
    content[key] = name
    with pytest.raises(InputError, match=rf"(?s)params.yaml:\s+{key}: "):
        parse_params(content)


@pytest.mark.parametrize("name", [*SHELL, *UNSAFE])
@pytest.mark.parametrize("key", ["noises", "samplers"])
def test_params_refuse_labels_with_other_characters(content: dict, key: str, name: str) -> None:
    content[key] = [*content[key], name]
    with pytest.raises(InputError, match=key):
        parse_params(content)


def test_trainings_that_do_not_follow_from_the_noises_are_refused(content: dict, tmp_path: Path) -> None:
    content["trainings"]["../../x"] = {"noise": "laplace", "seed": 0}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="trainings: does not fit"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", "a\nb"])
def test_a_registry_takes_no_unsafe_name(name: str) -> None:
    with pytest.raises(InputError, match="register"):
        Registry("network", "none", object).register(name)


@pytest.mark.parametrize("name", ["../../etc", "-x", "a/b"])
def test_generate_reads_no_model_outside_models(ngldm, tmp_path: Path, name: str) -> None:
    code, _, stderr = ngldm("generate", "--out", tmp_path / "out", f"--noise={name}")
    assert code == 2
    assert stderr.startswith(f"error: --noise: {name!r}")


@pytest.mark.parametrize("label", ["a;touch X", "../../x", "-x"])
def test_hydra_composes_no_params_with_such_labels(ngldm, tmp_path, monkeypatch, label: str) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "params.yaml").write_text("as it was\n")
    monkeypatch.chdir(tmp_path)
    code, _, stderr = ngldm("params", "--compose", "-S", f"noises=['{label}']")
    assert code == 2
    assert "noises" in stderr
    assert (tmp_path / "params.yaml").read_text() == "as it was\n"
