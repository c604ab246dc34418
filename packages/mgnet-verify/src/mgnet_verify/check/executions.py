"""The registry of executions: every way in which a network is computed, each to be compared with the specification.

An execution takes a copy of a network, sets it up, and says how it is run. The first ones of a network are its forms; all others
compute the same function by other means: in another memory layout, under autocast, with recomputation, with other modules in
place of its own, or as a graph. A certificate lists those that were run.

In float64 autocast casts nothing and a Winograd convolution runs the direct one, so an exact comparison sees what else these
executions change; `properties/rounding.py` runs the same ones in float32, each convolution within its bound.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from mgnet_models import winograd_backend
from mgnet_models.runtime.convolution import has_winograd, policy_of_every_size
from mgnet_verify.errors import NotDecided, Violation
from mgnet_verify.network import families  # noqa: F401, registers them
from mgnet_verify.network.protocol import Forward
from mgnet_verify.network.subject import forms_of
from mgnet_verify.specification import ExactnessError

Context = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Running:
    """A network set up for an execution.

    model: the network whose modules are watched; None where a graph runs in their place.
    forward: image (b, c, h, w) -> logits (b, classes).
    context: entered around each run. layout: the memory format of the images.
    graph: gradients are recorded, as in training, so that what depends on them runs.
    """

    model: nn.Module | None
    forward: Forward
    context: Context = nullcontext
    layout: torch.memory_format = torch.contiguous_format
    graph: bool = False

    def __call__(self, image: Tensor) -> Tensor:
        """Logits of an image."""
        return self.on(image.contiguous(memory_format=self.layout))

    def on(self, image: Tensor) -> Tensor:
        """Logits of an image that stays in the layout in which it is given."""
        with torch.set_grad_enabled(self.graph), self.context():
            return self.forward(image)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One way of computing a network.

    start: sets up a copy, which it may change. form: the form of a MgNet that it runs, None where a graph runs.
    trains: whether it runs in training mode, too, and has gradients. slow: takes seconds to set up; run on small images alone.
    changes: whether `start` changes the copy, so that it cannot serve another execution.
    """

    name: str
    start: Callable[[nn.Module], Running]
    form: str | None
    trains: bool = True
    slow: bool = False
    changes: bool = True

    def __str__(self) -> str:
        return self.name.replace("_", " ")

    @contextmanager
    def named(self) -> Iterator[None]:
        """Failures inside are this execution's: a Violation names it, and whatever else a network raises becomes one."""
        try:
            yield
        except NotDecided:
            raise
        except ExactnessError as error:
            raise NotDecided(str(error)) from None
        except Violation as violation:
            violation.execution = self.name
            if str(self) not in str(violation):
                violation.args = (f"{self}: {violation}",)
            raise
        except Exception as error:  # whatever a wrong network raises
            raised = Violation(f"{self}: raises {type(error).__name__}: {' '.join(str(error).split())[:300]}")
            raised.execution = self.name
            raise raised from error


class Copies:
    """Copies of one network for evaluation, one for all executions that do not change theirs: copying takes most of the time."""

    def __init__(self, exact: nn.Module) -> None:
        self._exact = exact

    def started(self, execution: Execution) -> Running:
        """The execution, set up on a copy."""
        return execution.start(copy.deepcopy(self._exact) if execution.changes else self._exact)


def executions_of(model: nn.Module, *, compiled: bool = False) -> tuple[Execution, ...]:
    """The executions that a network has, its forms first. With `compiled` also torch.compile, which takes minutes."""
    forms = list(forms_of(model))
    plain = [Execution(name=name_of(form), start=partial(_form, form), form=form, changes=False) for form in forms]
    found = [*plain, *map(_in_channels_last, plain), *map(_under_autocast, plain)]
    found += _of_modules(model, forms[0])
    if hasattr(model, "__prepare_scriptable__"):  # the networks of mgnet_models
        found += _as_graph()
    if compiled:
        found.append(Execution(name="compiled", start=partial(_compiled, "inductor"), form=None, trains=False, slow=True))
    return tuple(found)


def forms_among(executions: tuple[Execution, ...]) -> tuple[Execution, ...]:
    """Those that run a form as it is."""
    return tuple(execution for execution in executions if execution.form is not None and execution.name == name_of(execution.form))


def name_of(form: str) -> str:
    """The execution that is a form itself: "residual_form"; a network with one way of computing has "forward"."""
    return f"{form}_form" if form in ("residual", "feature") else form


# ---- the forms, in two layouts, and under autocast ----


