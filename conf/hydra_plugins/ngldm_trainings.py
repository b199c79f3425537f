"""The value of `trainings` in conf/config.yaml.

Hydra imports this file: its folder is in conf/, which `hydra.plugins_path` of .dvc/config names.
"""

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from ngldm.pipeline.config.params import trainings_of


def trainings(noises: Any, seeds: Any, seed: Any) -> DictConfig:
    """Each noise with each seed; nothing if they are no lists, which the check of params.yaml then says."""
    if not isinstance(noises, ListConfig) or not isinstance(seeds, ListConfig):
        return OmegaConf.create({})
    return OmegaConf.create({label: made._asdict() for label, made in trainings_of(noises, seeds, seed).items()})


OmegaConf.register_new_resolver("ngldm.trainings", trainings, replace=True)
