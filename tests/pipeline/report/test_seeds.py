"""Differences between noises over shared seeds: against scipy's paired t test, and what is called a tie."""

import json
import shutil
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest
from ruamel.yaml import YAML
from scipy.stats import sem, t, ttest_ind, ttest_rel

from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.report.further import further_means, further_rows, tail_errors
from ngldm.pipeline.report.page import write_report
from ngldm.pipeline.report.rows import COLUMNS
from ngldm.pipeline.report.seeds import Mean, differences, paired, seed_scores, tied_for_best, unpaired
from ngldm.pipeline.report.table import conditions, few_scores, score_table, summary_rows, winners

# Three seeds that shift all noises alike: the noises themselves differ by 1 +- 0.1, the seeds by several units.
GAUSSIAN = [10.0, 14.0, 7.0]
CLEAR = [8.9, 13.0, 6.1]  # lower by 1.1, 1.0, 0.9
TIED = [10.4, 13.8, 7.1]  # +0.4, -0.2, +0.1


def column(**scores: list[float]) -> list[dict]:
    base = {**dict.fromkeys(COLUMNS, 1.0), "sampler": "auto", "metric": "fd", "num_samples": 9, "extractor": "x"}
    return [
        {**base, "noise": noise, "seeds": str(seed), "value": value, "settings": "ddim", "start_noise": "own"}
        for noise, values in scores.items()
        for seed, value in enumerate(values)
    ]


def numbered(values: list[float]) -> dict[str, float]:
    return {str(seed): value for seed, value in enumerate(values)}


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_the_interval_is_that_of_scipys_paired_t_test(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    ours, others = rng.normal(size=(2, seeds)).tolist()
    found, expected = paired(numbered(ours), numbered(others)), ttest_rel(ours, others).confidence_interval(0.95)
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("first", "second"), [(2, 2), (3, 3), (3, 8)])
def test_without_shared_seeds_the_interval_is_scipys_welch(first: int, second: int) -> None:
    rng = np.random.default_rng(first + second)
    samples = rng.normal(0.0, 1.0, first), rng.normal(1.0, 3.0, second)
    found = unpaired(*(Mean(float(np.mean(one)), float(sem(one)), len(one)) for one in samples))
    expected = ttest_ind(*samples, equal_var=False).confidence_interval(0.95)
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx((expected.low, expected.high))


def test_seeds_are_paired_by_number_and_not_by_place() -> None:
    shuffled = dict(reversed(numbered(GAUSSIAN).items()))
    assert paired(numbered(CLEAR), shuffled) == paired(numbered(CLEAR), numbered(GAUSSIAN))


def test_true_means_lie_in_the_interval_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0.3, 1.0, size=(4000, 3))
    found = [paired(numbered(list(row)), numbered([0.0, 0.0, 0.0])) for row in draws]
    inside = np.mean([abs(one.mean - 0.3) <= one.margin for one in found])
    assert inside == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 4000) ** 0.5)


def test_a_difference_within_its_interval_is_a_tie() -> None:
    rows = column(gaussian=GAUSSIAN, clear=CLEAR, tied=TIED, worse=[11.0, 15.1, 7.9])
    found = {row["noise"]: row for row in differences(rows, "gaussian")}
    assert {noise: row["shown"] for noise, row in found.items()} == {"clear": "lower", "tied": "tie", "worse": "higher"}
    # -1.1, -1.0, -0.9: mean -1, standard deviation 0.1
    margin = t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert found["clear"]["difference"] == pytest.approx(-1.0)
    assert (found["clear"]["low"], found["clear"]["high"]) == pytest.approx((-1.0 - margin, -1.0 + margin))


def test_without_a_gaussian_or_several_seeds_there_is_no_difference() -> None:
    assert differences(column(a=GAUSSIAN, b=CLEAR), None) == []
    assert differences(column(gaussian=[1.0], b=[2.0]), "gaussian") == []


def test_the_best_is_bold_only_if_nobody_ties_with_it() -> None:
    clear = column(gaussian=GAUSSIAN, clear=CLEAR)
    assert winners(clear) == {"auto": "clear"}
    assert score_table(clear).count("**") == 2
    assert conditions(clear)[0].startswith("auto: clear is lower than all others.")
    tied = column(gaussian=GAUSSIAN, tied=TIED)
    assert tied_for_best(tied) == ["gaussian", "tied"]
    assert winners(tied) == {"auto": None}
    assert "**" not in score_table(tied)
    assert conditions(tied)[0].startswith("auto: tie of gaussian, tied.")
    assert not any("[bold]" in cell for row in summary_rows(tied) for cell in row)


def test_a_tie_with_the_best_leaves_out_who_is_clearly_worse() -> None:
    rows = column(gaussian=GAUSSIAN, other=TIED, worse=[20.0, 24.1, 16.9])
    assert tied_for_best(rows) == ["gaussian", "other"]


def test_scores_of_other_conditions_are_not_compared() -> None:
    rows = column(gaussian=GAUSSIAN, clear=CLEAR)
    for row in rows[3:]:
        row["num_samples"] = 10
    assert differences(rows, "gaussian") == []
    assert winners(rows) == {"auto": None}
    assert conditions(rows)[0].startswith("auto: not comparable.")


