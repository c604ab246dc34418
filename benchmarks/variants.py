"""The networks that are compared: one set of weights, executed in different forms, layouts, precisions and recompute modes."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mgnet_models import RECOMPUTE_MODES, MgNet, Notation, use_winograd
from mgnet_models.weights.released_code import from_authors

CLASSES = 100


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A network and how it is executed on a batch; `name` says both."""

    name: str
    network: nn.Module
    forward: Callable[[Tensor], Tensor]
    channels_last: bool = False
    bf16: bool = False
    ours: MgNet | None = None  # for a network of other names: the one whose names its gradients are to have

    def images(self, x: Tensor) -> Tensor:
        """The batch in this variant's layout."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    def logits(self, x: Tensor) -> Tensor:
        """Logits in this variant's precision."""
        with self._precision(x.device.type):
            return self.forward(x)

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of all parameters that have one, by the names of this project."""
        if self.ours is None:
            return {name: p.grad for name, p in self.network.named_parameters() if p.grad is not None}
        named = dict(self.network.named_parameters(remove_duplicate=False))
        state = {name: named[name].grad if name in named else value for name, value in self.network.state_dict().items()}
        ours = dict(self.ours.named_parameters())
        return {name: value for name, value in from_authors(state, self.ours).items() if name in ours}

    def training_step(self, x: Tensor, y: Tensor) -> Callable[[], None]:
        """Forward pass, loss, backward pass and update, as one call."""
        x = self.images(x)
        optimizer = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(self.logits(x).float(), y).backward()
            optimizer.step()

        return step

    def inference(self, x: Tensor) -> Callable[[], None]:
        """One forward pass without gradients, as a call."""
        x = self.images(x)

        def run() -> None:
            with torch.inference_mode():
                self.logits(x)

        return run

    @contextmanager
    def _precision(self, device: str) -> Iterator[None]:
        with torch.autocast(device, dtype=torch.bfloat16) if self.bf16 else nullcontext():
            yield


def mgnet(notation: str, *, stem: str = "cifar") -> MgNet:
    """A network with norms as training leaves them: no scale of 1, no shift of 0."""
    torch.manual_seed(0)
    model = timm.create_model("mgnet", notation=notation, stem=stem, num_classes=CLASSES)
    _disturb_norms(model)
    return cast(MgNet, model)


def _disturb_norms(model: nn.Module) -> None:
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
            nn.init.uniform_(cast(Tensor, norm.running_mean), -0.5, 0.5)
            nn.init.uniform_(cast(Tensor, norm.running_var), 0.5, 2.0)


def variant(model: MgNet, text: str) -> Variant:
    """A copy of `model` executed as the words say: feature or residual, then channels_last, bf16, winograd, a recompute mode."""
    words = text.split()
    known = ("feature", "residual", "channels_last", "bf16", "winograd", *RECOMPUTE_MODES)
    for word in words:
        if word not in known:
            raise SystemExit(f"variant {text!r}: {word!r} is unknown: use {', '.join(known)}")
    network = copy.deepcopy(model)
    for word in words[1:]:
        if word in RECOMPUTE_MODES:
            network.set_recompute(word)
    channels_last = "channels_last" in words
    if "winograd" in words:
        use_winograd(network)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    return Variant(
        name=text,
        network=network,
        forward=network.forward_feature_form if words[0] == "feature" else network,
        channels_last=channels_last,
        bf16="bf16" in words,
    )


def authors_variant(checkout: Path, notation: Notation, *, bf16: bool = False) -> Variant:
    """The network of the authors' released code, loaded from a checkout; its `ours` is a MgNet with the same weights."""
    if len({*notation.c_u, *notation.c_f}) > 1:
        raise SystemExit(f"--authors: the released code has one width, {notation} has several")
    arguments = SimpleNamespace(
        num_ite=list(notation.nu),
        num_channel_u=notation.c_u[0],
        num_channel_f=notation.c_f[0],
        wise_B=not notation.share_B,
        dataset="cifar100",
    )
    torch.manual_seed(0)
    theirs = _load(checkout / "mgnet.py").MgNet(arguments, CLASSES)
    _disturb_norms(theirs)
    ours = mgnet(str(notation))
    ours.load_state_dict(from_authors(theirs.state_dict(), ours))
    return Variant(name="authors' code" + " bf16" * bf16, network=theirs, forward=theirs, bf16=bf16, ours=ours)


def _load(path: Path) -> Any:
    if not path.is_file():
        raise SystemExit(f"--authors: no {path}: give the folder of a checkout of the authors' code")
    spec = importlib.util.spec_from_file_location("authors_mgnet", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
