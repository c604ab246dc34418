"""How reports read in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mgnet_verify.certificate.document import Certificate, Finding
from mgnet_verify.paper.audit import Verdict

_MARKS = {"pass": "ok  ", "fail": "FAIL", "not_applicable": "n/a "}


def certificate_lines(certificate: Certificate) -> Iterator[str]:
    """One line a property, the counts, the printed rows, and the result."""
    notation = f"  {certificate.notation}" if certificate.notation else ""
    yield f"{certificate.model}{notation}"
    for finding in certificate.findings:
        yield f"  {_MARKS[finding.status]} {finding.name}{_remark(finding)}"
    if certificate.macs is not None:
        image = "x".join(map(str, certificate.image))
        for form, counted in certificate.macs.items():
            yield f"  {form} form: {counted.closed_form:,} multiply-adds (conv + linear) on {image}"
    for verdict in certificate.paper:
        yield f"  printed {verdict.row.params_printed} in {verdict.row.id}: {_judged(verdict)}"
    failed = sum(finding.status == "fail" for finding in certificate.findings)
    yield "PASS" if certificate.passed else f"FAIL: {failed} of {len(certificate.findings)} properties do not hold"


def _remark(finding: Finding) -> str:
    examples = "" if finding.examples is None else f"{finding.examples} examples"
    bits = "" if finding.bits_used is None else f"{finding.bits_used:.1f} of 53 bits"
    gap = "" if not finding.largest_gap else f"largest gap {finding.largest_gap:.2g} of its bound"
    told = ", ".join(part for part in (examples, bits, gap, finding.detail) if part)
    return f": {told}" if told else ""


def _judged(verdict: Verdict) -> str:
    explained = f"; {verdict.explanation}" if verdict.explanation else ""
    return f"{verdict.exact:,}, {verdict.verdict}{explained}"


def audit_lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """A table of the printed rows with a count, the explanations below it, and the tally."""
    counted = [verdict for verdict in verdicts if verdict.exact is not None]
    width = max((len(verdict.row.id) for verdict in counted), default=0)
    for verdict in counted:
        yield f"{verdict.row.id:{width}}  {verdict.row.params_printed:>7}  {verdict.exact:>13,}  {verdict.verdict}"
    for verdict in counted:
        if verdict.explanation:
            yield f"\n{verdict.row.id}: {verdict.explanation}"
    tally = {name: sum(verdict.verdict == name for verdict in counted) for name in sorted({str(v.verdict) for v in counted})}
    yield f"\n{len(verdicts)} rows, {len(counted)} with a count: {', '.join(f'{n} {name}' for name, n in tally.items()) or 'none'}"
    unexplained = [verdict.row.id for verdict in counted if verdict.unexplained]
    if unexplained:
        yield f"FAIL: no explanation for {', '.join(unexplained)}"
