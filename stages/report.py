"""Stage `report`: tables, pictures and one self-contained page from everything before it."""

from typing import Any

from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import command, print_table, progress


def report() -> None:
    """Write reports/: table.csv, table.md, the pictures, and index.html that shows them all."""
    params = load_params()
    from ngldm.pipeline.report.page import STEPS, write_report
    from ngldm.pipeline.report.table import best_values, show

    with progress("report", STEPS, "parts") as advance:
        rows = write_report(params, workspace.REPORTS, advance)
    write_scores(rows)
    best = best_values(rows)
    summary = [
        [
            row["noise"],
            row["sampler"],
            str(row["network_calls"]),
            f"[bold]{show(row['value'])}[/]" if row["value"] == best[row["sampler"]] else show(row["value"]),
            f"{row['spread']:.2g}",
            *(show(row[key]) for key in ("kid", "precision", "recall")),
        ]
        for row in rows
    ]
    columns = ("noise", "sampler", "calls", rows[0]["metric"], "spread", "kid", "precision", "recall")
    print_table(columns, summary, f"{params.recipe} on {params.dataset.name}, {rows[0]['num_samples']} images each")
    print(f"open {workspace.REPORTS / 'index.html'}")


def write_scores(rows: list[dict[str, Any]]) -> None:
    """The few figures that `dvc exp show` and `dvc metrics diff` compare: lower is better, but for the PSNR in dB."""
    from ngldm.io.files import read_json, write_json

    reference = read_json(workspace.REFERENCE / "reference.json", "floor")
    scores: dict[str, Any] = {row["noise"]: {} for row in rows}
    for row in rows:
        scores[row["noise"]][row["sampler"]] = row["value"]
    psnr = read_json(workspace.AUTOENCODER_METRICS, "psnr_db")["psnr_db"]
    write_json(workspace.SCORES, {rows[0]["metric"]: scores, "floor": reference["floor"], "autoencoder_psnr_db": psnr})


main = command(report)
if __name__ == "__main__":
    main()
