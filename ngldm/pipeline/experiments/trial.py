"""One training of a search: it stops at some steps, where a caller scores the model so far and may end it."""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ngldm.data.cache.latents import Latents, open_cache
from ngldm.data.dataset import Dataset, open_dataset
from ngldm.io.errors import InputError
from ngldm.model import Model
from ngldm.pipeline import workspace
from ngldm.pipeline.checkpoints import resumable
from ngldm.pipeline.closure import made_from
from ngldm.pipeline.config.sections import TrainParams
from ngldm.pipeline.experiments.models import fresh_model, training_task
from ngldm.pipeline.experiments.study.compute import score_samplers
from ngldm.pipeline.experiments.study.inputs import Inputs
from ngldm.pipeline.own_network import own_network
from ngldm.pipeline.own_noise import own_noise
from ngldm.sampling.best import SamplerSettings
from ngldm.scoring.distance.scorer import Scorer
from ngldm.training.checkpoints.decisive import decisive
from ngldm.training.ema import EMA
from ngldm.training.loop import fit

INPUTS = Inputs()


@dataclass(frozen=True)
class Training:
    """What a training depends on, except latents and autoencoder.

    Attributes:
        label: of its checkpoints.
        settings: the model's settings, all but `autoencoder` (`ngldm.model.Model.build`).
        train: the training loop's settings.
        seed: of the training.
    """

    label: str
    settings: dict[str, Any]
    train: TrainParams
    seed: int


class Bench:
    """The files that all trainings of a search share, opened once, and where to compute.

    Args:
        scorer: of sets of images.
        sample_seed: of every set; the same, so that two settings are compared on the same random numbers.
        batch_size: images per network call.
        device: name of a torch device.

    Raises:
        InputError: a file is missing or damaged.
    """

    def __init__(self, scorer: Scorer, sample_seed: int, batch_size: int, device: str) -> None:
        self.scorer, self.sample_seed, self.batch_size, self.device = scorer, sample_seed, batch_size, device
        self.data: Dataset = open_dataset(workspace.DATASET)
        self.cache: Latents = open_cache(workspace.LATENTS)

    def score(self, model: Model, sampler: SamplerSettings) -> float:
        """Frechet distance of a set of images.

        Raises:
            InputError: images are NaN or infinite.
        """
        sets = score_samplers(
            model, {"": sampler}, [self.sample_seed], self.scorer.count, self.batch_size, scorer=self.scorer
        )
        if math.isnan(sets[0].value):
            raise InputError("images hold NaN or infinite numbers")
        return sets[0].value

    @contextmanager
    def trained(
        self, training: Training, stops: Collection[int], at_stop: Callable[[int, Model], bool]
    ) -> Iterator[Model | None]:
        """A model that is trained, with its averaged weights; None if `at_stop` has ended the training.

        The training continues from its checkpoint. It is removed when the block succeeds, so a block that scores the
        model can be repeated without a training.

        Args:
            training: what to train.
            stops: steps; each must be a multiple of `log_every`.
            at_stop: called with the step and the model so far, which it must not change. True ends the training.

        Raises:
            InputError: a setting is not allowed, or the training has diverged.
        """
        config = training.train
        model = fresh_model(training.settings, training.seed, self.data, self.cache)
        ema = EMA(model.network, config.ema_decay)
        decided_by = {**model.config, "seed": training.seed, "train": decisive(config.model_dump())}
        behind = made_from(decided_by, INPUTS.files(), Path(__file__))
        behind |= own_noise(**training.settings["noise"]) | own_network(model.network_kind)
        model = model.to(self.device)
        with resumable(training.label, training.label, behind, config.checkpoint_every) as checkpointer:
            steps = fit(
                *(model.network, ema, training_task(model, self.data, self.cache), config),
                seed=training.seed,
                device=self.device,
                checkpointer=checkpointer,
            )
            for report in steps:
                # A resumed training repeats its old reports, but the weights are those of a later step.
                here = report.step in stops and report.step == ema.updates
                if here and at_stop(report.step, replace(model, network=ema.model)):
                    yield None
                    return
            model.network.load_state_dict(ema.model.state_dict())
            yield model
