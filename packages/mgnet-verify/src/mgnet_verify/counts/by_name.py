"""The closed form that counts the network of a registered name on a data set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from mgnet_models.families.gdfi import DEFAULT_SIZE
from mgnet_models.nn.layers import MapForm
from mgnet_models.notation import Notation
from mgnet_records.datasets import DATA_SETS, DataSetInfo
from mgnet_records.errors import InputError
from mgnet_verify.counts.closed_form import gdfi, mgnet, resnet
from mgnet_verify.counts.closed_form.mgnet import Entry
from mgnet_verify.counts.closed_form.quoted import QUOTED
from mgnet_verify.counts.closed_form.registry import registered_families, table_of_name

_RESNET = re.compile(r"mg(?P<preact>preact)?resnet(?P<depth>18|34)_(?P<A>ali|al)_(?P<B>bli|bl)(?P<stem>_224)?")
_GDFI = re.compile(r"gdfi_(?P<A>lin|pre|post|both)_(?P<B>lin|pre|post|both)")


@dataclass(frozen=True, kw_only=True)
class NameCounts:
    """Parameters, and multiply-adds of one image as the network runs; for a MgNet those of the feature form too."""

    parameters: int
    macs: int
    macs_feature_form: int | None = None


def data_set(paper_name: str) -> DataSetInfo:
    """The data set with this name in the paper's tables."""
    return next(data for data in DATA_SETS.values() if data.paper_name == paper_name)


def closed_form_counts(model: str, dataset: str) -> NameCounts:
    """The counts of a registered network on a data set of the paper. Raises InputError for an unknown family."""
    data = data_set(dataset)
    channels, *size = data.input_size
    counted = closed_form_of(model, in_chans=channels, num_classes=data.num_classes, size=(size[0], size[1]))
    if counted is None:
        others = ", ".join(registered_families())
        raise InputError(
            f"no closed form for {model!r}: the families are MgNet, mgresnet, mgpreactresnet, gdfi, Table 4's quotes and {others}"
        )
    return counted


def closed_form_of(model: str, *, in_chans: int, num_classes: int, size: tuple[int, int] = (64, 64)) -> NameCounts | None:
    """Counts of a network by its name on an image (height, width), None where no closed form is known.

    Parameters do not depend on the size. A quoted network is counted on the images of its rows, whatever the size.
    """
    name = model.partition(".")[0]
    if name in QUOTED:
        parameters, macs = QUOTED[name](num_classes)
        return NameCounts(parameters=parameters, macs=macs)
    if name.startswith("mgnet_"):
        notation, stem = Notation.from_timm_name(name)
        shape = mgnet.Shape(in_chans=in_chans, num_classes=num_classes, stem=stem)
        return replace(
            _sums(mgnet.table(notation, shape, size=size, form="residual")),
            macs_feature_form=mgnet.macs(notation, shape, size=size, form="feature"),
        )
    if match := _GDFI.fullmatch(name):
        forms = cast(MapForm, match["A"]), cast(MapForm, match["B"])
        return _sums(
            gdfi.table(Notation.of(DEFAULT_SIZE), *forms, mgnet.Shape(in_chans=in_chans, num_classes=num_classes), size=size)
        )
    if match := _RESNET.fullmatch(name):
        of_resnet = resnet.ResNetShape(
            blocks=resnet.DEPTHS[int(match["depth"])],
            share_A=match["A"] == "al",
            share_B=match["B"] == "bl",
            preact=match["preact"] is not None,
            imagenet=match["stem"] is not None,
        )
        return _sums(resnet.table(of_resnet, in_chans=in_chans, num_classes=num_classes, size=size))
    entries = table_of_name(name, in_chans=in_chans, num_classes=num_classes, size=size)
    return None if entries is None else _sums(entries)


def _sums(entries: Sequence[Entry]) -> NameCounts:
    return NameCounts(parameters=sum(entry.parameters for entry in entries), macs=sum(entry.macs for entry in entries))
