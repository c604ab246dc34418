"""Every figure of README and docs has a source: this test derives it, or its section names the command or test that prints it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from mgnet_models import table_rows
from mgnet_records.audit import Audit
from mgnet_records.datasets import DATA_SETS
from mgnet_records.strict_json import DOCUMENT_LIMIT, RECORD_LIMIT
from mgnet_records.table_rows import EXACT, ROUNDED, TRUNCATED, agrees, judge
from mgnet_verify import audit
from mgnet_verify.paper.audit import audit_lines, explanations
from mgnet_verify.properties.gradients import HALF

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "leaderboard" / "results"
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
    *sorted(ROOT.glob("leaderboard/*.md")),
]
# Written by a command from the records, and compared with them by tests/leaderboard/test_study.py.
GENERATED = {"docs/DIGITS_STUDY.md"}
# Constants of the code, by the documents that state them.
CONSTANTS = {
    "leaderboard/README.md": {"0.95", "0.05"},
    "leaderboard/CONTRIBUTING.md": {"64", str(RECORD_LIMIT // 1024)},
    "leaderboard/CHANGELOG.md": {str(RECORD_LIMIT // 1024)},
    "docs/decisions/0013-what-runs-is-what-is-certified.md": {f"{-math.log2(HALF):.0f}"},
    "docs/glossary.md": {"0.95", "0.05"},
    "packages/mgnet-train/README.md": {"0.1"},
}

# Thousands, decimals, powers of ten, and numbers with a unit. Not: versions, equations in brackets, tables, and what is in
# backticks or quoted.
_UNITS = r"(?:%|s|ms|kB|KiB|MB|GB|MiB|seconds|minutes|hours|times|points|tests|pages)(?!\w)"
_FIGURE = re.compile(
    rf"(?<![\w.(/-])(?:\d{{1,3}}(?:,\d{{3}})+|\d+\.\d+(?:e-?\d+)?|\d+e-\d+|\d+(?= ?{_UNITS})|\d+(?= of (?:the )?\d))(?![\w)])"
)
_NO_FIGURE = re.compile(
    r"(?:arXiv|Theorem|Python|torch|Section|Debian|slurm-wlm|axe-core|version|CVPR|AA?) ?v?\d[\d.]*|\d+\.\d+\.\d+"
)
_CODE = re.compile(r"```.*?```|`[^`\n]*`|\"[^\"\n]*\"|^ {4}.*$", re.DOTALL | re.MULTILINE)
_COMMAND = r"(?:python -m |make [a-z]|mgnet-(?:train|verify|leaderboard) [a-z]|pytest )"
_SOURCE = re.compile(rf"`{_COMMAND}|^(?:    )?{_COMMAND}|`tests/[\w/]+\.py`", re.MULTILINE)


def _sections(document: Path) -> Iterator[tuple[str, str]]:
    """Heading and text of each section; a heading inside a block of code is none."""
    text = document.read_text(encoding="utf-8")
    blocks = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    marked = "".join(block if block.startswith("```") else re.sub(r"^(?=#)", "\0", block, flags=re.MULTILINE) for block in blocks)
    for section in filter(str.strip, marked.split("\0")):
        yield section.splitlines()[0], section


def _figures(text: str) -> set[str]:
    return {match[0] for match in _FIGURE.finditer(_NO_FIGURE.sub("", _CODE.sub("", text)))}


def _name(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if _name(path) not in GENERATED], ids=_name)
def test_every_section_with_a_figure_names_what_prints_it(document: Path) -> None:
    """Or takes all of its figures from docs/SPEED.md, whose own sections name their commands."""
    speed = _figures((ROOT / "docs" / "SPEED.md").read_text(encoding="utf-8"))
    known = CONSTANTS.get(_name(document), set()) | (set() if document.name == "SPEED.md" else speed)
    unsourced = {
        heading: sorted(_figures(text) - known)
        for heading, text in _sections(document)
        if not _SOURCE.search(text) and _figures(text) - known
    }
    assert unsourced == {}


def test_a_figure_is_seen_and_what_only_looks_like_one_is_not() -> None:
    text = "1,234 or 0.5 or 2e-6, 3 % of 4 times; 5 of the 6. (3.5), Table 7, Python 3.11, `0.25`, v1.2.3, 3x3, Section 4.1"
    assert _figures(text) == {"1,234", "0.5", "2e-6", "3", "4", "5"}


def test_the_constants_are_those_of_the_code() -> None:
    from mgnet_leaderboard.statistics.intervals import CONFIDENCE
    from mgnet_leaderboard.statistics.tests import SIGNIFICANCE
    from mgnet_train.data import files

    assert (f"{CONFIDENCE:g}", f"{SIGNIFICANCE:g}", f"{DOCUMENT_LIMIT // 1024}") == ("0.95", "0.05", "64")
    assert f"{100 * files._CORRUPT_LIMIT:g}" == "0.1"


def test_no_document_counts_tests_or_pages() -> None:
    """Such a count is wrong with the next commit."""
    for document in (path for path in DOCUMENTS if _name(path) not in GENERATED):
        assert re.findall(r"\b\d+ (?:tests|pages)\b", document.read_text(encoding="utf-8")) == [], document


@cache
def _committed() -> Audit:
    return Audit.model_validate_json((RESULTS / "claims" / "paper.json").read_text(encoding="utf-8"))


@cache
def _parameters(model: str, dataset: str, **arguments: Any) -> int:
    data = DATA_SETS[dataset.lower()]
    with torch.device("meta"):
        network = timm.create_model(model, in_chans=data.input_size[0], num_classes=data.num_classes, **arguments)
    return sum(parameter.numel() for parameter in network.parameters())


def _fits(start: str, *, end: str = "", **arguments: Any) -> tuple[int, int]:
    """How many table rows of some names fit the count of the network with these arguments, and how many rows there are."""
    rows = [
        row
        for row in table_rows()
        if row.params_printed is not None
        and not row.quoted
        and re.match(start, row.model)
        and row.model.removesuffix("_224").endswith(end)
    ]
    fitting = [row for row in rows if agrees(judge(str(row.params_printed), _parameters(row.model, row.dataset, **arguments)))]
    return len(fitting), len(rows)


@cache
def _facts() -> dict[str, Any]:
    """Everything that the sentences below state, computed now."""
    verdicts = [row.verdict for row in _committed().rows if row.verdict is not None]
    fits = sum(agrees(verdict) for verdict in verdicts)
    mgnets, mgnet_rows = _fits("mgnet_")
    shared, shared_rows = _fits("mg(?:preact)?resnet", end="_bl")
    to_the_letter = (
        _fits("mgnet_", transfer_kernel=1, transfer_sigma="none")[0] + _fits("mg(?:preact)?resnet", end="_bl", pooling_B="text")[0]
    )
    return {
        "rows": len(_committed().rows),
        "counted": len(verdicts),
        "fits": fits,
        "close": sum(verdict == "within 1%" for verdict in verdicts),
        "off": sum(verdict == "discrepant" for verdict in verdicts),
        "rounded": sum(verdict in (EXACT, ROUNDED) for verdict in verdicts),
        "truncated": sum(verdict in (EXACT, TRUNCATED) for verdict in verdicts),
        "mgnets": mgnets,
        "mgnet_rows": mgnet_rows,
        "no_norms": _fits("mgnet_", transfer_sigma="none")[0],
        "one_by_one": _fits("mgnet_", transfer_kernel=1)[0],
        "shared": shared,
        "shared_rows": shared_rows,
        "shared_text": _fits("mg(?:preact)?resnet", end="_bl", pooling_B="text")[0],
        "to_the_letter": fits - mgnets - shared + to_the_letter,
    }


def test_interpretations_that_are_said_to_have_one_count_have_one() -> None:
    counts = [_fits("mg(?:preact)?resnet", end="_bl", pooling_B=name) for name in ("lift_s1", "lift", "proj1x1")]
    assert len(set(counts)) == 1


_SENTENCES = [
    (
        "README.md",
        "Of {rows} table rows, {counted} print a parameter count. Our exact count rounds or truncates to the",
    ),
    (
        "README.md",
        "printed digits in {fits} of them, lies within 1 % in {close} and is discrepant in {off}, each with its explanation",
    ),
    ("README.md", "rounding ({rounded} rows fit) and truncating ({truncated})"),
    ("README.md", "({mgnets} of the {mgnet_rows} rows of MgNets fit, and {one_by_one} with the 1x1 kernels of the text)"),
    ("README.md", "({shared} of {shared_rows} rows, and {shared_text} with the text's kernel)"),
    ("README.md", "Read to the letter, the text fits {to_the_letter} of the {counted}."),
    ("packages/mgnet-models/README.md", "({mgnets} of the {mgnet_rows} rows of MgNets fit, with 1x1 kernels {one_by_one})"),
    ("packages/mgnet-models/README.md", "(without them {no_norms} fit)"),
    ("packages/mgnet-models/README.md", '({shared} of {shared_rows} rows, `"text"` {shared_text})'),
    (
        "packages/mgnet-verify/README.md",
        "has all {rows} table rows of both versions of the paper. {counted} print a count; {fits} fit ours",
    ),
    ("packages/mgnet-verify/README.md", "({rounded} rounded, {truncated} truncated), {misfits} by neither"),
    (
        "leaderboard/results/claims/discrepancies.json",
        "{mgnets} of the {mgnet_rows} MgNet rows fit with these BatchNorms, {no_norms} without.",
    ),
    (
        "leaderboard/results/claims/discrepancies.json",
        "with 1x1 kernels {one_by_one} of the {mgnet_rows} MgNet rows fit, with 3x3 kernels {mgnets}.",
    ),
    (
        "leaderboard/results/claims/discrepancies.json",
        "With it {shared_text} of the {shared_rows} rows of ResNets with one B for a grid fit",
    ),
    ("leaderboard/results/claims/discrepancies.json", "with a 1x1 kernel in its place {shared} fit."),
]


@pytest.mark.parametrize("place, sentence", _SENTENCES)
def test_what_is_said_of_printed_counts_is_what_is_counted(place: str, sentence: str) -> None:
    facts = _facts()
    text = " ".join((ROOT / place).read_text(encoding="utf-8").split())
    assert sentence.format(misfits=facts["counted"] - facts["fits"], **facts) in text


def test_numbers_in_explanations_of_counts_are_sizes_of_networks() -> None:
    """Of those that a table row of ours is about: parameters, and all numbers of the state dict."""
    rows = {row.id: row for row in table_rows()}
    for row_id, text in explanations().items():
        row = rows[row_id]
        if row.quoted or "table3" not in row_id:
            continue
        sizes = set()
        for dataset in ("cifar10", "cifar100"):
            data = DATA_SETS[dataset]
            with torch.device("meta"):
                network = timm.create_model(row.model, in_chans=data.input_size[0], num_classes=data.num_classes)
            sizes |= {_parameters(row.model, dataset), sum(tensor.numel() for tensor in network.state_dict().values())}
        sizes.add(max(_parameters(row.model, "cifar100") - _parameters(row.model, "cifar10"), 0))
        stated = {int(number.replace(",", "")) for number in re.findall(r"\d{1,3}(?:,\d{3})+", text)}
        assert stated <= sizes, (row_id, stated - sizes)


def test_the_demo_in_the_readme_prints_what_the_commands_print_today() -> None:
    """Its sums; the lines of a training are an example of one machine."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    *_, summary = audit_lines(audit())
    assert summary.strip() in readme
    shown = re.findall(r"parameters: closed form ([\d,]+), torch ([\d,]+), fvcore ([\d,]+)", readme)
    assert [set(counts) for counts in shown] == [
        {f"{_parameters(name, data):,}"} for name, data in (("mgnet_2_2_c32_bl", "digits"), ("mgnet_2_2_2_2_c256_bl", "cifar100"))
    ]
    row = next(row for row in _committed().rows if row.id == "v2/table4/mgnet_2-2-2-2_c256_B/cifar100")
    for macs in (row.macs, row.macs_feature_form):
        assert " ".join(["all", f"{row.exact:,}", *[f"{macs:,}"] * 3]) in " ".join(readme.split())


