"""LaTeX of a table: read back cell by cell, and compiled where there is a TeX."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ngldm.pipeline.report.tables.digits import Measured
from ngldm.pipeline.report.tables.latex import escape, latex, write_latex
from ngldm.pipeline.report.tables.table import Table

NASTY = r"100 % of $x_1$ & {a} #2 ~ ^ \ <b> | " + '"q"'
ROWS = [
    {"noise": NASTY, "fd": Measured(110.5, 12.0), "tiny": 1.234e-7, "n": 5},
    {"noise": "[laplace]", "fd": Measured(-9.25, 0.5, best=True), "tiny": None, "n": 50},
]
TABLE = Table("t", "50 % of it,\nin two lines", ("noise", "fd", "tiny", "n"), ROWS)


def cells(text: str) -> list[list[str]]:
    """The cells of a tabular, without its rules: split where LaTeX splits."""
    body = text.split("\\toprule\n")[1].split("\\bottomrule")[0].replace("\\midrule\n", "")
    rows = [line for line in body.split(" \\\\\n") if line]
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", row)] for row in rows]


def test_every_row_has_all_cells_and_rules_are_those_of_booktabs() -> None:
    text = latex(TABLE)
    assert [len(row) for row in cells(text)] == [4, 4, 4]
    assert [text.count(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule", "\\hline")] == [1, 1, 1, 0]
    assert "\\begin{tabular}{@{}lrrr@{}}" in text
    assert text.splitlines()[0] == "% 50 % of it, in two lines"


def test_numbers_are_aligned_by_blanks_and_the_best_is_bold() -> None:
    _, first, second = cells(latex(TABLE))
    assert first[1:] == ["$110.5\\phantom{00} \\pm 12\\phantom{.00}$", "$1.234\\times10^{-7}$", "$\\phantom{0}5$"]
    assert second[1] == "$\\phantom{0}\\mathbf{-9.250} \\pm \\phantom{0}0.50$"
    assert second[3] == "$50$"
    assert "--" in second[2]


def test_special_characters_are_printed_as_they_are() -> None:
    assert escape("a_b 5 % & #1 $x {y}") == r"a\_b 5 \% \& \#1 \$x \{y\}"
    assert escape("\\") == "\\textbackslash{}"
    assert escape("~^") == "\\textasciitilde{}\\textasciicircum{}"
    assert escape("a ± b") == "a $\\pm$ b"


def test_a_row_that_begins_with_a_bracket_is_no_argument_of_the_line_before() -> None:
    assert cells(latex(TABLE))[2][0].startswith("{}[")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_it_compiles_with_booktabs_alone(tmp_path: Path) -> None:
    write_latex(TABLE, tmp_path)
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{t.tex}\\end{document}"
    (tmp_path / "d.tex").write_text(document)
    call = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "d.tex"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    if shutil.which("pdftotext"):
        shown = subprocess.run(["pdftotext", "d.pdf", "-"], cwd=tmp_path, capture_output=True, text=True, check=True)
        for word in ("100 % of $x", "& {a} #2", "<b>", "[laplace]", "110.5", "±"):
            assert word in shown.stdout, word
