"""What the sparse-coding networks learn: convolutional dictionaries D with their transposes, and codes by unfolded pursuits.

Layered ISTA and FISTA, or the multi-layer ones that go top-down first. A nonnegative soft threshold is
S_b(v) = ReLU(v + b) with the learned b = -threshold; 1/L is the learned c.

Shapes: signal x (b, c_signal, h, w), code z (b, c_code, h', w') with h' = h for stride 1. Zero padding, so that D and D^T
are exactly adjoint for every size, odd ones included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgnet_models.nn.layers import DeviceDtype, NormAct, check_weights
from mgnet_models.notation import MAX_ITERATIONS, whole_number
from mgnet_records.errors import shown

PursuitKind = Literal["layered", "global"]


def check_unfold(unfold: object) -> None:
    """Raises ValueError for what is no number of steps beyond the feed-forward one."""
    if not 0 <= whole_number("unfold", unfold) <= MAX_ITERATIONS:
        raise ValueError(
            f"unfold={shown(unfold)} is no number of steps: use 0 for the feed-forward network, or 1 to {MAX_ITERATIONS:,}"
        )


class Dictionary(nn.Module):
    """D = F^T, or D = [I F^T] with `identity`, for a bank F of filters with the given kernel, stride and dilation.

    `weight` is F as a convolution has it, (atoms, c_signal, kernel, kernel); the atoms of D are its filters. Started with
    normal weights of standard deviation `std`.
    """

    def __init__(
        self,
        c_signal: int,
        atoms: int,
        dd: DeviceDtype,
        *,
        std: float,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        identity: bool = False,
    ) -> None:
        super().__init__()
        if identity and stride != 1:
            raise ValueError(f"stride={stride} with an identity block: codes and signals must have one size, use stride=1")
        check_weights("a dictionary", atoms, c_signal, kernel, kernel)
        self.weight = nn.Parameter(torch.empty(atoms, c_signal, kernel, kernel, **dd))
        self.c_code = atoms + c_signal if identity else atoms
        self.atoms = atoms
        self.stride = stride
        self.dilation = dilation
        self.padding = dilation * (kernel - 1) // 2
        self.identity = identity
        self.std = std
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the filters anew."""
        nn.init.normal_(self.weight, std=self.std)

    def analysis(self, x: Tensor) -> Tensor:
        """D^T x = F x, or [x; F x]: how strongly each atom answers to the signal."""
        z = F.conv2d(x, self.weight, stride=self.stride, padding=self.padding, dilation=self.dilation)
        return torch.cat((x, z), dim=1) if self.identity else z

    def synthesis(self, z: Tensor, like: Tensor) -> Tensor:
        """D z = F^T g, or a + F^T g for z = [a; g]: the signal of the size of `like` that the code stands for."""
        g = z[:, -self.atoms :] if self.identity else z
        x = transposed(g, self.weight, like, stride=self.stride, dilation=self.dilation)
        return z[:, : -self.atoms] + x if self.identity else x


def transposed(z: Tensor, weight: Tensor, like: Tensor, *, stride: int = 1, dilation: int = 1) -> Tensor:
    """The transpose of the convolution with `weight` that maps `like` to a code of the size of z; zero padding keeps odd kernels
    centered."""
    kernel = weight.shape[2]
    padding = dilation * (kernel - 1) // 2
    rest = (0, 0)
    if stride > 1:  # several sizes have codes of this size
        reach = dilation * (kernel - 1) + 1 - 2 * padding
        rest = ((like.shape[2] - reach) % stride, (like.shape[3] - reach) % stride)
    return F.conv_transpose2d(z, weight, stride=stride, padding=padding, output_padding=rest, dilation=dilation)


