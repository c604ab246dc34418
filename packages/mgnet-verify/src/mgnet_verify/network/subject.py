"""A network as what it is verified against: how its tensors are read, what the specification says of them, what is compared.

Three kinds are known: a network with a view (`protocol.py`), such as MgNet; GDFI; and the families, each of which calls
`register` in a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from torch import nn

from mgnet_records.errors import InputError
from mgnet_verify.errors import NotDecided
from mgnet_verify.network.gdfi import gdfi_tensors, gdfi_view, is_gdfi, norms_around_A
from mgnet_verify.network.protocol import (
    Forward,
    InputLimits,
    NetworkView,
    array,
    has_view,
    norms_of,
    sigma_of,
    tensors_of,
    view_of,
)
from mgnet_verify.specification import Array, Iterates, NetTensors, Normalization, Sigma, algorithm_2, residual_iteration
from mgnet_verify.specification.algorithm3 import algorithm_3
from mgnet_verify.specification.exactness import is_guarded
from mgnet_verify.specification.outcome import Classifier, Outcome
from mgnet_verify.specification.sigma import Rule, evaluate

# Where a normalization stands, its module, and what was read of it.
Norm = tuple[str, nn.BatchNorm2d, Normalization]


@dataclass(eq=False)
class Reading:
    """The normalizations that were met while the tensors of a network were read."""

    norms: list[Norm] = field(default_factory=list)

    def sigma(self, place: str, module: nn.Module, *, relu: bool = True) -> Sigma:
        """The sigma of a module: a normalization, or a threshold in its place, and ReLU if `relu`.

        A BatchNorm that holds another activation, or none, says so itself. Raises InputError for what is neither.
        """
        modules = list(module) if isinstance(module, nn.Sequential) else [module]
        if len(modules) == 2 and not isinstance(modules[1], nn.ReLU):
            raise InputError(f"sigma ends in {type(modules[1]).__name__}: the specification knows ReLU")
        norm, threshold = modules[0], getattr(modules[0], "b", None)
        if isinstance(threshold, nn.Parameter):
            return Sigma(shift=array(threshold), relu=relu)
        sigma = sigma_of(norm)
        if sigma.normalization is not None:
            assert isinstance(norm, nn.BatchNorm2d)
            self.norms.append((place, norm, sigma.normalization))
        return Sigma(normalization=sigma.normalization, relu=relu and sigma.relu)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A tensor when training begins: normal with this deviation, uniform within this bound, or one number."""

    deviation: float | None = None
    bound: float | None = None
    value: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class SpecifiedFamily:
    """A kind of networks with a specification.

    matches: whether a network is of the family. limits: the images that it takes.
    read: its tensors for the specification; raises InputError for a part that the specification does not know.
    specify: the outcome on tensors and image, by a rule for sigma.
    starts: tensors that do not start as their module's class says, by name.
    """

    name: str
    matches: Callable[[nn.Module], bool]
    limits: Callable[[Any], InputLimits]
    read: Callable[[Any, Reading], Any]
    specify: Callable[[Any, Array, Rule], Outcome]
    starts: Callable[[Any], Iterator[tuple[str, Start]]] = lambda model: iter(())


_FAMILIES: list[SpecifiedFamily] = []


def register(family: SpecifiedFamily) -> None:
    """Verify the networks of a family from now on."""
    _FAMILIES.append(family)


