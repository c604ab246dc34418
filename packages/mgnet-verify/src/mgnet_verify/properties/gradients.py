"""Derivatives of every execution against the exact derivative of the specification."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mgnet_verify.check.assertions import require_equal, require_length, require_within
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.executions import Running, forms_among
from mgnet_verify.check.oracle import exact_or_undecided
from mgnet_verify.errors import Violation
from mgnet_verify.network.protocol import array
from mgnet_verify.network.subject import classifier_in, head_of, last_feature, specify, subject_of
from mgnet_verify.properties.training import compare_statistics, recording, require_no_chance, require_training
from mgnet_verify.specification import Array, BatchStatistics
from mgnet_verify.specification.exactness import claim
from mgnet_verify.specification.tangent import along, dual, tangent

# Half of float64's digits: what must agree where statistics of a batch make exact arithmetic impossible.
HALF = 2.0**-26


def gradients_as_specified(model: nn.Module, example: Example) -> ExampleResult:
    """In every execution the gradient of <c, u^J> in a random direction of weights and image is the exact derivative.

    u^J is what the head is given. Forward, the specification runs on dual numbers; backward, the network runs autograd, in
    evaluation mode and, for the forms, in training mode with frozen normalizations; both sides are integers. `_Claiming` has
    the guards.
    """
    require_no_chance(model)
    exact = example.integer_copy(model)
    subject, towards = subject_of(exact), Example(seed=example.seed + 1, shape=example.shape).integer_copy(model)
    rng = np.random.default_rng([example.seed, 2])
    step = rng.integers(-3, 4, example.shape).astype(np.float64)
    with exact_or_undecided() as guard:
        moved = specify(subject, along(subject.net, subject_of(towards).net), dual(example.pixels(), step))
        du = tangent(last_feature(moved))
        c = rng.integers(-2, 3, du.shape).astype(np.float64)
        claim(float(np.abs(c * du).sum()))
        expected = np.array([float((c * du).sum())])
        executions = [execution for execution in example.of(model) if execution.trains]
        forms = forms_among(tuple(executions))
        for execution in executions:
            for mode in ("evaluation", "training") if execution in forms else ("evaluation",):
                with execution.named():
                    copied = copy.deepcopy(exact).train(mode == "training")
                    running = recording(execution.start(copied))
                    for _, norm, _ in subject_of(copied).norms:
                        norm.eval()
                    with _Claiming() if execution in forms[:1] else nullcontext():  # the others add the same numbers
                        seen, terms = _derivative(running, example.tensor(), c, towards, step)
                    claim(terms)
                    require_equal(f"{execution} in {mode}: derivative of <c, u^J>", np.array([seen]), expected)
    return ExampleResult(bits_used=guard.bits)


def _derivative(running: Running, image: Tensor, c: Array, towards: nn.Module, step: Array) -> tuple[float, float]:
    """Autograd's derivative of <c, u^J> in the direction of another network's weights and of `step`."""
    assert running.model is not None  # what trains is watched
    model, leaf = running.model, image.requires_grad_(True)
    with _keeping(head_of(model)) as kept:
        running(leaf)
    require_length("the head", len(kept), 1)
    if not kept[0].requires_grad:
        raise Violation("u^J has no gradient")
    return _along((kept[0] * torch.from_numpy(c)).sum(), model, leaf, towards, step)


def _along(value: Tensor, model: nn.Module, leaf: Tensor, towards: nn.Module, step: Array) -> tuple[float, float]:
    """The inner product of the gradients of a number with the direction, and the sum of the absolute values of its terms.

    A tensor that the number does not depend on adds nothing.
    """
    names, parameters = zip(*model.named_parameters())
    found = torch.autograd.grad(value, [leaf, *parameters], allow_unused=True)
    direction = dict(towards.named_parameters())
    directions = [torch.from_numpy(step), *(direction[name] for name in names)]
    products = [array(g) * array(d) for g, d in zip(found, directions, strict=True) if g is not None]
    return sum(float(terms.sum()) for terms in products), sum(float(np.abs(terms).sum()) for terms in products)


def training_step_as_specified(model: nn.Module, example: Example) -> ExampleResult:
    """After a training step of any execution, logits, derivatives and running statistics agree with the specification to 26 bits.

    By the statistics of the batch, so not exactly: float64 has 53 bits, and half of them must agree, relative to the sum of
    the absolute values of what is added. The derivative is that of <c, logits> in a random direction of weights and image. Running
    statistics are read after the backward pass, which may not move them.
    """
    require_no_chance(model)
    exact = example.integer_copy(model)
    subject, towards = subject_of(exact), Example(seed=example.seed + 1, shape=example.shape).integer_copy(model)
    rng = np.random.default_rng([example.seed, 8])
    step = rng.integers(-3, 4, example.shape).astype(np.float64)
    rule = BatchStatistics(rounded=False)
    with exact_or_undecided(rounded=True):
        moved = specify(subject, along(subject.net, subject_of(towards).net), dual(example.pixels(), step), rule)
    logits = np.real(moved.logits)
    c = rng.integers(1, 4, logits.shape).astype(np.float64) * rng.choice((-1.0, 1.0), logits.shape)
    expected = float((c * tangent(moved.logits)).sum())
    net = classifier_in(subject)
    magnitudes = np.abs(np.real(moved.pooled)) @ np.abs(net.weight).T + np.abs(net.bias)
    gap = 0.0
    for execution in example.of(model):
        if not execution.trains:
            continue
        with execution.named():
            copied = copy.deepcopy(exact).train()
            running = recording(execution.start(copied))
            leaf = example.tensor().requires_grad_(True)
            seen = running(leaf)
            gap = max(gap, require_within(f"{execution} in training: logits", array(seen), logits, HALF * magnitudes))
            if not seen.requires_grad:
                raise Violation("the logits have no gradient in training")
            along_it, terms = _along((seen * torch.from_numpy(c)).sum(), copied, leaf, towards, step)
            what = f"{execution} in training: derivative of <c, logits>"
            gap = max(gap, require_within(what, np.array([along_it]), np.array([expected]), np.array([HALF * terms])))
            name = f"{execution} after a training step: "
            gap = max(gap, compare_statistics(name, subject_of(copied).norms, subject.norms, rule, unit=2.0**-40))
            again = running(leaf.detach())
            what = f"{execution} in training, the same batch again: logits"
            gap = max(gap, require_within(what, array(again), array(seen), HALF * magnitudes))
            require_training(copied)
    return ExampleResult(largest_gap=gap)


@contextmanager
def _keeping(head: nn.Module) -> Iterator[list[Tensor]]:
    kept: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, operands: kept.append(operands[0]))
    try:
        yield kept
    finally:
        handle.remove()


class _Claiming(TorchFunctionMode):
    """Claims the bound of every backward operation of the functions that run inside.

    A convolution's gradients add max|g| max|x| over batch and pixels, and max|g| times a column sum of |w|; a normalization's
    likewise with its scale; a product's the other factor, over what it is broadcast to. Each is claimed as often as one tensor
    is used, since autograd adds the contributions of all uses.
    """

    def __init__(self) -> None:
        super().__init__()
        self._uses: Counter[int] = Counter()
        self._alive: list[Any] = []  # so that no other tensor gets the same id

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = func(*args, **(kwargs or {}))
        if isinstance(y, Tensor) and y.requires_grad and y.is_floating_point() and y.grad_fn is not None:
            tensors = [arg for arg in args if isinstance(arg, Tensor)]
            self._alive.append((args, y))
            self._uses.update(map(id, tensors))
            name = getattr(func, "__name__", "")
            y.register_hook(lambda g: claim(max(self._uses.values()) * _backward_bound(name, tensors, y, g)))
        return y


def _backward_bound(name: str, tensors: list[Tensor], y: Tensor, g: Tensor) -> float:
    steepest = _largest(g)
    places = g.numel() // g.shape[1] if g.dim() > 1 else g.numel()
    if "conv" in name:
        x, weight = tensors[:2]
        columns = max(float(weight.detach().abs().sum(dim=dims).max()) for dims in ((0, 2, 3), (1, 2, 3)))
        return steepest * max(max(places, x.numel() // x.shape[1]) * _largest(x), columns)
    if name == "batch_norm" and len(tensors) > 2:
        x, mean, variance = tensors[:3]  # with stored statistics, by a power of two
        scale = 2.0 * float(variance.detach().rsqrt().max())
        return steepest * places * scale * (_largest(x) + _largest(mean) + 1)
    if name in ("mul", "__mul__", "__rmul__"):
        return steepest * max([_largest(x) for x in tensors] + [1.0]) * max(y.numel() // max(x.numel(), 1) for x in tensors)
    return steepest * max([y.numel() // max(x.numel(), 1) for x in tensors] + [1])


def _largest(x: Tensor) -> float:
    return float(x.detach().abs().max()) if x.numel() else 0.0
