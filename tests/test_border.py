"""Bad values at the border: every public function is given a zoo of them, in place of each argument in turn.

Each is refused by a ValueError or TypeError that names the argument, or is in the table of what an argument of that
kind may be; nothing hangs, dies, or asks for all memory.
"""

import importlib
import inspect
import pkgutil
import re
import resource
import shutil
import signal
import types
import typing
import warnings
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.sparse
from cyclopts import App
from fake_lines import line, paired

import jaxcmh
from jaxcmh import checks, index, results, studies
from jaxcmh.commands import cli
from jaxcmh.datasets import Maker, preparation
from jaxcmh.learning import core, features, mesh
from jaxcmh.results import figures, plots, report, significance, tables
from jaxcmh.retrieval import metrics, topk

# -- what is public ---------------------------------------------------------------------------------------------------

# Modules that users do not call: tools of the package, what runs under jit, methods and plans, parts that a room puts
# together and hands on. Of all others public is what `__all__` names, or where there is none, what has no underscore.
INNER = (
    *("__main__", "checks", "store", "extras", "parsing", "brief", "progress", "commands", "learning.compilation"),
    *(
        "learning.linalg",
        "learning.reduction",
        "learning.graph",
        "learning.ones",
        "learning.numba_row",
        "learning.one_row",
        "learning.streaming",
        "learning.memory",
        "learning.growing",
        "learning.processes",
        "learning.stages",
    ),
    "retrieval.numba_topk",
    "studies.lanes",
    *("methods.a2lh", "methods.a2lh_multipliers", "methods.aah", "methods.acqh", "methods.dcgh", "methods.imads"),
    *("methods.imads_mapping", "studies.plans"),
    *(f"methods.{name}" for name in ("amsh", "dch", "dlfh", "fddh", "mtfh", "srlch", "batch")),
    *(f"methods.{name}" for name in ("cmfh", "fcmh", "lcmfh", "random_codewords", "scm", "scratch")),
    "datasets.catalogue",
    *(
        f"datasets.{part}"
        for part in ("blocks", "download", "files", "folder", "icons", "identity", "inspection", "layouts")
    ),
    "datasets.mat5",
    *(f"datasets.{part}" for part in ("named", "pictures", "preparation", "raw", "reading", "simulation", "split")),
    *("datasets.synthetic", "datasets.torch_file", "results.lines", "results.pivot"),
)


def public_functions() -> dict[str, typing.Callable]:
    """Every public function by the name of the module where it lies."""
    found = {}
    for module in [jaxcmh, *map(_imported, pkgutil.walk_packages(jaxcmh.__path__, "jaxcmh."))]:
        if module is None:
            continue
        for name in getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]):
            function = getattr(module, name)
            if not callable(function) or isinstance(function, type | typing._GenericAlias) or not _ours(function):
                continue
            if function.__module__.startswith("jaxcmh.store") or function.__module__.startswith("jaxcmh.extras"):
                continue
            if "__all__" in vars(module) or function.__module__ == module.__name__:
                found[f"{function.__module__}.{function.__name__}".removeprefix("jaxcmh.")] = function
    return found


def public_methods() -> dict[str, typing.Callable]:
    """The methods with checks of public classes; others have no border of their own, or that of scikit-learn."""
    kinds = {function.__module__: importlib.import_module(function.__module__) for function in FUNCTIONS.values()}
    return {
        f"{module.__name__}.{kind.__name__}.{name}".removeprefix("jaxcmh."): method
        for module in kinds.values()
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__
        for name, method in vars(kind).items()
        if name[0] != "_" and getattr(method, "is_checked", False)
    }


def _imported(module: pkgutil.ModuleInfo) -> types.ModuleType | None:
    name = module.name.removeprefix("jaxcmh.")
    inner = any(name == one or name.startswith(f"{one}.") for one in INNER)
    return None if inner else importlib.import_module(module.name)


def _ours(function: typing.Any) -> bool:
    return inspect.isroutine(inspect.unwrap(function)) and getattr(function, "__module__", "").startswith("jaxcmh")


FUNCTIONS = public_functions()
METHODS = public_methods()


def test_every_public_function_is_checked():
    assert len(FUNCTIONS) > 120
    assert [name for name, function in FUNCTIONS.items() if not getattr(function, "is_checked", False)] == []


def test_a_public_function_without_checks_is_noticed(monkeypatch):
    def fresh(x: int) -> int:
        return x

    fresh.__module__ = "jaxcmh.learning.mesh"
    monkeypatch.setattr(mesh, "fresh", fresh, raising=False)
    assert not hasattr(public_functions()["learning.mesh.fresh"], "is_checked")


