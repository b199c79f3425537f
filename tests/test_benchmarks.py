"""The benchmarks at their smallest size: they run, compare equal work, values agree. No timing is asserted."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer

pytest.importorskip("denoising_diffusion_pytorch")
from benchmarks import (
    bookkeeping,
    breakdown,
    cores,
    fid,
    growth,
    latents,
    laws,
    memory,
    pipeline,
    reading,
    sample,
    scale,
    scaling,
    scoring,
    time_to_score,
    train_step,
)
from benchmarks.common import Row, interleaved, peak_mib, publish, summary, table
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import recipe, speed
from benchmarks.networks import diffusers_unet, model_of, ours_like, parameters
from ngldm.io.errors import InputError
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.pipeline.terminal import run
from ngldm.training.checkpoints.lock import if_free


@pytest.mark.parametrize(
    ("levels", "target"), [(2, 60_000), (2, 1_000_000), (2, 5_000_000), (3, 500_000), (3, 1_000_000), (3, 5_000_000)]
)
def test_our_network_is_as_large_as_the_peers(levels: int, target: int) -> None:
    settings = ours_like(target, 3, levels)
    assert len(settings["widths"]) == levels
    assert parameters(UNet(3, UNetSettings(**settings))) == pytest.approx(target, rel=0.02)


def test_an_impossible_size_is_refused() -> None:
    with pytest.raises(ValueError, match="no U-Net of ours has 10 parameters"):
        ours_like(10, 3)


def test_repeats_are_interleaved_after_an_untimed_round() -> None:
    order: list[str] = []
    seconds = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 2)
    assert "".join(order) == "ababab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_a_single_repeat_has_no_untimed_round() -> None:
    order: list[str] = []
    interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 1)
    assert order == ["a", "b"]


def test_the_untimed_round_can_be_left_out() -> None:
    order: list[str] = []
    interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 2, warm_up=False)
    assert "".join(order) == "abab"


def test_the_ratio_is_of_the_same_repeat() -> None:
    rows = summary({"ours": [1.0, 2.0, 4.0], "peer": [3.0, 6.0, 12.0]}, 10, "ours")
    assert [row["times slower than ours"] for row in rows] == [1.0, 3.0]
    assert rows[1]["images/s"] == pytest.approx(10 / 6)


@pytest.mark.parametrize("name", train_step.COMPARISONS)
def test_networks_have_equal_parameters_all_run_and_are_broken_down(name: str) -> None:
    comparison = train_step.COMPARISONS[name]("smallest")
    _equal_and_run(comparison.rows(1))
    *rows, rest = breakdown.breakdown(comparison.contenders)
    assert len(rows) == breakdown.SHOWN
    assert {"convolution_backward", "mkldnn_convolution"} <= {row["operation"] for row in rows}
    for column in list(rest)[1:]:
        assert sum(row[column] for row in [*rows, rest]) == pytest.approx(100.0)
        assert rest[column] > -1e-9


def test_sampling_networks_have_equal_parameters_and_all_run() -> None:
    _equal_and_run(sample.against_diffusers("smallest"))


def _equal_and_run(rows: list[dict[str, Any]]) -> None:
    counts = [row["parameters"] for row in rows]
    assert all(row["seconds"] > 0 for row in rows)
    assert max(counts) <= 1.021 * min(counts)


def test_fewest_calls_are_those_that_reach_the_ancestral_score(smoke: Path) -> None:
    rows = sample.equal_score(smoke, "smallest")
    assert {row["noise"] for row in rows} == {"gaussian", "laplace"}
    for row in rows:
        reaching = [calls for calls in sample.CALLS if row[f"{calls} calls"] <= row["ancestral"]]
        assert row["fewest calls"] == (reaching[0] if reaching else "")


def test_diffusers_sampler_runs_on_our_weights(smoke: Path) -> None:
    first, *ours = sample.same_weights(smoke, "smallest")
    assert first["contender"] == "diffusers' DDIM"
    assert all(row["score"] > first["score"] for row in ours[:-1])
    assert ours[-1]["score"] <= first["score"] or len(ours) == len(sample.CALLS)


def test_work_and_the_rest_are_the_whole_time(smoke: Path) -> None:
    *parts, whole = pipeline.outside_work(smoke)
    assert [part["part"] for part in parts][:4] == ["download", "autoencoder", "latents", "reference"]
    assert parts[-1]["part"] == "outside the work"
    assert sum(part["share, %"] for part in parts) == pytest.approx(100.0)
    assert 0 < parts[-1]["seconds"] < whole["seconds"] < 600


def test_the_imports_of_a_stage_are_counted_by_package(smoke: Path, tmp_path: Path) -> None:
    """By stand-ins for two stages, with packages that take a known time."""
    files = {
        "stages/__init__.py": "",
        "stages/train.py": "import light",
        "stages/latents.py": "import heavy.part, light",
        "heavy/__init__.py": "import time; time.sleep(0.2)",
        "heavy/part.py": "import time; time.sleep(0.3)",
        "light.py": "import time; time.sleep(0.1)",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    start, latents_ = pipeline.imports(smoke, "smallest", tmp_path)
    assert (start["stage"], latents_["stage"]) == ("--help", "latents")
    seconds = {part.split()[0]: float(part.split()[1]) for part in latents_["largest"].split(", ")}
    assert list(seconds)[:2] == ["heavy", "light"]
    assert 0.5 <= seconds["heavy"] < latents_["seconds"] < 5.0
    assert 0.1 <= seconds["light"] < 0.5
    assert "light" in start["largest"]
    assert "heavy" not in start["largest"]
    assert 0 < start["modules"] < latents_["modules"]


def test_every_family_of_noise_is_trained_and_compared_with_the_gaussian_of_the_same_turn() -> None:
    params = laws.composed("smoke")
    for family in laws.FAMILIES:
        laws.trainer(params, family, 1)()
    first, second = laws.rows({"Gaussian": [1.0, 2.0, 4.0], "t": [1.1, 2.2, 4.4]}, 10)
    assert (first["times Gaussian"], first["ms per step"]) == (1.0, 200.0)
    assert second["times Gaussian"] == pytest.approx(1.1)
    assert second["quartiles"] == "1.100 to 1.100"


def test_peak_memory_is_that_of_the_call() -> None:
    assert 60 < peak_mib(lambda: torch.ones(2**24)) < 100  # 64 MiB


def test_scoring_agrees_with_pytorch_fid() -> None:
    ours, peers = fid.distance("smallest")
    assert ours["value"] == pytest.approx(peers["value"], rel=fid.RELATIVE)
    assert len(fid.evaluation("smallest")) == 5


def test_scores_of_given_features_agree_with_the_peers() -> None:
    rows = scoring.scores(100, 64, with_peers=True)
    assert [row["score"] for row in rows if "a peer's seconds" in row] == ["distance", "KID", "precision and recall"]
    with pytest.raises(AssertionError, match="distance: "):
        scoring.agree("distance", 1.0, 1.1, 100)


def test_the_cases_of_growth_run_and_an_exponent_is_between_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    for make, sizes in growth.CASES.values():
        make(sizes[0][0])()
    told = iter(["1.0 10 20", "4.0 10 30"])
    monkeypatch.setattr(growth.subprocess, "run", lambda *args, **options: SimpleNamespace(stdout=next(told)))
    assert [row["exponent"] for row in growth.growth("timesteps", "smallest")] == ["", pytest.approx(2.0)]


def test_memory_of_the_stages_on_shards_is_measured_and_drawn(tmp_path: Path) -> None:
    row = memory.stages(200, 10)
    assert row["latents on disk, MiB"] > 180 * 2 * 4 * 4 * 2 / 2**20  # float16, and files' headers
    peaks = [row[f"{stage}, MiB"] for stage in memory.STAGES]
    assert all(100 < peak < 5000 for peak in peaks)  # torch alone needs more than the least
    memory.draw([row, {**row, "images": 400}], tmp_path / "memory.png")
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_the_others_run_and_are_written(tmp_path: Path) -> None:
    results = {
        "latents": latents.compare("smallest", True),
        "folders": scaling.folder_reading("smallest"),
        "training": scaling.training("smallest"),
        "start-up": pipeline.start_up("smallest"),
        "distance": breakdown.distance("smallest"),
    }
    publish("others", results, tmp_path)
    written = json.loads((tmp_path / "others.json").read_text())
    assert written["results"].keys() == results.keys()
    assert written["machine"]["torch"]
    assert [row["files"] for row in written["results"]["folders"]] == [16, 32]


def part_of(smoke: Path, folder: Path, *without: str) -> Path:
    """A copy of the workspace, in which the stages with these figures have not run."""
    shutil.copytree(smoke, folder, ignore=shutil.ignore_patterns(".git", ".dvc", "reports", "study", "mlartifacts"))
    for name in without:
        (folder / "metrics" / f"{name}.json").unlink()
    return folder


def gpu_tables(out: Path) -> Any:
    return json.loads((out / "gpu.json").read_text())["results"]


def test_the_gpu_benchmark_runs_everywhere_and_goes_on_with_the_parts_that_are_missing(
    smoke: Path, tmp_path: Path
) -> None:
    """The workspace lacks the samples of one sampler."""
    folder = part_of(smoke, tmp_path / "w", "sample/gaussian-auto")
    shutil.rmtree(folder / "samples" / "gaussian" / "auto")
    gpu.main("smallest", tmp_path, 0.0, workspace=folder)
    assert not (tmp_path / "gpu.json").exists()
    gpu.main("smallest", tmp_path, workspace=folder)
    tables = gpu_tables(tmp_path)
    assert {row["part"]: row["outcome"] for row in tables["parts"]} == dict.fromkeys(
        [*speed.PARTS, "best, data", "best, gaussian", "best, laplace"], "done"
    )
    assert {row["contender"] for row in tables["training"]} == {
        f"{name}, {precision}" for name in ("ours", "diffusers") for precision in ("bf16", "fp32")
    }
    assert [row["contender"] for row in tables["sampling"]] == ["ours", "ours, bf16", "diffusers"]
    for part in (name for name in speed.PARTS if name.startswith(("training", "feeding", "sampling"))):
        assert all(row["images/s"] > 0.0 for row in tables[part])
    assert [(row["batch"], row["parts"]) for row in tables["memory of best"]] == [(32, 1), (64, 1)]
    scores = json.loads((smoke / "metrics" / "evaluate" / "gaussian.json").read_text())["samplers"]["auto"]
    (row,) = (row for row in tables["best"] if (row["noise"], row["sampler"]) == ("gaussian", "auto"))
    assert (row["metric"], row["extractor"], row["images scored"]) == ("fd_classifier", "classifier", 64)
    assert row["score"] == pytest.approx(scores["fd_classifier"])
    assert (row["steps"], row["of"]) == (20, 20)
    assert (tmp_path / "gaussian-auto.png").read_bytes() == (smoke / "plots/samples/gaussian-auto.png").read_bytes()
    seconds = {row["part"]: row["seconds"] for row in tables["parts"]}
    gpu.main("smallest", tmp_path, only=["scoring"], workspace=folder)
    again = {row["part"]: row["seconds"] for row in gpu_tables(tmp_path)["parts"]}
    assert [part for part in again if again[part] != seconds[part]] == ["scoring"]


def test_a_training_of_the_gpu_benchmark_that_is_out_of_time_goes_on_at_its_last_step(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The clock jumps once a checkpoint of a later step is there."""
    folder = part_of(smoke, tmp_path / "w", "train/laplace")
    (folder / "params.yaml").unlink()
    shutil.rmtree(folder / "models" / "laplace")
    long, steps = ["train.max_steps=100000", "train.snapshot_every=0"], [0]

    def clock() -> float:
        kept = list((folder / "checkpoints").glob("laplace-*/last.json"))
        step = json.loads(kept[0].read_text())["step"] if kept else 0
        return 1e9 if step > steps[-1] else 0.0

    monkeypatch.setattr(recipe, "now", clock)
    for _ in range(2):
        gpu.main("smallest", tmp_path, only=["best, laplace"], workspace=folder, settings=long)
        (row, _) = (row for row in gpu_tables(tmp_path)["best"] if row["noise"] == "laplace")
        assert steps[-1] < row["steps"] < row["of"] == 100_000
        steps.append(row["steps"])
        assert gpu_tables(tmp_path)["parts"][0]["outcome"] == f"stopped at train laplace, step {steps[-1]}"
    assert f"continues from the checkpoint of step {steps[1]}" in capfd.readouterr().out


