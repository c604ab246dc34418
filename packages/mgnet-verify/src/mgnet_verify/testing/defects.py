"""Defects planted in the source of the real model, each a one-place edit that keeps the file runnable.

`caught_by` tries every property on a pool of cases and says which of them notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from mgnet_models import Notation
from torch import nn

from mgnet_verify.errors import NotDecided
from mgnet_verify.example import Example
from mgnet_verify.parts import parts_of
from mgnet_verify.properties import MODEL_PROPERTIES, Property
from mgnet_verify.testing.cases import Case
from mgnet_verify.testing.variants import edited


@dataclass(frozen=True, kw_only=True)
class Defect:
    """In `file`, `old` becomes `new`; `name` says what an engineer would have done wrong."""

    name: str
    file: str
    old: str
    new: str

    def network(self) -> Callable[..., nn.Module]:
        """The MgNet class with the defect."""
        return edited(self.file, self.old, self.new)


_STEP = "self.sigma_u[i](B(self.sigma_r[i](r)))"

DEFECTS = (
    Defect(name="bias in A", file="grid", old="self.A = conv(c_u, c_f, kernel=3, dd=dd)", new="self.A = nn.Conv2d(c_u, c_f, 3, padding=1)"),
    Defect(name="plus in the residual form", file="grid", old="r = r - self.A(s)", new="r = r + self.A(s)"),
    Defect(name="minus before the correction", file="grid", old="u = u + self.correction(i, f", new="u = u - self.correction(i, f"),
    Defect(name="B unused", file="grid", old=_STEP, new="self.sigma_u[i](0 * B(r) + self.sigma_r[i](r))"),
    Defect(name="first B in every iteration", file="grid", old="0 if self.share_B else i", new="0"),
)


@cache
def pool() -> tuple[Case, ...]:
    """A few cases that differ in every respect: one to three grids, both rules of sharing, both stems, odd sizes, batch 1."""
    rows = (
        ("MgNet[2]-[(2,3)]-B^l", "cifar", 3, False, (1, 2, 5, 4)),
        ("MgNet[1,2]-[(3,2),(2,3)]-B^{l,i}", "cifar", 3, False, (2, 1, 4, 7)),
        ("MgNet[2,1]-[3]-B^{l,i}", "cifar", 3, False, (3, 3, 6, 5)),
        ("MgNet[3,2]-[2]-B^l", "cifar", 1, True, (2, 3, 5, 5)),
        ("MgNet[2,1,2]-[(2,1),(3,2),(3,3)]-B^{l,i}", "imagenet", 3, False, (2, 3, 17, 19)),
        ("MgNet[1]-[3]-B^{l,i}", "cifar", 3, False, (1, 1, 3, 3)),
    )
    return tuple(
        Case(
            notation=Notation.parse(notation),
            stem=stem,  # type: ignore[arg-type]
            in_chans=shape[1],
            num_classes=2,
            transfer_kernel=kernel,
            transfer_linear=linear,
            example=Example(seed=seed, shape=shape, amplitude=(3, 2**12 + 1, 2**24 + 1)[seed % 3]),
        )
        for seed, (notation, stem, kernel, linear, shape) in enumerate(rows)
    )


def caught_by(network: Callable[..., nn.Module], properties: Iterable[Property] = MODEL_PROPERTIES) -> list[str]:
    """Names of the properties that fail, or crash, on some case of the pool."""
    return [checked.name for checked in properties if any(_fails(checked, network, case) for case in pool())]


def _fails(checked: Property, network: Callable[..., nn.Module], case: Case) -> bool:
    try:
        model = case.model(network)
        if checked.applies_to(model, parts_of(model)):
            checked.check(model, case.example)
    except NotDecided:
        return False
    except Exception:  # a crash on a legal configuration is a defect too, whatever it raises
        return True
    return False
