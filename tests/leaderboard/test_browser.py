"""The site in a real browser: from disk and over http, by keyboard, dark, narrow, without scripts, printed; axe finds nothing."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chromium import By, Keys, Select, WebDriverWait, needs_chromium, start_chromium
from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.measured import Measured

ROOT = Path(__file__).parents[2]
AXE = ROOT / "leaderboard" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = ("index", "plots", "discrepancies", "comparisons", "digits", "duality", "methods", "contribute", "model/mgnet_2_2_c32_bl")

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless browser with a fresh profile."""
    driver = start_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


class Browser:
    """The browser at one site, with the settings a test asks for."""

    def __init__(self, chrome: Any, address: str) -> None:
        self.chrome = chrome
        self.address = address

    def open(self, page: str, anchor: str = "") -> None:
        self.chrome.get("about:blank")
        self.chrome.get(f"{self.address}/{page}.html{anchor}")

    def find(self, selector: str) -> Any:
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.chrome.find_elements(By.CSS_SELECTOR, selector))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.chrome.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.chrome, 10, poll_frequency=0.05).until(lambda _: condition())

    def press(self, *keys: str) -> None:
        self.chrome.switch_to.active_element.send_keys(*keys)

    def rows(self) -> list[str]:
        return list(self.run("return [...document.querySelectorAll('#rows tr')].map((row) => row.id)"))

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.chrome.get_log("browser")]

    def command(self, name: str, **values: Any) -> Any:
        return self.chrome.execute_cdp_cmd(name, values)

    def size(self, width: int, height: int) -> None:
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, *, scheme: str = "light", kind: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=kind, features=features)

    def scripts(self, allowed: bool) -> None:
        self.command("Emulation.setScriptExecutionDisabled", value=not allowed)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory,
    demo: dict[str, Any],
    report: dict[str, Any],
    measured: Callable[..., Measured],
    recipe: Callable[..., dict[str, Any]],
) -> Path:
    """The site of the committed claims, with a measured record, a certificate and a demo of the fixtures.

    Committed measurements and certificates grow in number, so the tests of behavior leave them aside.
    """
    from mgnet_leaderboard.records.union import path_of, text_of

    folder = tmp_path_factory.mktemp("browser")
    for name, value in (("report", report), ("demo", demo)):
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    records = folder / "records"
    assert main(["ingest", str(folder / "report.json"), str(folder / "demo.json"), "--records", str(records)]) == 0
    two_studies = (
        measured(),
        measured((355, 358, 357), series="b", model="mgnet_2_2_c32_bli"),
        measured((340, 344, 339), series="x", model="mgnet_2_2_c16_bl", epochs=6, recipe=recipe(epochs=6)),
        measured((341, 344, 339), series="y", model="mgnet_2_2_c16_bli", epochs=6, recipe=recipe(epochs=6)),
    )
    for record in two_studies:
        path = records / path_of(record)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text_of(record), encoding="utf-8")
    results = folder / "results"
    committed = ROOT / "leaderboard" / "results"
    shutil.copytree(committed / "claims", results / "claims")
    shutil.copyfile(committed / "schema.json", results / "schema.json")
    assert main(["build", "--results", str(results), "--records", str(records), "--out", str(folder / "site")]) == 0
    return folder / "site"


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """The address of a local server of the site, under a prefix as on a project page."""
    prefix = site.parent / "www"
    prefix.mkdir()
    shutil.copytree(site, prefix / "mgnet")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(prefix)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/mgnet"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["disk", "http"])
def browser(request: pytest.FixtureRequest, chrome: Any, site: Path, served: str) -> Browser:
    """The browser at the site, from disk and over http, with its settings as new."""
    opened = Browser(chrome, site.as_uri() if request.param == "disk" else served)
    opened.scripts(True)
    opened.size(1280, 900)
    opened.media()
    return opened


