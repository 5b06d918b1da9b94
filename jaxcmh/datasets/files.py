"""What is in a file: every array with its name, shape and type, found by content and read only when asked for.

MAT (v4 to v7.3), HDF5, npz, npy, Parquet and Wiki's `.list` files. Nothing in a file is ever executed: pickled objects,
MATLAB objects and function handles are listed as unusable. Numbers that lie in other files are not read: links to them
are not followed. What an array claims to hold is compared with the size of its file before room is made for it.
"""

import math
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
from scipy import sparse

from jaxcmh.extras import require
from jaxcmh.parsing import UnfitError, check_unpacked, lines_of, naming, npy_header, npz_members, read_npy, read_text
from jaxcmh.progress import printable

from . import mat5

HDF5 = b"\x89HDF\r\n\x1a\n"
MOST_CLASSES = 1 << 16
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
        classes: returns lists of class numbers, of any lengths, as labels: 0/1 (n, c); None for what are no lists.
        place: the name by which `blocks.rows` finds it, rows of numbers that can be read one by one; else None.
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
    classes: Callable[[], Any] | None = None
    place: str | None = None

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
    with naming(path, kind):
        stored = [s._replace(key=printable(s.key)) for s in lister(path)]
    if not stored:
        raise ValueError(f"{path}: holds no arrays")

    def call(array: Stored, read: Callable[[], Any]) -> Any:
        with naming(f"{array.file}: {array.key}", kind):
            return read()

    def blocks(array: Stored, out: np.ndarray | None, strand: int) -> Blocks:
        with naming(f"{array.file}: {array.key}", kind):
            yield from array.blocks(out, strand) if array.blocks else ()

    return [
        s._replace(
            read=partial(call, s, s.read) if s.read else None,
            blocks=partial(blocks, s) if s.blocks else None,
            classes=partial(call, s, s.classes) if s.classes else None,
        )
        for s in stored
    ]


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


Open = Callable[[], Any]  # the file or the member of an archive, at its beginning


def _numpy_stored(path: Path, key: str, open_: Open, size: int) -> Stored:
    with open_() as file:
        shape, columns, dtype = npy_header(file, size)
    blocks = partial(_numpy_blocks, open_, size) if dtype.kind in "biuf" and 0 not in shape and shape else None
    read = partial(_numpy_read, open_, size) if dtype.kind in "biufU" and not blocks else None
    return Stored(path, key, shape, str(dtype), read, blocks, outer=int(columns))


def _numpy_read(open_: Open, size: int) -> np.ndarray:
    with open_() as file:
        return read_npy(file, size)


def _numpy_blocks(open_: Open, size: int, out: np.ndarray | None, strand: int) -> Blocks:
    with open_() as file:
        shape, columns, dtype = npy_header(file, size)

        def fill(block: np.ndarray, start: int) -> None:
            block[...] = np.frombuffer(file.read(block.nbytes), dtype).reshape(block.shape)

        yield from _filled(shape[::-1] if columns else shape, dtype, fill, out)
        file.read(1)  # an archive checks its sums at the end of a member


def _npy(path: Path) -> Iterator[Stored]:
    stored = _numpy_stored(path, path.stem, partial(path.open, "rb"), path.stat().st_size)
    yield stored._replace(place=path.stem if stored.blocks and not stored.outer else None)


@contextmanager
def _member(path: Path, name: str) -> Iterator[Any]:
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        yield file


def _npz(path: Path) -> Iterator[Stored]:
    with zipfile.ZipFile(path) as archive:
        members = npz_members(archive)
    opened = {name: partial(_member, path, info.filename) for name, info in members.items()}
    stored = [_numpy_stored(path, name, opened[name], info.file_size) for name, info in members.items()]
    if {"format", "shape", "data"} <= set(members):
        shape = tuple(int(size) for size in _numpy_read(opened["shape"], members["shape"].file_size).ravel())
        dtype = next(array.dtype for array in stored if array.key == "data")
        check_unpacked(8 * max(shape), path.stat().st_size)
        yield Stored(path, path.stem, shape, f"sparse {dtype}", lambda: _csr(sparse.load_npz(path)))
    else:
        yield from stored


# -- MATLAB -----------------------------------------------------------------------------------------------------------


