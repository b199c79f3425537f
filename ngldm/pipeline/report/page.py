"""The report: a table (CSV and Markdown), figures, pictures, and an HTML page that needs no other file.

It only shows what the stages wrote, and computes no result of its own. It does not import torch.
"""

import base64
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from ruamel.yaml import YAML

from ngldm.data.results import history
from ngldm.data.results.samples import asked_classes, load_samples
from ngldm.data.results.study import read_scores
from ngldm.io.files import atomic_directory, require, write_csv
from ngldm.io.images import load_arrays, save_png
from ngldm.io.items import are_points, class_picture, picture, trajectory_picture
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.experiments.summary import StudySummary, summarise, summarise_further
from ngldm.pipeline.report import figures, provenance, tuning
from ngldm.pipeline.report.curve import PAPER_COLUMNS, paper_curve, paper_rows, read_curve
from ngldm.pipeline.report.further import further_means, further_rows, further_study_rows, scatter, tails
from ngldm.pipeline.report.rows import COLUMNS, ScoreRow, average, several
from ngldm.pipeline.report.seeds import (
    DIFFERENCE_COLUMNS,
    describe_difference,
    difference_lines,
    differences,
)
from ngldm.pipeline.report.table import (
    collect_rows,
    ladder_warnings,
    markdown_table,
    read_figure,
    read_reference,
    score_table,
    show,
    verdicts,
    winners,
)
from ngldm.theory.tables import MomentRow, Theory, read_theory


@dataclass(frozen=True)
class Study:
    """The tables of the study; empty if it has no variants.

    Attributes:
        scores: Frechet distances.
        further: the further scores, by variant and sampler.
    """

    scores: Sequence[StudySummary]
    further: Sequence[Mapping[str, object]]


STEPS = 5  # of `write_report`, for a progress bar
STUDY_COLUMNS = ("variant", "sampler", "network_calls", "mean", "std", "std_error", "ratio", "outliers", "seeds")


def draw_figures(params: Params, rows: list[ScoreRow], theory: Theory, folder: Path) -> None:
    """Draw every vector figure for which there are results. The page shows those whose files exist."""
    trainings = {noise: params.labels_of(noise) for noise in params.noises}
    histories = {
        noise: [history.read_history(workspace.train_plot(label)) for label in labels]
        for noise, labels in trainings.items()
    }
    figures.save_svg(figures.training(histories), folder / "training.svg")
    figures.save_svg(figures.noises(theory.histograms, theory.densities), folder / "noise.svg")
    if (drawn := tails(params)) is not None:
        figures.save_svg(drawn, folder / "tails.svg")
    curve = read_curve(trainings)
    if beside_paper(params):
        figures.save_svg(figures.score_by_epoch(paper_curve()), folder / "paper.svg")
    if curve:
        figures.save_svg(figures.score_by_epoch(curve), folder / "epochs.svg")
    if any(len({row["network_calls"] for row in rows if row["noise"] == noise}) > 1 for noise in params.noises):
        figures.save_svg(figures.score_by_calls(average(rows)), folder / "calls.svg")
    if theory.theorem:
        figures.save_svg(figures.theorem(theory.theorem, theory.latent_shape), folder / "theorem1.svg")


def draw_study(params: Params, folder: Path) -> Study:
    """Write the study's tables and figure, if it has scores."""
    rows = read_scores(workspace.STUDY)
    study = Study(summarise(rows, list(params.study.data)), further_study_rows(summarise_further(rows)))
    if study.scores:
        (folder / "study.md").write_text(markdown_table(study.scores, STUDY_COLUMNS))
        drawn = [row for row in study.scores if row["network_calls"] and row["mean"] == row["mean"]]
        figures.save_svg(figures.study(drawn), folder / "study.svg")
    if study.further:
        (folder / "study-further.md").write_text(markdown_table(study.further, list(study.further[0])))
    return study


def write_pictures(params: Params, folder: Path) -> None:
    """All PNG files: samples, trajectories, reconstructions, and the overview of the first images.

    Of several trainings of a noise the first is shown.
    """
    first = {}
    for noise in params.noises:
        for sampler in params.samplers:
            folder_of = workspace.samples(params.labels_of(noise)[0], sampler)
            images, frames = load_samples(folder_of)
            first[noise, sampler] = picture(images, rows=3, columns=12)
            target = folder / "samples" / f"{noise}-{sampler}.png"
            if are_points(images):
                target.parent.mkdir(exist_ok=True)
                real = load_arrays(workspace.FURTHER, ("test",), "the stage `reference`")["test"]
                figures.save_png(scatter(real, images, f"{noise}, {sampler}"), target)
            else:
                save_png(class_picture(images, asked_classes(folder_of)), target)
            if sampler == params.samplers[-1]:  # by default this one is deterministic, so its pictures change smoothly
                save_png(trajectory_picture(frames), folder / f"trajectory-{noise}.png")
    shutil.copy(require(workspace.RECONSTRUCTIONS, "the stage `autoencoder`"), folder / "reconstructions.png")
    figures.save_png(figures.overview(first), folder / "overview.png", dpi=110)


