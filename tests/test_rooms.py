"""The rules of docs/architecture.md: which room may import which, the wall, how code is cut, where its tests are.

Rooms and arrows are read from that page's own tables, so that the page and the code cannot differ.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PIPELINE = {
    name: stage.get("do", stage) for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
MAX_LINES, MAX_ARGUMENTS, MAX_MODULES = 60, 7, 11
ABOVE_THE_WALL = {
    *("click", "dvc", "hydra", "jinja2", "matplotlib", "mlflow", "omegaconf", "optuna", "pandas", "pydantic", "rich"),
    *("ruamel", "typer", "yaml"),
}
STRICT = {
    *("check_untyped_defs", "disallow_any_generics", "disallow_incomplete_defs", "disallow_subclassing_any"),
    *("disallow_untyped_calls", "disallow_untyped_decorators", "extra_checks", "no_implicit_reexport"),
    *("strict_equality", "warn_return_any"),
}


def table(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the page, without its two header lines."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def rooms_in(cell: str) -> set[str]:
    """Paths of the rooms that a cell names: all of them lie in ngldm/, but for the stages."""
    return {name if name == "stages" else f"ngldm/{name}" for name in quoted(cell)}


FACE, MAIN = "ngldm/__init__.py", "ngldm/__main__.py"


def above(room: str) -> bool:
    """Whether a file or room lies above the wall."""
    return room.startswith(("ngldm/pipeline/", "stages")) or room == MAIN


def read_arrows() -> dict[str, set[str]]:
    """Each room of the page's table and the rooms that it may import; `the library` stands for all of it."""
    rows = {room: row[1] for row in table("Who may import whom") for room in rooms_in(row[0])}
    library = {room for room in rows if not above(room) and room != FACE}
    return {room: rooms_in(cell) | (library if "the library" in cell else set()) for room, cell in rows.items()}


ARROWS = read_arrows()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SOURCES = sorted(name_of(path) for top in ("ngldm", "stages") for path in (ROOT / top).rglob("*.py"))
TREES = {name: ast.parse((ROOT / name).read_text()) for name in SOURCES}
LIBRARY = [name for name in SOURCES if not above(name)]


def room_of(name: str) -> str:
    """The room of the table in which a file or folder lies, "" if in none."""
    return next((room for room in ARROWS if name == room or name.startswith(f"{room}/")), "")


def file_of(module: str) -> str | None:
    """The file of a module of ours, None of other packages."""
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file() and module.split(".")[0] in ("ngldm", "stages"):
            return name_of(candidate)
    return None


