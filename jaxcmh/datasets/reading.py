"""From recognised arrays to a `Split`: rows aligned, labels 0/1, all finite, or one error that names file and key."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from scipy import sparse

from jaxcmh.checks import Count, PathLike, Positive, Seed, checked, filled
from jaxcmh.parsing import json_value

from . import blocks as stored_rows
from .files import MOST_CLASSES, Blocks, Stored
from .layouts import ROLES, Recognised, files_of, normal_key, recognise, turned
from .raw import KINDS
from .split import PARTS, Items, Maker, Part, Split, one_hot, random_groups, resplit, take

NO_VIEW = ("labels", "labels2", "rows", "names", "split")


class Selection(NamedTuple):
    """Which rows, text columns and label columns of a whole set to keep: index arrays, masks or slices; and why."""

    rows: Any
    text: Any
    labels: Any
    note: str


@checked
def load_files(
    paths: PathLike | Annotated[Sequence[PathLike], filled],
    *,
    keys: Mapping[str, str] | None = None,
    query: Positive | None = None,
    train: Count | None = None,
    seed: Seed = 0,
    name: str | None = None,
    halves: str | None = None,
    select: Callable[[Any, np.ndarray], Selection] | None = None,
    on_disk: bool = False,
) -> Split:
    """Read a data set from files in any of the known layouts.

    Arrays keep their types; labels become 0/1 (n, c) uint8 from one-hot, sparse, or class numbers counted from 0 or 1.
    The split of the files is kept unless `query` or `train` is given; files without one get a random one.

    Args:
        paths: a file, a folder of files, or several files.
        keys: role -> array name, for arrays whose names no layout knows: "train.image", "query.text", "all.labels", ...
            Any kind beside labels, rows, names and split is a view; there may be more than two.
        query: draw that many queries, or below 1 that share of all rows; by default the files' own, or else a tenth, at
            most 2,000. Of pictures with several texts each, pictures are counted and drawn.
        train: draw that many rows to train on from those that are no queries; by default the files' own, or else all.
            All rows that are no queries are the database.
        seed: of the random split.
        name: what the data set is called; by default the name of the file or folder.
        halves: a kind (text, image) whose even and odd columns become the two views, where only one view is at hand.
        select: from text and labels of the whole set to the rows and columns to keep, for files without a split.
        on_disk: leave the training items' views in their .npy, HDF5 or Parquet files where these have rows that can
            be read one by one, and the training items are the database or in arrays of their own; their numbers are
            looked at when they are read, see `jaxcmh.train`. With `query` or `train`, of arrays of the whole set only.
    Returns:
        A `Split`; `notes` says what was recognised and decided.
    Raises:
        FileNotFoundError: a file is not there.
        ValueError: naming file and key of what is missing, damaged, misaligned, not finite, or no label.
    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/pairs.npz", pixels=np.eye(40), text=np.eye(40)[:, :9], labels=np.arange(40) % 4)
        ...     split = load_files(f"{folder}/pairs.npz", keys={"all.image": "pixels"}, query=0.25)
        >>> [view.shape for view in split.train.views], split.query.labels.shape
        ([(30, 40), (30, 9)], (10, 4))
    """
    files = files_of(paths)
    recognised, facts = recognise_all(files, keys)
    for array in recognised.unused:
        if not array.usable and ROLES.get(normal_key(array), "") not in ("", *recognised.chosen):
            raise MissingArrayError(f"{_where(array)}: holds {array.dtype}, expected numbers")
    name = name or Path(paths if isinstance(paths, str | Path) else files[0]).name
    notes = [f"layout: {'; '.join(recognised.layouts) or 'as named by keys'}"]
    notes += [
        f"{array.key} is not used, {recognised.chosen[role].key} is {role}"
        for role, arrays in recognised.spare.items()
        for array in arrays
    ]
    parts = {part: _group(recognised, part) for part in (*PARTS, "valid", "all")}
    if parts["valid"]:
        notes.append(f"validation rows ({', '.join(a.key for a in parts['valid'].values())}) are not used")
    if any(_views(parts[part]) for part in PARTS):
        split = _from_parts(recognised, parts, halves, on_disk and query is None and train is None)
    else:
        pictures = facts["items"].get("pictures", []) if facts else []
        split = _from_whole(recognised, parts, halves, select, query, train, seed, pictures, on_disk)
        query = train = None
    split = split._replace(name=name, notes=(*notes, *split.notes))
    if facts:
        split = split._replace(
            label_names=tuple(facts["label_names"]),
            items=Items(**_items(facts["items"], split)),
            makers=tuple(Maker(maker["kind"], tuple(maker["vocabulary"])) for maker in facts["makers"]),
        )
    return split if query is None and train is None else resplit(split, query, train, seed)


def _items(items: dict[str, list[str]], split: Split) -> dict[str, list[str]]:
    """Names, texts and pictures of a file of `save_split`, one of each for every row."""
    n = len(np.unique(np.concatenate([part.ids for part in split[:3]])))
    for field, values in items.items():
        if len(values) != n:
            raise ValueError(f"{split.name}: jaxcmh: expected {n} {field}, got {len(values)}")
    return items


def recognise_all(files: Sequence[Path], keys: Mapping[str, str] | None) -> tuple[Recognised, dict[str, Any] | None]:
    """What `recognise` finds, also in a file of `save_split`; and what that wrote beside the arrays."""
    recognised = recognise(files, keys)
    array = next((a for a in recognised.unused if a.key == "jaxcmh" and a.dtype == "uint8"), None)
    if array is None:
        return recognised, None
    try:
        facts = json_value(_read(array).tobytes())
        known = facts["format"] == 1 and _known(
            facts, [a.key for a in recognised.unused + list(recognised.chosen.values())]
        )
    except (ValueError, TypeError, KeyError):
        known = False
    if not known:
        raise ValueError(f"{_where(array)}: damaged, or written by a later jaxcmh")
    recognised = recognise(files, {**{f"all.{view}": f"view.{view}" for view in facts["views"]}, **(keys or {})})
    return recognised._replace(unused=[a for a in recognised.unused if a.key != array.key]), facts


def _known(facts: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether the facts that `save_split` wrote have the types that it gives them, and name views that are there."""

    def texts(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(text, str) for text in value)

    items, makers = facts["items"], facts["makers"]
    return (
        isinstance(items, dict)
        and all(map(texts, (facts["views"], facts["label_names"], *items.values())))
        and all(view and f"view.{view}" in names for view in facts["views"])
        and set(items) <= set(Items._fields)
        and all(maker["kind"] in KINDS and texts(maker["vocabulary"]) for maker in makers)
        and len(makers) in (0, len(facts["views"]))
    )


