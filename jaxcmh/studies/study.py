"""Families of runs: what varies is listed, all else is fixed; every run is a result line in a file.

    study = Study("surface", "surface", "dcgh", bits=(32,), vary={"alpha": [1, 10], "beta": [1, 10]})
    lines = run(study, split, "surface.jsonl", data="wiki")

A run that the file has already is not computed again, so a study that was stopped, or killed, goes on where it was.
"""

import itertools
import math
import operator
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

import jaxcmh
from jaxcmh import brief, checks, results, store
from jaxcmh.checks import Count, PathLike, Positive, checked
from jaxcmh.datasets import Split, drop_labels, flip_labels, take, unpair
from jaxcmh.datasets.identity import Database
from jaxcmh.learning.compilation import make_room
from jaxcmh.learning.core import Method, endings
from jaxcmh.methods import find
from jaxcmh.model import Info, resolve_features, train
from jaxcmh.progress import Progress, Stages, say
from jaxcmh.retrieval import metrics
from jaxcmh.retrieval.metrics import Ties
from jaxcmh.studies import lanes, runs

MOST_RUNS = 1_000_000  # of a study


class Study(NamedTuple):
    """One family of runs: what varies is listed, all else is fixed.

    Example:
        >>> study = Study("weights", "sensitivity", "dcgh", bits=(8, 16), seeds=2, vary={"alpha": [1, 10]})
        >>> len(points(study))
        8
    """

    name: str  # such as "surface"; unique within a plan
    kind: str  # what the lines are for, such as "bits", "sensitivity", "surface", "ablation"; figures choose by it
    method: Any  # a name such as "dcgh" or "dcgh-d", or a Method
    bits: tuple[int, ...] = (32,)
    seeds: int = 5  # seeds 0, 1, ...
    params: Any = None  # hyper-parameters at the base, Params or a dict; the method's own if None
    vary: Mapping[str, Sequence[float]] = MappingProxyType({})  # hyper-parameter -> its values
    combine: str = "grid"  # "grid": all combinations; "each": one at a time, the others at the base; "list": zipped
    features: Any = None  # as in `jaxcmh.train`
    max_iterations: int | None = None
    tolerance: float | None = None
    settings: tuple[Mapping[str, float | int | str], ...] = ({},)  # conditions of the data, see `conditions`

    __repr__ = brief.text
    _repr_html_ = brief.table


