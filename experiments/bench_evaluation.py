"""Evaluation times, as ratios to the usual NumPy loop.

    python experiments/bench_evaluation.py            both shapes, 2,000 queries, 64 bits
    python experiments/bench_evaluation.py --shapes M

Shapes: N has 184,577 items and 10 labels, M 18,015 items and 24 labels.  Codes are random; label sets have classes of
very different sizes and one to four labels an item or so.

The naive loop is what evaluation scripts do, in NumPy: for each query, Hamming distances to all items by XOR and a
table of the bits in a byte, a stable argsort, relevance by a product with the label matrix, and the average precision
of that order.  It is one thread.  It is timed on `--naive-queries` queries and its time scaled up to all of them, as is
that of `radix`, the same loop with what NumPy has to make it faster (bit counts of whole words, distances as bytes, so
that the argsort is a radix sort, label sets as words).  For look-up scores (8 books of 256 words, 32 dimensions) the
loop multiplies the query with the decoded items and sorts the scores, and both parties get the naive loop's queries
alone.  Our time includes all curves, but no compilation, and is that of all cores.  Rounds alternate between the
parties; the best time of each counts.

Results must agree to 1e-9 (Hamming) and 1e-6 (scores, whose float32 sums differ in the last bits) on the queries of the
naive loop.  Lines go to experiments/results/bench_evaluation.jsonl, or to `--output`.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from jaxcmh.results import environment
from jaxcmh.retrieval.metrics import hamming_metrics, score_metrics

RESULTS = Path(__file__).parent / "results" / "bench_evaluation.jsonl"
SHAPES = {"N": (184_577, 10), "M": (18_015, 24)}
TARGETS = {("N", "expected"): 40, ("N", "stable"): 14}
BITS_OF_BYTE = np.array([byte.bit_count() for byte in range(256)], np.uint8)


def label_sets(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    """Shares of the classes fall from 0.4 as 1, 1/2, 1/3, ...; every item has a label."""
    shares = 0.4 / np.arange(1, classes + 1)
    labels = (rng.random((n, classes)) < shares).astype(np.uint8)
    empty = np.flatnonzero(~labels.any(axis=1))
    labels[empty, rng.choice(classes, len(empty), p=shares / shares.sum())] = 1
    return labels


def average_precision(relevant: np.ndarray) -> float:
    ranks = np.flatnonzero(relevant) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).mean())


def tied_average_precision(distance: np.ndarray, relevant: np.ndarray) -> float:
    """Mean over the orders of ties, place by place, from sorted distances and relevance in that order."""
    starts = np.flatnonzero(np.diff(distance, prepend=-1))
    tied = np.diff(starts, append=len(distance))
    hits = np.add.reduceat(relevant.astype(int), starts)
    found = np.cumsum(hits) - hits
    place = np.arange(len(distance)) - np.repeat(starts, tied)
    slope = np.repeat((hits - 1) / np.maximum(tied - 1, 1), tied)
    up_to = np.repeat(found, tied) + 1 + place * slope
    return float((np.repeat(hits / tied, tied) * up_to / np.arange(1, len(distance) + 1)).sum() / hits.sum())


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def race(parties: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Best time of each, measured in turns."""
    times = [{name: seconds(function) for name, function in parties.items()} for _ in range(rounds)]
    return {name: min(row[name] for row in times) for name in parties}


