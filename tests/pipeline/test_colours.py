"""The paper's noises, in the code and in the files that cannot import it."""

import csv
from pathlib import Path

import yaml

from ngldm.pipeline import colours
from ngldm.pipeline.colours import PAPER_NOISES


def test_the_papers_noises_are_those_of_conf_and_of_its_published_table(root: Path) -> None:
    composed = yaml.safe_load((root / "conf" / "noise" / "paper.yaml").read_text())
    assert tuple(composed["noises"]) == tuple(composed["noise_options"]) == PAPER_NOISES
    with (root / "ngldm" / "pipeline" / "report" / "paper_fid_by_epoch.csv").open(newline="") as file:
        columns = next(csv.reader(file))
    assert set(columns) == {"epoch", *PAPER_NOISES}


def test_a_noise_has_one_look_whatever_else_is_shown() -> None:
    assert colours.style("laplace", ["laplace"]) == colours.style("laplace", ["gaussian", "laplace", "mine"])
    known = [colours.style(noise, colours.KNOWN) for noise in colours.KNOWN[:4]]
    assert len({look["linestyle"] for look in known}) == 4  # no two of them by colour alone
    looks = [tuple(colours.style(f"n{i}", [f"n{i}" for i in range(15)]).values()) for i in range(15)]
    assert len(set(looks)) == 15
