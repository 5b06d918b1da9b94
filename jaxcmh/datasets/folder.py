"""A folder of pictures with captions and labels, listed in `metadata.csv` or `metadata.jsonl`, as a data set.

One line a picture. The file is in the column file_name (or file, image, path), relative to the folder; the caption in
text (or caption, title, description), in JSON also as a list: each of several is a pair of its own with the picture.
The labels are in labels (or label, category, class), several parted by ";" or "|", in JSON also as a list, or as a 0 or
1 for every class. The part, if any, is in split (train, query or test, database). Without a column of labels the name
of the subfolder is the label, as in ImageFolder. The folders train and test may each have a list of their own. A table
may be parted by commas, semicolons or tabs. The files index.mat, caption.mat (or .txt) and label.mat, with which
repositories of deep methods share data, are such a list too.
"""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcmh import store
from jaxcmh.checks import Count, PathLike, Seed, Weight, checked, got
from jaxcmh.extras import require
from jaxcmh.parsing import json_value, lines_of, naming, read_text

from . import mat5
from .pictures import one_colour, open_picture, opened
from .preparation import UnitRows, apply
from .raw import KINDS, bag_of_words, words
from .split import PARTS, Items, Maker, Part, Split, random_groups, take

COLUMNS = {
    "file": ("file_name", "filename", "file", "image", "path"),
    "text": ("text", "caption", "captions", "title", "description"),
    "labels": ("labels", "label", "categories", "category", "classes", "class"),
    "split": ("split", "part"),
}
LISTS = ("metadata.csv", "metadata.jsonl")
MAT_LIST = "index.mat"  # beside caption.mat or caption.txt, and label.mat
SPLIT_WORDS = {"train": "train", "test": "query", "query": "query", "database": "database"}
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
IMAGE_KINDS, TEXT_KINDS = ("photo", "drawing", "efficientnet-lite0"), ("words", "minilm")
LEAST_USES, MOST_WORDS = 2, 10_000  # training captions a word needs to be counted, and how many words at most
SHOWN = 5  # examples of each problem


class Line(NamedTuple):
    """One picture of a folder: where it is, and what the list says about it."""

    name: str
    path: Path
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    split: str
    size: tuple[int, int] | None  # pixels, width and height; None for what is no picture
    look: str  # equal for pictures that look the same; empty for one of one colour


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
    found = [place / name for place in places for name in LISTS if (place / name).is_file()]
    if not found and (folder / MAT_LIST).is_file() and (folder / "label.mat").is_file():
        return [folder / MAT_LIST]
    return found


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and columns of every line."""
    if path.suffix == ".mat":
        yield from _mat_records(path)
        return
    text = read_text(path)
    if path.suffix == ".jsonl":
        for number, line in enumerate(lines_of(text), 1):
            if line.strip():
                try:
                    record = json_value(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {error}") from None
                if not isinstance(record, dict):
                    raise ValueError(f"{path}, line {number}: expected an object, got {line[:40]!r}")
                yield number, {str(key).lower(): value for key, value in record.items()}
        return
    head = text.partition("\n")[0]
    before = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    number = 1
    try:
        for record in reader:
            if None in record:
                raise ValueError(f"{path}, line {number + 1}: more columns than the first line names")
            yield number + 1, {key.strip().lower(): value or "" for key, value in record.items()}
            number = reader.line_num
    except csv.Error as error:
        raise ValueError(f"{path}, line {number + 1}: not a table of comma-separated values ({error})") from None
    finally:
        csv.field_size_limit(before)


def _mat_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row numbers and columns of index.mat (files), caption.mat or caption.txt, and label.mat (0/1 for all classes)."""
    files = _mat_column(path)
    captions = path.with_name("caption.mat")
    texts = _mat_column(captions) if captions.is_file() else lines_of(read_text(path.with_name("caption.txt")))
    labels = _mat_column(path.with_name("label.mat"))
    if not len(files) == len(texts) == len(labels):
        counts = f"{len(files)} files, {len(texts)} captions and {len(labels)} rows of labels"
        raise ValueError(f"{path}: expected as many captions and labels as files; got {counts}")
    for number, (file, text, row) in enumerate(zip(files, texts, labels), 1):
        yield number, {"file": "".join(_flat(file)), "text": _flat(text), "labels": np.ravel(row).astype(int).tolist()}


