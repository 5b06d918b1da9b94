"""What each block update of each method solves: which fields it sets, and what being optimal means for them.

Kinds:
    real         the gradient in the field is 0
    orthonormal  the gradient is 0 along the matrices with orthonormal short side
    balanced     the same for columns that sum to 0 and have squared length n
    real in turn one view after the other, each given the last values of the rest: 0 in the last view
    binary       no single flip of a sign lowers the objective
An update that is absent here is no block minimiser (a multiplier step, a weight with a closed form of its own ...),
and its method says so beside the entry.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxcmh.core import Method
from jaxcmh.methods import aah, registry, variants


class Case(NamedTuple):
    blocks: dict[str, tuple[str, str]]  # name of the update -> (field of the state, kind)
    objective: Callable | None = None  # what the updates minimise, where it is not the objective itself
    monotone: bool = True  # every listed update lowers the objective
    local: bool = True  # over sharded rows a step reduces small matrices only


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

# Absent: update_C takes a step along the multipliers and raises the penalty.
_aah = Case(
    {
        "update_Q": ("Q", "real"),
        "update_U": ("U", "real in turn"),
        "update_P": ("P", "orthonormal"),
        "update_B": ("B", "real"),
    },
    objective=aah.lagrangian,
)

cases: dict[str, Case] = {
    "dcgh": _dcgh,
    "dcgh-d": _dcgh,
    "dcgh-r": _dcgh,
    "aah": _aah,
    "aah-knn": _aah._replace(local=False),
    "aah-nl": _aah,
    "aah-ng": _aah,
    "aah-na": _aah,
}
methods: dict[str, Method] = {
    **registry,
    **{f"{name}-{variant}": method for name in variants for variant, method in variants[name].items()},
}
