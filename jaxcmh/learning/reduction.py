"""The data set as few rows: an orthogonal turn that keeps every inner product.

Z = [X_1 .. X_M, L, Y, 1] (n, p) holds the mapped features, the labels 0/1, the labels with rows of length 1, and ones.
With Z = Q R, Q having orthonormal columns, the columns of the triangle R (p, p) are a data set of p rows with the inner
products of the n rows.  What a method learns but for signs depends on those alone, so it is written as if there were p
samples.  Q takes reduced rows back to rows, Qᵀ takes rows to reduced rows; where n is no larger than p, both are 1.

Two ways to R, each in one pass over blocks of rows:

* float64 Gram matrix and Cholesky factor, where the device computes float64 well.  Q = Z R⁻¹ is never formed.
* QR of each block below the triangle of those before it, in the precision of the data.  Q is formed, twice: the
  columns of Z R⁻¹ are orthonormal up to rounding times the condition of Z, those of the second round up to rounding.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from itertools import combinations, islice, pairwise, repeat, starmap
from math import gcd
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array, lax
from jax.sharding import Mesh
from scipy.linalg import cholesky, solve_triangular
from threadpoolctl import threadpool_limits

from jaxcmh import checks
from jaxcmh.learning.compilation import quickly
from jaxcmh.learning.linalg import (
    eigh,
    exact,
    ridge_factor,
    triangle,
    upper_factor,
    upper_solve,
    upper_solve_transposed,
)
from jaxcmh.learning.ones import OfSamples, places_of_others_than_0
from jaxcmh.learning.processes import mesh_of, parts, total

BLOCK_ROWS = 1 << 12  # rows taken at a time, so that float64 copies of a large matrix stay small
SHARES = 960  # a number of devices that divides it finds rows of its own in each block
PROCESSORS = 8  # that work on a Gram matrix at most, for each has a sum of its own
SPARSE = 1 / 32  # share of numbers other than 0 below which products go over these alone
JITTER = 1e-15  # of the trace of a Gram matrix: where columns of Z depend on each other, R gets this instead of 0


class Turn(NamedTuple):
    """How n rows and reduced rows turn into one another; one of the two is there."""

    Q: Array | None = None  # (n, p) orthonormal columns
    R: Array | None = None  # (p, p) float64 upper triangle, Q = Z R⁻¹


def in_float64(function: Callable[..., Array]) -> Callable[..., Array]:
    """Run `function` on float64 copies of its array arguments; its result comes back in the dtype of the first."""

    @wraps(function)
    def wrapped(*arrays: Array) -> Array:
        dtype = arrays[0].dtype
        with jax.enable_x64(True):
            return lax.convert_element_type(
                function(*(lax.convert_element_type(a, jnp.float64) for a in arrays)), dtype
            )

    return wrapped


def row_blocks(*columns: Any) -> Iterator[Any]:
    """The rows of [columns[0], columns[1], ...], a block at a time; of NumPy's arrays NumPy's.

    Of rows that are spread over devices a block has equally many of each device's, so that all are busy.
    """
    first = columns[0]
    spread = isinstance(first, jax.Array) and not checks.is_traced(first) and not first.is_fully_replicated
    if spread:
        share = first.sharding.shard_shape(first.shape)[0]
        for start in range(0, share, BLOCK_ROWS):
            yield _of_each(columns, start, len(first) // share, min(BLOCK_ROWS, share - start))
        return
    concatenate = np.concatenate if isinstance(first, np.ndarray) else jnp.concatenate
    for start in range(0, first.shape[0], BLOCK_ROWS):
        yield concatenate([a[start : start + BLOCK_ROWS] for a in columns], axis=1)


def _blocks_here(columns: tuple[Any, ...]) -> Iterator[tuple[list[np.ndarray], Any, slice]]:
    """Blocks of the rows that this process has, on the host, device by device: of each view; labels, and which rows.

    Nothing is copied here.  NumPy cuts blocks of any size without compiling a program for each.
    """
    *features, labels = columns
    labels = labels if in_memory(labels) else labels.on_host()
    found = [parts(a) if in_memory(a) else None for a in (*features, labels)]

    def part(a: Any, of_each: dict | None, rows: tuple[int, int]) -> Any:
        if of_each is None:
            return a.part(*rows)
        return of_each[rows] if rows in of_each else np.asarray(a)[slice(*rows)]

    for rows in parts(features[0]):
        *here, of_labels = (part(a, of_each, rows) for a, of_each in zip((*features, labels), found))
        many = rows[1] - rows[0]
        size = -(-many // (_processors() * -(-many // (_processors() * BLOCK_ROWS))))  # each has equally many blocks
        for start in range(0, many, size):
            block = slice(start, start + size)
            yield [a[block] for a in here], of_labels, block


@partial(jax.jit, static_argnames=("devices", "rows"))
def _of_each(columns: tuple[Array, ...], start: Array, devices: int, rows: int) -> Array:
    """The rows from `start` of each device's share."""
    shares = (a.reshape(devices, -1, a.shape[1]) for a in columns)
    parts = [lax.dynamic_slice_in_dim(a, start, rows, axis=1) for a in shares]
    return jnp.concatenate(parts, axis=2).reshape(devices * rows, -1)


