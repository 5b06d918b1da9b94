"""IMADS as printed: columns are samples, similarity as an n x n matrix, representations whole, explicit inverses."""

import numpy as np


def mapping(views, labels, start, params, iterations):
    """U (c, r) of stage one, after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    X1, X2 = (x.T for x in views)
    L, inv = labels.T, np.linalg.inv
    V1, V2 = (V.T for V in start["V"])
    (W1, W2), U, (Q,) = (w.T for w in start["W"]), start["U"].T, (q.T for q in start["Q"])
    I = np.eye(len(U))
    l1, l2, l3, l4, l5 = params[:5]
    for _ in range(iterations):
        U1 = l1 * X1 @ V1.T @ inv(l1 * V1 @ V1.T + l5 * I)
        U2 = l2 * X2 @ V2.T @ inv(l2 * V2 @ V2.T + l5 * I)
        V1 = inv(l1 * U1.T @ U1 + l3 * W1.T @ W1 + l4 * Q.T @ Q + l5 * I) @ (
            l1 * U1.T @ X1 + l3 * W1.T @ U @ L + l4 * Q.T @ V2
        )
        V2 = inv(l2 * U2.T @ U2 + l3 * W2.T @ W2 + (l4 + l5) * I) @ (l2 * U2.T @ X2 + l3 * W2.T @ U @ L + l4 * Q @ V1)
        W1 = l3 * U @ L @ V1.T @ inv(l3 * V1 @ V1.T + l5 * I)
        W2 = l3 * U @ L @ V2.T @ inv(l3 * V2 @ V2.T + l5 * I)
        U = l3 * (W1 @ V1 + W2 @ V2) @ L.T @ inv(2 * l3 * L @ L.T + l5 * np.eye(len(L)))
        Q = l4 * V2 @ V1.T @ inv(l4 * V1 @ V1.T + l5 * I)
    return U.T


def run(views, labels, start, params, iterations):
    """Codes (n, r) after `iterations` of stage two from the state `start` (a dict of arrays with rows as samples)."""
    X = [x.T for x in views]
    L = labels.T
    unit = L / np.linalg.norm(L, axis=0)
    S = 2 * unit.T @ unit - np.ones((L.shape[1], L.shape[1]))
    UL = start["U"].T @ L
    B, C, D, P = start["B"].T, start["C"].T, start["D"].T, [p.T for p in start["P"]]
    alpha, beta, mu, gamma, theta = params.alpha, params.beta, (params.mu1, params.mu2), params.gamma, params.theta
    for _ in range(iterations):
        fitted = sum(m * p @ x for m, p, x in zip(mu, P, X))
        pull = 2 * alpha * UL + 2 * beta * len(B) * UL @ S.T + 2 * fitted - beta * UL @ UL.T @ C + theta * C - D
        B = np.where(pull >= 0, 1.0, -1.0)
        C = np.where(-beta * UL @ UL.T @ B + theta * B + D >= 0, 1.0, -1.0)
        D = D + theta * (B - C)
        P = [m * B @ x.T @ np.linalg.inv(m * x @ x.T + gamma * np.eye(len(x))) for m, x in zip(mu, X)]
    return B.T
