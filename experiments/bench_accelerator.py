"""Training, sweeps, encoding, search and evaluation beside what the device can do at most.

    python experiments/bench_accelerator.py                 # 184,577 pairs, 64 bits, on the first device that jax sees
    python experiments/bench_accelerator.py --shape M       # 18,015 pairs
    python experiments/bench_accelerator.py --small         # a few hundred pairs, within minutes: does it run here?
    python experiments/bench_accelerator.py --parts search evaluation --repeats 10
    python experiments/bench_accelerator.py --shape M --accounts     # of programs alone, none of which is timed
    python experiments/bench_accelerator.py --shape M --table        # of the accounts that there are

The same command runs on CPU, GPU and TPU.  The roofline is measured in the same run: products of square matrices in
each precision, and copies.  Each line has the seconds of every call but the first, which compiles, and their median;
the work that there is for certain, and the share of the measured rates that this comes to: "flops" of matrix products,
or "bytes" that searches and evaluations read if each query reads every item anew (caches can make that more than all).

Accounts of single programs are the compiler's: bytes for arguments, results and in between, and operations, where the
body of a loop counts once.  "products" are floating-point operations of the matrix products that are in the program as
exported for that platform, bodies of loops once again; nothing has been run there.  Sweeps begin with
`studies.lanes.most_lanes()` and have twice as many each time, until the memory of the device, or of the machine on a
CPU, has no room for more, or as `--lanes` says; on a CPU and with `--small` without it there is but the first.
"memory" is the device's own account, where it has one.

Lines are appended to experiments/results/bench_accelerator.jsonl, or to `--output`.
"""

import argparse
import json
import math
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, random

import jaxcmh
from jaxcmh.datasets import Part, Split
from jaxcmh.learning import core, features
from jaxcmh.learning.linalg import exact
from jaxcmh.methods import registry
from jaxcmh.results import environment
from jaxcmh.retrieval import metrics, topk
from jaxcmh.studies import lanes

RESULTS = Path(__file__).parent / "results" / "bench_accelerator.jsonl"
METHODS = ("dcgh", "a2lh", "acqh", "aah", "imads")
ELSEWHERE = ("cuda", "tpu")
BOOKS, WORDS = 4, 256
MOST_LANES = 4096

_step = jax.jit(exact(core.step), static_argnums=0)


