"""The commands around indexes: `jaxcmh index build|add|remove|search|info` and `jaxcmh export`."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from jaxcmh import checks
from jaxcmh.commands import asked, terminal
from jaxcmh.commands.asked import Count, Flag, Images, Json, NewPlace, Out, Query, Root, Texts
from jaxcmh.commands.queries import knowing, read_array, read_queries, read_rows, view_number
from jaxcmh.commands.things import are_raw, codes_of, details_of, details_of_rows, read_things
from jaxcmh.progress import Stages, printable, progress, say, shown

if TYPE_CHECKING:
    from jaxcmh.index import Index
    from jaxcmh.model import Model
    from jaxcmh.progress import Progress

index_app = App(
    name="index",
    help="Indexes: codes with ids of your own, to search, add to and hand to other engines.",
    help_format="markdown",
)
export_app = App(name="export", help="Write an index for another engine.", help_format="markdown")

NO_FEATURES = "--devices: expected with --model and a .npy file of features; nothing else is shared out to be encoded"
Run = Annotated[Path | None, Parameter(name=["--model", "-m"])]


@index_app.command
def build(
    items: list[Path],
    /,
    *,
    out: NewPlace,
    ids: Path | None = None,
    integer_ids: Flag = False,
    model: Run = None,
    view: str | None = None,
    bits: checks.Count | None = None,
    codebooks: Path | None = None,
    thumbnails: Flag = False,
    devices: checks.Count | None = None,
) -> None:
    """Make an index. It keeps the texts and labels of pictures and of a run's items, and shows them with answers.

    Parameters
    ----------
    items
        A run folder, for its training items; folders and files of pictures and files of texts (.txt, one per line),
        with --model; a .npy file of codes (uint8), or of features with --model; or what jaxcmh export wrote (.npz,
        .parquet, .faiss).
    out
        The file to write; must not exist.
    ids
        Ids of the items: .npy, or text with one per line. [default: the names of the items, where they have names; the
        ids of a file; else integers]
    integer_ids
        The lines of --ids are integers.
    model
        Run folder or model file that encodes pictures, texts or features, or made the codes.
    view
        View that the features are of, by number; taken from their width where only one fits. For pictures with texts:
        encode one of them only, image or text. For a run folder: take codes encoded from this view. [default for a run
        folder: codes learned with the labels]
    bits
        Code length where the last byte is not full.
    codebooks
        Codebooks of look-up codes: .npy of shape (books, words, K).
    thumbnails
        Keep a small picture of each item too, which `jaxcmh serve` shows: of pictures (needs the extra icons), or of a
        run that keeps them.
    devices
        Encode the features of a .npy file on the first of so many devices, each its share of the rows; on one by
        default.
    """
    import jaxcmh.index

    mesh = _mesh(devices, items, model)
    with asked.new_file(out), progress() as steps:
        asked.start(steps)
        steps.step(f"reading {items[0]}")
        index = _read_items(items, ids, integer_ids, model, view, bits, codebooks, thumbnails, mesh, steps)
        steps.step(f"writing {out}")
        jaxcmh.index.save(index, out)
    print(f"{shown(out)}: {_described(index)}")


@index_app.command
def add(
    index: Path,
    items: list[Path],
    /,
    *,
    ids: Path | None = None,
    model: Run = None,
    view: str | None = None,
    thumbnails: Flag = False,
    devices: checks.Count | None = None,
    out: Out = None,
) -> None:
    """Add items to an index; nothing is trained. Texts and labels of pictures are kept, and shown with answers.

    Parameters
    ----------
    index
        The index file.
    items
        Folders and files of pictures and files of texts (.txt, one per line), with --model; those whose name is in the
        index already are left out. Or a .npy file of codes (uint8), or of features with --model.
    ids
        Ids of the items, as the index has them: .npy, or text with one per line. [default: names of pictures and
        texts; else the integers from the largest on]
    model
        Run folder or model file that encodes pictures, texts or features, or made the codes.
    view
        View that the features are of, by number; taken from their width where only one fits. For pictures with texts:
        encode one of them only, image or text.
    thumbnails
        Keep a small picture of each new item too, which `jaxcmh serve` shows. Needs the extra icons.
    devices
        Encode the features of a .npy file on the first of so many devices, each its share of the rows; on one by
        default.
    out
        Write here and leave the index as it is; must not exist.
    """
    import jaxcmh.index
    from jaxcmh import store

    place, there, mesh = out or index, 0, _mesh(devices, items, model)
    with store.only_writer(index) if out is None else asked.new_file(out), progress() as steps:
        asked.start(steps)
        steps.step(f"reading {index}")
        before = jaxcmh.index.load(index)
        store.room(place, index.stat().st_size)
        encoder, number, details = None if model is None else jaxcmh.load(model), None, None
        names = None if ids is None else _read_ids(ids, before.ids.values)
        if are_raw(items):
            things = read_things(items)
            if names is None:
                if len(before) and before.ids.values.dtype.kind != "U":
                    raise ValueError(f"--ids: expected integers for the new items, as {index} has, not their names")
                present = set(before.ids.values.tolist())
                there, things = len(things), [thing for thing in things if thing.name not in present]
                there, names = there - len(things), [thing.name for thing in things]
            rows = codes_of(things, _required(encoder), view, steps)
            details = details_of(things, names, thumbnails)
        else:
            if thumbnails:
                raise ValueError(f"--thumbnails: expected with pictures; got {items[0]}")
            rows = read_rows(_one_file(items), "items")
            number = None if encoder is None else _view(encoder, rows, view, mesh)
            if encoder is None:
                _only_codes(before, rows, "items")
            if names is None and len(before) and before.ids.values.dtype.kind == "U":
                example = str(before.ids.values[0])
                raise ValueError(f"--ids: expected names for the new items, as {index} has, such as {example!r}")
        more: dict[str, Any] = {"model": encoder, "view": number, "details": details, "mesh": mesh}
        after = jaxcmh.index.add(before, rows, names, **more) if len(rows) else before
        jaxcmh.index.save(after, place)
    known = f"; {there:,} were there already" if there else ""
    print(f"{shown(place)}: {_described(after)}, {len(rows):,} of them new{known}")


@index_app.command
def remove(index: Path, names: list[str] | None = None, /, *, ids: Path | None = None, out: Out = None) -> None:
    """Remove items from an index.

    Parameters
    ----------
    index
        The index file.
    names
        Ids of the items.
    ids
        Or a file of them: .npy, or text with one per line.
    out
        Write here and leave the index as it is; must not exist.
    """
    import jaxcmh.index
    from jaxcmh import store

    if bool(names) == (ids is not None):
        raise ValueError("--ids: expected ids behind the index, or a file of them")
    place = out or index
    with store.only_writer(index) if out is None else asked.new_file(out), progress() as steps:
        asked.start(steps)
        steps.step(f"reading {index}")
        before = jaxcmh.index.load(index)
        present = before.ids.values
        unwanted = _of_kind(names or [], present, "names") if ids is None else _read_ids(ids, present)
        after = jaxcmh.index.remove(before, unwanted)
        jaxcmh.index.save(after, place)
    print(f"{shown(place)}: {_described(after)}, {len(before) - len(after):,} removed")


@index_app.command
def search(
    index: Path,
    /,
    *,
    query: Query = None,
    text: Texts = None,
    image: Images = None,
    model: Run = None,
    view: str | None = None,
    k: Count = 10,
    radius: checks.Natural | None = None,
    devices: checks.Count | None = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Find the items nearest to codes, or to features, texts and pictures that a model encodes.

    Parameters
    ----------
    index
        The index file.
    query
        File of queries, one per row: codes (uint8) or real vectors for look-up codes; features with --model.
    text
        A text to search with, encoded by the run of --model; may be repeated.
    image
        A picture file to search with, encoded by the run of --model; may be repeated.
    model
        Run folder or model file that encoded the items.
    view
        View that the features are of, by number; taken from their width where only one fits.
    k
        Answers per query.
    radius
        All items within this Hamming distance, instead of the nearest.
    devices
        Search on the first of so many devices, each with its share of the items; on one by default.
    root
        Folder with the files of the data set the run was trained on. [default: that of the training, or $JAXCMH_DATA]
    as_json
        Print one JSON line per answer instead of a table.
    """
    import jaxcmh.index
    from jaxcmh.results import runs

    asked.one_query(text, image, query)
    if radius is not None and devices is not None:
        raise ValueError("--devices: expected without --radius, within which one device searches")
    mesh = asked.mesh(devices)
    with progress() as steps:
        asked.start(steps)
        steps.step(f"reading {index}")
        items = jaxcmh.index.load(index)
        items = items if mesh is None else jaxcmh.index.spread(items, mesh)
        encoder, number = None if model is None else jaxcmh.load(model), None
        if query is not None:
            rows = read_rows(query, "--query")
            names = [f"row {i}" for i in range(len(rows))]
            if encoder is None:
                _only_codes(items, rows, "--query")
            number = None if encoder is None else view_number(encoder, rows, view, "--query")
        elif model is None or encoder is None:
            raise ValueError("--model: expected with --text and --image, the run folder that encodes them")
        else:
            if encoder.catalogue is None:
                encoder = knowing(encoder, runs.read_run(model), root, Stages(), steps)
            number, rows, names = read_queries(encoder, text, image, None, view)
        steps.step("searching")
        most = k if radius is None else None
        found = jaxcmh.index.answers(items, rows, most, radius=radius, model=encoder, view=number, mesh=mesh)
    word = "distance" if items.codebooks is None else "score"
    for name, own in zip(names, found):
        answers: list[dict[str, Any]] = []
        for one in own:
            facts = {"query": name, "rank": one.rank, word: one.score, "item": one.item}
            facts |= {"labels": list(one.labels)} if items.details.labels else {}
            answers.append(facts | ({"text": one.text} if items.details.texts else {}))
        if answers or as_json:
            terminal.print_answers(name, answers, as_json)
        else:
            print(f"{printable(name)}: no item within {radius} bits\n")


