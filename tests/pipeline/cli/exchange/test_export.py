"""`ngldm export`, with the scores that the stage `evaluate` left."""

import json
import sys

import numpy as np
import pytest
from diffusers import DiffusionPipeline

from ngldm.interop.diffusers import export as diffusers_export
from ngldm.sampling.generator import load


def test_a_trained_model_and_its_scores(ngldm, smoke, tmp_path, monkeypatch):
    monkeypatch.chdir(smoke)
    code, out, err = ngldm(
        "export", "--noise", "laplace", "--license", "cc0-1.0", "--format", "diffusers", tmp_path / "p"
    )
    assert code == 0, err
    assert str(tmp_path / "p") in out
    scores = json.loads((smoke / "metrics" / "evaluate" / "laplace.json").read_text())["samplers"]
    card = (tmp_path / "p" / "README.md").read_text()
    assert all(f"precision ({sampler})" in card for sampler in scores)
    assert "license: cc0-1.0" in card
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "p", trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    wanted = load(smoke / "models" / "laplace" / "model.safetensors", "cpu").sample(3, seed=1, batch_size=3)
    made = np.stack([np.asarray(image) for image in pipeline(3, seed=1).images])
    assert np.array_equal(made.reshape(wanted.shape), wanted)


@pytest.fixture
def file(make_model, tmp_path):
    make_model("laplace").save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_push_is_asked_for_and_told(ngldm, file, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(diffusers_export, "push", lambda folder, name: pushed.append((folder, name)) or "the address")
    assert ngldm("export", "--model", file, tmp_path / "a")[0] == 0
    assert pushed == []
    code, out, _ = ngldm("export", "--model", file, tmp_path / "b", "--push", "me/digits")
    assert (code, pushed) == (0, [(tmp_path / "b", "me/digits")])
    assert "uploaded to the address" in out
    assert "# me/digits" in (tmp_path / "b" / "README.md").read_text()


def test_what_it_cannot_do_is_refused(ngldm, file, tmp_path):
    for arguments, words in (
        (("--model", file, "--format", "onnx", tmp_path / "new"), "unknown --format 'onnx'"),
        ((tmp_path / "new",), "give exactly one of them"),
        (("--model", tmp_path / "none", tmp_path / "new"), "no such file"),
        (("--model", file, tmp_path), "not an empty folder"),
    ):
        code, _, err = ngldm("export", *arguments)
        assert code == 2, err
        assert words in err
    assert not (tmp_path / "new").exists()


def test_without_diffusers_it_says_what_to_install(ngldm, file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    code, _, err = ngldm("export", "--model", file, tmp_path / "new")
    assert code == 2
    assert "ngldm[diffusers]" in err
