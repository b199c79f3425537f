"""Everything that the report shows, read once from the files of the stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ngldm.data.results import history
from ngldm.data.results.history import HistoryRow
from ngldm.data.results.study import read_scores
from ngldm.io.files import entry, read_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.experiments.summary import StudySummary, summarise, summarise_further
from ngldm.pipeline.report.curve import CurvePoint, read_curve
from ngldm.pipeline.report.further import further_rows, further_study_rows
from ngldm.pipeline.report.rows import ScoreRow
from ngldm.pipeline.report.seeds import DifferenceRow, differences
from ngldm.pipeline.report.table import collect_rows, read_figure, read_reference
from ngldm.pipeline.report.tables.table import Row
from ngldm.theory.tables import Theory, read_theory


@dataclass(frozen=True)
class Results:
    """The results of the stages.

    Attributes:
        rows: scores of every training and sampler.
        differences: of each noise to the Gaussian; none with one training of each.
        further: further scores of every training and sampler.
        tails: label of the noise to the tails of each of its trainings; none but for points.
        histories: label of the noise to the reports of each of its trainings.
        curve: scores by epoch; none if no models were kept.
        study, study_further: the study's scores and its further scores; none if it has no variants.
        reference: what the stage `reference` found.
        psnr_db: of the autoencoder.
    """

    rows: list[ScoreRow]
    differences: Sequence[DifferenceRow]
    further: Sequence[Row]
    tails: Mapping[str, Sequence[Mapping[str, object]]]
    histories: Mapping[str, Sequence[Sequence[HistoryRow]]]
    curve: Sequence[CurvePoint]
    theory: Theory
    study: Sequence[StudySummary]
    study_further: Sequence[Row]
    reference: Mapping[str, object]
    psnr_db: float


def read_results(params: Params) -> Results:
    """The results in the workspace.

    Raises:
        InputError: a file is missing or damaged, or lacks a figure.
    """
    trainings = {noise: params.labels_of(noise) for noise in params.noises}
    rows, study = collect_rows(params), read_scores(workspace.STUDY)
    return Results(
        rows=rows,
        differences=differences(rows, params.gaussian),
        further=further_rows(params),
        tails=_tails(trainings),
        histories={
            noise: [history.read_history(workspace.train_plot(label)) for label in labels]
            for noise, labels in trainings.items()
        },
        curve=read_curve(trainings),
        theory=read_theory(workspace.THEORY),
        study=summarise(study, list(params.study.data)),
        study_further=further_study_rows(summarise_further(study)),
        reference=read_reference(),
        psnr_db=read_figure(workspace.metrics("autoencoder"), "psnr_db"),
    )


def _tails(trainings: Mapping[str, Sequence[str]]) -> dict[str, list[Mapping[str, object]]]:
    found: dict[str, list[Mapping[str, object]]] = {}
    for noise, labels in trainings.items():
        contents = [read_json(workspace.metrics("evaluate", label)) for label in labels]
        found[noise] = [entry(content, "tails", dict) for content in contents if "tails" in content]
    return {noise: curves for noise, curves in found.items() if curves}
