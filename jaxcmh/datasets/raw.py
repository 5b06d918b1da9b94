"""Features of raw pictures and texts without a learned network, and the making of rows for new ones of any data set."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby, pairwise
from typing import Annotated, Any

import numpy as np

from jaxcmh.checks import checked, filled
from jaxcmh.extras import require

from .pictures import opened, read_pictures, transparency
from .preparation import UnitRows, apply
from .split import Maker, Split

SIDE, MARGIN = 64, 4  # pixels of a drawing, and its empty border
PHOTO_SIDE = 128

# -- pictures ---------------------------------------------------------------------------------------------------------


def _ink(picture: Any) -> Any:
    """A Pillow picture as grey levels, 255 where drawn: from its transparency, or from its difference to the border."""
    from PIL import Image

    alpha = transparency(picture)
    if alpha is not None:
        return alpha
    grey = np.asarray(picture.convert("L"), np.int16)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    difference = np.abs(grey - int(np.median(border)))
    return Image.fromarray((difference * 255 // max(1, difference.max())).astype(np.uint8))


def square(ink: Any) -> np.ndarray | None:
    """The drawn part fitted into a SIDE x SIDE square, so that size and place do not matter; None if nothing is drawn.

    Args:
        ink: a Pillow picture of grey levels, 255 where drawn.
    """
    from PIL import Image

    box = ink.point(lambda level: 255 * (level > 16)).getbbox()
    if box is None:
        return None
    ink = ink.crop(box)
    scale = (SIDE - 2 * MARGIN) / max(ink.size)
    width, height = (max(1, round(side * scale)) for side in ink.size)
    whole = Image.new("L", (SIDE, SIDE))
    whole.paste(ink.resize((width, height), Image.Resampling.BILINEAR), ((SIDE - width) // 2, (SIDE - height) // 2))
    return np.asarray(whole)


def hog(pictures: Sequence[np.ndarray], cell: int = 8) -> np.ndarray:
    """Histograms of 9 oriented gradients (Dalal & Triggs 2005) in square cells, blocks of 2 x 2 cells.

    Args:
        pictures: n grey pictures of equal size.
        cell: pixels of a cell's side.
    Returns:
        (n, 1764) float32 where a picture has 8 x 8 cells.
    """
    from skimage import feature

    return np.stack(
        [
            feature.hog(p, orientations=9, pixels_per_cell=(cell, cell), cells_per_block=(2, 2)).astype(np.float32)
            for p in pictures
        ]
    )


@checked
def drawing_features(pictures: Annotated[Sequence[Any], filled]) -> np.ndarray:
    """HOG features of drawn pictures: icons, logos, sketches on an even or transparent ground, of any size and colour.

    Args:
        pictures: files (PNG, JPEG, ...), Pillow pictures, or arrays (height, width) or (height, width, 3 or 4) uint8.
    Returns:
        (len(pictures), 1764) float32, the image view of `load_dataset("icons")`.
    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is not a picture, or the picture is blank.
    Example:
        >>> picture = np.full((32, 32), 255, np.uint8)
        >>> picture[8:24, 8:24] = 0
        >>> drawing_features([picture]).shape
        (1, 1764)
    """
    require("icons", "PIL", "skimage")
    squares = []
    for where, picture in read_pictures(pictures):
        drawn = square(_ink(picture))
        if drawn is None:
            raise ValueError(f"{where}: the picture is blank")
        squares.append(drawn)
    return hog(squares)


@checked
def photo_features(pictures: Annotated[Sequence[Any], filled]) -> np.ndarray:
    """HOG and colours of photographs: gradients in 8 x 8 cells of the picture, and the share of each of 64 colours.

    Args:
        pictures: as for `drawing_features`.
    Returns:
        (len(pictures), 1828) float32; both kinds of features have about the same length.
    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is not a picture.
    Example:
        >>> photo_features([np.arange(3 * 32 * 32, dtype=np.uint8).reshape(32, 32, 3)]).shape
        (1, 1828)
    """
    require("icons", "PIL", "skimage")
    from PIL import Image

    small = [p.resize((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.BILINEAR) for _, p in opened(pictures)]
    gradients = hog([np.asarray(p.convert("L")) for p in small], cell=PHOTO_SIDE // 8)
    colours = [np.bincount(((np.asarray(p) // 64) @ [16, 4, 1]).ravel(), minlength=64) for p in small]
    blocks = 7 * 7  # of gradients, each of length 1 or less
    return np.hstack([gradients, np.sqrt(np.array(colours, np.float32) * (blocks / PHOTO_SIDE**2))])


# -- words ------------------------------------------------------------------------------------------------------------


# Scripts that part no words: Thai, Lao, Burmese, Khmer, Chinese and Japanese.
DENSE = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff]"
)
JOINERS = {0x00AD: None, 0x200C: None, 0x200D: None}  # soft hyphen and zero-width joiners: they only shape letters


@checked
def words(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits with their marks, in Unicode's composed form.

    Of scripts that part no words, all pairs of neighbouring letters.

    >>> words("Calendar-Days, 2nd")
    ['calendar', 'days', '2nd']
    >>> words("आधुनिक मानक"), words("红灯笼 red")
    (['आधुनिक', 'मानक'], ['红灯', '灯笼', 'red'])
    """
    if text.isascii():
        return plain_words(text)
    composed = unicodedata.normalize("NFC", text).translate(JOINERS).lower().replace("i\u0307", "i")  # of Turkish İ
    letters: list[str] = []  # each with its marks; spaces for all that is between words
    for sign in composed:
        if unicodedata.category(sign).startswith("M") and letters and letters[-1] != " ":
            letters[-1] += sign
        else:
            letters.append(sign if sign.isalnum() or unicodedata.category(sign).startswith("M") else " ")
    found: list[str] = []
    for kind, group in groupby(letters, lambda letter: " " if letter == " " else bool(DENSE.match(letter))):
        run = list(group)
        if kind is True:
            found += [a + b for a, b in pairwise(run)] if len(run) > 1 else run
        elif kind is False:
            found.append("".join(run))
    return found