# -- what is there ----------------------------------------------------------------------------------------------------


def _group(recognised: Recognised, part: str) -> dict[str, Stored]:
    """Kind -> array of one part; image first, then text."""
    group = {role.partition(".")[2]: a for role, a in recognised.chosen.items() if role.startswith(f"{part}.")}
    return {kind: group[kind] for kind in sorted(group, key=lambda kind: (kind != "image", kind != "text"))}


def _views(group: Mapping[str, Any]) -> list[str]:
    return [kind for kind in group if kind not in NO_VIEW]


class MissingArrayError(ValueError):
    """Files of a data set lack an array it cannot do without."""


def _missing(recognised: Recognised, role: str) -> MissingArrayError:
    """The error for a role that no array has, with what there is."""
    files = ", ".join(dict.fromkeys(str(a.file) for a in [*recognised.chosen.values(), *recognised.unused]))
    known = ", ".join(key for key, other in ROLES.items() if other == role)
    has = ", ".join(f"{a.key} = {role}" for role, a in recognised.chosen.items()) or "nothing"
    others = f"; not recognised: {', '.join(a.key for a in recognised.unused)}" if recognised.unused else ""
    return MissingArrayError(
        f"{files}: no {role} (such as {known or role}); recognised: {has}{others}; name it by keys={{'{role}': ...}}"
    )


# -- arrays -----------------------------------------------------------------------------------------------------------


def _where(array: Stored) -> str:
    return f"{array.file}: {array.key}"


def written(shape: tuple[int, ...]) -> str:
    """A shape in words, with a question mark for what is not known before reading."""
    return " x ".join(str(d) if d >= 0 else "?" for d in shape)


