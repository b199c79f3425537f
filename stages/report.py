"""Stage `report`: tables, pictures and one self-contained page from everything before it."""

from ngldm.plumbing import paths
from ngldm.plumbing.command import command
from ngldm.plumbing.params import load_params


def report() -> None:
    """Write reports/: table.csv, table.md, the pictures, and index.html that shows them all."""
    params = load_params()
    from ngldm.plumbing.report import write_report

    rows = write_report(params, paths.REPORTS)
    width = max(len(row["noise"]) for row in rows)
    for row in rows:
        print(f"{row['noise']:<{width}}  {row['sampler']:<10} {row['metric']} {row['value']:.3f}  KID {row['kid']:.5f}")
    print(f"open {paths.REPORTS / 'index.html'}")


main = command(report)
if __name__ == "__main__":
    main()
