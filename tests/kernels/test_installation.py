"""The C kernel is compiled when the package is installed; with a damaged or missing library PyTorch's convolutions are used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kernels.cases import needs_c
from mgnet_kernels import __main__ as command
from mgnet_kernels import backend, backend_reason, native

PACKAGE = Path(__file__).resolve().parents[2] / "packages" / "mgnet-kernels"

IN_PROCESS = """
import torch, mgnet_kernels
x, weight = torch.randn(2, 64, 16, 16).contiguous(memory_format=torch.channels_last), torch.randn(64, 64, 3, 3)
y, direct = mgnet_kernels.conv3x3(x, weight), torch.conv2d(x, weight, padding=1)
print(mgnet_kernels.__file__)
print(mgnet_kernels.backend(), mgnet_kernels.backend_reason())
print(bool((y - direct).norm() < 1e-5 * direct.norm()), torch.equal(y, direct))
"""


def run(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )


def build(out: Path, *, compiler: str = "", kind: str = "wheel", source: Path = PACKAGE) -> tuple[Path, str]:
    """The built file, and the warnings of the build: what it said on stderr beside the name of the file."""
    said = run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out), folder=source, CC=compiler).stderr
    built = next(out.iterdir())
    return built, "".join(line for line in said.splitlines(keepends=True) if line.strip() != str(built))


# ---- what an installation left behind ----


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the installed libraries, to be damaged."""
    return Path(shutil.copytree(native.FOLDER, tmp_path / "libraries"))


def truncate(folder: Path, size: int) -> None:
    library = folder / f"winograd-{native.load().name}.so"
    library.write_bytes(library.read_bytes()[:size])


def change_one_byte(folder: Path) -> None:
    library = folder / "winograd-baseline.so"
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.write_bytes(content)


def name_another_source(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"source_sha256": "0"}), encoding="utf-8")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda folder: truncate(folder, 5000), r"\.so is damaged: install mgnet-kernels again"),
    "empty": (lambda folder: truncate(folder, 0), r"\.so is damaged"),
    "changed": (change_one_byte, r"baseline\.so is damaged"),
    "missing": (lambda folder: (folder / "winograd-baseline.so").unlink(), r"baseline\.so is missing"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    "empty manifest": (lambda folder: (folder / "manifest.json").write_text(""), "manifest.json is damaged"),
    "other manifest": (lambda folder: (folder / "manifest.json").write_text('{"libraries": 3}'), "manifest.json is damaged"),
    "no libraries": (lambda folder: shutil.rmtree(folder), "manifest.json is missing: install mgnet-kernels again"),
    "older source": (name_another_source, r"winograd\.c changed since it was compiled"),
}


@needs_c
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_libraries_are_noticed_before_they_are_opened(damage: str, folder: Path) -> None:
    assert native.load(folder).name == native.load().name
    change, message = DAMAGES[damage]
    change(folder)
    with pytest.raises(OSError, match=message) as error:
        native.load(folder)
    assert "\n" not in str(error.value)


