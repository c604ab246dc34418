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
    parser.add_argument("checkpoints", type=Path, nargs="+", help="model.safetensors of runs on the same data set")
    parser.add_argument("--data", default="digits", help="digits, mnist, cifar10 or cifar100 (%(default)s)")
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

    import mgnet_models
    from mgnet_train.config.network import check_fits
    from mgnet_train.data.dataset import ResidentDataset
    from mgnet_train.data.loading import load_dataset
    from mgnet_train.experiments.landscape import Plane, compute, draw
    from mgnet_train.runs.folder import writable_folder

    if arguments.points < 2:
        raise InputError(f"--points {arguments.points} makes no plane: give at least 2")
    data = load_dataset(arguments.data, arguments.data_dir)
    if not isinstance(data, ResidentDataset):
        raise InputError(f"landscape needs images that fit in memory, which {data.name} does not: use another --data")
    plane = Plane(points=arguments.points, radius=arguments.radius, images=arguments.images, seed=arguments.seed)
    folder, records, titles = writable_folder(arguments.out), [], []
    for path in arguments.checkpoints:
        try:
            network = mgnet_models.load_checkpoint(path)
        except ValueError as error:
            raise InputError(str(error)) from None
        check_fits(network, data.info, data.size, what=str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        titles.append(path.parent.name)
        print(f"{titles[-1]}: {plane.points} rows", flush=True)
        records.append(compute(network, data, plane, folder / f"{digest[:12]}.json", subject=digest))
    draw(records, titles, folder / "landscape.png")
    print(folder / "landscape.png")
    return ExitCode.DONE
