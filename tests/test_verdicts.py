"""The studies' verdicts, on scores written by hand."""

import csv
import math
from pathlib import Path

import pytest
import typer

from benchmarks.study_figures import FIGURES
from benchmarks.verdicts import STUDIES, Estimate, Study, main


def write(folder: Path, rows: list[tuple[str, str, str, list[float]]]) -> Path:
    """Tables of a study: (variant, sampler, score, value of each training). "fd" is of scores.csv."""
    columns = ["variant", "train_seed", "sampler", "sample_seed", "score", "value"]
    for name in ("scores.csv", "further.csv"):
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            own = [column for column in columns if name == "further.csv" or column != "score"]
            writer.writerow(own)
            for variant, sampler, score, values in rows:
                if (score == "fd") == (name == "scores.csv"):
                    for seed, value in enumerate(values):
                        label = [score] if name == "further.csv" else []
                        writer.writerow([variant, seed, sampler, 0, *label, value])
    return folder


def test_mean_and_standard_error_over_trainings() -> None:
    found = Estimate.of([1.0, 2.0, 6.0])
    assert (found.mean, found.trainings) == (3.0, 3)
    assert found.error == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))


def test_below_needs_two_standard_errors_of_the_difference() -> None:
    low, high = Estimate(1.0, 0.3, 3), Estimate(2.0, 0.4, 3)
    assert not low.below(high)  # 1.0 is exactly two errors of 0.5
    assert Estimate(0.99, 0.3, 3).below(high)
    assert not high.below(low)
    assert not Estimate(0.0, math.nan, 1).below(high)


def test_a_training_without_a_finite_score_does_not_count(tmp_path: Path) -> None:
    study = Study(write(tmp_path, [("a", "s", "fd", [1.0, math.nan, 3.0]), ("a", "s", "x", [0.0, 5.0, 1.0])]))
    assert study.of("a", "s", "fd") == Estimate(2.0, 1.0, 2)
    assert study.of("a", "s", ["fd", "x"]).mean == (0.5 + 2.0) / 2
    assert study.of("a", "s", "missing").trainings == 0


def test_an_arm_of_the_tails_beats_the_tuned_gaussian_and_the_soft_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    msle = {"gaussian": 5.0, "gaussian_high": 2.0, "gaussian_soft_log": 1.0, "shared_t3": 0.2, "shared_t5": 1.5}
    data = ("d2_shared", "d2_independent", "d16_shared", "d16_independent")
    rows = [
        (f"{name}_{arm}", "heun_20", score, [value, value + 0.01, value + 0.02])
        for name in data
        for arm, value in msle.items()
        for score in ("fd", "msle", "tail_log10")
    ]
    main("tails", write(tmp_path, rows))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("the controls are gaussian_high and gaussian_soft_log")
    found = {line.split(" | ")[0].strip("| "): line for line in lines[2:9]}
    assert found["shared_t3"].endswith("| gaussian_high, gaussian_soft_log |")
    assert found["shared_t5"].endswith("| gaussian_high |")
    assert found["gaussian_soft_log"].endswith("|  |")


@pytest.mark.parametrize(
    ("memorised", "verdict"), [([0.1, 0.1, 0.1], "gaussian, gaussian_noisier"), ([0.8, 0.81, 0.82], "")]
)
def test_an_arm_that_memorises_more_does_not_win(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], memorised: list[float], verdict: str
) -> None:
    def arm(name: str, rare: list[float], memory: list[float]) -> list[tuple[str, str, str, list[float]]]:
        kinds = {"coverage": rare, "share": [1.0, 1.0, 1.0], "memorised": memory}
        scores = {f"{kind}_class_{label}": values for kind, values in kinds.items() for label in range(6, 10)}
        scores |= {f"coverage_class_{label}": [0.9, 0.9, 0.9] for label in range(3)}
        return [
            (name, "s", score, values) for score, values in {**scores, "density": [1.0] * 3, "fd": [2.0] * 3}.items()
        ]

    rows = arm("gaussian", [0.3, 0.31, 0.32], [0.1, 0.1, 0.1])
    rows += arm("gaussian_clearer", [0.2, 0.21, 0.22], [0.1, 0.1, 0.1])
    rows += arm("gaussian_noisier", [0.4, 0.41, 0.42], [0.1, 0.1, 0.1])
    rows += arm("shared_t5", [0.7, 0.71, 0.72], memorised)
    main("imbalance", write(tmp_path, rows))
    assert capsys.readouterr().out.splitlines()[-2].split(" | ")[-1].strip("| ") == verdict


def test_a_colour_wins_over_the_best_white_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fd = {
        "white": ("ddim_5", 9.0),
        "white_k140": ("ddim_5_k140", 5.0),
        "pink_05": ("ddim_5", 4.0),
        "blue_05": ("ddim_5", 6.0),
    }
    rows = []
    for calls in (5, 10, 20):
        for method in ("ddim", "dpmpp"):
            for schedule in ("cosine", "flow"):
                for arm, (sampler, value) in fd.items():
                    label = sampler.replace("ddim_5", f"{method}_{calls}")
                    rows.append((f"{arm}_{schedule}", label, "fd", [value, value + 0.1, value + 0.2]))
                    rows.append((f"{arm}_{schedule}", label, "spectrum_log10", [0.1, 0.1, 0.1]))
    main("fewsteps", write(tmp_path, rows))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines if "**wins**" in line] == ["pink_05"] * 4
    assert [line.split(" | ")[0].strip("| ") for line in lines if "best white" in line] == ["white_k140"] * 4


def test_ancestral_says_the_ratio_and_whether_more_steps_hurt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"stein_25": 3.0, "stein_50": 1.2, "stein_100": 1.6, "stein_half_50": 1.1, "stein_half_100": 1.0}
    values |= {"dpmpp_karras_20": 2.5, "dpmpp_karras_50": 1.0, "ddim_50": 2.0}
    main("ancestral", write(tmp_path, [("laplace", s, "fd", [v, v, v]) for s, v in values.items()]))
    row = capsys.readouterr().out.splitlines()[2].split(" | ")
    assert row[-2:] == ["1.20; 1.00", "stein |"]


def test_a_tuned_noise_beats_the_gaussian_by_two_standard_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {
        "gaussian": [3.0, 3.1, 3.2],
        "laplace": [2.0, 2.1, 2.2],
        "uniform": [3.0, 3.0, 3.3],
        "pink": [4, 4.1, 4.2],
    }
    main("tuned", write(tmp_path, [(arm, arm, "fd", found) for arm, found in values.items()]))
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:6]]
    assert [row[-1] for row in rows[1:]] == ["beats it", "ties", "loses"]
    apart = -1.0 / math.hypot(*[0.1 / math.sqrt(3)] * 2)
    assert rows[1] == ["laplace", "2.100 +- 0.058", "0.68", f"{apart:.1f}", "beats it"]


def test_what_is_missing_or_unknown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="'heads' is not one of tails, imbalance, fewsteps, ancestral, tuned"):
        main("heads", tmp_path)
    with pytest.raises(typer.BadParameter, match="does not exist"):
        main("tails", tmp_path)


def test_each_study_has_a_picture() -> None:
    assert FIGURES.keys() == STUDIES.keys()
