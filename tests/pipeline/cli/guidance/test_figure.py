"""The curve of a sweep shows each scale, also where no classifier says what the images are."""

import pytest

from ngldm.pipeline.cli.guidance.figure import curve

ROW = {"metric": "fd_x", "spread": 0.1}
ROWS = [
    {**ROW, "scale": 1.0, "distance": 2.0, "precision": 0.5, "recall": 0.8, "class_accuracy": 0.9},
    {**ROW, "scale": 2.0, "distance": 3.0, "precision": 0.9, "recall": 0.4, "class_accuracy": 1.0},
]


@pytest.mark.parametrize("known", [True, False])
def test_each_panel_shows_its_scores(known):
    rows = ROWS if known else [{**row, "class_accuracy": None} for row in ROWS]
    left, middle, right = curve(rows).axes
    assert [tuple(values) for values in left.lines[0].get_xydata()] == [(1.0, 2.0), (2.0, 3.0)]
    assert [[tuple(values) for values in line.get_xydata()] for line in middle.lines] == [
        [(0.5, 2.0), (0.9, 3.0)],
        [(0.8, 2.0), (0.4, 3.0)],
    ]
    assert [text.get_text() for text in middle.texts] == ["1", "2", "1", "2"]
    assert len(right.lines) == (3 if known else 2)
