"""The command line: `mgnet-train COMMAND`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from mgnet_train.commands import doctor, evaluate, fit, landscape, recipes, reproduce, status, study, sync, ui
from mgnet_train.errors import ExitCode, StoppedError, UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on standard error and a non-zero exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except (UserError, StoppedError) as end:
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
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (fit, reproduce, study, evaluate, landscape, status, sync, ui, recipes, doctor):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
