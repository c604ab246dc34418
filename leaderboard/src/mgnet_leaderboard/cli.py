"""mgnet-leaderboard: records in, static site out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mgnet_leaderboard import __version__
from mgnet_records.errors import ExitCode, InputError

COMMITTED = Path("leaderboard/results")
LOCAL = Path("runs/records")
MLFLOW_HELP = "address of the MLflow store that each run must agree with, such as sqlite:///runs/mlflow.db"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 when it is done, 2 with one line on stderr for input that cannot be used."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except InputError as error:
        print(f"mgnet-leaderboard: error: {error}", file=sys.stderr)
        return int(error.exit_code)
    except OSError as error:  # such as a folder that is not open to the user
        where = f"{error.filename}: " if error.filename else ""
        print(f"mgnet-leaderboard: error: {_printable(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return int(ExitCode.BAD_INPUT)
    return int(ExitCode.DONE)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="mgnet-leaderboard",
        description="Keeps reported, verified and measured evidence as files and builds the static page that shows it.",
    )
    top.add_argument("--version", action="version", version=f"mgnet-leaderboard {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        return command

    ingest = add("ingest", _ingest, "write runs, certificates, audits and duality demos as records")
    text = "a run folder, a folder of run folders, or a .json file of mgnet-train or mgnet-verify"
    ingest.add_argument("paths", type=Path, nargs="+", metavar="PATH", help=text)
    ingest.add_argument("--records", type=Path, default=LOCAL, help="results folder to write to (%(default)s)")
    ingest.add_argument("--cross-check-mlflow", metavar="URI", help=MLFLOW_HELP)

    submit = add("submit", _submit, "write one run of yours as a record to contribute, and check it")
    submit.add_argument("run", type=Path, metavar="RUN", help="folder of the run, which holds result.json")
    submit.add_argument("--contributor", required=True, metavar="NAME", help="your account name, shown with the result")
    submit.add_argument("--link", metavar="HTTPS-URL", help="where the code or the logs can be read")
    submit.add_argument("--records", type=Path, default=COMMITTED, help="results folder to write to (%(default)s)")
    submit.add_argument("--cross-check-mlflow", metavar="URI", help=MLFLOW_HELP)

    check = add("check", _check, "check a results folder; with --base, check what a contribution changes")
    check.add_argument("--results", type=Path, default=COMMITTED, help="results folder to check (%(default)s)")
    check.add_argument("--base", type=Path, metavar="DIR", help="results folder of the base branch")

    commit = add("check-commit", _check_commit, "check what a commit changes against its base, as git's objects")
    commit.add_argument("repository", type=Path, metavar="REPOSITORY", help="repository that has both commits")
    commit.add_argument("--base", required=True, metavar="COMMIT", help="commit of the base branch")
    commit.add_argument("--head", required=True, metavar="COMMIT", help="commit to check")

    build = add("build", _build, "build the static site")
    build.add_argument("--results", type=Path, default=COMMITTED, help="committed records (%(default)s)")
    build.add_argument("--records", type=Path, default=LOCAL, help="records of this machine, if any (%(default)s)")
    build.add_argument("--out", type=Path, default=Path("build/site"), help="folder of the site (%(default)s)")

    study = add("study", _study, "write the study of one data set as a Markdown document")
    study.add_argument("--results", type=Path, default=COMMITTED, help="committed records (%(default)s)")
    study.add_argument("--data", default="digits", help="data set, by its name in records (%(default)s)")
    study.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")

    schema = add("schema", _schema, "write the JSON Schema of the record files")
    schema.add_argument("--out", type=Path, default=COMMITTED / "schema.json", help="file to write (%(default)s)")
    return top


def _ingest(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.store.ingest import ingest

    outcome = ingest(options.paths, options.records, cross_check=options.cross_check_mlflow)
    for line in outcome.left_out:
        print(f"left out: {_printable(line)}")
    _report(outcome.written, outcome.unchanged)
    if outcome.left_out and not outcome.written and not outcome.unchanged:
        raise InputError(f"no record was written: {len(outcome.left_out)} left out, for the reasons above")


def _submit(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.store.ingest import submit

    outcome = submit(
        options.run,
        contributor=options.contributor,
        link=options.link,
        into=options.records,
        cross_check=options.cross_check_mlflow,
    )
    _report(outcome.written, outcome.unchanged)


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


def _check_commit(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.store.pull_request import check_commit

    lines = check_commit(options.repository, base=options.base, head=options.head)
    print("\n".join(lines) if lines else "no record differs from the base branch")


def _build(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.site.build import build

    pages = build(options.results, options.records, options.out)
    print(f"{options.out / 'index.html'}: {pages} pages")


def _study(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.site.study_document import study_document
    from mgnet_leaderboard.store.evidence import gathered
    from mgnet_leaderboard.store.folder import read_results, write_file

    text = study_document(gathered(read_results(options.results, committed=True)), options.data)
    print(f"{options.out}: {'written' if write_file(options.out, text) else 'unchanged'}")


def _schema(options: argparse.Namespace) -> None:
    from mgnet_leaderboard.records.union import schema_text
    from mgnet_leaderboard.store.folder import write_file

    print(f"{options.out}: {'written' if write_file(options.out, schema_text()) else 'unchanged'}")


def _printable(text: str) -> str:
    """The text on one line that every terminal can print; names of files need not be UTF-8."""
    return str(InputError(text))


def _report(written: Sequence[Path], unchanged: Sequence[Path]) -> None:
    for path in written:
        print(f"wrote {_printable(str(path))}")
    print(f"{len(written)} written, {len(unchanged)} unchanged")
