"""How many images count, by the standard protocol and by the paper's."""

import re

import numpy as np
import pytest
import torch

from ngldm.data.reference import Reference
from ngldm.scoring.distance.frechet import Moments
from ngldm.scoring.distance.protocol import by_protocol, compared, shortfall


def test_the_papers_protocol_compares_with_1000_random_images_under_its_own_name() -> None:
    many = torch.randn(3000, 6, generator=torch.Generator().manual_seed(1))
    moments = Moments(6).update(many)
    whole = Reference(moments.mean, moments.cov, many, {"metric": "fid", "num_images": 3000})
    assert by_protocol(whole, "standard") is whole
    paper = by_protocol(whole, "paper")
    assert paper.about["metric"] == "fd_paper_protocol"
    assert paper.about["num_images"] == len(paper.features) == 1000
    np.testing.assert_allclose(paper.sigma, np.cov(paper.features.double().numpy(), rowvar=False), rtol=1e-10)
    assert {tuple(row) for row in paper.features.tolist()} <= {tuple(row) for row in many.tolist()}
    assert len(by_protocol(whole, "paper", 5000).features) == 1000
    few = by_protocol(whole, "paper", 64)
    assert few.about["num_images"] == len(few.features) == 64
    assert torch.equal(few.features, paper.features[:64])


def test_both_sides_count_the_same_number_by_the_papers_protocol() -> None:
    assert compared("standard", 5000, 64) == 5000
    assert [compared("paper", *counts) for counts in ((5000, 3000), (64, 3000), (5000, 300))] == [1000, 64, 300]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("standard", 64, 10, 10), []),
        (("standard", 2048, 2049, 50_000), []),
        (("standard", 2048, 2048, 50_000), ["2048 images; below 2049 .* singular"]),
        (("standard", 2048, 10_000, 1500), ["1500 images; below 2049"]),
        (("paper", 64, 1000, 1000), []),
        (("paper", 64, 999, 5000), ["999 generated and 5000 real ones, so 999 of each count"]),
        (("paper", 2048, 10_000, 50_000), ["1000 images; below 2049"]),
        (("paper", 2048, 5000, 300), ["5000 generated and 300 real .* so 300", "300 images; below 2049"]),
    ],
)
def test_too_few_images_are_noted_with_their_counts(arguments: tuple, words: list[str]) -> None:
    notes = shortfall(*arguments)
    assert len(notes) == len(words)
    for note, pattern in zip(notes, words, strict=True):
        assert re.search(pattern, note)
