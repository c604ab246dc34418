"""What training keeps of the activations, and what the backward pass computes again (activation checkpointing).

Full tensors kept for one smoothing iteration (the feature form: 5), and what is computed again:
none        4: r, sigma(r), B * sigma(r), s    nothing; plain autograd
selective   2: r, B * sigma(r)                 both sigma
full        1: r                               the iteration up to s
sublinear   1 for each run of iterations: r    the run; of about sqrt(nu / 2) iterations, which has the lowest peak
A grid cannot be run backwards instead: r + A * u = f is conserved, so u holds nothing that r lacks.

Every mode takes any sigma, A and B, and runs their hooks (where they compute again, once more). Outputs, gradients and
running statistics are those of plain autograd, bit for bit in deterministic arithmetic; derivatives of any order work.
A mode replaces a method of a grid in that one instance. Where nothing is kept anyway (no gradients, torch.compile, a
tracer) the plain method runs; torch.compile decides itself what to compute again.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from torch import Tensor, fx, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from mgnet_models.mgnet.grid import Grid
    from mgnet_models.mgnet.model import MgNet
    from mgnet_models.nn.classifier import Network

RecomputeMode = Literal["none", "selective", "full", "sublinear"]
RECOMPUTE_MODES: tuple[RecomputeMode, ...] = get_args(RecomputeMode)

# What set_grad_checkpointing checkpoints of a grid: the first of these methods that it has.
_UNITS = ("residual_step", "block", "correction", "pursue")


def set_recompute(network: MgNet, mode: RecomputeMode) -> None:
    """Install a mode in every grid; "none" is plain autograd. See `MgNet.set_recompute`."""
    if mode not in RECOMPUTE_MODES:
        near = get_close_matches(mode, RECOMPUTE_MODES)
        raise ValueError(f"recompute mode {mode!r} is unknown: use {' or '.join(map(repr, near or RECOMPUTE_MODES))}")
    if network.grad_checkpointing:
        if mode != "none":
            raise ValueError(f"set_recompute({mode!r}) with gradient checkpointing on: call set_grad_checkpointing(False) first")
        return
    for grid in network.grids:
        _restore(grid, "residual_step")
        _restore(grid, "residual_iteration")
        if mode == "selective":
            _replace(grid, "residual_iteration", _Selective)
        elif mode == "full":
            _replace(grid, "residual_step", _Checkpointed)
        elif mode == "sublinear":
            _replace(grid, "residual_iteration", _Sublinear)
    network.recompute = mode


def set_grad_checkpointing(network: Network, enable: bool) -> None:
    """timm's flag, for every network: checkpoint each iteration of a grid, each block of a chain."""
    mode = getattr(network, "recompute", "none")
    if mode != "none":
        if enable:
            raise ValueError(f"set_grad_checkpointing with recompute mode {mode!r}: call set_recompute('none') first")
        return
    for owner, method in _units(network):
        _restore(owner, method)
        if enable:
            _replace(owner, method, _Checkpointed)
    network.grad_checkpointing = enable


def _units(network: Network) -> Iterator[tuple[nn.Module, str]]:
    """What is checkpointed: a method of each grid, or the forward pass of each block of a chain."""
    for grid in network.grids:
        owner = getattr(grid, "grid", grid)
        methods = [method for method in _UNITS if hasattr(owner, method)]
        if methods:
            yield owner, methods[0]
        else:
            yield from ((block, "forward") for block in grid.children())


class _Replaced:
    """A method of one module, by name; `plain` is the method as its class has it."""

    def __init__(self, owner: nn.Module, method: str) -> None:
        self.owner = owner
        self.method = method

    @property
    def plain(self) -> Callable[..., Any]:
        return partial(getattr(type(self.owner), self.method), self.owner)

    def __call__(self, *args: Any) -> Any:
        if not torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing() or _has_proxy(args):
            return self.plain(*args)
        return self.recomputing(*args)

    def recomputing(self, *args: Any) -> Any:
        raise NotImplementedError


def _replace(owner: nn.Module, method: str, how: type[_Replaced]) -> None:
    setattr(owner, method, how(owner, method))


def _restore(owner: nn.Module, method: str) -> None:
    owner.__dict__.pop(method, None)


def _has_proxy(args: tuple[Any, ...]) -> bool:
    return any(isinstance(arg, fx.Proxy) for arg in args)


class _Checkpointed(_Replaced):
    """Keeps the arguments of the method, and calls it again in the backward pass."""

    def recomputing(self, *args: Any) -> Any:
        return _checkpoint(self.owner, self.plain, *args)


