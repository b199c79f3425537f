"""The paper's noises, in the code and in the files that cannot import it."""

import csv
from pathlib import Path

import yaml

from ngldm.pipeline.colours import PAPER_NOISES


def test_the_papers_noises_are_those_of_conf_and_of_its_published_table(root: Path) -> None:
    composed = yaml.safe_load((root / "conf" / "noise" / "paper.yaml").read_text())
    assert tuple(composed["noises"]) == tuple(composed["noise_options"]) == PAPER_NOISES
    with (root / "ngldm" / "pipeline" / "report" / "paper_fid_by_epoch.csv").open(newline="") as file:
        columns = next(csv.reader(file))
    assert set(columns) == {"epoch", *PAPER_NOISES}