# -- good values ------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype(np.float32)
Y = np.eye(4, dtype=np.uint8)[np.arange(40) % 4]
CODES = RNG.integers(0, 256, (40, 1), np.uint8)
BOOKS = RNG.normal(size=(1, 256, 3)).astype(np.float32)
WORDS = ["a dog", "a cat"]


def good(folder: Path) -> dict[str, typing.Any]:
    """A small good value for every argument, by "function.argument", "module.argument" or "argument"."""
    split = jaxcmh.load_dataset("synthetic", train=40, query=10, dims=(6, 5), labels=4)
    model = jaxcmh.train("dcgh", [X, X[:, :5]], Y, bits=8, features="identity")
    makers = Maker("drawing"), Maker("words", ("dog", "cat", "sea", "sun", "sky"))
    asked = model.with_catalogue(split._replace(makers=makers))
    items = index.build(CODES)
    data, dcgh = core.prepare([X, X[:, :5]], Y), jaxcmh.methods.registry["dcgh"]
    lines = [line(method, seed=seed) for method in ("dcgh", "aah") for seed in (0, 1)]
    outcome = studies.runs.run(split, "dcgh", bits=8, data="synthetic", features="identity")
    table = results.table(lines)
    (folder / "lines").mkdir()
    results.append(folder / "lines" / "results.jsonl", lines[0])
    jaxcmh.save(model, folder / "model.safetensors")
    index.save(items, folder / "index.safetensors")
    index.files.write_npz(items, folder / "index.npz")
    index.files.write_parquet(items, folder / "index.parquet")
    index.faiss.write(items, folder / "index.faiss")
    np.savez(folder / "pairs.npz", image=X, text=X, labels=Y)
    for name, config in (("one", "dcgh"), ("two", "dcgh-d")):
        other = studies.runs.run(split, config, bits=8, data="synthetic", features="identity")
        results.runs.keep(folder / name, other, {"data": "synthetic"})
    ranking = report.Ranking("dcgh", 8, "learned", "i2t", np.zeros((2, 1), int), np.zeros((2, 1)))
    comparison = significance.Comparison("a", "b", "learned", "i2t", (0.5, 0.4), 0.1, 0.0, 0.2, 0.1, 0.1, (1, 1), 9)
    study = studies.Study("one", "bits", "dcgh", bits=(8,), seeds=1, features="identity", max_iterations=1)
    plan = importlib.import_module("jaxcmh.studies.plans").find("dcgh")
    verdict = tables.against(lines)
    shown = report.Items(["a", "b"])
    more = studies.runs.run(split, "dcgh", bits=8, data="synthetic", features="identity", growing=True)
    results.runs.keep(folder / "three", more, {"data": "synthetic"})
    return {
        "method": "dcgh",
        "Model.self": model.with_catalogue(split),
        "encode_texts.self": asked,
        "encode_images.self": asked,
        "encode_pairs.self": asked,
        "Scores.self": jaxcmh.study("dcgh", split, bits=8, seeds=1, params={"alpha": [1, 2]}, features="identity"),
        "search.self": asked,
        "views": [X, X[:, :5]],
        "labels": Y,
        "bits": 8,
        "model": model,
        "x": X,
        "view": 0,
        "k": 3,
        "path": folder / "out.bin",
        "model.load.path": folder / "model.safetensors",
        "query_views": [X, X[:, :5]],
        "query_labels": Y,
        "database_labels": Y,
        "directions.views": 2,
        "data": data,
        "key": jax.random.key(0),
        "keys": jax.random.split(jax.random.key(0), 2),
        "params": dcgh.params,
        "core.method": dcgh,
        "features": features.Features("identity"),
        "fitted": features.fit(features.Features("identity"), jax.random.key(0), X)[0],
        "encoders.codes": np.where(X > 0, 1.0, -1.0).astype(np.float32),
        "weight": 0.1,
        "encoder": X.T[:, :4],
        "phi": X,
        "h": BOOKS[0, :5],
        "G": np.eye(3, dtype=np.float32),
        "multiple": 4,
        "mesh": mesh.row_mesh(jax.devices()[:1]),
        "signs": np.where(np.arange(16).reshape(2, 8) % 3 > 0, 1, -1),
        "codes": CODES,
        "code": CODES[0],
        "blocks": topk.arrange(CODES),
        "codebooks": BOOKS,
        "query_codes": CODES,
        "database_codes": CODES,
        "paired_codes": CODES,
        "queries": CODES[:2],
        "lookup_topk.queries": BOOKS[0, :5],
        "score_metrics.queries": BOOKS[0, :40],
        "radius": 2,
        "judged": metrics.judge(Y, Y),
        "measured": metrics.hamming_metrics(CODES, CODES, Y, Y),
        "hamming_ndcg.at": [3],
        "known_item.items": np.arange(len(CODES)),
        "index": items,
        "index.answers.queries": CODES[:2],
        "items": CODES,
        "add.ids": None,
        "ids": [0, 1],
        "name": "codes",
        "load_named.name": "wiki",
        "index.load.path": folder / "index.safetensors",
        "faiss.read.path": folder / "index.faiss",
        "read_npz.path": folder / "index.npz",
        "read_parquet.path": folder / "index.parquet",
        "faiss_index": index.faiss.to_faiss(items),
        "uri": "http://nowhere:1",
        "collection": "items",
        "milvus.search.collection": index.milvus.Collection(None, "items", 8),
        "table": table,
        "pgvector.table": "items",
        "dataset": "wiki",
        "name_or_path": "synthetic",
        "load_dataset.name_or_path": folder / "pairs.npz",
        "split": split,
        "source": split,
        "share": 0.5,
        "mean_share.share": np.array([0.5, 0.0]),
        "paths": folder / "pairs.npz",
        "folder": folder / "out",
        "lists_of.folder": folder,
        "check_folder.folder": folder / "none",
        "load_folder.folder": folder / "none",
        "report.write.folder": folder / "lines",
        "root": folder / "none",
        "part": split.train,
        "featurise.split": split._replace(makers=(Maker("drawing"), Maker("words", ("dog", "cat")))),
        "featurise.view": 1,
        "rows": [0, 1],
        "rows.source": [X, X],
        "rows.name": None,
        "pivot.table.rows": ["method"],
        "classes": [0, 1],
        "clouds.classes": [0],
        "steps": [["centre"], []],
        "preparation.fitted": preparation.fit_centre(X),
        "texts": WORDS,
        "text": "a dog",
        "vocabulary": ["dog", "cat"],
        "pictures": [np.zeros((8, 8), np.uint8)],
        "images": [np.zeros((8, 8), np.uint8)],
        "encode_pairs.texts": WORDS[:1],
        "raw": WORDS,
        "direction": "i2t",
        "scores": {"i2t": 0.5},
        "chance": 0.1,
        "report": {**outcome.reports["learned"], "chance": 0.1},
        "hashes": ("a", "b"),
        "times": {"train": 1.0},
        "info": model.info,
        "objective": [1.0, 0.5],
        "converged": 1,
        "diagnostics": {"a": 1.0},
        "record": lines[0],
        "append.path": folder / "appended.jsonl",
        "lines.read.path": folder / "lines",
        "records": lines,
        "precision_recall.records": [lines[0], lines[2]],
        "topn.records": [lines[0], lines[2]],
        "to_optuna.lines": [line(params={"alpha": a, "beta": 1.0}) for a in (1.0, 2.0)],
        "at": 3,
        "protocol": lines[0],
        "values": {0: 0.5},
        "trace.values": [1.0],
        "field": "bits",
        "value": 16,
        "cell": table.rows[0][1][0],
        "setting": {"unpaired": 0.5},
        "run": results.runs.read_run(folder / "one"),
        "results.runs.evaluate.model": outcome.model,
        "results.runs.searched.model": outcome.model,
        "outcomes": verdict,
        "grid.table": table,
        "html.grid": tables.grid(table),
        "study": study,
        "figures.draw.study": figures.studies(lines)[0],
        "stem": folder / "figure",
        "panels": [plots.Panel("a", {"b": ([1.0, 2.0], [1.0, 2.0])})],
        "surface.panels": [plots.Surface("a", [1.0], [1.0], [[1.0]])],
        "bars.panels": [plots.Bars("a", ["g"], {"s": [1.0]})],
        "clouds.panels": [plots.Cloud("a", np.zeros((1, 2)), [0], np.zeros((1, 2)))],
        "answers.queries": np.zeros((2, 4, 4), np.uint8),
        "returned": np.zeros((2, 1, 4, 4), np.uint8),
        "right": np.ones((2, 1), bool),
        "y": "height",
        "z": "colour",
        "plots.x": "width",
        "title": "a page",
        "lede": "of two items",
        "page.queries": shown,
        "page.database": shown,
        "label_names": ["a"],
        "rankings": [ranking],
        "free.path": folder / "free",
        "stored.path": folder / "one",
        "asked": {"data": "synthetic"},
        "data_hash": "d",
        "keep.path": folder / "kept",
        "outcome": outcome,
        "config": {"data": "synthetic"},
        "read_run.path": folder / "one",
        "first": [0.5, 0.6, 0.7],
        "second": [0.4, 0.6, 0.5],
        "p": [0.01, 0.04],
        "folders": [folder / "one", folder / "two"],
        "comparisons": [comparison],
        "comparison": comparison,
        "plan": plan,
        "wanted.tables": [],
        "wanted.figures": [],
        "wanted.names": [],
        "plan_studies": [study],
        "reproduce.run.folder": folder / "lines",
        "scores.study.data": split,
        "plan.folder": folder,
        "plan.study": figures.studies(lines)[0],
        "defaults": dcgh.params,
        "ranges": {"alpha": (1, 2)},
        "count": 2,
        "importance.lines": lines,
        "names": ["alpha"],
        "study.run.path": folder / "study.jsonl",
        "ties": "expected",
        "progress": jaxcmh.progress.Progress(1),
        "kind": "learned",
        "point": None,
        "tracker": "tensorboard",
        **dict.fromkeys(("line.data", "record.data", "runs.run.data", "study.run.data", "reproduce.run.data"), "toy"),
        **dict.fromkeys(("published.data", "printed.data", "with_control.data"), "wiki"),
        "with_control.rows": 40,
        "pairs.records": paired(),
        "found": significance.pairs(paired()),
        "matrix.panels": [plots.Matrix("a", ["b"], ["c"], [[0.0]], [[False]])],
        "labelled.panels": [plots.Panel("a", {"b": ([1.0], [1.0])})],
        "core.prepare.labels": Y,
        "shape": "small",
        "grow.model": jaxcmh.train("dcgh", [X, X[:, :5]], Y, bits=8, features="identity", growing=True),
        "grow.run": results.runs.read_run(folder / "three"),
        "grow.data": "toy",
        "n": 40,
        "dims": (6, 5),
        "forecast.labels": 4,
    }