class Point(NamedTuple):
    """One run of a study.

    Example:
        >>> first, *_ = points(Study("lengths", "bits", "dcgh", bits=(8, 16), seeds=2))
        >>> first.bits, first.seed, first.params.alpha
        (8, 0, 10.0)
    """

    setting: Mapping[str, float | int | str]
    bits: int
    params: Any  # the method's Params, of floats
    seed: int

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def run(
    study: Study,
    split: Split,
    path: PathLike,
    *,
    data: str,
    ties: Ties = "expected",
    at: Count | None = None,
    databases: Sequence[str] | None = None,
    memory: Positive | None = None,
    curves: bool = False,
    per_query: bool = False,
    alone: bool = False,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
    verbose: bool | None = None,
    log: Callable[[dict], None] | None = None,
) -> list[dict]:
    """Compute what a result file lacks of a study, and return its lines.

    Args:
        study: what to run.
        split: the data set.
        path: file of result lines, made where it is not there; a line is added as soon as its run is finished.
        data: name of the data set, for the lines.
        ties, at: arguments of `jaxcmh.evaluate`.
        databases: kinds of database codes; all that the split allows if None.
        memory: GB that the process may have at its peak: fewer runs go side by side, down to one; no bound if None.
        curves: keep precision-recall and topN curves of the runs computed now; they make lines fifty times as long.
        per_query: keep the average precision of every query, to three decimals, as "ap": direction -> (n_q,).
        alone: every run by itself, as `jaxcmh.train` and `jaxcmh.evaluate` do it, and twice, so that its times are its
            own and those of compiled programs, and its "peak_memory_gb" that of the training where the system tells it.
            Else runs share what they have in common, and "times" are shares of what was spent together; and what
            another study of the file has already is not computed again.
        mesh: compute on these devices.  Not the rows but the runs are spread, each is trained whole on one device, and
            measured on the first; those that are `alone` have their rows and queries spread, as by `jaxcmh.train`.
        progress: shows what is being done; if None, one of its own does, as `verbose` says.
        verbose: as for `jaxcmh.train`.
        log: is given every line that is computed now, see `trackers.logger`.

    Returns:
        The study's lines, one per run and kind of database codes, in the order of `points`.  Beside what
        `results.record` says, a line has "study": its name, kind and what varies, and "setting".

    Raises:
        ValueError: the study is not as described, the file is damaged, or not even one run fits `memory`.
        BlockingIOError: another process is writing the file.

    Example:
        >>> import tempfile, jaxcmh
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> study = Study("weights", "sensitivity", "dcgh", bits=(8,), seeds=1, vary={"alpha": [1, 10]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lines = run(study, split, f"{folder}/weights.jsonl", data="synthetic", databases=["learned"])
        >>> [line["params"]["alpha"] for line in lines]
        [1.0, 10.0]
    """
    checks.not_forked()
    wanted = points(study)
    make_room()
    path, steps = Path(path), progress
    shown = jaxcmh.progress.progress(0, verbose) if steps is None else nullcontext(steps)
    with store.parents(path), store.only_writer(path, wait=0), shown as steps:
        stored = results.read(path) if path.exists() else []
        usable = [line for line in stored if ("curves" in line) == curves and ("ap" in line) >= per_query]
        known = {line["key"]: {k: v for k, v in line.items() if per_query or k != "ap"} for line in usable}
        done = {line["key"]: line for line in stored if line.get("study", {}).get("name") == study.name}
        named = {"name": study.name, "kind": study.kind, "vary": list(study.vary)}

        def keep(line: dict) -> None:
            done[line["key"]] = line | {"study": named}
            results.append(path, done[line["key"]])

        order = []
        for setting, group in itertools.groupby(wanted, lambda point: point.setting):
            changed = conditions(split, setting)
            protocol = _protocol(changed, data, ties, at)
            allowed = runs.kinds(changed)
            kinds = [checks.choice(kind, "databases", allowed) for kind in databases or allowed]
            group, missing = list(group), set()
            for number, point in enumerate(group):
                keys = [_key(study, point, changed, {**protocol, "database": kind}) for kind in kinds]
                order += keys
                for key in keys:
                    if key in known and key not in done and not alone:
                        keep(known[key])
                if not all(key in done for key in keys):
                    missing.add(number)
            steps.total += len(missing)
            task = _Task(study, find(study.method), changed, protocol, kinds, curves, per_query, memory, mesh, steps)
            for line in (_alone if alone else _together)(task, group, missing):
                if line["key"] not in done:
                    keep(line)
                    if log:
                        log(done[line["key"]])
    return [done[key] for key in order if key in done]


@checked
def points(study: Study) -> list[Point]:
    """All runs of a study: setting by setting, in each by bits, then by hyper-parameters, then by seed.

    Raises:
        ValueError: the study is not as described; the message names the field.

    Example:
        >>> study = Study("lines", "sensitivity", "dcgh", seeds=1, vary={"alpha": [1, 2], "beta": [5]}, combine="each")
        >>> [(point.params.alpha, point.params.beta) for point in points(study)]
        [(1.0, 10.0), (2.0, 10.0), (10.0, 5.0)]
    """
    method = find(study.method)
    bits = [checks.bits(value, "bits") for value in study.bits]
    seeds = range(checks.Whole(1, checks.CLASSES)(study.seeds, "seeds"))
    params = [checks.params(given, method.params) for given in _combined(study, method)]
    _at_most(math.prod(map(len, (study.settings, bits, params, seeds))))
    return [Point(*point) for point in itertools.product(study.settings, bits, dict.fromkeys(params), seeds)]


def _at_most(runs: int) -> None:
    if runs > MOST_RUNS:
        raise ValueError(f"vary: expected at most {MOST_RUNS:,} runs; got {runs:,}")


