"""Results on disk: one JSON line per result with its whole protocol; made, checked, read and appended.

A *record* is a flat dict, one line of a `results.jsonl`. It carries everything a number depends on (data and split
hashes, database kind, tie rule, cut-off, method, bits, seed, hyper-parameters, ...), so that tables and figures need
nothing but lines.
"""

import functools
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np

import jaxcmh
from jaxcmh import store
from jaxcmh.checks import Check, Codes, Count, Has, PathLike, Series, Whole, bits, checked, filled, got
from jaxcmh.model import Info, Model
from jaxcmh.parsing import json_value
from jaxcmh.retrieval.metrics import Divisor
from jaxcmh.store import plain

FORMAT = 2
# What must be equal for two numbers to stand in one column, and what makes two runs different runs.
PROTOCOL = (
    "data",
    "data_hash",
    "split_hash",
    "database",
    "ties",
    "at",
    "n_queries",
    "n_without_relevant",
    "n_database",
)
# Of the protocol too; a line has it where it is another than this.
DIVISOR: Divisor = "retrieved"
CONFIGURATION = ("method", "bits", "params", "max_iterations", "tolerance", "features", "hash_function")
# What a study changes when it changes the data: fewer rows, other pairs.
OF_THE_SETTING = ("data_hash", "split_hash", "n_database", "n_without_relevant")


def one_line(value: Any, name: str) -> str:
    """Text of one line that is not empty."""
    if not isinstance(value, str) or len(value.splitlines()) != 1:
        raise ValueError(f"{name}: expected a line of text; got {got(value)}")
    return value


REQUIRED = ("format", "key", *PROTOCOL, *CONFIGURATION, "seed", "map", "times", "environment")
NUMBER, NOTHING = (int, float), type(None)
# Field -> the types of its value, and of the values in it.
TEXT, WHOLE, FACTS = ((str,), ()), ((int,), ()), ((dict,), (*NUMBER, str, NOTHING))
TYPES: dict[str, tuple[tuple[type, ...], tuple[type, ...]]] = {
    **dict.fromkeys(("key", "data", "data_hash", "split_hash", "database", "ties", "method", "hash_function"), TEXT),
    **dict.fromkeys(("feature_label", "map_label", "arrays", "queries", "divisor"), TEXT),
    **dict.fromkeys(("format", "n_queries", "n_without_relevant", "n_database", "bits", "max_iterations"), WHOLE),
    **dict.fromkeys(("seed", "n_train", "converged"), WHOLE),
    **dict.fromkeys(("params", "times"), ((dict,), NUMBER)),
    **dict.fromkeys(("setting", "diagnostics"), FACTS),
    **dict.fromkeys(("tolerance", "peak_memory_gb"), (NUMBER, ())),
    "at": ((int, NOTHING), ()),
    "chance": ((*NUMBER, NOTHING), ()),
    "features": ((list, str), (dict,)),
    **dict.fromkeys(("curves", "measures"), ((dict,), (dict,))),
    "ap": ((dict,), (list,)),
    "topn": ((list,), (int,)),
    "objective": ((list,), (*NUMBER, NOTHING)),
    "environment": ((dict,), (dict, list, str, *NUMBER, NOTHING)),
    "study": ((dict,), (str, list)),
}
DOMAINS: dict[str, Check] = {
    "bits": bits,
    "seed": Whole(0),
    **dict.fromkeys(("n_queries", "n_database", "n_train", "max_iterations"), Whole(1)),
    **dict.fromkeys(("n_without_relevant", "converged"), Whole(0)),
    "method": one_line,
}
DIRECTIONS = {"i2t": "image → text", "t2i": "text → image"}
POINTS = 257  # of a precision-recall curve in a result line
PACKAGES = ("jax", "jaxlib", "numpy", "scipy")


