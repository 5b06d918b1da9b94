"""Files that appear whole or not at all, and arrays in them that are noticed when damaged."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.numpy

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
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        yield Path(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
        safetensors.numpy.save_file(whole, temporary, {kind: text, "sha256": _digest(whole, text)})


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
            header = json.loads(text)
            if header["format"] > newest:
                raise ValueError(f"path: {path} has format {header['format']}; this version reads up to {newest}")
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        if metadata["sha256"] != _digest(arrays, text):
            raise ValueError(f"path: {path} is damaged: its contents do not match its checksum")
        return restore(header, arrays)
    except (safetensors.SafetensorError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"path: {path} is truncated or not a {name} ({error})") from None


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    """SHA-256 over the header and every array: safetensors itself does not notice a flipped byte."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data.cast("B") if arrays[name].size else b"")
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