def _slices(ends: tuple[int, ...]) -> list[slice]:
    """The parts that end there."""
    return list(starmap(slice, pairwise((0, *ends))))


def _wanted(ends: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of a Gram matrix: of the parts that end there, each with itself and with the last."""
    *parts, last = _slices(ends)
    for part in parts:
        yield part, part
        yield part, last
    yield last, last


@partial(jax.jit, static_argnames="ends", donate_argnums=0)
def _add_on_device(G: Array, z: Array, ends: tuple[int, ...]) -> Array:
    """G + zᵀz in float64, where it is wanted."""
    with jax.enable_x64(True):
        z = z.astype(jnp.float64)
        for rows, columns in _wanted(ends):
            G = G.at[rows, columns].add(z[:, rows].T @ z[:, columns])
        return G


def _add_on_host(G: np.ndarray, block: Any, ends: tuple[int, ...]) -> None:
    """The same in place: BLAS multiplies float64 on CPU twice as fast as XLA.

    Of labels of many classes almost all are 0: where the last part is like that, its products take time for the rest.
    """
    *parts, last = _slices(ends)
    if isinstance(block, tuple):
        views, labels, rows = block
        labels = labels[rows]
    else:
        *views, labels = np.split(np.asarray(block), [last.start], axis=1)
    x, labels = np.concatenate(views, axis=1, dtype=np.float64), of_few(labels).astype(np.float64)
    for part in parts:
        G[part, part] += x[:, part].T @ x[:, part]
    G[: last.start, last] += (labels.T @ x).T
    together = labels.T @ labels
    G[last, last] += together.toarray() if scipy.sparse.issparse(together) else together


def of_few(labels: Any) -> Any:
    """Labels (n, k) with the zeros left out, if most are 0."""
    if scipy.sparse.issparse(labels) or np.count_nonzero(labels) >= SPARSE * labels.size:
        return labels
    row, column = places_of_others_than_0(labels)
    return scipy.sparse.csr_array((labels[row, column], (row, column)), labels.shape)


def _processors() -> int:
    return min(os.cpu_count() or 1, PROCESSORS)


def _gram_on_host(blocks: Iterable[Array], ends: tuple[int, ...]) -> np.ndarray:
    """Blocks go to the processors in turn, each of which adds to a sum of its own with one BLAS thread."""
    blocks, sums = iter(blocks), [np.zeros((ends[-1],) * 2) for _ in range(_processors())]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(len(sums)) as pool:
        while group := list(islice(blocks, len(sums))):
            list(pool.map(_add_on_host, sums, group, repeat(ends)))
    return sum(sums[1:], sums[0])


@partial(jax.jit, static_argnames="ends")
def _cholesky(G: Array, ends: tuple[int, ...]) -> Array:
    with jax.enable_x64(True):
        jitter = JITTER * jnp.trace(G) + jnp.finfo(jnp.float64).tiny
        G = jnp.triu(G) + jnp.triu(G, 1).T + jitter * jnp.eye(len(G), dtype=G.dtype)
        if len(ends) > 2:  # between the parts, only what the last one explains: then no part needs another's rows
            *parts, last = _slices(ends)
            along = upper_solve_transposed(upper_factor(G[last, last]), G[last, : last.start])
            for one, other in combinations(parts, 2):
                between = along[:, one].T @ along[:, other]
                G = G.at[one, other].set(between).at[other, one].set(between.T)
        return upper_factor(G)


def _cholesky_in_place(G: np.ndarray, ends: tuple[int, ...]) -> np.ndarray:
    """The same on the host, where it needs no program; G, of which the part above the diagonal counts, is lost."""
    G.flat[:: len(G) + 1] += JITTER * np.trace(G) + np.finfo(float).tiny
    if len(ends) > 2:
        *parts, last = _slices(ends)
        T = _factor_in_place(G[last, last].copy())
        along = solve_triangular(T, G[: last.start, last].T, trans=1, check_finite=False)
        for one, other in combinations(parts, 2):
            G[one, other] = along[:, one].T @ along[:, other]
    return _factor_in_place(G)


def _factor_in_place(G: np.ndarray) -> np.ndarray:
    """Cholesky's upper factor; not numbers where there is none.  LAPACK's rows are NumPy's columns."""
    try:
        return cholesky(G.T, lower=True, overwrite_a=True, check_finite=False).T
    except np.linalg.LinAlgError:
        return np.full_like(G, np.nan)


def triangle_by_gram(blocks: Iterable[Any], ends: tuple[int, ...], mesh: Mesh | None = None) -> Array:
    """R (p, p) in float64 with RᵀR = ZᵀZ, by the Gram matrix and its Cholesky factor.

    Args:
        blocks: (k, p) rows of Z, one block after the other.
        ends: where the parts of Z end, the last at p.  Of two parts that are not the last the products are left out;
            (p - l, p) leaves out none.
        mesh: of several processes, each of which has blocks of its own rows.
    """
    if jax.default_backend() == "cpu":
        G = np.require(total(_gram_on_host(blocks, ends), mesh), requirements="W")
        R = _cholesky_in_place(G, ends)
        with jax.enable_x64(True):
            return jax.device_put(R)  # `asarray` would compile a program
    with jax.enable_x64(True):
        G = jnp.zeros((ends[-1],) * 2, jnp.float64)
    for z in blocks:
        G = _add_on_device(G, z, ends)
    return quickly(_cholesky, G, ends=ends)


@partial(jax.jit, donate_argnums=0)
def _below(R: Array, z: Array) -> Array:
    return triangle(jnp.concatenate([R, z]))


def triangle_by_qr(blocks: Iterable[Array], p: int) -> Array:
    """R (p, p) with RᵀR = ZᵀZ in the precision of the blocks, by QR of each below the triangle of those before it.

    Args:
        blocks: (k, p) rows of Z, one block after the other.
        p: columns of Z.
    """
    R = None
    for z in blocks:
        R = _below(jnp.zeros((p, p), z.dtype) if R is None else R, z)
    if R is None:
        raise ValueError("blocks: expected at least one block of rows; got none")
    return R


@partial(jax.jit, donate_argnums=0)
def _orthonormal(Z: Array, R: Array) -> Array:
    """Z T⁻¹, where T is R with a floor under what rounding left of dependent columns."""
    return upper_solve_transposed(ridge_factor(R, 0.0), Z.T).T


@exact
def turn(columns: tuple[Any, ...], by_gram: bool, across: bool = True) -> tuple[Array | np.ndarray, Turn]:
    """Reduce the rows of Z = [columns[0], columns[1], ...].

    Args:
        columns: (n, k) matrices; or what computes its rows when they are asked for, see `streaming`.
        by_gram: by a float64 Gram matrix; else by QR in the precision of the columns.
        across: whether the products of two matrices that are not the last are wanted.  The Gram matrix of two views is
            found in half the time without.

    Returns:
        R (p, p) in the precision of the columns, NumPy's where it was found on the host; and how to turn rows.

    Example:
        >>> R, _ = turn((jnp.ones((5, 1)), jnp.arange(5.0)[:, None]), by_gram=True)
        >>> (R.T @ R).round(4).tolist()
        [[5.0, 10.0], [10.0, 30.0]]
    """
    p = sum(a.shape[1] for a in columns)
    if by_gram:
        ends = tuple(int(end) for end in np.cumsum([a.shape[1] for a in columns]))
        host = in_memory(columns[0]) and jax.default_backend() == "cpu"
        blocks, mesh = (_blocks_here(columns), mesh_of(columns[0])) if host else (row_blocks(*columns), None)
        R = triangle_by_gram(blocks, ends[-2:] if across else ends, mesh)
        dtype = columns[0].dtype
        return np.asarray(R).astype(dtype) if host else lax.convert_element_type(R, dtype), Turn(R=R)
    if not in_memory(*columns):  # nor may Q be, so that this wants float64
        R = triangle_by_qr(row_blocks(*columns), p)
        return R, Turn(R=R)
    Q = jnp.concatenate(columns, axis=1)
    R = jnp.eye(p, dtype=Q.dtype)
    for _ in range(2):
        T = triangle_by_qr(row_blocks(Q), p)
        Q, R = _orthonormal(Q, T), ridge_factor(T, 0.0) @ R
    return R, Turn(Q=Q)


def in_memory(*columns: Any) -> bool:
    """Whether all are arrays; else some compute their rows when they are asked for, see `streaming`."""
    return all(isinstance(X, Array | np.ndarray | OfSamples) for X in columns)


def rows_at(a: Any, start: Array | int, size: int) -> Array:
    """Rows of an array, or of what computes them."""
    return lax.dynamic_slice_in_dim(a, start, size) if in_memory(a) else a.rows(start, size)


def over_blocks(n: int, step: Callable[[Array | int, int, Any], Any], carry: Any, size: int | None = None) -> Any:
    """`carry` after step(start, size, carry) for every block of n rows, one behind the other."""
    size = size or BLOCK_ROWS
    whole, rest = divmod(n, size)
    if whole:
        carry = lax.fori_loop(0, whole, lambda i, carry: step(i * size, size, carry), carry)
    return step(_after(carry, whole * size), rest, carry) if rest else carry


def _after(carry: Any, start: int) -> Array:
    """`start`, of which XLA does not know before there is a carry: it would read the last rows before the others."""
    some = sum(leaf.ravel()[0].astype(jnp.float32) for leaf in jax.tree.leaves(carry))
    return jnp.minimum(start, start + jnp.isnan(some).astype(jnp.int32))


def times(columns: Sequence[Any], factors: Sequence[Array]) -> Array:
    """The sum of X W over X (n, q) and W (q, r); rows that are not in memory are computed a block at a time."""
    if in_memory(*columns):
        return sum(X @ W for X, W in zip(columns, factors))  # pyright: ignore[reportReturnType]

    def write(start: Array | int, size: int, product: Array) -> Array:
        block = sum(rows_at(X, start, size) @ W for X, W in zip(columns, factors))
        return lax.dynamic_update_slice_in_dim(product, block, start, 0)

    return over_blocks(
        columns[0].shape[0], write, jnp.zeros((columns[0].shape[0], factors[0].shape[1]), factors[0].dtype)
    )


def sum_over_blocks(product: Callable[..., Any], *arrays: Any) -> Any:
    """The sum of `product` over blocks of rows of the arrays, so that its float64 copies stay small.

    Of rows that are spread over devices each block has some of each device, or it would be gathered from all of them.
    """
    n = arrays[0].shape[0]
    shares = gcd(n, SHARES) if in_memory(*arrays) else 1
    n, size = n // shares, BLOCK_ROWS // shares

    def block(start: Array | int, size: int) -> Any:
        return product(*(_of_shares(a, shares, start, size) for a in arrays))

    def added(start: Array | int, size: int, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, block(start, size))

    if n <= size:
        return block(0, n)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(lambda: block(0, size)))
    return over_blocks(n, added, zeros, size)


