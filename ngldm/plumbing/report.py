"""The report: a table (CSV and Markdown), pictures, and one self-contained HTML page."""

import base64
import csv
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ngldm.files import atomic_directory, read_json, require
from ngldm.images import load_images, sample_grid, save_png, trajectory_grid
from ngldm.plumbing import paths
from ngldm.plumbing.curve_report import PAPER_COLUMNS, paper_rows, plot_curves, read_curves
from ngldm.plumbing.params import Params
from ngldm.plumbing.study_report import COLUMNS as STUDY_COLUMNS
from ngldm.plumbing.study_report import plot_study, read_scores, study_table, summarise

COLUMNS = (
    "noise",
    "sampler",
    "method",
    "network_calls",
    "metric",
    "value",
    "spread",
    "kid",
    "precision",
    "recall",
    "num_samples",
    "extractor",
    "train_seconds",
    "sample_seconds",
)
# Okabe and Ito's palette, told apart by colour-blind readers; noises beyond it go round again with another dash.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":")
KNOWN = ("gaussian", "laplace", "exponential", "uniform", "gumbel", "exponential_uncentred")

Row = dict[str, Any]


def style(noise: str, noises: list[str]) -> dict[str, str]:
    """Line colour and dash of a noise: the same in every figure and, for the known ones, in every report."""
    order = [*KNOWN, *(n for n in noises if n not in KNOWN)]
    index = order.index(noise)
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index // len(PALETTE) % len(DASHES)]}


def collect_rows(params: Params) -> list[Row]:
    """One row per noise and sampler, from the metrics files.

    Raises:
        InputError: a stage that should have written one has not run.
    """
    about = read_json(paths.REFERENCE / "reference.json")
    rows = []
    for noise in params.noises:
        trained = read_json(paths.train_metrics(noise))
        for sampler in params.samplers:
            scores = read_json(paths.evaluate_metrics(noise, sampler))
            metric = next(key for key in scores if f"{key}_std" in scores and key != "kid")
            about_samples = read_json(paths.samples(noise, sampler) / "samples.json", "sampler", "network_calls")
            rows.append(
                {
                    "noise": noise,
                    "sampler": sampler,
                    "method": about_samples["sampler"]["method"],
                    "network_calls": about_samples["network_calls"],
                    "metric": metric,
                    "value": scores[metric],
                    "spread": scores[f"{metric}_std"],
                    "kid": scores["kid"],
                    "precision": scores["precision"],
                    "recall": scores["recall"],
                    "num_samples": scores["num_samples"],
                    "extractor": about["extractor"],
                    "train_seconds": trained["train_seconds"],
                    "sample_seconds": read_json(paths.sample_metrics(noise, sampler))["sample_seconds"],
                }
            )
    return rows


def write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def show(value: Any) -> str:
    """A cell's text: five significant digits are more than any of these figures has."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown_table(rows: list[Row]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(show(row[column]) for column in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def plot_training(params: Params, path: Path) -> None:
    """Loss by step, a line per noise; the held-out loss of the EMA weights beside it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for noise in params.noises:
        with require(paths.train_plot(noise)).open(newline="") as file:
            reports = list(csv.DictReader(file))
        look = style(noise, params.noises)
        left.plot([int(r["step"]) for r in reports], [float(r["loss"]) for r in reports], label=noise, **look)
        held = [(int(r["step"]), float(r["heldout_loss"])) for r in reports if r["heldout_loss"]]
        right.plot(*zip(*held, strict=True), label=noise, marker="o", markersize=3, **look)
    left.set(title="training loss", xlabel="step", ylabel="mean squared error of eps", yscale="log")
    right.set(title="held-out loss of the EMA weights", xlabel="step")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_overview(params: Params, path: Path, rows: int = 3, columns: int = 12) -> None:
    """The first images of every noise (down) and sampler (across): the same seeds, so the same places, throughout."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shape = (len(params.noises), len(params.samplers))
    figure, axes = plt.subplots(
        *shape, figsize=(5.2 * shape[1], 1.4 * shape[0] + 0.3), layout="constrained", squeeze=False
    )
    for row, noise in enumerate(params.noises):
        for column, sampler in enumerate(params.samplers):
            images = load_images(paths.samples(noise, sampler))[0]
            cell, picture = axes[row][column], sample_grid(images, rows, columns)
            cell.imshow(picture, cmap="gray" if picture.shape[-1] == 1 else None, vmin=0, vmax=255)
            cell.set(xticks=[], yticks=[])
            cell.spines[:].set_visible(False)
        axes[row][0].set_ylabel(noise.replace("_", "\n"))
    for column, sampler in enumerate(params.samplers):
        axes[0][column].set_title(sampler)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_pictures(params: Params, folder: Path) -> None:
    """All PNG files of the report."""
    plot_training(params, folder / "training.png")
    plot_overview(params, folder / "overview.png")
    for noise in params.noises:
        for sampler in params.samplers:
            images, frames = load_images(paths.samples(noise, sampler))
            save_png(sample_grid(images), folder / "samples" / f"{noise}-{sampler}.png")
            if sampler == params.samplers[-1]:  # the deterministic one by default: its path is a smooth one
                save_png(trajectory_grid(frames), folder / f"trajectory-{noise}.png")


def data_uri(path: Path) -> str:
    """A PNG file as a URI that holds it."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def beside_paper(params: Params) -> bool:
    """Whether the paper's figures belong beside these."""
    return params.dataset.name == "cifar10" or params.recipe == "paper"


def render_html(params: Params, rows: list[Row], study: list[Row], folder: Path) -> str:
    """The page, with every picture inside it."""
    from io import StringIO

    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ngldm.plumbing", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["show"] = show
    text = StringIO()
    YAML().dump(params.model_dump(exclude_none=True), text)
    best = {sampler: min(r["value"] for r in rows if r["sampler"] == sampler) for sampler in params.samplers}
    return environment.get_template("report.html.j2").render(
        params=params,
        rows=rows,
        columns=COLUMNS,
        study=study,
        study_columns=STUDY_COLUMNS,
        has_curve=(folder / "curve.png").is_file(),
        paper=paper_rows(rows) if beside_paper(params) else [],
        paper_columns=PAPER_COLUMNS,
        best=best,
        reference=read_json(paths.REFERENCE / "reference.json"),
        autoencoder=read_json(paths.AUTOENCODER_METRICS),
        picture=lambda name: data_uri(folder / name),
        yaml=text.getvalue(),
    )


def write_report(params: Params, path: Path) -> list[Row]:
    """Write the report's folder, whole or not at all; returns the table's rows."""
    rows = collect_rows(params)
    with atomic_directory(path) as folder:
        write_csv(rows, folder / "table.csv")
        (folder / "table.md").write_text(markdown_table(rows))
        write_pictures(params, folder)
        study = summarise(read_scores(paths.STUDY / "scores.csv"))
        if study:
            (folder / "study.md").write_text(study_table(study, show))
            plot_study(study, folder / "study.png", style)
        curves = read_curves(params.noises)
        if curves:
            plot_curves(curves, rows[0]["metric"], beside_paper(params), folder / "curve.png", style)
        (folder / "index.html").write_text(render_html(params, rows, study, folder))
    return rows
