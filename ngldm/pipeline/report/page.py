"""The report: tables (CSV, LaTeX and Markdown), figures, pictures, and an HTML page that needs no other file.

It only shows what the stages wrote, and computes no result of its own. It does not import torch.
"""

from collections.abc import Callable
from pathlib import Path

from ngldm.io.files import atomic_directory
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.report.contents import STUDY_COLUMNS, beside_paper, make_tables, write_tables
from ngldm.pipeline.report.curve import paper_curve
from ngldm.pipeline.report.figures import drawing, laws, plots, points
from ngldm.pipeline.report.html.render import render_html
from ngldm.pipeline.report.pictures import write_pictures
from ngldm.pipeline.report.results import Results, read_results
from ngldm.pipeline.report.rows import ScoreRow, average
from ngldm.pipeline.report.seeds import difference_lines
from ngldm.pipeline.report.table import ladder_warnings, markdown_table, score_table

STEPS = 4  # of `write_report`, for a progress bar


def draw_figures(params: Params, results: Results, folder: Path) -> None:
    """Draw every vector figure for which there are results. The page shows those whose files exist."""
    rows, theory = results.rows, results.theory
    drawing.save(plots.training(results.histories), folder, "training")
    drawing.save(laws.noises(theory.histograms, theory.densities), folder, "noise")
    if results.tails:
        drawing.save(points.tails(results.tails, params.samplers), folder, "tails")
    if beside_paper(params):
        drawing.save(plots.score_by_epoch(paper_curve()), folder, "paper")
    if results.curve:
        drawing.save(plots.score_by_epoch(results.curve), folder, "epochs")
    if any(len({row["network_calls"] for row in rows if row["noise"] == noise}) > 1 for noise in params.noises):
        drawing.save(plots.score_by_calls(average(rows)), folder, "calls")
    if theory.theorem:
        drawing.save(laws.theorem(theory.theorem, theory.latent_shape), folder, "theorem1")
    if results.study:
        drawn = [row for row in results.study if row["network_calls"] and row["mean"] == row["mean"]]
        drawing.save(plots.study(drawn), folder, "study")


def write_markdown(results: Results, folder: Path) -> None:
    """The tables of scores in Markdown, for an issue or a README."""
    notes = [*difference_lines(results.differences), *ladder_warnings(results.reference)]
    (folder / "table.md").write_text(score_table(results.rows, notes))
    if results.study:
        (folder / "study.md").write_text(markdown_table(results.study, STUDY_COLUMNS))
    if further := results.study_further:
        (folder / "study-further.md").write_text(markdown_table(further, list(further[0])))


def write_report(
    params: Params, path: Path, advance: Callable[..., None] = lambda count, note="": None
) -> list[ScoreRow]:
    """Write the report's folder, which appears complete or not at all. Returns the table's rows.

    Args:
        advance: called `STEPS` times with 1 and the name of the next part.
    """
    results = read_results(params)
    tables = make_tables(params, results)
    with atomic_directory(path) as folder:
        write_tables(tables, folder)
        write_markdown(results, folder)
        advance(1, "pictures")
        pictures = write_pictures(params, folder)
        advance(1, "figures")
        draw_figures(params, results, folder)
        advance(1, "page")
        (folder / "index.html").write_text(render_html(params, results, tables, pictures, folder), encoding="utf-8")
        advance(1)
    return results.rows
