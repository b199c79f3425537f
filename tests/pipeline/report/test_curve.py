"""The score by epoch: ours as the stage wrote it, and the paper's figures beside our best."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import sem

from ngldm.io.errors import InputError
from ngldm.pipeline.colours import PAPER_NOISES
from ngldm.pipeline.report.curve import PAPER_CSV, paper_curve, paper_rows, read_curve
from ngldm.pipeline.report.figures.drawing import save_svg
from ngldm.pipeline.report.figures.plots import score_by_epoch


def test_a_curve_is_read_noise_by_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plots" / "curve"
    folder.mkdir(parents=True)
    (folder / "laplace.csv").write_text("step,epoch,value,metric,num_images\n10,2.5,10.0,fid,32\n20,5.0,8.0,fid,32\n")
    (folder / "gaussian.csv").write_text("step,epoch,value,metric,num_images\n")  # kept no models
    monkeypatch.chdir(tmp_path)
    assert read_curve({"gaussian": ["gaussian"], "laplace": ["laplace"]}) == [
        {"noise": "laplace", "metric": "fid", "epoch": 2.5, "value": 10.0, "std_error": None},
        {"noise": "laplace", "metric": "fid", "epoch": 5.0, "value": 8.0, "std_error": None},
    ]
    with pytest.raises(InputError, match=r"uniform\.csv"):
        read_curve({"uniform": ["uniform"]})


def test_a_curve_of_several_trainings_is_their_mean_by_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plots" / "curve"
    folder.mkdir(parents=True)
    values = {"laplace": (10.0, 8.0), "laplace-s1": (12.0, 7.0), "laplace-s2": (14.0, 9.0)}
    for label, (first, second) in values.items():
        text = f"step,epoch,value,metric,num_images\n10,2.5,{first},fid,32\n20,5.0,{second},fid,32\n"
        (folder / f"{label}.csv").write_text(text)
    monkeypatch.chdir(tmp_path)
    first, second = read_curve({"laplace": list(values)})
    assert (first["noise"], first["epoch"], second["epoch"]) == ("laplace", 2.5, 5.0)
    for point, column in ((first, 0), (second, 1)):
        scores = [pair[column] for pair in values.values()]
        assert point["value"] == pytest.approx(np.mean(scores))
        assert point["std_error"] == pytest.approx(sem(scores))


def published() -> dict[str, list[tuple[float, float]]]:
    """The paper's table as it lies in the package, read without ngldm: noise to (epoch, value)."""
    header, *lines = (line.split(",") for line in PAPER_CSV.read_text().splitlines())
    return {
        noise: [(float(line[0]), float(line[column])) for line in lines]
        for column, noise in enumerate(header)
        if noise != "epoch"
    }


def test_the_papers_curve_is_its_table_every_fifth_epoch() -> None:
    found: dict[str, list[tuple[float, float]]] = {}
    for row in paper_curve():
        found.setdefault(row["noise"], []).append((row["epoch"], row["value"]))
    assert found == published()
    assert set(found) == set(PAPER_NOISES)
    assert all([epoch for epoch, _ in line] == [5.0 * i for i in range(40)] for line in found.values())


def test_the_papers_table_1_follows_from_its_curves() -> None:
    """The figures are those that the paper prints: FID of the last epoch, the best, its epoch, mean of the last ten."""
    common = {"metric": "fid", "spread": 0.1}
    ours = [{"noise": "gaussian", "sampler": s, "value": v, **common} for s, v in (("ancestral", 5.0), ("auto", 4.0))]
    ours += [{"noise": n, "sampler": "auto", "value": 9.0, **common} for n in ("laplace", "exponential", "student_t")]
    table = {row["noise"]: row for row in paper_rows(ours)}
    assert set(table) == {"gaussian", "laplace", "exponential"}
    assert [table["gaussian"][key] for key in ("sampler", "ours", "spread", "metric")] == ["auto", 4.0, 0.1, "fid"]
    printed = {
        "gaussian": (106.75, 60.42, 80, 83.3),
        "laplace": (154.83, 110.51, 120, 161.2),
        "exponential": (36979.35, 318.65, 0, 34866),
    }
    for noise, figures in printed.items():
        row = table[noise]
        found = [row[key] for key in ("paper: last", "paper: best", "paper: best epoch", "paper: mean of last 10")]
        assert found == pytest.approx(figures, rel=1e-3)


def test_the_papers_curves_are_drawn_by_the_figure_that_draws_ours(tmp_path: Path) -> None:
    save_svg(score_by_epoch(paper_curve()), tmp_path / "paper.svg")
    drawn = (tmp_path / "paper.svg").read_text()
    assert drawn.count("<svg") == 1
