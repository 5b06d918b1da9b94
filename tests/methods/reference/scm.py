"""SCM-seq for two views with columns as samples, roots of inverses and the similarity as an n x n matrix."""

import numpy as np


def inverse_root(A):
    values, vectors = np.linalg.eigh(A)
    return vectors / np.sqrt(values) @ vectors.T


def similarity(labels):
    Y = labels / np.linalg.norm(labels, axis=1, keepdims=True)
    return 2 * Y @ Y.T - 1


def objective(labels, B):
    """Over all pairs of samples, for codes (n, r) of two views."""
    return np.linalg.norm(B[0] @ B[1].T - B[0].shape[1] * similarity(labels)) ** 2


def run(views, labels, start, params, iterations):
    """Codes (2, n, r), each bit with the sign that makes the largest entry of the first view's direction positive."""
    X, r = [x.T for x in views], start["B"][0].shape[1]
    K = [inverse_root(x @ x.T + params.epsilon * np.trace(x @ x.T) / len(x) * np.eye(len(x))) for x in X]
    rest, codes = r * similarity(labels), []
    for _ in range(r):
        left, _, right = np.linalg.svd(K[0] @ X[0] @ rest @ X[1].T @ K[1])
        w = [K[0] @ left[:, 0], K[1] @ right[0]]
        flip = np.sign(w[0][np.abs(w[0]).argmax()])
        b = [np.where(flip * w_m @ x >= 0, 1.0, -1.0) for w_m, x in zip(w, X)]
        rest = rest - np.outer(*b)
        codes.append(b)
    return np.stack([np.stack(bits, axis=1) for bits in zip(*codes)])
