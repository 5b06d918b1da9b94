"""Files and folders with one writer that appear whole or not at all; arrays in them that are noticed when damaged."""

import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import filelock
import numpy as np
import safetensors
import safetensors.numpy

from jaxcmh import checks
from jaxcmh.parsing import UnfitError, json_value, reason

T = TypeVar("T")


PIECE = 1 << 26  # bytes that are digested at a time
WAIT = 30.0  # seconds for another writer to end, before its target is refused


@contextmanager
def only_writer(path: str | os.PathLike, wait: float | None = None) -> Iterator[None]:
    """Nobody else writes `path` while the block runs: what it reads there is still there when it writes.

    Every function here that writes does so by itself; a block around several makes them one. A thread may hold one
    target many times over. The lock of a killed process is free at once.

    Args:
        path: the file or folder that is written, by any name; it need not be there, but the folder that it is in.
        wait: seconds to wait for another writer to end; `WAIT` if None.

    Raises:
        ValueError: the folder of `path` does not exist.
        BlockingIOError: another process, or another thread, is writing it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place, only_writer(f"{place}/count"):
        ...     int(write_text(f"{place}/count", "1").read_text()) + 1
        2
    """
    target = Path(os.path.realpath(checks.path(path, "path")))
    if not target.parent.is_dir():
        raise ValueError(f"path: expected a file in an existing folder; got {path}")
    file = target.parent / f".{target.name}.lock"
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o666))
    except OSError as error:  # which would otherwise be taken for the lock of another
        raise OSError(error.errno, error.strerror, str(path)) from None
    lock = filelock.FileLock(file, is_singleton=True)
    outermost = not lock.is_locked
    try:
        lock.acquire(timeout=WAIT if wait is None else wait)
    except filelock.Timeout:
        holder = _text(file) or "another process"
        raise BlockingIOError(f"{path} is being written by {holder}; try again when it has ended") from None
    try:
        if outermost:
            with suppress(OSError):  # a full disk
                file.write_text(f"process {os.getpid()}")
        yield
    finally:
        if outermost:
            # Those who wait see that the file they opened is gone, and open it anew.
            file.unlink(missing_ok=True)
        lock.release()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


