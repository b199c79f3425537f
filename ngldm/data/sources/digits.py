"""scikit-learn's 8x8 digits, the embedded data set."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ngldm.data.dataset import Dataset
from ngldm.io.errors import InputError


def digits(config: Mapping[str, Any]) -> Dataset:
    """scikit-learn's 1797 handwritten 8x8 digits, embedded in that package; nothing is downloaded.

    Args:
        config: test_size (images in the test split, the same share of each class) and seed (of the split).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    raw = load_digits()
    images = np.rint(raw.images * (255.0 / 16.0)).astype(np.uint8)[..., None]  # 17 grey levels, 0..16
    labels = raw.target.astype(np.int64)
    if not raw.target_names.size <= config["test_size"] <= len(images) - raw.target_names.size:
        raise InputError(
            f"dataset.test_size: {config['test_size']} must leave at least one image of each class on both sides "
            f"of the {len(images)} digits"
        )
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=config["test_size"], random_state=config["seed"], stratify=labels
    )
    return Dataset("digits", train, test, train_labels, test_labels)
