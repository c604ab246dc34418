"""The view of a network by which the verifier reads its weights and watches its modules.

A network built like `mgnet_models.MgNet` is understood as it is. Any other network defines

    def mgnet_view(self) -> mgnet_verify.NetworkView

which returns the modules of Algorithm 2 *from its configuration*: one B for each iteration, the same module repeated when it
is shared. The specification uses their tensors only. Shapes, padding, strides and order of execution are its own, so a
network that runs its modules differently is found out.

Sigma is named by its BatchNorm2d, with or without the ReLU inside; the specification applies ReLU after it. `nn.ReLU` means
sigma without normalization, `nn.Identity` means no sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from torch import Tensor, nn

from mgnet_records.errors import InputError
from mgnet_records.fields import is_slug
from mgnet_verify.counts.closed_form.mgnet import Shape
from mgnet_verify.specification import (
    Array,
    GridTensors,
    NetTensors,
    Normalization,
    Sigma,
    TransferTensors,
)

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class TransferView:
    """The modules that lead into a coarse grid: Pi and R (convolutions of stride 2) and the sigma after each."""

    Pi: nn.Conv2d
    R: nn.Conv2d
    sigma_Pi: nn.Module
    sigma_R: nn.Module


@dataclass(frozen=True, kw_only=True, eq=False)
class GridView:
    """The modules of one grid: A, and for each iteration B, the sigma on r and the sigma on B's output."""

    A: nn.Conv2d
    B: tuple[nn.Conv2d, ...]
    sigma_r: tuple[nn.Module, ...]
    sigma_u: tuple[nn.Module, ...]
    transfer: TransferView | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkView:
    """The modules of a MgNet. `head` receives u^J.

    `forms` maps a name to a function image -> logits; the properties are checked on each. The names "feature" and
    "residual" are those of (3.5) and (4.5). `follows_order` promises that the forms of these names evaluate A exactly as
    often and in the order that the paper writes. The promise is checked. A network that keeps A u for later use does not
    give it.
    """

    theta: nn.Conv2d
    sigma_f: nn.Module
    imagenet: bool
    grids: tuple[GridView, ...]
    head: nn.Module
    classifier: nn.Linear
    forms: dict[str, Forward] = field(default_factory=dict)
    follows_order: bool = False


@dataclass(frozen=True, kw_only=True)
class InputLimits:
    """The images that a network takes: channels, and pixels a side below which a grid would be as coarse as the one before."""

    channels: int
    smallest: int

    @classmethod
    def of(cls, *, grids: int, stem: nn.Conv2d, imagenet: bool) -> InputLimits:
        """A stride of 2 between grids, and two more in the ImageNet stem."""
        return cls(channels=stem.in_channels, smallest=2 ** (grids - 1 + (2 if imagenet else 0)))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Two images of the smallest uneven size on which no grid is a single pixel."""
        return (2, self.channels, self.smallest + 1, self.smallest + 3)


def view_of(model: nn.Module) -> NetworkView:
    """The view of `model`. Raises InputError if it neither has `mgnet_view` nor is built like MgNet."""
    named: Callable[[], Any] | None = getattr(model, "mgnet_view", None)
    if named is not None:
        view = named()
        if not isinstance(view, NetworkView):
            raise InputError(f"{type(model).__name__}.mgnet_view() returned {type(view).__name__}: return mgnet_verify.NetworkView")
        for name in view.forms:
            if not is_slug(name):
                raise InputError(f"{type(model).__name__}.mgnet_view() has a form named {name!r}: use a-z, 0-9 and _")
        return view
    if not has_view(model):
        raise InputError(
            f"no specification of {type(model).__name__}: it is of no family that is known here and has no mgnet_view(), "
            "see mgnet_verify.network.protocol"
        )
    return _view_of_mgnet(model)


def has_view(model: nn.Module) -> bool:
    """Whether a network has `mgnet_view` or is built like MgNet."""
    parts = ("notation", "stem", "grids", "head", "forward_feature_form")
    return hasattr(model, "mgnet_view") or all(hasattr(model, name) for name in parts)


def _view_of_mgnet(model: Any) -> NetworkView:
    """Read by name. Which B belongs to which iteration comes from the notation, not from the model."""
    notation = model.notation
    if len(model.grids) != len(notation.nu):
        raise InputError(f"{len(model.grids)} grids in the model, {len(notation.nu)} in {notation}: they must agree")
    return NetworkView(
        theta=model.stem.theta,
        sigma_f=model.stem.sigma,
        imagenet=model.stem_kind == "imagenet",
        grids=tuple(grid_view(grid, nu, share_B=notation.share_B) for grid, nu in zip(model.grids, notation.nu)),
        head=model.head,
        classifier=model.head.fc,
        forms={"residual": model.forward, "feature": model.forward_feature_form},
        follows_order=True,
    )


def grid_view(grid: Any, nu: int, *, share_B: bool) -> GridView:
    """The view of a grid of this project's MgNet or GDFI."""
    transfer = grid.transfer
    return GridView(
        A=grid.A,
        B=tuple(grid.B[0 if share_B else i] for i in range(nu)),
        sigma_r=tuple(grid.sigma_r[i] for i in range(nu)),
        sigma_u=tuple(grid.sigma_u[i] for i in range(nu)),
        transfer=transfer and TransferView(Pi=transfer.Pi, R=transfer.R, sigma_Pi=transfer.sigma_Pi, sigma_R=transfer.sigma_R),
    )