def _mat(path: Path) -> Iterator[Stored]:
    with path.open("rb") as file:
        head = file.read(128)
    if 0 not in head[:4]:
        for variable in mat5.variables(path):
            if variable.kind == "struct" and math.prod(variable.shape) == 1:
                yield from _mat_fields(path, variable.name, mat5.read(path, variable))
            else:
                read = (lambda v=variable: _csr(mat5.read(path, v))) if variable.kind in NUMBERS else None
                yield Stored(path, variable.name, variable.shape, variable.kind, read)
        return
    _check_mat4(path)
    for name, shape, kind in scipy.io.whosmat(path):
        read = (lambda name=name: _csr(_loadmat(path, name))) if kind in NUMBERS else None
        yield Stored(path, name, tuple(shape), kind, read)


def _check_mat4(path: Path) -> None:
    """Refuse a file of version 4 whose arrays claim more than it has: scipy would make room for them first."""
    at, size = 0, path.stat().st_size
    with path.open("rb") as file:
        order = "<" if int.from_bytes(file.read(4), "little") <= 5000 else ">"
        while at < size:
            file.seek(at)
            kind, rows, columns, complex_, name = np.frombuffer(file.read(20), f"{order}i4", 5).tolist()
            digit = kind % 100 // 10
            if not 0 <= kind <= 5000 or digit > 5 or min(rows, columns) < 0 or complex_ not in (0, 1) or name < 1:
                raise ValueError(f"byte {at}: expected an array of version 4")
            dtype = np.dtype(order + ("f8", "f4", "i4", "i2", "u2", "u1")[digit])
            start, at = at + 20 + name, at + 20 + name + rows * columns * dtype.itemsize * (1 + complex_)
            if kind % 10 == 2 and at <= size:  # sparse: its last row has the shape
                file.seek(start)
                held = np.frombuffer(file.read(rows * columns * dtype.itemsize), dtype).reshape(columns, rows)
                check_unpacked(int(8 * np.abs(np.nan_to_num(held[:2, -1].astype(float))).max()), size)
    if at > size:
        raise ValueError("it ends early")


def _loadmat(path: Path, name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", scipy.io.matlab.MatReadWarning)
        return scipy.io.loadmat(path, variable_names=[name])[name]


def _mat_fields(path: Path, key: str, value: Any) -> Iterator[Stored]:
    """An array that is loaded already; the fields of a struct."""
    if isinstance(value, dict):
        for field, inner in value.items():
            yield from _mat_fields(path, f"{key}.{field}", inner)
    elif sparse.issparse(value):
        yield Stored(path, key, value.shape, f"sparse {value.dtype}", lambda: _csr(value))
    elif isinstance(value, np.ndarray):
        usable = value.dtype.kind in "biuf"
        yield Stored(
            path, key, value.shape, str(value.dtype) if usable else "char", (lambda: value) if usable else None
        )
    else:
        yield Stored(path, key, (), "cell" if isinstance(value, list) else "object", None)


def _csr(array: Any) -> Any:
    """Sparse matrices as CSR arrays, their indices checked first: scipy does not, and would write outside of memory."""
    if not sparse.issparse(array):
        return array
    if hasattr(array, "check_format"):  # COO has coordinates, which its conversion checks
        array.check_format(full_check=True)
    return sparse.csr_array(array)


def _hdf5(path: Path) -> Iterator[Stored]:
    require("files", "h5py")
    import h5py

    with h5py.File(path, "r") as file:
        yield from _hdf5_group(path, file, "/", "", set())


def _hdf5_group(path: Path, group: Any, place: str, prefix: str, seen: set[int]) -> Iterator[Stored]:
    """The arrays of a group; every group is entered once, for it may lie in itself."""
    import h5py
    from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]

    seen.add(h5o.get_info(group.id).addr)
    for name in group:
        inner, key = f"{place}{name}", f"{prefix}{name}"
        if name.startswith("#") or not inside(group.file, inner):
            continue
        item: Any = group.file[inner]
        matlab = "MATLAB_class" in item.attrs
        if (
            isinstance(item, h5py.Group)
            and "jc" in item
            and ({"data", "ir"} <= set(item) or "MATLAB_sparse" in item.attrs)
        ):
            yield _hdf5_sparse(path, key, inner, item)
        elif isinstance(item, h5py.Group):
            linked = not isinstance(group.get(name, getlink=True), h5py.HardLink)
            if not linked and h5o.get_info(item.id).addr not in seen:
                yield from _hdf5_group(path, item, f"{inner}/", f"{key}.", seen)
        elif not isinstance(item, h5py.Dataset) or item.shape is None:
            yield Stored(path, key, (), "no array", None)
        elif matlab and item.attrs.get("MATLAB_empty", 0):
            yield Stored(path, key, tuple(int(d) for d in np.ravel(item[:8])), "empty", None)
        else:
            shape = item.shape[::-1] if matlab else item.shape
            elsewhere = _elsewhere(item)
            number = item.dtype.kind in "biuf" and item.attrs.get("MATLAB_class") != b"char" and not elsewhere
            if number:
                check_unpacked(item.nbytes, path.stat().st_size)
            strands = 1 if _place(item) is None else 2
            blocks = partial(_hdf5_blocks, path, inner, strands) if number and shape else None
            outer, turn = int(matlab and item.ndim > 1), item.ndim == 2
            stored = Stored(path, key, shape, elsewhere or str(item.dtype), None, blocks, strands, outer, turn)
            yield stored._replace(place=inner if blocks and not outer else None)


