"""What is in a file: every array with its name, shape and type, found by content and read only when asked for.

MAT (v4 to v7.3), HDF5, npz, npy, Parquet and Wiki's `.list` files. Nothing in a file is ever executed: pickled objects,
MATLAB objects and function handles are listed as unusable, links to other files are not followed.
"""

import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
from scipy import sparse

from .optional import require

HDF5 = b"\x89HDF\r\n\x1a\n"
NUMBERS = ("double", "single", "logical", "sparse", *(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64)))


class Stored(NamedTuple):
    """An array in a file.

    Attributes:
        file: where it lies.
        key: its name there; fields of a struct after a dot.
        shape: as stored; for MATLAB's HDF5 files turned back, so that rows come first.
        dtype: what it holds, in words.
        read: returns it: NumPy array or CSR matrix; None when it is nothing that data are made of.
        turn: its axes may as well be the other way round (HDF5 does not say).
    """

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Any] | None
    turn: bool = False


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
    stored = list(_told(path, kind, lambda: list(lister(path))))
    if not stored:
        raise ValueError(f"{path}: holds no arrays")
    return [s._replace(read=partial(_told, f"{path}: {s.key}", kind, s.read)) if s.read else s for s in stored]


def _told(where: Any, kind: str, action: Callable[[], Any]) -> Any:
    """The action's result; whatever the file libraries raise for a bad file becomes one ValueError that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", scipy.io.matlab.MatReadWarning)
            return action()
    except (FileNotFoundError, ModuleNotFoundError, PermissionError):
        raise
    except Exception as error:  # they raise a dozen kinds, zlib.error and struct.error among them
        raise ValueError(f"{where}: cannot be read as {kind}, it may be cut off or damaged ({error})") from error


# -- NumPy ------------------------------------------------------------------------------------------------------------


def _npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _numpy_stored(path: Path, key: str, file: Any, read: Callable[[], Any]) -> Stored:
    shape, dtype = _npy_header(file)
    return Stored(path, key, shape, str(dtype), read if dtype.kind in "biufU" else None)


def _npy(path: Path) -> Iterator[Stored]:
    with open(path, "rb") as file:
        yield _numpy_stored(path, path.stem, file, lambda: np.load(path, allow_pickle=False))


def _npz(path: Path) -> Iterator[Stored]:
    def member(name: str) -> Any:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]

    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        if {"format.npy", "shape.npy", "data.npy"} <= set(names):
            with archive.open("data.npy") as file:
                dtype = _npy_header(file)[1]
            shape = tuple(member("shape").tolist())
            yield Stored(path, path.stem, shape, f"sparse {dtype}", lambda: _csr(sparse.load_npz(path)))
            return
        for name in names:
            with archive.open(name) as file:
                key = name.removesuffix(".npy")
                yield _numpy_stored(path, key, file, lambda key=key: member(key))


# -- MATLAB -----------------------------------------------------------------------------------------------------------


def _mat(path: Path) -> Iterator[Stored]:
    def variable(name: str) -> Any:
        return scipy.io.loadmat(path, variable_names=[name])[name]

    try:
        listed = scipy.io.whosmat(path)
    except TypeError:  # of a MATLAB string or table, which can be loaded (as nothing of use) but not listed
        for name, value in scipy.io.loadmat(path).items():
            if not name.startswith("__"):
                yield from _mat_value(path, name, value)
        return
    for name, shape, kind in listed:
        if kind == "struct":
            yield from _mat_value(path, name, variable(name))
        else:
            read = (lambda name=name: _csr(variable(name))) if kind in NUMBERS else None
            yield Stored(path, name, tuple(shape), kind, read)


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
    return sparse.csr_array(array) if sparse.issparse(array) else array


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
            char = item.attrs.get("MATLAB_class") == b"char"
            read = (
                None if char or item.dtype.kind not in "biuf" else lambda key=key, m=matlab: _hdf5_array(path, key, m)
            )
            yield Stored(path, key, item.shape[::-1] if matlab else item.shape, str(item.dtype), read, item.ndim == 2)


def _hdf5_array(path: Path, key: str, matlab: bool) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        item: Any = file[key.replace(".", "/")]
        array = item[()]
    return array.T if matlab else array


def _hdf5_sparse(path: Path, key: str) -> Any:
    import h5py

    with h5py.File(path, "r") as file:
        group: Any = file[key.replace(".", "/")]
        parts = group["data"][()], group["ir"][()], group["jc"][()]
        shape = int(group.attrs["MATLAB_sparse"]), len(parts[2]) - 1
    return sparse.csc_array(parts, shape=shape).tocsr()


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
