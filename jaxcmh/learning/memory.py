"""What memory a training takes at its peak, from its shapes alone.

Of each of n samples there are raw features, if they are not read from disk; mapped ones, if they are kept; labels; and
either the label columns that are reduced with the mapped features, or the state of the method with as much again while
a step replaces it. What does not grow with n are the program, the reduced rows, and blocks of rows at work.
"""

import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from jaxcmh import checks
from jaxcmh.learning import core, features, reduction
from jaxcmh.learning.core import Data, Method
from jaxcmh.learning.features import Features

PROGRAM = 330e6  # bytes of Python, jax and compiled programs
SQUARES = 3  # float64 (p, p) arrays at once around the reduction, beside a sum for each processor
CODES = 3  # float32 (n, bits) arrays while codes are packed, and while a step is computed
NO_ROOM = 1e-9  # GB for mapped features: they are computed by blocks
PROCESSES = 1024  # so many are proposed at most
MANY = 1_000_003  # a number of samples that is the size of nothing else


def widths(chosen: Sequence[Features], dims: Sequence[int], n: int) -> list[int]:
    """Mapped features of each view."""
    return [d if f.kind in features.LINEAR else min(f.anchors, n) for f, d in zip(chosen, dims)]


def peak_gb(
    method: Method, n: int, dims: Sequence[int], classes: int, bits: int, chosen: Sequence[Features], kept: bool = True
) -> float:
    """Peak memory of a process that trains on a CPU, in GB, without the raw features.

    Args:
        method: what is trained.
        n: samples.
        dims: raw features of each view.
        classes, bits: of the labels and of the codes.
        chosen: the feature map of each view.
        kept: whether mapped features are kept; else they are computed by blocks.
    """
    mapped = widths(chosen, dims, n)
    p = sum(mapped) + 2 * classes + 1
    workers = min(os.cpu_count() or 1, reduction.PROCESSORS)
    step = min(n, features.BLOCK_ENTRIES // max(*mapped, *dims) if kept else features.ENCODE_ROWS)
    of_row = [2 * d + q * (1 if f.kind in features.LINEAR else 3) for f, d, q in zip(chosen, dims, mapped)]
    block = 4 * step * (sum(of_row) if kept else max(of_row))  # where they are kept, views are mapped at once
    reduced = 8 * p * (p * (workers + SQUARES) + workers * reduction.BLOCK_ROWS) if n > p else 0
    fixed = PROGRAM + block + reduced
    labels = 2 * classes + 24 + (len(dims) + 1) * bits // 8
    state = 2 * state_bytes(method, mapped, classes, bits) + 4 * CODES * bits
    row = labels + (4 * sum(mapped) + max(16 * classes, state) if kept else state)
    return (fixed + row * n) / 1e9


def room_within(
    limit: float, method: Method, views: Sequence[Any], classes: int, bits: int, chosen: Sequence[Features]
) -> float:
    """The `room` of `train` with which a training of these views is expected to stay within `limit` GB.

    Raises:
        ValueError: there is none; the message says what would be enough.
    """
    n, dims = views[0].shape[0], [x.shape[1] for x in views]
    raw = sum(held(x) for x in views) / 1e9
    kept, blocks = (raw + peak_gb(method, n, dims, classes, bits, chosen, kept) for kept in (True, False))
    if min(kept, blocks) > limit:
        fits = _others(limit - raw, limit, method, n, dims, classes, bits, chosen)
        raise ValueError(
            f"memory: expected at least {min(kept, blocks):.2f} GB, about what this training takes with mapped "
            f"features computed by blocks, or {kept:.2f} with them kept; {raw:.2f} GB of it are views not read "
            f"from disk{'; what would fit: ' if fits else ''}{', or '.join(fits)}; got {limit:g}"
        )
    return limit if kept <= limit else NO_ROOM


def _others(
    within: float,
    limit: float,
    method: Method,
    n: int,
    dims: Sequence[int],
    classes: int,
    bits: int,
    chosen: Sequence[Features],
) -> list[str]:
    """What would stay within `limit` GB, or `within` beside the raw features: files, processes, fewer anchors."""
    found, blocks = [], peak_gb(method, n, dims, classes, bits, chosen, kept=False)
    if blocks <= limit:
        found.append(f"views in .npy, HDF5 or Parquet files ({blocks:.2f} GB)")
    most = n // (sum(widths(chosen, dims, n)) + 2 * classes + 1)  # of fewer rows each, none are reduced
    for count in (2**i for i in range(1, min(most, PROCESSES).bit_length())):
        if (of_each := peak_gb(method, -(-n // count), dims, classes, bits, chosen)) <= limit:
            found.append(f"{count} processes with views in such files ({of_each:.2f} GB each, see --coordinator)")
            break
    anchors = max((f.anchors for f in chosen if f.kind in features.KERNELS), default=0)
    while (anchors := anchors // 2) >= bits:
        fewer = [f._replace(anchors=min(f.anchors, anchors)) for f in chosen]
        if peak_gb(method, n, dims, classes, bits, fewer, kept=False) <= within:
            return [*found, f"{anchors} anchors"]
    return found


def held(x: Any) -> int:
    """Bytes of a view that are in memory."""
    if checks.is_read(x):
        return 0
    return sum(part.nbytes for part in ((x.data, x.indices, x.indptr) if hasattr(x, "indptr") else (x,)))


def state_bytes(method: Method, mapped: Sequence[int], classes: int, bits: int) -> int:
    """Bytes of the state of a method for each sample."""

    def struct(*shape: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    p, u = sum(mapped) + 2 * classes + 1, 2 * classes
    data = Data(
        tuple(struct(p, q) for q in mapped),
        *(struct(p, classes), struct(p, classes), struct(p), struct(u, classes), struct(u)),
        *(struct(MANY, dtype=jnp.int32), struct(MANY)),
        tuple(struct(MANY, q) for q in mapped),
        reduction.Turn(R=struct(p, p)),
    )

    def start(key: Any, data: Data) -> Any:
        return method.init(key, core.ready(method, data, bits), method.params, bits)

    leaves = jax.tree.leaves(jax.eval_shape(start, random.key(0), data))
    return sum(int(np.prod(leaf.shape)) // MANY * leaf.dtype.itemsize for leaf in leaves if MANY in leaf.shape)