@index_app.command
def info(index: Path, /, *, as_json: Json = False) -> None:
    """Say what an index holds.

    Parameters
    ----------
    index
        The index file.
    as_json
        Print JSON instead of a table.
    """
    import jaxcmh.index

    with progress() as steps:
        asked.start(steps)
        steps.step(f"reading {index}")
        items = jaxcmh.index.load(index)
    facts: dict[str, Any] = {
        "index": str(index),
        "items": len(items),
        "codes": "packed" if items.codebooks is None else "look-up",
        "bits": items.bits,
    }
    if items.codebooks is not None:
        facts |= dict(zip(("books", "words", "dimensions"), items.codebooks.shape))
    facts |= {
        "ids": "strings" if items.ids.values.dtype.kind == "U" else "integers",
        "first ids": [str(word) for word in items.ids.values[:3].tolist()],
        "model": items.model_fingerprint or "not known",
        "kept": [one.name for one in fields(items.details) if getattr(items.details, one.name)] or ["codes and ids"],
        "bytes": index.stat().st_size,
    }
    terminal.print_facts(facts, as_json)


@export_app.command
def npz(index: Path, /, *, out: NewPlace) -> None:
    """Write a .npz file of codes and ids, with bit order and code length.

    Parameters
    ----------
    index
        The index file.
    out
        The file to write; must not exist.
    """
    from jaxcmh.index import files

    _export(index, out, files.write_npz)


