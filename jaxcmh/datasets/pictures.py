"""Pictures as Pillow has them, from files, arrays or Pillow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcmh.extras import require


def read_pictures(given: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """What to call each picture in an error, and the picture as Pillow has it."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    for number, picture in enumerate(given):
        is_file = isinstance(picture, str | Path)
        where = str(picture) if is_file else f"pictures[{number}]"
        try:
            if is_file:
                with Image.open(picture) as file:
                    picture = ImageOps.exif_transpose(file)
            elif not isinstance(picture, Image.Image):
                picture = np.asarray(picture, np.uint8)
                if picture.ndim not in (2, 3):
                    raise ValueError(f"expected (height, width) or (height, width, 3 or 4); got {picture.shape}")
                picture = Image.fromarray(picture)
            picture.load()
        except FileNotFoundError:
            raise FileNotFoundError(f"{where}: no such picture") from None
        except (
            UnidentifiedImageError,
            Image.DecompressionBombError,
            OSError,
            SyntaxError,
            AttributeError,
            IndexError,
            TypeError,
            ValueError,
        ) as error:
            raise ValueError(f"{where}: not a picture that Pillow can read ({error})") from None
        yield where, picture


def transparency(picture: Any) -> Any:
    """The alpha channel of a Pillow picture, or None where all of it is opaque."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        alpha = picture.convert("RGBA").getchannel("A")
        return alpha if alpha.getextrema()[0] < 255 else None
    return None


def opened(pictures: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Pictures as Pillow RGB on white, each with its name for messages.

    Args:
        pictures: files, Pillow pictures, or arrays (height, width) or (height, width, 3 or 4) uint8.
    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is not a picture.
    """
    require("icons", "PIL")
    from PIL import Image

    for where, picture in read_pictures(pictures):
        if transparency(picture) is not None:
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture.convert("RGBA"))
        yield where, picture.convert("RGB")
