"""The page's text: labels are escaped, pictures are part of it, and the script is its own."""

import shutil
from pathlib import Path

import html5lib
import pytest

from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.contents import make_tables
from ngldm.pipeline.report.html.render import data_uri, render_html
from ngldm.pipeline.report.pictures import write_pictures
from ngldm.pipeline.report.results import read_results


def test_what_users_wrote_is_text_and_no_markup(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(smoke, tmp_path / "smoke", ignore=shutil.ignore_patterns("mlartifacts", "mlflow.db", "checkpoints"))
    monkeypatch.chdir(tmp_path / "smoke")
    evil = "<script>alert(1)</script> & <b>"
    params = load_params().model_copy(update={"recipe": evil, "experiment": evil})
    results = read_results(params)
    for row in results.rows:
        row["settings"] = evil
    folder = tmp_path / "pictures"
    folder.mkdir()
    pictures = write_pictures(params, folder)
    monkeypatch.setattr("ngldm.pipeline.report.html.render.data_uri", lambda path: "data:,")
    page = render_html(params, results, make_tables(params, results), pictures, folder)
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    scripts = [element for element in tree.iter() if element.tag == "script"]
    assert len(scripts) == 1
    assert "alert" not in scripts[0].text
    shown = [
        "".join(element.itertext()) for element in tree.iter() if element.tag in ("h1", "td", "figcaption", "code")
    ]
    assert sum(evil in text for text in shown) >= 4 + 4  # cells of two tables, captions
    assert not [element for element in tree.iter() if element.tag == "b"]


def test_data_uri_names_the_kind(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg/>")
    assert data_uri(tmp_path / "a.svg") == "data:image/svg+xml;base64,PHN2Zy8+"