# -- the zoo ----------------------------------------------------------------------------------------------------------

SPARSE = scipy.sparse.csr_matrix(np.full((2, 2), np.nan))
ZOO: dict[str, typing.Any] = {
    "None": None,
    "object": object(),
    "dict": {},
    "function": lambda *_: None,
    "class": int,
    "no list": [],
    "no array": np.empty(0),
    "no rows": np.empty((0, 3)),
    "no text": "",
    "0-d": np.array(3.0),
    "nan": float("nan"),
    "inf": float("inf"),
    "1e300": 1e300,
    "-1": -1,
    "0": 0,
    "10**18": 10**18,
    "2.9": 2.9,
    "True": True,
    "objects": np.array([object(), None], object),
    "records": np.zeros(3, [("a", int)]),
    "complex": np.ones((2, 2), complex),
    "dates": np.zeros((2, 2), "M8[s]"),
    "sparse nan": SPARSE,
    "3-d": np.zeros((2, 2, 2)),
    "nan rows": np.full((40, 6), np.nan, np.float16),
    "inf rows": np.full((40, 6), np.inf),
    "masked": np.ma.masked,
    "surrogate": "\ud800",
    "zero": "a\0b",
    "word": "nonsense",
    "bytes": b"\xff",
    "ragged": [[1, 2], [3]],
    "mixed": [0, "a", None],
    "wrong length": list(range(1000)),
    "set": {1, 2},
}
NUMBERS = {"0-d", "nan", "inf", "1e300", "-1", "0", "10**18", "2.9", "True"}


