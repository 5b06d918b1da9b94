"""The small algebra that at least two methods share.

Features stay float32, but Gram matrices of kernel features are so close to singular that float32 loses
the answer; what decides accuracy is done in float64 here, without asking callers for a global flag.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from jax.core import Tracer

BLOCK_ROWS = 1 << 12  # rows converted to float64 at a time, so that the copy of a large matrix stays small
PANEL = 256  # columns of a Gram matrix computed at a time


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, a decomposition, such that the lanes of a sweep do it one after the other.

    jaxlib spreads a batch of decompositions over the very threads that wait for it, so that two batches at once can
    wait for each other for ever.
    """
    in_turn = jax.custom_batching.sequential_vmap(function)

    @wraps(function)
    def wrapped(*arrays):
        return (in_turn if any(isinstance(a, Tracer) for a in arrays) else function)(*arrays)

    return wrapped


eigh = one_by_one(lambda A: tuple(jnp.linalg.eigh(A)))
qr = one_by_one(lambda A: tuple(jnp.linalg.qr(A)))
svd = one_by_one(lambda A: tuple(jnp.linalg.svd(A, full_matrices=False)))
upper_factor = one_by_one(lambda A: jnp.linalg.cholesky(A, upper=True))
upper_solve = one_by_one(lambda R, B: jax.scipy.linalg.solve_triangular(R, B))
cho_factor = one_by_one(lambda A: jax.scipy.linalg.cho_factor(A)[0])
cho_solve = one_by_one(lambda factor, B: jax.scipy.linalg.cho_solve((factor, False), B))
general_solve = one_by_one(lambda A, B: jnp.linalg.solve(A, B))


def in_float64(function: Callable[..., Array]) -> Callable[..., Array]:
    """Run `function` on float64 copies of its array arguments; its result comes back in the dtype of the first."""

    @wraps(function)
    def wrapped(*arrays, **options):
        dtype = arrays[0].dtype
        with jax.enable_x64(True):
            result = function(*(lax.convert_element_type(a, jnp.float64) for a in arrays), **options)
            return lax.convert_element_type(result, dtype)

    return wrapped


