"""Search times, as ratios to FAISS at equal threads.

    python experiments/bench_search.py                  everything
    python experiments/bench_search.py hamming lookup   these parts
    python experiments/bench_search.py large            10 million codes: time, memory, queries a second
    python experiments/bench_search.py query --sizes 18015 184577
                                                        one query, from features to ids, at these sizes

2,000 queries; 18,015 and 184,577 items; codes of 64 and 128 bits around 24 centres (a bit of an item or query differs
from its centre with probability 0.2), look-up codes at random from 4 books of 256 words. Each number of threads gets a
process of its own that may run on as many processors. Parties take turns, the best time of each counts, none includes
compilation.

`jax` and `numba` are the engines of `hamming_topk`, `auto` is what it chooses by itself. FAISS: the faster of the two
modes of IndexBinaryFlat (heap and counting); IndexPQ for look-up search with as many books and words (a book covers
K / 4 of the K dimensions there, all of them here, so the look-ups are equally many). Distances must be equal to those
of FAISS and ids in their order equal between our engines; FAISS orders ties in its own way, so there every id must have
the distance it comes with. Look-up scores must be those of an additive FAISS index over the same codebooks and codes.

`query` is one query end to end in processor time, in the mean of 100: from 512 features of a picture, or from 1,386
tags of which a few are set, to ids, by a model of 1,500 anchors, against NumPy's kernel, projection and packing in
front of FAISS's faster mode.
`distinct` searches codes that repeat as learned ones do: 10 among the 2,173 items of Wiki, 400 among the 184,577 of
NUS-WIDE with frequencies as 1, 1/2, 1/3, ...; 1, 50 and 2,000 queries together. Ids must be those of a search of all
items.

`large` builds, saves, loads and searches an index of 10 million 64-bit codes and measures the peak of memory before
FAISS is loaded. Lines go to experiments/results/bench_search.jsonl, or to `--output`; each part replaces its own lines.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "bench_search.jsonl"
SIZES = (18_015, 184_577)
QUERY_SIZES = (18_015, 184_577, 1_000_000, 10_000_000)
QUERIES = 2000
ROUNDS = 7
LARGE = 10_000_000


def target(engine: str, n: int, k: int) -> float | None:
    """The largest ratio to aim for."""
    if engine == "jax":
        return {10: 0.5, 100: 1.0 if n == SIZES[1] else None, 1000: 2.0}[k]
    if engine == "lookup":
        return {10: 0.6 if n == SIZES[0] else 1.0, 100: 1.0}[k]
    return 0.8 if engine == "numba" and k > 10 else None


def race(
    parties: dict[str, Callable[[], object]],
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
    least: float = 0.0,
) -> dict[str, float]:
    """Best time of each, measured in turns after a first call; calls are repeated until they take `least` seconds."""
    best, calls = dict.fromkeys(parties, float("inf")), {}
    for name, function in parties.items():
        function()
        start = clock()
        function()
        calls[name] = 1 + int(least / max(clock() - start, 1e-6))
    for _ in range(rounds):
        for name, function in parties.items():
            start = clock()
            for _ in range(calls[name]):
                function()
            best[name] = min(best[name], (clock() - start) / calls[name])
    return best


def clustered(n: int, bits: int, seed: int) -> Any:
    """(n, bits / 8) codes around 24 centres that are the same for every seed."""
    import numpy as np

    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).integers(0, 2, (24, bits), dtype=np.uint8)
    signs = centres[rng.integers(0, 24, n)] ^ (rng.random((n, bits)) < 0.2)
    return np.packbits(signs, axis=1, bitorder="little")


def both(codes: Any) -> list[Any]:
    """FAISS's index of codes in its two modes, heap and counting: to change the mode of one takes part of a search."""
    import faiss

    flats = [faiss.IndexBinaryFlat(8 * codes.shape[1]) for _ in range(2)]
    for flat, heap in zip(flats, (True, False)):
        flat.add(codes)
        flat.use_heap = heap  # pyright: ignore[reportAttributeAccessIssue]
    return flats


