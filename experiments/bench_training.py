"""Training times, as ratios to what NumPy needs for the products that no method can avoid.

    python experiments/bench_training.py M        every method at 18,015 pairs (512-d, 1,386-d, 24 labels, 64 bits)
    python experiments/bench_training.py N        every method at 184,577 pairs (500-d, 1,000-d, 10 labels, 64 bits)
    python experiments/bench_training.py scaling  every method from 10,000 to 184,577 pairs: slope of log time
    python experiments/bench_training.py classes  20,000 pairs (512-d each, 3 labels each, 32 bits), 10 to 1,000 labels

    git worktree add ../jaxcmh-0.1.0 9730c40 && python experiments/bench_training.py M --old ../jaxcmh-0.1.0

The unavoidable products are the kernel features of both views and their Gram matrices, in float32; for methods on raw
features the Gram matrices, and for AAH also X Q and the sums of X against U, which its eqs. 17-23 need anew in each of
ten iterations.  With `classes`, for methods that use rows of labels also the products of features with labels, which
are no longer few beside the Gram matrices: sparse where that is cheaper, at 1,000 labels; and what equations need
anew in each of the iterations that a method took: A2LH's 25 and 26 the products X V and XᵀU of reduced rows, ACQH's
14-18 those of the targets of all label sets with the words of each book; of the methods that the papers compare with,
named as their objectives in jaxcmh.methods name them,

* BATCH, SCRATCH, DCH and SRLCH: X W and XᵀB of all rows of each view, for codes follow from features and these from
  codes; SCM the same, once, a bit at a time; AMSH in each round of its hash functions;
* CMFH and LCMFH: X W, X Uᵀ and XᵀV of reduced rows of each view;
* FDDH: DᵀX of each view and DᵀB, and D C and (D C) Cᵀ, D having numbers other than 0 all over; AMSH alike, of each
  view, VᵀT, T Pᵀ and V P;
* DCH and MTFH: B H_k for each bit k of each sweep over the codes, MTFH's of four sides; DLFH: A v for each bit of each
  view, A being the derivatives at all products with the codes drawn, and u vᵀ by which these change.

FCMH's need products of labels alone, which are few.  With --old, another checkout trains in turn
with this one.  All times are the best of their calls, which alternate; the first call
of ours compiles.  A process of its own trains and does nothing else: its peak resident memory is reported.  Lines,
with every single time, go to experiments/results/bench_training.jsonl.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two BLAS threads on busy cores are slower than one

import numpy as np
import scipy.sparse

import jaxcmh
from jaxcmh.datasets import Part
from jaxcmh.methods import amsh, dch, mtfh
from jaxcmh.results import environment

RESULTS = Path(__file__).parent / "results" / "bench_training.jsonl"
BLOCK = 16_384
SPARSE = 1 / 50  # share of labels below which products with their ones alone take NumPy less time


def numpy_products(part: Part, method: str, bits: int, labels: Any = None, sets: int = 0, iterations: int = 0) -> None:
    """Kernel features and Gram matrices of every view, row block by row block; AAH: X Q and X^T U in ten iterations.

    With labels (n, c), dense or sparse, also X^T L; and what the equations of a method need in so many iterations, see
    above; ACQH's targets are one per label set.
    """
    rounds = iterations if method in ("batch", "scratch", "dch", "srlch") else 0
    rounds = amsh.ROUNDS if method == "amsh" and iterations else rounds
    features = jaxcmh.methods.registry[method].features
    rng = np.random.default_rng(0)
    for x in part.views:
        anchors = x[: features.anchors]
        gram = 0.0
        for i in range(0, len(x), BLOCK):
            phi = rows = x[i : i + BLOCK]
            if features.kind.startswith("rbf"):
                squares = (rows * rows).sum(1)[:, None] + (anchors * anchors).sum(1) - 2 * (rows @ anchors.T)
                phi = np.exp(squares * np.float32(-0.5 / x.shape[1]))
            gram = gram + phi.T @ phi
            if labels is not None:
                _ = labels[i : i + BLOCK].T @ phi
            W, B = np.ones((phi.shape[1], bits), np.float32), np.ones((len(phi), bits), np.float32)
            for _ in range(rounds):
                _ = phi @ W, phi.T @ B
            if method == "scm" and iterations:
                for bit in range(bits):
                    _ = phi @ W[:, bit], B[:, bit] @ phi
            if method == "fddh":
                D = np.ones((len(phi), part.labels.shape[1]), np.float32)
                for _ in range(iterations):
                    _ = D.T @ phi
        if method == "aah":
            Q = rng.standard_normal((x.shape[1], bits), np.float32)
            for _ in range(10):
                Q = x.T @ (x @ Q) * np.float32(1e-9)
    if method in ("cmfh", "lcmfh"):
        for view, x in enumerate(part.views, 1):
            q = x.shape[1]
            X, V, W = (np.ones(shape, np.float32) for shape in ((view * q, q), (view * q, bits), (q, bits)))
            for _ in range(iterations):
                _ = X @ W, X @ W, X.T @ V
    (n, c), h = part.labels.shape, np.ones(bits, np.float32)
    B = np.ones((n, bits), np.float32)
    if method in ("fddh", "amsh"):
        T, P = np.ones((n, c), np.float32), np.ones((bits, c), np.float32)
        for _ in range(iterations * (len(part.views) if method == "amsh" else 1)):
            _ = T @ P.T, B @ P, B.T @ T
    for _ in range(iterations * bits * {"dch": dch.SWEEPS, "mtfh": 4 * mtfh.SWEEPS}.get(method, 0)):
        _ = B @ h
    for _ in range(iterations * bits * (len(part.views) if method == "dlfh" else 0)):
        _ = B @ h, np.outer(B[:, 0], h)
    if method == "a2lh":
        q = features.anchors
        for view in range(len(part.views)):  # the triangle of reduced rows ends where a view's own columns do
            X, U, V = (np.ones(shape, np.float32) for shape in (((view + 1) * q, q), ((view + 1) * q, q), (q, q)))
            for _ in range(iterations):
                _ = X @ V, X.T @ U
    if method == "acqh":
        targets, words = np.ones((sets, bits), np.float32), np.ones((256, bits), np.float32)
        for _ in range(4 * iterations):
            _ = targets @ words.T


TRAIN = """
import json, resource, sys, time, jaxcmh
method, shape, bits, options = json.loads(sys.argv[1])
part = jaxcmh.load_dataset(f"synthetic:{shape}", **options).train
for _ in sys.stdin:
    start = time.perf_counter()
    model = jaxcmh.train(method, part.views, part.labels, bits=bits)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps([seconds, peak, getattr(model, "converged", 0) or len(model.objective) - 1]), flush=True)
