"""MATLAB's files of versions 5 to 7: numbers, sparse matrices, texts, cells and structs, every size checked first.

A file is a row of elements: a tag with type and length, then the data; a matrix is an element of elements, and a packed
element is unpacked into one. What is neither of these values, such as objects and functions, is named and never parsed.
"""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from jaxcmh.parsing import check_unpacked

MATRIX, PACKED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
KINDS = {*NUMBERS, *TEXTS, MATRIX}
CLASSES = {
    **dict(enumerate(("cell", "struct", "object", "char", "sparse", "double", "single"), 1)),
    **dict(enumerate(("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"), 8)),
    **dict(enumerate(("function", "opaque"), 16)),
}
OPAQUE = 17
HEAD = 1 << 16  # bytes that class, shape and name lie in
DEEPEST = 32  # cells in cells

Element = tuple[int, memoryview]


class Variable(NamedTuple):
    """An array of a file: class in words, shape, name, and where its element lies."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    length: int
    packed: bool
    order: str  # of its bytes


class Head(NamedTuple):
    """What a matrix begins with, and the elements behind that."""

    name: str
    kind: str
    shape: tuple[int, ...]
    rest: Iterator[Element]


def variables(path: Path) -> Iterator[Variable]:
    """The arrays of a file, without reading their numbers.

    Raises:
        ValueError: a tag, a length or a shape that no file has.
    """
    size, total = path.stat().st_size, 0
    with path.open("rb") as file:
        header = file.read(128)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:])
        if order is None:
            raise ValueError("it has no header of MATLAB")
        at = 128
        while at < size:
            file.seek(at)
            kind, length = _tag(file.read(8), order)
            start = at + 8
            if kind not in (MATRIX, PACKED) or length > size - start:
                raise ValueError(f"byte {at}: expected an array, got type {kind} of {length:,} bytes")
            found = file.read(min(length, HEAD))
            unpacked = length
            if kind == PACKED:
                found = zlib.decompressobj().decompress(found, HEAD)
                inner, unpacked = _tag(found[:8], order)
                if inner != MATRIX:
                    raise ValueError(f"byte {at}: expected a packed array, got type {inner}")
                found = found[8:]
            total += unpacked
            check_unpacked(total, size)
            if unpacked:
                head = _head(memoryview(found), order, cut=True)
                if head.name:
                    yield Variable(head.name, head.kind, head.shape, start, length, kind == PACKED, order)
            at = start + length


def read(path: Path, variable: Variable) -> Any:
    """The value of an array: NumPy array, CSC matrix, list of the values of a cell, or dict of the fields of a struct.

    Texts are arrays of str; a value that is none of these is None.

    Raises:
        ValueError: cut off, or not what its head says.
    """
    with path.open("rb") as file:
        file.seek(variable.start)
        if not variable.packed:
            content = bytearray(variable.length)
            if file.readinto(content) < variable.length:
                raise ValueError("it ends early")
            return _value(memoryview(content), variable.order)
        unpacking, left, filled = zlib.decompressobj(), variable.length, 0
        content = bytearray(8)
        while left and not unpacking.eof:
            packed = file.read(min(left, 1 << 20))
            left -= len(packed)
            if not packed:
                break
            while packed:
                piece = unpacking.decompress(packed, max(1, len(content) - filled))
                if filled + len(piece) > len(content):
                    raise ValueError("it is longer than its tag says")
                content[filled : filled + len(piece)] = piece
                filled += len(piece)
                packed = unpacking.unconsumed_tail
                if filled == len(content) == 8:
                    unpacked = _tag(content, variable.order)[1]
                    check_unpacked(unpacked, variable.length)
                    content = bytearray(8 + unpacked)
    if filled < len(content) or not unpacking.eof:
        raise ValueError("it ends early")
    return _value(memoryview(content)[8:], variable.order)


def _tag(tag: Any, order: str) -> tuple[int, int]:
    if len(tag) < 8:
        raise ValueError("it ends in a tag")
    kind, length = np.frombuffer(tag, f"{order}u4", 2).tolist()
    return kind, length


def _elements(data: memoryview, order: str, cut: bool = False) -> Iterator[Element]:
    """Type and bytes of the elements that lie one behind the other; `cut` data may end in the middle of one."""
    at = 0
    while at < len(data):
        kind, length = _tag(data[at : at + 8], order)
        small = kind >> 16 > 0  # up to four bytes lie in the tag itself
        if small:
            kind, length, start, end, room = kind & 0xFFFF, kind >> 16, at + 4, at + 8, 4
        else:
            start, end, room = at + 8, at + 8 + length + -length % 8, len(data) - at - 8
        if length > room and cut and not small:
            return
        if length > room or kind not in KINDS:
            raise ValueError(f"expected a part of an array, got type {kind} of {length:,} bytes")
        yield kind, data[start : start + length]
        at = end


def _numbers(element: Element, order: str) -> np.ndarray:
    kind, data = element
    if kind not in NUMBERS:
        raise ValueError(f"expected numbers, got type {kind}")
    return np.frombuffer(data, order + NUMBERS[kind])


def _head(data: memoryview, order: str, cut: bool = False) -> Head:
    rest = _elements(data, order, cut)
    try:
        flags = _numbers(next(rest), order)[:1].tolist()[0]
        kind, shape = flags & 0xFF, (1, 1)
        if kind not in CLASSES:
            raise ValueError(f"expected the class of an array, got {kind}")
        if kind != OPAQUE:
            shape = tuple(_numbers(next(rest), order).tolist())
            if len(shape) < 2 or len(shape) > 32 or min(shape) < 0 or not all(isinstance(d, int) for d in shape):
                raise ValueError(f"expected the shape of an array, got {shape}")
        name = bytes(next(rest)[1]).decode("latin-1")
    except (StopIteration, IndexError):
        raise ValueError("it ends in the head of an array") from None
    described = CLASSES[kind]
    if described not in ("cell", "struct", "object", "char", "function", "opaque"):
        described = f"{'complex ' * bool(flags & 0x800)}{'logical' if flags & 0x200 else described}"
        described = "sparse" if described == "logical" and CLASSES[kind] == "sparse" else described
    return Head(name, described, shape, rest)


def _value(data: memoryview, order: str, depth: int = 0) -> Any:
    if not len(data):
        return np.zeros((0, 0))
    if depth > DEEPEST:
        raise ValueError("its cells are nested too deeply")
    _, kind, shape, rest = _head(data, order)
    try:
        if kind == "cell":
            return [_inner(element, order, depth) for element in _several(rest, math.prod(shape))]
        if kind == "struct":
            length, names = _numbers(next(rest), order).tolist()[0], bytes(next(rest)[1])
            if not 0 < length <= 1024 or len(names) % length:
                raise ValueError(f"expected the names of fields, got {len(names)} bytes of {length} each")
            fields = [names[i : i + length].partition(b"\0")[0].decode("latin-1") for i in range(0, len(names), length)]
            if math.prod(shape) != 1:
                return None
            return dict(zip(fields, (_inner(element, order, depth) for element in _several(rest, len(fields)))))
        if kind == "char":
            return _texts(next(rest), shape, order) if math.prod(shape) else np.array([""])
        if kind == "sparse":
            rows, starts = _numbers(next(rest), order), _numbers(next(rest), order)
            if len(shape) != 2 or len(starts) != shape[1] + 1 or not 0 <= starts[-1] <= len(rows):
                raise ValueError(f"expected a sparse matrix of {shape}, got {len(starts)} columns, {len(rows)} values")
            kind, packed = next(rest, (9, memoryview(b"")))  # without any values, doubles
            kind = 2 if kind == 9 and len(packed) < 8 * starts[-1] else kind  # MATLAB says double of logical bytes
            values = _numbers((kind, packed), order)
            if len(values) < starts[-1]:
                raise ValueError(f"expected {starts[-1]} values, got {len(values)}")
            check_unpacked(8 * shape[0], len(data))
            return sparse.csc_array((values[: starts[-1]], rows[: starts[-1]], starts), shape=shape)
        if kind in ("object", "function", "opaque") or kind.startswith("complex"):
            return None
        values = _numbers(next(rest), order)
        if len(values) != math.prod(shape):
            raise ValueError(f"expected {math.prod(shape)} numbers, got {len(values)}")
        return values.reshape(shape, order="F")
    except (StopIteration, IndexError):
        raise ValueError("it ends early") from None


def _several(rest: Iterator[Element], count: int) -> list[Element]:
    elements = [element for _, element in zip(range(count), rest)]
    if len(elements) < count:
        raise ValueError(f"expected {count} values, got {len(elements)}")
    return elements


def _inner(element: Element, order: str, depth: int) -> Any:
    kind, data = element
    if kind != MATRIX:
        raise ValueError(f"expected an array, got type {kind}")
    return _value(data, order, depth + 1)


def _texts(element: Element, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Texts whose letters lie along the last axis; spaces that fill them up are dropped."""
    kind, data = element
    if kind not in TEXTS:
        raise ValueError(f"expected text, got type {kind}")
    ending = {"<": "-le", ">": "-be"}[order] if TEXTS[kind].startswith("utf-") and kind != 16 else ""
    text = bytes(data).decode(TEXTS[kind] + ending, "replace")
    if len(text) != math.prod(shape):  # counted in parts of letters
        return np.array([text])
    letters = np.frombuffer(text.encode("utf-32-le"), "<U1")
    rows = np.ascontiguousarray(letters.reshape(shape, order="F"))
    return np.strings.rstrip(rows.view(f"<U{shape[-1]}")[..., 0])
