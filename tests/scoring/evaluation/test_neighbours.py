"""The nearest training images, against scipy's search tree, and by their numbers in the data set."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from ngldm.data import reference
from ngldm.scoring.evaluation import neighbours
from ngldm.scoring.evaluation.neighbours import nearest, nearest_images


@pytest.mark.parametrize("chunk", [7, 1000])
def test_they_are_those_of_scipy(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    images, generated = rng.normal(size=(60, 5)), rng.normal(size=(40, 5))
    kept = reference.kept_rows(60).numpy()
    found = nearest(torch.from_numpy(generated), torch.from_numpy(images[kept]).float(), 60)
    distances, rows = KDTree(images).query(generated[:10], k=3)
    assert found.rows == rows.tolist()  # numbers in the data set, not in the shuffled features
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5)


def test_a_copy_is_found_among_the_kept_part_of_a_large_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "MAX_FEATURES", 20)
    images = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    kept = reference.kept_rows(500)
    found = nearest(images[kept[:2]], images[kept], 500)
    assert [row[0] for row in found.rows] == kept[:2].tolist()
    assert [row[0] for row in found.distances] == [0.0, 0.0]
    assert found.among == 20


def test_of_two_training_images_there_are_two() -> None:
    found = nearest(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [1.0, 0.0]]), 2)
    assert sorted(found.rows[0]) == [0, 1]
    assert found.distances == [[1.0, 5.0]]


def test_points_have_none(tmp_path: Path) -> None:
    train = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    whole = reference.Reference(train.mean(0), train.T.cov(), train, {})
    for extractor, found in (("classifier", ["ddim"]), ("points", [])):
        (tmp_path / "reference.json").write_text(json.dumps({"extractor": extractor, "num_images": 8}))
        made = nearest_images(tmp_path, {"ddim": train[:2]}, whole)
        assert list(made.get("nearest", {})) == found
    assert json.loads(json.dumps(made)) == made
