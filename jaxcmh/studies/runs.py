"""One training on a data set, evaluated in every way its split allows; and the folder it leaves, see `results.runs`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

import jaxcmh
from jaxcmh import brief, results, store
from jaxcmh.checks import Bits, Count, checked
from jaxcmh.datasets import Part, Split
from jaxcmh.datasets.catalogue import catalogue, joined
from jaxcmh.datasets.identity import Database, kinds
from jaxcmh.learning.core import Method
from jaxcmh.learning.processes import several
from jaxcmh.model import Model, query_vectors
from jaxcmh.progress import Stages
from jaxcmh.results.runs import FILES, Run, data_of, folder, free, keep, per_query, read_run, stored
from jaxcmh.retrieval.metrics import Divisor, Ties

__all__ = [
    "FILES",
    "Outcome",
    "Run",
    "evaluate",
    "folder",
    "free",
    "grow",
    "keep",
    "kinds",
    "per_query",
    "read_run",
    "run",
    "stored",
]


class Outcome(NamedTuple):
    """A trained model and what its evaluation gave.

    Attributes:
        model: the trained model.
        reports: database kind -> what `jaxcmh.evaluate` returned, curves included.
        records: one result line per kind of database codes.
        codes: name -> codes of training items and queries, with their ids.
        doubts: what looks wrong, see `results.doubts`.

    Example:
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = run(split, "dcgh", bits=8, data="synthetic")
        >>> list(outcome.reports), outcome.model.info.bits, outcome.records[0]["method"]
        (['learned', 'encoded'], 8, 'dcgh')
    """

    model: Any
    reports: dict[str, dict]
    records: list[dict]
    codes: dict[str, np.ndarray]
    doubts: list[str]

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def run(
    split: Split,
    method: str | Method,
    *,
    bits: Bits,
    data: str,
    hashes: tuple[str, str] | None = None,
    ties: Ties = "expected",
    at: Count | None = None,
    times: Mapping[str, float] | None = None,
    say: Callable[[str], None] = lambda _: None,
    thumbnails: bool = False,
    **options: Any,
) -> Outcome:
    """Train on a split and evaluate with every kind of database codes it allows.

    Args:
        split: what `load_dataset` returned.
        method, bits, options: arguments of `jaxcmh.train`; a mesh is evaluated on too.
        data: name or path of the data set, for the result lines.
        hashes: (`results.data_hash`, `results.split_hash`), when they are known already.
        ties, at: arguments of `jaxcmh.evaluate`.
        times: seconds spent before, such as {"load": 1.2}, kept with the result.
        say: called with what is being done.
        thumbnails: the model keeps a small picture of each item.
    Raises:
        ValueError: see `jaxcmh.train` and `jaxcmh.evaluate`.
    Example:
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = run(split, "dcgh", bits=8, data="synthetic")
        >>> [(line["database"], line["bits"]) for line in outcome.records]
        [('learned', 8), ('encoded', 8)]
    """
    stages, mesh = Stages(), options.get("mesh")
    mesh = None if several(mesh) else mesh  # each process has the whole model
    say("training")
    if options.get("hash_function") == "mlp":
        options.setdefault(
            "progress",
            lambda view, passes, loss: say(f"hash function of view {view}, pass {passes}, held-out loss {loss:.3f}"),
        )
    with stages("train"):
        model = jaxcmh.train(method, split.train.views, split.train.labels, bits=bits, **options)
    model = model.with_catalogue(split, thumbnails)
    hashes = hashes or (results.data_hash(split), results.split_hash(split))
    return _evaluated(model, split, stages, data, hashes, ties, at, times, say, mesh)


@checked
def grow(
    run: Run,
    split: Split,
    *,
    data: str,
    ties: Ties = "expected",
    at: Count | None = None,
    times: Mapping[str, float] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Let the model of a run grow by the pairs of a split, see `jaxcmh.grow`, and ask its queries of all items.

    Args:
        run: a run whose model was trained with `growing=True`, or has grown.
        split: the new pairs; their ids go on behind those of the run.
        data: name or path of the data set of the new pairs, for the result lines.
        ties, at, times, say: as for `run`.

    Raises:
        ValueError: see `jaxcmh.grow`; or the split has labels of other names.

    Example:
        >>> import tempfile
        >>> split = jaxcmh.load_dataset("synthetic", train=300, query=10)
        >>> outcome = run(split, "dcgh", bits=8, data="synthetic", features="identity", growing=True)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     more = grow(read_run(keep(f"{folder}/run", outcome, {"data": "synthetic"})), split, data="synthetic")
        >>> more.model.info.n, more.codes["learned"].shape
        (600, (600, 1))
    """
    stages, first = Stages(), jaxcmh.load(run.model)
    if first.catalogue is None:
        raise ValueError("run: expected one whose model knows its items; this one is of version 0.1.0")
    say("training")
    with stages("train"):
        model = jaxcmh.grow(first, split.train.views, split.train.labels)
    known = joined(first.catalogue, catalogue(split, bool(first.catalogue.thumbnails)))
    model, behind = replace(model, catalogue=known), int(first.catalogue.ids.max()) + 1
    items = Part((), known.labels, known.ids)
    query = split.query._replace(ids=split.query.ids + behind)
    asked = Split(items, query, items, known.name, known.view_names, known.label_names)
    hashes = (results.data_hash(split), results.split_hash(split))
    before = run.records[0]["data_hash"], run.records[0]["split_hash"]
    of_data, of_split = (store.digest([], old + new)[:16] for old, new in zip(before, hashes))
    names = {"train_names": np.array(known.names)} if known.names else {}
    outcome = _evaluated(
        model, asked, stages, f"{data_of(run)}+{data}", (of_data, of_split), ties, at, times, say, None
    )
    return outcome._replace(codes=outcome.codes | names)


