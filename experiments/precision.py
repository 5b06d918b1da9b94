"""What rounding the factors of the kernel's products, as accelerators do, costs in mAP: emulated on a CPU.

    python experiments/precision.py --root FOLDER        # Wiki, 32 bits, five seeds; methods on kernels

"float32" rounds nothing; "tf32" keeps 10 bits behind the leading one, as GPUs do in precision "high" and by default;
"three bfloat16" is what TPUs do in precision "high", and "bfloat16" (7 bits) by default.  Training, queries and
database share the rounding.  Lines go to experiments/results/precision.jsonl, and the table is made of them.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from jax import Array, lax, random

import jaxcmh
from jaxcmh.datasets import Split
from jaxcmh.learning import features
from jaxcmh.results import environment

RESULTS = Path(__file__).parent / "results" / "precision.jsonl"
METHODS = ("dcgh", "a2lh", "imads", "batch", "fddh")
DATABASES = ("learned", "encoded")


def rounded(x: Array, bits: int) -> Array:
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=bits)


def product(bits: int, passes: int = 1) -> Callable[[Array, Array], Array]:
    """x anchorsᵀ with factors of so many bits; with three passes also each rounded factor by what the other lost."""

    def multiply(x: Array, anchors: Array) -> Array:
        high = rounded(x, bits), rounded(anchors, bits)
        total = high[0] @ high[1].T
        if passes == 3:
            low = rounded(x - high[0], bits), rounded(anchors - high[1], bits)
            total += high[0] @ low[1].T + low[0] @ high[1].T
        return total

    return multiply


PRODUCTS = {"float32": product(23), "tf32": product(10), "three bfloat16": product(7, 3), "bfloat16": product(7)}


def kernel_error(x: np.ndarray, anchors: int) -> float:
    """The largest error of a kernel feature, from 0 to 1, beside float64."""
    fitted, phi = features.fit(features.Features(anchors=anchors), random.key(0), x)
    x, a = np.asarray(x, np.float64), np.asarray(fitted.anchors, np.float64)
    squares = (x * x).sum(1)[:, None] + (a * a).sum(1) - 2 * x @ a.T
    return float(np.abs(np.exp(-np.maximum(squares, 0) / (2 * float(fitted.sigma) ** 2)) - np.asarray(phi)).max())


def measure(split: Split, data: str, methods: Sequence[str], bits: int, seeds: int) -> Iterator[dict]:
    exact = features._products
    try:
        for name, multiply in PRODUCTS.items():
            features._products = multiply
            jax.clear_caches()
            error = max(kernel_error(x, 500) for x in split.train.views)
            for method, seed in itertools.product(methods, range(seeds)):
                model = jaxcmh.train(method, split.train.views, split.train.labels, bits=bits, seed=seed)
                query = split.query.views, split.query.labels, split.train.labels
                found = {kind: jaxcmh.evaluate(model, *query, database=kind) for kind in DATABASES}
                maps = {kind: {way: report[way] for way in ("i2t", "t2i")} for kind, report in found.items()}
                line = {"data": data, "method": method, "bits": bits, "precision": name, "seed": seed, "map": maps}
                yield line | {"kernel_error": error, "environment": environment()}
    finally:
        features._products = exact
        jax.clear_caches()


def table(lines: list[dict]) -> str:
    """Markdown: mAP in float32 with its deviation over seeds, and what each rounding changes in the mean over them."""
    columns = [(kind, way) for kind in DATABASES for way in ("i2t", "t2i")]
    rows = ["| method | precision | kernel's error | " + " | ".join(f"{way}, {kind}" for kind, way in columns) + " |"]
    rows.append("|---|---|--:|" + "--:|" * len(columns))
    of = {(line["method"], line["precision"], line["seed"]): line for line in lines}
    seeds = sorted({line["seed"] for line in lines})
    for method, name in itertools.product(dict.fromkeys(line["method"] for line in lines), PRODUCTS):
        some = [of[method, name, seed] for seed in seeds]
        cells = []
        for kind, way in columns:
            maps = np.array([line["map"][kind][way] for line in some])
            exact = np.array([of[method, "float32", seed]["map"][kind][way] for seed in seeds])
            plain = f"{exact.mean():.4f} ± {exact.std(ddof=1):.4f}"
            cells.append(plain if name == "float32" else f"{(maps - exact).mean():+.4f}")
        rows.append(f"| {method} | {name} | {some[0]['kernel_error']:.1e} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="wiki")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--bits", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the table of the lines that are there")
    arguments = parser.parse_args()
    if not arguments.table:
        split = jaxcmh.load_dataset(arguments.data, root=arguments.root)
        with arguments.output.open("w") as lines:
            for line in measure(split, arguments.data, arguments.methods, arguments.bits, arguments.seeds):
                print(json.dumps(line), file=lines, flush=True)
    print(table([json.loads(line) for line in arguments.output.read_text().splitlines()]))


if __name__ == "__main__":
    main()
