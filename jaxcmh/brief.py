"""How large values show themselves in a shell and in a notebook: in a few lines, whatever they hold."""

import dataclasses
import html
import textwrap
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

LINES, WIDTH = 5, 100  # of a value in a shell
ROWS = 20  # of a table in a notebook
ENTRIES, INSIDE = 3, 60  # of a sequence or mapping that is part of another value, and signs of each


def text(self: Any) -> str:
    """A NamedTuple or dataclass in at most five lines; for its `__repr__`.

    A value may say by a method `_facts` what is worth telling; else it is every field.

    >>> from typing import NamedTuple
    >>> class Pair(NamedTuple):
    ...     rows: list
    ...     name: str
    ...     __repr__ = text
    >>> Pair(list(range(1000)), "two")
    Pair(rows=[0, 1, 2, ... 1,000 in all], name='two')
    """
    fields = ", ".join(f"{name}={one(field)}" for name, field in facts(self).items())
    whole = f"{type(self).__name__}({fields})"
    options: dict[str, Any] = {"subsequent_indent": "    ", "break_on_hyphens": False, "placeholder": " ...)"}
    return textwrap.fill(whole, WIDTH, max_lines=LINES, **options)


def table(self: Any) -> str:
    """The same as an HTML table, a row for each field; for `_repr_html_`, which notebooks show."""
    rows = (
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(one(field))}</td></tr>'
        for name, field in facts(self).items()
    )
    return f"<table><caption>{html.escape(type(self).__name__)}</caption>{''.join(rows)}</table>"


def rows(heads: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Rows of words as an HTML table, the first of them and how many there are."""
    every = list(rows)
    more = f"; the first {ROWS} of {len(every):,} rows" if len(every) > ROWS else ""
    lines = "".join(
        f"<tr>{''.join(f'<{tag}>{html.escape(word)}</{tag}>' for word in words)}</tr>"
        for tag, words in [("th", heads), *(("td", words) for words in every[:ROWS])]
    )
    return f"<table><caption>{html.escape(caption + more)}</caption>{lines}</table>"


def facts(value: Any) -> dict[str, Any]:
    """What there is to tell of a NamedTuple or dataclass, by name."""
    if hasattr(value, "_facts"):
        return value._facts()
    names = value._fields if hasattr(value, "_fields") else [field.name for field in dataclasses.fields(value)]
    return {name: getattr(value, name) for name in names}


def one(value: Any, width: int = WIDTH) -> str:
    """A value in one short line: arrays by type and shape, long sequences by their first entries.

    >>> import numpy as np
    >>> one({"codes": np.zeros((2, 3), np.uint8), "seed": 0, "weights": (0.1, np.float32(0.5))})
    '{codes: uint8[2,3], seed: 0, weights: (0.1, 0.5)}'
    """
    return textwrap.shorten(_one(value), width, placeholder=" ...")


def _one(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if value.shape == ():
            try:
                return f"{value.item():g}"
            except Exception:  # a key, or a value that jax is tracing
                return str(value.dtype)
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, float):
        return f"{value:g}"
    if hasattr(value, "_fields") or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        inside = ", ".join(f"{name}={one(field, INSIDE)}" for name, field in facts(value).items())
        return f"{type(value).__name__}({inside})"
    if isinstance(value, Mapping):
        return "{" + _some([f"{name}: {one(field, INSIDE)}" for name, field in value.items()], len(value)) + "}"
    if isinstance(value, Sequence | Set):
        left, right = ("(", ",)" if len(value) == 1 else ")") if isinstance(value, tuple) else "[]"
        first = [one(entry, INSIDE) for entry, _ in zip(value, range(ENTRIES + 1))]
        return left + _some(first, len(value)) + right
    return getattr(value, "__name__", None) or repr(value)


def _some(words: Sequence[str], count: int) -> str:
    few = count <= ENTRIES + 1
    return ", ".join(words if few else [*words[:ENTRIES], f"... {count:,} in all"])