class _Sublinear(_Replaced):
    """Runs of k iterations, each checkpointed: nu/k starts are kept and 2k tensors computed again, least at sqrt(nu/2)."""

    def recomputing(self, u: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        nu = cast(int, self.owner.nu)
        k = max(1, round(math.sqrt(nu / 2)))
        for first in range(0, nu, k):
            *corrections, r = _checkpoint(self.owner, self.run, range(first, min(first + k, nu)), r)
            for s in corrections:
                u = u + s
        return u, r

    def run(self, iterations: range, r: Tensor) -> tuple[Tensor, ...]:
        """The corrections of these iterations and the residual after them: u takes no part, so it need not be kept."""
        corrections = []
        for i in iterations:
            s, r = cast("Grid", self.owner).residual_step(i, r)
            corrections.append(s)
        return *corrections, r


def _checkpoint(owner: nn.Module, function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)` that is called again in the backward pass, with the norms of `owner` as they are in this one."""
    return checkpoint(function, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _Again(owner)))


class _Again(AbstractContextManager[None]):
    """The second pass over the norms of a module: normalize as in the first, without moving running statistics again.

    They take part with momentum 0, because a checkpoint wants to see the same tensors saved. Can be entered many times.
    """

    def __init__(self, owner: nn.Module) -> None:
        self._norms = [m for m in owner.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self._training = [norm.training for norm in self._norms]
        self._before: list[tuple[Any, ...]] = []

    def __enter__(self) -> None:
        self._before = [(norm.training, norm.momentum, norm.num_batches_tracked) for norm in self._norms]
        for norm, training in zip(self._norms, self._training):
            norm.training, norm.momentum, norm.num_batches_tracked = training, 0.0, None

    def __exit__(self, *error: object) -> None:
        for norm, (training, momentum, count) in zip(self._norms, self._before):
            norm.training, norm.momentum, norm.num_batches_tracked = training, momentum, count


class _Selective(_Replaced):
    """Keeps x and not sigma(x): whoever saves sigma(x) for its backward pass, A or B or the ReLU, gets it from x again.

    Autograd asks hooks what to keep of each tensor that an operation saves. Two kinds of tensors are sigma(x): the one that
    sigma itself saves, known when sigma returns, and the one that a convolution saves, which is then called with it.
    """

    def recomputing(self, u: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        grid = cast("Grid", self.owner)
        keeper = _KeepsInputs()
        with ExitStack() as stack:
            for sigma in (*grid.sigma_r, *grid.sigma_u):
                stack.callback(sigma.register_forward_hook(keeper.after_sigma).remove)
            stack.enter_context(saved_tensors_hooks(keeper.pack, _Kept.unpack))
            return cast(tuple[Tensor, Tensor], self.plain(u, r))


class _Kept:
    """What is kept in place of a saved tensor: itself, or where it comes from."""

    def __init__(self, tensor: Tensor | None, source: _Sigma | None = None) -> None:
        self.tensor = tensor
        self.source = source

    def unpack(self) -> Tensor:
        return cast("_Sigma", self.source).value() if self.tensor is None else self.tensor


class _KeepsInputs:
    """The hooks of one pass over a grid."""

    def __init__(self) -> None:
        self._saved_in_sigma: list[_Kept] = []
        self._last: tuple[weakref.ref[Tensor], _Sigma] | None = None

    def pack(self, tensor: Tensor) -> _Kept:
        # A convolution that is called with sigma(x) saves it.
        if self._last is not None:
            y, source = self._last[0](), self._last[1]
            if y is not None and _is_same(tensor, y):
                source.users += 1
                return _Kept(None, source)
        kept = _Kept(tensor)
        self._saved_in_sigma.append(kept)
        return kept

    def after_sigma(self, sigma: nn.Module, args: tuple[Tensor], y: Tensor) -> None:
        # sigma has saved its own result, for the derivative of ReLU: known only now.
        source = _Sigma(sigma, args[0])
        for kept in self._saved_in_sigma:
            if kept.tensor is not None and _is_same(kept.tensor, y):
                kept.tensor, kept.source = None, source
                source.users += 1
        self._saved_in_sigma.clear()
        self._last = weakref.ref(y), source


class _Sigma:
    """sigma(x), computed from x when asked, once for all that ask in one backward pass."""

    def __init__(self, sigma: nn.Module, x: Tensor) -> None:
        self.users = 0
        self._sigma = sigma
        self._x = x.detach()
        self._again = _Again(sigma)
        device = x.device.type
        self._autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        self._value: Tensor | None = None
        self._waiting = 0

    def value(self) -> Tensor:
        if self._value is None:
            device, dtype, enabled = self._autocast
            with torch.no_grad(), torch.autocast(device, dtype=dtype, enabled=enabled), self._again:
                self._value = cast(Tensor, self._sigma(self._x))
            self._waiting = self.users
        y = self._value
        self._waiting -= 1
        if self._waiting <= 0:
            self._value = None
        return y


def _is_same(saved: Tensor, y: Tensor) -> bool:
    """Whether a saved tensor, which autograd may have detached, is y."""
    return (
        saved.data_ptr() == y.data_ptr()
        and saved.dtype == y.dtype
        and saved.shape == y.shape
        and saved.stride() == y.stride()
        and y.data_ptr() != 0
    )