def _aligned(group: Mapping[str, Stored]) -> dict[str, Stored]:
    """The arrays of one part, turned round where HDF5 left that open, so that all have equally many rows."""
    for kind, array in group.items():
        if len(array.shape) == 4:
            raise ValueError(f"{_where(array)}: {written(array.shape)} are pictures, not features")
        if len(array.shape) != 2 and not (kind in NO_VIEW and len(array.shape) == 1):
            raise ValueError(f"{_where(array)}: expected items x features, got {written(array.shape)}")
        if 0 in array.shape:
            raise ValueError(f"{_where(array)}: is empty ({written(array.shape)})")

    def possible(kind: str, array: Stored) -> tuple[int, ...]:
        if kind in NO_VIEW and (len(array.shape) == 1 or 1 in array.shape):
            return (max(array.shape),)  # class numbers in a row or in a column
        return array.shape if array.turn else array.shape[:1]

    rows = {kind: possible(kind, array) for kind, array in group.items()}
    n = next(iter(rows.values()))[0]
    if any(lengths[0] != n for lengths in rows.values()):
        common = set.intersection(*map(set, rows.values()))
        if len(common) != 1:
            raise _misaligned(group, rows)
        n = common.pop()
    return {kind: a if rows[kind][0] == n else turned(a) for kind, a in group.items()}


def _misaligned(group: Mapping[str, Stored], rows: Mapping[str, tuple[int, ...]]) -> ValueError:
    counts = [lengths[0] for lengths in rows.values()]
    usual = max(set(counts), key=counts.count)
    sizes = ", ".join(f"{array.key} {written(array.shape)}" for array in group.values())
    odd = next(array for kind, array in group.items() if rows[kind][0] != usual)
    hint = "; its items seem to lie in columns: transpose it" if odd.shape[-1] == usual else ""
    return ValueError(f"{_where(odd)}: expected {usual} rows like the other arrays ({sizes}){hint}")


def _read(array: Stored, pieces: Sequence[np.ndarray] = ()) -> Any:
    """An array, all of its values finite; or a list of some of its rows, one (ascending) choice of rows a piece.

    The pieces, the last of which is the largest, are laid out as the array is.
    """
    if not array.usable:
        raise ValueError(f"{_where(array)}: holds {array.dtype}, expected numbers")
    if array.blocks:
        outs, finite = _read_blocks(array, array.blocks, pieces)
        if not finite:
            raise _not_finite(array, _read_blocks(array, array.blocks, ())[0][0])
        return outs if pieces else outs[0]
    value: Any = _native(array.read() if array.read else None)
    stored: Any = value.data if sparse.issparse(value) else value
    if stored.dtype.kind not in "biuf":
        raise ValueError(f"{_where(array)}: holds {stored.dtype}, expected numbers")
    if not _finite(stored):
        raise _not_finite(array, value)
    return _rows_of(value, pieces) if pieces else value


def _read_all(arrays: Sequence[Stored], pieces: Sequence[np.ndarray] = ()) -> list[Any]:
    """`_read` of several arrays, those of plain numbers at the same time."""
    at_once = len(arrays) if all(array.blocks for array in arrays) else 1
    with ThreadPoolExecutor(max(1, at_once)) as pool:
        return list(pool.map(lambda array: _read(array, pieces), arrays))


def _native(array: Any) -> Any:
    """In this machine's byte order: jax takes no other."""
    return array if sparse.issparse(array) or array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _finite(numbers: np.ndarray) -> bool:
    """A sum of squares is finite only if all values are; where it overflows, they are looked at one by one."""
    flat = numbers.ravel(order="K")
    with np.errstate(over="ignore"):
        return numbers.dtype.kind != "f" or bool(np.isfinite(np.dot(flat, flat)) or np.isfinite(flat).all())


def _not_finite(array: Stored, value: Any, numbers: Any = None) -> ValueError:
    """The error for values of an array, all of its rows or those of these numbers."""
    if sparse.issparse(value):
        return ValueError(f"{_where(array)}: {(~np.isfinite(value.data)).sum()} values are not finite")
    wrong = ~np.isfinite(value)
    row = np.flatnonzero(wrong.reshape(len(wrong), -1).any(1))[0]
    row = row if numbers is None else numbers[row]
    return ValueError(f"{_where(array)}: {wrong.sum()} values are not finite, the first in row {row}")


