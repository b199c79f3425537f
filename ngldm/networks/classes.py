"""The class of an image as an input of a network."""

import torch
from torch import Tensor, nn

from ngldm.io.errors import InputError


class ClassEmbedding(nn.Module):
    """A vector for each of K classes, and one more for "no class", number K: (B,) labels to (B, dim).

    The vector of no class is learned where training drops labels (Ho and Salimans 2022).
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.none = num_classes
        self.vectors = nn.Embedding(num_classes + 1, dim)

    def forward(self, labels: Tensor | None, count: int) -> Tensor:
        """The vectors of `labels`; None means `count` times no class."""
        if labels is None:
            labels = torch.full((count,), self.none, device=self.vectors.weight.device)
        out: Tensor = self.vectors(labels)
        return out


def class_embedding(num_classes: int, dim: int) -> ClassEmbedding | None:
    """The embedding of a network; None if there are no classes. Without it a network has no other weights than ever."""
    return ClassEmbedding(num_classes, dim) if num_classes else None


def add_class(emb: Tensor, embedding: ClassEmbedding | None, labels: Tensor | None) -> Tensor:
    """The embedding of t (B, dim) plus that of the class.

    Args:
        labels: (B,) from 0 to K, where K means no class; None means no class for all.

    Raises:
        InputError: labels for a network without classes.
    """
    if embedding is None:
        if labels is not None:
            raise InputError("labels: the network has no classes")
        return emb
    out: Tensor = emb + embedding(labels, len(emb))
    return out
