"""The training loop: determinism, resuming bit for bit, its schedule, clipping, errors, and that it learns."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.io.tensors import load_tensors, strip_prefix
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.noise import make_noise
from ngldm.training.checkpoints.checkpointer import Checkpointer
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import Report, fit, heldout_loss, lr_at
from ngldm.training.task import Split, Task

EVERY = 5  # steps between checkpoints: 5 and 10, never where a report is due
# Small, with intervals of which none divides another.
CONFIG = FitConfig(
    max_steps=13,
    batch_size=4,
    lr=0.02,
    weight_decay=0.01,
    warmup_steps=3,
    lr_schedule="cosine",
    ema_decay=0.9,
    grad_clip=0.5,
    precision="fp32",
    compile=False,
    log_every=3,
    eval_every=4,
)
DIFFUSION = Diffusion.make(make_noise("laplace"), make_schedule(num_train_timesteps=20))
LATENTS = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
TRAIN = Split(len(LATENTS), lambda index: LATENTS[index])
HELDOUT = Split(6, lambda index: LATENTS[index] * 0.5)


class Interrupted(Exception):
    """Stands for a crash."""


class CrashAt:
    """The diffusion loss, which raises at training step `step` (from 1) of this process."""

    def __init__(self, step: int | None = None) -> None:
        self.step, self.calls = step, 0

    def __call__(self, model: nn.Module, x0: Tensor, generator: torch.Generator) -> Tensor:
        self.calls += model.training
        if self.calls == self.step:
            raise Interrupted
        return DIFFUSION.loss(model, x0, generator)


class Run:
    """A U-Net with dropout, its EMA and a checkpointer: one process's share of a training."""

    def __init__(
        self,
        folder: Path,
        *,
        config: FitConfig = CONFIG,
        crash_at: int | None = None,
        init: int = 0,
        seed: int = 0,
        key: str = "key",
        heldout: Split | None = HELDOUT,
    ) -> None:
        torch.manual_seed(init)
        checkpointer = Checkpointer(folder, "run", {"settings": key}, EVERY)
        self.folder, self.loss = checkpointer.folder, CrashAt(crash_at)
        self.model = UNet(1, UNetSettings((8,), 1, attention_levels=(0,), attention_head_dim=4, dropout=0.3))
        self.ema = EMA(self.model, config.ema_decay)
        torch.rand(17)  # the global generator's state must not matter
        self.reports = fit(
            self.model,
            self.ema,
            Task(self.loss, TRAIN, heldout),
            config,
            seed=seed,
            checkpointer=checkpointer,
        )

    def finish(self) -> "Run":
        self.history = timeless(self.reports)
        return self

    def crash(self) -> None:
        with pytest.raises(Interrupted):
            list(self.reports)

    def abandon(self, after: int) -> None:
        """Take `after` reports, then drop the generator, as a closed terminal does."""
        for _ in range(after):
            next(self.reports)
        self.reports.close()


def timeless(reports: Iterator[Report]) -> list[Report]:
    """The reports without the one number that a clock decides."""
    return [replace(report, images_per_second=0.0) for report in reports]


def same_tensors(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def assert_identical(ours: Run, theirs: Run) -> None:
    assert ours.history == theirs.history
    assert same_tensors(ours.model.state_dict(), theirs.model.state_dict())
    assert same_tensors(ours.ema.model.state_dict(), theirs.ema.model.state_dict())
    for name in ("last", "best"):
        if (theirs.folder / f"{name}.safetensors").exists():
            assert_same_checkpoint(ours.folder / f"{name}.safetensors", theirs.folder / f"{name}.safetensors")


def assert_same_checkpoint(ours: Path, theirs: Path) -> None:
    (tensors, state), (their_tensors, their_state) = load_tensors(ours), load_tensors(theirs)
    assert same_tensors(tensors, their_tensors)
    for content in (state, their_state):
        content["history"] = [{**report, "images_per_second": 0.0} for report in content["history"]]
        del content["seconds"]
    assert state == their_state


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Run]:
    """Runs that nothing interrupted, with and without a held-out split (that is, saving `best` or not)."""
    runs = {with_heldout: whole(tmp_path_factory.mktemp("whole"), with_heldout) for with_heldout in (True, False)}
    return runs.__getitem__


