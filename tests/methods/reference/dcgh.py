"""DCGH as printed: columns are samples, similarity as an n x n matrix, singular value decompositions throughout."""

import numpy as np


def polar(M):
    left, _, right = np.linalg.svd(M, full_matrices=False)
    return left @ right


def run(views, labels, start, params, iterations):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples).

    H and E of the state have one row per label set: samples with equal labels have equal rows in E, of length 1 in all.
    """
    _, member, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    X = [x.T for x in views]
    Y = labels.T / np.linalg.norm(labels.T, axis=0)
    S = Y.T @ Y
    H, W, F = start["H"][member].T, [w.T for w in start["W"]], [f.T for f in start["F"]]
    U, E = start["U"].T, (start["E"] / np.sqrt(counts)[:, None])[member].T
    r, n = H.shape
    centring = np.eye(n) - np.ones((n, n)) / n
    for _ in range(iterations):
        J = [W[v] @ X[v] + params.alpha * U @ F[v] + params.beta * r * H @ S for v in range(len(X))]
        B = [np.sqrt(n) * polar(J_v @ centring) for J_v in J]
        H = np.where(sum(params.alpha * U @ E / len(B) + params.beta * r * B_v @ S for B_v in B) >= 0, 1.0, -1.0)
        W = [polar(B_v @ x.T) for B_v, x in zip(B, X)]
        U = polar(sum(B_v @ F_v.T for B_v, F_v in zip(B, F)) + H @ E.T)
        F = [polar(U.T @ B_v) for B_v in B]
        E = polar(U.T @ H)
    return H.T
