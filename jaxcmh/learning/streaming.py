"""Training sets that are not in memory: rows are read and mapped a block at a time, whenever they are wanted.

A `Source` reads raw rows.  `Streamed` stands where the mapped features (n, q) of a view stand else: products with it
read each block of rows, map it and multiply it, so neither raw nor mapped rows are ever in memory as a whole.  What a
training keeps are reduced rows, label sets and codes.  `Labelled` does the same for what is equal for all samples of a
label set.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array, lax

from jaxcmh import checks, store
from jaxcmh.learning import features, reduction
from jaxcmh.learning.features import FeatureMap


class Source:
    """Raw rows (n, d) of a view, read as dense float32 or float64 when they are asked for.

    Args:
        array: what has a shape and gives the rows of a slice or of ascending numbers: a memory-mapped array, an HDF5
            dataset, `datasets.rows`, or any array or CSR matrix.
        kept: (k,) ascending numbers of the rows that count, the others are left out; all of them if None.
    """

    def __init__(self, array: Any, kept: np.ndarray | None = None) -> None:
        # A callback must not compute with jax.
        self.array, self.kept = np.asarray(array) if isinstance(array, jax.Array) else array, kept
        self.shape = (array.shape[0] if kept is None else len(kept), array.shape[1])

    def __eq__(self, other: object) -> bool:
        """Of the same array, so that to train on it again compiles nothing."""
        return isinstance(other, Source) and self.array is other.array and self.kept is other.kept

    def __hash__(self) -> int:
        return id(self.array)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if self.kept is None:
            return self._read(rows)
        rows = self.kept[rows]
        return self._read(slice(rows[0], rows[-1] + 1))[rows - rows[0]] if len(rows) else self._read(slice(0, 0))

    def _read(self, rows: Any) -> np.ndarray:
        block: Any = self.array[rows]
        block = block.toarray() if scipy.sparse.issparse(block) else np.asarray(block)
        block = np.array(block, np.float64 if block.dtype == np.float64 else np.float32)
        store.forget(self.array)
        return block

    def read(self, start: Any, size: int, dtype: Any) -> np.ndarray:
        """The rows from `start` on; for callbacks."""
        return self[int(start) : int(start) + size].astype(dtype, copy=False)


def source(array: Any, name: str, keep: bool = False, mine: slice = slice(None)) -> Any:
    """The source of a view, or the array itself if its mapped features are kept and it is in memory.

    A pass over rows that are read, those of this process, finds out whether all numbers are finite.

    Raises:
        ValueError: they are not, or cannot be read; the message says in which row.
    """
    if not checks.is_read(array):
        return array if keep else Source(array)
    source = Source(array)
    first, last, _ = mine.indices(len(source))
    for start in range(first, last, reduction.BLOCK_ROWS):
        stop = min(start + reduction.BLOCK_ROWS, last)
        try:
            block = source[start:stop]
        except (OSError, ValueError) as error:
            raise ValueError(f"{name}: rows {start} to {stop - 1} cannot be read ({error})") from None
        if block.shape != (stop - start, source.shape[1]):
            raise ValueError(f"{name}: expected {stop - start} rows from row {start} on; got shape {block.shape}")
        checks.finite(block, name, start)
    return source


@partial(jax.tree_util.register_dataclass, data_fields=("map",), meta_fields=("source", "dtype"))
@dataclass(frozen=True)
class Streamed:
    """Mapped features (n, q) of a view, computed from its raw rows whenever they are wanted."""

    map: FeatureMap
    source: Source
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.source), len(self.map.anchors) or self.source.shape[1]

    def __getitem__(self, rows: slice) -> Array:
        """Rows, outside of jit."""
        block = self.source[rows].astype(self.map.mean.dtype, copy=False)
        return lax.convert_element_type(features.map_rows(self.map, block), self.dtype)

    def rows(self, start: Array | int, size: int) -> Array:
        """Rows (size, q) from `start` on, within jit."""
        raw = jax.ShapeDtypeStruct((size, self.source.shape[1]), self.map.mean.dtype)
        read = partial(self.source.read, size=size, dtype=raw.dtype)
        block = jax.pure_callback(read, raw, lax.convert_element_type(start, jnp.int32))
        return lax.convert_element_type(features.map_rows(self.map, block), self.dtype)

    def __matmul__(self, W: Array) -> Array:
        return (self @ W[:, None])[:, 0] if W.ndim == 1 else reduction.times([self], [W])

    def __rmatmul__(self, B: Array) -> Array:
        if B.ndim == 1:
            return (B[None] @ self)[0]
        return reduction.sum_over_blocks(lambda x, b: b.T @ x, self, B.T)


def some(phi: Any, rows: np.ndarray) -> Any:
    """The rows (n, q) where a mask (n,) is true."""
    if reduction.in_memory(phi):
        return phi[rows]
    return replace(phi, source=Source(phi.source.array, np.flatnonzero(rows)))


@partial(jax.tree_util.register_dataclass, data_fields=("of_sets", "member", "mask"), meta_fields=())
@dataclass(frozen=True)
class Labelled:
    """Rows (n, k) of which all samples of a label set have the same, in place of the array."""

    of_sets: Any  # (u, k)
    member: Any  # (n,)
    mask: Any  # (n,)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.member), self.of_sets.shape[1]

    def __getitem__(self, rows: slice) -> Array:
        return self.of_sets[self.member[rows]] * self.mask[rows, None]

    def on_host(self) -> "Labelled":
        """The same of NumPy's arrays; of sets that are nearly all 0, of a sparse matrix, and so are the rows."""
        return Labelled(reduction.of_few(np.asarray(self.of_sets)), np.asarray(self.member), np.asarray(self.mask))

    def part(self, start: int, stop: int) -> "Labelled":
        """Rows, outside of jit."""
        return replace(self, member=self.member[start:stop], mask=self.mask[start:stop])

    def rows(self, start: Array | int, size: int) -> Array:
        member, mask = (lax.dynamic_slice_in_dim(a, start, size) for a in (self.member, self.mask))
        return self.of_sets[member] * mask[:, None]
