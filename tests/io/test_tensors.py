"""Pixels to tensors and back; tensors on disk with their settings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ngldm.io.errors import InputError
from ngldm.io.tensors import content_checksum, load_tensors, save_tensors, strip_prefix, to_float, to_uint8

LEVELS = np.arange(256)


def column(values: np.ndarray) -> torch.Tensor:
    """Values as float images (N, 1, 1, 1)."""
    return torch.tensor(np.asarray(values), dtype=torch.float32).reshape(-1, 1, 1, 1)


def noise_images(count: int, height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def test_uint8_round_trip_is_exact_for_all_values():
    images = LEVELS.astype(np.uint8).reshape(4, 8, 8, 1)
    np.testing.assert_array_equal(to_uint8(to_float(images)), images)


def test_float_images_span_minus_one_to_one_linearly():
    images = LEVELS.astype(np.uint8).reshape(256, 1, 1, 1)
    out = to_float(images)
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out.numpy().ravel(), LEVELS / 127.5 - 1.0, atol=1e-6)
    assert (out.min(), out.max()) == (-1.0, 1.0)


def test_axes_go_from_bhwc_to_bchw_and_back():
    images = noise_images(2, 3, 4, 5)
    floats = to_float(images)
    assert floats.shape == (2, 5, 3, 4)
    assert torch.equal(floats[1, 4, 2, 3], to_float(images[1:, 2:, 3:, 4:])[0, 0, 0, 0])
    np.testing.assert_array_equal(to_uint8(floats), images)


def test_to_float_leaves_its_input_alone_even_where_it_is_read_only():
    images = noise_images(2, 3, 4, 1)
    before = images.copy()
    images.flags.writeable = False
    to_float(images).zero_()
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    ("value", "expected"), [(-1.0001, 0), (-1.5, 0), (-1e30, 0), (-np.inf, 0), (1.0001, 255), (9.0, 255), (np.inf, 255)]
)
def test_values_outside_are_clipped_and_do_not_wrap(value, expected):
    assert to_uint8(column([value])).item() == expected


@pytest.mark.parametrize(("shift", "step"), [(-0.51, -1), (-0.49, 0), (0.49, 0), (0.51, 1)])
def test_values_between_levels_go_to_the_nearest(shift, step):
    inner = LEVELS[1:-1]
    out = to_uint8(column((inner + shift) / 127.5 - 1.0)).ravel()
    np.testing.assert_array_equal(out, inner + step)


def test_values_half_way_between_levels_go_to_the_even_one():
    """torch.round's rule, where the product is a half exactly in float32 (191 of the 255); 0 gives 128."""
    x = (torch.arange(255) + 0.5) / 127.5 - 1.0
    exact = ((x + 1.0) * 127.5 % 1.0 == 0.5).numpy()
    assert exact.sum() > 100
    out, below = to_uint8(column(x)).ravel(), np.arange(255)
    np.testing.assert_array_equal(out[exact], (below + below % 2)[exact])
    assert np.isin(out - below, (0, 1)).all()
    assert to_uint8(column([0.0])).item() == 128


def test_to_uint8_does_not_change_its_argument():
    x = torch.linspace(-2.0, 2.0, 12).reshape(1, 3, 2, 2)
    before = x.clone()
    to_uint8(x)
    assert torch.equal(x, before)


def test_to_uint8_takes_half_precision_and_gradients():
    x = torch.tensor([-1.0, 0.5, 1.0], dtype=torch.bfloat16).reshape(3, 1, 1, 1).requires_grad_()
    assert to_uint8(x).ravel().tolist() == [0, 191, 255]


def test_tensors_of_any_layout_and_type_come_back(tmp_path: Path) -> None:
    tensors = {
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "expanded": torch.ones(1, 2).expand(4, 2),
        "integer": torch.tensor(7),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 5),
        "learnt": nn.Parameter(torch.ones(2)),
    }
    save_tensors(tensors, {"any": [None, True, "ä"]}, tmp_path / "sub" / "x.safetensors")
    loaded, state = load_tensors(tmp_path / "sub" / "x.safetensors")
    assert loaded.keys() == tensors.keys()
    for key, value in tensors.items():
        assert loaded[key].dtype == value.dtype
        assert torch.equal(loaded[key], value)
    assert state == {"any": [None, True, "ä"]}


