"""A study as a Markdown document, with the results of the study's page."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

from mgnet_leaderboard.statistics.intervals import CONFIDENCE
from mgnet_leaderboard.statistics.study import MeasuredStudy, StudyEffect, StudyRow, p_text, studies, study_sentences
from mgnet_leaderboard.statistics.tests import SIGNIFICANCE
from mgnet_leaderboard.store.evidence import Evidence
from mgnet_records.datasets import DATA_SETS, display_name
from mgnet_records.errors import InputError, unknown

CAVEAT = (
    "The test split and the weight initialization were chosen with test accuracies of the default network in view. The level "
    "of the accuracies is therefore a sanity check, and only differences between variants are of interest."
)
ON_THEIR_WORD = (
    "Accuracies, speed and hardware are the contributor's word: a program checked that the numbers agree with each other, with "
    "the recipe and with the parameter count of the name. Nobody here repeated these runs."
)
# Characters in a line of text.
WIDTH = 130
# Title of a table of variants, and the models that it lists.
GROUPS = (
    ("Schemes of Table 1 (GDFI)", re.compile(r"^gdfi_")),
    ("ResNet and pre-act ResNet, with A and B shared or not (Table 3)", re.compile(r"^mg(?:preact)?resnet")),
    ("MgNet, nu_1 iterations on the first grid, B shared or not (Tables 7 and 10)", re.compile(r"^mgnet_(?:\d+_)+c16_")),
    ("Other MgNets", re.compile(r"^mgnet_")),
    ("Networks of sparse coding", re.compile(r"^(?:rescsc|msdcsc|mlcsc)")),
    ("Other networks", re.compile("")),
)


def study_document(evidence: Evidence, dataset: str) -> str:
    """The study of one data set; equal records give equal text. Raises InputError when nothing was measured on it."""
    if dataset not in DATA_SETS:
        raise unknown("data set", dataset, DATA_SETS)
    records = [record for record in evidence.measured if record.dataset.name == dataset]
    found = studies(records, evidence.claims, evidence.comparisons)
    if not found:
        raise InputError(f"{dataset}: no committed record is of this data set; choose another --data")
    lines = list(_introduction(dataset, found))
    for study in found:
        lines += _section(study, evidence)
    return "\n".join(lines).rstrip() + "\n"


def _introduction(dataset: str, found: Iterable[MeasuredStudy]) -> Iterator[str]:
    data, name = DATA_SETS[dataset], display_name(dataset)
    runs = sum(row.record.summary.seeds for study in found for row in study.rows)
    yield f"# The {name} study"
    yield ""
    yield "<!-- Written by `mgnet-leaderboard study` from the committed records. Do not edit it; run the command again. -->"
    yield ""
    yield from _paragraph(
        f"{runs} trainings of small networks on {name} ({data.train_images:,} training and {data.test_images:,} test images, "
        f"{data.input_size[1]}x{data.input_size[2]}). The question is which orderings of the paper are found at equal budget; "
        f"the accuracies say nothing about another data set. One image is {100 / data.test_images:.2f} points."
    )
    yield from _paragraph(
        'The page "Digits study" of the site shows the same results, computed by the same code from the same records in '
        "[leaderboard/results/measured](../leaderboard/results/measured). To train, ingest and write this document again:"
    )
    yield f"    mgnet-train study {dataset} --runs runs/study --track later   # continues where it stopped"
    yield "    mgnet-leaderboard ingest runs/study --records leaderboard/results"
    yield f"    mgnet-leaderboard study --data {dataset} --out docs/{dataset.upper()}_STUDY.md"
    yield ""
    if dataset == "digits":
        yield from _paragraph(CAVEAT)
    yield from _paragraph(
        f"Intervals have a confidence of {100 * CONFIDENCE:.0f} %. A difference is significant when its p-value is below "
        f"{SIGNIFICANCE:g} after Holm's correction over all questions of the study. Variants with the same seeds are compared "
        'seed by seed (paired t-test), others by Welch\'s test. "Too few seeds to tell" means: even the difference that the '
        "paper reports would not have been significant with the observed spread, these seeds and this correction. Where small "
        "MgNets stand for larger ones of the paper, its difference is the largest one of the question."
    )


def _paragraph(text: str, *, bullet: str = "") -> Iterator[str]:
    yield textwrap.fill(
        text, WIDTH, initial_indent=bullet, subsequent_indent=" " * len(bullet), break_long_words=False, break_on_hyphens=False
    )
    if not bullet:
        yield ""


def _section(study: MeasuredStudy, evidence: Evidence) -> Iterator[str]:
    by = f", contributed by {study.contributor}" if study.contributor else ""
    yield f"## Recipe {study.recipe}, {study.epochs} epochs, commit {(study.commit or 'unknown')[:12]}{by}"
    yield ""
    if study.contributor:
        yield from _paragraph(ON_THEIR_WORD)
    if evidence.claims is not None:
        for sentence in study_sentences(study, evidence.claims):
            yield from _paragraph(sentence, bullet="- ")
        yield ""
    if study.pooled:
        yield "### Effects, pooled over pairs of networks that differ in one property"
        yield ""
        yield "| property | pairs | effect, points | in the paper, at most | adjusted p | verdict |"
        yield "|---|---|---|---|---|---|"
        yield from (f"| {effect.question} | {effect.pairs} | {_numbers(effect)} |" for effect in study.pooled)
        yield ""
    pairs = (*study.asked_pairs, *study.other)
    if pairs:
        yield "### Orderings, pair by pair"
        question = ""
        for effect in pairs:
            if effect.question != question:
                question = effect.question
                yield ""
                yield f"{question}"
                yield ""
                yield "| expected better | against | difference, points | in the paper | adjusted p | verdict |"
                yield "|---|---|---|---|---|---|"
            yield f"| {effect.better} | {effect.worse} | {_numbers(effect)} |"
        yield ""
    yield "### Accuracies"
    yield ""
    yield "Test accuracy in % after the last epoch: mean and standard deviation over the seeds."
    for title, rows in _grouped(study.rows).items():
        yield ""
        yield f"{title}:"
        yield ""
        yield from _table(rows)


def _grouped(rows: Iterable[StudyRow]) -> dict[str, list[StudyRow]]:
    """The rows by the first group that they belong to, in the order of GROUPS."""
    found: dict[str, list[StudyRow]] = {title: [] for title, _ in GROUPS}
    for row in rows:
        found[next(title for title, pattern in GROUPS if pattern.match(row.record.model))].append(row)
    return {title: inside for title, inside in found.items() if inside}


def _numbers(effect: StudyEffect) -> str:
    half = f" ± {effect.test.half:.2f}" if effect.test else ""
    gap = "" if effect.gap is None else f"{effect.gap:.2f}"
    p = "" if effect.adjusted_p is None else p_text(effect.adjusted_p)
    return f"{effect.difference:+.2f}{half} | {gap} | {p} | {effect.verdict}"


def _table(rows: Iterable[StudyRow]) -> Iterator[str]:
    yield "| network | arguments | parameters | seeds | mean | deviation |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        summary, variant = row.record.summary, row.record.variant
        arguments = "" if variant in row.label else variant
        deviation = "" if summary.accuracy_last_sd is None else f"{summary.accuracy_last_sd:.2f}"
        yield (
            f"| {row.label} | {arguments} | {row.record.parameters:,} | {summary.seeds} "
            f"| {summary.accuracy_last_mean:.2f} | {deviation} |"
        )
