"""The mAP tables of the papers, and the printed value that belongs beside a result line."""

import csv
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

# As the papers name their own method's variants; a name that is not here is the method's in capitals.
NAMES = {
    **{f"a2lh-{v}": f"A2LH-{v.upper()}" for v in "kmbd"},
    **{f"aah-{v}": f"AAH_{v}" for v in ("knn", "nl", "ng", "na")},
    **{f"imads-{v}": f"IMADS-{v.upper()}" for v in "clsr"},
    **{f"dcgh-{v}": f"DCGH-{v}" for v in "dr"},
}


class Printed(NamedTuple):
    """One number of a paper's mAP tables."""

    paper: str  # whose table, such as "dcgh"
    table: str  # its number there
    setting: str  # what its rows say of the data, or what was found out about them
    method: str  # as the paper writes it
    dataset: str  # such as "wiki", "mirflickr25k", "iaprtc12", "nuswide10"
    direction: str  # "i2t" or "t2i"
    bits: int
    map: float


@functools.cache
def rows() -> tuple[Printed, ...]:
    """Every number of the five papers' mAP tables, baselines included.

    >>> len(rows()) > 1700
    True
    """
    with open(Path(__file__).with_name("published.csv"), newline="", encoding="utf-8") as file:
        return tuple(
            Printed(
                row["paper"],
                row["table"],
                row["setting"],
                row["method"],
                {"nuswide": "nuswide10"}.get(row["dataset"], row["dataset"]),
                row["task"],
                int(row["bits"]),
                float(row["map"]),
            )
            for row in csv.DictReader(file)
        )


@functools.cache
def _own() -> dict[tuple, float]:
    """(method as written, data set, unpaired share, direction, bits) -> what the method's own paper prints."""
    found = {}
    for row in rows():
        if row.method.lower().startswith(row.paper):
            unpaired = 0.5 if row.setting == "50 % unpaired" else 0.0
            found.setdefault((row.method, row.dataset, unpaired, row.direction, row.bits), row.map)
    return found


def benchmark(data: str) -> str:
    """The benchmark a data set is, whatever paper's split: "wiki:dcgh" is "wiki".

    >>> benchmark("wiki:dcgh"), benchmark("synthetic:wiki")
    ('wiki', 'synthetic')
    """
    return data.partition(":")[0]


def printed(line: Mapping[str, Any], direction: str) -> float | None:
    """What the method's own paper prints where a result line stands, or None where it prints nothing.

    Papers report training items with the codes learned with their labels, so those encoded again have none; neither
    have lines of a study that varies hyper-parameters.

    Args:
        line: a result line.
        direction: "i2t" or "t2i".

    >>> line = {"method": "dcgh", "data": "wiki", "bits": 16, "database": "learned", "n_train": 9, "n_database": 9}
    >>> printed(line, "i2t"), printed(line | {"database": "encoded"}, "i2t")
    (0.3735, None)
    """
    again = line["database"] == "encoded" and line["n_database"] == line["n_train"]
    if again or line.get("study", {}).get("vary"):
        return None
    setting = line.get("setting") or {}
    if set(setting) - {"unpaired"}:
        return None
    name = NAMES.get(line["method"], line["method"].upper())
    return _own().get((name, benchmark(line["data"]), setting.get("unpaired", 0.0), direction, line["bits"]))
