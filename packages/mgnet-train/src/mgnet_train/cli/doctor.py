"""`mgnet-train doctor`: what this machine has, and what is missing."""

from __future__ import annotations

import argparse
import shutil
from importlib.util import find_spec
from pathlib import Path

from mgnet_records.errors import ExitCode, InputError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "doctor", help="what this machine has and lacks", description="Check PyTorch, devices, data sets, MLflow's store, disk."
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the data sets (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each finding; exit 1 when training cannot work."""
    import torch

    from mgnet_train.config.run_spec import current_code
    from mgnet_train.runs.folder import writable_folder
    from mgnet_train.runs.result import environment
    from mgnet_train.tracking.store import Store, StoreError, unreachable
    from mgnet_train.tracking.uri import store_name

    found = environment(torch.device("cpu"))
    print(f"python {found.python}, torch {found.torch}, timm {found.timm}, {found.cpu}, {torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        print(f"cuda:{index} {torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    if not torch.cuda.is_available():
        print("no CUDA device: training runs on the CPU")
    code = current_code()
    print(f"code at commit {code.sha or 'unknown (not in a git repository)'}{', with changes' if code.dirty else ''}")
    print_data(arguments.data_dir)
    try:
        writable_folder(arguments.runs)
        print(f"{shutil.disk_usage(arguments.runs).free / 2**30:.1f} GiB free in {arguments.runs}")
        with Store(arguments.runs) as store:
            store.check()
        print(f"MLflow store {store_name(arguments.runs)} can be used")
    except StoreError as error:
        print(f"PROBLEM {unreachable(arguments.runs, error, 'or train with --track later')}")
        return ExitCode.FAILED
    except InputError as error:
        print(f"PROBLEM {error}")
        return ExitCode.FAILED
    return ExitCode.DONE


def print_data(data_dir: Path) -> None:
    """One line for each data set and each source: whether it can be read, or why not."""
    from mgnet_records.datasets import DATA_SETS
    from mgnet_train.data.loading import PACKAGES, load_dataset

    for name in DATA_SETS:
        try:
            load_dataset(name, data_dir)
            print(f"data set {name}: found")
        except InputError as error:
            print(error)
    for prefix, package in PACKAGES.items():
        missing = "" if find_spec(package) else f"missing {package}, install mgnet-train[{prefix}]"
        print(f"source {prefix}/NAME for imagenet: {missing or 'can be read'}")