class CodingLayer(nn.Module):
    """A dictionary with its step c, thresholds b and normalization, shared by all unfoldings.

    `norm`, which must have no weights, normalizes the coordinates of the atoms before the threshold, or with
    `normalize_all` those of an identity block too; they have a learned `gain`. The statistics are kept for each unfolding:
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
        normalize_all: bool = False,
    ) -> None:
        super().__init__()
        self.D = D
        self.c = nn.Parameter(torch.empty(1, **dd))
        self.b = nn.Parameter(torch.empty(D.c_code, **dd))
        normalized = D.c_code if normalize_all else D.atoms
        self.kept = D.c_code - normalized
        self.gain = None if norm is None else nn.Parameter(torch.empty(normalized, **dd))
        self.norms = nn.ModuleList([] if norm is None else [norm(normalized) for _ in range(unfold + 1)])
        self.act = act()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """c = 1, no threshold, gain 1."""
        nn.init.ones_(self.c)
        nn.init.zeros_(self.b)
        if self.gain is not None:
            nn.init.ones_(self.gain)

    def threshold(self, t: int, v: Tensor) -> Tensor:
        """S_b of v, its coordinates normalized by the statistics of unfolding t first."""
        if self.gain is not None:
            new = self.norms[t](v[:, self.kept :]) * self.gain.view(1, -1, 1, 1)
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
        check_unfold(unfold)
        if pursuit not in ("layered", "global"):
            raise ValueError(f"pursuit={pursuit!r} is unknown: use 'layered' or 'global'")
        self.transition = nn.Identity() if transition is None else transition
        self.layers = nn.ModuleList(layers)
        self.unfold = unfold
        self.is_global = pursuit == "global"
        self.momentum = momentum_of(unfold, fista)

    def forward(self, x: Tensor) -> Tensor:
        """The code of the last layer for the signal that the transition makes of x."""
        return self.pursue(self.transition(x))

    def pursue(self, x: Tensor) -> Tensor:
        """The code of the last layer for the signal x."""
        return self.pursue_global(x) if self.is_global else self.pursue_layered(x)

    def pursue_layered(self, x: Tensor) -> Tensor:
        """Layered basis pursuit."""
        for layer in cast(Sequence[CodingLayer], self.layers):
            z = before = layer.start(x)
            for t in range(1, self.unfold + 1):
                before, z = z, layer.step(t, ahead(z, before, self.momentum[t]), x)
            x = z
        return x

    def pursue_global(self, x: Tensor) -> Tensor:
        """Multi-layer ISTA or FISTA; codes[i] is the signal of layer i and codes[i + 1] its code."""
        layers = cast(Sequence[CodingLayer], self.layers)
        codes = [x]
        for layer in layers:
            codes.append(layer.start(codes[-1]))
        before = codes[-1]
        for t in range(1, self.unfold + 1):
            # 1. Momentum on the deepest code.
            deepest = codes[-1]
            codes[-1] = ahead(deepest, before, self.momentum[t])
            before = deepest
            # 2. Top-down: each code above is what the one below it stands for.
            for i in range(len(layers) - 1, 0, -1):
                codes[i] = layers[i].D.synthesis(codes[i + 1], codes[i])
            # 3. Bottom-up: one step of each layer.
            for i, layer in enumerate(layers):
                codes[i + 1] = layer.step(t, codes[i + 1], codes[i])
        return codes[-1]


def momentum_of(unfold: int, fista: bool) -> list[float]:
    """What each step adds of the last change, for the start and each unfolding: the sequence of FISTA, or nothing."""
    return fista_momentum(unfold) if fista else [0.0] * (unfold + 1)


def fista_momentum(unfold: int) -> list[float]:
    """(t_{k-1} - 1) / t_k with t_0 = 1 and t_k = (1 + sqrt(1 + 4 t_{k-1}^2)) / 2, for the start (0) and each unfolding."""
    momentum, t = [0.0], 1.0
    for _ in range(unfold):
        before, t = t, (1 + (1 + 4 * t * t) ** 0.5) / 2
        momentum.append((before - 1) / t)
    return momentum


def ahead(z: Tensor, before: Tensor, momentum: float) -> Tensor:
    """Where the next step starts: z, or with momentum beyond it."""
    return z + momentum * (z - before) if momentum else z
