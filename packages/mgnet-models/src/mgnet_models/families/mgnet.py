"""The timm names of MgNet: every configuration of Tables 4-11, small ones of this project, and `mgnet` for any other."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs

from mgnet_models.catalogue.datasets import model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.catalogue.table_rows import table_rows
from mgnet_models.mgnet.model import MgNet
from mgnet_models.nn.classifier import feature_cfg
from mgnet_models.notation import Notation
from mgnet_models.weights.files import packaged_weights
from mgnet_models.weights.released_code import checkpoint_filter
from mgnet_records.datasets import BY_TIMM_TAG

# Configurations of this project's own, beside those that the paper's tables name: small ones, trained on digits.
OWN_NAMES = ("mgnet_2_2_c32_bl", "mgnet_3_2_c24x16_bli")

MGNET_NAMES = tuple(sorted({row.model for row in table_rows() if row.model.startswith("mgnet_")} | set(OWN_NAMES)))


def _create_mgnet(name: str, pretrained: bool, **kwargs: Any) -> MgNet:
    """Build the MgNet that a registered name stands for, or for the name `mgnet` the one that `notation=` gives."""
    if name != "mgnet":
        kwargs["notation"], kwargs["stem"] = Notation.from_timm_name(name)
    elif "notation" not in kwargs:
        raise ValueError("mgnet needs its configuration: timm.create_model('mgnet', notation='MgNet[2,2,2,2]-[256]-B^l')")
    kwargs["notation"] = Notation.of(kwargs["notation"])
    return build_model_with_cfg(
        MgNet,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter,
        feature_cfg=feature_cfg(len(kwargs["notation"].nu), kwargs),
        **kwargs,
    )


def _tags(name: str) -> tuple[str, ...]:
    """The data sets for which a name has a configuration; the first is the default."""
    if name in OWN_NAMES:
        return ("digits", "mnist")
    return ("in1k",) if name.endswith("_224") else ("cifar100", "cifar10", "mnist")


def _cfg(name: str, tag: str) -> dict[str, Any]:
    halvings = 0 if name == "mgnet" else len(Notation.from_timm_name(name)[0].nu) - 1
    finest = BY_TIMM_TAG[tag].input_size[1] // (4 if tag == "in1k" else 1)
    pool = -(-finest // 2**halvings)
    cfg = model_cfg(tag, first_conv="stem.theta", pool_size=(pool, pool))
    weights = packaged_weights(f"{name}.{tag}")
    return cfg if weights is None else cfg | {"file": str(weights)}


default_cfgs = generate_default_cfgs(
    {f"{name}.{tag}": _cfg(name, tag) for name in MGNET_NAMES for tag in _tags(name)}
    | {"mgnet.cifar100": _cfg("mgnet", "cifar100")}
)

register_names(__name__, ("mgnet", *MGNET_NAMES), _create_mgnet)
