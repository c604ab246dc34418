"""What timm asks of any model, asked of every registered name on the meta device, where nothing is computed."""

import inspect
import json
from pathlib import Path

import pytest
import timm
import torch
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg, list_models

from mgnet_models import DATA_SETS, paper_rows, registered_names

HERE = Path(__file__).parent
NAMES = [name for name in registered_names() if name != "mgnet"]
EXACT = {row: count for row, (count, _) in json.loads((HERE.parent / "verify" / "printed_counts.json").read_text()).items()}
DATA_SET_TAGS = {data.name: tag for tag, data in DATA_SETS.items()}
COUNTED = [row for row in paper_rows() if row.params_printed is not None]


def create(name, **kwargs):
    return timm.create_model(name, device="meta", **kwargs)


def image(model, batch=2):
    return torch.empty(batch, *model.pretrained_cfg["input_size"], device="meta")


def test_names_are_the_snapshot():
    """`names.txt` is the list to grep; a new name is added there by hand, a lost one is an error."""
    assert list(registered_names()) == (HERE / "names.txt").read_text().split()


def test_no_module_of_ours_merges_with_one_of_timm():
    modules = {timm.models.model_entrypoint(name).__module__.split(".")[-1] for name in registered_names()}
    for module in modules:
        assert set(list_models(module=module)) <= set(registered_names()), module


@pytest.mark.parametrize("row", COUNTED, ids=lambda row: row.id)
def test_every_printed_count_has_its_exact_integer(row):
    data = DATA_SETS[DATA_SET_TAGS[row.dataset]]
    model = timm.create_model(row.model, device="meta", num_classes=data.num_classes, in_chans=data.input_size[0])
    assert sum(parameter.numel() for parameter in model.parameters()) == EXACT[row.id]


@pytest.mark.parametrize("name", NAMES)
class TestEveryName:
    def test_configuration_names_what_exists(self, name):
        model = create(name)
        cfg = model.pretrained_cfg
        modules = dict(model.named_modules())
        assert isinstance(modules[cfg["first_conv"]], torch.nn.Conv2d)
        assert isinstance(modules[cfg["classifier"]], torch.nn.Linear | torch.nn.Conv2d)
        assert modules[cfg["classifier"]] is model.get_classifier()
        assert model.num_classes == cfg["num_classes"] == model(image(model)).shape[1]
        assert cfg["license"]
        assert cfg["paper_ids"]
        if cfg["pool_size"] is not None:
            assert tuple(model.forward_features(image(model)).shape[2:]) == cfg["pool_size"]

    def test_tags_set_classes_and_channels(self, name):
        tags = get_arch_pretrained_cfgs(name)
        assert tags
        for tagged, cfg in tags.items():
            data = DATA_SETS[tagged.partition(".")[2]]
            model = create(tagged)
            assert model.num_classes == data.num_classes == cfg.num_classes
            assert model(image(model)).shape == (2, data.num_classes)
            assert cfg.input_size == data.input_size

    def test_unknown_arguments_are_refused(self, name):
        with pytest.raises(TypeError, match="no_such_argument"):
            create(name, no_such_argument=1)

    def test_constructor_takes_only_named_arguments(self, name):
        parameters = inspect.signature(type(create(name)).__init__).parameters.values()
        assert not any(p.kind is p.VAR_KEYWORD for p in parameters)

    def test_classifier_can_be_replaced_and_removed(self, name):
        model = create(name)
        model.reset_classifier(7)
        assert model(image(model)).shape == (2, 7)
        assert model.get_classifier().weight.device.type == "meta"
        model.reset_classifier(0)
        assert model(image(model)).shape == (2, model.head_hidden_size)
        model.reset_classifier(0, "")
        assert model(image(model)).dim() == 4

    def test_every_tensor_has_one_name(self, name):
        model = create(name)
        assert len(dict(model.named_parameters())) == len(dict(model.named_parameters(remove_duplicate=False)))
        modules = list(model.named_modules(remove_duplicate=False))
        assert len(modules) == len(dict(model.named_modules()))

    def test_features_have_the_stated_channels_and_reductions(self, name):
        model = create(name, features_only=True)
        x = image(model)
        features = model(x)
        assert len(features) == len(model.feature_info)
        for feature, channels, reduction in zip(features, model.feature_info.channels(), model.feature_info.reduction()):
            assert feature.shape == (2, channels, *(-(-size // reduction) for size in x.shape[2:]))

    def test_intermediates_end_in_the_features(self, name):
        model = create(name)
        x = image(model)
        final, intermediates = model.forward_intermediates(x)
        assert final.shape == model.forward_features(x).shape
        assert [feature.shape[1] for feature in intermediates] == [info["num_chs"] for info in model.feature_info]
        assert len(model.forward_intermediates(x, indices=1, intermediates_only=True)) == 1
        assert model.prune_intermediate_layers([0]) == [0]
        assert model.forward_intermediates(x, intermediates_only=True)[0].shape == intermediates[0].shape

    def test_layers_group_from_stem_to_head(self, name):
        from timm.optim import param_groups_layer_decay

        model = create(name)
        groups = param_groups_layer_decay(model, layer_decay=0.5, no_weight_decay_list=model.no_weight_decay())
        scale_of = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
        trainable = [p for p in model.parameters() if p.requires_grad]
        assert set(scale_of) == {id(p) for p in trainable}
        first = dict(model.named_parameters())[model.pretrained_cfg["first_conv"] + ".weight"]
        assert scale_of[id(first)] == min(scale_of.values()) < scale_of[id(model.get_classifier().weight)] == 1.0

    def test_weights_exist_only_where_the_configuration_says_so(self, name):
        if not get_pretrained_cfg(name).has_weights:
            with pytest.raises(RuntimeError, match="No pretrained weights exist"):
                create(name, pretrained=True)
