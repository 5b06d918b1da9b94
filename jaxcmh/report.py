"""Pages to look at: one self-contained HTML file that opens from disk and asks nothing of the network.

`page` writes the retrieval page: queries beside what they found, right and wrong marked, with tables, figures and facts
below. It holds several rankings at once (methods, code lengths, directions), so that two can be set side by side.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcmh import results

LIMIT = 5_000_000  # bytes: what a page may weigh
# Title and hint of the two kinds of database codes of the same items.
DATABASES = {
    "learned": "training items keep the codes learned with their labels, as papers report",
    "encoded": "the same items encoded by the hash functions alone, as a deployed system sees them",
    "held_out": "items never trained on",
}


class Items(NamedTuple):
    """What can be shown of n items; a field that does not exist is an empty sequence.

    Attributes:
        names: n short names.
        texts: n texts, such as words.
        pictures: n image files (bytes of PNG, JPEG, GIF, WebP or SVG).
        labels: (n, c) 0/1, or None for unlabelled items.
    """

    names: Sequence[str]
    texts: Sequence[str] = ()
    pictures: Sequence[bytes] = ()
    labels: Any = None


class Ranking(NamedTuple):
    """The first k answers to every query, and what gave them.

    Attributes:
        method, bits, database: as in a result line.
        direction: "i2t" or "t2i", or "view0->view2".
        ids: (n_q, k) rows of the database, best first.
        scores: (n_q, k) distances or scores.
        ap: (n_q,) average precision over the whole ranking (nan: no relevant item), or None for unlabelled queries.
        similarity: scores grow with likeness instead of falling.
    """

    method: str
    bits: int
    database: str
    direction: str
    ids: Any
    scores: Any
    ap: Any = None
    similarity: bool = False


def page(
    path: str | Path,
    *,
    title: str,
    lede: str,
    queries: Items,
    database: Items,
    label_names: Sequence[str],
    rankings: Sequence[Ranking],
    tables: Sequence[tuple[str, results.Table]] = (),
    figures: Sequence[tuple[str, str | Path]] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write the retrieval page.

    Args:
        path: the `.html` file, replaced when it is there.
        title, lede: headline, and a sentence or two under it.
        queries, database: what to show of the items the rankings speak of.
        label_names: c names.
        rankings: at least one; the first is shown first.
        tables: (title, table) pairs.
        figures: (title, path of an SVG or PNG file) pairs, put into the page.
        facts: (name, value) pairs: protocol, environment, where files lie.
    Raises:
        ValueError: no ranking, shapes that do not fit each other, or a page above 5 MB.
        ModuleNotFoundError: jinja2 is not installed (extra `plots`).
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError:
        raise ModuleNotFoundError("pages need jinja2: python -m pip install 'jaxcmh[plots]'") from None
    if not rankings:
        raise ValueError("rankings is empty: a page shows at least one")
    for items, name in ((queries, "queries"), (database, "database")):
        _check_items(items, name, len(label_names))
    for ranking in rankings:
        _check_ranking(ranking, len(queries.names), len(database.names))
    data = {
        "labels": list(label_names),
        "queries": _items(queries),
        "database": _items(database),
        "rankings": [_ranking(r) for r in rankings],
        "hints": DATABASES,
    }
    loader = PackageLoader("jaxcmh", "templates")
    text = (
        Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        .get_template("retrieval.html")
        .render(
            title=title,
            lede=lede,
            data=_script(data),
            tables=[(name, _table(t)) for name, t in tables],
            figures=[(name, _uri(Path(file).read_bytes())) for name, file in figures],
            facts=facts,
        )
    )
    size = len(text.encode())
    if size > LIMIT:
        raise ValueError(
            f"the page would weigh {size / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f}: "
            "show fewer rankings or smaller pictures"
        )
    return results.write_text(path, text)


def _check_items(items: Items, name: str, classes: int) -> None:
    n = len(items.names)
    for field in ("texts", "pictures"):
        if len(getattr(items, field)) not in (0, n):
            raise ValueError(f"{name}.{field} has {len(getattr(items, field))} entries for {n} items")
    if items.labels is not None and np.shape(items.labels) != (n, classes):
        raise ValueError(f"{name}.labels must have shape {(n, classes)}, got {np.shape(items.labels)}")


def _check_ranking(ranking: Ranking, n_queries: int, n_database: int) -> None:
    ids = np.asarray(ranking.ids)
    where = f"ranking {ranking.method}, {ranking.bits} bits, {ranking.direction}"
    if ids.ndim != 2 or len(ids) != n_queries or np.shape(ranking.scores) != ids.shape:
        raise ValueError(
            f"{where}: ids and scores must both have shape ({n_queries}, k), "
            f"got {ids.shape} and {np.shape(ranking.scores)}"
        )
    if ids.size and not (ids.min() >= 0 and ids.max() < n_database):
        raise ValueError(
            f"{where}: ids run from {ids.min()} to {ids.max()}, the database has rows 0 to {n_database - 1}"
        )
    if ranking.ap is not None and np.shape(ranking.ap) != (n_queries,):
        raise ValueError(f"{where}: ap must have shape ({n_queries},), got {np.shape(ranking.ap)}")


def _items(items: Items) -> dict[str, Any]:
    labels = None if items.labels is None else [np.flatnonzero(row).tolist() for row in np.asarray(items.labels)]
    return {
        "names": list(items.names),
        "texts": list(items.texts),
        "pictures": [_uri(picture) for picture in items.pictures],
        "labels": labels,
    }


def _ranking(ranking: Ranking) -> dict[str, Any]:
    scores = np.asarray(ranking.scores)
    whole = np.issubdtype(scores.dtype, np.integer)
    ap = None
    if ranking.ap is not None:
        ap = [None if np.isnan(v) else round(float(v), 4) for v in ranking.ap]
    return {
        **ranking._asdict(),
        "ids": np.asarray(ranking.ids).tolist(),
        "scores": scores.tolist() if whole else np.round(scores.astype(float), 3).tolist(),
        "ap": ap,
    }


def _uri(content: bytes) -> str:
    kinds = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))
    kind = next((kind for magic, kind in kinds if content.startswith(magic)), "svg+xml")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _script(value: Any) -> str:
    """JSON that may stand inside a script element: no text in it can close the element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _table(table: results.Table) -> dict[str, Any]:
    """The table's cells as strings, heads of equal neighbours joined."""
    levels = []
    for level in range(len(table.fields)):
        joined: list[list] = []
        for top in table.columns:
            if joined and joined[-1][2] == top[: level + 1]:
                joined[-1][1] += 1
            else:
                joined.append([_head(table.fields[level], top[level]), 1, top[: level + 1]])
        levels.append(joined)
    bold = results.best(table)
    rows = [
        (head, [(results.show(cell), (i, j) in bold) for j, cell in enumerate(cells)])
        for i, (head, cells) in enumerate(table.rows)
    ]
    return {"index": table.index, "levels": levels, "rows": rows, "caption": table.caption}


def _head(field: str, value: Any) -> str:
    return f"{value} bits" if field == "bits" else results.DIRECTIONS.get(value, str(value))
