"""The classes of images: names, proportions, dropped labels, and the loss that learns them."""

from collections import deque

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ngldm.diffusion.classes import Classes
from ngldm.diffusion.process import Diffusion
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.model import Model, load_model
from ngldm.networks.classes import ClassEmbedding
from ngldm.networks.mlp import MLP, MLPSettings
from ngldm.noise import make_noise
from ngldm.training.config import FitConfig
from ngldm.training.ema import EMA
from ngldm.training.loop import fit
from ngldm.training.task import Split, Task

ANIMALS = Classes(("cat", "dog", "7"), (60, 30, 10))


@pytest.mark.parametrize(("asked", "number"), [("cat", 0), ("1", 1), ("0001", 1), (2, 2), ("7", 2)])
def test_a_class_has_a_name_and_a_number(asked, number):
    """A text is a name first: the class called "7" is number 2."""
    assert ANIMALS.number(asked) == number


@pytest.mark.parametrize("asked", ["cow", "3", 3, -1, "-1", "1" * 5000])
def test_an_unknown_class_is_refused(asked):
    with pytest.raises(InputError, match="class"):
        ANIMALS.number(asked)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"names": ("a",), "counts": (3,)}, "at least 2"),
        ({"names": ("a", "a"), "counts": (3, 3)}, "names"),
        ({"names": ("a", "b"), "counts": (3,)}, "counts"),
        ({"names": ("a", "b"), "counts": (0, 0)}, "counts"),
        ({"names": ("a", "b"), "counts": (1, -1)}, "counts"),
        ({"names": ("a", "b"), "counts": (1, 10**400)}, "counts"),
        ({"names": ("a", "b"), "counts": (1, 1), "label_dropout": 1.5}, "label_dropout"),
    ],
)
def test_classes_that_do_not_fit_are_refused(settings, word):
    with pytest.raises(InputError, match=word):
        Classes(**settings)


@pytest.mark.parametrize("first", [0, 7, 12345, 2**62])
def test_any_run_of_images_has_the_proportions_of_the_training_images(first):
    """The discrepancy of the golden ratio's sequence is below 3 log(n) / n (Niederreiter 1992), 18 images of 500."""
    for count in (10, 100, 500):
        labels = ANIMALS.labels(range(first, first + count))
        found = labels.bincount(minlength=3) / count
        assert (found - torch.tensor([0.6, 0.3, 0.1])).abs().max() < 3 * torch.tensor(count).log() / count


def test_the_class_of_an_image_depends_on_its_number_alone():
    whole = ANIMALS.labels(range(100))
    assert torch.equal(ANIMALS.labels([41, 3]), whole[[41, 3]])
    assert ANIMALS.labels([3, 4, 5, 6], ["dog", "cat"]).tolist() == [0, 1, 0, 1]


def test_a_class_without_training_images_is_not_made_unasked():
    some = Classes(("a", "b", "c"), (0, 5, 0))
    assert set(some.labels(range(1000)).tolist()) == {1}
    assert some.labels([0], "c").tolist() == [2]


@pytest.mark.parametrize("dropout", [0.0, 0.1, 1.0])
def test_labels_are_dropped_with_their_probability(dropout):
    """Within five standard deviations of a binomial law."""
    classes = Classes(("a", "b"), (1, 1), dropout)
    labels = torch.ones(20_000, dtype=torch.long)
    dropped = classes.drop(labels, torch.Generator().manual_seed(0))
    assert set(dropped.tolist()) <= {1, 2}
    share = (dropped == 2).float().mean().item()
    assert share == pytest.approx(dropout, abs=5 * (dropout * (1 - dropout) / 20_000) ** 0.5)


