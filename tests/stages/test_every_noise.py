"""`-S noise=<file>` for every file of conf/noise: params, two steps of training, two images, in this process.

These are the rows of laws that a toolkit of noise should have: independent elements, one scale for the image, infinite
variance, correlated elements, offset and pyramid, noise that changes with t, and noise paired with images.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from ngldm.model import Model, item_settings
from ngldm.noise.registry import make_part
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.noises import check_noises, latent_shape
from ngldm.pipeline.config.params import Params, load_params
from ngldm.sampling.generator import Generator
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.task import Split, Task

ROOT = Path(__file__).parents[2]
FILES = sorted(file.stem for file in (ROOT / "conf" / "noise").glob("*.yaml") if file.stem != "paper")
ROWS = {  # of what the laws say of themselves: the files that stand for it
    "independent elements": ("laplace", "gamma", "student_t"),
    "one scale": ("multivariate_t", "multivariate_laplace", "pfgmpp"),
    "infinite variance": ("isotropic_stable",),
    "correlated": ("pink", "blue", "band", "flicker", "covariance"),
    "offset and pyramid": ("offset", "pyramid"),
    "changes with t": ("annealed",),
}
OPTIONS = [(file, ()) for file in FILES] + [
    ("gaussian", ("samplers=[auto]", "diffusion.coupling=minibatch_ot")),
    ("multivariate_t", ("samplers=[auto]", "diffusion.coupling=minibatch_ot")),
    ("isotropic_stable", ("diffusion.loss=root", "diffusion.objective=eps", "diffusion.weighting=none")),
    (
        "multivariate_t",
        ("samplers=[auto]", "schedule.name=rectified_flow", "diffusion.objective=u", "diffusion.weighting=none"),
    ),
    ("pink", ("samplers=[auto]", "schedule.name=edm_ve", "diffusion.preconditioning=edm", "diffusion.weighting=none")),
]


def composed(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Params:
    monkeypatch.chdir(ROOT)
    tiny = ("recipe=smoke", "unet.widths=[8]", "unet.attention_levels=[]")
    train = ("train.max_steps=2", "train.batch_size=4", "train.warmup_steps=0", "train.log_every=1")
    compose_params(folder / "params.yaml", [*tiny, *train, "train.snapshot_every=0", *overrides])
    return load_params(folder / "params.yaml")


def trained(params: Params, label: str) -> Model:
    """A model with the recipe's tiny network after two steps, on random latents."""
    torch.manual_seed(0)
    model = Model.build(
        {
            "noise": params.noise_arguments(label),
            "schedule": params.schedule.model_dump(),
            "diffusion": params.diffusion.model_dump(),
            "autoencoder": params.autoencoder.model_dump(exclude={"fit"}),
            **item_settings((1, 8, 8), **params.networks()),
        }
    )
    before = [parameter.clone() for parameter in model.network.parameters()]
    shape = latent_shape(params)
    assert shape == model.autoencoder.latent_shape
    latents = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0)).numpy()
    ema = EMA(model.network, params.train.ema_decay)
    task = Task(model.diffusion.loss, Split.of(latents))
    reports = list(fit(model.network, ema, task, params.train, seed=0, device="cpu"))
    assert np.isfinite([report.loss for report in reports]).all()
    assert any(not torch.equal(*pair) for pair in zip(before, model.network.parameters(), strict=True))
    model.network.eval()
    return model


@pytest.mark.parametrize(("file", "options"), OPTIONS, ids=[" ".join((file, *more)) for file, more in OPTIONS])
def test_every_noise_is_checked_trained_and_sampled(
    file: str, options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the recipe's sampler, and with `stein` and the head that it needs, where the law has a K."""
    noise = YAML(typ="safe").load(ROOT / "conf" / "noise" / f"{file}.yaml")
    assert noise["noises"] == [file]
    law = make_part(file, noise["noise_options"][file])
    paired = any("coupling" in option for option in options)
    known = law.traits.needs != "unknown" and not paired
    head = law.traits.needs if known and law.traits.needs in ("scalar", "element") else "none"
    params = composed(tmp_path, monkeypatch, f"noise={file}", f"diffusion.stein_head={head}", *options)
    assert params.noises == [file]
    check_noises(params)
    model = trained(params, file)
    chosen = [params.sampler_options[label].settings() for label in params.samplers]
    if known:
        chosen.append({"method": "stein", "num_inference_steps": 3})
    for settings in chosen:
        own = {} if settings["method"] == "auto" else {**settings, "num_inference_steps": 3}
        images = Generator(model).sample(2, **own)
        assert (images.shape, images.dtype) == ((2, 8, 8, 1), np.uint8)


def test_the_files_stand_for_every_kind_of_law() -> None:
    assert {file for files in ROWS.values() for file in files} <= set(FILES)
