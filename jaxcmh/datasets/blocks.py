"""Rows of features that stay in their file: arrays to train on that need not fit into memory."""

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from jaxcmh.checks import array, checked, got, path
from jaxcmh.extras import require
from jaxcmh.parsing import UnfitError, naming, npy_header
from jaxcmh.store import forget

from .files import HDF5, inside, parquet_groups, parquet_lists

Blocks = Callable[[int], Iterator[Any]]  # those from a row on
STEP = 4096  # rows at a time
CHUNK_BYTES = 1 << 25  # a chunk of an HDF5 file that is not larger is unpacked once for the blocks that it has rows of


class InOrder:
    """Rows (n, d) of blocks that come one after the other: a pass over them in order reads each block once.

    To ask for rows before those asked for last begins anew, at the last of the rows `begins` where that is possible.
    """

    def __init__(self, blocks: Blocks, shape: tuple[int, int], dtype: np.dtype, begins: Sequence[int] = (0,)) -> None:
        self.shape, self.dtype = shape, dtype
        self._blocks, self._begins, self._lock = blocks, begins, threading.Lock()
        self._rest, self._held, self._first = iter(()), np.empty((0, shape[1]), dtype), shape[0]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The rows of a slice without steps, or of ascending numbers."""
        with self._lock:
            if isinstance(rows, slice):
                start, stop, _ = rows.indices(len(self))
                return self._read(start, stop)
            return np.concatenate([self._read(row, row + 1) for row in np.asarray(rows).tolist()])

    def _read(self, start: int, stop: int) -> np.ndarray:
        begin = self._begins[bisect_right(self._begins, start) - 1]
        if start < self._first or begin > self._first + len(self._held):
            self._rest, self._held, self._first = self._blocks(begin), self._held[:0], begin
        parts = [self._held[:0]]
        while start < stop:
            part = self._held[start - self._first : stop - self._first]
            parts.append(part)
            start += len(part)
            if start < stop:
                self._first += len(self._held)
                block = next(self._rest, None)
                if block is None:
                    self._held, self._first = parts[0], self.shape[0]  # the next read begins anew
                    raise ValueError(f"expected {self.shape[0]} rows, as in the first pass; row {start} is not there")
                self._held = block
        return np.concatenate(parts)


class Some:
    """Some rows (k, d) of what is read when it is asked for: those of ascending numbers."""

    def __init__(self, array: Any, chosen: np.ndarray) -> None:
        self.shape, self.dtype = (len(chosen), array.shape[1]), array.dtype
        self._array, self._chosen = array, chosen

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The rows of a slice, which are read with those between them, or of ascending numbers."""
        chosen = self._chosen[rows]
        if isinstance(rows, slice):
            first, behind = (chosen[0], chosen[-1] + 1) if len(chosen) else (0, 0)
            found = self._array[first:behind][chosen - first]
        else:
            found = self._array[chosen]
        forget(self._array)
        return found


def picked(array: Any, chosen: np.ndarray) -> np.ndarray:
    """Rows of ascending numbers, into memory, by one pass over an array that is read when it is asked for."""
    cuts = np.searchsorted(chosen, range(0, len(array) + STEP, STEP))
    parts = [np.empty((0, array.shape[1]), array.dtype)]
    for start, (low, high) in zip(range(0, len(array), STEP), pairwise(cuts)):
        if high > low:
            parts.append(array[start : start + STEP][chosen[low:high] - start])
            forget(array)
    return np.concatenate(parts)


@checked
def rows(source: Any, name: str | None = None) -> Any:
    """Rows of features that are read when they are asked for, for `jaxcmh.train`.

    Args:
        source: a .npy file, which is mapped into memory; an HDF5 or Parquet file; or blocks of rows (k, d), any object
            that can be gone through again and again.  Memory-mapped arrays and HDF5 datasets need no `rows`.
        name: which dataset of an HDF5 file, or column of lists of a Parquet file; the only one, or all columns of
            numbers of a Parquet file side by side, if None.

    Returns:
        What has a shape (n, d) and reads the rows of a slice.

    Raises:
        FileNotFoundError: no such file.
        ValueError: of no known kind, cut off, without such an array, or blocks that do not fit.

    Example:
        >>> blocks = rows([np.zeros((3, 2)), np.ones((1, 2))])
        >>> blocks.shape, blocks[2:4].tolist()
        ((4, 2), [[0.0, 0.0], [1.0, 1.0]])
    """
    if isinstance(source, str | Path):
        return _of_file(path(source, "source").expanduser(), name)
    if not isinstance(source, Iterable) or isinstance(source, Iterator) or getattr(source, "shape", None) == ():
        raise ValueError(f"source: expected a file, or blocks that can be gone through again; got {got(source)}")
    return _counted(partial(_checked_blocks, source))


