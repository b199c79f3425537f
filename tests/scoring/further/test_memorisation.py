"""Memorisation: copies are found, and a perfect generator reaches what is expected of it."""

import numpy as np
import pytest
import torch

from ngldm.scoring.further.memorisation import memorised


def vectors(count, seed):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("train", "test"), [(300, 300), (900, 100)])
def test_fresh_draws_reach_the_share_of_training_vectors(train, test):
    found = memorised(vectors(4000, 0), vectors(train, 1), vectors(test, 2), chunk=500).float().mean()
    assert found == pytest.approx(train / (train + test), abs=0.06)


def test_copies_are_memorised_and_copies_of_the_test_set_are_not():
    train, test = vectors(50, 1), vectors(200, 2)
    assert memorised(train, train, test, chunk=16).all()
    assert not memorised(test, train, test, chunk=16).any()


def test_against_brute_force():
    made, train, test = vectors(30, 0), vectors(20, 1), vectors(40, 2)
    nearer = [
        min(np.linalg.norm(m - a) for a in train.numpy()) < min(np.linalg.norm(m - b) for b in test.numpy())
        for m in made.numpy()
    ]
    assert memorised(made, train, test, chunk=7).tolist() == nearer
