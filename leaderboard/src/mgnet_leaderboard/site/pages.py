"""Which pages the site has, and what each template is given."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mgnet_leaderboard.board.rows import DATASET_ORDER, BoardRow, printed_ratio, tally
from mgnet_leaderboard.records.architecture import grids_of
from mgnet_leaderboard.records.known import OF_THE_DATA, changed_arguments, fault_of_network, known_networks, notation_of
from mgnet_leaderboard.records.measured import Measured, short_json, unusual_settings
from mgnet_leaderboard.records.union import Verified
from mgnet_leaderboard.site.svg.intervals import intervals_plot
from mgnet_leaderboard.site.svg.plots import figures
from mgnet_leaderboard.statistics.comparisons import compared
from mgnet_leaderboard.statistics.intervals import CONFIDENCE
from mgnet_leaderboard.statistics.study import studies, study_sentences
from mgnet_leaderboard.statistics.tests import SIGNIFICANCE, detectable_on_test_set
from mgnet_leaderboard.store.evidence import Evidence
from mgnet_records.audit import AuditedRow
from mgnet_records.datasets import DATA_SETS
from mgnet_records.table_rows import DISCREPANT, agrees

# Rows of the board on one static page; the script reaches the others through board.js.
PAGE_ROWS = 250
# Models of one study that its page shows; the board has all of them.
STUDY_ROWS = 100


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page: its path in the site, its template, and what the template is given."""

    path: str
    template: str
    context: dict[str, Any]

    @property
    def root(self) -> str:
        """The way from the page to the top folder, so that links work from disk and under any prefix."""
        return "../" * self.path.count("/")


def pages(evidence: Evidence, rows: Sequence[BoardRow], rendered: Sequence[str]) -> Iterator[Page]:
    """All pages of the site, in a fixed order."""
    yield from _board_pages(evidence, rows, rendered)
    yield Page(path="plots.html", template="plots.html.j2", context={"figures": figures(rows)})
    yield Page(path="discrepancies.html", template="discrepancies.html.j2", context=_discrepancies(evidence))
    yield Page(path="comparisons.html", template="comparisons.html.j2", context=_comparisons(evidence))
    yield Page(path="digits.html", template="digits.html.j2", context=_digits(evidence))
    yield Page(path="duality.html", template="duality.html.j2", context={"demo": evidence.demo})
    yield Page(path="methods.html", template="methods.html.j2", context={"datasets": [DATA_SETS[key] for key in DATASET_ORDER]})
    yield Page(path="contribute.html", template="contribute.html.j2", context={})
    yield from _model_pages(evidence, rows)
    for record in evidence.verified:
        context = {
            "record": record,
            "report": record.report,
            "local": evidence.local,
            "argument": model_argument(record.report.target.model),
        }
        yield Page(path=certificate_path(record), template="certificate.html.j2", context=context)


def certificate_path(record: Verified) -> str:
    """The page of a certificate, from the top folder."""
    return f"certificate/{record.report.target.model}-{record.id}.html"


def reproduce_command(record: Measured) -> str:
    """The command that trains the first seed of a record again."""
    arguments = {name: value for name, value in record.model_args.items() if name not in OF_THE_DATA}
    model = record.model
    if notation_of(model) and isinstance(arguments.get("notation"), str):
        # A MgNet that no name is registered for is given by its notation, which also says its first layers.
        model = str(arguments.pop("notation"))
        if arguments.get("stem") == "cifar":
            del arguments["stem"]
    words = ["mgnet-train", "fit", model]
    for name, value in sorted(arguments.items()):
        words += ["--model-arg", f"{name}={short_json(value)}"]
    recipe = record.recipe.name.removesuffix("+")
    words += ["--data", record.dataset.name, "--recipe", recipe, "--seed", str(record.runs[0].seed)]
    if recipe != record.recipe.name:  # which fields are changed is not known here, so all are given
        for name, value in sorted(record.recipe.values.items()):
            if name != "name":
                words += [f"--{name.replace('_', '-')}={_option(value)}"]
    for name, value in unusual_settings(record.execution).items():
        words += [f"--{name}", value]
    return shlex.join(words)


def _option(value: Any) -> str:
    """A recipe's value as mgnet-train takes it in a command."""
    return ",".join(map(_option, value)) if isinstance(value, list) else value if isinstance(value, str) else short_json(value)