"""


def trainings(arguments: list, checkout: Path | None) -> Generator[tuple[float, float, int]]:
    """Seconds, peak memory and iterations of one training after the other, in a process of this checkout or another."""
    paths = [*([str(checkout.resolve())] if checkout else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-c", TRAIN, json.dumps(arguments)]
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": checkout}
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, **options) as process:
        assert process.stdin
        assert process.stdout
        while True:
            print(file=process.stdin, flush=True)
            yield tuple(json.loads(process.stdout.readline()))


def measure(
    method: str,
    shape: str,
    options: dict,
    bits: int,
    repeats: int,
    old: Path | None = None,
    numpy: bool = True,
    with_labels: bool = False,
) -> dict:
    """Times of `train` and its peak memory, in a process of its own; with `numpy`, NumPy's time between its calls."""
    part = jaxcmh.load_dataset(f"synthetic:{shape}", **options).train
    labels = part.labels.astype(np.float32) if with_labels and jaxcmh.methods.registry[method].label_rows else None
    if labels is not None and labels.mean() < SPARSE:
        labels = scipy.sparse.csr_array(labels)
    calls = {name: trainings([method, shape, bits, options], old if name else None) for name in ("", "old_")}
    line: dict[str, Any] = {"method": method, "shape": shape, "n": len(part.labels), "bits": bits}
    line |= {"classes": part.labels.shape[1], "label_sets": len(np.unique(np.packbits(part.labels, axis=1), axis=0))}
    seconds: dict[str, list[float]] = {name: [] for name in calls if old or not name}
    theirs = []
    for call in range(repeats + 1):
        for name in seconds:
            spent, line[f"{name}peak_gb"], line[f"{name}iterations"] = next(calls[name])
            seconds[name].append(spent)
        if numpy and (call > 0 or repeats == 0):
            start = time.perf_counter()
            numpy_products(part, method, bits, labels, line["label_sets"], line["iterations"] if with_labels else 0)
            theirs.append(time.perf_counter() - start)
    line |= {"numpy": min(theirs), "theirs": theirs} if theirs else {}
    for name, spent in seconds.items():
        calls[name].close()
        line |= {f"{name}first": spent[0], f"{name}seconds": min(spent), f"{name}calls": spent}
        line |= {f"{name}ratio": min(spent) / min(theirs)} if theirs else {}
    return line


