"""The scorer of the stages `evaluate` and `curve`, as the section `evaluate` of params.yaml describes it."""

import torch

from ngldm.pipeline import workspace
from ngldm.pipeline.config.sections import EvaluateParams
from ngldm.scoring.distance.scorer import Scorer, open_scorer


def stage_scorer(config: EvaluateParams, num_images: int, device: torch.device) -> Scorer:
    """A scorer for sets of `num_images` images. A line is printed if they are too few for a reliable score.

    Raises:
        InputError: the reference is missing, damaged, or made with another extractor; or the weights are missing.
    """
    scorer = open_scorer(
        workspace.REFERENCE,
        num_images,
        protocol=config.fid_protocol,
        extractor=config.extractor,
        weights=config.weights,
        device=device,
    )
    for note in scorer.notes:
        print(f"note: {note}")
    return scorer
