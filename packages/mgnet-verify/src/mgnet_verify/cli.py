"""The command mgnet-verify: `certify` and `counts` of one network, `audit` of the paper's counts, `diagnose` and `demo`.

Exit code 0: everything holds. 1: a property fails or is not decided, two ways of counting differ, or a printed count differs
from ours without an explanation. 2: bad input. The commands import torch only after the arguments have been read.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from mgnet_records.errors import ExitCode, InputError
from mgnet_records.files import require_writable, write_json

_MODEL = "timm name, notation such as MgNet[2,2]-[32]-B^l, checkpoint.safetensors, or package.module:factory"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    # torch announces on import that torch.jit, which timm scripts activations with, is deprecated.
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=FutureWarning)
    try:
        _check_files(options)
        return int(options.run(options))
    except InputError as error:
        print(f"mgnet-verify: {error}", file=sys.stderr)
        return int(error.exit_code)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="mgnet-verify", description="Evidence for MgNet: exact checks, counts, the paper's tables.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    certify = commands.add_parser("certify", help="check the properties of one network and write a certificate")
    certify.add_argument("model", help=_MODEL)
    certify.add_argument("--json", type=Path, metavar="FILE", help="write the certificate here")
    certify.add_argument("--image", type=image_size, metavar="HxW", help="an image size to check on and to count multiply-adds for")
    certify.add_argument("--compiled", action="store_true", help="run torch.compile too; needs a C++ compiler and minutes")
    certify.set_defaults(run=run_certify)
    counts = commands.add_parser("counts", help="parameters and multiply-adds three ways, by grid and operator")
    counts.add_argument("model", help="as for certify; a MgNet, ResNet, pre-act ResNet or GDFI of mgnet-models")
    counts.add_argument("--image", type=image_size, metavar="HxW", help="the image size (that of the network's data set)")
    counts.set_defaults(run=run_counts)
    audit = commands.add_parser("audit", help="the counts in the paper's tables against ours")
    audit.add_argument("--table", type=int, metavar="N", help="only the tables with this number")
    audit.add_argument("--json", type=Path, metavar="FILE", help="write every table row here")
    audit.set_defaults(run=run_audit)
    diagnose = commands.add_parser("diagnose", help="residuals, corrections and contraction of a network, iteration by iteration")
    diagnose.add_argument("model", help="as for certify; a trained checkpoint is what this is for")
    diagnose.add_argument("--images", type=Path, metavar="FILE.npy", help="images (b, c, h, w) instead of the digits")
    diagnose.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here, as flat metrics")
    diagnose.add_argument("--figure", type=Path, metavar="FILE", help="draw them here (.svg, .png, .pdf)")
    diagnose.set_defaults(run=run_diagnose)
    demo = commands.add_parser("demo", help="both forms of a trained MgNet on one digit, iteration by iteration, with a control")
    demo.add_argument("model", help="checkpoint.safetensors of a MgNet trained on digits")
    demo.add_argument("--digit", type=int, default=0, metavar="N", help="which of scikit-learn's digits (0)")
    demo.add_argument(
        "--json", type=Path, metavar="FILE", required=True, help="write the frames here, for mgnet-leaderboard ingest"
    )
    demo.set_defaults(run=run_demo)
    return top


def image_size(text: str) -> tuple[int, int]:
    """HxW as two positive integers."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an image size: write height x width as in 32x32")
    return int(match[1]), int(match[2])


def _check_files(options: argparse.Namespace) -> None:
    """Reject files that cannot be written or do not exist, before the slow imports. Raises InputError."""
    for name in ("json", "figure"):
        file: Path | None = getattr(options, name, None)
        if file is not None:
            require_writable(file)
    model = getattr(options, "model", "")
    if model.endswith(".safetensors") and not Path(model).is_file():
        raise InputError(f"no checkpoint at {model}: give a file that mgnet-train fit or mgnet_models.save_checkpoint wrote")


def run_certify(options: argparse.Namespace) -> int:
    """`mgnet-verify certify`."""
    _one_thread()
    from mgnet_verify.certificate.certify import certify
    from mgnet_verify.certificate.console import ProgressOnStderr, certificate_lines
    from mgnet_verify.model_spec import resolve

    progress = ProgressOnStderr()
    try:
        certificate = certify(resolve(options.model), image=options.image, compiled=options.compiled, progress=progress)
    finally:
        progress.end()
    print("\n".join(certificate_lines(certificate)))
    if options.json is not None:
        write_json(options.json, certificate.model_dump(mode="json"))
    return ExitCode.DONE if certificate.status == "pass" else ExitCode.FAILED


def _one_thread() -> None:
    """Threads that wait for each other take most of the time of small networks; a setting of the user stays."""
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def run_counts(options: argparse.Namespace) -> int:
    """`mgnet-verify counts`."""
    from mgnet_verify.counts.by_operator import counts, counts_lines
    from mgnet_verify.model_spec import resolve

    spec = resolve(options.model)
    counted = counts(spec, options.image)
    print("\n".join(counts_lines(spec.name, counted)))
    return ExitCode.DONE if counted.agree else ExitCode.FAILED


def run_audit(options: argparse.Namespace) -> int:
    """`mgnet-verify audit`."""
    from mgnet_verify.paper.audit import audit, audit_lines, faults, moved_counts

    document = audit(options.table)
    print("\n".join(audit_lines(document)))
    found = faults(document, moved_counts(document))
    for fault in found:
        print(f"FAIL: {fault}")
    if options.json is not None:
        write_json(options.json, document.model_dump(mode="json"))
    return ExitCode.FAILED if found else ExitCode.DONE


def run_diagnose(options: argparse.Namespace) -> int:
    """`mgnet-verify diagnose`."""
    from mgnet_verify.diagnose.diagnosis import diagnose
    from mgnet_verify.diagnose.report import diagnosis_lines, draw, metrics, sample_images
    from mgnet_verify.model_spec import resolve
    from mgnet_verify.network.protocol import view_of

    spec = resolve(options.model)
    source, images = sample_images(view_of(spec.model).theta.in_channels, options.images)
    rows = diagnose(spec.model, images)
    print(f"{spec.name} on {source}")
    print("\n".join(diagnosis_lines(rows)))
    if options.json is not None:
        write_json(
            options.json,
            {"schema_version": 1, "kind": "diagnosis", "model": spec.name, "images": source, "metrics": metrics(rows)},
        )
    if options.figure is not None:
        draw(rows, options.figure, f"{spec.name} on {source}")
    return ExitCode.DONE


def run_demo(options: argparse.Namespace) -> int:
    """`mgnet-verify demo`."""
    from mgnet_verify.diagnose.demo import demonstrate, largest_gap
    from mgnet_verify.model_spec import resolve

    demo = demonstrate(resolve(options.model), options.digit)
    write_json(options.json, demo.model_dump(mode="json"))
    for name, grids in (("A shared", demo.grids), ("an A for each iteration", demo.control.grids)):
        print(f"{name}: largest gap between f - A * u and r {largest_gap(grids):.3g}")
    return ExitCode.DONE
