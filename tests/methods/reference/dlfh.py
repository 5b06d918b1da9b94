"""DLFH as printed: columns are samples, similarity as an n x n matrix, one bit of one sample after the other."""

import numpy as np

from jaxcmh.methods.dlfh import STEP, drawn, next_key


def softplus(x):
    return np.logaddexp(0, x)


def rounded(x):
    """As the method rounds, in units of a."""
    return np.round(x / STEP) * STEP


def bit(u, k, s, V, a, exact):
    """What bit k of the code u (r,) becomes, against codes V (r, m) of which s (m,) says whether they are similar."""
    v, Theta = V[k], a * u @ V
    if exact:
        without = Theta - a * u[k] * v
        gain = 2 * s - rounded((softplus(without + a) - softplus(without - a)) / a)
        return 1.0 if gain @ v >= 0 else -1.0
    gain = s - rounded(1 / (1 + np.exp(-Theta)))
    return 1.0 if gain @ v + len(v) * a / 4 * u[k] >= 0 else -1.0


def run(views, labels, start, params, iterations, exact=False):
    """Codes (2, n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    codes, key, count = [U.T.copy() for U in start["U"]], start["key"], len(start["columns"])
    S = (labels @ labels.T >= 1).astype(float)
    r, n = codes[0].shape
    for _ in range(iterations):
        for U, other in (codes, codes[::-1]):
            J = np.asarray(drawn(key, count, n))
            key = next_key(key)
            for i in range(n):
                for k in range(r):
                    U[k, i] = bit(U[:, i], k, S[i, J], other[:, J], params.lam / r, exact)
    return np.stack([U.T for U in codes])


def objective(labels, U, V, a):
    """The negative likelihood over all pairs."""
    S, Theta = (labels @ labels.T >= 1).astype(float), a * U.T @ V
    return np.sum(softplus(Theta) - S * Theta)
