"""Indexes in Milvus (extra `milvus`), for those who outgrow one machine: binary vectors, exact Hamming search.

    items = upload(index, "items.db", "pets")                  # a local file, by the embedded Milvus
    items = upload(index, "http://milvus:19530", "pets")       # a cluster
    distances, ids = search(items, codes, k=10)

The same code serves both. Ids are the primary keys, integers or strings.
"""

import importlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcmh import brief, checks
from jaxcmh.checks import Count, SomeCodes, checked
from jaxcmh.extras import require
from jaxcmh.index import Index, check_padding

MOST = 16_384  # answers per query, the limit of Milvus
ID_BYTES = 65_535  # of a string, the limit of Milvus
START_SECONDS = 60  # for the embedded Milvus to answer
CONNECT_FAILED = 2  # pymilvus' code for a server that does not answer
SEARCHED = 256  # queries at a time, for Milvus limits the size of a message


class Collection(NamedTuple):
    """A collection of codes in an open Milvus; `client.close()` lets go of it.

    Example:
        >>> pets = connect("http://localhost:19530", "pets")  # doctest: +SKIP
        >>> pets.bits  # doctest: +SKIP
        64
    """

    client: Any  # pymilvus.MilvusClient
    name: str
    bits: int  # of a code, as in `Index`

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def upload(
    index: Index,
    uri: str,
    collection: str,
    *,
    token: str = "",
    batch: Count = 10_000,
    progress: Callable[[int, int], Any] | None = None,
) -> Collection:
    """Create a collection and upload an index to it; a failure leaves no collection behind.

    Args:
        index: an index of packed codes.
        uri: a local file that ends in .db, for the embedded Milvus; or http://host:port of a cluster.
        collection: name of the collection, which must not exist: letters, digits and underscores.
        token: "user:password" or an API key, for a cluster that asks for it.
        batch: items sent at a time.
        progress: called after each batch with the number of items sent and that of all.

    Returns:
        The collection, to `search`.

    Raises:
        ValueError: an argument is not as described, or the collection exists.
        OSError: Milvus cannot be reached, or refuses.
        ModuleNotFoundError: pymilvus is not installed, or milvus-lite for a local file.

    Example:
        >>> from jaxcmh.index import build
        >>> pets = upload(build(np.uint8([[0], [7]])), "pets.db", "pets")  # doctest: +SKIP
    """
    if index.codebooks is not None:
        raise ValueError("index: Milvus takes packed codes; look-up codes can go to FAISS")
    if not re.fullmatch(r"[A-Za-z_]\w{0,254}", collection, re.ASCII):
        raise ValueError(f"collection: expected letters, digits and underscores, no digit first; got {collection!r}")
    _check_uri(uri)
    codes, ids = index.codes, index.ids.values
    key = _key(ids)
    client = _connect(uri, token)
    with _told(uri):
        if client.has_collection(collection):
            raise ValueError(f"collection: {collection} is in {uri} already; name another or drop it first")
        try:
            facts = json.dumps({"bits": index.bits, "bit_order": "little", "model": index.model_fingerprint})
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=facts)
            schema.add_field("id", is_primary=True, **key)
            schema.add_field("code", _pymilvus().DataType.BINARY_VECTOR, dim=8 * codes.shape[1])
            search_by = client.prepare_index_params()
            search_by.add_index("code", index_type="BIN_FLAT", metric_type="HAMMING")
            options = {"schema": schema, "index_params": search_by, "consistency_level": "Strong"}
            _patiently(
                uri, lambda: client.drop_collection(collection) or client.create_collection(collection, **options)
            )
            for start in range(0, len(ids), batch):
                some = slice(start, start + batch)
                rows = zip(ids[some].tolist(), codes[some])
                client.insert(collection, [{"id": i, "code": code.tobytes()} for i, code in rows])
                if progress:
                    progress(min(start + batch, len(ids)), len(ids))
        except BaseException:
            client.drop_collection(collection)
            raise
    return Collection(client, collection, index.bits)


