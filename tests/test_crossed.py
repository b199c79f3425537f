"""The control of a search: noises with the settings that were found for others, at the smallest size."""

import csv
import math
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchmarks.crossed import crossed_jobs, main
from ngldm.io.errors import InputError
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.experiments.study import run as jobs
from ngldm.pipeline.experiments.study.compute import Job
from ngldm.pipeline.search.studies import make_plan
from ngldm.training.checkpoints.decisive import decisive

SAMPLERS = {"gaussian": {"method": "ddim", "num_inference_steps": 2}, "student_t": {"method": "heun"}}


@pytest.fixture
def found(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """conf/tuned of a search in two seeds, as `ngldm search apply` writes it."""
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", lambda workers, **settings: ThreadPoolExecutor(1))
    path = Path("conf/search/smoke.yaml")
    search = YAML().load(path)
    search["confirm"] = {"train_seeds": 2, "sample_seeds": 2, "first_seed": 50}
    YAML().dump(search, path)
    folder = Path("found")
    folder.mkdir()
    for label, options in (("gaussian", {}), ("student_t", {"df": 9.0})):
        content = {
            "noise_options": {label: {"distribution": label, **options}},
            "train": {"max_steps": 10, "lr": 0.001 if label == "gaussian" else 0.004},
            "diffusion": {"objective": "x0" if label == "gaussian" else "v"},
            "samplers": ["tuned"],
            "sampler_options": {"tuned": {"num_inference_steps": 3, **SAMPLERS[label]}},
        }
        YAML().dump(content, folder / f"{label}.yaml")
    return folder


def test_a_noise_keeps_its_law_and_takes_all_else_of_the_other(found: Path) -> None:
    plan = make_plan("smoke", None, None)
    (job, second) = crossed_jobs(plan, found, "student_t", "gaussian", (1, 8, 8))
    assert job.settings is not None
    assert job.settings["noise"] == {"name": "student_t", "params": {"df": 9.0}}
    assert (job.train.lr, job.train.max_steps, job.settings["diffusion"]["objective"]) == (0.001, 10, "x0")
    assert job.samplers == {"tuned": SAMPLERS["gaussian"]}
    assert (job.seed, second.seed, job.scoring["sample_seeds"]) == (50, 51, [50, 51])
    (other, _) = crossed_jobs(plan, found, "gaussian", "student_t", (1, 8, 8))
    assert other.settings is not None
    assert other.settings["noise"] == {"name": "gaussian", "params": {}}
    assert (other.train.lr, other.settings["diffusion"]["objective"]) == (0.004, "v")


def test_the_table_has_each_noise_with_both_settings(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main("smoke", ["student_t"], found, 1, "cpu", tmp_path)
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    means: dict[str, list[float]] = {}
    for variant in dict.fromkeys(row["variant"] for row in rows):
        of = [(row["train_seed"], float(row["value"])) for row in rows if row["variant"] == variant]
        assert len(of) == 4
        means[variant] = [statistics.fmean(v for s, v in of if s == seed) for seed in ("50", "51")]
    assert len({tuple(found) for found in means.values()}) == 4
    error = statistics.stdev(means["gaussian as student_t"]) / math.sqrt(2)
    assert lines[-1][0] == "| student_t"
    assert lines[-1][1] == f"{statistics.fmean(means['gaussian as student_t']):.3f} +- {error:.3f}"
    assert lines[-1][2].startswith(f"{statistics.fmean(means['student_t as student_t']):.3f} ")
    assert lines[-1][3].startswith(f"{statistics.fmean(means['student_t as gaussian']):.3f} ")


@pytest.mark.parametrize("content", ["[1]", "noise_options: {gaussian: {}}", "noise_options: {student_t: {}}"])
def test_another_file_is_refused(found: Path, content: str) -> None:
    (found / "student_t.yaml").write_text(content)
    with pytest.raises(InputError, match=r"student_t.yaml"):
        crossed_jobs(make_plan("smoke", None, None), found, "gaussian", "student_t", (1, 8, 8))


def test_the_files_of_the_page_are_allowed_in_its_search(root: Path, workspace: Path) -> None:
    """benchmarks/tuned/digits has what docs/tuning.md reports."""
    plan, folder = make_plan("digits", None, None), root / "benchmarks/tuned/digits"
    for label in plan.noises:
        (job, *_) = crossed_jobs(plan, folder, label, "gaussian", (1, 8, 8))
        assert (job.train.max_steps, job.train.lr) == (800, 0.0068217183025873354)


def told(job: Job) -> tuple[object, ...]:
    """All that decides a job's scores, without the labels."""
    return job.seed, job.settings, list(job.samplers.values()), job.scoring, decisive(job.train.model_dump())


def test_recipe_tuned_trains_the_winners_on_the_seeds_of_their_confirmation(
    root: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `ngldm search confirm digits` trains with the files of the page, and the page's two controls."""
    shutil.copy(root / "params.yaml", "params.yaml")
    plan, folder = make_plan("digits", None, None), root / "benchmarks/tuned/digits"
    pairs = {label: (label, label) for label in plan.noises}
    pairs |= {f"gaussian_as_{other}": ("gaussian", other) for other in ("laplace", "multivariate_t")}
    wanted = {
        (label, job.seed): told(job)
        for label, pair in pairs.items()
        for job in crossed_jobs(plan, folder, *pair, (1, 8, 8))
    }
    monkeypatch.chdir(root)
    compose_params(workspace / "params.yaml", ["recipe=tuned"])
    params = load_params(workspace / "params.yaml")
    monkeypatch.chdir(workspace)
    made = jobs.make_jobs(params.study, params.study_models(), params.networks(), params.evaluate)
    assert {(job.variant, job.seed): told(job) for job in made} == wanted
    assert len(made) == 27
