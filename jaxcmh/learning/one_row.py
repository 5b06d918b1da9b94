"""The code of one row of features, in NumPy: to call a compiled program takes longer than to compute this.

The two round in different ways, as programs for different numbers of rows do: a bit of which rounding decides can be
another one among many rows.  Most of the time goes into reading the anchors; those of features that are 0, as most
words and tags are, need not be read.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcmh.extras import if_compiled
from jaxcmh.learning.features import LINEAR, FeatureMap

LARGEST = 2.0**19  # |x|² + |a|², in 2σ², of which rounding leaves a distance, which is their difference
FEW = 1 / 8  # share of features other than 0 up to which it takes less time to choose their anchors than to read all


class RowHash(NamedTuple):
    """A feature map and a linear hash function behind it, on the host."""

    mean: np.ndarray | None  # (d,); None with a scale of None where they change nothing
    scale: np.ndarray | None  # (d,)
    anchors: np.ndarray | None  # (d, q) a / σ²; None without a kernel
    squares: np.ndarray  # (q,) -|a|² / 2σ²
    rate: float  # 1 / 2σ²
    farthest: float  # the largest |a|² / 2σ²
    offset: np.ndarray | None  # (q,)
    W: np.ndarray  # (r, q): a product with it, bits ahead, takes less


def row_hash(fitted: FeatureMap, W: object) -> RowHash | None:
    """What `code` needs; None where the map or the hash function is of another kind."""
    if fitted.kind == "laplace" or not isinstance(W, jax.Array) or W.dtype != jnp.float32:
        return None
    mean, scale, anchors = (np.asarray(part) for part in (fitted.mean, fitted.scale, fitted.anchors))
    plain, linear = not mean.any() and (scale == 1).all(), fitted.kind in LINEAR
    rate = np.float32(0.5 / (np.asarray(fitted.sigma).item() or 1.0) ** 2)
    return RowHash(
        None if plain else mean,
        None if plain else scale,
        None if linear else np.ascontiguousarray(2 * rate * anchors.T),
        -rate * np.square(anchors).sum(1),
        float(rate),
        float(rate) * float(np.square(anchors).sum(1).max(initial=0)),
        None if fitted.offset is None else np.asarray(fitted.offset),
        np.ascontiguousarray(np.asarray(W).T),
    )


def code(row: RowHash, x: np.ndarray) -> np.ndarray | None:
    """The packed code (1, r / 8) of a row (1, d), or None where its numbers are too large.

    Example:
        >>> row = row_hash(FeatureMap(*map(jnp.asarray, ([0.0], [1.0], [[]], 1.0)), "identity"), jnp.ones((1, 8)))
        >>> code(row, np.ones((1, 1))).tolist(), code(row, -np.ones((1, 1))).tolist()
        ([[255]], [[0]])
    """
    phi = np.array(x[0], np.float32)
    if row.mean is not None and row.scale is not None:
        phi = (phi - row.mean) / row.scale
    if row.anchors is not None:
        size = float(phi.dot(phi))  # `dot` begins sooner than @
        if not row.rate * size + row.farthest < LARGEST:
            return None
        others = np.flatnonzero(phi)
        few = len(others) <= FEW * len(phi)
        phi = phi[others].dot(row.anchors[others]) if few else phi.dot(row.anchors)
        phi += row.squares
        phi -= row.rate * size
        np.exp(phi, out=phi)
        if row.offset is not None:
            phi -= row.offset
    return (_numba() or _packed)(row.W, phi)


@if_compiled
def _numba() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    from jaxcmh.learning import numba_row

    return numba_row.packed


def _packed(W: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """`numba_row.packed` without numba."""
    return np.packbits(W.dot(phi) >= 0, bitorder="little")[None]
