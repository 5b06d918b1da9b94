"""The commands around one training: `jaxcmh demo`, `plan`, `train`, `grow`, `evaluate` and `search`."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

import jaxcmh
from jaxcmh import checks
from jaxcmh.checks import Bits, Iterations, Seed, Weight
from jaxcmh.commands import asked, terminal, together
from jaxcmh.commands.asked import (
    Count,
    Databases,
    Flag,
    HashFunction,
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
from jaxcmh.commands.queries import are_arrays, knowing, load_data, read_queries, stored_root
from jaxcmh.extras import require
from jaxcmh.progress import Stages, progress, say, shown


def demo(
    *,
    bits: Annotated[list[Bits] | None, Many] = None,
    methods: Annotated[list[str] | None, Many] = None,
    every: Annotated[bool, Parameter(name="--all", negative=())] = False,
    max_iterations: Iterations | None = None,
    tolerance: Weight | None = None,
    out: Out = None,
) -> None:
    """Train methods on the embedded icons, compare them, and write a page to look at. Needs no network.

    Parameters
    ----------
    bits
        Code lengths. [default: 16 32 64]
    methods
        Methods to train, of those that `jaxcmh methods` lists, variants, or your own as module:attribute.
        [default: dcgh, a2lh, acqh, aah, imads, and random_codewords, which learns no codes]
    every
        Train every method of the package.
    max_iterations
        Iterations at most; the number of each method by default.
    tolerance
        Relative change of the objective below which training has converged; that of each method by default, 0 for
        never.
    out
        Folder for everything it writes. The same demo that is there already is shown, not repeated; anything else there
        is refused. [default: runs/demo, or with -2, -3, ... behind]
    """
    # Read when jax starts. For programs that run once on a thousand items, optimising costs more than it saves. Without
    # fusion emitters compiling takes about half the time; a version that does not know a flag would refuse to start.
    flags = ["--xla_backend_optimization_level=0"]
    flags += ["--xla_cpu_use_fusion_emitters=false"] if metadata.version("jaxlib").startswith("0.10.") else []
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))
    from jaxcmh.commands.demo import LENGTHS, SHOWN, demonstrate
    from jaxcmh.methods import registry

    if methods and every:
        raise ValueError("--methods: expected without --all, which trains every method")
    chosen = dict(registry) if every else {name: asked.method(name) for name in methods or SHOWN}
    endings = {"max_iterations": max_iterations, "tolerance": tolerance}
    demonstrate(out, chosen, bits or LENGTHS, **endings)


def methods(name: str | None = None, /, *, as_json: Json = False) -> None:
    """List methods and their hyper-parameters: what each is by default, and which values it can have.

    Parameters
    ----------
    name
        A method or variant, or one of your own as module:attribute. [default: all of the package]
    as_json
        Print one JSON line per hyper-parameter instead of a table.
    """
    from jaxcmh.methods import registry

    chosen = [asked.method(name)] if name else registry.values()
    rows = [
        {"method": one.name, "parameter": field, "default": default, "values": checks.described(domain)}
        for one in chosen
        for (field, domain), default in zip(checks.domains(type(one.params)).items(), one.params)
    ]
    if as_json:
        terminal.print_lines(rows)
    else:
        terminal.print_rows(rows, "Hyper-parameters, given as --param NAME=VALUE")


def train(
    method: str,
    /,
    *,
    data: str = "icons",
    bits: Annotated[Bits, Parameter(name=["--bits", "-b"])] = 32,
    seed: Seed = 0,
    max_iterations: Iterations | None = None,
    tolerance: Weight | None = None,
    param: Repeated = None,
    features: Kernel | None = None,
    anchors: checks.Count | None = None,
    width: float | None = None,
    standardise: Flag = False,
    hash_function: HashFunction = "ridge",
    ties: Ties = "expected",
    at: checks.Count | None = None,
    devices: checks.Count | None = None,
    room: checks.Positive | None = None,
    memory: checks.Positive | None = None,
    coordinator: str | None = None,
    num_processes: Annotated[int, checks.Whole(2)] | None = None,
    process_id: Annotated[int, checks.Whole(0)] | None = None,
    growing: Flag = False,
    thumbnails: Flag = False,
    codes: Annotated[Path | None, Parameter(name="--codes")] = None,
    log: Tracker | None = None,
    root: Root = None,
    out: Out = None,
    as_json: Json = False,
) -> int | None:
    """Train a method, evaluate it, and keep model, codes and results in a run folder.

    Parameters
    ----------
    method
        One that `jaxcmh methods` lists; or a variant, such as dcgh-d; or one of your own as module:attribute, such as
        mymethod:method for what mymethod.py in the current folder calls method.
    data
        icons, synthetic, wiki, mirflickr25k, nuswide10 or iaprtc12; or the path of a file with arrays.
    bits
        Code length, a multiple of 8.
    seed
        Of anchors and random start.
    max_iterations
        Iterations at most; the method's own number by default.
    tolerance
        Relative change of the objective below which training has converged; the method's own by default, 0 for never.
    param
        A hyper-parameter, such as alpha=10; may be repeated. `jaxcmh methods METHOD` lists them and their values.
    features
        Feature map of every view; the method's own by default.
    anchors
        Anchors of the kernels rbf, laplace and rbf_centred.
    width
        Factor on the kernel width.
    standardise
        Standardise the raw features before the kernel.
    hash_function
        How new items are encoded: ridge is the method's own linear functions, mlp a network with one hidden layer.
    ties
        How items of equal distance count in mAP.
    at
        Cut rankings at this rank; the whole database by default.
    devices
        Train and evaluate on the first of so many devices (`jax.devices()`), each with its share of the items and of
        the queries; on one by default.
    room
        GB that mapped features may take; where they take more, they are computed block by block whenever they are
        wanted. With it, training views in .npy, HDF5 and Parquet files are not loaded but read so.
    memory
        GB that the training may take: mapped features are kept if all fits, else computed as with --room, else it is
        refused, with what would fit. A bound from the shapes of the data, not a limit that is watched; `jaxcmh plan`
        measures.
    coordinator
        Train by several processes, on one machine or many, each started with this command and a --process-id of its
        own: host:port, where process 0 is and the others find it. Each has its share of the items, and reads only these
        of training views in .npy, HDF5 and Parquet files; other data are read whole by each.
        Process 0 reads all once, to compare, evaluates and keeps the run. When one ends the others end too, and all
        started again go on after the last finished stage, which is kept beside the run folder until the run is.
    num_processes
        With --coordinator, how many there are.
    process_id
        With --coordinator, which of them this is, from 0.
    growing
        Keep in the run what `jaxcmh grow` needs: 8 p² bytes, p being all mapped features and twice the classes (74 MB
        for two views of 1,500 anchors), the sum of the mapped features of each label set, and those of each item
        without labels. For dcgh, acqh, lcmfh and random_codewords, whose codes follow from the labels.
    thumbnails
        Keep a small picture of each item in the run, which `jaxcmh serve` shows, and write RUN/index.html, a page of
        answers. Needs the extra icons.
    codes
        New folder for the codes of the items as .npy files of packed bits, written as they are computed and
        memory-mapped instead of kept in memory. The run has them too.
    log
        Show the run to this experiment tracker too, below the run folder.
    root
        Folder with the files of a named data set. [default: $JAXCMH_DATA]
    out
        Run folder. The same run that is there already is shown, not repeated; anything else there is refused.
        [default: runs/METHOD-DATA-BITS-SEED, or with -2, -3, ... behind]
    as_json
        Print result lines (JSON) instead of a table.
    """
    from jaxcmh import store
    from jaxcmh.datasets.identity import data_hash, split_hash
    from jaxcmh.learning.memory import room_within
    from jaxcmh.results.runs import read_run
    from jaxcmh.studies import runs

    for option, given in (("--room", room), ("--devices", devices)):
        if memory is not None and given is not None:
            raise ValueError(f"{option}: expected without --memory, which is of one device and chooses the room")
    beside = together.place(coordinator, num_processes, process_id)
    if beside:
        refused = {"--devices": devices, "--room": room, "--memory": memory, "--growing": growing or None}
        refused |= {"--thumbnails": thumbnails or None, "--hash-function mlp": hash_function == "mlp" or None}
        refused |= {"--codes": codes}
        for option in (option for option, given in refused.items() if given is not None):
            raise ValueError(f"{option}: expected without --coordinator; several processes cannot do this")
        if not together.is_member():
            same = [method, bits, seed, max_iterations, tolerance, param, features, anchors, width, standardise, ties]
            return together.watch(*beside, [*same, at, jaxcmh.__version__])
    stages = Stages()
    with ExitStack() as held:
        number, after = held.enter_context(together.joined()) if beside else (0, held)
        chosen = asked.method(method)
        options: dict[str, Any] = {"params": asked.params(param or [], chosen), "seed": seed}
        options |= {"max_iterations": max_iterations, "tolerance": tolerance}
        options["features"] = asked.features(chosen, features, anchors, width, standardise)
        mesh = asked.mesh(devices, every=beside is not None)
        name = asked.file_name(chosen.name, data, bits, seed)
        config = {
            "data": data,
            "root": root and str(root.resolve()),
            "method": chosen.name,
            "bits": bits,
            "ties": ties,
            "at": at,
        }
        for option, given in (("thumbnails", thumbnails), ("growing", growing)):
            if given:
                config[option] = True
        if asked.is_own(method):
            config |= {"imported": method, "source": asked.source(method)}
        asked.folder(out, name, {**config, "seed": seed})  # what is in the way, or not installed, is said at once
        asked.tracker(log, Path())
        if thumbnails:
            require("icons", "PIL", "jinja2")
        with progress() as steps:
            asked.start(steps)
            left = (room or memory or beside) is not None and are_arrays(data)
            split = load_data(data, root, stages, steps, **({"on_disk": True} if left else {}))
            if beside:
                together.agree(split, method, mesh)
            told: Callable[..., Any] = together.shared if beside else lambda make: make()
            hashes = tuple(told(lambda: [data_hash(split), split_hash(split)]))
            wanted = {**config, **asked.info(chosen, split, hash_function, options), "version": jaxcmh.__version__}
            place, there = told(lambda: held.enter_context(asked.only_folder(out, name, wanted, hashes[0])))
            place = Path(place)
            if there:
                if codes is not None:
                    raise ValueError(f"--codes: expected none, for the run is there; {place}/codes.npz has its codes")
                if number == 0:
                    terminal.print_records(read_run(place).records, as_json)
                    say(f"cached; run folder: {shown(place)}")
                return None
            store.room(place, _size(split, wanted["features"], bits))
            if memory is not None:
                shapes = split.train.views, split.train.labels.shape[1], bits, wanted["features"]
                room = room_within(memory, chosen, *shapes)
            if beside:
                key = store.digest([], str(store.plain([wanted, hashes])))[:8]
                options["stages"] = place.with_name(f".{place.name}.{key}.stages")
                after.callback(shutil.rmtree, options["stages"], ignore_errors=True)
            if number:
                steps.step(f"{chosen.name}, {bits} bits: training")
                views, labels = split.train.views, split.train.labels
                jaxcmh.train(chosen, views, labels, bits=bits, hash_function=hash_function, mesh=mesh, **options)
                steps.step("waiting for process 0 to evaluate")
                return None
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
                mesh=mesh,
                room=room,
                growing=growing,
                codes=codes,
                thumbnails=thumbnails,
                **options,
            )
        trained = outcome.model.info
        try:
            _keep(place, outcome, {**config, **trained._asdict(), "params": dict(trained.params)})
        finally:
            terminal.print_records(outcome.records, as_json)
        if thumbnails and place.is_dir() and len(split.train.views) == 2 and len(split.items.texts):
            from jaxcmh.commands import answers_page

            answers_page.write(place / "index.html", split, outcome)
            say(f"page of answers: {shown(place)}/index.html")
        if track := asked.tracker(log, place):
            for line in outcome.records:
                track(line)
    if not as_json:
        print(terminal.stages_line(outcome.records[0]["times"]))
    for note in (terminal.ending(outcome.records[0]), *(f"warning: {doubt}" for doubt in outcome.doubts)):
        if note:
            say(note)
    say(f"run folder: {shown(place)}")
    return None


def plan(
    method: str,
    /,
    *,
    n: checks.Count,
    dims: Annotated[list[int], Many],
    labels: Annotated[int, checks.Whole(2, 10_000)],
    bits: Annotated[Bits, Parameter(name=["--bits", "-b"])] = 32,
    features: Kernel | None = None,
    anchors: checks.Count | None = None,
    ways: Annotated[list[Literal["memory", "room"]] | None, Many] = None,
    devices: checks.Copies | None = None,
    memory: checks.Positive | None = None,
    as_json: Json = False,
) -> None:
    """Say what a training will take of memory and time on this machine, before its data are there.

    Two small trainings of synthetic pairs of the same shape run for each way; see `jaxcmh.forecast` for what is made of
    them.

    Parameters
    ----------
    method
        One that `jaxcmh methods` lists, or a variant.
    n
        Pairs to train on.
    dims
        Features of each view.
    labels
        Classes.
    bits
        Code length, a multiple of 8.
    features
        Feature map of every view; the method's own by default.
    anchors
        Anchors of the kernels rbf, laplace and rbf_centred.
    ways
        memory: all in memory. room: views left in their files, mapped features computed block by block, as with
        `jaxcmh train --room`. [default: both]
    devices
        Say what a training takes on each of so many devices too; an estimate.
    memory
        GB that there are, of each device: say which ways fit.
    as_json
        Print one JSON line per way instead of a table.
    """
    kinds = asked.features(asked.method(method), features, anchors, None, False)
    with progress() as steps:
        steps.step("training on small synthetic pairs")
        options = {"ways": ways or ("memory", "room"), "devices": devices}
        found = jaxcmh.forecast(method, n, tuple(dims), labels=labels, bits=bits, features=kinds, **options)
    rows = []
    for way in found.ways:
        fits = {} if memory is None else {f"fits {memory:g} GB": "yes" if way.gb <= memory else "no"}
        rows.append({"way": way.way, "peak GB": round(way.gb, 2), "seconds": round(way.seconds, 1), **fits})
    if as_json:
        terminal.print_lines(way._asdict() for way in found.ways)
        return
    terminal.print_rows(rows, f"{found.method}, {n:,} pairs")
    for way in found.ways:
        if way.way != "devices":
            parts = (f"{one.n:,} pairs {one.gb:.2f} GB, {one.seconds:.1f} s" for one in way.measured)
            print(f"measured, {way.way}: {'; '.join(parts)}")


def grow(
    run: Path,
    data: str,
    /,
    *,
    ties: Ties = "expected",
    at: checks.Count | None = None,
    root: Root = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Learn from new pairs beside those of a run, whose features are not needed; the model is fitted anew.

    All its items get codes again, and its hash functions change: build indexes anew. Queries of the new data are asked
    of all items. From items without labels nothing is learned, they are encoded; new data that have no labels at all
    are for `jaxcmh index add`.

    Parameters
    ----------
    run
        Run folder of a training with --growing, or of `jaxcmh grow`.
    data
        The new pairs: a data set as for `jaxcmh train --data`, with the classes and the features of the run.
    ties
        How items of equal distance count in mAP.
    at
        Cut rankings at this rank; the whole database by default.
    root
        Folder with the files of a named data set. [default: $JAXCMH_DATA]
    out
        Run folder, which must not be there yet. [default: RUN-grown, or with -2, -3, ... behind]
    as_json
        Print result lines (JSON) instead of a table.
    """
    from jaxcmh.results.runs import free, read_run
    from jaxcmh.studies import runs

    first, stages = read_run(run), Stages()
    place = out or free(run.with_name(f"{run.resolve().name}-grown"))
    if place.exists():
        raise FileExistsError(f"--out: {place} is there already; name another folder or remove it")
    with progress() as steps:
        asked.start(steps)
        split = load_data(data, root, stages, steps)
        options: dict[str, Any] = {"ties": ties, "at": at, "times": stages.seconds, "say": steps.step}
        outcome = runs.grow(first, split, data=data, **options)
    grown = outcome.model.info
    asked_for = {"data": outcome.records[0]["data"], "grown": str(run), "ties": ties, "at": at}
    try:
        _keep(place, outcome, {**asked_for, **grown._asdict(), "params": dict(grown.params)})
    finally:
        terminal.print_records(outcome.records, as_json)
    say(f"run folder: {shown(place)}")


