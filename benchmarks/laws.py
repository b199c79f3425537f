"""The time of a training step with each kind of noise law, and with a head, beside the Gaussian's.

For the networks of the recipes `mini` (the default: digits) and `cpu` (CIFAR-10), on random latents of their shape. The
load of the machine is printed before: the ratios mean little on a busy one.

python -m benchmarks.laws [--size smallest|small|full] [--out FOLDER]
"""

import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from ruamel.yaml import YAML

from benchmarks.common import Row, interleaved, pick, publish
from benchmarks.networks import recipe_model
from benchmarks.train_step import DEVICE, loop
from ngldm.pipeline.config.compose import compose_params
from ngldm.pipeline.config.noises import latent_shape
from ngldm.pipeline.config.params import Params, load_params

# The family: the file of conf/noise/, and settings of the diffusion. The first is what the others are compared with.
FAMILIES: dict[str, tuple[str, dict[str, str]]] = {
    "Gaussian": ("gaussian", {}),
    "i.i.d. t": ("student_t", {}),
    "shared t": ("multivariate_t", {}),
    "stable": ("isotropic_stable", {}),
    "stable, root loss": ("isotropic_stable", {"loss": "root"}),
    "sphere": ("sphere", {}),
    "pink": ("pink", {}),
    "offset": ("offset", {}),
    "pyramid": ("pyramid", {}),
    "covariance": ("covariance", {}),
    "choice": ("choice", {}),
    "sum": ("sum", {}),
    "annealed": ("annealed", {}),
    "OT coupling": ("gaussian", {"coupling": "minibatch_ot"}),
    "shared t, scalar head": ("multivariate_t", {"stein_head": "scalar"}),
    "laplace": ("laplace", {}),
    "laplace, element head": ("laplace", {"stein_head": "element"}),
}


def composed(recipe: str) -> Params:
    with TemporaryDirectory() as folder:
        compose_params(Path(folder) / "params.yaml", [f"recipe={recipe}"])
        return load_params(Path(folder) / "params.yaml")


def trainer(params: Params, family: str, steps: int) -> Callable[[], None]:
    """`steps` steps of the training loop, with the recipe's network and batches of random latents."""
    file, diffusion = FAMILIES[family]
    shape = latent_shape(params)
    assert shape is not None
    options = YAML(typ="safe").load(Path("conf") / "noise" / f"{file}.yaml")["noise_options"][file]
    name = options.pop("distribution")
    if name == "covariance":  # that of the file is for 2 channels
        options = {"matrix": (0.5 * torch.eye(shape[0]) + 0.5).tolist()}
    torch.manual_seed(0)
    model = recipe_model(params, {"name": name, "params": options}, **diffusion).to(DEVICE)
    batch = params.train.batch_size
    data = torch.randn(16 * batch, *shape, generator=torch.Generator().manual_seed(0))
    return loop(model, data, steps, batch, "fp32")


def rows(seconds: Mapping[str, list[float]], steps: int) -> list[Row]:
    """A row per family: its time per step, and its ratio to the first family's in the same turn, with quartiles."""
    first = next(iter(seconds.values()))
    found = []
    for name, values in seconds.items():
        ratios = sorted(own / other for own, other in zip(values, first, strict=True))
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        found.append(
            {
                "noise": name,
                "ms per step": 1e3 * statistics.median(values) / steps,
                "times Gaussian": statistics.median(ratios),
                "quartiles": f"{low:.3f} to {high:.3f}",
            }
        )
    return found


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"load of the last 1, 5 and 15 minutes before the start: {load} on {os.cpu_count()} cores")
    repeats, results = pick(size, 1, 7, 15), {}
    for recipe, steps in {"mini": pick(size, 1, 10, 20), "cpu": pick(size, 1, 1, 2)}.items():
        params = composed(recipe)
        contenders = {family: trainer(params, family, steps) for family in FAMILIES}
        results[f"recipe {recipe}"] = rows(interleaved(contenders, repeats), steps)
    publish("laws", results, out)


if __name__ == "__main__":
    typer.run(main)
