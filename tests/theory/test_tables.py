"""The files of the stage `theory`: what is written is what is read, also what is not finite."""

import csv
import math
from pathlib import Path

import pytest

from ngldm.io.errors import InputError
from ngldm.theory.tables import Density, Histogram, MomentRow, TheoremRow, Theory, read_theory, write_theory

THEORY = Theory(
    latent_shape=(2, 12, 12),
    theorem=[
        TheoremRow(
            noise="laplace",
            forward="markov",
            steps=300,
            ratio=0.1 + 0.2,
            std_error=1e-17,
            rms_ratio=1.0,
            rms_std_error=0.5,
            kurtosis_left=0.01,
        )
    ],
    moments=[MomentRow(noise="student_t", moment="excess kurtosis", exact=math.inf, sampled=12.5)],
    histograms={"laplace": Histogram([-1.0, 0.0, 1.0], [0.4, 0.6])},
    densities={"laplace": Density([-1.0, 1.0], [0.25, 1 / 3])},
)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    write_theory(THEORY, tmp_path / "theory")
    assert read_theory(tmp_path / "theory") == THEORY


def test_theorem_1_is_a_table_for_others(tmp_path: Path) -> None:
    write_theory(THEORY, tmp_path / "theory")
    with (tmp_path / "theory" / "theorem1.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["noise"], row["steps"], float(row["ratio"])) == ("laplace", "300", 0.1 + 0.2)


@pytest.mark.parametrize("missing", ["curves.json", "theorem1.csv", "moments.csv"])
def test_a_missing_file_is_named_with_its_stage(tmp_path: Path, missing: str) -> None:
    write_theory(THEORY, tmp_path / "theory")
    (tmp_path / "theory" / missing).unlink()
    with pytest.raises(InputError, match=missing):
        read_theory(tmp_path / "theory")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("moments.csv", "noise,moment,exact,sampled\n"),  # a header alone
        ("moments.csv", ""),
        ("moments.csv", "\x00\x00"),
        ("theorem1.csv", "noise,forward\n"),
        ("curves.json", '{"latent_shape": [1], "histograms": {}, "densities": {}}'),
        ("curves.json", '{"latent_shape": [1], "histograms": {"a": {"bins": 3}}, "densities": {}}'),
        ("curves.json", '{"latent_shape": [1], "histograms": {"a": 3}, "densities": {}}'),
        ("curves.json", '{"latent_shape": 1, "histograms": {"a": {"edges": [], "density": []}}, "densities": {}}'),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    write_theory(THEORY, tmp_path / "theory")
    (tmp_path / "theory" / name).write_text(content)
    with pytest.raises(InputError, match=name):
        read_theory(tmp_path / "theory")
