"""Every execution in the precisions in which networks run: each convolution within its bound, all else exact.

A whole float32 run has no useful bound. So each convolution of the run is compared with the exact one of the same operands, and
the exact result goes on in its place. What is then left of the run is exact on integers below 2^24, whatever the precision of
the convolutions, and the network's results must be those of the specification, with `==`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.executions import forms_among
from mgnet_verify.check.oracle import BFLOAT16, FLOAT32, compare, exact_or_undecided, observed
from mgnet_verify.errors import Violation
from mgnet_verify.network.subject import subject_of

# The transforms of F(4x4, 3x3) by their absolute values, of the weight (times 24), the image and the result; Lavin and Gray 2016.
_WEIGHT = ((6, 0, 0), (4, 4, 4), (4, 4, 4), (1, 2, 4), (1, 2, 4), (0, 0, 24))
_IMAGE = ((4, 0, 5, 0, 1, 0), (0, 4, 4, 1, 1, 0), (0, 4, 4, 1, 1, 0), (0, 2, 1, 2, 1, 0), (0, 2, 1, 2, 1, 0), (0, 4, 0, 5, 0, 1))
_RESULT = ((1, 1, 1, 1, 1, 0), (0, 1, 1, 2, 2, 0), (0, 1, 1, 4, 4, 0), (0, 1, 1, 8, 8, 1))
# Roundings on a path through the three transforms: each takes at most 5 products and sums in each of two dimensions, the weight
# one more for the division, the product in the middle one; doubled.
_ROUNDINGS = 2 * (3 * 2 * 5 + 2)


def within_rounding(model: nn.Module, example: Example) -> ExampleResult:
    """In float32 each convolution of each execution lies within its bound, and all the rest of the network is exact.

    Under autocast convolutions compute in bfloat16, and where Winograd convolutions run their bound is that of F(4x4, 3x3).
    """
    exact = _with_eps(example.integer_copy(model), 2.0**-17)  # so that folding divides by powers of two in float32, too
    subject = subject_of(exact)
    with exact_or_undecided(limit_bits=24) as guard:
        right = subject.evaluated(example.pixels())
    gap = 0.0
    for execution in example.of(model):
        if execution.form is None:
            continue
        with execution.named():
            running = execution.start(copy.deepcopy(exact).float())
            assert running.model is not None  # executions of a form are watched
            with Exactly() as checked, _frozen(running.model, checked):
                seen = observed(running, example.tensor().float())
            compare(f"{execution} in float32: ", seen, right, subject, unit=FLOAT32)
            gap = max(gap, checked.gap)
    return ExampleResult(bits_used=guard.bits, largest_gap=gap)


def exact_in_half_precision(model: nn.Module, example: Example) -> ExampleResult:
    """In bfloat16, in float16 and under autocast every execution gives the specification's features on integers up to 256.

    Sums are added in float32 there, and what is stored are integers of at most 8 bits, so `==` decides. Winograd convolutions
    divide and are left to `within_rounding`.
    """
    exact = _with_eps(example.integer_copy(model), 2.0**-8)
    subject = subject_of(exact)
    pixels = np.sign(example.pixels())  # odd integers, so none is 0
    with exact_or_undecided(24, stored_bits=8) as guard:
        right = subject.evaluated(pixels)
    forms = forms_among(example.of(model))
    for execution in example.of(model):
        if execution.form is None or "winograd" in execution.name:
            continue
        under_autocast = "autocast" in execution.name
        for dtype in (
            (torch.float32,) if under_autocast else (torch.bfloat16, torch.float16) if execution in forms else (torch.bfloat16,)
        ):
            with execution.named():
                running = execution.start(copy.deepcopy(exact).to(dtype))
                seen = observed(running, torch.from_numpy(pixels.copy()).to(dtype))
                compare(f"{execution} of {str(dtype).removeprefix('torch.')}: ", seen, right, subject, unit=BFLOAT16)
    return ExampleResult(bits_used=guard.bits)


def _with_eps(exact: nn.Module, eps: float) -> nn.Module:
    """The network with a dyadic eps and variances that add up to the same powers of four, in low precision too."""
    for _, norm, _ in subject_of(exact).norms:
        assert norm.running_var is not None  # the specification knows no other
        norm.running_var += norm.eps - eps
        norm.eps = eps
    return exact


class Exactly(TorchFunctionMode):
    """Checks each convolution and linear layer that runs inside, and gives the exact result in its place, in float32.

    Error bounds, relative to the sum M of the absolute values of all products, n of them for an output: 2 n u for the sum in
    float32, u = 2^-24, in any order, or for F(4x4, 3x3) 2 (c + N) u of what the transforms make of absolute values; 2^-8 for each
    operand rounded to bfloat16, and 2^-8 of the result where that is stored in bfloat16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gap = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        y = func(*args, **kwargs)
        name = getattr(func, "__name__", "").split(".")[0]
        if name not in _CHECKED or not isinstance(y, Tensor) or y.dtype == torch.float64:
            return y
        return self.checked(name, y, *args, **{key: value for key, value in kwargs.items() if key in _GEOMETRY})

    def checked(self, name: str, y: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The exact result in the place of y. Raises Violation where y is farther from it than its bound."""
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            wide = [arg.detach().double() if isinstance(arg, Tensor) else arg for arg in args]
            right = _CHECKED[name](*wide, **kwargs)
            absolute = [arg.abs() if isinstance(arg, Tensor) else arg for arg in wide]
            magnitudes = _CHECKED[name](*absolute, **kwargs)
            n = wide[1][0].numel() + 2
            bound = 2 * n * FLOAT32 * magnitudes + FLOAT32 * right.abs()
            if name == "conv3x3":
                bound += 2 * (wide[1].shape[1] + _ROUNDINGS) * FLOAT32 * _winograd_magnitudes(absolute[0], absolute[1])
            if y.dtype == torch.bfloat16:
                bound += (2.5 * BFLOAT16) * magnitudes + BFLOAT16 * right.abs()
            error = (y.detach().double() - right).abs()
            if not bool((error <= bound).all()):
                place = tuple(int(i) for i in np.unravel_index(int((error - bound).nan_to_num(nan=np.inf).argmax()), error.shape))
                raise Violation(
                    f"{name} is {float(y[place]):.9g} at {place}, the exact result {float(right[place]):.9g}, further apart than "
                    f"the bound {float(bound[place]):.3g}"
                )
            self.gap = max(self.gap, float((error / bound.clamp(min=1e-300)).max()) if error.numel() else 0.0)
            return torch.empty_like(y, dtype=torch.float32).copy_(right)


def _winograd_magnitudes(x: Tensor, weight: Tensor) -> Tensor:
    """What F(4x4, 3x3) makes of absolute values: S [(Q g Q^T) . (P d P^T)] S^T with all of them replaced by absolute ones."""
    h, w = x.shape[2:]
    p, q, s = (torch.tensor(matrix, dtype=x.dtype) for matrix in (_IMAGE, _WEIGHT, _RESULT))
    tiles = F.pad(x, (1, 1 + -w % 4, 1, 1 + -h % 4)).unfold(2, 6, 4).unfold(3, 6, 4)
    transformed = torch.einsum("am,oimn,bn->oiab", q, weight, q) / 576
    products = torch.einsum("oiab,zirtab->zortab", transformed, torch.einsum("am,zirtmn,bn->zirtab", p, tiles, p))
    return torch.einsum("ma,zortab,nb->zormtn", s, products, s).flatten(4, 5).flatten(2, 3)[..., :h, :w]


def _conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None, addend: Tensor | None = None) -> Tensor:
    y = F.conv2d(x, weight, bias, padding=1)
    return y if addend is None else y + addend


_CHECKED: dict[str, Callable[..., Tensor]] = {
    "conv2d": F.conv2d,
    "conv_transpose2d": F.conv_transpose2d,
    "conv3x3": _conv3x3,
    "linear": F.linear,
}
_GEOMETRY = ("bias", "stride", "padding", "output_padding", "groups", "dilation")


@contextmanager
def _frozen(model: nn.Module, checked: Exactly) -> Iterator[None]:
    """The same for frozen Winograd convolutions, which call no function of torch; and for r - A * s in one call."""
    grids: list[Any] = [module for module in model.modules() if "next_residual" in module.__dict__]
    in_one_call: set[int] = set()
    for grid in grids:
        in_one_call.add(id(grid.A))
        grid.next_residual = _checked_residual(grid, grid.next_residual, checked)
    handles = [
        module.register_forward_hook(lambda module, args, y: checked.checked("conv3x3", y, args[0], module.weight, module.bias))
        for module in model.modules()
        if hasattr(module, "freeze") and id(module) not in in_one_call
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _checked_residual(grid: Any, plain: Callable[[Tensor, Tensor], Tensor], checked: Exactly) -> Callable[[Tensor, Tensor], Tensor]:
    def next_residual(r: Tensor, s: Tensor) -> Tensor:
        return checked.checked("conv3x3", plain(r, s), s, -grid.A.weight, None, r)

    return next_residual