def double(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run `function` where float64 exists: float64 arrays stay what they are, and meeting float32 ones they win."""

    @wraps(function)
    def wrapped(*args, **options):
        with jax.enable_x64(True):
            return function(*args, **options)

    return wrapped


def sqnorm(*arrays: Array) -> Array:
    """Sum of the squared entries of all arrays."""
    return sum(jnp.vdot(a, a) for a in arrays)  # pyright: ignore[reportReturnType]


def product_gap(A: Array, B: Array, C: Array, D: Array) -> Array:
    """|A Bᵀ - C Dᵀ|² for matrices with n rows, in O(n): the n x n products are never formed."""
    return jnp.vdot(A.T @ A, B.T @ B) - 2 * jnp.vdot(A.T @ C, B.T @ D) + jnp.vdot(C.T @ C, D.T @ D)


def sign(x: Array, mask: Array) -> Array:
    """Codes in {-1, +1} with sgn(0) = +1; rows that are padding (mask 0) stay 0."""
    return jnp.where(x >= 0, 1, -1) * mask[:, None]


def unit_rows(labels: Array) -> Array:
    """Every row divided by its 2-norm; rows of zeros stay zero."""
    norms = jnp.linalg.norm(labels, axis=1, keepdims=True)
    return labels / jnp.where(norms > 0, norms, 1)


def sum_over_blocks(product: Callable[..., Any], *arrays: Array) -> Any:
    """The sum of `product` over blocks of rows of the arrays, so that its float64 copies stay small."""
    whole, rest = divmod(len(arrays[0]), BLOCK_ROWS)
    last = product(*(a[len(a) - rest :] for a in arrays))
    if whole == 0:
        return last

    def add(i: Array, total: Any) -> Any:
        block = product(*(lax.dynamic_slice_in_dim(a, i * BLOCK_ROWS, BLOCK_ROWS) for a in arrays))
        return jax.tree.map(jnp.add, total, block)

    return lax.fori_loop(0, whole, add, last)


def cross(X: Array, Y: Array) -> Array:
    """XᵀY in float64 for X (n, p), Y (n, q), a block of rows at a time; returned as float64."""
    with jax.enable_x64(True):
        return sum_over_blocks(lambda x, y: x.astype(jnp.float64).T @ y.astype(jnp.float64), X, Y)


def stacked_gram(columns: Sequence[Array], known: Sequence[Array]) -> Array:
    """ZᵀZ in float64 for Z = [columns[0], columns[1], ...] (n, p), which is not formed.

    Args:
        columns: (n, k) matrices.
        known: float64 Gram matrices of the first of them, so that they are not computed again.
    """
    order = range(len(columns))
    with jax.enable_x64(True):
        upper = {(i, j): cross(columns[i], columns[j]) for i in order for j in order[i:] if i != j or i >= len(known)}
        upper |= {(i, i): gram for i, gram in enumerate(known)}
        return jnp.block([[upper[i, j] if i <= j else upper[j, i].T for j in order] for i in order])


def descend(B: Array, target: Array, H: Array, project: Callable[[Array], Array]) -> Array:
    """One sweep of coordinate descent on tr(B H Bᵀ) - 2 tr(B targetᵀ): each column exactly, given the others.

    Args:
        B: (n, r) start, whose columns are such as `project` gives.
        target: (n, r).
        H: (r, r) symmetric, with a positive diagonal.
        project: the nearest allowed column, (n, 1) to (n, 1).
    """
    H = H.astype(B.dtype)

    def column(k: Array, B: Array) -> Array:
        rest = target[:, k] - B @ H[:, k] + B[:, k] * H[k, k]
        return B.at[:, k].set(project((rest / H[k, k])[:, None])[:, 0])

    return lax.fori_loop(0, B.shape[1], column, B)


@jax.jit
def gram(X: Array) -> Array:
    """XᵀX in float64 for X (n, q), a block of rows at a time; only what lies on and above the diagonal is computed."""
    q = X.shape[1]
    with jax.enable_x64(True):

        def panels(x: Array) -> list[Array]:
            x = x.astype(jnp.float64)
            return [x[:, i : i + PANEL].T @ x[:, i:] for i in range(0, q, PANEL)]

        found = sum_over_blocks(panels, X)
        upper = jnp.triu(jnp.concatenate([jnp.pad(panel, ((0, 0), (q - panel.shape[1], 0))) for panel in found]))
        return upper + jnp.triu(upper, 1).T


def solve(A: Array, B: Array, ridge: float | Array = 0.0) -> Array:
    """(A + ridge I)⁻¹ B for symmetric positive semi-definite A, by a float64 Cholesky factor.

    Args:
        A: (q, q) float32 or float64.
        B: (q, r) right-hand sides; the result has its dtype.
        ridge: added to the diagonal, beside a jitter of 1e-13 trace(A) that keeps singular A solvable
            (a class without samples, duplicated anchors, more features than rows).

    Returns:
        (q, r) solution.
    """

    def solution(B: Array, A: Array, ridge: Array) -> Array:
        A = (A + A.T) / 2  # rounding may have left A unsymmetric, which breaks the factor
        jitter = 1e-13 * jnp.trace(A) + jnp.finfo(jnp.float64).tiny
        return cho_solve(cho_factor(A + (ridge + jitter) * jnp.eye(len(A), dtype=A.dtype)), B)

    return in_float64(solution)(B, A, jnp.asarray(ridge))


@jax.jit
def eigen(A: Array) -> tuple[Array, Array]:
    """Eigenvalues (q,) and vectors (q, q) of a symmetric float64 matrix, for `eigen_solve`."""
    with jax.enable_x64(True):
        return eigh((A + A.T) / 2)


def eigen_solve(values: Array, vectors: Array, B: Array, ridge: float | Array = 0.0) -> Array:
    """What `solve` gives, by two products: (A + ridge I)⁻¹ B, with the same jitter.

    Args:
        values, vectors: from `eigen` of A.
        B: (q, r) right-hand sides; the result has its dtype.
        ridge: added to the diagonal.
    """

    def solution(B: Array, values: Array, vectors: Array, ridge: Array) -> Array:
        jitter = 1e-13 * values.sum() + jnp.finfo(jnp.float64).tiny
        # Rounding leaves eigenvalues that are 0 at 1e-16 of the largest, on either side.
        return vectors @ ((vectors.T @ B) / (jnp.maximum(values, 0) + ridge + jitter)[:, None])

    return in_float64(solution)(B, values, vectors, jnp.asarray(ridge))


def orthonormal(M: Array, mask: Array | None = None) -> Array:
    """The orthogonal polar factor P(M): of all Z with orthonormal short side, the one with the largest tr(MᵀZ).

    Where M says nothing (singular values below 1e-6 of the largest) the factor is completed with fixed
    pseudo-random directions orthogonal to the rest.  All work on the long side is products, and all
    decompositions are of k x k matrices, so rows may be sharded over devices.

    Args:
        M: (n, k); if n < k the rows come out orthonormal instead of the columns.
        mask: (n,) 1 for rows and 0 for padding; the completion leaves padding at 0.

    Returns:
        (n, k) factor in the dtype of M.
    """
    if M.shape[0] < M.shape[1]:
        return orthonormal(M.T).T
    return in_float64(_factor)(M, jnp.ones(len(M), M.dtype) if mask is None else mask)


@one_by_one
def _factor(M: Array, rows: Array) -> Array:
    values, V = eigh(M.T @ M)
    values, V = values[::-1], V[:, ::-1]
    keep = values > 1e-12 * values[0]

    def plain() -> Array:
        return M @ (V / jnp.sqrt(values) @ V.T)

    def completed(Z: Array) -> Array:
        # An int64 seed, as a plain 0 is where float64 is switched on, could not be lowered where it is not.
        fill = random.normal(random.key(jnp.uint32(0)), M.shape, jnp.float32) * rows[:, None]
        return jnp.where(keep, Z, fill / jnp.sqrt(rows.sum()))

    def graded() -> Array:
        Z = lax.cond(keep.all(), lambda Z: Z, completed, M @ (V * jnp.where(keep, values, 1) ** -0.5))
        # Columns are made orthonormal in order: what M says is so but for rounding, the completion comes after it.
        return Z @ upper_solve(upper_factor(Z.T @ Z), V.T)

    return lax.cond(values[-1] > 1e-6 * values[0], plain, graded)
