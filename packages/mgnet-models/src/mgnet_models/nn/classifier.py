"""The part of timm's model interface that does not depend on the network: what any chain stem -> grids -> head shares."""

# No `from __future__ import annotations`: torch.fx copies the annotations of `forward` into the code that it writes, and
# TorchScript cannot read them as strings.

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any, ClassVar, Literal, cast, get_args

from timm.layers import ClassifierHead, get_device_dtype
from timm.models import FeatureDictNet, FeatureHookNet, FeatureListNet
from torch import Tensor, fx, nn

from mgnet_models.nn.arguments import check_classes, check_pool
from mgnet_models.notation import MAX_ITERATIONS
from mgnet_records.errors import shown

InitScheme = Literal["kaiming", "torch"]


class Network(nn.Module):
    """Base of the networks here: `stem` maps an image to a state, `grids` iterate on it, `head` reads its feature.

    Here the state is the feature itself, a tensor. How a network is computed comes from outside: `mgnet_models.runtime` gives
    the two methods that are declared here.
    """

    set_grad_checkpointing: ClassVar[Callable[..., None]]
    __prepare_scriptable__: ClassVar[Callable[..., fx.GraphModule]]

    def __init__(
        self,
        stem: nn.Module,
        grids: nn.Sequential,
        head: ClassifierHead,
        *,
        in_chans: int,
        num_classes: int,
        channels: Sequence[int],
        finest: int,
        norm: nn.Module | None = None,
    ) -> None:
        """`channels` are those of the feature of each grid, `finest` is the reduction of the first, `norm` ends the chain."""
        super().__init__()
        self.stem = stem
        self.grids = grids
        self.norm = nn.Identity() if norm is None else norm
        self.head = head
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.grad_checkpointing = False
        self.num_features = self.head_hidden_size = channels[-1]
        self.feature_info = [
            {"num_chs": c, "reduction": finest * 2**index, "module": f"grids.{index}"} for index, c in enumerate(channels)
        ]

    def forward_features(self, x: Tensor) -> Tensor:
        """The feature of the coarsest grid: image (b, in_chans, h, w) -> (b, num_features, h', w')."""
        return self.norm(self.grids(self.stem(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Global pooling and classifier: (b, num_features, h', w') -> (b, num_classes), or pooled features."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, num_classes) of images (b, in_chans, h, w)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | tuple[int, ...] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The features at the end of chosen grids (all if None, the last n if an int), and the final one.

        `norm` asks for the last feature as the head sees it, after the final normalization of networks that have one.
        Raises ValueError for an output format other than NCHW.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt={output_fmt!r} is not possible here: features are images, use 'NCHW'")
        chosen = _take_indices(len(self.grids), indices)
        last = len(self.grids) - 1
        state = self.stem(x)
        feature, intermediates = x, []
        for index, grid in enumerate(self.grids):
            if stop_early and index > max(chosen):
                break
            state = grid(state)
            feature = bare = self._feature(state)
            if index == last:
                feature = self.norm(bare)
            if index in chosen:
                intermediates.append(feature if norm else bare)
        return intermediates if intermediates_only else (feature, intermediates)

    def _feature(self, state: Any) -> Tensor:
        """The feature in what a grid returns."""
        return state

    def prune_intermediate_layers(
        self, indices: int | list[int] | tuple[int, ...] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the grids after the last chosen one, and the classifier; returns the chosen indices.

        `prune_norm` drops the final normalization too, which fits the last grid alone and goes with it in any case.
        """
        chosen = _take_indices(len(self.grids), indices)
        if prune_norm or max(chosen) + 1 < len(self.grids):
            self.norm = nn.Identity()
        self.grids = self.grids[: max(chosen) + 1]
        if prune_head:
            self.reset_classifier(0, "")
        return chosen

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier on the device and in the dtype of the old network; the pooling stays unless given.

        Raises ValueError for a number of classes or a pooling that means nothing, and changes nothing then.
        """
        check_classes(num_classes)
        if global_pool is not None:
            check_pool(global_pool)
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool, **get_device_dtype(self))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layer groups for layer-wise learning rates: stem, then one group for each grid, then the head."""
        return {"stem": r"^stem", "blocks": [(r"^grids\.(\d+)", None), (r"^norm", (99999,))]}

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that must not decay: none."""
        return set()

    def init_weights(self, scheme: InitScheme = "kaiming") -> None:
        """Set every parameter and buffer: convolutions by Kaiming's normal (fan-out, ReLU), the rest by PyTorch's own rule.

        With "torch" convolutions too are set by PyTorch's rule. Raises ValueError for another scheme.
        """
        if scheme not in get_args(InitScheme):
            raise ValueError(f"init_weights({scheme!r}) is unknown: use 'kaiming' or 'torch'")
        for module in self.modules():
            if hasattr(module, "reset_parameters"):
                cast(Any, module).reset_parameters()
        if scheme == "kaiming":
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class Stage(nn.Sequential):
    """A grid that is a plain chain of blocks, each tensor to tensor."""


class Grids(nn.Sequential):
    """The grids from fine to coarse; an nn.Sequential, as timm's feature extraction expects, that carries (u, r)."""

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Run all grids on the state that the stem made."""
        for grid in self:
            state = grid(state)
        return state


class GridNetwork(Network):
    """A network whose state is the pair (u, r) and whose feature is u."""

    def __init__(self, stem: nn.Module, grids: Sequence[nn.Module], head: ClassifierHead, **described: Any) -> None:
        super().__init__(stem, Grids(*grids), head, **described)
        self._end_at_last_grid()

    def forward_features(self, x: Tensor) -> Tensor:
        """The feature u of the coarsest grid: image (b, in_chans, h, w) -> (b, num_features, h', w')."""
        return self.grids(self.stem(x))[0]

    def _feature(self, state: Any) -> Tensor:
        return state[0]

    def prune_intermediate_layers(
        self, indices: int | list[int] | tuple[int, ...] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """As in every network here; what only the dropped grids read is not computed any more."""
        chosen = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        self._end_at_last_grid()
        return chosen

    def _end_at_last_grid(self) -> None:
        """Nothing reads the residual at the end of the last grid: leave out what would compute it."""
        _end_at(self.grids[-1])


def _end_at(grid: nn.Module) -> None:
    last = cast(Any, grid)
    last.last = True
    last.freeze_unread()


class GridFeatures(FeatureListNet):
    """What `features_only=True` gives: the features of the chosen grids, finest first. TorchScript gets it as it gets a network."""

    __prepare_scriptable__: ClassVar[Callable[..., fx.GraphModule]]


def feature_cfg(grids: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What timm's builder needs for `features_only`: all grids, each a module of its own.

    `grids` is their number, or a list with an entry for each; the constructor, called later, refuses what is neither. Raises
    ValueError for a grid in `out_indices` that does not exist.

    Feature extraction by hooks runs the whole network instead: the state that a cut network ends with is a tuple, of
    which timm's hook wrapper asks the device.
    """
    count = len(grids) if isinstance(grids, Sized) else grids
    indices = tuple(range(min(count, MAX_ITERATIONS))) if isinstance(count, int) else (0,)
    chosen = kwargs.get("out_indices")
    if kwargs.get("features_only") and isinstance(chosen, (tuple, list)):
        for index in chosen:
            if not isinstance(index, int) or not -len(indices) <= index < len(indices):
                raise ValueError(f"out_indices={shown(chosen)}: there are {len(indices)} grids, use 0 to {len(indices) - 1}")
    return {"out_indices": indices, "flatten_sequential": kwargs.get("feature_cls") != "hook", "feature_cls": GridFeatures}


def end_at_last_feature(model: nn.Module) -> None:
    """Leave out of a feature extractor what only later grids would read: a parameter without gradient stops DDP.

    A network itself, which ends at its last grid, stays as it is.
    """
    if isinstance(model, FeatureHookNet) and isinstance(body := model["body"], Network):
        body.prune_intermediate_layers([info["index"] for info in model.feature_info.get_dicts(keys=["index"])])
    elif isinstance(model, FeatureDictNet) and hasattr(last := list(model.values())[-1], "freeze_unread"):
        _end_at(last)


def _take_indices(count: int, indices: int | list[int] | tuple[int, ...] | None) -> list[int]:
    """The chosen grids as ascending non-negative indices; ValueError names an index that does not exist, and no index at all."""
    indices = count if indices is None else indices
    if isinstance(indices, int) and indices > count:
        raise ValueError(f"the last {indices} features do not exist: there are {count} grids")
    wanted = range(count - indices, count) if isinstance(indices, int) else indices
    if not wanted:
        raise ValueError(f"indices={indices!r} chooses no feature: give at least one of {count}")
    for index in wanted:
        if not -count <= index < count:
            raise ValueError(f"feature index {index} does not exist: there are {count} grids")
    return sorted({index % count for index in wanted})
