"""Which hyper-parameters matter to mAP, and which values are best, from the result lines of a study."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from jaxcmh.checks import checked, filled
from jaxcmh.results import tables
from jaxcmh.results.lines import Lines

__all__ = ["best", "importances"]

LEVELS = 20  # groups of values of a hyper-parameter at most


@checked
def importances(lines: Lines, names: Annotated[Sequence[str], filled], direction: str) -> dict[str, Any]:
    """How much each varied name matters to mAP, and how much the seed does.

    The share of a name is its first-order Sobol index: of the variance of mAP over the design, the part that lies
    between the means of its values. Where the design is no whole grid, as one drawn at random, values are parted into
    groups of equal size, about as many as the square root of the number of settings, and what chance alone would put
    between their means is taken off. Shares do not say what names do together: they add up to less than 1 by that.

    Args:
        lines: result lines of one study and kind of database codes.
        names: what was varied.
        direction: such as "i2t".
    Returns:
        "names": name -> "share" of the variance of mAP that it explains alone, "range" of the means over its values (or
        groups of them), and the "best" value (or the middle of the best group) by mean; "seeds": mean standard
        deviation over seeds at equal settings, None where every setting has one seed. Where names were varied one at a
        time, only the lines in which the others have their usual values count.
    Raises:
        ValueError: a line has no number for a name, or no mAP of the direction.
    Example:
        >>> import jaxcmh
        >>> options = {"bits": [8], "seeds": 1, "params": {"alpha": [1, 100], "lam": [0.01, 100]}}
        >>> lines = jaxcmh.study("dcgh", "synthetic", databases=["encoded"], **options).lines
        >>> sorted(importances(lines, ["alpha", "lam"], "i2t")["names"]["lam"])
        ['best', 'range', 'share']
    """
    lines = list(lines)
    table = np.array([[_number(line, name) for name in names] for line in lines])
    if any(direction not in line["map"] for line in lines):
        raise ValueError(f"direction: expected one of {', '.join(lines[0]['map'])}; got {direction!r}")
    scores = np.array([line["map"][direction] for line in lines])
    usual = np.array([Counter(column).most_common(1)[0][0] for column in table.T.tolist()])
    one_at_a_time = len(names) > 1 and bool(((table != usual).sum(1) <= 1).all())
    settings = len(np.unique(table, axis=0))
    whole = one_at_a_time or settings == math.prod(len(np.unique(column)) for column in table.T)
    most = LEVELS if whole else min(max(math.isqrt(settings), 2), LEVELS)
    found = {}
    for j, name in enumerate(names):
        kept = (np.delete(table != usual, j, 1)).sum(1) == 0 if one_at_a_time else np.ones(len(table), bool)
        values, own = table[kept, j], scores[kept]
        levels = np.unique(values)
        if len(levels) > most:
            levels = np.unique(np.quantile(values, np.arange(most) / most, method="lower"))
        group = np.searchsorted(levels, values, side="right") - 1
        counts = np.bincount(group, minlength=len(levels))
        means = np.bincount(group, own, minlength=len(levels)) / counts
        total = float(((own - own.mean()) ** 2).sum())
        between = float((counts * (means - own.mean()) ** 2).sum())
        if not whole and settings > len(levels):
            between -= (len(levels) - 1) / (settings - len(levels)) * (total - between)
        found[name] = {
            "share": round(max(between, 0.0) / total, 4) if total > 0 else 0.0,
            "range": round(float(means.max() - means.min()), 5),
            "best": float(np.median(values[group == means.argmax()])),
        }
    groups: dict[tuple, list[float]] = {}
    for row, line, score in zip(table.tolist(), lines, scores):
        groups.setdefault((*row, line["bits"], line["method"]), []).append(float(score))
    spreads = [float(np.std(group, ddof=1)) for group in groups.values() if len(group) > 1]
    return {"names": found, "seeds": round(float(np.mean(spreads)), 5) if spreads else None}


def _number(line: Mapping[str, Any], name: str) -> float:
    value = tables.value(line, name)
    if isinstance(value, str | Sequence | Mapping):
        raise ValueError(f"names: {name} is no number in these lines, but {value!r}")
    return float(value or 0)


@checked
def best(lines: Lines, names: Sequence[str]) -> tuple[dict[str, Any], float]:
    """The setting of the highest mAP, mean over directions and seeds, and that mAP.

    Its values need not be those that are best by the mean over all others, which `importances` tells.

    Args:
        lines: result lines; of several kinds of database codes, the first counts.
        names: what was varied.
    Example:
        >>> import jaxcmh
        >>> options = {"bits": [8], "seeds": 2, "params": {"lam": [0.01, 1e6]}}
        >>> best(jaxcmh.study("dcgh", "synthetic", databases=["encoded"], **options).lines, ["lam"])[0]
        {'lam': 0.01}
    """
    lines = list(lines)
    groups: dict[tuple, list[float]] = {}
    for line in lines:
        if line["database"] == lines[0]["database"]:
            setting = tuple(tables.value(line, name) for name in names)
            groups.setdefault(setting, []).append(float(np.mean(list(line["map"].values()))))
    highest = max(groups, key=lambda setting: float(np.mean(groups[setting])))
    return dict(zip(names, highest)), float(np.mean(groups[highest]))