def family_of(model: nn.Module) -> SpecifiedFamily | None:
    """The family of a network, None where it is of none."""
    return next((family for family in _FAMILIES if family.matches(model)), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One network, to be compared with the specification.

    net: its tensors. norms: its normalizations, in the order in which they were read.
    specify: what the specification says of an image, `Iterates` or `Outcome`. view: the modules of a MgNet or GDFI.
    """

    model: nn.Module
    net: Any
    norms: list[Norm]
    specify: Callable[[Array, Rule], Iterates | Outcome]
    view: NetworkView | None = None

    def evaluated(self, image: Array) -> Iterates | Outcome:
        """The specification with stored statistics."""
        return self.specify(image, evaluate)


def subject_of(model: nn.Module) -> Subject:
    """What a network is compared with. Raises NotDecided for one that no specification is of, with the reason."""
    try:
        return _subject_of(inner_of(model))
    except InputError as error:
        raise NotDecided(str(error), retry=False) from None


def _subject_of(model: Any) -> Subject:
    if is_gdfi(model):
        view = gdfi_view(model)
        net, maps = gdfi_tensors(model)
        around = norms_around_A(model, maps)
        return Subject(
            model=model,
            net=(net, maps),
            norms=[*_norms_of_view(view, net), *around],
            specify=lambda image, rule: algorithm_3(net, maps, image, rule),
            view=view,
        )
    family = family_of(model)
    if family is not None:
        reading = Reading()
        net = family.read(model, reading)
        return Subject(
            model=model,
            net=net,
            norms=reading.norms,
            specify=lambda image, rule: family.specify(net, image, rule),
        )
    view = view_of(model)
    tensors = tensors_of(view)
    return Subject(
        model=model,
        net=tensors,
        norms=_norms_of_view(view, tensors),
        specify=lambda image, rule: _mgnet(tensors, image, rule),
        view=view,
    )


def watched_view(model: nn.Module) -> NetworkView | None:
    """The modules to watch of a MgNet or GDFI, whatever its sigmas are; None for a network whose grids and head are watched."""
    inner = inner_of(model)
    if is_gdfi(inner):
        return gdfi_view(inner)
    return None if family_of(inner) is not None else view_of(inner)


def head_of(model: nn.Module) -> nn.Module:
    """The module that the last feature is handed to."""
    view = watched_view(model)
    return view.head if view is not None else cast(nn.Module, inner_of(model).head)


def _mgnet(net: NetTensors, image: Array, rule: Rule) -> Iterates:
    """Algorithm 2. Where bounds are asked for, those of the residual form are claimed too."""
    if is_guarded() and rule is evaluate:
        residual_iteration(net, image, rule)
    return algorithm_2(net, image, rule)


def specify(subject: Subject, net: Any, image: Array, rule: Rule = evaluate) -> Iterates | Outcome:
    """The specification of a network on other tensors than its own, such as dual numbers."""
    family = family_of(subject.model)
    if family is not None:
        return family.specify(net, image, rule)
    if isinstance(net, tuple):
        tensors, maps = net
        return algorithm_3(tensors, maps, image, rule)
    return algorithm_2(net, image, rule)


def last_feature(right: Iterates | Outcome) -> Array:
    """What the head is given."""
    return right.last if isinstance(right, Outcome) else right.grids[-1].u[-1]


def _norms_of_view(view: NetworkView, net: Any) -> list[Norm]:
    return [(place, norm, stored) for norm, (place, stored) in zip(norms_of(view), net.sigmas(), strict=True)]


def inner_of(model: nn.Module) -> nn.Module:
    """The network inside a wrapper with one child, such as DataParallel or an average of weights."""
    inner = model
    while not is_specified(inner):
        children = list(inner.children())
        if len(children) != 1:
            return model
        inner = children[0]
    return inner


def is_specified(model: nn.Module) -> bool:
    """Whether a network has a specification: a view, or one of the families."""
    return has_view(model) or is_gdfi(model) or family_of(model) is not None


def limits_of(model: nn.Module) -> InputLimits:
    """The images that a network takes. Raises InputError for one without a specification."""
    inner: Any = inner_of(model)
    if is_gdfi(inner):
        return _limits_of_view(gdfi_view(inner))
    family = family_of(inner)
    return _limits_of_view(view_of(inner)) if family is None else family.limits(inner)


def _limits_of_view(view: NetworkView) -> InputLimits:
    return InputLimits.of(grids=len(view.grids), stem=view.theta, imagenet=view.imagenet)


def forms_of(model: nn.Module) -> dict[str, Forward]:
    """Every form of a network by name, the one that its `forward` runs first; "forward" for a network that names none."""
    inner = inner_of(model)
    if inner is not model and type(model).__name__ != "OptimizedModule":  # that of torch.compile computes when it is called
        return {"forward": model} | {name: form for name, form in forms_of(inner).items() if name != "forward"}
    if has_view(inner) and not is_gdfi(inner):
        return view_of(inner).forms or {"forward": inner}
    return {"forward": inner}


def classifier_in(subject: Subject) -> Classifier | NetTensors:
    """What the specification classifies with: `weight` (classes, c) and `bias` (classes,)."""
    net = subject.net[0] if isinstance(subject.net, tuple) else subject.net
    return cast(Classifier | NetTensors, getattr(net, "head", net))


def classifier_of(model: Any, *, largest: bool = False) -> Classifier:
    """The classifier of a network with timm's ClassifierHead; `largest` is the family's pooling, whatever the network has."""
    fc = model.head.fc
    if not isinstance(fc, nn.Linear):
        raise InputError(f"the classifier is {type(fc).__name__}: the specification knows nn.Linear")
    bias = np.zeros(fc.out_features) if fc.bias is None else array(fc.bias)
    return Classifier(weight=array(fc.weight), bias=bias, largest=largest)
