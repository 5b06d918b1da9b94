"""Training times, as ratios to what NumPy needs for the products that no method can avoid.

    python experiments/bench_training.py M        DCGH at 18,015 pairs (512-d, 1,386-d, 24 labels, q = 1500, 32 bits)
    python experiments/bench_training.py N        every method at 184,577 pairs (500-d, 1,000-d, 10 labels, 64 bits)
    python experiments/bench_training.py scaling  every method from 10,000 to 184,577 pairs: slope of log time

The unavoidable products are the kernel features of both views and their float64 Gram matrices; for methods on raw
features the Gram matrices, and for AAH also X Q and the sums of X against U, which its eqs. 17-23 need anew in every
iteration (in float32).  Both times are the best of their calls, which alternate; the first call of ours compiles.  A
process of its own trains and does nothing else: its peak resident memory is reported.  Lines, with every single time,
go to experiments/results/bench_training.jsonl.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two BLAS threads on busy cores are slower than one

import numpy as np

import jaxcmh
from jaxcmh.datasets import Part
from jaxcmh.results import environment

RESULTS = Path(__file__).parent / "results" / "bench_training.jsonl"
BLOCK = 16_384


def numpy_products(part: Part, method: str, bits: int) -> None:
    """Kernel features and float64 Gram matrices of every view, row block by row block; AAH: X Q and X^T U each time."""
    found = jaxcmh.methods.registry[method]
    rng = np.random.default_rng(0)
    for x in part.views:
        anchors = x[: found.features.anchors]
        gram = 0.0
        for i in range(0, len(x), BLOCK):
            phi = rows = x[i : i + BLOCK]
            if found.features.kind == "rbf":
                squares = (rows * rows).sum(1)[:, None] + (anchors * anchors).sum(1) - 2 * (rows @ anchors.T)
                phi = np.exp(squares * np.float32(-0.5 / x.shape[1]))
            phi = phi.astype(np.float64)
            gram = gram + phi.T @ phi
        if method == "aah":
            Q = rng.standard_normal((x.shape[1], bits), np.float32)
            for _ in range(found.max_iterations):
                Q = x.T @ (x @ Q) * np.float32(1e-9)


TRAIN = """
import json, resource, sys, time, jaxcmh
method, shape, bits, options = json.loads(sys.argv[1])
part = jaxcmh.load_dataset(f"synthetic:{shape}", **options).train
for _ in sys.stdin:
    start = time.perf_counter()
    jaxcmh.train(method, part.views, part.labels, bits=bits)
    seconds = time.perf_counter() - start
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9]), flush=True)
"""


def measure(method: str, shape: str, bits: int, repeats: int, rows: int | None = None) -> dict:
    """Times of `train` and its peak memory, in a process of its own; without `rows`, NumPy's time between its calls."""
    options: dict[str, Any] = {} if rows is None else {"train": rows}
    part = jaxcmh.load_dataset(f"synthetic:{shape}", **options).train
    command = [sys.executable, "-c", TRAIN, json.dumps([method, shape, bits, options])]
    ours, theirs = [], []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for call in range(repeats + 1):
            print(file=process.stdin, flush=True)
            seconds, peak_gb = json.loads(process.stdout.readline())
            ours.append(seconds)
            if rows is None and (call > 0 or repeats == 0):
                start = time.perf_counter()
                numpy_products(part, method, bits)
                theirs.append(time.perf_counter() - start)
        process.stdin.close()
    line = {"method": method, "shape": shape, "n": len(part.labels), "bits": bits, "peak_gb": peak_gb}
    line |= {"first": ours[0], "seconds": min(ours), "ours": ours}
    return line | ({"numpy": min(theirs), "ratio": min(ours) / min(theirs), "theirs": theirs} if theirs else {})


def slope(lines: list[dict]) -> float:
    """Of log time against log n."""
    return float(np.polyfit(np.log([line["n"] for line in lines]), np.log([line["seconds"] for line in lines]), 1)[0])


def report(lines: list[dict], columns: dict[str, str]) -> None:
    print("  ".join(f"{name:>9}" for name in columns))
    for line in lines:
        print("  ".join(f"{format(line[name], spec):>9}" for name, spec in columns.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("M", "N", "scaling"))
    parser.add_argument("--methods", nargs="+", choices=list(jaxcmh.methods.registry))
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 20_000, 50_000, 100_000, 184_577])
    parser.add_argument("--repeats", type=int, default=3, help="calls after the first (default: 3)")
    arguments = parser.parse_args()
    methods = arguments.methods or (["dcgh"] if arguments.what == "M" else list(jaxcmh.methods.registry))
    shape, bits = ("M", 32) if arguments.what == "M" else ("N", 64)
    sizes = arguments.sizes if arguments.what == "scaling" else [None]
    lines = []
    for method in methods:
        timed = [measure(method, shape, bits, arguments.repeats, rows) for rows in sizes]
        lines += [line | {"slope": slope(timed)} for line in timed] if len(sizes) > 1 else timed
    columns = {"method": "", "n": ",", "bits": "", "peak_gb": ".1f", "first": ".2f", "seconds": ".2f"}
    columns |= {"slope": ".2f"} if len(sizes) > 1 else {"numpy": ".2f", "ratio": ".2f"}
    report(lines, columns)
    kept = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    same = {(arguments.what, line["method"]) for line in lines}
    kept = [text for text in kept if (json.loads(text)["what"], json.loads(text)["method"]) not in same]
    new = [json.dumps({"what": arguments.what, **line, "environment": environment()}) for line in lines]
    RESULTS.write_text("\n".join([*kept, *new]) + "\n")


if __name__ == "__main__":
    main()
