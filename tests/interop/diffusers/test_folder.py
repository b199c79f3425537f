"""The files of code beside the components."""

import ast
import json
from importlib import import_module
from pathlib import Path

from diffusers import DDIMScheduler

from ngldm.interop.diffusers import Pipeline


def index(folder: Path) -> dict:
    return json.loads((folder / "model_index.json").read_text())


def test_every_file_of_code_holds_the_class_that_the_index_names(make_model, tmp_path):
    Pipeline.of(make_model("laplace")).save_pretrained(tmp_path)
    named = {key: value for key, value in index(tmp_path).items() if isinstance(value, list)}
    assert named.keys() == {"_class_name", "model", "scheduler"}
    for key, (module, name) in named.items():
        code = (tmp_path / ("" if key == "_class_name" else key) / f"{module}.py").read_text()
        imported = next(node for node in ast.parse(code).body if isinstance(node, ast.ImportFrom))
        assert [alias.name for alias in imported.names] == [name]
        assert hasattr(import_module(imported.module), name)


def test_a_component_of_diffusers_stays_theirs(make_model, tmp_path):
    pipeline = Pipeline.of(make_model("laplace"))
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(tmp_path)
    assert index(tmp_path)["scheduler"] == ["diffusers", "DDIMScheduler"]
    assert index(tmp_path)["model"] == ["ngldm_model", "Denoiser"]
    assert not list((tmp_path / "scheduler").glob("*.py"))
