"""The oracle: what the specification says about a model on an example, where float64 is exact.

Independence. The oracle shares with the models the configuration (`mgnet_models.Notation`, which B belongs to which
iteration), the weights (read by name, `network.protocol`), the table rows and the data sets' sizes. It shares no arithmetic:
every convolution, normalization, iteration, transfer and derivative that a network is compared with is computed by
`mgnet_verify.specification`, in numpy, without torch and without code of mgnet-models; padding, strides and the order of
execution are the specification's own. Closed-form counts are arithmetic on a `Notation` and build no network. A mistake in
`Notation` itself is therefore not found here; tests/models/test_notation.py checks it against the paper's text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from mgnet_verify.check.example import Example
from mgnet_verify.errors import NotDecided
from mgnet_verify.network.protocol import NetworkView, tensors_of, view_of
from mgnet_verify.specification import ExactnessError, Iterates, NetTensors, algorithm_2, guarded, residual_iteration
from mgnet_verify.specification.exactness import Guard


@dataclass(frozen=True, kw_only=True, eq=False)
class Oracle:
    """The integer-valued copy with its view and tensors, and both forms of the specification run on the example's image."""

    model: nn.Module
    view: NetworkView
    net: NetTensors
    feature_form: Iterates
    residual_form: Iterates
    bits: float


def oracle_of(model: nn.Module, example: Example) -> Oracle:
    """Make the integer-valued copy and run the specification. Raises NotDecided when a sum could leave exact arithmetic.

    A correct model adds the same numbers as one of the two forms, so their bounds hold for it too, in any order of
    summation.
    """
    exact = example.integer_copy(model)
    view = view_of(exact)
    net = tensors_of(view)
    with exact_or_undecided() as guard:
        feature_form = algorithm_2(net, example.pixels())
        residual_form = residual_iteration(net, example.pixels())
    return Oracle(model=exact, view=view, net=net, feature_form=feature_form, residual_form=residual_form, bits=guard.bits)


@contextmanager
def exact_or_undecided() -> Iterator[Guard]:
    """`guarded`, with NotDecided in place of ExactnessError."""
    try:
        with guarded() as guard:
            yield guard
    except ExactnessError as error:
        raise NotDecided(str(error)) from None
