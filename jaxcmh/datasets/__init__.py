"""Data sets: `load_dataset` by name or path, and what a data set is (`Split`, `Part`, `Items`). NumPy only."""

import difflib
import os
from pathlib import Path
from typing import Any

from .icons import cache_folder, image_features, load_icons, text_features, words
from .split import Items, Part, Split, featurise, one_hot, take
from .synthetic import SHAPES, Shape, synthetic
from .wiki import load_wiki

__all__ = [
    "NAMES",
    "SHAPES",
    "Items",
    "Part",
    "Shape",
    "Split",
    "cache_folder",
    "featurise",
    "image_features",
    "load_dataset",
    "one_hot",
    "synthetic",
    "take",
    "text_features",
    "words",
]

NAMES = ("icons", "wiki", "synthetic")


def load_dataset(name_or_path: str | Path, root: str | Path | None = None, **options: Any) -> Split:
    """Load a data set by name, or from files.

    Args:
        name_or_path: "icons" (embedded default), "wiki", "synthetic" or "synthetic:SHAPE".
        root: folder with the files of a named data set; by default the folder in $JAXCMH_DATA.
        options: for "synthetic", see `jaxcmh.datasets.synthetic`.
    Returns:
        A `Split` with parts `train`, `query`, `database`, each with `views`, `labels`, `ids`.
    Raises:
        ValueError: an unknown name or option, or a file that is not what it should be.
        FileNotFoundError: a file is not there; the message says which and where it is looked for.

    >>> load_dataset("synthetic", train=90, query=10, labels=4).query.views[0].shape
    (10, 64)
    """
    name = str(name_or_path)
    kind, _, shape = name.partition(":")
    if kind == "synthetic":
        try:
            return synthetic(shape or "small", **options)
        except TypeError as error:
            raise ValueError(f"options: {error}") from None
    if kind in NAMES and not shape:
        if options:
            raise ValueError(f"options: {name} takes none, got {', '.join(options)}")
        return load_icons() if name == "icons" else load_wiki(data_folder(name, root))
    close = difflib.get_close_matches(name, NAMES, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"name_or_path: no data set {name!r}{hint} known: {', '.join(NAMES)}")


def data_folder(name: str, root: str | Path | None) -> Path:
    """The folder given, or else $JAXCMH_DATA.

    Raises:
        FileNotFoundError: neither is given, or it is not a folder.
    """
    given = root if root is not None else os.environ.get("JAXCMH_DATA")
    if not given:
        raise FileNotFoundError(f"{name}: say where its files are, by root= or in the environment variable JAXCMH_DATA")
    if not Path(given).expanduser().is_dir():
        raise FileNotFoundError(f"{name}: {given} is not a folder")
    return Path(given).expanduser()
