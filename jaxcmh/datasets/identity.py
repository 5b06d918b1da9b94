"""What tells data sets apart, and what a random order scores on them: hashes, chance, kinds of database codes."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np

from jaxcmh.checks import Shares, checked, classes, is_read
from jaxcmh.store import digest

from .split import Split

Database = Literal["learned", "encoded", "held_out"]
AnyLabels = Annotated[Any, partial(classes, some=False)]


@checked
def data_hash(split: Split) -> str:
    """16 hex digits over every view, label and id of the split's three parts, in their order.

    Example:
        >>> import jaxcmh
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> len(data_hash(split)), data_hash(split) == data_hash(split._replace(query=split.train))
        (16, False)
    """
    arrays: list[Any] = []
    for part in (split.train, split.query, split.database):
        for view in part.views:
            if hasattr(view, "tocsr"):
                view = view.tocsr().sorted_indices()
                arrays += [view.data, view.indices.astype(np.int64), view.indptr.astype(np.int64), view.shape]
            else:
                arrays.append(view)
        arrays += [part.labels, part.ids]
    return _digest(arrays)


@checked
def split_hash(split: Split) -> str:
    """16 hex digits over which items (ids) are training, query and database rows, in their order.

    Example:
        >>> import jaxcmh
        >>> split, other = (jaxcmh.load_dataset("synthetic", train=60, query=10, seed=seed) for seed in (0, 1))
        >>> split_hash(split) == split_hash(other)  # other numbers, but the same rows are queries
        True
    """
    return _digest(part.ids for part in (split.train, split.query, split.database))


def _digest(values: Iterable[Any]) -> str:
    arrays = map(_numbers, values)
    return digest((f"{array.dtype.str}{array.shape}", array) for array in arrays)[:16]


def _numbers(value: Any) -> np.ndarray:
    """The array itself; ids may be strings, which are told apart by content, whatever their padding."""
    array = value if is_read(value) else np.ascontiguousarray(value)
    if array.dtype.kind not in "OU":
        return array
    return np.frombuffer("\0".join(map(str, array.ravel().tolist())).encode(), np.uint8)


@checked
def chance(query_labels: AnyLabels, database_labels: AnyLabels) -> float:
    """Mean share of the database that is relevant to a query, over queries with a relevant item: mAP of a random order.

    Args:
        query_labels: (n_q, c) 0/1, or (n_q,) classes.
        database_labels: (n, c) or (n,), of the same kind.

    >>> chance(np.eye(2), np.eye(2))
    0.5
    """
    return mean_share(relevant_share(query_labels, database_labels))


@checked
def mean_share(share: Shares) -> float:
    """`chance`, from what `relevant_share` returned.

    Example:
        >>> mean_share([0.5, 0.25, 0.0])
        0.375
    """
    some = [one for one in share if one > 0]
    return float(np.mean(some)) if some else 0.0


@checked
def relevant_share(query_labels: AnyLabels, database_labels: AnyLabels) -> np.ndarray:
    """(n_q,) the share of the database that is relevant to each query; arguments as for `chance`.

    >>> relevant_share(np.eye(2), [[1, 0], [1, 0]]).tolist()
    [1.0, 0.0]
    """
    if query_labels.shape[1:] != database_labels.shape[1:]:
        shapes = f"{query_labels.shape} and {database_labels.shape}"
        raise ValueError(f"query_labels: expected the same classes as database_labels; got shapes {shapes}")
    if query_labels.ndim == 1:
        return np.concatenate([(some[:, None] == database_labels).mean(1) for some in _blocks(query_labels)])
    database = np.asarray(database_labels, np.float32).T
    return np.concatenate([(some @ database > 0).mean(1) for some in _blocks(query_labels.astype(np.float32))])


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[i : i + 256] for i in range(0, len(rows), 256))


@checked
def kinds(split: Split) -> tuple[Database, ...]:
    """The kinds of database codes a split allows: learned and encoded where the training set is the database.

    A database that is not the training set but shares items with it is called encoded, for its items are not all
    unseen.

    Example:
        >>> import jaxcmh
        >>> kinds(jaxcmh.load_dataset("synthetic", train=60, query=10))
        ('learned', 'encoded')
    """
    if split.database is split.train:
        return "learned", "encoded"
    return ("held_out",) if not np.isin(split.database.ids, split.train.ids).any() else ("encoded",)
