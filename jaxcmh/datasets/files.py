"""What is in a file: every array with its name, shape and type, found by content and read only when asked for.

MAT (v4 to v7.3), HDF5, npz, npy, Parquet and Wiki's `.list` files. Nothing in a file is ever executed: pickled objects,
MATLAB objects and function handles are listed as unusable, links to other files are not followed.
"""

import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
from scipy import sparse

from jaxcmh.extras import require

HDF5 = b"\x89HDF\r\n\x1a\n"
BLOCK_BYTES = 1 << 22  # read at a time: what is in the processor's cache is looked at and moved for next to nothing
NUMBERS = ("double", "single", "logical", "sparse", *(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64)))


Blocks = Iterator[tuple[int, np.ndarray]]


class Stored(NamedTuple):
    """An array in a file.

    Attributes:
        file: where it lies.
        key: its name there; fields of a struct after a dot.
        shape: as stored; for MATLAB's HDF5 files turned back, so that rows come first.
        dtype: what it holds, in words.
        read: returns it: NumPy array or CSR matrix; None where `blocks` does that, or for what no data are made of.
        blocks: yields plain numbers block by block along the axis that is outermost in the file, each with where it
            begins; a block lies in the array given (C order, that axis first), or without one in a buffer that the next
            block overwrites. Called with 0, 1, ... below `strands`, it yields a share of the blocks.
        strands: into how many shares the blocks can be cut, to be read at the same time.
        outer: that axis: 0 for rows, 1 for columns.
        turn: its axes may as well be the other way round (HDF5 does not say).
    """

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Any] | None
    blocks: "Callable[[np.ndarray | None, int], Blocks] | None" = None
    strands: int = 1
    outer: int = 0
    turn: bool = False

    @property
    def usable(self) -> bool:
        """Whether it can be read: numbers or texts, not objects, cells or functions."""
        return self.read is not None or self.blocks is not None


