"""The model card, read by the hub's own library."""

import pytest
from huggingface_hub import ModelCard

from ngldm.interop.diffusers import Pipeline
from ngldm.interop.diffusers.card import model_card
from ngldm.model import Model

SCORES = {"auto": {"fd": 12.345, "precision": 0.5, "kid_std": None}, "ancestral": {"fd": 20.0}}


@pytest.fixture
def pipeline(make_model) -> Pipeline:
    return Pipeline.of(make_model("gamma", params={"concentration": 4.0}))


def test_the_header_holds_licence_noise_and_scores(pipeline):
    data = ModelCard(model_card(pipeline, "me/digits", SCORES, "apache-2.0")).data
    assert (data.license, data.library_name) == ("apache-2.0", "diffusers")
    assert "gamma" in data.tags
    found = {(result.metric_name, result.metric_value) for result in data.eval_results}
    assert found == {("fd (auto)", 12.345), ("precision (auto)", 0.5), ("fd (ancestral)", 20.0)}


def test_the_text_names_data_law_and_scores(pipeline):
    text = ModelCard(model_card(pipeline, "me/digits", SCORES, "apache-2.0")).text
    for words in (
        'from_pretrained("me/digits", trust_remote_code=True)',
        "the data set `none`",
        "`gamma` with {'concentration': 4.0}",
        "| fd | 12.35 | 20 |",
        "| precision | 0.5 |  |",
        "## Licence\n\napache-2.0",
        "dpmpp_2m",
    ):
        assert words in text
    assert "kid_std" not in text


def test_classes_are_named_and_asked_for(make_model):
    classes = {"names": ["cat", "dog"], "counts": [1, 1], "label_dropout": 0.1}
    text = model_card(Pipeline.of(Model.build({**make_model("laplace").config, "classes": classes})), "animals", {})
    assert "## Classes\n\n`cat` (0), `dog` (1)\n" in text
    assert "pipeline(batch_size=4, seed=0, classes='cat', guidance_scale=1.5)" in text


def test_what_is_not_known_is_said(pipeline):
    card = ModelCard(model_card(pipeline, "digits", {}))
    assert card.data.license == "unknown"
    assert card.data.eval_results is None
    assert "None were given." in card.text
    assert "Not stated" in card.text
