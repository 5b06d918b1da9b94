"""Data sets: `load_dataset` by name or path, and what a data set is (`Split`, `Part`, `Items`). NumPy only."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from jaxcmh.checks import PathLike, checked, filled
from jaxcmh.extras import cache_folder
from jaxcmh.progress import shown_while

from .blocks import rows
from .folder import check_folder, lists_of, load_folder, save_split
from .icons import load_icons
from .inspection import describe, inspect_files, suspicions
from .named import NAMED, Recipe, load_named
from .preparation import prepare
from .raw import drawing_features, featurise, photo_features, text_features, words
from .reading import load_files
from .simulation import drop_labels, flip_labels, unpair
from .split import Items, Maker, Part, Split, one_hot, resplit, take, validation
from .synthetic import SHAPES, Shape, synthetic

__all__ = [
    "NAMED",
    "NAMES",
    "SHAPES",
    "Items",
    "Maker",
    "Part",
    "Recipe",
    "Shape",
    "Split",
    "cache_folder",
    "check_folder",
    "describe",
    "drawing_features",
    "drop_labels",
    "featurise",
    "flip_labels",
    "inspect_files",
    "load_dataset",
    "load_files",
    "load_folder",
    "load_named",
    "one_hot",
    "photo_features",
    "prepare",
    "resplit",
    "rows",
    "save_split",
    "suspicions",
    "synthetic",
    "take",
    "text_features",
    "unpair",
    "validation",
    "words",
]

NAMES = ("icons", "synthetic", *NAMED)


@checked
@shown_while("reading data")
def load_dataset(
    name_or_path: PathLike | Annotated[Sequence[PathLike], filled],
    root: PathLike | None = None,
    *,
    verbose: bool | None = None,
    **options: Any,
) -> Split:
    """Load a data set by name, or from files.

    Args:
        name_or_path: "icons" (embedded default); "synthetic" or "synthetic:SHAPE"; "wiki", "mirflickr25k",
            "nuswide10" or "iaprtc12", also with the paper whose split is meant ("wiki:dcgh"); or a file, a folder of
            files, or several files of any known layout; or a folder of pictures with a list of captions and labels.
        root: folder with the files of a named data set; by default the folder in $JAXCMH_DATA.
        options: for "synthetic", see `jaxcmh.datasets.synthetic`; for a benchmark set, see
            `jaxcmh.datasets.load_named`; for files, `load_files`; for pictures, `load_folder`. "icons" takes none.
        verbose: as for `jaxcmh.train`.
    Returns:
        A `Split` with parts `train`, `query`, `database`, each with `views`, `labels`, `ids`.
    Raises:
        ValueError: an unknown name or option, or a file that is not what it should be.
        FileNotFoundError: a file is not there; the message says which and where it is looked for.

    >>> load_dataset("synthetic", train=90, query=10, labels=4).query.views[0].shape
    (10, 64)
    """
    try:
        if not isinstance(name_or_path, str | Path):
            return load_files(name_or_path, **options)
        name = str(name_or_path)
        kind, _, shape = name.partition(":")
        if kind == "synthetic":
            return synthetic(shape or "small", **options)
        if name == "icons":
            return load_icons(**options)
        if kind in NAMED:
            paper = {"paper": shape} if shape else {}
            return load_named(kind, data_folder(kind, root), **paper, **options)
        path = Path(name).expanduser()
        if path.is_dir() and lists_of(path):
            return load_folder(path, **options)
        if path.exists():
            return load_files(path, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise ValueError(f"options: {error}") from None
    if Path(name).suffix or os.sep in name:
        raise FileNotFoundError(f"{name}: no such file or folder")
    close = difflib.get_close_matches(name.lower(), NAMES, 1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"name_or_path: no data set {name!r}{hint} Known: {', '.join(NAMES)}, or a file or folder")


def data_folder(name: str, root: str | Path | None) -> Path:
    """The folder given, or else $JAXCMH_DATA.

    Raises:
        FileNotFoundError: neither is given, or it is not a folder.
    """
    given = root if root is not None else os.environ.get("JAXCMH_DATA")
    if not given:
        raise FileNotFoundError(
            f"{name}: say by root (--root) or $JAXCMH_DATA in which folder its files are: {NAMED[name].files}"
        )
    if not Path(given).expanduser().is_dir():
        raise FileNotFoundError(f"{name}: {given} is not a folder")
    return Path(given).expanduser()
