"""Hash functions: from mapped features to the real vectors whose signs are codes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxcmh.core import Data
from jaxcmh.linalg import cross, solve


def ridge(codes: Array, data: Data, weight: float | Array) -> tuple[Array, ...]:
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


class Unlabelled(NamedTuple):
    """How a look-up method finds words for items without labels: see `nearest_words`."""

    V: tuple[Array, ...]  # (q_m, K) one a view
    offset: tuple[Array, ...]  # (K,) h = φ V + offset
    G: Array  # (K, K)


@jax.jit
def nearest_words(h: Array, codebooks: Array, G: Array) -> Array:
    """Compositional codes: book by book, the words whose sum z makes z G zᵀ - 2 h zᵀ small.

    With G the identity that is the word nearest to what the earlier books left over of h.

    Args:
        h: (n, K) vectors.
        codebooks: (books, words, K).
        G: (K, K) symmetric.

    Returns:
        (n, books) uint8 word indices.
    """

    def choose(rest: Array, words: Array) -> tuple[Array, Array]:
        value = (words @ G * words).sum(1) - 2 * rest @ words.T
        # float32 gaps keep the minimum exactly, also of float64 values where float64 is not switched on globally.
        chosen = lax.argmin((value - value.min(1, keepdims=True)).astype(jnp.float32), 1, jnp.int32)
        return rest - words[chosen] @ G, chosen.astype(jnp.uint8)

    return lax.scan(choose, h, codebooks)[1].T
