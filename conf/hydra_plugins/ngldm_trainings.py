"""The value of `trainings` in conf/config.yaml, and the check of all params before they are written.

Hydra imports this file: its folder is in conf/, which `hydra.plugins_path` of .dvc/config names. So `dvc exp run -S`
refuses a typo before it writes params.yaml, queues an experiment or starts a stage.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from ngldm.io.errors import InputError
from ngldm.pipeline.config.networks import check_networks
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import parse_params, trainings_of

OWN = "trainings"  # the key whose value is made here


def trainings(noises: Any, seeds: Any, seed: Any, *, _root_: DictConfig) -> DictConfig:
    """Each noise with each seed.

    Raises:
        InterpolationResolutionError: a key or value of the params is not allowed. OmegaConf passes this type of error
            on as it is, and DVC shows its message.
    """
    others = OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != OWN])
    content: Any = OmegaConf.to_container(others, resolve=True)
    try:
        params = parse_params(content)
        check_networks(params)
        check_noises(params)
    except InputError as error:
        raise InterpolationResolutionError(str(error)) from None
    made = trainings_of(params.noises, params.seeds, params.seed)
    return OmegaConf.create({label: training._asdict() for label, training in made.items()})


OmegaConf.register_new_resolver("ngldm.trainings", trainings, replace=True)
