"""The built site: what a reader without JavaScript and without a network finds in it."""

from __future__ import annotations

import csv
import html
import html.parser
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.measured import Measured, merged
from mgnet_leaderboard.site.board_data import FIELDS
from mgnet_leaderboard.statistics.study import studies
from mgnet_leaderboard.store.evidence import gathered
from mgnet_leaderboard.store.folder import read_results

Json = dict[str, Any]
Build = Callable[..., Path]
PAGES = ("index", "plots", "discrepancies", "comparisons", "digits", "duality", "methods", "contribute")
# Elements that are never closed.
VOID = {"meta", "link", "input", "br", "col", "img"}


class Outline(html.parser.HTMLParser):
    """Balance of elements, ids, links and what the page would fetch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.styled: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.links.append(str(values["href"]))
        elif "href" in values or "src" in values:
            self.fetched.append(str(values.get("href") or values.get("src")))
        self.styled += [name for name in values if name == "style" or name.startswith("on")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """SVG shapes close themselves."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build the site of a results folder, without local records unless given; the folder of the site."""

    def make(results: Path, records: str = "none", out: str = "site") -> Path:
        folders = ["--results", str(results), "--records", str(tmp_path / records), "--out", str(tmp_path / out)]
        assert main(["build", *folders]) == 0
        return tmp_path / out

    return make


@pytest.fixture
def site(results: Path, build: Build) -> Path:
    """The site of the results."""
    return build(results)


def script_data(site: Path) -> Json:
    script = (site / "board.js").read_text(encoding="utf-8")
    data: Json = json.loads(script.removeprefix("window.mgnetBoard = ").removesuffix(";\n"))
    return data


def text(path: Path) -> str:
    """The visible words of a page."""
    return words(path.read_text(encoding="utf-8"))


