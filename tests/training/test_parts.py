"""A batch in parts: over two processes and over several steps, against the whole batch at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.io.tensors import load_tensors
from ngldm.training.parts import add_up, check_takes_part, dropout_of, own_parts

# Attention, dropout, a head with a loss of its own; or noise that is paired with the images of the whole batch.
TRAINING = """
from pathlib import Path

import numpy as np
import torch

from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io import processes
from ngldm.io.tensors import save_tensors
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.noise import make_noise
from ngldm.training.checkpoints.checkpointer import Checkpointer
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.task import Split, Task
from ngldm.training.tracks import Tracks

DATA = torch.randn(90, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def train(out, accumulate=1, until=100, root=None, optimizer="adamw", widths=(4, 8), **options):
    diffusion = Diffusion.make(make_noise("laplace"), make_schedule("cosine", 50), objective="x0", **options)
    torch.manual_seed(0)
    network = UNet(1, UNetSettings(widths, 1, (1,), 4, dropout=0.2), 50, options.get("stein_head", "none"))
    ema = EMA(network, 0.99, Tracks(network, (0.1,), (50, 100), Path(f"{out}-ema")))
    config = FitConfig(
        100, 12, 2e-3, warmup_steps=5, log_every=50, eval_every=50, accumulate_steps=accumulate, optimizer=optimizer
    )
    checkpointer = root and Checkpointer(Path(root), "training", {}, 40)
    task = Task(diffusion.loss, Split.of(DATA), Split.of(DATA[:29]))
    for report in fit(network, ema, task, config, seed=3, checkpointer=checkpointer):
        if report.step == until:
            break
    if processes.is_main():
        save_tensors(dict(ema.model.state_dict()), {"figures": [report.loss, report.heldout_loss]}, Path(out))


def rows_of_sides(out):
    seen = []

    def fetch(index):
        seen.append(index)
        return torch.from_numpy(index).float()[:, None]

    def loss(network, batch, generator, part=slice(None)):
        return network(batch)[part].square().mean(1)

    network, config = torch.nn.Linear(1, 1), FitConfig(20, 12, 1e-3, log_every=20)
    list(fit(network, EMA(network, 0.9), Task(loss, Split(45, fetch, sides=2)), config, seed=3))
    np.save(out, np.concatenate(seen))
"""
TOGETHER = """
processes.start(60.0)
train("../two-plain", stein_head="element")
train("../two-coupled", accumulate=2, coupling="minibatch_ot")
rows_of_sides(f"../rows-{processes.rank()}.npy")
train("../two-muon", optimizer="muon", widths=(4, 16))
train("../two-resumed", root="../one", stein_head="element")
train("../two-stopped", until=50, root="../two", stein_head="element")
processes.stop()
"""
LOOP: dict[str, Any] = {}
exec(TRAINING, LOOP)
train: Callable[..., None] = LOOP["train"]
rows_of_sides: Callable[[Path], None] = LOOP["rows_of_sides"]


def apart(one: Path, two: Path) -> float:
    """The largest relative difference, in the norm, of a tensor in two files, and of the figures of the last report."""
    (ours, about), (theirs, said) = load_tensors(one), load_tensors(two)
    differences = [float((ours[key] - theirs[key]).norm() / ours[key].norm()) for key in ours]
    figures = zip(about.get("figures", ()), said.get("figures", ()), strict=True)
    return max(*differences, *(abs(a - b) / abs(a) for a, b in figures))


def test_a_run_does_not_depend_on_the_number_of_processes(tmp_path: Path, together: Callable[..., list[Any]]) -> None:
    train(tmp_path / "plain", stein_head="element")
    train(tmp_path / "coupled", coupling="minibatch_ot")
    train(tmp_path / "muon", optimizer="muon", widths=(4, 16))
    rows_of_sides(tmp_path / "rows.npy")
    train(tmp_path / "stopped", until=50, root=tmp_path / "one", stein_head="element")
    for done in together(TRAINING + TOGETHER):
        assert done.returncode == 0, done.stderr
    assert apart(tmp_path / "plain", tmp_path / "two-plain") < 1e-5
    assert apart(tmp_path / "coupled", tmp_path / "two-coupled") < 1e-5
    assert apart(tmp_path / "muon", tmp_path / "two-muon") < 5e-5  # float32 in its matrices would give 2e-4
    for rank in (0, 1):
        np.testing.assert_array_equal(np.load(tmp_path / f"rows-{rank}.npy"), np.load(tmp_path / "rows.npy"))
    assert apart(tmp_path / "plain", tmp_path / "two-resumed") < 1e-5  # one process until step 40, then two
    train(tmp_path / "resumed", root=tmp_path / "two", stein_head="element")  # and two, then one
    assert apart(tmp_path / "plain", tmp_path / "resumed") < 1e-5
    for step, runs in ((50, ("two-plain", "two-stopped")), (100, ("two-plain", "two-resumed", "resumed"))):
        snapshots = [tmp_path / f"{run}-ema" / f"{step:09d}.safetensors" for run in ("plain", *runs)]
        assert max(apart(snapshots[0], other) for other in snapshots[1:]) < 1e-5
    assert apart(tmp_path / "plain", tmp_path / "stopped") > 1e-3  # the measure sees a training of half the steps


def test_accumulated_steps_learn_what_a_whole_batch_does(tmp_path: Path) -> None:
    for accumulate in (1, 3):
        train(tmp_path / str(accumulate), accumulate, stein_head="element")
    assert 0.0 < apart(tmp_path / "1", tmp_path / "3") < 1e-5


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "size", lambda: 3)
    monkeypatch.setattr(processes, "rank", lambda: 1)


def test_each_process_has_its_rows_in_order(three: None) -> None:
    assert own_parts(24, 1) == [slice(8, 16)]
    assert own_parts(24, 2) == [slice(8, 12), slice(12, 16)]


def test_a_batch_that_cannot_be_split_is_refused_and_what_fits_is_named(three: None) -> None:
    with pytest.raises(InputError, match=r"^batch_size: 20 .* over 3 processes; it can with 1, 2, 4, 5, 10, 20 "):
        own_parts(20, 1)
    with pytest.raises(InputError, match=r"over 3 processes in 4 steps each \(accumulate_steps\); it can with 1, 5 "):
        own_parts(20, 4)
    with pytest.raises(InputError, match="no number of processes; lower accumulate_steps"):
        own_parts(20, 3)


def test_a_loss_without_parts_is_refused() -> None:
    check_takes_part(lambda network, batch, generator, part=None: batch)
    with pytest.raises(InputError, match=r"loss\(network, batch, generator, part\)"):
        check_takes_part(lambda network, batch, generator: batch)


@pytest.mark.parametrize("shape", [(5,), (4, 3, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_part_has_the_dropout_of_its_rows(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    x = torch.randn(6, *shape)
    if len(shape) == 3:
        x = x.contiguous(memory_format=layout)
    layer, part = nn.Dropout(0.4), slice(2, 5)
    torch.manual_seed(7)
    whole = layer(x)
    torch.manual_seed(7)
    with dropout_of(6, part):
        own = layer(x[part])
    torch.testing.assert_close(own, whole[part], rtol=0.0, atol=0.0)
    with dropout_of(6, part):
        assert torch.equal(layer.eval()(x[part]), x[part])
        assert torch.equal(F.relu(x[part]), x[part].clamp(min=0.0))  # other functions are as they were


def test_one_process_has_nothing_to_add_up() -> None:
    network, loss = nn.Linear(2, 1), torch.tensor(3.0)
    network(torch.ones(1, 2)).sum().backward()
    before: Tensor = network.weight.grad.clone()  # type: ignore[union-attr]
    assert add_up(network, loss) is loss
    assert torch.equal(network.weight.grad, before)  # type: ignore[arg-type]
