"""The model package with a change in its source, loaded beside the real one: for planted defects and for mutation testing."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from importlib.resources import files
from types import ModuleType

from torch import nn

# The files that make a MgNet, each after those that it imports.
FILES = ("layers", "transfer", "grid", "stem", "features", "mgnet")
_PRIVATE = "mgnet_models_variant"


def source(file: str) -> str:
    """The text of one of FILES."""
    return files("mgnet_models").joinpath(f"{file}.py").read_text(encoding="utf-8")


def load(texts: Mapping[str, str]) -> Callable[..., nn.Module]:
    """The MgNet class of a variant whose files named in `texts` have those texts.

    The variant lives under a private name and registers nothing with timm; its modules replace those of the variant
    before, and the real package is untouched.
    """
    package = ModuleType(_PRIVATE)
    package.__path__ = []
    registry = ModuleType(f"{_PRIVATE}.registry")
    registry.__dict__["register_names"] = lambda *_: None
    sys.modules |= {_PRIVATE: package, registry.__name__: registry}
    for file in FILES:
        module = ModuleType(f"{_PRIVATE}.{file}")
        sys.modules[module.__name__] = module
        exec(compile(_redirected(texts.get(file) or source(file)), f"<variant {file}.py>", "exec"), module.__dict__)
    network: Callable[..., nn.Module] = sys.modules[f"{_PRIVATE}.mgnet"].MgNet
    return network


def _redirected(text: str) -> str:
    """Imports of the varied files, and of the registry, go to the variant; all others to the real package."""
    return re.sub(rf"\bmgnet_models\.({'|'.join((*FILES, 'registry'))})\b", rf"{_PRIVATE}.\1", text)


def edited(file: str, old: str, new: str) -> Callable[..., nn.Module]:
    """The variant in which `old`, which must occur in the file, is replaced by `new` everywhere in it."""
    text = source(file)
    if old not in text:
        raise ValueError(f"{old!r} does not occur in {file}.py: the planted defect must follow the code")
    return load({file: text.replace(old, new)})
