"""Precision and layout: which is chosen from what was timed, that it is kept and told, and that a training has it."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ngldm.io import device
from ngldm.io.device import CANDIDATES, Choice, Computation
from ngldm.io.errors import InputError
from ngldm.training.checkpoints.checkpointer import Checkpointer
from ngldm.training.config import FitConfig, check_fit
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.machine.choice import choose
from ngldm.training.task import Split, Task

CPU = torch.device("cpu")
CONFIG = FitConfig(4, 8, 1e-2, warmup_steps=0, log_every=2, eval_every=100, precision="auto")
DATA = torch.randn(20, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which choices are kept."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "ngldm"


class Watched(nn.Module):
    """A convolution that notes in what it computes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.seen: list[Computation] = []

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        last = self.conv.weight.is_contiguous(memory_format=torch.channels_last)
        precision = {torch.float32: "fp32", torch.bfloat16: "bf16"}[out.dtype]
        self.seen.append(Computation(precision, "channels_last" if last else "contiguous"))
        return out


def loss(network: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
    return (network(batch).float() - batch).square().flatten(1).mean(1)


def train(config: FitConfig, checkpointer: Checkpointer | None = None) -> Watched:
    network = Watched()
    list(fit(network, EMA(network, 0.9), Task(loss, Split.of(DATA)), config, checkpointer=checkpointer))
    return network


def test_what_is_the_fastest_with_other_kernels_is_measured_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU stands for a GPU."""
    monkeypatch.setattr(device, "HURRIED", ("cpu",))
    for deterministic, files in ((True, 1), (False, 2), (True, 2), (False, 2)):
        train(replace(CONFIG, deterministic=deterministic))
        assert len(list(cache.glob("*.json"))) == files


def choice(config: FitConfig = CONFIG) -> Choice:
    return choose(Watched(), loss, lambda: DATA[:8], config, CPU)


@pytest.mark.parametrize("one", CANDIDATES)
def test_what_the_settings_name_is_what_the_training_computes_in(one: Computation, cache: Path) -> None:
    network = train(replace(CONFIG, **asdict(one)))
    assert set(network.seen) == {one}
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    assert not cache.exists()


def test_the_layout_changes_a_training_by_rounding_alone() -> None:
    both = [train(replace(CONFIG, precision="fp32", layout=layout)) for layout in ("channels_last", "contiguous")]
    torch.testing.assert_close(both[0].conv.weight, both[1].conv.weight.contiguous(), rtol=1e-5, atol=1e-6)


def test_the_choice_is_kept_and_the_second_training_has_it_without_measuring(cache: Path, tmp_path: Path) -> None:
    said: list[str] = []
    checkpointer = Checkpointer(tmp_path, "run", {}, 100, say=said.append)
    first = train(CONFIG, checkpointer)
    (kept,) = cache.glob("*.json")
    content = json.loads(kept.read_text())
    chosen = Computation(content["precision"], content["layout"])
    assert first.seen[-1] == chosen
    assert len(first.seen) == CONFIG.max_steps  # those of the measurement are of copies
    assert checkpointer.chosen == {"chosen.precision": chosen.precision, "chosen.layout": chosen.layout}
    assert said[0].startswith(f"precision auto: {chosen.precision}, {chosen.layout} (fp32 channels_last ")
    other = next(one for one in CANDIDATES if one != chosen)
    kept.write_text(json.dumps({**content, **asdict(other)}))
    assert set(train(CONFIG).seen) == {other}
    assert choice().said == f"precision auto: {other.precision}, {other.layout}, as measured before ({kept})"


@pytest.mark.parametrize("content", ["", "{}", '{"precision": "fp8", "layout": "contiguous"}'])
def test_a_damaged_file_is_measured_again(content: str, cache: Path) -> None:
    before = choice()
    (kept,) = cache.glob("*.json")
    kept.write_text(content)
    assert choice().computation in CANDIDATES
    assert json.loads(kept.read_text()).keys() == {"precision", "layout", "measured_on"}
    assert before.said is not None


def test_another_batch_or_network_is_measured_for_itself(cache: Path) -> None:
    for config in (CONFIG, replace(CONFIG, batch_size=4), CONFIG):
        choice(config)
    assert len(list(cache.glob("*.json"))) == 2


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file" / "torch"))
    assert choice().computation in CANDIDATES


def test_a_layout_beside_auto_is_refused() -> None:
    with pytest.raises(InputError, match=r"^layout: 'contiguous' has no effect with precision 'auto'"):
        check_fit(replace(CONFIG, layout="contiguous"))
