"""Which points of ranges of hyper-parameters to try, where a grid of them would be too many."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np

from jaxcmh import checks
from jaxcmh.checks import Copies, Seed, checked, filled

__all__ = ["Design", "drawn"]

Design = Literal["random", "sobol", "halton", "latin"]


@checked
def drawn(
    defaults: Any,
    ranges: Annotated[Mapping[str, tuple[float, float]], filled],
    count: Copies,
    design: Design = "sobol",
    seed: Seed = 0,
) -> dict[str, list[float]]:
    """Points of ranges of hyper-parameters, even in logarithm where both the parameter and the range are of one sign.

    Args:
        defaults: the method's Params, whose annotations say what values each can have.
        ranges: hyper-parameter -> (low, high); a range from 0, or of a parameter that may be below 0, is even in
            itself.
        count: how many points.
        design: "random": independent draws; or points that fill the ranges more evenly, see `scipy.stats.qmc`: "sobol"
            (best with a power of 2), "halton", "latin" (a Latin hypercube). More points of another design than "latin"
            begin with the same ones.
        seed: of the draws, or of the scrambling.
    Returns:
        Hyper-parameter -> `count` values.
    Raises:
        ValueError: no such hyper-parameter, a value that it cannot have, or low above high.
    Example:
        >>> from jaxcmh.methods import registry
        >>> [round(value, 2) for value in drawn(registry["dcgh"].params, {"alpha": (0.01, 100)}, 4)["alpha"]]
        [0.44, 10.34, 1.74, 0.04]
    """
    if not hasattr(defaults, "_fields"):
        raise ValueError(f"defaults: expected a method's Params; got {checks.got(defaults)}")
    columns, domains = {}, checks.domains(type(defaults))
    for (name, (low, high)), unit in zip(ranges.items(), _unit(design, count, len(ranges), seed).T):
        for end in (low, high):
            checks.params({name: end}, defaults)
        if low > high:
            raise ValueError(f"ranges: expected low <= high of {name}; got {low:g} and {high:g}")
        if low > 0 and _positive(domains[name]):
            values = np.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        else:
            values = low + unit * (high - low)
        columns[name] = np.clip(values, low, high).tolist()
    return columns


def _positive(domain: Any) -> bool:
    """Whether an annotation lets no number below 0 pass."""
    try:
        (checks.check_of(domain) or checks.Number())(-1.0, "")
    except ValueError:
        return True
    return False


def _unit(design: Design, count: int, columns: int, seed: int) -> np.ndarray:
    """(count, columns) numbers from 0 to 1."""
    if design == "random":
        return np.random.default_rng(seed).random((count, columns))
    from scipy.stats import qmc

    if design == "sobol":  # the next power of 2, which it is made for, and of these the first ones
        return qmc.Sobol(columns, rng=seed).random_base2(math.ceil(math.log2(count)))[:count]
    kind = {"halton": qmc.Halton, "latin": qmc.LatinHypercube}[design]
    return kind(columns, rng=seed).random(count)
