"""mgnet-verify: evidence that a MgNet is the algorithm of the paper, and that its counts and claims are what they say.

    from mgnet_verify import certify, resolve
    certify(resolve("mgnet_2_2_2_2_c256_bl")).passed

Names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Certificate": "certificate",
    "Evidence": "example",
    "Example": "example",
    "Finding": "certificate",
    "GridParts": "parts",
    "MODEL_PROPERTIES": "properties",
    "NotDecided": "errors",
    "UserError": "errors",
    "Parts": "parts",
    "Property": "properties",
    "Target": "target",
    "TransferParts": "parts",
    "Verdict": "paper_audit",
    "Violation": "errors",
    "audit": "paper_audit",
    "certify": "certification",
    "parts_of": "parts",
    "resolve": "target",
    "tensors_of": "parts",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
