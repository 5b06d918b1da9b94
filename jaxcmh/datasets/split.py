"""What a data set is: three parts (training, query, database), each with its views, labels and ids."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from scipy import sparse

from jaxcmh import brief
from jaxcmh.checks import CLASSES, Array, Copies, Count, Positive, Seed, Whole, array, checked, got


def selection(rows: Any, name: str) -> Any:
    """Rows of an array: a slice, or (k,) indices, or a mask."""
    if isinstance(rows, slice):
        return rows
    chosen = array(rows, name)
    if chosen.ndim != 1 or (chosen.dtype.kind not in "iub" and chosen.size):
        raise ValueError(f"{name}: expected indices, a mask, or a slice; got {got(rows)}")
    return chosen if chosen.size else chosen.astype(int)


def matrix(view: Any, name: str) -> Any:
    """A view (n, d), if it is one; its numbers are looked at where it is read."""
    if len(getattr(view, "shape", ())) != 2:
        raise ValueError(f"{name}: expected an array (n, d), rows are samples; got {got(view)}")
    return view


Selection = Annotated[Any, selection]
PARTS = ("train", "query", "database")


class Part(NamedTuple):
    """Some of the items of a data set; row i of every array is the same item.

    Attributes:
        views: one (n, d_m) array per view (modality), NumPy or scipy.sparse CSR.
        labels: (n, c) uint8, 0 or 1.
        ids: (n,) int64, the item's row in the complete data set (and in `Split.items`).

    >>> import jaxcmh
    >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
    >>> part = split.query
    >>> [view.shape for view in part.views], part.labels.shape, part.ids[:3].tolist()
    ([(10, 64), (10, 128)], (10, 10), [60, 61, 62])
    """

    views: tuple[Annotated[Any, matrix], ...]
    labels: np.ndarray
    ids: np.ndarray

    __repr__ = brief.text
    _repr_html_ = brief.table


class Items(NamedTuple):
    """What the rows stand for, to be shown on a page; indexed by `Part.ids`.

    Attributes:
        names: one name per item.
        texts: the text of an item, or nothing.
        pictures: (n, height, width) uint8 grey, paths of picture files, or nothing.

    >>> items = Items(["1.png", "2.png"], ["a dog", "a cat"])
    >>> part = Part((np.eye(2), np.eye(2)), np.eye(2, dtype=np.uint8), np.arange(2))
    >>> [items.texts[i] for i in part.ids[part.labels[:, 1] == 1]]
    ['a cat']
    """

    names: Sequence[str] = ()
    texts: Sequence[str] = ()
    pictures: Any = ()

    __repr__ = brief.text
    _repr_html_ = brief.table


class Maker(NamedTuple):
    """How rows of a view are made from raw objects.

    Attributes:
        kind: "drawing", "photo", "unit-words", "unicode-words", "words", "efficientnet-lite0" or "minilm", see
            `jaxcmh.datasets.raw`.
        vocabulary: of those that go by words.
        steps: preparation after that, see `jaxcmh.datasets.preparation`.

    >>> from jaxcmh.datasets import featurise, synthetic
    >>> makers = Maker("drawing"), Maker("words", ("cat", "dog"))
    >>> split = synthetic(train=60, query=10, dims=(6, 2))._replace(makers=makers)
    >>> featurise(split, "text", ["a dog"]).tolist()
    [[0.0, 1.0]]
    """

    kind: str
    vocabulary: tuple[str, ...] = ()
    steps: tuple[Any, ...] = ()

    __repr__ = brief.text
    _repr_html_ = brief.table


class Split(NamedTuple):
    """A data set cut for retrieval. In the benchmark sets the database is the training part (the same object).

    Attributes:
        train, query, database: the three parts.
        name: what the data set is called in results.
        view_names: one name per view, such as ("image", "text").
        label_names: one name per class, or nothing.
        items: what the rows stand for.
        makers: how the rows of each view were made, or nothing; `jaxcmh.datasets.featurise` makes rows of new objects.
        notes: sentences about how the data were read.

    >>> import jaxcmh
    >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
    >>> split.view_names, split.train.labels.shape, split.query.labels.shape
    (('image', 'text'), (60, 10), (10, 10))
    >>> split.database is split.train
    True
    >>> part = Part((np.eye(2), np.ones((2, 3))), np.eye(2, dtype=np.uint8), np.arange(2))
    >>> Split(train=part, query=part, database=part, name="of my own").query.ids.tolist()
    [0, 1]
    """

    train: Part
    query: Part
    database: Part
    name: str = ""
    view_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    items: Items = Items()
    makers: tuple[Maker, ...] = ()
    notes: tuple[str, ...] = ()

    __repr__ = brief.text
    _repr_html_ = brief.table


def parts_of(split: Split) -> dict[str, Part]:
    """The parts by name; the database only where it is not the training part."""
    parts = {"train": split.train, "query": split.query}
    return parts if split.database is split.train else parts | {"database": split.database}


@checked
def take(part: Part, rows: Selection) -> Part:
    """The part with some of its rows: indices, a mask, or a slice.

    >>> part = Part((np.eye(3),), np.eye(3, dtype=np.uint8), np.arange(3))
    >>> take(part, [2, 0]).ids
    array([2, 0])
    """
    try:
        return Part(tuple(view[rows] for view in part.views), part.labels[rows], part.ids[rows])
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"rows: expected indices, a mask, or a slice of {len(part.ids)} rows ({error})") from None


def join(parts: Sequence[Part]) -> Part:
    """The rows of several parts, one after the other."""
    views = tuple(
        sparse.vstack(columns, format="csr") if sparse.issparse(columns[0]) else np.concatenate(columns)
        for columns in zip(*(part.views for part in parts))
    )
    return Part(views, np.concatenate([p.labels for p in parts]), np.concatenate([p.ids for p in parts]))


def random_rows(n: int, query: float, train: int | None, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a split: which of n rows are queries, which are trained on, and which are in the database only.

    Args:
        n: number of rows.
        query: number of queries, or below 1 their share; 0 for none.
        train: number of training rows; None for all that are no queries.
        seed: the same seed draws the same rows.
    Returns:
        Three ascending index arrays that make up 0..n-1.
    Raises:
        ValueError: more rows asked for than there are.

    >>> [len(rows) for rows in random_rows(100, 0.1, 50, seed=0)]
    [10, 50, 40]
    """
    queries = round(query * n) if 0 < query < 1 else int(query)
    if not 1 <= queries < n and query != 0:
        raise ValueError(f"query: expected 1 to {n - 1} of {n} rows, got {query}")
    trained = n - queries if train is None else train
    if not 1 <= trained <= n - queries:
        raise ValueError(f"train: expected 1 to {n - queries} of the rows that are no queries, got {train}")
    cuts = np.split(np.random.default_rng(seed).permutation(n), [queries, queries + trained])
    return np.sort(cuts[0]), np.sort(cuts[1]), np.sort(cuts[2])