def contents(path: Path) -> list[Stored]:
    """List the arrays of a file.

    Args:
        path: a MAT, HDF5, npz, npy, Parquet or `.list` file; the kind is told by its first bytes.
    Raises:
        FileNotFoundError: no such file.
        ValueError: of no known kind, damaged or cut off, or with nothing in it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with open(path, "rb") as file:
        head = file.read(520)
    if not head:
        raise ValueError(f"{path}: the file is empty")
    if head.startswith(HDF5) or head[512:] == HDF5:
        kind, lister = "HDF5", _hdf5
    elif head.startswith(b"\x93NUMPY"):
        kind, lister = "npy", _npy
    elif head.startswith(b"PK"):
        kind, lister = "npz", _npz
    elif head.startswith(b"PAR1"):
        kind, lister = "Parquet", _parquet
    elif head.startswith(b"MATLAB") or path.suffix == ".mat":
        kind, lister = "MAT", _mat
    elif path.suffix == ".list":
        kind, lister = "list", _list
    else:
        raise ValueError(f"{path}: not a MAT, HDF5, npz, npy or Parquet file")
    with _telling(path, kind):
        stored = list(lister(path))
    if not stored:
        raise ValueError(f"{path}: holds no arrays")

    def read(array: Stored) -> Any:
        with _telling(f"{path}: {array.key}", kind):
            return array.read() if array.read else None

    def blocks(array: Stored, out: np.ndarray | None, strand: int) -> Blocks:
        with _telling(f"{path}: {array.key}", kind):
            yield from array.blocks(out, strand) if array.blocks else ()

    return [
        s._replace(read=partial(read, s) if s.read else None, blocks=partial(blocks, s) if s.blocks else None)
        for s in stored
    ]


@contextmanager
def _telling(where: Any, kind: str) -> Iterator[None]:
    """Whatever the file libraries raise for a bad file becomes one ValueError that names it."""
    try:
        yield
    except (FileNotFoundError, ModuleNotFoundError, PermissionError):
        raise
    except Exception as error:  # they raise a dozen kinds, zlib.error and struct.error among them
        raise ValueError(f"{where}: cannot be read as {kind}, it may be cut off or damaged ({error})") from error


def _filled(
    shape: tuple[int, ...],
    dtype: np.dtype,
    fill: Callable[[np.ndarray, int], Any],
    out: np.ndarray | None,
    least: int = 1,
    strand: int = 0,
    strands: int = 1,
) -> Blocks:
    """Blocks of an array: some MB each, a multiple of `least` along the first axis; of several strands every n-th."""
    rows = max(1, BLOCK_BYTES // max(1, dtype.itemsize * math.prod(shape[1:])))
    rows = math.ceil(rows / least) * least
    target = np.empty((min(rows, shape[0]), *shape[1:]), dtype) if out is None else out
    for start in range(strand * rows, shape[0], strands * rows):
        first = start if out is not None else 0
        block = target[first : first + min(rows, shape[0] - start)]
        fill(block, start)
        yield start, block


# -- NumPy ------------------------------------------------------------------------------------------------------------


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    return read(file)


def _numpy_stored(path: Path, key: str, open_: Callable[[], Any]) -> Stored:
    with open_() as file:
        shape, columns, dtype = _npy_header(file)
    blocks = partial(_numpy_blocks, open_) if dtype.kind in "biuf" and 0 not in shape and shape else None
    read = partial(_numpy_read, open_) if dtype.kind in "biufU" and not blocks else None
    return Stored(path, key, shape, str(dtype), read, blocks, outer=int(columns))


def _numpy_read(open_: Callable[[], Any]) -> np.ndarray:
    with open_() as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _numpy_blocks(open_: Callable[[], Any], out: np.ndarray | None, strand: int) -> Blocks:
    with open_() as file:
        shape, columns, dtype = _npy_header(file)

        def fill(block: np.ndarray, start: int) -> None:
            block[...] = np.frombuffer(file.read(block.nbytes), dtype).reshape(block.shape)

        yield from _filled(shape[::-1] if columns else shape, dtype, fill, out)
        file.read(1)  # an archive checks its sums at the end of a member


def _npy(path: Path) -> Iterator[Stored]:
    yield _numpy_stored(path, path.stem, partial(path.open, "rb"))


@contextmanager
def _member(path: Path, name: str) -> Iterator[Any]:
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        yield file


def _npz(path: Path) -> Iterator[Stored]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        if {"format.npy", "shape.npy", "data.npy"} <= set(names):
            with archive.open("data.npy") as file:
                dtype = _npy_header(file)[2]
            shape = tuple(_numpy_read(partial(_member, path, "shape.npy")).tolist())
            yield Stored(path, path.stem, shape, f"sparse {dtype}", lambda: _csr(sparse.load_npz(path)))
            return
    for name in names:
        yield _numpy_stored(path, name.removesuffix(".npy"), partial(_member, path, name))


# -- MATLAB -----------------------------------------------------------------------------------------------------------


def _mat(path: Path) -> Iterator[Stored]:
    def variable(name: str) -> Any:
        return _loadmat(path, variable_names=[name])[name]

    try:
        listed = scipy.io.whosmat(path)
    except TypeError:  # of a MATLAB string or table, which can be loaded (as nothing of use) but not listed
        for name, value in _loadmat(path).items():
            if not name.startswith("__"):
                yield from _mat_value(path, name, value)
        return
    for name, shape, kind in listed:
        if kind == "struct":
            yield from _mat_value(path, name, variable(name))
        else:
            read = (lambda name=name: _csr(variable(name))) if kind in NUMBERS else None
            yield Stored(path, name, tuple(shape), kind, read)


def _loadmat(path: Path, **options: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", scipy.io.matlab.MatReadWarning)
        return scipy.io.loadmat(path, **options)


def _mat_value(path: Path, key: str, value: Any) -> Iterator[Stored]:
    """An array that is loaded already; the fields of a struct."""
    if sparse.issparse(value):
        yield Stored(path, key, value.shape, f"sparse {value.dtype}", lambda: _csr(value))
    elif value.dtype.names and value.size == 1 and not isinstance(value, scipy.io.matlab.MatlabOpaque):
        for field in value.dtype.names:
            yield from _mat_value(path, f"{key}.{field}", value.flat[0][field])
    else:
        yield Stored(path, key, value.shape, str(value.dtype), (lambda: value) if value.dtype.kind in "biuf" else None)


def _csr(array: Any) -> Any:
    """Sparse matrices as CSR arrays, their indices checked first: scipy does not, and would write outside of memory."""
    if not sparse.issparse(array):
        return array
    array.check_format(full_check=True)
    return sparse.csr_array(array)


def _hdf5(path: Path) -> Iterator[Stored]:
    require("files", "h5py")
    import h5py

    with h5py.File(path, "r") as file:
        yield from _hdf5_group(path, file, "")


def _hdf5_group(path: Path, group: Any, prefix: str) -> Iterator[Stored]:
    import h5py

    for name in group:
        if name.startswith("#") or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item: Any = group[name]
        key = f"{prefix}{name}"
        matlab = "MATLAB_class" in item.attrs
        if isinstance(item, h5py.Group) and {"data", "ir", "jc"} <= set(item):
            values: Any = item["data"]
            columns: Any = item["jc"]
            shape = int(item.attrs.get("MATLAB_sparse", 0)), len(columns) - 1
            yield Stored(path, key, shape, f"sparse {values.dtype}", lambda key=key: _hdf5_sparse(path, key))
        elif isinstance(item, h5py.Group):
            yield from _hdf5_group(path, item, f"{key}.")
        elif matlab and item.attrs.get("MATLAB_empty", 0):
            yield Stored(path, key, tuple(int(d) for d in item[()]), "empty", None)
        else:
            shape = item.shape[::-1] if matlab else item.shape
            number = item.dtype.kind in "biuf" and item.attrs.get("MATLAB_class") != b"char"
            strands = 1 if _place(item) is None else 2
            blocks = partial(_hdf5_blocks, path, key, strands) if number and shape else None
            outer, turn = int(matlab and item.ndim > 1), item.ndim == 2
            yield Stored(path, key, shape, str(item.dtype), None, blocks, strands, outer, turn)


def _place(item: Any) -> int | None:
    """Where in the file an HDF5 array lies in one piece, just as it is; None where it does not."""
    return None if item.chunks or item.external or item.is_virtual else item.id.get_offset()


def _hdf5_blocks(path: Path, key: str, strands: int, out: np.ndarray | None, strand: int) -> Blocks:
    import h5py

    with h5py.File(path, "r") as file, open(path, "rb") as raw:
        item: Any = file[key.replace(".", "/")]
        least = item.chunks[0] if item.chunks else 1  # a chunk is unpacked whole
        place = _place(item)

        def fill(block: np.ndarray, start: int) -> None:
            if place is None:
                item.read_direct(block, np.s_[start : start + len(block)])
            else:  # the library takes half as long again, and one thread at a time
                raw.seek(place + start * (block.nbytes // len(block)))
                if raw.readinto(block.reshape(-1).view(np.uint8).data) < block.nbytes:
                    raise EOFError("it ends early")

        yield from _filled(item.shape, item.dtype, fill, out, least, strand, strands)


def _hdf5_sparse(path: Path, key: str) -> Any:
    import h5py

    with h5py.File(path, "r") as file:
        group: Any = file[key.replace(".", "/")]
        parts = group["data"][()], group["ir"][()], group["jc"][()]
        shape = int(group.attrs["MATLAB_sparse"]), len(parts[2]) - 1
    return _csr(sparse.csc_array(parts, shape=shape))


# -- Parquet and lists ------------------------------------------------------------------------------------------------


def _parquet(path: Path) -> Iterator[Stored]:
    require("files", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow
    for field in schema:
        kind = field.type
        listed = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)
        inner = kind.value_type if listed else kind
        number = pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)
        usable = number or (pa.types.is_string(inner) and not listed)
        shape = (rows, getattr(kind, "list_size", -1)) if listed else (rows,)
        read = (lambda name=field.name: _parquet_column(path, name)) if usable else None
        yield Stored(path, field.name, shape, str(inner), read)


def _parquet_column(path: Path, name: str) -> np.ndarray:
    """A column of numbers or texts as (n,), of lists of numbers as (n, d); read a batch at a time, for memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    blocks: list[np.ndarray] = []
    with pq.ParquetFile(path, buffer_size=1 << 20) as file:
        n, start = file.metadata.num_rows, 0
        for batch in file.iter_batches(batch_size=512, columns=[name]):
            column: Any = batch.column(0)
            listed = pa.types.is_nested(column.type)
            flat = column.flatten() if listed else column
            if column.null_count or flat.null_count:
                raise ValueError("rows or numbers without a value")
            values = flat.to_numpy(zero_copy_only=False)
            if not listed:
                blocks.append(values.astype(str) if values.dtype == object else values)
                continue
            if not pa.types.is_fixed_size_list(column.type):
                lengths = np.diff(column.offsets.to_numpy())
                if lengths.min() != lengths.max():
                    raise ValueError(f"rows of {lengths.min()} to {lengths.max()} numbers")
            values = values.reshape(len(column), -1)
            if not blocks:
                blocks.append(np.empty((n, values.shape[1]), values.dtype))
            if values.shape[1] != blocks[0].shape[1]:
                raise ValueError(f"rows of {blocks[0].shape[1]} and of {values.shape[1]} numbers")
            blocks[0][start : start + len(values)] = values
            start += len(values)
    pa.default_memory_pool().release_unused()
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _list(path: Path) -> Iterator[Stored]:
    classes = read_list(path)[2]
    yield Stored(path, path.stem, classes.shape, "classes 1..10", lambda: classes)


def read_list(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Text ids, image ids and classes (1 to 10) of one of Wiki's `.list` files: three columns parted by tabs.

    A stray character before the id of the first line (there is one in the published training list) is dropped.

    Raises:
        ValueError: naming the line that does not fit.
    """
    texts, images, classes = [], [], []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        fields = line.split("\t")
        found = re.search(r"[0-9a-f]{32}-[\d.]+$", fields[0])
        stray = number == 1  # allowed before the first id
        if len(fields) != 3 or not found or found.start() > stray or fields[2].strip() not in map(str, range(1, 11)):
            raise ValueError(f"line {number}: expected text id, image id, class 1..10 parted by tabs, got {line!r}")
        texts.append(found[0])
        images.append(fields[1])
        classes.append(int(fields[2]))
    return texts, images, np.array(classes, int)
