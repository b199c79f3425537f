"""The optimisers of the loop: AdamW, or Muon for the matrices of the hidden layers and AdamW for the rest.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces a matrix's averaged gradient by a matrix with the
same singular vectors and singular values near 1. So all directions of a layer are learned at one speed. A convolution
counts as a matrix: its outputs by its inputs at all positions of the kernel.

torch.optim.Muon takes no convolutions and computes in bfloat16. Its rounding would make the weights depend on the
number of processes: by 3 % after 100 steps of a small network; float32 leaves 0.02 %. So the step is here, in float64
where the device has it (below 0.001 %). A test compares it with torch's.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ngldm.io.device import has_float64
from ngldm.training.config import FitSettings

SMALLEST = 16  # fewer inputs or outputs mean the first or the last layer, which is left to AdamW as usual
MOMENTUM = 0.95
STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of a polynomial that brings singular values in (0, 1] near 1, if repeated


def make_optimizer(network: nn.Module, config: FitSettings, device: torch.device) -> torch.optim.Optimizer:
    """The optimiser that `config.optimizer` names, for the network's weights on their device.

    With "muon", `lr` and `weight_decay` mean what they mean for AdamW: the steps are of AdamW's usual size.
    """
    fused = device.type in ("cpu", "cuda")
    if config.optimizer == "muon":
        return Muon(network, config.lr, config.weight_decay, fused)
    return torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=fused)


def hidden_matrices(network: nn.Module) -> list[Tensor]:
    """The weights of all linear layers and convolutions with at least 16 inputs and outputs."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | _ConvNd)]
    weights = dict.fromkeys(layer.weight for layer in layers if min(layer.weight.shape[:2]) >= SMALLEST)
    return [weight for weight in weights if weight.requires_grad]


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix (A, B) with its singular values s replaced by p(p(...p(s / |matrix|))), p applied five times.

    p(s) = a s + b s^3 + c s^5. As p of a matrix X is Q X with Q = a + b G + c G^2 and G = X X^T, the steps need G only,
    whose side is the shorter one of the matrix: G of the next step is Q G Q.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    exact = wide.double() if has_float64(wide.device) else wide  # G has the squares of the singular values
    gram = exact @ exact.T
    product = step = _factor(gram)
    for _ in range(STEPS - 1):
        gram = step @ gram @ step
        step = _factor(gram)
        product = step @ product
    done: Tensor = product.to(wide) @ wide
    return done if matrix.shape[0] <= matrix.shape[1] else done.T


def _factor(gram: Tensor) -> Tensor:
    """Q of a Gram matrix G."""
    a, b, c = COEFFICIENTS
    step = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    step.diagonal().add_(a)
    return step


class Muon(torch.optim.AdamW):
    """Muon for `hidden_matrices`, with Nesterov's momentum, and AdamW for the other weights.

    A matrix (A, B) moves by 0.2 sqrt(max(A, B)) lr times the orthogonalised one, whose elements then have the usual
    root mean square of a step of AdamW (Liu et al. 2025, arXiv:2502.16982; `match_rms_adamw` of torch.optim.Muon).

    Args:
        network: its weights are trained.
        lr, weight_decay: as of AdamW.
        fused: whether AdamW's part is one kernel.
    """

    def __init__(self, network: nn.Module, lr: float, weight_decay: float, fused: bool) -> None:
        matrices = hidden_matrices(network)
        chosen = {id(matrix) for matrix in matrices}
        others = [weight for weight in network.parameters() if id(weight) not in chosen]
        groups = [{"params": others, "matrices": False}, {"params": matrices, "matrices": True}]
        groups = [group for group in groups if group["params"]]
        super().__init__(groups, lr=lr, weight_decay=weight_decay, fused=fused)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override] # the loop has no closure
        """Make a step. The gradients of the matrices are used up: AdamW passes over weights that have none."""
        for group in self.param_groups:
            if group["matrices"]:
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._move(weight, weight.grad, group["lr"], group["weight_decay"])
                        weight.grad = None
        super().step()

    def _move(self, weight: Tensor, gradient: Tensor, lr: float, weight_decay: float) -> None:
        state = self.state[weight]
        if not state:
            # AdamW wants a number of steps in each state that it loads.
            state.update(step=torch.tensor(0.0), momentum=torch.zeros_like(weight))
        state["step"] += 1
        average = state["momentum"].lerp_(gradient, 1.0 - MOMENTUM)
        matrix = gradient.lerp(average, MOMENTUM).flatten(1)
        size = 0.2 * math.sqrt(max(matrix.shape))
        weight.mul_(1.0 - lr * weight_decay)
        weight.add_(orthogonalised(matrix).reshape(weight.shape), alpha=-lr * size)
