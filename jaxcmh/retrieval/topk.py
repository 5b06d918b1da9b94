"""Packed binary codes and exact top-k search: by Hamming distance, or by codebook look-up.

A packed code is a row of bytes with little bit order: bit j of byte b is code 8 b + j, 1 standing for +1, as in
`np.packbits(signs > 0, axis=1, bitorder="little")`. Every search here is exact and returns items of equal distance
(or score) in ascending order of their row number.

The plan of a search. Items lie in chunks of C x S (`Blocks`): column s of a chunk holds its items s C ... s C + C - 1,
so that one instruction works on many columns, and a column is a run of neighbours. For a batch of queries and a chunk:

* Hamming, small k: all distances; the minimum of every column; the k best columns, which must hold the k best items
  (ties too: an earlier column has the smaller row numbers); their k C distances; the best k of them.
* Hamming, large k: all distances; the k-th smallest, t, by bisection on counts; one bit per item for "< t" and another
  for "= t"; the positions of the first k set bits, from prefix sums of popcounts; a sort of k integers.
* Look-up: scores of 32 queries side by side, as sums of rows of their tables; then as for small k.

One more top-k merges the answers of the chunks, be they on one device or on many.

Every shape is a program to compile, and programs are never given back. So items, queries and k are filled up to a few
sizes (`roomy`, `_roomy_k`) on the host, which compiles nothing, and what was not asked for is cut off there. NumPy's
arrays go into programs as they are: `jnp.asarray` compiles one of its own for every shape.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcmh import brief, checks
from jaxcmh.checks import Books, Codes, Copies, Natural, checked
from jaxcmh.extras import if_compiled

# A chunk's codes, and a batch's distances to a chunk, should stay in the cache.
CHUNK_BYTES, CHUNK_ITEMS, BATCH_PAIRS = 1 << 22, 1 << 18, 1 << 21
MANY_PAIRS, MANY_QUERIES = 1 << 28, 1 << 10  # in a batch on an accelerator, whose cores less would leave idle
LANES = 64  # columns come in multiples of this: XLA leaves loops scalar that it cannot split evenly over threads
LOOKUP_BATCH = 32  # queries whose table entries lie side by side: whole registers of floats
REPEATED = 4  # items to a code, in the mean, from which on every code is searched once
SAMPLE = 1 << 14  # rows that show whether codes repeat at all
RANGE_ITEMS = 1 << 22  # items sorted together
RANGE_QUERIES = 256  # queries whose items within a radius are sought together
RUN = 32  # items of a column that look-up search takes or leaves together


__all__ = ["Blocks", "arrange", "codes_of", "hamming_range", "hamming_topk", "lookup_topk", "pack", "unpack"]

Engine = Literal["auto", "jax", "numba"]


class Repeats(NamedTuple):
    """Which items have each code: those of code i are rows[starts[i] : starts[i + 1]], ascending."""

    rows: Any  # (n,) int32
    starts: Any  # (codes + 1,) int32


class Blocks(NamedTuple):
    """Items arranged for search by `arrange`: item (c S + s) C + r is words[c, :, r, s].

    Or, where `repeats` is there, the different codes of the items, in the order in which each comes first.

    Example:
        >>> blocks = arrange(np.uint8([[0], [7], [3]]))
        >>> int(blocks.n), codes_of(blocks).tolist()
        (3, [[0], [7], [3]])
        >>> hamming_topk(np.uint8([[7]]), blocks, 2)[1].tolist()
        [[1, 2]]
    """

    words: Any  # (chunks, bytes, C, S) uint8; zeros behind the last item; NumPy's where `arrange` put them on a CPU
    n: Any  # () int32, number of items, or of different codes
    repeats: Any = None  # Repeats

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def pack(signs: checks.Array) -> jax.Array:
    """Pack signs into bytes, eight to a byte, little bit order.

    Args:
        signs: (n, bits) numbers, each -1 or +1; bits a positive multiple of 8.

    Returns:
        (n, bits / 8) uint8 codes.

    Raises:
        ValueError: signs is not a matrix, its width is not a positive multiple of 8, or an entry is neither -1 nor +1.

    Example:
        >>> pack([[1, 1, -1, -1, -1, -1, -1, -1]]).tolist()
        [[3]]
    """
    if signs.ndim != 2 or signs.shape[1] == 0 or signs.shape[1] % 8:
        raise ValueError(f"signs: expected shape (n, bits), bits a positive multiple of 8; got {signs.shape}")
    if _concrete(signs):
        host = np.asarray(signs)
        wrong = ((host != 1) & (host != -1)).any(axis=1)
        if wrong.any():
            raise ValueError(f"signs: every entry must be -1 or +1; row {wrong.argmax()} has another value")
    return _pack(jnp.asarray(signs))


@jax.jit
def _pack(signs: jax.Array) -> jax.Array:
    ones = (signs > 0).reshape(signs.shape[0], signs.shape[1] // 8, 8)
    return (ones << jnp.arange(8, dtype=jnp.uint8)).sum(axis=2, dtype=jnp.uint8)


@checked
def unpack(codes: Codes) -> jax.Array:
    """Signs of packed codes: the inverse of `pack`.

    Args:
        codes: (n, bits / 8) uint8 codes, little bit order.

    Returns:
        (n, bits) float32 signs, each -1 or +1.

    Raises:
        ValueError: codes is not a uint8 matrix.

    Example:
        >>> unpack(np.uint8([[3]])).tolist()
        [[1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]]
    """
    return _unpack(jnp.asarray(codes))


@jax.jit
def _unpack(codes: jax.Array) -> jax.Array:
    ones = (codes[:, :, None] >> jnp.arange(8, dtype=jnp.uint8)) & 1
    return jnp.where(ones == 1, jnp.float32(1), jnp.float32(-1)).reshape(codes.shape[0], 8 * codes.shape[1])


def roomy(n: int) -> int:
    """The smallest of a few sizes that n rows fit in: a power of two, and beyond 64 one of eight up to the next.

    Example:
        >>> [roomy(n) for n in (0, 1, 3, 64, 65, 100, 1000)]
        [1, 1, 4, 64, 72, 104, 1024]
    """
    step = 1 << max(0, (n - 1).bit_length() - 4)
    return -(-n // step) * step if n > 64 else 1 << (max(n, 1) - 1).bit_length()


def _checked_k(k: Any, available: int) -> int:
    if available == 0:
        raise ValueError(f"k: there are no items to search, or none that mask leaves; got {checks.got(k)}")
    return checks.Whole(1, available)(k, "k")


def _roomy_k(k: int) -> int:
    """The smallest of 1, 2, 3, 5, 7, 10, 15, 20, ... that is not below k: what people ask for costs nothing more."""
    power = 10 ** (len(str(k)) - 1)
    return next(size for half in (2, 3, 4, 6, 10, 14, 20) if (size := half * power // 2) >= k)


def filled_up(rows: np.ndarray, n: int) -> np.ndarray:
    """n rows: those given and zeros behind them."""
    return np.concatenate([rows, np.zeros((n - len(rows), *rows.shape[1:]), rows.dtype)]) if n > len(rows) else rows


@checked
def arrange(codes: Codes, devices: Copies = 1) -> Blocks:
    """Arrange codes for search, once for a database that is searched often.

    Args:
        codes: (n, bytes) uint8: packed bits, or word numbers of codebooks.
        devices: make the number of chunks a multiple of this, to spread them over that many devices.

    Returns:
        The same items, accepted wherever a function of this module takes database codes.

    Raises:
        ValueError: codes is not a uint8 matrix, or devices not a positive integer.

    Example:
        >>> arrange(np.zeros((5, 8), np.uint8)).words.shape
        (1, 8, 32, 64)
    """
    n, width = codes.shape
    shape = _arrangement(n, width, devices)
    if _concrete(codes):
        codes = filled_up(np.asarray(codes), math.prod(shape))
    # NumPy's integer, because JAX's would have to be waited for.
    return Blocks(_in_place(_spread(codes, shape)), np.int32(n))


def _in_place(words: Any) -> Any:
    """Words as NumPy sees them where they lie, if on a CPU: NumPy and JAX both search there without a copy, and to ask
    an array of JAX for it takes a good part of a search."""
    return np.asarray(words) if _concrete(words) and _on_cpu(words) else words


def _arrangement(n: int, width: int, devices: int = 1) -> tuple[int, int, int]:
    """Chunks, C and S for n codes."""
    most = min(CHUNK_ITEMS, CHUNK_BYTES // width)
    chunks = devices * max(1, -(-n // (devices * most)))
    run = 32 if n <= chunks << 16 else 128
    return chunks, run, max(1, -(-n // (chunks * run * LANES))) * LANES


def distinct(codes: Codes) -> Blocks:
    """`arrange`, of every code once where codes repeat as those learned from labels do: then searches take less.

    On a CPU alone: which items have the codes that were found is looked up on the host.

    The k nearest codes, of equally near ones those that come first, hold the k nearest items: a code that is not among
    them stands behind the first items of k others.

    Example:
        >>> blocks = distinct(np.uint8([[1], [2]] * 4))
        >>> int(blocks.n), nearest(np.uint8([[2]]), blocks, 5)[1].tolist()
        (2, [[1, 3, 5, 7, 0]])
    """
    if not _on_cpu(codes):
        return arrange(codes)
    codes = np.asarray(codes)
    first, number = _numbered(codes, len(codes) // REPEATED)
    if first is None or not len(codes):
        return arrange(codes)
    starts = np.concatenate([[0], np.cumsum(np.bincount(number))]).astype(np.int32)
    return arrange(codes[first])._replace(repeats=Repeats(np.argsort(number, kind="stable").astype(np.int32), starts))


def _numbered(codes: np.ndarray, most: int) -> tuple[Any, Any]:
    """Where each different code comes first, and their numbers in this order for all rows; None if more than `most`."""
    n, width = codes.shape
    words = np.pad(codes, ((0, 0), (0, -width % 8))).view(np.uint64)
    keys = words[:, 0].copy()
    for word in words.T[1:]:
        keys = (keys ^ keys >> np.uint64(32)) * np.uint64(0x9E3779B97F4A7C15) + word
    if n > 16 * SAMPLE:
        # Of m rows with one of `most` codes each, about m² / (2 most) have one that is there already.
        some = keys[np.random.default_rng(0).integers(0, n, SAMPLE)]
        if (SAMPLE - len(np.unique(some))) * 4 * most < SAMPLE**2:
            return None, None
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    # Different codes with one key, which is hardly ever seen, are not told apart here.
    if len(first) > most or (width > 8 and (codes[first[number]] != codes).any()):
        return None, None
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[number]


def kept(blocks: Blocks, mask: np.ndarray) -> Blocks:
    """Blocks with repeats of the items of a mask alone, which keep their rows.

    Example:
        >>> blocks = kept(distinct(np.uint8([[1], [2]] * 4)), np.arange(8) > 4)
        >>> codes_of(blocks._replace(repeats=None)).tolist(), blocks.repeats.rows.tolist()
        ([[2], [1]], [5, 7, 6])
    """
    rows, starts = blocks.repeats
    there = mask[rows]
    ends = np.concatenate([[0], np.cumsum(there)])[starts]
    rows, starts, sizes = rows[there], ends[:-1], np.diff(ends)
    some = np.flatnonzero(sizes)
    some = some[np.argsort(rows[starts[some]])]  # a code's first item may be gone
    ends = np.concatenate([[0], np.cumsum(sizes[some])])
    at = np.arange(len(rows)) + np.repeat(starts[some] - ends[:-1], sizes[some])
    found = arrange(codes_of(blocks._replace(repeats=None))[some])
    return found._replace(repeats=Repeats(rows[at], ends.astype(np.int32)))


def without(blocks: Blocks, mask: np.ndarray) -> Blocks:
    """What is left of the items without those of a mask, their rows counted anew.

    Example:
        >>> codes_of(without(arrange(np.uint8([[1], [2], [3]])), np.array([True, False, False]))).tolist()
        [[2], [3]]
    """
    if blocks.repeats is None:
        return arrange(codes_of(blocks)[~mask])
    blocks, row = kept(blocks, ~mask), np.cumsum(~mask, dtype=np.int32) - 1
    return blocks._replace(repeats=blocks.repeats._replace(rows=row[blocks.repeats.rows]))


def extended(blocks: Blocks, codes: np.ndarray, anew: Callable[[Any], Blocks] = arrange) -> Blocks:
    """All items with those of codes behind: where there is room, only these are written, else `anew` arranges all.

    Example:
        >>> codes_of(extended(arrange(np.uint8([[1], [2]])), np.uint8([[3]]))).tolist()
        [[1], [2], [3]]
    """
    if blocks.repeats is not None:
        return _repeated(blocks, codes)
    n, (chunks, width, run, columns) = int(blocks.n) + len(codes), blocks.words.shape
    if _arrangement(n, width) != (chunks, run, columns):
        return anew(np.concatenate([codes_of(blocks), codes]))
    words, row = np.array(blocks.words), np.arange(n - len(codes), n)
    words[row // (run * columns), :, row % run, row // run % columns] = codes
    return Blocks(_in_place(jax.device_put(words)), np.int32(n))


def _repeated(blocks: Blocks, codes: np.ndarray) -> Blocks:
    """`extended` of blocks with repeats."""
    (rows, starts), known = blocks.repeats, blocks._replace(repeats=None)
    n, u = len(rows), int(known.n)
    every = np.concatenate([codes_of(known), codes])
    first, number = _numbered(every, (n + len(codes)) // 2)
    if first is None:
        return arrange(np.concatenate([codes_of(blocks), codes]))
    number, order = number[u:], np.argsort(number[u:], kind="stable")
    ends = np.concatenate([starts[1:], np.full(len(first) - u, n, np.int32)])
    rows = np.insert(rows, ends[number[order]], (n + order).astype(np.int32))
    sizes = np.diff(ends, prepend=0) + np.bincount(number, minlength=len(first))
    known = extended(known, every[first[u:]]) if len(first) > u else known
    return known._replace(repeats=Repeats(rows, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)))


@partial(jax.jit, static_argnames="shape")
def _spread(codes: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
    """(n, bytes) rows as (chunks, bytes, C, S)."""
    n, width = codes.shape
    chunks, run, columns = shape
    padded = jnp.pad(codes, ((0, chunks * run * columns - n), (0, 0)))
    return padded.reshape(chunks, columns, run, width).transpose(0, 3, 2, 1)


@checked
def codes_of(blocks: Blocks) -> np.ndarray:
    """The (n, bytes) uint8 codes that `arrange` was given.

    Example:
        >>> codes_of(arrange(np.uint8([[1], [2]]))).tolist()
        [[1], [2]]
    """
    words = np.asarray(blocks.words)
    codes = words.transpose(0, 3, 2, 1).reshape(-1, words.shape[1])
    return codes[: int(blocks.n)] if blocks.repeats is None else codes[_numbers(blocks.repeats)]


def _numbers(repeats: Repeats) -> Any:
    """(n,) number of each item's code."""
    if _concrete(repeats.rows):
        number = np.empty(len(repeats.rows), np.int32)
        number[repeats.rows] = np.repeat(np.arange(len(repeats.starts) - 1, dtype=np.int32), np.diff(repeats.starts))
        return number
    return jnp.searchsorted(repeats.starts[1:], jnp.argsort(repeats.rows), side="right")


