"""Hash functions: from mapped features to the real vectors whose signs are codes."""

from jax import Array

from jaxcmh.core import Data
from jaxcmh.linalg import cross, solve


def ridge(codes: Array, data: Data, weight: Array) -> tuple[Array, ...]:
    """Linear hash functions W_m = (Φ_mᵀΦ_m + weight I)⁻¹ Φ_mᵀ B, one a view, from float64 Gram matrices.

    Args:
        codes: (n, r) targets B.
        data: training set with mapped features Φ_m and their Gram matrices.
        weight: ridge weight.

    Returns:
        One (q_m, r) array per view, in the dtype of the codes.
    """
    return tuple(
        solve(gram, cross(phi, codes), weight).astype(codes.dtype) for phi, gram in zip(data.views, data.grams)
    )
