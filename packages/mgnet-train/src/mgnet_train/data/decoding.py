"""The one decoder of image files: which formats, modes and depths are taken, what becomes of them, and what is refused.

Every image becomes 8-bit RGB, the same in training and in tests. Where there is a choice, it is the one of torchvision's
and timm's loaders (Pillow's `convert("RGB")`), so that networks can be compared:

- The content decides the format, not the name. The first frame of an animation and the first page of a file are taken.
- Transparency is dropped, color profiles are ignored. Orientation: an EXIF tag of JPEG, PNG and WebP is not applied; the tag
  of TIFF, where it is part of the format, is (by Pillow).
- 16 bits become 8 by their high byte, as libpng and Pillow do it with colors. Pillow alone would clip gray to white.
- Numbers whose white nobody knows, 32-bit integers and floats, are refused.

The limits are on work, not on a clock: whether an image counts as corrupt must not depend on how busy a machine is.
"""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from mgnet_records.errors import printable

# In this order where a sample of a tar shard has several.
IMAGE_SUFFIXES = ("jpeg", "jpg", "png", "webp", "bmp", "tiff", "tif", "gif", "ppm", "pgm", "jfif", "jpe")
# Pillow knows forty formats; some of these start other programs (EPS) or are no pictures.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")

MOST_BYTES = 2**29
"""The largest image file that is read."""
_MOST_PIXELS = 89_478_485  # where Pillow begins to warn of decompression bombs; ImageNet's largest images are below
_MOST_SIDES = 256  # a longer strip would be enormous when its short side is resized to 256 pixels
# A progressive JPEG may go over all its pixels again for every hundred bytes: 2,000 times in a file of 200 KB. Common ones do
# it 10 times. At this limit the decoder works about ten seconds.
_MOST_PIXELS_SCANNED = 2**31
_START_OF_SCAN = b"\xff\xda"

_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0


class CorruptImageError(Exception):
    """An image that cannot be taken; the message says why."""


def decode(content: bytes) -> Tensor:
    """An encoded image as (3, height, width) uint8 RGB. Raises CorruptImageError for what cannot be decoded or is refused."""
    if not content:
        raise CorruptImageError("empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of metadata that it skips
            with Image.open(BytesIO(content), formats=_FORMATS) as image:
                _check_work(image, content)
                return transforms.pil_to_tensor(_as_rgb(image))
    except CorruptImageError:
        raise
    except UnidentifiedImageError:
        raise CorruptImageError(f"no image in one of the formats {', '.join(_FORMATS)}") from None
    except Image.DecompressionBombError:
        raise CorruptImageError(f"more than {_MOST_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow passes on whatever its parsers meet
        raise CorruptImageError(printable(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")) from None


def _check_work(image: Image.Image, content: bytes) -> None:
    """Refuse, by its header alone, an image that would take too much memory or time."""
    width, height = image.size
    if width < 1 or height < 1:
        raise CorruptImageError(f"{width} x {height} pixels")
    if width * height > _MOST_PIXELS:
        raise CorruptImageError(f"{width} x {height} pixels, more than {_MOST_PIXELS:,}")
    if max(width, height) > _MOST_SIDES * min(width, height):
        raise CorruptImageError(f"{width} x {height} pixels, one side more than {_MOST_SIDES} times the other")
    if image.format in ("JPEG", "MPO"):
        scans = content.count(_START_OF_SCAN)
        if scans * width * height > _MOST_PIXELS_SCANNED:
            raise CorruptImageError(f"{scans} scans of {width} x {height} pixels, too much work")


def _as_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _of_16_bits(image).convert("RGB")
    if image.mode == "I":
        raise CorruptImageError("gray values of 32 bits or with a sign, whose white is not known")
    if image.mode == "F":
        raise CorruptImageError("floating-point values, whose white is not known")
    if image.mode in ("RGBa", "La"):  # colors multiplied by their transparency
        image = image.convert(image.mode.upper())
    return image.convert("RGB")


def _of_16_bits(image: Image.Image) -> Image.Image:
    """16-bit gray, in whatever byte order, as 8-bit gray."""
    values = np.asarray(image).astype(np.int64)
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    values <<= 16 - tags.get(_TIFF_BITS, (16,))[0]  # Pillow leaves TIFF's 12 bits as they are
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 0xFFFF - values
    return Image.fromarray((values.clip(0, 0xFFFF) >> 8).astype(np.uint8))