def _read_blocks(
    array: Stored, blocks: Callable[..., Blocks], pieces: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], bool]:
    """The rows of each piece, or all rows where there is none; and whether all values are finite.

    Rows are picked from each block while it is in the processor's cache, and nothing is in memory twice.
    """
    columns = array.outer == 1 and len(array.shape) == 2
    shape = array.shape[::-1] if columns else array.shape
    kinds: list[tuple[int, ...]]
    kinds = [(shape[0], len(rows)) if columns else (len(rows), *shape[1:]) for rows in pieces] or [shape]
    outs = [np.empty(kind, array.dtype) for kind in kinds]

    def read(strand: int) -> bool:
        finite = True
        for start, block in blocks(None if pieces else outs[0], strand):
            finite = finite and _finite(block)
            stop = start + len(block)
            for out, rows in zip(outs, pieces):
                if columns:
                    np.take(block, rows, axis=1, out=out[start:stop], mode="clip")
                else:
                    low, high = np.searchsorted(rows, [start, stop])
                    np.take(block, rows[low:high] - start, axis=0, out=out[low:high], mode="clip")
        return finite

    with ThreadPoolExecutor(array.strands) as pool:
        finite = all(list(pool.map(read, range(array.strands))))
    return [_native(out.T if columns else out) for out in outs], finite


def _rows_of(array: Any, pieces: Sequence[np.ndarray]) -> list[Any]:
    """Some rows of an array that is not needed any more: all pieces but the last are copied, that one is moved."""
    if sparse.issparse(array):
        return [array[rows] for rows in pieces]
    copied = [np.take(array.T, rows, axis=1).T if array.flags.f_contiguous else array[rows] for rows in pieces[:-1]]
    return [*copied, _kept(array, pieces[-1])]


def _labels(group: Mapping[str, Stored], n: int) -> np.ndarray:
    """Labels of one part as (n, c), or (n, 1) class numbers."""
    stored = group["labels"]
    value = _read(stored._replace(read=stored.classes) if stored.classes else stored)
    if sparse.issparse(value):
        if value.shape[1] > MOST_CLASSES:
            raise ValueError(f"{_where(stored)}: expected at most {MOST_CLASSES:,} classes, got {value.shape[1]:,}")
        value = value.todense()
    value = np.asarray(value)
    value = value.reshape(n, -1)
    if "labels2" in group and not np.array_equal(value, np.asarray(_read(group["labels2"])).reshape(value.shape)):
        raise ValueError(f"{_where(group['labels2'])}: differs from {stored.key}: images and texts are not pairs")
    return value


def _zero_one(labels: Mapping[str, np.ndarray], stored: Mapping[str, Stored]) -> dict[str, np.ndarray]:
    """The labels of all parts as 0/1 (n, c) uint8."""
    first = next(iter(labels.values()))
    for part, value in labels.items():
        if value.shape[1] != first.shape[1]:
            raise ValueError(
                f"{_where(stored[part])}: expected {first.shape[1]} columns as in the other parts, got {value.shape[1]}"
            )
        if first.shape[1] == 1 and ((value != value.astype(np.int64)).any() or value.min() < 0):
            raise ValueError(
                f"{_where(stored[part])}: expected class numbers from 0 or 1, got {value.min()} to {value.max()}"
            )
        if first.shape[1] > 1 and not ((value == 0) | (value == 1)).all():
            raise ValueError(f"{_where(stored[part])}: expected 0 or 1, got values from {value.min()} to {value.max()}")
    if first.shape[1] == 1:
        base = min(1, *(int(value.min()) for value in labels.values()))
        classes = max(int(value.max()) for value in labels.values()) + 1 - base
        if classes > min(MOST_CLASSES, sum(map(len, labels.values()))):
            where = _where(next(iter(stored.values())))
            raise ValueError(f"{where}: expected class numbers, got numbers up to {classes - 1 + base}, more than rows")
        result = {part: one_hot(value.ravel().astype(np.int64) - base, classes) for part, value in labels.items()}
    else:
        result = {part: value.astype(np.uint8) for part, value in labels.items()}
    part, trained = next(iter(result.items()))
    if not trained.any():
        raise ValueError(f"{_where(stored[part])}: no row has a label")
    if len(trained) > 1 and (trained == trained[0]).all():
        raise ValueError(f"{_where(stored[part])}: all rows have the same labels: there is nothing to tell apart")
    return result


