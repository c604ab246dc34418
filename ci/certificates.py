"""Certificates of registered networks as committed records, those first that cost least.

    make certificates MINUTES=60 NAMES="rescsc20 gdfi_lin_both"

A certificate whose code is that of today stays as it is: `git diff` of its commit against the working tree is empty for the
packages that it is about. So a second call goes on where the first one ended, and a change of the page makes nothing again. Records
are written when all reports are there: a new file would make the tree dirty, and each report names the state of the code.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "leaderboard" / "results"
REPORTS = ROOT / "build" / "certificates"
CODE = ("packages/mgnet-models/src", "packages/mgnet-kernels/src", "packages/mgnet-verify/src")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when every chosen network has a certificate that passes, 1 when one has another or none yet, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="timm names (default: all that are registered)")
    parser.add_argument("--minutes", type=float, default=60.0, help="no certificate is begun after that (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="certificates at a time (%(default)s)")
    options = parser.parse_args(arguments)
    if _git("status", "--porcelain"):
        print("certificates: there are uncommitted changes, so no record could name the code: commit them", file=sys.stderr)
        return 2
    try:
        names = by_cost(options.names)
    except ValueError as error:
        print(f"certificates: {error}", file=sys.stderr)
        return 2
    known = committed()
    todo = [name for name in names if not (name in known and is_current(known[name]))]
    print(f"{len(names) - len(todo)} of {len(names)} certificates are those of today's code", flush=True)
    begun, deadline = time.monotonic(), time.monotonic() + 60 * options.minutes
    with ThreadPoolExecutor(options.processes) as pool:
        made = dict(zip(todo, pool.map(lambda name: certified(name, deadline=deadline), todo)))
    write_records([name for name, status in made.items() if status is not None])
    statuses = {name: made.get(name) or "missing" for name in names if made.get(name, "pass") != "pass"}
    for name, status in statuses.items():
        print(f"{status}: {name}")
    minutes = (time.monotonic() - begun) / 60
    print(f"{len(todo) - list(made.values()).count(None)} made in {minutes:.1f} minutes, {list(made.values()).count(None)} left")
    return 1 if statuses else 0


def by_cost(names: Sequence[str]) -> list[str]:
    """The names, all by default, those with the fewest multiply-adds first. Raises ValueError for one that is not registered."""
    zoo = subprocess.run([sys.executable, "-m", "mgnet_models", "--json"], cwd=ROOT, check=True, capture_output=True, text=True)
    costs = {entry["name"]: entry["macs"] for entry in json.loads(zoo.stdout)}
    if unknown := sorted(set(names) - set(costs)):
        raise ValueError(f"no network is named {unknown[0]!r}: see `python -m mgnet_models`")
    return sorted(names or costs, key=lambda name: (costs[name], name))


def committed() -> dict[str, dict[str, Any]]:
    """The newest committed certificate of each name with random weights, by name."""
    return {record["report"]["target"]["model"]: record["report"] for _, record in _of_names()}


def is_current(report: dict[str, Any]) -> bool:
    """Whether the code that a certificate is about has not changed since its commit."""
    commit = report["commit"]
    known = commit is not None and not report["dirty"] and _succeeds("cat-file", "-e", f"{commit}^{{commit}}")
    return known and _succeeds("diff", "--quiet", commit, "--", *CODE)


def certified(name: str, *, deadline: float) -> str | None:
    """Make a report in `REPORTS`, unless one of today's code is there; its status, None when there was no time."""
    report = REPORTS / f"{name}.json"
    if report.is_file() and is_current(found := json.loads(report.read_text(encoding="utf-8"))):
        return str(found["status"])
    if time.monotonic() > deadline:
        return None
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    begun = time.monotonic()
    _run("mgnet-verify", "certify", name, "--json", str(report))
    status = str(json.loads(report.read_text(encoding="utf-8"))["status"]) if report.is_file() else "not made"
    print(f"{status}: {name}, {time.monotonic() - begun:.0f} s", flush=True)
    return status


def write_records(names: Sequence[str]) -> None:
    """The reports as records, in the place of older ones of the same names."""
    reports = [REPORTS / f"{name}.json" for name in names if (REPORTS / f"{name}.json").is_file()]
    if not reports:
        return
    for path, record in list(_of_names()):
        if record["report"]["target"]["model"] in names:
            path.unlink()
    _run("mgnet-leaderboard", "ingest", *map(str, reports), "--records", str(RECORDS))


def _of_names() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((RECORDS / "verified").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["report"]["target"]["checkpoint_sha256"] is None:
            yield path, record


def _run(command: str, *arguments: str) -> None:
    subprocess.run(
        [str(Path(sys.executable).with_name(command)), *arguments],
        cwd=ROOT,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _succeeds(*arguments: str) -> bool:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