def _of_shares(a: Any, shares: int, start: Array | int, size: int) -> Array:
    """So many rows of each share of the rows."""
    if shares == 1:
        return rows_at(a, start, size)
    parts = a.reshape(shares, -1, *a.shape[1:])
    return lax.dynamic_slice_in_dim(parts, start, size, axis=1).reshape(-1, *a.shape[1:])


def cross(X: Any, B: Array) -> Array:
    """XᵀB in float64 for X (n, q), B (n, r), a block of rows at a time; returned as float64."""
    with jax.enable_x64(True):
        if isinstance(X, OfSamples):
            return X.transposed_times(B.astype(jnp.float64))

        # XLA's CPU backend is slow where the wide matrix is the one that is transposed.
        def product(x: Array, b: Array) -> Array:
            return lax.optimization_barrier(b.astype(jnp.float64).T) @ x.astype(jnp.float64)

        return sum_over_blocks(product, X, B).T


def coordinates(turned: Turn, columns: tuple[Any, ...], B: Array) -> Array:
    """The first k rows of QᵀB, for B (n, r) and the first columns of Z, k in all."""
    if turned.Q is not None:
        return turned.Q[:, : sum(X.shape[1] for X in columns)].T @ B
    return from_products(turned, [cross(X, B) for X in columns], B.dtype)


