"""Functions that a decorator makes known by name: what the registries of noises, networks and autoencoders share.

The arguments of a registered function are the parameters that a user may set. Packages of others add functions by an
entry point, which names the module that registers them. Some of ours need a package that ngldm does not install.

No torch here, so that params.yaml is checked quickly.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Generic, TypeVar

from ngldm.io.errors import InputError, require_name, unknown

Function = Callable[..., object]
Parameters = Mapping[str, inspect.Parameter]
Own = TypeVar("Own", bound=Function)
Made = TypeVar("Made")


def require_free(what: str, name: object, known: Function | None, function: Function) -> None:
    """Check that a function may be registered under a name.

    A function may replace its own earlier version, so that a notebook's cell can be run twice.

    Args:
        what: "noise", "network", ..., for the message.
        known: the function that has the name now.

    Raises:
        InputError: the name belongs to another function.
    """
    if known is not None and not _is_again(known, function):
        raise InputError(f"{what} {name!r} is registered already, by {'.'.join(_address(known))}; choose another name")


def require_registrable(name: object) -> None:
    """Check what a decorator got.

    Raises:
        InputError: it is no name, for example the function itself, or one that cannot be part of a path.
    """
    if not (isinstance(name, str) and name):
        raise InputError(f'register: {name!r} is not a name; write @register("<name>") above the function')
    require_name("register", name)


def _is_again(old: Function, new: Function) -> bool:
    """Whether a function is the next version of an earlier one: of the same name, or both typed by the user."""
    notebook = _address(old)[0] == _address(new)[0] == "__main__"
    return notebook or _address(old) == _address(new)


def _address(function: Function) -> tuple[str, str]:
    """Module and name of a function, of the function that a partial calls, or of the type of an object with a call."""
    while isinstance(function, partial):
        function = function.func
    return function.__module__, getattr(function, "__qualname__", type(function).__qualname__)


def load_entry_points(group: str) -> None:
    """Import the modules that installed packages name in a group of entry points.

    Raises:
        InputError: one cannot be imported.
    """
    for entry_point in entry_points(group=group):
        try:
            entry_point.load()
        except Exception as error:
            raise InputError(
                f"entry point {entry_point.name!r} of group {group!r} ({entry_point.value}) cannot be imported: {error}"
            ) from error


def require_known(key: str, name: str, names: Iterable[str], group: str) -> None:
    """Check a name without an import of what registers it. If a package adds names to the group, any name passes.

    Args:
        names: those of ngldm.

    Raises:
        InputError: there is none of that name.
    """
    if name not in names and not entry_points(group=group):
        raise unknown(key, name, names)


def import_extra(package: str, needed_by: str, extra: str | None = None) -> ModuleType:
    """A package of an extra.

    Args:
        needed_by: setting and value that need it, for the message.
        extra: None is the extra that has the package's name.

    Raises:
        InputError: it is not installed; the message says how to install it.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != package:
            raise
        raise InputError(
            f"{needed_by} needs the package {package!r}: pip install 'ngldm[{extra or package}]', in a checkout "
            f"`uv sync --extra {extra or package}`"
        ) from error


def check_parameters(label: str, allowed: Parameters, params: Mapping[str, object]) -> None:
    """Check names: that no parameter is unknown, and none without a default is missing.

    Args:
        label: what the message begins with, for example "noise 'gamma'".

    Raises:
        InputError: one is.
    """
    kinds = {parameter.kind for parameter in allowed.values()}
    for key in params:
        if key not in allowed and inspect.Parameter.VAR_KEYWORD not in kinds:
            raise InputError(f"{label} has no parameter {key!r}; it has: {', '.join(allowed) or 'none'}")
    for key, parameter in allowed.items():
        needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        if needed and key not in params:
            raise InputError(f"{label} needs the parameter {key!r}")


@dataclass(frozen=True)
class Entry:
    """A registered function.

    Attributes:
        function: its first argument is what the thing is made for; the others are the parameters.
        settings: makes one object of the parameters, and checks them. If given, it is the function's second argument,
            and its own arguments are the parameters.
    """

    function: Function
    settings: Function | None = None

    @property
    def parameters(self) -> Parameters:
        """The parameters by name."""
        if self.settings is not None:
            return inspect.signature(self.settings).parameters
        return dict(list(inspect.signature(self.function).parameters.items())[1:])


class Registry(Generic[Made]):
    """Functions by name that make things of one type.

    Args:
        what: the thing in one word, for messages.
        group: of the entry points by which packages add functions.
        made: the type of the things.
    """

    def __init__(self, what: str, group: str, made: type[Made]) -> None:
        self.what, self.group, self.made = what, group, made
        self.entries: dict[str, Entry] = {}

    def register(self, name: str, settings: Function | None = None) -> Callable[[Own], Own]:
        """Decorator: make a function known under `name`; see `Entry`.

        Raises:
            InputError: `name` is not a name, or it belongs to another function.
        """
        require_registrable(name)

        def decorate(function: Own) -> Own:
            known = self.entries.get(name)
            require_free(self.what, name, known.function if known else None, function)
            self.entries[name] = Entry(function, settings)
            return function

        return decorate

    def names(self) -> list[str]:
        """All names, sorted; those of installed packages included.

        Raises:
            InputError: a package's module cannot be imported.
        """
        load_entry_points(self.group)
        return sorted(self.entries)

    def find(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            InputError: there is none; the message has all names.
        """
        if name not in self.entries and name not in self.names():
            raise unknown(f"{self.what}.kind", name, self.entries)
        return self.entries[name]

    def check(self, name: str, params: Mapping[str, object]) -> object:
        """Check a name and the parameters, as far as this is possible without making the thing.

        Returns:
            What `settings` of the entry makes of the parameters; None if it has none.

        Raises:
            InputError: an unknown name, an unknown or missing parameter, or one that `settings` refuses.
        """
        if not isinstance(params, Mapping):
            raise InputError(f"{self.what} {name!r}: {params!r} is no mapping from parameter to value")
        entry, label = self.find(name), f"{self.what} {name!r}"
        check_parameters(label, entry.parameters, params)
        if entry.settings is None:
            return None
        with _explained(label, params):
            return entry.settings(**deepcopy(dict(params)))

    def make(self, name: str, target: object, params: Mapping[str, object]) -> Made:
        """What the function makes.

        Args:
            target: what it is made for.
            params: the parameters. The function gets a copy.

        Raises:
            InputError: as `check`, or the function refuses the parameters or makes a thing of another type.
        """
        entry, settings = self.find(name), self.check(name, params)
        label = f"{self.what} {name!r}"
        with _explained(label, params):
            own = deepcopy(dict(params))
            made = entry.function(target, settings) if entry.settings else entry.function(target, **own)
        if not isinstance(made, self.made):
            raise InputError(f"{label}: its function returns a {type(made).__name__}; must be a {self.made.__name__}")
        return made


@contextmanager
def _explained(label: str, params: Mapping[str, object]) -> Iterator[None]:
    """Errors of a function's own code, as errors of its parameters."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"{label} does not accept {dict(params)}: {error}") from error