def _one_by_one(blocks: Blocks, devices: int = 1) -> Blocks:
    """The items arranged one by one, each with its code."""
    if blocks.repeats is None:
        return blocks
    if _concrete(blocks.words) and _concrete(blocks.repeats.rows):
        return arrange(codes_of(blocks), devices)
    codes = blocks.words.transpose(0, 3, 2, 1).reshape(-1, blocks.words.shape[1])
    return arrange(codes[_numbers(blocks.repeats)], devices)


@checked
def hamming_topk(
    query_codes: Codes,
    database_codes: Codes | Blocks,
    k: int,
    *,
    mask: checks.Array | None = None,
    mesh: Mesh | None = None,
    engine: Engine = "auto",
) -> tuple[jax.Array, jax.Array]:
    """The k database items nearest to every query in Hamming distance, exactly.

    Args:
        query_codes: (n_q, bits / 8) uint8 packed codes.
        database_codes: (n, bits / 8) uint8 packed codes, or `arrange` of them.
        k: items to return per query, from 1 to n, or to the number of items that mask leaves.
        mask: (n,) bool, True for the items to search; all of them if None.
        mesh: spread the database over these devices; each searches its part, and the result is the same.
        engine: "jax", or "numba" (extra `fast`; on a CPU, without a mesh, not inside jit), or "auto": numba where it is
            installed and can be used, for it is faster at every size, and loads as soon as JAX compiles for one or two
            k; what lies on an accelerator is searched there. The result is the same.

    Returns:
        distances: (n_q, k) int32, ascending, in bits.
        ids: (n_q, k) int32 rows of the database; equal distances in ascending order of id.

    Raises:
        ValueError: codes are not uint8 matrices of equal width, mask does not fit, k is out of range, or engine is not
            one of these or cannot be used here.

    Example:
        >>> hamming_topk(np.uint8([[7]]), np.uint8([[0], [7], [3]]), 2)[0].tolist()
        [[0, 1]]
    """
    return jax.device_put(nearest(query_codes, database_codes, k, mask, mesh, engine))