def hamming(threads: int) -> list[dict[str, Any]]:
    import faiss
    import jax
    import numpy as np

    from jaxcmh.retrieval.topk import arrange, hamming_topk

    faiss.omp_set_num_threads(threads)
    lines = []
    for bits in (64, 128):
        queries = clustered(QUERIES, bits, 1)
        for n in SIZES:
            codes = clustered(n, bits, 2)
            blocks, flat = jax.block_until_ready(arrange(codes)), faiss.IndexBinaryFlat(bits)
            flat.add(codes)

            def theirs(k: int, heap: bool, flat: Any = flat, queries: Any = queries) -> Any:
                flat.use_heap = heap
                return flat.search(queries, k)

            def ours(k: int, engine: Any, queries: Any = queries, blocks: Any = blocks) -> Any:
                return jax.block_until_ready(hamming_topk(queries, blocks, k, engine=engine))

            for k in (10, 100, 1000):
                distances, ids = (np.asarray(x) for x in ours(k, "jax"))
                for engine in ("numba", "auto"):
                    np.testing.assert_array_equal(ours(k, engine), [distances, ids])
                for heap in (True, False):
                    their_distances, their_ids = theirs(k, heap)
                    np.testing.assert_array_equal(np.sort(their_distances, axis=1), distances)
                    exact = np.bitwise_count(codes[their_ids] ^ queries[:, None]).sum(axis=2, dtype=np.int32)
                    np.testing.assert_array_equal(exact, their_distances)
                times = race(
                    {
                        **{e: lambda k=k, e=e: ours(k, e) for e in ("jax", "numba", "auto")},
                        "heap": lambda k=k: theirs(k, True),
                        "counting": lambda k=k: theirs(k, False),
                    }
                )
                mode = min(("heap", "counting"), key=lambda name: times[name])
                for engine in ("jax", "numba", "auto"):
                    size = {"part": "hamming", "bits": bits, "n": n, "n_queries": QUERIES, "k": k, "threads": threads}
                    size |= {"engine": engine, "faiss": f"IndexBinaryFlat, {mode}"}
                    lines.append(compared(size, times[engine], times[mode], target(engine, n, k)))
    return lines