def _mat_column(path: Path) -> Any:
    """The rows of the one array in a MAT file: texts, cells of texts, or numbers."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it belongs to {MAT_LIST}")
    with naming(path, "MAT"):
        (variable,) = mat5.variables(path)
        value: Any = mat5.read(path, variable)
        if not isinstance(value, list | np.ndarray):
            raise ValueError(f"expected texts or numbers; got {variable.kind}")
        several = isinstance(value, np.ndarray) and value.ndim > 1 and len(value) == 1 and value.dtype.kind == "U"
        return value[0] if several else value


def _flat(value: Any) -> list[str]:
    """The texts in an array or a cell, one behind the other."""
    if isinstance(value, list):
        return [text for inner in value for text in _flat(inner)]
    return [str(text).strip() for text in np.ravel(value)]


def _column(record: dict[str, Any], meaning: str) -> Any:
    return next((record[name] for name in COLUMNS[meaning] if record.get(name) is not None), None)


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(str(text).strip() for text in values if text is not None and str(text).strip()))


def _names(value: Any, where: str) -> tuple[str, ...]:
    """The labels in a column, each as often as it is there; `where` it stands, for a message."""
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, list | dict) for part in value)):
        raise ValueError(f"{where}: labels: expected names or numbers; got {got(value)}")
    if value is None or isinstance(value, list):
        return tuple(str(int(part) if isinstance(part, bool) else part).strip() for part in value or ())
    return tuple(part.strip() for part in str(value).replace("|", ";").split(";"))


def _labels(columns: Sequence[tuple[str, tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """Labels of each line, of what its column holds: names of classes, or in all lines a 0 or 1 for every class.

    Args:
        columns: for every line what to call it in a message, and the names as they stand there.
    """
    flags = [len(names) > 1 and set(names) <= {"0", "1"} for _, names in columns]
    if flags and all(flags) and len({len(names) for _, names in columns}) == 1:
        return [tuple(str(c) for c, flag in enumerate(names) if flag == "1") for _, names in columns]
    for (where, names), flag in zip(columns, flags):
        if flag and len(names) > len(set(names)):
            listed = ", ".join(names)
            raise ValueError(
                f"{where}: labels {listed}: either 0 or 1 for every class, then all lines need equally many; or class "
                "numbers, then each once"
            )
    return [tuple(dict.fromkeys(filter(None, names))) for _, names in columns]


def _place(base: Path, file: str, listed_by: Path) -> Path:
    """The file that a list means: as it stands, with backslashes turned, or by the end of its path elsewhere."""
    places = [base / file, base / file.replace("\\", "/")]
    if listed_by.name == MAT_LIST:
        parts = Path(file.replace("\\", "/")).parts
        places += [base.joinpath(*parts[start:]) for start in range(1, len(parts))]
    return next((place for place in places if os.path.isfile(place)), places[0])


def read_folder(folder: str | Path, captions: str | Path | None = None, bare: bool = False) -> Folder:
    """Read the lists of a folder of pictures and see which lines can be used; every picture is read.

    Args:
        folder: the folder.
        captions: a list (CSV or JSON lines) that lies elsewhere, instead of the folder's own.
        bare: lines without a text or without a label can be used too.
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
        columns = "file_name, text and labels"
        raise FileNotFoundError(
            f"{lists[0] if lists else folder / LISTS[0]}: no such file; it should list the pictures, one a line, in "
            f"columns such as {columns} (or name a list that lies elsewhere: captions)"
        )
    lines: list[Line] = []
    problems: dict[str, list[str]] = {}
    seen: set[str] = set()
    for path in lists:
        base = folder if captions is not None else path.parent
        records = list(_records(path))
        for meaning in ("file",) if bare else ("file", "text"):
            if records and not any(name in record for _, record in records for name in COLUMNS[meaning]):
                known, there = ", ".join(COLUMNS[meaning]), ", ".join(records[0][1])
                first = records[0][0] if path.suffix == ".jsonl" else 1
                raise ValueError(f"{path}, line {first}: no {meaning} column ({known}); there are {there}")
        columns = []
        for number, record in records:
            listed, file = _column(record, "labels"), str(_column(record, "file") or "")
            above = [part for part in Path(os.path.relpath(base / file, folder)).parts[:-1] if part not in SPLIT_WORDS]
            given = any(name in record for name in COLUMNS["labels"])
            there = f"{path}, line {number}"
            columns.append((there, _names(listed if given else above[-1:], there)))
        for (number, record), labels in zip(records, _labels(columns)):
            file, texts = str(_column(record, "file") or ""), _texts(_column(record, "text"))
            word = str(_column(record, "split") or (base.name if base != folder else "")).strip().lower()
            line = Line("", folder, texts, labels, SPLIT_WORDS.get(word, word), None, "")
            problem = _unwritable(file, *texts, *labels) if file else "no file"
            if not problem:
                where = _place(base, file, path)
                real = os.path.realpath(where)
                inside = Path(real).is_relative_to(os.path.realpath(folder))
                size, look = _look(where) if inside else (None, "")
                line = line._replace(name=os.path.relpath(where, folder), path=where, size=size, look=look)
                problem = _problem(line, inside, real in seen, bare)
                seen |= {real} if inside else set()
            if problem:
                problems.setdefault(problem, []).append(f"{path.name}, line {number}: {file}")
            else:
                lines.append(line)
    pictures = (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES)
    unlisted = [str(p.relative_to(folder)) for p in pictures if os.path.realpath(p) not in seen]
    return Folder(folder, tuple(lists), lines, problems, unlisted)


