"""Training on pairs that are read from disk: time and peak memory against the number of pairs.

    python experiments/bench_scale.py --folder FOLDER --n 100000 1000000 10000000 --methods dcgh imads
    python experiments/bench_scale.py --folder FOLDER --n 100000 2000000
    python experiments/bench_scale.py --folder FOLDER --compare --methods dcgh imads
    python experiments/bench_scale.py --folder FOLDER --processes 1 2 4 --n 200000 --methods dcgh imads
    python experiments/bench_scale.py --table

Pairs have 64 and 128 features, 24 classes and one of 2,000 label sets; they are written to FOLDER block by block, 0.8
GB for a million, each the same whatever n is, and stay there.  A process of its own trains each method, with
memory-mapped views and mapped features that are computed by blocks; its peak resident memory, read before the
evaluation, counts pages of the files too.  mAP is that of 1,000 new queries among the first 100,000 pairs.  With
--compare, 184,577 pairs of NUS-WIDE's shape (500 and 1,000 features, 10 classes) are learned from arrays in memory
("memory"), from disk with the mapped features kept ("kept"), and from disk with these computed by blocks ("blocks"),
and the ratios of the best times are printed.  With --processes, the pairs are learned by so many processes of one
device each, and by one process of eight devices, with the mapped features kept.  `data_gb` is what the peak of each
process is above that of processes which train on 10,000 pairs, so that what does not grow with the pairs is not in it,
and `bits_differ` the share of the bits of the learned codes that are others than with the first number of processes.
Lines go to experiments/results/bench_scale.jsonl; --table prints those that there are.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two BLAS threads on busy cores are slower than one

import numpy as np

import jaxcmh
from jaxcmh.results import environment

RESULTS = Path(__file__).parent / "results" / "bench_scale.jsonl"
BLOCK = 1 << 16  # pairs written at a time
FEW = 10_000  # pairs whose training takes what does not grow with them
QUERIES = 1 << 20  # the number of the block that queries come from
SETS = 2_000  # distinct label sets at most
SHAPE = {"dims": (64, 128), "classes": 24}
NUSWIDE = {"dims": (500, 1_000), "classes": 10}
RUNS = (100_000, 1_000_000, 10_000_000), (100_000, 2_000_000)  # numbers of pairs that have a table
ROOM = {"memory": None, "kept": 2.0, "blocks": 1e-9}  # GB for mapped features

TRAIN = """
import dataclasses, json, os, sys, time
import numpy as np
import jaxcmh
from jaxcmh.studies.lanes import peak_memory
folder, method, n, bits, anchors, mode, room, repeats, sample = json.loads(sys.argv[1])
*views, labels = (np.load(f"{folder}/{name}.npy", mmap_mode="r")[:n] for name in ("image", "text", "labels"))
views = [np.array(x) for x in views] if mode == "memory" else views
labels = np.array(labels)
features = jaxcmh.methods.registry[method].features._replace(anchors=anchors)
spent = []
for _ in range(repeats):
    start = time.perf_counter()
    model = jaxcmh.train(method, views, labels, bits=bits, features=features, room=room)
    spent.append(time.perf_counter() - start)
peak = peak_memory()
some = dataclasses.replace(model, codes=model.codes[..., :sample, :], info=model.info._replace(n=min(n, sample)))
*queries, wanted = (np.load(f"{folder}/query_{name}.npy") for name in ("image", "text", "labels"))
found = jaxcmh.evaluate(some, queries, wanted, labels[:sample])
line = {"first": spent[0], "seconds": min(spent), "calls": spent, "times": model.times, "peak_gb": peak}
print(json.dumps(line | {"i2t": found["i2t"], "t2i": found["t2i"]}))
"""

TOGETHER = """
import dataclasses, json, os, sys, time
import jax
folder, method, n, bits, anchors, count, devices, sample, address, number = json.loads(sys.argv[1])
jax.config.update("jax_num_cpu_devices", devices)
if count > 1:
    jax.distributed.initialize(address, count, number)
