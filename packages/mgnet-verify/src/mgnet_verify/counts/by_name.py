"""The closed form that counts the network of a registered name on a data set."""

from __future__ import annotations

import re

from mgnet_models.notation import Notation
from mgnet_records.datasets import DATA_SETS, DataSetInfo
from mgnet_records.errors import InputError
from mgnet_verify.counts.closed_form import mgnet, resnet
from mgnet_verify.counts.closed_form.quoted import QUOTED
from mgnet_verify.counts.closed_form.registry import parameters_of_name, registered_families

_RESNET = re.compile(r"mg(?P<preact>preact)?resnet(?P<depth>18|34)_(?P<A>ali|al)_(?P<B>bli|bl)(?P<stem>_224)?")


def data_set(paper_name: str) -> DataSetInfo:
    """The data set with this name in the paper's tables."""
    return next(data for data in DATA_SETS.values() if data.paper_name == paper_name)


def closed_form_parameters(model: str, dataset: str) -> int:
    """Parameters of a registered network with the inputs and classes of a data set. Raises InputError for an unknown family."""
    data = data_set(dataset)
    counted = closed_form_of(model, in_chans=data.input_size[0], num_classes=data.num_classes)
    if counted is None:
        others = ", ".join(registered_families())
        raise InputError(
            f"no closed form for {model!r}: the families are MgNet, mgresnet, mgpreactresnet, Table 4's quotes and {others}"
        )
    return counted


def closed_form_of(model: str, *, in_chans: int, num_classes: int) -> int | None:
    """Parameters of a network by its name, None where no closed form is known."""
    name = model.partition(".")[0]
    if name in QUOTED:
        return QUOTED[name](num_classes)
    if match := _RESNET.fullmatch(name):
        shape = resnet.ResNetShape(
            blocks=resnet.DEPTHS[int(match["depth"])],
            share_A=match["A"] == "al",
            share_B=match["B"] == "bl",
            preact=match["preact"] is not None,
            imagenet=match["stem"] is not None,
        )
        return resnet.parameters(shape, in_chans=in_chans, num_classes=num_classes)
    if name.startswith("mgnet_"):
        notation, stem = Notation.from_timm_name(name)
        return mgnet.parameters(notation, mgnet.Shape(in_chans=in_chans, num_classes=num_classes, stem=stem))
    return parameters_of_name(name, in_chans=in_chans, num_classes=num_classes)
