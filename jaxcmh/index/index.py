"""An index: codes with ids of the user's own, to build, add to, remove from, search, save and load.

    index = build(model.codes, ids=names, model=model)
    index = add(index, new_images, ids=new_names, model=model, view=0)
    scores, ids = search(index, texts, k=10, model=model, view=1)

Every function returns a new index and leaves the one it was given as it was. Adding encodes new items and trains
nothing. An item takes bits / 8 bytes (one byte per book for look-up codes) and its id, and what it is told to keep of
texts, labels and small pictures.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import compress
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxcmh import brief, checks, store
from jaxcmh.checks import Array, Books, Count, Natural, PathLike, checked
from jaxcmh.learning.processes import by_rows
from jaxcmh.model import Model, asked_with, encoded_with, ranks
from jaxcmh.parsing import json_value
from jaxcmh.progress import for_many, shown_while
from jaxcmh.retrieval import topk

KIND = "jaxcmh_index"
FORMAT = 1  # of the file; raised when a file of this version can no longer be read by the last one


@dataclass(frozen=True, eq=False)
class Ids:
    """Ids of the items, in the order in which they were added; compared by identity, as a static part of a pytree.

    Example:
        >>> build(np.uint8([[0], [7]]), ids=["sea", "sun"]).ids.values.tolist()
        ['sea', 'sun']
    """

    values: np.ndarray  # (n,) int64 or strings

    def __post_init__(self) -> None:
        if not isinstance(self.values, np.ndarray) or self.values.ndim != 1 or self.values.dtype.kind not in "iU":
            raise ValueError(f"values: expected (n,) int64 or strings; got {checks.got(self.values)}")


@dataclass(frozen=True, eq=False)
class Details:
    """What answers show of the items, in their order: of each something, or of none; compared as `Ids` are.

    Attributes:
        texts: of each item, "" where it has none.
        labels: names of the labels of each.
        thumbnails: of each the bytes of a small picture, b"" where it has none.

    Example:
        >>> index = build(np.uint8([[0], [7]]), details=Details(texts=["a dog", "a cat"]))
        >>> index.details.texts[1]
        'a cat'
    """

    texts: Sequence[str] = ()
    labels: Sequence[Sequence[str]] = ()
    thumbnails: Sequence[bytes] = ()

    __repr__ = brief.text
    _repr_html_ = brief.table

    def _kept(self, mask: np.ndarray) -> "Details":
        return Details(*(list(compress(getattr(self, one.name), mask)) for one in fields(self)))

    def _with(self, n: int, others: "Details", m: int) -> "Details":
        """Those of n items and of m others behind them."""
        blank, joined = {"texts": "", "labels": (), "thumbnails": b""}, {}
        for name, nothing in blank.items():
            own, more = getattr(self, name), getattr(others, name)
            if len(own) or len(more):
                joined[name] = [*(own or [nothing] * n), *(more or [nothing] * m)]
        return Details(**joined)


class Answer(NamedTuple):
    """An item that a query finds; what is not known of it is empty.

    Attributes:
        rank: from 1; items that are equally near have equal ranks.
        score: Hamming distance, or score of look-up codes.
        item: its id.
        row: its place in the index.
        labels, text: as the index keeps them.

    Example:
        >>> index = build(np.uint8([[0], [7]]), ids=["sea", "sun"])
        >>> nearest, other = answers(index, np.uint8([[3]]), k=2)[0]
        >>> nearest.item, nearest.score, other.rank
        ('sun', 1, 2)
    """

    rank: int
    score: float
    item: int | str
    row: int
    labels: Sequence[str]
    text: str


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("blocks", "codebooks"),
    meta_fields=("bits", "ids", "model_fingerprint", "details"),
)
@dataclass(frozen=True)
class Index:
    """Items to search; a pytree.

    Example:
        >>> index = build(np.uint8([[0], [7], [3]]), ids=["sea", "sun", "sand"])
        >>> len(index), index.bits, index.codes.tolist()
        (3, 8, [[0], [7], [3]])
    """

    blocks: topk.Blocks  # the codes
    codebooks: jax.Array | None  # (books, words, K) float32 for look-up search
    bits: int  # of a code, 8 per book for look-up codes; zeros fill its last byte
    ids: Ids
    model_fingerprint: str  # of the model that encoded the items, "" if not known
    details: Details = field(default_factory=Details)

    __repr__ = brief.text
    _repr_html_ = brief.table

    def _facts(self) -> dict[str, Any]:
        codes = f"{'packed' if self.codebooks is None else 'look-up'}, {self.bits} bits"
        model = self.model_fingerprint[:12] or "not known"
        return {"items": len(self), "codes": codes, "ids": self.ids.values.tolist()[:4], "model": model}

    def __len__(self) -> int:
        return len(self.ids.values)

    @property
    def codes(self) -> np.ndarray:
        """(n, bytes) uint8 codes, in the order in which they were added."""
        return topk.codes_of(self.blocks)


@checked
@shown_while("encoding items")
def build(
    items: Any,
    ids: Any = None,
    *,
    model: Model | None = None,
    view: int | None = None,
    codebooks: Books | None = None,
    bits: int | None = None,
    details: Details | None = None,
    mesh: Mesh | None = None,
    verbose: bool | None = None,
) -> Index:
    """Make an index of items given by their codes, or encoded here by a model.

    Args:
        items: (n, bytes) uint8 packed codes, or (n, books) uint8 words of codebooks; or (n, d) raw features of a view.
        ids: n different integers or strings; 0, 1, 2, ... if None.
        model: what made the codes, or makes them of raw features; only its codes and queries will fit the index.
        view: the view that raw features are of; None for codes.
        codebooks: (books, words, K), for look-up codes without a model.
        bits: length of packed codes that were made elsewhere and do not fill their last byte: its other bits are 0, as
            `np.packbits(signs > 0, axis=1, bitorder="little")` leaves them.
        details: texts, labels and thumbnails of the items, to be shown.
        mesh: encode raw features on these devices, each its share of the rows; to search on them, see `spread`.
        verbose: as for `jaxcmh.train`.

    Returns:
        The index.

    Raises:
        ValueError: an argument is not as described, an id occurs twice, or a code names no word.

    Example:
        >>> index = build(np.uint8([[0], [7], [3]]), ids=["sea", "sun", "sand"])
        >>> distances, ids = search(index, np.uint8([[7]]), k=2)
        >>> ids.tolist(), distances.tolist()
        ([['sun', 'sand']], [[0, 1]])
    """
    if model is not None and codebooks is not None:
        raise ValueError("codebooks: a model brings its own; give one or the other")
    codes = _encoded(items, model, view, mesh)
    if model is not None:
        codebooks = model.codebooks
    if codebooks is not None:
        codebooks = topk.check_lookup(codes, codebooks)
    whole = 8 * codes.shape[1]
    if bits is None:
        bits = whole
    elif model is not None or codebooks is not None:
        raise ValueError("bits: expected with packed codes only, not with a model or with codebooks")
    bits = checks.Whole(whole - 7, whole)(bits, "bits")
    check_padding("items", codes, bits)
    checked = _ids(ids, len(codes), np.zeros(0, np.int64))
    blocks = _arranging(codebooks)(codes)
    made = "" if model is None else model.fingerprint
    return Index(blocks, codebooks, bits, Ids(checked), made, _details(details, len(codes)))


@checked
def add(
    index: Index,
    items: Any,
    ids: Any = None,
    *,
    model: Model | None = None,
    view: int | None = None,
    details: Details | None = None,
    mesh: Mesh | None = None,
    verbose: bool | None = None,
) -> Index:
    """The index with more items behind those it has.

    Args:
        index: the index to add to.
        items: as for `build`.
        ids: different integers or strings, as the index has, none of them in it; if None, the integers from the
            largest on.
        model, view, details, mesh, verbose: as for `build`.

    Returns:
        A new index.

    Raises:
        ValueError: an argument is not as described, an id occurs twice, or the codes are not of the index's kind.

    Example:
        >>> index = add(build(np.uint8([[0], [7]])), np.uint8([[3]]))
        >>> index.ids.values.tolist(), index.codes.tolist()
        ([0, 1, 2], [[0], [7], [3]])
    """
    _check_model(index, model)
    codes = np.asarray(_encoded(items, model, view, mesh, verbose))
    width = index.blocks.words.shape[1]
    if codes.shape[1] != width:
        raise ValueError(f"items: expected codes of {width} bytes, as the index has; got {codes.shape[1]}")
    check_padding("items", codes, index.bits)
    if index.codebooks is not None:
        topk.check_lookup(codes, index.codebooks)
    ids = np.concatenate([index.ids.values, _ids(ids, len(codes), index.ids.values)])
    known = "" if model is None and len(codes) else index.model_fingerprint
    blocks = topk.extended(index.blocks, codes, _arranging(index.codebooks))
    details = index.details._with(len(index), _details(details, len(codes)), len(codes))
    return replace(index, blocks=blocks, ids=Ids(ids), model_fingerprint=known, details=details)


@checked
def remove(index: Index, ids: Any) -> Index:
    """The index without some items.

    Args:
        index: the index to take them from.
        ids: ids in the index.

    Returns:
        A new index; the others keep their order.

    Raises:
        ValueError: an id is not in the index.

    Example:
        >>> remove(build(np.uint8([[0], [7]]), ids=[10, 20]), [10]).ids.values.tolist()
        [20]
    """
    gone = members(index, ids)
    blocks, ids = topk.without(index.blocks, gone), Ids(index.ids.values[~gone])
    return replace(index, blocks=blocks, ids=ids, details=index.details._kept(~gone))


@checked
def members(index: Index, ids: Any) -> np.ndarray:
    """Which items have one of these ids: a mask to restrict a search with.

    Args:
        index: an index.
        ids: ids in the index.

    Returns:
        (n,) bool, in the order in which items were added.

    Raises:
        ValueError: an id is not in the index.

    Example:
        >>> members(build(np.uint8([[0], [7]]), ids=["a", "b"]), ["b"]).tolist()
        [False, True]
    """
    ids = _typed(ids, index.ids.values)
    missing = ~np.isin(ids, index.ids.values)
    if missing.any():
        raise ValueError(f"ids: {ids[missing][0].item()!r} is not in the index")
    return np.isin(index.ids.values, ids)


@checked
def search(
    index: Index,
    queries: Any,
    k: int,
    *,
    model: Model | None = None,
    view: int | None = None,
    mask: Array | None = None,
    mesh: Mesh | None = None,
    verbose: bool | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items for every query, exactly.

    Args:
        index: the index to search.
        queries: (n_q, bytes) uint8 packed codes, or (n_q, K) real vectors for look-up codes; with a model (n_q, d)
            raw features of a view.
        k: items per query, from 1 to the number of items, or of those that mask leaves.
        model: what encodes the queries, when they are raw features.
        view: the view they are of, with a model only.
        mask: (n,) bool, True for the items to search, such as from `members`; all of them if None.
        mesh: search on these devices; see `spread`.
        verbose: as for `jaxcmh.train`, of more than 1,000 queries.

    Returns:
        scores: (n_q, k), int32 Hamming distances ascending or float32 look-up scores descending.
        ids: (n_q, k), of equal scores the item first that was added first.

    Raises:
        ValueError: an argument is not as described, or queries do not fit the index.

    Example:
        >>> index = build(np.uint8([[0], [7], [3]]), ids=[30, 10, 20])
        >>> search(index, np.uint8([[0]]), k=1, mask=members(index, [10, 20]))[1].tolist()
        [[20]]
    """
    shape = getattr(queries, "shape", None) or (0,)
    with for_many(shape[0], "searching", verbose):
        scores, at = _nearest(index, queries, k, model, view, mask, mesh)
        return scores, index.ids.values.take(at)


