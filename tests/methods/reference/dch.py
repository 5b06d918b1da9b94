"""DCH as printed: columns are samples, explicit inverses, one bit after the other."""

import numpy as np


def ridge(T, X, weight):
    return T @ X.T @ np.linalg.inv(X @ X.T + weight * np.eye(len(X)))


def run(views, labels, start, params, iterations, relaxed=False):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    X, L, B = [x.T for x in views], labels.T, start["B"].T.copy()
    for _ in range(iterations):
        G = ridge(L, B, params.lam)
        W = [ridge(B, x, params.omega) for x in X]
        if relaxed:
            B = np.where(np.linalg.inv(G.T @ G + params.omega * np.eye(len(B))) @ G.T @ L >= 0, 1.0, -1.0)
            continue
        Q = G.T @ L + params.mu * sum(w @ x for w, x in zip(W, X))
        for _ in range(10):
            for k in range(len(B)):
                others = np.arange(len(B)) != k
                B[k] = np.where(Q[k] - G[:, k] @ G[:, others] @ B[others] >= 0, 1.0, -1.0)
    return B.T


def objective(views, labels, B, G, W, params):
    total = np.sum((labels.T - G @ B) ** 2) + params.lam * np.sum(G**2)
    for x, w in zip(views, W):
        total += params.mu * (np.sum((B - w @ x.T) ** 2) + params.omega * np.sum(w**2))
    return total
