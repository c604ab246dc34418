"""The verification certificate of a trained network, made by the command mgnet-verify where that is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mgnet_train.errors import UserError
from mgnet_train.runs.folder import read_json

CERTIFICATE = "certificate.json"
_SECONDS = 300.0  # other processes wait meanwhile, at most ten minutes


def verifier() -> Path:
    """The command mgnet-verify beside this interpreter. Raises UserError when it is not installed."""
    command = Path(sys.executable).with_name("mgnet-verify")
    if not command.exists():
        raise UserError(f"--certify needs {command}, which is not there: install mgnet-verify, or leave out --certify")
    return command


def certify(command: Path, weights: Path, certificate: Path) -> str:
    """Have the weights verified, and say in one line what came of it. A verification that fails does not fail the training."""
    certificate.unlink(missing_ok=True)
    call = [str(command), "certify", str(weights), "--json", str(certificate)]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no certificate: mgnet-verify took more than {_SECONDS:.0f} s"
    status = read_json(certificate).get("status")
    if status is None:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return f"no certificate: mgnet-verify ended with code {done.returncode}: {last}"
    return f"certificate {certificate}: {status}"
