"""A study on one data set: measured records of one recipe side by side, the questions put to them, and every verdict once."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from mgnet_leaderboard.records.architecture import grids_of
from mgnet_leaderboard.records.claims import Comparisons
from mgnet_leaderboard.records.measured import Measured, headline_first, short_json
from mgnet_leaderboard.statistics.intervals import half_width
from mgnet_leaderboard.statistics.orderings import (
    FACTORS,
    PAIRED_MODELS,
    factor_pairs,
    orderings,
    printed_gaps,
)
from mgnet_leaderboard.statistics.planned import planned_questions, transfer_of
from mgnet_leaderboard.statistics.tests import (
    NOT_SIGNIFICANT,
    REVERSED,
    SIGNIFICANCE,
    SIGNIFICANT,
    TOO_FEW_SEEDS,
    SeedTest,
    SignificanceVerdict,
    compare_differences,
    compare_seeds,
    detectable_on_test_set,
    holm,
    verdicts,
)
from mgnet_records.audit import Audit
from mgnet_records.datasets import normalized_key

FORM_QUESTION = "Does the form of the iteration change the accuracy? (It computes the same function.)"


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """A measured record with its accuracies in percent, by seed, and half the interval of their mean.

    `label` names the record within the study: the model, and what sets it apart from others of that model.
    """

    record: Measured
    label: str
    accuracies: Mapping[int, float]
    half: float | None

    @property
    def mean(self) -> float:
        """Percent, over the seeds."""
        return self.record.summary.accuracy_last_mean


@dataclass(frozen=True, kw_only=True)
class StudyEffect:
    """The answer to one question: a difference in points, expected to be positive, with its test.

    A `pair` compares two networks, a `pooled` effect is the mean over pairs of networks that differ in one property. `gap`
    is what the paper prints, None for a question that is not the paper's. `records` are the ids of the compared records,
    `adjusted_p` is corrected over all effects. `by_seed` is the stricter test of a pooled effect, with one value for each
    seed: runs of one seed share the order of the data, and may share more than the pooled test allows for. `plan` is the
    document that asked the question before the runs, and `margin` the difference below which it calls two networks equal.
    """

    kind: Literal["pair", "pooled"]
    question: str
    better: str
    worse: str
    pairs: int
    difference: float
    test: SeedTest | None
    gap: float | None
    records: tuple[str, ...]
    by_seed: SeedTest | None = None
    plan: str | None = None
    margin: float | None = None
    adjusted_p: float | None = None
    verdict: SignificanceVerdict = TOO_FEW_SEEDS


@dataclass(frozen=True, kw_only=True)
class ExploredPair:
    """Two rows that no question is about and that differ beyond chance; `adjusted_p` is corrected over all such pairs."""

    better: StudyRow
    worse: StudyRow
    test: SeedTest
    adjusted_p: float


@dataclass(frozen=True, kw_only=True)
class MeasuredStudy:
    """All records of one recipe name, number of epochs and commit on one data set; `contributor` None: this project's.

    `effects` are the questions, the pooled ones first; `explored` is the number of other pairs that could be tested, and
    `found` those of them that are significant. `detectable` is what the test set alone tells apart, in points.
    """

    dataset: str
    recipe: str
    epochs: int
    commit: str | None
    contributor: str | None
    rows: tuple[StudyRow, ...]
    effects: tuple[StudyEffect, ...]
    explored: int
    found: tuple[ExploredPair, ...]
    detectable: float

    def count(self, verdict: SignificanceVerdict) -> int:
        """Pairs of the paper's questions with this verdict."""
        return sum(effect.verdict == verdict for effect in self.asked_pairs)

    @property
    def asked_pairs(self) -> tuple[StudyEffect, ...]:
        """The pairs of networks that the paper orders."""
        return tuple(effect for effect in self.effects if effect.kind == "pair" and effect.gap is not None)

    @property
    def pooled(self) -> tuple[StudyEffect, ...]:
        """The effects over several pairs of networks."""
        return tuple(effect for effect in self.effects if effect.kind == "pooled")

    @property
    def other(self) -> tuple[StudyEffect, ...]:
        """Pairs of a question that is not the paper's."""
        return tuple(effect for effect in self.effects if effect.kind == "pair" and effect.gap is None)


def studies(
    records: Iterable[Measured], claims: Audit | None = None, comparisons: Comparisons | None = None
) -> tuple[MeasuredStudy, ...]:
    """The records grouped by what must be equal for a fair comparison; this project's first, then the largest."""
    groups: dict[tuple[str, int, str, bool | None, str, str], list[Measured]] = defaultdict(list)
    for record in records:
        # Nobody's records can change what another one's say: a further variant of a network would take it out of the questions.
        who = record.contributor or ""
        key = (record.recipe.name, record.epochs, record.commit or "", record.dirty, record.dataset.sha256, who)
        groups[key].append(record)
    found = [_study(group, claims, comparisons) for group in groups.values()]
    return tuple(sorted(found, key=lambda study: (study.contributor or "", -len(study.rows), study.recipe, study.commit or "")))


