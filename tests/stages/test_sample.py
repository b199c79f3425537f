"""The stage `sample` in another precision than float32."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from ngldm.io.files import read_json
from ngldm.model import Model
from ngldm.pipeline.config.compose import compose_params
from stages import sample

FOLDER = Path("samples", "laplace", "auto")


def test_the_precision_is_that_of_the_params_and_is_written_where_it_is_not_the_default(
    make_model: Callable[..., Model], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("conf").symlink_to(root / "conf")
    Path("models", "laplace").mkdir(parents=True)
    make_model("laplace").save(Path("models", "laplace", "model.safetensors"))
    made, about = [], []
    compose_params(Path("params.yaml"), ["recipe=smoke", "noises=[laplace]", "samplers=[auto]"])
    content = YAML().load(Path("params.yaml"))
    usual = {"precision": "fp32", "layout": "channels_last", "deterministic": True}
    for more in ({}, {"precision": "bf16", "layout": "contiguous"}, usual, {"deterministic": False}):
        content["sample"] |= more
        YAML().dump(content, Path("params.yaml"))
        sample.sample("laplace", "auto", "cpu")
        made.append(np.load(FOLDER / "images.npy"))
        about.append(read_json(FOLDER / "samples.json"))
    assert np.array_equal(made[0], made[2])
    assert about[0] == about[2]
    assert not about[0].keys() & usual.keys()
    assert about[3]["deterministic"] is False
    assert np.array_equal(made[0], made[3])  # on a CPU it changes nothing
    assert (about[1]["precision"], about[1]["layout"]) == ("bf16", "contiguous")
    assert not np.array_equal(made[0], made[1])
