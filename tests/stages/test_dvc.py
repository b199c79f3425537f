"""What re-runs after which change: the real dvc.yaml under the real DVC, each command replaced by a fast stand-in.

A stand-in writes into each output a digest of its deps and of the values of its declared params, so that a change
travels exactly as far as the real outputs would carry it, and notes in ran.log which stage it was.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
NOISES = ("gaussian", "laplace")  # two of the default five: DVC needs a second or two per stage
SAMPLERS = ("ancestral", "auto")
PAIRS = [f"{noise}-{sampler}" for noise in NOISES for sampler in SAMPLERS]


def each(stage: str, items: list[str] | tuple[str, ...]) -> set[str]:
    return {f"{stage}@{item}" for item in items}


TRAIN, SAMPLE, EVALUATE = each("train", NOISES), each("sample", PAIRS), each("evaluate", NOISES)
SCORE = SAMPLE | EVALUATE | {"curve", "report"}  # what follows a training
MADE = {"data", "metrics", "models", "plots", "reports", "samples", "snapshots", "study"}
ALL = {"download", "autoencoder", "latents", "reference", "theory", "study"} | TRAIN | SCORE

STAND_IN = """
import hashlib, pathlib, sys
import yaml
name, *rest = sys.argv[1:]
outs, deps, keys = (part.split(",") if part else [] for part in rest)
params = yaml.load(pathlib.Path("params.yaml").read_text(), yaml.CSafeLoader)
digest = hashlib.sha256(name.encode())
for dep in deps:
    path = pathlib.Path(dep)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.read_bytes())
for key in keys:
    value = params
    for part in key.split("."):
        value = value[part]
    digest.update(repr(value).encode())
for out in outs:
    path = pathlib.Path(out)
    path = path if path.suffix in (".json", ".csv", ".png", ".safetensors") else path / "content"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = digest.hexdigest()
    score = int(text[:6], 16)
    contents = {".json": '{"score": %d}' % score, ".csv": "step,loss,heldout_loss\\n0,%d,%d\\n" % (score, score)}
    path.write_text(contents.get(path.suffix, text))
if name == "study":  # as the stage does
    pathlib.Path("metrics/scores.json").unlink(missing_ok=True)
with open("ran.log", "a") as log:
    log.write(name + "\\n")
