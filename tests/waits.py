"""What would make a CPU wait for its GPU, found without one.

The device `meta` stands for the GPU: its tensors have a shape and no numbers, so nothing can be read from them unseen.
What torch's kernels for CUDA do inside is not seen.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("meta")
aten = torch.ops.aten
READ = (aten._local_scalar_dense.default, aten.equal.default, aten.allclose.default)
CHECKED = (aten._linalg_check_errors.default,)
# The size of the result follows from numbers.
SIZED = (
    aten.nonzero.default,
    aten.masked_select.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
)
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
COPIED = (aten._to_copy.default, aten.copy_.default)


class Generator(torch.Generator):
    """A generator that says it is on the stand-in."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU


def generator_on_gpu(device: torch.device | str, seed: int) -> torch.Generator:
    """As `ngldm.io.device.random_generator`."""
    return Generator().manual_seed(seed)


class Waits(TorchDispatchMode):
    """Notes, within the block, all that would make the CPU wait for the GPU.

    - Numbers are read, or the size of a result follows from them: `.item()`, `x[mask]`, `unique`.
    - Something is copied from the GPU, or to it without `non_blocking`: also a number, or what it is indexed by.

    Numbers that are read are 1.

    Attributes:
        found: the operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        named = kwargs or {}
        with self:  # in inference mode, an operation that is made of others comes as one
            parts = func.decompose(*args, **named)
        if parts is not NotImplemented:
            return parts
        tensors = [leaf for leaf in tree_leaves((args, named)) if isinstance(leaf, Tensor)]
        target = torch.device(named["device"]) if named.get("device") else tensors[0].device if tensors else None
        far = [x for x in tensors if x.device == GPU]
        if not far and target != GPU:
            return func(*args, **named)
        if self._waits(func, tensors, target, named):
            self.found.append(str(func))
        if func in READ:
            return torch.ones((), dtype=far[0].dtype).item()
        if func is aten.copy_.default and target != GPU:
            return tensors[0]
        if func is aten._to_copy.default and target != GPU:
            return torch.ones(far[0].shape, dtype=named.get("dtype") or far[0].dtype)
        if func is aten.binomial.default:  # torch has none for `meta`
            return torch.empty_like(far[0])
        return func(*args, **named)

    @staticmethod
    def _waits(
        func: torch._ops.OpOverload, tensors: list[Tensor], target: torch.device | None, named: Mapping[str, object]
    ) -> bool:
        near = [x for x in tensors if x.device != GPU]
        if func in COPIED:
            return (target != GPU or bool(near)) and not (target == GPU and named.get("non_blocking"))
        if func in INDEXED:
            return bool(near) or any(x.dtype in (torch.bool, torch.uint8) for x in tensors[1:])
        if func is aten.where.self:
            return bool(near)
        return func in (*READ, *CHECKED, *SIZED, aten.lift_fresh.default)  # lift_fresh: torch.tensor(3.0, device=...)
