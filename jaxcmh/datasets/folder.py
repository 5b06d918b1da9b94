"""A folder of pictures with captions and labels, listed in `metadata.csv` or `metadata.jsonl`, as a data set.

One line a picture. The file is in the column file_name (or file, image, path), relative to the folder; the caption in
text (or caption, title, description); the labels in labels (or label, category, class), several parted by ";" or "|",
in JSON also as a list; the part, if any, in split (train, query or test, database). Without a column of labels the name
of the subfolder is the label, as in ImageFolder. The folders train and test may each have a list of their own.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcmh import store
from jaxcmh.checks import Count, PathLike, Positive, Seed, checked
from jaxcmh.extras import require

from .raw import KINDS, bag_of_words, words
from .split import PARTS, Items, Maker, Part, Split, random_rows, take

COLUMNS = {
    "file": ("file_name", "filename", "file", "image", "path"),
    "text": ("text", "caption", "captions", "title", "description"),
    "labels": ("labels", "label", "categories", "category", "classes", "class"),
    "split": ("split", "part"),
}
LISTS = ("metadata.csv", "metadata.jsonl")
SPLIT_WORDS = {"train": "train", "test": "query", "query": "query", "database": "database"}
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
IMAGE_KINDS, TEXT_KINDS = ("photo", "drawing", "efficientnet-lite0"), ("words", "minilm")
LEAST_USES, MOST_WORDS = 2, 10_000  # training captions a word needs to be counted, and how many words at most
SHOWN = 5  # examples of each problem


class Line(NamedTuple):
    """One picture of a folder: where it is, and what the list says about it."""

    name: str
    path: Path
    text: str
    labels: tuple[str, ...]
    split: str
    size: tuple[int, int] | None  # pixels, width and height; None for what is no picture


class Folder(NamedTuple):
    """What a folder holds.

    Attributes:
        path: the folder.
        lists: the files that list its pictures.
        lines: the usable ones.
        problems: problem -> the lines that have it; they are not among `lines`.
        unlisted: pictures that no list names.
    """

    path: Path
    lists: tuple[Path, ...]
    lines: list[Line]
    problems: dict[str, list[str]]
    unlisted: list[str]


# -- reading the lists ------------------------------------------------------------------------------------------------


@checked
def lists_of(folder: Path) -> list[Path]:
    """The lists of a folder: its own, or those of its subfolders train, test, query, database."""
    places = [folder, *(folder / word for word in SPLIT_WORDS)]
    return [place / name for place in places for name in LISTS if (place / name).is_file()]


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and columns of every line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8") from None
    if path.suffix == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
                if not isinstance(record, dict):
                    raise ValueError(f"{path}, line {number}: expected an object, got {line[:40]!r}")
                yield number, {str(key).lower(): value for key, value in record.items()}
        return
    lines = text.splitlines(keepends=True)
    reader = csv.DictReader(lines, delimiter="\t" if "\t" in (lines or [""])[0] else ",")
    for record in reader:
        if None in record:
            raise ValueError(f"{path}, line {reader.line_num}: more columns than the first line names")
        yield reader.line_num, {key.strip().lower(): value or "" for key, value in record.items()}


def _column(record: dict[str, Any], meaning: str) -> Any:
    return next((record[name] for name in COLUMNS[meaning] if name in record), None)


def _labels(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else str(value if value is not None else "").replace("|", ";").split(";")
    return tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))


def read_folder(folder: str | Path, captions: str | Path | None = None) -> Folder:
    """Read the lists of a folder of pictures and see which lines can be used; every picture is opened.

    Args:
        folder: the folder.
        captions: a list (CSV or JSON lines) that lies elsewhere, instead of the folder's own.
    Raises:
        FileNotFoundError: no folder, or no list.
        ValueError: a list that is no table, or has no column of files or texts; the message names file and line.
        ModuleNotFoundError: Pillow is not installed.
    """
    require("icons", "PIL")
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    lists = [Path(captions).expanduser()] if captions is not None else lists_of(folder)
    if not lists or not lists[0].is_file():
        raise FileNotFoundError(
            f"{lists[0] if lists else folder / LISTS[0]}: no such file; it should list the pictures"
        )
    lines: list[Line] = []
    problems: dict[str, list[str]] = {}
    seen: set[Path] = set()
    for path in lists:
        base = folder if captions is not None else path.parent
        for number, record in _records(path):
            file, text = _column(record, "file"), _column(record, "text")
            for meaning, value in (("file", file), ("text", text)):
                if value is None:
                    known = ", ".join(COLUMNS[meaning])
                    raise ValueError(
                        f"{path}, line {number}: no {meaning} column ({known}); there are {', '.join(record)}"
                    )
            where = base / str(file)
            inside = where.resolve().is_relative_to(folder.resolve())
            name = os.path.relpath(where, folder)
            listed = _column(record, "labels")
            parents = [p for p in Path(name).parts[:-1] if p not in SPLIT_WORDS]
            labels = _labels(parents[-1:] if listed is None else listed)
            word = str(_column(record, "split") or (base.name if base != folder else "")).strip().lower()
            size = _picture_size(where) if inside else None
            line = Line(name, where, str(text).strip(), labels, SPLIT_WORDS.get(word, word), size)
            problem = _problem(line, inside, where.resolve() in seen)
            if problem:
                problems.setdefault(problem, []).append(f"{path.name}, line {number}: {file}")
            else:
                lines.append(line)
            if inside:
                seen.add(where.resolve())
    pictures = (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES)
    unlisted = [str(p.relative_to(folder)) for p in pictures if p.resolve() not in seen]
    return Folder(folder, tuple(lists), lines, problems, unlisted)


def _picture_size(path: Path) -> tuple[int, int] | None:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            size = picture.size
            picture.verify()
        return size
    except Exception:  # Pillow has an error of its own for every format
        return None


def _problem(line: Line, inside: bool, seen: bool) -> str:
    """Why a line cannot be used; empty if it can."""
    if not inside:
        return "outside the folder"
    if not line.path.is_file():
        return "missing file"
    if seen:
        return "listed twice"
    if line.size is None:
        return "no picture that Pillow can read"
    if not line.text:
        return "no text"
    if not line.labels:
        return "no label"
    return "" if line.split in ("", *PARTS) else "split that is not train, query, test or database"


@checked
def check_folder(folder: PathLike, captions: PathLike | None = None) -> dict[str, Any]:
    """Say what a folder of pictures holds and what is wrong with it.

    Args:
        folder, captions: see `read_folder`.
    Returns:
        JSON types: "items" and "usable", "problems" (problem -> how many, and the first few), "not listed", "labels"
        (label -> items, largest first), "labels per item", "words per text", "picture sizes", "parts".
    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: as `read_folder`.
    """
    listing = read_folder(folder, captions)
    bad = sum(map(len, listing.problems.values()))
    report: dict[str, Any] = {
        "folder": str(listing.path),
        "lists": [str(path) for path in listing.lists],
        "items": len(listing.lines) + bad,
        "usable": len(listing.lines),
        "problems": {problem: _examples(lines) for problem, lines in listing.problems.items()} if bad else "none",
        "not listed": _examples(listing.unlisted) if listing.unlisted else "none",
    }
    if listing.lines:
        per = [len(line.labels) for line in listing.lines]
        lengths = [len(words(line.text)) for line in listing.lines]
        sizes = [line.size for line in listing.lines if line.size]
        low, high = min(sizes), max(sizes)
        report |= {
            "labels": dict(Counter(label for line in listing.lines for label in line.labels).most_common()),
            "labels per item": f"{np.mean(per):.2f} ({min(per)} to {max(per)})",
            "words per text": f"{np.mean(lengths):.1f} ({min(lengths)} to {max(lengths)})",
            "picture sizes": f"{low[0]} x {low[1]} to {high[0]} x {high[1]}",
            "parts": dict(Counter(line.split or "not said" for line in listing.lines)),
        }
    return report


def _examples(lines: Sequence[str]) -> str:
    return f"{len(lines)}: {'; '.join(lines[:SHOWN])}{'; ...' if len(lines) > SHOWN else ''}"


# -- a folder as a data set -------------------------------------------------------------------------------------------


@checked
def load_folder(
    folder: PathLike,
    *,
    captions: PathLike | None = None,
    image: str = "photo",
    text: str = "words",
    query: Positive | None = None,
    train: Count | None = None,
    seed: Seed = 0,
    skip: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Split:
    """Make a data set of a folder of pictures with captions and labels.

    Args:
        folder, captions: see `read_folder`.
        image: "photo" (gradients and colours), "drawing" (gradients of what is drawn on an even ground) or
            "efficientnet-lite0" (deep, extra `deep`).
        text: "words" (bag of the words of training captions) or "minilm" (deep).
        query, train, seed: of a random split, see `load_files`; by default the split of the lists, where they have one.
        skip: leave unusable lines out instead of raising an error.
        progress: called with the numbers of pictures done and of all.
    Returns:
        A `Split` that shows its items and makes rows of new pictures and texts (`featurise`).
    Raises:
        FileNotFoundError, ValueError: as `read_folder`; unusable lines, a picture that cannot be read, only one class.
        ModuleNotFoundError: an extra is not installed.
    """
    for name, kind, kinds in (("image", image, IMAGE_KINDS), ("text", text, TEXT_KINDS)):
        if kind not in kinds:
            raise ValueError(f"{name}: expected {' or '.join(kinds)}, got {kind!r}")
    if {image, text} & {"efficientnet-lite0", "minilm"}:
        from jaxcmh.datasets.deep import require_networks

        require_networks(image, text)
    listing = read_folder(folder, captions)
    lines = listing.lines
    if listing.problems and not skip:
        problems = "; ".join(f"{problem}: {_examples(some)}" for problem, some in listing.problems.items())
        raise ValueError(f"{listing.path}: {problems}; put it right or leave these lines out (skip)")
    label_names = sorted({label for line in lines for label in line.labels})
    if len(lines) < 2 or len(label_names) < 2:
        raise ValueError(
            f"{listing.path}: expected pictures of two classes or more, got {len(lines)} of {len(label_names)}"
        )
    column = {label: number for number, label in enumerate(label_names)}
    labels = np.zeros((len(lines), len(label_names)), np.uint8)
    for row, line in zip(labels, lines):
        row[[column[label] for label in line.labels]] = 1
    said = np.array([line.split for line in lines])
    notes = [f"{sum(map(len, listing.problems.values()))} unusable lines left out"] if listing.problems else []
    if query is None and train is None and {"train", "query"} <= set(said.tolist()):
        if (said == "").any():
            raise ValueError(f"{listing.path}: {(said == '').sum()} lines do not say their part, though others do")
        rows = tuple(np.flatnonzero(said == part) for part in ("query", "train", "database"))
    else:
        count = min(2000, max(1, len(lines) // 10)) if query is None else query
        rows = random_rows(len(lines), count, train, seed)
        notes.append(f"random split with seed {seed}: {len(rows[0])} queries, {len(rows[1])} to train on")
    trained = [lines[i].text for i in rows[1]]
    vocabulary = _vocabulary(trained) if text == "words" else ()
    makers = Maker(image), Maker(text, vocabulary)
    texts = [line.text for line in lines]
    views = (
        _image_rows(makers[0], [line.path for line in lines], progress),
        bag_of_words(texts, vocabulary) if text == "words" else KINDS[text](texts, ()),
    )
    whole = Part(views, labels, np.arange(len(lines)))
    part = take(whole, rows[1])
    database = take(whole, np.sort(np.concatenate([rows[1], rows[2]]))) if len(rows[2]) else part
    items = Items([line.name for line in lines], texts, [str(line.path.resolve()) for line in lines])
    name = listing.path.resolve().name
    return Split(
        part, take(whole, rows[0]), database, name, ("image", "text"), tuple(label_names), items, makers, tuple(notes)
    )


def _vocabulary(texts: Sequence[str]) -> tuple[str, ...]:
    """The words that at least LEAST_USES texts have, the most frequent MOST_WORDS of them, in alphabetical order."""
    uses = Counter(word for text in texts for word in set(words(text)))
    frequent = sorted((word for word, count in uses.items() if count >= LEAST_USES), key=lambda w: (-uses[w], w))
    if not frequent:
        raise ValueError(f"texts: no word is in {LEAST_USES} of the {len(texts)} training texts")
    return tuple(sorted(frequent[:MOST_WORDS]))


def _image_rows(maker: Maker, paths: Sequence[Path], progress: Callable[[int, int], None] | None) -> np.ndarray:
    blocks = []
    for start in range(0, len(paths), 16):
        blocks.append(KINDS[maker.kind](paths[start : start + 16], ()))
        if progress:
            progress(min(start + 16, len(paths)), len(paths))
    return np.concatenate(blocks)


# -- a data set as a file ---------------------------------------------------------------------------------------------


@checked
def save_split(split: Split, path: PathLike) -> None:
    """Write a data set to one `.npz` file that `load_dataset` reads back whole: views, labels, split, items, makers.

    Args:
        split: a data set with dense views.
        path: the file; replaced when it is there.
    Raises:
        ValueError: sparse or prepared views, or a file name that does not end in .npz.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: expected a name that ends in .npz, got {path}")
    if any(hasattr(view, "tocsr") for view in split.train.views) or any(maker.steps for maker in split.makers):
        raise ValueError("split: sparse or prepared views cannot be written; write them before preparing")
    others = take(split.database, ~np.isin(split.database.ids, split.train.ids))
    parts = {"train": split.train, "query": split.query, "database": others}
    order = np.argsort(np.concatenate([part.ids for part in parts.values()]))
    names = split.view_names or tuple(f"view{m}" for m in range(len(split.train.views)))
    arrays = {
        f"view.{name}": np.concatenate([part.views[m] for part in parts.values()])[order]
        for m, name in enumerate(names)
    }
    arrays["labels"] = np.concatenate([part.labels for part in parts.values()])[order]
    arrays["split"] = np.repeat(list(parts), [len(part.ids) for part in parts.values()])[order]
    ids = np.concatenate([part.ids for part in parts.values()])[order]
    facts = {
        "format": 1,
        "name": split.name,
        "views": names,
        "label_names": split.label_names,
        "makers": [{"kind": maker.kind, "vocabulary": maker.vocabulary} for maker in split.makers],
        "items": {
            field: [str(getattr(split.items, field)[i]) for i in ids]
            for field in ("names", "texts", "pictures")
            if len(getattr(split.items, field)) and not isinstance(getattr(split.items, field), np.ndarray)
        },
    }
    arrays["jaxcmh"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    with store.replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
