"""The audit as a JSON document, and the check that the networks themselves still have the counts it states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import timm
import torch

import mgnet_models  # noqa: F401, registers the names
from mgnet_verify.counts.by_name import data_set
from mgnet_verify.counts.measured import torch_parameters
from mgnet_verify.paper.audit import Verdict


def audit_document(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Every row with what is printed, our exact count, the verdict and the explanation (null where there is none)."""
    rows = [
        {key: value for key, value in asdict(verdict.row).items() if key != "cites"}
        | {"exact": verdict.exact, "verdict": verdict.verdict, "explanation": verdict.explanation}
        for verdict in verdicts
    ]
    return {"schema_version": 1, "kind": "audit", "rows": rows}


def built_parameters(model: str, dataset: str) -> int:
    """Parameters of the registered network, built on the meta device, so that no memory is used."""
    data = data_set(dataset)
    with torch.device("meta"):
        return torch_parameters(timm.create_model(model, in_chans=data.input_size[0], num_classes=data.num_classes))


def moved_counts(verdicts: Sequence[Verdict]) -> list[str]:
    """One line for each network whose parameters no longer equal the closed form; each network is built once."""
    exact = {(v.row.model, v.row.dataset): v.exact for v in verdicts if v.exact is not None}
    return [line for (model, dataset), count in exact.items() if (line := _moved(model, dataset, count))]


def _moved(model: str, dataset: str, count: int) -> str | None:
    if not timm.is_model(model):
        return f"{model} is not registered, its closed form says {count:,}"
    built = built_parameters(model, dataset)
    return None if built == count else f"{model} for {dataset} has {built:,} parameters, its closed form says {count:,}"