"""


def stand_in_command(name: str, entry: dict) -> str:
    stage = entry.get("do", entry)

    def flat(kind: str) -> list[str]:
        return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in stage.get(kind, [])]

    outs = ",".join(flat("outs") + flat("metrics") + flat("plots"))
    params = ",".join(key for key in flat("params") if key != "params.yaml")
    label = f"{name}@${{key}}" if {"foreach", "matrix"} & set(entry) else name
    return f'{sys.executable} stand_in.py "{label}" "{outs}" "{",".join(stage["deps"])}" "{params}"'


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder.parent / "site")}


def call(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def dvc(folder: Path, *arguments: str) -> str:
    return call(folder, sys.executable, "-m", "dvc", *arguments)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which the whole default pipeline has run once, with stand-ins."""
    folder = tmp_path_factory.mktemp("pipeline") / "repo"
    folder.mkdir()
    for name in ("ngldm", "stages", "conf", "tuning"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    fewer = {"noises": list(NOISES), "noise_options": {noise: {"distribution": noise} for noise in NOISES}}
    (folder / "conf" / "noise" / "paper.yaml").write_text(f"# @package _global_\n{yaml.safe_dump(fewer)}")
    for key, value in {**fewer, "trainings": trainings(*NOISES)}.items():
        change_param(folder, key, value)
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for name, stage in pipeline["stages"].items():
        stage.get("do", stage)["cmd"] = stand_in_command(name, stage)
    (folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    (folder / "stand_in.py").write_text(STAND_IN)
    with (folder / ".gitignore").open("a") as file:
        file.write("ran.log\n")
    call(folder, "git", "init", "-q")
    dvc(folder, "repro", "-q")
    call(folder, "git", "add", "-A")
    call(folder, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "built")
    return folder


@pytest.fixture
def repo(built: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    shutil.copytree(built, folder, symlinks=True)
    (folder / "ran.log").unlink()
    return folder


def ran(folder: Path) -> set[str]:
    log = folder / "ran.log"
    return set(log.read_text().split()) if log.exists() else set()


def change_param(folder: Path, path: str, value: object) -> None:
    file = folder / "params.yaml"
    content = YAML(typ="safe").load(file)
    section = content
    *parents, key = path.split(".")
    for parent in parents:
        section = section[parent]
    section[key] = value
    YAML().dump(content, file)


def trainings(*noises: str) -> dict[str, dict[str, object]]:
    """What conf/ makes of these noises and one seed."""
    return {noise: {"noise": noise, "seed": 0} for noise in noises}


def repro(folder: Path) -> set[str]:
    dvc(folder, "repro", "-q")
    return ran(folder)


def test_the_first_build_runs_every_stage_once(built):
    assert ran(built) == ALL
    assert len((built / "ran.log").read_text().split()) == len(ALL)


def test_the_lock_of_the_default_is_short(built):
    """Its length by that of two noises: each noise more adds what `train`, `sample` and `evaluate` have of it."""
    stages = yaml.safe_load((built / "dvc.lock").read_text())["stages"]
    assert set(stages) == ALL
    lines = {name: len(yaml.safe_dump(stage).splitlines()) for name, stage in stages.items()}
    own = sum(count for name, count in lines.items() if "laplace" in name)
    assert sum(lines.values()) + 3 * own <= 3000


def test_dvc_leaves_git_clean(built):
    """Outputs are ignored beforehand, so DVC writes no .gitignore files of its own."""
    assert call(built, "git", "status", "--porcelain") == ""


def test_a_second_repro_runs_nothing(repo):
    assert repro(repo) == set()


@pytest.mark.parametrize("how", [(), ("--queue",)])
@pytest.mark.parametrize(
    ("typo", "words"),
    [
        ("+train.lrr=1e-3", "train.lrr: unknown key"),
        ("train.lr=1e-3x", "train.lr: '1e-3x' is not allowed"),
        ("noise_options.laplace.distribution=lapalce", "noise_options.laplace: unknown noise 'lapalce'"),
    ],
)
def test_a_typo_runs_nothing_and_leaves_nothing(typo, words, how, built):
    before, log = (built / "params.yaml").read_bytes(), (built / "ran.log").read_bytes()
    command = [sys.executable, "-m", "dvc", "exp", "run", *how, "-S", typo]
    done = subprocess.run(command, cwd=built, env=environment(built), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert (built / "params.yaml").read_bytes() == before
    assert (built / "ran.log").read_bytes() == log
    assert "Queued" not in dvc(built, "queue", "status")


def would_run(folder: Path) -> set[str]:
    """The stages that `dvc repro` would run if every output changed with what it is made from, as the stand-ins' do.

    In this process and without running them: a real repro takes a second or two per stage.
    """
    with Repo(str(folder)) as found:
        return {stage.name for stage in found.reproduce(dry=True, force_downstream=True)}


@pytest.fixture
def edited(built: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Edit (or add) a file of the built repository; put back afterwards."""
    monkeypatch.chdir(built)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(built.parent / "site"))

    def edit(name: str) -> None:
        (built / name).parent.mkdir(exist_ok=True)
        with (built / name).open("a") as file:
            file.write("\n# edited\n" if name.endswith(".py") else "\n")

    yield edit
    call(built, "git", "checkout", "-q", ".")
    call(built, "git", "clean", "-fdq")


# An edit, and the stages that `dvc repro` then runs.
EDITS = {
    "ngldm/noise/families.py": TRAIN | SCORE | {"theory", "study"},
    "ngldm/noise/a_new_file.py": TRAIN | SCORE | {"theory", "study"},
    "ngldm/diffusion/forward.py": TRAIN | SCORE | {"study", "theory"},
    "ngldm/networks/unet.py": TRAIN | SCORE | {"study"},
    "ngldm/networks/autoencoders/kl.py": ALL - {"download", "reference"},
    "ngldm/training/loop.py": ALL - {"download"},
    "ngldm/io/device.py": ALL - {"download"},
    "ngldm/data/snapshots.py": TRAIN | SCORE,
    "ngldm/data/sources/bundled/digits.py": ALL,
    "ngldm/sampling/samplers.py": SCORE | {"study"},
    "ngldm/scoring/distance/frechet.py": EVALUATE | {"reference", "curve", "study", "report"},
    "ngldm/scoring/evaluation/kid.py": EVALUATE | {"report"},
    "ngldm/theory/measure.py": {"theory", "report"},
    "ngldm/pipeline/experiments/curve.py": {"curve", "report"},
    "ngldm/pipeline/experiments/study/run.py": {"study", "report"},
    "ngldm/pipeline/report/page.py": {"report"},
    "ngldm/pipeline/report/html/report.html.j2": {"report"},
    "ngldm/pipeline/report/html/page.js": {"report"},
    "ngldm/pipeline/tracking/comparison.py": set(),
    "ngldm/pipeline/cli/main.py": set(),
    "ngldm/pipeline/terminal.py": set(),
    "docs/samplers.md": set(),
    "stages/evaluate.py": EVALUATE | {"report"},
}


@pytest.mark.parametrize("file", EDITS)
def test_an_edit_reruns_what_depends_on_it(built, edited, file):
    edited(file)
    assert would_run(built) == EDITS[file]


def test_images_of_another_size_are_read_anew(repo):
    """DVC's run cache leaves every param named size out of what it compares, and would give images of another size."""
    for size in (16, 32):
        change_param(repo, "dataset.size", size)
        dvc(repo, "repro", "-q", "download")
    assert (repo / "ran.log").read_text().split() == ["download", "download"]


def test_a_sampler_option_reruns_that_samplers_images_only(built, edited):
    change_param(built, "sampler_options.auto.choices", {"default": {"method": "heun", "num_inference_steps": 5}})
    pairs = [pair for pair in PAIRS if pair.endswith("-auto")]
    # The curve reads the options too: whichever sampler it names is looked up in them. Its scores are kept.
    assert would_run(built) == each("sample", pairs) | EVALUATE | {"curve", "report"}


def test_a_noises_own_parameter_retrains_only_that_one(built, edited):
    change_param(built, "noise_options.laplace", {"distribution": "gumbel"})
    pairs = [f"laplace-{sampler}" for sampler in SAMPLERS]
    changed = {"train@laplace", "evaluate@laplace", "theory", "curve", "report"}
    assert would_run(built) == changed | each("sample", pairs)


def test_a_size_of_kids_subsets_is_nothing_to_the_curve(built, edited):
    change_param(built, "evaluate.kid_subsets", 7)
    assert would_run(built) == EVALUATE | {"report"}


def test_an_edit_really_runs_what_it_would_run(repo):
    with (repo / "ngldm/scoring/evaluation/kid.py").open("a") as source:
        source.write("\n# edited\n")
    assert repro(repo) == EVALUATE | {"report"}


def test_a_sampler_less_is_evaluated_without_it(repo):
    change_param(repo, "samplers", ["auto"])
    assert repro(repo) == EVALUATE | {"report"}


def test_adding_a_noise_trains_only_that_one(repo):
    new = "exponential_uncentred"
    change_param(repo, "noises", [*NOISES, new])
    change_param(repo, "trainings", trainings(*NOISES, new))
    options = YAML(typ="safe").load(repo / "params.yaml")["noise_options"]
    change_param(repo, "noise_options", {**options, new: {"distribution": new}})
    pairs = [f"{new}-{sampler}" for sampler in SAMPLERS]
    changed = {f"train@{new}", f"evaluate@{new}", "theory", "curve", "report"}
    assert repro(repo) == changed | each("sample", pairs)


def test_an_experiment_with_one_noise_runs_no_other(repo):
    """`dvc exp run -S noise=laplace` after a full build: nothing to train, and one noise left in params.yaml."""
    dvc(repo, "exp", "run", "-q", "-S", "noise=laplace")
    assert YAML(typ="safe").load(repo / "params.yaml")["noises"] == ["laplace"]
    assert ran(repo) == {"theory", "curve", "report"}


def test_an_experiment_on_one_noise_trains_only_it(repo):
    dvc(repo, "exp", "run", "-q", "-S", "noise=laplace", "-S", "train.lr=0.0001")
    pairs = [f"laplace-{sampler}" for sampler in SAMPLERS]
    changed = {"train@laplace", "evaluate@laplace", "theory", "curve", "study", "report"}
    assert ran(repo) == changed | each("sample", pairs)


def test_a_seed_more_trains_only_its_own_models(repo):
    """`-S seeds=[0,1]` after a build with seed 0: its models, images and scores are those of the build."""
    before = yaml.safe_load((repo / "dvc.lock").read_text())["stages"]
    dvc(repo, "exp", "run", "-q", "-S", "seeds=[0,1]")
    new = [f"{noise}-s1" for noise in NOISES]
    pairs = [f"{label}-{sampler}" for label in new for sampler in SAMPLERS]
    assert ran(repo) == each("train", new) | each("sample", pairs) | each("evaluate", new) | {"curve", "report"}
    after = yaml.safe_load((repo / "dvc.lock").read_text())["stages"]
    assert {name: after[name] for name in before if name not in ("curve", "report")} == {
        name: stage for name, stage in before.items() if name not in ("curve", "report")
    }
    assert after["train@laplace-s1"]["params"]["params.yaml"]["noise_options.laplace"] == {"distribution": "laplace"}
    outs = {out["path"] for out in after["train@laplace-s1"]["outs"]}
    assert "models/laplace-s1/model.safetensors" in outs


def test_one_noise_and_three_seeds_are_three_trainings(repo):
    """`dvc exp run -S noise=laplace -S seeds=[0,1,2]`: seed 0 is there already."""
    dvc(repo, "exp", "run", "-q", "-S", "noise=laplace", "-S", "seeds=[0,1,2]")
    new = ["laplace-s1", "laplace-s2"]
    pairs = [f"{label}-{sampler}" for label in new for sampler in SAMPLERS]
    again = {"theory", "curve", "report"}  # they compare one noise less
    assert ran(repo) == each("train", new) | each("sample", pairs) | each("evaluate", new) | again


@pytest.mark.slow  # seven starts of DVC
def test_trainings_at_the_same_time_leave_what_those_one_after_another_leave(repo, tmp_path):
    """The commands of docs/howto-gpu.md, with one training for each DVC."""
    change_param(repo, "train.lr", 0.0001)
    after_another = shutil.copytree(repo, tmp_path / "after another", symlinks=True)
    _, _, lines = (ROOT / "docs" / "howto-gpu.md").read_text().partition("### Several trainings at a time on a CPU")
    commands = re.search(r"```sh\n(.*?)```", lines, re.DOTALL)[1]
    here = f"{shlex.quote(sys.executable)} -m dvc"
    call(repo, "bash", "-eo", "pipefail", "-c", commands.replace("uv run dvc", here).replace("-n 3", "-n 1"))
    assert ran(repo) == repro(after_another) == TRAIN | SCORE | {"study"}
    assert "up to date" in dvc(repo, "status")
    locks = [yaml.safe_load((folder / "dvc.lock").read_text()) for folder in (repo, after_another)]
    assert locks[0] == locks[1]


def test_an_experiment_retrains_all_and_is_compared_by_few_scores_and_by_curves_and_pictures(repo):
    dvc(repo, "exp", "run", "-q", "-S", "train.lr=0.0001", "-n", "slow")
    assert ran(repo) == TRAIN | SCORE | {"study"}
    (change,) = json.loads(dvc(repo, "metrics", "diff", "HEAD", "slow", "--json")).values()
    assert set(change) == {"score"}
    shown = json.loads(dvc(repo, "exp", "show", "--json"))
    for entry in shown:
        assert set(entry["data"]["metrics"]) == {"metrics/scores.json"}
    plots = json.loads(dvc(repo, "plots", "diff", "HEAD", "slow", "--json", "-o", "plots.out"))["data"]
    curves = plots["plots/train/laplace.csv"]
    assert {tuple(curve["revisions"]) for curve in curves} == {("HEAD", "slow")}  # both lines in one figure
    assert len(plots["plots/samples/laplace-auto.png"]) == 2  # a picture of each, side by side


def test_an_experiment_of_the_study_alone_has_no_scores_of_another(repo):
    """The commit has scores. Also when the study of these params was made before, so that DVC has it in its cache."""
    changes = ("-S", "train.lr=0.0001")
    for name in ("first", "again"):
        dvc(repo, "exp", "run", "-q", *changes, "-n", name, "study")
        call(repo, "git", "reset", "-q", "--hard")
        dvc(repo, "checkout", "-q")
    (commit,) = json.loads(dvc(repo, "exp", "show", "--json"))[1:]
    assert commit["data"]["metrics"]["metrics/scores.json"]["data"]
    experiments = {entry["name"]: entry["revs"][0]["data"]["metrics"] for entry in commit["experiments"]}
    assert set(experiments) == {"first", "again"}
    assert not any(file.get("data") for metrics in experiments.values() for file in metrics.values()), experiments


def test_pull_restores_everything_without_a_run(built, tmp_path):
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    dvc(built, "remote", "add", "-q", "-f", "--local", "-d", "there", str(remote))
    dvc(built, "push", "-q")
    call(tmp_path, "git", "clone", "-q", str(built), str(clone))
    dvc(clone, "remote", "add", "-q", "--local", "-d", "there", str(remote))
    dvc(clone, "pull", "-q")
    assert repro(clone) == set()
    outputs = [path for path in built.rglob("*") if path.is_file() and path.parts[len(built.parts)] in MADE]
    assert len(outputs) > len(ALL)
    for path in outputs:
        assert (clone / path.relative_to(built)).read_bytes() == path.read_bytes()


def test_a_model_is_an_artifact_that_dvc_finds_by_name(built, tmp_path):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    call(built, "git", *identity, "tag", "-a", "-m", "first", "ngldm-laplace@v1.0.0")  # as `gto register` does
    dvc(tmp_path, "artifacts", "get", "-q", str(built), "ngldm-laplace", "-o", "laplace.safetensors")
    made = built / "models" / "laplace" / "model.safetensors"
    assert (tmp_path / "laplace.safetensors").read_bytes() == made.read_bytes()


def test_every_artifact_is_an_output(built):
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    defaults = YAML(typ="safe").load(ROOT / "params.yaml")["noises"]
    assert set(pipeline["artifacts"]) == {"ngldm-autoencoder", *(f"ngldm-{noise}" for noise in defaults)}
    for noise in defaults:
        assert pipeline["artifacts"][f"ngldm-{noise}"]["path"] == f"models/{noise}/model.safetensors"
    for noise in NOISES:
        assert (built / "models" / noise / "model.safetensors").is_file()
    assert (built / pipeline["artifacts"]["ngldm-autoencoder"]["path"]).is_file()
