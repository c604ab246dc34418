"""Which closed form counts the network of a name, on which data set."""

from __future__ import annotations

import re

from mgnet_models.datasets import DATA_SETS, DataSet
from mgnet_models.notation import Notation
from mgnet_verify import closed_form, closed_form_resnet
from mgnet_verify.closed_form_quoted import QUOTED
from mgnet_verify.errors import UserError

_RESNET = re.compile(r"mg(?P<preact>preact)?resnet(?P<depth>18|34)_(?P<A>ali|al)_(?P<B>bli|bl)")


def data_set(printed: str) -> DataSet:
    """The data set under the name that the paper prints."""
    return next(data for data in DATA_SETS.values() if data.name == printed)


def closed_form_parameters(model: str, dataset: str) -> int:
    """Parameters of a registered network with the inputs and classes of a data set; UserError for an unknown family."""
    data = data_set(dataset)
    in_chans, classes = data.input_size[0], data.num_classes
    if model in QUOTED:
        return QUOTED[model](classes)
    if match := _RESNET.fullmatch(model):
        shape = closed_form_resnet.ResNetShape(
            blocks=closed_form_resnet.DEPTHS[int(match["depth"])],
            share_A=match["A"] == "al",
            share_B=match["B"] == "bl",
            preact=match["preact"] is not None,
        )
        return closed_form_resnet.parameters(shape, in_chans=in_chans, num_classes=classes)
    if model.startswith("mgnet_"):
        notation, stem = Notation.from_timm_name(model)
        return closed_form.parameters(notation, closed_form.Shape(in_chans=in_chans, num_classes=classes, stem=stem))
    raise UserError(f"no closed form for {model!r}: the families are MgNet, mgresnet, mgpreactresnet and Table 4's quotes")
