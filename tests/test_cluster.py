"""The scripts and commands of docs/howto-cluster.md run, with stand-ins for Slurm, at the sizes of recipe `smoke`.

Four workers of a search on PostgreSQL, one of which is killed, are in tests/pipeline/search/test_postgres.py.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ruamel.yaml import YAML

from ngldm.io.files import read_json
from ngldm.io.tensors import load_tensors
from ngldm.pipeline import workspace as paths

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "howto-cluster.md").read_text()
NAMED = re.findall(r"[Ss]ave this as\s+`([a-z-]+\.sh)`.*?```bash\n(.*?)```", PAGE, re.S)
SCRIPTS = dict(NAMED)
LINES = [
    re.sub(r"\s{2,}#.*", "", line)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    for line in block.splitlines()
]
# `srun` starts a command once on each node of the job; here all nodes are this machine.
SRUN = """#!/bin/bash
for node in $(seq "${SLURM_JOB_NUM_NODES:-1}"); do
    "$@" &
    started+=($!)
done
for process in "${started[@]}"; do wait "$process" || code=$?; done
exit "${code:-0}"
"""
SCONTROL = """#!/bin/bash
[ "$*" = "show hostnames $SLURM_JOB_NODELIST" ] && printf '127.0.0.1\\nnode-b\\n'
"""


@pytest.fixture
def checkout(smoke: Path, tmp_path: Path) -> Path:
    """A checkout in which recipe `smoke` has run, with stand-ins for Slurm's programs in its environment."""
    folder = tmp_path / "checkout"
    shutil.copytree(smoke, folder, symlinks=True)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "activate").write_text(f'PATH="$PWD/.venv/bin:{Path(sys.executable).parent}:$PATH"\n')
    return folder


@pytest.fixture
def call(checkout: Path) -> Callable[..., str]:
    """`call("bash", "noises.sh", SLURM_ARRAY_TASK_ID="1")`: in the checkout, on the CPU. Returns what it prints."""

    def run(*command: str, cwd: Path = checkout, **variables: str) -> str:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        known = {"PATH": path, "PYTHONPATH": str(ROOT), "NGLDM_DEVICE": "cpu", "NGLDM_TIMEOUT": "60"}
        known |= {"OMP_NUM_THREADS": "1", "DVC_SITE_CACHE_DIR": str(checkout.parent / "site")}
        environment = {**os.environ, **known, **variables}
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


def on_page(line: str) -> tuple[dict[str, str], list[str]]:
    """The variables and the words of a command that is a line of the page."""
    assert line in LINES
    variables, command = re.fullmatch(r"((?:[A-Z_]+=\S+ )*)uv run (.*)", line).groups()
    return dict(word.split("=", 1) for word in variables.split()), shlex.split(command)


def weights_of(folder: Path) -> dict[str, float]:
    tensors, _ = load_tensors(folder / paths.model("laplace"))
    return {key: float(value.norm()) for key, value in tensors.items() if value.isfinite().all()}


def test_the_page_has_these_scripts() -> None:
    assert [name for name, _ in NAMED] == ["noises.sh", "finish.sh", "two-nodes.sh", "search.sh"]
    assert len(SCRIPTS) == PAGE.count("```bash")
    started = {word for line in LINES for word in re.findall(r"[a-z-]+\.sh", line)}
    started |= set(re.findall(r"`sbatch [^`]*?([a-z-]+\.sh)", PAGE))
    assert started == set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_scripts_are_valid(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    first, *rest = script.splitlines()
    assert first == "#!/bin/bash"
    options = [line for line in rest if line.startswith("#SBATCH")]
    assert rest[: len(options)] == options, "sbatch reads no option after the first command"
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in options)


def test_the_array_has_a_task_for_each_noise() -> None:
    (names,) = re.findall(r"^noises=\((.*?)\)", SCRIPTS["noises.sh"], re.M)
    (samplers,) = re.findall(r"^for sampler in (.*);", SCRIPTS["noises.sh"], re.M)
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    assert names.split() == params["noises"]
    assert samplers.split() == params["samplers"]
    assert f"#SBATCH --array=0-{len(params['noises']) - 1}\n" in SCRIPTS["noises.sh"]


