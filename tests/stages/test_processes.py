"""The heavy stages on two processes, of which one is killed three times, against the same stages on one."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from ngldm.data.dataset import open_dataset
from ngldm.io.files import read_json
from ngldm.io.tensors import load_tensors, to_tensor
from ngldm.networks.autoencoders.build import load_autoencoder
from ngldm.pipeline import workspace as paths
from stages.curve import curve
from stages.evaluate import evaluate
from stages.latents import latents
from stages.sample import sample

# One command with all stages costs one start of two processes, and not seven. `done` is what a restart passes over.
SCRIPT = """
import os
import shutil
import signal
from pathlib import Path

from ngldm.io import processes
from ngldm.pipeline.terminal import Device, command
from ngldm.sampling.generator import Generator
from ngldm.training.ema import EMA
from stages.autoencoder import autoencoder
from stages.curve import curve
from stages.evaluate import evaluate
from stages.latents import latents
from stages.reference import reference
from stages.sample import sample
from stages.train import train

ATTEMPT = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
STEPS_TO_LIVE, BATCHES_TO_LIVE = {0: 7, 1: 15}.get(ATTEMPT), {2: 2}.get(ATTEMPT)
MODEL = Path("models/laplace/model.safetensors")


def dies(after, count):
    if count == after and processes.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def stages(device: Device = "cpu") -> None:
    counts = {"steps": 0, "batches": 0}
    update, make = EMA.update, Generator.sample

    def counted_update(self, model):
        dies(STEPS_TO_LIVE, counts["steps"])
        update(self, model)
        counts["steps"] += 1

    def counted_sample(self, *args, **options):
        dies(BATCHES_TO_LIVE, counts["batches"])
        counts["batches"] += 1
        with open(f"made-{ATTEMPT}", "a") as file:
            file.write(f"{options['first']}\\n")
        return make(self, *args, **options)

    def once(name, call):
        if not processes.from_main(Path(f"done-{name}").exists):
            call()
            if processes.is_main():
                for change in moved.get(name, []):
                    change()
                Path(f"done-{name}").touch()
            processes.meet()

    moved = {
        "autoencoder": [lambda: shutil.move("models/autoencoder.safetensors", "autoencoder"),
                        lambda: shutil.copy("one/autoencoder.safetensors", "models")],
        "reference": [lambda: shutil.move("data/reference", "reference"),
                      lambda: shutil.copytree("one/reference", "data/reference")],
        "train": [lambda: shutil.move(MODEL, "model"), lambda: shutil.copy("one/model.safetensors", MODEL)],
    }
    once("autoencoder", lambda: autoencoder(device))
    once("latents", lambda: latents(device))
    once("reference", lambda: reference(device))
    EMA.update, Generator.sample = counted_update, counted_sample
    once("train", lambda: train("laplace", device))
    EMA.update = update
    once("sample", lambda: sample("laplace", "ddim", device))
    Generator.sample = make
    once("evaluate", lambda: evaluate("laplace", device))
    once("curve", lambda: curve(device))


