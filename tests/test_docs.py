"""What the documentation says is true: code blocks run, files and links exist, nothing of this machine is named."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from ngldm import noise_registry
from ngldm.plumbing.main import STAGES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readmes_own_distribution_works_as_typed(monkeypatch):
    monkeypatch.setattr(noise_registry, "_REGISTRY", dict(noise_registry._REGISTRY))
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "@register" in b)
    exec(block, {})
    made = noise_registry.make_noise("student_t_5")
    count = 200_000
    x = made.sample((count,), torch.Generator().manual_seed(0), dtype=torch.float64)
    # The sample mean's standard error is n^-1/2, the sample variance's sqrt((kurtosis + 2) / n).
    assert abs(float(x.mean())) < 5 * count**-0.5
    assert abs(float(x.var()) - 1) < 5 * ((made.excess_kurtosis + 2) / count) ** 0.5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} points at {target}"


def test_the_two_commands_are_lines_of_their_own():
    """.ci/run takes the second from there."""
    assert "\npip install uv && uv run dvc repro\n" in README
    assert "\npip install uv && uv run pytest\n" in README


def test_every_stage_is_described():
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert all(f"`{stage}" in text for stage in STAGES)


def test_no_lock_file_no_big_file():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "uv.lock" not in tracked
    assert all((ROOT / name).stat().st_size < 1_000_000 for name in tracked)