def random_groups(groups: Any, query: float, train: int | None, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a split of groups of rows, such as the pairs of one picture; the rows of a group stay together.

    Args:
        groups: (n,) the group of each row; where every row is one of its own, the split is that of `random_rows`.
        query, train, seed: as for `random_rows`, in groups.
    Returns:
        Three ascending arrays of rows that make up 0..n-1.

    >>> [rows.tolist() for rows in random_groups(["a", "a", "b", "b", "c"], 1, 1, seed=0)]
    [[4], [0, 1], [2, 3]]
    """
    number = _numbered(groups)
    drawn = random_rows(int(number.max(initial=-1)) + 1, query, train, seed)
    queries, trained, others = (np.flatnonzero(np.isin(number, rows)) for rows in drawn)
    return queries, trained, others


def _numbered(groups: Any) -> np.ndarray:
    """Groups numbered as they come."""
    _, first, inverse = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def pictures_of(split: Split, ids: np.ndarray) -> np.ndarray:
    """Which picture items are of, where files of pictures are known; else each item for itself."""
    files = split.items.pictures
    if isinstance(files, np.ndarray) or not len(files):
        return ids
    return np.array([files[i] for i in ids])


@checked
def resplit(split: Split, query: Positive | None = None, train: Count | None = None, seed: Seed = 0) -> Split:
    """Draw the parts of a data set anew.

    Args:
        split: the data set.
        query: how many rows, or below 1 which share of all rows, become queries; None keeps the queries. Where a
            picture has several texts, it is pictures that are counted and drawn, with all of their pairs.
        train: how many of the other rows are trained on; None for all. All of them are the database.
        seed: the same seed draws the same rows.
    Returns:
        The same items, cut differently.
    Raises:
        ValueError: more rows asked for than there are.

    >>> split = resplit(Split(*[Part((np.eye(9),), np.eye(9), np.arange(9) + 9 * i) for i in (0, 1, 0)]), query=4)
    >>> len(split.query.ids), len(split.train.ids)
    (4, 14)
    """
    others = split.database
    outside = ~np.isin(split.train.ids, others.ids)
    if outside.any():
        others = join([take(split.train, outside), others])
    if query is None:
        queries, pool = split.query, others
        groups = _numbered(pictures_of(split, pool.ids))
        most = int(groups.max(initial=-1)) + 1
        number = most if train is None else train
        if not 1 <= number <= most:
            raise ValueError(f"train: expected 1 to {most} of the rows that are no queries, got {train}")
        chosen = np.isin(groups, np.random.default_rng(seed).permutation(most)[:number])
        trained, rest = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    else:
        pool = join([others, split.query])
        pool = take(pool, np.argsort(pool.ids))  # what is drawn must not depend on the split before
        first, trained, rest = random_groups(pictures_of(split, pool.ids), query, train, seed)
        queries = take(pool, first)
    part = take(pool, trained)
    note = f"split drawn anew with seed {seed}: {len(queries.ids)} queries, {len(trained)} to train on"
    database = join([part, take(pool, rest)]) if len(rest) else part
    return split._replace(train=part, query=queries, database=database, notes=(*split.notes, note))


@checked
def validation(split: Split, share: Positive = 0.2, seed: Seed = 0) -> Split:
    """A split of the training rows alone, to choose settings on: some of them become queries, the others stay.

    Args:
        split: the data set; its queries and rows that are only in the database are left out.
        share: how many training rows, or below 1 which share of them, become queries.
        seed: the same seed draws the same rows.

    >>> from jaxcmh.datasets import synthetic
    >>> len(validation(synthetic(train=100, query=20), 0.3).query.ids)
    30
    """
    n = len(split.train.ids)
    if share >= n:
        raise ValueError(f"share: expected fewer than {n} rows; got {share:g}")
    queries, trained, _ = random_groups(pictures_of(split, split.train.ids), share, None, seed)
    part = take(split.train, trained)
    note = f"{len(queries)} training rows (seed {seed}) serve as queries"
    return split._replace(train=part, query=take(split.train, queries), database=part, notes=(*split.notes, note))


@checked
def one_hot(classes: Array, n_classes: Copies | None = None) -> np.ndarray:
    """Integer classes counted from 0 as 0/1 rows.

    Args:
        classes: (n,) integers >= 0.
        n_classes: number of columns; by default the largest class + 1.
    Returns:
        (n, n_classes) uint8.
    Raises:
        ValueError: a class is negative or not below n_classes.

    >>> one_hot([1, 0])
    array([[0, 1],
           [1, 0]], dtype=uint8)
    """
    if classes.ndim != 1 or classes.dtype.kind not in "iub":
        raise ValueError(f"classes: expected (n,) integers, got {classes.shape} {classes.dtype}")
    top = Whole(0, CLASSES)(int(classes.max(initial=-1)) + 1, "classes")
    columns = top if n_classes is None else n_classes
    if classes.min(initial=0) < 0 or top > columns:
        raise ValueError(f"classes: expected 0..{columns - 1}, got {classes.min()}..{classes.max()}")
    labels = np.zeros((len(classes), columns), np.uint8)
    labels[np.arange(len(classes)), classes] = 1
    return labels
