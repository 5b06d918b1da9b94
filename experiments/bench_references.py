"""Training times beside those of the NumPy references of the tests, at 18,015 pairs (512-d, 1,386-d, 24 labels).

    python experiments/bench_references.py          # every method but the five papers', 32 bits; half an hour
    python experiments/bench_references.py --table  # what the lines say, in Markdown

`tests/methods/reference` has each method as its paper prints it; FCMH, DLFH, AMSH and MTFH form the similarity of all
pairs there. Both sides begin with the same mapped features and the same random start and run the same number of
iterations, in float64 there and as usual here; ours includes the reduction of the data, whose products a reference
computes for itself. Each reference runs once, in a process of its own with all processors for BLAS; one that is not
done after --limit seconds is recorded as that. The control is left out: it trains nothing. Lines go to
experiments/results/bench_references.jsonl.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxcmh
from jaxcmh.learning import core, features
from jaxcmh.learning.linalg import unit_rows
from jaxcmh.results import environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results" / "bench_references.jsonl"
LEFT_OUT = ("a2lh", "acqh", "aah", "imads", "dcgh", "random_codewords")
BITS, ANCHORS = 32, 500


def mapped(method: core.Method, rows: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Features of the method's own kind, with fewer anchors than papers take where it has a kernel; and labels."""
    part = jaxcmh.load_dataset("synthetic:M", train=rows).train
    chosen, key = method.features._replace(anchors=ANCHORS), jax.random.key(0)
    return [np.asarray(features.fit(chosen, key, x)[1]) for x in part.views], part.labels


def ours(method: core.Method, views: list[np.ndarray], labels: np.ndarray, iterations: int) -> list[float]:
    """Seconds of the reduction and the training, first call first."""
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        data = core.prepare(views, labels, None, method.across)
        options = {"bits": BITS, "max_iterations": iterations, "tolerance": 0.0}
        jax.block_until_ready(core.fit(method, data, jax.random.key(0), **options))
        seconds.append(time.perf_counter() - start)
    return seconds


def theirs(name: str, method: core.Method, views: list[np.ndarray], labels: np.ndarray, iterations: int) -> float:
    """Seconds of the reference."""
    sys.path.insert(0, str(ROOT / "tests" / "methods"))
    reference = importlib.import_module(f"reference.{name}")
    with jax.enable_x64(True):
        data = core.prepare(views, labels, "float64")
        labelled, unit = data.per_sample(data.sets), data.per_sample(unit_rows(data.sets))
        data = data._replace(views=data.features, labels=labelled, unit_labels=unit, ones=data.mask, turned=None)
        params = jax.tree.map(jnp.float64, method.params)
        begun = method.init(jax.random.key(0), core.ready(method, data, BITS), params, BITS)
        begun = {field: jax.tree.map(np.asarray, value) for field, value in begun._asdict().items()}
    views = [np.asarray(x, float) for x in views]
    start = time.perf_counter()
    reference.run(views, labels.astype(float), begun, method.params, iterations)
    return time.perf_counter() - start


def rows() -> list[str]:
    """The lines as a table in Markdown, in the order of the registry."""
    lines = {line["method"]: line for line in map(json.loads, RESULTS.read_text().splitlines())}
    text = ["| method | iterations | reference, s | jaxcmh, s | ratio |", "|---|--:|--:|--:|--:|"]
    for name, line in ((name, lines[name]) for name in jaxcmh.methods.registry if name in lines):
        more, less = ("", "") if line["done"] else ("more than ", "below ")
        times = f"{more}{line['reference']:.2f} | {line['seconds']:.2f} | {less}{line['ratio']:.3f}"
        text.append(f"| {name} | {line['iterations']} | {times} |")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--methods", nargs="+", default=[name for name in jaxcmh.methods.registry if name not in LEFT_OUT]
    )
    parser.add_argument("--rows", type=int, default=18_015)
    parser.add_argument("--limit", type=float, default=300, help="seconds that a reference may take (default: 300)")
    parser.add_argument("--table", action="store_true", help="print the table of the lines that there are")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.table:
        print("\n".join(rows()))
        return
    if arguments.one:
        method = jaxcmh.methods.registry[arguments.one]
        views, labels = mapped(method, arguments.rows)
        print(theirs(arguments.one, method, views, labels, method.max_iterations))
        return
    for name in arguments.methods:
        method = jaxcmh.methods.registry[name]
        line = {"method": name, "n": arguments.rows, "bits": BITS, "iterations": method.max_iterations}
        first, *seconds = ours(method, *mapped(method, arguments.rows), method.max_iterations)
        line |= {"first": first, "seconds": min(seconds), "calls": seconds}
        command = [sys.executable, __file__, "--one", name, "--rows", str(arguments.rows)]
        try:
            done = subprocess.run(command, timeout=arguments.limit, capture_output=True, text=True, check=True)
            line |= {"reference": float(done.stdout), "done": True}
        except subprocess.TimeoutExpired:
            line |= {"reference": arguments.limit, "done": False}
        line["ratio"] = line["seconds"] / line["reference"]
        sign = "" if line["done"] else "more than "
        print(
            f"{name:17} {line['seconds']:7.2f} s, reference {sign}{line['reference']:.2f} s, ratio {line['ratio']:.3f}"
        )
        kept = RESULTS.read_text().splitlines() if RESULTS.exists() else []
        kept = [text for text in kept if json.loads(text)["method"] != name]
        RESULTS.write_text("\n".join([*kept, json.dumps(line | {"environment": environment()})]) + "\n")


if __name__ == "__main__":
    main()
