"""LCMFH with columns as samples and explicit inverses."""

import numpy as np

from reference.factorisation import bases, hash_functions, pulls, shared, sign


def objective(views, labels, Z, U, W, p):
    """Over all samples, the rows of views and labels."""
    return shared(views, labels / np.linalg.norm(labels, axis=1, keepdims=True) @ Z, U, W, p)


def run(views, labels, start, p, iterations):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    X, Y = [x.T for x in views], labels.T / np.linalg.norm(labels.T, axis=0)
    Z, W = start["Z"].T, [W.T for W in start["W"]]
    for _ in range(iterations):
        A, pull = pulls(X, bases(X, Z @ Y, p), W, p)
        Z = np.linalg.inv(A) @ (pull @ Y.T) @ np.linalg.inv(Y @ Y.T)
        W = hash_functions(X, Z @ Y, p)
    V = Z @ Y
    return sign(V - V.mean(1, keepdims=True)).T
