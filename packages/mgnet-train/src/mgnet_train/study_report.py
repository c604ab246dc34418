"""What a study found: accuracies with spread, and for each printed ordering whether it reappears."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgnet_models import paper_rows
from mgnet_train.atomic import write_json
from mgnet_train.config.run_spec import RunSpec
from mgnet_train.experiments.study import Arm, Study
from mgnet_train.experiments.sweep import finished_results
from mgnet_train.orderings import Measured, orderings
from mgnet_train.runs.result import Result


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """The report for people and, as JSON, for programs."""

    text: str
    record: dict[str, Any]


def report(study: Study, plan: list[tuple[Arm, list[RunSpec]]], runs: Path) -> StudyReport:
    """What the finished runs say; arms with missing runs are listed and not compared."""
    printed = {row.id: float(row.accuracy_printed) for row in paper_rows()}
    lines, groups = [], []
    for group in dict.fromkeys(arm.group for arm, _ in plan):
        arms = [(arm, specs, finished_results(specs, runs)) for arm, specs in plan if arm.group == group]
        measured = [
            Measured(
                label=arm.label,
                accuracies=tuple(result.accuracy_last for result in results),
                printed=printed[arm.row] if arm.row else None,
            )
            for arm, specs, results in arms
            if len(results) == len(specs)
        ]
        lines += _group_lines(group, measured, missing=sum(len(s) - len(r) for _, s, r in arms))
        groups.append(_group_record(group, arms, measured))
    return StudyReport(text="\n".join(lines), record={"schema_version": 1, "kind": "study", "name": study.name, "groups": groups})


def write_report(found: StudyReport, path: Path) -> None:
    """The report as JSON."""
    write_json(path, found.record)


def _group_lines(group: str, measured: list[Measured], missing: int) -> list[str]:
    lines = [f"\n{group}: test accuracy in %, mean +- standard deviation over the seeds"]
    for arm in sorted(measured, key=lambda arm: -arm.mean):
        shown = f"(printed {arm.printed:.2f})" if arm.printed is not None else ""
        lines.append(f"  {arm.label:28s} {arm.mean:6.2f} +- {arm.deviation:4.2f}  {shown}")
    if missing:
        lines.append(f"  {missing} runs are missing; arms that lack one are not shown")
    verdicts = Counter(ordering.verdict for ordering in orderings(measured))
    if verdicts:
        lines.append("  printed orderings: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()))
    return lines


def _group_record(group: str, arms: list[tuple[Arm, list[RunSpec], list[Result]]], measured: list[Measured]) -> dict[str, Any]:
    return {
        "group": group,
        "arms": [
            {
                "label": arm.label,
                "row": arm.row,
                "model": arm.model,
                "model_args": arm.model_args,
                "overrides": arm.overrides,
                "runs": [
                    {
                        "seed": result.seed,
                        "correct_last": result.test.correct_last,
                        "n": result.test.n,
                        "parameters": result.parameters,
                        "train_seconds": result.train_seconds,
                        "commit": result.commit,
                        "dirty": result.dirty,
                        "recipe_sha256": result.recipe.sha256,
                    }
                    for result in results
                ],
            }
            for arm, _, results in arms
        ],
        "orderings": [
            {
                "better": o.better,
                "worse": o.worse,
                "printed_gap": o.printed_gap,
                "gap": round(o.gap, 4),
                "half_width": round(o.half_width, 4) if o.half_width != float("inf") else None,
                "verdict": o.verdict,
            }
            for o in orderings(measured)
        ],
    }