@pytest.fixture
def on_disk(chrome: Any, site: Path) -> Browser:
    """The browser at the site on disk."""
    opened = Browser(chrome, site.as_uri())
    opened.scripts(True)
    opened.size(1280, 900)
    opened.media()
    return opened


def test_no_page_logs_an_error_or_loads_from_elsewhere(browser: Browser) -> None:
    for page in PAGES:
        browser.open(page)
        loaded = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert all(name.startswith((browser.address, "data:")) for name in loaded), page
        assert browser.errors() == [], page


def test_the_first_tab_stop_skips_to_the_content(on_disk: Browser) -> None:
    on_disk.open("index")
    on_disk.find("body").send_keys(Keys.TAB)
    assert on_disk.chrome.switch_to.active_element.text == "Skip to the content"
    on_disk.press(Keys.ENTER)
    assert on_disk.run("return document.activeElement.id") == "main"


def test_the_board_is_sorted_by_keyboard_and_says_so(browser: Browser) -> None:
    browser.open("index")
    browser.run("document.querySelector('th[data-sort=parameters_exact] button').focus()")
    browser.press(Keys.ENTER)
    head = browser.find("th[data-sort=parameters_exact]")
    browser.wait(lambda: head.get_attribute("aria-sort") == "descending")
    values = browser.run("return [...document.querySelectorAll('#rows tr td:nth-child(5)')].map((cell) => cell.textContent)")
    counts = [int(re.sub(r"\D", "", value.split("✓")[0].split("≠")[0].split("≈")[0])) for value in values if "V" in value]
    assert counts == sorted(counts, reverse=True)
    assert "not counted" in values[-1]
    browser.press(Keys.ENTER)
    browser.wait(lambda: head.get_attribute("aria-sort") == "ascending")
    first = browser.run("return document.querySelector('#rows tr td:nth-child(5)').textContent")
    assert f"{min(counts):,}" in first


def test_a_view_is_reopened_from_its_address(browser: Browser) -> None:
    browser.open("index")
    everything = len(browser.rows())
    browser.find("#search").send_keys("c256_bl cifar100")
    browser.wait(lambda: 0 < len(browser.rows()) < everything)
    browser.run("document.querySelector('th[data-sort=reported] button').click()")
    rows, address = browser.rows(), browser.chrome.current_url
    assert browser.find("#status").text == f"{len(rows)} of {everything} rows."
    assert "q=c256_bl+cifar100" in address
    browser.chrome.get("about:blank")
    browser.chrome.get(address)
    browser.wait(lambda: browser.rows() == rows)
    assert browser.find("#search").get_attribute("value") == "c256_bl cifar100"


def test_the_filters_keep_exactly_the_rows_of_their_kind(on_disk: Browser) -> None:
    on_disk.open("index")
    Select(on_disk.find("#show")).select_by_value("measured")
    names = ("mgnet_2_2_c16_bl", "mgnet_2_2_c16_bli", "mgnet_2_2_c32_bl", "mgnet_2_2_c32_bli")
    on_disk.wait(lambda: sorted(on_disk.rows()) == [f"{name}--digits" for name in names])
    Select(on_disk.find("#show")).select_by_value("discrepant")
    on_disk.wait(lambda: len(on_disk.rows()) > 2)
    assert all("discrepant" in row.text for row in on_disk.all("#rows tr"))
    Select(on_disk.find("#show")).select_by_value("own")
    Select(on_disk.find("#dataset")).select_by_value("imagenet")
    on_disk.wait(lambda: all(key.endswith("--imagenet") for key in on_disk.rows()))
    assert all(key.startswith("mgnet_") for key in on_disk.rows())
    on_disk.find("#reset").click()
    on_disk.wait(lambda: len(on_disk.rows()) == int(on_disk.find("#board").get_attribute("data-total")))