def measure(shape: str, n_queries: int, n_naive: int, rounds: int) -> list[dict[str, Any]]:
    n, classes = SHAPES[shape]
    rng = np.random.default_rng(0)
    codes, item_labels = rng.integers(0, 256, (n, 8), dtype=np.uint8), label_sets(rng, n, classes)
    queries, query_labels = rng.integers(0, 256, (n_queries, 8), dtype=np.uint8), label_sets(rng, n_queries, classes)
    vectors = rng.normal(size=(n_naive, 32)).astype(np.float32)
    books = rng.normal(size=(8, 256, 32)).astype(np.float32)
    decoded = sum(books[b][codes[:, b]] for b in range(8))
    some = range(n_naive)

    def hamming(q: int) -> tuple[np.ndarray, np.ndarray]:
        distance = BITS_OF_BYTE[codes ^ queries[q]].sum(axis=1)
        order = np.argsort(distance, kind="stable")
        return distance[order].astype(int), (item_labels @ query_labels[q] > 0)[order]

    def scores(q: int) -> np.ndarray:
        return (item_labels @ query_labels[q] > 0)[np.argsort(-(decoded @ vectors[q]), kind="stable")]

    wide_codes, wide_queries = codes.view(np.uint64)[:, 0], queries.view(np.uint64)[:, 0]
    item_sets, query_sets = (x.astype(np.int64) @ (1 << np.arange(classes)) for x in (item_labels, query_labels))

    def radix(q: int) -> np.ndarray:
        order = np.argsort(np.bitwise_count(wide_codes ^ wide_queries[q]), kind="stable")
        return (item_sets & query_sets[q] != 0)[order]

    ours = {
        "expected": lambda: hamming_metrics(queries, codes, query_labels, item_labels).ap,
        "stable": lambda: hamming_metrics(queries, codes, query_labels, item_labels, ties="stable").ap,
        "score expected": lambda: score_metrics(vectors, codes, books, query_labels[some], item_labels).ap,
        "score stable": lambda: score_metrics(vectors, codes, books, query_labels[some], item_labels, ties="stable").ap,
    }
    loops = {
        "naive": lambda: [average_precision(hamming(q)[1]) for q in some],
        "radix": lambda: [average_precision(radix(q)) for q in some],
        "naive scores": lambda: [average_precision(scores(q)) for q in some],
    }
    first = {name: function()[:n_naive] for name, function in ours.items()}
    np.testing.assert_allclose(first["stable"], loops["naive"](), rtol=0, atol=1e-9)
    np.testing.assert_allclose(first["stable"], loops["radix"](), rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        first["expected"], [tied_average_precision(*hamming(q)) for q in some], rtol=0, atol=1e-9
    )
    for name in ("score expected", "score stable"):
        np.testing.assert_allclose(first[name], loops["naive scores"](), rtol=0, atol=1e-6)

    best = race({**loops, **ours}, rounds)
    lines = []
    for name, loop in [*((name, "naive scores" if "score" in name else "naive") for name in ours), ("radix", "naive")]:
        count = n_naive if "score" in name else n_queries
        taken = best[name] * (count / n_naive if name in loops else 1)
        naive = best[loop] * count / n_naive
        sizes = {"shape": shape, "n": n, "n_queries": count, "naive_queries": n_naive, "bits": 64, "classes": classes}
        line = sizes | {"what": name, "seconds": taken, "naive": naive, "ratio": naive / taken}
        lines.append(line | {"target": TARGETS.get((shape, name))})
    return lines


def processor() -> str:
    """Model name of the processor where the system tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--naive-queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    lines = []
    for shape in arguments.shapes:
        lines += measure(shape, arguments.queries, arguments.naive_queries, arguments.rounds)
    print(
        f"{'shape':>5} {'items':>8} {'queries':>8} {'what':>15} {'seconds':>8} {'naive':>8} {'faster':>7} {'target':>7}"
    )
    for line in lines:
        target = f"{line['target']}x" if line["target"] else ""
        times = f"{line['seconds']:8.3f} {line['naive']:8.2f} {line['ratio']:6.1f}x"
        print(f"{line['shape']:>5} {line['n']:>8,} {line['n_queries']:>8,} {line['what']:>15} {times} {target:>7}")
    surroundings = environment() | {"processor": processor()}
    text = "".join(json.dumps(line | {"environment": surroundings}) + "\n" for line in lines)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    part = arguments.output.with_name(arguments.output.name + ".part")
    part.write_text(text)
    part.replace(arguments.output)
    missed = [line for line in lines if line["target"] and line["ratio"] < line["target"]]
    if missed:
        raise SystemExit("missed: " + ", ".join(f"{line['shape']} {line['what']}" for line in missed))


if __name__ == "__main__":
    main()
