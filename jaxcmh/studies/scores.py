"""From hyper-parameters, code lengths and seeds to scores in one call."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxcmh import brief, checks, extras, results
from jaxcmh.checks import Bits, Copies, Count, Iterations, PathLike, Positive, Weight, checked, filled
from jaxcmh.datasets import Split, load_dataset
from jaxcmh.learning.core import Method
from jaxcmh.methods import find
from jaxcmh.results import figures, importance, tables
from jaxcmh.retrieval.metrics import Ties
from jaxcmh.studies.designs import Design, drawn
from jaxcmh.studies.study import Study, run

__all__ = ["Scores", "study"]

POINTS = 64  # of a design that is no grid
SHOWN = 10  # settings in a notebook


class Scores(NamedTuple):
    """What a study found.

    Attributes:
        table: column -> (rows,) array: method, database, bits, seed, every hyper-parameter of the method, direction,
            map, and seconds (training without compilation; of runs side by side each has its share).
        lines: the result lines that it was made of, for `results.table`, `studies.optuna_study.to_optuna` and the like.
        varied: the hyper-parameters that vary, and "bits" where there are several lengths.

    Example:
        >>> import jaxcmh
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> scores = study("dcgh", split, bits=8, seeds=1, params={"alpha": [1, 10]})
        >>> scores.varied, len(scores.lines), sorted(scores.best())
        (('alpha',), 4, ['alpha'])
        >>> sorted(set(scores.table["alpha"].tolist()))
        [1.0, 10.0]
    """

    table: dict[str, np.ndarray]
    lines: list[dict]
    varied: tuple[str, ...]

    def _facts(self) -> dict[str, Any]:
        values, score = importance.best(self.lines, self.varied)
        return {"results": len(self.lines), "columns": list(self.table), "varied": self.varied, "best": values} | {
            "map": score
        }

    __repr__ = brief.text

    def _repr_html_(self) -> str:
        """mAP of the best settings."""
        kind = self.lines[0]["database"]
        rows = tuple(name for name in self.varied if name != "bits") or ("method",)
        table = results.table([line for line in self.lines if line["database"] == kind], rows=rows)
        means = [np.mean([cell.mean for cell in cells if cell]) for _, cells in table.rows]
        order = np.argsort(-np.array(means), kind="stable")[:SHOWN]
        few = f"the best {SHOWN} of {len(means)} settings, " if len(means) > SHOWN else ""
        shown = table._replace(rows=tuple(table.rows[i] for i in order), caption=few + table.caption)
        return tables.html(tables.grid(shown))

    def pandas(self) -> Any:
        """The table as a `pandas.DataFrame`.

        Raises:
            ModuleNotFoundError: pandas is not installed (the extra `pandas`).
        """
        extras.require("pandas", "pandas")
        import pandas

        return pandas.DataFrame(self.table)

    def best(self) -> dict[str, float]:
        """The setting of the highest mAP, mean over directions and seeds: what varies -> its value."""
        return importance.best(self.lines, self.varied)[0]

    def importance(self) -> dict[str, np.ndarray]:
        """Which of what varies matters how much, see `results.importance.importances`.

        Returns:
            column -> (rows,) array: database, direction, name, share (of the variance of mAP), range (of the means over
            values), best (value by mean over the others).
        """
        rows = []
        for kind in dict.fromkeys(line["database"] for line in self.lines):
            own = [line for line in self.lines if line["database"] == kind]
            for direction in own[0]["map"] if self.varied else ():
                found = importance.importances(own, self.varied, direction)["names"]
                rows += [{"database": kind, "direction": direction, "name": n, **values} for n, values in found.items()]
        columns = ("database", "direction", "name", "share", "range", "best")
        return {column: np.array([row[column] for row in rows]) for column in columns}

    @checked
    def figure(self, name: str | None = None, stem: PathLike | None = None) -> figures.Figure:
        """One of the study's figures; a notebook shows it.

        Args:
            name: a hyper-parameter (mAP against it), "surface" (of two in a grid), "bits", "convergence" or
                "importance", as far as the study has it; the first of these if None.
            stem: path without an ending, to which PNG, SVG, PDF and a CSV of the points are written; none if None.
        Raises:
            ValueError: the study has no such figure; the message names those it has.
            ModuleNotFoundError: matplotlib is not installed (the extra `plots`).

        Example:
            >>> import jaxcmh
            >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
            >>> scores = study("dcgh", split, bits=8, seeds=1, params={"alpha": [1, 10]})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     [file.name for file in scores.figure("alpha", f"{folder}/alpha").files]
            ['alpha.png', 'alpha.svg', 'alpha.pdf', 'alpha.csv']
        """
        plan = figures.plan(figures.studies(self.lines)[0], ".")
        title, form = plan[checks.choice(next(iter(plan)) if name is None else name, "name", tuple(plan))]
        with tempfile.TemporaryDirectory() as folder:
            files = form(Path(folder, "figure") if stem is None else Path(stem))
            return figures.Figure(title, files) if stem else figures.Figure(title, [], files[0].read_bytes())


@checked
def study(
    method: str | Method,
    data: Split | PathLike,
    *,
    bits: Bits | Annotated[Sequence[Bits], filled] = (16, 32),
    seeds: Copies = 3,
    params: Mapping[str, float | Sequence[float]] | None = None,
    design: Design | None = None,
    points: Copies | None = None,
    features: Any = None,
    max_iterations: Iterations | None = None,
    tolerance: Weight | None = None,
    databases: Annotated[Sequence[str], filled] | None = None,
    ties: Ties = "expected",
    at: Count | None = None,
    path: PathLike | None = None,
    memory: Positive | None = None,
    mesh: Mesh | None = None,
    verbose: bool | None = None,
) -> Scores:
    """Train and evaluate a method with many hyper-parameters, code lengths and seeds, several side by side.

    Args:
        method: as for `jaxcmh.train`.
        data: a data set, or what `jaxcmh.load_dataset` loads, such as "synthetic".
        bits: code lengths, or one.
        seeds: seeds 0, 1, ... of each setting.
        params: hyper-parameter -> its value, or its values, which are combined in all ways; with a `design`, its value
            or its range (low, high). The others have the method's own values.
        design: how to choose points of the ranges, see `studies.designs.drawn`; None for a grid.
        points: how many points of a design, 64 if None.
        features, max_iterations, tolerance: as for `jaxcmh.train`.
        databases: kinds of database codes; all that the data allow if None.
        ties, at: as for `jaxcmh.evaluate`.
        path: file of result lines (.jsonl) to keep; what it has already is not computed again.
        memory: GB that the process may have at its peak: fewer runs go side by side, down to one; no bound if None.
        mesh: compute on these devices, each its share of the runs, see `jaxcmh.mesh.row_mesh`.
        verbose: as for `jaxcmh.train`.

    Returns:
        `Scores`. A run that has no finite solution has no row, and is named on standard error.

    Raises:
        ValueError: an argument is not as described, or no run has a finite solution.
        FileNotFoundError: the data are not there.
        BlockingIOError: another process is writing `path`.

    Example:
        >>> scores = study("dcgh", "synthetic", bits=[8, 16], seeds=2, params={"alpha": [1, 100], "beta": 10})
        >>> len(scores.table["map"]), scores.varied  # 2 values, 2 lengths, 2 seeds; 2 kinds of codes, 2 directions
        (32, ('alpha', 'bits'))
        >>> list(scores.table)
        ['method', 'database', 'bits', 'seed', 'alpha', 'beta', 'lam', 'direction', 'map', 'seconds']
    """
    method, params = find(method), params or {}
    for name, values in params.items():
        for value in values if isinstance(values, Sequence) else [values]:
            checks.params({name: value}, method.params)
    several = {name: values for name, values in params.items() if isinstance(values, Sequence)}
    fixed = {name: value for name, value in params.items() if name not in several}
    for name, values in several.items():
        if design is not None and len(values) != 2:
            raise ValueError(f"params: expected a range (low, high) of {name} for a design; got {checks.got(values)}")
        filled(values, f"params[{name!r}]")
    if design is None and points is not None:
        raise ValueError(f"points: expected with a design, and only then; got {points}")
    if design is not None:
        if not several:
            raise ValueError("design: expected params with a range (low, high) to choose points of; got none")
        several = drawn(method.params, {n: (low, high) for n, (low, high) in several.items()}, points or POINTS, design)
    described = Study(
        name="study",
        kind="sweep",
        method=method,
        bits=tuple(dict.fromkeys([bits] if isinstance(bits, int) else bits)),
        seeds=seeds,
        params=fixed,
        vary=several,
        combine="grid" if design is None else "list",
        features=features,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    if isinstance(data, Split):  # what its user made of it is no longer the set of that name
        split, name = data, f"{data.name} in memory".strip()
    else:
        split, name = load_dataset(data, verbose=verbose), str(data)
    options: dict[str, Any] = {"data": name, "ties": ties, "at": at, "databases": databases, "memory": memory}
    with tempfile.TemporaryDirectory() as folder:
        lines = run(described, split, path or Path(folder, "lines.jsonl"), **options, mesh=mesh, verbose=verbose)
    if not lines:
        raise ValueError(f"params: {method.name} found no finite solution for any of them on these features")
    varied = [name for name, values in several.items() if len(set(values)) > 1]
    return Scores(_table(lines), lines, (*varied, *(["bits"] if len(described.bits) > 1 else [])))


def _table(lines: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Columns of result lines, with a row for each direction."""
    rows = [
        {name: line[name] for name in ("method", "database", "bits", "seed")}
        | line["params"]
        | {"direction": direction, "map": score, "seconds": line["times"]["features"] + line["times"]["fit"]}
        for line in lines
        for direction, score in line["map"].items()
    ]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
