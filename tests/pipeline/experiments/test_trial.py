"""A search's training: it stops where it is told to, goes on from its checkpoint, and can be ended."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.model import Model, item_settings
from ngldm.pipeline import workspace as paths
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.experiments.trial import Bench, Training
from ngldm.scoring.distance.scorer import open_scorer


@pytest.fixture
def bench(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name in ("data", "models"):
        shutil.copytree(smoke / name, tmp_path / name)
    shutil.copy(smoke / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return Bench(open_scorer(paths.REFERENCE, 32), 0, 16, "cpu")


def training(**changes: Any) -> Training:
    params = load_params()
    settings = {
        "noise": params.noise_arguments("laplace"),
        "schedule": params.schedule.model_dump(),
        "diffusion": params.diffusion.model_dump(),
        **item_settings((1, 8, 8), **params.networks()),
    }
    given = {"max_steps": 20, "log_every": 5, "checkpoint_every": 5, "snapshot_every": 0, **changes}
    return Training("t", settings, params.train.model_copy(update=given), 0)


def weights(model: Model | None) -> dict[str, torch.Tensor]:
    assert model is not None
    return {key: value.clone() for key, value in model.network.state_dict().items()}


def go_on(seen: list[int]) -> Callable[[int, Model], bool]:
    def at_stop(step: int, model: Model) -> bool:
        seen.append(step)
        return False

    return at_stop


def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_weights(bench: Bench) -> None:
    seen: list[int] = []
    with bench.trained(training(), [5, 15], go_on(seen)) as model:
        whole = weights(model)
    assert seen == [5, 15]

    def dies(step: int, model: Model) -> bool:
        if step == 15:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt), bench.trained(training(), [5, 15], dies):
        pass
    again: list[int] = []
    with bench.trained(training(), [5, 15], go_on(again)) as model:
        resumed = weights(model)
    assert again == [15], "the first stop was done, and its checkpoint is behind it"
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_score_that_was_interrupted_needs_no_training_again(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt), bench.trained(training(), [5], go_on([])):
        raise KeyboardInterrupt
    again: list[int] = []
    with bench.trained(training(), [5], go_on(again)) as model:
        assert model is not None
    assert again == []


def test_a_training_that_is_ended_yields_no_model_and_leaves_nothing(bench: Bench) -> None:
    with bench.trained(training(), [5, 10], lambda step, model: step == 10) as model:
        assert model is None
    assert list(Path("checkpoints").iterdir()) == []


def test_the_model_at_a_stop_is_that_of_a_training_with_so_many_steps(bench: Bench) -> None:
    """With a constant learning rate, which does not depend on the number of steps."""
    found: list[dict[str, torch.Tensor]] = []

    def keep(step: int, model: Model) -> bool:
        found.append(weights(model))
        return False

    with bench.trained(training(lr_schedule="constant"), [10], keep):
        pass
    with bench.trained(training(lr_schedule="constant", max_steps=10), [], keep) as model:
        short = weights(model)
    assert all(torch.equal(found[0][key], short[key]) for key in short)


def test_a_score_is_the_same_twice_and_differs_between_samplers(bench: Bench) -> None:
    with bench.trained(training(), [], go_on([])) as model:
        assert model is not None
        first = bench.score(model, {"method": "heun", "num_inference_steps": 3})
        assert bench.score(model, {"method": "heun", "num_inference_steps": 3}) == first
        assert bench.score(model, {"method": "heun", "num_inference_steps": 2}) != first


def test_without_the_shared_files_there_is_no_bench(bench: Bench) -> None:
    shutil.rmtree(paths.LATENTS)
    with pytest.raises(InputError, match="data/latents"):
        Bench(bench.scorer, 0, 16, "cpu")
