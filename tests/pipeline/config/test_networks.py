"""What only the registries of networks and autoencoders can check in params.yaml, and what the file alone shows."""

import sys
from pathlib import Path

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.networks import check_networks, check_pretrained
from ngldm.pipeline.config.params import load_params, parse_params

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "network").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_of_conf_is_a_network_that_is_accepted(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    compose_params(tmp_path / "params.yaml", [f"network={path.stem}"], check_networks)
    assert load_params(tmp_path / "params.yaml").network.kind == path.stem


def test_an_option_is_replaced_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    compose_params(tmp_path / "params.yaml", ["network=dit", "network.options.width=64"])
    assert load_params(tmp_path / "params.yaml").network.options["width"] == 64


def test_params_of_an_older_version_mean_what_they_meant(content):
    del content["network"]
    assert parse_params(content).network.kind == "auto"
    check_networks(parse_params(content))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"kind": "vit"}, r"unknown network.kind 'vit'; choose one of: auto, diffusers_unet2d, dit, mlp, unet"),
        ({"kind": "unet", "options": {"widths": [8]}}, r"network\.options: .* no effect with kind 'unet'.* section"),
        ({"kind": "dit", "widths": [8]}, r"network\.widths: unknown key"),
    ],
)
def test_what_the_file_alone_shows_is_refused(content, network, message):
    content["network"] = network
    with pytest.raises(InputError, match=message):
        parse_params(content)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"kind": "dit", "options": {"widths": [8]}}, "network 'dit' has no parameter 'widths'; it has: patch_size"),
        ({"kind": "dit", "options": {"depth": 0}}, "dit.depth: 0 must lie between 1 and 1000"),
        ({"kind": "diffusers_unet2d", "options": {"widths": 1}}, "network 'diffusers_unet2d' has no parameter"),
    ],
)
def test_an_option_is_refused_before_any_work(content, network, message):
    content["network"] = network
    with pytest.raises(InputError, match=message):
        check_networks(parse_params(content))


@pytest.mark.parametrize(
    ("autoencoder", "message"),
    [
        ({"kind": "vq"}, r"unknown autoencoder\.kind 'vq'; choose one of: diffusers, identity, kl, paper"),
        ({"options": {"width": 8}}, r"autoencoder\.options: .* no effect with kind 'kl'"),
        ({"kind": "diffusers"}, r"autoencoder 'diffusers' needs the parameter 'model'"),
        (
            {"kind": "diffusers", "options": {"model": "a/b", "tiling": "yes"}},
            r"options\.tiling: 'yes' must be",
        ),
    ],
)
def test_an_autoencoder_is_refused_before_any_work(content, autoencoder, message):
    content["autoencoder"] |= autoencoder
    with pytest.raises(InputError, match=message):
        check_networks(parse_params(content))


def test_a_pretrained_autoencoder_that_is_not_here_is_named_only_where_it_is_needed(content, tmp_path):
    """Later stages have its weights in a file. With download it may come from the hub."""
    content["autoencoder"] |= {"kind": "diffusers", "options": {"model": "./none"}}
    check_networks(parse_params(content))
    with pytest.raises(InputError, match=r"no file none/config\.json"):
        check_pretrained(parse_params(content))
    content["autoencoder"]["options"]["download"] = True
    check_pretrained(parse_params(content))
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        (tmp_path / name).touch()
    content["autoencoder"]["options"] = {"model": str(tmp_path)}
    check_pretrained(parse_params(content))


def test_a_pretrained_autoencoder_is_chosen_on_the_command_line_whatever_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = ["recipe=best", "autoencoder=diffusers", "autoencoder.options.model=/a/folder"]
    compose_params(tmp_path / "params.yaml", [*given, "autoencoder.options.precision=bf16"])
    found = load_params(tmp_path / "params.yaml").autoencoder
    assert (found.kind, found.options["model"], found.options["precision"]) == ("diffusers", "/a/folder", "bf16")
    with pytest.raises(InputError, match=r"autoencoder\.options\.model: '\?\?\?' must be a folder"):
        compose_params(tmp_path / "params.yaml", ["autoencoder=diffusers"], check_networks)


def test_a_kind_of_a_package_is_looked_up(content, tmp_path, monkeypatch):
    """The package's entry point has another name than what it registers."""
    write_package(tmp_path, monkeypatch)
    content["network"] = {"kind": "mine", "options": {"width": 3}}
    check_networks(parse_params(content))
    content["network"] = {"kind": "mine", "options": {"depth": 3}}
    with pytest.raises(InputError, match="network 'mine' has no parameter 'depth'; it has: width"):
        check_networks(parse_params(content))
    content["network"] = {"kind": "yours"}
    with pytest.raises(InputError, match=r"unknown network\.kind 'yours'; choose one of: .*dit, mine, mlp"):
        check_networks(parse_params(content))


def write_package(tmp_path, monkeypatch):
    from ngldm.networks.registry import NETWORKS

    monkeypatch.setattr(NETWORKS, "entries", dict(NETWORKS.entries))
    about = tmp_path / "my_listed_nets-1.dist-info"
    about.mkdir()
    (tmp_path / "my_listed_nets.py").write_text(
        "from ngldm.networks.registry import register\n"
        "@register('mine')\n"
        "def mine(made_for, width=1):\n"
        "    raise NotImplementedError\n"
    )
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my_listed_nets\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[ngldm.networks]\nany = my_listed_nets\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_listed_nets", raising=False)
