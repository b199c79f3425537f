"""The code behind a module: the files of this project that it imports or reads, directly or through other files.

- The `deps` of dvc.yaml name these files. A test compares them.
- Kept results and checkpoints are stored with a hash of these files, so that a result of older code is never used. Like
  DVC's hashes, it is a hash of whole files: an edit of a comment changes it too.
- It also works without a checkout: the same modules count if ngldm is installed as a wheel, except the stages.
"""

import ast
import hashlib
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ngldm.io.files import sha256_file

ROOT = Path(__file__).resolve().parents[2]  # the folder with ngldm/: a checkout, DVC's copy of one, or site-packages
PACKAGES = ("ngldm", "stages")
INSIDE = ("experiments", "report")  # the folders of pipeline/ that write outputs; the others record, show or check


def imported_files(path: Path, root: Path, packages: Collection[str] = PACKAGES) -> set[Path]:
    """Files of these packages, below `root`, that a module imports at its top or in its functions."""
    found = set()
    for name in _imported_names(path, root):
        if name.split(".")[0] not in packages:
            continue
        place = root / name.replace(".", "/")
        folders = [folder for folder in (place, *place.parents) if root in folder.parents]
        candidates = [place.with_suffix(".py"), *(folder / "__init__.py" for folder in folders)]
        found |= {file for file in candidates if file.is_file()}
    return found


def _imported_names(path: Path, root: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level and root in path.parents:  # from . import x
                package = path.relative_to(root).parts[: -node.level]
                start = ".".join((*package, start)).rstrip(".")
            names |= {start, *(f"{start}.{alias.name}" for alias in node.names)}
    return names


def read_files(path: Path) -> set[Path]:
    """Files in a module's folder that it names in a string, for example a template or a table. Modules do not count."""
    beside = {file.name: file for file in path.parent.iterdir() if file.is_file() and file.suffix != ".py"}
    if not beside:
        return set()
    constants = (node.value for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Constant))
    return {beside[value] for value in constants if isinstance(value, str) and value in beside}


def is_code_of_results(path: Path, root: Path) -> bool:
    """Whether a file can change what a stage computes: all files but those of pipeline/ outside `INSIDE`."""
    if root not in path.parents:  # the module that is asked about may be outside the project
        return True
    parts = path.relative_to(root).parts
    if parts == ("ngldm", "__init__.py") or (path.name == "__init__.py" and _is_docstring(path)):  # without code
        return False
    return parts[:2] != ("ngldm", "pipeline") or parts[2] in INSIDE


def _is_docstring(path: Path) -> bool:
    body = ast.parse(path.read_bytes()).body
    return all(isinstance(node, ast.Expr) for node in body) and len(body) <= 1


def code_behind(module: Path, root: Path = ROOT, packages: Collection[str] = PACKAGES) -> list[Path]:
    """The module's file and all files of these packages behind it that can change a result, sorted."""
    root, todo, seen = root.resolve(), [module.resolve()], set()
    while todo:
        path = todo.pop()
        if path in seen or not is_code_of_results(path, root):
            continue
        seen.add(path)
        if path.suffix == ".py":
            todo += imported_files(path, root, packages) | read_files(path)
    return sorted(seen)


def code_hash(module: Path, root: Path = ROOT, packages: Collection[str] = PACKAGES) -> str:
    """SHA-256, in hex, of the names and contents of the files `code_behind(module)`.

    Args:
        module: a file, usually that of the caller: `Path(__file__)`.
        root: the folder with the packages; by default that of the running code.
        packages: names of the packages whose files count.
    """
    root, digest = root.resolve(), hashlib.sha256()
    for path in code_behind(module, root, packages):
        name = path.relative_to(root).as_posix() if root in path.parents else path.name
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def made_from(settings: Mapping[str, Any], inputs: Iterable[Path], module: Path) -> dict[str, Any]:
    """Everything that a result depends on: the key of a kept result or a checkpoint.

    Args:
        settings: the settings that decide the result, and no others.
        inputs: the files that are read.
        module: the file whose code computes the result, directly or by its imports.
    """
    files = {path.as_posix(): sha256_file(path) for path in inputs}
    return {"settings": settings, "inputs": files, "code": code_hash(module)}


def own_code(function: Callable[..., Any]) -> str | None:
    """Hash of the code behind a function that a user's package registers: its file, and those of the package behind it.

    None if it is ngldm's, or was typed in a notebook and has no file.
    """
    while isinstance(function, partial):
        function = function.func
    module = function.__module__
    package, *rest = module.split(".")
    place = getattr(sys.modules.get(module), "__file__", None)
    if package == "ngldm" or place is None:
        return None
    file = Path(place).resolve()
    root = file.parents[len(rest) + (file.name == "__init__.py")]
    return code_hash(file, root, (package,))
