"""The command mgnet-verify: `certify` and `counts` of one network, `audit` of the printed counts, `diagnose` and `demo`.

Exit code 0: everything holds. 1: a property fails, two ways of counting differ, or a printed count differs without an
explanation. 2: bad input.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from mgnet_verify.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    # torch announces on import that torch.jit, which timm scripts activations with, is deprecated.
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=FutureWarning)
    try:
        return int(options.run(options))
    except UserError as error:
        print(f"mgnet-verify: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="mgnet-verify", description="Evidence for MgNet: exact checks, counts, the paper's claims.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    certify = commands.add_parser("certify", help="check one network and write a report")
    certify.add_argument(
        "target", help="timm name, notation such as MgNet[2,2]-[32]-B^l, checkpoint.safetensors, or module:factory"
    )
    certify.add_argument("--json", type=Path, metavar="FILE", help="write the report here")
    certify.add_argument("--image", type=image_size, metavar="HxW", help="count multiply-adds for this image size")
    certify.set_defaults(run=run_certify)
    counts = commands.add_parser("counts", help="parameters and multiply-adds three ways, by grid and operator")
    counts.add_argument("target", help="as for certify; a MgNet, ResNet, pre-act ResNet or GDFI of mgnet-models")
    counts.add_argument("--image", type=image_size, metavar="HxW", help="the image size (that of the network's data set)")
    counts.set_defaults(run=run_counts)
    audit = commands.add_parser("audit", help="the paper's printed counts against ours")
    audit.add_argument("--table", type=int, metavar="N", help="only the tables with this number")
    audit.add_argument("--json", type=Path, metavar="FILE", help="write every row here")
    audit.set_defaults(run=run_audit)
    diagnose = commands.add_parser("diagnose", help="residuals, corrections and contraction of a network, step by step")
    diagnose.add_argument("target", help="as for certify; a trained checkpoint is what this is for")
    diagnose.add_argument("--images", type=Path, metavar="FILE.npy", help="images (b, c, h, w) instead of the digits")
    diagnose.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here, as flat metrics")
    diagnose.add_argument("--figure", type=Path, metavar="FILE", help="draw them here (.svg, .png, .pdf)")
    diagnose.set_defaults(run=run_diagnose)
    demo = commands.add_parser("demo", help="both forms of a trained MgNet on one digit, step by step, with a control")
    demo.add_argument("target", help="checkpoint.safetensors of a MgNet trained on digits")
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


def run_certify(options: argparse.Namespace) -> int:
    """`mgnet-verify certify`."""
    from mgnet_verify.atomic import require_writable, write_json
    from mgnet_verify.certificate.certify import certify
    from mgnet_verify.certificate.console import certificate_lines
    from mgnet_verify.resolve import resolve

    if options.json is not None:
        require_writable(options.json)
    certificate = certify(resolve(options.target), image=options.image)
    print("\n".join(certificate_lines(certificate)))
    if options.json is not None:
        write_json(options.json, certificate.document())
    return 0 if certificate.passed else 1


def run_counts(options: argparse.Namespace) -> int:
    """`mgnet-verify counts`."""
    from mgnet_verify.counts.by_operator import counts, counts_lines
    from mgnet_verify.resolve import resolve

    target = resolve(options.target)
    counted = counts(target, options.image)
    print("\n".join(counts_lines(target.name, counted)))
    return 0 if counted.agree else 1


def run_audit(options: argparse.Namespace) -> int:
    """`mgnet-verify audit`."""
    from mgnet_verify.atomic import require_writable, write_json
    from mgnet_verify.certificate.console import audit_lines
    from mgnet_verify.paper.audit import audit
    from mgnet_verify.paper.audit_report import audit_document, moved_counts

    if options.json is not None:
        require_writable(options.json)
    verdicts = audit(options.table)
    print("\n".join(audit_lines(verdicts)))
    moved = moved_counts(verdicts)
    for line in moved:
        print(f"FAIL: {line}")
    if options.json is not None:
        write_json(options.json, audit_document(verdicts))
    return 1 if moved or any(verdict.unexplained for verdict in verdicts) else 0


def run_diagnose(options: argparse.Namespace) -> int:
    """`mgnet-verify diagnose`."""
    from mgnet_verify.atomic import require_writable, write_json
    from mgnet_verify.diagnose.diagnosis import diagnose
    from mgnet_verify.diagnose.report import diagnosis_lines, draw, metrics, sample_images
    from mgnet_verify.network.protocol import parts_of
    from mgnet_verify.resolve import resolve

    for file in (options.json, options.figure):
        if file is not None:
            require_writable(file)
    target = resolve(options.target)
    source, images = sample_images(parts_of(target.model).theta.in_channels, options.images)
    rows = diagnose(target.model, images)
    print(f"{target.name} on {source}")
    print("\n".join(diagnosis_lines(rows)))
    if options.json is not None:
        write_json(
            options.json,
            {"schema_version": 1, "kind": "diagnosis", "model": target.name, "images": source, "metrics": metrics(rows)},
        )
    if options.figure is not None:
        draw(rows, options.figure, f"{target.name} on {source}")
    return 0


def run_demo(options: argparse.Namespace) -> int:
    """`mgnet-verify demo`."""
    from mgnet_verify.atomic import require_writable, write_json
    from mgnet_verify.diagnose.demo import demonstrate
    from mgnet_verify.resolve import resolve

    require_writable(options.json)
    demonstration = demonstrate(resolve(options.target), options.digit)
    write_json(options.json, demonstration)
    for name, grids in (("A shared", demonstration["grids"]), ("an A for each iteration", demonstration["control"]["grids"])):
        gap = max(step["gap"] for grid in grids for step in grid["steps"])
        print(f"{name}: largest gap between f - A * u and r {gap:.3g}")
    return 0