def _form(form: str, network: nn.Module) -> Running:
    return Running(model=network, forward=forms_of(network)[form])


def _in_channels_last(plain: Execution) -> Execution:
    def start(network: nn.Module) -> Running:
        network.to(memory_format=torch.channels_last)
        return replace(plain.start(network), layout=torch.channels_last)

    return replace(plain, name=f"{plain.name}_channels_last", start=start, changes=True)


def _under_autocast(plain: Execution) -> Execution:
    def start(network: nn.Module) -> Running:
        return replace(plain.start(network), context=partial(torch.autocast, "cpu", dtype=torch.bfloat16))

    return replace(plain, name=f"{plain.name}_autocast_bfloat16", start=start)


# ---- other modules or methods in place of the network's own ----


def _of_modules(model: nn.Module, form: str) -> Iterator[Execution]:
    """What the network's methods and `mgnet_models.runtime` offer; each runs the network's `forward`."""
    yield Execution(name="inference_mode", start=_inference, form=form, trains=False, changes=False)
    if hasattr(model, "set_recompute"):
        for mode in ("selective", "full", "sublinear"):
            yield Execution(name=f"recompute_{mode}", start=partial(_recomputing, mode), form=form)
    if hasattr(model, "set_grad_checkpointing"):
        yield Execution(name="grad_checkpointing", start=_checkpointing, form=form)
    if winograd_backend() != "aten" and has_winograd(model, policy_of_every_size()):
        yield Execution(name="winograd", start=_winograd, form=form)
    if _runtime(model, "folding") is not None:
        yield Execution(name="folded", start=partial(_folded, False), form=form, trains=False, changes=False)
        if has_winograd(model):
            yield Execution(name="folded_winograd", start=partial(_folded, True), form=form, trains=False, changes=False)


def _inference(network: nn.Module) -> Running:
    return Running(model=network, forward=network, context=torch.inference_mode)


def _recomputing(mode: str, network: nn.Module) -> Running:
    cast(Any, network).set_recompute(mode)
    return _recording(network)


def _checkpointing(network: nn.Module) -> Running:
    cast(Any, network).set_grad_checkpointing(True)
    return _recording(network)


def _recording(network: nn.Module) -> Running:
    """A network that computes again in the backward pass computes otherwise where gradients are recorded."""
    return Running(model=network.requires_grad_(True), forward=network, graph=True)


def _winograd(network: nn.Module) -> Running:
    """Every convolution is converted that can be, however narrow and however small the image."""
    package = _runtime(network, "convolution") or importlib.import_module("mgnet_models.runtime.convolution")
    return Running(model=network, forward=package.use_winograd(network, policy_of_every_size()))


def _folded(winograd: bool, network: nn.Module) -> Running:
    folding: Any = _runtime(network, "folding")
    folded = folding.optimize_for_inference(network, winograd=winograd)
    for module in folded.modules():
        if winograd and hasattr(module, "policy"):
            module.policy = policy_of_every_size()
    return Running(model=folded, forward=folded)


def _runtime(model: nn.Module, file: str) -> Any:
    """A file of `runtime/` in the package that the class MgNet of this network comes from; None for any other network.

    So a copy of mgnet_models with a change in it is computed by its own code.
    """
    for base in type(model).__mro__:
        package, _, rest = base.__module__.partition(".")
        if base.__name__ == "MgNet" and rest == "mgnet.model":
            return importlib.import_module(f"{package}.runtime.{file}")
    return None


# ---- graphs ----


def _as_graph() -> list[Execution]:
    """torch.jit.script and torch.export; torch.compile's tracer without its compiler."""
    starts: dict[str, Callable[[nn.Module], Running]] = {
        "scripted": _scripted,
        "exported": _exported,
        "traced": partial(_compiled, "eager"),
    }
    return [Execution(name=name, start=start, form=None, trains=False, slow=True) for name, start in starts.items()]


def _scripted(network: nn.Module) -> Running:
    return Running(model=None, forward=torch.jit.script(network))


def _exported(network: nn.Module) -> Running:
    def forward(image: Tensor) -> Tensor:
        return cast(Tensor, torch.export.export(network, (image,)).module()(image))

    return Running(model=None, forward=forward)


def _compiled(backend: str, network: nn.Module) -> Running:
    return Running(model=None, forward=torch.compile(network, backend=backend), context=_without_cache)


@contextmanager
def _without_cache() -> Iterator[None]:
    """What was compiled for one network is not kept for the next: a process sees many."""
    try:
        yield
    finally:
        torch.compiler.reset()
