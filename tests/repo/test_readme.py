"""The README says what is so: its commands exist, its code runs, its numbers are those of the audit."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_make_target_exists_and_explains_itself():
    targets = dict(re.findall(r"^([a-z]+):.*?## (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {a or b for a, b in re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", README, re.MULTILINE)} <= set(targets)
    assert {"demo", "test"} <= set(targets)


def test_the_first_code_block_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert sum(p.numel() for p in names["model"].parameters()) == 8_301_924
    assert str(names["other"].notation) == "MgNet[4,2,2]-[(64,32),(128,64),(256,128)]-B^{l,i}"


def test_every_link_leads_to_a_file():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_counts_of_the_audit_are_the_ones_stated():
    from mgnet_verify import audit

    rows = audit().rows
    counted = [row for row in rows if row.verdict is not None]
    fits = sum(row.verdict.startswith("exact") for row in counted)
    near = sum(row.verdict == "within 1%" for row in counted)
    off = sum(row.verdict == "discrepant" for row in counted)
    text = " ".join(README.split())
    assert f"Of {len(rows)} table rows, {len(counted)} print a parameter count" in text
    assert f"in {fits} of them, lies within 1 % in {near} and is discrepant in {off}" in text