def _combined(study: Study, method: Any) -> list[dict]:
    """Every combination of hyper-parameters, as dicts."""
    base = checks.params(study.params, method.params)._asdict()
    for name, values in study.vary.items():
        if name not in base:
            raise ValueError(f"vary: {method.name} has no hyper-parameter {name!r}; it has {', '.join(base)}")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"vary: expected a sequence of numbers for {name}; got {values!r}")
    names, values = tuple(study.vary), tuple(study.vary.values())
    checks.choice(study.combine, "combine", ("grid", "each", "list"))
    if study.combine == "grid":
        _at_most(math.prod(map(len, values)))
        rows = [dict(zip(names, row)) for row in itertools.product(*values)]
    elif study.combine == "each":
        rows = [{name: value} for name in names for value in study.vary[name]] or [{}]
    else:
        if len(set(map(len, values))) > 1:
            raise ValueError(f"vary: a list needs as many values of each; got {dict(zip(names, map(len, values)))}")
        rows = [dict(zip(names, row)) for row in zip(*values)] or [{}]
    return [{**base, **row} for row in rows]


# -- conditions of the data -------------------------------------------------------------------------------------------


def _rows(split: Split, rows: float | int | str) -> Split:
    """The first rows of the training part, and of the database where that is the training part."""
    n = len(split.train.labels)
    train = take(split.train, slice(checks.Whole(1, n)(rows, "rows")))
    return split._replace(train=train, database=train if split.database is split.train else split.database)


def _training_size(split: Split, rows: float | int | str) -> Split:
    """The first rows of the training part; the database stays what it is."""
    n = len(split.train.labels)
    return split._replace(train=take(split.train, slice(checks.Whole(1, n)(rows, "training_size"))))


CONDITIONS: Mapping[str, Callable[[Split, Any], Split]] = MappingProxyType(
    {
        "unpaired": unpair,
        "wrong_labels": flip_labels,
        "missing_labels": drop_labels,
        "rows": _rows,
        "training_size": _training_size,
    }
)


@checked
def conditions(split: Split, setting: Mapping[str, float | int | str]) -> Split:
    """A data set under other conditions.

    Args:
        split: the data set; it is not changed.
        setting: condition -> value, applied in this order: "unpaired" (share of the training pairs that are broken,
            see `datasets.unpair`), "wrong_labels" and "missing_labels" (share, `datasets.flip_labels`, `drop_labels`),
            "rows" (training rows, the first ones; and of the database where that is the training part),
            "training_size" (training rows, while the database stays whole).
    Raises:
        ValueError: no such condition, or a value it cannot have.

    Example:
        >>> import jaxcmh
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> len(conditions(split, {"rows": 20}).database.labels)
        20
    """
    for name, value in setting.items():
        if name not in CONDITIONS:
            raise ValueError(f"settings: expected conditions among {', '.join(CONDITIONS)}; got {name!r}")
        split = CONDITIONS[name](split, value)
    return split


# -- pieces -----------------------------------------------------------------------------------------------------------


def _protocol(split: Split, data: str, ties: str, at: int | None) -> dict[str, Any]:
    """Fields of `results.PROTOCOL` but the kind of database codes, known before anything is computed; and chance."""
    relevant = results.relevant_share(split.query.labels, split.database.labels)
    return {
        "data": data,
        "data_hash": results.data_hash(split),
        "split_hash": results.split_hash(split),
        "ties": ties,
        "at": at,
        "n_queries": len(split.query.labels),
        "n_without_relevant": int((relevant == 0).sum()),
        "n_database": len(split.database.labels),
        "chance": results.mean_share(relevant),
    }


def _info(study: Study, point: Point, split: Split) -> Info:
    """How the model of a run is made; `split` is under the point's conditions."""
    method, views = find(study.method), split.train.views
    max_iterations, tolerance = endings(method, study.max_iterations, study.tolerance)
    return Info(
        method=method.name,
        bits=point.bits,
        seed=point.seed,
        max_iterations=max_iterations,
        tolerance=tolerance,
        params=tuple(point.params._asdict().items()),
        features=resolve_features(study.features, method, len(views)),
        hash_function="ridge",
        n=views[0].shape[0],
        dims=tuple(view.shape[1] for view in views),
        version=jaxcmh.__version__,
    )


