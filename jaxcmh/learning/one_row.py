"""The code of one row of features, in NumPy: to call a compiled program takes longer than to compute this.

The two round in different ways, as programs for different numbers of rows do. So a row of which a bit depends on
rounding gets no answer here, and the program is asked.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcmh.extras import if_compiled
from jaxcmh.learning.features import LINEAR, FeatureMap

# How far two programs may be apart, relative to the lengths of what they multiply: twice what either was ever seen to
# be from the exact sum.
ROUNDING = 16 * float(np.finfo(np.float32).eps)


class RowHash(NamedTuple):
    """A feature map and a linear hash function behind it, on the host."""

    mean: np.ndarray | None  # (d,); None with a scale of None where they change nothing
    scale: np.ndarray | None  # (d,)
    anchors: np.ndarray | None  # (q, d) a / σ²; None without a kernel
    squares: np.ndarray  # (q,) -|a|² / 2σ²
    rate: float  # 1 / 2σ²
    farthest: float  # the largest |a|² / 2σ²
    offset: np.ndarray | None  # (q,)
    W: np.ndarray  # (r, q), rows of length 1: a product with them, bits ahead, takes less


def row_hash(fitted: FeatureMap, W: object) -> RowHash | None:
    """What `code` needs; None where the map or the hash function is of another kind."""
    if fitted.kind == "laplace" or not isinstance(W, jax.Array) or W.dtype != jnp.float32:
        return None
    mean, scale, anchors = (np.asarray(part) for part in (fitted.mean, fitted.scale, fitted.anchors))
    on_host = np.asarray(W)
    lengths = np.sqrt(np.square(on_host).sum(0))
    plain, linear = not mean.any() and (scale == 1).all(), fitted.kind in LINEAR
    rate = np.float32(0.5 / (np.asarray(fitted.sigma).item() or 1.0) ** 2)
    return RowHash(
        None if plain else mean,
        None if plain else scale,
        None if linear else 2 * rate * anchors,
        -rate * np.square(anchors).sum(1),
        float(rate),
        float(rate) * float(np.square(anchors).sum(1).max(initial=0)),
        None if fitted.offset is None else np.asarray(fitted.offset),
        np.ascontiguousarray((on_host / np.where(lengths > 0, lengths, 1)).T),
    )


def code(row: RowHash, x: np.ndarray) -> np.ndarray | None:
    """The packed code (1, r / 8) of a row (1, d), or None where rounding decides a bit.

    Example:
        >>> row = row_hash(FeatureMap(*map(jnp.asarray, ([0.0], [1.0], [[]], 1.0)), "identity"), jnp.ones((1, 8)))
        >>> code(row, np.ones((1, 1))).tolist(), code(row, np.zeros((1, 1)))
        ([[255]], None)
    """
    phi = np.array(x[0], np.float32)
    if row.mean is not None and row.scale is not None:
        phi = (phi - row.mean) / row.scale
    size = float(phi.dot(phi))  # `dot` begins sooner than @
    if row.anchors is None:
        error = ROUNDING * size**0.5
    else:
        error = ROUNDING * (1 + row.rate * size + row.farthest)
        if not error < 1:  # what rounding leaves of an exponent below 0 could overflow
            return None
        phi = row.anchors.dot(phi)
        phi += row.squares
        phi -= row.rate * size
        np.exp(phi, out=phi)
        if row.offset is not None:
            phi -= row.offset
    return (_numba() or _packed)(row.W, phi, error)


@if_compiled
def _numba() -> Callable[[np.ndarray, np.ndarray, float | np.floating], np.ndarray | None]:
    from jaxcmh.learning import numba_row

    return numba_row.packed


def _packed(W: np.ndarray, phi: np.ndarray, error: float | np.floating) -> np.ndarray | None:
    """`numba_row.packed` without numba."""
    projection = W.dot(phi)
    if not np.abs(projection).min() > error:
        return None
    return np.packbits(projection > 0, bitorder="little")[None]
