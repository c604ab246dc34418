"""The decoder of image files: every mode and depth becomes the right 8-bit RGB, or is refused with a reason."""

from __future__ import annotations

import io
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mgnet_train.data.decoding import CorruptImageError, decode

GRAY = np.arange(0, 65536, 31, dtype=np.uint16)[: 40 * 50].reshape(40, 50)
COLORS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(values: np.ndarray[Any, Any], *, depth: int, color: int, extra: bytes = b"") -> bytes:
    """A PNG written by hand: rows of (h, w) or (h, w, c) values, big-endian."""
    rows = b"".join(b"\x00" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _tiff(values: np.ndarray[Any, Any], *, order: str, photometric: int = 1, sample_format: int = 1, orientation: int = 1) -> bytes:
    """An uncompressed gray TIFF written by hand, in either byte order."""
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()
    height, width = values.shape
    entries = [
        (256, 4, width), (257, 4, height), (258, 3, values.dtype.itemsize * 8), (259, 3, 1), (262, 3, photometric), (273, 4, 8),
        (274, 3, orientation), (277, 3, 1), (278, 4, height), (279, 4, len(pixels)), (339, 3, sample_format),
    ]  # fmt: skip
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack(order + "HHI", tag, kind, 1)
        directory += struct.pack(order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,)))
    start = 8 + len(pixels)
    return (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "I", start) + pixels + directory + bytes(4)


def _pgm(values: np.ndarray[Any, Any], white: int) -> bytes:
    return b"P5 %d %d %d\n" % (values.shape[1], values.shape[0], white) + values.astype(">u2" if white > 255 else "u1").tobytes()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_png(GRAY, depth=16, color=0), id="PNG"),
        pytest.param(_png(GRAY, depth=16, color=0, extra=_chunk(b"tRNS", b"\x00\x00")), id="PNG with a transparent gray"),
        pytest.param(_png(np.stack([GRAY, GRAY], 2), depth=16, color=4), id="PNG with alpha"),
        pytest.param(_png(np.stack([GRAY] * 3, 2), depth=16, color=2), id="PNG with colors"),
        pytest.param(_tiff(GRAY, order="<"), id="TIFF, little-endian"),
        pytest.param(_tiff(GRAY, order=">"), id="TIFF, big-endian"),
        pytest.param(_tiff(65535 - GRAY, order="<", photometric=0), id="TIFF, white is zero"),
        pytest.param(_pgm(GRAY, 65535), id="PGM"),
        pytest.param(_saved(Image.fromarray(GRAY), "TIFF", compression="tiff_adobe_deflate"), id="TIFF, compressed"),
    ],
)
def test_sixteen_bits_become_eight_by_the_high_byte_and_are_never_clipped(content: bytes) -> None:
    expected = torch.from_numpy((GRAY >> 8).astype(np.uint8))
    assert torch.equal(decode(content), expected.expand(3, -1, -1))


_ALPHA = np.dstack([COLORS, np.full((20, 30), 7, np.uint8)])
_PALETTE = Image.fromarray(COLORS).quantize(200)
_TRANSPARENT_PALETTE = _saved(_PALETTE, "PNG", transparency=bytes(range(200)))
_BILEVEL = (COLORS[..., :1] > 99).repeat(3, 2) * np.uint8(255)
_FLAT = np.full((20, 30, 3), (200, 30, 90), np.uint8)


@pytest.mark.parametrize(
    "content, expected",
    [
        (_saved(Image.fromarray(COLORS), "PNG"), COLORS),
        (_saved(Image.fromarray(COLORS), "BMP"), COLORS),
        (_saved(Image.fromarray(COLORS), "TIFF"), COLORS),
        (_saved(Image.fromarray(COLORS), "PPM"), COLORS),
        (_saved(Image.fromarray(COLORS), "WEBP", lossless=True), COLORS),
        (_saved(Image.fromarray(COLORS[..., 0]), "PNG"), COLORS[..., :1].repeat(3, 2)),
        (_saved(Image.fromarray(COLORS[..., 0]), "GIF"), COLORS[..., :1].repeat(3, 2)),
        (_saved(Image.fromarray(_BILEVEL[..., 0] > 0), "PNG"), _BILEVEL),
        (_saved(Image.fromarray(_BILEVEL[..., 0] > 0), "TIFF", compression="group4"), _BILEVEL),
        (_saved(Image.fromarray(_ALPHA), "PNG"), COLORS),
        (_saved(Image.fromarray(_ALPHA), "TIFF"), COLORS),
        (_saved(Image.fromarray(_ALPHA), "WEBP", lossless=True, exact=True), COLORS),
        (_saved(Image.fromarray(_ALPHA[..., 2:]), "PNG"), COLORS[..., 2:].repeat(3, 2)),
        (_saved(_PALETTE, "PNG"), np.asarray(_PALETTE.convert("RGB"))),
        (_TRANSPARENT_PALETTE, np.asarray(_PALETTE.convert("RGB"))),
        (_saved(Image.fromarray(255 - np.dstack([_FLAT, np.full((20, 30), 255, np.uint8)]), "CMYK"), "TIFF"), _FLAT),
        (_saved(Image.fromarray(_FLAT), "JPEG", quality=100, icc_profile=b"no profile"), _FLAT),
        (_saved(Image.fromarray(_FLAT).convert("YCbCr"), "TIFF"), _FLAT),
    ],
    ids=[
        "RGB PNG", "RGB BMP", "RGB TIFF", "RGB PPM", "RGB WebP", "L PNG", "L GIF", "1 PNG", "1 TIFF", "RGBA PNG", "RGBA TIFF",
        "RGBA WebP", "LA PNG", "P", "P with transparency", "CMYK", "JPEG with a broken profile", "YCbCr",
    ],
)  # fmt: skip
def test_every_mode_becomes_rgb(content: bytes, expected: np.ndarray[Any, Any]) -> None:
    decoded = decode(content).permute(1, 2, 0).numpy()
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected.astype(int)).max() <= 2


