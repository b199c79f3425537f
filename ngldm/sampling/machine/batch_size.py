"""How many images to generate at once: computed from the memory for one image and the free memory."""

import torch
from torch import Tensor, nn

from ngldm.model import Model

SHARE = 0.5  # of the free memory; the rest is for weights, workspaces of kernels and other programs
LARGEST = 1024  # larger batches are not faster with networks of this kind, on any device


def bytes_per_image(model: Model) -> int:
    """The bytes of all layers' outputs for one image, in network and decoder. An upper bound: as if none were freed."""
    total = 0

    def count(module: nn.Module, arguments: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * output.element_size()

    networks = (model.network, model.autoencoder)
    hooks = [module.register_forward_hook(count) for network in networks for module in network.modules()]
    try:
        x = torch.zeros(1, *model.autoencoder.latent_shape, device=model.device, dtype=torch.float32)
        with torch.inference_mode():
            model.network(x, torch.ones(1, dtype=torch.long, device=model.device))
            model.decode(x)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def batch_from_memory(model: Model, num_images: int, free_bytes: int) -> int:
    """The largest batch whose layer outputs fill at most half of the free memory: 1 to num_images, at most 1024."""
    return max(1, min(num_images, LARGEST, int(SHARE * free_bytes) // bytes_per_image(model)))