def inside(file: Any, place: str, depth: int = 0) -> bool:
    """Whether a path leads to something in this file: by hard links, and by soft ones that lead to such a path."""
    import h5py

    names = place.strip("/").split("/")
    for end in range(1, len(names) + 1):
        link = file.get("/".join(names[:end]), getlink=True)
        if isinstance(link, h5py.SoftLink) and depth < 8:
            above = "" if link.path.startswith("/") else "/".join(names[: end - 1])
            rest = "/".join([os.path.normpath(f"/{above}/{link.path}").strip("/"), *names[end:]])
            return rest != "" and rest in file and inside(file, rest, depth + 1)
        if not isinstance(link, h5py.HardLink):
            return False
    return True


def _elsewhere(item: Any) -> str:
    """What the numbers are when they lie in other files, whose bytes are none of this one's business."""
    return "external numbers" if item.external else "virtual numbers" if item.is_virtual else ""


def _place(item: Any) -> int | None:
    """Where in the file an HDF5 array lies in one piece, just as it is; None where it does not."""
    return None if item.chunks or _elsewhere(item) else item.id.get_offset()


def _hdf5_blocks(path: Path, place: str, strands: int, out: np.ndarray | None, strand: int) -> Blocks:
    import h5py

    with h5py.File(path, "r") as file, open(path, "rb") as raw:
        item: Any = file[place]
        least = item.chunks[0] if item.chunks else 1  # a chunk is unpacked whole
        start_of_all = _place(item)

        def fill(block: np.ndarray, start: int) -> None:
            if start_of_all is None:
                item.read_direct(block, np.s_[start : start + len(block)])
            else:  # the library takes half as long again, and one thread at a time
                raw.seek(start_of_all + start * (block.nbytes // len(block)))
                if raw.readinto(block.reshape(-1).view(np.uint8).data) < block.nbytes:
                    raise EOFError("it ends early")

        yield from _filled(item.shape, item.dtype, fill, out, least, strand, strands)


def _hdf5_sparse(path: Path, key: str, place: str, group: Any) -> Stored:
    """MATLAB's sparse matrix: a group of values, rows, and starts of columns; without any value, of starts alone."""
    import h5py

    names = ("data", "ir", "jc") if "data" in group and "ir" in group else ("jc",)
    parts: list[Any] = [group[name] if inside(group.file, f"{place}/{name}") else None for name in names]
    whole = all(isinstance(p, h5py.Dataset) and p.ndim == 1 and p.dtype.kind in "biuf" for p in parts)
    if not whole or any(map(_elsewhere, parts)):
        return Stored(path, key, (), "sparse, with parts elsewhere", None)
    size = path.stat().st_size
    shape = int(group.attrs.get("MATLAB_sparse", 0)), len(parts[-1]) - 1
    check_unpacked(8 * shape[0] + sum(part.nbytes for part in parts), size)
    dtype = parts[0].dtype if len(parts) == 3 else np.dtype(float)

    def read() -> Any:
        with h5py.File(path, "r") as file:
            opened: Any = file[place]
            read = [opened[name][()] for name in names]
        values = read if len(read) == 3 else [np.zeros(0, dtype), np.zeros(0, np.int64), *read]
        return _csr(sparse.csc_array(tuple(values), shape=shape))

    return Stored(path, key, shape, f"sparse {dtype}", read)


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
        inner: Any = kind.value_type if listed else kind
        number = pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)
        text = (pa.types.is_string(inner) or pa.types.is_large_string(inner)) and not listed
        width = kind.list_size if pa.types.is_fixed_size_list(kind) else -1
        if number:
            check_unpacked(rows * max(1, width) * max(1, inner.bit_width // 8), path.stat().st_size)
        read = partial(_parquet_column, path, field.name) if number or text else None
        whole_numbers = pa.types.is_integer(inner) and listed
        classes = partial(_parquet_classes, path, field.name) if whole_numbers else None
        shape, place = ((rows, width), field.name) if listed else ((rows,), None)
        yield Stored(path, field.name, shape, str(inner), read, classes=classes, place=place if number else None)


def parquet_groups(known: Any) -> list[int]:
    """Where the row groups of a file begin, and how many rows there are, by its metadata."""
    return list(accumulate((known.row_group(group).num_rows for group in range(known.num_row_groups)), initial=0))


def parquet_lists(path: Path, name: str, first: int = 0) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """Batches of a column, for memory: number of its first row; its numbers or texts; of lists also their lengths.

    They begin with the row group that begins at row `first`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = first
    with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:  # or it would hold the whole column
        begins = parquet_groups(file.metadata)
        groups = range(begins.index(first), len(begins) - 1)
        for batch in file.iter_batches(batch_size=512, columns=[name], row_groups=groups):
            column: Any = batch.column(0)
            if column.null_count:
                raise UnfitError(f"row {start + int(np.argmax(column.is_null()))} has no value")
            flat, lengths = column, None
            if pa.types.is_nested(column.type):
                flat = column.flatten()
                fixed = pa.types.is_fixed_size_list(column.type)
                lengths = np.full(len(column), column.type.list_size) if fixed else np.diff(column.offsets.to_numpy())
            if flat.null_count:
                bad = int(np.argmax(flat.is_null()))
                bad = bad if lengths is None else int(np.searchsorted(np.cumsum(lengths), bad, "right"))
                raise UnfitError(f"row {start + bad} lacks a number")
            values = flat.to_numpy(zero_copy_only=False)
            yield start, values.astype(str) if values.dtype == object else values, lengths
            start += len(column)
    pa.default_memory_pool().release_unused()


def _parquet_column(path: Path, name: str) -> np.ndarray:
    """A column of numbers or texts as (n,), of lists of numbers as (n, d)."""
    import pyarrow.parquet as pq

    n = pq.read_metadata(path).num_rows
    texts, width, out = [], None, np.zeros(0)
    for start, values, lengths in parquet_lists(path, name):
        if values.dtype.kind == "U":
            texts.append(values)
            continue
        if lengths is not None:
            width = int(lengths[0]) if width is None else width
            if (lengths != width).any():
                row = int(np.argmax(lengths != width))
                raise UnfitError(f"row {start + row} has {lengths[row]} numbers, the rows before it {width}")
            values = values.reshape(-1, width)
        if start == 0:
            check_unpacked(n * values[:1].nbytes, path.stat().st_size)
            out = np.empty((n, *values.shape[1:]), values.dtype)
        out[start : start + len(values)] = values
    return np.concatenate(texts) if texts else out


def _parquet_classes(path: Path, name: str) -> np.ndarray:
    """Lists of class numbers, counted from 0 or 1, as 0/1 (n, c); lists that are 0/1 already as they are."""
    batches = list(parquet_lists(path, name))
    values = np.concatenate([np.zeros(0, np.int64), *(values for _, values, _ in batches)]).astype(np.int64)
    lengths = np.concatenate([np.zeros(0, np.int64), *(lengths for _, _, lengths in batches if lengths is not None)])
    if len(values) and len(values) == lengths[0] * len(lengths) and lengths[0] > 1 and set(np.unique(values)) <= {0, 1}:
        return values.reshape(len(lengths), -1)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    base = min(1, int(values.min(initial=1)))
    classes = int(values.max(initial=0)) + 1 - base
    if base < 0 or classes > MOST_CLASSES:
        raise UnfitError(f"expected class numbers from 0 or 1, got {values.min()} to {values.max()}")
    check_unpacked(len(lengths) * classes, path.stat().st_size)
    labels = np.zeros((len(lengths), classes), np.uint8)
    np.add.at(labels, (rows, values - base), 1)
    if labels.max(initial=0) > 1:
        row = int(np.argmax(labels.max(1) > 1))
        raise UnfitError(f"row {row}: expected 0 and 1 for all classes, or class numbers, each once")
    return labels


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
    for number, line in enumerate(lines_of(read_text(path)), 1):
        fields = line.split("\t")
        found = re.search(r"[0-9a-f]{32}-[\d.]+$", fields[0])
        stray = number == 1  # allowed before the first id
        if len(fields) != 3 or not found or found.start() > stray or fields[2].strip() not in map(str, range(1, 11)):
            raise ValueError(f"line {number}: expected text id, image id, class 1..10 parted by tabs, got {line!r}")
        texts.append(found[0])
        images.append(fields[1])
        classes.append(int(fields[2]))
    return texts, images, np.array(classes, int)
