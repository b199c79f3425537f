"""The search's results in the report: what was found for each noise, and its score on fresh seeds."""

from ngldm.data.results.study import read_scores
from ngldm.io.files import read_csv
from ngldm.pipeline.experiments.summary import StudySummary, summarise
from ngldm.pipeline.workspace import TUNING

SUMMARY, IMPORTANCE, CONFIRMED = "summary.csv", "importance.csv", "confirmed"
SUMMARY_COLUMNS = (
    *("search", "noise", "trials", "complete", "failed", "steps", "scored", "cpu_seconds"),
    *("best", "value", "sampler", "settings"),
)
SHOWN_COLUMNS = ("noise", "trials", "steps", "scored", "value", "sampler", "settings")
CONFIRMED_COLUMNS = ("noise", "mean", "std", "std_error", "ratio", "outliers", "seeds")
IMPORTANCE_COLUMNS = ("noise", "setting", "share")
MADE_BY = "`ngldm search show --write`"


def search_summary() -> list[dict[str, str]]:
    """The rows of tuning/summary.csv; none if no search has written it."""
    path = TUNING / SUMMARY
    return read_csv(path, MADE_BY, dict, SUMMARY_COLUMNS) if path.is_file() else []


def confirmed_summary() -> list[StudySummary]:
    """The winners' scores on fresh seeds, as means; none if `ngldm search confirm` has not run."""
    path = TUNING / CONFIRMED
    return summarise(read_scores(path)) if path.is_dir() else []
