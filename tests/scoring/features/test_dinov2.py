"""DINOv2's features against torch's own transformer with the same weights, and clean-fid's resizing.

Against the authors' code, at the commit of 2026-11, the difference was 0 for small random weights and for ViT-S.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cleanfid.resize import make_resizer
from safetensors.torch import save_file
from torch import Tensor, nn

from ngldm.io.errors import InputError
from ngldm.io.files import sha256_file
from ngldm.scoring.features import dinov2
from ngldm.scoring.features.dinov2 import DinoV2Extractor, dinov2_weights, resampled
from ngldm.scoring.features.extractor import make_extractor

DIM, DEPTH = 128, 2  # of the fixture's weights
Make = Callable[..., dict[str, Tensor]]


@pytest.fixture
def weights(dinov2_state: Make) -> Make:
    return dinov2_state


def reference(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The class token, by `nn.TransformerEncoder`: the factors of LayerScale are multiplied into the weights before."""
    layer = nn.TransformerEncoderLayer(DIM, DIM // 64, 4 * DIM, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, DEPTH, nn.LayerNorm(DIM, 1e-6), enable_nested_tensor=False).eval()
    target: dict[str, Tensor] = {f"norm.{k}": state[f"norm.{k}"] for k in ("weight", "bias")}
    for i in range(DEPTH):
        old, new = f"blocks.{i}.", f"layers.{i}."
        target |= {f"{new}self_attn.in_proj_{k}": state[f"{old}attn.qkv.{k}"] for k in ("weight", "bias")}
        for name, theirs, scale in (
            ("self_attn.out_proj", "attn.proj", state[f"{old}ls1.gamma"]),
            ("linear2", "mlp.fc2", state[f"{old}ls2.gamma"]),
        ):
            target |= {f"{new}{name}.weight": scale[:, None] * state[f"{old}{theirs}.weight"]}
            target |= {f"{new}{name}.bias": scale * state[f"{old}{theirs}.bias"]}
        for name, theirs in (("norm1", "norm1"), ("norm2", "norm2"), ("linear1", "mlp.fc1")):
            target |= {f"{new}{name}.{k}": state[f"{old}{theirs}.{k}"] for k in ("weight", "bias")}
    encoder.load_state_dict(target)
    patches = nn.functional.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], 14)
    tokens = torch.cat([state["cls_token"].expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
    with torch.no_grad():
        return encoder(tokens + state["pos_embed"])[:, 0]


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def file(tmp_path: Path, weights: Make) -> Path:
    torch.save(weights(), tmp_path / "dinov2.pth")
    return tmp_path / "dinov2.pth"


@pytest.mark.parametrize("resizing", ["standard", "clean"])
def test_the_features_are_those_of_the_transformer(file: Path, weights: Make, resizing: str) -> None:
    batch = images(3, 30, 41, 3)
    resize = make_resizer("PIL", resizing == "standard", "bicubic", (224, 224))
    pixels = torch.from_numpy(np.stack([resize(image) for image in batch]).astype(np.float32)).permute(0, 3, 1, 2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = reference(weights(), (pixels / 255 - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1))
    features = DinoV2Extractor(file, resizing=resizing)(batch)
    assert features.shape == (3, DIM)
    torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-5)
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3


def test_positions_of_a_finer_grid_are_interpolated() -> None:
    """Position i of 16 lies at (i + 1/2) 37 / 16.1 - 1/2 of 37. torch's cubic keeps a slope of 1 up to 0.06.

    With 16 instead of 16.1, the last but one would lie 0.2 further.
    """
    m, side = 37, 16
    row = torch.arange(m).float()[:, None].expand(m, m)
    grid = torch.stack([row, row.T], -1).reshape(1, m * m, 2)
    made = resampled(torch.cat([torch.full((1, 1, 2), 7.0), grid], 1), side)
    at = (torch.arange(side) + 0.5) * m / (side + 0.1) - 0.5
    rows = at[:, None].expand(side, side)
    wanted = torch.stack([rows, rows.T], -1)
    torch.testing.assert_close(made[0, 1:].reshape(side, side, 2)[1:-1, 1:-1], wanted[1:-1, 1:-1], rtol=0, atol=0.06)
    assert torch.equal(made[0, 0], torch.full((2,), 7.0))


def test_timms_form_and_a_finer_grid_load_too(weights: Make, tmp_path: Path) -> None:
    state = {key: value for key, value in weights(37).items() if key != "mask_token"}
    save_file(state, tmp_path / "model.safetensors")
    made = DinoV2Extractor(tmp_path / "model.safetensors")(images(2, 20, 20, 3))
    torch.save(weights(37), tmp_path / "authors.pth")
    assert torch.equal(made, DinoV2Extractor(tmp_path / "authors.pth")(images(2, 20, 20, 3)))


def test_its_names(file: Path) -> None:
    extractor = make_extractor("dinov2", classifier=file, weights=str(file))
    assert (extractor.name, extractor.metric, extractor.dim) == ("dinov2", "fd_dinov2_128x2", DIM)
    assert extractor.weights_sha256 == sha256_file(file)
    assert make_extractor("dinov2", classifier=file, weights=str(file), resizing="clean").metric.endswith("2_clean")


def test_the_features_of_the_large_network_give_fd_dinov2(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dinov2, "LARGE", (DIM, DEPTH))
    assert DinoV2Extractor(file).metric == "fd_dinov2"


@pytest.mark.parametrize("fault", ["missing", "shape", "nan", "other", "bytes"])
def test_other_files_are_refused(fault: str, weights: Make, tmp_path: Path) -> None:
    state: dict[str, Any] = weights()
    if fault == "missing":
        del state["blocks.1.norm2.bias"]
    elif fault == "shape":
        state["patch_embed.proj.weight"] = torch.zeros(DIM, 3, 16, 16)
    elif fault == "nan":
        state["norm.weight"][3] = torch.nan
    elif fault == "other":
        state = {"fc.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "w.pth")
    if fault == "bytes":
        (tmp_path / "w.pth").write_bytes(b"abc")
    with pytest.raises(InputError, match=r"evaluate\.dinov2_weights: .*w\.pth does not hold the weights of DINOv2"):
        DinoV2Extractor(tmp_path / "w.pth")


def test_weights_are_a_file_or_a_repository(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *names: asked.append(names) or str(file))
    assert dinov2_weights(str(file)) == file
    assert asked == []
    assert dinov2_weights(None) == dinov2_weights("me/mine") == file
    assert asked == [("timm/vit_large_patch14_dinov2.lvd142m", "model.safetensors"), ("me/mine", "model.safetensors")]
    for missing in ("none", "a/none.pth", "/a/b/none"):
        with pytest.raises(InputError, match=rf"evaluate\.dinov2_weights: no such file: {missing}"):
            dinov2_weights(missing)


def test_without_a_network_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"me/mine is not in the cache .* cannot be downloaded .*; give the path"):
        dinov2_weights("me/mine")
