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
tracer) and in transforms of torch.func and forward-mode AD the plain method runs; torch.compile decides itself what to
compute again.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, cast, get_args

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, fx, nn
from torch.autograd import forward_ad
from torch.autograd.graph import saved_tensors_hooks
from torch.jit import is_tracing  # type: ignore[attr-defined]
from torch.nn.modules.module import _has_any_global_hook as has_any_global_hook
from torch.utils.checkpoint import checkpoint, get_device_states, set_device_states

if TYPE_CHECKING:
    from mgnet_models.mgnet.grid import Grid
    from mgnet_models.mgnet.model import MgNet
    from mgnet_models.nn.classifier import Network

RecomputeMode = Literal["none", "selective", "full", "sublinear"]
RECOMPUTE_MODES: tuple[RecomputeMode, ...] = get_args(RecomputeMode)

# What set_grad_checkpointing checkpoints of a grid: the first of these methods that it has.
_UNITS = ("residual_step", "block", "correction", "pursue")


def set_recompute(network: MgNet, mode: RecomputeMode) -> None:
    """What training keeps for the backward pass, and what it computes again: "none", "selective", "full" or "sublinear".

    Raises ValueError for an unknown mode, and where `set_grad_checkpointing` is on.
    """
    if mode not in RECOMPUTE_MODES:
        near = get_close_matches(mode, RECOMPUTE_MODES)
        raise ValueError(f"recompute mode {mode!r} is unknown: use {' or '.join(map(repr, near or RECOMPUTE_MODES))}")
    if network.grad_checkpointing:
        if mode != "none":
            raise ValueError(f"set_recompute({mode!r}) with gradient checkpointing on: call set_grad_checkpointing(False) first")
        return
    for grid in network.grids:
        _restore(grid, "residual_iteration")
        if mode == "selective":
            _replace(grid, "residual_iteration", _Selective)
        elif mode == "full":
            _replace(grid, "residual_iteration", _Full)
        elif mode == "sublinear":
            _replace(grid, "residual_iteration", _Sublinear)
    network.recompute = mode


def set_grad_checkpointing(network: Network, enable: bool = True) -> None:
    """timm's flag, for every network: checkpoint each iteration of a grid, each block of a chain.

    Raises ValueError where `set_recompute` chose a mode.
    """
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
        if torch.is_grad_enabled() and not _is_transformed() and not any(_is_no_data(arg) for arg in args):
            return self.recomputing(*args)
        return self.plain(*args)

    def recomputing(self, *args: Any) -> Any:
        raise NotImplementedError


def _replace(owner: nn.Module, method: str, how: type[_Replaced]) -> None:
    setattr(owner, method, how(owner, method))


def _restore(owner: nn.Module, method: str) -> None:
    owner.__dict__.pop(method, None)


