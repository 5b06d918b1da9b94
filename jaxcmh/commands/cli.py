"""The command `jaxcmh`: demo, train, evaluate, search, index, export, data, features, studies and reading results.

Results go to standard output, everything else to standard error. Nothing heavy is imported before a command needs it.
Exit codes: 0 done, 2 bad input (one line says what), 130 interrupted.
"""

import difflib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import UnknownOptionError

import jaxcmh
from jaxcmh import progress as terminal
from jaxcmh.commands import data as data_commands
from jaxcmh.commands import index as index_commands
from jaxcmh.commands import reading as reading_commands
from jaxcmh.commands import study as study_commands
from jaxcmh.commands.queries import load_data, read_queries, stored_root
from jaxcmh.commands.study import Tracker

if TYPE_CHECKING:
    from jaxcmh.progress import Progress

app = App(
    name="jaxcmh",
    help="Supervised cross-modal hashing: learn short codes with which a text finds images and an image finds texts.",
    version=jaxcmh.__version__,
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
data_app = App(name="data", help="Look at data sets and files.")
app.command(data_app)
data_app.command(data_commands.check)
data_app.command(data_commands.download)

Out = Annotated[Path | None, Parameter(name=["--out", "-o"])]
Root = Annotated[Path | None, Parameter(name="--root")]
Json = Annotated[bool, Parameter(name="--json", negative=())]
Ties = Literal["expected", "stable"]
Database = Literal["learned", "encoded", "held_out"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: the words after `jaxcmh`; those of this process if None.

    >>> main(["--version"])
    0.1.0
    0
    """
    # Both are read when NumPy and jax are imported. Two BLAS threads on busy cores make small solves many times slower;
    # jax keeps its own threads for products.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        return _refuse(f"{error}{_options(error)}")
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if isinstance(error, BrokenPipeError):  # the reader, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        if os.environ.get("JAXCMH_TRACEBACK"):
            raise
        return _refuse(str(error))
    except KeyboardInterrupt:
        terminal.say("\njaxcmh: interrupted; nothing unfinished was left behind")
        if arguments is None:
            os._exit(130)  # jax would first wait for what it is computing
        return 130
    return 0


def _refuse(message: str) -> int:
    print(f"jaxcmh: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _options(error: CycloptsError) -> str:
    """The options there are, after a mistyped one."""
    if not isinstance(error, UnknownOptionError):
        return ""
    names = [name for argument in error.argument_collection for name in argument.names if name.startswith("--")]
    return f" Options: {', '.join(dict.fromkeys([*names, '--help']))}."


# -- commands ---------------------------------------------------------------------------------------------------------


@app.command
def demo(
    *,
    bits: Annotated[list[int] | None, Parameter(consume_multiple=True, negative=())] = None,
    methods: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    out: Out = None,
) -> None:
    """Train every method on the embedded icons, compare them, and write a page to look at. Needs no network.

    Parameters
    ----------
    bits
        Code lengths. [default: 16 32 64]
    methods
        Methods to train. [default: all]
    out
        Folder for everything it writes; must not exist. [default: runs/demo, or runs/demo-2, ...]
    """
    from jaxcmh.commands import demo as show

    # Read when jax starts. For programs that run once on a thousand items, optimising costs more than it saves.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    for length in bits or ():
        _bits(length)
    chosen = [_method(m) for m in methods or ()] or None
    place = _new(out, "demo")
    show.demo(place, methods=chosen, lengths=bits or show.LENGTHS, start=_start)


@app.command
def train(
    method: str,
    /,
    *,
    data: str = "icons",
    bits: Annotated[int, Parameter(name=["--bits", "-b"])] = 32,
    seed: int = 0,
    max_iterations: int | None = None,
    tolerance: float | None = None,
    param: Annotated[list[str] | None, Parameter(name=["--param", "-p"], negative=())] = None,
    features: Literal["rbf", "laplace", "standardise", "identity"] | None = None,
    anchors: int | None = None,
    width: float | None = None,
    standardise: Annotated[bool, Parameter(negative=())] = False,
    hash_function: str = "ridge",
    ties: Ties = "expected",
    at: int | None = None,
    log: Tracker | None = None,
    root: Root = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Train a method, evaluate it, and keep model, codes and results in a run folder.

    Parameters
    ----------
    method
        Name of a method, such as dcgh, or of a variant, such as dcgh-d.
    data
        Name of a data set, or path of a file with arrays.
    bits
        Code length, a multiple of 8.
    seed
        Of anchors and random start.
    max_iterations
        Iterations at most; the method's own number by default.
    tolerance
        Relative change of the objective below which training has converged; the method's own by default, 0 for never.
    param
        A hyper-parameter, such as alpha=10; may be repeated.
    features
        Feature map of every view; the method's own by default.
    anchors
        Anchors of the kernels rbf and laplace.
    width
        Factor on the kernel width.
    standardise
        Standardise the raw features before the kernel.
    hash_function
        How new items are encoded.
    ties
        How items of equal distance count in mAP.
    at
        Cut rankings at this rank; the whole database by default.
    log
        Show the run to this experiment tracker too, below the run folder.
    root
        Folder with the files of a named data set. [default: $JAXCMH_DATA]
    out
        Run folder; must not exist. [default: runs/METHOD-DATA-BITS-SEED; a run that is there is shown, not repeated]
    as_json
        Print result lines (JSON) instead of a table.
    """
    from jaxcmh import results
    from jaxcmh.studies import runs

    _bits(bits)
    chosen = _method(method)
    options: dict[str, Any] = {"params": _params(param or [], chosen), "seed": seed}
    options |= {"max_iterations": max_iterations, "tolerance": tolerance}
    options["features"] = _features(chosen, features, anchors, width, standardise)
    name = f"{method}-{Path(data).stem if Path(data).exists() else data}-{bits}-{seed}".replace(":", "-")
    place = _new(out, name)
    tell = study_commands.tracked(log, place)
    config = {
        "data": data,
        "root": root and str(root.resolve()),
        "method": method,
        "bits": bits,
        "ties": ties,
        "at": at,
    }
    stages = terminal.Stages()
    with terminal.progress() as steps:
        _start(steps)
        split = load_data(data, root, stages, steps)
        hashes = results.data_hash(split), results.split_hash(split)
        asked = {**config, **_info(chosen, split, hash_function, options), "version": jaxcmh.__version__}
        if out is None and (found := runs.stored(Path("runs") / name, asked, hashes[0])):
            _print_records(runs.read_run(found).records, as_json)
            terminal.say(f"cached; run folder: {terminal.shown(found)}")
            return
        outcome = runs.run(
            split,
            chosen,
            bits=bits,
            data=data,
            hashes=hashes,
            ties=ties,
            at=at,
            times=stages.seconds,
            say=lambda doing: steps.step(f"{method}, {bits} bits: {doing}"),
            hash_function=hash_function,
            **options,
        )
    info = outcome.model.info._asdict()
    runs.keep(place, outcome, {**config, **info, "params": dict(outcome.model.info.params)})
    if tell:
        for line in outcome.records:
            tell(line)
    _print_records(outcome.records, as_json)
    if not as_json:
        print(terminal.stages_line(outcome.records[0]["times"]))
    for doubt in outcome.doubts:
        terminal.say(f"warning: {doubt}")
    terminal.say(f"run folder: {terminal.shown(place)}")


@app.command
def evaluate(
    run: Path,
    /,
    *,
    database: Annotated[list[Database] | None, Parameter(consume_multiple=True, negative=())] = None,
    ties: Ties = "expected",
    at: int | None = None,
    data: str | None = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Evaluate the model of a run folder again, under another protocol or on other data; new results are kept there.

    Parameters
    ----------
    run
        Run folder.
    database
        Kinds of database codes; all that the data allow by default.
    ties
        How items of equal distance count in mAP.
    at
        Cut rankings at this rank; the whole database by default.
    data
        Another data set with the same views, for its queries and database.
    root
        Folder with the files of a named data set. [default: that of the training, or $JAXCMH_DATA]
    as_json
        Print result lines (JSON) instead of a table.
    """
    from jaxcmh import results
    from jaxcmh.results.runs import read_run

    stored = read_run(run)
    stages = terminal.Stages()
    name = data or stored.config["data"]
    with terminal.progress() as steps:
        _start(steps)
        from jaxcmh.studies import runs

        model = jaxcmh.load(run)
        split = load_data(name, root or stored_root(stored.config), stages, steps)
        hashes = results.data_hash(split), results.split_hash(split)
        if data is None and hashes[0] != stored.records[0]["data_hash"]:
            raise ValueError(f"{name}: the data are not those the run was trained on; name them with --data")
        if data is not None and hashes[0] != stored.records[0]["data_hash"]:
            split = split._replace(train=split.train._replace(ids=split.train.ids[:0]))  # nothing of it was trained on
        records = []
        for kind in database or runs.kinds(split):
            steps.step(f"evaluating {kind} database codes")
            with stages("evaluate"):
                report = runs.evaluate(model, split, kind, ties=ties, at=at)
            records.append(results.record(model, report, data=name, hashes=hashes, times=stages.seconds))
    known = {line["key"] for line in stored.records}
    for line in records:
        if line["key"] not in known:
            results.append(run / "results.jsonl", line)
    _print_records(records, as_json)


@app.command
def search(
    run: Path,
    /,
    *,
    text: Annotated[list[str] | None, Parameter(name=["--text", "-t"], negative=())] = None,
    image: Annotated[list[Path] | None, Parameter(name=["--image", "-i"], negative=())] = None,
    query: Annotated[Path | None, Parameter(name=["--query", "-q"])] = None,
    view: str | None = None,
    k: Annotated[int, Parameter(name=["-k", "--count"])] = 10,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Find the items nearest to new texts, pictures or feature vectors, with the model of a run folder.

    Parameters
    ----------
    run
        Run folder.
    text
        A text to search with; may be repeated.
    image
        A picture file to search with; may be repeated.
    query
        File with feature vectors, one row a query: .npy, or .npz with one array.
    view
        View the feature vectors are of, by name or number; told by their width where only one view fits.
    k
        Answers a query.
    root
        Folder with the files of a named data set. [default: that of the training, or $JAXCMH_DATA]
    as_json
        Print one JSON line an answer instead of a table.
    """
    from jaxcmh.results import runs

    if sum(given is not None for given in (text, image, query)) != 1:
        raise ValueError("give one of --text, --image and --query")
    stored = runs.read_run(run)
    stages = terminal.Stages()
    with terminal.progress() as steps:
        _start(steps)
        steps.step("loading the model")
        with stages("load"):
            model = jaxcmh.load(run)
        split = load_data(
            stored.config["data"], root or stored_root(stored.config), stages, steps, required=query is None
        )
        number, rows, asked = read_queries(model, split, text, image, query, view)
        steps.step("searching")
        with stages("search"):
            scores, ids = (value.tolist() for value in map(_host, jaxcmh.search(model, rows, number, k)))
    _print_answers(
        split, stored.codes["train_ids"].tolist(), number, asked, scores, ids, model.codebooks is None, as_json
    )
    if not as_json:
        print(terminal.stages_line(stages.seconds))


@data_app.command
def info(name: str, /, *, root: Root = None, as_json: Json = False) -> None:
    """Say what a data set holds: parts, views, labels, chance mAP, hash.

    Parameters
    ----------
    name
        Name of a data set, or path of a file with arrays.
    root
        Folder with the files of a named data set. [default: $JAXCMH_DATA]
    as_json
        Print JSON instead of a table.
    """
    from jaxcmh.datasets.inspection import describe

    with terminal.progress() as steps:
        split = load_data(name, root, terminal.Stages(), steps)
        facts = {"data": name, **describe(split)}
    data_commands.print_facts(facts, as_json)


@data_app.command
def inspect(files: list[Path], /, *, as_json: Json = False) -> None:
    """Say what is in data files: arrays, layout, parts, labels, and what looks wrong.

    Parameters
    ----------
    files
        A file, several files, or a folder of files.
    as_json
        Print JSON instead of a table.
    """
    from jaxcmh.datasets.inspection import inspect_files

    with terminal.progress() as steps:
        steps.step("reading files")
        facts = inspect_files(files)
    data_commands.print_facts(facts, as_json)


app.command(index_commands.index_app)
app.command(index_commands.export_app)
app.command(data_commands.features)
app.command(study_commands.reproduce)
app.command(study_commands.sweep)
for command in (reading_commands.report, reading_commands.table, reading_commands.compare, reading_commands.trec):
    app.command(command)


# -- pieces -----------------------------------------------------------------------------------------------------------


def _start(steps: "Progress") -> None:
    steps.step("starting jax")
    terminal.say(terminal.start_jax())


def _new(out: Path | None, name: str) -> Path:
    """The folder to write: the one asked for, refused at once if it is there, or a free one in runs/."""
    from jaxcmh.results import runs

    if out is None:
        return runs.free(Path("runs") / name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"--out: {out} is there already; name another folder or remove it first")
    return out


def _bits(bits: int) -> None:
    if bits <= 0 or bits % 8:
        raise ValueError(f"--bits: expected a positive multiple of 8; got {bits}")


def _method(name: str) -> Any:
    from jaxcmh.methods import find, registry, variants

    names = [*registry, *(f"{base}-{variant}" for base in variants for variant in variants[base])]
    if name not in names:
        raise ValueError(f"no method {name!r}{_nearest(name, names)} Methods: {', '.join(names)}")
    return find(name)


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]!r}?" if close else "."


def _params(given: list[str], method: Any) -> dict[str, float]:
    """name=value words as a dict."""
    fields = method.params._fields
    params = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"--param: expected name=value, such as {fields[0]}=1; got {word!r}")
        if name not in fields:
            raise ValueError(
                f"--param: {method.name} has no {name!r}{_nearest(name, fields)} It has {', '.join(fields)}"
            )
        try:
            params[name] = float(value)
        except ValueError:
            raise ValueError(f"--param: {name} must be a number, got {value!r}") from None
    return params


