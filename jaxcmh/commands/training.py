"""The commands around one training: `jaxcmh demo`, `train`, `evaluate` and `search`."""

import os
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

import jaxcmh
from jaxcmh.commands import asked, terminal
from jaxcmh.commands.asked import (
    Count,
    Databases,
    Flag,
    Images,
    Json,
    Kernel,
    Many,
    Out,
    Query,
    Repeated,
    Root,
    Texts,
    Ties,
    Tracker,
)
from jaxcmh.commands.queries import load_data, read_queries, stored_root
from jaxcmh.progress import Stages, progress, say, shown


def demo(
    *,
    bits: Annotated[list[int] | None, Many] = None,
    methods: Annotated[list[str] | None, Many] = None,
    max_iterations: int | None = None,
    tolerance: float | None = None,
    out: Out = None,
) -> None:
    """Train every method on the embedded icons, compare them, and write a page to look at. Needs no network.

    Parameters
    ----------
    bits
        Code lengths. [default: 16 32 64]
    methods
        Methods to train, of the package or your own as module:attribute. [default: all of the package]
    max_iterations
        Iterations at most; the number of each method by default.
    tolerance
        Relative change of the objective below which training has converged; that of each method by default, 0 for
        never.
    out
        Folder for everything it writes; must not exist. [default: runs/demo, or runs/demo-2, ...]
    """
    # Read when jax starts. For programs that run once on a thousand items, optimising costs more than it saves. Without
    # fusion emitters compiling takes about half the time; a version that does not know a flag would refuse to start.
    flags = ["--xla_backend_optimization_level=0"]
    flags += ["--xla_cpu_use_fusion_emitters=false"] if metadata.version("jaxlib").startswith("0.10.") else []
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))
    from jaxcmh.commands.demo import LENGTHS, demonstrate

    asked.bits(bits or ())
    chosen = [asked.method(name) for name in methods or ()] or None
    place = asked.new_folder(out, "demo")
    endings = {"max_iterations": max_iterations, "tolerance": tolerance}
    demonstrate(place, methods=chosen, lengths=bits or LENGTHS, start=asked.start, **endings)


def train(
    method: str,
    /,
    *,
    data: str = "icons",
    bits: Annotated[int, Parameter(name=["--bits", "-b"])] = 32,
    seed: int = 0,
    max_iterations: int | None = None,
    tolerance: float | None = None,
    param: Repeated = None,
    features: Kernel | None = None,
    anchors: int | None = None,
    width: float | None = None,
    standardise: Flag = False,
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
        Name of a method, such as dcgh, or of a variant, such as dcgh-d; or one of your own as module:attribute, such as
        mymethod:method for what mymethod.py in the current folder calls method.
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
        Anchors of the kernels rbf, laplace and rbf_centred.
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
    from jaxcmh.datasets.identity import data_hash, split_hash
    from jaxcmh.results.runs import read_run, stored
    from jaxcmh.studies import runs

    asked.bits([bits])
    chosen = asked.method(method)
    options: dict[str, Any] = {"params": asked.params(param or [], chosen), "seed": seed}
    options |= {"max_iterations": max_iterations, "tolerance": tolerance}
    options["features"] = asked.features(chosen, features, anchors, width, standardise)
    name = asked.file_name(chosen.name, data, bits, seed)
    place = asked.new_folder(out, name)
    track = asked.tracker(log, place)
    config = {
        "data": data,
        "root": root and str(root.resolve()),
        "method": chosen.name,
        "bits": bits,
        "ties": ties,
        "at": at,
    }
    if asked.is_own(method):
        config |= {"imported": method, "source": asked.source(method)}
    stages = Stages()
    with progress() as steps:
        asked.start(steps)
        split = load_data(data, root, stages, steps)
        hashes = data_hash(split), split_hash(split)
        wanted = {**config, **asked.info(chosen, split, hash_function, options), "version": jaxcmh.__version__}
        earlier = stored(Path("runs") / name, wanted, hashes[0]) if out is None else None
        if earlier is not None:
            terminal.print_records(read_run(earlier).records, as_json)
            say(f"cached; run folder: {shown(earlier)}")
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
            say=lambda doing: steps.step(f"{chosen.name}, {bits} bits: {doing}"),
            hash_function=hash_function,
            **options,
        )
    trained = outcome.model.info
    runs.keep(place, outcome, {**config, **trained._asdict(), "params": dict(trained.params)})
    if track:
        for line in outcome.records:
            track(line)
    terminal.print_records(outcome.records, as_json)
    if not as_json:
        print(terminal.stages_line(outcome.records[0]["times"]))
    for note in (terminal.ending(outcome.records[0]), *(f"warning: {doubt}" for doubt in outcome.doubts)):
        if note:
            say(note)
    say(f"run folder: {shown(place)}")


def evaluate(
    run: Path,
    /,
    *,
    database: Databases = None,
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
    from jaxcmh.datasets.identity import data_hash, split_hash
    from jaxcmh.results.runs import read_run

    stored = read_run(run)
    stages = Stages()
    name = data or stored.config["data"]
    with progress() as steps:
        asked.start(steps)
        from jaxcmh.studies import runs

        model = jaxcmh.load(run)
        split = load_data(name, root or stored_root(stored.config), stages, steps)
        hashes = data_hash(split), split_hash(split)
        same = hashes[0] == stored.records[0]["data_hash"]
        if data is None and not same:
            raise ValueError(f"{name}: the data are not those the run was trained on; name them with --data")
        if not same:
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
    terminal.print_records(records, as_json)


def search(
    run: Path,
    /,
    *,
    text: Texts = None,
    image: Images = None,
    query: Query = None,
    view: str | None = None,
    k: Count = 10,
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
        File with feature vectors, one row per query: .npy, or .npz with one array.
    view
        View the feature vectors are of, by name or number; taken from their width where only one view fits.
    k
        Answers per query.
    root
        Folder with the files of a named data set. [default: that of the training, or $JAXCMH_DATA]
    as_json
        Print one JSON line per answer instead of a table.
    """
    import numpy as np

    from jaxcmh.results import runs

    asked.one_query(text, image, query)
    stored = runs.read_run(run)
    stages = Stages()
    with progress() as steps:
        asked.start(steps)
        steps.step("loading the model")
        with stages("load"):
            model = jaxcmh.load(run)
        split = load_data(
            stored.config["data"], root or stored_root(stored.config), stages, steps, required=query is None
        )
        number, rows, names = read_queries(model, split, text, image, query, view)
        steps.step("searching")
        with stages("search"):
            scores, ids = (np.asarray(found).tolist() for found in jaxcmh.search(model, rows, number, k))
    word = "distance" if model.codebooks is None else "score"
    train_ids = stored.codes["train_ids"].tolist()
    for name, row_scores, row_ids in zip(names, scores, ids):
        answers = [
            {"query": name, "rank": rank, word: score, "item": train_ids[row], **_known(split, row, train_ids[row])}
            for rank, (score, row) in enumerate(zip(row_scores, row_ids), 1)
        ]
        terminal.print_answers(name, answers, as_json)
    if not as_json:
        print(terminal.stages_line(stages.seconds))


def _known(split: Any, row: int, item: int) -> dict[str, Any]:
    """Name, labels and text of a training item, where the data set is there and knows them."""
    facts: dict[str, Any] = {}
    if split is not None and len(split.items.names):
        facts["name"] = split.items.names[item]
    if split is not None and split.label_names:
        facts["labels"] = [split.label_names[c] for c in split.train.labels[row].nonzero()[0]]
    if split is not None and len(split.items.texts):
        facts["text"] = split.items.texts[item]
    return facts
