"""Hash functions: from mapped features to the real vectors whose signs are codes."""

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


@jax.jit
def nearest_words(z: Array, codebooks: Array) -> Array:
    """Compositional codes of real vectors: book by book, the word nearest to what the earlier books left over.

    Args:
        z: (n, K) vectors.
        codebooks: (books, words, K).

    Returns:
        (n, books) uint8 word indices.
    """

    def choose(rest: Array, words: Array) -> tuple[Array, Array]:
        chosen = jnp.argmin((words * words).sum(1) - 2 * rest @ words.T, axis=1)
        return rest - words[chosen], chosen.astype(jnp.uint8)

    return lax.scan(choose, z, codebooks)[1].T