def _info(method: Any, split: Any, hash_function: str, options: dict[str, Any]) -> dict[str, Any]:
    """Fields of the `Info` that a model trained with these options will have."""
    from jaxcmh import checks
    from jaxcmh.learning.core import endings
    from jaxcmh.model import resolve_features

    max_iterations, tolerance = endings(method, options["max_iterations"], options["tolerance"])
    return {
        "method": method.name,
        "seed": options["seed"],
        "max_iterations": max_iterations,
        "tolerance": tolerance,
        "params": checks.params(options["params"], method.params),
        "features": resolve_features(options["features"], method, len(split.train.views)),
        "hash_function": hash_function,
    }


def _features(method: Any, kind: str | None, anchors: int | None, width: float | None, standardise: bool) -> Any:
    """The method's own feature map with what the user asked for changed, or None when nothing was."""
    asked = {"kind": kind, "anchors": anchors, "width": width, "standardise": standardise or None}
    asked = {name: value for name, value in asked.items() if value is not None}
    return method.features._replace(**asked) if asked else None


def _host(array: Any) -> Any:
    import numpy as np

    return np.asarray(array)


def _print_records(records: list[dict], as_json: bool) -> None:
    from jaxcmh import results

    if as_json:
        for line in records:
            print(json.dumps(line))
        return
    table = results.table(records, rows=("method", "bits", "database"), columns=("direction",))
    terminal.print_table(table)


def _print_answers(
    split: Any,
    train_ids: list[Any],
    view: int,
    asked: list[str],
    scores: list[list[float]],
    ids: list[list[int]],
    distances: bool,
    as_json: bool,
) -> None:
    """Answers as JSON lines or a table; names, words and labels where the data set knows them."""
    word = "distance" if distances else "score"
    for name, row_scores, row_ids in zip(asked, scores, ids):
        answers = []
        for rank, (score, row) in enumerate(zip(row_scores, row_ids), 1):
            item = train_ids[row]
            answer = {"query": name, "rank": rank, word: score, "item": item}
            if split is not None and len(split.items.names):
                answer["name"] = split.items.names[item]
            if split is not None and split.label_names:
                answer["labels"] = [split.label_names[c] for c in split.train.labels[row].nonzero()[0]]
            if split is not None and len(split.items.texts):
                answer["text"] = split.items.texts[item]
            answers.append(answer)
        if as_json:
            for answer in answers:
                print(json.dumps(answer))
        else:
            terminal.print_answers(name, answers)