@export_app.command
def parquet(index: Path, /, *, out: NewPlace) -> None:
    """Write a Parquet file of ids and codes, with bit order and code length in its metadata. Needs the extra files.

    Parameters
    ----------
    index
        The index file.
    out
        The file to write; must not exist.
    """
    from jaxcmh.index import files

    _export(index, out, files.write_parquet)


@export_app.command
def faiss(
    index: Path, /, *, out: NewPlace, kind: Literal["flat", "ivf", "hnsw", "multihash"] = "flat", k: Count = 10
) -> None:
    """Write a FAISS index with the same distances or scores. Needs the extra faiss.

    Ids that are strings are kept beside it in OUT.ids.json, one per row, and a recall that is measured in
    OUT.recall.json.

    Parameters
    ----------
    index
        The index file.
    out
        The file to write; must not exist.
    kind
        flat is exact; the others, for packed codes, search a part of the items: how many of the nearest they find is
        measured on up to 1,000 items of the index, printed and kept.
    k
        Nearest items of each that are counted.
    """
    import jaxcmh.index
    from jaxcmh import store
    from jaxcmh.index import faiss

    _export(index, out, lambda items, path: faiss.write(items, path, kind))
    if kind != "flat":
        items = jaxcmh.index.load(index)
        k = min(k, len(items))
        if k:
            facts = {
                "kind": kind,
                "k": k,
                "recall": faiss.recall(items, out, k),
                "queries": min(len(items), faiss.QUERIES),
            }
            store.write_json(faiss.recall_of(out), facts)
            print(f"recall@{k}: {facts['recall']:.4f}, for {facts['queries']:,} items of the index")


