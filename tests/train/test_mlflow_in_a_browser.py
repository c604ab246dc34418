"""What a person sees of a run on MLflow's own pages: `fit` trains, `ui` serves, and a real browser is led through them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chromium import By, Keys, WebDriverWait, needs_chromium, start_chromium
from mgnet_train.runs.journal import JOURNAL, read_records

pytestmark = [*needs_chromium, pytest.mark.nightly]

COMMAND = [sys.executable, "-m", "mgnet_train"]
SECONDS = 60  # for a page or a part of it on a busy machine


@dataclass(frozen=True, kw_only=True)
class Served:
    """A finished run and the address of MLflow's pages over it."""

    folder: Path
    address: str

    @property
    def result(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "result.json").read_text()))

    def points(self, metric: str) -> tuple[list[int], list[float]]:
        """Epochs and values of a metric in the journal."""
        epochs = [record for record in read_records(self.folder / JOURNAL, 0)[0] if record.kind == "epoch"]
        return [record.step for record in epochs], [record.metrics[metric] for record in epochs]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run of two epochs with a certificate, as a person would make and show it."""
    runs = tmp_path_factory.mktemp("mlflow") / "runs"
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    fit = [*COMMAND, "fit", "MgNet[1,1]-[4]-B^l", "--epochs", "2", "--batch-size", "256", "--log-every", "2", "--certify"]
    done = subprocess.run([*fit, "--runs", str(runs)], env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert "(MLflow has it)" in done.stdout, done.stdout + done.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    show = [*COMMAND, "ui", "--runs", str(runs), "--port", str(port)]
    log = runs.parent / "server.log"  # not a pipe: nobody would empty it, and a server with a full one stands still
    with open(log, "wb") as file:
        server = subprocess.Popen(show, env=environment, start_new_session=True, stdout=file, stderr=file)
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/health", server, log)
        assert "choose Model training at the top left" in log.read_text()
        yield Served(folder=next(path.parent for path in runs.glob("*/result.json")), address=f"http://127.0.0.1:{port}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 9)
        server.wait(timeout=30)


def _wait_until_it_answers(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        with suppress(OSError), urllib.request.urlopen(address, timeout=1):
            return
        time.sleep(0.2)
    raise AssertionError(f"the server did not answer within two minutes: {log.read_text()}")


class Page:
    """The browser at MLflow's pages; everything waits until it is there, for a limited time."""

    def __init__(self, chrome: Any) -> None:
        self.chrome = chrome

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        return WebDriverWait(self.chrome, SECONDS, poll_frequency=0.1).until(lambda _: condition(), f"not on the page: {what}")

    def text(self) -> str:
        return str(self.chrome.execute_script("return document.body.innerText"))

    def see(self, *texts: str) -> None:
        for text in texts:
            self.wait(lambda text=text: text in self.text(), text)

    def click(self, xpath: str) -> None:
        """Click the last element that is shown; parts of a page are exchanged while they load."""

        def clicked() -> bool:
            with suppress(Exception):
                shown = [element for element in self.chrome.find_elements(By.XPATH, xpath) if element.is_displayed()]
                shown[-1].click()
                return True
            return False

        self.wait(clicked, xpath)

    def click_text(self, text: str) -> None:
        self.click(f"//*[normalize-space(text())='{text}']")

    def tab(self, name: str) -> None:
        self.click(f"//*[@role='tab' and normalize-space(.)='{name}']")

    def curve(self, metric: str) -> tuple[list[float], list[float]]:
        """The points that are drawn of a metric. A search brings its chart into view, without which it is not drawn."""
        box = self.chrome.find_element(By.CSS_SELECTOR, "input[placeholder='Search metric charts']")
        box.send_keys(Keys.CONTROL, "a", Keys.NULL, metric)
        script = (
            "const lines = [...document.querySelectorAll('.js-plotly-plot')].flatMap((plot) => plot.data || []);"
            "const line = lines.find((one) => one.metricKey === arguments[0] && one.x && one.x.length);"
            "return line ? [Array.from(line.x), Array.from(line.y)] : null"
        )
        x, y = self.wait(lambda: self.chrome.execute_script(script, metric), f"a chart of {metric}")
        return x, y

    def see_picture(self, name: str, width: int, height: int) -> None:
        """Select a figure; the one selected before stays on the page until this one is there, and has another size."""
        self.click_text(name)
        script = (
            "return [...document.images].some((image) => image.src.startsWith('blob:')"
            " && image.naturalWidth === arguments[0] && image.naturalHeight === arguments[1])"
        )
        self.wait(lambda: self.chrome.execute_script(script, width, height), f"{name}, {width} x {height} pixels")


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = start_chromium(tmp_path_factory.mktemp("profile"))
    driver.set_window_size(1500, 2500)
    yield driver
    driver.quit()


