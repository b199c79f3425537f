"""From the network's output to x_0 and eps, and what is done to an x_0 that no data would have."""

import torch

from ngldm.diffusion.objective import add_noise
from ngldm.diffusion.schedules import make_schedule
from ngldm.sampling.denoiser import X0Handling, make_denoiser

SCHEDULE = make_schedule("linear", 100, 1e-3, 0.2)


def test_x0_handling_by_hand() -> None:
    x0 = torch.tensor([[-4.0, 1.0, 2.0, 8.0]])
    assert X0Handling("clip", 3.0)(x0).tolist() == [[-3.0, 1.0, 2.0, 3.0]]
    low, high = torch.tensor([-1.0, 0.0, 0.0, 0.0]), torch.tensor([1.0, 0.5, 3.0, 9.0])
    assert X0Handling("range", low=low, high=high)(x0).tolist() == [[-1.0, 0.5, 2.0, 8.0]]
    s = float(x0.abs().quantile(0.5))  # 3
    torch.testing.assert_close(X0Handling("dynamic", 2.0, 0.5)(x0), torch.tensor([[-2.0, 2 / s, 4 / s, 2.0]]))


def test_a_handled_x0_keeps_x_t() -> None:
    """x_t = sqrt(abar) x0 + sqrt(1 - abar) eps holds for the changed x0."""
    x, t = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0)) * 5, 60
    found = make_denoiser(lambda x, t: torch.zeros_like(x), SCHEDULE, "eps", X0Handling("clip", 1.0))(x, t)
    assert float(found.x0.abs().max()) == 1.0
    torch.testing.assert_close(add_noise(SCHEDULE, found.x0, found.eps, torch.full((3,), t)), x)
