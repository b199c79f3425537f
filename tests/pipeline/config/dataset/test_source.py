"""`dataset.source` means the same to Python, DVC and Hydra, or is refused with a spelling that does."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ngldm.io.errors import InputError
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.params import load_params

ROOT = Path(__file__).parents[4]
NAMES = [
    "my photos",
    "a(1)",
    "a,b",
    "a=b",
    "it's",
    "é 猫",
    "a#b",
    "a&b",
    "[x]",
    "{x}",
    "2024",
    "true",
    "null",
    "a: b",
    "-x",
    "!x",
]


def images(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for kind in ("cat", "dog"):
            (folder / split / kind).mkdir(parents=True)
            for i in range(2):
                array = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(array).save(folder / split / kind / f"{i}.png")
    return folder


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    shutil.copytree(ROOT / "conf", folder / "conf")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


def compose(source: str) -> str:
    compose_params(Path("params.yaml"), ["dataset=image_folder", f"dataset.source={source}"])
    return load_params().dataset.source


def quoted(path: str) -> str:
    return "'" + path.replace("'", r"\'") + "'"


@pytest.mark.parametrize("name", NAMES)
def test_a_quoted_path_is_itself_to_hydra_and_to_python(name, workspace):
    assert compose(quoted(name)) == name
    assert compose(quoted(f"/tmp/{name}/x.zip")) == f"/tmp/{name}/x.zip"


@pytest.mark.parametrize("name", ["a(1)", "~/photos", "a,b", "a=b", "it's", "é", "a#b", "~/it's (1)"])
def test_what_hydra_does_not_take_is_refused_with_words_that_work(name, workspace, tmp_path):
    with pytest.raises(InputError) as caught:
        compose(name)
    hint = re.search(r'-S ("dataset\.source=.*")$', str(caught.value))
    assert hint is not None
    (override,) = shlex.split(hint[1])  # what a shell makes of it
    expected = name.replace("~", str(tmp_path / "home"))
    assert compose(override.removeprefix("dataset.source=")) == expected
    assert not Path(name).exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("???", "dataset.source: '???'; name your folder"),
        ("''", "dataset.source: ''; name your folder"),
        ("null", "dataset.source: None; name your folder"),
        ("2024", "of type int, not a text; write ./2024"),
        ("true", "of type bool, not a text; write ./True"),
        ("'~/photos'", "DVC does not know ~, write '{home}/photos'"),
        ("'~'", "DVC does not know ~, write '{home}'"),
        ("nowhere", "no such file or folder: nowhere"),
        ("'my photos (1)'", "no such file or folder: my photos (1)"),
        ("/no/where.zip", "no such file or folder: /no/where.zip"),
        ("'${x}'", "Interpolation key 'x' not found"),
    ],
)
def test_params_refuses_a_source_that_is_none(source, words, workspace, ngldm, tmp_path):
    code, _, err = ngldm("params", "--compose", "-S", "dataset=image_folder", "-S", f"dataset.source={source}")
    assert code == 2, err
    assert words.format(home=tmp_path / "home") in err
    assert "Traceback" not in err


def test_params_says_what_a_relative_path_means_for_a_copy(workspace, ngldm):
    images(workspace / "my photos")
    call = ("params", "--compose", "-S", "dataset=image_folder", "-S")
    code, out, err = ngldm(*call, "dataset.source=my photos")
    assert code == 0, err
    assert (
        f"--temp or --queue works in a copy with only the files that git or DVC track; '{workspace}/my photos'" in out
    )
    code, out, _ = ngldm(*call, f"dataset.source={workspace}/my photos")
    assert code == 0
    assert "--temp" not in out


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The real conf/, code and stage `download` under the real DVC."""
    folder = tmp_path_factory.mktemp("dvc") / "repo"
    for name in ("ngldm", "stages", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["download"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"download": stage}}))
    with (folder / ".gitignore").open("a") as file:
        file.write("untracked*\n")
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@x.org", "commit", "-qm", "s"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def experiment(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder.parent / "site")}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    arguments = [
        "exp",
        "run",
        *options,
        "-S",
        "recipe=smoke",
        "-S",
        "dataset=image_folder",
        "-S",
        f"dataset.source={source}",
    ]
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_dvc_takes_a_path_with_everything_in_it(repository):
    """Spaces, parentheses, commas, equals signs and a quote; an absolute path also for a copy of the repository."""
    name = "untracked photos (1), a=b it's é"
    path = images(repository / name)
    done = experiment(repository, quoted(name))
    assert done.returncode == 0, done.stderr
    assert "classes (train + test): cat 2 + 2, dog 2 + 2" in done.stdout
    assert yaml.safe_load((repository / "params.yaml").read_text())["dataset"]["source"] == name
    done = experiment(repository, quoted(str(path)), "--temp", "-f")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("source", "words"),
    [("'~/photos'", "DVC does not know ~, write '"), ("untracked2", "No such file or directory")],
)
def test_dvc_runs_nothing_without_the_source(source, words, repository):
    images(repository / "untracked2") if source == "untracked2" else None
    done = experiment(repository, source, "--temp")
    assert done.returncode != 0
    assert words in done.stderr + done.stdout
    assert "python -m stages.download" not in done.stdout
