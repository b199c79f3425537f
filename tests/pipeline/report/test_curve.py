"""The score by epoch: ours as the stage wrote it, and the paper's figures beside our best."""

from pathlib import Path

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.colours import PAPER_NOISES
from ngldm.pipeline.report.curve import PAPER_CSV, paper_curve, paper_rows, read_curve


def test_a_curve_is_read_noise_by_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plots" / "curve"
    folder.mkdir(parents=True)
    (folder / "laplace.csv").write_text("epoch,metric,value\n2.5,fid,10.0\n5.0,fid,8.0\n")
    (folder / "gaussian.csv").write_text("epoch,metric,value\n")  # kept no models
    monkeypatch.chdir(tmp_path)
    assert read_curve(["gaussian", "laplace"]) == [
        {"noise": "laplace", "metric": "fid", "epoch": 2.5, "value": 10.0},
        {"noise": "laplace", "metric": "fid", "epoch": 5.0, "value": 8.0},
    ]
    with pytest.raises(InputError, match=r"uniform\.csv"):
        read_curve(["uniform"])


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
    assert all({epoch % 5 for epoch, _ in line} == {0.0} for line in found.values())


def test_the_papers_best_last_and_mean_stand_beside_our_best_sampler() -> None:
    ours = [
        {"noise": "laplace", "sampler": "ddim", "value": 9.0, "spread": 0.1, "metric": "fid"},
        {"noise": "laplace", "sampler": "heun", "value": 7.0, "spread": 0.2, "metric": "fid"},
        {"noise": "student_t", "sampler": "heun", "value": 1.0, "spread": 0.2, "metric": "fid"},  # not in the paper
    ]
    (row,) = paper_rows(ours)
    line = published()["laplace"]
    values = [value for _, value in line]
    assert (row["noise"], row["sampler"], row["ours"], row["spread"]) == ("laplace", "heun", 7.0, 0.2)
    assert (row["paper: last"], row["paper: best"]) == (values[-1], min(values))
    assert (row["paper: best epoch"], min(values)) in line
    assert row["paper: mean of last 10"] == pytest.approx(sum(values[-10:]) / 10)