def plain_words(text: str) -> list[str]:
    """`words` as version 0.1.0 cut them, at every mark: for vocabularies made of such words.

    >>> plain_words("Calendar-Days, 2nd")
    ['calendar', 'days', '2nd']
    """
    return re.findall(r"[^\W_]+", text.lower())


Cut = Callable[[str], list[str]]


def bag_of_words(texts: Sequence[str], vocabulary: Sequence[str], cut: Cut = words) -> np.ndarray:
    """Which words of a vocabulary a text holds.

    Args:
        texts: n texts.
        vocabulary: d words in lower case.
        cut: what cuts a text into words.
    Returns:
        (n, d) float32, 1 where the word occurs.

    >>> bag_of_words(["Dog, dog!", "cat or dog"], ["cat", "dog"])
    array([[0., 1.],
           [1., 1.]], dtype=float32)
    """
    column = {word: number for number, word in enumerate(vocabulary)}
    bags = np.zeros((len(texts), len(vocabulary)), np.float32)
    for row, text in enumerate(texts):
        bags[row, [column[word] for word in cut(text) if word in column]] = 1
    return bags


@checked
def text_features(
    texts: Annotated[Sequence[str], filled], vocabulary: Annotated[Sequence[str], filled], cut: Cut = words
) -> np.ndarray:
    """`bag_of_words` for new texts, which must hold something to go by.

    Raises:
        ValueError: a text without any word of the vocabulary.

    Example:
        >>> text_features(["A dog and a dog", "one cat"], ["cat", "dog"]).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    bags = bag_of_words(texts, vocabulary, cut)
    empty = np.flatnonzero(~bags.any(1))
    if empty.size:
        raise ValueError(
            f"texts[{empty[0]}]: no word of {texts[empty[0]]!r} is among the {len(vocabulary)} words of the data set"
        )
    return bags


# -- rows for new objects ---------------------------------------------------------------------------------------------


def _deep_images(pictures: Sequence[Any], vocabulary: Sequence[str]) -> np.ndarray:
    from jaxcmh.datasets.deep import image_embeddings

    return image_embeddings(pictures)


def _deep_texts(texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    from jaxcmh.datasets.deep import text_embeddings

    return text_embeddings(texts)


# Of kinds that go by words: what cuts a text into them. "words" is of files of version 0.1.0, and of texts in ASCII.
CUTS: dict[str, Cut] = {"words": plain_words, "unicode-words": words, "unit-words": words}
KINDS: dict[str, Callable[[Sequence[Any], Sequence[str]], np.ndarray]] = {
    "drawing": lambda pictures, vocabulary: drawing_features(pictures),
    "photo": lambda pictures, vocabulary: photo_features(pictures),
    **{kind: partial(text_features, cut=cut) for kind, cut in CUTS.items()},
    # Rows of length 1, with which two words that a user types are near a caption of ten that has them.
    "unit-words": lambda texts, vocabulary: apply(UnitRows(), text_features(texts, vocabulary)),
    "efficientnet-lite0": _deep_images,
    "minilm": _deep_texts,
}


@checked
def featurise(split: Split, view: int | str, raw: Annotated[Sequence[Any], filled]) -> np.ndarray:
    """Turn new texts or pictures into rows of one of the data set's views, ready to be encoded or searched for.

    Args:
        split: a data set that knows how its features were made (`icons`, a folder of pictures and captions).
        view: number or name of the view.
        raw: the new objects: texts for a text view; files or pictures for an image view.
    Returns:
        (len(raw), d_view) float32.
    Raises:
        ValueError: no such view, the data set holds only features and cannot make new ones, or an object is unusable.
        FileNotFoundError: a picture file is not there.
    Example:
        >>> from jaxcmh.datasets import Maker, load_dataset
        >>> split = load_dataset("synthetic", train=60, query=10, dims=(6, 2))
        >>> split = split._replace(makers=(Maker("drawing"), Maker("words", ("cat", "dog"))))
        >>> featurise(split, "text", ["a dog"]).tolist()
        [[0.0, 1.0]]
    """
    return rows_of(split, view, raw)


def rows_of(known: Any, view: int | str, raw: Sequence[Any]) -> np.ndarray:
    """`featurise` of what knows makers and names of views: a `Split`, or a `Catalogue`."""
    if not known.makers:
        raise ValueError(
            f"split: {known.name or 'this data set'} has features only; nothing is known of how they were made"
        )
    names = list(known.view_names)
    number = names.index(view) if view in names else view
    if not isinstance(number, int) or not 0 <= number < len(known.makers):
        raise ValueError(f"view: expected 0..{len(known.makers) - 1} or one of {', '.join(names)}, got {view!r}")
    if isinstance(raw, str | bytes) or len(raw) == 0:
        raise ValueError(f"raw: expected a sequence of at least one object, got {raw!r}")
    maker = known.makers[number]
    rows = KINDS[maker.kind](raw, maker.vocabulary)
    for fitted in maker.steps:
        rows = apply(fitted, rows)
    return rows


def understood(maker: Maker, texts: Sequence[str]) -> np.ndarray:
    """(n,) bool: which texts hold something to make features of, such as a word of the vocabulary."""
    if maker.kind not in CUTS:
        return np.array([bool(text.strip()) for text in texts])
    return np.asarray(bag_of_words(texts, maker.vocabulary, CUTS[maker.kind]).any(1))
