"""The code behind a stage: which files of this project it imports, directly or through others.

The `deps` of dvc.yaml name these files (a test compares), and kept results carry a hash of them, so that no result of
older code is taken for a new one.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]  # ngldm/
INSIDE = ("experiments", "report")  # of pipeline/, what writes outputs; the rest records, shows or checks


@cache
def imported_files(path: Path, root: Path) -> frozenset[Path]:
    """Files of the packages ngldm and stages that a file imports, anywhere in it; all below `root`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] not in ("ngldm", "stages"):
                continue
            place = root / name.replace(".", "/")
            packages = [folder for folder in (place, *place.parents) if root in folder.parents]
            candidates = [place.with_suffix(".py"), *(folder / "__init__.py" for folder in packages)]
            found |= {file for file in candidates if file.is_file()}
    return frozenset(found)


@cache
def _is_docstring(path: Path) -> bool:
    body = ast.parse(path.read_text()).body
    return len(body) == 1 and isinstance(body[0], ast.Expr)


def is_code_of_results(path: Path, root: Path) -> bool:
    """Whether a file can change what a stage computes: all of it below the wall, of pipeline/ only `INSIDE`."""
    parts = path.relative_to(root).parts
    if parts == ("ngldm", "__init__.py") or (path.name == "__init__.py" and _is_docstring(path)):  # names alone
        return False
    return parts[:2] != ("ngldm", "pipeline") or parts[2] in INSIDE


def code_behind(module: Path, root: Path = PACKAGE.parent) -> list[Path]:
    """A module's own file and all files of this project behind it that can change a result, sorted."""
    todo, seen = [module], set()
    while todo:
        path = todo.pop()
        if path in seen or not is_code_of_results(path, root):
            continue
        seen.add(path)
        todo += imported_files(path, root)
    return sorted(seen)


def code_hash(module: Path, root: Path = PACKAGE.parent) -> str:
    """SHA-256, in hex, of names and contents of `code_behind(module)`."""
    digest = hashlib.sha256()
    for path in code_behind(module, root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return digest.hexdigest()
