"""Run folders: what one training and its evaluations leave behind, written whole or not at all, and read again."""

import csv
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jax.sharding import Mesh

from jaxcmh import brief, results
from jaxcmh.checks import Count, PathLike, checked, instance
from jaxcmh.datasets.identity import Database
from jaxcmh.model import Model, among, measured
from jaxcmh.parsing import json_value, read_arrays, reason
from jaxcmh.retrieval.metrics import Divisor, Ties
from jaxcmh.store import folder, plain, write_json, write_text

FILES = ("config.json", "environment.json", "results.jsonl", "per_query.csv", "codes.npz", "model.safetensors")


def _outcome(value: Any, name: str) -> Any:
    return instance(value, name, Trained, "an Outcome, which studies.runs.run returns")


@runtime_checkable
class Trained(Protocol):
    """What a run folder is made of, see `studies.runs.Outcome`.

    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> isinstance(outcome, Trained)
        True
    """

    model: Any
    reports: Any
    records: Any
    codes: Any


AnOutcome = Annotated[Any, _outcome]


@checked
def names(path: PathLike) -> Iterator[Path]:
    """The path, path-2, path-3, and so on.

    Example:
        >>> [path.name for path, _ in zip(names("runs/dcgh"), range(3))]
        ['dcgh', 'dcgh-2', 'dcgh-3']
    """
    path = Path(path)
    yield path
    yield from (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))


@checked
def free(path: PathLike) -> Path:
    """The path, or path-2, path-3, ... : the first that does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (Path(folder) / "run").mkdir()
        ...     free(f"{folder}/run").name
        'run-2'
    """
    return next(candidate for candidate in names(path) if not candidate.exists())


@checked
def stored(path: PathLike, asked: Mapping[str, Any], data_hash: str, below: str = "") -> Path | None:
    """Of the folders path, path-2, path-3, ... the first that `holds` what is asked, or None.

    Args:
        path: as for `free`.
        asked, data_hash: as for `holds`.
        below: where the run lies in such a folder.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = keep(f"{folder}/run", outcome, {"data": "synthetic"})
        ...     stored(f"{folder}/run", {"data": "synthetic"}, results.data_hash(split)).name
        'run'
    """
    for place in itertools.takewhile(Path.exists, names(path)):
        if holds(place / below, asked, data_hash):
            return place
    return None


@checked
def holds(path: PathLike, asked: Mapping[str, Any], data_hash: str | None = None) -> bool:
    """Whether a folder is a whole run of what is asked; one that is damaged, or no run, is not.

    Args:
        path: the folder.
        asked: fields of the run's configuration.
        data_hash: of the data; of any data if None.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = keep(f"{folder}/run", outcome, {"data": "synthetic"})
        ...     holds(kept, {"data": "synthetic"}), holds(kept, {"data": "wiki"})
        (True, False)
    """
    try:
        run = read_run(path)
    except (ValueError, OSError):
        return False
    same_data = data_hash in (None, run.records[0]["data_hash"])
    return same_data and {**run.config, **plain(asked)} == run.config


class Searched(NamedTuple):
    """Queries and the items that they search.

    Attributes:
        ids: (n_q,) of the queries.
        queries: what they are searched with, see `jaxcmh.model.query_vectors`, one array a view.
        items: codes of the items, one array a view.
        query_labels, labels: of the queries and of the items, (n_q, c) and (n, c).

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = keep(f"{folder}/run", outcome, {"data": "synthetic"})
        ...     found = searched(read_run(kept), jaxcmh.load(kept), "learned")
        >>> [codes.shape for codes in found.queries], found.query_labels.shape, found.labels.shape
        ([(10, 1), (10, 1)], (10, 10), (60, 10))
    """

    ids: np.ndarray
    queries: Sequence[Any]
    items: Sequence[Any]
    query_labels: Any
    labels: Any