def _is_transformed() -> bool:
    """Whether a compiler or tracer runs, or a transform of torch.func or forward-mode AD, none of which knows saved tensors."""
    return (
        torch.compiler.is_compiling()
        or is_tracing()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def _is_no_data(arg: Any) -> bool:
    """A tracer's stand-in, or a tensor of no image, for which PyTorch's operators of a norm's gradient end the process."""
    return isinstance(arg, fx.Proxy) or (isinstance(arg, Tensor) and arg.numel() == 0)


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
    """`function(*args)`, called again in the backward pass, where the norms of `owner` use the statistics of the first call."""
    norms = _Norms(owner.modules())
    return checkpoint(function, *args, use_reentrant=False, context_fn=lambda: (norms, _Again(norms)))


class _Selective(_Replaced):
    """Keeps the inputs of sigma: whoever saves a result of sigma for its backward pass gets it computed again.

    Autograd asks hooks what to keep of each tensor that an operation saves. Two kinds are a result y of sigma: the one that
    sigma itself saves, known as such when sigma returns, and the one that a convolution saves when it is called with y.
    """

    def recomputing(self, u: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        with ExitStack() as stack:
            modules = self.modules()
            norms = stack.enter_context(_Norms(part for module in modules for part in module.modules()))
            keeper = _Keeper(norms)
            for module in modules:
                stack.callback(module.register_forward_pre_hook(keeper.before_call, prepend=True).remove)
                stack.callback(module.register_forward_hook(keeper.after_call).remove)
            stack.enter_context(saved_tensors_hooks(keeper.pack, _Kept.unpack))
            return cast(tuple[Tensor, Tensor], self.plain(u, r))

    def modules(self) -> list[nn.Module]:
        """Those whose results are computed again."""
        grid = cast("Grid", self.owner)
        drops = [drop for drop in grid.drop_path if not isinstance(drop, nn.Identity)]
        return [*grid.sigma_r, *grid.sigma_u, *drops]


class _Full(_Selective):
    """Keeps r of each iteration: the results of B are computed again too."""

    def modules(self) -> list[nn.Module]:
        """Those whose results are computed again."""
        return [*super().modules(), *cast("Grid", self.owner).B]


class _Kept:
    """What is kept in place of a saved tensor: itself, or where it comes from."""

    def __init__(self, tensor: Tensor | None, source: _Source | None = None) -> None:
        self.tensor = tensor
        self.source = source

    def unpack(self) -> Tensor:
        return cast("_Source", self.source).value() if self.tensor is None else self.tensor


_OWN_HOOKS = 2  # those of a `_Keeper` on each module


class _Keeper:
    """The hooks of one pass over a grid."""

    def __init__(self, norms: _Norms) -> None:
        self._norms = norms
        self._saved: list[_Kept] = []  # since the last watched module returned
        self._last: tuple[weakref.ref[Tensor], _Source] | None = None
        self._x: Tensor | None = None  # of the call that runs, before hooks of the user change it
        self._state: _State | None = None

    def pack(self, tensor: Tensor) -> _Kept:
        """What to keep of a tensor that an operation saves."""
        source = self._source_of(tensor)
        if source is not None:
            source.users += 1
            return _Kept(None, source)
        kept = _Kept(tensor)
        self._saved.append(kept)
        return kept

    def before_call(self, module: nn.Module, args: tuple[Tensor]) -> None:
        # A plain convolution or norm draws no random numbers; what hooks of the user draw in it is not known.
        is_plain = isinstance(module, nn.Conv2d) or _is_norm_relu_class(module)
        self._x, self._state = args[0], _State(args[0], with_random=not is_plain or _has_hooks(module, own=_OWN_HOOKS))

    def after_call(self, module: nn.Module, args: tuple[Tensor], y: Tensor) -> None:
        x, self._x = cast(Tensor, self._x), None
        parent = self._source_of(x)
        call = self._norms.calls[-1] if self._norms.calls and self._norms.calls[-1].norm is module else None
        source = _Source(module, x.detach() if parent is None else parent, call, cast(_State, self._state))
        for kept in self._saved:
            if kept.tensor is not None and _is_same(kept.tensor, y):
                kept.tensor, kept.source = None, source
                source.users += 1
        self._saved.clear()
        self._last = weakref.ref(y), source

    def _source_of(self, tensor: Tensor) -> _Source | None:
        if self._last is None:
            return None
        y, source = self._last[0](), self._last[1]
        return source if y is not None and _is_same(tensor, y) else None


class _Source:
    """The result of a module, computed again from its input: once for all that ask in one backward pass."""

    def __init__(self, module: nn.Module, x: Tensor | _Source, call: _Call | None, state: _State) -> None:
        self.users = 0
        self._module = module
        self._x = x
        self._call = call
        self._state = state
        self._is_bare = call is not None and not _has_hooks(module, own=_OWN_HOOKS)
        self._again = _Again(_Norms(module.modules()) if call is None else _Norms.of_one(call))
        self._value: Tensor | None = None
        self._waiting = 0
        if isinstance(x, _Source):
            x.users += 1

    def value(self) -> Tensor:
        if self._value is None:
            x = self._x.value() if isinstance(self._x, _Source) else self._x
            self._value = self._computed(x)
            self._waiting = self.users
        y = self._value
        self._waiting -= 1
        if self._waiting <= 0:
            self._value = None
        return y

    def _computed(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            if self._call is not None and self._is_bare:
                return self._call.again(x)
            with self._state.restored(), self._again:
                return cast(Tensor, self._module(x))


class _State:
    """What the result of a module depends on beside its input and weights: autocast, and the state of random numbers."""

    def __init__(self, x: Tensor, *, with_random: bool) -> None:
        device = x.device.type
        self._device = device
        self._autocast: tuple[torch.dtype | None, bool] = (None, False)
        if torch.amp.is_autocast_available(device):  # the meta device has none
            self._autocast = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        self._random = (torch.get_rng_state(), *get_device_states(x)) if with_random else None

    @contextmanager
    def restored(self) -> Iterator[None]:
        dtype, enabled = self._autocast
        autocast = nullcontext() if dtype is None else torch.autocast(self._device, dtype=dtype, enabled=enabled)
        with autocast, self._random_numbers():
            yield

    @contextmanager
    def _random_numbers(self) -> Iterator[None]:
        if self._random is None:
            yield
            return
        random, devices, states = self._random
        kind = {} if self._device == "cpu" else {"device_type": self._device}
        with torch.random.fork_rng(devices=devices, **kind):
            torch.set_rng_state(random)
            set_device_states(devices, states, **kind)
            yield


def _is_same(saved: Tensor, y: Tensor) -> bool:
    """Whether a saved tensor, which autograd may have detached, is y."""
    return bool(
        saved.untyped_storage()._cdata == y.untyped_storage()._cdata
        and saved.storage_offset() == y.storage_offset()
        and saved.dtype == y.dtype
        and saved.shape == y.shape
        and saved.stride() == y.stride()
    )


class _Norms(AbstractContextManager["_Norms"]):
    """A first pass over modules: BatchNorm with ReLU runs as `_NormReLU`, and its statistics are noted call by call.

    Raises RuntimeError for a module that changes another buffer in the pass: a second one would start from that.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.ours: list[BatchNormAct2d] = []
        self.others: list[nn.modules.batchnorm._NormBase] = []
        self.calls: list[_Call] = []
        self._buffers: list[tuple[nn.Module, str, tuple[int, int]]] = []
        for module in modules:
            if _is_norm_relu(module):
                self.ours.append(module)
            elif isinstance(module, nn.modules.batchnorm._NormBase):
                self.others.append(module)
            elif module._buffers:
                self._buffers += [(module, name, _version(buffer)) for name, buffer in module._buffers.items()]
        self.others_training = [norm.training for norm in self.others]

    @classmethod
    def of_one(cls, call: _Call) -> _Norms:
        """The pass that is this call of a norm."""
        norms = cls(())
        norms.ours, norms.calls = [call.norm], [call]
        return norms

    def __enter__(self) -> _Norms:
        for norm in self.ours:
            norm.__dict__["forward"] = partial(self._first, norm)
        return self

    def __exit__(self, *error: object) -> None:
        for norm in self.ours:
            del norm.__dict__["forward"]
        for module, name, version in self._buffers:
            if error[0] is None and _version(module._buffers[name]) != version:
                raise RuntimeError(
                    f"{type(module).__name__} changes its buffer {name!r} at each call and cannot be computed again: "
                    "use set_recompute('none') and set_grad_checkpointing(False)"
                )

    def _first(self, norm: BatchNormAct2d, x: Tensor) -> Tensor:
        call = _Call(norm)
        y, call.mean, call.inverse_deviation = _NormReLU.apply(x, norm.weight, norm.bias, call)
        self.calls.append(call)
        return cast(Tensor, y)


class _Again(AbstractContextManager[None]):
    """The same pass once more, by the statistics of the first; running statistics do not move. Can be entered many times.

    Norms of other kinds compute their statistics again. They do so with momentum 0, because a checkpoint wants to see the
    same tensors saved.
    """

    def __init__(self, norms: _Norms) -> None:
        self._norms = norms
        self._before: list[tuple[Any, ...]] = []

    def __enter__(self) -> None:
        calls = iter(self._norms.calls)
        for norm in self._norms.ours:
            norm.__dict__["forward"] = lambda x, norm=norm: _NormReLU.apply(x, norm.weight, norm.bias, next(calls))[0]
        self._before = [(norm.training, norm.momentum, norm.num_batches_tracked) for norm in self._norms.others]
        for norm, training in zip(self._norms.others, self._norms.others_training):
            norm.training, norm.momentum, norm.num_batches_tracked = training, 0.0, None

    def __exit__(self, *error: object) -> None:
        for norm in self._norms.ours:
            del norm.__dict__["forward"]
        for norm, (training, momentum, count) in zip(self._norms.others, self._before):
            norm.training, norm.momentum, norm.num_batches_tracked = training, momentum, count


def _version(buffer: Tensor | None) -> tuple[int, int]:
    """What every change of a buffer changes, in place or by another tensor."""
    return id(buffer), 0 if buffer is None or buffer.is_inference() else buffer._version


def _has_hooks(module: nn.Module, own: int = 0) -> bool:
    """Whether hooks of the user see calls of a module, beside `own` ones."""
    hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
    hooks += len(module._backward_hooks) + len(module._backward_pre_hooks)
    return hooks > own or has_any_global_hook()


def _is_norm_relu_class(module: nn.Module) -> bool:
    return (
        type(module) is BatchNormAct2d
        and type(module.act) is nn.ReLU
        and type(module.drop) is nn.Identity
        and not any(_has_hooks(part) or "forward" in part.__dict__ for part in (module.act, module.drop))
    )


def _is_norm_relu(module: nn.Module) -> TypeGuard[BatchNormAct2d]:
    return _is_norm_relu_class(module) and module.weight is not None and "forward" not in module.__dict__


class _Call:
    """One call of a BatchNorm with ReLU: how it normalizes, and by which mean and 1 / deviation (c,) once it has."""

    def __init__(self, norm: BatchNormAct2d) -> None:
        self.norm = norm
        self.by_batch = norm.training or norm.running_mean is None
        self.mean: Tensor | None = None
        self.inverse_deviation: Tensor | None = None

    def again(self, x: Tensor) -> Tensor:
        """sigma(x) by the known statistics, with the rounding of the first time.

        The variance passed is 1 and 1 / deviation is folded into the weight, as PyTorch's kernel does in training.
        """
        one = torch.ones_like(cast(Tensor, self.inverse_deviation))
        weight = self.norm.weight * self.inverse_deviation
        return torch.batch_norm(x, weight, self.norm.bias, self.mean, one, False, 0.0, 0.0, False).relu_()

    def first(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """sigma(x), mean and 1 / deviation, as a call of the module computes them; moves what the module moves.

        Raises ValueError for a single value in a channel, of which there are no batch statistics.
        """
        norm = self.norm
        if self.by_batch and x.numel() == x.shape[1]:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
        momentum = 0.0 if norm.momentum is None else norm.momentum
        if norm.training and norm.track_running_stats and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            if norm.momentum is None:  # the cumulative average
                momentum = 1.0 / float(norm.num_batches_tracked)
        moves = not norm.training or norm.track_running_stats
        mean, var = (norm.running_mean, norm.running_var) if moves else (None, None)
        y, mean, inverse_deviation = torch.native_batch_norm(
            x, norm.weight, norm.bias, mean, var, self.by_batch, momentum, norm.eps
        )
        if not self.by_batch:
            mean, inverse_deviation = norm.running_mean.clone(), torch.rsqrt(norm.running_var + norm.eps)
        return y.relu_(), mean, inverse_deviation


class _NormReLU(torch.autograd.Function):
    """y = max(z, 0) with z = weight * (x - mean) / deviation + bias, which can be repeated from mean and deviation.

    A first call takes them from the batch, or from the running statistics, and returns them; a call that knows them
    computes no sum over the batch. x and y (b, c, h, w), the rest (c,).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, call: _Call) -> tuple[Tensor, Tensor, Tensor]:
        if call.mean is None or call.inverse_deviation is None:
            y, mean, inverse_deviation = call.first(x)
        else:
            y, mean, inverse_deviation = call.again(x), call.mean, call.inverse_deviation
        ctx.by_batch, ctx.eps = call.by_batch, call.norm.eps
        ctx.save_for_backward(x, weight, bias, mean, inverse_deviation, y)
        ctx.mark_non_differentiable(mean, inverse_deviation)
        ctx.set_materialize_grads(False)
        return y, mean, inverse_deviation

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        if g is None:
            return None, None, None, None
        x, weight, bias, mean, inverse_deviation, y = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is differentiated again: leave all of it to autograd
            z = (
                torch.batch_norm(x, weight, bias, None, None, True, 0.0, ctx.eps, False)
                if ctx.by_batch
                else (x - _by_channel(mean)) * _by_channel(inverse_deviation * weight) + _by_channel(bias)
            )
            wanted = [tensor for tensor, needed in zip((x, weight, bias), ctx.needs_input_grad) if needed]
            found = iter(torch.autograd.grad(z.relu(), wanted, g, create_graph=True))
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None
        # 1. ReLU: dL/dz = g where y > 0, else 0.
        g = torch.ops.aten.threshold_backward(g, y, 0)
        # 2. Normalization, with d = dL/dz, x^ = (x - mean) / deviation and means E over batch and pixels of a channel:
        #    dL/dweight = sum d x^,  dL/dbias = sum d,
        #    dL/dx = weight / deviation * (d - E[d] - x^ E[d x^])  by the batch, whose mean and deviation depend on x,
        #    dL/dx = weight / deviation * d                        by running statistics, which do not.
        wanted = list(ctx.needs_input_grad[:3])
        backward = torch.ops.aten.native_batch_norm_backward
        if ctx.by_batch:
            return *backward(g, x, weight, None, None, mean, inverse_deviation, True, 0.0, wanted), None
        one = torch.ones_like(inverse_deviation)
        g_x, g_weight, g_bias = backward(g, x, weight * inverse_deviation, mean, one, None, None, False, 0.0, wanted)
        return g_x, g_weight * inverse_deviation if wanted[1] else None, g_bias, None


def _by_channel(values: Tensor) -> Tensor:
    return values[:, None, None]
