"""The tables of the studies' pages and each arm's verdict, by the rule at the top of the recipe's file.

Scores are means over the sampling seeds of a training, then over trainings; +- is the standard error over trainings. An
arm is better than another where the difference of their means is above 2 standard errors of the difference.

python -m benchmarks.verdicts tails|imbalance|fewsteps|ancestral|tuned [STUDY]
"""

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True)
class Estimate:
    """Mean and standard error over trainings. No score of a training: NaN."""

    mean: float
    error: float
    trainings: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        if not values:
            return cls(math.nan, math.nan, 0)
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(statistics.fmean(values), error, len(values))

    def below(self, other: "Estimate") -> bool:
        """Whether it is lower by 2 standard errors of the difference. False if one of them is not known."""
        return other.mean - self.mean > 2 * math.hypot(self.error, other.error)

    def text(self, digits: int = 2, factor: float = 1.0) -> str:
        return f"{factor * self.mean:.{digits}f} +- {factor * self.error:.{digits}f}"


Classes = Iterable[int]


class Study:
    """The two tables of a study, by variant and sampler."""

    def __init__(self, folder: Path) -> None:
        self.values: dict[tuple[str, str, str, int], dict[int, float]] = defaultdict(dict)
        self.pairs: list[tuple[str, str]] = []
        for name in ("scores.csv", "further.csv"):
            path = folder / name
            if not path.is_file():
                continue
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    self._add(row)

    def _add(self, row: dict[str, str]) -> None:
        pair = (row["variant"], row["sampler"])
        if pair not in self.pairs:
            self.pairs.append(pair)
        key = (*pair, row.get("score") or "fd", int(row["train_seed"]))
        self.values[key][int(row["sample_seed"])] = float(row["value"])

    def of(self, variant: str, sampler: str, scores: str | Sequence[str]) -> Estimate:
        """A score, or the mean of several, of a variant with a sampler. Trainings that lack one do not count."""
        names = [scores] if isinstance(scores, str) else scores
        seeds = sorted({seed for v, s, name, seed in self.values if (v, s) == (variant, sampler)})
        found = []
        for seed in seeds:
            parts = [list(self.values.get((variant, sampler, name, seed), {}).values()) for name in names]
            if all(part and all(map(math.isfinite, part)) for part in parts):
                found.append(statistics.fmean(statistics.fmean(part) for part in parts))
        return Estimate.of(found)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    for line in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(line)} |")
    print()


TUNED = ("gaussian", "gaussian_high", "gaussian_high_long", "gaussian_edm", "gaussian_edm_high")
SOFT_LOG = ("gaussian_soft_log", "gaussian_soft_log_radius")


def tails(study: Study) -> None:
    """Per data set msle, tail_log10 and whether the arm beats the tuned Gaussian and the better soft-log arm."""
    for data in ("d2_shared", "d2_independent", "d16_shared", "d16_independent"):
        _tails_of(study, data)


def _tails_of(study: Study, data: str) -> None:
    pairs = [(v.removeprefix(f"{data}_"), s) for v, s in study.pairs if v.startswith(f"{data}_")]
    msle = {pair: study.of(f"{data}_{pair[0]}", pair[1], "msle") for pair in pairs}
    controls = [min((p for p in pairs if p[0] in arms), key=lambda p: msle[p].mean) for arms in (TUNED, SOFT_LOG)]
    rows = []
    for arm, sampler in sorted(pairs, key=lambda pair: msle[pair].mean):
        own = msle[arm, sampler]
        tail, joint = (study.of(f"{data}_{arm}", sampler, score) for score in ("tail_log10", "joint_tail"))
        rival = arm not in (*TUNED, *SOFT_LOG, "train_set")
        beaten = [name for name, s in controls if rival and own.below(msle[name, s])]
        ratio = own.mean / msle[controls[0]].mean
        cells = [own.text(1, 1000), f"{ratio:.2f}", tail.text(2), joint.text(2), str(own.trainings), ", ".join(beaten)]
        rows.append([arm, sampler, *cells])
    print(f"**{data}**; the controls are {controls[0][0]} and {controls[1][0]}\n")
    table(("arm", "sampler", "msle x 1000", "of tuned", "tail_log10", "joint_tail", "trainings", "beats"), rows)


RARE, FREQUENT = range(6, 10), range(3)
CONTROLS = ("gaussian_clearer", "gaussian_noisier")


def imbalance(study: Study) -> None:
    """Rare classes: coverage, share, memorised; density and the frequent classes' coverage; the verdicts."""

    def classes(name: str, labels: Classes) -> list[str]:
        return [f"{name}_class_{label}" for label in labels]

    wanted: dict[str, str | list[str]] = {
        "rare coverage": classes("coverage", RARE),
        "rare share": classes("share", RARE),
        "rare memorised": classes("memorised", RARE),
        "density": "density",
        "frequent coverage": classes("coverage", FREQUENT),
        "fd": "fd",
    }
    found = {variant: {key: study.of(variant, s, names) for key, names in wanted.items()} for variant, s in study.pairs}

    def wins(arm: str, control: str) -> bool:
        a, b = found[arm], found[control]
        better = b["rare coverage"].below(a["rare coverage"])
        worse = any(a[key].below(b[key]) for key in ("density", "frequent coverage"))
        return better and not worse and not b["rare memorised"].below(a["rare memorised"])

    control = max(CONTROLS, key=lambda name: found[name]["rare coverage"].mean)
    rows = []
    for arm, scores in found.items():
        over = [name for name in ("gaussian", control) if arm != name and wins(arm, name)]
        rows.append([arm, *(scores[key].text(3) for key in wanted), ", ".join(over)])
    table(("arm", *wanted, f"wins over (gaussian, {control})"), rows)