def lookup(threads: int) -> list[dict[str, Any]]:
    import faiss
    import jax
    import numpy as np

    from jaxcmh.index import build
    from jaxcmh.index.faiss import to_faiss
    from jaxcmh.retrieval.topk import lookup_topk

    faiss.omp_set_num_threads(threads)
    lines = []
    for width in (32, 128):
        rng = np.random.default_rng(0)
        books = rng.normal(size=(4, 256, width)).astype(np.float32)
        queries = rng.normal(size=(QUERIES, width)).astype(np.float32)
        for n in SIZES:
            codes = rng.integers(0, 256, (n, 4), dtype=np.uint8)
            index = build(codes, codebooks=books)
            product = faiss.IndexPQ(width, 4, 8, faiss.METRIC_INNER_PRODUCT)
            sub_vectors = rng.normal(size=(4, 256, width // 4)).astype(np.float32)
            faiss.copy_array_to_vector(sub_vectors.ravel(), product.pq.centroids)
            product.is_trained = True
            product.add_sa_codes(codes)
            for k in (10, 100):

                def ours(k: int = k, index: Any = index, queries: Any = queries) -> Any:
                    return jax.block_until_ready(lookup_topk(queries, index.blocks, index.codebooks, k))

                scores, _ = to_faiss(index).search(queries[:200], k)
                np.testing.assert_allclose(np.asarray(ours()[0])[:200], scores, rtol=1e-4, atol=1e-3)
                times = race({"jax": ours, "pq": lambda k=k, p=product, q=queries: p.search(q, k)})
                size = {"part": "lookup", "width": width, "books": 4, "n": n, "n_queries": QUERIES, "k": k}
                size |= {"threads": threads, "engine": "jax", "faiss": "IndexPQ"}
                lines.append(compared(size, times["jax"], times["pq"], target("lookup", n, k)))
    return lines


def query(threads: int, sizes: tuple[int, ...] = QUERY_SIZES) -> list[dict[str, Any]]:
    import faiss
    import numpy as np

    import jaxcmh
    from jaxcmh import index as indexes
    from jaxcmh.learning import one_row
    from jaxcmh.retrieval import topk

    faiss.omp_set_num_threads(threads)
    split = jaxcmh.load_dataset("synthetic:M", train=5000, query=100)
    model = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=64)
    numba, packing, lines = topk._numba, one_row._numba, []
    for n in sizes:
        codes = np.concatenate([clustered(min(1_000_000, n - i), 64, 2 + i) for i in range(0, n, 1_000_000)])
        index, heap, counting = indexes.build(codes, model=model), *both(codes)
        for view, x in enumerate(split.query.views):
            d, rows, W = x.shape[1], [x[i : i + 1] for i in range(len(x))], np.asarray(model.encoders[view])
            anchors, sigma = np.asarray(model.maps[view].anchors), np.float32(model.maps[view].sigma)
            squares = (anchors * anchors).sum(1)

            def bare(x: Any, k: int, flat: Any, parts: Any = (W, anchors, squares, sigma)) -> Any:
                W, anchors, squares, sigma = parts
                distance = np.maximum((x * x).sum(1)[:, None] + squares - 2 * (x @ anchors.T), 0)
                code = np.packbits(np.exp(distance / (-2 * sigma**2)) @ W >= 0, axis=1, bitorder="little")
                return flat.search(code, k)

            def ours(x: Any, k: int, jax_only: bool, index: Any = index, view: int = view) -> Any:
                topk._numba = (lambda: None) if jax_only else numba
                one_row._numba = (lambda: None) if jax_only else packing
                return indexes.search(index, x, k, model=model, view=view)

            for k in (10, 100):
                equal = [np.array_equal(np.sort(bare(x, k, heap)[0]), ours(x, k, False)[0]) for x in rows]
                assert np.mean(equal) > 0.95, "but for bits of which rounding decides, distances are the same"
                turn = itertools.cycle(rows)
                times = race(
                    {
                        "auto": lambda k=k, turn=turn: ours(next(turn), k, False),
                        "jax": lambda k=k, turn=turn: ours(next(turn), k, True),
                        "heap": lambda k=k, flat=heap, turn=turn: bare(next(turn), k, flat),
                        "counting": lambda k=k, flat=counting, turn=turn: bare(next(turn), k, flat),
                    },
                    clock=time.process_time,
                    least=0.05,
                )
                mode = min(("heap", "counting"), key=lambda name: times[name])
                for engine, most in (("auto", 1.0), ("jax", 3.0)):
                    size = {"part": "query", "bits": 64, "features": d, "n": n, "n_queries": 1, "k": k}
                    size |= {"threads": threads, "engine": engine, "faiss": f"NumPy and IndexBinaryFlat, {mode}"}
                    lines.append(compared(size, times[engine], times[mode], most))
    return lines


def distinct(threads: int) -> list[dict[str, Any]]:
    import faiss
    import numpy as np

    from jaxcmh.retrieval import topk

    faiss.omp_set_num_threads(threads)
    lines = []
    for different, n in ((10, 2173), (400, SIZES[1])):
        share = 1 / np.arange(1, different + 1)
        drawn = np.random.default_rng(0).choice(different, n, p=share / share.sum())
        codes, queries = clustered(different, 64, 2)[drawn], clustered(QUERIES, 64, 1)
        once, each, (heap, counting) = topk.distinct(codes), topk.arrange(codes), both(codes)
        for asked in (queries[:1], queries[:50], queries):
            for k in (10, 100):
                engines = ("auto", "jax")
                for engine in engines:
                    np.testing.assert_array_equal(
                        topk.nearest(asked, once, k, engine=engine), topk.nearest(asked, each, k, engine="jax")
                    )
                times = race(
                    {
                        **{e: lambda e=e, q=asked, k=k, b=once: topk.nearest(q, b, k, engine=e) for e in engines},
                        "heap": lambda q=asked, k=k, flat=heap: flat.search(q, k),
                        "counting": lambda q=asked, k=k, flat=counting: flat.search(q, k),
                    },
                    clock=time.process_time,
                    least=0.02,
                )
                mode = min(("heap", "counting"), key=lambda name: times[name])
                for engine in engines:
                    size = {"part": "distinct", "bits": 64, "distinct": int(once.n), "n": n, "n_queries": len(asked)}
                    size |= {"k": k, "threads": threads, "engine": engine, "faiss": f"IndexBinaryFlat, {mode}"}
                    lines.append(compared(size, times[engine], times[mode], 0.2 if engine == "auto" else None))
    return lines


def large(threads: int) -> list[dict[str, Any]]:
    import resource

    import numpy as np

    from jaxcmh import index as indexes

    queries, seconds = clustered(200, 64, 1), {}
    codes = np.concatenate([clustered(LARGE // 20, 64, 2 + i) for i in range(20)])

    def timed(name: str, function: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        value = function()
        seconds[name] = time.perf_counter() - start
        return value

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/index.safetensors"
        index = timed("build", lambda: indexes.build(codes))
        timed("save", lambda: indexes.save(index, path))
        stored = os.path.getsize(path)
        del index
        index = timed("load", lambda: indexes.load(path))
    counts = (10, 100)
    found = {k: indexes.search(index, queries, k) for k in counts}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    import faiss

    faiss.omp_set_num_threads(threads)
    flat = faiss.IndexBinaryFlat(64)
    flat.add(codes)
    lines = []
    for k in counts:
        np.testing.assert_array_equal(np.sort(flat.search(queries, k)[0], axis=1), found[k][0])
        exact = np.bitwise_count(codes[found[k][1]] ^ queries[:, None]).sum(axis=2)
        np.testing.assert_array_equal(exact, found[k][0])

        def theirs(heap: bool, k: int = k) -> Any:
            flat.use_heap = heap  # pyright: ignore[reportAttributeAccessIssue]
            return flat.search(queries, k)

        times = race(
            {
                "ours": lambda k=k: indexes.search(index, queries, k),
                "heap": lambda: theirs(True),
                "counting": lambda: theirs(False),
            },
            3,
        )
        mode = min(("heap", "counting"), key=lambda name: times[name])
        size = {"part": "large", "bits": 64, "n": LARGE, "n_queries": len(queries), "k": k, "threads": threads}
        size |= {"engine": "auto", "faiss": f"IndexBinaryFlat, {mode}"}
        line = compared(size, times["ours"], times[mode], None)
        line |= {"queries_per_second": len(queries) / times["ours"], "faiss_qps": len(queries) / times[mode]}
        lines.append(line | {f"{name}_seconds": value for name, value in seconds.items()})
        lines[-1] |= {"peak_gib": peak, "target_gib": 2, "file_mib": stored / 2**20}
    return lines


def compared(size: dict[str, Any], ours: float, theirs: float, most: float | None) -> dict[str, Any]:
    return size | {"seconds": ours, "faiss_seconds": theirs, "ratio": ours / theirs, "target": most}


PARTS: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "hamming": hamming,
    "lookup": lookup,
    "query": query,
    "distinct": distinct,
    "large": large,
}


def child(part: str, threads: int, sizes: list[int]) -> list[dict[str, Any]]:
    """Lines of a part, measured in a process of its own on that many processors."""
    surroundings = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # they slow a current NumPy
        surroundings.pop(name, None)
    command = [sys.executable, __file__, "--child", part, "--threads", str(threads), "--sizes", *map(str, sizes)]
    done = subprocess.run(command, env=surroundings, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(QUERY_SIZES), help="items, for query")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--child", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads[0]])
        sizes = {"sizes": tuple(arguments.sizes)} if arguments.child == "query" else {}
        for line in PARTS[arguments.child](arguments.threads[0], **sizes):
            print(json.dumps(line))
        return
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    parts = arguments.parts or list(PARTS)
    from jaxcmh.results import environment

    lines = [line for part in parts for threads in arguments.threads for line in child(part, threads, arguments.sizes)]
    for line in lines:
        what = f"{line['bits']} bits" if "bits" in line else f"K = {line['width']}"
        bound = "" if line["target"] is None else f"  (at most {line['target']})"
        print(
            f"{line['part']:>8} {what:>9} {line['n']:>11,} {line['n_queries']:>5} queries k={line['k']:<5} "
            f"{line['threads']} threads "
            f"{line['engine']:>6} {line['seconds']:9.6f} s, FAISS {line['faiss_seconds']:9.6f} s, "
            f"ratio {line['ratio']:5.2f}{bound}"
        )
    kept = []
    if arguments.output.exists():
        kept = [json.loads(text) for text in arguments.output.read_text().splitlines()]
    surroundings = environment()
    kept = [line for line in kept if line["part"] not in parts]
    kept += [line | {"environment": surroundings} for line in lines]
    part_file = arguments.output.with_name(arguments.output.name + ".part")
    part_file.write_text("".join(json.dumps(line) + "\n" for line in kept))
    part_file.replace(arguments.output)


if __name__ == "__main__":
    main()
