"""The page as text: one file with its pictures, style and script, which asks for nothing from the network."""

import base64
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from ruamel.yaml import YAML

from ngldm.pipeline.config.params import Params
from ngldm.pipeline.report import provenance
from ngldm.pipeline.report.pictures import Pictures
from ngldm.pipeline.report.results import Results
from ngldm.pipeline.report.rows import average, several
from ngldm.pipeline.report.seeds import describe_difference
from ngldm.pipeline.report.table import ladder_warnings, show, verdicts
from ngldm.pipeline.report.tables.table import Table

HERE = Path(__file__).parent
PARTS = {"style": "style.css", "script": "page.js"}


def render_html(params: Params, results: Results, tables: Mapping[str, Table], pictures: Pictures, folder: Path) -> str:
    """The page.

    Args:
        tables: by name (`ngldm.pipeline.report.contents`). Their files are in `folder`, and the page links them.
        folder: has the pictures, which become part of the page.
    """
    environment = Environment(
        loader=PackageLoader("ngldm.pipeline.report.html", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["show"] = show
    rows = results.rows
    return environment.get_template("report.html.j2").render(
        params=params,
        results=results,
        tables=tables,
        pictures=pictures,
        cells={(row["noise"], row["sampler"]): row for row in average(rows)},
        scores={row[0].text: dict(zip(params.samplers, row[1:], strict=True)) for row in tables["scores"].body},
        several=several(rows),
        differences={(row["noise"], row["sampler"]): describe_difference(row) for row in results.differences},
        points=params.dataset.name == "points",
        snapshot_hint=params.train.log_every * max(1, params.train.max_steps // (10 * params.train.log_every)),
        verdicts=verdicts(rows),
        warnings=ladder_warnings(results.reference),
        picture=lambda name: data_uri(folder / name),
        has=lambda name: (folder / name).is_file(),
        commit=provenance.commit(),
        experiment=provenance.experiment(),
        yaml=_yaml(params),
        **{key: Markup((HERE / name).read_text(encoding="utf-8")) for key, name in PARTS.items()},
    )


def _yaml(params: Params) -> str:
    text = StringIO()
    YAML().dump(params.model_dump(exclude_none=True), text)
    return text.getvalue()


def data_uri(path: Path) -> str:
    """A PNG or SVG file as a URI that holds it."""
    kind = {".png": "image/png", ".svg": "image/svg+xml"}[path.suffix]
    return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode()
