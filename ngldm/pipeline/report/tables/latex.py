"""A table as LaTeX, to be read by \\input into a `table` of a paper. It needs the package booktabs alone."""

import re
from pathlib import Path

from ngldm.pipeline.report.tables.digits import UNKNOWN, Padded
from ngldm.pipeline.report.tables.table import Cell, Table

SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    '"': "''",
    "±": "$\\pm$",
    "\n": " ",
}


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(SPECIAL.get(character, character) for character in text)


def latex(table: Table) -> str:
    """A `tabular` with the lines of booktabs, below a comment that says what it shows. Digits are aligned."""
    columns = "".join("r" if table.body and table.is_number(i) else "l" for i in range(len(table.columns)))
    lines = [
        *("% " + line for line in (" ".join(table.caption.split()), "needs \\usepackage{booktabs}")),
        f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        "\\toprule",
        _line([escape(heading) for heading in table.headings()]),
        "\\midrule",
        *(_line([_cell(cell) for cell in row]) for row in table.body),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    # An empty group first: a cell that begins with [ or * would be read as an argument of the \\ before it.
    first = "{}" if cells[0][:1] in ("[", "*") else ""
    return first + " & ".join(cells) + " \\\\"


def _cell(cell: Cell) -> str:
    if isinstance(cell.content, str):
        return "--" if cell.content == UNKNOWN else escape(cell.content)
    parts = [_number(part, cell.best and index == 0) for index, part in enumerate(cell.content)]
    return "$" + " \\pm ".join(parts) + "$"


def _number(part: Padded, bold: bool) -> str:
    """A number in mathematical mode; digits that others of its column have more are left blank."""
    text = re.sub(r"e([+-])0*(\d+)$", lambda found: f"\\times10^{{{found[1].strip('+')}{found[2]}}}", part.text)
    text = {UNKNOWN: "\\mbox{--}", "inf": "\\infty", "-inf": "-\\infty"}.get(text, text)
    before, after = (f"\\phantom{{{blank}}}" if blank else "" for blank in (part.before, part.after))
    return before + (f"\\mathbf{{{text}}}" if bold else text) + after


def write_latex(table: Table, folder: Path) -> None:
    """Write <name>.tex."""
    (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
