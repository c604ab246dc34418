"""The command line: `mgnet-train COMMAND`."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from mgnet_records.errors import ExitCode, InputError
from mgnet_train.cli import doctor, evaluate, fit, landscape, recipes, reproduce, status, study, sync, ui
from mgnet_train.errors import StoppedError
from mgnet_train.streams import mute, open_standard_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Bad input is one line on standard error and an exit code that is not 0."""
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not fit the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    words = _joined(sys.argv[1:] if arguments is None else arguments)
    parsed = _parser().parse_args(words, argparse.Namespace(words=words))
    try:
        code = int(parsed.run(parsed))
        sys.stdout.flush()
    except (InputError, StoppedError) as end:
        code = _ended(parsed.command, str(end), end.exit_code)
    except KeyboardInterrupt:
        code = _ended(parsed.command, "interrupted", ExitCode.FAILED)
    except BrokenPipeError:  # nobody reads on, as behind `| head`
        code = ExitCode.FAILED
    except OSError as error:  # such as a full disk
        where = f"{error.filename}: " if error.filename else ""
        code = _ended(parsed.command, f"{where}{error.strerror or error}", ExitCode.FAILED)
    else:
        return code
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            mute(stream)
    return int(code)


def _ended(command: str, message: str, code: ExitCode) -> int:
    with suppress(OSError):  # standard error may be gone with the terminal
        print(f"mgnet-train {command}: {message}", file=sys.stderr, flush=True)
    return int(code)


def _joined(words: Sequence[str]) -> list[str]:
    """`--sbatch-arg --gres=gpu:1` as one word: argparse would take the second for an option of its own."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--sbatch-arg" and word.startswith("--"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


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
