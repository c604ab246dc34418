"""What every network here is made of: a convolution without bias, sigma, and the four forms in which they combine."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

from timm.layers import get_act_layer, get_norm_act_layer, get_norm_layer
from torch import Tensor, nn

DeviceDtype = dict[str, Any]
NormAct = Callable[..., nn.Module]
MAX_KERNEL = 2**27  # weights of one convolution; the largest layer of VGG has 2**26.6
MapForm = Literal["lin", "pre", "post", "both"]  # K *, K * sigma, sigma K *, sigma K * sigma: (4.15)
TransferSigma = Literal["none", "norm", "norm_act"]  # nothing, normalization alone, normalization and activation


def check_weights(name: str, *shape: int) -> None:
    """Raises ValueError for a kernel that is larger than any that somebody needs, before it is made."""
    if math.prod(shape) > MAX_KERNEL:
        raise ValueError(f"{name} of {' x '.join(map(str, shape))} has more than {MAX_KERNEL:,} weights: use fewer channels")


def conv(c_in: int, c_out: int, *, kernel: int, dd: DeviceDtype, stride: int = 1) -> nn.Conv2d:
    """A convolution with zero padding and no bias, linear as the duality needs it."""
    check_weights("a convolution", c_out, c_in, kernel, kernel)
    return nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False, **dd)


class ConvLayer(nn.Module):
    """sigma(K * x + bias), the layer of the networks that stand beside the grid networks.

    Padding half a kernel unless given, so that an odd kernel maps (b, c_in, h, w) to (b, c_out, ceil(h/stride), ...).
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        sigma: NormAct,
        dd: DeviceDtype,
        *,
        kernel: int = 3,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__()
        check_weights("a convolution", c_out, c_in, kernel, kernel)
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=padding, groups=groups, **dd)
        self.sigma = sigma(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """sigma of the convolution."""
        return self.sigma(self.conv(x))


def make_norm_act(
    norm_layer: str | Callable[..., nn.Module], act_layer: str | Callable[..., nn.Module], dd: DeviceDtype
) -> NormAct:
    """The factory of sigma: normalization then activation, BatchNorm and ReLU unless the user swaps them."""
    make_act(act_layer)  # names an unknown activation before timm's lookup of the pair fails
    layer = _known(partial(get_norm_act_layer, act_layer=act_layer), norm_layer, "norm_layer", _NORMS)
    return partial(layer, **dd)  # the activation works in place: its input is a temporary tensor


def make_norm(norm_layer: str | Callable[..., nn.Module], dd: DeviceDtype, *, affine: bool = True) -> NormAct:
    """The factory of the normalization alone, where the activation comes later; without weights if not `affine`."""
    options = {} if affine else {"affine": False}
    return partial(_known(get_norm_layer, norm_layer, "norm_layer", _NORMS), **options, **dd)


def make_act(act_layer: str | Callable[..., nn.Module]) -> Callable[[], nn.Module]:
    """The factory of the activation alone."""
    return _known(get_act_layer, act_layer, "act_layer", "'relu', 'gelu', 'silu' ...")


_NORMS = "'batchnorm2d', 'groupnorm1', 'layernorm2d' ..."


def _known(
    find: Callable[..., Callable[..., nn.Module] | None], layer: str | Callable[..., nn.Module], argument: str, examples: str
) -> Callable[..., nn.Module]:
    """What timm finds for a layer given by name or class; ValueError for a name that it does not know."""
    try:
        found = find(layer)
    except KeyError:
        found = None
    if found is None:
        raise ValueError(f"{argument}={layer!r} is unknown to timm: use {examples}")
    return found


def transfer_sigma_factory(kind: TransferSigma, norm_act: NormAct) -> NormAct:
    """The factory of what follows Pi and R. Raises ValueError for an unknown kind."""
    if kind not in get_args(TransferSigma):
        raise ValueError(f"transfer_sigma={kind!r} is unknown: use one of {', '.join(get_args(TransferSigma))}")
    if kind == "none":
        return lambda _: nn.Identity()
    return norm_act if kind == "norm_act" else partial(norm_act, apply_act=False)


def sigma_before(form: MapForm, channels: int, norm_act: NormAct) -> nn.Module:
    """The sigma that a map of this form applies before its convolution, or the identity."""
    return norm_act(channels) if form in ("pre", "both") else nn.Identity()


def sigma_after(form: MapForm, channels: int, norm_act: NormAct) -> nn.Module:
    """The sigma that a map of this form applies after its convolution, or the identity."""
    return norm_act(channels) if form in ("post", "both") else nn.Identity()