def times(function: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    """Seconds of the calls after the first, each until its result is there, and the last result; none of no calls."""
    value, seconds = jax.block_until_ready(function()) if repeats else None, []
    for _ in range(repeats):
        start = time.perf_counter()
        value = jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return seconds, value


def products(text: str) -> int:
    """Floating-point operations of the matrix products in StableHLO, loop bodies once."""
    total = 0
    for line in re.findall(r"stablehlo\.dot_general .*", text):
        contracted = re.search(r"contracting_dims = \[([\d, ]*)\]", line)
        left, _, out = re.search(r": \(tensor<([^>]*)>, tensor<([^>]*)>\) -> tensor<([^>]*)>", line).groups()  # pyright: ignore
        sizes, result = ([int(size) for size in shape.split("x")[:-1]] for shape in (left, out))
        summed = [sizes[int(axis)] for axis in re.findall(r"\d+", contracted[1] if contracted else "")]
        total += 2 * math.prod(result) * math.prod(summed)
    return total


def account(function: Any, *arguments: Any, **static: Any) -> dict[str, Any]:
    """What the compiler says of a jitted function on this device, and which products it has elsewhere."""
    compiled = function.lower(*arguments, **static).compile()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    sizes = {name: getattr(memory, f"{name}_size_in_bytes", None) for name in ("argument", "output", "temp")}
    elsewhere = {}
    for platform in ELSEWHERE:
        try:
            elsewhere[platform] = products(
                export.export(function, platforms=[platform])(*arguments, **static).mlir_module()
            )
        except (NotImplementedError, ValueError) as error:
            elsewhere[platform] = f"{type(error).__name__}: {error}"[:200]
    return {
        "bytes": sizes,
        "flops": cost.get("flops"),
        "bytes_moved": cost.get("bytes accessed"),
        "products": elsewhere,
    }


def roofline(small: bool, repeats: int) -> dict[str, Any]:
    """Rates of products, by precision, and of copies: the best of the calls."""
    size, numbers = (512, 1 << 20) if small else (8192 if jax.default_backend() != "cpu" else 2048, 1 << 28)
    found: dict[str, Any] = {}
    for name, dtype in (("highest", "float32"), ("high", "float32"), ("default", "float32"), ("float64", "float64")):
        if name == "float64" and jax.default_backend() == "tpu":
            continue
        with jax.enable_x64(name == "float64"):
            x = jnp.ones((size, size), dtype)
            precision = None if name in ("default", "float64") else name
            multiply = jax.jit(partial(jnp.matmul, precision=precision))
            found[name] = 2 * size**3 / min(times(partial(multiply, x, x), repeats)[0])
    x = jnp.ones(numbers, jnp.float32)
    copy = 8 * numbers / min(times(partial(jax.jit(lambda x: x + 1), x), repeats)[0])
    return {"part": "roofline", "matmul_flops_per_s": found, "copy_bytes_per_s": copy, "size": size}


def gram_flops(split: Split, method: core.Method) -> float:
    """Products that no training can do without: features with anchors, and what views and labels have in common."""
    n, classes = split.train.labels.shape
    total, columns = 0, []
    for x in split.train.views:
        q = min(method.features.anchors, n) if method.features.kind in features.KERNELS else x.shape[1]
        total += 2 * n * x.shape[1] * q if method.features.kind in features.KERNELS else 0
        columns.append(q)
    last = 2 * classes + 1
    pairs = sum(columns) ** 2 if method.across else sum(q * q for q in columns)
    return total + 2 * n * (pairs + sum(columns) * last + last**2)


def training(split: Split, name: str, bits: int, repeats: int, most: int | None) -> dict[str, Any]:
    method, views, labels = registry[name], split.train.views, split.train.labels
    options = {"bits": bits, "max_iterations": most, "tolerance": 0.0}
    seconds, _ = times(partial(_stages, name, views, labels, options), repeats)
    stages = _stages(name, views, labels, options) if repeats else None
    phi = [features.fit(method.features, random.key(0), x)[1] for x in views]
    data = core.prepare(phi, labels, across=method.across)
    rounds = most or method.max_iterations
    static = {"method": core.bare(method), "bits": bits, "max_iterations": rounds}
    whole = account(core._fit, data, random.key(1), as_arrays(method, data), jnp.float32(0), **static)
    step = of_a_step(method, core.ready(method, data, bits), bits)
    flops = gram_flops(split, method) + rounds * step["flops"]
    programs = {"fit": whole, "step": step}
    return {
        "method": name,
        "iterations": rounds,
        "stages": stages,
        "flops": flops,
        "programs": programs,
        "seconds": seconds,
    }


def as_arrays(method: core.Method, data: core.Data) -> Any:
    return jax.tree.map(lambda value: jnp.asarray(value, data.mask.dtype), method.params)


def of_a_step(method: core.Method, data: core.Data, bits: int) -> dict[str, Any]:
    """The account of one iteration; data are `ready`."""
    params = as_arrays(method, data)
    state = jax.eval_shape(lambda: method.init(random.key(1), data, params, bits))
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    return account(_step, core.bare(method), state, data, params)


def _stages(name: str, views: Any, labels: Any, options: dict[str, Any]) -> dict[str, float]:
    return dict(jaxcmh.train(name, views, labels, **options).times)


def sweeps(
    split: Split, name: str, bits: int, repeats: int, most: int | None, widest: int | None
) -> Iterator[dict[str, Any]]:
    """Sweeps of ever more lanes while there is room; where that is not forecast, how the device refused the last."""
    method, width = registry[name], 0
    widest = widest or (lanes.LANES if jax.default_backend() == "cpu" else MOST_LANES)
    count = min(lanes.most_lanes(), widest)
    rounds, chosen = most or method.max_iterations, (method.features,) * len(split.train.views)
    shared = lanes.ready(method, lanes.prepare(split, method, chosen, 0, count), bits)
    varied = [type(method.params)._fields[0]]
    flops = rounds * of_a_step(method, shared.data, bits)["flops"]
    options = {"bits": bits, "max_iterations": rounds, "memory": machine_gb()}
    while count <= widest:
        line = {"method": name, "iterations": rounds}
        try:
            call, found, _ = lanes.compiled(method, shared, varied, lanes=count, **options)
            if found <= width:  # as many as before
                return
            width, values = found, np.geomspace(0.1, 10, found)
            params = [method.params._replace(**{varied[0]: v * getattr(method.params, varied[0])}) for v in values]
            seconds = times(partial(call, shared, [0] * width, params, 0.0), repeats)[0]
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            yield {**line, "lanes": count, "refused": str(error)[:200], "seconds": []}
            return
        yield {**line, "lanes": width, "flops": width * flops, "seconds": seconds, "runs": width}
        if width < count:
            return
        count *= 2


def machine_gb() -> float | None:
    """GB of memory of the machine, on a CPU; elsewhere the device says itself what it has."""
    if jax.default_backend() != "cpu":
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def encoding(split: Split, bits: int, repeats: int) -> dict[str, Any]:
    model = jaxcmh.train("dcgh", *_some(split.train, 5000), bits=bits, max_iterations=1, tolerance=0.0)
    x = split.train.views[0]
    seconds, _ = times(lambda: jaxcmh.encode(model, x, 0), repeats)
    (n, d), q = x.shape, len(model.maps[0].anchors)
    block = jnp.asarray(x[: min(n, jaxcmh.model.ENCODE_ROWS)], jnp.float32)
    phi = features.map_rows(model.maps[0], block)
    programs = {
        "features": account(features.map_rows, model.maps[0], block),
        "hash": account(jaxcmh.model.pack_signs, phi, model.encoders[0]),
    }
    return {"rows": n, "flops": 2 * n * q * (d + bits), "programs": programs, "seconds": seconds}


def _some(part: Part, n: int) -> tuple[Any, Any]:
    return [x[:n] for x in part.views], part.labels[:n]


def codes(n: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, width), dtype=np.uint8)