def whole(folder: Path, with_heldout: bool) -> Run:
    return Run(folder, heldout=HELDOUT if with_heldout else None).finish()


# --- resuming


def test_the_runs_compared_below_have_dropout_best_and_uneven_intervals(uninterrupted: Callable[[bool], Run]) -> None:
    run = uninterrupted(True)
    assert [report.step for report in run.history] == [3, 4, 6, 8, 9, 12, 13]
    assert [report.step for report in run.history if report.heldout_loss is not None] == [4, 8, 12, 13]
    assert any(isinstance(module, nn.Dropout) and module.p > 0 for module in run.model.modules())
    assert (run.folder / "best.safetensors").exists()
    assert not (uninterrupted(False).folder / "best.safetensors").exists()


@pytest.mark.parametrize("with_heldout", [True, False])
@pytest.mark.parametrize("step", [1, 5, 6, 8, 13])
def test_a_run_resumed_after_a_crash_is_bit_identical(
    tmp_path: Path, uninterrupted: Callable[[bool], Run], step: int, with_heldout: bool
) -> None:
    heldout = HELDOUT if with_heldout else None
    Run(tmp_path, crash_at=step, heldout=heldout).crash()
    resumed = Run(tmp_path, heldout=heldout).finish()
    assert resumed.loss.calls == CONFIG.max_steps - (step - 1) // EVERY * EVERY
    assert_identical(resumed, uninterrupted(with_heldout))


@pytest.mark.parametrize("reports", [1, 3, 4, 6])
def test_a_run_resumed_after_its_generator_was_abandoned_is_bit_identical(
    tmp_path: Path, uninterrupted: Callable[[bool], Run], reports: int
) -> None:
    Run(tmp_path).abandon(reports)
    assert_identical(Run(tmp_path).finish(), uninterrupted(True))


def test_a_run_interrupted_again_and_again_is_bit_identical(
    tmp_path: Path, uninterrupted: Callable[[bool], Run]
) -> None:
    for crash_at in (4, 8, 3, 7, 2):  # counted from each process's own first step
        Run(tmp_path, crash_at=crash_at).crash()
    assert_identical(Run(tmp_path).finish(), uninterrupted(True))


def test_a_resumed_run_owes_nothing_to_its_process_initial_weights(
    tmp_path: Path, uninterrupted: Callable[[bool], Run]
) -> None:
    Run(tmp_path, crash_at=8).crash()
    assert_identical(Run(tmp_path, init=99).finish(), uninterrupted(True))


def test_a_bf16_run_resumes_bit_identically(tmp_path: Path) -> None:
    config = replace(CONFIG, precision="bf16")
    expected = Run(tmp_path / "whole", config=config).finish()
    Run(tmp_path / "cut", config=config, crash_at=8).crash()
    assert_identical(Run(tmp_path / "cut", config=config).finish(), expected)


def test_a_checkpoint_of_another_fingerprint_is_not_resumed(
    tmp_path: Path, uninterrupted: Callable[[bool], Run]
) -> None:
    Run(tmp_path, key="another", crash_at=8, seed=5).crash()
    run = Run(tmp_path).finish()
    assert run.loss.calls == CONFIG.max_steps
    assert run.history == uninterrupted(True).history


def test_a_finished_run_is_not_trained_again_until_its_checkpoint_is_gone(
    tmp_path: Path, uninterrupted: Callable[[bool], Run]
) -> None:
    """What follows the training, such as writing its model, may fail: that must not cost the training."""
    Run(tmp_path).finish()
    again = Run(tmp_path).finish()
    assert again.loss.calls == 0
    assert_identical(again, uninterrupted(True))


