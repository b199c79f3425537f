"""The Inception Score (Salimans et al. 2016): are images clearly of a class, and are there many classes?

It knows no real images, and its classes are those of ImageNet.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SPLITS = 10  # the authors'


class InceptionScore(NamedTuple):
    """Mean and standard deviation over `SPLITS` parts of the images."""

    mean: float
    std: float


def inception_score(features: Tensor, class_weights: Tensor) -> InceptionScore:
    """exp E[KL(p(y | x) || p(y))] of each part.

    Args:
        features: (N, 2048) of Inception's last pooling, N at least `SPLITS`, in random order, as generated images are.
        class_weights: (1008, 2048) of the layer that follows. Its bias is left out, as in the authors' code.
    """
    log_p = (features.double() @ class_weights.double().T).log_softmax(1)
    scores = []
    for part in torch.tensor_split(log_p, SPLITS):
        marginal = part.exp().mean(0, keepdim=True).log()
        scores.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    values = torch.stack(scores)
    return InceptionScore(float(values.mean()), float(values.std(correction=0)))
