"""The report's section on a search: there if there are results, absent if not."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ngldm.data.results.study import StudyRow, write_scores
from ngldm.io.errors import InputError
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.page import write_report
from ngldm.pipeline.report.tuning import SUMMARY_COLUMNS, confirmed_summary, search_summary


@pytest.fixture
def workspace(copied: Callable[..., Path]) -> Path:
    return copied("data/dataset", "data/reference", "metrics", "plots", "samples", "study", "params.yaml")


def write_summary(**cells: str) -> None:
    Path("tuning").mkdir(exist_ok=True)
    with Path("tuning/summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, SUMMARY_COLUMNS)
        writer.writeheader()
        writer.writerow({column: cells.get(column, column) for column in SUMMARY_COLUMNS})


def row(variant: str, value: float, seed: int) -> StudyRow:
    return StudyRow(
        variant=variant,
        train_seed=seed,
        sampler="tuned",
        sample_seed=1000,
        noise=variant,
        forward="marginal",
        objective="x0",
        network_calls=20,
        value=value,
        outliers=0.0,
        further={},
    )


def test_no_search_no_section(workspace: Path) -> None:
    assert (search_summary(), confirmed_summary()) == ([], [])
    write_report(load_params(), Path("reports"))
    assert 'id="search"' not in Path("reports/index.html").read_text()


def test_the_section_shows_the_winners_and_their_means_on_fresh_seeds(workspace: Path) -> None:
    write_summary(noise="laplace", settings="train.lr 0.00421", value="1.5")
    scores = [row("gaussian", 2.0, 0), row("gaussian", 4.0, 1), row("laplace", 1.0, 0), row("laplace", 2.0, 1)]
    write_scores(scores, Path("tuning/confirmed"))
    write_report(load_params(), Path("reports"))
    page = Path("reports/index.html").read_text()
    section = re.search(r'<section aria-labelledby="search">.*?</section>', page, re.S)
    assert section is not None
    assert '<a href="#search">' in page
    assert "train.lr 0.00421" in section[0]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", section[0].split("</table>")[0])
    assert cells[0].strip() == "3.000"  # the Gaussian's mean (2 + 4) / 2
    assert cells[2].strip() == "1.000"  # and its standard error: sqrt(2) / sqrt(2)
    assert [cell.strip() for cell in cells[6:8]] == ["1.500", "0.7071"]
    assert cells[9].strip() == "0.5000"


def test_a_damaged_table_is_named(workspace: Path) -> None:
    Path("tuning").mkdir()
    Path("tuning/summary.csv").write_text("noise\nlaplace\n")
    with pytest.raises(InputError, match=r"tuning/summary\.csv: has no column 'search'"):
        search_summary()
