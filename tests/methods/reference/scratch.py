"""SCRATCH with columns as samples and explicit inverses."""

import numpy as np

from reference.factorisation import bases, hash_functions, inverse, pulls, shared, sign, square


def objective(views, labels, B, V, U, G, W, R, p):
    """Over all samples, the rows of views, labels, B and V."""
    return shared(views, V, U, W, p) + square(B - V @ R) + p.alpha * square(labels - V @ G) + p.gamma * square(G)


def run(views, labels, start, p, iterations):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    X, L = [x.T for x in views], labels.T
    V, R = start["V"].T, start["R"].T
    for _ in range(iterations):
        B = sign(R @ V)
        U, G = bases(X, V, p), p.alpha * L @ V.T @ inverse(p.alpha * V @ V.T, p.gamma)
        W = hash_functions(X, V, p)
        A, pull = pulls(X, U, W, p)
        V = np.linalg.inv(A + np.eye(len(V)) + p.alpha * G.T @ G) @ (pull + p.alpha * G.T @ L + R.T @ B)
        left, _, right = np.linalg.svd(B @ V.T)
        R = left @ right
    return sign(R @ V).T
