"""`ngldm list`: every name with a line that says something."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ngldm.networks.autoencoders.names import AUTOENCODERS
from ngldm.networks.names import AUTO, NETWORKS
from ngldm.noise import noise_names
from ngldm.sampling.names import SAMPLER_OPTIONS

ROOT = Path(__file__).parents[3]
Ngldm = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("noises", noise_names()),
        ("samplers", list(SAMPLER_OPTIONS)),
        ("networks", [name for name in NETWORKS if name != AUTO]),
        ("autoencoders", list(AUTOENCODERS)),
        ("recipes", [path.stem for path in (ROOT / "conf" / "recipe").glob("*.yaml")]),
        ("datasets", [path.stem for path in (ROOT / "conf" / "dataset").glob("*.yaml")]),
    ],
)
def test_list_gives_every_name_a_line_that_says_something(
    ngldm: Ngldm, monkeypatch: pytest.MonkeyPatch, what: str, names: list[str]
) -> None:
    monkeypatch.chdir(ROOT)
    code, out, _ = ngldm("list", what)
    assert code == 0
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert sorted(lines) == sorted(names)
    assert all(len(words) >= 2 for words in lines.values())


def test_noises_are_listed_with_their_parameters_and_defaults(ngldm: Ngldm) -> None:
    code, out, _ = ngldm("list", "noises")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["student_t"].endswith(" (df: 5.0)")
    assert "means: [-1.0, 1.0]" in lines["gaussian_mixture"]  # as params.yaml has it
    assert not lines["laplace"].endswith(")")
    assert "collections.abc" not in out


def test_a_line_of_the_noises_is_at_most_120_columns_and_says_what_the_noise_is(ngldm: Ngldm) -> None:
    lines = ngldm("list", "noises")[1].splitlines()
    assert max(map(len, lines)) <= 120
    assert "band                   Frequencies from `low` to `high` cycles per" in "\n".join(lines)


def test_the_data_set_of_points_is_described_for_its_user(ngldm: Ngldm) -> None:
    _, out, _ = ngldm("list", "datasets")
    (line,) = [line for line in out.splitlines() if line.startswith("points")]
    assert ".csv" in line  # what it reads
    assert "folder" not in line  # an argument of the function


def test_list_recipes_elsewhere_is_refused(ngldm: Ngldm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = ngldm("list", "recipes")
    assert code == 2
    assert "conf/recipe" in err


def test_a_recipe_is_described_by_the_first_sentence_of_its_comment(
    ngldm: Ngldm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "conf" / "recipe"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("# @package _global_\n# Song et al. 2021\n# did. Then more.\nrecipe: a\n")
    (folder / "b.yaml").write_text("# " + "word " * 100)
    (folder / "c.yaml").write_text("# Which noise? The protocol:\n# - Data: three modes.\n")
    monkeypatch.chdir(tmp_path)
    _, out, _ = ngldm("list", "recipes")
    first, second, third = out.splitlines()
    assert first == "a  Song et al. 2021 did"
    assert second.startswith("b  word word")
    assert second.endswith(" ...")
    assert len(second) < 120
    assert third == "c  Which noise?"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which two of three models are finished."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("laplace", "gumbel", "unfinished"):
        (folder / "models" / name).mkdir(parents=True)
    for name in ("laplace", "gumbel"):
        (folder / "models" / name / "model.safetensors").touch()
    (folder / "conf").symlink_to(ROOT / "conf")
    return folder


def complete(folder: Path, typed: str) -> list[str]:
    """What bash offers after this and Tab, as the script of `ngldm --show-completion` asks for it."""
    place = {"_NGLDM_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **place}
    script = Path(sys.executable).with_name("ngldm")
    done = subprocess.run([script], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ngldm generate --noise ", ["gumbel", "laplace"]),
        ("ngldm export folder --noise l", ["laplace"]),
        ("ngldm noise show gam", ["gamma"]),
        ("ngldm params --compose -S recipe=smo", ["recipe=smoke"]),
        ("ngldm search run sm", ["smoke"]),
    ],
)
def test_the_shell_completes_what_there_is(typed, completed, trained):
    assert complete(trained, typed) == completed


def test_completing_needs_no_repository(tmp_path):
    assert complete(tmp_path, "ngldm generate --noise ") == []
