"""Files and folders that appear whole or not at all, and arrays in them that are noticed when damaged."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from jaxcmh.parsing import UnfitError, json_value, reason

T = TypeVar("T")


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary file beside `path`, which takes its place if the block ends without an error.

    Args:
        path: the file to write; one that is there is replaced.

    Raises:
        ValueError: the folder of `path` does not exist, or `path` is a folder.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(f"{folder}/a.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     os.listdir(folder)
        ['a.txt']
    """
    path = Path(path)
    if not path.parent.is_dir() or path.is_dir():
        raise ValueError(f"path: expected a file in an existing folder; got {path}")
    # The ending stays: some libraries choose the form of a file by it.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(temporary)
        open_to_all(temporary, 0o666)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def folder(path: str | os.PathLike) -> Iterator[Path]:
    """A new folder that appears whole or not at all: filled under a hidden name beside it, renamed at the end.

    Args:
        path: the folder; folders above it are made too.

    Raises:
        FileExistsError: the folder is there already and not empty; nothing is ever overwritten.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with folder(f"{place}/new") as temporary:
        ...         _ = write_text(temporary / "a.txt", "whole")
        ...     os.listdir(f"{place}/new")
        ['a.txt']
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} is there already; name another folder or remove it first")
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield hidden
        open_to_all(hidden, 0o777)
        os.replace(hidden, path)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        for parent in made:
            if not any(parent.iterdir()):
                parent.rmdir()
        raise


def open_to_all(path: str | os.PathLike, mode: int) -> None:
    """Temporary files are private by default; the finished one gets the usual permissions."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(path, mode & ~umask)


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write a text file that readers never see half of, see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Write a value as indented JSON, see `plain` and `write_text`."""
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
        array = np.ascontiguousarray(array)
        sha256.update(tag.encode())
        sha256.update(array.ravel().view(np.uint8).data if array.size else b"")
    return sha256.hexdigest()


def write(path: str | os.PathLike, kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and a JSON header as one safetensors file with a checksum.

    Args:
        path: the file to write; one that is there is replaced.
        kind: what the file holds, such as "jaxcmh_index"; `read` asks for the same.
        header: JSON values, among them "format", the number of the layout.
        arrays: name -> array.

    Raises:
        ValueError: the folder of `path` does not exist.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(header)
    with replacing(path) as temporary:
        safetensors.numpy.save_file(whole, temporary, {kind: text, "sha256": _checksum(whole, text)})


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
        ValueError: the file is truncated, damaged, of another kind, or of a later format.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/a", "letters", {"format": 1}, {"x": np.zeros(2)})
        ...     read(f"{folder}/a", "letters", 1, "file of letters", lambda header, arrays: arrays["x"])
        array([0., 0.])
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: no {name} at {path}")
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


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    """Over the header and every array: safetensors itself does not notice a flipped byte."""
    tagged = ((f"{name} {array.dtype} {array.shape}", array) for name, array in sorted(arrays.items()))
    return digest(tagged, text)