# -- the two ways of being split --------------------------------------------------------------------------------------


def _kinds(
    recognised: Recognised, groups: Mapping[str, dict[str, Stored]], first: str, halves: str | None
) -> list[str]:
    """The view kinds that every part must have."""
    kinds = list(dict.fromkeys(kind for group in groups.values() for kind in _views(group)))
    if halves is not None:
        kinds = [halves]
    elif len(kinds) < 2:
        raise _missing(recognised, f"{first}.{'text' if 'text' not in kinds else 'image'}")
    for part, group in groups.items():
        for kind in [*kinds, "labels"]:
            if kind not in group:
                raise _missing(recognised, f"{part}.{kind}")
    return kinds


def _halved(views: list[Any], kinds: list[str], halves: str | None) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    if halves is None:
        return tuple(views), tuple(kinds)
    even, odd = (v if sparse.issparse(v) else np.ascontiguousarray(v) for v in (views[0][:, 0::2], views[0][:, 1::2]))
    return (even, odd), (f"{halves}, even columns", f"{halves}, odd columns")


def _left(array: Stored) -> Any:
    """An array (n, d) that lies row by row in a .npy, HDF5 or Parquet file, left there; else None."""
    left = stored_rows.rows(array.file, array.place) if array.place is not None and len(array.shape) == 2 else None
    return left if left is not None and left.dtype.isnative else None


def _picked(array: Stored, left: Any, chosen: np.ndarray) -> np.ndarray:
    """Some rows of an array that is left in its file, all of their values finite."""
    values = stored_rows.picked(left, chosen)
    if not _finite(values):
        raise _not_finite(array, values, chosen)
    return values


def _from_parts(
    recognised: Recognised, parts: Mapping[str, dict[str, Stored]], halves: str | None, on_disk: bool
) -> Split:
    """Files with an array for every part. Without a database the training rows are it, and the other way round."""
    trained = "train" if _views(parts["train"]) else "database"
    groups = {part: parts[part] for part in dict.fromkeys((trained, "query", *PARTS)) if parts[part] or part == "query"}
    kinds = _kinds(recognised, groups, trained, halves)
    groups = {part: _aligned(group) for part, group in groups.items()}
    for kind in kinds:
        for group in groups.values():
            if group[kind].shape[1] != groups[trained][kind].shape[1]:
                usual = f"{groups[trained][kind].shape[1]} columns as in {groups[trained][kind].key}"
                raise ValueError(f"{_where(group[kind])}: expected {usual}, got {group[kind].shape[1]}")
    views: dict[str, list[Any]] = {}
    for part, group in groups.items():
        left = [_left(group[kind]) if on_disk and part == trained and not halves else None for kind in kinds]
        read = iter(_read_all([group[kind] for kind, view in zip(kinds, left) if view is None]))
        views[part] = [next(read) if view is None else view for view in left]
    raw = {part: _labels(group, views[part][0].shape[0]) for part, group in groups.items()}
    labels = _zero_one(raw, {part: group["labels"] for part, group in groups.items()})
    made, start, names = {}, 0, ()
    for part in PARTS:
        if part in groups:
            n = len(labels[part])
            cut, names = _halved(views[part], kinds, halves)
            made[part] = Part(cut, labels[part], np.arange(start, start + n))
            start += n
    note = "the training rows are the database" if trained == "train" else "the whole database is trained on"
    database = made.get("database", made[trained])
    return Split(made[trained], made["query"], database, "", names, notes=() if len(made) == 3 else (note,))


