"""Sparse codes of one grid by unfolded pursuits: layered ISTA and FISTA, or the multi-layer ones that go top-down first.

A nonnegative soft threshold is S_b(v) = ReLU(v + b) with the learned b = -threshold; 1/L is the learned c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]

from mgnet_models.families.sparse_coding import Dictionary
from mgnet_models.nn.layers import DeviceDtype, NormAct
from mgnet_models.runtime.checkpointing import recompute

PursuitKind = Literal["layered", "global"]


class CodingLayer(nn.Module):
    """A dictionary with its step c, thresholds b and normalisation, shared by all unfoldings.

    `norm`, which must have no weights, normalises the coordinates of the atoms before the threshold, or with
    `normalise_all` those of an identity block too; they have a learned `gain`. The statistics are kept for each unfolding:
    those of the first step are not those of the second.
    """

    def __init__(
        self,
        D: Dictionary,
        unfold: int,
        act: Callable[[], nn.Module],
        dd: DeviceDtype,
        *,
        norm: NormAct | None = None,
        normalise_all: bool = False,
    ) -> None:
        super().__init__()
        self.D = D
        self.c = nn.Parameter(torch.empty(1, **dd))
        self.b = nn.Parameter(torch.empty(D.c_code, **dd))
        normalised = D.c_code if normalise_all else D.atoms
        self.kept = D.c_code - normalised
        self.register_parameter("gain", None if norm is None else nn.Parameter(torch.empty(normalised, **dd)))
        self.norms = nn.ModuleList([] if norm is None else [norm(normalised) for _ in range(unfold + 1)])
        self.act = act()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """c = 1, no threshold, gain 1."""
        nn.init.ones_(self.c)
        nn.init.zeros_(self.b)
        if self.gain is not None:
            nn.init.ones_(self.gain)  # type: ignore[arg-type]

    def threshold(self, t: int, v: Tensor) -> Tensor:
        """S_b of v, its coordinates normalised by the statistics of unfolding t first."""
        if self.gain is not None:
            new = v[:, self.kept :]
            for step, norm in enumerate(self.norms):
                if step == t:
                    new = norm(v[:, self.kept :])
            new = new * self.gain.view(1, -1, 1, 1)  # type: ignore[operator]
            v = torch.cat((v[:, : self.kept], new), dim=1) if self.kept > 0 else new
        return self.act(v + self.b.view(1, -1, 1, 1))

    def start(self, x: Tensor) -> Tensor:
        """The first step from zero, S_b(c D^T x): a layer of a feed-forward network."""
        return self.threshold(0, self.c * self.D.analysis(x))

    def step(self, t: int, z: Tensor, x: Tensor) -> Tensor:
        """One ISTA step for D z = x from z: S_b(z - c D^T (D z - x))."""
        return self.threshold(t, z - self.c * self.D.analysis(self.D.synthesis(z, x) - x))


class Pursuit(nn.Module):
    """The codes of a chain of dictionaries, x = D_1 z_1, z_1 = D_2 z_2 ..., by `unfold` steps beyond the feed-forward one.

    "layered" codes layer by layer, each with the code before as its fixed signal. "global" unfolds all layers together:
    the deepest code rebuilds those above it top-down, then each layer takes a step bottom-up. `fista` adds momentum, to
    each layer's code or to the deepest one. With `unfold` 0 or 1 all of them agree with or without momentum.
    """

    def __init__(
        self, layers: Sequence[CodingLayer], unfold: int, pursuit: PursuitKind, fista: bool, transition: nn.Module | None = None
    ) -> None:
        super().__init__()
        if unfold < 0:
            raise ValueError(f"unfold={unfold} is no number of steps: use 0 for the feed-forward network, or 1, 2 ...")
        if pursuit not in ("layered", "global"):
            raise ValueError(f"pursuit={pursuit!r} is unknown: use 'layered' or 'global'")
        self.transition = nn.Identity() if transition is None else transition
        self.layers = nn.ModuleList(layers)
        self.unfold = unfold
        self.is_global = pursuit == "global"
        self.momentum = fista_momentum(unfold) if fista else [0.0] * (unfold + 1)
        self.grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """The code of the last layer for the signal that the transition makes of x."""
        x = self.transition(x)
        if self.grad_checkpointing and not is_scripting():
            return recompute(self, self.pursue, x)
        return self.pursue(x)

    def pursue(self, x: Tensor) -> Tensor:
        """The code of the last layer for the signal x."""
        return self.pursue_global(x) if self.is_global else self.pursue_layered(x)

    def pursue_layered(self, x: Tensor) -> Tensor:
        """Layered basis pursuit."""
        for layer in self.layers:
            z = layer.start(x)  # type: ignore[operator]
            before = z
            for t in range(1, self.unfold + 1):
                y = z + self.momentum[t] * (z - before)
                before = z
                z = layer.step(t, y, x)  # type: ignore[operator]
            x = z
        return x

    def pursue_global(self, x: Tensor) -> Tensor:
        """Multi-layer ISTA or FISTA; codes[i] is the signal of layer i and codes[i + 1] its code."""
        codes = [x]
        for coder in self.layers:  # TorchScript lets no two loops of a function bind the same name to modules
            codes.append(coder.start(codes[-1]))  # type: ignore[operator]
        before = codes[-1]
        for t in range(1, self.unfold + 1):
            deepest = codes[-1]
            codes[-1] = deepest + self.momentum[t] * (deepest - before)
            before = deepest
            for depth in range(len(codes) - 2, 0, -1):
                codes[depth] = self.synthesis(depth, codes[depth + 1], codes[depth])
            for i, layer in enumerate(self.layers):
                codes[i + 1] = layer.step(t, codes[i + 1], codes[i])  # type: ignore[operator]
        return codes[-1]

    def synthesis(self, i: int, z: Tensor, like: Tensor) -> Tensor:
        """D z with the dictionary of layer i."""
        x = like
        for position, layer in enumerate(self.layers):
            if position == i:
                x = layer.D.synthesis(z, like)  # type: ignore
        return x


def fista_momentum(unfold: int) -> list[float]:
    """(t_{k-1} - 1) / t_k with t_0 = 1 and t_k = (1 + sqrt(1 + 4 t_{k-1}^2)) / 2, for the start (0) and each unfolding."""
    momentum, t = [0.0], 1.0
    for _ in range(unfold):
        before, t = t, (1 + (1 + 4 * t * t) ** 0.5) / 2
        momentum.append((before - 1) / t)
    return momentum