def test_two_rows_are_compared_by_keyboard(browser: Browser) -> None:
    browser.open("index", "#q=mgnet_2_2_2_2_c256_bl&dataset=cifar100")
    browser.wait(lambda: len(browser.all("#rows input")) == 2)
    for box in browser.all("#rows input"):
        box.send_keys(Keys.SPACE)
    browser.run("document.getElementById('compare-open').focus()")
    browser.press(Keys.ENTER)
    assert browser.find("#compare").get_attribute("open") is not None
    assert "8,301,924" in browser.find("#compare-table").text
    assert "0.3 standard errors of a test set of 10,000 images: not significant." in browser.find("#compare-note").text
    browser.press(Keys.ESCAPE)
    assert browser.find("#compare").get_attribute("open") is None
    assert "compare=" in browser.chrome.current_url


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_the_download_holds_the_view_and_nothing_else(on_disk: Browser, tmp_path: Path, kind: str) -> None:
    on_disk.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    on_disk.open("index", "#dataset=mnist")
    on_disk.wait(lambda: on_disk.rows() and all(key.endswith("--mnist") for key in on_disk.rows()))
    on_disk.find(f"#save-{kind}").click()
    path = tmp_path / f"mgnet-board.{kind}"
    on_disk.wait(path.is_file)
    content = path.read_text(encoding="utf-8")
    if kind == "json":
        assert [row["key"] for row in json.loads(content)] == on_disk.rows()
    else:
        assert [line.split(",")[0] for line in content.splitlines()[1:]] == on_disk.rows()


def test_an_empty_view_is_downloaded_empty(on_disk: Browser, tmp_path: Path) -> None:
    on_disk.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    on_disk.open("index", "#q=nothing-is-called-this")
    on_disk.wait(lambda: on_disk.rows() == [])
    on_disk.find("#save-csv").click()
    on_disk.wait((tmp_path / "mgnet-board.csv").is_file)
    assert len((tmp_path / "mgnet-board.csv").read_text(encoding="utf-8").splitlines()) == 1


def test_the_demo_is_stepped_by_keyboard_one_state_at_a_time(browser: Browser) -> None:
    browser.open("duality")
    assert [state.is_displayed() for state in browser.all(".state")] == [True, False]
    browser.run("document.getElementById('step-on').focus()")
    browser.press(Keys.ENTER)
    assert [state.is_displayed() for state in browser.all(".state")] == [False, True]
    assert browser.find("#step-status").text == "on grid 1, after iteration 1, 2 of 2"
    browser.run("document.getElementById('step').focus()")
    browser.press(Keys.ARROW_LEFT)
    assert [state.is_displayed() for state in browser.all(".state")] == [True, False]


def test_without_scripts_the_tables_the_plots_and_all_frames_stand_there(browser: Browser) -> None:
    browser.scripts(False)
    browser.open("index")
    assert len(browser.all("#rows tr")) == int(browser.find("#board").get_attribute("data-total"))
    assert not browser.find("#controls").is_displayed()
    browser.open("plots")
    assert browser.find("svg.plot").is_displayed()
    browser.open("duality")
    assert all(state.is_displayed() for state in browser.all(".state"))
    assert not browser.find("#stepper").is_displayed()


@pytest.mark.parametrize("page", PAGES)
def test_a_narrow_page_does_not_scroll_sideways(on_disk: Browser, page: str) -> None:
    on_disk.size(390, 844)
    on_disk.open(page)
    assert on_disk.run("return document.scrollingElement.scrollWidth") <= 390


def test_a_deep_link_shows_its_row(on_disk: Browser) -> None:
    on_disk.open("index", "#mgnet_2_2_2_2_c256_bl--cifar100")
    box = on_disk.run("return document.querySelector('tr:target').getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] < 900


def test_an_injected_script_or_style_is_blocked(on_disk: Browser) -> None:
    on_disk.open("index")
    on_disk.run(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s);"
        "const i = new Image(); i.src = 'https://example.invalid/x.png'; document.body.append(i);"
        "document.body.setAttribute('style', 'display: none')"
    )
    assert on_disk.run("return window.broken === undefined")
    assert on_disk.run("return getComputedStyle(document.body).display") != "none"
    on_disk.wait(lambda: len([e for e in on_disk.errors() if "Content Security Policy" in e]) >= 1)


