"""The batch that memory allows, and the compiled network that makes it."""

import numpy as np
import pytest
import torch

from ngldm.model import Model
from ngldm.sampling.generator import Generator
from ngldm.sampling.machine.batch_size import LARGEST, SHARE, batch_from_memory, bytes_per_image


def build(widths: tuple[int, ...] = (8, 16)) -> Model:
    config = {
        "noise": {"name": "laplace", "params": {}},
        "schedule": {"name": "cosine", "num_train_timesteps": 30, "beta_start": 1e-4, "beta_end": 0.02},
        "diffusion": {"forward": "marginal", "objective": "eps", "weighting": "none", "gamma": None},
        "unet": {"widths": widths, "blocks_per_level": 1, "attention_levels": [1], "attention_head_dim": 8},
        "autoencoder": {"kind": "identity"},
        "image_shape": (1, 8, 8),
    }
    torch.manual_seed(0)
    made = Model.build(config).to("cpu")
    with torch.no_grad():  # zero-initialised layers would hide the others
        for parameter in made.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    made.network.eval()
    return made


def test_an_image_takes_at_least_what_its_widest_layers_put_out() -> None:
    one = bytes_per_image(build())
    assert one > 4 * 8 * 8 * 8 * 5  # the first level's five convolutions alone, float32
    assert bytes_per_image(build((16, 32))) > 1.5 * one  # twice the channels, but for what the time embedding takes


def test_the_batch_fills_a_share_of_memory_within_its_bounds() -> None:
    made = build()
    one = bytes_per_image(made)
    assert batch_from_memory(made, 1000, int(37.5 * one / SHARE)) == 37
    assert batch_from_memory(made, 10, 10**12) == 10
    assert batch_from_memory(made, 10**6, 10**12) == LARGEST
    assert batch_from_memory(made, 1000, 0) == 1  # then torch itself says that memory is out
    assert all(not module._forward_hooks for module in made.network.modules())


@pytest.mark.parametrize("method", ["ancestral", "dpmpp_2m"])
def test_a_compiled_model_makes_the_same_images(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as for real, but run by torch's own kernels: generating C++ takes a minute."""
    calls = []

    def compile_fast(model: torch.nn.Module, **options: bool) -> torch.nn.Module:
        calls.append(options)
        return original(model, backend="aot_eager", **options)  # type: ignore[return-value, call-overload]

    original = torch.compile
    monkeypatch.setattr(torch, "compile", compile_fast)
    plain = build()
    compiled = plain.compiled()
    assert calls == [{"dynamic": False}]
    options = {"batch_size": 3, "method": method, "num_inference_steps": 4}
    made, expected = (Generator(m).sample(3, seed=1, **options) for m in (compiled, plain))
    assert expected.std() > 10
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 1  # rounding may differ
