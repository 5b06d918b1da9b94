"""MTFH as printed, but for one full descent over the bits: columns are samples, similarity as an n x n matrix."""

import numpy as np


def ridge(T, X, weight):
    return T @ X.T @ np.linalg.inv(X @ X.T + weight * np.eye(len(X)))


def descended(B, Q, H):
    """Codes that make tr(Bᵀ H B) - 2 tr(Bᵀ Q) small, one bit after the other."""
    B = B.copy()
    for _ in range(10):
        for k in range(len(B)):
            others = np.arange(len(B)) != k
            B[k] = np.where(Q[k] - H[k, others] @ B[others] >= 0, 1.0, -1.0)
    return B


def run(views, labels, start, params, iterations, unit=False):
    """Codes (2, n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    L = labels.T / np.linalg.norm(labels.T, axis=0) if unit else labels.T
    S, a, b, beta = L.T @ L, params.alpha, 1 - params.alpha, params.beta
    U, U_, V, V_ = (start[name].T for name in ("U", "U_hat", "V", "V_hat"))
    r = len(U)
    for _ in range(iterations):
        H1, H2 = ridge(U_, V, 0.1), ridge(V_, U, 0.1).T
        U = descended(U, a / r * U_ @ S.T + beta * H2 @ V_, a / r**2 * U_ @ U_.T + beta * H2 @ H2.T)
        U_ = descended(U_, a / r * U @ S + beta * H1 @ V, a / r**2 * U @ U.T)
        V = descended(V, b / r * V_ @ S + beta * H1.T @ U_, b / r**2 * V_ @ V_.T + beta * H1.T @ H1)
        V_ = descended(V_, b / r * V @ S.T + beta * H2.T @ U, b / r**2 * V @ V.T)
    return np.stack([U.T, V.T])


def objective(labels, U, U_, V, V_, H1, H2, params):
    S, r, a, beta = labels @ labels.T, len(U), params.alpha, params.beta
    total = a * np.sum((S - U.T @ U_ / r) ** 2) + (1 - a) * np.sum((S - V_.T @ V / r) ** 2)
    total += beta * (np.sum((U_ - H1 @ V) ** 2) + np.sum((V_ - H2.T @ U) ** 2))
    return total + 0.1 * beta * (np.sum(H1**2) + np.sum(H2**2))
