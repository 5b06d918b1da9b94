"""Read the tensors of a torch checkpoint without torch and without running what is in it.

A checkpoint of the older kind is a pickle program followed by raw numbers. Unpickling would run whatever it says; here
the few instructions that lay out tensors are followed by hand, and any other one is refused.
"""

import math
import pickletools
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxcmh.parsing import reason

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}


class _Name(NamedTuple):
    """A class or function the file speaks of; it stays a name."""

    text: str


class _Tensor(NamedTuple):
    storage: str
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _call(name: Any, arguments: tuple) -> Any:
    """The two calls there are in a table of tensors."""
    if name == _Name("collections OrderedDict") and not arguments:
        return {}
    if name == _Name("torch._utils _rebuild_tensor_v2"):
        (kind, storage), offset, shape, strides = arguments[0], *arguments[1:4]
        return _Tensor(storage, STORAGES[kind.text], offset, shape, strides)
    raise ValueError(f"it calls {name.text if isinstance(name, _Name) else 'something without a name'}")


def _named(values: Sequence[Any]) -> dict[str, Any]:
    """Names and values by turns; a name is text, for to look up tuples in tuples could take for ever."""
    if not all(isinstance(key, str) for key in values[0::2]):
        raise ValueError("it names a tensor by something other than text")
    return dict(zip(values[0::2], values[1::2]))


def _follow(file: BinaryIO) -> Any:
    """The value that the next program in the file describes: lists, dicts, tuples, numbers, texts and tensors."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        values = stack[start:]
        del stack[start:]
        return values

    for operation, argument, _ in pickletools.genops(file):
        match operation.name:
            case "PROTO":
                pass
            case "STOP":
                return stack.pop()
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(operation.name == "NEWTRUE")
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "GLOBAL":
                stack.append(_Name(str(argument)))
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(operation.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "BINPUT" | "LONG_BINPUT":
                memo[int(str(argument))] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[int(str(argument))])
            case "APPENDS":
                values = since_mark()
                stack[-1].extend(values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1].update(_named([key, value]))
            case "SETITEMS":
                named = _named(since_mark())
                stack[-1].update(named)
            case "BINPERSID":
                _, kind, storage, *_ = stack.pop()
                stack.append((kind, storage))
            case "REDUCE":
                arguments, name = stack.pop(), stack.pop()
                stack.append(_call(name, arguments))
            case "BUILD":  # attributes of the table, of no use here
                stack.pop()
            case other:
                raise ValueError(f"it holds the instruction {other}")
    raise ValueError("it ends in the middle")


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a torch checkpoint saved in the format before version 1.6.

    Args:
        path: the file, as `torch.save(model.state_dict(), path)` wrote it.
    Returns:
        Name -> array (float32 or int64).
    Raises:
        FileNotFoundError: no such file.
        ValueError: another format, damaged, or with anything in it that is not a table of tensors.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    file = BytesIO(Path(path).read_bytes())  # which reads no more than there is, whatever a length claims
    try:
        if _follow(file) != MAGIC:
            raise ValueError("it does not begin as one")
        for _ in ("format version", "sizes of numbers"):
            _follow(file)
        table, keys = _follow(file), _follow(file)
        kinds = {tensor.storage: tensor.dtype for tensor in table.values()}
        numbers = {}
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            numbers[key] = np.frombuffer(file.read(count * kinds[key].itemsize), kinds[key], count)
        return {name: _array(tensor, numbers[tensor.storage]) for name, tensor in table.items()}
    except Exception as error:  # a damaged program fails in as many ways as there are instructions
        raise ValueError(f"{path}: not a checkpoint of tensors ({reason(error)})") from None


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides))
    inside = tensor.offset >= 0 and min((*tensor.shape, *tensor.strides), default=0) >= 0 and last < len(numbers)
    if not inside or math.prod(tensor.shape) > len(numbers):
        raise ValueError("a tensor lies outside its numbers")
    strides = [step * numbers.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides).copy()
