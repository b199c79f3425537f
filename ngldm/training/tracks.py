"""Power-function averages that a training keeps beside its EMA, with snapshots, so that any length can be had later.

On disk: <step>.safetensors for each snapshot, the averaged parameters of each length, float32, and the lengths in its
metadata. `averaged` combines all snapshots to an average of another length (`ngldm.training.profiles`).
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ngldm.io import processes
from ngldm.io.errors import InputError
from ngldm.io.files import entry, require
from ngldm.io.tensors import load_tensors, save_tensors, strip_prefix
from ngldm.training.profiles import Profile, combination, decay_at, gamma_of

Network = TypeVar("Network", bound=nn.Module)
MADE_BY = "the stage `train` with train.ema"


class TracksSettings(Protocol):
    """Which averages are kept. The section train.ema of params.yaml has this."""

    @property
    def sigma_rel(self) -> Sequence[float]: ...
    @property
    def snapshots(self) -> int: ...


class Tracks(Generic[Network]):
    """Averages of a network's weights, one for each relative length. Buffers are not averaged, and not kept.

    Args:
        model: the network.
        lengths: sigma_rel of each average (`profiles.gamma_of`).
        steps: those after which a snapshot is written.
        folder: where to. A training that goes on writes the same snapshots again.

    Raises:
        InputError: a length is out of range.
    """

    def __init__(self, model: Network, lengths: Sequence[float], steps: Sequence[int], folder: Path) -> None:
        self.gammas = {f"{length:g}": gamma_of(length) for length in lengths}
        self.models: dict[str, Network] = {
            name: copy.deepcopy(model).requires_grad_(False).eval() for name in self.gammas
        }
        self.steps, self.folder = frozenset(steps), folder

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update the averages after a step, from 1."""
        for name, average in self.models.items():
            share = 1.0 - decay_at(self.gammas[name], step)
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), share)
        if step in self.steps and processes.is_main():
            tensors = {
                f"{name}/{key}": value
                for name, average in self.models.items()
                for key, value in average.named_parameters()
            }
            state = {"step": step, "sigma_rel": [float(name) for name in self.gammas]}
            save_tensors(tensors, state, self.folder / f"{step:09d}.safetensors")


def snapshot_steps(count: int, max_steps: int) -> list[int]:
    """The steps of at most `count` snapshots of a training, equally far apart, the last at its end."""
    return sorted({max(1, round(number * max_steps / count)) for number in range(1, count + 1)})


def make_tracks(
    model: Network, settings: TracksSettings | None, max_steps: int, folder: Path
) -> Tracks[Network] | None:
    """The averages that a training keeps in `folder`; None if it keeps none."""
    if settings is None:
        return None
    return Tracks(model, settings.sigma_rel, snapshot_steps(settings.snapshots, max_steps), folder)


def require_snapshots(folder: Path, lengths: Sequence[float]) -> list[Path]:
    """The files of the snapshots, in the order of their steps.

    Args:
        folder: of the snapshots.
        lengths: of averages that are to be made of them.

    Raises:
        InputError: a length is out of range, or there are no snapshots.
    """
    for length in lengths:
        gamma_of(length)
    files = sorted(require(folder, MADE_BY).glob("*.safetensors"))
    if not files:
        raise InputError(f"{folder}: has no snapshots; they come from {MADE_BY}")
    return files


def averaged(folder: Path, sigma_rel: float) -> tuple[dict[str, Tensor], float]:
    """The average of another length at the end of a training, from its snapshots.

    Args:
        folder: of the snapshots.
        sigma_rel: the length, above 0 and at most 0.2887.

    Returns:
        The parameters, float32 on the CPU, and the relative error of their profile (`profiles.combination`).

    Raises:
        InputError: the length is out of range; or a snapshot is missing or damaged.
    """
    gamma, files = gamma_of(sigma_rel), require_snapshots(folder, [sigma_rel])
    kept = [(file, _profiles(file)) for file in files]
    profiles = [profile for _, found in kept for profile in found.values()]
    wanted = Profile(max(profile.step for profile in profiles), gamma)
    found, error = combination(profiles, wanted)
    coefficients, sums = iter(found), dict[str, Tensor]()
    for file, names in kept:
        tensors = load_tensors(file, MADE_BY)[0]
        for name, coefficient in zip(names, coefficients, strict=False):
            for key, value in strip_prefix(tensors, f"{name}/").items():
                sums[key] = sums.get(key, torch.zeros_like(value, dtype=torch.float64)).add(value, alpha=coefficient)
    return {key: value.float() for key, value in sums.items()}, error


def _profiles(file: Path) -> dict[str, Profile]:
    """The averages in a snapshot, by the prefix of their tensors."""
    state = load_tensors(file, MADE_BY)[1]
    step, lengths = entry(state, "step", int, file), entry(state, "sigma_rel", list, file)
    return {f"{length:g}": Profile(step, gamma_of(length, f"{file}: sigma_rel")) for length in lengths}


def load_average(network: nn.Module, folder: Path, sigma_rel: float) -> float:
    """Give a network the average of a length (`averaged`), in place. Its buffers stay. Returns the relative error.

    Raises:
        InputError: as `averaged`; or the snapshots are those of another network.
    """
    parameters, error = averaged(folder, sigma_rel)
    own = dict(network.named_parameters())
    if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in parameters.items()}:
        raise InputError(f"{folder}: its snapshots are of another network than the model's")
    with torch.no_grad():
        for key, value in own.items():
            value.copy_(parameters[key])
    return error
