"""What the specification says of a network without a data-feature iteration: features, pooled feature, logits."""

from __future__ import annotations

from dataclasses import dataclass

from mgnet_verify.specification.operators import Array, largest, mean


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """Global pooling, the mean over pixels or with `largest` their maximum, then weight (classes, c) and bias (classes,)."""

    weight: Array
    bias: Array
    largest: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """The feature at the end of each grid, the one that the head is given, that one pooled (b, c), and the logits (b, classes)."""

    ends: list[Array]
    last: Array
    pooled: Array
    logits: Array


def classified(head: Classifier, ends: list[Array], last: Array | None = None) -> Outcome:
    """The outcome of a chain of grids; `last` is what the head is given where that is not the end of the last grid."""
    last = ends[-1] if last is None else last
    pooled = largest(last) if head.largest else mean(last)
    return Outcome(ends=ends, last=last, pooled=pooled, logits=pooled @ head.weight.T + head.bias)