import numpy as np
import jaxcmh
from jaxcmh.learning.mesh import row_mesh
from jaxcmh.studies.lanes import peak_memory
*views, labels = (np.load(f"{folder}/{name}.npy", mmap_mode="r") for name in ("image", "text", "labels"))
mesh, features = row_mesh(), jaxcmh.methods.registry[method].features._replace(anchors=anchors)
mesh, room = (mesh, None) if mesh.size > 1 else (None, 1e6)
start = time.perf_counter()
part = [x[:n] for x in views], np.array(labels[:n])
model = jaxcmh.train(method, *part, bits=bits, features=features, room=room, mesh=mesh)
seconds, peak = time.perf_counter() - start, peak_memory()
if count > 1:
    jax.distributed.shutdown()
line = {"seconds": seconds, "peak_gb": peak, "times": model.times}
if number == 0:
    np.save(f"{folder}/codes.npy", model.codes)
    some = dataclasses.replace(model, codes=model.codes[..., :sample, :], info=model.info._replace(n=min(n, sample)))
    *queries, wanted = (np.load(f"{folder}/query_{name}.npy") for name in ("image", "text", "labels"))
    found = jaxcmh.evaluate(some, queries, wanted, np.array(labels[: min(n, sample)]))
    line |= {"i2t": found["i2t"], "t2i": found["t2i"]}
print(json.dumps(line))
"""


def pairs(
    block: int, rows: int, dims: Sequence[int], classes: int, seed: int = 0
) -> tuple[list[np.ndarray], np.ndarray]:
    """Rows of a block: views (rows, d_m) float32 and labels (rows, classes) uint8; the same for the same arguments."""
    shared, own = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1, block])
    sets = np.eye(classes, dtype=np.uint8)[shared.integers(classes, size=(SETS, 4))]
    sets = (sets * (np.arange(4) <= shared.integers(4, size=(SETS, 1)))[:, :, None]).max(1)
    prototypes = [shared.standard_normal((classes, d), np.float32) for d in dims]
    labels = sets[(SETS * own.random(rows) ** 2).astype(int)]  # some sets are far more frequent than others
    weights = labels / np.sqrt(labels.sum(1, keepdims=True), dtype=np.float32)
    return [weights @ P + 2 * own.standard_normal((rows, P.shape[1]), np.float32) for P in prototypes], labels


def rows_of(path: Path) -> int:
    return np.load(path, mmap_mode="r").shape[0] if path.exists() else 0


def write(folder: Path, n: int, dims: Sequence[int], classes: int) -> None:
    """At least n pairs and 1,000 queries in the folder, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("image", "text", "labels")
    if min(rows_of(folder / f"{name}.npy") for name in names) >= n:
        return
    queries, wanted = pairs(QUERIES, 1_000, dims, classes)
    for name, array in zip(names, (*queries, wanted)):
        np.save(folder / f"query_{name}.npy", array)
    with ExitStack() as opened:
        files = [opened.enter_context(open(folder / f"{name}.part", "wb")) for name in names]
        for file, width, kind in zip(files, (*dims, classes), ("<f4", "<f4", "|u1")):
            header = {"descr": kind, "fortran_order": False, "shape": (n, width)}
            np.lib.format.write_array_header_1_0(file, header)
        for block, start in enumerate(range(0, n, BLOCK)):
            views, labels = pairs(block, BLOCK, dims, classes)
            for file, array in zip(files, (*views, labels)):
                file.write(array[: n - start].tobytes())
    for name in names:
        os.replace(folder / f"{name}.part", folder / f"{name}.npy")


def train(folder: Path, method: str, n: int, bits: int, anchors: int, mode: str, repeats: int) -> dict[str, Any]:
    """What a training in a process of its own says of itself."""
    asked = json.dumps([str(folder), method, n, bits, anchors, mode, ROOM[mode], repeats, 100_000])
    done = subprocess.run([sys.executable, "-c", TRAIN, asked], stdout=subprocess.PIPE, text=True, check=True)
    said = {"method": method, "mode": mode, "n": n, "bits": bits, "anchors": anchors}
    return said | json.loads(done.stdout.splitlines()[-1])