def _look(path: Path) -> tuple[tuple[int, int] | None, str]:
    """Size of a picture, None for what is none; and what it looks like, see `Line`."""
    from PIL import Image

    try:
        with open_picture(path) as file:
            size = file.size
        ((_, picture),) = opened([path], side=64)
    except Exception:  # Pillow has an error of its own for every format
        return None, ""
    small = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR))
    return size, "" if one_colour(picture) else store.digest([("", small)])


def _unwritable(*texts: str) -> str:
    """Why a text can be neither a name nor written down."""
    if any("\0" in text for text in texts):
        return "a NUL character"
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return "half a character (a lone surrogate)"
    return ""


def _problem(line: Line, inside: bool, seen: bool, bare: bool) -> str:
    """Why a line cannot be used; empty if it can."""
    if not inside:
        return "outside the folder"
    if not os.path.isfile(line.path):
        return "missing file"
    if seen:
        return "listed twice"
    if line.size is None:
        return "no picture that Pillow can read"
    if not line.texts and not bare:
        return "no text"
    if not line.labels and not bare:
        return "no label"
    return "" if line.split in ("", *PARTS) else "split that is not train, query, test or database"


def refuse_problems(listing: Folder, remedy: str = "") -> None:
    """Refuse a folder with lines that cannot be used; the message says which."""
    if listing.problems:
        problems = "; ".join(f"{problem}: {_examples(some)}" for problem, some in listing.problems.items())
        raise ValueError(f"{listing.path}: {problems}; put it right{remedy}")


def _doubts(lines: Sequence[Line]) -> list[str]:
    """What looks wrong about pictures that can be read, in a sentence each."""
    blank = [line.name for line in lines if not line.look]
    first = {line.look: line.name for line in reversed(lines)}
    equal = [line.name for line in lines if line.look and first[line.look] != line.name]
    sentences = {"of one colour": blank, "that look like one before them": equal}
    return [f"pictures {what}: {_examples(names)}" for what, names in sentences.items() if names]


