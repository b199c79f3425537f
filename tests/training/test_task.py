"""Rows by their indices: of tensors, arrays and labelled data, with one side or two."""

import numpy as np
import pytest
import torch

from ngldm.io.errors import InputError
from ngldm.training.task import Split, send

ROWS = np.arange(24, dtype=np.float32).reshape(6, 4)


@pytest.mark.parametrize("rows", [ROWS, torch.from_numpy(ROWS)])
def test_a_split_gives_rows_in_the_order_of_the_indices(rows: np.ndarray | torch.Tensor) -> None:
    split = Split.of(rows)
    assert (split.size, split.sides) == (6, 1)
    assert split.fetch(np.array([4, 0, 4])).tolist() == [[16, 17, 18, 19], [0, 1, 2, 3], [16, 17, 18, 19]]


def test_both_sides_of_an_item_have_its_label() -> None:
    split = Split.labelled(ROWS, np.array([7, 8, 9]), sides=2)
    assert split.size == 3
    rows, labels = split.fetch(np.array([0, 1, 5]))
    assert rows[:, 0].tolist() == [0, 4, 20]
    assert labels.tolist() == [7, 7, 9]


@pytest.mark.parametrize("count", [2, 4, 6])
def test_each_item_needs_one_label(count: int) -> None:
    with pytest.raises(InputError, match=f"labels: {count} for 3 items; there must be one for each"):
        Split.labelled(ROWS, np.zeros(count, dtype=np.int64), sides=2)


def test_a_batch_is_sent_with_all_its_tensors() -> None:
    first, second = send((torch.zeros(2), torch.ones(2)), "meta")
    assert (first.device.type, second.device.type) == ("meta", "meta")