def test_the_study_in_the_readme_is_that_of_the_document() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    study = " ".join((ROOT / "docs" / "DIGITS_STUDY.md").read_text(encoding="utf-8").split())
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (RESULTS / "measured").glob("*.json")]
    (commit,) = {record["commit"] for record in records if record["model"].startswith("mgresnet")}
    runs = sum(len(record["runs"]) for record in records if record["commit"] == commit)
    counted = r"The paper orders (\d+) pairs of these networks: (\d+) significant, (\d+) significant and reversed, "
    ((pairs, yes, no, few),) = re.findall(counted + r"\d+ not significant, (\d+) with too few", study)
    said = (
        f"In {runs} trainings of small networks on digits, {yes} of the {pairs} orderings of the paper are significant, {no} are "
    )
    assert said + f"significant and reversed, and {few} have too few seeds to tell" in readme
    repeated = {path.name.split("-")[1] for path in (RESULTS / "measured").glob("*.json")}
    assert repeated == {"digits"}, "the README says that no accuracy of the paper was trained again"


@pytest.mark.parametrize("form, document", [("residual", "3,602,670,592"), ("feature", "4,603,012,096")])
def test_multiply_adds_in_the_documents_are_those_of_the_committed_certificate(form: str, document: str) -> None:
    (certificate,) = (RESULTS / "verified").glob("mgnet_2_2_2_2_c256_bl-*.json")
    macs = json.loads(certificate.read_text(encoding="utf-8"))["report"]["macs"]
    assert f"{macs[f'{form}_form']['closed_form']:,}" == document
    for path in ("packages/mgnet-verify/README.md", "docs/SPEED.md", "docs/decisions/0002-the-residual-form-runs.md"):
        assert document in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("figure", ["3.9", "5.0"])
