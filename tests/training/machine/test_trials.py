"""A step that is tried leaves the training as it was. What is chosen by trials is in the other files of this folder."""

import torch
from torch import Tensor, nn

from ngldm.training.gradients import Gradients
from ngldm.training.machine.choice import Computation
from ngldm.training.machine.trials import parts_that_fit, probe
from ngldm.training.task import Split, Task


def test_a_trial_leaves_no_gradients_and_no_counts() -> None:
    calls = []

    def loss(network: nn.Module, batch: Tensor, generator: torch.Generator, part: slice = slice(None)) -> Tensor:
        calls.append(len(batch[part]))
        return network(batch[part]).square().mean(1)

    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    rows = Split.of(torch.randn(8, 2))
    gradients = Gradients(Task(loss, rows), 4, 0, torch.device("cpu"), Computation("fp32", "contiguous"))
    probe(gradients, network, 7, 2)
    assert calls == [2, 2]
    optimizer = torch.optim.AdamW(network.parameters())
    assert parts_that_fit(gradients, network, optimizer, 7) == 1  # of a CPU, without a trial
    after = network.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not optimizer.state
