"""The command line: `mgnet-train COMMAND`."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from mgnet_records.errors import ExitCode, InputError
from mgnet_train.cli import doctor, evaluate, fit, landscape, recipes, reproduce, status, study, sync, ui
from mgnet_train.errors import StoppedError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Bad input is one line on standard error and an exit code that is not 0."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not fit the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if arguments is None else [*arguments]
    parsed = _parser().parse_args(words, argparse.Namespace(words=words))
    try:
        return int(parsed.run(parsed))
    except (InputError, StoppedError) as end:
        print(f"mgnet-train {parsed.command}: {end}", file=sys.stderr)
        return int(end.exit_code)
    except KeyboardInterrupt:
        print(f"mgnet-train {parsed.command}: interrupted", file=sys.stderr)
        return int(ExitCode.FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mgnet-train",
        description="Train the networks of the MgNet papers: tracked, resumable, the same on one process and on many.",
        epilog="Begin with `mgnet-train fit`: it trains a small MgNet on scikit-learn's digits in seconds.",
    )
    parser.add_argument("--version", action="version", version=version("mgnet-train"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_WholeNames)
    for command in (fit, reproduce, study, evaluate, landscape, status, sync, ui, recipes, doctor):
        command.add(commands)
    return parser


class _WholeNames(argparse.ArgumentParser):
    """No abbreviated options: a command that starts itself again must find its options by their whole names."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)
