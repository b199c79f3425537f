"""The names that settings of the scoring can have. No torch here, so that params.yaml is checked quickly."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ngldm.io.errors import InputError

EXTRACTORS = ("auto", "classifier", "dinov2", "inception", "points", "rotation")
PRETRAINED = ("dinov2", "inception")  # their weights come from a file that others trained
RESIZINGS = ("standard", "clean")
PROTOCOLS = ("standard", "paper")
PER_CLASS = "_class_"  # in the names of the scores of one class, before its label
# The further scores; * stands for a level, the number of a mode, or a class.
POINT_SCORES = ("msle", "beyond_*", "tail_log10", "joint_tail", "bulk_sw1", "mode_*")
IMAGE_SCORES = (
    *("density", "coverage", "memorised", "memorised_expected", "spectrum_log10"),
    *(f"coverage{PER_CLASS}*", f"recall{PER_CLASS}*", f"share{PER_CLASS}*", f"memorised{PER_CLASS}*"),
)


def check_names(wanted: Sequence[str], points: bool, key: str) -> None:
    """Check names of further scores, without knowledge of the data.

    Args:
        wanted: names; a * at the end stands for the rest of names.
        points: the data are points, not images.
        key: of the names in the settings, for the message.

    Raises:
        InputError: such data have no such score.
    """
    known = POINT_SCORES if points else IMAGE_SCORES
    for name in wanted:
        start = name.removesuffix("*")
        beginning = start != name and any(score.startswith(start) for score in known)
        if not beginning and not any(fnmatchcase(name, score) for score in known):
            raise InputError(f"{key}: {name!r}; {'points' if points else 'images'} have the scores {', '.join(known)}")
