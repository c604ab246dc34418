"""mgnet-verify: evidence that a MgNet is the algorithm of the paper, and that its counts and claims are what they say.

    from mgnet_verify import certify, resolve
    certify(resolve("mgnet_2_2_2_2_c256_bl")).passed

Names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Certificate": "certificate.document",
    "Evidence": "check.example",
    "Example": "check.example",
    "Finding": "certificate.document",
    "GridParts": "network.protocol",
    "MODEL_PROPERTIES": "properties",
    "NotDecided": "errors",
    "UserError": "errors",
    "Parts": "network.protocol",
    "Property": "properties",
    "Target": "resolve",
    "TransferParts": "network.protocol",
    "Verdict": "paper.audit",
    "Violation": "errors",
    "audit": "paper.audit",
    "certify": "certificate.certify",
    "parts_of": "network.protocol",
    "resolve": "resolve",
    "tensors_of": "network.protocol",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
