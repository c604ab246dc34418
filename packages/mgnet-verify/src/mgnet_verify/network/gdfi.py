"""GDFI as this project builds it: its view, its tensors for Algorithm 3, and the map forms (4.15) around its kernels."""

from __future__ import annotations

from typing import Any

from torch import nn

from mgnet_models.nn.layers import MapForm
from mgnet_verify.counts.closed_form.mgnet import Shape
from mgnet_verify.network.protocol import NetworkView, grid_view, shape_of, sigma_of, tensors_of
from mgnet_verify.specification import NetTensors, Normalization, Sigma
from mgnet_verify.specification.algorithm3 import MapTensors


def is_gdfi(model: nn.Module) -> bool:
    """Whether the network is a scheme of `mgnet_models.GDFI`."""
    if hasattr(model, "forward_feature_form") or not all(hasattr(model, name) for name in ("notation", "stem", "grids", "head")):
        return False
    return all(hasattr(grid, "sigma_r") and hasattr(grid, "transfer") for grid in model.grids)  # type: ignore[union-attr]


def gdfi_view(model: Any) -> NetworkView:
    """The modules of a GDFI, but for the sigmas around A. Its one form is "forward"."""
    return NetworkView(
        theta=model.stem.theta,
        sigma_f=model.stem.sigma,
        imagenet=isinstance(model.stem.R_max, nn.MaxPool2d),
        grids=tuple(grid_view(grid, nu, share_B=model.notation.share_B) for grid, nu in zip(model.grids, model.notation.nu)),
        head=model.head,
        classifier=model.head.fc,
        forms={"forward": model.forward},
    )


def gdfi_tensors(model: Any) -> tuple[NetTensors, tuple[MapTensors, ...]]:
    """The tensors of a GDFI and the sigmas around its A, identities for a linear A."""
    return tensors_of(gdfi_view(model)), tuple(_sigmas_around_A(grid) for grid in model.grids)


def norms_around_A(model: Any, maps: tuple[MapTensors, ...]) -> list[tuple[str, nn.BatchNorm2d, Normalization]]:
    """The normalizations around A: where each stands, its module, and what was read of it."""
    found = []
    for position, (grid, around) in enumerate(zip(model.grids, maps), start=1):
        if position == len(maps) > 1 and len(grid.sigma_r) == 1:
            continue  # nothing reads f of a last grid with one iteration, whose only residual comes from the finer grid
        for side in ("before", "after"):
            modules, sigmas = getattr(grid, f"sigma_A_{side}", ()), getattr(around, f"A_{side}")
            for i, (module, sigma) in enumerate(zip(modules, sigmas)):
                if isinstance(module, nn.BatchNorm2d) and sigma.normalization is not None:
                    found.append((f"{side} A, grid {position}, evaluation {i}", module, sigma.normalization))
    return found


def _sigmas_around_A(grid: Any) -> MapTensors:
    if not hasattr(grid, "sigma_A_before"):
        identities = (Sigma(relu=False),) * (grid.nu + 1)
        return MapTensors(A_before=identities, A_after=identities)
    return MapTensors(A_before=tuple(map(sigma_of, grid.sigma_A_before)), A_after=tuple(map(sigma_of, grid.sigma_A_after)))


def gdfi_shape(model: Any) -> Shape:
    """The arguments of the closed forms that the notation leaves open, read off the network."""
    return shape_of(model, gdfi_view(model))


def map_forms(model: Any) -> tuple[MapForm, MapForm]:
    """The map forms of A and of B, read off the first grid."""
    grid = model.grids[0]
    return _map_form(grid, "sigma_A_before", "sigma_A_after"), _map_form(grid, "sigma_r", "sigma_u")


def _map_form(grid: Any, before: str, after: str) -> MapForm:
    sigmas = tuple(not isinstance(next(iter(getattr(grid, name, [])), nn.Identity()), nn.Identity) for name in (before, after))
    forms: dict[tuple[bool, ...], MapForm] = {
        (False, False): "lin",
        (True, False): "pre",
        (False, True): "post",
        (True, True): "both",
    }
    return forms[sigmas]