def imports(node: ast.AST) -> Iterator[str]:
    """The modules that an import statement names, with the submodules that it takes from them."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.module
        assert not node.level, "written out in full, imports can be searched for"
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            yield submodule if file_of(submodule) else node.module


def files_imported(name: str) -> set[str]:
    """Our files that a file imports: at its top, under TYPE_CHECKING and in functions alike."""
    found = {file_of(module) for node in ast.walk(TREES[name]) for module in imports(node)}
    return {file for file in found if file is not None and file != name}


@pytest.mark.parametrize("name", SOURCES)
def test_a_room_imports_only_the_rooms_that_the_page_allows(name):
    room = room_of(name)
    wrong = sorted(other for other in files_imported(name) if room_of(other) not in {room, *ARROWS.get(room, ())})
    assert not wrong, f"docs/architecture.md does not let {room} import {wrong}"


def test_rooms_and_files_are_those_of_the_page():
    bare = {name for name in SOURCES if Path(name).name == "__init__.py" and files_imported(name) == set()}
    assert [name for name in SOURCES if not room_of(name) and name not in bare] == []
    assert [room for room in ARROWS if not (ROOT / room).exists()] == []
    assert set().union(*ARROWS.values()) <= set(ARROWS)


def test_no_room_reaches_itself_through_the_pages_arrows():
    assert find_circle(ARROWS) == []


def test_no_module_imports_itself_through_others():
    assert find_circle({name: files_imported(name) for name in SOURCES}) == []


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_a_circle_would_be_found():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) in (["b", "c", "b"], ["c", "b", "c"])


@pytest.mark.parametrize("name", LIBRARY)
def test_no_library_module_knows_what_lives_above_the_wall(name):
    used = {module.split(".")[0] for node in ast.walk(TREES[name]) for module in imports(node)}
    assert used & ABOVE_THE_WALL == set()


@pytest.mark.parametrize("stage", PIPELINE)
def test_the_page_names_the_rooms_that_a_stage_depends_on(stage):
    cells = {quoted(row[0])[0].split("@")[0]: row[1] for row in table("Which stage depends on which rooms")}
    rooms = {room_of(dep) for dep in PIPELINE[stage]["deps"] if dep.startswith("ngldm/")}
    assert rooms_in(cells[stage]) == rooms


FOLDERS = sorted({str(Path(name).parent) for name in SOURCES if name.startswith("ngldm/")})


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_says_what_it_is_and_holds_no_code_of_its_own(folder):
    """The face is the exception: its names are looked up when they are asked for."""
    tree = TREES[f"{folder}/__init__.py"]
    assert ast.get_docstring(tree)
    if folder != "ngldm":
        rest = [node for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
        assert [ast.unparse(node.targets[0]) for node in rest if isinstance(node, ast.Assign)] in ([], ["__all__"])
        assert all(isinstance(node, ast.Assign) for node in rest)


def modules_of(folder: str) -> list[str]:
    return [name for name in SOURCES if str(Path(name).parent) == folder and not Path(name).stem.startswith("__")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_small_enough_to_take_in(folder):
    assert len(modules_of(folder)) <= MAX_MODULES


def has_code(name: str) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in TREES[name].body)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_has_its_tests_at_the_same_place(folder):
    """Unless it holds names and numbers alone, which the tests of their users check."""
    place = ROOT / "tests" / Path(folder).relative_to("ngldm")
    tests = [place / f"test_{Path(name).stem}.py" for name in modules_of(folder) if has_code(name)]
    assert [name_of(test) for test in tests if not test.is_file()] == []


FREE_TO_IMPORT_LATE = (FACE, "ngldm/pipeline/cli/")  # what must start fast


@pytest.mark.parametrize("name", [name for name in SOURCES if not name.startswith(FREE_TO_IMPORT_LATE)])
def test_our_own_modules_are_imported_at_the_top(name):
    late = [
        module
        for function in ast.walk(TREES[name])
        if isinstance(function, ast.FunctionDef | ast.Lambda)
        for node in ast.walk(function)
        for module in imports(node)
        if file_of(module)
    ]
    assert late == []


def registries() -> dict[str, set[str]]:
    """What can be chosen, as the modules `names.py` have it: `module:NAME` and the strings of that tuple or dict."""
    found = {}
    for name in LIBRARY:
        if Path(name).stem == "names":
            module = import_module(name.removesuffix(".py").replace("/", "."))
            for key, value in vars(module).items():
                if key.isupper() and isinstance(value, tuple | dict):
                    found[f"{name}:{key}"] = {word for word in value if isinstance(word, str)}
    return found


def lists_of_strings(tree: ast.AST) -> Iterator[list[str]]:
    """The strings of each written list: tuple, list, set, keys of a dictionary, Literal."""
    for node in ast.walk(tree):
        items = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
        words = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        if words:
            yield words


@pytest.mark.parametrize("name", [name for name in SOURCES if name.startswith("ngldm/pipeline/config/")])
def test_the_configuration_repeats_no_registrys_names(name):
    """What a registry offers is written once, in its `names.py`; the configuration takes its choices from there."""
    repeated = [
        (words, registry)
        for words in lists_of_strings(TREES[name])
        for registry, names in registries().items()
        if len(names.intersection(words)) >= 2
    ]
    assert repeated == []


def test_the_names_of_every_registry_are_found():
    chosen = {registry.split(":")[1] for registry in registries()}
    assert {"AUTOENCODERS", "EXTRACTORS", "FORWARDS", "OBJECTIVES", "SCHEDULES", "SPACINGS", "WEIGHTINGS"} <= chosen


def functions(name: str) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(TREES[name]) if isinstance(node, ast.FunctionDef))


def arguments(function: ast.FunctionDef) -> list[ast.arg]:
    a = function.args
    return [*a.posonlyargs, *a.args, *a.kwonlyargs, *(arg for arg in (a.vararg, a.kwarg) if arg)]


@pytest.mark.parametrize("name", SOURCES)
def test_functions_are_short(name):
    """An option of a command (typer) is not counted: each is one line of its help."""
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(name) if f.end_lineno - f.lineno >= MAX_LINES}
    assert long == {}


def is_option(argument: ast.arg) -> bool:
    return argument.annotation is not None and "typer." in ast.unparse(argument.annotation)


@pytest.mark.parametrize("name", SOURCES)
def test_functions_take_few_arguments(name):
    counted = {
        function.name: [a.arg for a in arguments(function) if a.arg not in ("self", "cls") and not is_option(a)]
        for function in functions(name)
    }
    assert {function: given for function, given in counted.items() if len(given) > MAX_ARGUMENTS} == {}


def annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """Of signatures and of attributes, and what a type of its own at the top of a file stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield from (a.annotation for a in arguments(node) if a.annotation)
            if node.returns:
                yield node.returns
        elif isinstance(node, ast.ClassDef):
            yield from (part.annotation for part in node.body if isinstance(part, ast.AnnAssign))
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield node.value
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation


@pytest.mark.parametrize("name", LIBRARY)
def test_no_signature_of_the_library_says_any(name):
    said = {ast.unparse(a) for a in annotations(TREES[name]) if re.search(r"\bAny\b", ast.unparse(a))}
    assert said == set()


def test_mypy_is_strict_below_the_wall():
    """CI runs mypy; here only that no room is left out of the strict part."""
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    strict = next(entry for entry in overrides if {key for key, value in entry.items() if value is True} >= STRICT)
    library = {room for room in ARROWS if not above(room)} - {FACE}
    wanted = {room.removesuffix(".py").replace("/", ".") + ("" if room.endswith(".py") else ".*") for room in library}
    assert set(strict["module"]) == wanted
