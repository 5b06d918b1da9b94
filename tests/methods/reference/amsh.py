"""AMSH as printed: columns are samples, similarity as an n x n matrix, explicit inverses."""

import numpy as np


def balanced(Z):
    left, _, right = np.linalg.svd(Z - Z.mean(1, keepdims=True), full_matrices=False)
    return np.sqrt(Z.shape[1]) * left @ right


def similarity(labels):
    unit = labels.T / np.linalg.norm(labels.T, axis=0)
    return unit.T @ unit


def run(views, labels, start, params, iterations):
    """Codes (views, n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    L, S = labels.T, similarity(labels)
    V, B, E = ([x.T for x in start[name]] for name in ("V", "B", "E"))
    r, views = len(V[0]), range(len(V))
    for _ in range(iterations):
        T = [L + (2 * L - 1) * e for e in E]
        P = [t @ v.T @ np.linalg.inv(v @ v.T) for t, v in zip(T, V)]
        for m in views:
            others = sum(V[other] for other in views if other != m)
            Z = P[m].T @ T[m] + params.lam * r * B[m] @ S + params.eta * B[m] + params.beta * r * others @ S
            V[m] = balanced(Z)
        B = [np.where(params.lam * r * v @ S + params.eta * v >= 0, 1.0, -1.0) for v in V]
        E = [np.maximum((2 * L - 1) * (p @ v - L), 0) for p, v in zip(P, V)]
    return np.stack([b.T for b in B])


def objective(labels, V, B, E, P, params):
    """Lists of one matrix for each view."""
    L, S, r = labels.T, similarity(labels), len(V[0])
    total = 0
    for m, (v, b, e, p) in enumerate(zip(V, B, E, P)):
        total += np.sum((L + (2 * L - 1) * e - p @ v) ** 2) + params.lam * np.sum((r * S - b.T @ v) ** 2)
        total += params.eta * np.sum((b - v) ** 2)
        total += params.beta * sum(np.sum((r * S - v.T @ other) ** 2) for other in V[:m])
    return total


def hash_function(B, X, omega, rounds=15):
    """Stage two of one view."""
    M = np.zeros_like(B)
    for _ in range(rounds):
        F = (B + B * M) @ X.T @ np.linalg.inv(X @ X.T + omega * np.eye(len(X)))
        M = np.maximum(B * (F @ X) - 1, 0)
    return F
