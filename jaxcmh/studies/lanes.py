"""Many runs of one method side by side: what no hyper-parameter touches is computed once, and codes stay on the device.

`prepare` maps training rows, queries and database for one seed; `compiled` trains and encodes a few lanes in one
call; `scores` measures one lane.  A lane is what `jaxcmh.train` with its seed and hyper-parameters gives, but for the
order of float32 sums.
"""

import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random
from jax.sharding import Mesh, PartitionSpec

from jaxcmh import checks, model
from jaxcmh.datasets import Split
from jaxcmh.learning import compilation, core
from jaxcmh.learning import features as feature_maps
from jaxcmh.learning.core import Data, Method
from jaxcmh.learning.encoders import decomposed, of_view
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import exact
from jaxcmh.learning.processes import devices_of, everywhere
from jaxcmh.retrieval import metrics

LANES = 8  # in a call, side by side; twice as many were no faster on two cores
MANY = 64  # the same on an accelerator, whose cores a few leave idle; fewer where its memory has no room for them
CALLS = 2  # at once, for the decompositions of a call, one after the other, keep one core
# Runs on one data set from which on the singular values of its views, which serve every ridge weight, cost less than
# a QR factor per weight.
SVD_RUNS = 8


class Shared(NamedTuple):
    """Everything that lanes have in common."""

    data: Data
    queries: tuple[Array, ...]  # (n_q, q_m) mapped queries
    items: tuple[Array, ...]  # (n, q_m) mapped database, where it is not what is learned from; else empty
    labelled: Array | None = None  # its rows that are learned from, where others have no labels


class Lane(NamedTuple):
    """What is kept of a run; in what `compiled` returns every leaf has a leading axis of lanes."""

    learned: Array  # (n, bits/8) or (views, n, bits/8) packed codes, or (n, books) words, of the training items
    encoded: tuple[Array, ...]  # the database encoded from each view
    queries: tuple[Array, ...]  # (n_q, bits/8) packed codes, or (n_q, K) vectors for look-up
    codebooks: Any  # (books, words, K) for look-up
    objective: Array  # (max_iterations + 1,)
    converged: Array  # () the iteration in which it converged; 0 if it did not
    diagnostics: dict[str, Array]
    finite: Array  # () whether the hash functions are


def same_for_all_seeds(features: Sequence[Features], n: int) -> bool:
    """Whether mapped features depend on no seed: they have no anchors, or every row is one."""
    return all(f.kind in feature_maps.LINEAR or f.anchors >= n for f in features)


def prepare(split: Split, method: Method, features: Sequence[Features], seed: int, runs: int) -> Shared:
    """Map a data set as `jaxcmh.train` does with this seed.

    Args:
        split: the data set.
        method: what it will be trained with.
        features: one per view.
        seed: draws the anchors.
        runs: how many will share this; many are worth singular value decompositions.
    """
    key = random.key(seed)
    choices = enumerate(zip(features, split.train.views))
    pairs = [feature_maps.fit(f, random.fold_in(key, m), x) for m, (f, x) in choices]
    labels, known = split.train.labels, np.flatnonzero(split.train.labels.any(1))
    whole = len(known) == len(labels)
    data = core.prepare(
        [phi if whole else phi[known] for _, phi in pairs],
        labels[known],
        across=method.across,
        label_rows=method.label_rows,
    )
    if runs >= SVD_RUNS:
        data = data._replace(svd=_decomposed(data))
    database = () if split.database is split.train else split.database.views
    queries, items = (
        tuple(feature_maps.apply(fitted, x) for (fitted, _), x in zip(pairs, views))
        for views in (split.query.views, database)
    )
    if database or whole:
        return jax.block_until_ready(Shared(data, queries, items))
    return jax.block_until_ready(Shared(data, queries, tuple(phi for _, phi in pairs), jnp.asarray(known)))


