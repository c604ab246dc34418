"""`certify`: every property that applies to one network, gathered into a `mgnet_records.certificate.Certificate`.

A certificate is a report of property-based tests on a few examples: random integer weights and images, each decided exactly.
It is no proof for all weights. What is proved, by z3 in tests/verify/test_theorem.py, is the theorem that two recursions
are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn

from mgnet_models import table_rows, winograd_backend
from mgnet_models.notation import check_image_size
from mgnet_records.audit import AuditedRow
from mgnet_records.certificate import Certificate, FormMacs, Macs, PaperComparison, ParameterCounts, Status, Target
from mgnet_records.certificate import Property as PropertyResult
from mgnet_records.errors import InputError
from mgnet_records.provenance import code_state, versions
from mgnet_verify.check.executions import Execution, executions_of
from mgnet_verify.check.run import EXAMPLES, Property, not_applicable, printable, run_property
from mgnet_verify.counts import measured
from mgnet_verify.counts.by_operator import closed_forms, default_image, measured_image, parameter_counts
from mgnet_verify.counts.closed_form.mgnet import CONVENTION, Entry
from mgnet_verify.model_spec import ModelSpec
from mgnet_verify.network.protocol import InputLimits
from mgnet_verify.network.subject import inner_of, is_specified, limits_of
from mgnet_verify.paper.audit import audited_row
from mgnet_verify.properties import MODEL_PROPERTIES, OF_ANY_NETWORK

# The distributions whose behavior a report depends on.
LIBRARIES = ("mgnet-models", "mgnet-kernels", "mgnet-records", "mgnet-verify", "torch", "timm", "numpy", "hypothesis", "fvcore")

# Failures that are shown on a small image; more of them would take minutes.
_SHRUNK = 2

# Called before each property with its place among all of them, their number, and its name.
Progress = Callable[[int, int, str], None]


def certify(
    spec: ModelSpec,
    *,
    image: tuple[int, int] | None = None,
    examples: int = EXAMPLES,
    seed: int = 0,
    compiled: bool = False,
    progress: Progress = lambda place, number, name: None,
) -> Certificate:
    """Check a network and report what was found.

    `image` (height, width) is what multiply-adds are counted on and the size of one example, by default that of the network's
    data set. `examples` is the number of examples for each property, with seeds from `seed` on. Each property runs on all
    executions that it fits, with `compiled` on torch.compile's too.

    A network that raises fails. One that no specification is of, or that cannot be copied, is not decided, with the reason.
    Raises InputError for an image too small for the grids of a MgNet.
    """
    model, size = spec.model, image or default_image(spec.model)
    _check_image(spec, size)
    limits, executions = _limits(model, size), _executions(model, compiled=compiled)
    checked: list[PropertyResult] = []
    for place, one in enumerate(MODEL_PROPERTIES, start=1):
        progress(place, len(MODEL_PROPERTIES), one.name)
        if not _applies(one, model):
            checked.append(not_applicable(one))
            continue
        shrink = sum(result.status == "fail" for result in checked) < _SHRUNK
        checked.append(
            run_property(model, limits, one, examples=examples, seed=seed, own_size=size, executions=executions, shrink=shrink)
        )
    counts, macs, count_results = _counted(model, limits, size)
    rows = [audited_row(row) for row in table_rows() if row.model == spec.name and row.params_printed]
    results = (*checked, *count_results, _paper_explained(rows))
    code = code_state(Path(__file__))
    names = tuple(execution.name for execution in executions) or ("forward",)
    return Certificate(
        target=Target(model=spec.name, checkpoint_sha256=spec.checkpoint_sha256),
        notation=None if spec.notation is None else str(spec.notation),
        commit=code.sha,
        dirty=code.dirty,
        versions=versions(LIBRARIES),
        kernel_backend=winograd_backend() if any("winograd" in name for name in names) else None,
        executions=names,
        status=_status(results),
        properties=results,
        parameters=counts,
        macs=macs,
        paper=tuple(_comparison(row) for row in rows),
    )


def _status(results: tuple[PropertyResult, ...]) -> Any:
    seen = {result.status for result in results}
    return "fail" if "fail" in seen else "not_decided" if "not_decided" in seen else "pass"


def _check_image(spec: ModelSpec, size: tuple[int, int]) -> None:
    if spec.notation is not None:
        try:
            check_image_size(spec.notation, getattr(spec.model, "stem_kind", "cifar"), size)
        except ValueError as error:
            raise InputError(str(error)) from None


def _limits(model: nn.Module, size: tuple[int, int]) -> InputLimits:
    """The images that the network takes; of one that says nothing, images of its own size."""
    try:
        return limits_of(model)
    except Exception:  # whatever a foreign network raises; its properties report that
        return InputLimits(channels=int(getattr(model, "in_chans", 3)), smallest=min(size))


def _executions(model: nn.Module, *, compiled: bool) -> tuple[Execution, ...]:
    try:
        return executions_of(model, compiled=compiled) if is_specified(inner_of(model)) else ()
    except Exception:  # as above
        return ()


def _applies(one: Property, model: nn.Module) -> bool:
    """Whether a property is run: one that cannot be asked is, and reports why."""
    try:
        if not is_specified(inner_of(model)):
            return one in OF_ANY_NETWORK
        return one.applies_to(model)
    except Exception:  # as above
        return one in OF_ANY_NETWORK


def _counted(
    model: nn.Module, limits: InputLimits, size: tuple[int, int]
) -> tuple[ParameterCounts | None, Macs | None, list[PropertyResult]]:
    """The counts of a network with a closed form, and whether they agree; a network that cannot be counted fails."""
    counts = macs = None
    try:
        tables = closed_forms(model, size)
        if tables is not None:
            counts = parameter_counts(model, next(iter(tables.values())))
            macs = _macs(model, tables, limits, size)
    except InputError:  # no view: the properties say so
        return None, None, []
    except Exception as error:  # whatever a wrong network raises
        return None, None, [_result("parameters", "fail", _COUNTED, f"raises {type(error).__name__}: {error}")]
    return counts, macs, list(_results_of_counts(counts, macs))


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


_COUNTED = "The closed form, torch and fvcore count the same parameters."


def _results_of_counts(counts: ParameterCounts | None, macs: Macs | None) -> Iterator[PropertyResult]:
    if counts is not None:
        values = (counts.closed_form, counts.torch, counts.fvcore)
        detail = "closed form {:,}, torch {:,}, fvcore {:,}".format(*values)
        yield _result("parameters", "pass" if len(set(values)) == 1 else "fail", _COUNTED, detail)
    if macs is not None:
        for form, counted in (("residual", macs.residual_form), ("feature", macs.feature_form)):
            assert counted is not None  # _macs counts both
            yield _result(
                f"macs_of_the_{form}_form",
                "pass" if counted.closed_form == counted.fvcore else "fail",
                f"The closed form and fvcore count the same multiply-adds (conv + linear) in the {form} form.",
                f"closed form {counted.closed_form:,}, fvcore {counted.fvcore:,}",
            )


def _result(name: str, status: Status, statement: str, detail: str) -> PropertyResult:
    return PropertyResult(name=name, status=status, statement=statement, detail=printable(detail))


def _paper_explained(rows: list[AuditedRow]) -> PropertyResult:
    unexplained = [row.id for row in rows if row.unexplained]
    return _result(
        "paper",
        "fail" if unexplained else "pass" if rows else "not_applicable",
        "Every count that the paper's tables print for this network equals ours to the printed digits, or is explained.",
        f"unexplained: {', '.join(unexplained)}" if unexplained else f"{len(rows)} table rows",
    )


def _comparison(row: AuditedRow) -> PaperComparison:
    return PaperComparison(
        row=row.id, printed=row.params_printed, exact=row.exact, verdict=row.verdict, explanation=row.explanation
    )
