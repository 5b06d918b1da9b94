"""One training on a data set, evaluated in every way its split allows, and the folder it leaves behind."""

import csv
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcmh import results
from jaxcmh.progress import Stages

FILES = ("config.json", "environment.json", "results.jsonl", "per_query.csv", "codes.npz", "model.safetensors")


class Outcome(NamedTuple):
    """A trained model and what its evaluation gave.

    Attributes:
        model: the trained model.
        reports: database kind -> what `jaxcmh.evaluate` returned, curves included.
        records: one result line a database kind.
        codes: name -> codes of training items and queries, with their ids.
        doubts: what looks wrong, see `results.doubts`.
    """

    model: Any
    reports: dict[str, dict]
    records: list[dict]
    codes: dict[str, np.ndarray]
    doubts: list[str]


def kinds(split: Any) -> tuple[str, ...]:
    """The kinds of database codes a split allows: learned and encoded where the training set is the database.

    A database that is not the training set but shares items with it is called encoded, for its items are not all
    unseen.
    """
    if split.database is split.train:
        return "learned", "encoded"
    return ("held_out",) if not np.isin(split.database.ids, split.train.ids).any() else ("encoded",)


def run(
    split: Any,
    method: Any,
    *,
    bits: int,
    data: str,
    hashes: tuple[str, str] | None = None,
    ties: str = "expected",
    at: int | None = None,
    times: Mapping[str, float] | None = None,
    say: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Outcome:
    """Train on a split and evaluate with every kind of database codes it allows.

    Args:
        split: what `load_dataset` returned.
        method, bits, options: arguments of `jaxcmh.train`.
        data: name or path of the data set, for the result lines.
        hashes: (`results.data_hash`, `results.split_hash`), when they are known already.
        ties, at: arguments of `jaxcmh.evaluate`.
        times: seconds spent before, such as {"load": 1.2}, kept with the result.
        say: is told what is being done.
    Raises:
        ValueError: see `jaxcmh.train` and `jaxcmh.evaluate`.
    """
    import jaxcmh

    stages = Stages()
    say("training")
    if options.get("hash_function") == "mlp":
        options.setdefault(
            "progress",
            lambda view, passes, loss: say(f"hash function of view {view}, pass {passes}, held-out loss {loss:.3f}"),
        )
    with stages("train"):
        model = jaxcmh.train(method, split.train.views, split.train.labels, bits=bits, **options)
    say("evaluating")
    with stages("evaluate"):
        reports = {kind: evaluate(model, split, kind, ties=ties, at=at) for kind in kinds(split)}
        codes = {
            "train_ids": split.train.ids,
            "query_ids": split.query.ids,
            "learned": np.asarray(model.codes),
            **{f"encoded_{m}": np.asarray(codes) for m, codes in enumerate(model.encoded)},
            **{f"query_{m}": np.asarray(jaxcmh.encode(model, x, m)) for m, x in enumerate(split.query.views)},
        }
    spent = {**(times or {}), **stages.seconds}
    hashes = hashes or (results.data_hash(split), results.split_hash(split))
    chance = results.chance(split.query.labels, split.database.labels)
    told = {"data": data, "hashes": hashes, "times": spent}
    records = [results.record(model, {**report, "chance": chance}, **told) for report in reports.values()]
    binary = {"learned": codes["learned"]} if model.codebooks is None else {}
    doubts = {
        f"{line['database']} database: {doubt}": None
        for line in records
        for doubt in results.doubts(line["map"], chance)
    }
    return Outcome(model, reports, records, codes, [*doubts, *results.doubts({}, chance, binary)])


def evaluate(model: Any, split: Any, kind: str, *, ties: str = "expected", at: int | None = None) -> dict[str, Any]:
    """Evaluate a model on a split with one kind of database codes; arguments and report as `jaxcmh.evaluate`.

    Raises:
        ValueError: the split does not allow this kind.
    """
    import jaxcmh

    if kind not in kinds(split):
        raise ValueError(f"database: this data set allows {' and '.join(kinds(split))} codes; got {kind!r}")
    views = None if split.database is split.train else split.database.views
    told = kind if views is None else "held_out"
    report = jaxcmh.evaluate(
        model,
        split.query.views,
        split.query.labels,
        split.database.labels,
        database=told,
        ties=ties,
        at=at,
        database_views=views,
    )
    return {**report, "database": kind}


# -- folders ----------------------------------------------------------------------------------------------------------


@contextmanager
def folder(path: str | Path) -> Iterator[Path]:
    """A new folder that appears whole or not at all: filled under a hidden name beside it, renamed at the end.

    Raises:
        FileExistsError: the folder is there already and not empty; nothing is ever overwritten.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} is there already; name another folder or remove it first")
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield hidden
        results.open_to_all(hidden, 0o777)
        os.replace(hidden, path)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        for parent in made:
            if not any(parent.iterdir()):
                parent.rmdir()
        raise


def free(path: str | Path) -> Path:
    """The path, or path-2, path-3, ... : the first that does not exist."""
    path = Path(path)
    number = 1
    while (candidate := path if number == 1 else path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return candidate


def stored(path: str | Path, asked: Mapping[str, Any], data_hash: str) -> Path | None:
    """Of the folders path, path-2, path-3, ... the first whole run of what is asked, or None.

    Args:
        path: as for `free`.
        asked: fields of the run's configuration.
        data_hash: of the data.
    """
    last = free(path)
    number = 1
    while (place := Path(path) if number == 1 else last.with_name(f"{Path(path).name}-{number}")) != last:
        try:
            run = read_run(place)
        except (ValueError, OSError):
            run = None  # damaged, or no run: it is left alone
        if run and run.records[0]["data_hash"] == data_hash and {**run.config, **results.plain(asked)} == run.config:
            return place
        number += 1
    return None


class Run(NamedTuple):
    """What a run folder holds: `codes` name -> array, `per_query` column -> values, `model` the model file."""

    config: dict
    environment: dict
    records: list[dict]
    per_query: dict[str, np.ndarray]
    codes: dict[str, np.ndarray]
    model: Path


def keep(path: str | Path, outcome: Outcome, config: Mapping[str, Any]) -> Path:
    """Write a run folder, whole or not at all: configuration, environment, results, per-query AP, codes, model.

    Args:
        path: a folder that does not exist yet.
        outcome: see `run`.
        config: what was asked for.
    Raises:
        FileExistsError: there is something at `path`.
    """
    import jaxcmh

    with folder(path) as place:
        results.write_json(place / "config.json", {"format": results.FORMAT, **config})
        results.write_json(place / "environment.json", {**results.environment(), "command": sys.argv[1:]})
        for line in outcome.records:
            results.append(place / "results.jsonl", line)
        results.write_text(place / "per_query.csv", _csv(per_query(outcome)))
        np.savez_compressed(place / "codes.npz", allow_pickle=False, **outcome.codes)
        jaxcmh.save(outcome.model, place / "model.safetensors")
    return Path(path)


def per_query(outcome: Outcome) -> dict[str, np.ndarray]:
    """Column -> values: ids of the queries, and their AP by database kind and direction (nan: nothing relevant)."""
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


def read_run(path: str | Path) -> Run:
    """Everything a run folder holds; `jaxcmh.load(path)` gives the model.

    Raises:
        FileNotFoundError: the folder, or a file in it, is missing.
        ValueError: a file is damaged or was written by a later version.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"no run folder {path}")
    missing = [name for name in FILES if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{path} is not a run folder: it has no {missing[0]}")
    config, told = (_read(path / name, _json) for name in ("config.json", "environment.json"))
    if config.get("format", math.inf) > results.FORMAT:
        raise ValueError(f"{path / 'config.json'}: written by a later version of jaxcmh")
    records = results.read(path / "results.jsonl")
    per_query = _read(path / "per_query.csv", _columns)
    if not records or {len(column) for column in per_query.values()} != {records[0]["n_queries"]}:
        raise ValueError(f"{path / 'per_query.csv'} is damaged: it does not have a line for each query of the results")
    return Run(config, told, records, per_query, _read(path / "codes.npz", _arrays), path / "model.safetensors")


def _read(path: Path, reader: Callable[[Any], Any]) -> Any:
    try:
        with open(path, "rb") as file:
            return reader(file)
    except Exception as error:  # json, csv and zip each have errors of their own for a damaged file
        raise ValueError(f"{path} is damaged ({error})") from None


def _json(file: Any) -> dict:
    value = json.load(file)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _columns(file: Any) -> dict[str, np.ndarray]:
    head, *lines = csv.reader(file.read().decode().splitlines())
    return {name: _numbers(values) for name, values in zip(head, zip(*lines, strict=True), strict=True)}


def _arrays(file: Any) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _numbers(values: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(v) if v else math.nan for v in values])
    except ValueError:
        return np.array(values)
