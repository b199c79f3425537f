"""The registries of named functions: what they refuse, what they replace, entry points, packages that are missing."""

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import ngldm.io.registry
from ngldm.io.errors import InputError
from ngldm.io.registry import Registry, import_extra, require_known


class Shape:
    """What the functions of this test make."""

    def __init__(self, target: object, **given: object) -> None:
        self.target, self.given = target, given


@dataclass(frozen=True)
class Settings:
    side: int
    colours: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.side < 1:
            raise InputError(f"square.side: {self.side} must be at least 1")


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Registry[Shape]:
    """A registry with a function of plain arguments and one of settings, without entry points."""
    monkeypatch.setattr(ngldm.io.registry, "entry_points", lambda group: [])
    registry = Registry("shape", "test.shapes", Shape)

    @registry.register("circle")
    def circle(target: str, radius: float, points: list[int] = ()) -> Shape:  # type: ignore[assignment]
        if radius < 0:
            raise ValueError("a negative radius")
        return Shape(target, radius=radius, points=points)

    @registry.register("square", settings=Settings)
    def square(target: str, settings: Settings) -> Shape:
        return Shape(target, settings=settings)

    return registry


def test_it_makes_what_it_is_asked_for(shapes: Registry[Shape]) -> None:
    points = [1, 2]
    made = shapes.make("circle", "wall", {"radius": 2.0, "points": points})
    points.append(3)
    assert (made.target, made.given) == ("wall", {"radius": 2.0, "points": [1, 2]})
    assert shapes.make("square", "floor", {"side": 3}).given == {"settings": Settings(3)}
    assert list(shapes.find("circle").parameters) == ["radius", "points"]
    assert list(shapes.find("square").parameters) == ["side", "colours"]
    assert shapes.names() == ["circle", "square"]


BAD = [
    ("cirle", {}, r"unknown shape.kind 'cirle'; choose one of: circle, square"),
    ("circle", {"radius": 1.0, "width": 2.0}, r"shape 'circle' has no parameter 'width'; it has: radius, points"),
    ("circle", {}, r"shape 'circle' needs the parameter 'radius'"),
    ("square", {}, r"shape 'square' needs the parameter 'side'"),
    ("square", {"size": 1}, r"shape 'square' has no parameter 'size'; it has: side, colours"),
    ("square", {"side": 0}, r"square.side: 0 must be at least 1"),
    ("square", {"side": "x"}, r"shape 'square' does not accept \{'side': 'x'\}: "),
    ("square", [("side", 3)], r"shape 'square': \[\('side', 3\)\] is no mapping"),
]


@pytest.mark.parametrize(("name", "params", "message"), BAD)
def test_bad_names_and_parameters_are_refused_before_anything_is_made(
    shapes: Registry[Shape], name: str, params: dict, message: str
) -> None:
    for refused in (lambda: shapes.check(name, params), lambda: shapes.make(name, "wall", params)):
        with pytest.raises(InputError, match=message):
            refused()


def test_errors_and_results_of_the_function_are_checked(shapes: Registry[Shape]) -> None:
    with pytest.raises(InputError, match=r"shape 'circle' does not accept \{'radius': -1.0\}: a negative radius"):
        shapes.make("circle", "wall", {"radius": -1.0})
    shapes.register("none")(lambda target: None)
    with pytest.raises(InputError, match="shape 'none': its function returns a NoneType; must be a Shape"):
        shapes.make("none", "wall", {})


def test_a_name_belongs_to_one_function(shapes: Registry[Shape]) -> None:
    before = shapes.find("circle").function
    with pytest.raises(InputError, match=r"shape 'circle' is registered already, by .*circle; choose another name"):
        shapes.register("circle")(lambda target: Shape(target))
    assert shapes.find("circle").function is before
    shapes.register("circle")(before)  # again, as when a cell of a notebook runs twice
    with pytest.raises(InputError, match=r'is not a name; write @register\("<name>"\) above the function'):
        shapes.register(lambda target: Shape(target))  # type: ignore[arg-type]


def use_entry_point(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint("mine", value, group)] if group == "test.shapes" else []

    monkeypatch.setattr(ngldm.io.registry, "entry_points", entry_points)


def test_a_package_adds_a_function(shapes: Registry[Shape], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ngldm_test_shapes.py").write_text("loaded = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    use_entry_point(monkeypatch, "ngldm_test_shapes")
    assert shapes.names() == ["circle", "square"]
    assert sys.modules.pop("ngldm_test_shapes").loaded
    use_entry_point(monkeypatch, "no_such_module_at_all")
    with pytest.raises(InputError, match=r"'mine' of group 'test\.shapes' \(no_such_module_at_all\) cannot be import"):
        shapes.find("not_built_in")
    assert shapes.find("circle")  # those that are known do without it


def test_an_unknown_name_is_refused_early_unless_a_package_may_add_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngldm.io.registry, "entry_points", lambda group: [])
    require_known("shape.kind", "circle", ("circle",), "test.shapes")
    with pytest.raises(InputError, match=r"unknown shape\.kind 'oval'; choose one of: circle"):
        require_known("shape.kind", "oval", ("circle",), "test.shapes")
    use_entry_point(monkeypatch, "anything")
    require_known("shape.kind", "oval", ("circle",), "test.shapes")


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert import_extra("json", "this test").dumps({}) == "{}"
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"shape.kind 'x' needs .* 'diffusers': pip install 'ngldm\[diffusers"):
        import_extra("diffusers", "shape.kind 'x'")


def test_a_broken_package_keeps_its_own_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ngldm_test_broken.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        import_extra("ngldm_test_broken", "this test")
