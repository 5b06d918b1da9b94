"""The bits of one row's code compiled by numba (extra `fast`), for `one_row`, which does the same without it."""

import numpy as np
from numba import njit


def packed(W: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """The packed code of a row of mapped features.

    Args:
        W: (r, q) float32, r a multiple of 8.
        phi: (q,) float32.

    Returns:
        (1, r / 8) uint8.

    Example:
        >>> packed(np.ones((8, 2), np.float32), np.ones(2, np.float32)).tolist()
        [[255]]
    """
    code = np.empty((1, len(W) // 8), np.uint8)
    _packed(W, phi, code)
    return code


@njit(cache=True, fastmath={"reassoc", "contract"})  # sums in the order that is fastest, as `dot` has them too
def _packed(W, phi, code):
    for byte in range(code.shape[1]):
        bits = 0
        for bit in range(8):
            row, total = W[8 * byte + bit], np.float32(0)
            for j in range(len(phi)):
                total += row[j] * phi[j]
            bits |= (total >= 0) << bit
        code[0, byte] = bits
