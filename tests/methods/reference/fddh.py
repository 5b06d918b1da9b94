"""FDDH as printed, but for the 1 that its D step leaves out: columns are samples, singular value decompositions."""

import numpy as np


def polar(M):
    left, _, right = np.linalg.svd(M, full_matrices=False)
    return left @ right


def completed(M, R):
    """The polar factor of M; in directions that M leaves open, the nearest to R."""
    left, values, right = np.linalg.svd(M, full_matrices=False)
    keep = values > 1e-9 * values[0]
    left, right = left[:, keep], right[keep]
    rest = R - left @ (left.T @ R)
    rest = rest - rest @ right.T @ right
    U, _, V = np.linalg.svd(rest, full_matrices=False)
    open_ = min(M.shape) - keep.sum()
    return left @ right + U[:, :open_] @ V[:open_]


def run(views, labels, start, params, iterations):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    X, L, D, B, C = [x.T for x in views], labels.T, start["D"].T, start["B"].T, start["C"].T
    R, theta = list(start["R"]), (params.theta1, params.theta2)
    s, (r, c) = 1 + sum(theta), C.shape
    for _ in range(iterations):
        M = (B + sum(t * Rm.T @ x for t, Rm, x in zip(theta, R, X))) @ D.T
        if r >= c:
            C = polar(M)
        else:
            top = np.linalg.eigvalsh(D @ D.T)[-1]
            for _ in range(5):
                C = polar(M + s * C @ (top * np.eye(c) - D @ D.T))
        R = [completed(x @ D.T @ C.T, Rm) for x, Rm in zip(X, R)]
        B = np.where(C @ D >= 0, 1.0, -1.0)
        right = C.T @ (B + sum(t * Rm.T @ x for t, Rm, x in zip(theta, R, X)))
        D = D - (s * C.T @ C @ D + params.gamma * D - right) / (s + params.gamma)
        D = np.where(L > 0, np.maximum(D, 1), np.minimum(D, 0))
    return B.T


def objective(views, B, D, C, R, params):
    total = np.sum((B - C @ D) ** 2) + params.gamma * np.sum(D**2)
    return total + sum(
        t * np.sum((x.T - Rm @ C @ D) ** 2) for t, x, Rm in zip((params.theta1, params.theta2), views, R)
    )
