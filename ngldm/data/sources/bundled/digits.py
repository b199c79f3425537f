"""scikit-learn's 8x8 digits, which come with that package."""

from collections.abc import Mapping

import numpy as np

from ngldm.data.dataset import Dataset
from ngldm.io.errors import InputError
from ngldm.io.files import entry


def digits(config: Mapping[str, object]) -> Dataset:
    """scikit-learn's 1797 handwritten digits, 8x8 grey, ten classes; nothing is downloaded.

    Args:
        config: test_size (images in the test split, the same share of each class) and seed (of the split).

    Raises:
        InputError: a test_size that leaves a class without an image in one of the splits.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    raw, test_size, seed = load_digits(), entry(config, "test_size", int), entry(config, "seed", int)
    images = np.rint(raw.images * (255.0 / 16.0)).astype(np.uint8)[..., None]  # 17 grey levels, 0..16
    labels = raw.target.astype(np.int64)
    if not raw.target_names.size <= test_size <= len(images) - raw.target_names.size:
        raise InputError(
            f"dataset.test_size: {test_size} must leave at least one image of each class on both sides "
            f"of the {len(images)} digits"
        )
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=test_size, random_state=seed, stratify=labels
    )
    return Dataset("digits", train, test, train_labels, test_labels)
