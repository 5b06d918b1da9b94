"""Ridge regression of given codes by normal equations."""

import numpy as np


def objective(views, B, W, params):
    return sum(np.linalg.norm(X @ W_m - B) ** 2 + params.lam * np.linalg.norm(W_m) ** 2 for X, W_m in zip(views, W))


def hash_functions(views, B, params):
    return [np.linalg.solve(X.T @ X + params.lam * np.eye(X.shape[1]), X.T @ B) for X in views]


def run(views, labels, start, params, iterations):
    """The codes (n, r) of the state `start`: nothing learns them.  They have one row per label set."""
    _, first, member = np.unique(labels, axis=0, return_index=True, return_inverse=True)
    return start["B"][first][member]
