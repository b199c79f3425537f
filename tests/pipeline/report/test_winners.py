"""Bold is earned: a winner is lower than all others by two standard errors, among scores that can be compared."""

import html5lib
import numpy as np
import pytest

from ngldm.io.errors import InputError
from ngldm.io.files import write_json
from ngldm.pipeline import workspace
from ngldm.pipeline.report.rows import COLUMNS
from ngldm.pipeline.report.table import (
    conditions,
    describe,
    ladder_warnings,
    read_reference,
    score_table,
    show,
    summary_rows,
    winners,
)


def column(*scores: tuple[float, float], sampler: str = "auto", **changes: object) -> list[dict]:
    """Rows of one sampler: noises a, b, c, ... with these scores and spreads."""
    base = {
        **dict.fromkeys(COLUMNS, 1.0),
        "sampler": sampler,
        "metric": "fd",
        "num_samples": 100,
        "extractor": "classifier",
        "seeds": "0",
        "settings": "ddim 25 steps",
        "start_noise": "own",
        **changes,
    }
    return [{**base, "noise": "abcdef"[i], "value": v, "spread": s} for i, (v, s) in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "winner"),
    [
        ([(1.0, 0.1), (2.0, 0.1)], "a"),
        ([(2.0, 0.1), (1.0, 0.1)], "b"),
        # the difference's standard error is sqrt(2) * 0.1: two of them are 0.283
        ([(1.0, 0.1), (1.28, 0.1)], None),
        ([(1.0, 0.1), (1.29, 0.1)], "a"),
        # 3-4-5: 0.5, so 1.0
        ([(1.0, 0.3), (1.99, 0.4)], None),
        ([(1.0, 0.3), (2.01, 0.4)], "a"),
        # beats the second, not the third, which is uncertain
        ([(1.0, 0.1), (2.0, 0.1), (3.0, 2.0)], None),
        ([(1.0, 0.1), (2.0, 0.1), (3.0, 0.2)], "a"),
        ([(1.0, 0.1), (1.0, 0.1)], None),
        ([(1.0, 0.0), (2.0, 0.0)], None),  # a spread of 0 is of nothing
        ([(1.0, float("nan")), (2.0, 0.1)], None),
    ],
)
def test_a_winner_is_lower_by_two_standard_errors(scores, winner):
    rows = column(*scores)
    assert winners(rows) == {"auto": winner}
    text, line = score_table(rows), conditions(rows)[0]
    assert (text.count("**") == 2) == (winner is not None)
    assert any("[bold]" in cell for row in summary_rows(rows) for cell in row) == (winner is not None)
    assert ("no difference shown" in line) == (winner is None)
    assert winner is None or f"{winner} is lower" in line
    assert line in text


def test_pure_chance_makes_few_winners():
    """Equal noises, scores with the deviation that is stated: of five, one stands out by two errors now and then."""
    rng = np.random.default_rng(0)
    found = [winners(column(*((10 + x, 1.0) for x in rng.normal(size=5))))["auto"] for _ in range(2000)]
    assert sum(noise is not None for noise in found) / 2000 < 0.05


@pytest.mark.parametrize("change", [{"metric": "fid"}, {"num_samples": 99}, {"extractor": "rotation"}])
def test_what_is_not_comparable_has_no_winner(change):
    rows = column((1.0, 0.1), (2.0, 0.1))
    rows[1].update(change)
    assert winners(rows) == {"auto": None}
    assert conditions(rows)[0].startswith("auto: not comparable.")


def test_one_noise_alone_is_no_winner():
    rows = column((1.0, 0.1))
    assert winners(rows) == {"auto": None}
    assert conditions(rows)[0].startswith("auto: only one noise.")
    assert "**" not in score_table(rows)


LADDER = {"images": 9, "floor": 1.0, "blur_light": 2.0, "blur_strong": 3.0, "noise_light": 2.0, "noise_strong": 3.0}
ABOUT = {"extractor": "x", "metric": "fd_x", "num_images": 20, "floor": 0.5, "floor_num_images": 9}


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """Writes reference.json as given."""
    monkeypatch.chdir(tmp_path)

    def write(**changes: object) -> None:
        about = {**ABOUT, "ladder": {**LADDER, "faults": []}, **changes}
        write_json(workspace.REFERENCE / "reference.json", {k: v for k, v in about.items() if v is not None})

    return write


def test_a_ladder_without_faults_makes_no_warning(reference):
    reference(accuracy=0.9)
    assert ladder_warnings(read_reference()) == []


def test_an_extractor_that_fails_the_ladder_makes_a_warning_with_the_figures(reference):
    reference(ladder={**LADDER, "faults": ["light blur has 0.5, not more than ...", "strong noise has 1"]})
    (line,) = ladder_warnings(read_reference())
    assert line.startswith("Do not trust these scores: the extractor x")
    assert "light blur has 0.5" in line
    assert "strong noise has 1" in line
    assert score_table(column((1.0, 0.1)), [line]).endswith(f"- {line}\n")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"ladder": None}, "ladder"),
        ({"ladder": 3}, "ladder"),
        ({"ladder": {**LADDER, "faults": "none"}}, "faults"),
        ({"ladder": {"floor": 1.0, "faults": []}}, "images"),
        ({"ladder": {**LADDER, "noise_strong": "big", "faults": []}}, "noise_strong"),
        ({"floor": "low"}, "floor"),
        ({"accuracy": "x"}, "accuracy"),
        ({"extractor": 1}, "extractor"),
        ({"num_images": 2.5}, "num_images"),
    ],
)
def test_a_damaged_reference_is_refused_with_file_and_key(reference, changes, key):
    reference(**changes)
    with pytest.raises(InputError, match=rf"reference\.json.*{key}"):
        read_reference()


def test_samplers_are_not_compared_with_each_other():
    rows = column((1.0, 0.1), (2.0, 0.1)) + column((9.0, 0.1), (8.0, 0.1), sampler="ddim")
    assert winners(rows) == {"auto": "a", "ddim": "b"}


def test_every_score_says_its_sampler_s_settings_and_start():
    rows = column((1.0, 0.1), (2.0, 0.1))
    assert conditions(rows)[0].endswith("ddim 25 steps, start noise own.")
    rows[1].update(start_noise="x_T", settings="heun 13 steps")
    assert "ddim 25 steps, start noise own (a); heun 13 steps, start noise x_T (b)" in conditions(rows)[0]


def test_settings_leave_nothing_out():
    sampler = {"method": "ddim", "num_inference_steps": 7, "eta": 0.5, "timestep_spacing": "karras", "x0_limit": None}
    assert describe(sampler) == "ddim 7 steps, eta 0.5, timestep_spacing karras"


def test_what_is_not_known_is_a_dash():
    assert [show(value) for value in (None, float("nan"), 0.0, "x")] == ["-", "-", "0", "x"]


def test_the_page_says_settings_and_verdict_in_its_headline(smoke):
    page = html5lib.parse((smoke / "reports" / "index.html").read_text(), namespaceHTMLElements=False)
    table = next(page.iter("table"))
    foot = " ".join("".join(next(table.iter("tfoot")).itertext()).split())
    assert foot.count("no difference shown") + foot.count("is lower than all others") == 2
    cells = [" ".join("".join(cell.itertext()).split()) for row in next(table.iter("tbody")) for cell in row[1:]]
    assert len(cells) == 4
    assert all("start noise own" in cell and "steps" in cell and "calls" in cell for cell in cells)
