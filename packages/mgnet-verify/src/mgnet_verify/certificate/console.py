"""A certificate as lines for a terminal, and the progress of its making."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from mgnet_records.certificate import Certificate
from mgnet_records.certificate import Property as PropertyResult

_MARKS = {"pass": "ok  ", "fail": "FAIL", "not_decided": "??? ", "not_applicable": "n/a "}
# Without a terminal, seconds between two lines of progress.
_SECONDS = 10.0


def certificate_lines(certificate: Certificate) -> Iterator[str]:
    """One line for each property, the executions, the counts, the table rows, and the result."""
    notation = f"  {certificate.notation}" if certificate.notation else ""
    yield f"{certificate.target.model}{notation}"
    for result in certificate.properties:
        yield f"  {_MARKS[result.status]} {result.name}{_remark(result)}"
    kernels = f"; kernels: {certificate.kernel_backend}" if certificate.kernel_backend else ""
    yield f"  executions: {', '.join(certificate.executions)}{kernels}"
    macs = certificate.macs
    if macs is not None:
        image = "x".join(map(str, macs.image))
        for form, counted in (("residual", macs.residual_form), ("feature", macs.feature_form)):
            if counted is not None:
                yield f"  {form} form: {counted.closed_form:,} multiply-adds (conv + linear) on {image}"
    for row in certificate.paper:
        explanation = f"; {row.explanation}" if row.explanation else ""
        yield f"  table row {row.row} prints {row.printed}: {row.exact:,}, {row.verdict}{explanation}"
    yield _verdict(certificate)


def _verdict(certificate: Certificate) -> str:
    failed, undecided = (sum(result.status == status for result in certificate.properties) for status in ("fail", "not_decided"))
    if failed:
        return f"FAIL: {failed} of {len(certificate.properties)} properties do not hold"
    return f"NOT DECIDED: {undecided} of {len(certificate.properties)} properties" if undecided else "PASS"


def _remark(result: PropertyResult) -> str:
    examples = "" if result.examples is None else f"{result.examples} examples"
    bits = "" if result.bits_used is None else f"{result.bits_used:.1f} of 53 bits"
    gap = "" if not result.largest_gap else f"largest gap {result.largest_gap:.2g} of its bound"
    remarks = ", ".join(remark for remark in (examples, bits, gap, result.detail) if remark)
    return f": {remarks}" if remarks else ""


class ProgressOnStderr:
    """Says on stderr which property is being checked: in place on a terminal, else in a line every ten seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()
        self._in_place = sys.stderr.isatty()

    def __call__(self, place: int, number: int, name: str) -> None:
        """Before a property."""
        if self._in_place:
            print(f"\r\x1b[2K{place} of {number}: {name}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() > self._said + _SECONDS:
            self._said = time.monotonic()
            print(f"mgnet-verify: {place} of {number}: {name}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave nothing on the line."""
        if self._in_place:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
