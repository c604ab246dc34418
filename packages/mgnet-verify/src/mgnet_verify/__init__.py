"""mgnet-verify: evidence that a MgNet is the algorithm of the paper, and that its counts are what the paper and we say.

    from mgnet_verify import certify, resolve
    certify(resolve("mgnet_2_2_2_2_c256_bl")).status

Names are loaded at their first use, because torch takes seconds to import and `mgnet-verify --help` does not need it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mgnet_verify.certificate.certify import certify as certify
    from mgnet_verify.check.example import Example as Example
    from mgnet_verify.check.example import ExampleResult as ExampleResult
    from mgnet_verify.check.run import Property as Property
    from mgnet_verify.errors import NotDecided as NotDecided
    from mgnet_verify.errors import Violation as Violation
    from mgnet_verify.model_spec import ModelSpec as ModelSpec
    from mgnet_verify.model_spec import resolve as resolve
    from mgnet_verify.network.protocol import GridView as GridView
    from mgnet_verify.network.protocol import NetworkView as NetworkView
    from mgnet_verify.network.protocol import TransferView as TransferView
    from mgnet_verify.network.protocol import tensors_of as tensors_of
    from mgnet_verify.network.protocol import view_of as view_of
    from mgnet_verify.paper.audit import audit as audit
    from mgnet_verify.properties import MODEL_PROPERTIES as MODEL_PROPERTIES

_MODULES = {
    "Example": "check.example",
    "ExampleResult": "check.example",
    "GridView": "network.protocol",
    "MODEL_PROPERTIES": "properties",
    "ModelSpec": "model_spec",
    "NetworkView": "network.protocol",
    "NotDecided": "errors",
    "Property": "check.run",
    "TransferView": "network.protocol",
    "Violation": "errors",
    "audit": "paper.audit",
    "certify": "certificate.certify",
    "resolve": "model_spec",
    "tensors_of": "network.protocol",
    "view_of": "network.protocol",
}

__all__ = sorted(_MODULES)

# mypy takes the names from the imports above; with this function in sight it would accept every misspelled one.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
