"""SRLCH as printed: columns are samples, explicit inverses."""

import numpy as np


def ridge(T, X, weight):
    return T @ X.T @ np.linalg.inv(X @ X.T + weight * np.eye(len(X)))


def run(views, labels, start, params, iterations):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    X, L, B = [x.T for x in views], labels.T, start["B"].T
    mu, rho = (params.mu1, params.mu2), (params.rho1, params.rho2)
    for _ in range(iterations):
        P = [ridge(B, x, weight) for x, weight in zip(X, rho)]
        W = ridge(B, L, params.lam)
        B = np.where(W @ L + sum(m * p @ x for m, p, x in zip(mu, P, X)) >= 0, 1.0, -1.0)
    return B.T


def objective(views, labels, B, W, P, params):
    X, L = [x.T for x in views], labels.T
    total = np.sum((B - W @ L) ** 2) + params.lam * np.sum(W**2)
    for mu, rho, x, p in zip((params.mu1, params.mu2), (params.rho1, params.rho2), X, P):
        total += mu * (np.sum((B - p @ x) ** 2) + rho * np.sum(p**2))
    return total