def test_a_lab_image_becomes_its_colors() -> None:
    lab = Image.new("LAB", (8, 8), (255, 128, 128))  # lightness 255, no color
    assert decode(_saved(lab, "TIFF")).min() > 250


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_several_frames_is_taken(format: str) -> None:
    frames = [Image.new("L", (10, 10), value).convert("RGB") for value in (0, 100, 200)]
    several = _saved(frames[0], format, save_all=True, append_images=frames[1:])
    assert decode(several).max() == 0


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_in_exif_is_not_applied(format: str) -> None:
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(COLORS)
    plain, turned = _saved(image, format), _saved(image, format, exif=exif)
    assert plain != turned
    assert torch.equal(decode(plain), decode(turned))


def test_the_orientation_of_a_tiff_is_part_of_its_format_and_applied() -> None:
    values = COLORS[..., 0]
    turned = decode(_tiff(values, order="<", orientation=6))
    assert torch.equal(turned[0], torch.from_numpy(np.rot90(values, -1).copy()))


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty"),
        (b"<html>not found</html>", "no image in one of the formats"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image in one of the formats"),
        (_saved(Image.fromarray(COLORS), "JPEG")[:-200], "truncated"),
        (_saved(Image.fromarray(COLORS), "PNG")[:-200], "truncated|broken|Error"),
        (_saved(Image.fromarray(COLORS), "BMP")[:-200], "truncated"),
        (_saved(Image.fromarray(COLORS), "WEBP")[:-200], "Error|no image"),
        (_tiff(GRAY.astype(np.float32), order="<", sample_format=3), "floating-point values, whose white is not known"),
        (_tiff(GRAY.astype(np.int32), order="<", sample_format=2), "gray values of 32 bits or with a sign"),
        (_tiff(GRAY.astype(np.int16), order=">", sample_format=2), "gray values of 32 bits or with a sign"),
        (_png(np.zeros((1, 300), np.uint8), depth=8, color=0), "300 x 1 pixels, one side more than 256 times the other"),
    ],
)  # fmt: skip
def test_what_cannot_be_decoded_rightly_is_refused_with_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(CorruptImageError, match=reason):
        decode(content)


def _bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes whose header promises so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")


@pytest.mark.parametrize("sides", [(10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(sides: tuple[int, int]) -> None:
    with pytest.raises(CorruptImageError, match=r"more than 89,478,485"):
        decode(_bomb(*sides))


def test_a_progressive_image_that_goes_over_its_pixels_again_and_again_is_refused_before_that() -> None:
    whole = _saved(Image.new("L", (2000, 2000)), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    started = time.monotonic()
    with pytest.raises(CorruptImageError, match=r"\d+ scans of 2000 x 2000 pixels, too much work"):
        decode(whole[:last] + whole[last:-2] * 2000 + b"\xff\xd9")
    assert time.monotonic() - started < 5.0
    assert decode(whole).shape == (3, 2000, 2000)


_SOURCES = [
    _saved(Image.fromarray(COLORS), format) for format in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
] + [_tiff(GRAY, order=">"), _png(GRAY, depth=16, color=0), _TRANSPARENT_PALETTE]  # fmt: skip


@given(st.data())
def test_a_mutated_image_is_decoded_or_refused_in_one_line(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(_SOURCES)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    reason, image = "", torch.empty(3, 0, 0, dtype=torch.uint8)
    try:
        image = decode(bytes(content))
    except CorruptImageError as error:
        reason = str(error)
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    assert bool(reason) == (image.numel() == 0)
    assert "\n" not in reason


def test_no_warning_of_the_decoder_reaches_the_user(recwarn: pytest.WarningsRecorder) -> None:
    decode(_TRANSPARENT_PALETTE)
    exif_of_nonsense = _saved(Image.fromarray(COLORS), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff")
    decode(exif_of_nonsense)
    assert not recwarn.list
