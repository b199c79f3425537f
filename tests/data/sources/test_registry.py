"""The registry of data sets: one form on disk from each, whole or not at all."""

import pytest

from ngldm.data.dataset import open_dataset
from ngldm.data.sources.registry import make_dataset
from ngldm.io.errors import InputError


def test_a_data_set_is_made_as_a_folder_and_opened(tmp_path):
    made = make_dataset({"name": "digits", "test_size": 297, "seed": 0}, tmp_path / "set", tmp_path / "raw")
    assert made.name == open_dataset(tmp_path / "set").name == "digits"
    assert (len(made.train), len(made.test)) == (1500, 297)


def test_unknown_name_is_refused_with_the_choices(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.name 'digit'.*cifar10.*digits"):
        make_dataset({"name": "digit"}, tmp_path / "set", tmp_path / "raw")


def test_a_refused_option_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.test_size: 9999"):
        make_dataset({"name": "digits", "test_size": 9999, "seed": 0}, tmp_path / "set", tmp_path / "raw")
    assert list(tmp_path.iterdir()) == []
