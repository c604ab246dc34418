"""What must not change, what must scale, and what must grow: purity, homogeneity, blindness of r to Pi, monotone u."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from mgnet_verify.check.assertions import require_equal, require_within
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.executions import Copies, forms_among
from mgnet_verify.check.integer_weights import integer_image, sparse_signs
from mgnet_verify.check.oracle import Seen, bound_of_logits, exact_or_undecided, observed, oracle_of
from mgnet_verify.errors import Violation
from mgnet_verify.network.protocol import array, sigma_of, view_of
from mgnet_verify.network.subject import Subject, classifier_in, subject_of
from mgnet_verify.network.trace import traced
from mgnet_verify.specification import Array, Iterates
from mgnet_verify.specification.outcome import Outcome

# Images in a batch: around the sizes at which programs change their way.
BATCHES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 32, 33, 64, 100, 128)


def evaluation_is_pure(model: nn.Module, example: Example) -> ExampleResult:
    """In evaluation each execution gives the same bits twice, changes no tensor and not the image, and treats images one by one."""
    exact = example.integer_copy(model)
    subject = subject_of(exact)
    with exact_or_undecided() as guard:
        right = subject.evaluated(example.pixels())
    gap, copies = 0.0, Copies(exact)
    for execution in example.of(model):
        if execution.slow:
            continue
        with execution.named():
            running = copies.started(execution)
            state = {} if running.model is None else running.model.state_dict()
            before = {name: tensor.clone() for name, tensor in state.items()}
            image = example.tensor()
            first, second = (observed(running, image) for _ in range(2))
            require_equal(f"{execution}, run again: logits", second.logits, first.logits)
            require_equal(f"{execution}: the image after the run", array(image), example.pixels())
            apart = [observed(running, one) for one in image.split(1)]
            gap = max(gap, _require_one_by_one(f"{execution}, image by image: ", apart, first, subject, right))
            for key, tensor in state.items():
                if not torch.equal(tensor, before[key]):
                    raise Violation(f"{execution}: evaluation changes {key}")
    return ExampleResult(bits_used=guard.bits, largest_gap=gap)


def _require_one_by_one(name: str, apart: list[Seen], together: Seen, subject: Subject, right: Iterates | Outcome) -> float:
    if together.to_head:
        require_equal(f"{name}u^J", np.concatenate([one.to_head[0] for one in apart]), together.to_head[0])
    bound = bound_of_logits(right.pooled, classifier_in(subject))
    return require_within(f"{name}logits", np.concatenate([one.logits for one in apart]), together.logits, bound)


def batches_of_every_size(model: nn.Module, example: Example) -> ExampleResult:
    """Each form gives an image the same result in batches of 1 to 128 images, and where the batch is a view of other memory."""
    exact = example.integer_copy(model)
    subject = subject_of(exact)
    pixels = integer_image((max(BATCHES), *example.shape[1:]), np.random.default_rng([example.seed, 9]), example.amplitude)
    with exact_or_undecided() as guard:
        right = subject.evaluated(pixels)
    bound = bound_of_logits(right.pooled, classifier_in(subject))
    images, copies, gap = torch.from_numpy(pixels), Copies(exact), 0.0
    for execution in forms_among(example.of(model)):
        with execution.named():
            running = copies.started(execution)
            for size in BATCHES:
                what = f"{execution}, {size} of {len(images)} images: logits"
                seen = array(running(images[-size:]))
                gap = max(gap, require_within(what, seen, right.logits[-size:], bound[-size:]))
            for what, view in _views(images[:5]):
                seen = array(running.on(view))
                gap = max(gap, require_within(f"{execution}, {what}: logits", seen, right.logits[:5], bound[:5]))
            one = images[:1].expand(6, -1, -1, -1)  # a batch that takes the memory of one image
            what = f"{execution}, one image six times: logits"
            gap = max(gap, require_within(what, array(running.on(one)), right.logits[:1].repeat(6, axis=0), bound[:1]))
    return ExampleResult(bits_used=guard.bits, largest_gap=gap)


def _views(images: Tensor) -> list[tuple[str, Tensor]]:
    """The same images in other layouts of memory."""
    b, c, h, w = images.shape
    wide = torch.zeros(b, c, 2 * h + 1, 3 * w + 2, dtype=images.dtype)
    wide[:, :, 1::2, 2::3] = images
    return [
        ("images in channels_last", images.contiguous(memory_format=torch.channels_last)),
        ("images that are every second row of others", wide[:, :, 1::2, 2::3]),
        ("images with rows and columns exchanged in memory", images.transpose(2, 3).contiguous().transpose(2, 3)),
        ("images in reverse order of memory", images.flip(0).contiguous().flip(0)),
    ]


def homogeneous_without_shifts(model: nn.Module, example: Example) -> ExampleResult:
    """With every shift of sigma and of the classifier set to 0, scaling the image by 4 scales u^J and the logits by 4.

    Convolutions are linear and sigma positively homogeneous; a factor of two scales every float64 without rounding.
    """
    exact = example.integer_copy(model)
    with torch.no_grad():
        for _, norm, _ in subject_of(exact).norms:
            for shift in (norm.bias, norm.running_mean):
                if shift is not None:
                    shift.zero_()
        for name, parameter in exact.named_parameters():
            if name.endswith((".bias", ".b")):
                parameter.zero_()
    with exact_or_undecided() as guard:
        subject_of(exact).evaluated(4 * example.pixels())
    copies = Copies(exact)
    for execution in example.of(model):
        if execution.slow:
            continue
        with execution.named():
            running = copies.started(execution)
            once, scaled = observed(running, example.tensor()), observed(running, 4 * example.tensor())
            for u, u_scaled in zip(once.to_head, scaled.to_head, strict=True):
                require_equal(f"{execution}: u^J of 4 x", u_scaled, 4 * u)
            require_equal(f"{execution}: logits of 4 x", scaled.logits, 4 * once.logits)
    return ExampleResult(bits_used=guard.bits)


def residuals_do_not_see_Pi(model: nn.Module, example: Example) -> ExampleResult:
    """Other weights in every Pi change no residual on any grid: u enters f^{l+1} as A Pi u and leaves r^{l+1,0} = R r."""
    right = oracle_of(model, example)
    for execution in example.of(model):
        if execution.form is None:
            continue
        with execution.named():
            running = execution.start(copy.deepcopy(right.model))
            assert running.model is not None  # executions of a form are watched
            view = view_of(running.model)
            before = traced(view, running, example.tensor())
            rng = np.random.default_rng([example.seed, 5])
            with torch.no_grad():
                for coarse in view.grids:
                    if coarse.transfer is not None:
                        kernel = coarse.transfer.Pi.weight
                        kernel.copy_(torch.from_numpy(sparse_signs(tuple(kernel.shape), rng, 2)))
            after = traced(view, running, example.tensor())
            for grid, (here, there) in enumerate(zip(before.grids, after.grids), start=1):
                for iteration, (r, r_after) in enumerate(zip(here.r, there.r), start=1):
                    require_equal(f"{execution}: r with another Pi", r_after, r, grid=grid, iteration=iteration)
    return ExampleResult(bits_used=right.bits)


def features_grow_within_a_grid(model: nn.Module, example: Example) -> ExampleResult:
    """u^{l,i} >= u^{l,i-1} in every entry, since corrections end in ReLU; and u >= 0 from a start that is >= 0.

    The start of a coarse grid is >= 0 where Pi is followed by a sigma that ends in ReLU. The linear Pi of
    Algorithm 2 has none: there u may be negative, and its sign is not checked.
    """
    right = oracle_of(model, example)
    seen = traced(right.view, right.view.forms["feature"], example.tensor())
    for grid, (here, view) in enumerate(zip(seen.grids, right.view.grids), start=1):
        features: list[Array] = here.to_A[0 if grid == 1 else 1 :]
        for iteration, (u, u_next) in enumerate(pairwise(features), start=1):
            if not (u_next >= u).all():
                raise Violation("u decreases", grid=grid, iteration=iteration)
        if (view.transfer is None or sigma_of(view.transfer.sigma_Pi).relu) and any((u < 0).any() for u in features):
            raise Violation("u is negative", grid=grid)
    return ExampleResult(bits_used=right.bits)