class Recorder(nn.Module):
    """A network that keeps the labels that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(labels)
        return x * labels[:, None]


@pytest.fixture
def diffusion():
    return Diffusion.make(make_noise("laplace"), make_schedule("cosine", num_train_timesteps=20), objective="x0")


@pytest.mark.parametrize("cuts", [(8,), (4, 8), (2, 4, 6, 8)])
def test_parts_of_a_batch_have_the_labels_and_the_loss_of_the_whole(diffusion, cuts):
    """What is dropped does not depend on the number of processes."""
    loss = Classes(("a", "b", "c"), (1, 1, 1), 0.5).loss(diffusion)
    batch = torch.randn(8, 2), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    whole, parts = Recorder(), Recorder()
    wanted = loss(whole, batch, torch.Generator().manual_seed(3))
    slices = [slice(start, end) for start, end in zip((0, *cuts), cuts, strict=False)]
    found = torch.cat([loss(parts, batch, torch.Generator().manual_seed(3), part) for part in slices])
    assert torch.equal(found, wanted)
    assert torch.equal(torch.cat(parts.seen), whole.seen[0])
    assert (whole.seen[0] == 3).any()
    assert not (whole.seen[0] == 3).all()


def test_dropout_of_1_trains_no_class(diffusion):
    """The loss is that of the network without a class, whatever the labels."""
    embedding = ClassEmbedding(2, 2)

    def network(x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return x + embedding(labels, len(x))

    loss, x0 = Classes(("a", "b"), (1, 1), 1.0).loss(diffusion), torch.randn(6, 2)
    found = loss(network, (x0, torch.tensor([0, 1, 1, 0, 1, 0])), torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    torch.rand(6, generator=generator)  # the draw of what is dropped
    assert torch.equal(found, diffusion.loss(network, x0, generator))
    found.sum().backward()
    assert embedding.vectors.weight.grad[:2].abs().max() == 0 < embedding.vectors.weight.grad[2].abs().max()


def model_settings(**changes):
    return {
        "noise": {"name": "gaussian"},
        "schedule": {"name": "cosine", "num_train_timesteps": 10},
        "diffusion": {"objective": "x0"},
        "autoencoder": {"kind": "identity", "transform": "none"},
        "dim": 2,
        "mlp": {"width": 8, "depth": 1},
        "classes": {"names": ["cat", "dog"], "counts": [3, 1], "label_dropout": 0.2},
        **changes,
    }


def test_classes_are_in_the_model_file(tmp_path):
    torch.manual_seed(0)
    model = Model.build(model_settings())
    torch.nn.init.normal_(model.network.linear_out.weight)
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.classes == Classes(("cat", "dog"), (3, 1), 0.2)
    inputs = torch.randn(4, 2), torch.full((4,), 5), torch.tensor([0, 1, 2, 0])
    assert torch.equal(loaded.network(*inputs), model.network(*inputs))
    assert not torch.equal(loaded.network(*inputs), model.network(*inputs[:2]))


def test_a_coupling_across_classes_is_refused():
    with pytest.raises(InputError, match=r"diffusion\.coupling"):
        Model.build(model_settings(diffusion={"objective": "x0", "coupling": "minibatch_ot"}))


def test_a_network_learns_the_conditional_means_with_a_class_and_without():
    """Two classes, each normal: with the class E[x_0 | x_t] is linear, without one a mixture of both lines."""
    means, spread = torch.tensor([-1.0, 1.0]), 0.3
    diffusion = Diffusion.make(make_noise("gaussian"), make_schedule("cosine", num_train_timesteps=100), objective="x0")
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (2000,), generator=generator)
    data = means[labels][:, None] + spread * torch.randn(2000, 1, generator=generator)
    torch.manual_seed(0)
    network = MLP(1, MLPSettings(64, 2), 100, num_classes=2)
    task = Task(Classes(("a", "b"), (1, 1), 0.3).loss(diffusion), Split.labelled(data, labels.numpy()))
    ema = EMA(network, 0.98)
    config = FitConfig(max_steps=700, batch_size=256, lr=5e-3, warmup_steps=20, log_every=700)
    deque(fit(network, ema, task, config), maxlen=0)

    t = torch.full((201,), 60)
    a, b = diffusion.schedule.signal[60].float(), diffusion.schedule.noise[60].float()
    x = torch.linspace(-1.5, 1.5, 201)[:, None]
    variance = (a * spread) ** 2 + b**2
    lines = means + a * spread**2 / variance * (x - a * means)  # (201, 2)
    shares = (-0.5 * (x - a * means) ** 2 / variance).softmax(1)
    with torch.no_grad():
        for kind in (0, 1):
            found = ema.model(x, t, torch.full((201,), kind))[:, 0]
            likely = shares[:, kind] > 0.02  # elsewhere training has shown hardly any point
            assert (found - lines[:, kind])[likely].abs().max() < 0.15
        assert (ema.model(x, t)[:, 0] - (shares * lines).sum(1)).abs().max() < 0.15


def test_a_batch_in_parts_trains_the_same_network(diffusion):
    """So the number of processes changes nothing but rounding: dropped labels are drawn for the whole batch."""
    found = []
    for parts in (1, 4):
        torch.manual_seed(0)
        network = MLP(2, MLPSettings(16, 1), 20, num_classes=2)
        data = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
        task = Task(Classes(("a", "b"), (1, 1), 0.4).loss(diffusion), Split.labelled(data, np.arange(40) % 2))
        config = FitConfig(max_steps=10, batch_size=8, log_every=10, accumulate_steps=parts)
        deque(fit(network, EMA(network, 0.9), task, config, seed=3), maxlen=0)
        found.append(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)
