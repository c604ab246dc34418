"""The duality shown on one real image: both forms of a trained MgNet iteration by iteration, and a control that must fail.

Each form runs as a whole network, on its own state, and hooks write down what it computes: the feature form u and f - A * u,
the residual form r. In the control every iteration has an A of its own, the shared one with its output channels rolled by
one place more each time. Theorem 4.1 does not cover it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mgnet_models import MgNet
from mgnet_records.datasets import DATA_SETS
from mgnet_records.demo import Control, DemoGrid, DualityDemo, Image, Step
from mgnet_records.errors import InputError
from mgnet_records.provenance import code_state, versions
from mgnet_verify.certificate.certify import LIBRARIES
from mgnet_verify.model_spec import ModelSpec
from mgnet_verify.network.protocol import view_of
from mgnet_verify.network.trace import Trace, traced
from mgnet_verify.specification import Array

_LEVELS = 127


@dataclass(frozen=True, kw_only=True)
class _State:
    """One state of a grid, (1, c, h, w) each: u, the residual computed from u, and the r that the residual form carries."""

    u: Array
    residual_of_u: Array
    r: Array

    @property
    def gap(self) -> float:
        return float(abs(self.residual_of_u - self.r).max())


# A grid's A and its position -> the A of the feature form and that of the residual form.
Systems = Callable[[nn.Conv2d, bool], tuple[nn.Module, nn.Module]]


def demonstrate(spec: ModelSpec, index: int) -> DualityDemo:
    """The demo on scikit-learn's digit `index`, in float64. Raises InputError unless `spec` is a MgNet trained on digits."""
    from sklearn.datasets import load_digits

    model = spec.model
    if not isinstance(model, MgNet) or spec.checkpoint_sha256 is None or cast(nn.Conv2d, model.stem.theta).in_channels != 1:
        raise InputError(f"{spec.name} is no checkpoint of a MgNet for digits: give the model.safetensors of mgnet-train fit")
    digits, bunch = DATA_SETS["digits"], load_digits()
    if not 0 <= index < len(bunch.images):
        raise InputError(f"there is no digit {index}: choose one from 0 to {len(bunch.images) - 1}")
    pixels = torch.from_numpy(bunch.images[index])
    image = ((pixels / digits.pixel_max - digits.mean[0]) / digits.std[0])[None, None]
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        predicted = int(model(image).argmax())
    shared, control = _states(model, image, _one_A), _states(model, image, _rolled_A)
    strongest = int((shared[-1][-1].u ** 2).sum((0, 2, 3)).argmax())
    channel = strongest % min(*model.notation.c_u, *model.notation.c_f)
    return DualityDemo(
        model=spec.name,
        notation=str(model.notation),
        checkpoint_sha256=spec.checkpoint_sha256,
        commit=code_state(Path(__file__)).sha,
        versions=versions(LIBRARIES),
        dtype="float64",
        channel=channel,
        image=Image(
            dataset="digits",
            split="all",
            index=index,
            label=int(bunch.target[index]),
            predicted=predicted,
            maximum=digits.pixel_max,
            pixels=_tuples(pixels.int()),
        ),
        grids=tuple(_frames(states, channel) for states in shared),
        control=Control(
            statement="each iteration has an A of its own: the shared one with its channels rolled by one place more",
            grids=tuple(_frames(states, channel) for states in control),
        ),
    )


def largest_gap(grids: Iterable[DemoGrid]) -> float:
    """The largest max |(f - A * u) - r| over all states of the grids."""
    return max(step.gap for grid in grids for step in grid.steps)


def _states(model: MgNet, image: Tensor, systems: Systems) -> list[list[_State]]:
    """The states of each grid, before its first and after each iteration, as the network itself computes them."""
    extended = _with_one_more_grid(model)
    runs = []
    for position, form in enumerate(("feature", "residual")):
        network = copy.deepcopy(extended)
        for number, grid in enumerate(network.grids):
            grid.A = systems(cast(nn.Conv2d, grid.A), number == 0)[position]
        view = view_of(network)
        runs.append(traced(view, view.forms[form], image))
    return [_states_of_grid(runs[0], runs[1], number) for number in range(len(model.grids))]


