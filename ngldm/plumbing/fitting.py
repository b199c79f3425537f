"""Runs the training loop for a stage: progress on the terminal, reports kept for the plots."""

import csv
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngldm.files import atomic_path
from ngldm.plumbing.command import progress

if TYPE_CHECKING:  # torch is imported when training starts, not when a command prints its help
    from ngldm.training import Report


def fit_with_progress(
    description: str,
    model: Any,
    ema: Any,
    loss_fn: Any,
    train: Any,
    *,
    config: Any,
    on_report: Callable[["Report"], None] = lambda report: None,
    **kwargs: Any,
) -> list["Report"]:
    """`ngldm.training.fit` with the same arguments after the description; returns all reports.

    Args:
        config: as for `fit`.
        on_report: called with each report as it comes.
    """
    from ngldm.training import fit

    reports = []
    with progress(description, config.max_steps, "steps") as advance:
        done = 0
        for report in fit(model, ema, loss_fn, train, config, **kwargs):
            reports.append(report)
            on_report(report)
            advance(report.step - done, f"loss {report.loss:.4f}")
            done = report.step
    return reports


def write_history(reports: list["Report"], path: Path) -> None:
    """Reports as CSV, a column per field: what `dvc plots` draws."""
    from ngldm.training import Report

    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Report)])
        writer.writeheader()
        writer.writerows(asdict(report) for report in reports)
