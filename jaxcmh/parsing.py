"""What others wrote made into values: text, lines, JSON and NumPy's files; none may claim more than it holds."""

import json
import math
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

# What is packed in a file may take 100 MB, and more up to 500 times the file's size: tags of a benchmark set, mostly
# zeros in double precision, come to 200 times; zeros alone, as bombs are made of, to 1,000.
FREE_BYTES, MOST_PACKED = 100_000_000, 500
BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
NPY = b"\x93NUMPY"
# Python 3.11 counts the depth of a literal for all threads together and raises SystemError where two are being parsed.
PARSING = threading.Lock()


class UnfitError(ValueError):
    """What is in a file is whole, but cannot be used as it is; the message says why."""


def json_value(text: str | bytes) -> Any:
    """The value that a JSON text stands for.

    Raises:
        ValueError: not JSON, or nested too deeply to be a value of this library.

    >>> json_value("[" * 100_000)
    Traceback (most recent call last):
    ValueError: not JSON (nested too deeply)
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("not JSON (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None


def lines_of(text: str) -> list[str]:
    r"""The lines of a text, which end at \n or \r\n only: other marks of Unicode may stand inside a caption or a name.

    >>> lines_of("a\u2028b\r\nc\n")
    ['a\u2028b', 'c']
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def read_text(path: str | os.PathLike) -> str:
    """The text of a file in UTF-8, or in UTF-16 that says so by its first two bytes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: in another encoding; the message names the line and a remedy.
    """
    content = Path(path).read_bytes()
    encoding = next((name for mark, name in BOMS.items() if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and content[:1000].count(0) > len(content[:1000]) // 4:
        order = "LE" if content[:1000:2].count(0) < content[1:1000:2].count(0) else "BE"
        remedy = f"save it in UTF-8, such as by `iconv -f UTF-16{order} -t UTF-8`"
        raise ValueError(f"{path}, line 1: expected text in UTF-8 (every other byte is 0, as in UTF-16); {remedy}")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        name = encoding.removesuffix("-sig").upper()
        remedy = "save it in UTF-8, such as by `iconv -f CP1252 -t UTF-8`"
        raise ValueError(f"{path}, line {number}: expected text in {name} ({error.reason}); {remedy}") from None


def check_unpacked(size: int, held: int) -> None:
    """Refuse data that would take far more memory than the file or the part of it that they are packed in.

    Args:
        size: bytes that the data would take.
        held: bytes that they are packed in.

    Raises:
        UnfitError: they are more than 500 times as large, and 100 MB more.

    >>> check_unpacked(10**9, 10**8)
    >>> check_unpacked(12 * 10**9, 12 * 10**6)
    Traceback (most recent call last):
    jaxcmh.parsing.UnfitError: 12,000,000,000 bytes packed in 12,000,000: more than 500 times as many; unpack them
    """
    if size < 0 or size > FREE_BYTES + MOST_PACKED * held:
        raise UnfitError(f"{size:,} bytes packed in {held:,}: more than {MOST_PACKED} times as many; unpack them")


# -- NumPy ------------------------------------------------------------------------------------------------------------


def npy_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type of an array in NumPy's format; the file then stands at its numbers.

    Args:
        file: at its beginning.
        size: bytes that it has.

    Raises:
        ValueError: no such header, or one that claims more numbers than the file has bytes for.
    """
    head = file.read(12)
    if not head.startswith(NPY) or len(head) < 12 or head[6] not in (1, 2, 3):
        raise ValueError("it does not begin as an array of NumPy")
    if head[6] > 1 and int.from_bytes(head[8:12], "little") > 1 << 16:
        raise ValueError("its header is too long")
    file.seek(0)
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    with PARSING:
        shape, columns, dtype = read(file)
    claimed = math.prod(shape) * max(1, dtype.itemsize)
    if min(shape, default=0) < 0 or (claimed > size - file.tell() and not dtype.hasobject):
        raise ValueError(f"its header claims {shape} of {dtype}, {claimed:,} bytes; there are {size - file.tell():,}")
    return shape, columns, dtype


def npz_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Name -> place of the arrays in a .npz archive.

    Raises:
        ValueError: packed by a method that NumPy does not write, or larger than its file allows.
    """
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    for name, info in members.items():
        if info.compress_type not in METHODS or info.flag_bits & 1:
            method = f"method {info.compress_type}" if not info.flag_bits & 1 else "a password"
            raise UnfitError(f"{name} is packed by {method}; numpy.savez and savez_compressed use others")
    check_unpacked(sum(info.file_size for info in archive.infolist()), os.stat(str(archive.filename)).st_size)
    return {name: info for name, info in members.items() if info.filename.endswith(".npy")}


@contextmanager
def naming(where: Any, kind: str) -> Iterator[None]:
    """Whatever the libraries of file formats raise for a bad file becomes one ValueError that names it.

    Args:
        where: the file, and the place in it.
        kind: what it should be.
    """
    try:
        yield
    except (FileNotFoundError, ModuleNotFoundError, PermissionError):
        raise
    except UnfitError as error:
        raise ValueError(f"{where}: {error}") from None
    except Exception as error:  # they raise a dozen kinds, zlib.error and struct.error among them
        why = f"it may be cut off or damaged ({reason(error)})"
        raise ValueError(f"{where}: cannot be read as {kind}, {why}") from error


def reason(error: Exception) -> str:
    """What an error says, on one line; its kind where it says nothing.

    >>> reason(ValueError("bad\\n magic")), reason(EOFError())
    ('bad magic', 'EOFError')
    """
    return " ".join(str(error).split()) or type(error).__name__


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Name -> array of a .npz file, or {"": array} of a .npy file; nothing in it is executed.

    Raises:
        Exception: of a dozen kinds where it is damaged or of another kind, none of which names the file.
    """
    path = Path(path)
    with path.open("rb") as file:
        if file.read(6) == NPY:
            file.seek(0)
            return {"": read_npy(file, path.stat().st_size)}
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for name, info in npz_members(archive).items():
            with archive.open(info) as member:
                arrays[name] = read_npy(member, info.file_size)
    return arrays


def read_npy(file: IO[bytes], size: int) -> np.ndarray:
    """The array in NumPy's format of a file of so many bytes, from its beginning; nothing in it is executed."""
    npy_header(file, size)
    file.seek(0)
    with PARSING:
        return np.lib.format.read_array(file, allow_pickle=False)
