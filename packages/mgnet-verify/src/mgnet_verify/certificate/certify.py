"""`certify`: every property that applies to one network, gathered into a `mgnet_records.certificate.Certificate`.

A certificate is a report of property-based tests on a few examples: random integer weights and images, each decided exactly.
It is no proof for all weights. What is proved, by z3 in tests/verify/test_theorem.py, is the theorem that two recursions
are one.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from mgnet_models import table_rows, winograd_backend
from mgnet_models.runtime.convolution import Conv3x3
from mgnet_records.audit import AuditedRow
from mgnet_records.certificate import Certificate, FormMacs, Macs, PaperComparison, ParameterCounts, Target
from mgnet_records.certificate import Property as PropertyResult
from mgnet_records.provenance import code_state, versions
from mgnet_verify.check.run import EXAMPLES, not_applicable, run_property
from mgnet_verify.counts import measured
from mgnet_verify.counts.by_operator import closed_forms, default_image, input_limits, measured_image, parameter_counts
from mgnet_verify.counts.closed_form.mgnet import CONVENTION, Entry
from mgnet_verify.model_spec import ModelSpec
from mgnet_verify.network.gdfi import is_gdfi
from mgnet_verify.network.protocol import InputLimits, view_of
from mgnet_verify.network.resnet import is_resnet
from mgnet_verify.paper.audit import audited_row
from mgnet_verify.properties import properties_for

# The distributions whose behavior a report depends on.
LIBRARIES = ("mgnet-models", "mgnet-records", "mgnet-verify", "torch", "timm", "numpy", "hypothesis", "fvcore")


def certify(spec: ModelSpec, *, image: tuple[int, int] | None = None, examples: int = EXAMPLES, seed: int = 0) -> Certificate:
    """Check a network and report what was found.

    `image` (height, width) is what multiply-adds are counted on, by default the size of the network's data set. `examples`
    is the number of examples for each property, with seeds from `seed` on. A MgNet gets every property that applies to it;
    ResNet, pre-act ResNet and GDFI of this project are compared with Algorithms 1 and 3. Raises InputError for a network
    without a view and for an image too small for its grids.
    """
    model, size = spec.model, image or default_image(spec.model)
    tables = closed_forms(model, size)
    limits = input_limits(model)
    checked = [
        run_property(model, limits, one, examples=examples, seed=seed) if one.applies_to(model) else not_applicable(one)
        for one in properties_for(model)
    ]
    counts = None if tables is None else parameter_counts(model, next(iter(tables.values())))
    macs = None if tables is None else _macs(model, tables, limits, size)
    rows = [audited_row(row) for row in table_rows() if row.model == spec.name and row.params_printed]
    results = (*checked, *_results_of_counts(counts, macs), _paper_explained(rows))
    code = code_state(Path(__file__))
    return Certificate(
        target=Target(model=spec.name, checkpoint_sha256=spec.checkpoint_sha256),
        notation=None if spec.notation is None else str(spec.notation),
        commit=code.sha,
        dirty=code.dirty,
        versions=versions(LIBRARIES),
        kernel_backend=winograd_backend() if any(isinstance(module, Conv3x3) for module in model.modules()) else None,
        executions=executions_of(model),
        status="fail" if any(result.status == "fail" for result in results) else "pass",
        properties=results,
        parameters=counts,
        macs=macs,
        paper=tuple(_comparison(row) for row in rows),
    )


def executions_of(model: nn.Module) -> tuple[str, ...]:
    """The executions that the properties run: "residual_form" and "feature_form", or "forward" for a network with one."""
    if is_resnet(model) or is_gdfi(model):
        return ("forward",)
    return tuple(f"{name}_form" if name in measured.METHODS else name for name in view_of(model).forms)


def _macs(model: nn.Module, tables: dict[str, list[Entry]], limits: InputLimits, size: tuple[int, int]) -> Macs | None:
    """Multiply-adds of both forms of a MgNet; None for a network with one form."""
    if tables.keys() != measured.METHODS.keys():
        return None
    shape = (limits.channels, *size)
    small = measured_image(size, limits.smallest)
    forms = {
        f"{form}_form": FormMacs(
            closed_form=sum(entry.macs for entry in entries),
            fvcore=measured.scaled_macs(model, shape, small, measured.METHODS[form]),
        )
        for form, entries in tables.items()
    }
    return Macs(image=shape, convention=CONVENTION, **forms)


def _results_of_counts(counts: ParameterCounts | None, macs: Macs | None) -> list[PropertyResult]:
    results = []
    if counts is not None:
        values = (counts.closed_form, counts.torch, counts.fvcore)
        results.append(
            PropertyResult(
                name="parameters",
                status="pass" if len(set(values)) == 1 else "fail",
                statement="The closed form, torch and fvcore count the same parameters.",
                detail="closed form {:,}, torch {:,}, fvcore {:,}".format(*values),
            )
        )
    if macs is not None:
        for form, counted in (("residual", macs.residual_form), ("feature", macs.feature_form)):
            assert counted is not None  # _macs counts both
            results.append(
                PropertyResult(
                    name=f"macs_of_the_{form}_form",
                    status="pass" if counted.closed_form == counted.fvcore else "fail",
                    statement=f"The closed form and fvcore count the same multiply-adds (conv + linear) in the {form} form.",
                    detail=f"closed form {counted.closed_form:,}, fvcore {counted.fvcore:,}",
                )
            )
    return results


def _paper_explained(rows: list[AuditedRow]) -> PropertyResult:
    unexplained = [row.id for row in rows if row.unexplained]
    return PropertyResult(
        name="paper",
        status="fail" if unexplained else "pass" if rows else "not_applicable",
        statement="Every count that the paper's tables print for this network equals ours to the printed digits, or is explained.",
        detail=f"unexplained: {', '.join(unexplained)}" if unexplained else f"{len(rows)} table rows",
    )


def _comparison(row: AuditedRow) -> PaperComparison:
    return PaperComparison(
        row=row.id, printed=row.params_printed, exact=row.exact, verdict=row.verdict, explanation=row.explanation
    )