def _with_one_more_grid(model: MgNet) -> MgNet:
    """The network with an untrained grid after its last one, so that it computes r^{J,nu}, which nothing reads otherwise."""
    notation = model.notation
    longer = replace(notation, nu=(*notation.nu, 1), c_u=(*notation.c_u, 1), c_f=(*notation.c_f, 1))
    theta = cast(nn.Conv2d, model.stem.theta)
    extended = MgNet(
        longer,
        in_chans=theta.in_channels,
        num_classes=1,
        stem=model.stem_kind,
        transfer_kernel=model.transfer_kernel,
        transfer_sigma=model.transfer_sigma,
    )
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head.")}
    extended.load_state_dict(weights, strict=False)
    return extended.double().eval()


def _states_of_grid(feature: Trace, residual: Trace, grid: int) -> list[_State]:
    here, after = feature.grids[grid], feature.grids[grid + 1]
    # On coarse grids the first operand of A is u^{l,0} for f (3.7). Behind the iteration, R and Pi receive r^{l,nu}, u^{l,nu}.
    u = [*here.to_A[0 if grid == 0 else 1 : -1], after.to_Pi[0]]
    r_of_u = [*here.r, after.to_R[0]]
    r = [*residual.grids[grid].r, residual.grids[grid + 1].to_R[0]]
    # u^{1,0} = 0 may come in the shape (1, c, 1, 1).
    u = [x + 0 * u[-1] for x in u]
    return [_State(u=a, residual_of_u=b, r=c) for a, b, c in zip(u, r_of_u, r, strict=True)]


def _one_A(A: nn.Conv2d, first_grid: bool) -> tuple[nn.Module, nn.Module]:
    return A, A


def _rolled_A(A: nn.Conv2d, first_grid: bool) -> tuple[nn.Module, nn.Module]:
    # The feature form evaluates A^l on u^{l,0} twice on a coarse grid, once of these for f.
    return _RolledConvolution(A, repeat_first=not first_grid), _RolledConvolution(A, repeat_first=False)


class _RolledConvolution(nn.Conv2d):
    """A convolution whose output channels are rolled by i places in its call i, counted from 0."""

    def __init__(self, A: nn.Conv2d, *, repeat_first: bool) -> None:
        super().__init__(A.in_channels, A.out_channels, 3, padding=1, bias=False, dtype=torch.float64)
        self.load_state_dict(A.state_dict())
        self.calls = -1 if repeat_first else 0

    def forward(self, u: Tensor) -> Tensor:
        shift = max(self.calls, 0)
        self.calls += 1
        return super().forward(u).roll(shift, dims=1)


def _frames(states: Sequence[_State], channel: int) -> DemoGrid:
    """One channel of the states of a grid as integers, with one scale for u and one for both residuals."""
    u_scale = _largest(state.u[0, channel] for state in states)
    r_scale = _largest(x[0, channel] for state in states for x in (state.residual_of_u, state.r))
    steps = [
        Step(
            u=_frame(state.u[0, channel], u_scale),
            residual_of_u=_frame(state.residual_of_u[0, channel], r_scale),
            r=_frame(state.r[0, channel], r_scale),
            gap=state.gap,
        )
        for state in states
    ]
    return DemoGrid(u_scale=u_scale, r_scale=r_scale, steps=tuple(steps))


def _largest(arrays: Iterable[Array]) -> float:
    return max(float(abs(x).max()) for x in arrays) or 1.0


def _frame(x: Array, scale: float) -> tuple[tuple[int, ...], ...]:
    return _tuples((x / scale * _LEVELS).round().astype(int))


def _tuples(image: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in image.tolist())
