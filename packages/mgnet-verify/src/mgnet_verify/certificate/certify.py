"""`certify`: every check that applies to one network, gathered into a Certificate."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from mgnet_models.catalogue.table_rows import paper_rows
from mgnet_models.notation import Notation, check_image_size
from mgnet_verify.certificate.document import Certificate, Finding, Macs, Parameters
from mgnet_verify.check.run import EXAMPLES, Room, not_applicable, try_property
from mgnet_verify.counts import measured as counting
from mgnet_verify.counts.closed_form import mgnet as closed_form
from mgnet_verify.errors import UserError
from mgnet_verify.network.protocol import Parts, parts_of
from mgnet_verify.paper.audit import Verdict, verdict_of
from mgnet_verify.properties import MODEL_PROPERTIES, Property
from mgnet_verify.properties.algorithms_1_and_3 import Relative, relative_of
from mgnet_verify.properties.structure import shape_of
from mgnet_verify.provenance import commit, versions
from mgnet_verify.resolve import Target

METHODS = {"residual": "forward", "literal": "forward_literal"}


def certify(target: Target, *, image: tuple[int, int] | None = None, examples: int = EXAMPLES, seed: int = 0) -> Certificate:
    """Verify a network. `image` (height, width) is what multiply-adds are counted on, by default the size of its data set.

    A MgNet gets every property that applies to it; ResNet, pre-act ResNet and GDFI of this project are compared with
    Algorithms 1 and 3. Raises UserError for a network that does not name its parts and for an image too small for its grids.
    """
    model = target.model
    relative = relative_of(model)
    size = image or default_image(model)
    if relative is not None:
        findings, room, counts, macs = _certify_relative(target, relative, size, examples=examples, seed=seed)
    else:
        findings, room, counts, macs = _certify_mgnet(target, size, examples=examples, seed=seed)
    paper = tuple(verdict_of(row) for row in paper_rows() if row.model == target.name and row.params_printed)
    head, dirty = commit()
    return Certificate(
        model=target.name,
        checkpoint_sha256=target.checkpoint_sha256,
        notation=None if target.notation is None else str(target.notation),
        commit=head,
        dirty=dirty,
        versions=versions(),
        findings=(*findings, _paper_explained(paper)),
        image=(room.channels, *size),
        parameters=counts,
        macs=macs,
        paper=paper,
    )


Outcome = tuple[list[Finding], Room, Parameters | None, dict[str, Macs] | None]


def _certify_mgnet(target: Target, size: tuple[int, int], *, examples: int, seed: int) -> Outcome:
    model, notation = target.model, target.notation
    parts = parts_of(model)
    room = Room.of(len(parts.grids), parts.theta, imagenet=parts.imagenet)
    if notation is not None:
        require_room(notation, parts, size)
    findings = [
        try_property(model, room, checked, examples=examples, seed=seed)
        if checked.applies_to(model, parts)
        else not_applicable(checked)
        for checked in MODEL_PROPERTIES
    ]
    if notation is None:
        return findings, room, None, None
    counts, macs = count(model, notation, parts, (room.channels, *size), room)
    return [*findings, _counts_agree(counts), *_macs_agree(macs)], room, counts, macs


def _certify_relative(target: Target, relative: Relative, size: tuple[int, int], *, examples: int, seed: int) -> Outcome:
    model = target.model
    room = Room.of(relative.grids(model), relative.stem(model), imagenet=relative.imagenet(model))
    findings = [try_property(model, room, Property(check=relative.check), examples=examples, seed=seed)]
    counts = Parameters(
        closed_form=sum(entry.parameters for entry in relative.table(model, size)),
        torch=counting.torch_parameters(model),
        fvcore=counting.fvcore_parameters(model),
    )
    return [*findings, _counts_agree(counts)], room, counts, None


def default_image(model: nn.Module) -> tuple[int, int]:
    """The image size of the data set that timm's configuration names, else 32x32."""
    size = (getattr(model, "pretrained_cfg", None) or {}).get("input_size") or (3, 32, 32)
    return int(size[1]), int(size[2])


def require_room(notation: Notation, parts: Parts, size: tuple[int, int]) -> None:
    """UserError for an image too small for the grids of the notation."""
    try:
        check_image_size(notation, "imagenet" if parts.imagenet else "cifar", size)
    except ValueError as error:
        raise UserError(str(error)) from None


def count(
    model: nn.Module, notation: Notation, parts: Parts, shape: tuple[int, int, int], room: Room
) -> tuple[Parameters, dict[str, Macs]]:
    """Parameters and multiply-adds from the notation and from the network itself."""
    arithmetic = shape_of(model, parts)
    parameters = Parameters(
        closed_form=closed_form.parameters(notation, arithmetic),
        torch=counting.torch_parameters(model),
        fvcore=counting.fvcore_parameters(model),
    )
    small = measured_image(shape[1:], room.smallest)
    macs = {
        form: Macs(
            closed_form=closed_form.macs(notation, arithmetic, size=shape[1:], form=form),
            fvcore=counting.scaled_macs(model, shape, small, METHODS[form]),
        )
        for form in ("residual", "literal")
    }
    return parameters, macs


def measured_image(size: tuple[int, int], smallest: int) -> tuple[int, int]:
    """The smallest image whose count scales exactly to `size`: one pixel on the coarsest grid; `size` itself if uneven."""
    return (smallest, smallest) if size[0] % smallest == 0 and size[1] % smallest == 0 else size


def _counts_agree(counts: Parameters) -> Finding:
    values = (counts.closed_form, counts.torch, counts.fvcore)
    return Finding(
        name="parameters",
        status="pass" if len(set(values)) == 1 else "fail",
        statement="The closed form from the notation, torch and fvcore count the same parameters.",
        detail="closed form {:,}, torch {:,}, fvcore {:,}".format(*values),
    )


def _macs_agree(macs: dict[str, Macs]) -> Iterator[Finding]:
    for form, counted in macs.items():
        yield Finding(
            name=f"macs_{form}",
            status="pass" if counted.closed_form == counted.fvcore else "fail",
            statement=f"The closed form and fvcore count the same multiply-adds (conv + linear) in the {form} form.",
            detail=f"closed form {counted.closed_form:,}, fvcore {counted.fvcore:,}",
        )


def _paper_explained(paper: tuple[Verdict, ...]) -> Finding:
    unexplained = [verdict.row.id for verdict in paper if verdict.unexplained]
    return Finding(
        name="paper",
        status="fail" if unexplained else "pass" if paper else "not_applicable",
        statement="Every count that the paper prints for this network equals ours to the printed digits, or is explained.",
        detail=f"unexplained: {', '.join(unexplained)}" if unexplained else f"{len(paper)} printed rows",
    )
