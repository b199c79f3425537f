"""Precision and layout of sampling: what a network computes in, how far images move, and that a choice is kept."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ngldm.io.device import CANDIDATES, Computation
from ngldm.io.errors import InputError
from ngldm.io.files import read_json, write_json
from ngldm.model import Model
from ngldm.sampling.generator import Generator

MakeModel = Callable[..., Model]
OPTIONS = {"method": "ddim", "num_inference_steps": 4, "batch_size": 8}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which choices are kept."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "ngldm"


def seen(generator: Generator) -> set[Computation]:
    """In what the convolutions of a generator's network compute."""
    found = set()

    def look(layer: nn.Conv2d, inputs: object, output: Tensor) -> None:
        last = layer.weight.is_contiguous(memory_format=torch.channels_last)
        precision = {torch.float32: "fp32", torch.bfloat16: "bf16"}[output.dtype]
        found.add(Computation(precision, "channels_last" if last else "contiguous"))

    layers = [m for m in generator.model.network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    hooks = [layer.register_forward_hook(look) for layer in layers]  # a 1 x 1 kernel has both layouts
    generator.sample(2, **OPTIONS)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("one", CANDIDATES)
def test_the_network_computes_as_asked_and_its_weights_stay_float32(one: Computation, make_model: MakeModel) -> None:
    generator, choice = Generator(make_model()).computing(one.precision, one.layout, 8)
    assert seen(generator) == {one}
    assert {weight.dtype for weight in generator.model.network.parameters()} == {torch.float32}
    assert (choice.computation, choice.said) == (one, None)


def test_the_default_changes_no_bit(make_model: MakeModel) -> None:
    plain = Generator(make_model())
    same, _ = Generator(make_model()).computing("fp32", "channels_last", 8)
    assert np.array_equal(plain.sample(8, **OPTIONS), same.sample(8, **OPTIONS))


def test_bfloat16_moves_images_by_rounding_alone(make_model: MakeModel) -> None:
    """bfloat16 has 8 bits: an error of some 1 / 256 in each layer, far below what another seed changes."""
    model = make_model("gaussian", "identity")
    exact = Generator(model).sample(8, **OPTIONS).astype(float)
    other = Generator(model).sample(8, seed=1, **OPTIONS).astype(float)
    rounded = Generator(model).computing("bf16", "contiguous", 8)[0].sample(8, **OPTIONS).astype(float)
    assert 0 < np.abs(rounded - exact).mean() < 0.05 * np.abs(other - exact).mean()


def test_the_fastest_is_kept_and_used_again_for_this_batch(make_model: MakeModel, cache: Path) -> None:
    model = make_model()
    first, choice = Generator(model).computing("auto", "channels_last", 4)
    assert choice.said
    assert choice.said.startswith(f"precision auto: {choice.computation.precision}, {choice.computation.layout} (fp32")
    assert seen(first) == {choice.computation}
    (kept,) = cache.glob("*.json")
    other = next(one for one in CANDIDATES if one != choice.computation)
    write_json(kept, {**read_json(kept), **asdict(other)})
    again, chosen = Generator(model).computing("auto", "channels_last", 4)
    assert chosen.computation == other
    assert seen(again) == {other}
    Generator(model).computing("auto", "channels_last", 5)
    assert len(list(cache.glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("precision", "layout", "message"),
    [
        ("fp16", "channels_last", r"^unknown precision 'fp16'; choose one of: auto, bf16, fp32"),
        ("bf16", "nhwc", r"^unknown layout 'nhwc'; choose one of: channels_last, contiguous"),
        ("auto", "contiguous", r"^layout: 'contiguous' has no effect with precision 'auto'"),
    ],
)
def test_what_is_not_there_is_refused(precision: str, layout: str, message: str, make_model: MakeModel) -> None:
    with pytest.raises(InputError, match=message):
        Generator(make_model()).computing(precision, layout, 8)


@pytest.mark.parametrize("size", [0, -3, 1.5, True])
def test_a_batch_has_a_whole_number_of_images(size: int, make_model: MakeModel) -> None:
    with pytest.raises(InputError, match=r"^batch_size: "):
        Generator(make_model()).computing("auto", "channels_last", size)
