"""The embedded data set: the solid icons of the pip package `fontawesomefree` as pictures, their search words as texts.

1,335 icons with 52 overlapping classes (Font Awesome's categories with at least 20 solid icons). Nothing is downloaded:
the package brings font, words and categories. Every fifth icon of the alphabet is a query, the others are training set
and database.
"""

import json
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from jaxcmh import store
from jaxcmh.extras import cache_folder, require

from .raw import bag_of_words, hog, square, words
from .split import Items, Maker, Part, Split

KIND, FORMAT = "jaxcmh_icons", 1  # of the file in the cache
RECIPE = 2  # raise whenever the same package would give other arrays
LEAST_ICONS = 20  # icons a category needs to be a class
FONT_PIXELS = 128


# -- the data set -----------------------------------------------------------------------------------------------------


def _build() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    require("icons", "fontawesomefree", "PIL", "skimage", "yaml")
    import fontawesomefree
    import yaml
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(str(fontawesomefree.__file__)).parent / "static" / "fontawesomefree"
    icons = json.loads((folder / "metadata" / "icons.json").read_text(encoding="utf-8"))
    categories = yaml.safe_load((folder / "metadata" / "categories.yml").read_text(encoding="utf-8"))
    solid = {name for name, icon in icons.items() if "solid" in icon["free"]}
    classes = {c["label"]: solid.intersection(c["icons"]) for c in categories.values()}
    classes = {label: members for label, members in classes.items() if len(members) >= LEAST_ICONS}
    names = sorted(set().union(*classes.values()))

    font = ImageFont.truetype(folder / "webfonts" / "fa-solid-900.ttf", FONT_PIXELS)
    squares = []
    for name in names:
        character = chr(int(icons[name]["unicode"], 16))
        left, top, right, bottom = font.getbbox(character)
        picture = Image.new("L", (int(right - left), int(bottom - top)))
        ImageDraw.Draw(picture).text((-left, -top), character, fill=255, font=font)
        squares.append(square(picture))

    texts = [" ".join([name, icons[name]["label"], *map(str, icons[name]["search"]["terms"])]) for name in names]
    texts = [" ".join(dict.fromkeys(words(text))) for text in texts]
    query = np.arange(len(names)) % 5 == 4
    arrays = {
        "image": hog(squares),
        "pictures": np.stack(squares),
        "labels": np.array([[name in members for members in classes.values()] for name in names], np.uint8),
    }
    vocabulary = sorted({word for text, q in zip(texts, query) if not q for word in text.split()})
    return arrays, {"names": names, "texts": texts, "vocabulary": vocabulary, "label_names": list(classes)}


def _read_cache(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The cached arrays and facts, or None when the file is absent or not what was written."""
    try:
        return store.read(path, KIND, FORMAT, "drawn icons", lambda header, arrays: (arrays, header["facts"]))
    except (OSError, ValueError):
        return None


def _write_cache(path: Path, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        store.write(path, KIND, {"format": FORMAT, "facts": facts}, arrays)
    except OSError as error:
        warnings.warn(
            f"icons are not kept for the next time: {error}; set JAXCMH_CACHE to a folder that can be written",
            stacklevel=3,
        )


def load_icons() -> Split:
    """The icons data set: 1,068 training icons, which are the database too, and 267 queries.

    View 0: HOG of the drawn icon, (n, 1764) float32. View 1: bag of words (0/1) over the words in name, label and
    search terms of the training icons, (n, 2938) float32. Labels: the 52 categories with at least 20 icons, 1.96 each.
    `items` holds names, words and pictures (n, 64, 64); `jaxcmh.datasets.featurise` takes new texts and new drawings.

    Built in a few seconds on first use and kept in the cache folder ($JAXCMH_CACHE); a damaged cache is built anew.

    Raises:
        ModuleNotFoundError: the extra `icons` is not installed.

    >>> split = load_icons()
    >>> split.items.names[split.query.ids[0]], split.label_names[0]
    ('align-justify', 'Accessibility')
    """
    require("icons", "fontawesomefree")
    path = cache_folder() / f"icons-{metadata.version('fontawesomefree')}-{RECIPE}.safetensors"
    cached = _read_cache(path)
    if cached is None:
        arrays, facts = _build()
        _write_cache(path, arrays, facts)
    else:
        arrays, facts = cached
    vocabulary = facts["vocabulary"]
    views = arrays["image"], bag_of_words(facts["texts"], vocabulary)
    ids = np.arange(len(facts["names"]))
    train, query = (
        Part(tuple(view[rows] for view in views), arrays["labels"][rows], ids[rows])
        for rows in (ids % 5 != 4, ids % 5 == 4)
    )
    return Split(
        train,
        query,
        train,
        name="icons",
        view_names=("image", "text"),
        label_names=tuple(facts["label_names"]),
        items=Items(facts["names"], facts["texts"], arrays["pictures"]),
        makers=(Maker("drawing"), Maker("words", tuple(vocabulary))),
    )
