"""The sections of networks: which options go with which kind."""

from typing import Any

import pytest
from pydantic import ValidationError

from ngldm.io.errors import InputError
from ngldm.networks.unet import UNet, UNetSettings
from ngldm.pipeline.config.architectures import AutoencoderParams, NetworkParams, UNetParams


def test_the_unet_makes_every_time_embedding_and_no_other() -> None:
    names = UNetParams.model_json_schema()["properties"]["time_embedding"]["enum"]
    for name in names:
        UNet(1, UNetSettings((8,), 1, (), 8, name))
    with pytest.raises(InputError) as caught:
        UNet(1, UNetSettings((8,), 1, (), 8, "nonsense"))
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize("kind", ["auto", "unet", "mlp"])
def test_options_beside_a_section_of_their_own_are_refused(kind: str) -> None:
    assert NetworkParams(kind=kind).options == {}
    with pytest.raises(ValidationError, match=rf"options: .* no effect with kind '{kind}'"):
        NetworkParams(kind=kind, options={"width": 8})
    assert NetworkParams(kind="dit", options={"width": 8}).options == {"width": 8}


def test_an_autoencoders_settings_have_options_only_if_there_are_some(content: dict[str, Any]) -> None:
    """So the files of ngldm's own kinds are as they always were."""
    section = content["autoencoder"]
    before = {key: value for key, value in section.items() if key != "fit"}
    assert AutoencoderParams(**section).settings() == before
    options = {"model": "x"}
    given = AutoencoderParams(**{**section, "kind": "diffusers", "options": options})
    assert given.settings() == {**before, "kind": "diffusers", "options": options}


def test_without_classes_the_arguments_are_as_they_always_were() -> None:
    """So no model and no kept job of a user changes its key."""
    assert NetworkParams(kind="dit", options={"width": 8}).arguments() == {
        "network": {"kind": "dit", "options": {"width": 8}}
    }


@pytest.mark.parametrize(
    ("given", "dropout"), [({}, 0.1), ({"label_dropout": 0.0}, 0.0), ({"label_dropout": 1.0}, 1.0)]
)
def test_classes_come_with_a_dropout(given: dict[str, float], dropout: float) -> None:
    found = NetworkParams(num_classes="auto", **given).arguments()["classes"]
    assert found == {"num_classes": "auto", "label_dropout": dropout}
