"""How a family of networks enters timm's registry: one entry point for each name, made from the list of names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from timm.models import register_model
from torch import nn

from mgnet_models.nn.classifier import end_at_last_feature

_NAMES: list[str] = []


def registered_names() -> tuple[str, ...]:
    """Every name that this package gave to timm, in alphabetical order."""
    return tuple(sorted(_NAMES))


def register_names(module: str, names: Iterable[str], create: Callable[..., nn.Module]) -> None:
    """Register `create(name, pretrained, **kwargs)` under each name, as if written out in `module`.

    `default_cfgs` must be defined in the module before: timm reads it while registering.
    """
    for name in names:
        _NAMES.append(name)
        setattr(sys.modules[module], name, register_model(_entry(module, name, create)))


def _entry(module: str, name: str, create: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def entry(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        model = create(name, pretrained, **kwargs)
        end_at_last_feature(model)
        return model

    entry.__name__ = entry.__qualname__ = name
    entry.__module__ = module
    entry.__doc__ = f"{name}, see `{create.__name__}` in {module}."
    return entry
