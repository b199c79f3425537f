"""The code of a user's own noises is part of what a result is made from."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import pytest

from ngldm.io.errors import InputError
from ngldm.noise import make_noise, registry
from ngldm.pipeline.own_noise import own_noise

FILES = {
    "my_single.py": """
        from functools import partial
        from torch.distributions import HalfNormal
        from ngldm.noise import Base, register

        def make(scale):
            return Base(HalfNormal(scale), skewness=0.995272, excess_kurtosis=0.869177)

        register("my_half")(partial(partial(make), scale=2.0))
    """,
    "my_package/__init__.py": "from my_package.inner import noises",
    "my_package/inner/__init__.py": "",
    "my_package/inner/noises.py": """
        from ngldm.noise import Base, make_noise, register
        from my_package import helper
        import torch.distributions

        class Whole:
            def __call__(self, parts=({"distribution": "my_half"},)):
                return Base(torch.distributions.Laplace(0.0, helper.scale), skewness=0.0, excess_kurtosis=3.0)

        register("my_parts")(Whole())

        @register("my_plain")
        def plain(df: float = 5.0):
            return Base(torch.distributions.Laplace(0.0, 1.0), skewness=0.0, excess_kurtosis=3.0)
    """,
    "my_package/helper.py": "scale = 2.0",
    "my_package/unrelated.py": "",
}


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Two packages of a user's, imported as entry points are; the fixture appends a comment to one of their files."""
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content.replace("\n        ", "\n"))
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    for name in ("my_single", "my_package"):
        import_module(name)

    def edit(name: str) -> None:
        with (tmp_path / name).open("a") as file:
            file.write("\n# edited\n")

    yield edit
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


HALF = {"distribution": "my_half"}
BEHIND: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "a partial": ("my_half", {}, {"my_single.py"}),
    "a base": ("mirrored", {"base": HALF}, {"my_single.py"}),
    "a base of a base": ("averaged", {"base": {"distribution": "truncated", "base": HALF}}, {"my_single.py"}),
    "a part": ("mixture", {"first": {"distribution": "uniform"}, "second": HALF}, {"my_single.py"}),
    "a module": ("my_plain", {"df": 4.0}, {"my_package/inner/noises.py", "my_package/helper.py"}),
    "a default": ("my_parts", {}, {"my_package/inner/noises.py", "my_package/helper.py", "my_single.py"}),
    "ours": ("laplace", {}, set()),
    "ours of ours": ("mirrored", {}, set()),
}


@pytest.mark.parametrize("case", BEHIND)
def test_it_changes_with_the_files_behind_the_noise_and_with_no_other(edit: Callable[[str], None], case: str) -> None:
    name, params, files = BEHIND[case]
    make_noise(name, {key: value for key, value in params.items() if key != "df"})
    for file in FILES:
        before = own_noise(name, params)
        edit(file)
        importing = {"my_package/__init__.py"} if "my_package/helper.py" in files else set()  # it holds an import
        assert (own_noise(name, params) != before) is (file in files | importing), file


def test_it_names_the_noises_and_is_nothing_for_ours(edit: Callable[[str], None]) -> None:
    assert own_noise("laplace", {}) == own_noise("mixture", {"weight": 0.3}) == {}
    assert own_noise("mirrored", {"base": HALF})["own_noise"].keys() == {"my_half"}
    assert own_noise("my_parts", {})["own_noise"].keys() == {"my_half", "my_parts"}


def test_it_is_the_same_wherever_the_package_lies(
    edit: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC runs experiments in copies of the repository, which may hold the package."""
    before = own_noise("my_parts", {})
    (tmp_path / "copy").mkdir()
    for name in ("my_single.py", "my_package"):
        (tmp_path / name).rename(tmp_path / "copy" / name)
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path / "copy")
    invalidate_caches()
    import_module("my_single")
    import_module("my_package")
    assert own_noise("my_parts", {}) == before


def test_an_unknown_noise_is_named() -> None:
    with pytest.raises(InputError, match="'cauchy'"):
        own_noise("cauchy", {})
    with pytest.raises(InputError, match="'cauchy'"):
        own_noise("mirrored", {"base": {"distribution": "cauchy"}})
