"""A certificate as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from mgnet_records.certificate import Certificate
from mgnet_records.certificate import Property as PropertyResult

_MARKS = {"pass": "ok  ", "fail": "FAIL", "not_applicable": "n/a "}


def certificate_lines(certificate: Certificate) -> Iterator[str]:
    """One line for each property, the counts, the table rows, and the result."""
    notation = f"  {certificate.notation}" if certificate.notation else ""
    yield f"{certificate.target.model}{notation}"
    for result in certificate.properties:
        yield f"  {_MARKS[result.status]} {result.name}{_remark(result)}"
    macs = certificate.macs
    if macs is not None:
        image = "x".join(map(str, macs.image))
        for form, counted in (("residual", macs.residual_form), ("feature", macs.feature_form)):
            if counted is not None:
                yield f"  {form} form: {counted.closed_form:,} multiply-adds (conv + linear) on {image}"
    for row in certificate.paper:
        explanation = f"; {row.explanation}" if row.explanation else ""
        yield f"  table row {row.row} prints {row.printed}: {row.exact:,}, {row.verdict}{explanation}"
    failed = sum(result.status == "fail" for result in certificate.properties)
    yield "PASS" if not failed else f"FAIL: {failed} of {len(certificate.properties)} properties do not hold"


def _remark(result: PropertyResult) -> str:
    examples = "" if result.examples is None else f"{result.examples} examples"
    bits = "" if result.bits_used is None else f"{result.bits_used:.1f} of 53 bits"
    gap = "" if not result.largest_gap else f"largest gap {result.largest_gap:.2g} of its bound"
    remarks = ", ".join(remark for remark in (examples, bits, gap, result.detail) if remark)
    return f": {remarks}" if remarks else ""