def _key(study: Study, point: Point, split: Split, protocol: Mapping[str, Any]) -> str:
    """`results.key` of the line that a run will have."""
    info = _info(study, point, split)._asdict()
    return results.key(results.plain({**protocol, **info, "params": point.params, "setting": point.setting}))


def _described(study: Study, point: Point) -> str:
    values = [f"{name}={getattr(point.params, name):g}" for name in study.vary]
    values += [f"{name}={value}" for name, value in point.setting.items()]
    return ", ".join([find(study.method).name, f"{point.bits} bits", *values, f"seed {point.seed}"])


class _Task(NamedTuple):
    """What the missing runs of one setting have in common."""

    study: Study
    method: Method
    split: Split  # under the setting's conditions
    protocol: Mapping[str, Any]
    kinds: Sequence[Database]
    curves: bool
    per_query: bool
    memory: float | None
    mesh: Mesh | None
    steps: Progress

    def line(self, point: Point, kind: str, measured: Mapping[str, Any], **more: Any) -> dict:
        """The result line of one kind of database codes."""
        maps = {direction: getattr(value, "map", value) for direction, value in measured.items()}
        hashes = self.protocol["data_hash"], self.protocol["split_hash"]
        report = {**self.protocol, "database": kind, "metrics": measured if self.curves else maps, **maps}
        more = {"peak_memory_gb": round(lanes.peak_memory(), 2), **more, "setting": dict(point.setting)}
        if self.per_query:
            more["ap"] = {direction: np.round(value.ap, 3) for direction, value in measured.items()}
        info = _info(self.study, point, self.split)
        return results.line(info, report, data=self.protocol["data"], hashes=hashes, **more)


def _alone(task: _Task, points: Sequence[Point], missing: Set[int]) -> Iterator[dict]:
    """The result lines of the missing runs, each trained and evaluated by itself."""
    for point in (points[number] for number in sorted(missing)):
        task.steps.step(f"{task.study.name}: {_described(task.study, point)}")
        for _ in range(2):  # the first time compiles, the second is timed
            stages = Stages()
            lanes.forget_peak()
            with stages("train"):
                model = train(
                    task.method,
                    task.split.train.views,
                    task.split.train.labels,
                    bits=point.bits,
                    seed=point.seed,
                    params=point.params,
                    max_iterations=task.study.max_iterations,
                    tolerance=task.study.tolerance,
                    features=task.study.features,
                    mesh=task.mesh,
                )
            peak = round(lanes.peak_memory(), 2)
            reports, options = {}, {"ties": task.protocol["ties"], "at": task.protocol["at"], "mesh": task.mesh}
            with stages("evaluate"):
                for kind in task.kinds:
                    reports[kind] = runs.evaluate(model, task.split, kind, **options)
        for kind, report in reports.items():
            times = {**model.times, **stages.seconds}
            yield task.line(
                point,
                kind,
                report["metrics"],
                peak_memory_gb=peak,
                times=times,
                objective=model.objective,
                converged=model.converged,
                diagnostics=model.diagnostics,
            )
        task.steps.advance()


