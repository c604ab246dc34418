"""Fuzz targets of the readers of data: MNIST's files, CIFAR's files, images, tar shards."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import tarfile
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image

from fuzz.framework import accepted, target
from mgnet_train.data.cifar import find_cifar
from mgnet_train.data.decoding import CorruptImageError, decode
from mgnet_train.data.imagenet.shard_index import index_of
from mgnet_train.data.mnist import read_idx

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
# Numbers that stand for sizes, counts and offsets in binary formats.
ODD_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1)


@cache
def folder() -> Path:
    """A folder for the input files of this process; the index of shards is kept in it too."""
    path = Path(tempfile.mkdtemp(prefix="mgnet-fuzz-data-"))
    os.environ["XDG_CACHE_HOME"] = str(path / "cache")
    return path


@st.composite
def damaged_bytes(draw: st.DrawFn, samples: Sequence[bytes], *, head: int = 400) -> bytes:
    """A sample with bytes changed, numbers written over, parts cut out, repeated or moved, mostly in its first bytes."""
    content = bytearray(draw(st.sampled_from(list(samples))))
    for _ in range(draw(st.integers(0, 6))):
        last = max(0, len(content) - 1)
        at = draw(st.integers(0, min(head, last)) | st.integers(0, last))
        match draw(st.sampled_from(["byte", "number", "cut", "repeat", "insert", "end"])):
            case "byte":
                content[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "number":
                form = draw(st.sampled_from(["<H", ">H", "<I", ">I"]))
                number = draw(st.sampled_from(ODD_NUMBERS)) % 2 ** (8 * struct.calcsize(form))
                packed = struct.pack(form, number)
                content[at : at + len(packed)] = packed
            case "cut":
                del content[at : at + draw(st.integers(1, 64))]
            case "repeat":
                content[at:at] = content[at : at + draw(st.integers(1, 64))] * draw(st.sampled_from([1, 2, 50]))
            case "insert":
                content[at:at] = draw(st.binary(max_size=8))
            case "end":
                del content[at:]
    return bytes(content)


IDX = [
    b"\0\0\x08\3" + struct.pack(">3I", n, 28, 28) + bytes(n * 784) for n in (1, 3)
] + [b"\0\0\x08\1" + struct.pack(">I", 5) + bytes(range(5))]  # fmt: skip


@target(damaged_bytes(IDX, head=20), quick=40, nightly=10_000)
def idx_file(content: bytes) -> None:
    """An idx file that is read has as many pixels as it has bytes."""
    path = folder() / "idx"
    path.write_bytes(content)
    shape = (28, 28) if content[3:4] == b"\3" else ()
    read = accepted(lambda: read_idx(path, shape=shape, most=60_000))
    assert read.numel() == len(content) - 4 - 4 * (1 + len(shape))
    assert bytes(read.flatten().tolist()) == content[-read.numel() :]


def _batch(protocol: int, n: int = 2) -> bytes:
    images = np.random.default_rng(n).integers(0, 256, (n, 3072), dtype=np.uint8)
    batch = {b"data": images, b"fine_labels": [99] * n, b"coarse_labels": [3] * n, b"filenames": [b"apple_s_000022.png"] * n}
    return pickle.dumps(batch, protocol)


def _read_cifar(content: bytes, file: str, good: bytes) -> None:
    place = folder() / file
    place.mkdir(exist_ok=True)
    (place / file).write_bytes(content)
    other = file.replace("train", "test")
    (place / other).write_bytes(good)
    data = accepted(lambda: find_cifar("cifar100", [place], only_test=False))
    assert data is not None
    assert data.train.images.shape[1:] == (3, 32, 32)
    assert 0 <= int(data.train.labels.min()) <= int(data.train.labels.max()) < 100


# The end of a pickle is as telling as its beginning: what comes after the pixels.
@target(damaged_bytes([_batch(protocol) for protocol in range(2, 6)] + [_batch(2)[-200:]], head=300), quick=40, nightly=10_000)
def cifar_pickle(content: bytes) -> None:
    """A pickle that is read is a batch of CIFAR-100, and reading it calls nothing and takes no time."""
    _read_cifar(content, "train", _batch(2))


@st.composite
def instructions(draw: st.DrawFn) -> bytes:
    """A program of pickle's own instructions, most of which a CIFAR file has."""
    words = [
        b"(", b")", b"]", b"}", b"0", b"2", b"t", b"\x85", b"\x86", b"\x87", b"R", b"b", b"u", b"s", b"e", b"a", b"N", b"K\x03",
        b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"U\x04data", b"U\x0bfine_labels", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n",
        b"cnumpy.core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n", b"c__builtin__\nbytes\n", b"cos\nsystem\n", b"U\x02u1",
        b"X\x03\x00\x00\x00abc", b"J\xff\xff\xff\xff", b"\x88", b"\x89",
        b"\x8e" + b"\xff" * 8, b"\x96" + b"\xff" * 8, b"\x93", b"\x94",
    ]  # fmt: skip
    return b"\x80\x02" + b"".join(draw(st.lists(st.sampled_from(words), max_size=40))) + b"."


@target(instructions(), quick=40, nightly=20_000)
def pickle_program(content: bytes) -> None:
    """No program is a batch of CIFAR-100 by accident, and none does anything."""
    _read_cifar(content, "train", _batch(2))


BINARY = bytes(2) + bytes(3072) + b"\x05\x63" + bytes(3072)


@target(damaged_bytes([BINARY, BINARY[:3074]], head=3080), quick=20, nightly=5_000)
def cifar_binary(content: bytes) -> None:
    """A binary file that is read is records of CIFAR-100."""
    _read_cifar(content, "train.bin", BINARY)


def _image(format: str, image: Image.Image, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


_RGB = Image.fromarray(PIXELS)
IMAGES = [
    *(_image(format, _RGB) for format in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")),
    _image("JPEG", _RGB, progressive=True),
    _image("PNG", _RGB.quantize(16), transparency=bytes(range(16))),
    _image("PNG", Image.fromarray(PIXELS.astype(np.uint16)[..., 0] * 257)),
    _image("TIFF", Image.fromarray(PIXELS.astype(np.uint16)[..., 0] * 257), compression="tiff_lzw"),
    _image("GIF", _RGB, save_all=True, append_images=[_RGB.rotate(90)]),
]


@target(damaged_bytes(IMAGES), quick=60, nightly=20_000)
def image_file(content: bytes) -> None:
    """An image that is decoded is 8-bit RGB of at least one pixel."""
    image = accepted(lambda: decode(content), refusal=CorruptImageError)
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    assert image.numel() > 0


def _shard() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in (("a.cls", b"0"), ("a.jpg", b"image a"), ("b.cls", b"12"), ("b.png", b"image b")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@target(damaged_bytes([_shard()], head=2100), quick=40, nightly=10_000)
def tar_shard(content: bytes) -> None:
    """Samples of a shard lie inside of it and have labels that are not negative."""
    path = folder() / "train.tar"
    path.write_bytes(content)
    with contextlib.redirect_stderr(io.StringIO()):  # it says that it scans
        index = accepted(lambda: index_of([path], workers=0))
    assert (index.labels >= 0).all()
    assert ((index.offsets >= 0) & (index.offsets + index.sizes <= len(content))).all()