def slope(lines: list[dict]) -> float:
    """Of log time against log n."""
    return float(np.polyfit(np.log([line["n"] for line in lines]), np.log([line["seconds"] for line in lines]), 1)[0])


def report(lines: list[dict], columns: dict[str, str]) -> None:
    print("  ".join(f"{name:>9}" for name in columns))
    for line in lines:
        print("  ".join(f"{format(line[name], spec):>9}" for name, spec in columns.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("M", "N", "scaling", "classes"))
    parser.add_argument("--methods", nargs="+", choices=list(jaxcmh.methods.registry))
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 20_000, 50_000, 100_000, 184_577])
    parser.add_argument("--classes", nargs="+", type=int, default=[10, 80, 1_000])
    parser.add_argument("--old", type=Path, help="a checkout of another version, trained in turn with this one")
    parser.add_argument("--repeats", type=int, default=3, help="calls after the first (default: 3)")
    arguments = parser.parse_args()
    methods = arguments.methods or list(jaxcmh.methods.registry)
    what, scaling = arguments.what, arguments.what == "scaling"
    shape, bits = "M" if what in ("M", "classes") else "N", 32 if what == "classes" else 64
    shapes: list[dict] = [{"train": rows} for rows in arguments.sizes] if scaling else [{}]
    if what == "classes":
        same = {"train": 20_000, "dims": (512, 512), "cardinality": 3.0}
        shapes = [same | {"labels": c} for c in arguments.classes]
    lines = []
    for method in methods:
        timed = [
            measure(method, shape, options, bits, arguments.repeats, arguments.old, not scaling, what == "classes")
            for options in shapes
        ]
        lines += [line | {"slope": slope(timed)} for line in timed] if scaling else timed
    columns = {"method": "", "n": ",", "bits": "", "peak_gb": ".1f", "first": ".2f", "seconds": ".2f"}
    columns |= {"classes": ",", "label_sets": ","} if what == "classes" else {}
    columns |= {"slope": ".2f"} if scaling else {"numpy": ".2f", "ratio": ".2f"}
    if arguments.old:
        columns |= {"old_first": ".2f", "old_seconds": ".2f"} | ({} if scaling else {"old_ratio": ".2f"})
    report(lines, columns)
    kept = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    measured = {(what, line["method"]) for line in lines}
    kept = [text for text in kept if (json.loads(text)["what"], json.loads(text)["method"]) not in measured]
    new = [json.dumps({"what": what, **line, "environment": environment()}) for line in lines]
    RESULTS.write_text("\n".join([*kept, *new]) + "\n")


if __name__ == "__main__":
    main()
