"""The small algebra that at least two methods share: polar factors and least squares, both by QR.

Nothing here squares a matrix: factors of the matrix itself keep in float32 what its Gram matrix would lose.

`qr`, `triangle` (R alone), `eigh`, `svd` (the thin one), `upper_factor` (Cholesky's), `upper_solve` and
`upper_solve_transposed` are those of `jax.numpy` and `jax.scipy` made by `one_by_one`.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

LEAST = 1e-13  # smallest ridge, as a share of the squared size of a matrix
F = TypeVar("F", bound=Callable)


def exact(function: F) -> F:
    """`function` with products of matrices in all digits of their float32, whatever device it is compiled for.

    Left to itself a GPU keeps eleven bits of the factors (TF32) and a TPU eight (bfloat16).

    Example:
        >>> "HIGHEST" in jax.jit(exact(jnp.matmul)).lower(jnp.eye(2), jnp.eye(2)).as_text()
        True
    """

    @wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*arguments, **options)

    return wrapped  # pyright: ignore[reportReturnType]


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, a decomposition, such that on CPU the lanes of a sweep do it one after the other.

    jaxlib spreads a batch of decompositions over the very threads that wait for it, so that two batches at once can
    wait for each other for ever.  Accelerators take the batch as one.

    Example:
        >>> factor = one_by_one(jnp.linalg.cholesky)
        >>> jax.vmap(factor)(jnp.array([[[4.0]], [[9.0]]])).ravel().tolist()
        [2.0, 3.0]
    """
    single = jax.custom_batching.custom_vmap(function)

    @single.def_vmap
    def batched(size: int, mapped: list[bool], *arrays: Array) -> tuple[Any, Any]:
        def in_turn(*arrays: Array) -> Any:
            def call(lane: list[Array]) -> Any:
                lanes = iter(lane)
                return single(*(next(lanes) if m else a for m, a in zip(mapped, arrays)))

            return lax.map(call, [a for m, a in zip(mapped, arrays) if m])

        together = jax.vmap(function, [0 if m else None for m in mapped], axis_size=size)
        out = lax.platform_dependent(*arrays, cpu=in_turn, default=together)
        return out, jax.tree.map(lambda _: True, out)

    return single


qr = one_by_one(lambda A: tuple(jnp.linalg.qr(A)))
triangle = one_by_one(partial(jnp.linalg.qr, mode="r"))
eigh = one_by_one(lambda A: tuple(jnp.linalg.eigh(A)))
svd = one_by_one(lambda A: tuple(jnp.linalg.svd(A, full_matrices=False)))
upper_factor = one_by_one(partial(jnp.linalg.cholesky, upper=True))
upper_solve = one_by_one(lambda R, B: jax.scipy.linalg.solve_triangular(R, B))
upper_solve_transposed = one_by_one(lambda R, B: jax.scipy.linalg.solve_triangular(R, B, trans=1))


def sqnorm(*arrays: Array) -> Array:
    """Sum of the squared entries of all arrays.

    Example:
        >>> float(sqnorm(jnp.ones(3), jnp.array([[2.0, 1.0]])))
        8.0
    """
    return sum(jnp.vdot(a, a) for a in arrays)  # pyright: ignore[reportReturnType]


def expanded_gap(A: Array, B: Array, C: Array, D: Array) -> Array:
    """|A Bᵀ - C Dᵀ|² with its square expanded: products of small matrices, which lose a gap much below |C Dᵀ|².

    Example:
        >>> A, B, one = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 1.0]]), jnp.ones((1, 1))
        >>> float(expanded_gap(A, B, one, one))  # (3 - 1)²
        4.0
    """
    return jnp.vdot(A.T @ A, B.T @ B) - 2 * jnp.vdot(A.T @ C, B.T @ D) + jnp.vdot(C.T @ C, D.T @ D)


def similarity_factors(Y: Array, ones: Array, r: int) -> tuple[Array, Array]:
    """C, D (m, c + 1) with C Dᵀ = r S, what products of codes of r bits shall be; S = 2 Y Yᵀ - 1 1ᵀ.

    Args:
        Y: (m, c) labels with rows of length 1.
        ones: (m,) the row of ones, as rows of Y are.

    Example:
        >>> C, D = similarity_factors(jnp.eye(2), jnp.ones(2), 8)
        >>> (C @ D.T).tolist()
        [[8.0, -8.0], [-8.0, 8.0]]
    """
    return jnp.column_stack([2 * r * Y, -r * ones]), jnp.column_stack([Y, ones])