@contextmanager
def named(path: str | os.PathLike) -> Iterator[None]:
    """Errors of the disk that do not say which file they are of, say it."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary file beside `path`, which takes its place if the block ends without an error.

    What the disk has, after a loss of power too, is the whole new file or what was there. The temporary file of a
    process that was killed is removed by the next that writes `path`.

    Args:
        path: the file to write; one that is there is replaced.

    Raises:
        ValueError: the folder of `path` does not exist, or `path` is a folder.
        BlockingIOError: see `only_writer`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(f"{folder}/a.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     os.listdir(folder)
        ['a.txt']
    """
    path = Path(os.path.realpath(path))  # what a link stands for is written, not the link
    if path.is_dir():
        raise ValueError(f"path: expected a file in an existing folder; got the folder {path}")
    # The ending stays: some libraries choose the form of a file by it.
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    with only_writer(path), named(path):
        try:
            temporary.unlink(missing_ok=True)
            temporary.touch(exist_ok=False)
            mode = (path if path.exists() else temporary).stat().st_mode
            yield temporary
            temporary.chmod(mode)  # some libraries make a file that only its owner may read
            keep(temporary)
            os.replace(temporary, path)
            keep(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def folder(path: str | os.PathLike) -> Iterator[Path]:
    """A new folder that appears whole or not at all: filled under a hidden name beside it, renamed at the end.

    The hidden folder of a process that was killed is removed by the next that makes `path`.

    Args:
        path: the folder; folders above it are made too.

    Raises:
        FileExistsError: the folder is there already and not empty; nothing is ever overwritten.
        BlockingIOError: see `only_writer`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with folder(f"{place}/new") as temporary:
        ...         _ = write_text(temporary / "a.txt", "whole")
        ...     os.listdir(f"{place}/new")
        ['a.txt']
    """
    path = Path(os.path.realpath(path))
    hidden = path.with_name(f".{path.name}.part")
    with parents(path), only_writer(path), named(path):
        free(path)
        try:
            shutil.rmtree(hidden, ignore_errors=True)
            hidden.mkdir()
            yield hidden
            for place, _, files in os.walk(hidden):
                for name in [*files, "."]:
                    keep(Path(place, name))
            os.replace(hidden, path)
            keep(path.parent)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise


def free(path: str | os.PathLike) -> None:
    """Refuse the name of a folder where something is; an empty folder is nothing.

    Raises:
        FileExistsError: there is.
    """
    place = Path(path)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise FileExistsError(f"{place} is there already; name another folder or remove it first")


@contextmanager
def parents(path: str | os.PathLike) -> Iterator[None]:
    """The folders above `path`; those that were not there are taken away again if the block ends with an error."""
    made = [parent for parent in Path(path).parents if not parent.exists()]
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next(parent for parent in Path(path).parents if parent.exists())
        raise ValueError(f"path: expected a place in a folder; {file} is a file") from None
    try:
        yield
    except BaseException:
        for parent in made:
            with suppress(OSError):  # somebody has put something there
                parent.rmdir()
        raise


def keep(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before going on."""
    if os.name == "nt" and path.is_dir():
        return  # cannot be opened there
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def room(path: str | os.PathLike, needed: int) -> None:
    """Refuse to begin what the disk has no room for.

    Args:
        path: what will be written.
        needed: its bytes, at least.

    Raises:
        OSError: fewer are free.

    Example:
        >>> room("model.safetensors", 10**18)
        Traceback (most recent call last):
        OSError: model.safetensors takes 1,000,000,000,000.00 MB, and the disk has ...
    """
    whole = Path(path).absolute()
    place = next(parent for parent in (*whole.parents, whole) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OSError(f"{path} takes {needed / 1e6:,.2f} MB, and the disk has {free / 1e6:,.2f} MB left")


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write a text file that readers never see half of, see `replacing`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(f"{folder}/notes.txt", "two seeds").read_text()
    'two seeds'
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Write a value as indented JSON, see `plain` and `write_text`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     json.loads(write_json(f"{folder}/config.json", {"bits": np.int64(8)}).read_text())
    {'bits': 8}
    """
    return write_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """The value as JSON types: NamedTuples become dicts, arrays lists, NumPy scalars numbers.

    >>> plain({"weight": np.float32(0.5), "order": np.arange(3)})
    {'weight': 0.5, 'order': [0, 1, 2]}
    """
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    return np.asarray(value).tolist()


def digest(arrays: Iterable[tuple[str, Any]], text: str = "") -> str:
    """SHA-256 over a text and arrays, each behind a tag of its own, as hex digits.

    Args:
        arrays: (tag, array) pairs; the tag says what the bytes alone do not, such as name, dtype and shape.
        text: what comes first.

    >>> digest([("", np.uint8([97, 98]))]) == hashlib.sha256(b"ab").hexdigest()
    True
    """
    sha256 = hashlib.sha256(text.encode())
    for tag, array in arrays:
        sha256.update(tag.encode())
        for part in parts(array):
            content = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
            for start in range(0, len(content), PIECE):
                sha256.update(content[start : start + PIECE].data)
                forget(array)
    return sha256.hexdigest()


def parts(array: Any, rows: slice | None = None) -> Iterator[Any]:
    """An array, or some of its rows; of what is read when it is asked for, block by block."""
    if isinstance(array, np.memmap) or not checks.is_read(array):
        yield array if rows is None else array[rows]
    else:
        start, stop, _ = (rows or slice(None)).indices(len(array))
        step = max(1, PIECE // (array.shape[1] * array.dtype.itemsize))
        yield from (array[i : min(i + step, stop)] for i in range(start, stop, step))


def mapped(path: str | os.PathLike, n: int, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Blocks of rows, one behind the other in a .npy file; its array (n, ...), memory-mapped to be read.

    Args:
        path: the file to write.
        n: rows in all.
        blocks: at least one; of equal dtypes and row shapes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mapped(f"{folder}/codes.npy", 3, [np.zeros((2, 4)), np.ones((1, 4))]).sum(1).tolist()
        [0.0, 0.0, 4.0]
    """
    whole, end = None, 0
    for block in blocks:
        if whole is None:
            whole = np.lib.format.open_memmap(path, "w+", block.dtype, (n, *block.shape[1:]))
        whole[end : end + len(block)] = block
        whole.flush()
        forget(whole)
        end += len(block)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def forget(array: Any) -> None:
    """Let go of what was read of a memory-mapped array, which would count as memory of the process."""
    if isinstance(array, np.memmap) and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        array._mmap.madvise(mmap.MADV_DONTNEED)  # pyright: ignore[reportAttributeAccessIssue]


def write(path: str | os.PathLike, kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and a JSON header as one safetensors file with a checksum.

    Args:
        path: the file to write; one that is there is replaced.
        kind: what the file holds, such as "jaxcmh_index"; `read` asks for the same.
        header: JSON values, among them "format", the number of the layout.
        arrays: name -> array.

    Raises:
        ValueError: the folder of `path` does not exist.
        OSError: it cannot be written, say for want of room; what was there is still there.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(header)
    room(path, sum(array.nbytes for array in whole.values()))
    with replacing(path) as temporary:
        try:
            safetensors.numpy.save_file(whole, temporary, {kind: text, "sha256": _checksum(whole, text)})
        except safetensors.SafetensorError as error:
            raise OSError(f"path: {path} cannot be written ({error})") from None


def read(
    path: str | os.PathLike, kind: str, newest: int, name: str, restore: Callable[[dict[str, Any], dict[str, Any]], T]
) -> T:
    """Read what `write` wrote; nothing in the file is executed.

    Args:
        path: the file.
        kind: what it should hold.
        newest: the largest "format" that can be read.
        name: what to call it in messages.
        restore: makes what the file stands for of its header and its arrays.

    Returns:
        What `restore` made.

    Raises:
        FileNotFoundError: no such file.
        PermissionError: the file may not be read.
        ValueError: the file is truncated, damaged, of another kind, or of a later format.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/a", "letters", {"format": 1}, {"x": np.zeros(2)})
        ...     read(f"{folder}/a", "letters", 1, "file of letters", lambda header, arrays: arrays["x"])
        array([0., 0.])
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: no {name} at {path}")
    path.open("rb").close()  # safetensors says of a file that it may not read that there is none
    try:
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            text = metadata[kind]
            header = json_value(text)
            if header["format"] > newest:
                raise UnfitError(f"has format {header['format']}; this version reads up to {newest}")
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        if metadata["sha256"] != _checksum(arrays, text):
            raise UnfitError("is damaged: its contents do not match its checksum")
        return restore(header, arrays)
    except UnfitError as error:
        raise ValueError(f"path: {path} {error}") from None
    except Exception as error:  # whatever is made of the values of a file that is none
        raise ValueError(f"path: {path} is truncated or not a {name} ({reason(error)})") from None


def pieces(name: str, parts: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Pieces of bytes, such as texts, as two arrays of a file: all of them behind each other, and the length of each.

    >>> cut("word", pieces("word", [b"sea", b"", b"sun"]))
    [b'sea', b'', b'sun']
    """
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return {f"{name}_text": np.frombuffer(b"".join(parts), np.uint8), f"{name}_lengths": lengths}


def cut(name: str, arrays: Mapping[str, np.ndarray]) -> list[bytes]:
    """The pieces that `pieces` put into arrays.

    Raises:
        ValueError: the lengths are not those of the pieces.
    """
    whole, lengths = arrays[f"{name}_text"].tobytes(), arrays[f"{name}_lengths"]
    if lengths.dtype != np.int64 or lengths.min(initial=0) < 0 or lengths.sum() != len(whole):
        raise ValueError(f"{name}_lengths: expected lengths of texts of {len(whole)} bytes in all")
    ends = np.cumsum(lengths).tolist()
    return [whole[a:b] for a, b in zip([0, *ends], ends)]


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    """Over the header and every array: safetensors itself does not notice a flipped byte."""
    tagged = ((f"{name} {array.dtype} {array.shape}", array) for name, array in sorted(arrays.items()))
    return digest(tagged, text)