def train_together(
    folder: Path, method: str, n: int, bits: int, anchors: int, count: int, devices: int
) -> tuple[dict[str, Any], np.ndarray]:
    """What processes that train together say of themselves, those of all in lists; and the learned codes."""
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    asked = [str(folder), method, n, bits, anchors, count, devices, 100_000, address]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, json.dumps([*asked, number])], stdout=subprocess.PIPE, text=True
        )
        for number in range(count)
    ]
    said = [process.communicate()[0].splitlines() for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"{method}: one of {count} processes failed")
    each = [json.loads(lines[-1]) for lines in said]
    line = {"method": method, "mode": "together", "n": n, "bits": bits, "anchors": anchors, "processes": count}
    line |= {"devices": devices, **each[0], "seconds": max(one["seconds"] for one in each)}
    line["peak_gb"] = [one["peak_gb"] for one in each]
    codes = np.load(folder / "codes.npy")
    (folder / "codes.npy").unlink()
    return line, codes


def together(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    (n,) = arguments.n
    write(arguments.folder / "pairs", n, **SHAPE)
    for method in arguments.methods:
        first = None
        for count, devices in [*((count, 1) for count in arguments.processes), (1, 8)]:
            options = arguments.bits, arguments.anchors, count, devices
            few, _ = train_together(arguments.folder / "pairs", method, min(n, FEW), *options)
            line, codes = train_together(arguments.folder / "pairs", method, n, *options)
            line["data_gb"] = [peak - small for peak, small in zip(line["peak_gb"], few["peak_gb"])]
            first = codes if first is None else first
            line |= {"what": "together", "bits_differ": float(np.bitwise_count(first ^ codes).mean() / 8)}
            peaks = " ".join(f"{peak:.2f} ({data:.2f})" for peak, data in zip(line["peak_gb"], line["data_gb"]))
            said = f"{method:<17}{count} processes, {devices} devices each {line['seconds']:9.1f} s  {peaks} GB  "
            said += f"{line['bits_differ']:.5f} of bits differ  mAP {line['i2t']:.3f} {line['t2i']:.3f}"
            print(said, flush=True)
            yield line


def slope(lines: Sequence[dict]) -> float:
    """Of log time against log n, first calls."""
    return float(np.polyfit(np.log([line["n"] for line in lines]), np.log([line["first"] for line in lines]), 1)[0])


def scaled(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    write(arguments.folder / "pairs", max(arguments.n), **SHAPE)
    for method in arguments.methods:
        lines = []
        for n in sorted(arguments.n):
            line = train(arguments.folder / "pairs", method, n, arguments.bits, arguments.anchors, "blocks", 1)
            line |= {"what": "scale", "limit_gb": arguments.limit_gb, "within": line["peak_gb"] <= arguments.limit_gb}
            lines.append(line)
            show(line)
            yield line
        if len(lines) > 1:
            print(f"{method}: slope {slope(lines):.2f}", flush=True)


def table(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Rows in Markdown."""
    return [f"| {' | '.join(row)} |" for row in (names, ["---", *["--:"] * (len(names) - 1)], *cells)]


def last_of_each(lines: Sequence[dict], what: str, *names: str) -> dict[tuple, dict]:
    """Lines of a kind by the values of these names, the last of each."""
    return {tuple(line[name] for name in names): line for line in lines if line["what"] == what}


def both_ways(line: dict) -> str:
    return f"{line['i2t']:.3f} / {line['t2i']:.3f}"


def scale_table(lines: Sequence[dict], numbers: Sequence[int]) -> list[str]:
    """The methods that have a line for each of these numbers of pairs."""
    of = last_of_each(lines, "scale", "method", "n")
    runs = [[of[method, n] for n in numbers if (method, n) in of] for method in jaxcmh.methods.registry]
    return table(
        ["method", *(f"{n:,}, s" for n in numbers), "slope", *(f"{n:,}, GB" for n in numbers)],
        [
            [run[0]["method"], *(f"{line['first']:.1f}" for line in run), f"{slope(run):.2f}"]
            + [f"{line['peak_gb']:.2f}" for line in run]
            for run in runs
            if len(run) == len(numbers)
        ],
    )


def compare_table(lines: Sequence[dict]) -> list[str]:
    shown = {"seconds": ".1f", "ratio": ".2f", "peak_gb": ".2f"}
    return table(
        ["method", "mapped features", "s", "times that in memory", "peak, GB", "i2t / t2i"],
        [
            [line["method"], line["mode"], *(f"{line[name]:{spec}}" for name, spec in shown.items()), both_ways(line)]
            for line in last_of_each(lines, "compare", "method", "mode").values()
        ],
    )


def together_table(lines: Sequence[dict]) -> list[str]:
    return table(
        ["method", "processes", "devices of each", "s", "peak, GB", "of that data, GB", "bits differ", "i2t / t2i"],
        [
            [line["method"], str(line["processes"]), str(line["devices"]), f"{line['seconds']:.1f}"]
            + [", ".join(f"{one:.2f}" for one in line[name]) for name in ("peak_gb", "data_gb")]
            + [f"{line['bits_differ']:.5f}", both_ways(line)]
            for line in last_of_each(lines, "together", "method", "processes", "devices").values()
        ],
    )


def tables(path: Path = RESULTS) -> list[list[str]]:
    """Tables of the lines of a file; where something was measured more than once, of the last."""
    lines = list(map(json.loads, path.read_text().splitlines()))
    return [*(scale_table(lines, numbers) for numbers in RUNS), compare_table(lines), together_table(lines)]


def compared(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    (n,) = arguments.n
    write(arguments.folder / "nuswide", n, **NUSWIDE)
    for method in arguments.methods:
        lines = {}
        for mode in ROOM:
            place, options = arguments.folder / "nuswide", (arguments.bits, arguments.anchors, mode, arguments.repeats)
            lines[mode] = train(place, method, n, *options) | {"what": "compare"}
            lines[mode]["ratio"] = lines[mode]["seconds"] / lines["memory"]["seconds"]
            show(lines[mode])
            yield lines[mode]


def show(line: dict[str, Any]) -> None:
    ratio = f"  {line['ratio']:.2f} times memory" if "ratio" in line else ""
    spent = " ".join(f"{name} {seconds:.1f}" for name, seconds in line["times"].items())
    said = f"{line['method']:<17}{line['mode']:<7}{line['n']:>12,}{line['bits']:>4} bits"
    said += f"{line['seconds']:9.1f} s ({spent})  {line['peak_gb']:.2f} GB  mAP {line['i2t']:.3f} {line['t2i']:.3f}"
    print(f"{said}{ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where pairs are written")
    parser.add_argument("--n", nargs="+", type=int, help="pairs (default: 100000; 184577 with --compare)")
    parser.add_argument("--methods", nargs="+", choices=list(jaxcmh.methods.registry))
    parser.add_argument("--bits", type=int, default=16)
    parser.add_argument("--anchors", type=int, default=500)
    parser.add_argument("--limit-gb", type=float, default=4.0, help="a line says whether its peak is within")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--processes", nargs="+", type=int, help="numbers of processes that train together")
    parser.add_argument("--repeats", type=int, default=2, help="calls of each kind with --compare (default: 2)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the tables of the lines that there are")
    arguments = parser.parse_args()
    if arguments.table:
        print("\n\n".join(map("\n".join, tables(arguments.results))))
        return
    if arguments.folder is None:
        parser.error("--folder: expected a folder for the pairs")
    arguments.methods = arguments.methods or list(jaxcmh.methods.registry)
    arguments.n = arguments.n or [184_577 if arguments.compare else 100_000]
    for line in (together if arguments.processes else compared if arguments.compare else scaled)(arguments):
        with arguments.results.open("a") as file:
            file.write(json.dumps({**line, "environment": environment()}) + "\n")


if __name__ == "__main__":
    main()
