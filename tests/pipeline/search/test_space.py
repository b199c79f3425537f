"""The space: what it draws, and what it makes of params.yaml."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial

from ngldm.io.errors import InputError
from ngldm.pipeline.config.params import PARAMS_FILE, load_raw
from ngldm.pipeline.search.config import Dimension, Search, load_search
from ngldm.pipeline.search.space import base_content, get, made_params, present, put, rungs, suggest

SPACE = {
    "schedule.name": Dimension(choices=["cosine", "edm_ve"]),
    "schedule.rho": Dimension(low=3.0, high=9.0, when={"schedule.name": ["edm_ve"]}),
    "unet.widths": Dimension(choices=[[8], [8, 16]]),
    "diffusion": Dimension(choices=[{"objective": "x0", "weighting": "min_snr"}, {"objective": "v"}]),
    "train.batch_size": Dimension(low=4, high=64, log=True),
}


def read(**changes: Any) -> tuple[dict[str, Any], Search]:
    return load_raw(PARAMS_FILE), load_search("tiny")


def test_a_key_with_a_condition_is_drawn_only_where_it_holds() -> None:
    shared = {"unet.widths": "[8, 16]", "diffusion": '{"objective": "v"}', "train.batch_size": 8}
    plain = suggest(FixedTrial({"schedule.name": "cosine", **shared}), SPACE)
    assert plain == {
        "schedule.name": "cosine",
        "unet.widths": [8, 16],
        "diffusion": {"objective": "v"},
        "train.batch_size": 8,
    }
    other = suggest(FixedTrial({"schedule.name": "edm_ve", "schedule.rho": 4.5, **shared}), SPACE)
    assert other["schedule.rho"] == 4.5


def test_optuna_knows_kind_and_scale_of_each_key() -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    suggest(trial, SPACE)
    found = trial.distributions
    assert found["train.batch_size"] == optuna.distributions.IntDistribution(4, 64, log=True)
    assert found["unet.widths"].choices == ("[8]", "[8, 16]")


def test_a_mapping_sets_several_keys_and_leaves_the_others() -> None:
    content = {"diffusion": {"objective": "eps", "weighting": "none", "forward": "marginal"}, "train": {"lr": 1}}
    put(content, "diffusion", {"objective": "v", "weighting": "p2"})
    put(content, "train.lr", 2)
    assert content == {"diffusion": {"objective": "v", "weighting": "p2", "forward": "marginal"}, "train": {"lr": 2}}
    assert get(content, "diffusion.weighting") == "p2"
    assert get(content, "diffusion.weighting.more") is None


def test_what_settings_have_now_is_the_inverse_of_what_is_drawn() -> None:
    drawn = {"schedule.name": "edm_ve", "schedule.rho": 4.5, "unet.widths": "[8]", "train.batch_size": 7}
    content = {"schedule": {"name": "edm_ve", "rho": 4.5}, "unet": {"widths": [8]}, "train": {"batch_size": 7}}
    assert present(SPACE, lambda key: get(content, key)) == drawn  # "diffusion" is none of the choices
    outside = {"schedule": {"name": "linear", "rho": 4.5}, "train": {"batch_size": 1}}
    assert present(SPACE, lambda key: get(outside, key)) == {}
    null = {"diffusion.gamma": Dimension(choices=[1.0, None])}
    assert present(null, lambda key: None) == {"diffusion.gamma": None}


def test_the_params_of_a_trial_have_its_values_its_noise_and_its_sampler(write_search: Callable[..., None]) -> None:
    write_search(noises={"student_t": {"df": {"low": 3.0, "high": 9.0}}}, seed=7)
    content, search = read()
    base = base_content(content, search, "student_t")
    values = {"train.lr": 0.5, "noise_options.student_t.df": 4.0}
    params = made_params(base, values, {"method": "heun", "num_inference_steps": 4})
    assert params.noise_arguments("student_t") == {"name": "student_t", "params": {"df": 4.0}}
    assert (params.train.lr, params.train.max_steps, params.seed) == (0.5, 10, 7)
    assert params.sampler_options["tuned"].settings() == {"method": "heun", "num_inference_steps": 4}
    assert content == load_raw(PARAMS_FILE), "the caller's content is not changed"
    with pytest.raises(InputError, match="num_inference_steps: 51 is above"):  # smoke has T = 50
        made_params(base, values, {"method": "heun", "num_inference_steps": 51})


def test_rungs_are_those_at_which_optuna_prunes(write_search: Callable[..., None]) -> None:
    """Successive halving (Li et al. 2018): the k-th rung is at first * reduction^k."""
    write_search(halving={"first": 5, "reduction": 3})
    search = load_search("tiny")
    assert rungs(search, 100) == [5, 15, 45]
    assert rungs(search, 45) == [5, 15]
    write_search(halving=None)
    assert rungs(load_search("tiny"), 100) == []
