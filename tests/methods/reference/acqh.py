"""ACQH as printed: columns are samples, one of them at a time, n x n similarity, one-hot words, pseudo-inverses."""

import numpy as np


def run(views, labels, start, params, iterations):
    """Word numbers (n, books) after `iterations` from the state `start` (a dict of arrays, A and t by label set)."""
    X, L = [x.T for x in views], labels.T
    S = L.T @ L
    _, member = np.unique(labels, axis=0, return_inverse=True)
    M, t = start["M"], start["t"][member]
    books, words, K = start["C"].shape
    C = start["C"].reshape(books * words, K).T
    chosen = start["A"].astype(int)[member]
    n, e = L.shape[1], np.ones((K, 1))
    for _ in range(iterations):
        A = np.zeros((books * words, n))
        for b in range(books):
            A[b * words + chosen[:, b], np.arange(n)] = 1
        Z = C @ A
        ZZ = np.linalg.pinv(Z @ Z.T, rcond=1e-12, hermitian=True)
        W = [np.linalg.inv(x @ x.T) @ x @ S @ Z.T @ ZZ for x in X]
        M = np.linalg.inv(L @ L.T + params.mu / params.lam * np.eye(len(L))) @ L @ (Z - e @ t[None]).T
        t = ((Z - M.T @ L).T @ e)[:, 0] / K
        P = M.T @ L + e @ t[None]
        G = sum(w.T @ x @ x.T @ w for w, x in zip(W, X)) + params.lam * np.eye(K)
        H = sum(w.T @ x @ S for w, x in zip(W, X)) + params.lam * P
        C = np.linalg.inv(G) @ H @ A.T @ np.linalg.pinv(A @ A.T, rcond=1e-12, hermitian=True)
        C[:, A.sum(1) == 0] = 0
        for i in range(n):
            z = np.zeros(K)
            for b in range(books):
                c = C[:, b * words : (b + 1) * words]
                chosen[i, b] = np.argmin(np.diag(c.T @ G @ c) - 2 * c.T @ (H[:, i] - G @ z))
                z = z + c[:, chosen[i, b]]
    return chosen
