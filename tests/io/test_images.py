"""Conversions, grids and PNG files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ngldm.data.samples import load_images
from ngldm.io.errors import InputError
from ngldm.io.images import enlarge, grid, sample_grid, save_png, trajectory_grid
from ngldm.io.tensors import to_float, to_uint8

LEVELS = np.arange(256)


def column(values: np.ndarray) -> torch.Tensor:
    """Values as float images (N, 1, 1, 1)."""
    return torch.tensor(np.asarray(values), dtype=torch.float32).reshape(-1, 1, 1, 1)


def noise_images(count: int, height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def numbered(count: int, height: int = 2, width: int = 3, channels: int = 1) -> np.ndarray:
    """Image i is filled with the value 100 + i: unlike the background."""
    values = np.arange(100, 100 + count, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, height, width, channels))


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


def test_grid_of_three_pixels_in_two_columns():
    """Written out: row by row, padding around each, background where the last row ends early."""
    images = np.array([1, 2, 3], np.uint8).reshape(3, 1, 1, 1)
    expected = [[9, 9, 9, 9, 9], [9, 1, 9, 2, 9], [9, 9, 9, 9, 9], [9, 3, 9, 9, 9], [9, 9, 9, 9, 9]]
    np.testing.assert_array_equal(grid(images, 2, background=9)[..., 0], expected)


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (6, 3, 2), (7, 3, 3), (2, 5, 1), (4, 1, 4)])
def test_grid_places_each_image_and_leaves_the_rest_background(count, columns, rows, padding):
    images = noise_images(count, 2, 3, 3)
    canvas = grid(images, columns, padding=padding, background=32)
    assert canvas.shape == (rows * 2 + (rows + 1) * padding, columns * 3 + (columns + 1) * padding, 3)
    assert canvas.dtype == np.uint8
    rest = np.ones(canvas.shape[:2], bool)
    for index in range(count):
        row, col = divmod(index, columns)
        top, left = padding + row * (2 + padding), padding + col * (3 + padding)
        np.testing.assert_array_equal(canvas[top : top + 2, left : left + 3], images[index])
        rest[top : top + 2, left : left + 3] = False
    assert (canvas[rest] == 32).all()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_png_round_trip(tmp_path, channels, mode):
    image = noise_images(1, 5, 7, channels)[0]
    save_png(image, tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as read:
        assert (read.format, read.mode, read.size) == ("PNG", mode, (7, 5))
        np.testing.assert_array_equal(np.asarray(read).reshape(image.shape), image)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_of_a_scaled_grid_holds_every_pixel_as_a_block(tmp_path, channels):
    """A grid of one 8x8 image at 4 times its size, as the report shows it."""
    images = noise_images(1, 8, 8, channels)
    save_png(sample_grid(images, rows=1, columns=1, target=32), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as read:
        cell = np.asarray(read).reshape(36, 36, channels)[2:-2, 2:-2]
    np.testing.assert_array_equal(cell, np.kron(images[0], np.ones((4, 4, 1), np.uint8)))


def half_save(self: Image.Image, path: Path, format: str) -> None:
    Path(path).write_bytes(b"\x89PNG half")
    raise OSError("disk full")


@pytest.mark.parametrize("existing", [False, True])
def test_failed_save_leaves_what_was_there(tmp_path, monkeypatch, existing):
    path = tmp_path / "a.png"
    if existing:
        path.write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", half_save)
    with pytest.raises(OSError, match="disk full"):
        save_png(noise_images(1, 2, 2, 1)[0], path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == ([("a.png", b"old")] if existing else [])


@pytest.mark.parametrize(("side", "target", "scale"), [(8, 32, 4), (8, 33, 5), (32, 32, 1), (64, 32, 1), (1, 32, 32)])
def test_images_are_enlarged_by_the_smallest_whole_factor_that_reaches_the_target(side, target, scale):
    images = noise_images(2, side, side, 3)
    larger = enlarge(images, target)
    assert larger.shape == (2, scale * side, scale * side, 3)
    assert np.array_equal(larger[:, ::scale, ::scale], images)
    assert np.array_equal(larger[:, scale - 1 :: scale, scale - 1 :: scale], images)


@pytest.mark.parametrize("count", [3, 8, 20])
def test_sample_grid_has_image_i_in_row_i_over_columns(count):
    """8x8 images at 4 times their size, 2 pixels of padding, 2 rows of 4: no more than 8 of them."""
    canvas = sample_grid(numbered(count, 8, 8), rows=2, columns=4)
    shown = min(count, 8)
    assert canvas.shape == (2 * 34 + 2 if shown > 4 else 36, 4 * 34 + 2, 1)
    for index in range(shown):
        row, col = divmod(index, 4)
        assert (canvas[2 + 34 * row :, 2 + 34 * col :][:32, :32] == 100 + index).all()
    assert (canvas >= 100).sum() == shown * 32 * 32


def test_sample_grid_repeats_pixels_without_mixing_them():
    image = noise_images(1, 8, 8, 3)
    cell = sample_grid(image, rows=1, columns=1)[2:-2, 2:-2]
    for dy, dx in [(0, 0), (1, 2), (3, 3)]:
        np.testing.assert_array_equal(cell[dy::4, dx::4], image[0])


def test_trajectory_grid_has_image_i_in_row_i_and_frame_j_in_column_j():
    """3 frames of 2 images; frame j of image i holds 100 + 10 i + j. 8x8 images at 6 times their size."""
    frames, count = 3, 2
    values = 100 + 10 * np.arange(count)[None, :] + np.arange(frames)[:, None]
    trajectory = np.broadcast_to(values[..., None, None, None], (frames, count, 8, 8, 1)).astype(np.uint8)
    canvas = trajectory_grid(trajectory)
    assert canvas.shape == (count * 50 + 2, frames * 50 + 2, 1)
    for i in range(count):
        for j in range(frames):
            assert (canvas[2 + 50 * i :, 2 + 50 * j :][:48, :48] == 100 + 10 * i + j).all()


FILES = ("images.npy", "trajectory.npy")


@pytest.fixture
def sampled(tmp_path) -> Path:
    """A folder as the stage `sample` writes it."""
    np.save(tmp_path / "images.npy", noise_images(6, 4, 4, 1))
    np.save(tmp_path / "trajectory.npy", noise_images(6, 4, 4, 1).reshape(3, 2, 4, 4, 1))
    return tmp_path


def test_load_images_gives_both_arrays_memory_mapped(sampled):
    images, trajectory = load_images(sampled)
    assert isinstance(images, np.memmap)
    assert isinstance(trajectory, np.memmap)
    np.testing.assert_array_equal(images, noise_images(6, 4, 4, 1))
    assert trajectory.shape == (3, 2, 4, 4, 1)


@pytest.mark.parametrize("name", FILES)
def test_load_images_names_the_missing_file(sampled, name):
    (sampled / name).unlink()
    with pytest.raises(InputError) as caught:
        load_images(sampled)
    assert str(sampled / name) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 40, -1])
@pytest.mark.parametrize("name", FILES)
def test_load_images_names_the_truncated_file(sampled, name, keep):
    """Cut to nothing, in the magic string, in the header, by the last byte."""
    content = (sampled / name).read_bytes()
    (sampled / name).write_bytes(content[:keep])
    with pytest.raises(InputError) as caught:
        load_images(sampled)
    assert str(sampled / name) in str(caught.value)
