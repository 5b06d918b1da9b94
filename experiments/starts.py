"""What the start of A2LH and DCGH gives: mAP on validation queries drawn from the training set, by data set.

    python experiments/starts.py --root FOLDER          # Wiki and MIRFlickr's tags in two halves, if there; and icons

A fifth of the training pairs are queries, the rest is trained on and searched, with learned and with encoded codes.
Lines go to experiments/results/starts.jsonl; the default of each method is the start that is best by the mean over
data sets, code lengths, directions and kinds of codes.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random

import jaxcmh
from jaxcmh import Features
from jaxcmh.learning.core import Data
from jaxcmh.learning.linalg import polar, sign
from jaxcmh.methods import a2lh, dcgh
from jaxcmh.results import environment

RESULTS = Path(__file__).parent / "results" / "starts.jsonl"


def a2lh_start(key: Array, data: Data, p: Any, bits: int, codes: str, space: str) -> a2lh.State:
    """Codes: signs of random projections of the labels, or random; space: mean of the views, or a random mixture."""
    key_B, key_C, *keys = random.split(key, 2 + len(data.views))
    sizes, c = [X.shape[1] for X in data.views], data.sets.shape[1]
    q = min(sizes)
    if space == "mean":
        V = tuple(jnp.eye(size, q, dtype=data.ones.dtype) for size in sizes)
    else:
        V = tuple(polar(data.gaussian(k, size, q)) for k, size in zip(keys, sizes))
    if codes == "labels":
        B = data.per_sample(data.extra.of_sets @ data.gaussian(key_B, c, bits))
    else:
        B = data.gaussian(key_B, len(data.mask), bits)
    B, U = sign(B, data.mask), jnp.stack([X @ V_m for X, V_m in zip(data.views, V)]).mean(0)
    mu, R = jnp.full_like(data.ones[: len(V)], 1 / len(V)), jnp.zeros((c, bits), B.dtype)
    C = data.gaussian(key_C, q, bits) if codes == "random" else jnp.zeros((q, bits), B.dtype)
    return a2lh.State(mu, R, C, B, data.reduced(B), U, V)


def dcgh_start(key: Array, data: Data, p: Any, bits: int, codes: str, factors: str) -> dcgh.State:
    """Codes: ones, random, or random projections of the labels; W, U, F, E: orthonormal or Gaussian, E perhaps 0."""
    (rows, c), u, views = data.labels.shape, len(data.sets), len(data.views)
    keys = iter(random.split(key, views + 4))

    def block(*shape: int) -> Array:
        drawn = data.gaussian(next(keys), *shape)
        if factors == "gaussian":
            return drawn
        return jax.vmap(polar)(drawn) if drawn.ndim == 3 else polar(drawn)

    W = tuple(block(X.shape[1], bits) for X in data.views)
    U, F, E = block(c, bits), block(views, rows, c), block(u, c)
    H = data.gaussian(next(keys), u, bits)
    if codes == "ones":
        H = jnp.ones_like(H)
    elif codes == "labels":
        H = data.sets @ data.gaussian(random.fold_in(key, 1), c, bits)
    E = jnp.zeros_like(E) if factors == "orthonormal, E 0" else E
    return dcgh.update_B(dcgh.State(sign(H), jnp.zeros((views, rows, bits), H.dtype), W, U, F, E), data, p)


STARTS: dict[str, dict[str, Callable]] = {
    "a2lh": {
        f"{codes} codes, {space} of views": partial(a2lh_start, codes=codes, space=space)
        for codes in ("labels", "random")
        for space in ("mean", "mixture")
    },
    "dcgh": {
        f"{codes} codes, {factors}": partial(dcgh_start, codes=codes, factors=factors)
        for codes in ("ones", "random", "labels")
        for factors in ("gaussian", "orthonormal", "orthonormal, E 0")
    },
}


def validation(split: Any, rows: int) -> tuple[list, np.ndarray, list, np.ndarray]:
    """Training views and labels, query views and labels: a fifth of so many training pairs are queries."""
    chosen = np.random.default_rng(0).permutation(len(split.train.labels))[:rows]
    queries, train = np.split(chosen, [len(chosen) // 5])
    labels = split.train.labels
    return (
        [x[train] for x in split.train.views],
        labels[train],
        [x[queries] for x in split.train.views],
        labels[queries],
    )


def measure(name: str, data: str, parts: tuple, bits: int, seeds: int, features: Features) -> list[dict]:
    views, labels, query_views, query_labels = parts
    lines = []
    params = jaxcmh.methods.paper_params(name, data) if name == "dcgh" and data != "icons" else None
    for start, init in STARTS[name].items():
        method = jaxcmh.methods.registry[name]._replace(init=init)
        for seed in range(seeds):
            model = jaxcmh.train(method, views, labels, bits=bits, seed=seed, params=params, features=features)
            line = {"method": name, "data": data, "bits": bits, "start": start, "seed": seed}
            for kind in ("learned", "encoded"):
                report = jaxcmh.evaluate(model, query_views, query_labels, labels, database=kind, ties="stable")
                line |= {f"{kind} {way}": report[way] for way in ("i2t", "t2i")}
            lines.append(line | {"converged": int(model.converged)})
        mean = {k: np.mean([line[k] for line in lines if line["start"] == start]) for k in lines[0] if " " in k}
        print(name, data, bits, start, {k: round(float(v), 4) for k, v in mean.items()}, flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder with the files of Wiki and MIRFlickr-25K")
    parser.add_argument("--methods", nargs="+", choices=list(STARTS), default=list(STARTS))
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=6000, help="training pairs at most (default: 6000)")
    parser.add_argument("--anchors", type=int, default=500)
    arguments = parser.parse_args()
    sets: dict[str, Any] = {"icons": {}}
    if arguments.root:
        sets |= {"wiki": {"root": arguments.root}, "mirflickr25k": {"root": arguments.root, "halves": "text"}}
    lines = []
    for data, options in sets.items():
        parts = validation(jaxcmh.load_dataset(data, **options), arguments.rows)
        for name in arguments.methods:
            for bits in arguments.bits:
                lines += measure(name, data, parts, bits, arguments.seeds, Features(anchors=arguments.anchors))
    kept = [json.loads(text) for text in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    kept = [line for line in kept if line["method"] not in arguments.methods]
    new = [{**line, "environment": environment()} for line in lines]
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in [*kept, *new]))


if __name__ == "__main__":
    main()