def test_best_is_the_checkpoint_of_the_lowest_heldout_loss(uninterrupted: Callable[[bool], Run]) -> None:
    run = uninterrupted(True)
    evaluated = [report for report in run.history if report.heldout_loss is not None]
    lowest = min(evaluated, key=lambda report: report.heldout_loss or math.inf)
    tensors, state = load_tensors(run.folder / "best.safetensors")
    assert (state["step"], state["best"]) == (lowest.step, lowest.heldout_loss)
    run.ema.model.load_state_dict(strip_prefix(tensors, "ema."))
    loss = heldout_loss(run.ema.model, DIFFUSION.loss, HELDOUT, CONFIG, torch.device("cpu"))
    run.ema.model.load_state_dict(strip_prefix(load_tensors(run.folder / "last.safetensors")[0], "ema."))
    assert loss == lowest.heldout_loss


# --- seeds, learning rate


def test_two_runs_of_one_seed_are_identical(tmp_path: Path, uninterrupted: Callable[[bool], Run]) -> None:
    assert_identical(Run(tmp_path).finish(), uninterrupted(True))


def test_another_seed_gives_another_run_from_the_same_initial_weights(
    tmp_path: Path, uninterrupted: Callable[[bool], Run]
) -> None:
    other = Run(tmp_path, seed=1).finish()
    assert not same_tensors(other.model.state_dict(), uninterrupted(True).model.state_dict())
    assert [report.loss for report in other.history] != [report.loss for report in uninterrupted(True).history]


@pytest.mark.parametrize("warmup", [0, 1, 4])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rate_is_warm_up_times_schedule(warmup: int, schedule: str) -> None:
    config = replace(CONFIG, lr=0.5, warmup_steps=warmup, lr_schedule=schedule, max_steps=10)
    for step in range(config.max_steps):
        rise = (step + 1) / warmup if step < warmup else 1.0
        fall = (1 + math.cos(math.pi * step / 10)) / 2 if schedule == "cosine" else 1.0
        assert lr_at(config, step) == pytest.approx(0.5 * rise * fall, rel=1e-12)


# --- one linear network, of which everything is known


def line(index: Any) -> tuple[Tensor, Tensor]:
    """Noiseless y = 3 x0 - 2 x1 + 0.5."""
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
    return x[index], (x @ torch.tensor([[3.0], [-2.0]]) + 0.5)[index]


LINE = Split(64, line)


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
    x, y = batch
    return F.mse_loss(model(x).float(), y, reduction="none").flatten(1).mean(1)


def fit_line(config: FitConfig, folder: Path | None = None, **options: Any) -> tuple[nn.Linear, EMA, list[Report]]:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    ema = EMA(model, config.ema_decay)
    checkpointer = Checkpointer(folder, "line", {}, config.max_steps) if folder else None
    task = Task(options.get("loss", squared_error), LINE, options.get("heldout"))
    return model, ema, list(fit(model, ema, task, config, seed=0, checkpointer=checkpointer))


def test_a_simple_regression_is_learnt() -> None:
    config = replace(CONFIG, max_steps=250, lr=0.1, weight_decay=0.0, batch_size=16, grad_clip=100.0, log_every=10)
    model, ema, reports = fit_line(config, heldout=LINE)
    for network in (model, ema.model):
        torch.testing.assert_close(network.weight, torch.tensor([[3.0, -2.0]]), atol=0.02, rtol=0.0)
        torch.testing.assert_close(network.bias, torch.tensor([0.5]), atol=0.02, rtol=0.0)
    assert reports[0].loss > 1.0
    assert reports[-1].loss < 1e-3
    assert reports[-1].heldout_loss is not None
    assert reports[-1].heldout_loss < 1e-3