def data_uri(path: Path) -> str:
    """A PNG or SVG file as a URI that holds it."""
    kind = {".png": "image/png", ".svg": "image/svg+xml"}[path.suffix]
    return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode()


def beside_paper(params: Params) -> bool:
    """Whether the report shows the paper's figures too."""
    return params.dataset.name == "cifar10" or params.recipe == "paper"


def moment_cells(moments: Sequence[MomentRow]) -> list[dict[str, Any]]:
    """A row per noise: its label, and for each moment the pair (exact value, value of the draws)."""
    rows: dict[str, dict[str, Any]] = {}
    for row in moments:
        cells = rows.setdefault(row["noise"], {"noise": row["noise"]})
        cells[row["moment"]] = (row["exact"], row["sampled"])
    return list(rows.values())


def render_html(params: Params, rows: list[ScoreRow], study: Study, theory: Theory, folder: Path) -> str:
    """The page. The pictures of `folder` that it shows are part of it."""
    environment = Environment(
        loader=PackageLoader("ngldm.pipeline.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["show"] = show
    text = StringIO()
    YAML().dump(params.model_dump(exclude_none=True), text)
    about = read_reference()
    cells = {(row["noise"], row["sampler"]): row for row in average(rows)}
    beside_gaussian = differences(rows, params.gaussian)
    return environment.get_template("report.html.j2").render(
        params=params,
        rows=rows,
        cells=cells,
        columns=COLUMNS,
        several=several(rows),
        differences={(row["noise"], row["sampler"]): describe_difference(row) for row in beside_gaussian},
        further=further_means(further_rows(params)),
        points=params.dataset.name == "points",
        study=study.scores,
        study_columns=STUDY_COLUMNS,
        search=tuning.search_summary(),
        search_columns=tuning.SHOWN_COLUMNS,
        confirmed=tuning.confirmed_summary(),
        confirmed_columns=tuning.CONFIRMED_COLUMNS,
        study_further=study.further,
        moments=moment_cells(theory.moments),
        snapshot_hint=params.train.log_every * max(1, params.train.max_steps // (10 * params.train.log_every)),
        paper=paper_rows(average(rows)) if beside_paper(params) else [],
        paper_columns=PAPER_COLUMNS,
        winners=winners(rows),
        verdicts=verdicts(rows),
        reference=about,
        warnings=ladder_warnings(about),
        psnr_db=read_figure(workspace.metrics("autoencoder"), "psnr_db"),
        picture=lambda name: data_uri(folder / name),
        has=lambda name: (folder / name).is_file(),
        seconds=provenance.stage_seconds(params),
        provenance=provenance.provenance(),
        yaml=text.getvalue(),
    )


def write_report(
    params: Params, path: Path, advance: Callable[..., None] = lambda count, note="": None
) -> list[ScoreRow]:
    """Write the report's folder, which appears complete or not at all. Returns the table's rows.

    Args:
        advance: called `STEPS` times with 1 and the name of the next part.
    """
    rows = collect_rows(params)
    with atomic_directory(path) as folder:
        write_csv(folder / "table.csv", COLUMNS, rows)
        beside_gaussian = differences(rows, params.gaussian)
        if beside_gaussian:
            write_csv(folder / "differences.csv", DIFFERENCE_COLUMNS, beside_gaussian)
        notes = [*difference_lines(beside_gaussian), *ladder_warnings(read_reference())]
        (folder / "table.md").write_text(score_table(rows, notes))
        further = further_rows(params)
        write_csv(folder / "further.csv", list(further[0]), further)
        advance(1, "pictures")
        write_pictures(params, folder)
        advance(1, "figures")
        theory = read_theory(workspace.THEORY)
        draw_figures(params, rows, theory, folder)
        advance(1, "study")
        study = draw_study(params, folder)
        advance(1, "page")
        (folder / "index.html").write_text(render_html(params, rows, study, theory, folder), encoding="utf-8")
        advance(1)
    return rows
