"""What the groups of FCMH's paper change: mAP on Wiki with one group of samples, random groups, and groups of k-means.

    python experiments/fcmh_groups.py --root FOLDER     # with the files of Wiki; a few minutes
    python experiments/fcmh_groups.py --print           # the table, from the committed lines

The method of the package (`jaxcmh.methods.fcmh`) balances V over all samples at once; the paper balances it in each of
min(c, 25) groups. Here both forms are a short loop in NumPy, in float64. Lines go to
experiments/results/fcmh_groups.jsonl: learned database codes, stable ties.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import jaxcmh
from jaxcmh.results import environment
from jaxcmh.retrieval import metrics, topk

RESULTS = Path(__file__).parent / "results" / "fcmh_groups.jsonl"
SWEEPS, ITERATIONS = 100, 5
ALPHA1, ALPHA2, BETA1, BETA2, GAMMA, XI = 100.0, 10.0, 10.0, 10.0, 0.1, 1.0
GROUPINGS = ("one", "random", "k-means")


def k_means(views: list[np.ndarray], groups: int, rng: np.random.Generator) -> np.ndarray:
    """The group of each sample: sum_v sum_i |x_i - centre| is made small by weights 1 / 2|x_i - centre|."""
    group = rng.permutation(np.arange(len(views[0])) % groups)
    weights = [np.ones(len(x)) for x in views]
    before = np.inf
    for _ in range(SWEEPS):
        distance = np.zeros((len(group), groups))
        for x, w in zip(views, weights):
            centres = np.stack([np.average(x[group == g], axis=0, weights=w[group == g]) for g in range(groups)])
            squares = (x * x).sum(1)[:, None] + (centres * centres).sum(1) - 2 * x @ centres.T
            gap = np.sqrt(np.maximum(squares, 1e-12))
            w[:] = 1 / (2 * gap[np.arange(len(x)), group])
            distance += gap
        group, total = distance.argmin(1), distance.min(1).sum()
        for g in set(range(groups)) - set(group.tolist()):  # an empty group begins anew with the sample that fits worst
            group[distance.min(1).argmax()] = g
        if before - total < 1e-3:
            break
        before = total
    return group


def balanced(J: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """V (n, r) with columns that sum to 0 and VᵀV = nI, for which tr(JᵀV) is largest."""
    J = J - J.mean(0)
    left, values, right = np.linalg.svd(J, full_matrices=False)
    low = values < 1e-7 * values[0]
    fresh = rng.normal(size=(len(J), int(low.sum())))
    fresh -= fresh.mean(0)
    fresh -= left[:, ~low] @ (left[:, ~low].T @ fresh)
    left[:, low] = np.linalg.qr(fresh)[0]
    return np.sqrt(len(J)) * left @ right


def learned(labels: np.ndarray, group: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Codes (n, bits); updates in the order of the released code."""
    n, Y = len(labels), labels / np.linalg.norm(labels, axis=1, keepdims=True)
    parts = [np.flatnonzero(group == g) for g in np.unique(group)]

    def products(L: np.ndarray) -> np.ndarray:
        N = L / np.maximum(np.linalg.norm(L, axis=0), 1e-12)
        return N.T @ N

    C = [BETA1 * products(labels) + BETA2 * products(labels[part]) for part in parts]
    weights = np.sum([len(part) * c.sum(1) for part, c in zip(parts, C)], axis=0) + GAMMA
    B, V = np.where(rng.normal(size=(n, bits)) >= 0, 1.0, -1.0), rng.normal(size=(n, bits))
    R = np.linalg.qr(rng.normal(size=(bits, bits)))[0]
    for _ in range(ITERATIONS):
        E = np.sum([c @ labels[part].T @ V[part] for part, c in zip(parts, C)], axis=0) / weights[:, None]
        whole, new = Y.T @ B, np.empty_like(V)
        for part, c in zip(parts, C):
            similar = ALPHA1 * whole + ALPHA2 * Y[part].T @ B[part]
            new[part] = balanced(B[part] @ R.T + 2 * bits * Y[part] @ similar + labels[part] @ c @ E, rng)
        V, whole, pull = new, Y.T @ new, np.empty_like(V)
        for part in parts:
            similar = ALPHA1 * whole + ALPHA2 * Y[part].T @ V[part]
            pull[part] = V[part] @ R + 2 * bits * Y[part] @ similar
        B = np.where(pull >= 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(V.T @ B)
        R = left @ right
    return B


def merged(group: np.ndarray, bits: int) -> np.ndarray:
    """Groups with no more samples than bits, in which V cannot be balanced, become part of the largest one."""
    counts = np.bincount(group)
    return np.where(counts[group] > bits, group, counts.argmax())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder with the files of Wiki")
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--print", action="store_true", help="print the table of the committed lines")
    arguments = parser.parse_args()
    if not arguments.print:
        split = jaxcmh.load_dataset("wiki", root=arguments.root)
        views = [np.asarray(x, float) for x in split.train.views]
        labels = split.train.labels.astype(float)
        lines = []
        for bits in arguments.bits:
            for grouping in GROUPINGS:
                for seed in range(arguments.seeds):
                    rng = np.random.default_rng(seed)
                    groups = 1 if grouping == "one" else min(labels.shape[1], 25)
                    group = rng.permutation(np.arange(len(labels)) % groups)
                    if grouping == "k-means":
                        group = k_means(views, groups, rng)
                    B = learned(labels, merged(group, bits), bits, rng)
                    line = {"grouping": grouping, "bits": bits, "seed": seed, "sizes": np.bincount(group).tolist()}
                    packed = np.asarray(topk.pack(B))
                    for way, x, queries in zip(("i2t", "t2i"), views, split.query.views):
                        W = np.linalg.solve(x.T @ x + XI * np.eye(x.shape[1]), x.T @ B)
                        asked = np.asarray(topk.pack(np.where(queries @ W >= 0, 1.0, -1.0)))
                        judged = asked, packed, split.query.labels, split.train.labels
                        line[way] = round(float(metrics.hamming_metrics(*judged, ties="stable").map), 6)
                    lines.append(line | {"environment": environment()})
                    print({k: v for k, v in line.items() if k != "environment"}, flush=True)
        RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines))
    lines = [json.loads(text) for text in RESULTS.read_text().splitlines()]
    print("| bits | " + " | ".join(f"{grouping} {way}" for way in ("i2t", "t2i") for grouping in GROUPINGS) + " |")
    for bits in sorted({line["bits"] for line in lines}):
        cells = []
        for way in ("i2t", "t2i"):
            for grouping in GROUPINGS:
                some = [line[way] for line in lines if (line["bits"], line["grouping"]) == (bits, grouping)]
                cells.append(f"{np.mean(some):.3f} ± {np.std(some, ddof=1):.3f}")
        print(f"| {bits} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
