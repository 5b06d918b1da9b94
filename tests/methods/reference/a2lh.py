"""A2LH as printed: columns are samples, similarity as an n x n matrix, the common space whole, explicit inverses."""

import numpy as np


def polar(M):
    left, _, right = np.linalg.svd(M, full_matrices=False)
    return left @ right


def run(views, labels, start, params, iterations):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    X = [x.T for x in views]
    L = labels.T / np.linalg.norm(labels.T, axis=0)
    n, inv = L.shape[1], np.linalg.inv
    S = 2 * L.T @ L - np.ones((n, n))
    B, C, V = start["B"].T, start["C"].T, list(start["V"])
    U = start["U"].T
    k, q = B.shape[0], U.shape[0]
    zeta, alpha, beta, eta = params.zeta, params.alpha, params.beta, params.eta
    for _ in range(iterations):
        delta = np.array([np.linalg.norm(x - v @ U) ** 2 for x, v in zip(X, V)])
        mu = delta ** (1 / (1 - zeta)) / (delta ** (1 / (1 - zeta))).sum()
        CU = C @ U
        R = inv(CU @ CU.T + (beta + eta) * np.eye(k)) @ (k * CU @ S @ L.T + beta * B @ L.T) @ inv(L @ L.T)
        RL = R @ L
        C = inv(RL @ RL.T + alpha * np.eye(k)) @ (k * RL @ S @ U.T + alpha * B @ U.T) @ inv(U @ U.T)
        B = np.where(alpha * C @ U + beta * RL >= 0, 1.0, -1.0)
        left = C.T @ RL @ RL.T @ C + alpha * C.T @ C + ((mu**zeta).sum() + eta) * np.eye(q)
        right = k * C.T @ RL @ S + alpha * C.T @ B + sum(m**zeta * v.T @ x for m, v, x in zip(mu, V, X))
        U = inv(left) @ right
        V = [polar(x @ U.T) for x in X]
    return B.T