def search(n: int, queries: int, bits: int, repeats: int) -> Iterator[dict[str, Any]]:
    own, items = codes(queries, bits // 8, 0), codes(n, bits // 8, 1)
    blocks, vectors = topk.arrange(items), np.random.default_rng(2).normal(size=(queries, 32)).astype(np.float32)
    books = np.random.default_rng(3).normal(size=(BOOKS, WORDS, 32)).astype(np.float32)
    words = topk.arrange(codes(n, BOOKS, 4))
    work = {"queries": queries, "items": n, "pairs": queries * n, "bytes": queries * n * bits // 8}
    for k in (10, min(1000, n)):
        hamming = partial(topk.hamming_topk, k=k, engine="jax")
        seconds, _ = times(partial(hamming, own, blocks), repeats)
        programs = {"search": account(jax.jit(lambda q, b, hamming=hamming: hamming(q, b)), own, blocks)}
        yield {"what": "hamming", "k": k, **work, "programs": programs, "seconds": seconds}
    seconds, _ = times(lambda: topk.lookup_topk(vectors, words, books, 10), repeats)
    programs = {"search": account(jax.jit(lambda q, b, C: topk.lookup_topk(q, b, C, 10)), vectors, words, books)}
    yield {"what": "look-up", "k": 10, **work, "bytes": queries * n * BOOKS, "programs": programs, "seconds": seconds}


def evaluation(split: Split, bits: int, repeats: int) -> Iterator[dict[str, Any]]:
    labels = split.query.labels, split.train.labels
    queries, n = (len(one) for one in labels)
    own, items = codes(queries, bits // 8, 0), codes(n, bits // 8, 1)
    vectors = np.random.default_rng(2).normal(size=(queries, 32)).astype(np.float32)
    books = np.random.default_rng(3).normal(size=(BOOKS, WORDS, 32)).astype(np.float32)
    labels_bytes = 4 * -(-labels[0].shape[1] // 32)
    work = {"queries": queries, "items": n, "pairs": queries * n, "bytes": queries * n * (bits // 8 + labels_bytes)}
    judged = metrics.judge(*labels)
    words = metrics._device_words(metrics._filled(items, len(judged.item_sets)))
    size = judged.query_sets.shape[1]
    block = metrics._filled(metrics._device_words(own[:size]), size), judged.query_sets[0]
    count = account(metrics._count, *block, metrics._chunked(words), *judged.chunks, bits=bits)
    counts = jnp.zeros((len(block[0]), bits + 1, 2), jnp.int32)
    turned, cuts = (block[0].T, block[1].T), jnp.asarray([n], jnp.int32)
    wide = metrics._has_float64()
    stable = account(metrics._stable, counts, *turned, words, judged.item_sets, cuts, wide=wide)
    for ties, programs in (("expected", {"count": count}), ("stable", {"count": count, "stable": stable})):
        seconds, _ = times(partial(metrics.hamming_metrics, own, items, *labels, ties=ties), repeats)
        yield {"what": f"hamming, {ties} ties", **work, "programs": programs, "seconds": seconds}
    seconds, _ = times(lambda: metrics.score_metrics(vectors, codes(n, BOOKS, 4), books, *labels), repeats)
    yield {"what": "look-up, expected ties", **work, "bytes": queries * n * (BOOKS + labels_bytes), "seconds": seconds}


def measured(part: str, split: Split, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    bits, repeats, most = arguments.bits, arguments.repeats, arguments.max_iterations
    if part in ("training", "sweep"):
        for name in arguments.methods:
            if part == "training":
                yield training(split, name, bits, repeats, most)
            else:
                yield from sweeps(split, name, bits, repeats, most, arguments.lanes)
    elif part == "encoding":
        yield encoding(split, bits, repeats)
    elif part == "search":
        yield from search(len(split.train.labels), len(split.query.labels), bits, repeats)
    else:
        yield from evaluation(split, bits, repeats)


def shares(line: dict[str, Any], roof: dict[str, Any]) -> dict[str, Any]:
    """The median of the seconds, and of what the device can do at most the share that the work comes to."""
    if not line["seconds"]:
        return {}
    median = statistics.median(line["seconds"])
    found: dict[str, Any] = {"median": median}
    if "flops" in line:
        found["of_matmul"] = {name: line["flops"] / median / rate for name, rate in roof["matmul_flops_per_s"].items()}
    if "bytes" in line:
        found["of_copy"] = line["bytes"] / median / roof["copy_bytes_per_s"]
    stats = jax.local_devices()[0].memory_stats()
    return found | {"memory": {name: stats.get(name) for name in MEMORY} if stats else None}


def table(lines: list[dict[str, Any]], shape: str) -> str:
    """Markdown: the last account of each program at a shape, compiled for a CPU, in MB and GFLOP."""
    found = {}
    for line in lines:
        wanted = line["shape"] == shape and line["environment"]["device"].startswith("cpu")
        what = " ".join(str(line[name]) for name in ("method", "what", "k") if name in line)
        for program, said in line.get("programs", {}).items() if wanted else ():
            sizes = [f"{said['bytes'][name] / 1e6:,.1f}" for name in ("argument", "output", "temp")]
            work = said["flops"], *(said["products"][platform] for platform in ELSEWHERE)
            gflop = [f"{count / 1e9:,.2f}" if isinstance(count, int | float) else "" for count in work]
            found[line["part"], what, program] = sizes + gflop
    names = ["part", "of", "program", "arguments", "results", "in between", "operations"]
    names += [f"products, {platform}" for platform in ELSEWHERE]
    rows = [names, ["---"] * 3 + ["--:"] * (len(names) - 3), *([*key, *cells] for key, cells in found.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


MEMORY = ("bytes_in_use", "peak_bytes_in_use", "bytes_limit")
PARTS = ("training", "sweep", "encoding", "search", "evaluation")


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--methods", nargs="+", choices=list(registry), default=METHODS)
    parser.add_argument("--shape", choices=("M", "N"), default="N")
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5, help="calls after the first, which compiles (default: 5)")
    parser.add_argument("--max-iterations", type=int, help="of trainings; the methods' own by default")
    parser.add_argument("--lanes", type=int, help="of sweeps, at most")
    parser.add_argument("--small", action="store_true", help="sizes and numbers of a trial")
    parser.add_argument("--accounts", action="store_true", help="compile and count, but time nothing")
    parser.add_argument("--table", action="store_true", help="print the accounts that there are of this shape")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args(words)
    if arguments.table:
        print(table([json.loads(line) for line in arguments.output.read_text().splitlines()], arguments.shape))
        return
    sizes: dict[str, Any] = {"train": 200, "query": 40} if arguments.small else {}
    if arguments.small:
        arguments.bits, arguments.repeats, arguments.max_iterations = 16, 1, 1
        arguments.lanes = arguments.lanes or lanes.most_lanes()
    if arguments.accounts:  # the program of a sweep is that of its trainings
        arguments.repeats, arguments.parts = 0, [part for part in arguments.parts if part != "sweep"]
    split = jaxcmh.load_dataset("synthetic" if arguments.small else f"synthetic:{arguments.shape}", **sizes)
    shape = "small" if arguments.small else arguments.shape
    where = {"shape": shape, "bits": arguments.bits, "environment": environment()}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with arguments.output.open("a") as lines:
        roof: dict[str, Any] = {}
        if arguments.repeats:
            roof = roofline(arguments.small, arguments.repeats)
            lines.write(json.dumps({**roof, **where}) + "\n")
            rates = ", ".join(f"{name} {rate / 1e12:.2f}" for name, rate in roof["matmul_flops_per_s"].items())
            print(
                f"{where['environment']['device']}: {rates} TFLOP/s; copies {roof['copy_bytes_per_s'] / 1e9:.1f} GB/s"
            )
        for part in arguments.parts:
            for line in measured(part, split, arguments):
                line |= shares(line, roof)
                lines.write(json.dumps({"part": part, **line, **where}) + "\n")
                lines.flush()
                said = [str(line[name]) for name in ("method", "what", "k", "lanes") if name in line]
                ofs = {"float32 products": line.get("of_matmul", {}).get("highest"), "copies": line.get("of_copy")}
                tail = ", ".join(f"{share:.1%} of {name}" for name, share in ofs.items() if share is not None)
                spent = f"{line['median']:9.4f} s  " if "median" in line else ""
                print(f"{part:10} {' '.join(said):28} {spent}{tail}", flush=True)


if __name__ == "__main__":
    main()
