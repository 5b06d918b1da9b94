"""What each block update of each method solves: which fields it sets, and what being optimal means for them.

Kinds:
    real         the gradient in the field is 0
    orthonormal  the gradient is 0 along the matrices with orthonormal short side
    balanced     the same for columns that sum to 0 and have squared length n
    binary       no single flip of a sign lowers the objective
An update that is absent here is no block minimiser (a multiplier step, a weight with a closed form of its own ...),
and its method says so beside the entry.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxcmh.core import Method
from jaxcmh.methods import registry, variants


class Case(NamedTuple):
    blocks: dict[str, tuple[str, str]]  # name of the update -> (field of the state, kind)
    objective: Callable | None = None  # what the updates minimise, where it is not the objective itself
    monotone: bool = True  # every listed update lowers the objective


_dcgh = Case(
    {
        "update_B": ("B", "balanced"),
        "update_H": ("H", "binary"),
        "update_W": ("W", "orthonormal"),
        "update_U": ("U", "orthonormal"),
        "update_F": ("F", "orthonormal"),
        "update_E": ("E", "orthonormal"),
    }
)

cases: dict[str, Case] = {"dcgh": _dcgh, "dcgh-d": _dcgh, "dcgh-r": _dcgh}
methods: dict[str, Method] = {
    **registry,
    **{f"{name}-{variant}": method for name in variants for variant, method in variants[name].items()},
}
