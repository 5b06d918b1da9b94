"""What a data set or some files hold, and what looks wrong about them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from scipy import sparse

from jaxcmh.checks import PathLike, checked, filled

from .identity import chance, data_hash, split_hash
from .layouts import files_of
from .reading import load_files, recognise_all, written
from .split import Part, Split, parts_of

SHOWN = 5  # examples named in a remark


@checked
def inspect_files(
    paths: PathLike | Annotated[Sequence[PathLike], filled], keys: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Say what was recognised in data files, without failing where they are no data set.

    Args:
        paths: a file, a folder of files, or several files.
        keys: see `load_files`.
    Returns:
        JSON types: "files", "layout", "arrays" (what each array is), and either "problem" (why this is no data set) or
        "parts", "labels", "suspicious", "notes", "data hash" and "split hash".
    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file cannot be read at all, or `keys` does not fit.
    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/pairs.npz", image=np.eye(40), text=np.eye(40)[:, :9], labels=np.arange(40) % 4)
        ...     facts = inspect_files(f"{folder}/pairs.npz")
        >>> facts["parts"]
        {'train': '36 rows, 40 x float64, 9 x float64', 'query': '4 rows, 40 x float64, 9 x float64'}
    """
    files = files_of(paths)
    recognised, _ = recognise_all(files, keys)
    roles = {(a.file, a.key): role for role, a in recognised.chosen.items()}
    roles |= {(a.file, a.key): f"{role}, not used" for role, arrays in recognised.spare.items() for a in arrays}
    every = sorted(
        [*recognised.chosen.values(), *(a for s in recognised.spare.values() for a in s), *recognised.unused]
    )
    several = len(files) > 1
    report: dict[str, Any] = {
        "files": [f"{path} ({path.stat().st_size:,} bytes)" for path in files],
        "layout": list(recognised.layouts) or ["none that is known"],
        "arrays": {
            f"{a.file.name}: {a.key}" if several else a.key: f"{written(a.shape)} {a.dtype}, "
            + roles.get((a.file, a.key), "not recognised" if a.usable else "nothing to compute with")
            for a in every
        },
    }
    try:
        split = load_files(paths, keys=keys)
    except ValueError as error:
        return {**report, "problem": str(error)}
    return {**report, **describe(split), "suspicious": suspicions(split) or ["nothing"]}


@checked
def describe(split: Split) -> dict[str, Any]:
    """Parts, views, labels and hashes of a data set, as JSON types.

    Example:
        >>> import jaxcmh
        >>> facts = describe(jaxcmh.load_dataset("synthetic", train=60, query=10))
        >>> sorted(facts)
        ['chance mAP', 'classes', 'data hash', 'labels', 'notes', 'parts', 'split hash']
    """
    counts, sizes = split.train.labels.sum(1, dtype=int), split.train.labels.sum(0, dtype=int)
    order, names = np.argsort(-sizes, kind="stable").tolist(), split.label_names or tuple(map(str, range(len(sizes))))
    shown = {"classes": order} if len(order) <= 2 * SHOWN else {}
    shown = shown or {"largest classes": order[:SHOWN], "smallest classes": order[-SHOWN:]}
    return {
        "parts": {
            name: f"{len(part.ids):,} rows, " + ", ".join(f"{v.shape[1]:,} x {v.dtype}" for v in part.views)
            for name, part in parts_of(split).items()
        },
        "labels": f"{len(sizes)} classes, {counts.mean():.2f} per row ({counts.min()} to {counts.max()})",
        **{title: {names[c]: int(sizes[c]) for c in classes} for title, classes in shown.items()},
        "notes": list(split.notes),
        "chance mAP": round(chance(split.query.labels, split.database.labels), 4),
        "data hash": data_hash(split),
        "split hash": split_hash(split),
    }


@checked
def suspicions(split: Split) -> list[str]:
    """What looks wrong about a data set, in one sentence each; an empty list when nothing does.

    Constant features, empty rows, rows and classes without labels, duplicates, queries that also are in the database.

    >>> from jaxcmh.datasets import Part
    >>> part = Part((np.eye(3), np.eye(3)[:, ::-1]), np.eye(3, dtype=np.uint8), np.arange(3))
    >>> for line in suspicions(Split(part, part, part)):
    ...     print(line)
    3 of 3 queries also are in the database, the first are rows 0, 1, 2
    """
    names = split.view_names or tuple(f"view {m}" for m in range(len(split.train.views)))
    doubts = []
    for name, view in zip(names, split.train.views):
        constant = np.flatnonzero(_constant(view))
        if constant.size:
            doubts.append(f"train: {name} has {_some(constant, 'constant column')}")
    keys = {}
    for part_name, part in parts_of(split).items():
        for name, view in zip(names, part.views):
            empty = np.flatnonzero(np.asarray((view != 0).sum(1)).ravel() == 0)
            if empty.size:
                doubts.append(f"{part_name}: {name} has {_some(empty, 'empty row')}")
        bare = np.flatnonzero(~part.labels.any(1))
        if bare.size:
            doubts.append(f"{part_name}: {_some(bare, 'row')} without a label")
        keys[part_name] = _row_keys(part)
        _, first, times = np.unique(keys[part_name], return_index=True, return_counts=True)
        if len(first) < len(part.ids) and part_name != "query":
            doubts.append(f"{part_name}: {_some(np.sort(first[times > 1]), 'row')} with duplicates, equal in all views")
    absent = np.flatnonzero(~split.train.labels.any(0))
    if absent.size:
        doubts.append(f"train: {_some(absent, 'class')} without any row")
    if (split.train.labels == 1).all(0).any():
        doubts.append("train: a class that every row has")
    shared = np.isin(keys["query"], keys.get("database", keys["train"]))
    if shared.any():
        rows = ", ".join(map(str, np.flatnonzero(shared)[:SHOWN]))
        doubts.append(f"{shared.sum()} of {len(shared)} queries also are in the database, the first are rows {rows}")
    return doubts


def _some(rows: np.ndarray, noun: str) -> str:
    plural = noun if len(rows) == 1 else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{len(rows)} {plural}: {', '.join(map(str, rows[:SHOWN]))}{', ...' if len(rows) > SHOWN else ''}"


def _constant(view: Any) -> np.ndarray:
    if sparse.issparse(view):
        view = view.tocsc()
        return (view.max(0) - view.min(0)).toarray().ravel() == 0
    return view.max(0) == view.min(0)


def _row_keys(part: Part) -> np.ndarray:
    """One number per row, equal where all views are equal. Good within one process only."""
    keys = np.zeros(len(part.ids), np.int64)
    for view in part.views:
        if sparse.issparse(view):
            view = view.sorted_indices()
            bounds = list(zip(view.indptr[:-1], view.indptr[1:]))
            rows = (view.data[a:b].tobytes() + view.indices[a:b].tobytes() for a, b in bounds)
        else:
            rows = (row.tobytes() for row in view)
        keys = np.fromiter((hash((int(key), row)) for key, row in zip(keys, rows)), np.int64, len(keys))
    return keys
