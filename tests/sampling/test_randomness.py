"""Where x_T and the noise of the steps come from: their law, and one generator per image."""

import math

import pytest
import torch
from torch import Tensor

from ngldm.data.cache.statistics import LatentExtent
from ngldm.diffusion.forward import Marginal
from ngldm.diffusion.schedules import make_schedule
from ngldm.io.errors import InputError
from ngldm.noise import JointLaw, make_noise, noise_names
from ngldm.sampling.randomness import PerImageNoise, start_draw, start_per_image, step_law

NAMES = ["exponential", "gaussian", "gumbel", "laplace", "uniform"]
SCHEDULE = make_schedule("linear", 100, 1e-3, 0.2)
N = 2**15
IMAGE_SHAPES = {(3, 24, 24): 9, (1, 4, 4): 1024, (3, 80, 80): 1}  # image: the steps that a block of noise serves


def per_image(name: str, shape: tuple, seeds: list[int], steps: int | None = None) -> PerImageNoise:
    return PerImageNoise(make_noise(name), shape, [torch.Generator().manual_seed(s) for s in seeds], steps=steps)


def draws_of(name: str, shape: tuple, seeds: list[int], count: int) -> Tensor:
    """(count, B, *shape)."""
    source = per_image(name, shape, seeds)
    return torch.stack([source() for _ in range(count)])


