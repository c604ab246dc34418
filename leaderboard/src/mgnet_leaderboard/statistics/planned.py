"""Questions of plans that were committed before the runs, as docs/plans/ has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mgnet_leaderboard.records.measured import Measured, short_json

DEFAULT_TRANSFER = "norm_act"


class HasRecord(Protocol):
    """A row of a study."""

    @property
    def record(self) -> Measured: ...


Row = TypeVar("Row", bound=HasRecord)


@dataclass(frozen=True, kw_only=True)
class PlannedQuestion(Generic[Row]):
    """A question with the pairs (expected better, other) that answer it together.

    `margin` is the difference in points below which the plan calls two networks equal, None where it has none.
    """

    question: str
    pairs: tuple[tuple[Row, Row], ...]
    plan: str
    margin: float | None = None


def transfer_of(record: Measured) -> str:
    """What follows Pi and R in a network with transfers."""
    return str(record.model_args.get("transfer_sigma", DEFAULT_TRANSFER))


def planned_questions(rows: Iterable[Row]) -> Iterator[PlannedQuestion[Row]]:
    """docs/plans/transfers.md: what follows Pi and R in the schemes of Table 1. A scheme of which no run ended is in no pair."""
    same: dict[tuple[str, str, str, str], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        record = row.record
        if record.model.startswith("gdfi_"):
            others = {name: value for name, value in record.model_args.items() if name != "transfer_sigma"}
            key = (record.model, short_json(others), record.recipe.sha256, record.execution.model_dump_json())
            same[key].setdefault(transfer_of(record), row)
    schemes = {key[0]: kinds for key, kinds in sorted(same.items())}
    plan = "docs/plans/transfers.md"
    for better, worse in (("norm_act", "none"), ("norm", "none"), ("norm_act", "norm")):
        pairs = tuple((kinds[better], kinds[worse]) for kinds in schemes.values() if {better, worse} <= kinds.keys())
        if len(pairs) > 1:
            yield PlannedQuestion(question=f"transfers {better} against {worse}, schemes of Table 1", pairs=pairs, plan=plan)
    for model, margin in (("gdfi_lin_lin", None), ("gdfi_lin_both", 0.35)):
        if {"norm_act", "none"} <= schemes.get(model, {}).keys():
            pair = schemes[model]["norm_act"], schemes[model]["none"]
            yield PlannedQuestion(
                question="Do BatchNorm and ReLU after Pi and R matter to one scheme?", pairs=(pair,), plan=plan, margin=margin
            )
