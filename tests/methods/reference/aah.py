"""AAH for two views as printed: columns are samples, similarity as an n x n matrix, explicit inverses."""

import numpy as np


def polar(M):
    left, _, right = np.linalg.svd(M, full_matrices=False)
    return left @ right


def run(views, labels, start, params, iterations):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    X, Y = (x.T for x in views)
    S = (labels @ labels.T >= 1).astype(float)
    D = S.sum(1)
    Q, A = start["Q"]
    U, V = (u.T for u in start["U"])
    P1, P2 = start["P"]
    C1, C2 = (c.T for c in start["C"])
    B, mu = start["B"].T, float(start["mu"])
    theta, alpha, beta = params.theta, params.alpha, params.beta
    XX, YY = (np.linalg.inv(x @ x.T + params.ridge * np.eye(len(x))) for x in (X, Y))
    for _ in range(iterations):
        Q = XX @ X @ (U - C1 / mu).T
        A = YY @ Y @ (V - C2 / mu).T
        E = 2 * P1.T @ X @ S + mu * (Q.T @ X + C1 / mu) + 2 * alpha * V @ S + (2 * beta - 0.5) * V + B
        U = E / (2 * (1 + alpha) * D + 2 * beta + 0.5 + mu)
        J = 2 * theta * P2.T @ Y @ S + mu * (A.T @ Y + C2 / mu) + 2 * alpha * U @ S + (2 * beta - 0.5) * U + B
        V = J / (2 * (theta + alpha) * D + 2 * beta + 0.5 + mu)
        P1, P2 = polar(X @ S @ U.T), polar(Y @ S @ V.T)
        B = (U + V) / 2
        C1 = C1 + mu * (Q.T @ X - U)
        C2 = C2 + mu * (A.T @ Y - V)
        mu = min(1.01 * mu, 1e8)
    return np.where(B >= 0, 1.0, -1.0).T
