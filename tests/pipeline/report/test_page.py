"""The report: valid, accessible, self-contained HTML; what its tables and figures hold."""

import base64
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import html5lib
import pytest

from ngldm.pipeline import colours
from ngldm.pipeline import workspace as paths
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.page import write_report
from ngldm.pipeline.report.table import winners


@pytest.fixture(scope="module")
def page(smoke: Path) -> str:
    return (smoke / "reports" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree(page: str) -> Any:
    """The parsed page; a single parse error fails."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)


def elements(tree: Any, *tags: str) -> Iterator[Any]:
    return (element for element in tree.iter() if element.tag in tags)


def text(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def test_language_title_and_landmarks(tree: Any) -> None:
    assert tree.get("lang") == "en"
    assert "smoke" in text(next(elements(tree, "title")))
    assert [len(list(elements(tree, tag))) for tag in ("h1", "main", "header", "nav")] == [1, 1, 1, 1]


def test_every_picture_says_what_it_shows(tree: Any) -> None:
    alts = [image.get("alt") for image in elements(tree, "img")]
    assert len(alts) >= 10
    assert all(alt and len(alt.split()) > 5 for alt in alts)
    assert len(set(alts)) == len(alts)


def test_headings_skip_no_level(tree: Any) -> None:
    levels = [int(heading.tag[1]) for heading in elements(tree, *(f"h{i}" for i in range(1, 7)))]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_ids_are_unique_and_links_lead_somewhere(tree: Any, smoke: Path) -> None:
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(set(ids)) == len(ids)
    targets = [link.get("href") for link in elements(tree, "a")]
    inside = [target[1:] for target in targets if target.startswith("#")]
    assert len(inside) >= 7
    assert set(inside) <= set(ids)
    files = {target for target in targets if not target.startswith("#")}
    assert all((smoke / "reports" / file).is_file() for file in files)


def test_every_table_and_figure_is_linked_as_a_file_for_papers(tree: Any, smoke: Path) -> None:
    linked = {link.get("href") for link in elements(tree, "a")}
    made = {file.relative_to(smoke / "reports").as_posix() for file in (smoke / "reports").rglob("*.*")}
    assert {name for name in made if name.endswith((".csv", ".tex", ".svg", ".pdf"))} <= linked
    assert {"scores.tex", "table.csv", "classes.csv", "calls.pdf", "overview.pdf", "trajectories.svg"} <= linked
    for table in elements(tree, "table"):
        kinds = [link.get("href").split(".")[-1] for link in elements(table, "a")]
        assert kinds == ["csv", "tex"], text(next(elements(table, "caption")))


def test_tables_have_captions_and_header_cells(tree: Any) -> None:
    for table in elements(tree, "table"):
        assert text(next(elements(table, "caption")))
        assert all(cell.get("scope") in ("col", "row") for cell in elements(table, "th"))
        assert all(row[0].tag == "th" for row in elements(table, "tr"))


def test_nothing_is_fetched(tree: Any) -> None:
    assert not list(elements(tree, "iframe", "object"))
    scripts = list(elements(tree, "script"))
    assert len(scripts) == 1
    assert not scripts[0].attrib
    assert not re.search(r"https?:|fetch|XMLHttp|import", scripts[0].text)
    sources = [e.get(key) for e in elements(tree, "img", "link", "source") for key in ("src", "href") if e.get(key)]
    assert all(source.startswith("data:") for source in sources)


def luminance(colour: str) -> float:
    """WCAG's relative luminance of #rrggbb."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_all_declared_colours(page: str) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    blocks = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root \{(.*?)\}", page)]
    assert len(blocks) == 2  # light and dark
    for block in blocks:
        for ink in ("ink", "muted", "link"):
            for paper in ("paper", "shade"):
                assert contrast(block[ink], block[paper]) >= 4.5, (ink, paper, block)


def test_lines_can_be_told_from_light_and_dark_pages(page: str) -> None:
    """WCAG's 3:1 for graphics."""
    dark = re.findall(r"--paper: (#[0-9a-f]{6});", page)[1]
    lines = [colour for colour in colours.PALETTE if colour != colours.INK]  # ink takes the page's own colour
    assert all(contrast(colour, dark) >= 3 for colour in lines)
    assert all(contrast(colour, "#ffffff") >= 3 for colour in lines)


def test_headline_marks_the_best_of_each_sampler(tree: Any, smoke: Path) -> None:
    with (smoke / "reports" / "table.csv").open(newline="") as file:
        rows = [row | {key: float(row[key]) for key in ("value", "spread")} for row in csv.DictReader(file)]
    best = winners(rows)
    assert set(best) == {"ancestral", "auto"}
    marked = {f"{row['value']:#.4g}" for row in rows if best[row["sampler"]] == row["noise"]}
    assert {text(strong).split(" ± ")[0] for strong in elements(tree, "strong")} == marked


def test_all_sections_of_a_full_run_are_there(tree: Any, page: str, smoke: Path) -> None:
    headings = [text(heading) for heading in elements(tree, "h2")]
    assert headings == [
        *("Scores", "Classes", "Samples", "Nearest training images", "Training"),
        *("Score by network calls", "Noise", "Theorem 1"),
        *("From noise to image", "Reconstructions", "Provenance"),
    ]
    stages = {text(cell) for cell in elements(tree, "th") if cell.get("scope") == "row"}
    assert {"download", "autoencoder", "latents", "reference"} <= stages
    assert {"train@laplace", "sample@laplace-auto", "evaluate@laplace"} <= stages
    assert re.search(r"Commit: <code>[0-9a-f]{40}", page)
    assert "num_train_timesteps: 50" in page


@pytest.fixture(scope="module")
def papers(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of the same results, had they been the recipe `paper` with a study but no curve; parsed."""
    folder = tmp_path_factory.mktemp("papers") / "smoke"
    shutil.copytree(smoke, folder)
    header = "variant,train_seed,sampler,sample_seed,noise,forward,objective,network_calls,value,outliers"
    scores = {"gaussian": (2.0, 4.0), "laplace": (4.5, 4.5)}
    rows = [
        f"{n},{seed},dpmpp_20,0,{n},marginal,x0,20,{v},0.0"
        for n, values in scores.items()
        for seed, v in enumerate(values)
    ]
    (folder / "study" / "scores.csv").write_text("\n".join([header, *rows]) + "\n")
    for noise in scores:
        (folder / "plots" / "curve" / f"{noise}.csv").write_text("step,epoch,value,metric,num_images\n")
    reference = json.loads((folder / paths.REFERENCE / "reference.json").read_text())
    reference["ladder"]["faults"] = ["light blur has 0.1, not more than the undamaged images with 0.2"]
    (folder / paths.REFERENCE / "reference.json").write_text(json.dumps(reference))
    before = Path.cwd()
    os.chdir(folder)
    try:
        write_report(load_params().model_copy(update={"recipe": "paper"}), paths.REPORTS)
    finally:
        os.chdir(before)
    page = (folder / "reports" / "index.html").read_text(encoding="utf-8")
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)


def test_the_page_shows_the_ladder_s_figures(page: str, smoke: Path) -> None:
    ladder = json.loads((smoke / paths.REFERENCE / "reference.json").read_text())["ladder"]
    assert ladder["faults"] == []
    assert "Do not trust" not in page
    sentence = page[page.index("Check of the extractor") :].partition("</p>")[0]
    for step in ("images", "floor", "blur_light", "blur_strong", "noise_light", "noise_strong"):
        assert f" {ladder[step]:.4g}" in sentence, step


def test_an_extractor_that_fails_the_ladder_makes_a_warning(papers: Any) -> None:
    (warning,) = (
        text(part) for part in elements(papers, "p") if part.get("role") == "note" and "Warning" in text(part)
    )
    assert "Do not trust these scores" in warning
    assert "light blur has 0.1, not more than the undamaged images with 0.2" in warning


def cells(tree: Any, caption: str) -> list[list[str]]:
    """The rows of the table with that caption."""
    (table,) = (t for t in elements(tree, "table") if caption in text(next(elements(t, "caption"))))
    return [[text(cell) for cell in elements(row, "th", "td")] for row in elements(table, "tr")]


def test_the_papers_figures_stand_beside_ours(papers: Any, smoke: Path) -> None:
    with (smoke / "reports" / "table.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["noise"] == "laplace"]
    best = min(rows, key=lambda row: float(row["value"]))
    header, *table = cells(papers, "Our best sampler's score and the paper's")
    rows_by_noise = {row[0]: dict(zip(header, row, strict=True)) for row in table}
    assert set(rows_by_noise) == {"gaussian", "laplace"}
    laplace = rows_by_noise["laplace"]
    assert (laplace["sampler"], laplace["ours"]) == (best["sampler"], f"{float(best['value']):#.4g}")
    assert laplace["spread"] == f"{float(best['spread']):#.4g}"
    assert (laplace["paper: best"], laplace["paper: best epoch"]) == ("110.5", "120")  # of the paper's table
    assert any("as the paper reports it" in image.get("alt") for image in elements(papers, "img"))


def test_the_study_has_its_section(papers: Any) -> None:
    header, *table = cells(papers, "Every variant and sampler")
    rows = [dict(zip(header, row, strict=True)) for row in table]
    assert [(row["variant"], row["mean"], row["ratio"]) for row in rows] == [
        ("gaussian", "3.000", "1.000"),
        ("laplace", "4.500", "1.500"),
    ]
    assert rows[0]["std error"] == "1.000"  # the deviation of 2 and 4 over the root of 2
    assert "Study" in [text(heading) for heading in elements(papers, "h2")]
    assert any("Best score of each variant" in image.get("alt") for image in elements(papers, "img"))


def test_the_score_by_epoch_is_drawn_or_said_to_be_missing(papers: Any, tree: Any) -> None:
    for found, drawn in ((tree, True), (papers, False)):
        assert any("Score by epoch" in image.get("alt") for image in elements(found, "img")) == drawn
        assert ("-S train.snapshot_every=" in text(found)) == (not drawn)


def test_the_pages_moments_put_the_exact_ones_beside_those_of_draws(tree: Any) -> None:
    """Of a Laplace distribution with variance 1 the excess kurtosis is 3, of the Gaussian 0."""
    header, *table = cells(tree, "Exact moments")
    rows = {row[0]: dict(zip(header, row, strict=True)) for row in table}
    assert set(rows) == {"gaussian", "laplace"}
    for noise, expected in (("gaussian", 0.0), ("laplace", 3.0)):
        assert float(rows[noise]["excess kurtosis"]) == expected
        assert float(rows[noise]["excess kurtosis, draws"]) == pytest.approx(expected, abs=0.5)


def test_the_page_holds_the_autoencoders_picture(page: str, smoke: Path) -> None:
    made = (smoke / paths.RECONSTRUCTIONS).read_bytes()
    assert (smoke / "reports" / "reconstructions.png").read_bytes() == made
    assert base64.b64encode(made).decode() in page


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it fails
sys.path.insert(0, sys.argv[1])
from stages.report import report
report()
"""


def test_the_report_is_written_without_torch(smoke: Path, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "smoke"
    shutil.copytree(smoke, folder)
    shutil.rmtree(folder / "reports")
    call = [sys.executable, "-c", WITHOUT_TORCH, str(root)]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = {file.relative_to(smoke) for file in (smoke / "reports").rglob("*.*")}
    assert {file.relative_to(folder) for file in (folder / "reports").rglob("*.*")} == names
    for name in names:
        assert (folder / name).read_bytes() == (smoke / name).read_bytes(), name