def test_reports_state_step_epoch_and_learning_rate() -> None:
    config = replace(CONFIG, max_steps=7, log_every=3)
    _, _, reports = fit_line(config)
    assert [report.step for report in reports] == [3, 6, 7]
    assert [report.epoch for report in reports] == [step * 4 / 64 for step in (3, 6, 7)]
    assert [report.lr for report in reports] == [lr_at(config, step - 1) for step in (3, 6, 7)]
    assert all(report.heldout_loss is None and report.images_per_second > 0 for report in reports)


def test_reported_loss_is_the_mean_since_the_last_report() -> None:
    every, third = (fit_line(replace(CONFIG, max_steps=7, log_every=n))[2] for n in (1, 3))
    losses = [report.loss for report in every]
    expected = [np.mean(losses[:3]), np.mean(losses[3:6]), losses[6]]
    assert [report.loss for report in third] == pytest.approx(expected, rel=1e-6)


def test_an_item_has_one_of_its_sides_in_each_batch() -> None:
    """In an epoch every item comes once, with a side that is drawn; over all epochs it comes with both."""
    seen: list[int] = []

    def fetch(index: Any) -> tuple[Tensor, Tensor]:
        seen.extend(index.tolist())
        return line(index)

    config = replace(CONFIG, max_steps=16 * 12)
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    list(fit(model, EMA(model, 0.9), Task(squared_error, Split(32, fetch, sides=2), LINE), config, seed=0))
    rows = np.array(seen[: 12 * 64]).reshape(-1, 32)
    for epoch in rows:
        assert sorted(epoch // 2) == list(range(32))
    assert {*rows.ravel()} == set(range(64))


@pytest.mark.parametrize("warmup", [0, 4])
def test_the_optimiser_takes_the_scheduled_learning_rate(warmup: int) -> None:
    """Adam's first step moves every weight by the learning rate, whatever the gradient."""
    config = replace(CONFIG, max_steps=1, warmup_steps=warmup, weight_decay=0.0)
    torch.manual_seed(0)
    before = nn.Linear(2, 1).weight.detach().clone()
    after = fit_line(config)[0].weight
    expected = torch.full_like(before, config.lr / max(1, warmup))
    torch.testing.assert_close((after - before).abs(), expected, rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_gradients_are_clipped_to_the_norm(tmp_path: Path, clip: float) -> None:
    """After one step Adam's first moment is a tenth of the gradient that it saw."""
    _, _, (report,) = fit_line(replace(CONFIG, max_steps=1, grad_clip=clip), tmp_path)
    tensors, _ = load_tensors(next(tmp_path.glob("line-*/last.safetensors")))
    moments = [value.flatten() for key, value in tensors.items() if key.endswith("exp_avg")]
    assert report.grad_norm > 0.5  # the norm before clipping
    assert 10 * float(torch.cat(moments).norm()) == pytest.approx(min(clip, report.grad_norm), rel=1e-3)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_divergence_is_an_input_error_that_names_the_step(value: float) -> None:
    def diverging(model: nn.Module, batch: Any, generator: torch.Generator) -> Tensor:
        return squared_error(model, batch, generator) * value

    with pytest.raises(InputError, match=r"step 3.*diverged.*lr"):
        fit_line(CONFIG, loss=diverging)


def test_bf16_computes_in_bf16_and_keeps_float32_weights() -> None:
    seen = set()

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
        seen.add(model(batch[0]).dtype)
        return squared_error(model, batch, generator)

    model, ema, reports = fit_line(replace(CONFIG, precision="bf16"), loss=loss)
    assert seen == {torch.bfloat16}
    assert {p.dtype for network in (model, ema.model) for p in network.parameters()} == {torch.float32}
    assert all(math.isfinite(report.loss) for report in reports)
    assert not torch.equal(model.weight, fit_line(CONFIG)[0].weight)


@pytest.mark.parametrize("precisions", [("fp32", "bf16"), ("bf16", "fp32")])
def test_one_process_can_train_in_both_precisions(precisions: tuple[str, str]) -> None:
    for precision in precisions:
        assert fit_line(replace(CONFIG, precision=precision))[2]


def test_a_compiled_run_trains_as_the_plain_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and differentiated as for real, but run by torch's own kernels: generating C++ takes a minute."""
    compiled = []
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or original(model, backend="aot_eager"))
    model, ema, reports = fit_line(replace(CONFIG, compile=True))
    plain, plain_ema, plain_reports = fit_line(CONFIG)
    assert compiled == [model]
    assert [r.loss for r in reports] == pytest.approx([r.loss for r in plain_reports], rel=1e-4)
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ema.model.state_dict(), plain_ema.model.state_dict(), rtol=1e-4, atol=1e-6)


