"""MLflow's UI and the report, as a reader's browser shows them: a headless chromium on a finished `smoke` run.

NGLDM_SCREENSHOTS=<folder> keeps the screenshots, to be looked at.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (Debian: apt install chromium)")
# MLflow's UI asks whether its optional login is installed, and takes the 404 for a no; a browser logs every 404.
EXPECTED_404 = "/mlflow/users/current"
# By its specification a notice that a layout was finished one frame later, which browsers report as an error; MLflow's
# table of runs gives rise to it when a parent is unfolded.
NOTICE = "ResizeObserver loop completed"
WAIT = 120_000


@dataclass
class Tab:
    """A page that notes what goes wrong, and where it asks for anything.

    Attributes:
        errors: console errors and exceptions.
        requests: addresses of all requests.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(WAIT)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: NOTICE in str(error) or self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _console(self, message: Any) -> None:
        expected = EXPECTED_404 in message.location.get("url", "") or NOTICE in message.text
        if message.type == "error" and not expected:
            self.errors.append(f"{message.text} ({message.location.get('url')})")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("NGLDM_SCREENSHOTS") or tmp_path_factory.mktemp("screens"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def ui(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an `mlflow ui` on the smoke run's store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("ui") / "log"
    options = ("--backend-store-uri", "sqlite:///mlflow.db", "--port", str(port), "--workers", "1")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "mlflow", "ui", *options], cwd=smoke, env=environment, stdout=output, stderr=output
        ) as server,
    ):
        try:
            for _ in range(2 * WAIT // 1000):
                assert server.poll() is None, log.read_text()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
                    break
                except OSError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/#"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def runs(smoke: Path) -> tuple[str, dict[str, str]]:
    """The experiment's id, and noise to the id of its scored run."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{smoke / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ngldm").experiment_id
    found = client.search_runs([experiment], "metrics.`kid.auto` > -1")
    return experiment, {run.data.tags["noise"]: run.info.run_id for run in found}


def test_the_ui_finds_compares_and_charts_the_runs(
    ui: str, runs: tuple[str, dict[str, str]], browser: Any, screens: Path
) -> None:
    experiment, ids = runs
    assert set(ids) == {"gaussian", "laplace"}
    tab = Tab(browser.new_page(viewport={"width": 1600, "height": 1000}))
    page = tab.page
    page.goto(f"{ui}/experiments/{experiment}/runs")
    page.get_by_role("link", name="smoke digits").first.wait_for()  # the parent, under which the table folds its runs
    page.get_by_text("3 matching runs").wait_for()
    page.screenshot(path=screens / "runs.png")

    page.locator(".ag-row button").first.click()  # the parent's plus sign
    for noise in ids:
        named = page.get_by_role("link", name=noise, exact=True)
        page.locator(".ag-row").filter(has=named).locator(".ag-selection-checkbox input").first.check()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Comparing 2 Runs").first.wait_for()
    page.get_by_text("fd_classifier.auto").first.wait_for(state="attached")
    for run in ids.values():
        page.get_by_role("link", name=run).first.wait_for()
    page.screenshot(path=screens / "compare.png")

    page.locator("svg.main-svg path").first.wait_for(state="attached")  # the comparison's chart, drawn by plotly
    assert tab.errors == []
    page.close()


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("light", 1280, "light"), ("dark", 1280, "dark"), ("narrow", 390, "dark")]
)
def test_the_report_shows_without_network_error_or_overflow(
    smoke: Path, browser: Any, screens: Path, name: str, width: int, scheme: str
) -> None:
    tab = Tab(browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme))
    page = tab.page
    address = (smoke / "reports" / "index.html").as_uri()
    page.goto(address)
    page.screenshot(path=screens / f"report-{name}.png", full_page=True)
    assert tab.errors == []
    assert [url for url in tab.requests if not url.startswith("data:")] == [address]
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.images.length") >= 10
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # The plots' own ink follows the page: black axes and letters on light, near white ones on dark.
    plot = Image.open(BytesIO(page.locator(".plot img").first.screenshot())).convert("L")
    darkest, lightest = plot.getextrema()
    assert (lightest > 245 and darkest < 60) if scheme == "light" else (lightest > 200 and darkest < 40)
    page.close()


def test_the_reports_tables_can_be_sorted_and_its_pictures_enlarged(smoke: Path, browser: Any, screens: Path) -> None:
    tab = Tab(browser.new_page(viewport={"width": 390, "height": 800}))
    page = tab.page
    page.goto((smoke / "reports" / "index.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    table = page.locator("table", has_text="Every noise, sampler and class")
    column = [heading.strip() for heading in table.locator("thead th").all_inner_texts()].index("coverage")

    def shown() -> list[float]:
        return [float(text) for text in table.locator(f"tbody tr > :nth-child({column + 1})").all_inner_texts()]

    before = shown()
    assert before != sorted(before)
    button = table.locator("thead th button").nth(column)
    button.focus()
    page.keyboard.press("Enter")
    assert shown() == sorted(before)
    assert (
        table.locator("th[aria-sort=ascending]").all_inner_texts()
        == table.locator("thead th").all_inner_texts()[column : column + 1]
    )
    button.click()
    assert shown() == sorted(before, reverse=True)
    assert table.locator("th[aria-sort=descending]").count() == 1

    picture = page.locator("figure.pixels img").first
    small = picture.bounding_box()["width"]
    picture.click()
    large = page.locator("dialog[open] img")
    assert large.bounding_box()["width"] > 2 * small
    assert large.get_attribute("alt") == picture.get_attribute("alt")
    page.screenshot(path=screens / "report-zoom.png")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert tab.errors == []
    page.close()