_decomposed = jax.jit(decomposed)
_ready = jax.jit(core.ready, static_argnames=("method", "bits"))


def ready(method: Method, shared: Shared, bits: int, mesh: Mesh | None = None) -> Shared:
    """What `prepare` returned, as runs of this many bits see it; once for all of them, on each device of a mesh."""
    shared = shared._replace(data=_ready(core.bare(method), core.linked(method, shared.data), bits))
    return everywhere(shared, mesh)


def most_lanes() -> int:
    """Lanes that keep a device busy."""
    return LANES if jax.default_backend() == "cpu" else MANY


def compiled(
    method: Method,
    shared: Shared,
    varied: Sequence[str],
    *,
    bits: int,
    max_iterations: int,
    lanes: int = LANES,
    memory: float | None = None,
    mesh: Mesh | None = None,
) -> tuple[Callable[[Shared, Sequence[int], Sequence[Any], float], Lane], int, int]:
    """Compile training and encoding of as many lanes as memory allows.

    Args:
        method: the method.
        shared: from `ready`, or what has its shapes.
        varied: hyper-parameters in which lanes differ, and "seed" where they have seeds of their own; what all have in
            common is computed once for all.
        bits, max_iterations: as for `core.fit`.
        lanes: at most so many on a device.
        memory: GB that the process may have at its peak, on an accelerator each device; no bound but the device's if
            None.
        mesh: spread the lanes over these devices; each trains its own, without a word to the others.

    Returns:
        A function (shared, seeds, params, tolerance) -> `Lane` with a leading axis, which compiles nothing more; the
        number of lanes that it takes, and the number of threads that may call it at once.

    Raises:
        ValueError: not even one lane fits.
    """
    names, views = type(method.params)._fields, len(shared.data.views)
    axes = tuple(0 if name in varied else None for name in ("seed", *names))
    bare = method._replace(params=None, prepare=None, max_iterations=0, tolerance=0.0)
    function = partial(_trained.lower, bare, axes=axes, bits=bits, max_iterations=max_iterations)

    def arguments(seeds: Sequence[int], params: Sequence[Any], tolerance: float) -> tuple[Array, Any, Array]:
        dtype = shared.data.mask.dtype
        keys = jnp.stack([random.fold_in(random.key(seed), views) for seed in seeds])
        keys = keys if "seed" in varied else keys[0]
        columns = ([getattr(p, name) for p in params] if name in varied else getattr(params[0], name) for name in names)
        params = type(method.params)(*(jnp.asarray(c, dtype) for c in columns))
        return everywhere((keys, params, jnp.asarray(tolerance, dtype)), mesh)

    devices = devices_of(mesh)

    def prepared(count: int) -> Any:
        every = count * devices
        lowered = function(shared, *arguments([0] * every, [method.params] * every, 0.0), count=count, mesh=mesh)
        return lowered.compile(compilation.options())

    base, limit, together = _memory(memory)
    call, calls = prepared(lanes), CALLS
    while (needed := base + calls * (devices if together else 1) * _bytes(call) / 1e9) > limit:
        if lanes > 1:
            lanes //= 2
            call = prepared(lanes)
        elif calls > 1:
            calls = 1
        else:
            raise ValueError(f"memory: one run needs {needed:.1f} GB, {base:.1f} GB of it for the data; got {limit:g}")
    outside = jax.config.read("jax_enable_x64")

    def train(shared: Shared, seeds: Sequence[int], params: Sequence[Any], tolerance: float) -> Lane:
        with checks.as_usual(), jax.enable_x64(outside):  # which a thread of its own does not know
            trained = jax.block_until_ready(call(shared, *arguments(seeds, params, tolerance)))
            return trained if mesh is None else jax.device_get(trained)

    return train, lanes * devices, calls


