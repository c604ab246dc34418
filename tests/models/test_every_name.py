"""What timm asks of any model, asked of every registered name on the meta device, where nothing is computed."""

import copy
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg, list_models
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from mgnet_models import TableRow, registered_names, table_rows
from mgnet_models.nn.classifier import Network
from mgnet_records.datasets import BY_TIMM_TAG as DATA_SETS

HERE = Path(__file__).parent
NAMES = [name for name in registered_names() if name != "mgnet"]
EXACT = {row: count for row, (count, _) in json.loads((HERE.parent / "verify" / "printed_counts.json").read_text()).items()}
DATA_SET_TAGS = {data.paper_name: tag for tag, data in DATA_SETS.items()}
COUNTED = [row for row in table_rows() if row.params_printed is not None]


def create(name: str, **kwargs: Any) -> Network:
    return timm.create_model(name, device="meta", **kwargs)


def configuration(model: nn.Module) -> dict[str, Any]:
    """What timm knows of the model."""
    cfg: Any = model.pretrained_cfg
    return cfg


def image(model: nn.Module, batch: int = 2) -> Tensor:
    return torch.empty(batch, *configuration(model)["input_size"], device="meta")


def test_the_registered_names_are_those_of_the_snapshot() -> None:
    """`names.txt` is the list to grep; `python -m tests.models.snapshot` adds a new name, a lost one is an error."""
    assert list(registered_names()) == (HERE / "names.txt").read_text().split(), "run python -m tests.models.snapshot"


def test_no_module_of_ours_merges_with_one_of_timm() -> None:
    modules = {timm.models.model_entrypoint(name).__module__.split(".")[-1] for name in registered_names()}
    for module in modules:
        assert set(list_models(module=module)) <= set(registered_names()), module


@pytest.mark.parametrize("row", COUNTED, ids=lambda row: row.id)
def test_every_table_row_with_a_count_has_its_exact_integer(row: TableRow) -> None:
    data = DATA_SETS[DATA_SET_TAGS[row.dataset]]
    model = timm.create_model(row.model, device="meta", num_classes=data.num_classes, in_chans=data.input_size[0])
    assert sum(parameter.numel() for parameter in model.parameters()) == EXACT[row.id]


# Convolutions of the 2012 network have less padding than would keep every pixel, so its sizes round down.
ROUNDS_DOWN = {"imagenet_alexnet"}


# A thousand layers take half a minute even without arithmetic.
DEEP = {"cifar_preactresnet1001"}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=[pytest.mark.nightly] * (name in DEEP)) for name in NAMES])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> Network:
    """One network for all questions about a name; a test that changes it works on a copy."""
    return create(name)


def test_the_configuration_names_what_exists(model: Network) -> None:
    cfg = configuration(model)
    modules = dict(model.named_modules())
    assert modules[cfg["first_conv"]].weight.dim() == 4
    assert modules[cfg["classifier"]] is model.get_classifier()
    assert cfg["license"] == "mit"
    assert cfg["paper_ids"] or cfg["paper_name"]


def test_the_head_reads_the_features(model: Network) -> None:
    features = model.forward_features(image(model))
    assert model.num_classes == configuration(model)["num_classes"] == model.forward_head(features).shape[1]
    assert features.shape[1] == model.num_features
    if configuration(model)["pool_size"] is not None:
        assert tuple(features.shape[2:]) == configuration(model)["pool_size"]
    twin = copy.deepcopy(model)
    twin.reset_classifier(7)
    assert twin.forward_head(features).shape == (2, 7)
    assert twin.get_classifier().weight.device.type == "meta"
    twin.reset_classifier(0)
    assert twin.forward_head(features).shape == (2, model.head_hidden_size)
    twin.reset_classifier(0, "")
    assert twin.forward_head(features).dim() == 4


def test_tags_set_classes_and_channels(name: str) -> None:
    tags = get_arch_pretrained_cfgs(name)
    for tagged, cfg in tags.items():
        data = DATA_SETS[tagged.partition(".")[2]]
        assert (cfg.num_classes, cfg.input_size) == (data.num_classes, data.input_size)
    last = create(list(tags)[-1])
    assert last.num_classes == data.num_classes
    assert last(image(last)).shape == (2, data.num_classes)


def test_arguments_are_named_and_unknown_ones_refused(name: str, model: Network) -> None:
    parameters = inspect.signature(type(model).__init__).parameters.values()
    assert not any(p.kind is p.VAR_KEYWORD for p in parameters)
    with pytest.raises(TypeError, match="no_such_argument"):
        create(name, no_such_argument=1)


def test_every_tensor_has_one_name(model: Network) -> None:
    assert len(dict(model.named_parameters())) == len(dict(model.named_parameters(remove_duplicate=False)))
    assert len(list(model.named_modules(remove_duplicate=False))) == len(dict(model.named_modules()))


def test_features_have_the_stated_channels_and_reductions(name: str) -> None:
    model = timm.create_model(name, features_only=True, device="meta")
    x = image(model)
    features = model(x)
    assert len(features) == len(model.feature_info)
    for feature, channels, reduction in zip(features, model.feature_info.channels(), model.feature_info.reduction()):
        sizes = [size // reduction if name in ROUNDS_DOWN else -(-size // reduction) for size in x.shape[2:]]
        assert feature.shape[1] == channels
        assert name in ROUNDS_DOWN or list(feature.shape[2:]) == sizes
        assert all(abs(got - size) <= 1 for got, size in zip(feature.shape[2:], sizes))


def test_intermediates_are_those_of_the_stated_modules(model: Network) -> None:
    twin = copy.deepcopy(model)
    final, intermediates = twin.forward_intermediates(image(model))
    assert [feature.shape[1] for feature in intermediates] == [info["num_chs"] for info in model.feature_info]
    assert final.shape[1] == model.num_features
    assert twin.prune_intermediate_layers([0]) == [0]
    kept = twin.forward_intermediates(image(model), intermediates_only=True)
    assert len(kept) == 1
    assert kept[0].shape == intermediates[0].shape


def test_layers_group_from_stem_to_head(model: Network) -> None:
    groups = param_groups_layer_decay(model, layer_decay=0.5, no_weight_decay_list=model.no_weight_decay())
    scale_of = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert set(scale_of) == {id(p) for p in model.parameters() if p.requires_grad}
    first = dict(model.named_parameters())[configuration(model)["first_conv"] + ".weight"]
    assert scale_of[id(first)] == min(scale_of.values()) < scale_of[id(model.get_classifier().weight)] == 1.0


@pytest.mark.parametrize("name", [name for name in NAMES if not get_pretrained_cfg(name).has_weights][::9])
def test_a_name_without_weights_says_so(name: str) -> None:
    with pytest.raises(RuntimeError, match=f"No pretrained weights exist for {name}"):
        create(name, pretrained=True)