@jax.custom_jvp
def product_gap(A: Array, B: Array, C: Array, D: Array) -> Array:
    """|A Bᵀ - C Dᵀ|² in time linear in the rows, accurate where the gap is small: by the triangles of [A, -C], [B, D].

    Args:
        A, C: (m, k) and (m, l).
        B, D: (n, k) and (n, l).

    Example:
        >>> A, B, one = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 1.0]]), jnp.ones((1, 1))
        >>> round(float(product_gap(A, B, one, one)), 3)  # (3 - 1)²
        4.0
    """
    return sqnorm(triangle(jnp.hstack([A, -C])) @ triangle(jnp.hstack([B, D])).T)


@product_gap.defjvp
def _product_gap_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return product_gap(*primals), jax.jvp(expanded_gap, primals, tangents)[1]


def gap_to_wide(BR: Array, KQ: Array, K_squared: Array) -> Array:
    """|Q R Bᵀ - K|² of Q with orthonormal columns, where K has more dimensions: what K has beside Q is no small part.

    Args:
        BR: (n, k) B Rᵀ.
        KQ: (n, k) KᵀQ.
        K_squared: |K|².

    Example:
        >>> Q, K = jnp.eye(2)[:, :1], 2 * jnp.eye(2)
        >>> float(gap_to_wide(Q, K.T @ Q, sqnorm(K)))  # B Rᵀ = Q: of K - Q Qᵀ a 1 and a 2 are left
        5.0
    """
    return sqnorm(BR - KQ) + K_squared - sqnorm(KQ)


def sign(x: Array, mask: Array | None = None) -> Array:
    """Codes in {-1, +1} with sgn(0) = +1; rows that are padding (mask 0) become 0.

    Example:
        >>> sign(jnp.array([[-2.0], [0.0], [3.0]]), mask=jnp.array([1, 1, 0])).tolist()
        [[-1.0], [1.0], [0.0]]
    """
    codes = jnp.where(x >= 0, 1, -1).astype(x.dtype)
    return codes if mask is None else codes * mask[:, None]