def _finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def check(record: Any, where: str = "record") -> dict:
    """The record itself, when it is one: a dict with every required field, of this or an earlier format, finite scores.

    Raises:
        ValueError: naming the field and `where` it was read.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{where}: a result is a JSON object, got {type(record).__name__}")
    if record.get("format") == 1 and "iterations" in record:  # of version 0.1.0, which ran a fixed number
        record = {**record, "max_iterations": record["iterations"], "tolerance": 0.0}
    missing = [name for name in REQUIRED if name not in record]
    if missing:
        raise ValueError(f"{where}: the result lacks {', '.join(missing)}")
    if record["format"] > FORMAT:
        raise ValueError(
            f"{where}: written by a later jaxcmh (format {record['format']}, this one reads up to {FORMAT})"
        )
    scores = record["map"]
    if not isinstance(scores, dict) or not scores or not all(isinstance(v, float | int) for v in scores.values()):
        raise ValueError(f"{where}: map must give a number for every direction, got {scores!r}")
    for name in ("map", "objective", "measures"):
        if not _finite(record.get(name)):
            raise ValueError(f"{where}: {name} is not finite: {record[name]}")
    for name, domain in DOMAINS.items():
        if name in record:
            domain(record[name], f"{where}: {name}")
    return record


Record = Annotated[Mapping[str, Any], check]
Lines = Annotated[Iterable[Record], filled]
Report = Annotated[
    Mapping[str, Any],
    Has(("metrics", "database", "ties", "at", "n_queries", "n_without_relevant", "n_database")),
]


@checked
def direction_name(direction: str) -> str:
    """A direction of search in words; what is none stays as it is.

    >>> direction_name("i2t"), direction_name("view0->view2")
    ('image → text', 'view0 → view2')
    """
    return DIRECTIONS.get(direction, direction.replace("->", " → "))


@checked
def environment() -> dict[str, Any]:
    """What a number was computed with: versions, machine, device and, in a git checkout of this package, the commit.

    Example:
        >>> {"cpus", "device", "machine", "platform", "versions"} <= set(environment())
        True
    """
    import jax

    device = jax.devices()[0]
    return {
        "versions": dict(versions()),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "device": f"{device.platform} ({device.device_kind})",
        "commit": commit(),
    }


@checked
@functools.cache
def versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that numbers depend on; read once: it takes milliseconds.

    Example:
        >>> versions()["jaxcmh"] == jaxcmh.__version__
        True
    """
    numbers = {"python": platform.python_version(), "jaxcmh": jaxcmh.__version__}
    for name in PACKAGES:
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:
            numbers[name] = "not installed"
    return numbers


