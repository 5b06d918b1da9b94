"""Which label set has which label, as a matrix that multiplies by where its ones are; rows of samples made of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

DENSER = 100  # numbers of a matrix that are multiplied in the time of one that is gathered and scattered


class Places(NamedTuple):
    """Where the ones of a matrix are, int32, in the order of its rows and in that of its columns."""

    row: Any  # (f,) in order, and the
    column_of: Any  # (f,) column of each
    column: Any  # (f,) in order, and the
    row_of: Any  # (f,) row of each
    pair_in: Any  # (g,) in order: a row, for each two of its ones, and the
    pair: Any  # (g,) cell of a matrix of two columns, which is flat


class Ones(NamedTuple):
    """A matrix (u, c) of zeros and ones, times a number for each row.

    Where the places of the ones are known, a product costs as much as there are of them.

    Example:
        >>> sets = np.array([[1.0, 1.0], [0.0, 1.0]])
        >>> few = Ones(jnp.asarray(sets), places(sets))
        >>> (few @ jnp.array([[1.0], [2.0]])).tolist(), few.transposed_times(jnp.array([[1.0], [2.0]])).tolist()
        ([[3.0], [2.0]], [[1.0], [3.0]])
        >>> few.gram(jnp.array([[1.0], [5.0]])).tolist()
        [[1.0, 1.0], [1.0, 6.0]]
    """

    dense: Array
    places: Places | None = None
    scale: Array | float = 1.0  # (u, 1)

    def __matmul__(self, Y: Array) -> Array:
        """(u, k) of Y (c, k)."""
        if self.places is None:
            return self.scale * (self.dense @ Y)
        row, column_of = self.places[:2]
        return self.scale * jax.ops.segment_sum(Y[column_of], row, len(self.dense), indices_are_sorted=True)

    def transposed_times(self, Y: Array) -> Array:
        """(c, k) of Y (u, k)."""
        if self.places is None:
            return self.dense.T @ (self.scale * Y)
        column, row_of = self.places[2:4]
        return jax.ops.segment_sum((self.scale * Y)[row_of], column, self.dense.shape[1], indices_are_sorted=True)

    def gram(self, weights: Array) -> Array:
        """(c, c): the sum over the rows, with weights (u, 1), of the products of their columns."""
        w, c = self.scale**2 * weights, self.dense.shape[1]
        if self.places is None:
            return (w * self.dense).T @ self.dense
        return jnp.zeros(c * c, w.dtype).at[self.places.pair].add(w[self.places.pair_in, 0]).reshape(c, c)


def places(sets: np.ndarray) -> Places | None:
    """Of zeros and ones (u, c), on the host; None where products with all of the numbers cost less."""
    (u, c), full = sets.shape, sets != 0
    often = full.sum(1)
    if DENSER * often.sum() > u * c or (often**2).sum() > u * c:
        return None
    row, column_of = places_of_others_than_0(full)
    by_column = np.argsort(column_of, kind="stable")
    times = often[row]
    first = np.repeat(np.cumsum(often) - often, often)  # of the ones of the row of each
    one = np.repeat(np.arange(len(row)), times)
    other = np.repeat(first, times) + np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    found = row, column_of, column_of[by_column], row[by_column], row[one], column_of[one] * c + column_of[other]
    return Places(*(a.astype(np.int32) for a in found))


def places_of_others_than_0(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, row by row: what `np.nonzero` says, in a tenth of its time."""
    row, column = np.divmod(np.flatnonzero(matrix != 0), matrix.shape[1])
    return row, column


class OfSamples(NamedTuple):
    """Matrices of label sets side by side, as rows (n, k) of samples, in place of the array.

    Example:
        >>> few = OfSamples((Ones(jnp.array([[1.0, 1.0], [0.0, 1.0]])),), jnp.array([0, 1, 1]), jnp.ones(3))
        >>> (few @ jnp.array([[1.0], [2.0]])).tolist(), few.transposed_times(jnp.ones((3, 1))).tolist()
        ([[3.0], [2.0], [2.0]], [[1.0], [3.0]])
    """

    of_sets: tuple[Ones, ...]  # (u, c) each
    member: Array  # (n,) int32, the label set of each sample
    mask: Array  # (n,) 1 for a sample, 0 for padding

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.member), sum(L.dense.shape[1] for L in self.of_sets)

    def __matmul__(self, W: Array) -> Array:
        """(n, r) of W (k, r)."""
        parts = jnp.split(W, np.cumsum([L.dense.shape[1] for L in self.of_sets[:-1]]))
        of_sets = sum((L @ part for L, part in zip(self.of_sets, parts)), jnp.zeros((), W.dtype))
        return of_sets[self.member] * self.mask[:, None]

    def transposed_times(self, B: Array) -> Array:
        """(k, r) of B (n, r)."""
        sums = jax.ops.segment_sum(B * self.mask[:, None], self.member, len(self.of_sets[0].dense))
        return jnp.concatenate([L.transposed_times(sums) for L in self.of_sets])


class Similarity(NamedTuple):
    """S = L Lᵀ (n, n) of rows L (n, c) of samples.

    Example:
        >>> L = OfSamples((Ones(jnp.eye(2)),), jnp.array([0, 1, 1]), jnp.ones(3))
        >>> S = Similarity(L, squared=jnp.array(5.0))
        >>> (S @ jnp.ones((3, 1))).tolist(), float(S.gap(jnp.ones((3, 1)), jnp.ones((3, 1))))
        ([[1.0], [2.0], [2.0]], 4.0)
    """

    L: OfSamples
    squared: Array  # () |S|²

    def __matmul__(self, Z: Array) -> Array:
        """(n, r) of Z (n, r)."""
        return self.L @ self.L.transposed_times(Z)

    def gap(self, A: Array, B: Array) -> Array:
        """|r S - A Bᵀ|² of A and B (n, r), its square expanded."""
        r, along = A.shape[1], jnp.vdot(self.L.transposed_times(A), self.L.transposed_times(B))
        return r**2 * self.squared - 2 * r * along + jnp.vdot(A.T @ A, B.T @ B)
