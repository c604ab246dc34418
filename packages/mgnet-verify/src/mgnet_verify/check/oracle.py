"""What the specification says about a model on an example, computed where float64 is exact or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from mgnet_verify.check.example import Example
from mgnet_verify.errors import NotDecided
from mgnet_verify.network.protocol import Parts, parts_of, tensors_of
from mgnet_verify.specification import ExactnessError, NetTensors, Trace, algorithm_2, guarded, residual_iteration
from mgnet_verify.specification.exactness import Guard


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The exactified model, its parts and tensors, and both algorithms of the specification run on the example's image."""

    model: nn.Module
    parts: Parts
    net: NetTensors
    primal: Trace
    dual: Trace
    bits: float


def reference(model: nn.Module, example: Example) -> Reference:
    """Exactify and run the specification; NotDecided when some sum of it could leave exact arithmetic.

    A correct model adds the same numbers as one of the two algorithms, so their bounds hold for it too, in any order of
    summation.
    """
    exact = example.exactified(model)
    parts = parts_of(exact)
    net = tensors_of(parts)
    with exact_or_undecided() as guard:
        primal = algorithm_2(net, example.pixels())
        dual = residual_iteration(net, example.pixels())
    return Reference(model=exact, parts=parts, net=net, primal=primal, dual=dual, bits=guard.bits)


@contextmanager
def exact_or_undecided() -> Iterator[Guard]:
    """`guarded`, with NotDecided in place of ExactnessError."""
    try:
        with guarded() as guard:
            yield guard
    except ExactnessError as error:
        raise NotDecided(str(error)) from None
