"""Resizing against clean-fid's own code."""

import numpy as np
import pytest
import torch
from cleanfid.resize import make_resizer

from ngldm.io.errors import InputError
from ngldm.scoring.features.resizing import check_resizing, pil_bicubic


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("size", [(8, 8), (31, 20), (64, 100)])
@pytest.mark.parametrize("rounded", [True, False])
def test_it_is_clean_fids(size: tuple[int, int], rounded: bool) -> None:
    images = random_images(3, *size, 3)
    resize = make_resizer("PIL", rounded, "bicubic", (29, 29))
    wanted = np.stack([resize(image) for image in images]).astype(np.float32)
    made = pil_bicubic(images, 29, rounded=rounded)
    assert made.dtype == torch.float32
    assert np.array_equal(made.permute(0, 2, 3, 1), wanted)
    assert wanted.std() > 1


def test_grey_images_have_three_equal_channels() -> None:
    images = random_images(2, 9, 9, 1)
    made = pil_bicubic(images, 12, rounded=True)
    assert torch.equal(made, pil_bicubic(np.repeat(images, 3, axis=3), 12, rounded=True))


def test_an_unknown_name_is_refused() -> None:
    assert check_resizing("clean") == "clean"
    with pytest.raises(InputError, match=r"unknown evaluate\.resizing 'bilinear'; choose one of: clean, standard"):
        check_resizing("bilinear")