@needs_c
def test_a_file_that_is_no_library_is_refused_in_one_line(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for library in manifest["libraries"].values():
        (folder / library["file"]).write_bytes(b"no library")
        library |= {"size": len(b"no library"), "sha256": hashlib.sha256(b"no library").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(OSError, match=r"^[^\n]* cannot be loaded: [^\n]*$"):
        native.load(folder)


def test_the_command_says_what_runs_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mgnet_kernels"])
    command.main()
    seen = capsys.readouterr().out
    assert f"backend: {backend()}\n" in seen
    assert ("reason:" in seen) == (backend_reason() is not None)
    assert f"{torch.get_num_threads()} threads" in seen


@needs_c
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_kernel_adds_no_openmp_runtime_to_that_of_torch() -> None:
    code = """
import torch
from mgnet_kernels import __main__, conv3x3
torch.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))
before = __main__.openmp_runtimes()
conv3x3(torch.ones(2, 64, 16, 16), torch.ones(64, 64, 3, 3))
print(before == __main__.openmp_runtimes(), len(before))
"""
    assert run(sys.executable, "-c", code, folder=PACKAGE).stdout == "True 1\n"


# ---- wheels ----


@pytest.mark.parametrize("compiler", ["/bin/false", "/bin/true", "no-such-compiler -O2", "'x"])
def test_a_wheel_built_without_a_compiler_is_pure_and_says_so_in_one_line(compiler: str, tmp_path: Path) -> None:
    wheel, said = build(tmp_path / "out", compiler=compiler)
    assert wheel.name == "mgnet_kernels-0.1.0-py3-none-any.whl"
    assert [line.startswith("mgnet-kernels: built without its C kernel") for line in said.splitlines()] == [True]
    with zipfile.ZipFile(wheel) as archive:
        assert [Path(name).name for name in archive.namelist() if "libraries" in name] == ["manifest.json"]
        if compiler == "/bin/false":
            archive.extractall(tmp_path / "site")
    if compiler == "/bin/false":
        seen = run(sys.executable, "-c", IN_PROCESS, folder=tmp_path, PYTHONPATH=str(tmp_path / "site")).stdout.splitlines()
        assert seen[0].startswith(str(tmp_path))
        assert seen[1] == "aten not compiled at installation: the C compiler /bin/false failed with status 1"
        assert seen[2] == "True True"


@pytest.mark.nightly
@needs_c
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_wheel_built_with_a_compiler_works_in_a_fresh_environment(kind: str, tmp_path: Path) -> None:
    """Beside the PyTorch that is already here. By way of a source distribution too."""
    built, said = build(tmp_path / "first", kind=kind)
    if kind == "sdist":
        shutil.unpack_archive(built, tmp_path / "unpacked")
        built, said = build(tmp_path / "second", source=next((tmp_path / "unpacked").iterdir()))
    assert said == ""
    assert "-none-any" not in built.name
    assert built.name.startswith("mgnet_kernels-0.1.0-py3-none-")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    run("uv", "pip", "install", "--offline", "--no-deps", "--python", str(python), str(built), folder=tmp_path, PATH=path_with_uv())
    code = f"import sys; sys.path.append({str(Path(torch.__file__).parents[1])!r})\n" + IN_PROCESS
    seen = run(str(python), "-c", code, folder=tmp_path).stdout.splitlines()
    assert seen[0].startswith(str(tmp_path / "venv"))
    assert seen[1] == f"{backend()} None"
    assert seen[2] == "True False"


def path_with_uv() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.nightly
@needs_c
def test_an_editable_installation_compiles_beside_the_source_and_forgets_what_was_there(tmp_path: Path) -> None:
    source = Path(shutil.copytree(PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("libraries", "__pycache__", "dist")))
    libraries = source / "src" / "mgnet_kernels" / "libraries"
    code = "import hatchling.build; hatchling.build.build_editable(%r)"
    run(sys.executable, "-c", code % str(tmp_path), folder=source, CC="")
    assert native.load(libraries).name == native.load().name
    said = run(sys.executable, "-c", code % str(tmp_path), folder=source, CC="/bin/false").stderr
    assert "built without its C kernel" in said
    assert [file.name for file in libraries.iterdir()] == ["manifest.json"]
    with pytest.raises(OSError, match="not compiled at installation: the C compiler /bin/false failed"):
        native.load(libraries)


@pytest.mark.nightly
@needs_c
def test_flags_of_the_user_cannot_give_a_library_more_instructions_than_its_name_says(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), folder=PACKAGE, CFLAGS="-march=native -g0")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extractall(tmp_path / "site")
    disassembly = run("objdump", "-d", "winograd-baseline.so", folder=tmp_path / "site" / "mgnet_kernels" / "libraries").stdout
    assert "%ymm" not in disassembly
    assert "%zmm" not in disassembly
