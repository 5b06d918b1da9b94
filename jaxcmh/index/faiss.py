"""Indexes as FAISS indexes and back (extra `faiss`): binary for packed codes, additive for look-up codes.

Packed codes become an `IndexBinaryFlat`, or an index that searches a part of the items, which is faster and may miss
some: `recall` measures how many it finds. FAISS counts in bytes, so zeros fill the last one. Look-up codes become an
`IndexLocalSearchQuantizer` over the same codebooks and codes, searched by inner product through look-up tables. Ids
that are not 0, 1, 2, ... come along in an `IndexBinaryIDMap2` or `IndexIDMap2`. FAISS has no other ids than integers:
for strings it gets row numbers, and `index.ids.values[rows]` are the strings; `write` keeps them in a second file.
"""

import importlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxcmh import checks, store
from jaxcmh.checks import Codes, Count, PathLike, checked
from jaxcmh.extras import require
from jaxcmh.index import Index, build, search
from jaxcmh.parsing import json_value, read_text, reason

Kind = Literal["flat", "ivf", "hnsw", "multihash"]
QUERIES = 1000  # that recall is measured with


@checked
def to_faiss(index: Index, kind: Kind = "flat") -> Any:
    """An index as a FAISS index that returns the same distances (or scores) and ids.

    Args:
        index: an index; ids that are strings become row numbers.
        kind: for packed codes "flat", which is exact, or one that searches a part of the items: "ivf" (the 1/16 of the
            lists whose centres are nearest), "hnsw" (a graph of 32 neighbours), or "multihash" (items that agree with
            the query in a group of bits but for two). What they leave out has distances as large as may be and id -1.

    Returns:
        `IndexBinaryFlat`, `IndexBinaryIVF`, `IndexBinaryHNSW` or `IndexBinaryMultiHash` for packed codes, else
        `IndexLocalSearchQuantizer`; in an `IndexBinaryIDMap2` or `IndexIDMap2` if it has integer ids other than
        0, 1, 2, ...

    Raises:
        ValueError: look-up codes with another kind than "flat".
        ModuleNotFoundError: faiss is not installed.

    Example:
        >>> flat = to_faiss(build(np.uint8([[0], [7], [3]]), ids=[30, 10, 20]))
        >>> flat.search(np.uint8([[7]]), 2)[1].tolist()
        [[10, 20]]
    """
    faiss = _faiss()
    codes, ids = index.codes, index.ids.values
    rows = ids.dtype.kind == "U" or np.array_equal(ids, np.arange(len(ids)))
    if index.codebooks is None:
        flat = _binary(faiss, codes, kind)
        if rows:
            flat.add(codes)
            return flat
        whole = faiss.IndexBinaryIDMap2(flat)
        whole.add_with_ids(codes, ids)
        return whole
    if kind != "flat":
        raise ValueError(f"kind: expected flat, for look-up codes; got {kind!r}")
    books, words, width = index.codebooks.shape
    table = np.zeros((books, 256, width), np.float32)  # words that no code names fill a book
    table[:, :words] = index.codebooks
    flat = faiss.IndexLocalSearchQuantizer(
        width, books, 8, faiss.METRIC_INNER_PRODUCT, faiss.AdditiveQuantizer.ST_LUT_nonorm
    )
    faiss.copy_array_to_vector(table.ravel(), flat.lsq.codebooks)
    flat.lsq.is_trained = flat.is_trained = True
    if rows:
        flat.add_sa_codes(codes)
        return flat
    whole = faiss.IndexIDMap2(flat)
    whole.add_sa_codes(codes, ids)
    return whole


