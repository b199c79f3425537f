"""Crops of scikit-learn's photographs: grey, from two parts that share no pixel, the same for the same seed."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from sklearn.datasets import load_sample_image

from ngldm.data.sources.bundled.photographs import photographs
from ngldm.io.errors import InputError

CONFIG = {"train_size": 10, "test_size": 6, "size": 16, "seed": 0}
GREY = [np.asarray(Image.fromarray(load_sample_image(name)).convert("L")) for name in ("china.jpg", "flower.jpg")]


def test_shapes_types_and_labels():
    found = photographs(CONFIG)
    assert (found.train.shape, found.test.shape) == ((10, 16, 16, 1), (6, 16, 16, 1))
    assert found.train.dtype == found.test.dtype == np.uint8
    assert (len(found.train_labels), len(found.test_labels)) == (10, 6)


def test_the_label_says_which_photograph_and_which_quarter_of_its_height():
    """Each crop is found in its photograph; the row of its middle lies in the band that the label names."""
    found = photographs(CONFIG)
    windows = [sliding_window_view(picture[:, :512], (16, 16)) for picture in GREY]
    for crop, label in zip(found.train[..., 0], found.train_labels, strict=True):
        photograph, band = divmod(int(label), 4)
        rows = np.nonzero((windows[photograph] == crop).all((2, 3)))[0]
        height = len(GREY[photograph])
        assert any(band * height / 4 <= row + 8 < (band + 1) * height / 4 for row in rows)


@pytest.mark.parametrize(("split", "columns"), [("train", slice(0, 512)), ("test", slice(512, 640))])
def test_each_crop_is_of_its_photograph_and_its_side(split, columns):
    """The photographs are 640 pixels wide: 512 of them are for training."""
    windows = [sliding_window_view(picture[:, columns], (16, 16)) for picture in GREY]
    for number, crop in enumerate(getattr(photographs(CONFIG), split)[..., 0]):
        places = (windows[number % 2][..., 0, 0] == crop[0, 0]) & (windows[number % 2][..., 7, 9] == crop[7, 9])
        assert any(np.array_equal(window, crop) for window in windows[number % 2][places])


def test_the_seed_chooses_the_places():
    first, same, other = photographs(CONFIG), photographs(CONFIG), photographs({**CONFIG, "seed": 1})
    assert np.array_equal(first.train, same.train)
    assert not np.array_equal(first.train, other.train)
    assert len(np.unique(first.train.reshape(10, -1), axis=0)) == 10


@pytest.mark.parametrize("size", [3, 129, 1000])
def test_a_size_that_does_not_fit_is_refused(size):
    with pytest.raises(InputError, match=rf"^dataset\.size: {size} must lie between 4 and 128"):
        photographs({**CONFIG, "size": size})


@pytest.mark.parametrize("key", ["train_size", "test_size"])
def test_too_few_crops_are_refused(key):
    with pytest.raises(InputError, match=rf"^dataset\.{key}: 1 must be at least 2"):
        photographs({**CONFIG, key: 1})