@checked
@functools.cache
def commit() -> str | None:
    """The commit of the checkout this package lies in, "+changes" where its files differ; None outside a checkout.

    Example:
        >>> commit() is None or len(commit()) >= 7
        True
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        ).stdout.strip()

    name = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "jaxcmh")
    return f"{name}+changes" if name and changed else name or None


@checked
def doubts(scores: Mapping[str, float], chance: float, codes: Mapping[str, Codes] | None = None) -> list[str]:
    """What looks wrong about a result, in one plain sentence each; an empty list when nothing does.

    Args:
        scores: direction -> mAP.
        chance: mAP of a random order, see `chance`.
        codes: name -> packed codes (n, bits/8) uint8, searched for bits that never change.

    >>> doubts({"i2t": 0.14, "t2i": 0.14}, 0.136)[0]
    'i2t and t2i have exactly the same mAP 0.1400: are the two views the same array?'
    """
    sentences = []
    names = sorted(scores)
    for first, second in [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]:
        if (
            abs(scores[first] - scores[second]) < 1e-12 and scores[first] < 0.95
        ):  # near 1 different views may well agree
            sentences.append(
                f"{first} and {second} have exactly the same mAP {scores[first]:.4f}: are the two views the same array?"
            )
    for name in names:
        if scores[name] < 1.1 * chance:
            sentences.append(f"{name} has mAP {scores[name]:.4f}, hardly better than chance ({chance:.4f})")
    for name, packed in (codes or {}).items():
        packed = np.asarray(packed)
        differ = np.bitwise_or.reduce(packed ^ packed[:1], axis=0)
        constant = packed.shape[1] * 8 - int(np.unpackbits(differ).sum())
        if constant:
            sentences.append(f"{constant} of {packed.shape[1] * 8} bits are the same for all items of the {name} codes")
    return sentences


# -- records ----------------------------------------------------------------------------------------------------------


@checked
def record(
    model: Model, report: Report, *, data: str, hashes: tuple[str, str], times: Mapping[str, float]
) -> dict[str, Any]:
    """One result line: the model's configuration, the protocol of the evaluation, mAP and curves in every direction.

    Args:
        model: a trained model; how it was made, its objective and diagnostics are stored.
        report: what `jaxcmh.evaluate` returned; "chance", see `chance`, is kept if it is added; "queries": "trained"
            where the queries were trained on.
        data: name or path of the data set.
        hashes: (`data_hash`, `split_hash`) of its split.
        times: seconds by stage (load, compile, train, evaluate, ...).
    Returns:
        A flat dict of JSON types, ready for `append`.
    Raises:
        ValueError: a score or the objective is not finite.
    Example:
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> report = outcome.reports["learned"]
        >>> one = record(outcome.model, report, data="synthetic", hashes=("a", "b"), times={"train": 1.5})
        >>> one["bits"], one["map"] == {name: report[name] for name in ("i2t", "t2i")}
        (8, True)
    """
    return line(
        model.info,
        report,
        data=data,
        hashes=hashes,
        times={**model.times, **times},
        objective=model.objective,
        converged=model.converged,
        diagnostics=model.diagnostics,
    )


@checked
def line(
    info: Info,
    report: Report,
    *,
    data: str,
    hashes: tuple[str, str],
    times: Mapping[str, float],
    objective: Series,
    converged: Annotated[Any, Whole(0)],
    diagnostics: Mapping[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """`record` of a run of which there is no model: `info` is a `model.Info`, and `more` are fields of its own.

    Where the report's "metrics" are just numbers, the line has no curves.

    Example:
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> more = {"objective": [2.0, 1.0], "converged": 0, "diagnostics": {}, "note": "by hand"}
        >>> hashes, report = ("a", "b"), {**outcome.reports["learned"], "chance": 0.3}
        >>> line(outcome.model.info, report, data="synthetic", hashes=hashes, times={"train": 1.5}, **more)["note"]
        'by hand'
    """
    metrics = report["metrics"]
    curves = {direction: measured for direction, measured in metrics.items() if hasattr(measured, "topn")}
    record = {
        "format": FORMAT,
        "data": data,
        "data_hash": hashes[0],
        "split_hash": hashes[1],
        **{name: report[name] for name in ("database", "ties", "at", "n_queries", "n_without_relevant", "n_database")},
        **{name: getattr(info, name) for name in CONFIGURATION},
        "params": dict(info.params),
        "seed": info.seed,
        "n_train": info.n,
        "map": {direction: report[direction] for direction in metrics},
        **{name: report[name] for name in ("measures", "chance", "queries") if name in report},
    }
    if report["at"] is not None and report.get("divisor", DIVISOR) != DIVISOR:
        record["divisor"] = report["divisor"]
    if curves:
        record["topn"] = next(iter(curves.values())).topn
        record["curves"] = {direction: _curves(measured) for direction, measured in curves.items()}
    record |= {
        "objective": objective,
        "converged": converged,
        "diagnostics": diagnostics,
        "times": {name: round(float(seconds), 4) for name, seconds in times.items()},
        "environment": environment(),
        **more,
    }
    record = plain(record)
    record["key"] = key(record)
    return check(record)


def _curves(measured: Any) -> dict[str, np.ndarray]:
    """The curves of one direction; of a precision-recall curve with one point per rank, those nearest to even steps."""
    recall = np.asarray(measured.pr_recall)
    kept = np.arange(len(recall))
    if len(recall) > POINTS:
        kept = np.unique(np.searchsorted(recall, np.linspace(0, recall[-1], POINTS)))
    return {
        "topn_precision": measured.topn_precision,
        "precision": np.asarray(measured.pr_precision)[kept],
        "recall": recall[kept],
        "radius_precision": measured.radius_precision,
        "radius_recall": measured.radius_recall,
    }


@checked
def key(record: Annotated[Mapping[str, Any], Has((*PROTOCOL, *CONFIGURATION, "seed"))]) -> str:
    """16 hex digits over everything a result is determined by: equal keys mean the same experiment.

    Example:
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> key(lines[0]) == lines[0]["key"] != key({**lines[0], "seed": 1})
        True
    """
    identity = {name: record[name] for name in (*PROTOCOL, *CONFIGURATION, "seed")}
    if "divisor" in record:
        identity["divisor"] = record["divisor"]
    if record.get("setting"):  # conditions of the data, see `studies.conditions`
        identity["setting"] = record["setting"]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


@checked
def trace(
    record: Annotated[Mapping[str, Any], Has(("format", "objective"))], values: Sequence[float] | None = None
) -> tuple[list[int], list[float]]:
    """Iterations and the objective after them, from the start (0) to the iteration in which the training converged.

    Args:
        record: a result line; one of format 1, of version 0.1.0, begins after the first iteration.
        values: of one stage of a method with several; the line's "objective" if None.

    >>> trace({"format": 2, "objective": [4.0, 2.0, 1.0, 1.0], "converged": 2})
    ([0, 1, 2], [4.0, 2.0, 1.0])
    >>> trace({"format": 1, "objective": [2.0, 1.0]})
    ([1, 2], [2.0, 1.0])
    """
    first = 0 if record["format"] > 1 else 1
    if values is not None:
        shown = list(values)
    else:
        end = record["converged"] - first + 1 if record.get("converged") else None
        shown = list(record["objective"][:end])
    return list(range(first, first + len(shown))), shown


WORDS = {str: "text", int: "integer", float: "number", dict: "object", list: "list"}


def _typed(value: Any, kinds: tuple[type, ...], inner: tuple[type, ...]) -> bool:
    """Whether a value is of one of these kinds, and the values in it of the inner ones; True and False are none."""
    values = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    return fits and (not inner or all(isinstance(v, inner) and not isinstance(v, bool) for v in values))


def _check_types(record: Mapping[str, Any], where: str) -> None:
    """Refuse a line of a file with a field of another type than `line` gives it."""
    for name, (kinds, inner) in TYPES.items():
        value = record.get(name)
        if name in record and not _typed(value, kinds, inner):
            described = " or ".join("null" if kind is NOTHING else WORDS[kind] for kind in kinds)
            of = f" of {' or '.join(dict.fromkeys(WORDS[kind] for kind in inner if kind in WORDS))}" if inner else ""
            raise ValueError(f"{where}: {name}: expected {described}{of}, got {str(value)[:60]!r}")


@checked
def append(path: PathLike, record: Record) -> None:
    """Add one line to a file of results; it is on the disk when this returns.

    A half line left by a killed process is cut off first, and one that the disk has no room for at once.

    Args:
        path: the `.jsonl` file, made when it is not there.
        record: see `record`.
    Raises:
        ValueError: the record lacks a field, or holds a number that is not finite where it must be.
        BlockingIOError: another process is writing the file, see `store.only_writer`.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     append(f"{folder}/results.jsonl", outcome.records[0])
        ...     [line["database"] for line in read(folder)]
        ['learned']
    """
    text = json.dumps(_nan_to_none(check(dict(record))), allow_nan=False, separators=(",", ":"))
    left = memoryview(text.encode() + b"\n")
    path = Path(path)
    with store.only_writer(path), store.named(path):
        new = not path.exists()
        with open(path, "ab", buffering=0) as file:
            whole = file.tell() - _torn(path)
            try:
                file.truncate(whole)
                while left:  # a disk that is nearly full takes a part
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(whole)
                raise
        if new:
            store.keep(path.parent)


def _nan_to_none(value: Any) -> Any:
    """Curves of queries without relevant items hold nan, which JSON does not know."""
    if isinstance(value, dict):
        return {k: _nan_to_none(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_nan_to_none(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _torn(path: Path) -> int:
    """Bytes after the last line end: what a process killed while writing left."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) in (b"", b"\n"):
            return 0
        file.seek(0)
        return size - file.read().rfind(b"\n") - 1


