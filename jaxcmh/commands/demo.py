"""The demonstration: every method on the embedded icons at several code lengths, compared, and a page to look at."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import numpy as np

import jaxcmh
from jaxcmh import results, store
from jaxcmh.commands import asked, terminal
from jaxcmh.commands.examples import examples
from jaxcmh.datasets import Part, Split, prepare
from jaxcmh.learning.core import Method
from jaxcmh.learning.features import Features
from jaxcmh.model import among, directions
from jaxcmh.progress import Progress, Stages, progress, say, shown
from jaxcmh.results import plots, report
from jaxcmh.results.tables import render, study
from jaxcmh.studies import runs

SHOWN = ("dcgh", "a2lh", "acqh", "aah", "imads", "random_codewords")  # unless others are asked for
LENGTHS = (16, 32, 64)
# The papers take raw features, or kernels of 500 to 2,500 anchors, and some steps are cubic in them. With one kernel
# the methods compare, and 500 anchors score within .03 of all 1,068 items in a fifth of the time.
KERNEL = Features("rbf", anchors=500)
ANSWERS = 10
BEST = "best"  # where the best model is kept
ROOM = 32_000_000  # bytes that the folder takes at most
AT_A_TIME = 2  # trainings
TITLE = "Words find icons, icons find words"
LEDE = (
    "{items:,} icons and the words people search them by, in {classes} overlapping categories. Each icon and each set "
    "of words became a code of a few bytes, and the nearest codes are the answers. None of the {queries} queries below "
    "was seen in training. An answer is right when it shares a category with the query."
)


def demonstrate(
    out: Path | None,
    methods: Mapping[str, Method],
    lengths: Sequence[int] = LENGTHS,
    max_iterations: int | None = None,
    tolerance: float | None = None,
) -> None:
    """Train, compare and show; everything is written to one new folder, and the tables are printed.

    The same demonstration that is there already is shown again.

    Args:
        out: the folder; if None, runs/demo, or with a number behind.
        methods: methods to train by what they were asked for as.
        lengths: code lengths in bits, positive multiples of 8.
        max_iterations, tolerance: as for `jaxcmh.train`.

    Raises:
        FileExistsError: there is something else at `out`.
        ModuleNotFoundError: the extra `icons` is not installed.
    """
    began = time.perf_counter()
    chosen = dict(methods)
    load, whole = Stages(), Stages()
    endings = {"max_iterations": max_iterations, "tolerance": tolerance}
    sources = {name: asked.source(name) for name in chosen}
    wanted = {"demo": {"methods": sources, "bits": lengths, **endings}, "version": jaxcmh.__version__}
    asked.folder(out, "demo", wanted, below=BEST)  # what is in the way is said at once
    with progress(len(chosen) * len(lengths) + 3) as steps, whole("all"):
        asked.start(steps)
        steps.step("loading icons (drawn once, then kept)")
        with load("load"):
            split = prepared()
        steps.advance()
        hashes = results.data_hash(split), results.split_hash(split)
        options = {"hashes": hashes, "times": load.seconds, **endings}
        with asked.only_folder(out, "demo", wanted, hashes[0], below=BEST) as (place, there):
            if not there:
                store.room(place, ROOM)
            doubts = [] if there else _train_all(place, split, list(chosen.values()), lengths, steps, options, wanted)
    records = results.read(place / "results.jsonl")
    for kind in ("learned", "encoded"):
        terminal.print_table(_table(records, kind), f"{kind.capitalize()} database codes: {report.DATABASES[kind]}")
    terminal.print_times(
        records, f"Seconds; {AT_A_TIME} trainings run at a time, so these add up to more than the total"
    )
    where, total = shown(place), time.perf_counter() - began
    if there:
        print(f"cached: this demo was there already; remove {where} to train anew\n")
    else:
        for note in (*doubts, *_unfinished(records)):
            say(f"warning: {note}")
        print(
            f"total {total:.0f} s; programs were compiled during {whole.seconds['compile']:.0f} s of it, and are kept\n"
        )
    best = jaxcmh.load(place / BEST)
    info, try_it = best.info, (*examples(best, 1), "dog")[0]
    print(f"open       {where}/index.html")
    print(f"results    {where}/results.jsonl, scores.md, plots/")
    print(f"model      {where}/{BEST}   ({info.method}, {info.bits} bits)")
    print(f"search it  jaxcmh search {where}/{BEST} --text '{try_it}'")
    print(f"serve it   jaxcmh serve {where}/{BEST}")


def prepared() -> Split:
    """The icons, their texts as rows of length 1: two words that a user types are then near an icon that has ten."""
    return prepare(jaxcmh.load_dataset("icons"), [[], ["l2"]])


def _train_all(
    place: Path,
    split: Split,
    methods: Sequence[Method],
    lengths: Sequence[int],
    steps: Progress,
    options: dict[str, Any],
    wanted: Mapping[str, Any],
) -> list[str]:
    """Fill the folder, and say what looks wrong, each once."""
    outcomes: list[runs.Outcome] = []
    rankings: list[list[report.Ranking]] = []  # of each outcome
    with store.folder(place) as folder:
        for outcome, ranked in _outcomes(split, methods, lengths, steps, options):
            outcomes.append(outcome)
            rankings.append(ranked)
            for line in outcome.records:
                results.append(folder / "results.jsonl", line)
        records = [line for outcome in outcomes for line in outcome.records]
        longest = [outcome for outcome in outcomes if outcome.records[0]["bits"] == max(lengths)]
        best = max(longest, key=lambda outcome: np.mean(list(outcome.records[1]["map"].values())))
        model = {**best.model.info._asdict(), "params": dict(best.model.info.params)}
        whole = best._replace(model=best.model.with_catalogue(split, thumbnails=True))
        runs.keep(
            folder / BEST, whole, {"data": "icons", "root": None, "ties": "expected", "at": None, **model, **wanted}
        )
        steps.step("drawing plots")
        draw(records, folder / "plots", max(lengths))
        steps.advance()
        steps.step("writing the page")
        ordered = sorted(zip(outcomes, rankings), key=lambda pair: pair[0] is not best)
        tables = [_table(records, kind) for kind in ("learned", "encoded")]
        (folder / "scores.md").write_text("\n".join(render(table, "markdown") for table in tables))
        write_page(folder, split, [one for _, ranked in ordered for one in ranked], tables, records)
        steps.advance()
    return list(dict.fromkeys(doubt for outcome in outcomes for doubt in outcome.doubts))


def _unfinished(records: Sequence[dict]) -> list[str]:
    """Which trainings have not converged although they should."""
    moving = [line for line in records if line["tolerance"] and not line["converged"]]
    names = dict.fromkeys(f"{line['method']} ({line['bits']})" for line in moving)
    return [f"not converged: {', '.join(names)}"] if names else []


def _outcomes(
    split: Split, methods: Sequence[Method], lengths: Sequence[int], steps: Progress, options: dict[str, Any]
) -> Iterator[tuple[runs.Outcome, list[report.Ranking]]]:
    """Every method at every length, in this order, with its first answers to the queries.

    Two are trained at a time, because compiling fills one core only.
    """

    def train(method: Method, bits: int) -> tuple[runs.Outcome, list[report.Ranking]]:
        def say(doing: str) -> None:
            steps.step(f"{method.name}, {bits} bits: {doing}")

        outcome = runs.run(split, method, bits=bits, data="icons", features=_features(method), say=say, **options)
        rankings = [ranking for kind in ("encoded", "learned") for ranking in rank(outcome, split, kind)]
        steps.advance()
        return outcome, rankings

    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        # In copies of the context, so that the whole hears of what is compiled in the threads.
        jobs = [pool.submit(copy_context().run, train, method, bits) for method in methods for bits in lengths]
        yield from (job.result() for job in jobs)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _features(method: Method) -> Features:
    """One kernel for all methods, so that they compare; methods made for centred features get those."""
    kind = method.features.kind
    if kind in ("centre", "standardise"):
        return method.features
    return KERNEL._replace(kind=kind) if kind == "rbf_centred" else KERNEL


def _table(records: Sequence[dict], kind: str) -> results.Table:
    return study([line for line in records if line["database"] == kind])


def draw(records: Sequence[dict], folder: Path, bits: int) -> None:
    """The demo's figures: convergence of every training; precision-recall and topN at one code length."""
    learned = [line for line in records if line["database"] == "learned"]
    plots.convergence(learned, folder / "convergence")
    longest = [line for line in records if line["bits"] == bits]
    plots.precision_recall(longest, folder / "precision_recall")
    plots.topn(longest, folder / "topn")


