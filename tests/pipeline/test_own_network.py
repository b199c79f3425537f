"""The code of a user's own networks and autoencoders is part of what a result is made from."""

import sys
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

from ngldm.io.errors import InputError
from ngldm.networks.autoencoders.registry import AUTOENCODERS
from ngldm.networks.registry import NETWORKS
from ngldm.pipeline.own_network import own_autoencoder, own_network

MODULE = """
from my_nets import parts
from ngldm.networks.autoencoders.registry import register as register_autoencoder
from ngldm.networks.registry import register

@register("my_net")
def my_net(made_for): ...

@register_autoencoder("my_coder")
def my_coder(shape): ...
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for registry in (NETWORKS, AUTOENCODERS):
        monkeypatch.setattr(registry, "entries", dict(registry.entries))
    folder = tmp_path / "my_nets"
    folder.mkdir()
    for name, text in {"__init__.py": "", "kinds.py": MODULE, "parts.py": "", "unrelated.py": ""}.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    import_module("my_nets.kinds")
    yield folder
    for name in [name for name in sys.modules if name.startswith("my_nets")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("own", "key", "kind"),
    [(own_network, "own_network", "my_net"), (own_autoencoder, "own_autoencoder", "my_coder")],
)
def test_it_changes_with_the_files_behind_the_kind_and_with_no_other(package: Path, own, key, kind) -> None:
    before = own(kind)
    assert list(before) == [key]
    assert list(before[key]) == [kind]
    (package / "unrelated.py").write_text("# edited\n")
    assert own(kind) == before
    for name in ("kinds.py", "parts.py"):
        with (package / name).open("a") as file:
            file.write("\n# edited\n")
        assert own(kind) != before
        before = own(kind)


def test_it_is_nothing_for_ours_and_names_what_is_unknown() -> None:
    assert own_network("dit") == own_network("unet") == own_autoencoder("kl") == {}
    with pytest.raises(InputError, match=r"network\.kind 'none'"):
        own_network("none")
    with pytest.raises(InputError, match=r"autoencoder\.kind 'none'"):
        own_autoencoder("none")
