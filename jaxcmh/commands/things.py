"""Raw things that commands take: folders and files of pictures, and files of texts; their names and their codes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jaxcmh.datasets.catalogue import Catalogue
    from jaxcmh.index import Details
    from jaxcmh.model import Model
    from jaxcmh.progress import Progress

AT_ONCE = 64  # things that are made features of together


class Thing(NamedTuple):
    """A picture with or without a text, or a text alone."""

    name: str
    picture: Path | None
    text: str
    labels: tuple[str, ...] = ()


def are_raw(paths: Sequence[Path]) -> bool:
    """Whether files are pictures and texts, not arrays."""
    from jaxcmh.datasets.folder import SUFFIXES

    return all(path.is_dir() or path.suffix.lower() in (".txt", *SUFFIXES) for path in paths)


def read_things(paths: Sequence[Path]) -> list[Thing]:
    """Pictures and texts of folders and files.

    A folder with a list (metadata.csv or .jsonl) has the pictures that it lists, with their texts; another one all that
    are in it and below it. A text file has a text on each line. A picture's name is its place in the folder, or the
    name of its file; a text's is the text.

    Raises:
        FileNotFoundError: a file or folder is not there.
        ValueError: nothing is there, two things have one name, or a list has lines that cannot be used.
    """
    from jaxcmh.datasets.folder import SUFFIXES, lists_of, read_folder, refuse_problems
    from jaxcmh.parsing import lines_of, read_text

    things: list[Thing] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"items: no such file or folder: {path}")
        if path.is_dir() and lists_of(path):
            listing = read_folder(path, bare=True)
            refuse_problems(listing)
            things += [
                Thing(Path(line.name).as_posix(), line.path, " ".join(line.texts), line.labels)
                for line in listing.lines
            ]
        elif path.is_dir():
            files = (Path(above, name) for above, _, names in os.walk(path) for name in names)
            found = sorted(file for file in files if file.suffix.lower() in SUFFIXES)
            things += [Thing(file.relative_to(path).as_posix(), file, "") for file in found]
        elif path.suffix.lower() == ".txt":
            things += [Thing(line.strip(), None, line.strip()) for line in lines_of(read_text(path)) if line.strip()]
        else:
            things.append(Thing(path.name, path, ""))
    if not things:
        raise ValueError(f"items: no pictures and no texts in {', '.join(map(str, paths))}")
    names: dict[str, Thing] = {}
    for thing in things:
        if names.setdefault(thing.name, thing) is not thing:
            raise ValueError(f"items: two of them are called {thing.name!r}; add them one after the other, with --ids")
    return things


def codes_of(things: Sequence[Thing], model: "Model", view: str | None, steps: "Progress") -> Any:
    """(n, bytes) uint8 codes: of a picture with a text by both, of others by what there is; or all by one view.

    Args:
        things: from `read_things`.
        model: a model with its catalogue.
        view: "image" or "text", or its number; None for what there is.
        steps: told how far it is.

    Raises:
        ValueError: no such view, or something cannot be made features of.
    """
    import numpy as np

    wanted = view if view is None else _view(model, view)
    codes = np.zeros((len(things), model.codes.shape[-1]), np.uint8)
    kinds = np.array([wanted or _kind(thing, model.codes.ndim == 3) for thing in things])
    done = 0
    for kind in np.unique(kinds).tolist():
        rows = np.flatnonzero(kinds == kind)
        for start in range(0, len(rows), AT_ONCE):
            at = rows[start : start + AT_ONCE]
            codes[at] = _encoded([things[i] for i in at], kind, model)
            done += len(at)
            steps.step(f"{done} of {len(things)} encoded")
    return codes


def details_of(things: Sequence[Thing], names: Sequence[str], thumbnails: bool) -> "Details":
    """What an index keeps of things: labels, texts that are not their names, and small pictures if it is to.

    Raises:
        ValueError: one is no picture that can be read.
    """
    from jaxcmh.datasets.catalogue import thumbnail
    from jaxcmh.index import Details

    texts = ["" if thing.text == name else thing.text for thing, name in zip(things, names)]
    labels = [thing.labels for thing in things]
    small = [thumbnail(thing.picture) if thing.picture else b"" for thing in things] if thumbnails else []
    return Details(texts if any(texts) else (), labels if any(labels) else (), small if any(small) else ())


def details_of_rows(known: "Catalogue | None", rows: Sequence[int], thumbnails: bool) -> "Details":
    """What an index keeps of the items of a run."""
    from jaxcmh.index import Details

    if thumbnails and (known is None or not known.thumbnails):
        raise ValueError("--thumbnails: the run keeps none; train with --thumbnails")
    if known is None:
        return Details()
    return Details(
        [known.texts[row] for row in rows] if known.texts else (),
        [known.labels_of(row) for row in rows] if known.label_names else (),
        [known.thumbnails[row] for row in rows] if thumbnails else (),
    )


def _view(model: "Model", view: str) -> str:
    names = model.catalogue.view_names if model.catalogue else ()
    known = {**{name: name for name in names}, **{str(m): name for m, name in enumerate(names)}}
    if known.get(view) not in ("image", "text"):
        raise ValueError(f"--view: no view {view!r} of pictures or texts; there are {', '.join(known) or 'none'}")
    return known[view]


def _kind(thing: Thing, apart: bool) -> str:
    if thing.picture is None:
        return "text"
    return "pair" if thing.text and not apart else "image"


def _encoded(things: Sequence[Thing], kind: str, model: "Model") -> Any:
    pictures, texts = [thing.picture for thing in things], [thing.text for thing in things]
    if kind in ("image", "pair") and None in pictures:
        raise ValueError(f"items: {texts[pictures.index(None)]!r} is a text, which has no view image")
    if kind == "image":
        return model.encode_images(pictures)
    if kind == "pair":
        return model.encode_pairs(pictures, texts)
    if "" in texts:
        raise ValueError(f"items: {pictures[texts.index('')]} has no text, so it has no view text")
    return model.encode_texts(texts)