def test_convolutions_are_laid_out_channels_last_and_so_are_resumed_moments(tmp_path: Path) -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(64, 1))

    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> Tensor:
        return model(batch).square().mean()

    images = torch.randn(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    split = Split(20, lambda index: images[index])
    config = replace(CONFIG, max_steps=6)
    finals = {}
    for name, stop in (("whole", None), ("resumed", 4)):
        checkpointer = Checkpointer(tmp_path, name, {}, 2)
        for limit in (stop, None) if stop else (None,):
            model = build()
            ema = EMA(model, 0.9)
            steps = fit(model, ema, Task(loss, split), config, seed=0, checkpointer=checkpointer)
            for report in steps:
                if limit and report.step >= limit:
                    steps.close()
                    break
        finals[name] = (model, ema.model)
    for network in (*finals["whole"], *finals["resumed"]):
        assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(finals["resumed"], finals["whole"], strict=True):
        assert same_tensors(ours.state_dict(), theirs.state_dict())


def test_training_ends_in_eval_mode_with_train_mode_in_between() -> None:
    modes = []

    def loss(model: nn.Module, batch: Any, generator: torch.Generator) -> Tensor:
        modes.append(model.training)
        return squared_error(model, batch, generator)

    model, ema, _ = fit_line(CONFIG, loss=loss)
    assert modes == [True] * CONFIG.max_steps
    assert not model.training
    assert not ema.model.training


# --- held-out loss


@pytest.mark.parametrize("batch_size", [1, 4, 10, 64])
@pytest.mark.parametrize("reduced", [False, True])
def test_heldout_loss_is_the_plain_mean_over_the_split(batch_size: int, reduced: bool) -> None:
    """Whatever the batch size, and whether or not the loss function has averaged its batch already."""
    values = torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 49.0, 64.0, 1000.0])

    def loss(model: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        return batch.mean() if reduced else batch

    split = Split(10, lambda index: values[index])
    mean = heldout_loss(nn.Identity(), loss, split, replace(CONFIG, batch_size=batch_size), torch.device("cpu"))
    assert mean == pytest.approx(120.4, rel=1e-6)


def test_heldout_loss_has_the_same_noise_every_time(uninterrupted: Callable[[bool], Run]) -> None:
    model, device = uninterrupted(True).ema.model, torch.device("cpu")
    first = heldout_loss(model, DIFFUSION.loss, HELDOUT, CONFIG, device)
    torch.rand(5)
    assert heldout_loss(model, DIFFUSION.loss, HELDOUT, CONFIG, device) == first


def test_evaluating_does_not_disturb_training(tmp_path: Path, uninterrupted: Callable[[bool], Run]) -> None:
    with_, without = uninterrupted(True), uninterrupted(False)
    assert same_tensors(with_.model.state_dict(), without.model.state_dict())


def test_a_report_survives_json(uninterrupted: Callable[[bool], Run]) -> None:
    """The history lies in the checkpoint as JSON: floats must come back as they were."""
    run = uninterrupted(True)
    _, state = load_tensors(run.folder / "last.safetensors")
    stored = [{**report, "images_per_second": 0.0} for report in state["history"]]
    assert stored == [asdict(report) for report in run.history]