def nearest(
    query_codes: Any, database_codes: Any, k: int, mask: Any = None, mesh: Mesh | None = None, engine: Engine = "auto"
) -> tuple[Any, Any]:
    """`hamming_topk` of arrays that are arrays already, for callers in this package: its answers stay where they are.

    Example:
        >>> nearest(np.uint8([[7]]), arrange(np.uint8([[0], [7], [3]])), 2)[1].tolist()
        [[1, 2]]
    """
    queries, blocks = _hamming_input(query_codes, database_codes, mesh)
    if blocks.repeats is not None:
        if not (_concrete(queries) and _concrete(blocks.words) and _concrete(mask)):
            return nearest(queries, _one_by_one(blocks), k, mask, mesh, engine)
        return _nearest_repeated(queries, blocks, k, mask, engine)
    available, mask = _available(mask, blocks)
    k = _checked_k(k, available)
    compiled = _compiled(engine, queries, blocks, mesh)
    if compiled is not None:
        words = np.asarray(blocks.words)
        present = None if mask is None else np.asarray(_chunks(blocks, mask)[3])
        return compiled(words, int(blocks.n), np.asarray(queries), present, k, 1 if len(queries) == 1 else _cpus())
    pairs, most = (BATCH_PAIRS, 64) if _on_cpu(blocks.words) else (MANY_PAIRS, MANY_QUERIES)
    batch = max(8, min(most, pairs * len(blocks.words) // _slots(blocks)))
    return _search(_hamming, queries, (), blocks, mask, k, batch, mesh)


def _nearest_repeated(queries: Any, blocks: Blocks, k: int, mask: Any, engine: Engine) -> tuple[np.ndarray, np.ndarray]:
    """`nearest` of blocks with repeats: the nearest codes, and their items."""
    available, mask = _available(mask, blocks)
    k = _checked_k(k, available)
    blocks = blocks if mask is None else kept(blocks, mask)
    repeats = blocks.repeats
    if compiled := _compiled(engine, queries, blocks, None):
        threads = 1 if len(queries) == 1 else _cpus()
        return compiled(np.asarray(blocks.words), int(blocks.n), np.asarray(queries), None, k, threads, repeats)
    known = blocks._replace(repeats=None)
    near, number = map(np.asarray, nearest(queries, known, min(k, int(known.n)), engine="jax"))
    sizes = repeats.starts[number + 1] - repeats.starts[number]
    ahead = np.cumsum(sizes, axis=1) - sizes
    ahead[:, 1:][near[:, 1:] == near[:, :-1]] = 0
    ahead = np.maximum.accumulate(ahead, axis=1)  # items of nearer codes
    taken = np.minimum(sizes, np.maximum(k - ahead, 0))
    found = np.empty((2, len(queries), k), np.int32)
    step = max(1, min(1 << 12, RANGE_ITEMS // max(1, taken.sum(axis=1).max(initial=1))))
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        offsets, *items = _items(near[some], number[some], taken[some], repeats)
        found[:, some] = [x[offsets[:-1, None] + np.arange(k)] for x in items]
    return found[0], found[1]


def _items(
    near: np.ndarray, number: np.ndarray, taken: np.ndarray, repeats: Repeats
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `taken` items of codes for each query (n_q, m), by distance and row: offsets, distances, rows."""
    counts, each = taken.sum(axis=1), taken.ravel()
    at = np.arange(each.sum()) + np.repeat(repeats.starts[number].ravel() - (np.cumsum(each) - each), each)
    # Bits of an integer from the left: query, distance, row.
    query, distance = np.arange(len(counts), dtype=np.int64), near.ravel().astype(np.int64)
    key = np.repeat(query, counts) << 51 | np.repeat(distance, each) << 31
    key = np.sort(key | repeats.rows[at])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return offsets, (key >> 31 & (1 << 20) - 1).astype(np.int32), (key & (1 << 31) - 1).astype(np.int32)


@checked
def hamming_range(
    query_codes: Codes, database_codes: Codes | Blocks, radius: Natural, *, mask: checks.Array | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All database items within a Hamming distance of every query.

    Args:
        query_codes: (n_q, bits / 8) uint8 packed codes.
        database_codes: (n, bits / 8) uint8 packed codes, or `arrange` of them.
        radius: the largest distance, in bits, at least 0.
        mask: (n,) bool, True for the items to search; all of them if None.

    Returns:
        offsets: (n_q + 1,) int64; what belongs to query i is at offsets[i] : offsets[i + 1] of the other two.
        distances: int32, ascending for each query.
        ids: int32 rows of the database; equal distances in ascending order of id.

    Raises:
        ValueError: codes are not uint8 matrices of equal width, mask does not fit, or radius is out of range.

    Example:
        >>> offsets, distances, ids = hamming_range(np.uint8([[7], [255]]), np.uint8([[0], [7], [3]]), 1)
        >>> offsets.tolist(), distances.tolist(), ids.tolist()
        ([0, 2, 2], [0, 1], [1, 2])
    """
    queries, blocks = _hamming_input(query_codes, database_codes, None)
    radius = min(radius, 8 * queries.shape[1])
    if blocks.repeats is not None:
        _, mask = _available(mask, blocks)
        blocks = blocks if mask is None else kept(blocks, mask)
        return _range_of_items(*hamming_range(queries, blocks._replace(repeats=None), radius), blocks.repeats)
    available, present = _available(mask, blocks)
    queries = np.asarray(queries)
    filled = filled_up(queries, roomy(len(queries)))
    counts = np.asarray(_within(filled, blocks, present, np.int32(radius)), np.int64)[: len(queries)]
    within: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int32), np.zeros(0, np.int32))]
    for start in range(0, len(queries), RANGE_QUERIES):
        some = slice(start, start + RANGE_QUERIES)
        if counts[some].any():
            # A power of two, so that radii and queries share a few compiled programs.
            k = min(1 << (int(counts[some].max()) - 1).bit_length(), available)
            near = hamming_topk(queries[some], blocks, k, mask=mask)
            within.append(tuple(np.asarray(x)[np.arange(k) < counts[some, None]] for x in near))
    distances, ids = (np.concatenate(parts) for parts in zip(*within))
    return np.concatenate([[0], np.cumsum(counts)]), distances, ids


def _range_of_items(
    offsets: np.ndarray, near: np.ndarray, number: np.ndarray, repeats: Repeats
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `hamming_range` finds of codes, for their items."""
    found = [(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))]
    for start, end in pairwise(offsets):
        some = number[None, start:end]
        taken = repeats.starts[some + 1] - repeats.starts[some]
        found.append(_items(near[None, start:end], some, taken, repeats))
    ends, distances, rows = zip(*found)
    return np.cumsum([end[-1] for end in ends]), np.concatenate(distances), np.concatenate(rows)


@checked
def lookup_topk(
    queries: checks.Array,
    codes: Codes | Blocks,
    codebooks: Books,
    k: int,
    *,
    mask: checks.Array | None = None,
    mesh: Mesh | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The k database items of highest look-up score for every query, exactly.

    An item's score is the sum over books b of <query, codebooks[b, codes[item, b]]> (ACQH: the inner product of the
    query's real representation with the item's composed code words), added up in the order of the books in float32.

    Args:
        queries: (n_q, K) real vectors.
        codes: (n, books) uint8 word numbers, or `arrange` of them.
        codebooks: (books, words, K) real code words, at most 256 of them per book.
        k: items to return per query, from 1 to n, or to the number of items that mask leaves.
        mask: (n,) bool, True for the items to search; all of them if None.
        mesh: spread the database over these devices; each searches its part, and the result is the same.

    Returns:
        scores: (n_q, k) float32, descending.
        ids: (n_q, k) int32 rows of the database; equal scores in ascending order of id.

    Raises:
        ValueError: shapes or dtypes do not fit together, a number is not finite, a code names no word, mask does not
            fit, or k is out of range.

    Example:
        >>> books = np.float32([[[1, 0], [0, 1]]])
        >>> lookup_topk(np.float32([[2, 3]]), np.uint8([[0], [1]]), books, 1)[1].tolist()
        [[1]]
    """
    blocks, queries = _one_by_one(_blocks("codes", codes, mesh)), _real("queries", queries, 2)
    codebooks = check_lookup(blocks.words, codebooks)
    if queries.shape[1] != codebooks.shape[2]:
        raise ValueError(f"queries: expected {codebooks.shape[2]} dimensions, as codebooks has; got {queries.shape[1]}")
    available, mask = _available(mask, blocks)
    k = _checked_k(k, available)
    batch = LOOKUP_BATCH if _on_cpu(blocks.words) else MANY_QUERIES
    if mesh is not None and _concrete(codebooks):
        codebooks = np.asarray(codebooks)  # those of a model lie on one device
    return jax.device_put(_search(_lookup, queries, (codebooks,), blocks, mask, k, batch, mesh))


def _search(
    kernel: Callable,
    queries: jax.Array | np.ndarray,
    extra: tuple[jax.Array, ...],
    blocks: Blocks,
    mask: jax.Array | None,
    k: int,
    batch: int,
    mesh: Mesh | None,
) -> tuple[Any, Any]:
    """Run `_program`, on a CPU in as many threads as there may be: XLA itself spreads only its largest steps."""
    if len(queries) == 0:
        return jnp.zeros((0, k), jnp.int32 if kernel is _hamming else jnp.float32), jnp.zeros((0, k), jnp.int32)
    concrete = _concrete(queries) and _concrete(blocks.words)
    n_q, most, asked = len(queries), k, len(queries)
    if concrete:
        n_q, most = roomy(asked), min(_roomy_k(k), _slots(blocks))
        if n_q > asked:
            queries = filled_up(np.asarray(queries), n_q)
    program = partial(_program, queries, extra, blocks, mask, kernel=kernel, k=most, mesh=mesh)
    pairs, threads = n_q * _slots(blocks), 1
    if mesh is None and concrete and _on_cpu(blocks.words):
        threads = max(1, min(_cpus(), n_q // batch, pairs // BATCH_PAIRS))
    share = -(-n_q // threads)
    batch = max(1, -(-share // max(1, -(-share // batch))))  # equal batches need the least padding
    if threads == 1:
        nearest = program(share=share, batch=batch)
        if nearest[0].shape == (asked, k):
            return nearest
    else:
        nearest = np.empty((n_q, most), np.int32 if kernel is _hamming else np.float32), np.empty((n_q, most), np.int32)

        def run(thread: int) -> None:
            start = min(thread * share, n_q - share)
            with checks.as_usual():
                for whole, part in zip(nearest, program(start=start, share=share, batch=batch)):
                    whole[start : start + share] = part

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, range(threads)))
    scores, ids = (np.asarray(whole)[:asked, :k] for whole in nearest)
    return scores, ids


@partial(jax.jit, static_argnames=("share", "batch", "kernel", "k", "mesh"))
def _program(
    queries: jax.Array,
    extra: tuple[jax.Array, ...],
    blocks: Blocks,
    mask: jax.Array | None,
    *,
    start: int = 0,
    share: int,
    batch: int,
    kernel: Callable,
    k: int,
    mesh: Mesh | None,
) -> tuple[jax.Array, jax.Array]:
    """Answers for queries start .. start + share, from `kernel` on every batch of them and chunk of items."""
    queries = lax.dynamic_slice_in_dim(queries, start, share)
    queries = jnp.pad(queries, ((0, -share % batch), (0, 0))).reshape(-1, batch, queries.shape[1])

    def of_chunk(batch: jax.Array, chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        words, start, *rest = chunk
        present = _present(*rest, run=words.shape[1])
        scores, at = kernel(batch, *extra, words, present, min(k, present.size))
        return scores, start + at

    def of_chunks(queries: jax.Array, *data: jax.Array) -> tuple[jax.Array, jax.Array]:
        def of_batch(batch: jax.Array) -> tuple[jax.Array, jax.Array]:
            each = partial(of_chunk, batch)
            # The chunks of one query side by side: out of a loop XLA computes on a slice one item at a time.
            found = jax.vmap(each)(data) if len(batch) == 1 and kernel is _hamming else lax.map(each, data)
            scores, ids = (x.swapaxes(0, 1) for x in found)
            scores, ids = (x.reshape(x.shape[0], -1) for x in (scores, ids))
            return (scores, ids) if len(data[0]) == 1 else _best(scores, ids, min(k, scores.shape[1]))

        return jax.tree.map(lambda x: x.reshape(-1, x.shape[2])[:share], lax.map(of_batch, queries))

    data = _chunks(blocks, mask)
    if mesh is None:
        scores, ids = of_chunks(queries, *data)
    else:
        everywhere, spread = PartitionSpec(), PartitionSpec(mesh.axis_names)
        on_mesh = jax.shard_map(
            of_chunks,
            mesh=mesh,
            in_specs=(everywhere, *(spread for _ in data)),
            out_specs=PartitionSpec(None, mesh.axis_names),
            check_vma=False,
        )
        scores, ids = _best(*on_mesh(queries, *data), k)
    return (-scores).astype(jnp.int32) if kernel is _hamming else scores, ids


def _chunks(blocks: Blocks, mask: jax.Array | None) -> tuple[jax.Array, ...]:
    """What there is to know of each chunk: words, first row, items in each column, and the mask if there is one."""
    chunks, _, run, columns = blocks.words.shape
    start = jnp.arange(chunks, dtype=jnp.int32) * (run * columns)
    filled = jnp.clip(blocks.n - start[:, None] - run * jnp.arange(columns, dtype=jnp.int32), 0, run).astype(jnp.uint8)
    masks = () if mask is None else (_spread(mask[:, None], (chunks, run, columns))[:, 0],)
    return blocks.words, start, filled, *masks


def _present(filled: jax.Array, mask: jax.Array | None = None, *, run: int) -> jax.Array:
    """(C, S) bool: where a chunk has an item to search."""
    present = jnp.arange(run, dtype=jnp.uint8)[:, None] < filled
    return present if mask is None else present & mask


def _best(scores: jax.Array, ids: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k highest of (n_q, m) scores, descending; of equal ones those that come first."""
    best, at = lax.top_k(scores, k)
    return best, _take(ids, at)


def _hamming(queries: jax.Array, words: jax.Array, present: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k nearest items of a chunk for a batch of queries: negative distances, and positions in the chunk."""
    distance = _distances(queries, words, present)
    return (_nearest_few if k <= _few(present.size) else _nearest_many)(distance, k)


def _few(items: int) -> int:
    """The largest k for which picking columns is faster than thresholds."""
    return 16 + items // 8192


def _distances(queries: jax.Array, words: jax.Array, present: jax.Array) -> jax.Array:
    """(B, C, S) distances, uint8 up to 248 bits and uint16 beyond; bits + 1 where there is no item."""
    width, run, columns = words.shape
    dtype = jnp.uint8 if width < 32 else jnp.uint16
    words, present = words.reshape(width, -1), present.reshape(-1)

    def of_query(query: jax.Array) -> jax.Array:
        total = jnp.zeros((), dtype)
        for start in range(0, width, 16):  # sums of 16 bytes' bits fit a byte
            differing = [lax.population_count(query[w] ^ words[w]) for w in range(start, min(start + 16, width))]
            total = total + sum(differing[1:], differing[0]).astype(dtype)
        return jnp.where(present, total, dtype(8 * width + 1))

    # A loop over queries and a barrier for one of them, because their result is a buffer: without, XLA computes
    # distances again at each use. Accelerators take all queries at once.
    in_turn, at_once = partial(lax.map, of_query), jax.vmap(of_query)
    distance = lax.platform_dependent(queries, cpu=in_turn, default=at_once)
    return lax.optimization_barrier(distance).reshape(-1, run, columns)


def _over_run(distance: jax.Array, of: Callable, combine: Callable) -> jax.Array:
    """Combine `of` (B, S) over the C items of each column: elementwise, so that XLA vectorises it."""
    total = of(distance[:, 0])
    for r in range(1, distance.shape[1]):
        total = combine(total, of(distance[:, r]))
    return total


def _nearest_few(distance: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    batch, run, columns = distance.shape
    minima = _over_run(distance, lambda x: x, jnp.minimum)
    # XLA's top_k is many times faster on float32 than on integers, and as stable.
    column = jnp.sort(lax.top_k(-minima.astype(jnp.float32), k)[1], axis=1)
    at = (jnp.arange(run, dtype=jnp.int32) * columns + column[:, :, None]).reshape(batch, -1)
    near = -_take(distance.reshape(batch, -1), at).astype(jnp.float32)
    nearness, slot = lax.top_k(near, k)
    return nearness, _take(column, slot // run) * run + slot % run


def _nearest_many(distance: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    batch, run, columns = distance.shape
    limit = _kth(distance, k).astype(distance.dtype)[:, None]
    # Bit r % 32 of word (r // 32, s) tells of item s C + r; columns of "< limit" come first, then those of "= limit".
    words = [
        jnp.concatenate([_bits(part, lambda x: x < limit), _bits(part, lambda x: x == limit)], axis=1)
        for part in jnp.split(distance, run // 32, axis=1)
    ]
    counts = [lax.population_count(word).astype(jnp.int32) for word in words]
    before = _prefix(sum(counts[1:], counts[0]))
    # Slot i holds the i-th set bit. A column starts at slot `before`, so slot i's column is the last to start by i.
    row = jnp.arange(batch, dtype=jnp.int32)[:, None]
    starts = jnp.zeros((batch, k + 1), jnp.int32).at[row, jnp.minimum(before, k)].add(1, mode="promise_in_bounds")
    starts = starts[:, :k]
    column = _prefix(starts) + starts - 1
    rank = jnp.arange(k, dtype=jnp.int32) - _take(before, column)
    word, group = _take(words[0], column), jnp.zeros_like(rank)
    for i in range(1, len(words)):
        passed = lax.population_count(word).astype(jnp.int32)
        on = (rank >= passed) & (group == i - 1)
        rank, group, word = rank - passed * on, group + on, jnp.where(on, _take(words[i], column), word)
    bit = jnp.zeros_like(rank)
    for width in (16, 8, 4, 2, 1):
        low = lax.population_count(word & jnp.uint32((1 << width) - 1)).astype(jnp.int32)
        on = rank >= low
        rank, bit, word = rank - low * on, bit + width * on, jnp.where(on, word >> width, word)
    column = column - columns * (column >= columns)
    position = 32 * group + bit
    near = _take(distance.reshape(batch, -1), position * columns + column).astype(jnp.int32)
    # One integer holds distance and slot: XLA sorts integers several times faster than anything else.
    shift = max(1, (k - 1).bit_length())
    order = jnp.sort((near << shift) | jnp.arange(k, dtype=jnp.int32), axis=1)
    nearness = -(order >> shift).astype(jnp.float32)
    return nearness, _take(column * run + position, order & ((1 << shift) - 1))


def _kth(distance: jax.Array, k: int) -> jax.Array:
    """(B,) int32: the k-th smallest distance to the items of a chunk."""
    minima = _over_run(distance, lambda x: x, jnp.minimum)

    def count_columns(limit: jax.Array) -> jax.Array:
        return (minima <= limit.astype(distance.dtype)[:, None]).sum(axis=1, dtype=jnp.int32)

    low = minima.min(axis=1).astype(jnp.int32)
    high = distance.max(axis=(1, 2)).astype(jnp.int32)
    if minima.shape[1] >= k:
        high = _smallest(count_columns, low, high, k)  # k columns reach this far, hence k items
    return _smallest(partial(_count, distance), low, high, k)


def _count(distance: jax.Array, limit: jax.Array) -> jax.Array:
    """(B,) int32: how many of (B, C, S) distances are at most limit (B,)."""
    limit = limit.astype(distance.dtype)[:, None]
    within = _over_run(distance, lambda x: (x <= limit).astype(jnp.uint8), jnp.add)
    return within.sum(axis=1, dtype=jnp.int32)


def _smallest(count: Callable, low: jax.Array, high: jax.Array, k: int) -> jax.Array:
    """By bisection, the smallest limit from low to high with count(limit) >= k; that of high is known to be."""

    def halve(bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) // 2
        enough = (count(middle) >= k) | (low == high)
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    return lax.while_loop(lambda bounds: (bounds[0] < bounds[1]).any(), halve, (low, high))[1]


def _bits(distance: jax.Array, test: Callable) -> jax.Array:
    """(B, S) uint32 with bit r set where test(distance[:, r]), r < 32."""
    word = jnp.zeros((), jnp.uint32)
    for start in range(0, 32, 8):  # bytes first: four times as many to an instruction
        byte = jnp.zeros((), jnp.uint8)
        for r in range(8):
            byte = byte | (test(distance[:, start + r]).astype(jnp.uint8) << r)
        word = word | (byte.astype(jnp.uint32) << start)
    return word


def _prefix(counts: jax.Array) -> jax.Array:
    """(B, m) int32: sums of the counts before each, totals below 2**24. Products with triangles of ones beat cumsum."""
    batch, m = counts.shape
    if m <= 64:
        before = jnp.triu(jnp.ones((m, m), jnp.float32), 1)
        return jnp.dot(counts.astype(jnp.float32), before, precision=lax.Precision.HIGHEST).astype(jnp.int32)
    parts = jnp.pad(counts, ((0, 0), (0, -m % 64))).reshape(batch, -1, 64)
    inner = _prefix(parts.reshape(-1, 64)).reshape(parts.shape)
    return (inner + _prefix(parts.sum(axis=2))[:, :, None]).reshape(batch, -1)[:, :m]


def _lookup(
    queries: jax.Array, codebooks: jax.Array, words: jax.Array, present: jax.Array, k: int
) -> tuple[jax.Array, jax.Array]:
    """The k best items of a chunk for a batch of queries: scores, and positions in the chunk."""
    batch, (books, run, columns) = queries.shape[0], words.shape
    tables = jnp.einsum("mwk,bk->mwb", codebooks, queries, precision=lax.Precision.HIGHEST)
    parts = run // RUN

    def scores_at(r: jax.Array) -> jax.Array:
        """(S, B) scores of the r-th items of all columns; summed in the order of the books, as below."""
        entries = [_rows(tables[b], words[b, r]) for b in range(books)]
        return jnp.where(present[r][:, None], sum(entries[1:], entries[0]), -jnp.inf)

    if 4 * k > parts * columns:
        scores = lax.map(scores_at, jnp.arange(run, dtype=jnp.int32))
        return lax.top_k(scores.transpose(2, 1, 0).reshape(batch, -1), k)

    def best_of(part: jax.Array) -> jax.Array:
        best = jnp.full((columns, batch), -jnp.inf)
        return lax.fori_loop(0, RUN, lambda i, best: jnp.maximum(best, scores_at(part * RUN + i)), best)

    maxima = lax.map(best_of, jnp.arange(parts, dtype=jnp.int32)).transpose(2, 1, 0).reshape(batch, -1)
    block = jnp.sort(lax.top_k(maxima, k)[1], axis=1)  # numbers s C / RUN + part, as their items' rows ascend
    position = (block[:, :, None] * RUN + jnp.arange(RUN, dtype=jnp.int32)).reshape(batch, -1)
    at = position % run * columns + position // run

    query = jnp.arange(batch, dtype=jnp.int32)[:, None]
    words_at = [_rows(words[b].reshape(-1), at).astype(jnp.int32) for b in range(books)]
    entries = [_rows(tables[b].reshape(-1), words_at[b] * batch + query) for b in range(books)]
    scores = sum(entries[1:], entries[0])
    best, slot = lax.top_k(jnp.where(_rows(present.reshape(-1), at), scores, -jnp.inf), k)
    return best, _take(position, slot)


def _rows(table: jax.Array, at: jax.Array) -> jax.Array:
    """table[at] for indices known to be in range."""
    return table.at[at.astype(jnp.int32)].get(mode="promise_in_bounds")


def _take(table: jax.Array, at: jax.Array) -> jax.Array:
    """table[i, at[i]] for every i, for indices known to be in range."""
    return jnp.take_along_axis(table, at, axis=1, mode="promise_in_bounds")


@jax.jit
def _within(queries: jax.Array, blocks: Blocks, mask: jax.Array | None, radius: jax.Array) -> jax.Array:
    """(n_q,) int32: items within the radius of each query."""

    def of_query(query: jax.Array) -> jax.Array:
        def of_chunk(chunk: tuple[jax.Array, ...]) -> jax.Array:
            distance = _distances(query[None], chunk[0], _present(*chunk[2:], run=chunk[0].shape[1]))
            return _count(distance, jnp.broadcast_to(radius, 1))[0]

        return lax.map(of_chunk, _chunks(blocks, mask)).sum()

    return lax.map(of_query, queries)


def _hamming_input(query_codes: Any, database_codes: Any, mesh: Mesh | None) -> tuple[jax.Array | np.ndarray, Blocks]:
    queries, blocks = query_codes, _blocks("database_codes", database_codes, mesh)
    if queries.shape[1] != blocks.words.shape[1]:
        raise ValueError(
            f"query_codes: expected {8 * blocks.words.shape[1]} bits, as database_codes has; got {8 * queries.shape[1]}"
        )
    return queries, blocks


def _blocks(name: str, codes: Any, mesh: Mesh | None) -> Blocks:
    devices = 1 if mesh is None else mesh.size
    blocks = codes if isinstance(codes, Blocks) else arrange(codes, devices)
    if mesh is None:
        return blocks
    blocks = _one_by_one(blocks, devices)
    if blocks.words.shape[0] % devices:
        raise ValueError(f"{name}: arrange them with devices={devices} for this mesh; got {len(blocks.words)} chunks")
    spread = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    return blocks._replace(words=jax.device_put(blocks.words, spread))


def _available(mask: Any, blocks: Blocks) -> tuple[int, jax.Array | None]:
    """How many items there are to search (under a trace, where that is not known, how many there may be); the mask."""
    repeats = blocks.repeats
    n = len(repeats.rows) if repeats else int(blocks.n) if _concrete(blocks.n) else _slots(blocks)
    if mask is not None:
        if mask.dtype != bool or mask.shape != (n,):
            raise ValueError(f"mask: expected {n} bools, one per item; got {mask.dtype} of {mask.shape}")
        if _concrete(mask):
            mask = np.asarray(mask)
            n = int(mask.sum())
            if repeats:
                return n, mask
            mask = filled_up(mask, _slots(blocks))
        mask = jax.device_put(mask)
    return n, mask


def _slots(blocks: Blocks) -> int:
    """Places for items."""
    return blocks.words.size // blocks.words.shape[1]


@checked
def check_lookup(codes: Any, codebooks: Books) -> jax.Array:
    """Codebooks as float32, if they are (books, words, K) finite numbers and have all words that codes (n, books) name.

    Raises:
        ValueError: they do not fit; the message says how.

    Example:
        >>> check_lookup(np.uint8([[2]]), np.ones((1, 2, 5)))
        Traceback (most recent call last):
        ValueError: codes: expected words below 2, as in codebooks; got 2
    """
    codebooks = jnp.asarray(codebooks, jnp.float32)
    books, words, _ = codebooks.shape
    if codes.shape[1] != books:
        raise ValueError(f"codes: expected {books} books, as codebooks has; got {codes.shape[1]}")
    if words < 256 and _concrete(codes) and codes.size and int(codes.max()) >= words:
        raise ValueError(f"codes: expected words below {words}, as in codebooks; got {int(codes.max())}")
    return codebooks


def _real(name: str, x: Any, ndim: int) -> jax.Array:
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    if x.ndim != ndim or 0 in x.shape[1:] or x.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected {ndim} dimensions of real numbers, none empty; got {x.dtype} of {x.shape}")
    x = jax.device_put(x.astype(np.float32))
    if _concrete(x):
        wrong = ~np.isfinite(np.asarray(x)).all(axis=tuple(range(1, ndim)))
        if wrong.any():
            raise ValueError(f"{name}: expected finite numbers; row {wrong.argmax()} holds NaN or infinity")
    return x


def _concrete(x: Any) -> bool:
    return not isinstance(x, Tracer)


def _compiled(engine: str, queries: jax.Array | np.ndarray, blocks: Blocks, mesh: Mesh | None) -> Callable | None:
    """`numba_topk.nearest` where it is not ruled out."""
    if engine == "jax":
        return None
    possible = mesh is None and _concrete(queries) and _concrete(blocks.words) and _on_cpu(blocks.words)
    if engine == "numba":
        if not possible:
            raise ValueError("engine: numba searches on a CPU only, without a mesh, and not inside jit")
        if _numba() is None:
            raise ValueError('engine: numba is not installed (python -m pip install "jaxcmh[fast]")')
    return _numba() if possible else None


def _on_cpu(words: Any) -> bool:
    """Whether codes are searched on a CPU: where they lie, or where jax works while that is not known."""
    if jax.default_backend() != "cpu":
        return False
    known = isinstance(words, jax.Array) and _concrete(words)
    return not known or next(iter(words.sharding.device_set)).platform == "cpu"


@if_compiled
def _numba() -> Callable:
    from jaxcmh.retrieval import numba_topk

    return numba_topk.nearest


def _cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