def _memory(memory: float | None) -> tuple[float, float, bool]:
    """GB in use, GB that there may be, and whether devices share them: of the process; elsewhere than on a CPU, of the
    device."""
    most, stats = float("inf") if memory is None else memory, jax.local_devices()[0].memory_stats()
    if not stats:
        return peak_memory(), most, True
    return stats["bytes_in_use"] / 1e9, min(most, stats["bytes_limit"] / 1e9), False


def _bytes(call: Any) -> int:
    """What a compiled call will allocate, by the compiler's own account."""
    size = call.memory_analysis()
    return size.temp_size_in_bytes + size.output_size_in_bytes


@partial(jax.jit, static_argnames=("method", "axes", "count", "bits", "max_iterations", "mesh"))
@exact
def _trained(
    method: Method,
    shared: Shared,
    keys: Array,
    params: Any,
    tolerance: Array,
    axes: tuple[int | None, ...],
    count: int,
    bits: int,
    max_iterations: int,
    mesh: Mesh | None = None,
) -> Lane:
    def lane(shared: Shared, tolerance: Array, key: Array, params: Any) -> Lane:
        data = shared.data
        state, objective, converged = core.run(method, data, key, params, bits, max_iterations, tolerance)
        encoders, unlabelled, codes, diagnostics = model.finish(method, state, data, params)
        phi = shared.items or data.features
        if method.codebooks is None:
            codebooks, learned = None, model.pack(codes)
            encoded = tuple(map(model.pack_signs, phi, encoders))
            queries = tuple(map(model.pack_queries, shared.queries, encoders))
        else:
            codebooks, learned = method.codebooks(state), codes
            encoded = tuple(model.choose_words(x, codebooks, unlabelled, view=m) for m, x in enumerate(phi))
            queries = tuple(map(jnp.matmul, shared.queries, encoders))
        if shared.labelled is not None:
            guessed = model.of_all_views(phi, encoders, codebooks, unlabelled)
            learned = model.beside(learned, shared.labelled, encoded, guessed)
        finite = jnp.stack([jnp.isfinite(W).all() for W in jax.tree.leaves(encoders)]).all()
        return Lane(learned, encoded, queries, codebooks, objective, converged, diagnostics, finite)

    in_axes = None, None, axes[0], type(params)(*axes[1:])
    of_a_device = jax.vmap(lane, in_axes, axis_size=count)
    if mesh is None:
        return of_a_device(shared, tolerance, keys, params)
    here, spread = PartitionSpec(), PartitionSpec(mesh.axis_names)
    specs = jax.tree.map(lambda axis: here if axis is None else spread, in_axes, is_leaf=lambda axis: axis is None)
    options = {"mesh": mesh, "in_specs": specs, "out_specs": spread, "check_vma": False}
    return jax.shard_map(of_a_device, **options)(shared, tolerance, keys, params)


def scores(
    lane: Lane, kind: str, judged: metrics.Judged, labels: tuple[Any, Any], *, ties: Any, at: int | None, curves: bool
) -> dict[str, Any]:
    """What `jaxcmh.evaluate` measures of one lane: direction -> `Metrics` with curves, or just the mAP without."""
    views = len(lane.queries)
    measured = {}
    for name, (a, b) in model.directions(views).items():
        items = of_view(lane.learned, b) if kind == "learned" else lane.encoded[b]
        if lane.codebooks is not None:
            measured[name] = metrics.score_metrics(lane.queries[a], items, lane.codebooks, *labels, ties=ties, at=at)
        elif curves or at is not None:
            measured[name] = metrics.hamming_metrics(lane.queries[a], items, *labels, ties=ties, at=at)
        else:
            measured[name] = metrics.hamming_map(lane.queries[a], items, judged, ties=ties)
    return measured


def forget_peak() -> None:
    """Let the peak of `peak_memory` begin anew, where the system can: Linux."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float:
    """GB of memory that this process had at its peak, since `forget_peak` if that was called."""
    with suppress(OSError):  # what `getrusage` says begins with the size of the process that started this one
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
