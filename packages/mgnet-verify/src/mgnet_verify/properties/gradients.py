"""Gradients of both forms against the exact derivative of the specification."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from mgnet_verify.check.assertions import require_equal, require_length
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.oracle import exact_or_undecided
from mgnet_verify.errors import Violation
from mgnet_verify.network.protocol import Forward, NetworkView, array, tensors_of, view_of
from mgnet_verify.network.trace import unique
from mgnet_verify.properties.training import norms_of
from mgnet_verify.specification import Array, algorithm_2
from mgnet_verify.specification.exactness import claim
from mgnet_verify.specification.tangent import along, dual, tangent


def gradients_as_specified(model: nn.Module, example: Example) -> ExampleResult:
    """The gradient of <c, u^J> in a random direction of weights and image is the specification's derivative, in each form.

    Forward, the specification runs on dual numbers; backward, the model runs autograd; both sides are integers. The
    guards: a convolution's gradient adds max|g| max|x| over batch and pixels, its input's max|g| times a column sum of
    |w|; a normalization's likewise with its scale. Each is claimed as often as a grid can evaluate one module, nu + 2 times,
    since autograd adds the contributions of all evaluations.
    """
    exact = example.integer_copy(model)
    view, towards = view_of(exact), view_of(Example(seed=example.seed + 1, shape=example.shape).integer_copy(model))
    rng = np.random.default_rng([example.seed, 2])
    step = rng.integers(-3, 4, example.shape).astype(np.float64)
    with exact_or_undecided() as guard:
        moved = algorithm_2(along(tensors_of(view), tensors_of(towards)), dual(example.pixels(), step))
        du = tangent(moved.grids[-1].u[-1])
        c = rng.integers(-2, 3, du.shape).astype(np.float64)
        claim(float(np.abs(c * du).sum()))
        expected = (c * du).sum(keepdims=True)
        for name, form in view.forms.items():
            seen = _along(_gradients(view, form, example.tensor(), c), view, towards, step)
            require_equal(f"{name} form: derivative of <c, u^J>", seen.reshape(expected.shape), expected)
    return ExampleResult(bits_used=guard.bits)


def _trained(view: NetworkView) -> list[nn.Parameter]:
    """Every parameter that u^J depends on, in one order for all networks of one configuration."""
    kernels = [view.theta]
    for grid in view.grids:
        kernels += [grid.A, *unique(grid.B)]  # type: ignore[list-item]
        kernels += [grid.transfer.Pi, grid.transfer.R] if grid.transfer else []
    norms = [parameter for norm in norms_of(view) if norm.affine for parameter in (norm.weight, norm.bias)]
    return [kernel.weight for kernel in kernels] + norms  # type: ignore[return-value]


def _gradients(view: NetworkView, form: Forward, image: Tensor, c: Array) -> tuple[list[Array], Array]:
    """Autograd's gradients of <c, u^J> by the parameters and by the image; zero where it has none."""
    leaves = [image.requires_grad_(True), *(parameter.requires_grad_(True) for parameter in _trained(view))]
    with _claiming(view), _keeping(view.head) as kept:
        form(image)
        require_length("the head", len(kept), 1)
        if not kept[0].requires_grad:
            raise Violation("u^J has no gradient")
        gradients = torch.autograd.grad((kept[0] * torch.from_numpy(c)).sum(), leaves, allow_unused=True)
    arrays = [np.zeros(leaf.shape) if g is None else array(g) for leaf, g in zip(leaves, gradients)]
    return arrays[1:], arrays[0]


def _along(gradients: tuple[list[Array], Array], view: NetworkView, towards: NetworkView, step: Array) -> Array:
    """The inner product of the gradients with the direction."""
    pairs = [(g, array(d)) for g, d in zip(gradients[0], _trained(towards), strict=True)] + [(gradients[1], step)]
    claim(float(sum(np.abs(g * d).sum() for g, d in pairs)))
    return np.array(sum(float((g * d).sum()) for g, d in pairs))


@contextmanager
def _keeping(head: nn.Module) -> Iterator[list[Tensor]]:
    kept: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, operands: kept.append(operands[0]))
    try:
        yield kept
    finally:
        handle.remove()


@contextmanager
def _claiming(view: NetworkView) -> Iterator[None]:
    """Claim the bounds of every backward operation of convolutions and normalizations."""
    most = max(len(grid.B) for grid in view.grids) + 2
    modules: list[nn.Module] = [view.theta, *norms_of(view)]
    for grid in view.grids:
        modules += [grid.A, *unique(grid.B)]
        modules += [grid.transfer.Pi, grid.transfer.R] if grid.transfer else []
    handles = [module.register_forward_hook(_claim_backward(most)) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _claim_backward(most: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def watch(module: nn.Module, operands: tuple[Tensor, ...], output: Tensor) -> None:
        if output.requires_grad:
            largest = float(operands[0].detach().abs().max())
            output.register_hook(lambda g: claim(most * _backward_bound(module, largest, g)))

    return watch


def _backward_bound(module: nn.Module, largest: float, g: Tensor) -> float:
    places = g.numel() // g.shape[1]
    steepest = float(g.abs().max())
    if isinstance(module, nn.Conv2d):
        return steepest * max(places * largest, float(module.weight.detach().abs().sum(dim=(0, 2, 3)).max()))
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
        scale = float(module.running_var.add(module.eps).rsqrt().max())
        return steepest * places * scale * (largest + float(module.running_mean.abs().max()) + 1)
    return steepest