def model_argument(model: str) -> str:
    """How a command is given a model: a registered name, or the notation of a MgNet without one."""
    notation = None if model in known_networks() else notation_of(model)
    return shlex.quote(notation or model)


def count_known(record: Measured) -> bool:
    """Whether the number of parameters was compared with that of the name."""
    return not changed_arguments(record.model, record.model_args) and (
        fault_of_network(record.model, record.notation, record.model_args, record.parameters, record.dataset.name) is None
    )


def _board_pages(evidence: Evidence, rows: Sequence[BoardRow], rendered: Sequence[str]) -> Iterator[Page]:
    numbers = range(1, max(1, -(-len(rows) // PAGE_ROWS)) + 1)
    paths = {number: "index.html" if number == 1 else f"board-{number}.html" for number in numbers}
    datasets = sorted({row.dataset for row in rows})
    shared = {"tally": tally(evidence, rows), "total": len(rows), "datasets": datasets, "paths": paths}
    for number in numbers:
        part = rendered[(number - 1) * PAGE_ROWS : number * PAGE_ROWS]
        yield Page(path=paths[number], template="board.html.j2", context={**shared, "number": number, "rendered": part})


def _model_pages(evidence: Evidence, rows: Sequence[BoardRow]) -> Iterator[Page]:
    by_model: dict[str, list[BoardRow]] = defaultdict(list)
    for row in rows:
        by_model[row.model].append(row)
    certificates: dict[str, list[Verified]] = defaultdict(list)
    for record in evidence.verified:
        certificates[record.report.target.model].append(record)
    for model in sorted(by_model.keys() | certificates.keys()):
        context = {
            "model": model,
            "rows": by_model.get(model, []),
            "grids": grids_of(model),
            "certificates": certificates.get(model, []),
            "local": evidence.local,
            "reproduce": reproduce_command,
            "count_known": count_known,
            "argument": model_argument(model),
        }
        yield Page(path=f"model/{model}.html", template="model.html.j2", context=context)


def _discrepancies(evidence: Evidence) -> dict[str, Any]:
    entries = evidence.discrepancies.entries if evidence.discrepancies else ()
    subjects: dict[str, list[Any]] = defaultdict(list)
    for entry in entries:
        subjects[entry.subject].append(entry)
    counted = [row for row in (evidence.claims.rows if evidence.claims else ()) if row.params_printed and row.exact]
    wrong = [row for row in counted if row.verdict and not agrees(row.verdict)]
    wrong.sort(key=lambda row: (row.verdict != DISCREPANT, -abs(_off(row))))
    return {"counted": len(counted), "wrong": wrong, "subjects": dict(subjects)}


def _off(row: AuditedRow) -> float:
    """How far a printed count is from the exact one, as a part of it."""
    return printed_ratio(row.params_printed, row.exact) - 1 if row.params_printed and row.exact else 0.0


def _comparisons(evidence: Evidence) -> dict[str, Any]:
    questions = compared(evidence.claims, evidence.comparisons) if evidence.claims and evidence.comparisons else ()
    near = {"mnist": 99.6, "cifar10": 95.0, "cifar100": 80.0, "imagenet": 77.0, "digits": 99.0}
    detectable = [
        (DATA_SETS[key], accuracy, detectable_on_test_set(accuracy, DATA_SETS[key].test_images)) for key, accuracy in near.items()
    ]
    pairs = sum(len(question.pairs) for question in questions)
    return {"questions": questions, "detectable": detectable, "pairs": pairs, "significance": SIGNIFICANCE}


def _digits(evidence: Evidence) -> dict[str, Any]:
    records = [record for record in evidence.measured if record.dataset.name == "digits"]
    shown = [
        {
            "study": study,
            "plot": intervals_plot(study.rows[:STUDY_ROWS], f"Accuracy of every seed, recipe {study.recipe}"),
            "sentences": study_sentences(study, evidence.claims) if evidence.claims else (),
        }
        for study in studies(records, evidence.claims, evidence.comparisons)
    ]
    return {
        "studies": shown,
        "limit": STUDY_ROWS,
        "local": evidence.local,
        "data": DATA_SETS["digits"],
        "confidence": CONFIDENCE,
        "significance": SIGNIFICANCE,
    }
