"""Generated cases: a configuration of MgNet and an example of matching shape, and how to check a property on both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast, get_args

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn

from mgnet_models import MgNet, Notation
from mgnet_models.nn.layers import TransferSigma
from mgnet_models.notation import StemKind
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.integer_weights import AMPLITUDES
from mgnet_verify.check.run import Property
from mgnet_verify.errors import NotDecided

Network = Callable[..., nn.Module]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network of the family, by the arguments of its constructor, and an example of matching shape."""

    notation: Notation
    stem: StemKind
    in_chans: int
    num_classes: int
    transfer_kernel: int
    transfer_sigma: TransferSigma
    example: Example

    def model(self, network: Network = MgNet) -> nn.Module:
        """The network in evaluation mode, its weights drawn from the example's seed."""
        torch.manual_seed(self.example.seed)
        return network(
            self.notation if self.example.seed % 2 else str(self.notation),
            in_chans=self.in_chans,
            num_classes=self.num_classes,
            stem=self.stem,
            transfer_kernel=self.transfer_kernel,
            transfer_sigma=self.transfer_sigma,
        ).eval()

    def __str__(self) -> str:
        transfer = f"{self.transfer_kernel}x{self.transfer_kernel} transfers with sigma {self.transfer_sigma}"
        return f"{self.notation}, {self.stem} stem, {transfer}, {self.num_classes} classes, {self.example}"


@st.composite
def notations(draw: st.DrawFn, *, grids: int = 3, iterations: int = 3, channels: int = 3) -> Notation:
    """Any number of grids up to `grids`, with nu, c_u and c_f drawn apart on each, and both sharing rules."""
    J = draw(st.integers(1, grids))
    nu, c_u, c_f = (draw(st.tuples(*[st.integers(1, most)] * J)) for most in (iterations, channels, channels))
    return Notation(nu=nu, c_u=c_u, c_f=c_f, share_B=draw(st.booleans()))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any notation, both stems, odd and rectangular images down to the smallest, all transfers, batch 1, all amplitudes."""
    notation = draw(notations())
    stem = draw(st.sampled_from(("cifar", "imagenet")))
    smallest = 2 ** (len(notation.nu) - 1 + (2 if stem == "imagenet" else 0))
    height, width = (smallest + draw(st.integers(0, 5)) for _ in "hw")
    in_chans = draw(st.integers(1, 3))
    example = Example(
        seed=draw(st.integers(0, 2**32 - 1)),
        shape=(draw(st.integers(1, 3)), in_chans, height, width),
        amplitude=draw(st.sampled_from(AMPLITUDES)),
    )
    return Case(
        notation=notation,
        stem=cast(StemKind, stem),
        in_chans=in_chans,
        num_classes=draw(st.integers(1, 4)),
        transfer_kernel=draw(st.sampled_from((3, 1))),
        transfer_sigma=draw(st.sampled_from(get_args(TransferSigma))),
        example=example,
    )


def holds(checked: Property, case: Case, network: Network = MgNet) -> ExampleResult:
    """Run a property inside a Hypothesis test: Violation fails it, an undecided example is discarded."""
    model = case.model(network)
    assume(checked.applies_to(model))
    try:
        return checked.check(model, case.example)
    except NotDecided:
        assume(False)
        raise