def write_page(
    folder: Path,
    split: Split,
    rankings: Sequence[report.Ranking],
    tables: Sequence[results.Table],
    records: Sequence[dict],
) -> None:
    """The page: every query's first answers for every training, tables and figures of `folder`, and the facts."""
    environment = results.environment()
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    first = records[0]
    report.page(
        folder / "index.html",
        title=TITLE,
        lede=LEDE.format(items=len(split.items.names), classes=len(split.label_names), queries=len(split.query.ids)),
        queries=_items(split, split.query),
        database=_items(split, split.database),
        label_names=split.label_names,
        rankings=rankings,
        tables=[(f"{table_kind} database codes", t) for table_kind, t in zip(("Learned", "Encoded"), tables)],
        figures=[
            (title, folder / "plots" / f"{name}.svg")
            for title, name in (
                ("Precision and recall", "precision_recall"),
                ("Precision of the first N answers", "topn"),
                ("Convergence of training", "convergence"),
            )
        ],
        facts=[
            (
                "data",
                f"icons, {first['n_train']:,} training items, which are the database; {first['n_queries']} queries",
            ),
            ("hashes", f"data {first['data_hash']}, split {first['split_hash']}"),
            ("protocol", f"{results.score(None)}, {results.describe(results.one_protocol(records, ('database',)))}"),
            *((f"{line['method']}", _settings(line)) for line in {r["method"]: r for r in records}.values()),
            ("machine", f"{environment['platform']}, {environment['cpus']} processors, device {environment['device']}"),
            ("versions", versions),
            ("texts", "bags of words, as rows of length 1"),
            ("pictures", "Font Awesome Free 6, CC BY 4.0"),
        ],
    )