def unit_rows(labels: Array) -> Array:
    """Every row divided by its 2-norm; rows of zeros stay zero.

    Example:
        >>> unit_rows(jnp.array([[0.0, 2.0], [0.0, 0.0]])).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    norms = jnp.linalg.norm(labels, axis=1, keepdims=True)
    return labels / jnp.where(norms > 0, norms, 1)


def descend(B: Array, target: Array, H: Array, project: Callable[[Array], Array], sweeps: int = 1) -> Array:
    """Coordinate descent on tr(B H Bᵀ) - 2 tr(B targetᵀ): each column exactly, given the others.

    Args:
        B: (n, r) start, whose columns are such as `project` gives.
        target: (n, r).
        H: (r, r) symmetric, with a positive diagonal.
        project: the nearest allowed column, (n, 1) to (n, 1).
        sweeps: how often each column has its turn.

    Example:
        >>> descend(jnp.ones((1, 2)), jnp.array([[2.0, -3.0]]), jnp.eye(2), project=sign).tolist()
        [[1.0, -1.0]]
    """

    target = target.T  # of which a column is one piece of memory, as of B below

    def column(turn: Array, B: Array) -> Array:
        k = turn % len(B)
        rest = target[k] - H[k] @ B + B[k] * H[k, k]
        return B.at[k].set(project((rest / H[k, k])[:, None])[:, 0])

    return lax.fori_loop(0, sweeps * B.shape[1], column, B.T).T


def polar(M: Array, beside: Array | None = None) -> Array:
    """The orthogonal polar factor P(M): of all Z with orthonormal short side, the one with the largest tr(MᵀZ).

    Where M says nothing its factor is completed with directions orthogonal to the rest.

    Args:
        M: (m, k); if m < k the rows come out orthonormal instead of the columns.
        beside: (m,) to which the columns shall be orthogonal; then what M has along it does not count.

    Returns:
        (m, k) factor.

    Example:
        >>> Z = polar(jnp.array([[0.0, 5.0], [-2.0, 0.0]]))
        >>> bool(jnp.allclose(Z, jnp.array([[0, 1], [-1, 0]]), atol=1e-6))
        True
        >>> Z = polar(jnp.eye(4)[:, :2], beside=jnp.ones(4))
        >>> bool(jnp.allclose(Z.T @ Z, jnp.eye(2), atol=1e-6) and jnp.allclose(Z.sum(0), 0, atol=1e-6))
        True
    """
    if M.shape[0] < M.shape[1]:
        return polar(M.T).T
    aside = 0 if beside is None else 1
    if M.shape[0] == M.shape[1] and not aside:
        left, _, right = svd(M)
        return left @ right
    Q, R = qr(M if beside is None else jnp.column_stack([beside, M]))
    left, _, right = svd(R[aside:, aside:])
    return Q[:, aside:] @ (left @ right)


def balanced(J: Array, ones: Array) -> Array:
    """Of all V with VᵀV = nI and columns that sum to 0, n being the number of samples, that with the largest tr(JᵀV).

    Args:
        J: (m, k), m > k, rows of samples or reduced rows.
        ones: (m,) the row of ones, as rows of J are.

    Example:
        >>> V = balanced(jnp.eye(4)[:, :2], jnp.ones(4))
        >>> bool(jnp.allclose(V.T @ V, 4 * jnp.eye(2), atol=1e-5) and jnp.allclose(V.sum(0), 0, atol=1e-5))
        True
    """
    return jnp.linalg.norm(ones) * polar(J, ones)


def smallest_ridge(A: Array) -> Array:
    """A ridge below which float32 says nothing of the columns of A; the same in float64, so that both agree.

    Example:
        >>> f"{smallest_ridge(jnp.eye(2)):.0e}"
        '2e-13'
    """
    return LEAST * sqnorm(A) + jnp.finfo(A.dtype).tiny


def over_ridge(A: Array, ridge: Array | float = 0.0) -> Array:
    """A (m, q) over sqrt(ridge) I, never less than the smallest: rows (m + q, q) whose columns are independent.

    Example:
        >>> over_ridge(jnp.ones((1, 2)), 4.0).round(3).tolist()
        [[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]
    """
    return jnp.concatenate([A, jnp.sqrt(ridge + smallest_ridge(A)) * jnp.eye(A.shape[1], dtype=A.dtype)])


def ridge_factor(A: Array, ridge: Array | float) -> Array:
    """T (q, q) upper triangular with TᵀT = AᵀA + ridge I, by QR of A (m, q) over sqrt(ridge) I.

    Example:
        >>> A = jnp.array([[1.0, 2.0], [3.0, 4.0]])
        >>> T = ridge_factor(A, 1.0)
        >>> bool(jnp.allclose(T.T @ T, A.T @ A + jnp.eye(2), rtol=1e-5))
        True
    """
    return triangle(over_ridge(A, ridge))


def lstsq(*terms: tuple[Any, Array, Array], ridge: Array | float = 0.0) -> Array:
    """The X that minimises sum of w |A X - B|² over the terms (w, A, B), plus ridge |X|²: one stacked QR.

    Args:
        terms: weight w >= 0, A (m, q), B (m, r) each.
        ridge: at least 0; where columns of the stacked A depend on each other, X is small along them.

    Returns:
        (q, r) solution.

    Example:
        >>> A, one, two = jnp.ones((1, 1)), jnp.array([[1.0]]), jnp.array([[2.0]])
        >>> round(float(lstsq((1.0, A, one), (3.0, A, two))[0, 0]), 3)
        1.75
        >>> round(float(lstsq((1.0, A, one), ridge=1.0)[0, 0]), 3)
        0.5
    """
    A = jnp.concatenate([jnp.sqrt(w) * A for w, A, _ in terms])
    B = jnp.concatenate([jnp.sqrt(w) * B for w, _, B in terms])
    q, r = A.shape[1], B.shape[1]
    A, B = over_ridge(A, ridge), jnp.concatenate([B, jnp.zeros((q, r), B.dtype)])
    if r > q:  # many right-hand sides: Q is smaller than they are
        Q, R = qr(A)
        return upper_solve(R, Q.T @ B)
    R = triangle(jnp.concatenate([A, B], axis=1))
    return upper_solve(R[:q, :q], R[:q, q:])


def least_norm(A: Array, B: Array) -> Array:
    """The shortest X (q, r) that minimises |A X - B|², for A (m, q) of any rank.

    Singular values below 10 sqrt(q) rounding errors of the largest count as 0.

    Example:
        >>> X = least_norm(jnp.ones((1, 2)), jnp.array([[2.0]]))
        >>> jnp.round(X).astype(int).tolist()
        [[1], [1]]
    """
    if B.shape[1] > A.shape[1]:  # many right-hand sides: Q is smaller than they are
        Q, A = qr(A)
        B = Q.T @ B
    elif len(A) > A.shape[1]:
        R = triangle(jnp.concatenate([A, B], axis=1))
        A, B = R[: A.shape[1], : A.shape[1]], R[: A.shape[1], A.shape[1] :]
    left, values, right = svd(A)
    cut = 10 * jnp.sqrt(float(len(values))) * jnp.finfo(A.dtype).eps * values[0]
    keep = values > cut
    return right.T @ (jnp.where(keep, 1 / jnp.where(keep, values, 1), 0)[:, None] * (left.T @ B))


def refined(G: Array, undone: Callable[[Array], Array], k: int) -> Array:
    """The X (q, k) for which `undone` is 0, a linear function (q, k) to (q, k) with the derivative -G.

    For G (q, q) that is exact, as of whole numbers, and may be singular: a ridge of rounding size makes it regular, and
    repeating what the ridge left undone, seen in the rows themselves, removes its bias.  Where G says nothing X is 0.

    Example:
        >>> G, target = jnp.diag(jnp.array([2.0, 0.0])), jnp.array([[4.0], [0.0]])
        >>> X = refined(G, lambda X: target - G @ X, 1)
        >>> jnp.round(X).astype(int).tolist()
        [[2], [0]]
    """
    # With less than 1e-8 rounding would fill in float64 what is open, and rows in another order learn other words.
    small = max(4 * float(jnp.finfo(G.dtype).eps), 1e-8) * jnp.trace(G) + jnp.finfo(G.dtype).tiny
    return solved(upper_factor(G + small * jnp.eye(len(G), dtype=G.dtype)), undone, k, small)


def solved(T: Array, undone: Callable[[Array], Array], k: int, ridge: Array | None = None) -> Array:
    """The X (q, k) for which `undone` is 0, a linear function (q, k) to (q, k) with about the derivative -TᵀT.

    What a first step leaves undone is solved for again, twice.  Where a ridge is all of TᵀT, rounding is large in the
    first step, and one more takes it back.

    Example:
        >>> T, target = jnp.array([[2.0, 1.0], [0.0, 1.0]]), jnp.ones((2, 1))
        >>> solved(T, lambda X: target - T.T @ T @ X, 1).round(4).tolist()
        [[0.0], [0.5]]
    """

    def again(step: Array, X: Array) -> Array:
        rest = undone(X) if ridge is None else undone(X) - jnp.where(step == 1, ridge, 0) * X
        return X + upper_solve(T, upper_solve_transposed(T, rest))

    return lax.fori_loop(0, 3 if ridge is None else 4, again, jnp.zeros((len(T), k), T.dtype))


def sums_of_words(A: Array, words: int, counts: Array, target: Array) -> Array:
    """The shortest books C for which sum_i counts_i |sum_b C[b, A[i, b]] - target_i|² is least.

    The unknowns meet only in how often words are chosen together: whole numbers.  That matrix is singular (books share
    a constant; words out of use, which become 0).

    Args:
        A: (u, books) int32 words, below `words`.
        words: number of words per book.
        counts: (u,) weight of each row.
        target: (u, k).

    Returns:
        (books, words, k).

    Example:
        >>> A, target = jnp.array([[0], [1], [1]]), jnp.array([[1.0], [2.0], [4.0]])
        >>> books = sums_of_words(A, 2, jnp.ones(3), target)
        >>> jnp.round(books).astype(int).tolist()
        [[[1], [3]]]
    """
    books, k = A.shape[1], target.shape[1]
    cell, size = A + words * jnp.arange(books, dtype=A.dtype), words * books
    pairs = jnp.broadcast_to(counts[:, None, None], (len(A), books, books))
    together = jnp.zeros((size, size), target.dtype).at[cell[:, :, None], cell[:, None, :]].add(pairs)

    def undone(C: Array) -> Array:
        rest = counts[:, None] * (target - C[cell].sum(1))
        return jnp.zeros_like(C).at[cell].add(rest[:, None])

    return refined(together, undone, k).reshape(books, words, k)
