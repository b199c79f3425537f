"""What pydantic found wrong, in words with key and value."""

import pytest
from pydantic import ValidationError

from ngldm.pipeline.config.architectures import MLPParams, NetworkParams
from ngldm.pipeline.config.reading.faults import composed, describe_fault
from ngldm.pipeline.config.sections import Fit

BASE = MLPParams(width=8, depth=2)


def test_a_section_keeps_what_is_not_replaced() -> None:
    assert composed(MLPParams, BASE, {"depth": 5}, "here") == MLPParams(width=8, depth=5)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"depht": 5}, "^here.depht: unknown key; known here: width, depth$"),
        ({"depth": 0}, "^here.depth: 0 is not allowed: "),
    ],
)
def test_a_replaced_key_that_is_wrong_is_named(own: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        composed(MLPParams, BASE, own, "here")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ValidationError) as error:
        Fit.model_validate({})
    assert describe_fault(error.value.errors()[0], Fit) == "precision: missing"


@pytest.mark.parametrize("value", [1, "all", True])
def test_a_fault_names_the_key_and_none_of_the_types_that_were_tried(value: object) -> None:
    with pytest.raises(ValidationError) as error:
        NetworkParams.model_validate({"num_classes": value})
    for fault in error.value.errors():
        assert describe_fault(fault, NetworkParams).startswith(f"num_classes: {value!r} is not allowed: ")
