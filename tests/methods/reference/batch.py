"""BATCH with columns as samples, similarity as an n x n matrix and singular value decompositions of whole rows."""

import numpy as np


def balanced(J):
    """V with V 1 = 0, V Vᵀ = nI and the largest tr(J Vᵀ), for J of full rank once centred."""
    left, _, right = np.linalg.svd(J - J.mean(1, keepdims=True), full_matrices=False)
    return np.sqrt(J.shape[1]) * left @ right


def objective(views, labels, B, V, U, U_0, params):
    """Over all samples and pairs; B, V are (n, r), and U (r, q) maps V to a view."""
    Y = labels / np.linalg.norm(labels, axis=1, keepdims=True)
    loss = np.linalg.norm(V @ B.T - B.shape[1] * Y @ Y.T) ** 2 + params.omega * np.linalg.norm(B - V) ** 2
    loss += params.eta * sum(np.linalg.norm(X - V @ U_m) ** 2 for X, U_m in zip(views, U))
    return loss + params.eta0 * np.linalg.norm(labels - V @ U_0) ** 2


def run(views, labels, start, params, iterations):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    X, L = [x.T for x in views], labels.T
    Y = L / np.linalg.norm(L, axis=0)
    S, V = Y.T @ Y, start["V"].T
    r = len(V)

    def codes(V):
        return np.where(r * V @ S + params.omega * V >= 0, 1.0, -1.0)

    for _ in range(iterations):
        B = codes(V)
        inverse = np.linalg.inv(V @ V.T)
        J = r * B @ S + params.omega * B + params.eta0 * (L @ V.T @ inverse).T @ L
        for x in X:
            J += params.eta * (x @ V.T @ inverse).T @ x
        V = balanced(J)
    return codes(V).T
