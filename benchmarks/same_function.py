"""Before anything is timed: all variants compute one function, with one gradient.

A result at the end of a chain of K additions and multiplications, each off by at most u of its size, errs by at most K u
of its size, and by sqrt(K) u if the errors are independent; K adds 9 c for each convolution and b h w for each set of
batch statistics of the feature form. It takes the conditioning of each operation as 1: a scale, not a proof, but a wrong
form is wrong in its first digits.

In float64 (u = 2^-53) logits and gradients of each variant must lie within 2 K u of the feature form. In the precision
that is timed, logits must: in float32 within 2 sqrt(K) u; in bfloat16 within twice the feature form's own error. Gradients
are no measure there: one ReLU that rounding switches changes them by far more than rounding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.variants import Variant, variant
from mgnet_models import MgNet

_IMAGES = 8
Results = dict[str, Tensor]


def check_training(model: MgNet, variants: Sequence[Variant], *, size: int) -> dict[str, dict[str, float]]:
    """Relative errors of each variant's logits and gradients in float64; SystemExit names the first that is too far off."""
    x, y = _batch(model, size)
    errors = {}
    with _float64():
        right = _training(variant(copy.deepcopy(model).double(), "feature"), x.double(), y)
        for candidate in variants:
            exact = replace(copy.deepcopy(candidate), bf16=False)
            exact.network.double()
            errors[candidate.name] = _errors(_training(exact, x.double(), y), right)
            _require(candidate.name, errors[candidate.name], 2 * chain_length(model, size) * 2.0**-53)
    return errors


def check_logits(model: MgNet, variants: Sequence[Variant], *, size: int) -> dict[str, dict[str, float]]:
    """Relative errors of each variant's logits in eval mode and the precision that is timed, as `check_training`."""
    x, _ = _batch(model, size)
    double = variant(copy.deepcopy(model).double(), "feature")
    right = _inference(double, x.double())
    own = max(_errors(_inference(variant(model, "feature bf16"), x), right).values())
    float32 = math.sqrt(chain_length(model, size)) * 2.0**-24
    errors = {}
    for candidate in variants:
        errors[candidate.name] = _errors(_inference(candidate, x), right)
        _require(candidate.name, errors[candidate.name], 2 * (own if candidate.bf16 else float32))
    return errors


def chain_length(model: MgNet, size: int) -> int:
    """Additions and multiplications in a chain through the feature form: its convolutions and batch statistics."""
    nu, channels = model.notation.nu, max(model.notation.c_u + model.notation.c_f)
    convolutions = 1 + sum(2 * count for count in nu) + 3 * (len(nu) - 1)
    norms = 1 + sum(2 * count for count in nu) + 2 * (len(nu) - 1)
    return convolutions * 9 * channels + norms * _IMAGES * size * size


def _batch(model: MgNet, size: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    device = next(model.parameters()).device
    return torch.randn(_IMAGES, 3, size, size, device=device), torch.randint(0, model.num_classes, (_IMAGES,), device=device)


@contextmanager
def _float64() -> Iterator[None]:
    """New tensors are float64: the authors' code makes its first u without asking for the dtype of its input."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _training(candidate: Variant, x: Tensor, y: Tensor) -> Results:
    """Logits and all gradients in one vector."""
    candidate.network.train()
    logits = candidate.logits(candidate.images(x))
    F.cross_entropy(logits, y).backward()
    gradients = candidate.gradients()
    return {"logits": logits.detach(), "gradients": torch.cat([gradients[name].flatten() for name in sorted(gradients)])}


def _inference(candidate: Variant, x: Tensor) -> Results:
    candidate.network.eval()
    with torch.no_grad():
        return {"logits": candidate.logits(candidate.images(x)).double()}


def _errors(seen: Results, right: Results) -> dict[str, float]:
    return {what: float((value - right[what]).norm() / right[what].norm()) for what, value in seen.items()}


def _require(name: str, errors: dict[str, float], bound: float) -> None:
    for what, error in errors.items():
        if not error <= bound:
            raise SystemExit(f"{name}: {what} differ by {error:.2g} of their size, more than {bound:.2g}: not timed")
