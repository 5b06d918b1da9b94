"""How good a ranking is: mAP, precision-recall curve, topN precision, precision and recall within a Hamming radius;
NDCG, and where the one item that belongs to a query comes.

An item is relevant to a query when the two share at least one label.  Codes of few bits tie many items at every
distance, so a ranking needs a rule for ties:

* `expected`: the mean over all orders of the tied items (McSherry and Najork, ECIR 2008).  The default, because it
  depends on nothing but the distances.
* `stable`: tied items in database order, as a stable sort leaves them.  For comparison with published numbers.

On a CPU Hamming distances are never sorted.  One pass counts, for every query, the items and the relevant items at
every distance; expected numbers and curves follow from the counts alone.  The stable order takes a second pass, in
which every distance has a counter that starts at its first rank and moves on item by item.  Look-up scores are real
numbers, which are sorted.  Accelerators, whose many cores would wait for each other there, compare the distances of
many queries with every possible one to count them, and sort them for the stable order.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array, lax
from jax.sharding import Mesh
from scipy.special import gammaln

from jaxcmh import brief, checks
from jaxcmh.checks import Labels, Natural, Rows, SomeCodes, checked, filled
from jaxcmh.retrieval.topk import hamming_topk, roomy

Ties = Literal["expected", "stable"]
Divisor = Literal["retrieved", "possible"]
Gain = Literal["exponential", "linear"]
Ranks = Annotated[Sequence[int], filled]

# Ranks of topN precision unless told otherwise, as far as the database reaches.
TOPN = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# Items counted at a time: their bucket numbers stay in a core's cache.
_ITEMS = 16_384
# Queries in one compiled call: the counters of the stable pass stay in the cache too, and calls run side by side.
_QUERIES = 256
# Look-up scores that one compiled call makes; and on an accelerator.
_SCORES, _MANY_SCORES = 2**22, 2**26
# Distances that an accelerator sorts at a time.
_SORTED = 2**24
# Parts of one that precisions are counted in where there is no float64; one itself fits in int32.
_PARTS = 2**30


class Metrics(NamedTuple):
    """What a ranking of the database achieves.

    All means are over the queries that have a relevant item in the database; the others are counted, not averaged.

    Example:
        >>> found = hamming_metrics(np.uint8([[0]]), np.uint8([[0], [1], [3]]), [5], [5, 2, 5])
        >>> round(found.map, 4), found.n_queries, found.radius_recall[:3].tolist()
        (0.8333, 1, [0.5, 0.5, 1.0])
    """

    ap: np.ndarray  # (n_q,) float64 average precision, nan for a query without any relevant item
    map: float  # its mean; a cut-off mAP where `at` is not None
    n_queries: int  # all queries
    n_without_relevant: int  # those of them that no mean counts
    topn: tuple[int, ...]  # ranks
    topn_precision: np.ndarray  # (len(topn),) mean share of relevant items up to these ranks
    pr_precision: (
        np.ndarray
    )  # (points,) precision-recall curve: a point for every radius, or for ranks of look-up scores
    pr_recall: np.ndarray  # (points,)
    radius_precision: np.ndarray  # (bits + 1,) mean precision within Hamming radius 0, 1, ...; empty for look-up scores
    radius_recall: np.ndarray  # (bits + 1,) mean recall within Hamming radius 0, 1, ...; empty for look-up scores
    ties: str  # the rule that `ap` and `topn_precision` follow
    at: int | None  # rank at which `ap` is cut, None for the whole database
    divisor: str  # of a cut-off `ap`: "retrieved" or "possible"
    radius_found: np.ndarray  # (bits + 1,) share of queries with an item within radius 0, 1, ...; empty as those above

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def hamming_metrics(
    query_codes: SomeCodes,
    database_codes: SomeCodes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    ties: Ties = "expected",
    at: int | None = None,
    topn: Ranks | None = None,
    divisor: Divisor = "retrieved",
    mesh: Mesh | None = None,
) -> Metrics:
    """Measure the ranking of packed codes by Hamming distance.

    With P relevant items among the first R = `at` ranks, at ranks k_1 < ... < k_P, the average precision of a query is
    (1 / P) sum_i i / k_i.  So a cut-off AP is divided by the number of relevant items **retrieved**, as in the field's
    evaluation code; it is 0 where none is retrieved.  Under `expected` ties it is the exact mean over all orders, of
    the divisor too.  With divisor "possible" it is divided by the number that R ranks can hold at most, the smaller of
    R and the relevant items of the database, as elsewhere (trec_eval divides by the latter alone).

    The precision-recall curve has a point for every radius: mean precision and recall of the items within it, where a
    query with nothing so near takes its nearest items.  `radius_precision` is that of a hash table look-up, where such
    a query has precision 0.  Both are free of ties.

    Args:
        query_codes: (n_q, bits / 8) uint8, packed as by `topk.pack`.
        database_codes: (n, bits / 8) uint8.
        query_labels: (n_q, c) of 0 and 1, or (n_q,) classes 0, 1, 2, ...
        database_labels: (n, c) or (n,), of the same kind.
        ties: "expected" or "stable".
        at: rank from 1 to n at which average precision is cut; the whole database if None.
        topn: ranks from 1 to n for topN precision; 1, 2, 5, 10, ... 1000 as far as n reaches if None.
        divisor: of a cut-off average precision: "retrieved" (relevant items up to rank `at`), or "possible" (the
            smaller of `at` and the relevant items of the database).
        mesh: measure on these devices, each a part of the queries with all of the database; the result is the same.

    Returns:
        `Metrics` of NumPy arrays.

    Raises:
        ValueError: an argument is not as described, rows or widths do not match, or no query has any relevant item.

    Example:
        Two items at distance 0, one of them relevant, so at rank 1 or 2:

        >>> query, items = np.array([[0]], np.uint8), np.array([[0], [0], [255]], np.uint8)
        >>> hamming_metrics(query, items, [3], [7, 3, 7]).map
        0.75
        >>> hamming_metrics(query, items, [3], [7, 3, 7], ties="stable").map
        0.5
    """
    queries, items = _same_width(query_codes, database_codes)
    query_sets, item_sets = _label_sets(query_labels, database_labels, len(queries), len(items))
    cuts = _ranks(at, topn, len(items))
    bits = 8 * items.shape[1]
    n, queries, items = len(items), _words(queries), _words(items)
    chunks = tuple(jnp.asarray(_chunked(x)) for x in (items, item_sets, np.ones((n, 1), np.int32)))
    whole = tuple(jnp.asarray(_filled(x, _room(n))) for x in (items, item_sets))

    def measure(chunks: Any, whole: Any, cuts: Array, queries: np.ndarray, query_sets: np.ndarray) -> tuple:
        counts = _count(queries, query_sets, *chunks, bits=bits)
        if ties == "expected":
            return (counts,)
        return counts, *_stable_sums(counts, queries.T, query_sets.T, *whole, cuts)

    database = chunks, whole, jnp.asarray(cuts, jnp.int32)
    counts, *stable = _in_blocks(measure, database, queries, query_sets, size=_QUERIES, mesh=mesh)
    tied, relevant = counts.astype(np.int64).sum(axis=2), counts[:, :, 1].astype(np.int64)
    possible = np.minimum(relevant.sum(axis=1), cuts[0]) if divisor == "possible" else None
    if stable:
        gain, hits = stable
        ap = gain / np.maximum(hits[:, 0] if possible is None else possible, 1)
    else:
        ap = _expected_ap(tied, relevant, cuts[0], _sums(n), possible)
        hits = np.stack([_expected_hits(*row, cuts) for row in zip(tied, relevant)])

    within, relevant_so_far = np.cumsum(tied, axis=1), np.cumsum(relevant, axis=1)
    nearest = np.maximum(np.arange(bits + 1), np.argmax(tied > 0, axis=1)[:, None])
    radius = within, relevant_so_far
    curve = [np.take_along_axis(x, nearest, axis=1) for x in radius]
    return _metrics(ap, relevant_so_far[:, -1], cuts[1:], hits[:, 1:], curve, radius, ties, at, divisor)


class Judged(NamedTuple):
    """Label sets of queries and items on the device, for many rankings of the same items.

    Example:
        >>> judged = judge([0, 1], [0, 0, 1])
        >>> judged.n_queries, judged.n_items
        (2, 3)
    """

    query_sets: Array  # (blocks, queries, label words) uint32, zeros behind the last query
    item_sets: Array  # (room, label words) uint32, zeros behind the last item
    chunks: tuple[Array, Array]  # label sets and weights as `_count` takes them
    harmonic: np.ndarray  # (room + 1,) 1 + 1/2 + ... + 1/i
    n_queries: int  # without what fills up the last block
    n_items: int  # without what fills up the room, so that a few sizes share programs

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def judge(query_labels: Labels, database_labels: Labels) -> Judged:
    """Label sets for `hamming_map`.

    Args:
        query_labels: (n_q, c) of 0 and 1, or (n_q,) classes.
        database_labels: (n, c) or (n,), of the same kind.
    Example:
        >>> judged = judge([0, 1], [0, 0, 1])
        >>> hamming_map(np.uint8([[0], [7]]), np.uint8([[0], [1], [7]]), judged)
        1.0
    """
    query_sets, item_sets = _label_sets(query_labels, database_labels, len(query_labels), len(database_labels))
    n, room = len(item_sets), _room(len(item_sets))
    chunks = jnp.asarray(_chunked(item_sets)), jnp.asarray(_chunked(np.ones((n, 1), np.int32)))
    blocks = jnp.asarray(_blocks(query_sets, _QUERIES))
    return Judged(blocks, jnp.asarray(_filled(item_sets, room)), chunks, _sums(room)[0], len(query_sets), n)


@checked
def hamming_map(query_codes: SomeCodes, database_codes: SomeCodes, judged: Judged, *, ties: Ties = "expected") -> float:
    """The mAP of `hamming_metrics` alone, over the whole database, of codes that stay on the device.

    Args:
        query_codes: (n_q, bits / 8) uint8.
        database_codes: (n, bits / 8) uint8.
        judged: from `judge`.
        ties: "expected" or "stable".

    Raises:
        ValueError: no query has any relevant item.

    Example:
        >>> query, items = jnp.array([[0]], jnp.uint8), jnp.array([[0], [0], [255]], jnp.uint8)
        >>> hamming_map(query, items, judge([3], [7, 3, 7]))
        0.75
    """
    shape = judged.query_sets.shape[:2]
    if query_codes.shape != (judged.n_queries, database_codes.shape[1]):
        expected = judged.n_queries, database_codes.shape[1]
        raise ValueError(
            f"query_codes: expected shape {expected}, a code for each query judged; got {query_codes.shape}"
        )
    if len(database_codes) != judged.n_items:
        raise ValueError(f"database_codes: expected {judged.n_items}, as judged; got {len(database_codes)}")
    items, bits = _device_words(_filled(database_codes, len(judged.item_sets))), 8 * database_codes.shape[1]
    queries = _device_words(_filled(query_codes, shape[0] * shape[1])).reshape(*shape, -1)
    chunks = _chunked(items)

    def measure(block: int) -> tuple[Any, Any]:
        sets = judged.query_sets[block]
        counts = _count(queries[block], sets, chunks, *judged.chunks, bits=bits)
        if ties == "expected":
            return _in_float64(_summed_ap, counts, judged.harmonic)
        cuts = jnp.asarray([judged.n_items], jnp.int32)
        sums = _stable_sums(counts, queries[block].T, sets.T, items, judged.item_sets, cuts)
        return _in_float64(_summed_gain, *sums)

    def measure_as_usual(block: int) -> tuple[Any, Any]:
        with checks.as_usual():
            return measure(block)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        total, measured = np.sum([np.asarray(pair) for pair in pool.map(measure_as_usual, range(shape[0]))], axis=0)
    if not measured:
        raise ValueError("query_labels: expected labels that database_labels shares; no query has any relevant item")
    return float(total / measured)


@jax.jit
def _device_words(codes: Array) -> Array:
    """`_words` on the device."""
    padded = jnp.pad(codes, ((0, 0), (0, -codes.shape[1] % 4)))
    return lax.bitcast_convert_type(padded.reshape(len(codes), -1, 4), jnp.uint32)


def _has_float64() -> bool:
    """Whether the device has float64; what follows the counts is otherwise computed on the host, in NumPy."""
    return jax.default_backend() != "tpu"


def _in_float64(function: Callable[..., tuple], *arguments: Any) -> tuple[Any, Any]:
    """`function` of the arguments and of the module that computes it."""
    if _has_float64():
        with jax.enable_x64(True):  # or a float64 argument would become float32
            return _on_device(function, *arguments)
    return function(*map(np.asarray, arguments), np)


@partial(jax.jit, static_argnums=0)
def _on_device(function: Callable[..., tuple], *arguments: Array) -> tuple[Array, Array]:
    with jax.enable_x64(True):
        return function(*arguments, jnp)


def _summed_ap(counts: Any, harmonic: Any, xp: Any) -> tuple[Any, Any]:
    """Sum of average precisions under expected ties, and the number of queries in it, from (b, buckets, 2) counts."""
    tied, relevant = counts.sum(2, dtype=xp.int64), counts[:, :, 1].astype(xp.int64)
    end, relevant_so_far = xp.cumsum(tied, axis=1), xp.cumsum(relevant, axis=1)
    gain = _bucket_gain(harmonic, tied, relevant, end - tied, relevant_so_far - relevant, xp=xp).sum(1)
    return _summed_gain(gain, relevant_so_far[:, -1:], xp)


def _summed_gain(gain: Any, hits: Any, xp: Any) -> tuple[Any, Any]:
    """The same from what `_stable_sums` gives."""
    return (gain / xp.maximum(hits[:, 0], 1)).sum(), (hits[:, 0] > 0).sum().astype(xp.float64)


@checked
def precision_within(measured: Metrics, radius: Natural = 2, *, empty: Literal["zero", "left out"] = "zero") -> float:
    """Mean precision of the items within a Hamming radius, in either public definition.

    Args:
        measured: from `hamming_metrics`.
        radius: from 0 to the number of bits.
        empty: what a query without an item so near counts as: "zero", precision 0; or "left out", not at all.

    Raises:
        ValueError: `measured` is of look-up scores, the radius is beyond its bits, or no query has an item so near and
            those are left out.

    Example:
        >>> queries, items = np.array([[0], [255]], np.uint8), np.array([[0], [1], [3]], np.uint8)
        >>> measured = hamming_metrics(queries, items, [3, 3], [3, 7, 3])
        >>> precision_within(measured, 1), precision_within(measured, 1, empty="left out")
        (0.25, 0.5)
    """
    if not len(measured.radius_found):
        raise ValueError("measured: expected metrics of Hamming distances; look-up scores have no radius")
    radius = checks.Whole(0, len(measured.radius_found) - 1)(radius, "radius")
    precision, found = float(measured.radius_precision[radius]), float(measured.radius_found[radius])
    if empty == "zero":
        return precision
    if not found:
        raise ValueError(f"radius: no query has an item within {radius}, so none is left to average")
    return precision / found


@checked
def hamming_ndcg(
    query_codes: SomeCodes,
    database_codes: SomeCodes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    at: Ranks,
    gain: Gain = "exponential",
    ties: Ties = "expected",
) -> np.ndarray:
    """NDCG of packed codes ranked by Hamming distance, graded by the number of labels that query and item share.

    DCG@k = sum over ranks r up to k of g(labels shared) / log2(r + 1); NDCG@k is its quotient by that of the best order
    of the database. Means are over the queries that have a relevant item.

    Args:
        query_codes: (n_q, bits / 8) uint8.
        database_codes: (n, bits / 8) uint8.
        query_labels: (n_q, c) of 0 and 1, or (n_q,) classes.
        database_labels: (n, c) or (n,), of the same kind.
        at: ranks k, each from 1 to n.
        gain: "exponential", g(s) = 2^s - 1, as hashing papers have it; or "linear", g(s) = s, as trec_eval has.
        ties: "expected" or "stable".

    Returns:
        (len(at),) float64.

    Raises:
        ValueError: an argument is not as described, rows or widths do not match, or no query has any relevant item.

    Example:
        >>> query, items = np.array([[0]], np.uint8), np.array([[0], [255]], np.uint8)
        >>> hamming_ndcg(query, items, [[1, 1]], [[1, 0], [1, 1]], at=[1]).round(3).tolist()
        [0.333]
    """
    queries, items = _same_width(query_codes, database_codes)
    query_sets, item_sets = _label_sets(query_labels, database_labels, len(queries), len(items))
    n, bits = len(items), 8 * items.shape[1]
    rank = checks.Whole(1, n)
    cuts = [rank(one, "at") for one in at]
    most = int(np.bitwise_count(query_sets).sum(axis=1).max())
    grades = roomy(max(2, most))
    chunks = tuple(jnp.asarray(_chunked(x)) for x in (_words(items), item_sets, np.ones((n, 1), np.int32)))

    def count(items: Array, item_sets: Array, weights: Array, *block: np.ndarray) -> tuple:
        return (_count(*block, items, item_sets, weights, bits=bits, grades=grades),)

    (counts,) = _in_blocks(count, chunks, _words(queries), query_sets, size=_QUERIES)
    shared = np.arange(grades + 1, dtype=np.float64)
    gains = (np.exp2(shared) - 1 if gain == "exponential" else shared) * (shared <= most)
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, n + 2)))])
    by_grade = counts.sum(axis=1, dtype=np.int64)[:, ::-1]
    best = _dcg(by_grade, by_grade * gains[::-1], cuts, discounts)
    measured = best[:, 0] > 0
    if not measured.any():
        raise ValueError("query_labels: expected labels that database_labels shares; no query has any relevant item")
    if ties == "expected":
        found = _dcg(counts.sum(axis=2, dtype=np.int64), counts @ gains, cuts, discounts)
    else:
        nearest = np.asarray(hamming_topk(queries, items, max(cuts))[1])
        rows = (np.bitwise_count(one & item_sets[ids]).sum(axis=1) for one, ids in zip(query_sets, nearest))
        found = np.stack([np.cumsum(gains[row] * np.diff(discounts)[: max(cuts)])[np.array(cuts) - 1] for row in rows])
    return (found[measured] / best[measured]).mean(axis=0)


def _dcg(tied: np.ndarray, gain: np.ndarray, cuts: Sequence[int], discounts: np.ndarray) -> np.ndarray:
    """(b, len(cuts)) DCG up to each rank, the mean over orders within (b, buckets) buckets of items and their gains."""
    end = np.cumsum(tied, axis=1)
    each = gain / np.maximum(tied, 1)
    spans = (discounts[np.minimum(end, k)] - discounts[np.minimum(end - tied, k)] for k in cuts)
    return np.stack([(each * span).sum(axis=1) for span in spans], axis=1)


class KnownItem(NamedTuple):
    """Where the one item that belongs to a query comes.

    Example:
        >>> found = known_item(np.uint8([[0], [255]]), np.uint8([[0], [1]]))
        >>> dict(zip(found.ranks, found.recall.tolist())), found.median_rank
        ({1: 1.0, 5: 1.0, 10: 1.0}, 1.0)
    """

    rank: np.ndarray  # (n_q,) float64 from 1 on; under expected ties the mean over all orders
    ranks: tuple[int, ...]
    recall: np.ndarray  # (len(ranks),) share of queries whose item is among the first 1, 5, 10, ...
    median_rank: float
    ties: str

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def known_item(
    query_codes: SomeCodes,
    database_codes: SomeCodes,
    items: checks.Array | None = None,
    *,
    ranks: Ranks = (1, 5, 10),
    ties: Ties = "expected",
) -> KnownItem:
    """Known-item search by Hamming distance: instance-level Recall@k and the median rank of the paired item.

    Args:
        query_codes: (n_q, bits / 8) uint8.
        database_codes: (n, bits / 8) uint8.
        items: (n_q,) integers, the row of the database that belongs to each query; its own number if None.
        ranks: the k of Recall@k, at least 1 each.
        ties: "expected" or "stable".

    Returns:
        `KnownItem`.

    Raises:
        ValueError: an argument is not as described, or widths do not match.

    Example:
        >>> texts, images = np.array([[0], [255]], np.uint8), np.array([[0], [0]], np.uint8)
        >>> found = known_item(texts, images)
        >>> found.recall.tolist(), found.rank.tolist(), found.median_rank
        ([0.5, 1.0, 1.0], [1.5, 1.5], 1.5)
    """
    queries, codes = _same_width(query_codes, database_codes)
    n = len(codes)
    rank = checks.Whole(1)
    ranks = tuple(rank(one, "ranks") for one in ranks)
    rows = np.arange(len(queries)) if items is None else np.asarray(items)
    if rows.shape != (len(queries),) or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"items: expected a row below {n} for each of {len(queries)} queries; got {checks.got(rows)}")
    words = jnp.asarray(np.ascontiguousarray(_filled(_words(codes), _room(n)).T))
    rows = rows.astype(np.int32)[:, None]
    closer, tied, ahead = _in_blocks(
        lambda words, *block: _places(*block, words, np.int32(n)), (words,), _words(queries), rows, size=_QUERIES
    )
    if ties == "stable":
        closer, tied = closer + ahead, np.ones_like(tied)
    among = (np.asarray(ranks) - closer[:, None]) / tied[:, None]
    rank = closer + (tied + 1) / 2
    return KnownItem(rank, ranks, np.clip(among, 0, 1).mean(axis=0), float(np.median(rank)), ties)


@jax.jit
def _places(queries: Array, rows: Array, items: Array, n: Array) -> tuple[Array, Array, Array]:
    """Of each query: items nearer than its own, as near, and as near and before; items are (words, n or more)."""
    at = jnp.arange(items.shape[1], dtype=jnp.int32)

    def one(query: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        words, (row,) = query
        distance = _distance(words, items)
        own, there = distance[row], at < n
        tied = there & (distance == own)
        return (there & (distance < own)).sum(), tied.sum(), (tied & (at < row)).sum()

    return lax.map(one, (queries, rows))


@checked
def beyond_map(
    measured: Metrics,
    query_codes: SomeCodes,
    database_codes: SomeCodes,
    paired_codes: SomeCodes,
    query_labels: Labels,
    database_labels: Labels,
    *,
    ties: Ties = "expected",
) -> dict[str, float]:
    """What mAP does not say of a ranking by Hamming distance, as one number each.

    * "NDCG@10": `hamming_ndcg`, where there are 10 items.
    * "recall@1", "recall@5", "recall@10", "median rank": `known_item` of what belongs to each query, such as the
      picture to a text, when all that belongs to the queries is added to the database.
    * "precision within 2", "precision within 2, found": `precision_within` 2 bits of all queries, and of those that
      have an item so near, where one has.

    Args:
        measured: from `hamming_metrics`, of the same codes.
        query_codes: (n_q, bits / 8) uint8.
        database_codes: (n, bits / 8) uint8.
        paired_codes: (n_q, bits / 8) uint8 codes of what belongs to each query.
        query_labels, database_labels: as for `hamming_metrics`.
        ties: "expected" or "stable".

    Returns:
        Name -> value.

    Raises:
        ValueError: as for the functions named.

    Example:
        >>> codes, labels = np.array([[0], [255]], np.uint8), [3, 7]
        >>> found = beyond_map(hamming_metrics(codes, codes, labels, labels), codes, codes, codes ^ 1, labels, labels)
        >>> found["recall@1"], found["recall@5"], found["median rank"], found["precision within 2"]
        (0.0, 1.0, 2.0, 1.0)
    """
    n, codes, paired = len(database_codes), np.asarray(database_codes), np.asarray(paired_codes)
    if paired.shape != (len(query_codes), codes.shape[1]):
        expected = (len(query_codes), codes.shape[1])
        raise ValueError(f"paired_codes: expected shape {expected}, one for each query; got {checks.got(paired)}")
    found: dict[str, float] = {}
    if n >= 10:
        (ndcg,) = hamming_ndcg(query_codes, database_codes, query_labels, database_labels, at=[10], ties=ties)
        found["NDCG@10"] = float(ndcg)
    known = known_item(query_codes, np.concatenate([codes, paired]), n + np.arange(len(query_codes)), ties=ties)
    found |= {f"recall@{rank}": share for rank, share in zip(known.ranks, known.recall.tolist())}
    found |= {"median rank": known.median_rank, "precision within 2": precision_within(measured)}
    if measured.radius_found[2]:
        found["precision within 2, found"] = precision_within(measured, empty="left out")
    return found


@checked
def score_metrics(
    queries: Rows,
    database_codes: SomeCodes,
    codebooks: checks.Books,
    query_labels: Labels,
    database_labels: Labels,
    *,
    ties: Ties = "expected",
    at: int | None = None,
    topn: Ranks | None = None,
    divisor: Divisor = "retrieved",
    mesh: Mesh | None = None,
) -> Metrics:
    """Measure the ranking of look-up codes by score, sum_b query · codebooks[b, code of the item in book b].

    Scores are float32 sums over the books in their order, so items of equal codes tie exactly.  Average and topN
    precision are those of `hamming_metrics`.  The points of the precision-recall curve are up to 100 ranks from 1 to n,
    evenly spaced on a logarithmic scale, and follow `ties`.

    Args:
        queries: (n_q, K) real vectors.
        database_codes: (n, books) uint8, the number of a word in every book.
        codebooks: (books, words, K) real.
        query_labels: (n_q, c) of 0 and 1, or (n_q,) classes 0, 1, 2, ...
        database_labels: (n, c) or (n,), of the same kind.
        ties: "expected" or "stable".
        at: rank from 1 to n at which average precision is cut; the whole database if None.
        topn: ranks from 1 to n for topN precision; 1, 2, 5, 10, ... 1000 as far as n reaches if None.
        divisor: of a cut-off average precision: "retrieved" (relevant items up to rank `at`), or "possible" (the
            smaller of `at` and the relevant items of the database).
        mesh: as for `hamming_metrics`.

    Returns:
        `Metrics` of NumPy arrays.

    Raises:
        ValueError: an argument is not as described, rows or widths do not match, or no query has any relevant item.

    Example:
        Items 0 and 2 tie behind item 1, so the relevant one has rank 2 or 3:

        >>> codebooks = np.array([[[1.0], [2.0]]])
        >>> items = np.array([[0], [1], [0]], np.uint8)
        >>> round(score_metrics([[1.0]], items, codebooks, [3], [3, 7, 7]).map, 6)
        0.416667
    """
    queries = queries.toarray() if scipy.sparse.issparse(queries) else queries
    queries, codes, books = np.asarray(queries, np.float32), np.asarray(database_codes), np.asarray(codebooks)
    if books.shape[::2] != (codes.shape[1], queries.shape[1]):
        expected = f"({codes.shape[1]}, words, {queries.shape[1]})"
        raise ValueError(f"codebooks: expected real numbers {expected}; got {books.dtype} of shape {books.shape}")
    if codes.max() >= books.shape[1]:
        raise ValueError(f"database_codes: expected words below {books.shape[1]}, as codebooks; got {codes.max()}")
    query_sets, item_sets = _label_sets(query_labels, database_labels, len(queries), len(codes))
    cuts = _ranks(at, topn, len(codes))
    n = len(codes)
    points = np.unique(np.geomspace(1, n, 100).round().astype(int))
    sums, room = _sums(n), _room(n)
    # The last item again fills them up, whose scores are finite if all are.
    items = np.pad(codes, ((0, room - n), (0, 0)), "edge"), _filled(item_sets, room)
    database = *(jnp.asarray(np.ascontiguousarray(x.T)) for x in items), jnp.asarray(books, jnp.float32), np.int32(n)

    def measure(
        codes: Array, item_sets: Array, books: Array, n_items: Any, queries: np.ndarray, query_sets: np.ndarray
    ) -> tuple:
        keys, relevant, finite = _scores(queries, query_sets, codes, item_sets, books, n_items)
        if not finite:
            raise ValueError("queries: scores are beyond the range of float32; scale queries or codebooks down")
        ranked = partial(_ranked, ties=ties, cuts=[*cuts, *points], sums=sums, divisor=divisor)
        rows = [ranked(key[:n], related[:n]) for key, related in zip(np.asarray(keys), np.asarray(relevant))]
        return tuple(np.stack(column) for column in zip(*rows))

    size = max(1, (_SCORES if jax.default_backend() == "cpu" else _MANY_SCORES) // room)
    ap, n_relevant, hits = _in_blocks(measure, database, queries, query_sets, size=size, mesh=mesh)
    curve = np.broadcast_to(points, (len(hits), len(points))), hits[:, len(cuts) :]
    empty = np.empty((len(hits), 0))
    return _metrics(ap, n_relevant, cuts[1:], hits[:, 1 : len(cuts)], curve, (empty, empty), ties, at, divisor)


# Border


def _same_width(query_codes: Any, database_codes: Any) -> tuple[np.ndarray, np.ndarray]:
    queries, items = np.asarray(query_codes), np.asarray(database_codes)
    if queries.shape[1] != items.shape[1]:
        raise ValueError(
            f"query_codes: expected {items.shape[1]} bytes per code, as database_codes; got {queries.shape}"
        )
    return queries, items


def _label_sets(query_labels: Any, database_labels: Any, n_queries: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Both sides' label sets as words of 32 labels: (n_q, words) and (n, words) uint32."""
    given = [(query_labels, "query_labels", n_queries), (database_labels, "database_labels", n)]
    sides = []
    for x, name, rows in given:
        if len(x) != rows:
            raise ValueError(f"{name}: expected {rows} rows of labels, one for each code; got shape {x.shape}")
        sides.append(x)
    query, items = sides
    if query.shape[1:] != items.shape[1:]:
        raise ValueError(
            f"query_labels: expected the same classes as database_labels; got shapes {query.shape} and {items.shape}"
        )
    if query.ndim == 2:
        return _words(np.packbits(query > 0, axis=1)), _words(np.packbits(items > 0, axis=1))
    _, column = np.unique(np.concatenate(sides), return_inverse=True)
    sets = np.zeros((len(column), column.max() // 32 + 1), np.uint32)
    sets[np.arange(len(column)), column // 32] = np.uint32(1) << (column % 32).astype(np.uint32)
    return sets[:n_queries], sets[n_queries:]


def _ranks(at: int | None, topn: Sequence[int] | None, n: int) -> list[int]:
    """The rank at which average precision ends, then those of topN precision."""
    rank = checks.Whole(1, n)
    cut = n if at is None else rank(at, "at")
    if topn is None:
        return [cut, *(one for one in TOPN if one <= n)]
    return [cut, *(rank(one, "topn") for one in topn)]


def _words(codes: np.ndarray) -> np.ndarray:
    """uint32 words of rows of bytes."""
    return np.pad(codes, ((0, 0), (0, -codes.shape[1] % 4))).view(np.uint32)


def _room(n: int) -> int:
    """The smallest of a few sizes that n items fit in: every size is a program to compile."""
    return roomy(n) if n <= _ITEMS else -(-n // _ITEMS) * _ITEMS


def _filled(rows: Any, n: int) -> Any:
    """n rows: those given and zeros behind them."""
    pad = np.pad if isinstance(rows, np.ndarray) else jnp.pad
    return pad(rows, ((0, n - len(rows)), (0, 0)))


def _chunked(rows: Any) -> Any:
    """(n, w) -> (chunks, w, items): chunks of equal size, zeros at the end."""
    room = _room(len(rows))
    return _filled(rows, room).reshape(-(-room // _ITEMS), min(room, _ITEMS), -1).transpose(0, 2, 1)


def _in_blocks(
    function: Callable[..., tuple], database: tuple, *rows: np.ndarray, size: int, mesh: Mesh | None = None
) -> list[np.ndarray]:
    """`function` of the database and blocks of at most `size` rows, all of one shape, on as many threads as there are
    cores; the devices of a mesh take blocks in turn."""
    n = len(rows[0])
    devices = [None] if mesh is None else list(mesh.devices.flat)
    size = min(size, roomy(-(-n // len(devices))))
    copies = [database] if mesh is None else [jax.device_put(database, device) for device in devices]
    padded = [_blocks(x, size) for x in rows]
    # Each thread continues the caller's context, so that a caller who times compilation is told of theirs.
    contexts = [copy_context() for _ in padded[0]]

    def measure(number: int, *block: np.ndarray) -> tuple:
        with checks.as_usual():
            return tuple(map(np.asarray, function(*copies[number % len(copies)], *block)))

    with ThreadPoolExecutor(max(os.cpu_count() or 1, len(devices))) as pool:
        results = list(pool.map(lambda c, *block: c.run(measure, *block), contexts, range(len(contexts)), *padded))
    return [np.concatenate(parts)[:n] for parts in zip(*results)]


def _blocks(rows: np.ndarray, size: int) -> np.ndarray:
    """(n, w) -> (blocks, b, w): blocks of one of a few sizes, at most `size`, zeros at the end."""
    blocks = -(-len(rows) // size)
    size = min(size, roomy(-(-len(rows) // blocks)))
    return np.pad(rows, ((0, blocks * size - len(rows)), (0, 0))).reshape(blocks, size, -1)


# Passes over the database


def _relevant(query: Array, items: Array) -> Array:
    """Whether label sets meet, word by word: (words, ...) and (words, ...) -> bool (...)."""
    shared = query[0] & items[0]
    for w in range(1, len(query)):
        shared |= query[w] & items[w]
    return shared != 0


def _shared(query: Array, items: Array) -> Array:
    """How many labels sets share, word by word: (words, ...) and (words, ...) -> uint32 (...)."""
    shared = lax.population_count(query[0] & items[0])
    for w in range(1, len(query)):
        shared += lax.population_count(query[w] & items[w])
    return shared


def _distance(query: Array, items: Array) -> Array:
    """Hamming distance, word by word: (words, ...) and (words, ...) -> uint32 (...)."""
    distance = lax.population_count(query[0] ^ items[0])
    for w in range(1, len(query)):
        distance += lax.population_count(query[w] ^ items[w])
    return distance


@partial(jax.jit, static_argnames=("bits", "grades"))
def _count(
    queries: Array, query_sets: Array, items: Array, item_sets: Array, weights: Array, *, bits: int, grades: int = 1
) -> Array:
    """Numbers of irrelevant and relevant items at every distance, or of those that share 0, 1, ... grades labels.

    On a CPU a query after the other adds to its counters; on accelerators all are compared with every counter's number.
    The CPU's loop over queries is inside that over chunks because XLA vectorises a kernel that reads a whole chunk, and
    not one that slices the chunk out of the database as well.

    Args:
        queries: (b, words) uint32.
        query_sets: (b, label words) uint32.
        items: (chunks, words, items) uint32.
        item_sets: (chunks, label words, items) uint32.
        weights: (chunks, 1, items) int32, 0 for what pads the last chunk.

    Returns:
        (b, bits + 1, grades + 1) int32.
    """

    def add(counts: Array, chunk: tuple[Array, Array, Array]) -> tuple[Array, None]:
        items, item_sets, (weight,) = chunk

        def bucket(query: Array, labels: Array) -> Array:
            shared = (_relevant if grades == 1 else _shared)(labels, item_sets)
            return (grades + 1) * _distance(query, items) + shared

        def added(query: tuple[Array, Array]) -> Array:
            return jnp.zeros(size, jnp.int32).at[bucket(*query)].add(weight, mode="promise_in_bounds")

        def compared(queries: Array, query_sets: Array) -> Array:
            own = lax.optimization_barrier(jax.vmap(bucket)(queries, query_sets))
            here = own[:, None] == jnp.arange(size, dtype=own.dtype)[:, None]
            return jnp.where(here, weight, 0).sum(axis=2, dtype=jnp.int32)

        def in_turn(*block: Array) -> Array:
            return lax.map(added, block)

        return counts + lax.platform_dependent(queries, query_sets, cpu=in_turn, default=compared), None

    size = (grades + 1) * (bits + 1)
    start = jnp.zeros((len(queries), size), jnp.int32)
    return lax.scan(add, start, (items, item_sets, weights))[0].reshape(len(queries), bits + 1, grades + 1)


def _stable_sums(*arguments: Any) -> tuple[Any, Array]:
    """`_stable` of the arguments, with float64 sums from any device."""
    wide = _has_float64()
    gain, hits = _stable(*arguments, wide=wide)
    return gain if wide else np.asarray(gain) / _PARTS, hits


@partial(jax.jit, static_argnames="wide")
def _stable(*arguments: Array, wide: bool) -> tuple[Array, Array]:
    """Sums of precisions and hits in the stable order of ties: `_walked`, on accelerators `_sorted`."""
    with jax.enable_x64(True):  # for this pass alone: float32 sums lose four digits here
        forms = {"cpu": partial(_walked, wide=wide), "default": partial(_sorted, wide=wide)}
        return lax.platform_dependent(*arguments, **forms)


def _walked(
    counts: Array, queries: Array, query_sets: Array, items: Array, item_sets: Array, cuts: Array, *, wide: bool
) -> tuple[Array, Array]:
    """Walk the database in its order, all queries side by side.

    For every query and distance an int64 holds the rank that the last item took there (low half) and the number of
    relevant items up to it (high half); both start at their values before the distance's first item.

    Args:
        counts: (b, bits + 1, 2), from `_count`.
        queries: (words, b) uint32.
        query_sets: (label words, b) uint32.
        items: (n, words) uint32.
        item_sets: (n, label words) uint32; what fills up the end has no labels.
        cuts: (k,) int32 ranks.
        wide: whether to compute in float64.

    Returns:
        (b,) float64 sum, over the relevant items up to rank cuts[0], of the precision at their ranks, and (b, k) int32
        number of relevant items up to each of the ranks.  Without `wide` the sum is an int64 number of `_PARTS`-ths: a
        precision is rounded to float32 and down to a whole number of them, no sum is rounded, so the mean is right to
        1e-7.
    """
    with jax.enable_x64(True):
        packed = counts.sum(axis=2, dtype=jnp.int64) + (counts[:, :, 1].astype(jnp.int64) << 32)
        state = (jnp.cumsum(packed, axis=1) - packed).reshape(-1)
        first = jnp.arange(len(counts), dtype=jnp.uint32) * jnp.uint32(counts.shape[1])

        def place(carry: tuple[Array, Array, Array], item: tuple[Array, Array]) -> tuple[Any, None]:
            state, gain, hits = carry
            words, labels = item
            bucket = first + _distance(queries, words)
            relevant = _relevant(query_sets, labels)
            now = state.at[bucket].get(mode="promise_in_bounds") + 1 + (relevant.astype(jnp.int64) << 32)
            rank, relevant_so_far = now.astype(jnp.int32), (now >> 32).astype(jnp.int32)
            counted = relevant & (rank <= cuts[:, None])
            precision = _precision(relevant_so_far, rank, wide)
            gain += jnp.where(counted[0], precision, 0)
            state = state.at[bucket].set(now, mode="promise_in_bounds", unique_indices=True)
            return (state, gain, hits + counted.astype(jnp.int32)), None

        gain = jnp.zeros(len(counts), jnp.float64 if wide else jnp.int64)
        start = state, gain, jnp.zeros((len(cuts), len(counts)), jnp.int32)
        (_, gain, hits), _ = lax.scan(place, start, (items, item_sets))
        return gain, hits.T


def _precision(relevant_so_far: Array, rank: Array, wide: bool) -> Array:
    """In float64, or an int64 number of `_PARTS`-ths."""
    if wide:
        return relevant_so_far.astype(jnp.float64) / rank.astype(jnp.float64)
    precision = relevant_so_far.astype(jnp.float32) / rank.astype(jnp.float32)
    return (precision * _PARTS).astype(jnp.int32).astype(jnp.int64)


def _sorted(
    counts: Array, queries: Array, query_sets: Array, items: Array, item_sets: Array, cuts: Array, *, wide: bool
) -> tuple[Array, Array]:
    """What `_walked` gives, by a stable sort of the distances of many queries at once."""
    with jax.enable_x64(True):
        rank, n, beyond = jnp.arange(1, len(items) + 1, dtype=jnp.int32), counts[0].sum(), counts.shape[1]

        def one(query: tuple[Array, Array]) -> tuple[Array, Array]:
            distance = jnp.where(rank <= n, _distance(query[0], items.T), jnp.uint32(beyond))
            relevant = _relevant(query[1], item_sets.T)
            relevant = lax.sort((distance, relevant), num_keys=1)[1]
            so_far = jnp.cumsum(relevant, dtype=jnp.int32)
            gain = jnp.where(relevant & (rank <= cuts[0]), _precision(so_far, rank, wide), 0).sum()
            return gain, so_far[cuts - 1]

        return lax.map(one, (queries.T, query_sets.T), batch_size=max(1, _SORTED // len(items)))


@jax.jit
def _scores(
    queries: Array, query_sets: Array, codes: Array, item_sets: Array, codebooks: Array, n: Array
) -> tuple[Array, Array, Array]:
    """A uint32 key that falls as the score rises (b, n or more), relevance, and whether all scores are finite.

    On accelerators the first n are in the order of their keys.
    """

    def one(query: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        vector, labels = query
        table = jnp.einsum("k,bwk->bw", vector, codebooks, precision="highest")
        score = jnp.zeros(codes.shape[1], jnp.float32)
        for book in range(len(codes)):
            score += table[book].at[codes[book]].get(mode="promise_in_bounds")
        raw = lax.bitcast_convert_type(jnp.where(score == 0, jnp.float32(0), score), jnp.uint32)  # -0 equals 0
        key = jnp.where(raw >> 31 == 1, raw, ~raw & jnp.uint32(0x7FFFFFFF))
        return key, _relevant(labels, item_sets), jnp.isfinite(score).all()

    def in_turn(*block: Array) -> tuple[Array, Array, Array]:
        return lax.map(one, block)

    def in_order(*block: Array) -> tuple[Array, Array, Array]:
        keys, relevant, finite = jax.vmap(lambda *query: one(query))(*block)
        keys = jnp.where(jnp.arange(keys.shape[1], dtype=jnp.int32) < n, keys, jnp.uint32(2**32 - 1))
        keys, relevant = lax.sort((keys, relevant), num_keys=1)
        return keys, relevant, finite

    keys, relevant, finite = lax.platform_dependent(queries, query_sets, cpu=in_turn, default=in_order)
    return keys, relevant, finite.all()


# From counts to numbers


def _ranked(
    keys: np.ndarray,
    relevant: np.ndarray,
    ties: str,
    cuts: Sequence[int],
    sums: tuple[np.ndarray, np.ndarray],
    divisor: str,
) -> tuple[float, int, np.ndarray]:
    """Average precision up to rank cuts[0], number of relevant items and hits at each cut, for one query's scores."""
    if (keys[1:] < keys[:-1]).any():
        order = np.argsort(keys.astype(np.uint16), kind="stable")  # of 16 bits: a radix sort, and two make one of 32
        order = order[np.argsort((keys >> 16).astype(np.uint16)[order], kind="stable")]
        keys, relevant = keys[order], relevant[order]
    possible = np.minimum(relevant.sum(keepdims=True), cuts[0]) if divisor == "possible" else None
    if ties == "stable":
        ranks = np.flatnonzero(relevant) + 1
        hits = np.searchsorted(ranks, cuts, side="right")
        most = hits[0] if possible is None else possible[0]
        return (np.arange(1, hits[0] + 1) / ranks[: hits[0]]).sum() / max(most, 1), len(ranks), hits
    last = np.append(np.flatnonzero(keys[1:] != keys[:-1]), len(keys) - 1)
    tied, relevant_tied = np.diff(last, prepend=-1), np.diff(np.cumsum(relevant)[last], prepend=0)
    ap = _expected_ap(tied[None], relevant_tied[None], cuts[0], sums, possible)[0]
    return ap, relevant.sum(), _expected_hits(tied, relevant_tied, cuts)


def _sums(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n + 1,) float64 tables: harmonic numbers 1 + 1/2 + ... + 1/i, and log i!."""
    i = np.arange(n + 1)
    return np.concatenate([[0.0], np.cumsum(1 / i[1:])]), gammaln(i + 1)


def _bucket_gain(harmonic: Any, tied: Any, relevant: Any, before: Any, relevant_before: Any, xp: Any = np) -> Any:
    """What a bucket adds to the sum of precisions at relevant ranks, in the mean over its orders.

    Of its t = `tied` items m = `relevant` are relevant, of the T = `before` items ahead of it C = `relevant_before`.
    Its p-th place holds a relevant item in m / t of the orders, and then C + 1 + (p - 1) (m - 1) / (t - 1) relevant
    items in the mean are at ranks up to T + p.  Their quotient, summed over p, with dH = sum_p 1 / (T + p):

        (m / t) [(C + 1) dH + (m - 1) / (t - 1) (t - (T + 1) dH)]
    """
    step = harmonic[before + tied] - harmonic[before]
    slope = (relevant - 1) / xp.maximum(tied - 1, 1)
    return relevant / xp.maximum(tied, 1) * ((relevant_before + 1) * step + slope * (tied - (before + 1) * step))


def _expected_ap(
    tied: np.ndarray,
    relevant: np.ndarray,
    at: int,
    sums: tuple[np.ndarray, np.ndarray],
    possible: np.ndarray | None = None,
) -> np.ndarray:
    """(n_q,) average precision up to rank `at`, mean over all orders within the buckets; 0 where nothing is relevant.

    Args:
        tied: (n_q, buckets) items in every bucket, in the order of the ranking.
        relevant: (n_q, buckets) relevant ones among them.
        at: rank from 1 to n.
        sums: from `_sums`.
        possible: (n_q,) divisors; relevant items up to rank `at` if None.
    """
    end, relevant_so_far = np.cumsum(tied, axis=1), np.cumsum(relevant, axis=1)
    before, relevant_before = end - tied, relevant_so_far - relevant
    whole = end <= at
    hits = (relevant * whole).sum(axis=1)
    some = np.flatnonzero(whole & (relevant > 0))
    parts = _bucket_gain(sums[0], *(x.ravel()[some] for x in (tied, relevant, before, relevant_before)))
    gain = np.bincount(some // tied.shape[1], parts, minlength=len(tied))
    ap = gain / np.maximum(hits if possible is None else possible, 1)
    cut = np.argmin(whole, axis=1)  # the bucket that the cut divides, if it divides one
    for q in np.flatnonzero(~whole.all(axis=1)):
        bucket = [int(x[q, cut[q]]) for x in (tied, relevant, before)]
        if bucket[2] < at:
            ap[q] = _divided(bucket, gain[q], hits[q], at, sums, None if possible is None else possible[q])
    return ap


def _divided(
    bucket: Sequence[int],
    gain: float,
    hits: int,
    at: int,
    sums: tuple[np.ndarray, np.ndarray],
    possible: int | None,
) -> float:
    """Mean average precision over the orders of the bucket that rank `at` divides.

    The number j of its relevant items among its first `places` is hypergeometric, and given j these places are a bucket
    of their own, and the divisor is hits + j.

    Args:
        bucket: its items, relevant items, and items ahead of it.
        gain: sum of precisions at the relevant ranks ahead of it.
        hits: relevant items ahead of it.
        at: the rank.
        sums: from `_sums`.
        possible: the divisor; hits + j if None.
    """
    tied, relevant, before = bucket
    harmonic, log_factorial = sums
    places = at - before
    j = np.arange(max(0, places - (tied - relevant)), min(relevant, places) + 1)

    def ways(n: int, k: np.ndarray) -> np.ndarray:
        return log_factorial[n] - log_factorial[k] - log_factorial[n - k]

    weight = ways(relevant, j) + ways(tied - relevant, places - j)
    weight = np.exp(weight - weight.max())
    inside = _bucket_gain(harmonic, places, j, before, hits)
    divisor = np.maximum(hits + j if possible is None else possible, 1)
    return float(weight @ ((gain + inside) / divisor) / weight.sum())


def _expected_hits(tied: np.ndarray, relevant: np.ndarray, cuts: Sequence[int]) -> np.ndarray:
    """(len(cuts),) mean number of relevant items up to each rank, from one query's (buckets,) counts."""
    end, relevant_so_far = np.cumsum(tied), np.cumsum(relevant)
    bucket = np.searchsorted(end, cuts)
    missing = (end[bucket] - cuts) / tied[bucket]
    return relevant_so_far[bucket] - relevant[bucket] * missing


def _metrics(
    ap: np.ndarray,
    n_relevant: np.ndarray,
    topn: Sequence[int],
    hits: np.ndarray,
    curve: Sequence[np.ndarray],
    radius: Sequence[np.ndarray],
    ties: str,
    at: int | None,
    divisor: str,
) -> Metrics:
    """Means over queries with relevant items.

    Args:
        ap: (n_q,) average precision.
        n_relevant: (n_q,) relevant items in the database.
        topn: ranks.
        hits: (n_q, len(topn)) relevant items up to these ranks.
        curve: items retrieved and relevant ones among them, each (n_q, points), of the precision-recall curve.
        radius: the same for every Hamming radius.
        ties: the rule.
        at: the cut.
        divisor: of a cut-off average precision.
    """
    measured = n_relevant > 0
    if not measured.any():
        raise ValueError("query_labels: expected labels that database_labels shares; no query has any relevant item")

    def means(retrieved: np.ndarray, relevant_retrieved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        retrieved, relevant_retrieved = retrieved[measured], relevant_retrieved[measured]
        recall = relevant_retrieved / n_relevant[measured, None]
        return (relevant_retrieved / np.maximum(retrieved, 1)).mean(axis=0), recall.mean(axis=0)

    return Metrics(
        np.where(measured, ap, np.nan),
        float(ap[measured].mean()),
        len(ap),
        int((~measured).sum()),
        tuple(topn),
        (hits[measured] / np.asarray(topn)).mean(axis=0),
        *means(*curve),
        *means(*radius),
        ties,
        at,
        divisor,
        (radius[0][measured] > 0).mean(axis=0),
    )
