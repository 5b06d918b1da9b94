"""Run folders: what one training and its evaluations leave behind, written whole or not at all, and read again."""

import csv
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxcmh import results
from jaxcmh.checks import PathLike, checked, instance
from jaxcmh.store import folder, plain, write_json, write_text

FILES = ("config.json", "environment.json", "results.jsonl", "per_query.csv", "codes.npz", "model.safetensors")


def _outcome(value: Any, name: str) -> Any:
    return instance(value, name, Trained, "an Outcome, which studies.runs.run returns")


@runtime_checkable
class Trained(Protocol):
    """What a run folder is made of, see `studies.runs.Outcome`."""

    model: Any
    reports: Any
    records: Any
    codes: Any


AnOutcome = Annotated[Any, _outcome]


@checked
def free(path: PathLike) -> Path:
    """The path, or path-2, path-3, ... : the first that does not exist."""
    path = Path(path)
    number = 1
    while (candidate := path if number == 1 else path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return candidate


@checked
def stored(path: PathLike, asked: Mapping[str, Any], data_hash: str) -> Path | None:
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
        if run and run.records[0]["data_hash"] == data_hash and {**run.config, **plain(asked)} == run.config:
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


@checked
def keep(path: PathLike, outcome: AnOutcome, config: Mapping[str, Any]) -> Path:
    """Write a run folder, whole or not at all: configuration, environment, results, per-query AP, codes, model.

    Args:
        path: a folder that does not exist yet.
        outcome: a training and its evaluations, see `studies.runs.Outcome`.
        config: what was asked for.
    Raises:
        FileExistsError: there is something at `path`.
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


@checked
def read_run(path: PathLike) -> Run:
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
    config, environment = (_read(path / name, _json) for name in ("config.json", "environment.json"))
    if config.get("format", math.inf) > results.FORMAT:
        raise ValueError(f"{path / 'config.json'}: written by a later version of jaxcmh")
    records = results.read(path / "results.jsonl")
    per_query = _read(path / "per_query.csv", _columns)
    if not records or {len(column) for column in per_query.values()} != {records[0]["n_queries"]}:
        raise ValueError(f"{path / 'per_query.csv'} is damaged: it has no line for each query of the results")
    return Run(config, environment, records, per_query, _read(path / "codes.npz", _arrays), path / "model.safetensors")


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
