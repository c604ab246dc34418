"""mgnet-leaderboard: records in, static site out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mgnet_leaderboard.placing import Written

COMMITTED = Path("leaderboard/results")
LOCAL = Path("runs/records")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did its work, 1 with one line on stderr when the input is refused."""
    from mgnet_leaderboard.refusal import RefusedError

    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except RefusedError as refusal:
        print(f"mgnet-leaderboard: error: {refusal}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="mgnet-leaderboard",
        description="Keeps reported, verified and measured evidence as files and builds the static page that shows it.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        return command

    export = add("export", _export, "write the finished runs of an MLflow store as measured records")
    export.add_argument("--runs", type=Path, default=Path("runs"), help="folder that holds mlflow.db (%(default)s)")
    export.add_argument("--records", type=Path, default=LOCAL, help="results folder to write to (%(default)s)")

    ingest = add("ingest", _ingest, "write verification reports, audits and duality demos as records")
    ingest.add_argument("files", type=Path, nargs="+", metavar="FILE", help="JSON written by mgnet-verify")
    ingest.add_argument("--records", type=Path, default=LOCAL, help="results folder to write to (%(default)s)")

    submit = add("submit", _submit, "write one run of yours as a record to contribute, and check it")
    submit.add_argument("run", type=Path, metavar="RUN", help="folder of the run, which holds result.json")
    submit.add_argument("--contributor", required=True, metavar="NAME", help="your account name, shown with the result")
    submit.add_argument("--link", metavar="HTTPS-URL", help="where the code or the logs can be read")
    submit.add_argument("--runs", type=Path, help="folder that holds mlflow.db (the folder above RUN)")
    submit.add_argument("--records", type=Path, default=COMMITTED, help="results folder to write to (%(default)s)")

    check = add("check", _check, "check a results folder; with --base, check what a contribution changes")
    check.add_argument("--results", type=Path, default=COMMITTED, help="results folder to check (%(default)s)")
    check.add_argument("--base", type=Path, metavar="DIR", help="results folder of the base branch")

    build = add("build", _build, "build the static site")
    build.add_argument("--results", type=Path, default=COMMITTED, help="committed records (%(default)s)")
    build.add_argument("--records", type=Path, default=LOCAL, help="records of this machine, if any (%(default)s)")
    build.add_argument("--out", type=Path, default=Path("build/site"), help="folder of the site (%(default)s)")

    schema = add("schema", _schema, "write the JSON Schema of the record files")
    schema.add_argument("--out", type=Path, default=COMMITTED / "schema.json", help="file to write (%(default)s)")
    return top


def _export(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.store.ingest import export

    _tell(export(options.runs, options.records))


def _ingest(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.ingest_reports import ingest

    _tell(ingest(options.files, options.records))


def _submit(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.store.ingest import submit

    runs = options.runs or options.run.resolve().parent
    _tell(submit(options.run, runs=runs, contributor=options.contributor, link=options.link, into=options.records))


def _check(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.store.contribution import check_contribution
    from mgnet_leaderboard.store.evidence import gathered
    from mgnet_leaderboard.store.folder import check_schema, read_results

    if options.base is not None:
        lines = check_contribution(options.results, options.base)
        print("\n".join(lines) if lines else "no record differs from the base branch")
        return
    records = read_results(options.results, committed=True)
    gathered(records)
    check_schema(options.results)
    print(f"{options.results}: {len(records)} records, all sound")


def _build(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.site.build import build

    pages = build(options.results, options.records, options.out)
    print(f"{options.out / 'index.html'}: {pages} pages")


def _schema(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.store.folder_swap import write_whole
    from mgnet_leaderboard.store.schema import schema_text

    print(f"{options.out}: {'written' if write_whole(options.out, schema_text()) else 'unchanged'}")


def _tell(outcome: Written) -> None:
    for line in outcome.skipped:
        print(f"left out: {line}")
    for path in outcome.written:
        print(f"wrote {path}")
    print(f"{len(outcome.written)} written, {len(outcome.unchanged)} unchanged")