@checked
def check_folder(folder: PathLike, captions: PathLike | None = None) -> dict[str, Any]:
    """Say what a folder of pictures holds and what is wrong with it.

    Args:
        folder, captions: see `read_folder`.
    Returns:
        JSON types: "items" and "usable", "problems" (problem -> how many, and the first few), "not listed",
        "suspicious" (pictures of one colour, and those that look the same), "labels" (label -> items, largest first),
        "labels per item", "texts per item", "words per text", "picture sizes", "parts".
    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: as `read_folder`.
    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open(f"{folder}/metadata.csv", "w") as file:
        ...         print("file_name,text,labels", file=file)
        ...         for name in ("red", "lime", "blue"):
        ...             Image.new("RGB", (32, 32), name).save(f"{folder}/{name}.png")
        ...             print(f"{name}.png,a {name} square,{name}", file=file)
        ...     found = check_folder(folder)
        >>> found["items"], found["labels"], found["suspicious"]
        (3, {'red': 1, 'lime': 1, 'blue': 1}, ['pictures of one colour: 3: red.png; lime.png; blue.png'])
    """
    listing = read_folder(folder, captions)
    bad = sum(map(len, listing.problems.values()))
    problems = {problem: _examples(lines) for problem, lines in listing.problems.items()}
    problems |= {} if bad or listing.lines else {"an empty list": _examples([str(path) for path in listing.lists])}
    report: dict[str, Any] = {
        "folder": str(listing.path),
        "lists": [str(path) for path in listing.lists],
        "items": len(listing.lines) + bad,
        "usable": len(listing.lines),
        "problems": problems or "none",
        "not listed": _examples(listing.unlisted) if listing.unlisted else "none",
    }
    if listing.lines:
        per = [len(line.labels) for line in listing.lines]
        counts = [len(line.texts) for line in listing.lines]
        lengths = [len(words(text)) for line in listing.lines for text in line.texts]
        sizes = [line.size for line in listing.lines if line.size]
        low, high = min(sizes), max(sizes)
        report |= {
            "suspicious": _doubts(listing.lines) or ["nothing"],
            "labels": dict(Counter(label for line in listing.lines for label in line.labels).most_common()),
            "labels per item": f"{np.mean(per):.2f} ({min(per)} to {max(per)})",
            "texts per item": f"{np.mean(counts):.2f} ({min(counts)} to {max(counts)})",
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
    query: Weight | None = None,
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
        text: "words" (bag of the words of training captions, of length 1) or "minilm" (deep).
        query, train, seed: of a random split, see `load_files`; by default the split of the lists, where they have one.
            Pictures are counted and drawn, each with all of its texts. With 0 queries all are trained on and are in the
            database, and the training items are the queries: scores say nothing of new ones then.
        skip: leave unusable lines out instead of raising an error.
        progress: called with the numbers of pictures done and of all.
    Returns:
        A `Split` that shows its items and makes rows of new pictures and texts (`featurise`); of a picture with several
        texts there are as many pairs.
    Raises:
        FileNotFoundError, ValueError: as `read_folder`; unusable lines, a picture that cannot be read, only one class.
        ModuleNotFoundError: an extra is not installed.
    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open(f"{folder}/metadata.csv", "w") as file:
        ...         print("file_name,text,labels", file=file)
        ...         for name in ("red", "lime", "blue"):
        ...             Image.new("RGB", (32, 32), name).save(f"{folder}/{name}.png")
        ...             print(f"{name}.png,a {name} square,{name}", file=file)
        ...     split = load_folder(folder, query=1)
        >>> [view.shape for view in split.train.views], split.label_names
        ([(2, 1828), (2, 2)], ('blue', 'lime', 'red'))
    """
    for name, kind, kinds in (("image", image, IMAGE_KINDS), ("text", text, TEXT_KINDS)):
        if kind not in kinds:
            raise ValueError(f"{name}: expected {' or '.join(kinds)}, got {kind!r}")
    if {image, text} & {"efficientnet-lite0", "minilm"}:
        from jaxcmh.datasets.deep import require_networks

        require_networks(image, text)
    listing = read_folder(folder, captions)
    pictures = listing.lines
    if not skip:
        refuse_problems(listing, " or leave these lines out (skip)")
    label_names = sorted({label for line in pictures for label in line.labels})
    if len(pictures) < 2 or len(label_names) < 2:
        raise ValueError(
            f"{listing.path}: expected pictures of two classes or more, got {len(pictures)} of {len(label_names)}"
        )
    pairs = np.repeat(np.arange(len(pictures)), [len(line.texts) for line in pictures])
    lines, texts = [pictures[i] for i in pairs], [text for line in pictures for text in line.texts]
    column = {label: number for number, label in enumerate(label_names)}
    labels = np.zeros((len(lines), len(label_names)), np.uint8)
    for row, line in zip(labels, lines):
        row[[column[label] for label in line.labels]] = 1
    said = np.array([line.split for line in lines])
    notes = [f"{sum(map(len, listing.problems.values()))} unusable lines left out"] if listing.problems else []
    notes += [f"{len(texts)} pairs of {len(pictures)} pictures"] if len(texts) > len(pictures) else []
    if query is None and train is None and {"train", "query"} <= set(said.tolist()):
        if (said == "").any():
            raise ValueError(f"{listing.path}: {(said == '').sum()} lines do not say their part, though others do")
        rows = tuple(np.flatnonzero(said == part) for part in ("query", "train", "database"))
    else:
        count = min(2000, max(1, len(pictures) // 10)) if query is None else query
        rows = random_groups(pairs, count, train, seed)
        queries = f"{len(rows[0])} queries" if len(rows[0]) else "no queries but the training items"
        notes.append(f"random split with seed {seed}: {queries}, {len(rows[1])} to train on")
    vocabulary = _vocabulary([texts[i] for i in rows[1]]) if text == "words" else ()
    makers = Maker(image), Maker("unit-words" if text == "words" else text, vocabulary)
    views = (
        _image_rows(makers[0], [line.path for line in pictures], progress)[pairs],
        apply(UnitRows(), bag_of_words(texts, vocabulary)) if text == "words" else KINDS[text](texts, ()),
    )
    notes += [f"warning: {doubt}" for doubt in _doubts(pictures)]
    for kind, view in zip(("pictures", "texts"), views):
        alike = len(view) > 1 and bool((view == view[0]).all())
        empty = int((~view.any(1)).sum())
        notes += [f"warning: the features of all {kind} are the same"] if alike else []
        notes += [f"warning: {empty} of {len(view)} {kind} have empty features"] if empty else []
    whole = Part(views, labels, np.arange(len(lines)))
    part = take(whole, rows[1])
    database = take(whole, np.sort(np.concatenate([rows[1], rows[2]]))) if len(rows[2]) else part
    items = Items([line.name for line in lines], texts, [str(line.path.resolve()) for line in lines])
    name = listing.path.resolve().name
    asked = take(whole, rows[0]) if len(rows[0]) else part
    return Split(part, asked, database, name, ("image", "text"), tuple(label_names), items, makers, tuple(notes))


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
    Example:
        >>> import tempfile
        >>> import jaxcmh
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_split(split, f"{folder}/pairs.npz")
        ...     jaxcmh.load_dataset(f"{folder}/pairs.npz").train.labels.shape
        (60, 10)
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: expected a name that ends in .npz, got {path}")
    if any(hasattr(view, "tocsr") for view in split.train.views) or any(maker.steps for maker in split.makers):
        raise ValueError("split: sparse or prepared views cannot be written; write them before preparing")
    others = take(split.database, ~np.isin(split.database.ids, split.train.ids))
    parts = {"train": split.train, "query": split.query, "database": others}
    if split.query is split.train:
        del parts["query"]
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
