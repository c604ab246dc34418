"""Which closed form counts the network of a name, on which data set."""

from __future__ import annotations

import re

from mgnet_models.catalogue.datasets import DATA_SETS, DataSet
from mgnet_models.notation import Notation
from mgnet_verify.counts.closed_form import mgnet as closed_form
from mgnet_verify.counts.closed_form import resnet as closed_form_resnet
from mgnet_verify.counts.closed_form.quoted import QUOTED
from mgnet_verify.errors import UserError

_RESNET = re.compile(r"mg(?P<preact>preact)?resnet(?P<depth>18|34)_(?P<A>ali|al)_(?P<B>bli|bl)(?P<stem>_224)?")


def data_set(printed: str) -> DataSet:
    """The data set under the name that the paper prints."""
    return next(data for data in DATA_SETS.values() if data.name == printed)


def closed_form_parameters(model: str, dataset: str) -> int:
    """Parameters of a registered network with the inputs and classes of a data set; UserError for an unknown family."""
    data = data_set(dataset)
    counted = closed_form_of(model, in_chans=data.input_size[0], num_classes=data.num_classes)
    if counted is None:
        raise UserError(f"no closed form for {model!r}: the families are MgNet, mgresnet, mgpreactresnet and Table 4's quotes")
    return counted


def closed_form_of(model: str, *, in_chans: int, num_classes: int) -> int | None:
    """Parameters of a network by its name, None where no closed form is known."""
    name = model.partition(".")[0]
    if name in QUOTED:
        return QUOTED[name](num_classes)
    if match := _RESNET.fullmatch(name):
        shape = closed_form_resnet.ResNetShape(
            blocks=closed_form_resnet.DEPTHS[int(match["depth"])],
            share_A=match["A"] == "al",
            share_B=match["B"] == "bl",
            preact=match["preact"] is not None,
            imagenet=match["stem"] is not None,
        )
        return closed_form_resnet.parameters(shape, in_chans=in_chans, num_classes=num_classes)
    if name.startswith("mgnet_"):
        notation, stem = Notation.from_timm_name(name)
        return closed_form.parameters(notation, closed_form.Shape(in_chans=in_chans, num_classes=num_classes, stem=stem))
    return None
