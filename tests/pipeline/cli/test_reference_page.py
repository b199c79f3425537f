"""docs/reference.md: what its rows say."""

from pathlib import Path

import yaml

from ngldm.pipeline.cli.reference_page import reference


def test_each_stage_has_its_two_rows(root: Path) -> None:
    lines = reference(root).splitlines()
    for stage in yaml.safe_load((root / "dvc.yaml").read_text())["stages"]:
        rows = [line for line in lines if line.startswith((f"| `{stage}` |", f"| `{stage}@"))]
        assert len(rows) == 2, stage
        assert len(rows[0].split()) > 8  # a sentence


def test_a_row_shows_the_choices_the_default_and_the_range(root: Path) -> None:
    page = reference(root)
    assert "| `diffusion.objective` | eps, x0, v, u | `x0` | what the network predicts |" in page
    assert "| `train.ema_decay` | number >= 0.0 < 1.0 | `0.995` |" in page
    assert "| `sampler_options.<label>.x0_handling` | none, clip, dynamic, range or none |" in page
