"""What a MgNet is made of and how much it computes: tensors by name and shape, parameters and multiply-adds, from the notation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.counts import measured
from mgnet_verify.counts.closed_form import mgnet as closed_form
from mgnet_verify.counts.closed_form.mgnet import Form, Shape
from mgnet_verify.errors import Violation
from mgnet_verify.network.protocol import shape_of, view_of
from mgnet_verify.network.subject import inner_of, subject_of
from mgnet_verify.specification.sparse_coding import momentum_of_fista

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
    """Every parameter on which the logits depend asks for a gradient, and no other one does."""
    copied = example.integer_copy(model).requires_grad_(True)
    names, parameters = zip(*copied.named_parameters())
    found = torch.autograd.grad(copied(example.tensor()).sum(), parameters, allow_unused=True)
    read = {name: g is not None for name, g in zip(names, found)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad != read[name]:
            depends = "depend" if read[name] else "do not depend"
            raise Violation(f"{name} has requires_grad={parameter.requires_grad}, the logits {depends} on it")
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


def tensors_are_sound(model: nn.Module, example: Example) -> ExampleResult:
    """Every weight and statistic that the network holds is a finite number, and no variance is negative."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = tensor[~torch.isfinite(tensor)].flatten()
            raise Violation(f"{name} holds {float(bad[0])}, in {bad.numel()} of {tensor.numel()} places")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise Violation(f"{name} holds a negative variance, {float(tensor.min()):.4g}")
    return ExampleResult()


def norms_as_released(model: nn.Module, example: Example) -> ExampleResult:
    """Every BatchNorm has torch's eps of 1e-5, momentum of 0.1, its own weights and running statistics, as the released code."""
    norms = subject_of(example.integer_copy(model)).norms
    dense = hasattr(inner_of(model), "dilations")  # MSD-CSC has a gain that all unfoldings share
    for place, norm, _ in norms:
        settings = (norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        if settings != (1e-5, 0.1, not (dense and place.startswith("unfolding")), True):
            raise Violation(f"sigma on {place} has eps, momentum, affine, track_running_stats = {settings}")
    known = {id(norm) for _, norm, _ in norms}
    if len(known) != len(norms):
        raise Violation("two normalizations are one module")
    return ExampleResult()


def momentum_as_stated(model: nn.Module, example: Example) -> ExampleResult:
    """The momentum of each pursuit is that of FISTA for its unfoldings, or none: an integer-valued copy has another one."""
    for name, module in model.named_modules():
        momentum = getattr(module, "momentum", None)
        if isinstance(momentum, list):
            right = momentum_of_fista(len(momentum) - 1)
            if any(momentum) and not np.allclose(momentum, right, rtol=2.0**-48, atol=0):
                raise Violation(f"{name} has momentum {momentum}, FISTA {right}")
    return ExampleResult()


def _notation(model: Any) -> Any:
    return model.notation