def accepted(annotation: typing.Any) -> set[str]:
    """Names of zoo values that an argument of this annotation may be."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(accepted, args))
    if annotation is type(None):
        return {"None"}
    if origin is typing.Annotated and isinstance(args[1], checks.Whole | checks.Number):
        return {name for name in NUMBERS if _passes(args[1], ZOO[name])}
    if origin is typing.Annotated:
        return ANNOTATED.get(annotation, set())
    return PLAIN.get(annotation, PLAIN.get(origin, set()))


def _passes(check: checks.Check, value: typing.Any) -> bool:
    try:
        check(value, "it")
    except ValueError:
        return False
    return True


PLAIN = {
    int: {"-1", "0", "10**18"},
    float: {"-1", "0", "10**18", "2.9", "0-d"},
    bool: {"True"},
    str: {"no text", "word"},
    typing.Any: set(),
    checks.Callable: {"function", "class"},
    checks.Mapping: {"dict"},
    checks.Sequence: {"no list", "no array"},
    checks.Iterable: {"no list", "no array", "dict"},
}
ANNOTATED = {checks.PathLike: {"word"}, checks.Array: {"0-d", "1e300"}}
# Beside what an annotation says: values that one argument takes on purpose, and what of its kind it does not.
ALSO: dict[str, set[str]] = {
    "model.train.params": {"None", "dict"},
    "model.train.features": {"None"},
    "learning.core.fit.params": {"None"},
    "studies.scores.study.features": {"None"},
    "studies.forecasts.forecast.features": {"None"},
    "learning.core.sweep.params": {"None"},
    "index.index.build.ids": {"None"},
    "index.index.add.ids": {"None"},
    "index.faiss.from_faiss.ids": {"None"},
    "index.index.members.ids": {"no list", "no array"},
    "index.index.remove.ids": {"no list", "no array"},
    "datasets.split.take.rows": {"no list", "no array"},
    "learning.core.prepare.label_rows": {"no list", "no array"},
    "datasets.blocks.rows.source": {"3-d", "sparse nan"},  # blocks of rows, whose numbers are looked at in training
    "datasets.split.one_hot.classes": {"no list", "wrong length"},
    "results.lines.trace.values": {"wrong length"},
    "results.lines.line.objective": {"wrong length"},
    "results.plots.draw.ticks": {"wrong length"},
    "results.plots.answers.queries": {"3-d"},
    "results.pivot.head.value": set(ZOO),
    "retrieval.topk.lookup_topk.queries": {"no rows"},
}
# What messages call an argument that the command line calls otherwise.
CALLED = {
    "raw": "texts|pictures",
    "text": "texts",
    "image": "pictures",
    "images": "pictures|texts",
    "kind": "database",
    "tracker": "log",
    "halves": "all",
}


# What an argument is tried with where it is not enough alone.
WITH = {("model.Model.search", "k"): {"text": "a dog"}}


def _parameters(function: typing.Callable) -> list[str]:
    own = (p for p in inspect.signature(function).parameters.values() if p.name != "self")
    return [p.name for p in own if p.kind.name[:3] != "VAR"]


def chosen(values: dict[str, typing.Any], function: str, parameter: str) -> typing.Any:
    """The good value of an argument, the most special one."""
    parts = function.split(".")
    names = [*(".".join([*parts[i:], parameter]) for i in range(len(parts))), *(f"{m}.{parameter}" for m in parts)]
    return next((values[name] for name in [*names, parameter] if name in values), inspect.Parameter.empty)


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return good(tmp_path_factory.mktemp("border"))


def outcome(function: typing.Callable, arguments: dict[str, typing.Any], parameter: str) -> str:
    """What a call comes to: "refused", "accepted", or what is wrong with it."""

    def late(*_: typing.Any) -> typing.NoReturn:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**arguments)
        return "accepted"
    except (ValueError, TypeError, FileNotFoundError, FileExistsError, ModuleNotFoundError) as error:
        names = rf"(?<![\w.])({parameter}|{parameter.rstrip('s')}|{CALLED.get(parameter, parameter)})\b"
        said = re.search(names, str(error)) or isinstance(error, FileNotFoundError | FileExistsError)
        short = re.fullmatch(r"[^\n]{0,500}", str(error))
        return "refused" if said and short else f"{type(error).__name__}: {error}"[:150]
    except ConnectionError:
        return "accepted"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:150]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_bad_values_are_refused_by_name(values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(index.milvus, "_connect", lambda *_: (_ for _ in ()).throw(ConnectionError("nobody there")))
    monkeypatch.setattr(studies.forecasts, "measure", lambda _, n, asked: studies.forecasts.Measured(n, 1.0, 1.0))
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 30), limits[1]))
    counts, wrong = Counter(), []
    try:
        for name, function in FUNCTIONS.items():
            hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
            parameters = inspect.signature(function).parameters.values()
            needed = [p for p in parameters if p.default is p.empty and p.kind.name[:3] != "VAR"]
            base = {p.name: chosen(values, name, p.name) for p in needed}
            missing = [key for key, value in base.items() if value is inspect.Parameter.empty]
            assert not missing, f"{name}: no good value for {missing}"
            for parameter in _parameters(function):
                fine = accepted(hints[parameter]) ^ ALSO.get(f"{name}.{parameter}", set())
                kinds = (hints[parameter], *typing.get_args(hints[parameter]))
                called = checks.Callable in map(typing.get_origin, kinds)
                for beast, value in ZOO.items():
                    if called and beast in ("function", "class"):
                        continue  # what a function of the user does is up to it
                    for place in tmp_path.iterdir():
                        shutil.rmtree(place) if place.is_dir() else place.unlink()
                    others = {**base, **WITH.get((name, parameter), {})}
                    came = outcome(function, {**others, parameter: value}, parameter)
                    expected = "accepted" if beast in fine else "refused"
                    counts["tried"] += 1
                    counts[came if came in ("accepted", "refused") else "wrong"] += 1
                    if came != expected and not (expected == "accepted" and came == "refused"):
                        wrong.append(f"{name}({parameter}={beast}): {came}")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    print(f"{len(FUNCTIONS)} functions, {len(METHODS)} methods, {dict(counts)}")
    assert len(METHODS) > 5
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)


def test_a_broken_field_of_a_record_is_refused_by_name(values):
    """What is annotated as anything, text or a function of the user is left to them."""
    tried, wrong = 0, []
    for name, function in FUNCTIONS.items():
        hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
        arguments = inspect.signature(function).parameters.values()
        needed = [p.name for p in arguments if p.default is p.empty and p.kind.name[:3] != "VAR"]
        base = {parameter: chosen(values, name, parameter) for parameter in needed}
        for parameter in needed:
            hint = hints.get(parameter)
            record, kinds = base[parameter], (hint, *typing.get_args(hint))
            if type(record) not in kinds or not hasattr(record, "_fields"):
                continue
            for field, annotation in checks.domains(type(record)).items():
                if annotation in (typing.Any, object):
                    continue
                came = outcome(function, {**base, parameter: record._replace(**{field: object()})}, parameter)
                tried += 1
                if came != "refused":
                    wrong.append(f"{name}({parameter}.{field}): {came}")
    print(f"{tried} fields refused")
    assert tried > 200
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)


# -- the command line -------------------------------------------------------------------------------------------------

WORDS_OF = {  # what an option of a kind cannot be
    int: ("2.9", "64.5", "1e3", "nan", "abc", "", "-1"),
    float: ("nan", "inf", "-inf", "1e300", "abc", ""),
    str: ("\ud800", "a\0b"),
    Path: ("\ud800", "a\0b"),
}


def commands(app: App, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], App]:
    """Every command by the words that call it."""
    found = {words: app} if app.default_command and words else {}
    for name in app:
        if not name.startswith("-"):
            found |= commands(app[name], (*words, name))
    return found


COMMANDS = commands(cli.app)


def _kind(hint: typing.Any) -> typing.Any:
    """The plain type of an option, of each of several, or of one that may be missing."""
    while typing.get_origin(hint):
        args = [one for one in typing.get_args(hint) if one is not type(None)]
        if typing.get_origin(hint) is typing.Literal:
            return str
        hint = args[0]
    return hint


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_bad_values_of_options_are_refused_in_one_line(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = COMMANDS[words].assemble_argument_collection()
    needed = {a.name: "9" if _kind(a.hint) is int else "new.npz" for a in arguments if a.required}
    given = {name: ["nowhere"] if name[0] != "-" else [name, value] for name, value in needed.items()}
    if words[0] in ("plan", "train", "sweep", "reproduce"):
        given["METHOD" if words[0] != "reproduce" else "PAPER"] = ["dcgh"]
    tried = 0
    for argument in arguments:
        option, kind = argument.name, _kind(argument.hint)
        for bad in WORDS_OF.get(kind, ()) if option.startswith("-") else ():
            if kind is int and bad == "-1" and checks.check_of(argument.field_info.annotation) is None:
                continue
            others = [word for name, some in given.items() if name != option for word in some]
            code = cli.main([*words, *others, f"{option}={bad}" if option.startswith("--") else f"{option}{bad}"])
            said = capsys.readouterr()
            lines = [one for one in said.err.splitlines() if not one.startswith("device:")]
            assert code == 2, f"{option}={bad!r}: {code}"
            assert len(lines) == 1, f"{option}={bad!r}: {lines}"
            assert option in lines[0], f"{option}={bad!r}: {lines[0]}"
            assert not said.out
            tried += 1
    print(f"{tried} refused")
    assert not list(tmp_path.iterdir())