def test_the_speed_in_the_readme_is_that_of_the_document(figure: str) -> None:
    """Rounded to two digits from the medians of whole epochs."""
    speed = (ROOT / "docs" / "SPEED.md").read_text(encoding="utf-8")
    medians = re.findall(r"^\| mgnet-train, (?:deterministic|mixed) \|[^|]*\| ([\d.]+) \(", speed, re.MULTILINE)
    assert figure in {f"{float(median) - 1e-9:.1f}" for median in medians}
    assert f"{figure} times" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The 360 test images, normalized, in float64, and their labels."""
    from mgnet_train.data.digits import read_digits

    info, test = DATA_SETS["digits"], read_digits().test
    return (test.images.double() / info.pixel_max - info.mean[0]) / info.std[0], test.labels


_SHIPPED = ("mgnet_2_2_c32_bl", "mgnet_3_2_c24x16_bli")


def test_a_shift_of_the_feature_changes_classes_as_the_register_says(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, _ = digits
    changed: dict[float, list[int]] = {1.0: [], 3.0: []}
    free = []
    for name in _SHIPPED:
        network = timm.create_model(name, pretrained=True).double().eval()
        with torch.no_grad():
            u = network.forward_features(images)
            classes = network.forward_head(u).argmax(1)
            for shift, numbers in changed.items():
                numbers.append(int((network.forward_head(u + shift).argmax(1) != classes).sum()))
            W = network.get_classifier().weight
            free.append((u.shape[1] - int(torch.linalg.matrix_rank(W - W.mean(0))), u.shape[1]))
    entries = json.loads((RESULTS / "claims" / "discrepancies.json").read_text(encoding="utf-8"))["entries"]
    (finding,) = [entry["finding"] for entry in entries if entry["id"] == "shift-of-the-feature"]
    (many, more), (few, some), (one, other) = changed[3.0], changed[1.0], _SHIPPED
    assert (
        f"With 3 added to every value of the last u, {one} changes the class of {many} of the {len(images)} test digits" in finding
    )
    assert f"and {other} that of {more}; with 1 added, {few} and {some}." in finding
    assert f"in {free[0][0]} of {free[0][1]} and {free[1][0]} of {free[1][1]} dimensions here" in finding


def test_the_shipped_networks_do_not_solve_their_equation(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    """As README.md, docs/architecture.md and the page say of trained networks: no iteration makes the residual smaller."""
    from mgnet_verify.diagnose.diagnosis import diagnose

    for name in _SHIPPED:
        rows = diagnose(timm.create_model(name, pretrained=True), digits[0][-64:])
        ratios = [row.ratio for row in rows if row.ratio is not None]
        assert ratios
        assert min(ratios) > 1


_TOO_MUCH = re.compile(
    r"\bprovabl[ey] (?:iterative|solv)|\bguarantee|explains the data|proof sheet|\bfastest\b|(?:was|is) tuned to match|bug-free"
    r"|state.of.the.art|100 % (?:correct|safe)",
    re.IGNORECASE,
)


def _prose() -> list[Path]:
    templates = sorted((ROOT / "leaderboard/src/mgnet_leaderboard/templates").glob("*.j2"))
    code = [path for package in ROOT.glob("*/*/src") for path in package.rglob("*.py")] + sorted(
        (ROOT / "leaderboard/src").rglob("*.py")
    )
    return [path for path in [*DOCUMENTS, *templates, *code] if path.name != "glossary.md"]


def test_no_sentence_claims_what_nobody_showed() -> None:
    """The glossary quotes such sentences as what not to write."""
    found = {_name(path): _TOO_MUCH.findall(path.read_text(encoding="utf-8")) for path in _prose()}
    assert {path: words for path, words in found.items() if words} == {}


def test_what_is_said_of_flops_is_that_the_paper_prints_none() -> None:
    told: Callable[[str], bool] = lambda path: "no multiply-adds" in " ".join((ROOT / path).read_text(encoding="utf-8").split())  # noqa: E731
    assert all(
        map(told, ("README.md", "packages/mgnet-verify/README.md", "leaderboard/src/mgnet_leaderboard/templates/methods.html.j2"))
    )