def _together(task: _Task, points: Sequence[Point], missing: Set[int]) -> Iterator[dict]:
    """The result lines of runs that share features, Gram matrices and label sets, a few of them side by side.

    Which runs go side by side does not depend on what is missing, so that a study that was stopped gives the very
    numbers of one that was not: what was computed already and is in one call with what is missing is thrown away.
    """
    if not missing:
        return
    info, method = _info(task.study, points[0], task.split), task.method
    judged = metrics.judge(task.split.query.labels, task.split.database.labels)
    names = method.params._fields
    varied = [name for name in names if len({getattr(point.params, name) for point in points}) > 1]
    one_for_all = lanes.same_for_all_seeds(info.features, info.n)
    if one_for_all and len({point.seed for point in points}) > 1:
        varied.append("seed")
    calls: dict[int, Any] = {}
    devices = 1 if task.mesh is None else task.mesh.size
    for seed, group in _grouped(points, range(len(points)), lambda point: 0 if one_for_all else point.seed).items():
        if missing.isdisjoint(group):
            continue
        stages = Stages()
        task.steps.step(f"{task.study.name}: features and Gram matrices, seed {seed}")
        with stages("features"):
            mapped = lanes.prepare(task.split, method, info.features, seed, len(group))
        for bits, members in _grouped(points, group, lambda point: point.bits).items():
            if missing.isdisjoint(members):
                continue
            task.steps.step(f"{task.study.name}: {_described(task.study, points[members[0]])}")
            shared = lanes.ready(method, mapped, bits, task.mesh)
            if bits not in calls:
                options = {"bits": bits, "memory": task.memory, "max_iterations": info.max_iterations}
                options |= {"lanes": min(lanes.most_lanes(), -(-len(members) // devices)), "mesh": task.mesh}
                calls[bits] = lanes.compiled(method, shared, varied, **options)
            call, width, at_once = calls[bits]

            def fit(chunk: Sequence[int], call=call, width=width, shared=shared) -> tuple[lanes.Lane, float]:
                full = [points[number] for number in [*chunk, *[chunk[-1]] * (width - len(chunk))]]
                start = time.perf_counter()
                seeds, params = [point.seed for point in full], [point.params for point in full]
                trained = call(shared, seeds, params, info.tolerance)
                return trained, time.perf_counter() - start

            chunks = (members[i : i + width] for i in range(0, len(members), width))
            wanted = [chunk for chunk in chunks if not missing.isdisjoint(chunk)]
            together = width * min(at_once, len(wanted))
            for chunk, (trained, seconds) in _ahead(fit, wanted, at_once):
                task.steps.step(f"{task.study.name}: {_described(task.study, points[chunk[0]])}")
                times = {"features": stages.seconds["features"] / len(group), "fit": seconds / together}
                for lane, number in enumerate(chunk):
                    if number in missing:
                        yield from _measured(task, points[number], trained, lane, judged, times)
                        task.steps.advance()


def _ahead(function: Callable[[Any], Any], items: Iterable[Any], at_once: int) -> Iterator[tuple[Any, Any]]:
    """Items and what the function gives for them, in order, while so many threads are busy with the next ones."""
    pool, coming = ThreadPoolExecutor(at_once), deque()
    try:
        for item in items:
            coming.append((item, pool.submit(function, item)))
            if len(coming) > at_once:
                ready, future = coming.popleft()
                yield ready, future.result()
        for ready, future in coming:
            yield ready, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _measured(
    task: _Task, point: Point, trained: lanes.Lane, number: int, judged: metrics.Judged, times: Mapping[str, float]
) -> list[dict]:
    """The result lines of one of the runs that were trained together; none where the method has no solution."""
    lane = jax.tree.map(operator.itemgetter(number), trained)
    if not (lane.finite and np.isfinite(lane.objective).all()):
        say(f"no finite solution, so no line: {_described(task.study, point)}")
        return []
    labels = task.split.query.labels, task.split.database.labels
    options = {"ties": task.protocol["ties"], "at": task.protocol["at"], "curves": task.curves or task.per_query}
    start = time.perf_counter()
    measured = {kind: lanes.scores(lane, kind, judged, labels, **options) for kind in task.kinds}
    outcome = {"objective": lane.objective, "converged": lane.converged, "diagnostics": lane.diagnostics}
    outcome["times"] = {**times, "evaluate": time.perf_counter() - start}
    return [task.line(point, kind, measured[kind], **outcome) for kind in task.kinds]


def _grouped(points: Sequence[Point], numbers: Iterable[int], field: Callable[[Point], int]) -> dict[int, list[int]]:
    """Numbers of points by a field."""
    groups: dict[int, list[int]] = {}
    for number in numbers:
        groups.setdefault(field(points[number]), []).append(number)
    return groups
