"""`mgnet-train landscape`: the loss around one or several checkpoints, as figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from mgnet_records.errors import ExitCode, InputError
from mgnet_train.cli.options import positive


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "landscape",
        help="the loss around checkpoints, as figures",
        description="Loss on a plane of two filter-normalized random directions around each checkpoint: contour lines and "
        "surface, one column for each. BatchNorm keeps its running statistics, scales and shifts. The same command continues.",
    )
    parser.add_argument("checkpoints", type=Path, nargs="+", help="run folders, or their model.safetensors, on one data set")
    parser.add_argument("--data", help="a data set without image files, such as cifar10; default: what the runs were trained on")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the data sets (%(default)s)")
    parser.add_argument("--points", type=positive, default=21, help="points a side (%(default)s)")
    parser.add_argument("--radius", type=float, default=1.0, help="half the side (%(default)s)")
    parser.add_argument("--images", type=positive, default=1000, help="training images (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the directions (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/landscape"), help="folder of the figure (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compute what is missing, then draw."""
    import hashlib

    from mgnet_train.data.dataset import ResidentDataset
    from mgnet_train.data.loading import load_dataset
    from mgnet_train.experiments.landscape import Plane, compute, draw
    from mgnet_train.runs.folder import writable_folder
    from mgnet_train.runs.weights import dataset_of, weights_file
    from mgnet_train.train.evaluation import load_network

    if arguments.points < 2:
        raise InputError(f"--points {arguments.points} makes no plane: give at least 2")
    checkpoints = [weights_file(path) for path in arguments.checkpoints]
    names = {path: dataset_of(path, arguments.data) for path in checkpoints}
    if len({*names.values()}) > 1:
        raise InputError(f"the runs were trained on {', '.join(sorted({*names.values()}))}: draw each data set by itself")
    data = load_dataset(names[checkpoints[0]], arguments.data_dir)
    if not isinstance(data, ResidentDataset):
        raise InputError(f"landscape needs images that fit in memory, which {data.name} does not: use another --data")
    plane = Plane(points=arguments.points, radius=arguments.radius, images=arguments.images, seed=arguments.seed)
    folder, records, titles = writable_folder(arguments.out), [], []
    for path in checkpoints:
        network = load_network(path, data)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        titles.append(path.parent.name)
        print(f"{titles[-1]}: {plane.points} rows", flush=True)
        records.append(compute(network, data, plane, folder / f"{digest[:12]}.json", subject=digest))
    draw(records, titles, folder / "landscape.png")
    print(folder / "landscape.png")
    return ExitCode.DONE