def _checked_blocks(source: Iterable[Any], _: int) -> Iterator[np.ndarray]:
    width = None
    for number, block in enumerate(source):
        block = array(block.toarray() if hasattr(block, "toarray") else block, f"source: block {number}")
        if block.ndim != 2 or block.shape[1] != (width or block.shape[1] or None):
            raise ValueError(f"source: block {number}: expected rows (k, {width or 'd'}); got shape {block.shape}")
        width = block.shape[1]
        yield np.asarray(block)


def _counted(blocks: Blocks) -> InOrder:
    """Blocks with the shape that a pass over them finds."""
    n, first = 0, None
    for block in blocks(0):
        first = block if first is None else first
        n += len(block)
    if first is None or not n:
        raise ValueError("source: expected at least one row; got none")
    return InOrder(blocks, (n, first.shape[1]), first.dtype)


def _of_file(path: Path, name: str | None) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open("rb") as file:
        head = file.read(8)
    kinds = {b"\x93NUMPY": ("npy", _npy), HDF5: ("HDF5", _hdf5), b"PAR1": ("Parquet", _parquet)}
    kind, read = next((found for magic, found in kinds.items() if head.startswith(magic)), (None, None))
    if kind is None or read is None:
        raise ValueError(f"{path}: expected a npy, HDF5 or Parquet file")
    with naming(path, kind):
        return read(path, name)


def _npy(path: Path, name: str | None) -> np.memmap:
    with path.open("rb") as file:
        shape, _, dtype = npy_header(file, path.stat().st_size)
    if len(shape) != 2 or dtype.kind not in "biuf":
        raise UnfitError(f"expected numbers (n, d); got {dtype} of shape {shape}")
    return np.load(path, mmap_mode="r")


def _hdf5(path: Path, name: str | None) -> Any:
    require("files", "h5py")
    import h5py

    file, found = h5py.File(path, "r", rdcc_nbytes=CHUNK_BYTES), {}

    def visit(key: str, item: Any) -> None:
        if (
            isinstance(item, h5py.Dataset)
            and item.ndim == 2
            and item.dtype.kind in "biuf"
            and not (item.external or item.is_virtual)
        ):
            found[key] = item

    file.visititems(visit)
    if name is not None and name in file and inside(file, name):  # by a second name too, which no visit comes by
        visit(name, file[name])
    return found[_chosen(name, list(found))]


def _parquet(path: Path, name: str | None) -> InOrder:
    require("files", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    lists = [field.name for field in schema if pa.types.is_nested(field.type)]
    plain = [f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]
    if name is None and plain and not lists:
        return _of_groups(path, partial(_side_by_side, path, plain))
    return _of_groups(path, partial(_lists, path, _chosen(name, lists)))


def _of_groups(path: Path, blocks: Blocks) -> InOrder:
    """Blocks of a Parquet file, which can begin with each of its row groups."""
    import pyarrow.parquet as pq

    first, begins = next(blocks(0), None), parquet_groups(pq.read_metadata(path))
    if first is None:
        raise UnfitError("expected at least one row; got none")
    return InOrder(partial(_naming, path, blocks), (begins[-1], first.shape[1]), first.dtype, begins[:-1])


def _naming(path: Path, blocks: Blocks, first: int) -> Iterator[np.ndarray]:
    with naming(path, "Parquet"):
        yield from blocks(first)


def _chosen(name: str | None, names: list[str]) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        raise UnfitError(f"expected the name of an array (n, d), one of {', '.join(names) or 'none'}; got {name!r}")
    return name


def _lists(path: Path, name: str, first: int) -> Iterator[np.ndarray]:
    width = None
    for start, values, lengths in parquet_lists(path, name, first):
        lengths = np.zeros(0, int) if lengths is None else lengths
        width = int(lengths[0]) if width is None else width
        if (lengths != width).any():
            row = int(np.argmax(lengths != width))
            raise UnfitError(f"row {start + row} has {lengths[row]} numbers, the rows before it {width}")
        yield values.reshape(-1, width)


def _side_by_side(path: Path, names: list[str], first: int) -> Iterator[np.ndarray]:
    for columns in zip(*(parquet_lists(path, name, first) for name in names)):
        yield np.column_stack([values for _, values, _ in columns])
