"""One iteration of AAH and of ACQH against NumPy that computes their printed formulas as they stand.

    python experiments/bench_direct.py            10,000 pairs of the N shape (500-d, 1,000-d, 10 labels), 64 bits

The direct versions hold the n x n similarity and evaluate each formula from left to right, as the papers' complexity
analyses count them: X S for every update that has it (AAH eqs. 21-28, ACQH eqs. 8, 9 and 13), and for ACQH's words the
n x n residuals of eqs. 15-17.  "reordered" is the same with every chain of products in its cheapest order and the
factors of XXᵀ kept, which is the least that an n x n implementation must do.  All of NumPy's numbers are float32, half
the work of the float64 in which such code is usually run.  Lines go to experiments/results/bench_direct.jsonl.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two BLAS threads on busy cores are slower than one

import jax
import numpy as np
from jax import random

import jaxcmh
from jaxcmh.learning import core, features
from jaxcmh.results import environment

RESULTS = Path(__file__).parent / "results" / "bench_direct.jsonl"


def polar(M: np.ndarray) -> np.ndarray:
    left, _, right = np.linalg.svd(M, full_matrices=False)
    return left @ right


def direct_aah(views: list[np.ndarray], labels: np.ndarray, bits: int, reordered: bool) -> Callable[[], object]:
    """One pass through eqs. 17-33; columns are samples."""
    X, Y = (x.T for x in views)
    rng, n = np.random.default_rng(0), len(labels)
    S = np.minimum(labels @ labels.T, 1)
    D = S.sum(1)
    U, V, B, C1, C2 = (rng.standard_normal((bits, n), np.float32) for _ in range(5))
    P1, P2 = (polar(rng.standard_normal((len(Z), bits), np.float32)) for Z in (X, Y))
    theta, alpha, beta, mu = 1.0, 10.0, 10.0, 0.1
    kept = [np.linalg.inv(Z @ Z.T) for Z in (X, Y)] if reordered else []

    def iteration() -> object:
        XX, YY = kept or [np.linalg.inv(Z @ Z.T) for Z in (X, Y)]
        if reordered:
            Q, A = XX @ (X @ (U - C1 / mu).T), YY @ (Y @ (V - C2 / mu).T)
        else:
            Q, A = XX @ X @ (U - C1 / mu).T, YY @ Y @ (V - C2 / mu).T
        E = 2 * P1.T @ X @ S + mu * (Q.T @ X + C1 / mu) + 2 * alpha * V @ S + (2 * beta - 0.5) * V + B
        new_U = E / (2 * (1 + alpha) * D + 2 * beta + 0.5 + mu)
        J = 2 * theta * P2.T @ Y @ S + mu * (A.T @ Y + C2 / mu) + 2 * alpha * new_U @ S + (2 * beta - 0.5) * new_U + B
        new_V = J / (2 * (theta + alpha) * D + 2 * beta + 0.5 + mu)
        if reordered:
            bases = polar(X @ (S @ new_U.T)), polar(Y @ (S @ new_V.T))
        else:
            bases = polar(X @ S @ new_U.T), polar(Y @ S @ new_V.T)
        return bases, (new_U + new_V) / 2, C1 + mu * (Q.T @ X - new_U), C2 + mu * (A.T @ Y - new_V)

    return iteration


def direct_acqh(views: list[np.ndarray], labels: np.ndarray, bits: int, reordered: bool) -> Callable[[], object]:
    """One pass through eqs. 8-18, with 4 books of 256 words; columns are samples."""
    X, L = [x.T for x in views], labels.T
    rng, n, books, words = np.random.default_rng(0), len(labels), 4, 256
    S = L.T @ L
    C = rng.standard_normal((bits, books * words), np.float32)
    chosen = rng.integers(words, size=(n, books)) + words * np.arange(books)
    A = np.zeros((books * words, n), np.float32)
    A[chosen.T, np.arange(n)] = 1
    t, e, lam, mu = np.zeros((n, 1), np.float32), np.ones((bits, 1), np.float32), 1e-4, 1e-3
    kept = [np.linalg.inv(x @ x.T) for x in X] if reordered else []

    def iteration() -> object:
        Z = C @ A
        inverses = kept or [np.linalg.inv(x @ x.T) for x in X]
        if reordered:
            W = [XX @ (x @ (S @ Z.T)) @ np.linalg.pinv(Z @ Z.T) for XX, x in zip(inverses, X)]
        else:
            W = [XX @ x @ S @ Z.T @ np.linalg.pinv(Z @ Z.T) for XX, x in zip(inverses, X)]
        M = np.linalg.inv(L @ L.T + mu / lam * np.eye(len(L), dtype=np.float32)) @ L @ (Z - e @ t.T).T
        P = M.T @ L + e @ ((Z - M.T @ L).T @ e / bits).T
        scores = [w.T @ x for w, x in zip(W, X)]
        G = sum(s @ s.T for s in scores) + np.float32(lam) * np.eye(bits, dtype=np.float32)
        H = lam * P + sum(s @ S if reordered else w.T @ x @ S for s, w, x in zip(scores, W, X))
        new_C = np.linalg.solve(G, H) @ A.T @ np.linalg.pinv(A @ A.T)
        residuals, rest, z, found = [S.copy() for _ in X], P, np.zeros_like(P), []
        for c in np.split(new_C, books, axis=1):
            if reordered:
                cost = np.diag(c.T @ G @ c)[:, None] - 2 * c.T @ (H - G @ z)
            else:
                C_v = [s.T @ c for s in scores]
                squares = sum(C_x.T @ C_x for C_x in C_v) + lam * c.T @ c
                products = sum(C_x.T @ R for C_x, R in zip(C_v, residuals)) + lam * c.T @ rest
                cost = np.diag(squares)[:, None] - 2 * products
            word = cost.argmin(0)
            found.append(word)
            if reordered:
                z = z + c[:, word]
            else:
                rest = rest - c[:, word]
                for R, C_x in zip(residuals, C_v):
                    R -= C_x[:, word]
        return found

    return iteration


def best(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return min(times)


def measure(method_name: str, direct: Callable, n: int, bits: int, repeats: int) -> dict:
    """Seconds of an iteration: ours, the printed formulas, and those reordered."""
    part = jaxcmh.load_dataset("synthetic:N", train=n).train
    method = jaxcmh.methods.registry[method_name]
    mapped = [features.fit(method.features, random.key(0), x)[1] for x in part.views]
    data = core.ready(method, core.prepare(mapped, part.labels, across=method.across), bits)
    params = jax.tree.map(np.float32, method.params)
    state = jax.jit(method.init, static_argnums=3)(random.key(0), data, params, bits)
    step = jax.jit(core.step, static_argnums=0)

    def ours() -> object:
        return step(core.bare(method), state, data, params)

    views, labels = [np.asarray(x) for x in mapped], part.labels.astype(np.float32)
    best(ours, 1)
    line = {"method": method_name, "n": n, "bits": bits, "ours": best(ours, 3 * repeats)}
    for name, reordered in (("reordered", True), ("printed", False)):
        line[name] = best(direct(views, labels, bits, reordered), repeats)
    return line | {"ratio": line["printed"] / line["ours"], "ratio_reordered": line["reordered"] / line["ours"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    lines = [
        measure(name, direct, arguments.pairs, arguments.bits, arguments.repeats)
        for name, direct in (("aah", direct_aah), ("acqh", direct_acqh))
    ]
    columns = ("method", "n", "ours", "printed", "reordered", "ratio", "ratio_reordered")
    print("  ".join(f"{name:>15}" for name in columns))
    for line in lines:
        cells = [f"{line[name]:.4g}" if isinstance(line[name], float) else str(line[name]) for name in columns]
        print("  ".join(f"{cell:>15}" for cell in cells))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps({**line, "environment": environment()}) + "\n" for line in lines))


if __name__ == "__main__":
    main()
