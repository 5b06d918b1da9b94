"""FCMH with one group, columns as samples, similarity and class weights summed over samples and pairs."""

import numpy as np


def similarity(labels):
    Y = labels / np.linalg.norm(labels, axis=1, keepdims=True)
    return 2 * Y @ Y.T - 1


def class_weights(labels, params):
    N = labels / np.linalg.norm(labels, axis=0)
    return params.beta * N.T @ N


def objective(labels, B, V, R, E, params):
    """Over all samples, pairs, and pairs of classes; B, V are (n, r), and E (c, r)."""
    C = class_weights(labels, params)
    loss = np.linalg.norm(B - V @ R) ** 2 + params.gamma * np.linalg.norm(E) ** 2
    loss += params.alpha * np.linalg.norm(V @ B.T - len(R) * similarity(labels)) ** 2
    for v, l in zip(V, labels):
        for j in range(len(C)):
            for k in range(len(C)):
                gap = l[j] * v - E[k]
                loss += C[j, k] * (gap @ gap - l[j] * v @ v)
    return loss


def run(views, labels, start, params, iterations):
    """Codes (n, r) after `iterations` from the state `start` (a dict of arrays with rows as samples)."""
    S, L, C = similarity(labels), labels.T, class_weights(labels, params)
    V, R = start["V"].T, start["R"].T
    r, n = V.shape

    def codes():
        return np.where(R @ V + params.alpha * r * V @ S >= 0, 1.0, -1.0)

    for _ in range(iterations):
        B = codes()
        E = V @ L.T @ C / (n * C.sum(1) + params.gamma)
        J = R.T @ B + params.alpha * r * B @ S + E @ C @ L
        left, _, right = np.linalg.svd(J - J.mean(1, keepdims=True), full_matrices=False)
        V = np.sqrt(n) * left @ right
        left, _, right = np.linalg.svd(B @ V.T)
        R = left @ right
    return codes().T
