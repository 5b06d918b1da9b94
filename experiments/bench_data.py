"""How long reading data takes against the bare library call, and how much memory it needs.

python experiments/bench_data.py [--kinds npz h5 mat parquet] [--rows 184577] [--repeats 10]

For every kind of file at the N shape (NUS-WIDE: 500-d and 1,000-d float32, 10 labels): seconds of the library alone,
seconds of `load_dataset`, which also checks every value, and their ratio, each the best of the repeats; and for a file
of 500 MB the peak memory of a fresh process against the file. Rows of a file without a split are parted into queries
and database too, which the library does not do: there the time of the library and of NumPy parting the rows is given
as well. Lines go to experiments/results/bench_data.jsonl.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxcmh.datasets.split import random_rows
from jaxcmh.results import environment

RESULTS = Path(__file__).parent / "results" / "bench_data.jsonl"


def write_v73(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """HDF5 as MATLAB writes it: axes reversed, the class of an array as an attribute."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in arrays.items():
            item = file.create_dataset(key, data=np.ascontiguousarray(array.T))
            item.attrs["MATLAB_class"] = np.bytes_("single")


def write_parquet(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {k: pa.FixedSizeListArray.from_arrays(pa.array(a.ravel()), a.shape[1]) for k, a in arrays.items()}
    pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)


def bare_npz(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def bare_h5(path: Path) -> Any:
    import h5py

    with h5py.File(path, "r") as file:
        return {key: file[key][()] for key in file}  # pyright: ignore[reportIndexIssue]


def bare_mat(path: Path) -> Any:
    import scipy.io

    return scipy.io.loadmat(path)


def bare_parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return {name: table[name].combine_chunks().flatten().to_numpy() for name in table.column_names}


def savemat(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import scipy.io

    scipy.io.savemat(path, arrays)


KINDS: dict[str, tuple[Callable, Callable]] = {
    "npz": (lambda path, arrays: np.savez(path, **arrays), bare_npz),
    "h5": (write_v73, bare_h5),
    "mat": (savemat, bare_mat),
    "parquet": (write_parquet, bare_parquet),
}


def parted(bare: Callable, path: Path) -> list[np.ndarray]:
    """What the library reads, its rows parted as `load_dataset` does."""
    arrays = bare(path)
    arrays = {key: arrays[key] for key in ("image", "text", "labels")}
    n = max(arrays["labels"].size // 10, 1)
    query, database, _ = random_rows(n, 2000, None, 0)
    found = []
    for array in arrays.values():
        array = array.reshape(n, -1) if array.ndim == 1 else array
        found += [np.take(array, rows, axis=array.shape.index(n)) for rows in (query, database)]
    return found


def seconds(action: Callable[[Path], Any], path: Path) -> float:
    start = time.perf_counter()
    action(path)
    return time.perf_counter() - start


def record(line: dict[str, Any]) -> None:
    """One result line, on the screen and in the file."""
    with open(RESULTS, "a") as file:
        file.write(json.dumps(line | {"environment": environment()}) + "\n")
    print(line, flush=True)


def speed(folder: Path, kinds: list[str], rows: int, repeats: int) -> None:
    from jaxcmh.datasets import load_dataset

    rng = np.random.default_rng(0)
    n = {"tr": rows, "te": 2000}
    arrays = {f"I_{s}": rng.random((k, 500), np.float32) for s, k in n.items()}
    arrays |= {f"T_{s}": rng.random((k, 1000), np.float32) for s, k in n.items()}
    arrays |= {f"L_{s}": (rng.random((k, 10)) < 0.2).astype(np.uint8) for s, k in n.items()}
    whole = {"image": arrays["I_tr"], "text": arrays["T_tr"], "labels": arrays["L_tr"]}
    for kind in kinds:
        write, bare = KINDS[kind]
        for split, content in ((True, arrays), (False, whole)):
            if kind == "parquet" and split:
                continue  # columns of a table have equally many rows
            path = folder / f"set.{kind}"
            write(path, content)
            bare(path)
            actions = [bare, load_dataset, *([] if split else [partial(parted, bare)])]
            times = np.array([[seconds(action, path) for action in actions] for _ in range(repeats)])
            names = ("library s", "ours s", "library and parting s")
            line = {"what": "time", "file": kind, "split in file": split, "rows": rows, "repeats": repeats}
            best = times.min(axis=0)  # what other work on the machine adds is left out
            line |= dict(zip(names, best.tolist())) | {"ratio": float(best[1] / best[0])}
            if not split:
                line["ratio to library and parting"] = float(best[1] / best[2])
            record(line)
            path.unlink()


def memory(folder: Path, kinds: list[str]) -> None:
    rng = np.random.default_rng(0)
    n, halves = 60_000, (1042, 1042)
    content: dict[str, np.ndarray] = {
        "image": rng.random((n, halves[0]), np.float32),
        "text": rng.random((n, halves[1]), np.float32),
    }
    content["labels"] = (rng.random((n, 10)) < 0.2).astype(np.uint8)
    for kind in kinds:
        path = folder / f"set.{kind}"
        KINDS[kind][0](path, content)
        code = "import sys, experiments.bench_data as b; b.peak(sys.argv[1])"
        command = [sys.executable, "-c", code, str(path)]
        root = Path(__file__).resolve().parent.parent
        peak = int(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout)
        size = path.stat().st_size / 1e6
        record({"what": "memory", "file": kind, "file MB": size, "peak MB": peak / 1e3, "ratio": peak / 1e3 / size})
        path.unlink()


def peak(path: str) -> None:
    """Load a data set and print the largest memory this process has had, in kB, as Linux counts it."""
    from jaxcmh.datasets import load_dataset

    split = load_dataset(path)  # noqa: F841 (kept alive)
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rows", type=int, default=184_577)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        memory(Path(place), arguments.kinds)
        speed(Path(place), arguments.kinds, arguments.rows, arguments.repeats)