def test_a_part_of_the_gpu_benchmark_that_takes_too_long_or_fails_is_noted(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(setting: speed.Setting) -> list[Row]:
        while True:
            torch.ones(1)

    def broken(setting: speed.Setting) -> list[Row]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(speed, "PARTS", {"endless": endless, "broken": broken, "good": lambda setting: [{"a": 1}]})
    monkeypatch.setattr(speed, "matmul_rate", lambda size: 1e12)
    gpu.main("smallest", tmp_path, part_minutes=0.001, workspace=smoke, only=["endless"])
    gpu.main("smallest", tmp_path, workspace=smoke, only=["broken", "good"])
    assert [(row["part"], row["outcome"]) for row in gpu_tables(tmp_path)["parts"]] == [
        ("endless", "stopped after 0.0 minutes"),
        ("broken", "failed: RuntimeError: out of memory"),
        ("good", "done"),
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_limit_that_is_over_in_a_destructor_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def __del__(self) -> None:
            wait()

    def wait() -> None:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            pass

    def limited() -> None:
        with gpu.limit(0.05):
            Slow()
            wait()

    monkeypatch.setattr(gpu, "AGAIN", 0.1)
    with pytest.raises(gpu.OutOfTime):
        limited()


def test_a_part_of_the_gpu_benchmark_that_a_whole_call_does_not_suffice_for_is_left_for_the_next_part(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def endless(setting: speed.Setting) -> list[Row]:
        calls.append("endless")
        while True:
            torch.ones(1)

    monkeypatch.setattr(speed, "PARTS", {"endless": endless, "good": lambda setting: calls.append("good") or []})
    monkeypatch.setattr(speed, "matmul_rate", lambda size: 1e12)
    for _ in range(2):
        gpu.main("smallest", tmp_path, 0.005, workspace=smoke)
    assert capsys.readouterr().out.count("the same command goes on with") == 2
    assert calls == ["endless", "good"]
    gpu.main("smallest", tmp_path, 0.02, workspace=smoke)  # more time: once more
    assert calls[:3] == ["endless", "good", "endless"]


class Recipe:
    """Stands for a recipe whose part never ends; its progress is as given."""

    parts = ("best",)

    def __init__(self, *progress: int) -> None:
        self.states = iter(progress)

    def progress(self, part: str) -> int:
        return next(self.states)

    def done(self, part: str) -> bool:
        return False

    def advance(self, part: str, until: float) -> str:
        return "sample laplace auto"

    def rows(self) -> list[Row]:
        return []

    def pictures(self, part: str, out: Path) -> list[Path]:
        return []


@pytest.mark.parametrize(("minutes", "part_minutes"), [(40.0, 9.0), (8.0, 9.0)])
def test_a_stage_of_the_gpu_benchmark_may_take_many_parts_as_long_as_it_comes_further(
    tmp_path: Path, minutes: float, part_minutes: float
) -> None:
    command = gpu.Command(gpu.Results(tmp_path, "smallest"), Recipe(0, 1, 1, 2, 2, 2), minutes, part_minutes)
    with pytest.raises(InputError, match="too short, the part came no further than sample laplace auto"):
        command.go("best", again=False)
    assert list(command.best.states) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "train.max_step=3"], "train.max_step"),
        (["--set", "train.max_steps=-3"], "train.max_steps"),
        (["--set", "dataset=image_folder", "--set", "dataset.source=/not/there"], "/not/there"),
        (["--size", "tiny"], "tiny"),
        (["--only", "nothing"], "nothing"),
    ],
)
def test_what_the_gpu_benchmark_cannot_do_is_said_before_any_work(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu", "--size", "smallest", "--out", str(tmp_path), *arguments])
    with pytest.raises(SystemExit) as ended:
        run(gpu.app)
    out, err = capfd.readouterr()
    assert ended.value.code == 2
    assert (said in err, "Traceback" in err, out) == (True, False, "")
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.parametrize(
    "results",
    [7, {"parts": 3}, {"parts": []}, {"parts": [{"part": "training"}]}, {"best": [1]}, {"parts": [{"seconds": 1.0}]}],
)
def test_a_file_that_the_gpu_benchmark_has_not_written_is_refused(results: Any, tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_text(json.dumps({"size": "smallest", "results": results}))
    with pytest.raises(InputError, match=r"gpu\.json holds no tables of this benchmark"):
        gpu.main("smallest", tmp_path, 0.0)


def test_two_gpu_benchmarks_cannot_work_in_a_folder_at_once(tmp_path: Path) -> None:
    with if_free(tmp_path / "w" / "gpu"), pytest.raises(InputError, match=r"another command works in .*/w; wait"):
        gpu.main("smallest", tmp_path / "o", 0.0, workspace=tmp_path / "w")
    gpu.main("smallest", tmp_path / "o", 0.0, workspace=tmp_path / "w")
    (tmp_path / "o" / "gpu.json").mkdir()
    with pytest.raises(InputError, match=r"gpu\.json"):
        gpu.main("smallest", tmp_path / "o", 0.0, workspace=tmp_path / "w")


def test_a_workspace_of_the_gpu_benchmark_takes_other_scores_but_no_other_training(smoke: Path, tmp_path: Path) -> None:
    folder = part_of(smoke, tmp_path / "w")
    best = recipe.Recipe.of(folder, "smallest", ["evaluate.extractor=rotation"])
    assert {part: best.done(part) for part in best.parts} == dict.fromkeys(best.parts, False)
    assert (folder / "metrics" / "train" / "laplace.json").is_file()
    with pytest.raises(InputError, match=r"other settings: train.lr;"):
        recipe.Recipe.of(folder, "smallest", ["train.lr=0.5", "evaluate.neighbours=4"])
    shutil.rmtree(folder / "metrics")  # nothing has run
    assert recipe.Recipe.of(folder, "smallest", ["train.lr=0.5"]).params.train.lr == 0.5


def test_the_extractor_is_inception_only_if_its_weights_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert recipe.Recipe.of(tmp_path / "a", "small", []).params.evaluate.extractor == "auto"
    given = ["evaluate.inception_weights=/weights.pth"]
    assert recipe.Recipe.of(tmp_path / "b", "small", given).params.evaluate.extractor == "inception"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / recipe.FID_WEIGHTS_NAME).touch()
    assert recipe.Recipe.of(tmp_path / "c", "full", []).params.evaluate.extractor == "inception"


def test_the_operations_of_a_step_are_those_of_its_products() -> None:
    """A product of (B, n) and (n, m) has 2 B n m. Backward it is one for the weights; the input needs no gradient."""
    layer = torch.nn.Linear(5, 3)
    layer.forward = lambda x, t: torch.nn.functional.linear(x, layer.weight, layer.bias)
    assert speed.step_flop(layer, (5,), 7) == 2 * (2 * 7 * 5 * 3)


def test_the_operations_of_a_step_are_in_proportion_to_its_images() -> None:
    for network in (model_of(ours_like(60_000, 4), (4, 8, 8)).network, diffusers_unet((4, 8, 8), (32, 64))):
        one, two = (speed.step_flop(network, (4, 8, 8), batch) for batch in (1, 2))
        assert two == pytest.approx(2 * one, rel=1e-3)


def test_reading_is_measured_at_each_size(tmp_path: Path) -> None:
    reading.main("smallest", tmp_path)
    results = json.loads((tmp_path / "reading.json").read_text())["results"]
    assert [row["items"] for row in results["order of an epoch"]] == [1000, 2000]
    assert all(row["MiB/s"] > 0.0 for row in results["latents in memory"])


def test_the_stores_hold_what_was_written() -> None:
    runs = bookkeeping.mlflow_runs((2, 4))
    assert [row["runs"] for row in runs] == [2, 4]
    trials = bookkeeping.optuna_trials((5, 30))
    assert [(row["store"], row["trials"]) for row in trials] == [
        (store, count) for store in ("journal file", "SQLite") for count in (5, 30)
    ]
    assert all(row["propose and add one, s"] > 0.0 for row in trials)


def test_the_page_of_scale_has_the_tables_that_its_command_prints(root: Path) -> None:
    page, tables = (root / "docs" / "scale.md").read_text(), scale.tables()
    assert [name for name, rows in tables.items() if table(rows) not in page] == []
    call, step, *_ = (row["GFLOP per image"] for row in tables["networks"])
    assert step == pytest.approx(3 * call, rel=0.01)  # two products backward for each one forward


def test_each_training_of_the_time_to_a_score_is_made_once_and_drawn(smoke: Path, tmp_path: Path) -> None:
    for _ in range(2):
        time_to_score.main("smallest", tmp_path, smoke, figure=tmp_path / "curves.png")
    lines = [json.loads(line) for line in (tmp_path / "time_to_score.jsonl").read_text().splitlines()]
    assert [row["contender"] for row in lines] == list(time_to_score.CONTENDERS)
    assert all(row["seconds"] > 0.0 and row["score"] > 0.0 for row in lines)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("train", [time_to_score.diffusers, time_to_score.lucidrains, time_to_score.ours])
def test_each_seed_is_a_training_of_its_own(train: Any, smoke: Path) -> None:
    work = time_to_score.Work(smoke)
    first, again, other = (list(train(work, 1e-3, 1, seed).network.parameters()) for seed in (0, 0, 1))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_the_learning_rate_of_a_contender_is_that_with_the_best_median() -> None:
    shared = {"data": "d", "contender": "ours", "steps": 10, "images": 80, "parameters": 5}
    scores = {0.1: (1.0, 2.0, 9.0), 0.2: (1.5, 1.6, 1.7), 0.3: (0.5,)}  # the last has been tried with one seed only
    done = [{**shared, "lr": lr, "seconds": 4.0, "score": one} for lr, values in scores.items() for one in values]
    (row,) = time_to_score.summary(done)
    assert (row["best"], row["seeds"], row["lowest"], row["score"], row["highest"]) == (0.2, 3, 1.5, 1.6, 1.7)
    assert row["rates tried"] == "0.1, 0.2, 0.3"


def test_contenders_can_be_named_with_their_learning_rates() -> None:
    assert time_to_score.chosen(["ours, muon=1e-3,0.5", "diffusers"]) == {
        "ours, muon": (1e-3, 0.5),
        "diffusers": time_to_score.CONTENDERS["diffusers"][1],
    }


def test_training_beside_a_busy_process_is_measured(tmp_path: Path) -> None:
    cores.main("smallest", ["recipe smoke"], tmp_path)
    (rows,) = json.loads((tmp_path / "cores.json").read_text())["results"].values()
    assert [row["threads"] for row in rows] == ["as chosen"]
    assert min(rows[0]["steps/s"], rows[0]["steps/s beside one busy process"]) > 0.0


def test_a_work_that_is_not_there_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="'feature' is not one of recipe smoke, features, latents"):
        cores.main("smallest", ["features", "feature"])


def test_features_and_latents_are_computed_at_a_rate() -> None:
    assert {"features", "latents"} < set(cores.works("smallest"))
    assert cores.images_extracted_per_second(0.01) > 0.0
    assert cores.images_encoded_per_second(0.01) > 0.0
