"""Arrays on disk, grids and PNG files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ngldm.io.errors import InputError
from ngldm.io.images import enlarge, grid, open_array, sample_grid, save_png, trajectory_grid


def noise_images(count: int, height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def numbered(count: int, height: int = 2, width: int = 3, channels: int = 1) -> np.ndarray:
    """Image i is filled with the value 100 + i: unlike the background."""
    values = np.arange(100, 100 + count, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, height, width, channels))


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


def error_of(path: Path, dtype: type[np.generic] = np.uint8) -> str:
    with pytest.raises(InputError) as caught:
        open_array(path, dtype, "the stage `sample`")
    return str(caught.value)


def test_an_array_is_memory_mapped_and_cannot_be_written(tmp_path):
    images = noise_images(3, 4, 4, 1)
    np.save(tmp_path / "a.npy", images)
    opened = open_array(tmp_path / "a.npy", np.uint8, "here")
    assert isinstance(opened, np.memmap)
    np.testing.assert_array_equal(opened, images)
    with pytest.raises(ValueError, match="read-only"):
        opened[0] = 0


def test_a_missing_array_is_named_with_what_makes_it(tmp_path):
    message = error_of(tmp_path / "a.npy")
    assert str(tmp_path / "a.npy") in message
    assert "the stage `sample`" in message


@pytest.mark.parametrize("keep", [0, 3, 40, -1])
def test_a_cut_array_is_named(tmp_path, keep):
    """Cut to nothing, in the magic string, in the header, by the last byte."""
    np.save(tmp_path / "a.npy", noise_images(3, 4, 4, 1))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:keep])
    assert str(tmp_path / "a.npy") in error_of(tmp_path / "a.npy")


def test_an_array_of_other_numbers_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    assert "holds float64, must hold uint8" in error_of(tmp_path / "a.npy")


def test_a_pickled_object_is_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}]), allow_pickle=True)
    assert str(tmp_path / "a.npy") in error_of(tmp_path / "a.npy")