def from_products(turned: Turn, ZB: Sequence[Array], dtype: Any) -> Array:
    """`coordinates` from ZᵀB, in float64, for each of the first parts of Z."""
    assert turned.R is not None
    with jax.enable_x64(True):
        products = jnp.concatenate(ZB)
        k = len(products)
        return lax.convert_element_type(upper_solve_transposed(turned.R[:k, :k], products), dtype)


def back(turned: Turn, columns: tuple[Any, ...], M: Array) -> Array:
    """Q M (n, r) of reduced rows M (p, r); columns are those of Z."""
    if turned.Q is not None:
        return turned.Q @ M
    with jax.enable_x64(True):
        W = upper_solve(turned.R, lax.convert_element_type(M, jnp.float64))
    ends = np.cumsum([X.shape[1] for X in columns])
    parts = [lax.convert_element_type(W[end - X.shape[1] : end], M.dtype) for X, end in zip(columns, ends)]
    return times(columns, parts)


def remainder(turned: Turn, B: Array, top: Array) -> Array:
    """T (r, r): what B (n, r) has beside its coordinates `top` (p, r), so that nothing is lost of BᵀB.

    A floor of 1e-6 of the length of B keeps T regular where B has nothing else.
    """

    def root(rest: Array, size: Array) -> Array:
        values, V = eigh((rest + rest.T) / 2)
        floor = 1e-12 * size / len(rest) + jnp.finfo(rest.dtype).tiny
        return jnp.sqrt(jnp.maximum(values, floor))[:, None] * V.T

    if turned.Q is not None:
        rest = B - turned.Q @ top
        return root(rest.T @ rest, jnp.vdot(B, B))
    return in_float64(lambda BB, top: root(BB - top.T @ top, jnp.trace(BB)))(B.T @ B, top)