@export_app.command
def pgvector(index: Path, /, *, out: NewPlace, table: str = "items") -> None:
    """Write an SQL script that makes and fills a table of PostgreSQL with pgvector (0.7 or later).

    Parameters
    ----------
    index
        The index file.
    out
        The file to write; must not exist.
    table
        Name of the table, or schema.table.
    """
    from jaxcmh.index import pgvector

    _export(index, out, lambda items, path: pgvector.write(items, path, table))
    say(f"run it with psql --file {shown(out)} DATABASE")


@export_app.command
def milvus(
    index: Path,
    /,
    *,
    uri: str,
    collection: str,
    token: Annotated[str, Parameter(env_var="MILVUS_TOKEN", show_default=False)] = "",
) -> None:
    """Create a collection of Milvus and upload an index to it. Needs the extra milvus.

    Parameters
    ----------
    index
        The index file.
    uri
        A local file that ends in .db, for the embedded Milvus; or http://host:port of a cluster.
    collection
        Name of the collection; must not exist.
    token
        user:password or an API key, for a cluster that asks for it. [default: $MILVUS_TOKEN]
    """
    import logging

    import jaxcmh.index
    from jaxcmh.index import milvus

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints what it raises
    with progress() as steps:
        asked.start(steps)
        steps.step(f"reading {index}")
        items = jaxcmh.index.load(index)
        steps.step(f"connecting to {uri}")
        uploaded = milvus.upload(
            items,
            uri,
            collection,
            token=token,
            progress=lambda sent, all_: steps.step(f"{sent:,} of {all_:,} items uploaded"),
        )
        uploaded.client.close()
    print(f"{collection} in {uri}: {_described(items)}")


# -- pieces -----------------------------------------------------------------------------------------------------------


def _described(index: "Index") -> str:
    return f"{len(index):,} items of {index.bits} bits"


def _export(index: Path, out: Path, write: Callable[["Index", Path], None]) -> None:
    import jaxcmh.index

    with asked.new_file(out), progress() as steps:
        asked.start(steps)
        steps.step(f"reading {index}")
        items = jaxcmh.index.load(index)
        steps.step(f"writing {out}")
        write(items, out)
    print(f"{shown(out)}: {_described(items)}")