@pytest.fixture
def page(chrome: Any, served: Served) -> Page:
    """The list of experiments among the pages for training, as `ui` says how to find them."""
    chrome.get("about:blank")
    chrome.get(f"{served.address}/#/experiments")
    opened = Page(chrome)
    opened.click_text("Model training")
    opened.see("Experiments")
    return opened


@pytest.fixture
def run_page(page: Page, served: Served) -> Page:
    page.click("//a[normalize-space(.)='mgnet']")
    page.click(f"//a[contains(., '{served.folder.name}')]")
    page.see("About this run")
    return page


def test_the_run_is_listed_with_its_data_set_and_the_experiment_says_which_accuracy_counts(page: Page, served: Served) -> None:
    page.see("One run for each network, data set")
    page.click("//a[normalize-space(.)='mgnet']")
    page.see("1 matching run", f"digits ({served.result['dataset']['sha256'][:32]})", "test/accuracy_last, after the last epoch")
    assert page.chrome.find_element(By.XPATH, f"//a[contains(., '{served.folder.name}')]")


def test_the_run_shows_what_was_trained_on_what_and_how_well(run_page: Page, served: Served) -> None:
    result = served.result
    run_page.see(
        "Finished",
        f"digits ({result['dataset']['sha256'][:32]})",
        f"({result['parameters']:,} parameters) on digits (1,437 training and 360 test images)",
        "MgNet[1,1]-[4]-B^l",
        "recipe.batch_size",
        "execution.threads",
        "mgnet.certificate",
        "Registered models",
        f"{result['model']}-digits",
        "Logged models (1)",
    )
    shown = run_page.text()
    assert f"test/accuracy_last\n{100 * result['test']['correct_last'] / result['test']['n']}" in shown
    names = shown.split("Parameter\nValue\n")[1].split("Logged models")[0].splitlines()
    assert len(names[::2]) == len(set(names[::2]))
    assert "None" not in names


@pytest.mark.parametrize("metric", ["train/loss", "test/accuracy_last"])
def test_the_metrics_are_drawn_as_curves_with_the_journals_points(run_page: Page, served: Served, metric: str) -> None:
    run_page.tab("Model metrics")
    run_page.see("Auto-refresh")
    assert run_page.curve(metric) == served.points(metric)


def test_the_artifacts_are_shown_as_pictures_and_the_certificate_as_text(run_page: Page) -> None:
    run_page.tab("Artifacts")
    run_page.click_text("figures")
    run_page.see_picture("curves.png", 1000, 400)
    run_page.see_picture("confusion.png", 700, 600)
    run_page.click_text("certificate.json")
    run_page.see('"kind": "verification"', '"status": "pass"')


def test_the_model_leads_to_its_version_with_a_signature_for_any_number_of_images(run_page: Page, served: Served) -> None:
    run_page.click(f"//a[normalize-space(.)='{served.result['model']}']")
    run_page.see("About this logged model", "Model versions", "v1", f"digits (#{served.result['dataset']['sha256'][:32]})")
    run_page.click("//a[normalize-space(.)='Artifacts']")
    run_page.see("MLmodel")
    run_page.click("//a[normalize-space(.)='Overview']")
    run_page.click(f"//a[contains(@href, '/models/{served.result['model']}-digits/versions/1')]")
    run_page.click_text("Inputs (1)")
    run_page.see("normalized images", "Tensor (dtype: float32, shape: [-1,1,8,8])")
    run_page.click_text("Outputs (1)")
    run_page.see("logits", "Tensor (dtype: float32, shape: [-1,10])")


def test_the_pages_load_nothing_from_elsewhere_and_send_no_telemetry(run_page: Page, served: Served) -> None:
    loaded = run_page.chrome.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded
    assert all(name.startswith((served.address, "data:", "blob:")) for name in loaded)
    with urllib.request.urlopen(f"{served.address}/ajax-api/3.0/mlflow/ui-telemetry", timeout=10) as answer:
        assert json.load(answer)["disable_ui_telemetry"] is True
