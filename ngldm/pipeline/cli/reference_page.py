"""Write docs/reference.md from the code: params with units and ranges, stages, commands.

`python -m ngldm.pipeline.cli.reference_page` writes it. A test compares it with the code.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from ngldm.io.files import atomic_path
from ngldm.pipeline.config.params import PARAMS_FILE, Params

REFERENCE = Path("docs/reference.md")
HEAD = """# Reference

`python -m ngldm.pipeline.cli.reference_page` writes this page from the code. Do not edit it. [All pages](index.md).

- [Params](#params): every key of `params.yaml`
- [Stages](#stages): what each does, reads and writes
- [Commands](#commands): the console script `ngldm`
"""

# The bounds of JSON schema, as signs.
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def reference(root: Path) -> str:
    """The whole page.

    Args:
        root: of the repository, for params.yaml, dvc.yaml and stages/.
    """
    return "\n".join([HEAD, *_params(root / PARAMS_FILE), "", *_stages(root), "", commands()])


def _params(path: Path) -> Iterator[str]:
    schema, content = Params.model_json_schema(), YAML(typ="safe").load(path)
    yield "## Params\n"
    yield "`<label>` stands for a name of your choice. Defaults are the values in the tracked `params.yaml`."
    leaves = list(_leaves(schema, schema["$defs"], content, ""))
    sections = ["", *dict.fromkeys(key.split(".")[0] for key, _, _ in leaves if "." in key)]
    for section in sections:  # the first is for the keys outside all sections
        yield f"\n### {section or 'Top level'}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |"
        for key, node, default in leaves:
            if section == (key.split(".")[0] if "." in key else ""):
                cells = (f"`{key}`", _type(node), _default(default), node.get("description", ""))
                yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _leaves(
    node: Mapping[str, Any], definitions: Mapping[str, Any], content: Any, prefix: str
) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Key, schema and default of every value in a section. `content` is None below a label."""
    for name, entry in node["properties"].items():
        key, default = f"{prefix}{name}", content.get(name) if isinstance(content, dict) else None
        below = _section(entry, definitions)
        labelled = _section(_values(entry), definitions)
        if below is not None:
            yield from _leaves(below, definitions, default, f"{key}.")
        elif labelled is not None and labelled is not node:
            yield from _leaves(labelled, definitions, None, f"{key}.<label>.")
        else:
            yield key, entry, default


def _values(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a mapping's values. If its keys are labels, the schema is stored under the pattern of labels."""
    patterns = entry.get("patternProperties")
    found: Any = next(iter(patterns.values())) if patterns else entry.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def _section(entry: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = definitions.get(entry.get("$ref", "").rpartition("/")[2])
    return found if found is not None and "properties" in found else None


def _type(node: Mapping[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(_type(option) for option in node["anyOf"])
    if "enum" in node:
        return ", ".join(str(value) for value in node["enum"])
    if node.get("type") == "array":
        return f"list of {_type(node['items'])}"
    kind = {"null": "none", "object": "mapping"}.get(node.get("type", ""), node.get("type", "mapping"))
    return " ".join([kind, *(f"{sign} {node[bound]}" for bound, sign in BOUNDS.items() if bound in node)])


def _default(value: Any) -> str:
    if value is None or isinstance(value, dict):
        return ""
    return f"`{value}`"


def _stages(root: Path) -> Iterator[str]:
    stages = YAML(typ="safe").load(root / "dvc.yaml")["stages"]
    yield "## Stages\n"
    yield "`dvc repro <stage>` runs a stage and those before it, `python -m stages.<stage>` the stage alone.\n"
    yield "| stage | what it does |\n| --- | --- |"
    for name in stages:
        yield f"| `{name}` | {_first_sentence(root / 'stages' / f'{name}.py')} |"
    yield "\nEach stage depends on its code too.\n"
    yield "| stage | params | reads | writes |\n| --- | --- | --- | --- |"
    for name, stage in stages.items():
        labels = ["noise"] if "foreach" in stage else stage.get("matrix", [])
        label = f"{name}@" + "-".join(f"<{item}>" for item in labels) if labels else name
        stage = stage.get("do", stage)
        reads = [dep for dep in stage["deps"] if not dep.startswith(("ngldm/", "stages/"))]
        writes = [output for kind in ("outs", "metrics", "plots") for output in _names(stage.get(kind, []))]
        cells = (_names(stage.get("params", [])), reads, writes)
        yield f"| `{label}` | " + " | ".join(_cell(entries) for entries in cells) + " |"


def _first_sentence(file: Path) -> str:
    """What a stage does: the first line of its command's docstring. Command and file have the same name."""
    functions = (node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef))
    command = next(node for node in functions if node.name == file.stem)
    return (ast.get_docstring(command) or "-").splitlines()[0]


def _names(entries: list[Any]) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def _cell(entries: list[str]) -> str:
    shown = (entry.replace("${key}", "<noise>").replace("${item.", "<").replace("${", "<") for entry in entries)
    return ", ".join(f"`{entry.replace('}', '>')}`" for entry in shown)


def commands() -> str:
    """All commands with their options, as written by Typer's own generator."""
    import typer
    from typer.cli import get_docs_for_click

    from ngldm.pipeline.cli.main import app

    click = typer.main.get_command(app)
    text = get_docs_for_click(obj=click, ctx=typer.Context(click), name="ngldm", title="Commands")
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in text.strip().splitlines()) + "\n"


def main() -> None:
    with atomic_path(REFERENCE) as temporary:
        temporary.write_text(reference(Path()))
    print(REFERENCE)


if __name__ == "__main__":
    main()