def _binary(faiss: Any, codes: np.ndarray, kind: Kind) -> Any:
    """An empty index of packed codes, trained on these."""
    n, bits = len(codes), 8 * codes.shape[1]
    if kind == "hnsw":
        return faiss.IndexBinaryHNSW(bits, 32)
    if kind == "multihash":
        group = min(bits, max(1, n.bit_length() - 1))
        index = faiss.IndexBinaryMultiHash(bits, max(1, min(4, bits // group)), group)
        index.nflip = min(2, group)
        return index
    flat = faiss.IndexBinaryFlat(bits)
    if kind == "flat":
        return flat
    index = faiss.IndexBinaryIVF(flat, bits, max(1, min(int(4 * n**0.5), n // 39)))  # FAISS asks for 39 items a list
    index.nprobe = -(-index.nlist // 16)
    index.train(codes if n else np.zeros((1, codes.shape[1]), np.uint8))
    return index


@checked
def recall(index: Index, faiss_index: Any, k: Count = 10, queries: Codes | None = None) -> float:
    """Recall@k of a FAISS index: how many of the k nearest items it finds, equally distant ones being as good.

    Args:
        index: the index that it was made of, of packed codes.
        faiss_index: from `to_faiss`, or the path of a file that `write` wrote.
        k: items per query, at most those of the index.
        queries: (n_q, bytes) uint8 codes; up to 1,000 items of the index, drawn by a fixed seed, if None.

    Returns:
        The mean share.

    Raises:
        ValueError: an argument is not as described.

    Example:
        >>> index = build(np.random.default_rng(0).integers(0, 256, (500, 4), dtype=np.uint8))
        >>> recall(index, to_faiss(index))
        1.0
    """
    if index.codebooks is not None:
        raise ValueError("index: expected packed codes; look-up codes have a flat form only, which is exact")
    faiss = _faiss()
    if isinstance(faiss_index, str | Path):
        faiss_index = _opened(faiss, checks.path(faiss_index, "faiss_index"))
    bits = 8 * index.blocks.words.shape[1]
    if not isinstance(faiss_index, faiss.IndexBinary) or faiss_index.d != bits:
        raise ValueError(f"faiss_index: expected a binary FAISS index of {bits} bits; got {checks.got(faiss_index)}")
    if queries is None:
        drawn = np.random.default_rng(0).permutation(len(index))[:QUERIES]
        queries = index.codes[np.sort(drawn)]
    furthest = search(index, queries, k)[0][:, -1:]
    distances, ids = faiss_index.search(np.ascontiguousarray(queries), k)
    return float(((distances <= furthest) & (ids != -1)).mean())


@checked
def from_faiss(faiss_index: Any, ids: Any = None, bits: int | None = None) -> Index:
    """An index with the codes, codebooks and ids of a FAISS index, whoever made it.

    Args:
        faiss_index: binary and flat, or additive (local search or residual quantizer) with inner products and at most
            256 words per book; with or without an id map.
        ids: ids for its items, such as strings, in their order; those of its id map, or row numbers, if None.
        bits: code length, where the last byte is not full.

    Returns:
        The index; its searches score by the same codebooks and codes, verbatim.

    Raises:
        ValueError: `faiss_index` is of another kind, or ids or bits do not fit.
        ModuleNotFoundError: faiss is not installed.

    Example:
        >>> index = build(np.uint8([[0], [7]]), ids=[30, 10])
        >>> from_faiss(to_faiss(index)).ids.values.tolist()
        [30, 10]
    """
    faiss = _faiss()
    binary = isinstance(faiss_index, faiss.IndexBinary)
    down = faiss.downcast_IndexBinary if binary else faiss.downcast_index
    if not isinstance(faiss_index, faiss.Index | faiss.IndexBinary):
        raise ValueError(f"faiss_index: expected a FAISS index; got {type(faiss_index).__name__}")
    inner = down(faiss_index)
    if isinstance(inner, faiss.IndexIDMap | faiss.IndexBinaryIDMap):
        ids = faiss.vector_to_array(inner.id_map) if ids is None else ids
        inner = down(inner.index)
    if isinstance(inner, faiss.IndexBinaryFlat):
        return build(faiss.vector_to_array(inner.xb).reshape(-1, inner.code_size), ids, bits=bits)
    if not isinstance(inner, faiss.IndexAdditiveQuantizer):
        raise ValueError(f"faiss_index: expected a flat binary or an additive index; got {type(inner).__name__}")
    if inner.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError("faiss_index: expected an index that scores by inner product; got another metric")
    additive = inner.aq
    sizes = faiss.vector_to_array(additive.nbits)
    if len(set(sizes.tolist())) != 1 or sizes[0] > 8:
        raise ValueError(f"faiss_index: expected books of one size, at most 8 bits per word; got {sizes.tolist()} bits")
    size, books = int(sizes[0]), len(sizes)
    stored = faiss.vector_to_array(inner.codes).reshape(-1, inner.code_size)
    # Words lie one behind the other in a string of bits; what may follow them are norms, of no use here.
    string = np.unpackbits(stored, axis=1, bitorder="little")[:, : books * size].reshape(-1, books, size)
    words = np.packbits(string, axis=2, bitorder="little")[:, :, 0]
    codebooks = faiss.vector_to_array(additive.codebooks).reshape(books, 1 << size, -1)
    return build(words, ids, codebooks=codebooks, bits=bits)


@checked
def names_of(path: PathLike) -> Path:
    """Where `write` keeps ids that are strings: a JSON list beside the FAISS file, one per row.

    >>> str(names_of("items.faiss"))
    'items.faiss.ids.json'
    """
    return Path(f"{path}.ids.json")


@checked
def recall_of(path: PathLike) -> Path:
    """Where `jaxcmh export faiss` keeps the recall that it measures: a JSON object beside the FAISS file.

    >>> str(recall_of("items.faiss"))
    'items.faiss.recall.json'
    """
    return Path(f"{path}.recall.json")


@checked
def write(index: Index, path: PathLike, kind: Kind = "flat") -> None:
    """Write an index as a FAISS file, and ids that are strings beside it; each file appears whole or not at all.

    Args:
        index: an index.
        path: the FAISS file to write; one that is there is replaced.
        kind: as for `to_faiss`; `read` reads what is flat.

    Raises:
        ValueError: the folder of `path` does not exist, or look-up codes with another kind than "flat".
        OSError: it cannot be written.
        ModuleNotFoundError: faiss is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(build(np.uint8([[0], [7]]), ids=["a", "b"]), f"{folder}/items.faiss")
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['items.faiss', 'items.faiss.ids.json']
    """
    converted, faiss = to_faiss(index, kind), _faiss()
    put = faiss.write_index if isinstance(converted, faiss.Index) else faiss.write_index_binary
    with store.replacing(path) as temporary:
        try:
            put(converted, str(temporary))
        except RuntimeError as error:
            raise OSError(f"path: FAISS cannot write {path} ({str(error).rsplit(': ', 1)[-1]})") from None
        if index.ids.values.dtype.kind == "U":
            with store.replacing(names_of(path)) as names:
                names.write_text(json.dumps(index.ids.values.tolist(), ensure_ascii=False), encoding="utf-8")
        else:
            names_of(path).unlink(missing_ok=True)
        recall_of(path).unlink(missing_ok=True)  # of a file that is replaced


@checked
def read(path: PathLike, bits: int | None = None) -> Index:
    """Read an index from a FAISS file, with the ids that `write` kept beside it.

    Args:
        path: the FAISS file.
        bits: code length, where the last byte is not full.

    Returns:
        The index.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, or of a kind that `from_faiss` refuses.
        ModuleNotFoundError: faiss is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(build(np.uint8([[0], [7]]), ids=["a", "b"]), f"{folder}/items.faiss")
        ...     read(f"{folder}/items.faiss").ids.values.tolist()
        ['a', 'b']
    """
    faiss = _faiss()
    path, names = Path(path), names_of(path)
    stored = _opened(faiss, path)
    try:
        ids = json_value(read_text(names)) if names.is_file() else None
        if ids is not None and not (isinstance(ids, list) and all(isinstance(word, str) for word in ids)):
            raise ValueError("expected a list of texts")
    except ValueError as error:
        raise ValueError(f"path: {names} is no list of ids ({error})") from None
    try:
        return from_faiss(stored, ids, bits)
    except Exception as error:  # of an index whose parts do not fit each other
        raise ValueError(f"path: {path} ({reason(error)})") from None


def _opened(faiss: Any, path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"path: no such file: {path}")
    with path.open("rb") as file:
        binary = file.read(2) == b"IB"
    # Before it makes room for an array, FAISS compares what the file claims with this.
    faiss.set_deserialization_vector_byte_limit(path.stat().st_size)
    try:
        return (faiss.read_index_binary if binary else faiss.read_index)(str(path))
    except Exception:  # RuntimeError of its own, MemoryError, and those of its wrapper
        raise ValueError(f"path: {path} is truncated or no FAISS file") from None


def _faiss() -> Any:  # its types are incomplete
    require("faiss", "faiss")
    return importlib.import_module("faiss")
