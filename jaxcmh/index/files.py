"""Indexes as plain files that other programs read: NumPy's .npz, and Parquet (extra `files`).

Both say their bit order and code length. A .npz holds `codes` (n, bytes) uint8, `ids`, `bits`, `bit_order`, `model`
(the fingerprint of the model that made the codes, if known) and, for look-up codes, `codebooks` (books, words, K). A
Parquet file has columns `id` and `code`, and the rest as JSON under the key "jaxcmh" of its metadata.
"""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxcmh import checks, store
from jaxcmh.checks import PathLike, checked
from jaxcmh.extras import require
from jaxcmh.index import Index, build
from jaxcmh.parsing import check_unpacked, json_value, read_arrays, reason

ORDERS = ("little", "big")
COLUMNS = ("id", "code")


@checked
def write_npz(index: Index, path: PathLike) -> None:
    """Write an index as a .npz file; it appears whole or not at all.

    Args:
        index: an index.
        path: the file to write; one that is there is replaced.

    Raises:
        ValueError: the folder of `path` does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_npz(build(np.uint8([[0], [7]]), ids=["a", "b"]), f"{folder}/items.npz")
        ...     with np.load(f"{folder}/items.npz") as stored:
        ...         print(stored["ids"], stored["codes"].tolist(), stored["bits"], stored["bit_order"])
        ['a' 'b'] [[0], [7]] 8 little
    """
    arrays: dict[str, Any] = {"codes": index.codes, "ids": index.ids.values, **_facts(index), **_codebooks(index)}
    with store.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


@checked
def read_npz(path: PathLike) -> Index:
    """Read an index from a .npz file of this layout, whoever wrote it; nothing in the file is executed.

    Args:
        path: the file; all but `codes` may be missing. Codes in big bit order are turned round.

    Returns:
        The index.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or has another layout.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/items.npz", codes=np.uint8([[0], [7]]))
        ...     read_npz(f"{folder}/items.npz").ids.values.tolist()
        [0, 1]
    """
    _check_file(path)
    try:
        arrays = read_arrays(path)
        facts = {name: arrays[name].item() for name in ("bits", "bit_order", "model") if name in arrays}
        return _restored(arrays, facts)
    except Exception as error:  # zipfile and zlib have errors of their own
        raise ValueError(f"path: {path} is truncated, damaged or no .npz file of codes ({reason(error)})") from None


@checked
def write_parquet(index: Index, path: PathLike) -> None:
    """Write an index as a Parquet file with checksums; it appears whole or not at all. Needs the extra `files`.

    Args:
        index: an index.
        path: the file to write; one that is there is replaced.

    Raises:
        ValueError: the folder of `path` does not exist.
        ModuleNotFoundError: pyarrow is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_parquet(build(np.uint8([[0], [7]]), ids=["a", "b"]), f"{folder}/items.parquet")
        ...     read_parquet(f"{folder}/items.parquet").ids.values.tolist()
        ['a', 'b']
    """
    require("files", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    codes = np.ascontiguousarray(index.codes)
    width = codes.shape[1]
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(index), [None, pa.py_buffer(codes)])
    facts: dict[str, Any] = _facts(index)
    for books in _codebooks(index).values():
        facts["codebooks"] = {"shape": books.shape, "float32": base64.b64encode(books.tobytes()).decode()}
    table = pa.table({"id": pa.array(index.ids.values), "code": column}, metadata={"jaxcmh": json.dumps(facts)})
    with store.replacing(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


@checked
def read_parquet(path: PathLike) -> Index:
    """Read an index from a Parquet file of this layout, whoever wrote it. Needs the extra `files`.

    Args:
        path: the file; the column `id` and the metadata may be missing.

    Returns:
        The index.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or has another layout.
        ModuleNotFoundError: pyarrow is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_parquet(build(np.uint8([[0], [7]])), f"{folder}/items.parquet")
        ...     read_parquet(f"{folder}/items.parquet").codes.tolist()
        [[0], [7]]
    """
    require("files", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check_file(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            kind: Any = file.schema_arrow.field("code").type if "code" in file.schema_arrow.names else pa.null()
            width = kind.byte_width if pa.types.is_fixed_size_binary(kind) else 0
            check_unpacked(file.metadata.num_rows * width, Path(path).stat().st_size)
            table = file.read([name for name in COLUMNS if name in file.schema_arrow.names])
        facts = json_value((table.schema.metadata or {}).get(b"jaxcmh", b"{}"))
        if not isinstance(facts, dict):
            raise ValueError(f"metadata jaxcmh: expected an object; got {facts!r}")
        arrays = {}
        if "code" in table.column_names:
            code = table["code"].combine_chunks()
            if not pa.types.is_fixed_size_binary(code.type) or code.null_count:
                raise ValueError(f"column code: expected binary of one length, none missing; got {code.type}")
            width = code.type.byte_width
            stored = np.frombuffer(code.buffers()[1] or b"", np.uint8)[code.offset * width :]
            arrays["codes"] = stored[: len(code) * width].reshape(-1, width)
        if "id" in table.column_names:
            arrays["ids"] = table["id"].to_numpy()
        if "codebooks" in facts:
            books = facts.pop("codebooks")
            raw = base64.b64decode(books["float32"], validate=True)
            arrays["codebooks"] = np.frombuffer(raw, np.float32).reshape(books["shape"])
        return _restored(arrays, facts)
    except Exception as error:  # pyarrow has errors of its own
        raise ValueError(f"path: {path} is truncated, damaged or no Parquet file of codes ({reason(error)})") from None


def _facts(index: Index) -> dict[str, Any]:
    return {"bits": index.bits, "bit_order": "little", "model": index.model_fingerprint}


def _codebooks(index: Index) -> dict[str, np.ndarray]:
    return {} if index.codebooks is None else {"codebooks": np.asarray(index.codebooks)}


def _check_file(path: str | os.PathLike) -> None:
    if not Path(path).is_file():
        raise FileNotFoundError(f"path: no such file: {path}")


def _restored(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Index:
    if "codes" not in arrays:
        raise ValueError(f"it holds no codes; it has {', '.join(arrays) or 'nothing'}")
    codes = arrays["codes"]
    order = checks.choice(facts.get("bit_order", "little"), "bit_order", ORDERS)
    if "codebooks" in arrays:
        index = build(codes, arrays.get("ids"), codebooks=arrays["codebooks"])
    else:
        if order == "big" and codes.dtype == np.uint8:
            codes = np.packbits(np.unpackbits(codes, axis=-1), axis=-1, bitorder="little")
        index = build(codes, arrays.get("ids"), bits=facts.get("bits"))
    model = checks.instance(facts.get("model", ""), "model", str, "a text")
    return replace(index, model_fingerprint=model)