def _settings(line: dict) -> str:
    params = ", ".join(f"{name} {value:g}" for name, value in line["params"].items())
    kernel = "{kind}, {anchors} anchors, width {width:g} times the mean distance to them"
    maps = (
        kernel.format(**f) if f["kind"] in ("rbf", "laplace", "rbf_centred") else f["kind"] for f in line["features"]
    )
    features = f"features {' and '.join(dict.fromkeys(maps))}"
    most = f"at most {line['max_iterations']}" if line["tolerance"] else line["max_iterations"]
    made = f"{most} iterations; {features}; {line['hash_function']} hash functions"
    return f"{params}; {made}; seed {line['seed']}"


def rank(outcome: runs.Outcome, split: Split, kind: str) -> list[report.Ranking]:
    """The first answers to every query in both directions, among learned or encoded codes of the training items."""
    model = outcome.model
    rankings = []
    for direction, (query, answer) in reversed(directions(2).items()):
        scores, ids = jaxcmh.search(among(model, kind, answer), split.query.views[query], query, ANSWERS)
        ap = outcome.reports[kind]["metrics"][direction].ap
        similarity = model.codebooks is not None
        rankings.append(
            report.Ranking(model.info.method, model.info.bits, kind, direction, ids, scores, ap, similarity)
        )
    return rankings


def _items(split: Split, part: Part) -> report.Items:
    names = [str(split.items.names[i]) for i in part.ids]
    texts = [str(split.items.texts[i]) for i in part.ids]
    plain = [name.replace("-", " ").capitalize() for name in names]
    return report.Items(plain, texts, [_drawing(name) for name in names], part.labels)


def _drawing(name: str) -> bytes:
    """The icon as SVG: sharp at any size, and smaller than pixels."""
    import fontawesomefree

    folder = Path(fontawesomefree.__file__).parent / "static" / "fontawesomefree" / "svgs" / "solid"
    return (folder / f"{name}.svg").read_bytes()
