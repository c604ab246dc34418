"""What a MgNet is made of and how much it computes: tensors by name and shape, parameters and multiply-adds, from the notation."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.counts import measured
from mgnet_verify.counts.closed_form import mgnet as closed_form
from mgnet_verify.counts.closed_form.mgnet import Form, Shape
from mgnet_verify.errors import Violation
from mgnet_verify.network.protocol import array, shape_of, view_of
from mgnet_verify.properties.training import norms_of
from mgnet_verify.specification import Array

Tensors = dict[str, tuple[int, ...]]


def tensors_by_name(model: nn.Module, example: Example) -> ExampleResult:
    """The state dict holds exactly the tensors of the notation, each once, under its name and in its shape."""
    expected = dict(expected_tensors(model, shape_of(model, view_of(model))))
    seen = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in sorted(seen.keys() ^ expected.keys()):
        raise Violation(f"tensor {name} is {'not in the notation' if name in seen else 'missing'}")
    for name, shape in expected.items():
        if seen[name] != shape:
            raise Violation(f"tensor {name} has shape {seen[name]}, the notation says {shape}")
    addresses = [tensor.data_ptr() for tensor in model.state_dict().values() if tensor.device.type != "meta"]
    if len(set(addresses)) != len(addresses):
        raise Violation("two tensors of the state dict share their memory")
    return ExampleResult()


def expected_tensors(model: Any, shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all tensors of a MgNet of this package's family."""
    notation = model.notation
    k = 7 if shape.stem == "imagenet" else 3
    yield "stem.theta.weight", (notation.c_f[0], shape.in_chans, k, k)
    yield from _norm("stem.sigma", notation.c_f[0])
    for grid, (nu, c_u, c_f) in enumerate(zip(notation.nu, notation.c_u, notation.c_f)):
        yield f"grids.{grid}.A.weight", (c_f, c_u, 3, 3)
        for i in range(1 if notation.share_B else nu):
            yield f"grids.{grid}.B.{i}.weight", (c_u, c_f, 3, 3)
        for i in range(nu):
            yield from _norm(f"grids.{grid}.sigma_r.{i}", c_f)
            yield from _norm(f"grids.{grid}.sigma_u.{i}", c_u)
        if grid > 0:
            for name, c in (("Pi", notation.c_u), ("R", notation.c_f)):
                yield f"grids.{grid}.transfer.{name}.weight", (c[grid], c[grid - 1], *[shape.transfer_kernel] * 2)
                if shape.transfer_norm:
                    yield from _norm(f"grids.{grid}.transfer.sigma_{name}", c[grid])
    yield "head.fc.weight", (shape.num_classes, notation.c_u[-1])
    yield "head.fc.bias", (shape.num_classes,)


def _norm(name: str, c: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{tensor}", (c,)
    yield f"{name}.num_batches_tracked", ()


def parameters_of_the_notation(model: nn.Module, example: Example) -> ExampleResult:
    """Parameters: the closed form from the notation equals what torch counts."""
    expected = closed_form.parameters(_notation(model), shape_of(model, view_of(model)))
    seen = measured.torch_parameters(model)
    if seen != expected:
        raise Violation(f"{seen:,} parameters, the notation says {expected:,}")
    return ExampleResult()


def macs_of_the_notation(model: nn.Module, example: Example) -> ExampleResult:
    """Multiply-adds of both forms: the closed form from the notation equals what torch counts on the meta device."""
    shape = shape_of(model, view_of(model))
    forms: tuple[Form, ...] = ("residual", "feature")
    for form in forms:
        expected = closed_form.macs(_notation(model), shape, size=example.shape[2:], form=form)
        seen = measured.torch_macs(model, example.shape[1:], measured.METHODS[form])
        if seen != expected:
            raise Violation(f"{form} form: {seen:,} multiply-adds, the notation says {expected:,}")
    return ExampleResult()


def trained_as_stated(model: nn.Module, example: Example) -> ExampleResult:
    """Every parameter asks for a gradient, but for A of a last grid with one iteration, on which no output depends."""
    view = view_of(model)
    idle = {id(view.grids[-1].A.weight)} if len(view.grids[-1].B) == 1 else set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad == (id(parameter) in idle):
            raise Violation(f"{name} has requires_grad={parameter.requires_grad}")
    return ExampleResult()


def features_as_announced(model: Any, example: Example) -> ExampleResult:
    """`feature_info` and `num_features` give the channels of u and the reduction of each grid, as the features have them."""
    notation, view = _notation(model), view_of(model)
    finest = 4 if view.imagenet else 1
    expected = [
        {"num_chs": c_u, "reduction": finest * 2**index, "module": f"grids.{index}"} for index, c_u in enumerate(notation.c_u)
    ]
    if model.feature_info != expected or model.num_features != notation.c_u[-1]:
        raise Violation(f"feature_info is {model.feature_info}, the notation says {expected}")
    return ExampleResult()


def starts_as_stated(model: nn.Module, example: Example) -> ExampleResult:
    """A new network, and one after `init_weights`, has Kaiming's normal kernels (fan-out, gain of ReLU); each sigma is ReLU alone.

    The squares of N weights over their stated variance 2 / (c_out k^2) have mean 1 and, being chi-square, standard
    deviation sqrt(2 / N); eight of those are allowed, exceeded once in 10^8 even where N is 9 (fourth moments included).
    """
    _require_start(model)
    started = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in started.state_dict().values():
            tensor.fill_(3)
    torch.manual_seed(example.seed)
    cast(Any, started).init_weights()
    _require_start(started)
    return ExampleResult()


def _require_start(started: nn.Module) -> None:
    squares = [_normalized_squares(module) for module in started.modules() if isinstance(module, nn.Conv2d)]
    pooled = np.concatenate(squares)
    if abs(pooled.mean() - 1) > 8 * np.sqrt(2 / pooled.size):
        raise Violation(f"{pooled.size} kernel weights have {pooled.mean():.2f} times Kaiming's variance")
    for norm in norms_of(view_of(started)):
        start = ((norm.weight, 1), (norm.bias, 0), (norm.running_mean, 0), (norm.running_var, 1))
        if any(tensor is not None and not bool((tensor == value).all()) for tensor, value in start):
            raise Violation("a BatchNorm does not start as the identity")


def _normalized_squares(conv: nn.Conv2d) -> Array:
    fan_out = conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1]
    return (array(conv.weight) ** 2 * fan_out / 2).ravel()


def _notation(model: Any) -> Any:
    return model.notation