def test_print_leaves_out_the_controls_and_keeps_the_table(on_disk: Browser) -> None:
    on_disk.open("index")
    assert on_disk.find("#controls").is_displayed()
    on_disk.media(kind="print")
    assert not on_disk.find("#controls").is_displayed()
    assert on_disk.find("#rows tr").is_displayed()
    assert len(on_disk.command("Page.printToPDF")["data"]) > 20_000


def axe(browser: Browser) -> list[str]:
    """Every violation: rule and first element."""
    browser.run(AXE.read_text(encoding="utf-8"))
    found = browser.chrome.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {resultTypes: ['violations']})"
        ".then((r) => done(r.violations), (e) => done([{id: String(e), nodes: []}]))"
    )
    return [f"{one['id']}: {one['nodes'][0]['html'][:120] if one['nodes'] else ''}" for one in found]


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is missing: npm install --no-save --prefix leaderboard axe-core")
@pytest.mark.parametrize(
    "scheme, width",
    [
        ("light", 1280),
        ("dark", 390),
        pytest.param("dark", 1280, marks=pytest.mark.nightly),
        pytest.param("light", 390, marks=pytest.mark.nightly),
    ],
)
def test_axe_finds_no_violation_on_any_page(on_disk: Browser, scheme: str, width: int) -> None:
    on_disk.size(width, 900)
    on_disk.media(scheme=scheme)
    certificate = next((Path(on_disk.address.removeprefix("file://")) / "certificate").iterdir()).stem
    for page in (*PAGES, f"certificate/{certificate}"):
        on_disk.open(page)
        assert axe(on_disk) == [], page


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is missing: npm install --no-save --prefix leaderboard axe-core")
def test_axe_finds_no_violation_in_the_open_comparison(on_disk: Browser) -> None:
    on_disk.open("index", "#compare=mgnet_2_2_c32_bl--digits,mgnet_2_2_c16_bl--digits")
    on_disk.wait(lambda: on_disk.find("#compare-open").is_enabled())
    on_disk.find("#compare-open").click()
    assert axe(on_disk) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colors_follow_the_readers_scheme(on_disk: Browser, scheme: str) -> None:
    on_disk.media(scheme=scheme)
    on_disk.open("index")
    shades = on_disk.run("return getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").rstrip(")")
    assert (sum(map(int, shades.split(","))) < 200) == (scheme == "dark")


def test_a_paged_board_finds_rows_of_other_pages(
    chrome: Any, tmp_path: Path, measured: Callable[..., Measured], place: Callable[..., Path]
) -> None:
    for number in range(260):
        place(tmp_path / "results", measured((350,), series=f"{number:04d}", model=f"mgnet_2_2_c{number + 1}_bl"))
    folders = ["--results", str(tmp_path / "results"), "--records", str(tmp_path / "none"), "--out", str(tmp_path / "site")]
    assert main(["build", *folders]) == 0
    browser = Browser(chrome, (tmp_path / "site").as_uri())
    # Another test may have left the browser printing, which hides the controls.
    browser.media()
    browser.scripts(True)
    browser.open("index")
    hidden = {f"mgnet_2_2_c{number + 1}_bl--digits" for number in range(260)} - set(browser.rows())
    assert len(hidden) == 10
    wanted = sorted(hidden)[0]
    browser.find("#search").send_keys(wanted.removesuffix("--digits"))
    browser.wait(lambda: browser.rows() == [wanted])
    browser.find("#search").send_keys(Keys.CONTROL, "a", Keys.DELETE)
    browser.find("#search").send_keys(Keys.BACKSPACE)
    browser.wait(lambda: len(browser.rows()) == 250)
    browser.find("#more").click()
    browser.wait(lambda: len(browser.rows()) == 260)