def test_strip_prefix_takes_only_the_names_that_start_with_it() -> None:
    one = torch.ones(1)
    assert strip_prefix({"ema.a": one, "model.ema.b": one, "ema.ema.c": one}, "ema.").keys() == {"a", "ema.c"}


def damaged(path: Path, kind: str) -> None:
    save_tensors({"a": torch.ones(1000)}, {"step": 3}, path)
    whole = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut in the header":
        path.write_bytes(whole[:20])
    elif kind == "cut in the data":
        path.write_bytes(whole[:-100])
    elif kind == "not safetensors":
        path.write_bytes(b"\x80\x02 a pickle, perhaps" * 50)
    elif kind == "no metadata":
        save_file({"a": torch.ones(3)}, path)
    elif kind == "foreign metadata":
        save_file({"a": torch.ones(3)}, path, metadata={"format": "pt"})
    elif kind == "unreadable state":
        save_file({"a": torch.ones(3)}, path, metadata={"state": "{"})

    elif kind == "a bit of a weight":
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    elif kind == "a number of the state":
        path.write_bytes(whole.replace(b'step\\": 3', b'step\\": 4'))
    elif kind == "weights of another file":
        save_tensors({"a": torch.zeros(1000)}, {"step": 3}, path)
        path.write_bytes(whole[:-4000] + path.read_bytes()[-4000:])


KINDS = (
    "missing",
    "empty",
    "cut in the header",
    "cut in the data",
    "not safetensors",
    "no metadata",
    "foreign metadata",
    "unreadable state",
    "a bit of a weight",
    "a number of the state",
    "weights of another file",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_is_an_input_error_naming_its_path(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "some.safetensors"
    damaged(path, kind)
    with pytest.raises(InputError) as error:
        load_tensors(path)
    assert str(path) in str(error.value)


def test_a_file_of_an_older_version_without_checksum_is_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "x.safetensors", metadata={"state": '{"step": 3}'})
    tensors, state = load_tensors(tmp_path / "x.safetensors")
    assert state == {"step": 3}
    assert torch.equal(tensors["a"], torch.ones(3))


def test_a_file_without_checksum_is_refused_where_one_is_needed(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "x.safetensors", metadata={"state": '{"step": 3}'})
    with pytest.raises(InputError, match=r"x\.safetensors: has no checksum"):
        load_tensors(tmp_path / "x.safetensors", checked=True)


def test_the_checksum_sees_names_types_shapes_bytes_and_state_in_any_order() -> None:
    a, b = torch.tensor([1.0, 2.0]), torch.tensor(3.0)
    one = content_checksum({"a": a, "b": b}, {"x": 1, "y": [0.1]})
    assert content_checksum({"b": b, "a": a}, {"y": [0.1], "x": 1}) == one
    others = [
        content_checksum({"a": a, "c": b}, {"x": 1, "y": [0.1]}),
        content_checksum({"a": a.to(torch.float64), "b": b}, {"x": 1, "y": [0.1]}),
        content_checksum({"a": a[:, None], "b": b}, {"x": 1, "y": [0.1]}),
        content_checksum({"a": a + 1e-7, "b": b}, {"x": 1, "y": [0.1]}),
        content_checksum({"a": a, "b": b}, {"x": 2, "y": [0.1]}),
    ]
    assert len({one, *others}) == 6


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.int64, torch.bool])
def test_any_type_and_layout_has_a_content_checksum(kind: torch.dtype) -> None:
    tensor = torch.arange(24).reshape(1, 2, 3, 4).to(kind)
    last = tensor.contiguous(memory_format=torch.channels_last)
    assert content_checksum({"a": last}, {}) == content_checksum({"a": tensor}, {})


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the stage `train`"):
        load_tensors(tmp_path / "none.safetensors", made_by="the stage `train`")


@pytest.mark.parametrize("state", ["[1, 2]", "null", "3"])
def test_a_state_that_is_no_object_is_that_of_a_foreign_file(tmp_path: Path, state: str) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors", metadata={"state": state})
    with pytest.raises(InputError, match=r"x.safetensors: a safetensors file, but not one that ngldm wrote"):
        load_tensors(tmp_path / "x.safetensors")
