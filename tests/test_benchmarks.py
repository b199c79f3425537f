"""The benchmarks at their smallest size: they run, compare equal work, values agree. No timing is asserted."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

pytest.importorskip("denoising_diffusion_pytorch")
from benchmarks import fid, latents, pipeline, sample, scaling, train_step
from benchmarks.common import interleaved, peak_mib, publish, summary
from benchmarks.networks import ours_like, parameters
from ngldm.unet import UNet


@pytest.mark.parametrize("target", [60_000, 1_000_000, 5_000_000])
def test_our_network_is_as_large_as_the_peers(target: int) -> None:
    assert parameters(UNet(3, **ours_like(target, 3))) == pytest.approx(target, rel=0.02)


def test_an_impossible_size_is_refused() -> None:
    with pytest.raises(ValueError, match="no U-Net of ours has 10 parameters"):
        ours_like(10, 3)


def test_repeats_are_interleaved_after_an_untimed_round() -> None:
    order: list[str] = []
    seconds = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 2)
    assert "".join(order) == "ababab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_the_ratio_is_of_the_same_repeat() -> None:
    rows = summary({"ours": [1.0, 2.0, 4.0], "peer": [3.0, 6.0, 12.0]}, 10, "ours")
    assert [row["times slower than ours"] for row in rows] == [1.0, 3.0]
    assert rows[1]["images/s"] == pytest.approx(10 / 6)


@pytest.mark.parametrize(
    "compare",
    [
        partial(train_step.against_peer, "diffusers"),
        partial(train_step.against_peer, "lucidrains"),
        train_step.against_the_paper,
        sample.against_diffusers,
    ],
    ids=["diffusers", "lucidrains", "paper", "sampling"],
)
def test_networks_have_equal_parameters_and_all_run(compare) -> None:
    rows = compare("smallest")
    counts = [row["parameters"] for row in rows]
    assert all(row["seconds"] > 0 for row in rows)
    assert max(counts) <= 1.021 * min(counts)


def test_fewest_calls_are_those_that_reach_the_ancestral_score(smoke: Path) -> None:
    rows = sample.equal_score(smoke, "smallest")
    assert {row["noise"] for row in rows} == {"gaussian", "laplace"}
    for row in rows:
        reaching = [calls for calls in sample.CALLS if row[f"{calls} calls"] <= row["ancestral"]]
        assert row["fewest calls"] == (reaching[0] if reaching else "")


def test_peak_memory_is_that_of_the_call() -> None:
    assert 60 < peak_mib(lambda: torch.ones(2**24)) < 100  # 64 MiB


def test_scoring_agrees_with_pytorch_fid() -> None:
    ours, peers = fid.distance("smallest")
    assert ours["value"] == pytest.approx(peers["value"], rel=fid.RELATIVE)
    assert len(fid.evaluation("smallest")) == 4


def test_the_others_run_and_are_written(tmp_path: Path) -> None:
    results = {
        "latents": latents.compare("smallest", True),
        "folders": scaling.folder_reading("smallest"),
        "training": scaling.training("smallest"),
        "start-up": pipeline.start_up("smallest"),
    }
    publish("others", results, tmp_path)
    written = json.loads((tmp_path / "others.json").read_text())
    assert written["results"].keys() == results.keys()
    assert written["machine"]["torch"]
    assert [row["files"] for row in written["results"]["folders"]] == [16, 32]