def _evaluated(
    model: Model,
    split: Split,
    stages: Stages,
    data: str,
    hashes: tuple[str, str],
    ties: Ties,
    at: int | None,
    times: Mapping[str, float] | None,
    say: Callable[[str], None],
    mesh: Mesh | None,
) -> Outcome:
    """What the evaluation of a model gives, with every kind of database codes that split and model allow."""
    say("evaluating")
    with stages("evaluate"):
        allowed = kinds(split) if model.encoded else ("learned",)
        reports = {kind: evaluate(model, split, kind, ties=ties, at=at, mesh=mesh) for kind in allowed}
        own = model.codes.ndim == 3
        learned = {f"learned_{m}": codes for m, codes in enumerate(model.codes)} if own else {"learned": model.codes}
        learned = {name: np.asarray(codes) for name, codes in learned.items()}
        codes = {
            "train_ids": split.train.ids,
            "query_ids": split.query.ids,
            **learned,
            **{f"encoded_{m}": np.asarray(codes) for m, codes in enumerate(model.encoded)},
            **{f"query_{m}": np.asarray(jaxcmh.encode(model, x, m, mesh)) for m, x in enumerate(split.query.views)},
            **{f"asked_{m}": np.asarray(query_vectors(model, x, m, mesh)) for m, x in enumerate(split.query.views)},
            "query_labels": split.query.labels,
        }
        if split.database is not split.train:
            codes |= {
                f"database_{m}": np.asarray(jaxcmh.encode(model, x, m, mesh))
                for m, x in enumerate(split.database.views)
            }
            codes["database_labels"] = split.database.labels
        if len(split.items.names):
            codes["train_names"] = np.array([str(split.items.names[i]) for i in split.train.ids])
    spent = {**(times or {}), **stages.seconds}
    chance = results.chance(split.query.labels, split.database.labels)
    of_the_run = {"data": data, "hashes": hashes, "times": spent}
    trained = bool(np.isin(split.query.ids, split.train.ids).all())
    said = {"chance": chance, **({"queries": "trained"} if trained else {})}
    records = [results.record(model, {**report, **said}, **of_the_run) for report in reports.values()]
    binary = learned if model.codebooks is None else {}
    doubts = {
        f"{line['database']} database: {doubt}": None
        for line in records
        for doubt in results.doubts(line["map"], chance)
    }
    seen = ["the queries were trained on: the scores do not say how new ones will be answered"] if trained else []
    return Outcome(model, reports, records, codes, [*seen, *doubts, *results.doubts({}, chance, binary)])


@checked
def evaluate(
    model: Model,
    split: Split,
    kind: Database,
    *,
    ties: Ties = "expected",
    at: Count | None = None,
    divisor: Divisor = "retrieved",
    beyond_map: bool = False,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """Evaluate a model on a split with one kind of database codes; arguments and report as `jaxcmh.evaluate`.

    Raises:
        ValueError: the split does not allow this kind.

    Example:
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> model = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=8)
        >>> evaluate(model, split, "encoded")["database"]
        'encoded'
    """
    if kind not in kinds(split):
        raise ValueError(f"database: this data set allows {' and '.join(kinds(split))} codes; got {kind!r}")
    views = None if split.database is split.train else split.database.views
    report = jaxcmh.evaluate(
        model,
        split.query.views,
        split.query.labels,
        split.database.labels,
        database=kind if views is None else "held_out",
        ties=ties,
        at=at,
        database_views=views,
        divisor=divisor,
        beyond_map=beyond_map,
        mesh=mesh,
    )
    return {**report, "database": kind}
