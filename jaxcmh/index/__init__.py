"""Indexes written for other engines and read back: plain files, FAISS, Milvus, PostgreSQL with pgvector.

Packed codes go out byte by byte in little bit order (bit j of byte b is bit 8 b + j of the code). A code that does not
fill its last byte goes out with zeros behind it where an engine counts in bytes (FAISS, Milvus) and without where it
counts in bits (pgvector); zeros on both sides change no distance. Ids go out as they are; FAISS knows integers only
and is given row numbers for strings. Every engine is an optional extra, loaded when it is used.

Engines return the distances that `jaxcmh.index.search` returns. Which of several equally distant items come first, or
are the last to come in, is theirs to decide; here it is the one that was added first.
"""

from jaxcmh.index.index import (
    FORMAT,
    KIND,
    Answer,
    Details,
    Ids,
    Index,
    add,
    answers,
    build,
    check_padding,
    load,
    members,
    remove,
    save,
    search,
    search_range,
    spread,
)

__all__ = [
    "FORMAT",
    "KIND",
    "Answer",
    "Details",
    "Ids",
    "Index",
    "add",
    "answers",
    "build",
    "check_padding",
    "load",
    "members",
    "remove",
    "save",
    "search",
    "search_range",
    "spread",
]
