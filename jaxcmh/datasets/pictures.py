"""Pictures as Pillow has them, from files, arrays or Pillow."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from jaxcmh import checks
from jaxcmh.extras import require
from jaxcmh.parsing import check_unpacked, reason

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")


def read_pictures(given: Sequence[Any], side: int | None = None) -> Iterator[tuple[str, Any]]:
    """What to call each picture in an error, and the picture as Pillow has it, in 8 bits.

    Grey levels and colours of more than 8 bits are scaled: the smallest to 0, the largest to 255.

    Args:
        given: files, the bytes of files, Pillow pictures, or arrays.
        side: pixels that are enough for width and height; large JPEG files are then read faster.
    """
    from PIL import Image, ImageOps

    for number, picture in enumerate(given):
        where = f"pictures[{number}]"
        if isinstance(picture, str | Path):
            where = str(checks.path(picture, where))
        try:
            if isinstance(picture, str | Path | bytes):
                with open_picture(picture if isinstance(picture, bytes) else Path(picture)) as file:
                    if side is not None:
                        file.draft(None, (side, side))
                    picture = ImageOps.exif_transpose(file)
            elif not isinstance(picture, Image.Image):
                picture = np.asarray(picture)
                if picture.ndim not in (2, 3):
                    raise ValueError(f"expected (height, width) or (height, width, 3 or 4); got {picture.shape}")
                picture = Image.fromarray(_eight_bits(picture))
            picture.load()
            if picture.mode.startswith(("I", "F")):
                picture = Image.fromarray(_eight_bits(np.asarray(picture, np.float64)))
        except FileNotFoundError:
            raise FileNotFoundError(f"{where}: no such picture") from None
        except Exception as error:  # Pillow has an error of its own for every format
            raise ValueError(f"{where}: not a picture that Pillow can read ({reason(error)})") from None
        yield where, picture


def open_picture(given: Path | bytes) -> Any:
    """A file as Pillow opens it, without its pixels; of formats that need no other program, and of a credible size."""
    from PIL import Image, UnidentifiedImageError

    content = BytesIO(
        given if isinstance(given, bytes) else given.read_bytes()
    )  # which reads no more than there is, whatever a length claims
    try:
        picture = Image.open(content, formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError(f"none of {', '.join(FORMATS)}") from None
    check_unpacked(picture.width * picture.height * 4, len(content.getvalue()))
    return picture


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Pixels as uint8: integers from 0 to 255 as they are, others scaled so that they fill that range."""
    if pixels.dtype.kind not in "biuf" or not pixels.size or not np.isfinite(pixels).all():
        raise ValueError(f"expected finite numbers; got {pixels.dtype} of shape {pixels.shape}")
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype == np.uint8 or (pixels.dtype.kind in "iu" and low >= 0 and high <= 255):
        return pixels.astype(np.uint8)
    return np.round((pixels.astype(np.float64) - low) * (255 / max(high - low, np.finfo(float).tiny))).astype(np.uint8)


def one_colour(picture: Any) -> bool:
    """Whether all pixels of a Pillow picture are equal."""
    return all(low == high for low, high in np.reshape(picture.getextrema(), (-1, 2)))


def transparency(picture: Any) -> Any:
    """The alpha channel of a Pillow picture, or None where all of it is opaque."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        alpha = picture.convert("RGBA").getchannel("A")
        return alpha if alpha.getextrema()[0] < 255 else None
    return None


def opened(pictures: Sequence[Any], side: int | None = None) -> Iterator[tuple[str, Any]]:
    """Pictures as Pillow RGB on white, each with its name for messages.

    Args:
        pictures: files, the bytes of files, Pillow pictures, or arrays (height, width) or (height, width, 3 or 4);
            numbers other than integers from 0 to 255 are scaled, the smallest to 0, the largest to 255.
        side: see `read_pictures`.
    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is not a picture.
    """
    require("icons", "PIL")
    from PIL import Image

    for where, picture in read_pictures(pictures, side):
        if transparency(picture) is not None:
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture.convert("RGBA"))
        yield where, picture.convert("RGB")
