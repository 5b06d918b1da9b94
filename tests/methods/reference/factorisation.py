"""SCRATCH, LCMFH and CMFH with columns as samples and explicit inverses, as the public code has them."""

import numpy as np


def inverse(A, ridge):
    return np.linalg.inv(A + ridge * np.eye(len(A)))


def sign(V):
    return np.where(V >= 0, 1.0, -1.0)


def square(*matrices):
    return sum(np.linalg.norm(M) ** 2 for M in matrices)


def shared(X, V, U, W, p):
    """The terms that all three have, over all samples; U is (r, q) and W (q, r), V (n, r)."""
    loss = p.gamma * square(V, *U, *W)
    for X_m, U_m, W_m in zip(X, U, W):
        loss += p.lam / len(X) * square(X_m - V @ U_m) + p.mu * square(V - X_m @ W_m)
    return loss


def bases(X, V, p):
    return [x @ V.T @ inverse(V @ V.T, p.gamma * len(X) / p.lam) for x in X]


def hash_functions(X, V, p):
    return [p.mu * V @ x.T @ inverse(p.mu * x @ x.T, p.gamma) for x in X]


def pulls(X, U, W, p):
    """The matrix before V and the right-hand side of its normal equations."""
    A = sum(p.lam / len(X) * U_m.T @ U_m for U_m in U) + (len(X) * p.mu + p.gamma) * np.eye(U[0].shape[1])
    return A, sum(p.lam / len(X) * U_m.T @ x + p.mu * W_m @ x for x, U_m, W_m in zip(X, U, W))
