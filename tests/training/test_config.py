"""Settings of a training: the defaults pass, what the loop cannot follow is refused before it touches the network."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ngldm.io.errors import InputError
from ngldm.training.config import FitConfig, check_fit
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.task import Split, Task


def test_the_defaults_can_be_followed() -> None:
    check_fit(FitConfig())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_steps": 0}, "max_steps: 0 must be at least 1"),
        ({"batch_size": 0}, "batch_size: 0 must be at least 1"),
        ({"log_every": 0}, "log_every: 0 must be at least 1"),
        ({"eval_every": -1}, "eval_every: -1 must be at least 1"),
        ({"deterministic": "no"}, "deterministic: 'no' must be true or false"),
        ({"compile": 1}, "compile: 1 must be true or false"),
        ({"warmup_steps": -1}, "warmup_steps: -1 must be at least 0"),
        ({"weight_decay": -0.1}, "weight_decay: -0.1 must be at least 0"),
        ({"lr": 0.0}, "lr: 0.0 must be above 0"),
        ({"lr": 1e300}, "lr: 1e\\+300 must be at most 1000"),
        ({"weight_decay": 1e300}, "weight_decay: 1e\\+300 must be at most 1.84467e\\+19"),
        ({"lr": float("nan")}, "lr: nan must be above 0"),
        ({"grad_clip": 0.0}, "grad_clip: 0.0 must be above 0"),
        ({"lr_schedule": "cosin"}, "lr_schedule 'cosin'.*constant, cosine"),
        ({"precision": "fp16"}, "precision 'fp16'.*bf16, fp32"),
        ({"optimizer": "sgd"}, "optimizer 'sgd'.*adamw, muon"),
        ({"layout": "nhwc"}, "layout 'nhwc'.*channels_last, contiguous"),
    ],
)
def test_what_the_loop_cannot_follow_is_named_before_it_starts(change: dict, words: str) -> None:
    network = nn.Linear(2, 1)
    before = network.weight.clone()
    task = Task(lambda net, batch, generator: net(batch).square(), Split.of(torch.ones(4, 2)))
    with pytest.raises(InputError, match=words):
        fit(network, EMA(network, 0.9), task, replace(FitConfig(), **change))
    assert torch.equal(network.weight, before)


@pytest.mark.parametrize("items", [torch.arange(6.0).reshape(3, 2), torch.arange(6.0).reshape(3, 2).numpy()])
def test_a_split_fetches_the_items_of_tensors_and_arrays(items) -> None:
    split = Split.of(items)
    assert split.size == 3
    assert split.fetch(torch.tensor([2, 0]).numpy()).tolist() == [[4.0, 5.0], [0.0, 1.0]]
