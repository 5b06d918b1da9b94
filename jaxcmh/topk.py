"""Packed binary codes and exact top-k search: by Hamming distance, or by codebook look-up.

A packed code is a row of bytes with little bit order: bit j of byte b is code 8 b + j, 1 standing for +1, as in
`np.packbits(signs > 0, axis=1, bitorder="little")`. Every search here is exact and returns items of equal distance
(or score) in ascending order of their row number.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Distances (or scores) held at one time, in items x queries: bounds the memory of a search.
_PAIRS = 1 << 24


def pack(signs: Any) -> jax.Array:
    """Pack signs into bytes, eight to a byte, little bit order.

    Args:
        signs: (n, bits) numbers, each -1 or +1; bits a positive multiple of 8.

    Returns:
        (n, bits / 8) uint8 codes.

    Raises:
        ValueError: signs is not a matrix, its width is not a positive multiple of 8, or an entry is neither -1 nor +1.

    >>> pack([[1, 1, -1, -1, -1, -1, -1, -1]]).tolist()
    [[3]]
    """
    if not isinstance(signs, jax.Array):
        signs = np.asarray(signs)
    if signs.ndim != 2 or signs.shape[1] == 0 or signs.shape[1] % 8:
        raise ValueError(f"signs: expected shape (n, bits), bits a positive multiple of 8; got {signs.shape}")
    if not isinstance(signs, jax.core.Tracer):
        wrong = np.asarray((signs != 1) & (signs != -1)).any(axis=1)
        if wrong.any():
            raise ValueError(f"signs: every entry must be -1 or +1; row {wrong.argmax()} has another value")
    return _pack(jnp.asarray(signs))


@jax.jit
def _pack(signs: jax.Array) -> jax.Array:
    ones = (signs > 0).reshape(signs.shape[0], -1, 8)
    return (ones << jnp.arange(8, dtype=jnp.uint8)).sum(axis=2, dtype=jnp.uint8)


@jax.jit
def _unpack(codes: jax.Array) -> jax.Array:
    ones = (codes[:, :, None] >> jnp.arange(8, dtype=jnp.uint8)) & 1
    return jnp.where(ones == 1, jnp.float32(1), jnp.float32(-1)).reshape(codes.shape[0], -1)


def unpack(codes: Any) -> jax.Array:
    """Signs of packed codes: the inverse of `pack`.

    Args:
        codes: (n, bits / 8) uint8 codes, little bit order.

    Returns:
        (n, bits) float32 signs, each -1 or +1.

    Raises:
        ValueError: codes is not a uint8 matrix.

    >>> unpack(np.uint8([[3]])).tolist()
    [[1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]]
    """
    return _unpack(_codes("codes", codes))


def hamming_topk(query_codes: Any, database_codes: Any, k: int) -> tuple[jax.Array, jax.Array]:
    """The k database items nearest to every query in Hamming distance, exactly.

    Args:
        query_codes: (n_q, bits / 8) uint8 packed codes.
        database_codes: (n, bits / 8) uint8 packed codes.
        k: items to return a query, 1 <= k <= n.

    Returns:
        distances: (n_q, k) int32, ascending, in bits.
        ids: (n_q, k) int32 rows of the database; equal distances in ascending order of id.

    Raises:
        ValueError: codes are not uint8 matrices of equal width, or k is out of range.

    >>> hamming_topk(np.uint8([[7]]), np.uint8([[0], [7], [3]]), 2)[0].tolist()
    [[0, 1]]
    """
    query_codes, database_codes = _codes("query_codes", query_codes), _codes("database_codes", database_codes)
    if query_codes.shape[1] != database_codes.shape[1]:
        raise ValueError(
            f"query_codes: {8 * query_codes.shape[1]} bits, but database_codes has {8 * database_codes.shape[1]}"
        )
    return _hamming_topk(query_codes, database_codes, _k(k, database_codes.shape[0]))


@partial(jax.jit, static_argnames="k")
def _hamming_topk(queries: jax.Array, database: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    def nearest(query: jax.Array) -> tuple[jax.Array, jax.Array]:
        distance = lax.population_count(query ^ database).sum(axis=1, dtype=jnp.int32)
        # XLA's top_k is many times faster on float32 than on integers, and as stable.
        best, ids = lax.top_k(-distance.astype(jnp.float32), k)
        return (-best).astype(jnp.int32), ids

    return lax.map(nearest, queries, batch_size=_batch(queries.shape[0], database.shape[0]))


def lookup_topk(queries: Any, codes: Any, codebooks: Any, k: int) -> tuple[jax.Array, jax.Array]:
    """The k database items of highest look-up score for every query, exactly.

    An item's score is the sum over books b of <query, codebooks[b, codes[item, b]]> (ACQH: the inner product of the
    query's real representation with the item's composed code words).

    Args:
        queries: (n_q, K) real vectors.
        codes: (n, books) uint8 word numbers.
        codebooks: (books, words, K) real code words, words <= 256.
        k: items to return a query, 1 <= k <= n.

    Returns:
        scores: (n_q, k) float32, descending.
        ids: (n_q, k) int32 rows of the database; equal scores in ascending order of id.

    Raises:
        ValueError: shapes or dtypes do not fit together, a number is not finite, a code names no word, or k is out of
            range.

    >>> books = np.float32([[[1, 0], [0, 1]]])
    >>> lookup_topk(np.float32([[2, 3]]), np.uint8([[0], [1]]), books, 1)[1].tolist()
    [[1]]
    """
    codes = _codes("codes", codes)
    queries, codebooks = _real("queries", queries, 2), _real("codebooks", codebooks, 3)
    books, words, width = codebooks.shape
    if codes.shape[1] != books:
        raise ValueError(f"codes: {codes.shape[1]} books, but codebooks has {books}")
    if queries.shape[1] != width:
        raise ValueError(f"queries: {queries.shape[1]} dimensions, but codebooks has {width}")
    if words < 256 and not isinstance(codes, jax.core.Tracer) and codes.size and int(codes.max()) >= words:
        raise ValueError(f"codes: word {int(codes.max())} in a codebook of {words} words")
    return _lookup_topk(queries, codes, codebooks, _k(k, codes.shape[0]))


@partial(jax.jit, static_argnames="k")
def _lookup_topk(queries: jax.Array, codes: jax.Array, codebooks: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    items = sum(codebooks[b][codes[:, b]] for b in range(codebooks.shape[0]))

    def best(query: jax.Array) -> tuple[jax.Array, jax.Array]:
        return tuple(lax.top_k(items @ query, k))

    return lax.map(best, queries, batch_size=_batch(queries.shape[0], codes.shape[0]))


def _batch(queries: int, items: int) -> int:
    return max(1, min(queries, _PAIRS // items))


def _codes(name: str, codes: Any) -> jax.Array:
    codes = codes if isinstance(codes, jax.Array) else np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] == 0 or codes.dtype != np.uint8:
        raise ValueError(
            f"{name}: expected uint8 codes of shape (n, bytes), at least one byte; got {codes.dtype} of {codes.shape}"
        )
    return jnp.asarray(codes)


def _real(name: str, x: Any, ndim: int) -> jax.Array:
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    if x.ndim != ndim or 0 in x.shape[1:] or not jnp.issubdtype(x.dtype, jnp.number):
        raise ValueError(f"{name}: expected {ndim} dimensions of real numbers, none empty; got {x.dtype} of {x.shape}")
    x = jnp.asarray(x, jnp.float32)
    if not isinstance(x, jax.core.Tracer):
        wrong = ~np.isfinite(np.asarray(x)).reshape(x.shape[0], -1).all(axis=1)
        if wrong.any():
            raise ValueError(f"{name}: every number must be finite; row {wrong.argmax()} has NaN or infinity")
    return x


def _k(k: int, items: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= items:
        raise ValueError(f"k: expected an integer from 1 to the {items} items of the database; got {k!r}")
    return int(k)
