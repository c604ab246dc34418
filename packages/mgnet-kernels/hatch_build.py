"""Compiles csrc/winograd.c when the package is built or installed: one library for each set of vector instructions.

$CC (else cc) and $CFLAGS are those of the user. Where there is no compiler, or it fails, the wheel is pure, one line on stderr
says so, and `mgnet_kernels.backend()` is "aten". Nothing is compiled after the installation.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ("-std=gnu11", "-O3", "-fopenmp", "-fPIC", "-shared")
# They come last on the command line: -march in $CFLAGS must not give "baseline" instructions that another processor lacks.
# The sets are those between which torch.backends.cpu.get_cpu_capability() tells.
VARIANTS_X86 = {
    "baseline": ("-march=x86-64",),
    "avx2": ("-march=x86-64", "-mavx2", "-mfma"),
    "avx512": ("-march=x86-64", "-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
}
VARIANTS_ELSEWHERE: dict[str, tuple[str, ...]] = {"baseline": ()}
PACKAGE = "src/mgnet_kernels"
FOLDER = "libraries"  # as in mgnet_kernels/native.py
TIMEOUT = 300


class KernelBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """The build hook that hatchling runs for each wheel, editable ones too."""

    _temporary: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; put the libraries into the wheel, or for an editable installation beside the source."""
        root = Path(self.root)
        source, in_place = root / PACKAGE / "csrc" / "winograd.c", root / PACKAGE / FOLDER
        self._temporary = Path(tempfile.mkdtemp(prefix="mgnet-kernels-"))
        try:
            files = compile_all(source, self._temporary)
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = one_line(error)
            print(f"mgnet-kernels: built without its C kernel, PyTorch's convolutions are used: {reason}", file=sys.stderr)
            files = [write_manifest(source, self._temporary, reason=reason)]
        if version == "editable":
            shutil.rmtree(in_place, ignore_errors=True)  # what is there belongs to another source or compiler
            in_place.mkdir(parents=True)
            for file in files:
                shutil.copyfile(file, in_place / file.name)
        else:
            build_data["force_include"] |= {str(file): f"mgnet_kernels/{FOLDER}/{file.name}" for file in files}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


def compile_all(source: Path, folder: Path) -> list[Path]:
    """The libraries and their manifest. Raises OSError, SubprocessError or ValueError without a compiler."""
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    options = [*FLAGS, *shlex.split(os.environ.get("CFLAGS", ""))]
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    libraries, files = {}, []
    for name, flags in (VARIANTS_X86 if x86 else VARIANTS_ELSEWHERE).items():
        file = folder / f"winograd-{name}.so"
        command = [*compiler, *options, *flags, str(source), "-o", str(file)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
        content = file.read_bytes()
        if not content:
            raise OSError(f"{compiler[0]} wrote an empty library")
        libraries[name] = {"file": file.name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        files.append(file)
    return [*files, write_manifest(source, folder, libraries=libraries)]


def write_manifest(source: Path, folder: Path, **content: object) -> Path:
    """What mgnet_kernels/native.py reads: the source's hash with each library's size and hash, or with why there is none."""
    manifest = folder / "manifest.json"
    content["source_sha256"] = hashlib.sha256(source.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return manifest


def one_line(error: Exception) -> str:
    """What went wrong, with the compiler's own first line."""
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return f"the C compiler {error.cmd[0]} failed" + (f": {said[0]}" if said else f" with status {error.returncode}")
    return " ".join(str(error).split())