def _study(records: Sequence[Measured], claims: Audit | None, comparisons: Comparisons | None) -> MeasuredStudy:
    rows = [
        StudyRow(record=record, label=label, accuracies=record.accuracies, half=half_width(list(record.accuracies.values())))
        for record, label in _labeled(records)
    ]
    rows.sort(key=lambda row: (-row.mean, row.label, row.record.id))
    by_model = _representatives(rows)
    asked: list[StudyEffect] = []
    if claims is not None and comparisons is not None:
        asked = [*_pooled(by_model, claims, comparisons), *_ordered(by_model, claims, comparisons)]
    asked += [*_planned(rows), *_forms(rows)]
    answers = verdicts([effect.test for effect in asked], [effect.gap for effect in asked])
    effects = tuple(replace(effect, adjusted_p=p, verdict=verdict) for effect, (p, verdict) in zip(asked, answers))
    explored, found = _explored(rows, {frozenset(effect.records) for effect in effects if effect.kind == "pair"})
    first = records[0]
    return MeasuredStudy(
        dataset=first.dataset.name,
        recipe=first.recipe.name,
        epochs=first.epochs,
        commit=first.commit,
        contributor=first.contributor,
        rows=tuple(rows),
        effects=effects,
        explored=explored,
        found=found,
        detectable=detectable_on_test_set(rows[len(rows) // 2].mean, first.dataset.n),
    )


def _labeled(records: Sequence[Measured]) -> Iterable[tuple[Measured, str]]:
    """Each record with its model's name and what sets it apart from the others of that name."""
    by_model: dict[str, list[Measured]] = defaultdict(list)
    for record in records:
        by_model[record.model].append(record)
    for model, twins in by_model.items():
        choices = [_choices(record) for record in twins]
        names = sorted({name for each in choices for name in each})
        differing = [name for name in names if len({each.get(name) for each in choices}) > 1]
        for record, each in zip(twins, choices):
            apart = [f"{name} {each.get(name, 'null')}".strip() for name in differing if each.get(name) != ""]
            yield record, " · ".join([model, *apart])


def _choices(record: Measured) -> dict[str, str]:
    """What may set a record apart, by name; the variant, which names itself, has no name."""
    recipe = {name: short_json(value) for name, value in record.recipe.values.items()}
    execution = {name: str(value) for name, value in record.execution.model_dump().items() if name not in ("threads", "processes")}
    return {"": record.variant, **recipe, **execution}


def _representatives(rows: Iterable[StudyRow]) -> dict[str, StudyRow]:
    """The row that stands for each model: its headline; none for a model that was trained in several variants."""
    by_model: dict[str, list[StudyRow]] = defaultdict(list)
    for row in rows:
        by_model[row.record.model].append(row)
    chosen = {}
    for model, same in by_model.items():
        if len({row.record.variant for row in same}) == 1:
            headline = headline_first(row.record for row in same)[0]
            chosen[model] = next(row for row in same if row.record.id == headline.id)
    return chosen


def _comparable(better: StudyRow, worse: StudyRow) -> bool:
    """Whether two networks were changed in the same way; the name of a MgNet says all of its sizes."""
    return better.record.variant == worse.record.variant or bool(grids_of(better.record.model) and grids_of(worse.record.model))


def _pooled(by_model: Mapping[str, StudyRow], claims: Audit, comparisons: Comparisons) -> Iterable[StudyEffect]:
    gaps = printed_gaps(claims, comparisons)
    for factor in FACTORS:
        pairs = [(by_model[better], by_model[worse]) for better, worse in factor_pairs(factor, by_model)]
        pairs = [(b, w) for b, w in pairs if _comparable(b, w) and b.accuracies.keys() == w.accuracies.keys()]
        if len(pairs) > 1:
            yield _pooled_effect(factor.name, pairs, None if factor.question is None else gaps.get(factor.question))


def _planned(rows: Sequence[StudyRow]) -> Iterable[StudyEffect]:
    """Answers to the questions of plans, on the seeds that both networks of a pair have: a run that diverged has no accuracy."""
    for asked in planned_questions(rows):
        pairs = [_on_common_seeds(b, w) for b, w in asked.pairs if b.accuracies.keys() & w.accuracies.keys()]
        if len(pairs) > 1:
            yield replace(_pooled_effect(asked.question, pairs, None), plan=asked.plan)
        elif pairs:
            effect = _pair_effect(asked.question, *pairs[0], None)
            difference = statistics.fmean(pairs[0][0].accuracies.values()) - statistics.fmean(pairs[0][1].accuracies.values())
            yield replace(effect, difference=difference, plan=asked.plan, margin=asked.margin)


def _on_common_seeds(better: StudyRow, worse: StudyRow) -> tuple[StudyRow, StudyRow]:
    seeds = better.accuracies.keys() & worse.accuracies.keys()
    first, second = (replace(row, accuracies={seed: row.accuracies[seed] for seed in sorted(seeds)}) for row in (better, worse))
    return first, second


def _pooled_effect(question: str, pairs: Sequence[tuple[StudyRow, StudyRow]], gap: float | None) -> StudyEffect:
    # The pairs share no run, so each difference of two runs of one seed counts once.
    seeds = sorted(pairs[0][0].accuracies)
    differences = [b.accuracies[seed] - w.accuracies[seed] for b, w in pairs for seed in sorted(b.accuracies)]
    by_seed = [
        statistics.fmean(b.accuracies[seed] - w.accuracies[seed] for b, w in pairs)
        for seed in seeds
        if all(seed in b.accuracies for b, _ in pairs)
    ]
    return StudyEffect(
        kind="pooled",
        question=question,
        better=", ".join(b.label for b, _ in pairs),
        worse=", ".join(w.label for _, w in pairs),
        pairs=len(pairs),
        difference=statistics.fmean(differences),
        test=compare_differences(differences),
        by_seed=compare_differences(by_seed),
        gap=gap,
        records=tuple(row.record.id for pair in pairs for row in pair),
    )


def _ordered(by_model: Mapping[str, StudyRow], claims: Audit, comparisons: Comparisons) -> Iterable[StudyEffect]:
    for ordering in orderings(by_model, claims, comparisons):
        better, worse = by_model[ordering.better], by_model[ordering.worse]
        if _comparable(better, worse):
            yield _pair_effect(ordering.question, better, worse, ordering.gap)


def _forms(rows: Sequence[StudyRow]) -> Iterable[StudyEffect]:
    """Records of one network that differ in the form of the iteration alone."""
    same: dict[tuple[str, str, str, str], dict[str, StudyRow]] = defaultdict(dict)
    for row in rows:
        record = row.record
        execution = record.execution.model_dump_json(exclude={"form"})
        same[record.model, record.variant, record.recipe.sha256, execution].setdefault(record.execution.form, row)
    for forms in same.values():
        if len(forms) == 2:
            yield _pair_effect(FORM_QUESTION, forms["residual"], forms["feature"], None)


def _pair_effect(question: str, better: StudyRow, worse: StudyRow, gap: float | None) -> StudyEffect:
    return StudyEffect(
        kind="pair",
        question=question,
        better=better.label,
        worse=worse.label,
        pairs=1,
        difference=better.mean - worse.mean,
        test=compare_seeds(better.accuracies, worse.accuracies),
        gap=gap,
        records=(better.record.id, worse.record.id),
    )


def _explored(rows: Sequence[StudyRow], asked: set[frozenset[str]]) -> tuple[int, tuple[ExploredPair, ...]]:
    """How many pairs that no question is about can be tested, and which of them are significant after a correction of their own."""
    tested = []
    for better, worse in combinations(rows, 2) if len(rows) <= PAIRED_MODELS else ():
        if frozenset((better.record.id, worse.record.id)) not in asked:
            test = compare_seeds(better.accuracies, worse.accuracies)
            if test is not None:
                tested.append((better, worse, test))
    adjusted = holm([test.p for _, _, test in tested])
    found = tuple(
        ExploredPair(better=better, worse=worse, test=test, adjusted_p=p)
        for (better, worse, test), p in zip(tested, adjusted)
        if p < SIGNIFICANCE
    )
    return len(tested), found


def study_sentences(study: MeasuredStudy, claims: Audit) -> tuple[str, ...]:
    """What the study says in words, the corrected verdicts first; every number in them is computed."""
    return (
        *_sentence_of_pairs(study),
        *_sentence_of_significant(study),
        *(_sentence_of_pooled(effect) for effect in study.pooled),
        *_sentence_of_schemes(study, claims),
        *(_sentence_of_planned(effect) if effect.plan else _sentence_of_form(effect) for effect in study.other),
        *_sentence_of_explored(study),
    )


def _sentence_of_pairs(study: MeasuredStudy) -> Iterable[str]:
    if study.asked_pairs:
        tested = sum(effect.test is not None for effect in study.effects)
        yield (
            f"The paper orders {len(study.asked_pairs)} pairs of these networks: {study.count(SIGNIFICANT)} significant, "
            f"{study.count(REVERSED)} significant and reversed, {study.count(NOT_SIGNIFICANT)} not significant, "
            f"{study.count(TOO_FEW_SEEDS)} with too few seeds to tell. Holm's correction runs over all {tested} tests of the study."
        )


def _sentence_of_significant(study: MeasuredStudy) -> Iterable[str]:
    clear = [effect for effect in study.effects if effect.adjusted_p is not None and effect.adjusted_p < SIGNIFICANCE]
    if not study.effects:
        return
    if not clear:
        yield "No effect is significant."
        return
    named = "; ".join(f"{_subject(effect)}, {effect_text(effect)}" for effect in clear)
    yield f"{'One effect is' if len(clear) == 1 else f'{len(clear)} effects are'} significant: {named}."


def _subject(effect: StudyEffect) -> str:
    return effect.question if effect.kind == "pooled" else f"{effect.better} against {effect.worse}"


def effect_text(effect: StudyEffect) -> str:
    """The difference with its interval, then the adjusted p-value."""
    if effect.test is None or effect.adjusted_p is None:
        return f"{effect.difference:+.2f} points, without an interval"
    return f"{effect.difference:+.2f} ± {effect.test.half:.2f} points (adjusted p: {p_text(effect.adjusted_p)})"


def p_text(p: float) -> str:
    """A p-value to three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _sentence_of_pooled(effect: StudyEffect) -> str:
    printed = f" The paper reports a difference of at most {effect.gap:.2f}." if effect.gap is not None else ""
    asked = "" if effect.gap is not None else " The question was asked after the runs were seen."
    asked = f" The question was asked before the runs ({effect.plan})." if effect.plan else asked
    strict = ""
    if effect.by_seed is not None:
        strict = f" With one value for each seed: ± {effect.by_seed.half:.2f} (p before correction: {p_text(effect.by_seed.p)})."
    name = effect.question[0].upper() + effect.question[1:]
    return f"{name}: {effect_text(effect)}, pooled over {effect.pairs} pairs of networks: {effect.verdict}.{printed}{strict}{asked}"


def _sentence_of_schemes(study: MeasuredStudy, claims: Audit) -> Iterable[str]:
    """Where the scheme is that the paper prints as the best of its Table 1, for each kind of transfers."""
    printed = [row for row in claims.rows if row.table == 1 and row.version == "v2" and normalized_key(row.dataset) == "cifar10"]
    best = max(printed, key=lambda row: float(row.accuracy_printed), default=None)
    if best is None:
        return
    by_transfer: dict[str, list[StudyRow]] = defaultdict(list)
    for row in study.rows:
        if row.record.model.startswith("gdfi_"):
            by_transfer[transfer_of(row.record)].append(row)
    ranks = []
    for transfer, rows in sorted(by_transfer.items()):
        means = {model: row.mean for model, row in _representatives(rows).items()}
        if best.model not in means or len(means) < 2:
            continue
        ahead = sum(mean > means[best.model] for mean in means.values())
        equal = sum(mean == means[best.model] for mean in means.values()) - 1
        shared = f", equal with {equal} other{'s' if equal > 1 else ''}" if equal else ""
        named = f" with transfers {transfer}" if len(by_transfer) > 1 else ""
        ranks.append(f"number {ahead + 1} of {len(means)} here{named}{shared}")
    if ranks:
        yield (f"{best.model}, for which Table 1 of the paper reports the highest accuracy of the schemes, is {'; '.join(ranks)}.")


def _sentence_of_planned(effect: StudyEffect) -> str:
    """A pair that a plan asks about, with the plan's margin for calling the two equal."""
    told = f"{effect.better} against {effect.worse}: {effect_text(effect)}: {effect.verdict}."
    if effect.margin is not None and effect.test is not None:
        within = abs(effect.difference) + effect.test.half < effect.margin
        told += f" The interval {'lies' if within else 'does not lie'} within {effect.margin:.2f} points of zero"
        told += ": equal by the plan." if within else ": nothing is resolved." if effect.verdict == NOT_SIGNIFICANT else "."
    return f"{told} The question was asked before the runs ({effect.plan})."


def _sentence_of_explored(study: MeasuredStudy) -> Iterable[str]:
    if study.explored:
        yield (
            f"Of {study.explored} other pairs, which no question is about, {len(study.found)} differ significantly after a "
            f"correction of their own. A pair that was found by searching is a question for new seeds, not an answer."
        )


def _sentence_of_form(effect: StudyEffect) -> str:
    return f"{effect.better} against {effect.worse}, two forms of one function: {effect_text(effect)}: {effect.verdict}."
