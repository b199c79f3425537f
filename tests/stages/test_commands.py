"""The commands: thin, helpful, and with bad input one message, exit code 2, no traceback, nothing half-written."""

import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ngldm.data.dataset import save_dataset
from ngldm.data.sources.bundled.digits import digits
from ngldm.io.errors import InputError
from ngldm.pipeline import terminal as command
from ngldm.pipeline import workspace as paths
from ngldm.pipeline.cli import main
from ngldm.pipeline.config.compose import compose_params

STAGES = sorted(path.stem for path in (Path(__file__).parents[2] / "stages").glob("[!_]*.py"))
DIGITS = {"name": "digits", "test_size": 297, "seed": 0}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def workspace(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with the smoke recipe's params.yaml and MLflow's store inside it."""
    shutil.copytree(root / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    compose_params(Path("params.yaml"), ["recipe=smoke"])
    return tmp_path


@pytest.fixture
def call(workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `python -m stages.<name> <arguments>`, or `ngldm <name> <arguments>`; gives exit code, stdout, stderr."""

    def run(name: str, *arguments: str) -> tuple[int, str, str]:
        entry, line = (import_module(f"stages.{name}"), [name]) if name in STAGES else (main, ["ngldm", name])
        monkeypatch.setattr(sys, "argv", [*line, *arguments])
        with pytest.raises(SystemExit) as caught:
            entry.main()
        out, err = capsys.readouterr()
        code = caught.value.code
        return (code if isinstance(code, int) else 0), out, err

    return run


def change(**sections: dict) -> None:
    file = Path("params.yaml")
    content = YAML(typ="safe").load(file)
    for name, values in sections.items():
        content[name].update(values)
    YAML().dump(content, file)


def assert_refused(result: tuple[int, str, str], *words: str) -> None:
    code, _, err = result
    assert code == 2
    assert "Traceback" not in err
    assert err.count("error") <= 2
    for word in words:
        assert word in err


def leftovers(workspace: Path) -> list[str]:
    return sorted(p.name for p in workspace.iterdir() if p.name not in ("conf", "params.yaml"))


@pytest.mark.parametrize("name", STAGES)
def test_help_explains_itself(call, name):
    code, out, _ = call(name, "--help")
    assert code == 0
    assert "Usage" in out
    assert len(out.split()) > 15


def test_params_shows_and_checks(call):
    code, out, _ = call("params")
    assert code == 0
    assert "recipe: smoke" in out
    assert "train.lr: 0.001  # learning rate after warm-up" in out


def test_params_compose_writes_the_file(call):
    code, _, _ = call("params", "--compose", "-S", "recipe=smoke", "-S", "noise=laplace")
    assert code == 0
    assert YAML(typ="safe").load(Path("params.yaml"))["noises"] == ["laplace"]


def test_params_set_without_compose_is_refused(call):
    assert_refused(call("params", "-S", "noise=laplace"), "--set", "--compose")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"train": {"lr": -1.0}}, ["train.lr", "-1.0", "greater than 0"]),
        ({"sample": {"num_images": 0}}, ["sample.num_images", "0"]),
        ({"train": {"steps": 5}}, ["train.steps", "unknown key", "max_steps"]),
        ({"sampler_options": {"ddim": {"method": "ddim", "num_inference_steps": 51}}}, ["51", "50"]),
        (
            {"noise_options": {"laplace": {"distribution": "cauchy"}}},
            ["noise_options.laplace", "'cauchy'", "its mean does not exist"],
        ),
    ],
)
def test_bad_params_stop_the_first_stage_before_any_work(call, workspace, sections, words):
    change(**sections)
    assert_refused(call("download"), *words)
    assert leftovers(workspace) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--noise", "cauchy"), ["'cauchy'", "gaussian", "gumbel"]),
        (("sample", "--noise", "laplace", "--sampler", "euler"), ["'euler'", "ancestral", "auto"]),
        (("evaluate", "--noise", "x"), ["'x'", "laplace"]),
        (("latents", "--device", "tpu"), ["'tpu'", "cpu"]),
        (("latents", "--device", "cuda:99"), ["'cuda:99'", "cpu"]),
        (("train",), ["--noise"]),
        (("nonsense",), ["nonsense"]),
    ],
)
def test_bad_options_are_named_with_what_is_allowed(call, workspace, arguments, words):
    assert_refused(call(*arguments), *words)
    assert leftovers(workspace) == []


@pytest.mark.parametrize(
    ("arguments", "missing", "stage"),
    [
        (("autoencoder",), "data/dataset", "download"),
        (("latents",), "data/dataset", "download"),
        (("reference",), "data/dataset", "download"),
        (("train", "--noise", "laplace"), "data/dataset", "download"),
        (("sample", "--noise", "laplace", "--sampler", "auto"), "models/laplace/model.safetensors", "train"),
        (("evaluate", "--noise", "laplace"), "samples/laplace/ancestral", "sample"),
        (("report",), "data/reference/reference.json", "repro"),
    ],
)
def test_a_missing_upstream_output_is_named_with_its_stage(call, workspace, arguments, missing, stage):
    assert_refused(call(*arguments), missing, stage)
    assert leftovers(workspace) == []


def test_missing_params_file_is_named(call):
    Path("params.yaml").unlink()
    assert_refused(call("download"), "params.yaml")


def test_a_damaged_model_is_named_and_leaves_nothing(call, workspace):
    path = paths.model("laplace")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a model")
    assert_refused(call("sample", "--noise", "laplace", "--sampler", "auto"), str(path))
    assert leftovers(workspace) == ["models"]


def test_a_damaged_autoencoder_is_named(call):
    save_dataset(digits(DIGITS), paths.DATASET)
    paths.AUTOENCODER.parent.mkdir(parents=True)
    paths.AUTOENCODER.write_bytes(b"\x00" * 100)
    assert_refused(call("latents"), str(paths.AUTOENCODER))
    assert not paths.LATENTS.exists()


@pytest.mark.parametrize("weights", ["missing.pth", "damaged.pth"])
def test_bad_inception_weights_leave_no_reference(call, weights):
    save_dataset(digits(DIGITS), paths.DATASET)
    Path("damaged.pth").write_bytes(b"no weights")
    change(evaluate={"extractor": "inception", "inception_weights": weights})
    assert_refused(call("reference"), "evaluate.inception_weights", weights)
    assert not paths.REFERENCE.exists()
    assert not list(Path("data").glob(".*"))


def test_an_interrupt_exits_with_130(monkeypatch):
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        command.run(interrupted)
    assert caught.value.code == 130


def test_a_defect_is_not_hidden():
    """Only bad input is turned into a message; a bug keeps its traceback."""

    def defect() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        command.run(defect)


def test_plain_lines_where_there_is_no_terminal(capsys):
    with command.progress("train", 10, "steps") as advance:
        for _ in range(10):
            advance(1, "loss 1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("train: 10/10")
    assert "steps/s" in lines[-1]
    assert len(lines) == 1


def test_errors_are_value_errors():
    assert issubclass(InputError, ValueError)


def test_the_study_removes_the_scores_of_an_earlier_experiment(call, workspace):
    """Else `dvc exp run study` would have them."""
    (workspace / paths.SCORES).parent.mkdir()
    (workspace / paths.SCORES).write_text("{}")
    code, out, err = call("study")
    assert (code, err) == (0, "")
    assert "no variants" in out
    assert not (workspace / paths.SCORES).exists()
