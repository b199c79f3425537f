"""The tables of the report. Each is shown on the page, and written as CSV and LaTeX beside it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ngldm.pipeline.config.params import Params
from ngldm.pipeline.report import provenance, tuning
from ngldm.pipeline.report.curve import PAPER_COLUMNS, paper_rows
from ngldm.pipeline.report.further import class_rows, further_means, overall
from ngldm.pipeline.report.results import Results
from ngldm.pipeline.report.rows import COLUMNS, ScoreRow, average, several
from ngldm.pipeline.report.seeds import DIFFERENCE_COLUMNS
from ngldm.pipeline.report.table import winners
from ngldm.pipeline.report.tables.digits import Measured
from ngldm.pipeline.report.tables.latex import write_latex
from ngldm.pipeline.report.tables.table import Row, Table, write_table_csv
from ngldm.theory.tables import MomentRow

STUDY_COLUMNS = ("variant", "sampler", "network_calls", "mean", "std", "std_error", "ratio", "outliers", "seeds")
MEANS = ": mean ± standard error over the trainings"


def make_tables(params: Params, results: Results) -> dict[str, Table]:
    """The tables that have rows, by name."""
    candidates = (*_scores(results), *_further(params, results), *_others(params, results))
    return {table.name: table for table in candidates if table.rows}


def _scores(results: Results) -> Iterator[Table]:
    rows, means = results.rows, average(results.rows)
    metric, error = rows[0]["metric"], "standard error" if several(rows) else "spread"
    samplers = tuple(dict.fromkeys(row["sampler"] for row in rows))
    yield Table("scores", f"{metric} by noise and sampler, ± {error}", ("noise", *samplers), score_cells(means, rows))
    settings = ("noise", "sampler", "network_calls", "start_noise", "settings")
    yield Table("settings", "Settings of the samplers", settings, means)
    every = "Every training and sampler" if several(rows) else "Every noise and sampler"
    yield Table("table", every, COLUMNS, rows)
    yield Table("differences", "Differences to the Gaussian", DIFFERENCE_COLUMNS, results.differences)


def score_cells(means: Sequence[ScoreRow], rows: Sequence[ScoreRow]) -> list[Row]:
    """A row per noise: for each sampler the score and its spread, bold if it is the winner's.

    Args:
        means: of the trainings of a noise.
        rows: of all trainings.
    """
    best = winners(rows)
    cells: dict[str, dict[str, object]] = {}
    for row in means:
        measured = Measured(row["value"], row["spread"], best[row["sampler"]] == row["noise"])
        cells.setdefault(row["noise"], {"noise": row["noise"]})[row["sampler"]] = measured
    return list(cells.values())


def _further(params: Params, results: Results) -> Iterator[Table]:
    rows, columns = results.further, overall(results.further)
    of_classes = [column for column in rows[0] if column not in columns]
    beside = ", and the training points themselves" if params.dataset.name == "points" else ", further scores"
    every, means = f"Every noise and sampler{beside}", results.rows
    shown: Sequence[Row] = rows
    if several(means):
        shown = further_means(rows)
        yield Table("further", "Every training and sampler, further scores", columns, rows, of_classes)
        yield Table("further-means", every + MEANS, columns, shown)
    else:
        yield Table("further", every, columns, rows, of_classes)
    per_class = class_rows(shown)
    caption = "Every noise, sampler and class" + (MEANS if several(means) else "")
    yield Table("classes", caption, list(per_class[0]) if per_class else (), per_class)


def _others(params: Params, results: Results) -> Iterator[Table]:
    if beside_paper(params):
        rows = paper_rows(average(results.rows))
        yield Table("paper", "Our best sampler's score and the paper's", PAPER_COLUMNS, rows)
    moments = moment_rows(results.theory.moments)
    yield Table("moments", "Exact moments of one element, and those of 100,000 draws", list(moments[0]), moments)
    yield Table("study", "Every variant and sampler, best first", STUDY_COLUMNS, results.study)
    further = results.study_further
    columns = list(further[0]) if further else ()
    yield Table("study-further", "Further scores of the study: mean ± standard error over trainings", columns, further)
    confirmed, search = tuning.confirmed_summary(), tuning.search_summary()
    fresh = "The winners, trained and scored again on fresh seeds"
    yield Table("confirmed", fresh, tuning.CONFIRMED_COLUMNS, confirmed if search else [])
    yield Table("search", "The best trial of each noise", tuning.SHOWN_COLUMNS, search)
    made = provenance.origins(params)
    yield Table("made", "When, where and with which versions", list(made[0]) if made else (), made)
    seconds = [{"stage": stage, "seconds": value} for stage, value in provenance.stage_seconds(params)]
    yield Table("seconds", "Wall-clock seconds of the stages that measure their time", ("stage", "seconds"), seconds)


def beside_paper(params: Params) -> bool:
    """Whether the report shows the paper's figures too."""
    return params.dataset.name == "cifar10" or params.recipe == "paper"


def moment_rows(moments: Sequence[MomentRow]) -> list[Row]:
    """A row per noise: for each moment its exact value, and beside it that of the draws."""
    rows: dict[str, dict[str, object]] = {}
    for row in moments:
        cells = rows.setdefault(row["noise"], {"noise": row["noise"]})
        cells[row["moment"]], cells[f"{row['moment']}, draws"] = row["exact"], row["sampled"]
    return list(rows.values())


def write_tables(tables: dict[str, Table], folder: Path) -> None:
    """Write each table into the folder, as <name>.csv and <name>.tex."""
    for table in tables.values():
        write_table_csv(table, folder)
        write_latex(table, folder)