@checked
def connect(uri: str, collection: str, *, token: str = "") -> Collection:
    """A collection that `upload` made.

    Args:
        uri, collection, token: as for `upload`.

    Raises:
        ValueError: no such collection, or not of this kind.
        OSError: Milvus cannot be reached, or refuses.
        ModuleNotFoundError: pymilvus is not installed, or milvus-lite for a local file.

    Example:
        >>> pets = connect("http://localhost:19530", "pets")  # doctest: +SKIP
    """
    _check_uri(uri)
    client = _connect(uri, token)
    with _told(uri):
        if not client.has_collection(collection):
            raise ValueError(f"collection: no {collection} in {uri}; it has {', '.join(client.list_collections())}")
        _patiently(uri, lambda: client.load_collection(collection))
        described = client.describe_collection(collection)["description"]
    try:
        return Collection(client, collection, json.loads(described)["bits"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"collection: {collection} was not made by jaxcmh") from None


@checked
def search(collection: Collection, queries: SomeCodes, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k items nearest to every query, found by Milvus.

    Args:
        collection: from `upload` or `connect`.
        queries: (n_q, bytes) uint8 packed codes.
        k: items per query, from 1 to the number of items, at most 16,384.

    Returns:
        distances: (n_q, k) int32, ascending.
        ids: (n_q, k) int64 or strings; the order of equally distant items is up to Milvus.

    Raises:
        ValueError: an argument is not as described.
        OSError: Milvus cannot be reached, or refuses.

    Example:
        >>> pets = connect("http://localhost:19530", "pets")  # doctest: +SKIP
        >>> distances, ids = search(pets, np.uint8([[3]]), k=1)  # doctest: +SKIP
    """
    client, name, bits = collection
    queries = np.asarray(queries)
    if queries.shape[1] != -(-bits // 8):
        raise ValueError(f"queries: expected {bits} bits, as the collection has; got {8 * queries.shape[1]}")
    check_padding("queries", queries, bits)
    k = checks.Whole(1, MOST)(k, "k")
    hits = []
    with _told(name):
        for start in range(0, len(queries), SEARCHED):
            some = [query.tobytes() for query in queries[start : start + SEARCHED]]
            hits += client.search(name, some, anns_field="code", limit=k, search_params={"metric_type": "HAMMING"})
    fewest = min((len(row) for row in hits), default=k)
    if fewest < k:
        raise ValueError(f"k: expected an integer from 1 to {fewest}; got {k}")
    distances = np.array([[hit["distance"] for hit in row] for row in hits], np.int32).reshape(-1, k)
    return distances, np.array([[hit["id"] for hit in row] for row in hits]).reshape(-1, k)


def _key(ids: np.ndarray) -> dict[str, Any]:
    """The type of the field of ids."""
    types = _pymilvus().DataType
    if ids.dtype.kind != "U":
        return {"datatype": types.INT64}
    longest = max((len(word.encode()) for word in ids.tolist()), default=1)
    if longest > ID_BYTES:
        raise ValueError(f"ids: Milvus takes strings of up to {ID_BYTES} bytes; got {longest}")
    return {"datatype": types.VARCHAR, "max_length": max(1, longest)}


def _check_uri(uri: str) -> None:
    if "://" in uri:
        return
    path = Path(uri)
    if not re.fullmatch(r"[\w.-]{1,33}\.db", path.name, re.ASCII) or not path.absolute().parent.is_dir():
        raise ValueError(
            "uri: expected http://host:port, or a file in an existing folder whose name ends in .db and has at most 36 "
            f"letters, digits, dots, dashes and underscores; got {uri}"
        )


def _connect(uri: str, token: str) -> Any:
    if "://" not in uri:
        require("milvus", "pymilvus", "milvus_lite")
    with _told(uri):
        return _patiently(uri, lambda: _pymilvus().MilvusClient(uri, token=token))


def _patiently(uri: str, call: Callable[[], Any]) -> Any:
    """What the call gives; it is made again for as long as an embedded Milvus is starting.

    pymilvus gives that half a second, too little on a busy machine; and it answers before it can store anything.
    """
    failed, until = _pymilvus().MilvusException, time.monotonic() + START_SECONDS
    while True:
        try:
            return call()
        except failed as error:
            starting = error.code == CONNECT_FAILED or "has not been init" in error.message
            if "://" in uri or not starting or time.monotonic() > until:
                raise
        time.sleep(0.1)


def _pymilvus() -> Any:
    require("milvus", "pymilvus")
    return importlib.import_module("pymilvus")


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Errors of Milvus as OSError, in its words."""
    try:
        yield
    except _pymilvus().MilvusException as error:
        raise OSError(f"Milvus at {where}: {error.message}") from None