def _from_whole(
    recognised: Recognised,
    parts: Mapping[str, dict[str, Stored]],
    halves: str | None,
    select: Callable[[Any, np.ndarray], Selection] | None,
    query: float | None,
    train: int | None,
    seed: int,
    pictures: Sequence[str],
    on_disk: bool,
) -> Split:
    """Files with the whole set in one array a kind, with or without a list of which rows belong where.

    Rows of one of the `pictures`, where these are known, stay together in a random split.
    """
    kinds = _kinds(recognised, {"all": parts["all"]}, "all", halves)
    group = _aligned(parts["all"])
    n = group[kinds[0]].shape[0]
    labels = _zero_one({"all": _labels(group, n)}, {"all": group["labels"]})["all"]
    kept, notes, text = np.arange(n), [], None
    if query is None and train is None and ("rows" in parts["train"] or "split" in group):
        rows = _named_rows(group["split"]) if "split" in group else _numbered_rows(recognised, parts, n)
    else:
        if select and "text" in kinds:
            text = _read(group["text"])
            selection = select(text, labels)
            kept, labels, text = kept[selection.rows], labels[:, selection.labels], text[:, selection.text]
            notes.append(selection.note)
        groups = np.array(pictures)[kept] if len(pictures) == n else kept
        tenth = min(2000, max(1, len(np.unique(groups)) // 10))
        rows = random_groups(groups, tenth if query is None else query, train, seed)
        notes.append(f"random split with seed {seed}: {len(rows[0])} queries, {len(rows[1])} to train on")
    query_rows, train_rows, rest = (np.sort(kept[r]) for r in rows)
    database_rows = np.sort(np.concatenate([train_rows, rest]))
    pieces = query_rows, database_rows
    fresh = [kind for kind in kinds if kind != "text" or text is None]
    left = {kind: _left(group[kind]) if on_disk and not halves and not len(rest) else None for kind in fresh}
    loaded = [kind for kind in fresh if left[kind] is None]
    views = dict(zip(loaded, _read_all([group[kind] for kind in loaded], pieces)))
    for kind in (kind for kind in fresh if left[kind] is not None):
        views[kind] = [_picked(group[kind], left[kind], query_rows), stored_rows.Some(left[kind], database_rows)]
    if text is not None:
        views["text"] = _rows_of(text, pieces)
    (first, names), (second, _) = (_halved([views[kind][i] for kind in kinds], kinds, halves) for i in range(2))
    queries = Part(first, labels[query_rows], query_rows)
    database = Part(second, labels[database_rows], database_rows)
    trained = take(database, np.searchsorted(database_rows, train_rows)) if len(rest) else database
    items = Items(_words(group["names"])) if "names" in group else Items()
    if not len(query_rows):
        queries = trained
        notes.append("no queries but the training items")
    return Split(trained, queries, database, "", names, (), items, (), tuple(notes))


def _words(array: Stored) -> list[str]:
    return [str(text) for text in array.read()] if array.read else []


Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def _named_rows(array: Stored) -> Rows:
    """Query, training and other database rows from a word for every row: train, query (or test), database.

    There need be no queries: the training rows are asked for then.
    """
    words = np.array(["query" if word == "test" else word for word in _words(array)])
    used = set(words.tolist())
    if not {"train"} <= used <= set(PARTS):
        raise ValueError(
            f"{_where(array)}: expected train, query (or test) and database, got {', '.join(sorted(used))}"
        )
    return np.flatnonzero(words == "query"), np.flatnonzero(words == "train"), np.flatnonzero(words == "database")


def _numbered_rows(recognised: Recognised, parts: Mapping[str, dict[str, Stored]], n: int) -> Rows:
    """Query and training rows from index lists counted from 1 (from 0 if a 0 occurs)."""
    if "rows" not in parts["query"]:
        raise _missing(recognised, "query.rows")
    lists = {part: np.asarray(_read(parts[part]["rows"])).ravel().astype(np.int64) for part in ("query", "train")}
    both = np.concatenate(list(lists.values()))
    base = min(1, int(both.min()))
    if base < 0 or both.max() - base >= n or len(np.unique(both)) != len(both):
        where = _where(parts["train"]["rows"])
        raise ValueError(f"{where}: expected the rows 1..{n}, each at most once in both lists together")
    return lists["query"] - base, lists["train"] - base, np.array([], np.int64)


def _kept(array: Any, rows: np.ndarray) -> Any:
    """Some rows, ascending, of an array that is not needed any more: moved to its front, as two may not fit."""
    if sparse.issparse(array):
        return array[rows]
    if not array.flags.writeable:
        array = array.copy()
    if array.flags.f_contiguous:
        taken = np.empty(len(rows), array.dtype)
        for column in array.T:
            column[: len(rows)] = np.take(column, rows, out=taken, mode="clip")
    else:
        for start in range(0, len(rows), 2048):
            array[start : start + 2048][: len(rows) - start] = array[rows[start : start + 2048]]
    return array[: len(rows)]
