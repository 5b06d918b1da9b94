"""Rankings and relevance in the files of TREC, for trec_eval, ir-measures and whatever else reads them."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcmh import store
from jaxcmh.checks import Count, PathLike, checked
from jaxcmh.datasets import Split
from jaxcmh.datasets.identity import kinds
from jaxcmh.learning.encoders import of_view
from jaxcmh.model import Model, directions, encode, search

BLOCK = 256  # queries per search


@checked
def export(
    folder: PathLike,
    model: Model,
    split: Split,
    *,
    database: str = "learned",
    depth: Count | None = None,
    say: Callable[[str], Any] = lambda _: None,
) -> list[Path]:
    """Write DIRECTION.run and DIRECTION.qrels for every direction between two views.

    Rankings are in the order of distance, ties in database order, and scores fall by one from rank to rank, so that
    every program sees the same order: its average precision is that of `ties="stable"`. A query is named by its id, an
    item by its place in the database: an id may stand for both a query and an item.

    Args:
        folder: a new folder for the files.
        model: a trained model.
        split: what `load_dataset` returned; what the model was trained on, or other data with the same views.
        database: "learned", "encoded" or "held_out", as in `jaxcmh.evaluate`.
        depth: answers per query; the whole database if None.
        say: called with what is being done.
    Returns:
        The paths written.
    Raises:
        FileExistsError: the folder is there already.
        ValueError: the split does not allow this kind of database codes, or a depth below 1.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in export(f"{folder}/trec", outcome.model, split, depth=5)]
        ['i2t.run', 'i2t.qrels', 't2i.run', 't2i.qrels']
    """
    if database not in kinds(split):
        raise ValueError(f"database: this data set allows {' and '.join(kinds(split))} codes; got {database!r}")
    n = len(split.database.labels)
    if depth is not None and not 1 <= depth <= n:
        raise ValueError(f"depth: expected 1 to {n}, the size of the database; got {depth}")
    folder = Path(folder)
    written = []
    with store.folder(folder) as place:
        for direction, (query, answer) in directions(len(model.info.dims)).items():
            say(direction)
            codes = _database(model, split, database, answer)
            name = direction.replace("->", "-")
            with open(place / f"{name}.run", "w", encoding="utf-8") as file:
                file.writelines(_run(model, split, codes, query, depth or n))
            with open(place / f"{name}.qrels", "w", encoding="utf-8") as file:
                file.writelines(_qrels(split))
            written += [folder / f"{name}.run", folder / f"{name}.qrels"]
    return written


def _database(model: Any, split: Any, kind: str, view: int) -> Any:
    if kind == "learned":
        return of_view(model.codes, view)
    if split.database is split.train:
        return model.encoded[view]
    return encode(model, split.database.views[view], view)


def _run(model: Any, split: Any, codes: Any, view: int, depth: int) -> Iterator[str]:
    searched = dataclasses.replace(model, codes=np.asarray(codes))
    tag = f"{model.info.method}-{model.info.bits}"
    for begin in range(0, len(split.query.ids), BLOCK):
        _, ids = search(searched, split.query.views[view][begin : begin + BLOCK], view, depth)
        for query, row in zip(split.query.ids[begin : begin + BLOCK], np.asarray(ids).tolist()):
            for rank, item in enumerate(row, 1):
                yield f"{query} Q0 {item} {rank} {depth - rank} {tag}\n"


def _qrels(split: Any) -> Iterator[str]:
    labels = np.asarray(split.database.labels, np.float32).T
    for query, own in zip(split.query.ids, np.asarray(split.query.labels, np.float32)):
        for item in np.flatnonzero(own @ labels > 0).tolist():
            yield f"{query} 0 {item} 1\n"