def words(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", markup).replace("&nbsp;", " ").split())


def row(site: Path, key: str) -> str:
    match = re.search(rf'<tr id="{key}">.*?</tr>', (site / "index.html").read_text(encoding="utf-8"), re.DOTALL)
    assert match
    return words(match[0])


def test_every_page_is_well_formed_with_unique_ids_and_no_inline_style_or_handler(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert {f"{name}.html" for name in PAGES} <= {path.name for path in pages}
    for path in pages:
        outline = Outline(path)
        assert outline.open == [], path
        assert len(set(outline.ids)) == len(outline.ids), path
        assert outline.styled == [], path


def test_every_link_leads_to_a_file_and_an_anchor_that_exist(site: Path) -> None:
    outlines = {path.resolve(): Outline(path) for path in site.rglob("*.html")}
    for path, outline in outlines.items():
        for link in outline.links:
            target, _, anchor = link.partition("#")
            found = (path.parent / target).resolve() if target else path
            assert found.is_file(), (path, link)
            assert not anchor or anchor in outlines[found].ids, (path, link)


def test_no_page_fetches_from_another_host_and_every_page_forbids_it(site: Path) -> None:
    for path in site.rglob("*.html"):
        outline = Outline(path)
        assert all(not re.match(r"(?:https?:)?//", address) for address in outline.fetched), path
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in path.read_text(encoding="utf-8")
    for name in ("app.js", "style.css"):
        assert not re.search(r"https?://|@import|fetch\(|XMLHttpRequest", (site / name).read_text(encoding="utf-8"))


def test_two_builds_are_equal_byte_for_byte(site: Path, results: Path, tmp_path: Path, build: Build) -> None:
    copy = tmp_path / "elsewhere" / "results"
    shutil.copytree(results, copy)
    second = build(copy, out="again")
    first = {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert first == {path.relative_to(second): path.read_bytes() for path in second.rglob("*") if path.is_file()}


def test_the_three_kinds_of_evidence_are_in_their_own_cells_and_the_unknown_is_called_unknown(site: Path) -> None:
    assert row(site, "mgnet_2_2_2_2_c256_bl--cifar100") == (
        "MgNet[2,2,2,2]-256-B ℓ mgnet_2_2_2_2_c256_bl CIFAR-100 R 79.94 v2 T4 R 8.3M V 8,301,924 ✓ agrees "
        "V ✓ pass random weights V 3.6G feature form 4.6G not measured"
    )
    assert row(site, "gdfi_lin_post--cifar10").endswith(
        "CIFAR-10 R 92.54 v1 T1 not printed not counted not verified not counted not measured"
    )
    assert row(site, "wrn28_2--cifar10").endswith(
        "Q 95.83 v2 T4 R 36.5M V 1,467,610 ≠ discrepant not verified not counted not measured"
    )


def test_the_measured_accuracy_is_the_mean_of_the_counted_images_with_its_interval(site: Path) -> None:
    # 357, 358 and 356 of 360: mean 99.1667, standard deviation 0.2778, t(2) = 4.3027, so 0.6900.
    assert row(site, "mgnet_2_2_c32_bl--digits").endswith("M 99.17 ± 0.69 3 seeds, n = 360")
    assert "357 of 360 99.17" in text(site / "model" / "mgnet_2_2_c32_bl.html")


def test_both_versions_of_the_paper_are_in_one_row(site: Path) -> None:
    assert "R 93.83 v1 T3 R 94.34 v2 T3 R 8.1M" in row(site, "mgresnet18_al_bli--cifar10")


def test_the_register_lists_the_discrepant_count_with_its_remark(site: Path) -> None:
    page = text(site / "discrepancies.html")
    assert "5 printed counts were computed again" in page
    assert "2 follow from the exact count by rounding or truncating, 2 are within 1 %, 1 do not" in page
    assert "+2387.0 % ≠ discrepant Label and count are of two networks." in page


def test_the_first_page_counts_the_evidence(site: Path) -> None:
    page = text(site / "index.html")
    assert "Claimed 6 accuracies reported in two versions of the paper, 1 of them quoted" in page
    assert "1 model with a certificate that passed" in page
    assert "None of the accuracies of the paper was trained again here." in page
    assert "Measured 3 training runs on record, for 1 of 6 pairs" in page


def test_the_page_of_a_certificate_shows_the_statement_escaped_and_the_counts(site: Path) -> None:
    (path,) = (site / "certificate").iterdir()
    content = path.read_text(encoding="utf-8")
    assert "also where u &lt; 0" in content
    assert "3,602,670,592 (fvcore), 3,602,670,592 (closed form)" in content


def test_the_demo_shows_every_frame_without_a_script(site: Path) -> None:
    content = (site / "duality.html").read_text(encoding="utf-8")
    assert content.count('<section class="state"') == 2
    assert content.count('<svg class="channel"') == 1 + 2 * 2 * 3
    assert "1e-15" in content
    assert "0.7" in content


def test_the_csv_holds_the_numbers_and_neutralizes_formulas(site: Path) -> None:
    with (site / "board.csv").open(encoding="utf-8", newline="") as file:
        rows = {line["key"]: line for line in csv.DictReader(file)}
    assert rows["mgnet_2_2_2_2_c256_bl--cifar100"]["macs_feature_form"] == "4603012096"
    assert rows["mgnet_2_2_c32_bl--digits"]["measured_accuracy"] == "99.166667"
    assert rows["mgnet_2_2_c32_bl--digits"]["reported_v2"] == ""
    from mgnet_leaderboard.site.board_data import csv_text

    assert "'=1+1" in csv_text([("=1+1",)])


def test_the_data_of_the_script_cannot_close_a_tag_and_equals_the_csv(site: Path) -> None:
    assert "<" not in (site / "board.js").read_text(encoding="utf-8")
    data = script_data(site)
    with (site / "board.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == data["fields"]
    assert [line[0] for line in lines[1:]] == [values[0] for values in data["rows"]]


def test_local_records_are_marked_and_hidden_by_a_committed_twin(
    results: Path, tmp_path: Path, measured: Callable[..., Measured], place: Callable[..., Path], build: Build
) -> None:
    place(tmp_path / "local", measured(dirty=True, series="x", model="mgnet_2_2_c64_bl"))
    place(tmp_path / "local", measured())
    site = build(results, records="local")
    assert "local" in row(site, "mgnet_2_2_c64_bl--digits")
    assert "local" not in row(site, "mgnet_2_2_c32_bl--digits")
    assert "uncommitted changes" in text(site / "model" / "mgnet_2_2_c64_bl.html")


def test_a_rejected_record_leaves_the_old_site_as_it_was(
    site: Path, results: Path, tmp_path: Path, rejected: Callable[..., str]
) -> None:
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    (results / "claims" / "paper.json").write_text("{", encoding="utf-8")
    rejected("build", "--results", results, "--out", site)
    assert before == {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".site")] == []


def test_a_folder_of_somebody_else_is_never_replaced(results: Path, tmp_path: Path, rejected: Callable[..., str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work", encoding="utf-8")
    assert "did not write" in rejected("build", "--results", results, "--out", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text(encoding="utf-8") == "years of work"


def test_an_output_that_cannot_be_a_folder_is_rejected(results: Path, tmp_path: Path, rejected: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "is not a folder" in rejected("build", "--results", results, "--out", tmp_path / "file")
    assert "cannot be written" in rejected("build", "--results", results, "--out", tmp_path / "file" / "site")


def test_an_empty_board_says_so_on_every_page(tmp_path: Path, build: Build) -> None:
    (tmp_path / "results").mkdir()
    site = build(tmp_path / "results")
    assert "Nothing was measured on the digits yet." in text(site / "digits.html")
    assert "No demo data is on record yet." in text(site / "duality.html")
    assert "No comparisons are on record." in text(site / "comparisons.html")


def test_a_board_of_many_rows_is_paged_and_every_row_is_reachable_without_a_script(
    tmp_path: Path, measured: Callable[..., Measured], place: Callable[..., Path], build: Build
) -> None:
    for number in range(260):
        place(tmp_path / "results", measured((350,), series=f"{number:04d}", model=f"mgnet_2_2_c{number + 1}_bl"))
    site = build(tmp_path / "results")
    pages = [(site / name).read_text(encoding="utf-8") for name in ("index.html", "board-2.html")]
    assert [page.count('<tr id="mgnet') for page in pages] == [250, 10]
    assert 'href="board-2.html"' in pages[0]
    assert len(script_data(site)["html"]) == 260


def test_a_network_with_changed_arguments_is_never_in_the_row_of_the_printed_one(
    results: Path, measured: Callable[..., Measured], place: Callable[..., Path], build: Build
) -> None:
    data = {"name": "cifar10", "split": "test", "n": 10_000, "sha256": "c" * 64}
    args = {"in_chans": 3, "num_classes": 10, "channels": [8, 16, 32, 64]}
    counts = {"n": 10_000, "correct_last": 9_000, "correct_best": 9_000}
    changed = measured((9_000,), series="v", model="mgresnet18_al_bli", model_args=args, dataset=data, test=counts, notation=None)
    path = place(results, changed)
    site = build(results)
    assert row(site, "mgresnet18_al_bli--cifar10").endswith("not measured")
    (key,) = [values[0] for values in script_data(site)["rows"] if values[0].startswith("mgresnet18_al_bli--cifar10--")]
    assert row(site, key).startswith("mgresnet18_al_bli (channels [8, 16, 32, 64]) mgresnet18_al_bli CIFAR-10 not reported")
    assert path.is_file()


def test_the_digits_study_names_what_differs_and_tells_apart_what_its_seeds_can(
    results: Path, result: Callable[..., Json], measured: Callable[..., Measured], place: Callable[..., Path], build: Build
) -> None:
    other = {**result()["execution"], "form": "feature"}
    place(results, measured((357, 358, 357), series="f", execution=other))
    place(results, measured((300, 301, 302), series="g", model="mgnet_2_2_c8_bl"))
    page = text(build(results) / "digits.html")
    assert "mgnet_2_2_c32_bl · form residual" in page
    assert "mgnet_2_2_c32_bl · form feature" in page
    assert "2 pairs that no question is about have at least two seeds on both sides." in page
    assert "2 differ significantly" in page


def test_a_printed_accuracy_is_compared_with_single_runs_of_the_same_network(
    results: Path, measured: Callable[..., Measured], place: Callable[..., Path], build: Build
) -> None:
    same = {
        "model": "mgresnet18_al_bli",
        "notation": None,
        "model_args": {"in_chans": 3, "num_classes": 10},
        "dataset": {"name": "cifar10", "split": "test", "n": 10_000, "sha256": "c" * 64},
    }
    runs = [
        measured((0,), seed=seed, series="p", test={"n": 10_000, "correct_last": right, "correct_best": 9_999}, **same)
        for seed, right in enumerate((9_370, 9_380, 9_390))
    ]
    place(results, merged(runs))
    page = text(build(results) / "model" / "mgresnet18_al_bli.html")
    # Mean 93.80, deviation 0.10, t(2) = 4.3027: one more run falls within 0.497 of the mean.
    assert "93.83 (v1, Table 3): ✓ inside the range 93.30 to 94.30" in page
    assert "94.34 (v2, Table 3): ≠ outside the range 93.30 to 94.30" in page


def test_a_certificate_that_decides_nothing_is_shown_as_that(
    results: Path, report: Json, write: Callable[[str, Any], Path], build: Build
) -> None:
    model = {"target": {"model": "mgnet_2_2_c32_bl", "checkpoint_sha256": None}}
    open_one = {**report["properties"][0], "name": "open", "status": "not_decided"}
    undecided = {**report, **model, "status": "not_decided", "properties": [*report["properties"], open_one], "macs": None}
    assert main(["ingest", str(write("open.json", undecided)), "--records", str(results)]) == 0
    site = build(results)
    assert "? not decided" in row(site, "mgnet_2_2_c32_bl--digits")
    assert "1 properties passed, 0 failed, 1 not decided" in text(site / "model" / "mgnet_2_2_c32_bl.html")


def test_what_no_program_can_check_is_said_beside_a_contributed_record(
    results: Path, measured: Callable[..., Measured], place: Callable[..., Path], build: Build
) -> None:
    place(results, measured((359, 359, 359, 359), contributor="someone", series="c"))
    place(results, measured((358,), contributor="someone", series="d", model="mgnet_2_2_c8_bl"))
    site = build(results)
    assert "on the word of someone" in row(site, "mgnet_2_2_c8_bl--digits")
    own = row(site, "mgnet_2_2_c32_bl--digits")
    assert "99.17" in own
    assert "someone" not in own, "what this project measured comes first, also with fewer seeds"
    page = html.unescape(text(site / "model" / "mgnet_2_2_c32_bl.html"))
    assert re.search(r"Contributed by someone *\. Accuracies, speed and hardware are the contributor's word", page)
    study = html.unescape(text(site / "digits.html"))
    assert "contributed by someone Accuracies, speed and hardware are the contributor's word" in study
    assert study.index("Recipe digits, 12 epochs Commit") < study.index("contributed by someone")
    assert {dict(zip(FIELDS, values))["measured_by"] for values in script_data(site)["rows"]} == {None, "someone", "this project"}
    assert "contributed by someone, 1 seed(s)" in (site / "plots.html").read_text(encoding="utf-8")


def test_nobodys_variant_takes_a_network_out_of_the_questions_of_others(
    results: Path, measured: Callable[..., Measured], place: Callable[..., Path]
) -> None:
    def effects() -> list[Any]:
        evidence = gathered(read_results(results, committed=True))
        return [
            study.effects for study in studies(evidence.measured, evidence.claims, evidence.comparisons) if not study.contributor
        ]

    other = {**measured().execution.model_dump(), "form": "feature"}
    place(results, measured((350, 351, 352), series="f", execution=other))
    before = effects()
    assert before[0]
    args = {"in_chans": 1, "num_classes": 10, "sigma": "tanh"}
    place(results, measured((1, 2, 3), contributor="someone", series="v", model_args=args, parameters=5))
    assert effects() == before
