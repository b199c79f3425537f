"""How many images a score compares, in the standard protocol and in the paper's."""

from dataclasses import replace

from ngldm.data.reference import Reference
from ngldm.io.errors import unknown
from ngldm.scoring.distance.frechet import Moments
from ngldm.scoring.features.names import PROTOCOLS

PAPER_IMAGES = 1000  # of each side in the paper's evaluation
INCEPTION_DIM = 2048


def by_protocol(reference: Reference, protocol: str, generated: int | None = None) -> Reference:
    """The real images that a protocol compares with, and the name of the metric in that protocol.

    The paper's text compares with 1000 random real images. The covariance of 1000 vectors of length 2048 is singular
    and the distance is too large. It can be compared with the paper's figures, but it is not an FID. So the metric is
    called `fd_paper_protocol`.

    Args:
        reference: all real images.
        protocol: "standard" takes all real images; "paper" takes 1000 random ones.
        generated: number of generated images. If it is below 1000, "paper" takes only as many real images.

    Raises:
        InputError: an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise unknown("evaluate.fid_protocol", protocol, PROTOCOLS)
    if protocol == "standard":
        return reference
    features = reference.features[: min(PAPER_IMAGES, generated or PAPER_IMAGES)]  # in random order already
    moments = Moments(features.shape[1]).update(features)
    about = {**reference.about, "metric": "fd_paper_protocol", "num_images": len(features)}
    return replace(reference, mu=moments.mean, sigma=moments.cov, features=features, about=about)


def compared(protocol: str, generated: int, real: int) -> int:
    """How many generated images are scored: all; in the protocol "paper" as many as real ones, at most 1000."""
    return min(generated, real, PAPER_IMAGES) if protocol == "paper" else generated


def shortfall(protocol: str, dim: int, generated: int, real: int) -> list[str]:
    """Notes for the user if there are too few images for the paper's protocol or for Inception's covariance.

    Args:
        dim: length of a feature vector.
        generated, real: images on each side.
    """
    notes, fewest = [], min(generated, real)
    if protocol == "paper" and fewest < PAPER_IMAGES:
        notes.append(
            f"evaluate.fid_protocol: paper compares {PAPER_IMAGES} with {PAPER_IMAGES} images; there are {generated} "
            f"generated and {real} real ones, so {fewest} of each count"
        )
    fewest = min(fewest, PAPER_IMAGES) if protocol == "paper" else fewest
    if dim >= INCEPTION_DIM and fewest <= dim:
        notes.append(f"{fewest} images; below {dim + 1} the covariance of {dim} features is singular")
    return notes