def shape_of(model: nn.Module, view: NetworkView) -> Shape:
    """The arguments of the closed forms that the notation leaves open, read off the network."""
    transfer = view.grids[-1].transfer
    return Shape(
        in_chans=view.theta.in_channels,
        num_classes=int(getattr(model, "num_classes", view.classifier.out_features)),
        stem="imagenet" if view.imagenet else "cifar",
        transfer_kernel=3 if transfer is None else int(transfer.Pi.kernel_size[0]),
        transfer_norm=transfer is None or not isinstance(transfer.sigma_Pi, nn.Identity),
    )


def tensors_of(view: NetworkView) -> NetTensors:
    """The weights as numpy arrays, converted exactly: every float32 and bfloat16 is a float64."""
    fc = view.classifier
    return NetTensors(
        theta=array(view.theta.weight),
        sigma_f=sigma_of(view.sigma_f),
        imagenet=view.imagenet,
        grids=tuple(_tensors_of_grid(grid) for grid in view.grids),
        weight=array(fc.weight),
        bias=np.zeros(fc.out_features) if fc.bias is None else array(fc.bias),
    )


def _tensors_of_grid(grid: GridView) -> GridTensors:
    return GridTensors(
        A=array(grid.A.weight),
        B=tuple(array(B.weight) for B in grid.B),
        sigma_r=tuple(sigma_of(sigma) for sigma in grid.sigma_r),
        sigma_u=tuple(sigma_of(sigma) for sigma in grid.sigma_u),
        transfer=None if grid.transfer is None else _tensors_of_transfer(grid.transfer),
    )


def _tensors_of_transfer(transfer: TransferView) -> TransferTensors:
    return TransferTensors(
        Pi=array(transfer.Pi.weight),
        R=array(transfer.R.weight),
        sigma_Pi=sigma_of(transfer.sigma_Pi),
        sigma_R=sigma_of(transfer.sigma_R),
    )


def sigma_of(module: nn.Module) -> Sigma:
    """The sigma that a module computes. Raises InputError when it is neither BatchNorm, ReLU nor the identity."""
    if isinstance(module, nn.Identity):
        return Sigma(relu=False)
    if isinstance(module, nn.ReLU):
        return Sigma()
    act = getattr(module, "act", nn.ReLU())
    if not isinstance(module, nn.BatchNorm2d) or not isinstance(act, (nn.ReLU, nn.Identity)):
        raise InputError(f"sigma is {_described(module)}: the specification knows BatchNorm2d with ReLU, ReLU, Identity")
    if module.running_mean is None or module.running_var is None:
        raise InputError("sigma has no running statistics: the specification needs track_running_stats=True")
    ones = np.ones(module.num_features)
    return Sigma(
        relu=isinstance(act, nn.ReLU),
        normalization=Normalization(
            weight=ones if module.weight is None else array(module.weight),
            bias=0 * ones if module.bias is None else array(module.bias),
            mean=array(module.running_mean),
            variance=array(module.running_var),
            eps=module.eps,
            momentum=0.1 if module.momentum is None else module.momentum,
            trained=module.weight is not None,
        ),
    )


def norms_of(view: NetworkView) -> list[nn.BatchNorm2d]:
    """Every BatchNorm of the view, once, in the order of `NetTensors.sigmas`."""
    found = chain([view.sigma_f], *map(_sigmas_of_grid, view.grids))
    return [norm for norm in unique(list(found)) if isinstance(norm, nn.BatchNorm2d)]


def _sigmas_of_grid(grid: GridView) -> Iterator[nn.Module]:
    transfer = grid.transfer
    if transfer is not None:
        yield from (transfer.sigma_Pi, transfer.sigma_R)
    for sigma_r, sigma_u in zip(grid.sigma_r, grid.sigma_u):
        yield from (sigma_r, sigma_u)


def unique(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """Each module once, in order: a shared B must not be watched twice."""
    return list({id(module): module for module in modules}.values())


def array(tensor: Tensor) -> Array:
    """A tensor as a float64 array of its own memory."""
    return tensor.detach().double().cpu().numpy().copy()


def _described(module: nn.Module) -> str:
    act = getattr(module, "act", None)
    return f"{type(module).__name__} with {type(act).__name__}" if act is not None else type(module).__name__