def _nearest(
    index: Index,
    queries: Any,
    k: int,
    model: Model | None,
    view: int | None,
    mask: Any = None,
    mesh: Mesh | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`search`, with rows in place of ids."""
    _check_model(index, model)
    queries = _queries(index, queries, model, view)
    if index.codebooks is None:
        scores, at = topk.nearest(queries, index.blocks, k, mask, mesh)
    else:
        scores, at = topk.lookup_topk(queries, index.blocks, index.codebooks, k, mask=mask, mesh=mesh)
    return np.asarray(scores), np.asarray(at)


@checked
def search_range(
    index: Index,
    queries: Any,
    radius: Natural,
    *,
    model: Model | None = None,
    view: int | None = None,
    mask: Array | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All items within a Hamming distance of every query.

    Args:
        index: an index of packed codes.
        queries, model, view, mask: as for `search`.
        radius: the largest distance, in bits, at least 0.

    Returns:
        offsets: (n_q + 1,) int64; what belongs to query i is at offsets[i] : offsets[i + 1] of the other two.
        distances: int32, ascending for each query.
        ids: of equal distances the item first that was added first.

    Raises:
        ValueError: an argument is not as described, or the index has look-up codes.

    Example:
        >>> search_range(build(np.uint8([[0], [7], [3]])), np.uint8([[7]]), 1)[2].tolist()
        [1, 2]
    """
    offsets, distances, at = _within(index, queries, radius, model, view, mask)
    return offsets, distances, index.ids.values[at]


def _within(
    index: Index, queries: Any, radius: int, model: Model | None, view: int | None, mask: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`search_range`, with rows in place of ids."""
    _check_model(index, model)
    if index.codebooks is not None:
        raise ValueError("index: look-up codes have scores, not distances; a radius is for packed codes")
    queries = _queries(index, queries, model, view)
    return topk.hamming_range(queries, index.blocks, radius, mask=mask)


@checked
def answers(
    index: Index,
    queries: Any,
    k: Count | None,
    *,
    radius: Natural | None = None,
    model: Model | None = None,
    view: int | None = None,
    mesh: Mesh | None = None,
) -> list[list[Answer]]:
    """`search`, or `search_range`, with ranks and with what the index keeps of the items.

    Args:
        index: the index to search.
        queries, model, view, mesh: as for `search`; no mesh with a radius.
        k: items per query; None with a radius.
        radius: the largest distance, instead of k.

    Returns:
        For each query its answers, best first.

    Raises:
        ValueError: k and radius are both given, or neither is, or a mesh with a radius; otherwise as for the two
            functions.

    Example:
        >>> index = build(np.uint8([[0], [7]]), ["a", "b"], details=Details(texts=["the sea", "the sun"]))
        >>> [(answer.rank, answer.item, answer.text) for answer in answers(index, np.uint8([[7]]), 1)[0]]
        [(1, 'b', 'the sun')]
    """
    if radius is not None and mesh is not None:
        raise ValueError("mesh: expected without a radius, within which one device searches")
    if radius is not None and k is None:
        ends, *within = _within(index, queries, radius, model, view)
        scores, rows = (np.split(values, ends[1:-1]) for values in within)
    elif k is not None and radius is None:
        scores, rows = _nearest(index, queries, k, model, view, mesh=mesh)
    else:
        raise ValueError("k: expected either k or a radius")
    return [_answers(index, own, at) for own, at in zip(scores, rows)]


def _answers(index: Index, scores: np.ndarray, rows: np.ndarray) -> list[Answer]:
    every, labels, texts = rows.tolist(), index.details.labels, index.details.texts
    named = [labels[row] if labels else () for row in every]
    told = [texts[row] if texts else "" for row in every]
    return list(map(Answer, ranks(scores), scores.tolist(), index.ids.values[rows].tolist(), every, named, told))


@checked
def spread(index: Index, mesh: Mesh) -> Index:
    """The index with its items laid out over devices, for `search` with that mesh.

    Args:
        index: any index.
        mesh: from `jaxcmh.mesh.row_mesh`.

    Example:
        >>> from jaxcmh.learning.mesh import row_mesh
        >>> mesh = row_mesh()
        >>> index = spread(build(np.uint8([[0], [7]])), mesh)
        >>> search(index, np.uint8([[7]]), k=1, mesh=mesh)[1].tolist()
        [[1]]
    """
    blocks = topk.arrange(index.codes, devices=mesh.size)
    rows = by_rows(mesh)
    return replace(index, blocks=blocks._replace(words=jax.device_put(blocks.words, rows)))


@checked
def save(index: Index, path: PathLike) -> None:
    """Write an index as one safetensors file with a JSON header; the file appears whole or not at all.

    Args:
        index: an index.
        path: the file to write; one that is there is replaced.

    Raises:
        ValueError: the folder of `path` does not exist.

    Example:
        >>> import tempfile
        >>> index = build(np.uint8([[0], [7]]), ids=["a", "b"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(index, f"{folder}/index.safetensors")
        ...     load(f"{folder}/index.safetensors").ids.values.tolist()
        ['a', 'b']
    """
    arrays = {"codes": index.codes}
    if index.codebooks is not None:
        arrays["codebooks"] = np.asarray(index.codebooks)
    if index.ids.values.dtype.kind == "U":
        arrays |= store.pieces("id", [word.encode() for word in index.ids.values.tolist()])
    else:
        arrays["ids"] = index.ids.values
    labels = [json.dumps(list(names)) for names in index.details.labels]
    for name, words in (("texts", index.details.texts), ("labels", labels)):
        arrays |= store.pieces(name, [word.encode() for word in words]) if words else {}
    arrays |= store.pieces("thumbnails", index.details.thumbnails) if index.details.thumbnails else {}
    header = {"format": FORMAT, "bits": index.bits, "n": len(index), "model": index.model_fingerprint}
    store.write(path, KIND, header, arrays)


@checked
def load(path: PathLike) -> Index:
    """Read an index written by `save`; nothing in the file is executed.

    Args:
        path: the file.

    Returns:
        The index, bit for bit.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, damaged, not an index, or of a later format.

    Example:
        >>> load("nowhere/index.safetensors")
        Traceback (most recent call last):
        FileNotFoundError: path: no jaxcmh index at nowhere/index.safetensors
    """
    checks.not_forked()
    return store.read(path, KIND, FORMAT, "jaxcmh index", _restored)


def _restored(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Index:
    if "id_text" in arrays:
        ids = np.array([word.decode() for word in store.cut("id", arrays)], np.str_)
    else:
        ids = arrays["ids"]
    books = arrays.get("codebooks")
    index = build(arrays["codes"], ids, codebooks=books, bits=header["bits"] if books is None else None)
    for name, value in (("bits", index.bits), ("n", len(index)), ("model", str(header["model"]))):
        if header[name] != value:
            raise ValueError(f"{name}: expected {value!r}; got {header[name]!r}")
    parts = (store.cut(one.name, arrays) if f"{one.name}_text" in arrays else () for one in fields(Details))
    texts, labels, thumbnails = parts
    names = [checks.series(json_value(own), "labels", str) for own in labels]
    details = Details([text.decode() for text in texts], names, list(thumbnails))
    return replace(index, model_fingerprint=header["model"], details=_of_each(details, len(index)))


@checked
def check_padding(name: str, codes: checks.Codes, bits: Count) -> None:
    """Refuse codes with ones behind their last bit, which engines would count or not, each in its way.

    Args:
        name: what to call them.
        codes: (n, bytes) uint8 packed codes.
        bits: code length.

    Raises:
        ValueError: there is one; the message names its row.

    Example:
        >>> check_padding("codes", np.uint8([[0, 15], [0, 16]]), 12)
        Traceback (most recent call last):
        ValueError: codes: expected zeros behind bit 12 of a code; row 1 has ones
    """
    if bits % 8:
        wrong = np.asarray(codes[:, -1] >> bits % 8) != 0
        if wrong.any():
            raise ValueError(f"{name}: expected zeros behind bit {bits} of a code; row {wrong.argmax()} has ones")


def _details(details: Details | None, n: int) -> Details:
    """Checked details of n items."""
    if details is None:
        return Details()
    texts = checks.series(details.texts, "details.texts", str)
    labels = checks.series(details.labels, "details.labels", Sequence[str])
    return _of_each(Details(texts, labels, checks.series(details.thumbnails, "details.thumbnails", bytes)), n)


def _of_each(details: Details, n: int) -> Details:
    for one in fields(details):
        if len(getattr(details, one.name)) not in (0, n):
            raise ValueError(f"details.{one.name}: expected {n}, one per item; got {len(getattr(details, one.name))}")
    return details


def _arranging(codebooks: Any) -> Callable[[Any], topk.Blocks]:
    """Packed codes are searched once each where they repeat."""
    return topk.distinct if codebooks is None else topk.arrange


def _encoded(items: Any, model: Model | None, view: int | None, mesh: Mesh | None, verbose: bool | None = None) -> Any:
    if view is not None:
        if model is None:
            raise ValueError("view: expected with a model only; without one, items are codes")
        return encoded_with(model, checks.rows(items, "items"), view, mesh, verbose, "items")
    if mesh is not None:
        raise ValueError("mesh: expected with raw features and the view that they are of; codes are not encoded")
    codes = checks.codes(items, "items")
    if model is not None and codes.shape[1] != model.codes.shape[-1]:
        raise ValueError(
            f"items: expected codes of {model.codes.shape[-1]} bytes, as the model makes them, or raw features and "
            f"the view that they are of; got {codes.shape[1]} bytes"
        )
    return codes


def _queries(index: Index, queries: Any, model: Model | None, view: int | None) -> Any:
    if model is not None:
        if view is None:
            raise ValueError("view: expected with a model, the view that the features are of")
        return asked_with(model, checks.rows(queries, "queries"), view, name="queries")
    if view is not None:
        raise ValueError("view: expected with a model only; without one, queries are codes")
    if index.codebooks is None:
        queries = checks.codes(queries, "queries")
        if index.bits % 8 and queries.shape[1] == index.blocks.words.shape[1]:
            check_padding("queries", queries, index.bits)
    return queries


def _check_model(index: Index, model: Model | None) -> None:
    """Refuse a model whose codes cannot be compared with those of the index."""
    if model is None:
        return
    if (model.codebooks is None) != (index.codebooks is None):
        kinds = ("packed codes", "look-up codes")
        raise ValueError(
            f"model: makes {kinds[model.codebooks is not None]}, but the index holds "
            f"{kinds[index.codebooks is not None]}"
        )
    bits = 8 * model.codes.shape[-1]  # 8 per book for look-up codes
    if bits != index.bits:
        raise ValueError(f"model: makes codes of {bits} bits, but the index holds codes of {index.bits}")
    if index.codebooks is not None and not np.array_equal(np.asarray(model.codebooks), index.codebooks):
        raise ValueError("model: has other codebooks than the index")
    if index.model_fingerprint and model.fingerprint != index.model_fingerprint:
        raise ValueError("model: is not the one that encoded the items of the index, so its codes mean something else")


def _ids(ids: Any, n: int, present: np.ndarray) -> np.ndarray:
    """n checked ids, none of them present; consecutive integers if None."""
    if ids is None:
        if present.dtype.kind == "U":
            raise ValueError("ids: expected strings, as the index has; got None")
        first = int(present.max()) + 1 if len(present) else 0
        return np.arange(first, first + n, dtype=np.int64)
    ids = _typed(ids, present if len(present) else None)
    if ids.shape != (n,):
        raise ValueError(f"ids: expected {n}, one per item; got shape {ids.shape}")
    unique, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"ids: expected each once; got {unique[counts > 1][0].item()!r} more than once")
    there = present[np.isin(present, ids)]  # in this order fast for a few ids
    if len(there):
        raise ValueError(f"ids: {ids[np.isin(ids, there)][0].item()!r} is in the index already")
    return ids


def _typed(ids: Any, like: np.ndarray | None) -> np.ndarray:
    """ids as (n,) int64 or strings, of the same kind as `like`."""
    given = ids.tolist() if isinstance(ids, np.ndarray) and ids.dtype.kind in "OUT" else ids
    several = list(given) if isinstance(given, list | tuple) else []
    if any(isinstance(one, bool | np.bool_) for one in several):
        raise ValueError("ids: expected integers or strings; got True or False among them")
    words = [isinstance(word, str) for word in several]
    if any(words):
        if not all(words):
            raise ValueError(f"ids: expected integers or strings, not both; got {given[words.index(False)]!r} too")
        _check_words(given)
        ids = np.array(given, np.str_)
    ids = np.asarray(checks.array(ids, "ids", "iubfUTO"))
    if like is not None and not ids.size:
        ids = ids.astype(like.dtype)
    integers = ids.dtype.kind in "iu" and (ids.dtype != np.uint64 or not ids.size or ids.max() < 2**63)
    if not (integers or ids.dtype.kind in "UT") or ids.ndim != 1:
        raise ValueError(
            f"ids: expected a list of integers (int64) or of strings; got {ids.dtype} of shape {ids.shape}"
        )
    if not integers:
        for word in ids.tolist():
            checks.text(word, "ids")
    if like is not None and integers != (like.dtype.kind == "i"):
        kind = "integers" if like.dtype.kind == "i" else "strings"
        raise ValueError(f"ids: expected {kind}, as the index has; got {ids.dtype}")
    return ids.astype(np.int64 if integers else np.str_)


def _check_words(words: Any) -> None:
    """Refuse ids that NumPy would cut short or that cannot be written in UTF-8."""
    for word in words:
        if word.endswith("\0") or (not word.isascii() and word.encode(errors="ignore").decode() != word):
            raise ValueError(f"ids: expected strings of whole characters, without NUL at the end; got {word!r}")
