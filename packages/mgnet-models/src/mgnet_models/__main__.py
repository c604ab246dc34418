"""`python -m mgnet_models` prints the zoo; `python -m mgnet_models SCRIPT ARGS` runs a script with the models registered."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import timm

from mgnet_models.catalogue.registry import registered_names
from mgnet_models.catalogue.summary import summary
from mgnet_models.catalogue.zoo import as_json, as_table, zoo
from mgnet_records.errors import near_names

_DESCRIPTION = """The networks of this package, with exact counts and the table rows of the paper that name them.
With a script instead of a pattern, `python -m mgnet_models validate.py ARGS` runs it with every model registered, as
timm's own scripts need it, also in the processes that it starts (train.py knows --device-modules mgnet_models too)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 2 for a pattern or name that matches nothing."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0].endswith(".py"):
        return _run_script(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m mgnet_models", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern of names, as 'mgnet_2_*' (default: all)")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.add_argument("--grids", metavar="NAME", help="print one network part by part instead: stem, each grid, head")
    options = parser.parse_args(arguments)
    if options.grids:
        return _print_grids(options.grids)
    entries = zoo(options.pattern)
    if not entries:
        return _refuse(options.pattern)
    print(as_json(entries) if options.json else as_table(entries))
    return 0


def _run_script(arguments: Sequence[str]) -> int:
    script = Path(arguments[0])
    if not script.is_file():
        print(f"error: there is no script {arguments[0]!r}: give the path of a Python file", file=sys.stderr)
        return 2
    sys.argv = list(arguments)
    sys.path.insert(0, str(script.parent))
    # Processes that the script starts know the names too, as those of timm's bulk_runner.py.
    folders = [str(Path(__file__).with_name("children")), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    runpy.run_path(str(script), run_name="__main__")
    return 0


def _print_grids(name: str) -> int:
    if not timm.is_model(name):
        return _refuse(name)
    try:
        print(summary(timm.create_model(name, device="meta")))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _refuse(name: str) -> int:
    near = near_names(name, registered_names(), limit=3)
    hint = f"did you mean {', '.join(near)}?" if near else "see all names with python -m mgnet_models"
    print(f"error: no network is named {name!r}: {hint}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