class Run(NamedTuple):
    """What a run folder holds: `codes` name -> array, `per_query` column -> values, `model` the model file.

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = read_run(keep(f"{folder}/run", outcome, {"data": "synthetic"}))
        >>> run.config["data"], len(run.records), list(run.per_query)[:2], run.model.name
        ('synthetic', 2, ['query', 'learned i2t'], 'model.safetensors')
    """

    config: dict
    environment: dict
    records: list[dict]
    per_query: dict[str, np.ndarray]
    codes: dict[str, np.ndarray]
    model: Path

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def keep(path: PathLike, outcome: AnOutcome, config: Mapping[str, Any]) -> Path:
    """Write a run folder, whole or not at all: configuration, environment, results, per-query AP, codes, model.

    Args:
        path: a folder that does not exist yet.
        outcome: a training and its evaluations, see `studies.runs.Outcome`.
        config: what was asked for.
    Raises:
        FileExistsError: there is something at `path`.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = keep(f"{folder}/run", outcome, {"data": "synthetic"})
        ...     jaxcmh.load(kept).info.bits
        8
    """
    from jaxcmh.model import save

    with folder(path) as place:
        write_json(place / "config.json", {"format": results.FORMAT, **config})
        write_json(place / "environment.json", {**results.environment(), "command": sys.argv[1:]})
        for line in outcome.records:
            results.append(place / "results.jsonl", line)
        write_text(place / "per_query.csv", _csv(per_query(outcome)))
        np.savez_compressed(place / "codes.npz", allow_pickle=False, **outcome.codes)
        save(outcome.model, place / "model.safetensors")
    return Path(path)


@checked
def per_query(outcome: AnOutcome) -> dict[str, np.ndarray]:
    """Column -> values: ids of the queries, and their AP by database kind and direction (nan: nothing relevant).

    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> {name: values.shape for name, values in per_query(outcome).items()}
        {'query': (10,), 'learned i2t': (10,), 'learned t2i': (10,), 'encoded i2t': (10,), 'encoded t2i': (10,)}
    """
    columns = {"query": outcome.codes["query_ids"]}
    for kind, report in outcome.reports.items():
        columns |= {f"{kind} {direction}": measured.ap for direction, measured in report["metrics"].items()}
    return columns


def _csv(columns: Mapping[str, np.ndarray]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*([_field(v) for v in values.tolist()] for values in columns.values())))
    return text.getvalue()


