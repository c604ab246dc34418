"""C code is compiled once on a machine, into the user's cache; where that cannot be, one line says why and nothing is left."""

import os
import platform
import subprocess
import sys

import pytest

from mgnet_models.runtime import winograd_in_c
from mgnet_models.runtime.c_library import load_c

needs_c = pytest.mark.skipif(winograd_in_c.why_not() is not None, reason=str(winograd_in_c.why_not()))


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A C file with one function, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 42; }\n")
    return source


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "mgnet-lab").iterdir())


@needs_c
def test_the_library_is_kept_and_a_new_source_makes_a_new_one(source, tmp_path):
    assert load_c(source).answer() == 42
    first = kept(tmp_path)
    changed = (tmp_path / "cache" / "mgnet-lab" / first[0]).stat().st_mtime_ns
    assert load_c(source).answer() == 42
    assert kept(tmp_path) == first
    assert (tmp_path / "cache" / "mgnet-lab" / first[0]).stat().st_mtime_ns == changed
    source.write_text("int answer(void) { return 43; }\n")
    assert load_c(source).answer() == 43
    assert len(kept(tmp_path)) == 2


@needs_c
def test_without_a_cache_folder_it_is_compiled_for_this_process(source, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert load_c(source).answer() == 42


@needs_c
def test_an_error_of_the_compiler_is_one_line_and_leaves_nothing(source, tmp_path):
    source.write_text("int answer(void) { return; } nonsense\n")
    with pytest.raises(OSError, match=r"^the C compiler failed: .*$"):
        load_c(source)
    assert kept(tmp_path) == []


def test_no_compiler_is_named_with_the_mend(source, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    with pytest.raises(OSError, match=r"there is no C compiler 'no-such-compiler': install one, or name it in .* CC"):
        load_c(source)


IN_PROCESS = """
import torch
from mgnet_models import ShortConvolutions
from mgnet_models.runtime import winograd
from mgnet_models.runtime import winograd_in_c
x, weight = torch.randn(4, 128, 16, 16), torch.randn(128, 128, 3, 3)
with ShortConvolutions():
    y = torch.conv2d(x, weight, padding=1)
close = (y - torch.conv2d(x, weight, padding=1)).norm() < 1e-4 * y.norm()
print(winograd_in_c.why_not(), bool(close), winograd.transform_kernels(weight).in_c)
"""


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_a_machine_without_a_compiler_computes_in_torch(compiler, tmp_path):
    environment = os.environ | {"CC": compiler, "XDG_CACHE_HOME": str(tmp_path)}
    seen = subprocess.run([sys.executable, "-c", IN_PROCESS], env=environment, capture_output=True, text=True, check=True)
    assert seen.stdout.endswith("True False\n")
    assert compiler in seen.stdout or "compiler failed" in seen.stdout
    assert not list(tmp_path.rglob("*.so"))


INTEGERS = """
import torch
from mgnet_models.runtime import winograd
from mgnet_models.runtime import winograd_in_c
assert winograd_in_c.why_not() is None, winograd_in_c.why_not()
for c_in, c_out in ((16, 48), (80, 64), (144, 112)):
    x = torch.randint(-2, 3, (3, c_in, 9, 7)).float()
    weight = 576.0 * torch.randint(-1, 2, (c_out, c_in, 3, 3))
    g = 576.0 * torch.randint(-2, 3, (3, c_out, 9, 7))
    assert torch.equal(winograd.convolve(x, winograd.transform_kernels(weight)), torch.conv2d(x, weight, padding=1))
    wanted = torch.ops.aten.convolution_backward(g, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False])
    assert torch.equal(winograd.kernel_gradient(x, g), wanted[1])
"""


@needs_c
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names vectors of x86")
@pytest.mark.parametrize("flags", ["-mno-avx512f", pytest.param("-mno-avx", marks=pytest.mark.nightly)])
def test_processors_with_shorter_vectors_compute_the_same_integers(flags, tmp_path):
    environment = os.environ | {"CC": f"cc {flags}", "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", INTEGERS], env=environment, check=True)
