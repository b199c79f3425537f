"""How images and noise of a batch are paired in training."""

import torch
from torch import Tensor

from ngldm.io.device import in_float64
from ngldm.io.errors import InputError


def pair_by_transport(x0: Tensor, eps: Tensor) -> Tensor:
    """The noise of a batch, in the order that makes the sum of |x0_i - eps_i|^2 least.

    (Pooladian et al., ICML 2023; Tong et al., TMLR 2024.) The law of the noise stays the same, but given x0 the noise
    no longer has this law. So a sampler that adds fresh noise is wrong; the deterministic ones stay right.

    Args:
        x0, eps: (B, ...) of one shape.

    Returns:
        The rows of eps in another order.

    Raises:
        InputError: there are NaN or infinite numbers, which have no distance.
    """
    for key, values in (("x0", x0), ("eps", eps)):
        if not bool(values.isfinite().all()):
            raise InputError(f"{key}: NaN or infinite numbers; with coupling 'minibatch_ot' all must be finite")
    x, noise = (in_float64(values.flatten(1)) for values in (x0, eps.to(x0.device)))
    cost = torch.cdist(x, noise).square()
    from scipy.optimize import linear_sum_assignment  # not at the top: it would slow the start of every stage

    _, order = linear_sum_assignment(cost.cpu().numpy())
    return eps[torch.from_numpy(order).to(eps.device)]
