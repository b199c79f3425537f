"""Stage `report`: tables, pictures and one self-contained page from everything before it."""

from typing import Any

from ngldm.plumbing import paths
from ngldm.plumbing.command import command
from ngldm.plumbing.params import load_params


def report() -> None:
    """Write reports/: table.csv, table.md, the pictures, and index.html that shows them all."""
    params = load_params()
    from ngldm.plumbing.report import write_report

    rows = write_report(params, paths.REPORTS)
    write_scores(rows)
    width = max(len(row["noise"]) for row in rows)
    for row in rows:
        print(f"{row['noise']:<{width}}  {row['sampler']:<10} {row['metric']} {row['value']:.3f}  KID {row['kid']:.5f}")
    print(f"open {paths.REPORTS / 'index.html'}")


def write_scores(rows: list[dict[str, Any]]) -> None:
    """The few figures that `dvc exp show` and `dvc metrics diff` compare: lower is better, but for the PSNR in dB."""
    from ngldm.files import read_json, write_json

    reference = read_json(paths.REFERENCE / "reference.json", "metric", "floor")
    scores: dict[str, Any] = {row["noise"]: {} for row in rows}
    for row in rows:
        scores[row["noise"]][row["sampler"]] = row["value"]
    psnr = read_json(paths.AUTOENCODER_METRICS, "psnr_db")["psnr_db"]
    write_json(paths.SCORES, {reference["metric"]: scores, "floor": reference["floor"], "autoencoder_psnr_db": psnr})


main = command(report)
if __name__ == "__main__":
    main()
