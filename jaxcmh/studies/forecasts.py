"""What a training will take of memory and time, before its data are there: from two small trainings, and shapes."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from jaxcmh import brief
from jaxcmh.checks import Bits, Copies, Count, checked, filled
from jaxcmh.datasets.synthetic import Classes, Dims, synthetic
from jaxcmh.learning import memory
from jaxcmh.learning.features import Features
from jaxcmh.methods import find
from jaxcmh.model import resolve_features
from jaxcmh.progress import shown_while

__all__ = ["Forecast", "Measured", "Way", "forecast"]

LEAST, MOST = 5_000, 25_000  # pairs of the smaller of the two trainings
VISIBLE = 50_000_000  # bytes of raw and mapped features that these should have
TIMES = 4  # as many in the larger one
CHILD = """
import json, os, sys, time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import jaxcmh
from jaxcmh.studies.lanes import peak_memory
folder, n, views, streamed, room, method, options = json.loads(sys.argv[1])
*views, labels = (np.load(f"{folder}/{m}.npy", mmap_mode="r")[:n] for m in range(views + 1))
views = views if streamed else [np.array(x) for x in views]
options["features"] = [jaxcmh.Features(**kept) for kept in options["features"]]
for call in range(2):
    start = time.perf_counter()
    jaxcmh.train(method, views, np.array(labels), room=room, verbose=False, **options)
    seconds = time.perf_counter() - start
    peak = peak if call else peak_memory()
print(json.dumps([peak, seconds]))
"""


class Measured(NamedTuple):
    """A small training in a process of its own: `n` pairs, its peak memory, and the seconds of its second call.

    Example:
        >>> Measured(5_000, gb=0.5, seconds=1.0)
        Measured(n=5000, gb=0.5, seconds=1)
    """

    n: int
    gb: float
    seconds: float

    __repr__ = brief.text
    _repr_html_ = brief.table


class Way(NamedTuple):
    """What one way to train is expected to take.

    Attributes:
        way: "memory", "devices" (spread over several, numbers are of each), or "room" (views read from memory-mapped
            files, mapped features computed by blocks).
        gb: peak memory of the process.
        seconds: of the training, without compiling.
        measured: the two small trainings it was extended from.

    Example:
        >>> way = Way("room", 1.5, 40.0, measured=(Measured(5_000, 0.5, 1.0), Measured(20_000, 0.6, 3.0)))
        >>> f"{way.gb} GB in {way.seconds / 60:.1f} minutes"
        '1.5 GB in 0.7 minutes'
    """

    way: str
    gb: float
    seconds: float
    measured: tuple[Measured, Measured]

    __repr__ = brief.text
    _repr_html_ = brief.table


class Forecast(NamedTuple):
    """Expected memory and time of a training of `n` pairs, in each way asked for.

    Example:
        >>> small = Measured(5_000, 0.5, 1.0), Measured(20_000, 0.6, 3.0)
        >>> found = Forecast("dcgh", 1_000_000, (Way("memory", 9.0, 30.0, small), Way("room", 1.5, 40.0, small)))
        >>> min(found.ways, key=lambda way: way.gb).way
        'room'
    """

    method: str
    n: int
    ways: tuple[Way, ...]

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
@shown_while("training on small synthetic pairs")
def forecast(
    method: str,
    n: Count,
    dims: Dims,
    *,
    labels: Classes,
    bits: Bits = 32,
    features: Any = None,
    devices: Copies | None = None,
    ways: Annotated[Sequence[Literal["memory", "room"]], filled] = ("memory", "room"),
    verbose: bool | None = None,
) -> Forecast:
    """How much memory and time a training will take on this machine.

    Two trainings of synthetic pairs of these dimensions, of two small sizes, run in processes of their own.  Time is
    the straight line through the two: all heavy work is linear in n, for iterations work on reduced rows; label sets
    become more with n, but ever more slowly.  Memory is that of the larger one, and for all further pairs what their
    features, labels, state and codes take, see `jaxcmh.learning.memory`.  Devices share what grows with n evenly, which
    is an estimate: what they say to each other is left out.  With "room", files are in the system's cache while
    measured; slow disks take longer.

    Args:
        method: a name of `jaxcmh.methods.registry`, or of a variant.
        n: pairs to train on.
        dims: features of each view.
        labels: classes.
        bits: code length.
        features: as for `jaxcmh.train`.
        devices: also forecast a training that is spread over so many.
        ways: train in memory, or with mapped features computed by blocks.
        verbose: as for `jaxcmh.train`.

    Returns:
        `Forecast`.

    Raises:
        ValueError: an argument is not as described, or a small training does not run; the message says why.

    Example:
        >>> found = forecast("dcgh", 1_000_000, (500, 1000), labels=24)  # doctest: +SKIP
        >>> [way.way for way in found.ways]  # doctest: +SKIP
        ['memory', 'room']
    """
    chosen = find(method)
    kinds = resolve_features(features, chosen, len(dims))
    if len(dims) < 2:
        raise ValueError(f"dims: expected two views or more; got {dims}")
    sizes = sizes_for(kinds, dims, labels, bits)
    options = {"bits": bits, "features": [kind._asdict() for kind in kinds]}

    def needed(rows: float, kept: bool) -> float:
        raw = 4 * rows * sum(dims) / 1e9 if kept else 0
        return raw + memory.peak_gb(chosen, int(rows), dims, labels, bits, kinds, kept)

    found = []
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), sizes[1], dims, labels)
        for way in ways:
            kept = way == "memory"
            asked = [len(dims), not kept, None if kept else memory.NO_ROOM, method, options]
            small, large = (measure(folder, rows, asked) for rows in sizes)
            found.append(extended(way, small, large, n, partial(needed, kept=kept)))
            if kept and devices:
                found.append(extended("devices", small, large, n / devices, partial(needed, kept=True)))
    return Forecast(method, n, tuple(found))


def sizes_for(features: Sequence[Features], dims: Sequence[int], labels: int, bits: int) -> tuple[int, int]:
    """How many pairs the two small trainings have: more than there are reduced rows, and enough to tell them apart."""
    mapped = sum(memory.widths(features, dims, LEAST))
    p, seen = mapped + 2 * labels + 1, min(VISIBLE // (4 * (sum(dims) + mapped)), MOST)
    least = max(LEAST, p + p // 4, 2 * bits, seen)
    return least, TIMES * least


def write(folder: Path, n: int, dims: Sequence[int], labels: int) -> None:
    """Pairs that trainings read from the folder: a file for each view, and one for the labels behind them."""
    part = synthetic(train=n, query=1, dims=tuple(dims), labels=labels, cardinality=min(1.5, labels / 2)).train
    for m, array in enumerate((*part.views, part.labels)):
        np.save(folder / f"{m}.npy", array)


def measure(folder: str, n: int, asked: Sequence[Any]) -> Measured:
    """Train on the first n pairs in a process of its own."""
    words = [sys.executable, "-W", "ignore", "-c", CHILD, json.dumps([folder, n, *asked])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise ValueError(f"n: a training of {n} pairs does not run here: {said}")
    return Measured(n, *json.loads(done.stdout.splitlines()[-1]))


def extended(way: str, small: Measured, large: Measured, n: float, needed: Callable[[float], float]) -> Way:
    """What two measurements say of n pairs; `needed` is the memory of so many as shapes have it."""
    slope = max((large.seconds - small.seconds) / (large.n - small.n), 0.0)
    gb = large.gb + needed(n) - needed(large.n)
    return Way(way, gb, max(large.seconds + slope * (n - large.n), 0.0), (small, large))
