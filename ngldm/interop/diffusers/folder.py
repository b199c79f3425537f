"""The files of code in a pipeline's folder, by which diffusers finds the classes of this package.

`DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` runs them: each imports one class from ngldm.
Without them diffusers imports no package but its own.
"""

from pathlib import Path

from ngldm.io.files import read_json, write_json

CLASSES = {"model": "Denoiser", "scheduler": "Scheduler"}  # component: class
INDEX = "model_index.json"
CODE = '''"""The class {name} of ngldm, which must be installed: `pip install ngldm[diffusers]`."""

from ngldm.interop.diffusers import {name}

__all__ = ["{name}"]
'''


def write_code(folder: Path) -> None:
    """Add the files of code to a pipeline's folder, and their names to its index.

    A component whose class is not ours, such as a scheduler of diffusers, stays as it is.
    """
    index = read_json(folder / INDEX)
    index["_class_name"] = ["ngldm_pipeline", "Pipeline"]
    (folder / "ngldm_pipeline.py").write_text(CODE.format(name="Pipeline"))
    for component, name in CLASSES.items():
        if _is_ours(index[component]):
            index[component] = [f"ngldm_{component}", name]
            (folder / component / f"ngldm_{component}.py").write_text(CODE.format(name=name))
    write_json(folder / INDEX, index)


def _is_ours(entry: object) -> bool:
    return isinstance(entry, list) and str(entry[0]).startswith("ngldm")
