"""Defects planted in the source of the real model, each a one-place edit that keeps the file runnable.

`caught_by` tries every property on a pool of cases and says which of them notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from torch import nn

from mgnet_models import Notation
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


_A = "            conv(c_u, c_f, kernel=3, dd=dd),"
_B = "for _ in range(1 if share_B else nu)"
_SAME_B = "; [setattr(g, 'B', self.grids[0].B) for g in self.grids if str(g.B) == str(self.grids[0].B)]"
_S = "sigma_u(self.smooth(i, sigma_r(r)))"

DEFECTS = (
    Defect(name="bias in A", file="grid", old=_A, new="nn.Conv2d(c_u, c_f, 3, padding=1, **dd),"),
    Defect(name="plus in the residual form", file="grid", old="r = r - self.A(s)", new="r = r + self.A(s)"),
    Defect(name="minus before the correction", file="grid", old="u = u + self.correction(i, f", new="u = u - self.correction(i, f"),
    Defect(
        name="B unused", file="smoothing", old=_S, new="sigma_u(0 * self.smooth(i, r).mean() + sigma_r(r).mean(1, keepdim=True))"
    ),
    Defect(name="first B in every iteration", file="smoothing", old="self.share_B or step == i", new="step == 0"),
    Defect(name="B shared across grids", file="mgnet", old="self.init_weights()", new=f"self.init_weights(){_SAME_B}"),
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


def caught_by(network: Callable[..., nn.Module], properties: Iterable[Property] = MODEL_PROPERTIES) -> dict[str, str]:
    """The properties that fail on some case of the pool, each with the first failure; a crash on a legal case counts."""
    failures = {checked.name: _first_failure(checked, network) for checked in properties}
    return {name: failure for name, failure in failures.items() if failure is not None}


def _first_failure(checked: Property, network: Callable[..., nn.Module]) -> str | None:
    for case in pool():
        try:
            model = case.model(network)
            if checked.applies_to(model, parts_of(model)):
                checked.check(model, case.example)
        except NotDecided:
            continue
        except Exception as failure:  # whatever a wrong network raises
            return f"{type(failure).__name__}: {failure}"
    return None
