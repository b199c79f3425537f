"""Stage `report`: tables, pictures and one page that shows them, from the files of all other stages."""

from ngldm.io.files import write_json
from ngldm.pipeline import workspace
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.further import further_rows, tail_errors
from ngldm.pipeline.report.page import STEPS, write_report
from ngldm.pipeline.report.rows import average, several
from ngldm.pipeline.report.seeds import difference_lines, differences, seed_scores
from ngldm.pipeline.report.table import (
    SUMMARY_COLUMNS,
    conditions,
    few_scores,
    ladder_warnings,
    read_reference,
    summary_rows,
)
from ngldm.pipeline.terminal import command, print_table, progress
from ngldm.pipeline.tracking.dead import working_on_runs
from ngldm.pipeline.tracking.means import record_means
from ngldm.pipeline.tracking.store import Store


def report() -> None:
    """Write reports/: tables (CSV, LaTeX), figures (SVG, PDF), pictures, and index.html, which shows them all."""
    params = load_params()
    with progress("report", STEPS, "parts") as advance:
        rows = write_report(params, workspace.REPORTS, advance)
    about, beside_gaussian = read_reference(), differences(rows, params.gaussian)
    scores = {**few_scores(rows), **seed_scores(rows, params.gaussian), **tail_errors(further_rows(params))}
    write_json(workspace.SCORES, scores)
    if several(rows):
        with working_on_runs(store := Store(params.experiment)):
            record_means(store, params, average(rows), beside_gaussian, about)
    headings = {"network_calls": "calls", "value": rows[0]["metric"]}
    headings |= {"spread": "std_error"} if several(rows) else {}
    columns = [headings.get(column, column) for column in SUMMARY_COLUMNS]
    items = "points" if params.dataset.name == "points" else "images"
    title = f"{params.recipe} on {params.dataset.name}, {rows[0]['num_samples']} {items} each"
    print_table(columns, summary_rows(rows), title)
    for line in [*conditions(rows), *difference_lines(beside_gaussian)]:
        print(line)
    for line in ladder_warnings(about):
        print(f"warning: {line}")
    print(f"open {workspace.REPORTS / 'index.html'}")


main = command(report)
if __name__ == "__main__":
    main()
