"""CMFH with columns as samples and explicit inverses."""

import numpy as np

from reference.factorisation import bases, hash_functions, pulls, shared, sign

objective = shared  # (views, V, U, W, p), over all samples


def run(views, labels, start, p, iterations):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    X, V, W = [x.T for x in views], start["V"].T, [W.T for W in start["W"]]
    for _ in range(iterations):
        A, pull = pulls(X, bases(X, V, p), W, p)
        V = np.linalg.inv(A) @ pull
        W = hash_functions(X, V, p)
    return sign(V - V.mean(1, keepdims=True)).T