def _size(split: Any, features: Sequence[Any], bits: int) -> int:
    """Bytes that a run takes at least: codes of every item, and the anchors of kernels."""
    from jaxcmh.learning.features import KERNELS

    codes = (1 + len(split.train.views)) * len(split.train.labels) * bits // 8
    maps = zip(features, split.train.views)
    return codes + sum(4 * min(f.anchors, x.shape[0]) * x.shape[1] for f, x in maps if f.kind in KERNELS)


def _keep(place: Path, outcome: Any, config: dict[str, Any]) -> None:
    """Keep a run, elsewhere if it must be: what a full disk costs is not the training."""
    from jaxcmh.studies import runs

    try:
        runs.keep(place, outcome, config)
    except OSError as error:
        other = runs.keep(Path(tempfile.mkdtemp(prefix="jaxcmh-")) / "run", outcome, config)
        raise OSError(f"{place} cannot be written ({error}); the run is in {other}") from None


def evaluate(
    run: Path,
    /,
    *,
    database: Databases = None,
    ties: Ties = "expected",
    at: checks.Count | None = None,
    divisor: Literal["retrieved", "possible"] = "retrieved",
    beyond_map: Flag = False,
    devices: checks.Count | None = None,
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
    divisor
        With --at, divide average precision by the relevant items retrieved, as the field's code does, or by those that
        are possible: the smaller of --at and the relevant items of the database.
    beyond_map
        Measure NDCG@10 too, recall at 1, 5 and 10 and median rank of what belongs to each query, and precision within 2
        bits.
    devices
        Evaluate on the first of so many devices, each with its share of the queries; on one by default.
    data
        Another data set with the same views, for its queries and database.
    root
        Folder with the files of a named data set. [default: that of the training, or $JAXCMH_DATA]
    as_json
        Print result lines (JSON) instead of a table.
    """
    from jaxcmh import results, store
    from jaxcmh.datasets.identity import data_hash, split_hash
    from jaxcmh.results.runs import data_of, read_run

    stored = read_run(run)
    stages = Stages()
    name, mesh = data or data_of(stored), asked.mesh(devices)
    first = stored.records[0]
    with progress() as steps:
        asked.start(steps)
        from jaxcmh.results.runs import evaluate as again
        from jaxcmh.studies import runs

        model = jaxcmh.load(run)
        measure: Callable[..., dict[str, Any]]
        if data is None and "query_labels" in stored.codes:
            hashes, measure = (first["data_hash"], first["split_hash"]), partial(again, stored, model)
            said = {"queries": first["queries"]} if "queries" in first else {}
            known = [line["database"] for line in stored.records if line["data_hash"] == first["data_hash"]]
        else:
            split = load_data(name, root or stored_root(stored.config), stages, steps)
            hashes = data_hash(split), split_hash(split)
            same = hashes[0] == first["data_hash"]
            if data is None and not same:
                raise ValueError(f"{name}: the data are not those the run was trained on; name them with --data")
            if not same:  # nothing of it was trained on
                split = split._replace(train=split.train._replace(ids=split.train.ids[:0]))
            known, measure, said = runs.kinds(split), partial(runs.evaluate, model, split), {}
        records = []
        for kind in database or dict.fromkeys(known):
            steps.step(f"evaluating {kind} database codes")
            with stages("evaluate"):
                report = measure(kind, ties=ties, at=at, divisor=divisor, beyond_map=beyond_map, mesh=mesh)
            records.append(results.record(model, {**report, **said}, data=name, hashes=hashes, times=stages.seconds))
    try:
        with store.only_writer(run / "results.jsonl"):  # another may have added the same meanwhile
            known = {(line["key"], "measures" in line) for line in results.read(run / "results.jsonl")}
            for line in records:
                if not known & {(line["key"], True), (line["key"], "measures" in line)}:
                    results.append(run / "results.jsonl", line)
    finally:
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
    devices: checks.Count | None = None,
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
    devices
        Search on the first of so many devices, each with its share of the items; on one by default.
    root
        Folder with the files of a named data set, for runs of version 0.1.0; later ones keep what a search needs.
        [default: that of the training, or $JAXCMH_DATA]
    as_json
        Print one JSON line per answer instead of a table.
    """
    from jaxcmh.model import answers
    from jaxcmh.results import runs

    asked.one_query(text, image, query)
    stored, mesh = runs.read_run(run), asked.mesh(devices)
    stages = Stages()
    with progress() as steps:
        asked.start(steps)
        steps.step("loading the model")
        with stages("load"):
            model = jaxcmh.load(run)
        model = knowing(model, stored, root, stages, steps, required=query is None)
        number, rows, names = read_queries(model, text, image, query, view)
        steps.step("searching")
        with stages("search"):
            found = answers(model, rows, number, k, mesh)
    for name, own in zip(names, found):
        terminal.print_answers(name, [terminal.answer(name, one, model) for one in own], as_json)
    if not as_json:
        print(terminal.stages_line(stages.seconds))
