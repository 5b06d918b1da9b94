"""Indexes for PostgreSQL with pgvector 0.7 or later: a column of type bit(n), searched by Hamming distance `<~>`.

    write(index, "items.sql", table="items")     # then: psql --file items.sql DATABASE
    print(select("items", code, bits=64, k=10))  # SQL that finds the ten nearest items

Character j of a bit string is bit j of the code, so `bit(12)` holds a code of 12 bits as it is. Ids are the primary
key, bigint or text. Nothing needs to be installed for this; the extra `pgvector` is a PostgreSQL server to try it with.
"""

import re
from typing import Any

import numpy as np

from jaxcmh import checks, store
from jaxcmh.checks import Codes, Count, PathLike, checked
from jaxcmh.index import Index, check_padding

ROWS = 1 << 14  # turned into text at a time
LONGEST = 83_886_080  # bits, the limit of PostgreSQL
ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


@checked
def write(index: Index, path: PathLike, table: str = "items") -> None:
    """Write an SQL script for psql that creates a table and fills it by COPY, in one transaction.

    Args:
        index: an index of packed codes.
        path: the file to write; one that is there is replaced. It appears whole or not at all.
        table: name of the table, or schema.table; it must not exist when the script runs.

    Raises:
        ValueError: an argument is not as described, or the folder of `path` does not exist.

    Example:
        >>> import tempfile
        >>> from jaxcmh.index import build
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(build(np.uint8([[1], [7]]), ids=["a", "b"]), f"{folder}/items.sql")
        ...     with open(f"{folder}/items.sql") as script:
        ...         print(*script.read().split()[-6:])
        a 10000000 b 11100000 \\. COMMIT;
    """
    if index.codebooks is not None:
        raise ValueError("index: pgvector takes packed codes; look-up codes can go to FAISS")
    name = _quoted(table)
    codes, ids = index.codes, index.ids.values
    strings = ids.dtype.kind == "U"
    columns = f"id {'text' if strings else 'bigint'} PRIMARY KEY, code bit({index.bits}) NOT NULL"
    with store.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(
            f"-- {len(ids)} codes of {index.bits} bits; character j of a code is its bit j.\n"
            "\\set ON_ERROR_STOP on\n"
            "SET client_encoding = 'UTF8';\n"
            "BEGIN;\n"
            "CREATE EXTENSION IF NOT EXISTS vector;\n"
            f"CREATE TABLE {name} ({columns});\n"
            f"COPY {name} (id, code) FROM stdin;\n"
        )
        for start in range(0, len(ids), ROWS):
            some = slice(start, start + ROWS)
            for item, bits in zip(ids[some].tolist(), bit_strings(codes[some], index.bits)):
                file.write(f"{item.translate(ESCAPES) if strings else item}\t{bits}\n")
        file.write("\\.\nCOMMIT;\n")


@checked
def select(table: str, code: Any, *, bits: int, k: Count) -> str:
    """SQL that finds the k items nearest to a code, with their distances.

    Args:
        table: as for `write`.
        code: (bytes,) uint8, one packed code.
        bits: code length of the index.
        k: items to find, at least 1.

    Returns:
        One statement; it yields columns id and distance, nearest first.

    Raises:
        ValueError: an argument is not as described.

    Example:
        >>> print(select("items", np.uint8([7]), bits=8, k=2))
        SELECT id, (code <~> B'11100000')::integer AS distance FROM "items" ORDER BY code <~> B'11100000' LIMIT 2;
    """
    (string,) = bit_strings(checks.codes(checks.array(code, "code")[None], "code"), bits)
    string = f"B'{string}'"
    return (
        f"SELECT id, (code <~> {string})::integer AS distance FROM {_quoted(table)} "
        f"ORDER BY code <~> {string} LIMIT {k};"
    )


@checked
def bit_strings(codes: Codes, bits: int) -> list[str]:
    """Codes as PostgreSQL writes values of type bit(n): character j is bit j.

    Args:
        codes: (n, bytes) uint8 packed codes.
        bits: code length.

    Raises:
        ValueError: codes is not a uint8 matrix, or is not of this length.

    Example:
        >>> bit_strings(np.uint8([[1, 8]]), 12)
        ['100000000001']
    """
    codes = np.asarray(codes)
    whole = 8 * codes.shape[1]
    bits = checks.Whole(whole - 7, min(whole, LONGEST))(bits, "bits")
    check_padding("codes", codes, bits)
    text = (np.unpackbits(codes, axis=1, bitorder="little")[:, :bits] + ord("0")).tobytes().decode()
    return [text[i : i + bits] for i in range(0, len(text), bits)]


def _quoted(table: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w{0,62}(\.[A-Za-z_]\w{0,62})?", table, re.ASCII):
        raise ValueError(f"table: expected letters, digits and underscores, no digit first; got {table!r}")
    return ".".join(f'"{part}"' for part in table.split("."))
