"""Rankings and relevance in the files of TREC, for trec_eval, ir-measures and whatever else reads them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcmh import index, store
from jaxcmh.checks import Count, PathLike, checked
from jaxcmh.datasets import Split
from jaxcmh.datasets.identity import Database, kinds
from jaxcmh.model import Model, among, directions, encode, query_vectors
from jaxcmh.results.runs import Run, Searched, searched

BLOCK = 256  # queries per search


@checked
def export(
    folder: PathLike,
    model: Model,
    source: Split | Run,
    *,
    database: Database = "learned",
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
        source: the model's run, from `read_run`, which keeps its queries and labels; or what `load_dataset` returned,
            what the model was trained on or other data with the same views.
        database: "learned", "encoded" or "held_out", as in `jaxcmh.evaluate`.
        depth: answers per query; the whole database if None.
        say: called with what is being done.
    Returns:
        The paths written.
    Raises:
        FileExistsError: the folder is there already.
        ValueError: the data do not allow this kind of database codes, the run keeps no labels (of version 0.1.0), or a
            depth below 1 or beyond the database.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in export(f"{folder}/trec", outcome.model, split, depth=5)]
        ['i2t.run', 'i2t.qrels', 't2i.run', 't2i.qrels']
    """
    found = searched(source, model, database) if isinstance(source, Run) else _of_split(model, source, database)
    n = len(found.labels)
    if depth is not None and not 1 <= depth <= n:
        raise ValueError(f"depth: expected 1 to {n}, the size of the database; got {depth}")
    folder = Path(folder)
    written = []
    with store.folder(folder) as place:
        for direction, (query, answer) in directions(len(model.info.dims)).items():
            say(direction)
            name = direction.replace("->", "-")
            with open(place / f"{name}.run", "w", encoding="utf-8") as file:
                file.writelines(_run(model, found.ids, found.queries[query], found.items[answer], depth or n))
            with open(place / f"{name}.qrels", "w", encoding="utf-8") as file:
                file.writelines(_qrels(found))
            written += [folder / f"{name}.run", folder / f"{name}.qrels"]
    return written


def _of_split(model: Model, split: Split, kind: Any) -> Searched:
    """What `runs.searched` gives, from the data."""
    if kind not in kinds(split):
        raise ValueError(f"database: this data set allows {' and '.join(kinds(split))} codes; got {kind!r}")
    views = range(len(model.maps))
    queries = [query_vectors(model, split.query.views[m], m) for m in views]
    if split.database is split.train:
        items = [among(model, kind, m).codes for m in views]
    else:
        items = [encode(model, split.database.views[m], m) for m in views]
    return Searched(split.query.ids, queries, items, split.query.labels, split.database.labels)


def _run(model: Model, ids: np.ndarray, queries: Any, items: Any, depth: int) -> Iterator[str]:
    searched, tag = index.build(items, codebooks=model.codebooks), f"{model.info.method}-{model.info.bits}"
    for begin in range(0, len(ids), BLOCK):
        _, found = index.search(searched, queries[begin : begin + BLOCK], depth)
        for query, row in zip(ids[begin : begin + BLOCK], found.tolist()):
            for rank, item in enumerate(row, 1):
                yield f"{query} Q0 {item} {rank} {depth - rank} {tag}\n"


def _qrels(found: Searched) -> Iterator[str]:
    labels = np.asarray(found.labels, np.float32).T
    for query, own in zip(found.ids, np.asarray(found.query_labels, np.float32)):
        for item in np.flatnonzero(own @ labels > 0).tolist():
            yield f"{query} 0 {item} 1\n"