def fewsteps(study: Study) -> None:
    """Per schedule and sampler: the Frechet distance at 5, 10, 20 calls, and where a colour beats all white noise."""
    for schedule in ("cosine", "flow"):
        for method in ("ddim", "dpmpp"):
            arms = sorted({v for v, _ in study.pairs if v.endswith(f"_{schedule}")})
            rows = {arm: [f"{arm.removesuffix('_' + schedule)}"] for arm in arms}
            for calls in (5, 10, 20):
                _fewsteps_column(study, rows, f"{method}_{calls}")
            print(f"**{schedule}, {method}**: Frechet distance; spectrum_log10\n")
            table(("arm", "5 calls", "10 calls", "20 calls"), [row for row in rows.values() if len(row) > 1])


def _fewsteps_column(study: Study, rows: dict[str, list[str]], sampler: str) -> None:
    used = {v: s for v, s in study.pairs if v in rows and (s == sampler or s.startswith(f"{sampler}_k"))}
    whites = [v for v in used if v.startswith("white")]
    best = min(whites, key=lambda v: study.of(v, used[v], "fd").mean)
    for arm, own in used.items():
        fd, spectrum = study.of(arm, own, "fd"), study.of(arm, own, "spectrum_log10")
        better = fd.below(study.of(best, used[best], "fd"))
        wins = better and arm not in whites and not study.of(best, used[best], "spectrum_log10").below(spectrum)
        mark = " **wins**" if wins else " (best white)" if arm == best else ""
        rows[arm].append(f"{fd.text(1)}; {spectrum.text(3)}{mark}")


DETERMINISTIC = ("dpmpp_karras_20", "dpmpp_karras_50", "ddim_50")


def ancestral(study: Study) -> None:
    """Per noise: samplers by steps, the best deterministic one, `stein` over it, and whether more steps hurt."""
    noises = sorted({variant for variant, _ in study.pairs})
    rows = []
    for noise in noises:
        best = min((study.of(noise, sampler, "fd") for sampler in DETERMINISTIC), key=lambda found: found.mean)
        steps: dict[str, list[Estimate]] = {}
        for kind in ("ancestral", "constant", "stein", "stein_half"):
            steps[kind] = [study.of(noise, f"{kind}_{count}", "fd") for count in (25, 50, 100)]
        cells = [" / ".join(found.text() for found in estimates) for estimates in steps.values()]
        ratios = [min(found.mean for found in steps[kind][1:]) / best.mean for kind in ("stein", "stein_half")]
        hurts = [kind for kind in ("stein", "stein_half") if steps[kind][1].below(steps[kind][2])]
        last = [f"{ratios[0]:.2f}; {ratios[1]:.2f}", ", ".join(hurts) or "no"]
        rows.append([noise, str(best.trainings), *cells, best.text(), *last])
    names = ("ancestral", "constant", "stein", "stein, eta 0.5", "best deterministic")
    table(("noise", "trainings", *names, "stein / best; eta 0.5", "more steps hurt"), rows)


def tuned(study: Study) -> None:
    """Each noise with its own settings: its score, and its difference to the Gaussian's."""
    found = {variant: study.of(variant, sampler, "fd") for variant, sampler in study.pairs}
    gaussian = found["gaussian"]
    rows = []
    for arm, own in found.items():
        apart = (own.mean - gaussian.mean) / math.hypot(own.error, gaussian.error)
        verdict = "beats it" if own.below(gaussian) else "loses" if gaussian.below(own) else "ties"
        last = ["", ""] if arm == "gaussian" else [f"{apart:.1f}", verdict]
        rows.append([arm, own.text(3), f"{own.mean / gaussian.mean:.2f}", *last])
    head = ("noise", "3 x 3 seeds", "of the Gaussian's", "difference in standard errors", "against the Gaussian")
    table(head, rows)


STUDIES = {"tails": tails, "imbalance": imbalance, "fewsteps": fewsteps, "ancestral": ancestral, "tuned": tuned}


def main(
    recipe: Annotated[str, typer.Argument(help=f"One of {', '.join(STUDIES)}.")],
    folder: Annotated[Path, typer.Argument(help="The folder that the stage `study` wrote.")] = Path("study"),
) -> None:
    """Print the tables of a study."""
    if recipe not in STUDIES:
        raise typer.BadParameter(f"{recipe!r} is not one of {', '.join(STUDIES)}")
    if not (folder / "scores.csv").is_file():
        raise typer.BadParameter(f"{folder / 'scores.csv'} does not exist. `dvc repro study` writes it.")
    STUDIES[recipe](Study(folder))


if __name__ == "__main__":
    typer.run(main)
