"""The operators `mgnet::conv3x3`, `mgnet::conv3x3_grad_input` and `mgnet::conv3x3_grad_weight`.

    conv3x3(x, weight, bias, addend) = x * weight + bias + addend, with zero padding 1 and stride 1
    conv3x3_grad_input(g, weight)          its gradient with respect to x, where the output has gradient g
    conv3x3_grad_weight(g, x)              its gradient with respect to the weight

Shapes: x (b, c_in, h, w), weight (c_out, c_in, 3, 3), bias (c_out,), addend and g (b, c_out, h, w), of one floating-point dtype
and on one device. All results are channels_last, whatever computes them: on a CPU the C kernel where `Policy.allows` it, elsewhere
PyTorch's direct convolution. The first operator is linear in x and in the weight, so that each gradient is one of the three again:
all are differentiable arbitrarily often in reverse mode. They keep no state; a weight is transformed at each call.

The keyword arguments of each operator are the fields of `Policy`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.jit import is_tracing  # type: ignore[attr-defined]
from torch.utils.flop_counter import register_flop_formula

from mgnet_kernels import native
from mgnet_kernels.policy import DEFAULT_POLICY, Policy, count_tiles

_POLICY = ", ".join(f"int {field.name}={field.default}" for field in fields(Policy))
_library = torch.library.Library("mgnet", "DEF")  # the registrations live as long as this object
_library.define(f"conv3x3(Tensor x, Tensor weight, Tensor? bias=None, Tensor? addend=None, *, {_POLICY}) -> Tensor")
_library.define(f"conv3x3_grad_input(Tensor g, Tensor weight, *, {_POLICY}) -> Tensor")
_library.define(f"conv3x3_grad_weight(Tensor g, Tensor x, *, {_POLICY}) -> Tensor")
_conv3x3, _grad_input, _grad_weight = (
    torch.ops.mgnet.conv3x3.default,
    torch.ops.mgnet.conv3x3_grad_input.default,
    torch.ops.mgnet.conv3x3_grad_weight.default,
)


# ---- what all implementations require and return ----


def _require(fits: bool, name: str, tensor: Tensor, needed: str) -> None:
    if not fits:
        given = f"{name} of shape {tuple(tensor.shape)}, {tensor.dtype} on {tensor.device}"
        raise RuntimeError(f"conv3x3: {given} does not fit: {needed}")


def _require_kind(name: str, tensor: Tensor, first: Tensor) -> None:
    same = tensor.dtype == first.dtype and tensor.device == first.device
    _require(same, name, tensor, f"it needs {first.dtype} on {first.device}")


def _require_weight(weight: Tensor) -> None:
    _require(weight.is_floating_point(), "weight", weight, "it needs a floating-point dtype")
    _require(weight.dim() == 4 and weight.shape[2] == 3 and weight.shape[3] == 3, "weight", weight, "it needs (c_out, c_in, 3, 3)")


def _check_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None, addend: Tensor | None) -> None:
    _require_weight(weight)
    _require_kind("x", x, weight)
    c_out, c_in = weight.shape[:2]
    _require(x.dim() == 4 and x.shape[1] == c_in, "x", x, f"it needs (b, {c_in}, h, w)")
    if bias is not None:
        _require_kind("bias", bias, weight)
        _require(bias.dim() == 1 and bias.shape[0] == c_out, "bias", bias, f"it needs ({c_out},)")
    if addend is not None:
        _require_kind("addend", addend, weight)
        shape = (x.shape[0], c_out, *x.shape[2:])
        _require(addend.dim() == 4 and addend.shape == shape, "addend", addend, f"it needs {tuple(shape)}")


def _check_grad_input(g: Tensor, weight: Tensor) -> None:
    _require_weight(weight)
    _require_kind("g", g, weight)
    _require(g.dim() == 4 and g.shape[1] == weight.shape[0], "g", g, f"it needs (b, {weight.shape[0]}, h, w)")


def _check_grad_weight(g: Tensor, x: Tensor) -> None:
    _require(x.is_floating_point() and x.dim() == 4, "x", x, "it needs (b, c_in, h, w) and a floating-point dtype")
    _require_kind("g", g, x)
    fits = g.dim() == 4 and g.shape[0] == x.shape[0] and g.shape[2:] == x.shape[2:]
    _require(fits, "g", g, f"it needs ({x.shape[0]}, c_out, {x.shape[2]}, {x.shape[3]})")


def _empty(like: Tensor, *shape: int | torch.SymInt) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _in_channels_last(y: Tensor) -> Tensor:
    """The same numbers with the strides that the fake implementations promise, which differ for sizes of 1 too."""
    wanted = _empty(y, *y.shape)
    return y if y.stride() == wanted.stride() else wanted.copy_(y)


# ---- PyTorch's direct convolution ----


def _direct_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None, addend: Tensor | None) -> Tensor:
    y = _in_channels_last(torch.conv2d(x.contiguous(memory_format=torch.channels_last), weight, bias, padding=1))
    return y if addend is None else y.add_(addend)


def _direct_backward(g: Tensor, x: Tensor, weight: Tensor, which: int) -> Tensor:
    wanted = [which == 0, which == 1, False]
    found = torch.ops.aten.convolution_backward(g, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted)
    return _in_channels_last(found[which])


def _direct_grad_input(g: Tensor, weight: Tensor) -> Tensor:
    # Of x and of the weight, the side that is not needed gives its shape alone.
    return _direct_backward(g, _empty(g, g.shape[0], weight.shape[1], g.shape[2], g.shape[3]), weight, 0)


def _direct_grad_weight(g: Tensor, x: Tensor) -> Tensor:
    return _direct_backward(g, x, _empty(x, g.shape[1], x.shape[1], 3, 3), 1)


# ---- implementations for each device ----


def kernel_for(images: Tensor, other_channels: int, policy: Policy) -> native.Kernel | None:
    """The C kernel where it can compute this on the CPU and is worth it."""
    b, channels, h, w = images.shape
    if not policy.allows(images.dtype, channels, other_channels, count_tiles(b, h, w)):
        return None
    return native.loaded()[0]


def _cpu_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None, addend: Tensor | None = None, **policy: int) -> Tensor:
    _check_conv3x3(x, weight, bias, addend)
    chosen = Policy(**policy)
    kernel = kernel_for(x, weight.shape[0], chosen)
    return _direct_conv3x3(x, weight, bias, addend) if kernel is None else kernel.conv3x3(x, weight, bias, addend, chosen)


def _cpu_grad_input(g: Tensor, weight: Tensor, **policy: int) -> Tensor:
    _check_grad_input(g, weight)
    chosen = Policy(**policy)
    kernel = kernel_for(g, weight.shape[1], chosen)
    return _direct_grad_input(g, weight) if kernel is None else kernel.grad_input(g, weight, chosen)


def _cpu_grad_weight(g: Tensor, x: Tensor, **policy: int) -> Tensor:
    _check_grad_weight(g, x)
    chosen = Policy(**policy)
    kernel = kernel_for(x, g.shape[1], chosen)
    return _direct_grad_weight(g, x) if kernel is None else kernel.grad_weight(g, x, chosen)


def _other_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None, addend: Tensor | None = None, **policy: int) -> Tensor:
    _check_conv3x3(x, weight, bias, addend)
    return _direct_conv3x3(x, weight, bias, addend)


def _other_grad_input(g: Tensor, weight: Tensor, **policy: int) -> Tensor:
    _check_grad_input(g, weight)
    return _direct_grad_input(g, weight)


def _other_grad_weight(g: Tensor, x: Tensor, **policy: int) -> Tensor:
    _check_grad_weight(g, x)
    return _direct_grad_weight(g, x)


for _name, _cpu, _other in (
    ("conv3x3", _cpu_conv3x3, _other_conv3x3),
    ("conv3x3_grad_input", _cpu_grad_input, _other_grad_input),
    ("conv3x3_grad_weight", _cpu_grad_weight, _other_grad_weight),
):
    _library.impl(_name, _cpu, "CPU")
    _library.impl(_name, _other, "CompositeExplicitAutograd")


# ---- shapes alone: for torch.compile, meta tensors, FakeTensorMode ----


@torch.library.register_fake("mgnet::conv3x3", lib=_library)
def _fake_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None, addend: Tensor | None = None, **policy: int) -> Tensor:
    _check_conv3x3(x, weight, bias, addend)
    return _empty(x, x.shape[0], weight.shape[0], x.shape[2], x.shape[3])


@torch.library.register_fake("mgnet::conv3x3_grad_input", lib=_library)
def _fake_grad_input(g: Tensor, weight: Tensor, **policy: int) -> Tensor:
    _check_grad_input(g, weight)
    return _empty(g, g.shape[0], weight.shape[1], g.shape[2], g.shape[3])


@torch.library.register_fake("mgnet::conv3x3_grad_weight", lib=_library)
def _fake_grad_weight(g: Tensor, x: Tensor, **policy: int) -> Tensor:
    _check_grad_weight(g, x)
    return _empty(x, g.shape[1], x.shape[1], 3, 3)


# ---- derivatives ----
#
# With c(x, W) = conv3x3, i(g, W) = conv3x3_grad_input, w(g, x) = conv3x3_grad_weight, <i(g, W), x> = <g, c(x, W)> = <w(g, x), W>:
# each is linear in both arguments, and the adjoints of one are the other two. The tangent of f(a, b) is f(da, b) + f(a, db).
#
# torch.library.register_autograd is not used: an operator registered by it drops the tangents of forward-mode AD without an error.


def _save(ctx: Any, a: Tensor, b: Tensor, policy: dict[str, int]) -> None:
    """Each argument is needed for the gradient of the other one alone; what is not needed is not kept."""
    of_a, of_b = ctx.needs_input_grad[:2]
    ctx.save_for_backward(a if of_b else None, b if of_a else None)
    ctx.save_for_forward(a, b)
    ctx.policy = policy


def _tangent(op: Any, ctx: Any, da: Tensor | None, db: Tensor | None) -> Tensor | None:
    a, b = ctx.saved_tensors
    first = None if da is None else op(da, b, **ctx.policy)
    second = None if db is None else op(a, db, **ctx.policy)
    return _sum(first, second)


def _sum(*parts: Tensor | None) -> Tensor | None:
    total = None
    for part in parts:
        if part is not None:
            total = part if total is None else total + part
    return total


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, addend: Tensor | None, policy: dict[str, int]) -> Tensor:
        _save(ctx, x, weight, policy)
        with torch._C._AutoDispatchBelowAutograd():
            return _conv3x3(x, weight, bias, addend, **policy)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, of_addend, _ = ctx.needs_input_grad
        return (
            _grad_input(grad, weight, **ctx.policy) if of_x else None,
            _grad_weight(grad, x, **ctx.policy) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
            grad if of_addend else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dweight: Tensor | None, dbias: Tensor | None, daddend: Tensor | None, _: None) -> Any:
        x, weight = ctx.saved_tensors
        return _sum(
            _tangent(_conv3x3, ctx, dx, dweight),
            # Of the shape of the output, also where this is the only tangent.
            None if dbias is None else dbias[:, None, None].expand(len(x), len(weight), *x.shape[2:]),
            # A tangent must not be a view of an input's.
            None if daddend is None else daddend.clone(),
        )


class _GradInput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, policy: dict[str, int]) -> Tensor:
        _save(ctx, g, weight, policy)
        with torch._C._AutoDispatchBelowAutograd():
            return _grad_input(g, weight, **policy)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        g, weight = ctx.saved_tensors
        of_g, of_weight, _ = ctx.needs_input_grad
        return (
            _conv3x3(grad, weight, **ctx.policy) if of_g else None,
            _grad_weight(g, grad, **ctx.policy) if of_weight else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, dg: Tensor | None, dweight: Tensor | None, _: None) -> Tensor | None:
        return _tangent(_grad_input, ctx, dg, dweight)


class _GradWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, policy: dict[str, int]) -> Tensor:
        _save(ctx, g, x, policy)
        with torch._C._AutoDispatchBelowAutograd():
            return _grad_weight(g, x, **policy)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        g, x = ctx.saved_tensors
        of_g, of_x, _ = ctx.needs_input_grad
        return (
            _conv3x3(x, grad, **ctx.policy) if of_g else None,
            _grad_input(g, grad, **ctx.policy) if of_x else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, dg: Tensor | None, dx: Tensor | None, _: None) -> Tensor | None:
        return _tangent(_grad_weight, ctx, dg, dx)


def _under_autograd(
    op: Any, function: type[torch.autograd.Function], count: int, direct: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    def kernel(*tensors: Tensor | None, **policy: int) -> Tensor:
        if torch._C._are_functorch_transforms_active():
            # torch.func cannot differentiate an autograd.Function inside of an operator, but PyTorch's own operators.
            return direct(*tensors)
        in_reverse = torch.is_grad_enabled() and any(it is not None and it.requires_grad for it in tensors)
        if not in_reverse and forward_ad._current_level < 0:
            with torch._C._AutoDispatchBelowAutograd():
                return op(*tensors, **policy)
        # The dispatcher leaves out defaults at the end.
        return function.apply(*tensors, *(None,) * (count - len(tensors)), policy)

    return kernel


def _plain_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None, addend: Tensor | None = None) -> Tensor:
    _check_conv3x3(x, weight, bias, addend)
    y = torch.conv2d(x, weight, bias, padding=1)
    return y if addend is None else y + addend


_library.impl("conv3x3", _under_autograd(_conv3x3, _Conv3x3, 4, _plain_conv3x3), "Autograd")
_library.impl("conv3x3_grad_input", _under_autograd(_grad_input, _GradInput, 2, _direct_grad_input), "Autograd")
_library.impl("conv3x3_grad_weight", _under_autograd(_grad_weight, _GradWeight, 2, _direct_grad_weight), "Autograd")


# ---- autocast ----
#
# torch.library.register_autocast casts to one dtype, whichever one autocast was given, and takes no keyword arguments. This casts
# as autocast casts for torch.conv2d: floating-point tensors but float64 ones, to the dtype of the autocast region.


def _autocast(device: str) -> Callable[..., Tensor]:
    key = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, f"Autocast{device.upper()}"))

    def cast(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or not tensor.is_floating_point() or tensor.dtype == torch.float64:
            return tensor
        return tensor.to(torch.get_autocast_dtype(device))

    def kernel(x: Tensor, weight: Tensor, bias: Tensor | None = None, addend: Tensor | None = None, **policy: int) -> Tensor:
        with torch._C._ExcludeDispatchKeyGuard(key):
            return _conv3x3(cast(x), cast(weight), cast(bias), cast(addend), **policy)

    return kernel


for _device in ("cpu", "cuda"):
    _library.impl("conv3x3", _autocast(_device), f"Autocast{_device.upper()}")


# ---- torch.vmap: one call for each sample ----


def _vmap(op: Any) -> Callable[..., tuple[Tensor, int]]:
    def rule(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor | None, **policy: int) -> tuple[Tensor, int]:
        def sample(n: int) -> list[Tensor | None]:
            return [it if it is None or dim is None else it.select(dim, n) for it, dim in zip(tensors, in_dims)]

        return torch.stack([op(*sample(n), **policy) for n in range(info.batch_size)]), 0

    return rule


for _name, _op in (("conv3x3", _conv3x3), ("conv3x3_grad_input", _grad_input), ("conv3x3_grad_weight", _grad_weight)):
    torch.library.register_vmap(f"mgnet::{_name}", _vmap(_op), lib=_library)


# ---- torch.utils.flop_counter: the operations of the direct convolution ----


@register_flop_formula(_conv3x3.overloadpacket)
def _conv3x3_flops(x_shape: Sequence[int], weight_shape: Sequence[int], *others: Any, **policy: Any) -> int:
    images, _, height, width = x_shape
    return 2 * images * height * width * math.prod(weight_shape)


@register_flop_formula(_grad_input.overloadpacket)
def _grad_input_flops(g_shape: Sequence[int], weight_shape: Sequence[int], **others: Any) -> int:
    return _conv3x3_flops(g_shape, weight_shape)


@register_flop_formula(_grad_weight.overloadpacket)
def _grad_weight_flops(g_shape: Sequence[int], x_shape: Sequence[int], **others: Any) -> int:
    return _conv3x3_flops(g_shape, (g_shape[1], x_shape[1], 3, 3))


# ---- what a layer calls ----


def conv3x3(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, addend: Tensor | None = None, *, policy: Policy = DEFAULT_POLICY
) -> Tensor:
    """A 3x3 convolution with stride 1 and zero padding 1, plus `bias` and `addend`, by F(4x4, 3x3) where `policy` allows it.

    Winograd's minimal filtering (Lavin and Gray, CVPR 2016) takes a quarter of the multiplications of the direct convolution;
    results differ from its by rounding, a few times more of it. An infinity or NaN in x reaches all outputs of its 4x4 tiles.

    x: (b, c_in, h, w). weight: (c_out, c_in, 3, 3). bias: (c_out,). addend: (b, c_out, h, w). All of one floating-point dtype, or
    under autocast of any, and on one device. Returns (b, c_out, h, w) of the same dtype, channels_last.

    Differentiable arbitrarily often, in reverse and in forward mode. Under the transforms of torch.func the direct convolution
    is used. While torch.export, torch.jit.trace or torch.fx traces, plain convolutions are recorded, of no package but PyTorch.

    Raises RuntimeError where shapes, dtypes or devices do not fit.
    """
    if isinstance(x, torch.fx.Proxy) or torch.compiler.is_exporting() or is_tracing():
        y = torch.conv2d(x, weight, bias, padding=1)
        return y if addend is None else y + addend.type_as(y)  # under autocast the dtype of y is not that of x
    return torch.ops.mgnet.conv3x3(x, weight, bias, addend, **policy.as_arguments())


def pays(x: Tensor, weight: Tensor, policy: Policy = DEFAULT_POLICY) -> bool:
    """Whether `conv3x3(x, weight, policy=policy)` runs the C kernel, outside of autocast. Changes and compiles nothing."""
    return x.device.type == weight.device.type == "cpu" and x.dim() == 4 and kernel_for(x, weight.shape[0], policy) is not None