@pytest.mark.parametrize("shape", IMAGE_SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_an_images_noise_does_not_depend_on_its_batch(name: str, shape: tuple) -> None:
    """Batches of 7, 3 and 1, in two orders, over several blocks of noise."""
    seeds, count = [3, 1, 4, 15, 92, 65, 35], min(2 * IMAGE_SHAPES[shape] + 2, 40)
    seven = draws_of(name, shape, seeds, count)
    assert seven.shape == (count, 7, *shape)
    assert torch.equal(draws_of(name, shape, seeds[:3], count), seven[:, :3])
    assert torch.equal(draws_of(name, shape, seeds[4:][::-1], count), seven[:, [6, 5, 4]])
    assert torch.equal(draws_of(name, shape, seeds[5:6], count), seven[:, 5:6])


def test_an_images_noise_does_not_depend_on_its_batch_beyond_a_long_block() -> None:
    seven = draws_of("laplace", (1, 4, 4), list(range(7)), 1030)
    assert torch.equal(draws_of("laplace", (1, 4, 4), [2], 1030), seven[:, 2:3])


def test_seeds_and_steps_have_different_noise() -> None:
    """30 steps, over block borders, of 3 seeds: 90 draws and no two share their first number."""
    first = draws_of("uniform", (3, 24, 24), [0, 1, 2], 30)[:, :, 0, 0, 0]
    assert len(first.flatten().unique()) == 90


def test_same_seed_same_noise() -> None:
    draws = draws_of("gumbel", (3, 24, 24), [8, 8], 12)
    assert torch.equal(draws[:, 0], draws[:, 1])


def test_per_image_noise_follows_the_distribution() -> None:
    """5 standard errors of the mean and of the mean square (kurtosis 9) over 30 draws of 4 images."""
    draws = draws_of("exponential", (3, 24, 24), [0, 1, 2, 3], 30).double()
    n = draws.numel()
    assert float(draws.mean()) == pytest.approx(0.0, abs=5 / math.sqrt(n))
    assert float((draws**2).mean()) == pytest.approx(1.0, abs=5 * math.sqrt(8 / n))
    assert float(draws.min()) >= -1.0


def test_starts() -> None:
    """x_T's variance is abar_T std^2 + 1 - abar_T, its mean sqrt(abar_T) mean; 5 standard errors."""
    schedule = make_schedule("linear", 20, 1e-3, 0.05)
    extent = LatentExtent(torch.full((4,), 2.0), torch.full((4,), 0.5), torch.zeros(4), torch.ones(4))
    forward, generator = Marginal(make_noise("laplace")), torch.Generator().manual_seed(0)
    x = start_draw("x_T", forward, schedule, extent)((N, 4), generator).double()
    abar = float(schedule.alphas_cumprod[20])
    assert float(x.mean()) == pytest.approx(2 * math.sqrt(abar), abs=5 / math.sqrt(4 * N))
    assert float(x.var()) == pytest.approx(0.25 * abar + 1 - abar, abs=5 * math.sqrt(5 / (4 * N)))
    own = start_draw("own", forward, schedule, extent)((5, 4), torch.Generator().manual_seed(1))
    assert torch.equal(own, make_noise("laplace").sample((5, 4), torch.Generator().manual_seed(1)))
    normal = start_draw("gaussian", forward, schedule, extent)((5, 4), torch.Generator().manual_seed(1))
    assert torch.equal(normal, torch.randn((5, 4), generator=torch.Generator().manual_seed(1)))
    four = step_law("averaged:4", make_noise("exponential")).sample((N,), torch.Generator().manual_seed(1)).double()
    assert float((four**3).mean()) == pytest.approx(1.0, abs=0.2)


def test_an_images_start_does_not_depend_on_its_batch() -> None:
    draw = make_noise("exponential").sample

    def start(seeds: list[int]) -> Tensor:
        return start_per_image(draw, (2, 3), [torch.Generator().manual_seed(seed) for seed in seeds])

    assert torch.equal(start([4, 5, 6])[1], start([5])[0])


@pytest.mark.parametrize("choice", ["averaged:0", "averaged:", "d", "x_t", "averaged:-1"])
def test_bad_choices_of_noise_are_named(choice: str) -> None:
    extent = LatentExtent.standard((1,))
    with pytest.raises(InputError, match=r"start_noise: .* own, gaussian, averaged:<n>, x_T"):
        start_draw(choice, Marginal(make_noise("laplace")), SCHEDULE, extent)
    with pytest.raises(InputError, match=r"step_noise: .* own, gaussian, averaged:<n>"):
        step_law(choice, make_noise("laplace"))


@pytest.mark.parametrize("name", [name for name in noise_names() if isinstance(make_noise(name), JointLaw)])
def test_a_law_of_whole_images_draws_each_image_from_its_own_seed(name: str) -> None:
    """A block of a generator's draws are steps of one image: each step is an image's noise of its own."""
    shape, seeds, count = (2, 6, 5), [3, 1, 4, 15], 2 * (2**14 // 60) + 2
    four = draws_of(name, shape, seeds, count)
    assert torch.equal(draws_of(name, shape, [4, 3], count), four[:, [2, 0]])
    energies = four[:, 0].flatten(1).square().mean(1)
    assert name == "sphere" or len(energies.unique()) == count


@pytest.mark.parametrize("shape", [(3, 24, 24), (2, 4, 4), (3, 7, 5), (3,)])
@pytest.mark.parametrize("name", noise_names())
def test_a_block_that_ends_with_the_sampler_has_the_same_noise(name: str, shape: tuple) -> None:
    """The numbers are those of blocks whose length follows from the image's size alone, of 2^14 numbers."""
    law = make_noise(name)
    try:
        law.check_item(shape)
    except InputError:
        pytest.skip("not for items of this shape")
    block, steps = max(1, 2**14 // math.prod(shape)), 49
    one = torch.Generator().manual_seed(5)
    blocks = torch.cat([law.sample((block, *shape), one) for _ in range(-(-steps // block))])
    source = per_image(name, shape, [4, 5], steps)
    assert torch.equal(torch.stack([source()[1] for _ in range(steps)]), blocks[:steps])
    with pytest.raises(IndexError, match="more often than it has steps"):
        source()


@pytest.mark.parametrize("name", NAMES)
def test_no_more_noise_is_drawn_than_the_sampler_needs(name: str) -> None:
    """49 steps of 32 numbers: after them the generator stands where 49 x 32 numbers leave it."""
    ours, theirs = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    source = PerImageNoise(make_noise(name), (2, 4, 4), [ours], steps=49)
    for _ in range(49):
        source()
    make_noise(name).sample((49, 2, 4, 4), theirs)
    assert torch.equal(ours.get_state(), theirs.get_state())