def test_one_node_with_two_processes(checkout: Path, call: Callable[..., str]) -> None:
    before = weights_of(checkout)
    (checkout / paths.model("laplace")).unlink()
    plot = (checkout / paths.train_plot("laplace")).read_text()
    variables, command = on_page("NGLDM_PROCESSES=2 uv run python -m stages.train --noise laplace")
    assert variables == {"NGLDM_PROCESSES": "2"}
    call(*command, **variables)
    assert weights_of(checkout) == pytest.approx(before, rel=1e-4)
    assert len((checkout / paths.train_plot("laplace")).read_text().splitlines()) == len(plot.splitlines())


def test_two_nodes_meet_on_loopback(checkout: Path, call: Callable[..., str]) -> None:
    before = weights_of(checkout)
    (checkout / paths.model("laplace")).unlink()
    variables = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_CPUS_PER_TASK": "1"}
    printed = call("bash", "-c", SCRIPTS["two-nodes.sh"], "two-nodes.sh", "laplace", SLURM_JOB_ID=job(), **variables)
    assert printed.count("train laplace: loss") == 1, "two nodes, of which one writes"
    assert weights_of(checkout) == pytest.approx(before, rel=1e-4)


def job() -> str:
    """A number of a job whose port is free."""
    for number in range(os.getpid() % 10_000, 20_000):
        with socket.socket() as found:
            if found.connect_ex(("127.0.0.1", 20_000 + number % 10_000)):
                return str(number)
    raise AssertionError("no port is free")


def test_a_task_of_the_array(checkout: Path, call: Callable[..., str]) -> None:
    params = YAML(typ="safe").load(checkout / "params.yaml")
    one = {"noises": ["laplace"], "trainings": {"laplace": {"noise": "laplace", "seed": 0}}}
    YAML().dump({**params, **one}, checkout / "params.yaml")  # one task instead of five
    made = [paths.model("laplace"), paths.samples("laplace", "auto"), paths.metrics("evaluate", "laplace")]
    for path in made:
        shutil.rmtree(checkout / path) if (checkout / path).is_dir() else (checkout / path).unlink()
    call("bash", "-c", SCRIPTS["noises.sh"], SLURM_ARRAY_TASK_ID="1", SLURM_CPUS_PER_TASK="1")
    assert all((checkout / path).exists() for path in made)
    assert set(read_json(checkout / made[-1])["samplers"]) == set(params["samplers"])


def test_the_job_after_the_array_and_the_way_to_another_disk(checkout: Path, call: Callable[..., str]) -> None:
    for name in ("ngldm", "stages", "tuning"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shared = ("download", "autoencoder", "latents", "reference")
    call("dvc", "commit", "-q", "--force", *shared, "theory", "curve", "study", "report")
    printed = call("bash", "-c", SCRIPTS["finish.sh"])
    assert "Running stage" not in printed, "all was done, and DVC knows it"
    remote, clone = checkout.parent / "remote", checkout.parent / "clone"
    add, push = on_page("uv run dvc remote add -d team /srv/ngldm")[1], on_page("uv run dvc push")[1]
    call(*(str(remote) if word == "/srv/ngldm" else word for word in add))
    call(*push)
    call("git", "add", "-A")
    call("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "shared")
    call("git", "clone", "-q", str(checkout), str(clone))
    call(*on_page("uv run dvc pull --with-deps latents reference")[1], cwd=clone)
    for name in ("data/latents/train.npy", "data/reference/statistics.npz", "models/autoencoder.safetensors"):
        assert (clone / name).read_bytes() == (checkout / name).read_bytes()
    assert not (clone / paths.model("laplace")).exists()
    shutil.rmtree(remote)
    for command in ("uv run dvc commit --force train@laplace", "uv run dvc push train@laplace"):
        call(*on_page(command)[1])
    assert [path for path in remote.rglob("*") if path.is_file()]


def test_a_worker_of_a_search(checkout: Path, call: Callable[..., str]) -> None:
    file = checkout / "conf" / "search" / "smoke.yaml"
    search = YAML(typ="safe").load(file)
    YAML().dump({**search, "trials": 2, "noises": {"gaussian": {}}}, file)
    printed = call("bash", "-c", SCRIPTS["search.sh"], "search.sh", "smoke", SLURM_CPUS_PER_TASK="1")
    journal = JournalStorage(JournalFileBackend(str(checkout / "searches" / "smoke.journal")))
    trials = optuna.load_study(study_name="smoke-gaussian", storage=journal).trials
    assert sorted(trial.user_attrs["slot"] for trial in trials if trial.state.is_finished()) == [0, 1]
    assert printed.count("search smoke: the best of each noise") == 1
