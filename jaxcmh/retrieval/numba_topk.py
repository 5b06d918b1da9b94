"""Hamming top-k compiled by numba (extra `fast`), for CPUs: the same answers as `topk`, sooner.

`topk.hamming_topk` uses it by itself where numba is installed; nothing else needs this module.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic

ALL, NARROW, WIDE = np.empty((0, 1, 1), bool), np.empty(0, np.uint8), np.empty(0, np.uint16)
THREAD_PAIRS = 1 << 20  # queries x items from which on a thread is worth its start
FEW = 256  # codes that are compared one by one
TILE = 8192  # items whose distances stay in the first cache while the bytes of their codes are gone through


def nearest(
    words: np.ndarray,
    n: int,
    queries: np.ndarray,
    present: np.ndarray | None,
    k: int,
    threads: int,
    repeats: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest items of every query, ties by ascending id.

    Args:
        words: (chunks, bytes, C, S) uint8, as in `topk.Blocks`.
        n: number of items.
        queries: (n_q, bytes) uint8.
        present: (chunks, C, S) bool, the items to search; None for all.
        k: at most the number of items to search.
        repeats: `topk.Repeats` where `words` are the different codes of the items and `n` is their number.
        threads: queries are shared out to so many, if there is work for them.

    Returns:
        (n_q, k) int32 distances and ids.

    Example:
        >>> words = np.uint8([[[[0, 7, 3]] * 32]])  # three columns of 32 equal items
        >>> nearest(words, 96, np.uint8([[7]]), None, 2, threads=1)[1].tolist()
        [[32, 33]]
    """
    present, kind = ALL if present is None else present, NARROW if words.shape[1] < 32 else WIDE
    asked = len(queries)
    distances, ids = np.empty((asked, k), np.int32), np.empty((asked, k), np.int32)
    search: Any = _nearest if repeats is None else _nearest_items
    items = () if repeats is None else repeats
    threads = max(1, min(threads, asked, asked * n // THREAD_PAIRS))
    if threads == 1:
        search(words, n, present, kind, *items, queries, distances, ids)
        return distances, ids
    share = -(-asked // threads)
    parts = [slice(i, i + share) for i in range(0, asked, share)]

    def run(part: slice) -> None:
        search(words, n, present, kind, *items, queries[part], distances[part], ids[part])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, parts))
    return distances, ids


def _population_count(_typing: Any, integer: Any) -> Any:
    return integer(integer), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


_bits_set: Any = intrinsic(_population_count)


@njit(cache=True)
def _differing(words, at, byte):
    return _bits_set(np.uint8(words[at] ^ byte))


@njit(nogil=True, cache=True)
def _nearest_items(words, n, present, kind, rows, starts, queries, distances, ids):
    """The nearest items, of the nearest codes."""
    codes = min(distances.shape[1], n)
    near, number = np.empty((len(queries), codes), np.int32), np.empty((len(queries), codes), np.int32)
    if len(present) == 0 and n <= FEW:
        _nearest_of_few(words, n, queries, near, number)
    else:
        _nearest(words, n, present, kind, queries, near, number)
    _expand(near, number, rows, starts, distances, ids)


@njit(nogil=True, cache=True)
def _nearest(words, n, present, kind, queries, distances, ids):
    (chunks, width, run, columns), k = words.shape, distances.shape[1]
    size, away = run * columns, 8 * width + 1
    distance = np.empty(size, kind.dtype)
    near, rows = np.empty(size, np.int32), np.empty(size, np.int32)
    sorted_near, sorted_rows = np.empty(k, np.int32), np.empty(k, np.int32)
    merged_near, merged_rows = np.empty(k, np.int32), np.empty(k, np.int32)
    counts, place = np.zeros(len(queries), np.int64), np.empty(away + 1, np.int64)
    flags, some = np.empty((run // 8, columns), np.uint8), np.empty(columns, np.uint8)
    for chunk in range(chunks):  # outside, so that a chunk stays in the cache for all queries
        start = chunk * size
        for q in range(len(queries)):
            _distances(words[chunk].reshape(-1, size), queries[q], distance)
            for r in range(run):
                filled = max(0, (n - start - r + run - 1) // run)  # columns that have an r-th item
                distance[r * columns + min(filled, columns) : (r + 1) * columns] = away
            if len(present):
                _hide(present[chunk].reshape(-1), away, distance)
            # Later items must be nearer than the k-th so far; of the first, enough must be in.
            limit = distances[q, k - 1] - 1 if counts[q] == k else _enough(distance, k, away)
            _flag(distance, limit, flags, some)
            many = _gather(flags, some, distance, start, near, rows)
            new = _sort(near[:many], rows[:many], place, sorted_near, sorted_rows)
            total = _merge(
                distances[q, : counts[q]],
                ids[q, : counts[q]],
                sorted_near[:new],
                sorted_rows[:new],
                merged_near,
                merged_rows,
            )
            distances[q, :total] = merged_near[:total]
            ids[q, :total] = merged_rows[:total]
            counts[q] = total


@njit(nogil=True, cache=True)
def _nearest_of_few(words, n, queries, distances, ids):
    width, run = words.shape[1:3]
    codes, rows, near = np.empty((n, width), np.uint8), np.arange(n).astype(np.int32), np.empty(n, np.int32)
    place = np.empty(8 * width + 2, np.int64)
    for i in range(n):
        codes[i] = words[0, :, i % run, i // run]
    for q in range(len(queries)):
        query = queries[q]
        for i in range(n):
            near[i] = 0
            for w in range(width):
                near[i] += _bits_set(np.uint8(codes[i, w] ^ query[w]))
        _sort(near, rows, place, distances[q], ids[q])


@njit(nogil=True, cache=True)
def _distances(words, query, distance):
    width, size = words.shape
    for low in range(0, size, TILE):
        out = distance[low : low + TILE]
        tile = words[:, low : low + TILE]
        out[:] = 0
        whole = width // 8 * 8
        for w in range(0, whole, 8):
            w0, w1, w2, w3 = tile[w], tile[w + 1], tile[w + 2], tile[w + 3]
            w4, w5, w6, w7 = tile[w + 4], tile[w + 5], tile[w + 6], tile[w + 7]
            q0, q1, q2, q3 = query[w], query[w + 1], query[w + 2], query[w + 3]
            q4, q5, q6, q7 = query[w + 4], query[w + 5], query[w + 6], query[w + 7]
            for i in range(len(out)):
                low_half = _differing(w0, i, q0) + _differing(w1, i, q1) + _differing(w2, i, q2) + _differing(w3, i, q3)
                high_half = (
                    _differing(w4, i, q4) + _differing(w5, i, q5) + _differing(w6, i, q6) + _differing(w7, i, q7)
                )
                out[i] += low_half + high_half
        for w in range(whole, width):
            row, byte = tile[w], query[w]
            for i in range(len(out)):
                out[i] += _differing(row, i, byte)


@njit(nogil=True, cache=True)
def _hide(present, away, distance):
    for i in range(len(distance)):
        if not present[i]:
            distance[i] = away


@njit(nogil=True, cache=True)
def _enough(distance, k, away):
    """A distance within which there are at least k items, if there are so many: the k-th smallest of group minima."""
    minima = distance.copy()
    while len(minima) >= 4 * k:
        half = (len(minima) + 1) // 2
        low, high = minima[:half], minima[half:]
        for i in range(len(high)):
            low[i] = min(low[i], high[i])
        minima = low
    counts = np.zeros(away + 1, np.int64)
    for least in minima:
        counts[least] += 1
    limit, total = 0, counts[0]
    while total < k and limit < away - 1:
        limit += 1
        total += counts[limit]
    return limit


@njit(nogil=True, cache=True)
def _flag(distance, limit, flags, some):
    """Bit r % 8 of flags[r // 8, s] where item r of column s is within the limit; some[s] is not 0 if any is."""
    groups, columns = flags.shape
    bound = np.empty(1, distance.dtype)
    bound[0] = limit
    bound = bound[0]  # as narrow as the distances, or the loop is not vectorised
    some[:] = 0
    for group in range(groups):
        byte = flags[group]
        byte[:] = 0
        for r in range(8):
            row = distance[(8 * group + r) * columns : (8 * group + r + 1) * columns]
            bit = np.uint8(1 << r)
            for s in range(columns):
                byte[s] |= bit if row[s] <= bound else np.uint8(0)
        for s in range(columns):
            some[s] |= byte[s]


@njit(nogil=True, cache=True)
def _gather(flags, some, distance, start, near, rows):
    """Distances and rows of the flagged items, rows ascending; returns how many."""
    groups, columns = flags.shape
    many = 0
    for s in range(columns):
        if some[s]:
            for group in range(groups):
                byte = flags[group, s]
                while byte:
                    rest = byte & np.uint8(byte - 1)
                    r = 8 * group + _bits_set(np.uint8((byte ^ rest) - 1))
                    near[many], rows[many] = distance[r * columns + s], start + s * 8 * groups + r
                    many += 1
                    byte = rest
    return many


@njit(nogil=True, cache=True)
def _sort(near, rows, place, sorted_near, sorted_rows):
    """The nearest items in order, as many as fit; returns how many. A counting sort, so rows stay ascending.

    `place` is room to count in, one more than the distances that there are.
    """
    place[:] = 0
    for distance in near:
        place[distance + 1] += 1
    for distance in range(1, len(place)):
        place[distance] += place[distance - 1]
    for i in range(len(near)):
        at = place[near[i]]
        place[near[i]] += 1
        if at < len(sorted_near):
            sorted_near[at], sorted_rows[at] = near[i], rows[i]
    return min(len(near), len(sorted_near))


@njit(nogil=True, cache=True)
def _merge(near_a, rows_a, near_b, rows_b, near, rows):
    """The first of two sorted lists together, of equal distances those of the first list; returns how many."""
    total = min(len(near), len(near_a) + len(near_b))
    a = b = 0
    for i in range(total):
        if b == len(near_b) or (a < len(near_a) and near_a[a] <= near_b[b]):
            near[i], rows[i] = near_a[a], rows_a[a]
            a += 1
        else:
            near[i], rows[i] = near_b[b], rows_b[b]
            b += 1
    return total


@njit(nogil=True, cache=True)
def _expand(near, number, rows, starts, distances, ids):
    """Items of the nearest codes, by distance and row, as many as fit."""
    k = distances.shape[1]
    for q in range(len(near)):
        total = first = 0
        while total < k:
            last, many = first, 0
            while last < near.shape[1] and near[q, last] == near[q, first]:
                code = number[q, last]
                many += min(starts[code + 1] - starts[code], k - total)
                last += 1
            if last == first + 1:
                ids[q, total : total + many] = rows[starts[code] : starts[code] + many]
            else:
                together = np.empty(many, np.int32)
                many = 0
                for j in range(first, last):
                    code = number[q, j]
                    size = min(starts[code + 1] - starts[code], k - total)
                    together[many : many + size] = rows[starts[code] : starts[code] + size]
                    many += size
                together.sort()
                many = min(many, k - total)
                ids[q, total : total + many] = together[:many]
            distances[q, total : total + many] = near[q, first]
            total += many
            first = last