command(stages, many=True)()
"""
SAMPLES = paths.samples("laplace", "ddim")


@pytest.fixture(scope="module")
def both(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Folders in which the stages have run on one process and on two, and what the two printed."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for folder in (one, two):
        for name in ("conf", "data", "models", "snapshots"):
            shutil.copytree(smoke / name, folder / name)
        shutil.copy(smoke / "params.yaml", folder)
    kept = two / "one"
    shutil.copytree(smoke / paths.REFERENCE, kept / "reference")
    shutil.copy(smoke / paths.AUTOENCODER, kept)
    shutil.copy(smoke / paths.model("laplace"), kept)
    here = Path.cwd()
    for folder in (two, one):
        os.chdir(folder)
        choose_settings()
    try:
        latents("cpu")
        sample("laplace", "ddim", "cpu")
        evaluate("laplace", "cpu")
        curve("cpu")
    finally:
        os.chdir(here)
    (two / "stages_on_two.py").write_text(SCRIPT)
    code = Path(__file__).parents[2]
    variables = {"NGLDM_PROCESSES": "2", "NGLDM_TIMEOUT": "60", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(code)}
    call = [sys.executable, "stages_on_two.py", "--device", "cpu"]
    done = subprocess.run(call, cwd=two, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return one, two, done.stdout


def choose_settings() -> None:
    """More batches than processes, and only one noise and one sampler."""
    content = YAML(typ="safe").load(Path("params.yaml"))
    content["sample"]["batch_size"] = content["curve"]["batch_size"] = 8
    content["curve"]["num_images"] = 24
    content["noises"], content["trainings"] = ["laplace"], {"laplace": {"noise": "laplace", "seed": 0}}
    YAML().dump({**content, "samplers": ["ddim"]}, Path("params.yaml"))


def relative(one: Path, two: Path) -> float:
    """The largest relative difference of a tensor in two safetensors files, in the norm."""
    ours, theirs = (load_tensors(path)[0] for path in (one, two))
    assert ours.keys() == theirs.keys()
    pairs = [(ours[key].double(), theirs[key].double()) for key in ours if ours[key].isfinite().all()]
    return max(float((a - b).norm() / a.norm().clamp(min=1e-9)) for a, b in pairs)


def test_a_training_of_which_a_process_is_killed_twice_ends_with_the_same_weights(both) -> None:
    one, two, printed = both
    assert relative(one / paths.model("laplace"), two / "model") < 1e-5
    assert "all 2 are started again (restart 2)" in printed
    assert "train laplace: continues from the checkpoint of step 10" in printed
    rows = (two / paths.train_plot("laplace")).read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == [5, 10, 15, 20]  # none lost and none twice


def test_the_autoencoder_and_the_extractor_are_those_of_one_process(both) -> None:
    one, two, _ = both
    images = to_tensor(open_dataset(one / paths.DATASET).test)
    mine, theirs = (load_autoencoder(path, (1, 8, 8)) for path in (one / paths.AUTOENCODER, two / "autoencoder"))
    # Not the weights: the gradient of a bias before a norm of single channels is rounding alone, which Adam enlarges.
    torch.testing.assert_close(theirs.encode(images), mine.encode(images), rtol=1e-5, atol=1e-5)
    assert relative(one / paths.REFERENCE / "classifier.safetensors", two / "reference/classifier.safetensors") < 1e-4
    features = [np.load(folder / "features.npy") for folder in (one / paths.REFERENCE, two / "reference")]
    np.testing.assert_allclose(*features, atol=1e-3)


@pytest.mark.parametrize("path", [paths.LATENTS / "train.npy", paths.LATENTS / "test.npy", SAMPLES / "images.npy"])
def test_latents_and_images_are_the_same_bits(both, path: Path) -> None:
    one, two, _ = both
    assert (two / path).read_bytes() == (one / path).read_bytes()


def test_scores_are_those_of_one_process(both) -> None:
    one, two, _ = both
    names = (paths.metrics("evaluate", "laplace"), paths.CURVE / "laplace.csv", paths.LATENTS / "statistics.json")
    for name in names[1:]:
        assert (two / name).read_text() == (one / name).read_text()
    mine, theirs = (read_json(folder / names[0])["samplers"] for folder in (one, two))
    assert json.dumps(mine) == json.dumps(theirs)


def test_a_process_that_is_killed_while_sampling_loses_its_share_alone(both) -> None:
    """Two of the 64 / 8 batches of each process were done; the third of process 1 was not, nor what came after."""
    _, two, _ = both
    before, after = ([int(line) for line in (two / f"made-{n}").read_text().split()] for n in (2, 3))
    assert sorted(before)[:4] == [0, 8, 16, 24]
    assert sorted(after) == [32, 40, 48, 56]


def test_only_the_main_process_prints_and_nothing_is_left_behind(both) -> None:
    _, two, printed = both
    for stage in ("autoencoder kl", "latents", "reference classifier", "sample laplace ddim", "evaluate laplace"):
        assert len(re.findall(rf"^{stage}: .*(file|folder|images|time)", printed, re.M)) >= 1
    assert printed.count("sample laplace ddim: images 64") == 1
    assert printed.count("train laplace: loss") == 1
    assert [path for path in (two / "checkpoints").glob("*") if path.name != "curve"] == []


def test_weights_are_finite(both) -> None:
    tensors, _ = load_tensors(both[1] / "model")
    assert all(torch.isfinite(value).all() for key, value in tensors.items() if not key.startswith("extent"))