@checked
def read(path: PathLike) -> list[dict]:
    """The results of a `.jsonl` file, or of every `results.jsonl` below a folder, in order.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a line is not a result; the message names file, line and field. A last line without an end is what a
            killed process leaves and is passed over.

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for record in outcome.records:
        ...         append(f"{folder}/results.jsonl", record)
        ...     [line["database"] for line in read(folder)]
        ['learned', 'encoded']
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.rglob("results.jsonl"))
        if not files:
            raise FileNotFoundError(f"no results.jsonl in {path}")
        return [line for file in files for line in read(file)]
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    content = path.read_bytes()
    records = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        where = f"{path}, line {number}"
        try:
            value = json_value(line)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if isinstance(value, dict):
            _check_types(value, where)
        records.append(check(value, where))
    return records


# -- protocols ---------------------------------------------------------------------------------------------------------


@checked
def one_protocol(records: Lines, free: Sequence[str] = ()) -> dict[str, Any]:
    """The protocol all records share; fields in `free` may differ and are left out.

    Raises:
        ValueError: a protocol field differs. Numbers of different protocols do not compare.

    Example:
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> protocol = one_protocol(lines, free=["database"])
        >>> protocol["data"], protocol["n_queries"], "database" in protocol
        ('synthetic', 10, False)
    """
    shared = {}
    records = [{"divisor": DIVISOR, **record} for record in records]
    for name in (*PROTOCOL, "divisor"):
        if name in free:
            continue
        values = {json.dumps(r[name]) for r in records}
        if len(values) > 1:
            raise ValueError(
                f"these results mix protocols: {name} is {' and '.join(sorted(values))}; "
                f"keep one of them, or make {name} a column"
            )
        shared[name] = records[0][name]
    if all("queries" in r for r in records):  # the data are the same, so one line says it for all
        shared["queries"] = records[0]["queries"]
    return shared


@checked
def score(at: Count | None, divisor: Divisor = DIVISOR) -> str:
    """The name of the score: mAP over the whole ranking, or cut off.

    Example:
        >>> score(None), score(50), score(50, "possible")
        ('mAP over all items', 'mAP@50', 'mAP@50 (divided by what is possible)')
    """
    if at is None:
        return "mAP over all items"
    return f"mAP@{at}" if divisor == DIVISOR else f"mAP@{at} (divided by what is {divisor})"


@checked
def describe(protocol: Mapping[str, Any]) -> str:
    """The protocol in words, without the score.

    >>> describe({"data": "wiki", "database": "learned", "ties": "stable", "n_queries": 693, "n_without_relevant": 0})
    'data wiki, learned database codes, stable ties, 693 queries (0 without a relevant item)'
    """
    trained = " that were trained on" if protocol.get("queries") == "trained" else ""
    forms = {
        "data": "data {data}",
        "database": "{database} database codes",
        "ties": "{ties} ties",
        "n_queries": f"{{n_queries}} queries{trained}"
        + (" ({n_without_relevant} without a relevant item)" if "n_without_relevant" in protocol else ""),
    }
    return ", ".join(form.format(**protocol) for name, form in forms.items() if name in protocol)