def test_dvc_compares_means_errors_and_differences() -> None:
    found: Any = seed_scores(column(gaussian=GAUSSIAN, clear=CLEAR), "gaussian")
    assert found["fd_std_error"]["clear"]["auto"] == pytest.approx(sem(CLEAR))
    assert found["fd_std_error"]["gaussian"]["auto"] == pytest.approx(sem(GAUSSIAN))
    assert found["fd_minus_gaussian"] == {"clear": {"auto": pytest.approx(-1.0)}}
    interval = ttest_rel(CLEAR, GAUSSIAN).confidence_interval(0.95)
    assert found["fd_minus_gaussian_ci95"]["clear"]["auto"] == pytest.approx((interval.high - interval.low) / 2)
    assert seed_scores(column(gaussian=[1.0]), "gaussian") == {}


SHIFT = {"gaussian": 1.0, "laplace": 1.5}  # of the second training's scores


@pytest.fixture(scope="module")
def two_seeds(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke workspace as if each noise were trained with the seeds 0 and 1, the latter with higher scores."""
    folder = tmp_path_factory.mktemp("seeds") / "smoke"
    shutil.copytree(smoke, folder, ignore=shutil.ignore_patterns(".dvc", "checkpoints"))
    for path in sorted(folder.rglob("*laplace*")) + sorted(folder.rglob("*gaussian*")):
        parts = path.relative_to(folder).parts
        if parts[0] not in ("metrics", "samples", "plots") or parts[:2] in (
            ("metrics", "theory"),
            ("plots", "samples"),
        ):
            continue
        for noise in SHIFT:
            if path.name.startswith(noise):
                copy = path.with_name(path.name.replace(noise, f"{noise}-s1", 1))
                (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
    for noise, shift in SHIFT.items():
        file = folder / "metrics" / "evaluate" / f"{noise}-s1.json"
        content = json.loads(file.read_text())
        for scores in content["samplers"].values():
            scores["fd_classifier"] += shift
            scores["density"] = scores["density"] + 2.0
        file.write_text(json.dumps(content))
    params = YAML(typ="safe").load(folder / "params.yaml")
    params["seeds"] = [0, 1]
    params["trainings"] = {
        f"{noise}{end}": {"noise": noise, "seed": seed} for noise in SHIFT for end, seed in (("", 0), ("-s1", 1))
    }
    YAML().dump(params, folder / "params.yaml")
    return folder


def test_the_page_shows_means_differences_and_ties(two_seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two_seeds)
    params = load_params()
    rows = write_report(params, Path("reports"))
    assert [row["seeds"] for row in rows] == ["0", "0", "1", "1"] * 2
    page = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(Path("reports/index.html").read_text())
    table = next(page.iter("table"))
    body = {
        row[0].text: [" ".join("".join(cell.itertext()).split()) for cell in row[1:]]
        for row in next(table.iter("tbody"))
    }
    assert list(body) == ["gaussian", "laplace"]
    single = json.loads(Path("metrics/evaluate/laplace.json").read_text())["samplers"]["auto"]["fd_classifier"]
    # Two values at a distance of 1.5 have a standard error of 0.75.
    assert body["laplace"][1].startswith(f"{single + 0.75:#.4g} ± 0.75minus gaussian: ")
    assert "gaussian:" not in body["gaussian"][1]
    # The differences of the two seeds lie 0.5 apart: their standard error is 0.25.
    assert f"± {t.ppf(0.975, 1) * 0.25:.2g}," in body["laplace"][1]
    made = {file.name for file in Path("reports").iterdir()}
    assert "differences.csv" in made
    lines = Path("reports/differences.csv").read_text().splitlines()
    assert len(lines) == 1 + len(params.samplers)
    score = few_scores(rows)["fd_classifier"]
    assert isinstance(score, dict)
    assert score["laplace"]["auto"] == pytest.approx(single + 0.75)


def test_further_scores_are_means_with_their_standard_error(two_seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two_seeds)
    rows = further_rows(load_params())
    assert [row["seeds"] for row in rows] == ["0", "0", "1", "1"] * 2
    density = json.loads(Path("metrics/evaluate/laplace.json").read_text())["samplers"]["auto"]["density"]
    found = {(row["noise"], row["sampler"]): row for row in further_means(rows)}
    assert len(found) == 4
    assert found["laplace", "auto"]["density"] == (pytest.approx(density + 1.0), pytest.approx(1.0), False)
    assert found["laplace", "auto"]["seeds"] == "0, 1"


def test_the_tails_error_is_the_mean_over_trainings() -> None:
    rows = [
        {"noise": "gaussian", "sampler": "auto", "seeds": str(i), "msle": value} for i, value in enumerate((1.0, 4.0))
    ]
    assert tail_errors(rows) == {"msle": {"gaussian": {"auto": 2.5}}}
    assert tail_errors([*rows, {**rows[0], "msle": None}]) == {"msle": {"gaussian": {"auto": None}}}
