"""The value of `trainings` in conf/config.yaml.

Hydra imports this file: its folder is in conf/, which `hydra.plugins_path` of .dvc/config names.
"""

import re
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from ngldm.pipeline.config.params import trainings_of
from ngldm.pipeline.config.sections import LABEL


def trainings(noises: Any, seeds: Any, seed: Any) -> DictConfig:
    """Each noise with each seed; nothing if they are no lists, which the check of params.yaml then says.

    A text that is no label is refused here, before params.yaml is written: labels become parts of paths and commands.
    """
    if not isinstance(noises, ListConfig) or not isinstance(seeds, ListConfig):
        return OmegaConf.create({})
    for noise in noises:
        if not re.fullmatch(LABEL, str(noise)):
            raise ValueError(f"noises: {str(noise)!r} is no label; it has letters, digits and _ only")
    return OmegaConf.create({label: made._asdict() for label, made in trainings_of(noises, seeds, seed).items()})


OmegaConf.register_new_resolver("ngldm.trainings", trainings, replace=True)