def _read_items(
    given: list[Path],
    ids: Path | None,
    integer_ids: bool,
    model: Path | None,
    view: str | None,
    bits: int | None,
    codebooks: Path | None,
    thumbnails: bool,
    mesh: Any,
    steps: "Progress",
) -> "Index":
    import numpy as np

    import jaxcmh.index
    from jaxcmh.datasets.folder import SUFFIXES
    from jaxcmh.model import encoded_of
    from jaxcmh.results import runs

    names = None if ids is None else _read_ids(ids, integers=integer_ids)
    if model is not None and (bits is not None or codebooks is not None):
        raise ValueError("--bits, --codebooks: expected with codes only; a model brings its own")
    if model is not None and are_raw(given):
        things, encoder = read_things(given), jaxcmh.load(model)
        codes = codes_of(things, encoder, view, steps)
        names = [thing.name for thing in things] if names is None else names
        details = details_of(things, names, thumbnails)
        return jaxcmh.index.build(codes, names, model=encoder, details=details)
    items = _one_file(given)
    if items.is_dir():
        if not (items / "config.json").is_file() and any(file.suffix.lower() in SUFFIXES for file in items.iterdir()):
            raise ValueError(f"--model: expected with pictures, the run folder that encodes those in {items}")
        stored, encoder = runs.read_run(items), jaxcmh.load(items)
        if view is None and encoder.codes.ndim == 3:
            raise ValueError(f"--view: {encoder.info.method} learns codes for each view; say of which to take them")
        codes = encoder.codes if view is None else encoded_of(encoder, view_number(encoder, None, view, "items"))
        rows, own = runs.things(stored, encoder)
        details = details_of_rows(encoder.catalogue, rows.tolist(), thumbnails)
        names = own if names is None else names
        return jaxcmh.index.build(np.asarray(codes)[rows], names, model=encoder, details=details)
    if thumbnails:
        raise ValueError(f"--thumbnails: expected with pictures, or a run that keeps them; {items} has none")
    if items.suffix in (".npz", ".parquet", ".faiss") and model is None and codebooks is None:
        index = _read_export(items)
        if names is None and bits is None:
            return index
        ids_kept = index.ids.values if names is None else names
        length = index.bits if bits is None and index.codebooks is None else bits
        return jaxcmh.index.build(index.codes, ids_kept, bits=length, codebooks=index.codebooks)
    rows = read_rows(items, "items")
    if model is None:
        if view is not None:
            raise ValueError("--view: expected with --model only; without one, items are codes")
        books = None if codebooks is None else read_array(codebooks, "--codebooks")
        return jaxcmh.index.build(rows, names, bits=bits, codebooks=books)
    encoder = jaxcmh.load(model)
    return jaxcmh.index.build(rows, names, model=encoder, view=_view(encoder, rows, view, mesh), mesh=mesh)


def _only_codes(index: "Index", rows: Any, what: str) -> None:
    """Refuse features where there is no model that makes codes of them."""
    if index.codebooks is None and rows.dtype != "uint8":
        raise ValueError(f"{what}: {rows.dtype} of shape {rows.shape} are no codes; features need --model RUN")


def _read_export(path: Path) -> "Index":
    from jaxcmh.index import faiss, files

    if path.suffix == ".faiss":
        return faiss.read(path)
    return files.read_npz(path) if path.suffix == ".npz" else files.read_parquet(path)


def _mesh(devices: int | None, items: list[Path], model: Path | None) -> Any:
    """The devices that encode features, see `asked.mesh`."""
    if devices is not None and (model is None or are_raw(items)):
        raise ValueError(NO_FEATURES)
    return asked.mesh(devices)


def _view(model: "Model", rows: Any, view: str | None, mesh: Any) -> int | None:
    """The view of feature rows; None for codes that the model made."""
    if view is None and rows.dtype == "uint8" and rows.shape[1] == model.codes.shape[-1]:
        if mesh is not None:
            raise ValueError(NO_FEATURES)
        return None
    return view_number(model, rows, view, "items")


def _one_file(items: list[Path]) -> Path:
    if len(items) > 1:
        raise ValueError("items: expected one file of codes or features, or else pictures and texts only")
    return items[0]


def _required(encoder: "Model | None") -> "Model":
    if encoder is None:
        raise ValueError("--model: expected with pictures and texts, the run folder that encodes them")
    return encoder


def _read_ids(path: Path, present: Any = (), integers: bool = False) -> Any:
    """Ids from .npy, or from text with one per line, of the kind that an index has; else as text, unless told."""
    from jaxcmh.parsing import lines_of, read_text

    if path.suffix == ".npy":
        return read_array(path, "--ids")
    if not path.is_file():
        raise FileNotFoundError(f"--ids: no such file: {path}")
    try:
        lines = lines_of(read_text(path))
    except ValueError as error:
        raise ValueError(f"--ids: {error}") from None
    return _of_kind(lines, present, "--ids", integers)


def _of_kind(words: list[str], present: Any, what: str, integers: bool = False) -> list[str] | list[int]:
    """Ids as text, or as the integers that an index has or the user asks for."""
    if not integers and not (len(present) and present.dtype.kind == "i"):
        return words
    for word in words:
        if not re.fullmatch(r"0|-?[1-9]\d{0,17}", word):
            raise ValueError(f"{what}: expected integers; got {word!r}")
    return [int(word) for word in words]
