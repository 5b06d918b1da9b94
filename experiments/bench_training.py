"""Training times, as ratios to what NumPy needs for the products that no method can avoid.

    python experiments/bench_training.py M        DCGH at 18,015 pairs (512-d, 1,386-d, 24 labels, q = 1500, 32 bits)
    python experiments/bench_training.py N        every method at 184,577 pairs (500-d, 1,000-d, 10 labels, 64 bits)
    python experiments/bench_training.py scaling  every method from 10,000 to 184,577 pairs: slope of log time

The unavoidable products are the kernel features of both views and their float64 Gram matrices (the Gram matrices
alone for methods on raw features).  Times are the best of repeated calls after a first one that compiles; peak memory
is that of a process of its own which does nothing but train.  Lines go to experiments/results/bench_training.jsonl.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two BLAS threads on busy cores are slower than one

import numpy as np

import jaxcmh
from jaxcmh.datasets import Part
from jaxcmh.results import environment

RESULTS = Path(__file__).parent / "results" / "bench_training.jsonl"
BLOCK = 16_384


def best(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def numpy_products(part: Part, method: str) -> None:
    """Kernel features and float64 Gram matrices of every view, row block by row block."""
    features = jaxcmh.methods.registry[method].features
    for x in part.views:
        anchors = x[: features.anchors]
        gram = 0.0
        for i in range(0, len(x), BLOCK):
            phi = rows = x[i : i + BLOCK]
            if features.kind == "rbf":
                squares = (rows * rows).sum(1)[:, None] + (anchors * anchors).sum(1) - 2 * (rows @ anchors.T)
                phi = np.exp(squares * np.float32(-0.5 / x.shape[1]))
            phi = phi.astype(np.float64)
            gram = gram + phi.T @ phi


def measure(method: str, shape: str, bits: int, repeats: int, rows: int | None = None) -> dict:
    """Time of the second and later calls of `train`, beside NumPy's time in between."""
    options: dict[str, Any] = {} if rows is None else {"train": rows}
    part = jaxcmh.load_dataset(f"synthetic:{shape}", **options).train

    def train() -> None:
        jaxcmh.train(method, part.views, part.labels, bits=bits)

    first = best(train, 1)
    pairs = [(best(train, 1), best(lambda: numpy_products(part, method), 1)) for _ in range(repeats)]
    ours, theirs = (min(times) for times in zip(*pairs))
    line = {"method": method, "shape": shape, "n": len(part.labels), "bits": bits, "first": first, "seconds": ours}
    return line | {"numpy": theirs, "ratio": ours / theirs}


def peak(method: str, shape: str, bits: int) -> float:
    """GB of resident memory of a process that loads the data and trains once."""
    code = (
        f"import resource, jaxcmh; part = jaxcmh.load_dataset('synthetic:{shape}').train;"
        f"jaxcmh.train({method!r}, part.views, part.labels, bits={bits});"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    return int(subprocess.check_output([sys.executable, "-c", code])) * 1024 / 1e9


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
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    methods = arguments.methods or (["dcgh"] if arguments.what == "M" else list(jaxcmh.methods.registry))
    lines = []
    for method in methods:
        if arguments.what == "M":
            lines.append(measure(method, "M", 32, arguments.repeats))
        elif arguments.what == "N":
            # One process a method: the memory of one does not count for the next.
            memory = peak(method, "N", 64)
            lines.append(measure(method, "N", 64, arguments.repeats) | {"peak_gb": memory})
        else:
            sizes = (10_000, 20_000, 50_000, 100_000, 184_577)
            timed = [measure(method, "N", 64, arguments.repeats, rows) for rows in sizes]
            lines += [line | {"slope": slope(timed)} for line in timed]
    columns = {"method": "", "n": ",", "bits": "", "first": ".2f", "seconds": ".2f", "numpy": ".2f", "ratio": ".2f"}
    extra = {"M": {}, "N": {"peak_gb": ".1f"}, "scaling": {"slope": ".2f"}}[arguments.what]
    report(lines, columns | extra)
    kept = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    same = {(arguments.what, line["method"]) for line in lines}
    kept = [text for text in kept if (json.loads(text)["what"], json.loads(text)["method"]) not in same]
    new = [json.dumps({"what": arguments.what, **line, "environment": environment()}) for line in lines]
    RESULTS.write_text("\n".join([*kept, *new]) + "\n")


if __name__ == "__main__":
    main()