def _field(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


@checked
def read_run(path: PathLike) -> Run:
    """Everything a run folder holds; `jaxcmh.load(path)` gives the model.

    Raises:
        FileNotFoundError: the folder, or a file in it, is missing.
        ValueError: a file is damaged or was written by a later version.

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = read_run(keep(f"{folder}/run", outcome, {"data": "synthetic"}))
        >>> len(run.records), run.config["data"]
        (2, 'synthetic')
    """
    path = Path(path)
    if not path.is_dir():
        hint = f": it is a file; did you mean {path.parent}?" if path.is_file() else ""
        raise FileNotFoundError(f"no run folder {path}{hint}")
    missing = [name for name in FILES if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{path} is not a run folder: it has no {missing[0]}")
    config, environment = (_read(path / name, _json) for name in ("config.json", "environment.json"))
    for name, kind, described in (("format", int, "an integer"), ("data", str, "text"), ("root", str, "text")):
        value = config.get(name)
        if not isinstance(value, kind) and (value is not None or name == "format"):
            raise ValueError(f"{path / 'config.json'}: {name}: expected {described}, got {value!r}")
    if config["format"] > results.FORMAT:
        raise ValueError(f"{path / 'config.json'}: written by a later version of jaxcmh")
    records = results.read(path / "results.jsonl")
    per_query = _read(path / "per_query.csv", _columns)
    if not records or {len(column) for column in per_query.values()} != {records[0]["n_queries"]}:
        raise ValueError(f"{path / 'per_query.csv'} is damaged: it has no line for each query of the results")
    return Run(
        config, environment, records, per_query, _read(path / "codes.npz", read_arrays), path / "model.safetensors"
    )


@checked
def data_of(run: Run) -> str:
    """Name or path of the data that a run was trained on, as its configuration has it.

    Raises:
        ValueError: it does not say; the message names the file.

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     data_of(read_run(keep(f"{folder}/run", outcome, {"data": "synthetic"})))
        'synthetic'
    """
    if not run.config.get("data"):
        raise ValueError(f"{run.model.with_name('config.json')}: data: expected the name of the data set, got none")
    return run.config["data"]


@checked
def train_ids(run: Run) -> np.ndarray:
    """Ids of the training items, as its codes are accompanied by.

    Raises:
        ValueError: they are not there; the message names the file.

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     train_ids(read_run(keep(f"{folder}/run", outcome, {"data": "synthetic"}))).shape
        (60,)
    """
    if "train_ids" not in run.codes:
        raise ValueError(f"{run.model.with_name('codes.npz')}: train_ids: expected the ids of the items, got none")
    return run.codes["train_ids"]


@checked
def evaluate(
    run: Run,
    model: Model,
    kind: Database,
    *,
    ties: Ties = "expected",
    at: Count | None = None,
    divisor: Divisor = "retrieved",
    beyond_map: bool = False,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """Evaluate the model of a run again, on the queries and labels that its folder keeps; report as `jaxcmh.evaluate`.

    Args:
        run: from `read_run`.
        model: its model.
        kind: "learned" or "encoded" where the training items are the database, else the kind that was evaluated.
        ties, at, divisor, beyond_map, mesh: arguments of `jaxcmh.evaluate`.

    Raises:
        ValueError: the run does not keep them (of version 0.1.0), or has no such codes; the message says so.

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = keep(f"{folder}/run", outcome, {"data": "synthetic"})
        ...     report = evaluate(read_run(kept), jaxcmh.load(kept), "learned")
        >>> report["i2t"] == outcome.reports["learned"]["i2t"]
        True
    """
    found = searched(run, model, kind)
    options: dict[str, Any] = {"ties": ties, "at": at, "divisor": divisor, "mesh": mesh}
    if beyond_map:
        options["paired"] = [run.codes[f"query_{m}"] for m in range(len(model.maps))]
    return measured(model, *found[1:], database=kind, **options)


@checked
def searched(run: Run, model: Model, kind: Database) -> Searched:
    """What the folder of a run keeps of its queries and of the items that they search; errors as for `evaluate`.

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = keep(f"{folder}/run", outcome, {"data": "synthetic"})
        ...     found = searched(read_run(kept), jaxcmh.load(kept), "learned")
        >>> found.ids.shape, [codes.shape for codes in found.items]
        ((10,), [(60, 1), (60, 1)])
    """
    views = range(len(model.maps))
    own = "database_labels" in run.codes
    missing = [name for name in ("query_labels", *(f"asked_{m}" for m in views)) if name not in run.codes]
    if missing or (model.catalogue is None and not own):
        raise ValueError(f"run: expected one that keeps its queries and labels; got none in {run.model.parent}")
    there = dict.fromkeys(line["database"] for line in run.records[:1]) if own else ("learned", "encoded")
    if kind not in there:
        raise ValueError(f"database: this data set allows {' and '.join(there)} codes; got {kind!r}")
    labels = run.codes["database_labels"] if own else model.catalogue.labels  # pyright: ignore[reportOptionalMemberAccess]
    items = [run.codes[f"database_{m}"] if own else among(model, kind, m).codes for m in views]
    queries = [run.codes[f"asked_{m}"] for m in views]
    return Searched(run.codes["query_ids"], queries, items, run.codes["query_labels"], labels)


@checked
def things(run: Run, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training items, one of each picture that has several texts, and their names.

    Ids take the place of names where two pictures share one, the data have none, or 0.1.0 kept none.

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kept = keep(f"{folder}/run", outcome, {"data": "synthetic"})
        ...     rows, names = things(read_run(kept), jaxcmh.load(kept))
        >>> rows.tolist() == list(range(60)), len(names)
        (True, 60)
    """
    ids, names = train_ids(run), run.codes.get("train_names")
    rows = np.arange(len(ids)) if model.catalogue is None else np.unique(model.catalogue.things, return_index=True)[1]
    rows = np.sort(rows)
    if names is None or len(np.unique(names[rows])) < len(rows):
        return rows, ids[rows]
    return rows, names[rows]


def _read(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(path)
    except Exception as error:  # json, csv and zip each have errors of their own for a damaged file
        raise ValueError(f"{path} is damaged ({reason(error)})") from None


def _json(path: Path) -> dict:
    value = json_value(path.read_bytes())
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _columns(path: Path) -> dict[str, np.ndarray]:
    head, *lines = csv.reader(StringIO(path.read_bytes().decode(), newline=""))
    return {name: _numbers(values) for name, values in zip(head, zip(*lines, strict=True), strict=True)}


def _numbers(values: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(v) if v else math.nan for v in values])
    except ValueError:
        return np.array(values)
