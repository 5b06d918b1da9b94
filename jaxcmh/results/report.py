"""Pages to look at: one self-contained HTML file that opens from disk and asks nothing of the network.

`page` writes the retrieval page: queries beside their answers, right and wrong marked, with tables, figures and facts
below. It holds several rankings at once (methods, code lengths, directions), so that two can be set side by side.

`write` turns a folder of result lines into tables, figures and a report that shows them with parameters, environment
and every point of its sweeps. It only reads lines, and runs nothing.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, NamedTuple

import numpy as np

from jaxcmh import brief, results
from jaxcmh.checks import PathLike, checked, filled
from jaxcmh.results import figures, plots, significance, tables
from jaxcmh.results.importance import importances

__all__ = ["Items", "Ranking", "page", "write"]

LIMIT = 5_000_000  # bytes: what a page may weigh
# Title and hint of the two kinds of database codes of the same items.
DATABASES = {
    "learned": "training items keep the codes learned with their labels, as papers report",
    "encoded": "the same items encoded by the hash functions alone, as a deployed system sees them",
    "held_out": "items never trained on",
}


class Items(NamedTuple):
    """What can be shown of n items; a field that does not exist is an empty sequence.

    Attributes:
        names: n short names.
        texts: n texts, such as words.
        pictures: n image files (bytes of PNG, JPEG, GIF, WebP or SVG).
        labels: (n, c) 0/1, or None for unlabelled items.

    Example:
        >>> items = Items(["1", "2"], texts=["a dog", "a cat"], labels=np.eye(2))
        >>> [text for text, (dog, cat) in zip(items.texts, items.labels) if cat]
        ['a cat']
    """

    names: Sequence[str]
    texts: Sequence[str] = ()
    pictures: Sequence[bytes] = ()
    labels: Any = None

    __repr__ = brief.text
    _repr_html_ = brief.table


class Ranking(NamedTuple):
    """The first k answers to every query, and what gave them.

    Attributes:
        method, bits, database: as in a result line.
        direction: "i2t" or "t2i", or "view0->view2".
        ids: (n_q, k) rows of the database, best first.
        scores: (n_q, k) distances or scores.
        ap: (n_q,) average precision over the whole ranking (nan: no relevant item), or None for unlabelled queries.
        similarity: scores grow with likeness instead of falling.

    Example:
        >>> ranking = Ranking("dcgh", 8, "learned", "i2t", np.array([[1, 0]]), np.array([[0, 3]]), ap=np.array([1.0]))
        >>> for row, distance in zip(ranking.ids[0], ranking.scores[0]):
        ...     print(row, distance)
        1 0
        0 3
    """

    method: str
    bits: int
    database: str
    direction: str
    ids: Any
    scores: Any
    ap: Any = None
    similarity: bool = False

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def page(
    path: PathLike,
    *,
    title: str,
    lede: str,
    queries: Items,
    database: Items,
    label_names: Sequence[str],
    rankings: Annotated[Sequence[Ranking], filled],
    tables: Sequence[tuple[str, results.Table]] = (),
    figures: Sequence[tuple[str, PathLike]] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write the retrieval page.

    Args:
        path: the `.html` file, replaced when it is there.
        title, lede: headline, and a sentence or two under it.
        queries, database: what to show of the items the rankings speak of.
        label_names: c names.
        rankings: at least one; the first is shown first.
        tables: (title, table) pairs.
        figures: (title, path of an SVG or PNG file) pairs, put into the page.
        facts: (name, value) pairs: protocol, environment, where files lie.
    Raises:
        ValueError: no ranking, shapes that do not fit each other, or a page above 5 MB.
        ModuleNotFoundError: jinja2 is not installed (extra `plots`).
    Example:
        >>> import tempfile
        >>> ranking = Ranking("dcgh", 8, "learned", "i2t", np.array([[1, 0]]), np.array([[0, 3]]), None)
        >>> shown = {"title": "Pets", "lede": "One query.", "label_names": [], "rankings": [ranking]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page(f"{folder}/pets.html", queries=Items(["q"]), database=Items(["a dog", "a cat"]), **shown).name
        'pets.html'
    """
    if not rankings:
        raise ValueError("rankings is empty: a page shows at least one")
    for items, name in ((queries, "queries"), (database, "database")):
        _check_items(items, name, len(label_names))
    for ranking in rankings:
        _check_ranking(ranking, len(queries.names), len(database.names))
    data = {
        "labels": list(label_names),
        "queries": _items(queries),
        "database": _items(database),
        "rankings": [_ranking(r) for r in rankings],
        "hints": DATABASES,
    }
    return _render(
        path,
        "retrieval.html",
        title=title,
        lede=lede,
        data=_script(data),
        tables=_in_words(tables),
        figures=[(name, _uri(Path(file).read_bytes())) for name, file in figures],
        facts=facts,
    )


def _in_words(named: Sequence[tuple[str, results.Table]]) -> list[tuple[str, str]]:
    return [(name, tables.html(tables.grid(table))) for name, table in named]


def _render(path: str | Path, template: str, **values: Any) -> Path:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError:
        raise ModuleNotFoundError("pages need jinja2: python -m pip install 'jaxcmh[plots]'") from None
    loader = PackageLoader("jaxcmh.results", "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = made.get_template(template).render(**values)
    size = len(text.encode())
    if size > LIMIT:
        raise ValueError(
            f"the page would weigh {size / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f}: "
            "show fewer rankings or smaller pictures"
        )
    return results.write_text(path, text)


def _check_items(items: Items, name: str, classes: int) -> None:
    n = len(items.names)
    for field in ("texts", "pictures"):
        if len(getattr(items, field)) not in (0, n):
            raise ValueError(f"{name}.{field} has {len(getattr(items, field))} entries for {n} items")
    if items.labels is not None and np.shape(items.labels) != (n, classes):
        raise ValueError(f"{name}.labels must have shape {(n, classes)}, got {np.shape(items.labels)}")


def _check_ranking(ranking: Ranking, n_queries: int, n_database: int) -> None:
    ids = np.asarray(ranking.ids)
    where = f"ranking {ranking.method}, {ranking.bits} bits, {ranking.direction}"
    if ids.ndim != 2 or len(ids) != n_queries or np.shape(ranking.scores) != ids.shape:
        raise ValueError(
            f"{where}: ids and scores must both have shape ({n_queries}, k), "
            f"got {ids.shape} and {np.shape(ranking.scores)}"
        )
    if ids.size and not (ids.min() >= 0 and ids.max() < n_database):
        raise ValueError(
            f"{where}: ids run from {ids.min()} to {ids.max()}, the database has rows 0 to {n_database - 1}"
        )
    if ranking.ap is not None and np.shape(ranking.ap) != (n_queries,):
        raise ValueError(f"{where}: ap must have shape ({n_queries},), got {np.shape(ranking.ap)}")


def _items(items: Items) -> dict[str, Any]:
    labels = None if items.labels is None else [np.flatnonzero(row).tolist() for row in np.asarray(items.labels)]
    return {
        "names": list(items.names),
        "texts": list(items.texts),
        "pictures": [_uri(picture) for picture in items.pictures],
        "labels": labels,
    }


def _ranking(ranking: Ranking) -> dict[str, Any]:
    scores = np.asarray(ranking.scores)
    whole = np.issubdtype(scores.dtype, np.integer)
    ap = None
    if ranking.ap is not None:
        ap = [None if np.isnan(v) else round(float(v), 4) for v in ranking.ap]
    return {
        **ranking._asdict(),
        "ids": np.asarray(ranking.ids).tolist(),
        "scores": scores.tolist() if whole else np.round(scores.astype(float), 3).tolist(),
        "ap": ap,
    }


def _uri(content: bytes) -> str:
    kinds = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))
    kind = next((kind for magic, kind in kinds if content.startswith(magic)), "svg+xml")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _script(value: Any) -> str:
    """JSON that may stand inside a script element: no text in it can close the element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


# -- the report of a folder -------------------------------------------------------------------------------------------

EMBEDDED = 3_500_000  # bytes of figures in a report; further ones are linked
ROWS = 60  # of a table in a report; longer ones are linked
WIDE = ("surface", "tsne", "pictures")  # kinds of studies whose figures take the whole width


@checked
def write(folder: PathLike, reasons: Mapping[tuple[str, str], str] | None = None) -> Path:
    """Turn a folder of result lines into FOLDER/tables, FOLDER/figures and FOLDER/report.html.

    Args:
        folder: holds results.jsonl, and the arrays that its lines name, see `jaxcmh.figures`.
        reasons: (method, data) -> why published values are not reached, see `tables.against`.
    Returns:
        The path of the report.
    Raises:
        FileNotFoundError: no results there.
        ValueError: a line is not a result.
        ModuleNotFoundError: jinja2 or matplotlib is not installed (extra `plots`).
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for line in outcome.records:
        ...         results.append(f"{folder}/results.jsonl", line)
        ...     write(folder).name
        'report.html'
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    records = results.read(folder)
    if not records:
        raise ValueError(f"no results in {folder} yet")
    notes = _doubts(records)
    sections, room = [], EMBEDDED
    studies = figures.studies(records)
    several = len({study.data for study in studies}) > 1
    for number, study in enumerate(studies):
        stem = _slug(study.name, study.data if several else "", str(number) if _twin(study, studies) else "")
        made, skipped = figures.draw(study, folder / "figures" / stem, folder)
        notes += skipped
        shown = []
        for figure in made:
            uri = _embedded(figure.files, room)
            room -= len(uri)
            entry = {"title": figure.title, "files": _relative(figure.files, folder), "wide": study.kind in WIDE}
            shown.append({**entry, "uri": uri})
        tabled, skipped = _tables(study, folder, stem)
        notes += skipped
        title = plots.sentence(study.name) + (f", {study.data}" if several else "")
        sections.append(
            {
                "title": title,
                "anchor": stem,
                "summary": _summary(study),
                "best": _best(study),
                "figures": shown,
                "tables": tabled,
            }
        )
    sweeps = [sweep for study in studies if study.vary and (sweep := _sweep(study, several))]
    sweeps.sort(key=lambda sweep: -len(sweep["vary"]))  # a surface is shown first
    return _render(
        folder / "report.html",
        "report.html",
        title=_titled(folder.resolve().name),
        lede=_lede(records, studies),
        notes=list(dict.fromkeys(notes)),
        verdicts=_verdicts(records, folder, reasons),
        studies=sections,
        sweeps=bool(sweeps),
        data=_script({"sweeps": sweeps, "directions": results.DIRECTIONS}),
        facts=_facts(records),
    )


def _titled(name: str) -> str:
    """The name of a folder as a headline; methods by their papers' names."""
    papers = {row["paper"] for row in tables._printed()}
    words = [word.upper() if word in papers else word for word in re.split(r"[-_ ]+", name)]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def _slug(*parts: str) -> str:
    """A name that is good for files and anchors."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(filter(None, parts)).lower()).strip("-") or "study"


def _twin(study: figures.Study, studies: Sequence[figures.Study]) -> bool:
    return sum((other.name, other.data) == (study.name, study.data) for other in studies) > 1


def _relative(files: Sequence[Path], folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in files]


def _embedded(files: Sequence[Path], room: int) -> str:
    """The figure as a data address: SVG unless PNG is much lighter; empty where there is no room."""
    png, svg = (next(file.read_bytes() for file in files if file.suffix == kind) for kind in (".png", ".svg"))
    uri = _uri(svg if len(svg) < 1.5 * len(png) else png)
    return uri if len(uri) <= room else ""


def _tables(study: figures.Study, folder: Path, stem: str) -> tuple[list[dict[str, Any]], list[str]]:
    made, skipped = [], []
    for kind in dict.fromkeys(line["database"] for line in study.lines):
        lines = [line for line in study.lines if line["database"] == kind]
        try:
            table = tables.study(lines)
        except ValueError as error:
            skipped.append(f"{study.name}, table of {kind} database codes: {error}")
            continue
        title = f"{kind.capitalize().replace('_', ' ')} database codes"
        made.append(_tabled(title, table, folder, f"{stem}-{kind}"))
    if study.kind == "scaling":
        made.insert(0, _tabled("Seconds", tables.seconds(study.lines), folder, f"{stem}-seconds"))
    controlled = any(line["method"].startswith(tables.CONTROL) for line in study.lines)
    if study.kind == "paired" and controlled:
        try:
            gains = significance.beside_control(significance.pairs(study.lines))
        except ValueError as error:
            skipped.append(f"{study.name}: {error}")
        else:
            made.insert(0, _tabled("Gain over random codewords", gains, folder, f"{stem}-control"))
    return made, skipped


def _tabled(title: str, table: results.Table | tables.Grid, folder: Path, stem: str) -> dict[str, Any]:
    files = write_tables(table, folder / "tables" / stem)
    words = table if isinstance(table, tables.Grid) else tables.grid(table)
    short = len(table.rows) <= ROWS
    shown = tables.html(words) if short else ""
    return {"title": title, "html": shown, "rows": len(table.rows), "files": _relative(files, folder)}


def write_tables(table: results.Table | tables.Grid, stem: Path) -> list[Path]:
    """The table in every format, as STEM.txt, .md, .tex, .csv and .html."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    words = table if isinstance(table, tables.Grid) else tables.grid(table)
    return [
        results.write_text(
            stem.with_name(f"{stem.name}.{ending}"), tables.render(table if form == "csv" else words, form)
        )
        for form, ending in tables.ENDINGS.items()
    ]


def _verdicts(
    records: Sequence[dict], folder: Path, reasons: Mapping[tuple[str, str], str] | None
) -> dict[str, Any] | None:
    outcomes = tables.against(records, reasons)
    if not outcomes:
        return None
    grid = tables.verdicts(outcomes)
    counts = {
        outcome: sum(v.verdict.startswith(outcome) for v in outcomes) for outcome in ("reached", "explained", "not")
    }
    lacking = f"; below for a reason that is given: {counts['explained']}; not reached: {counts['not']}"
    return {
        "summary": f"{counts['reached']} of {len(outcomes)} published numbers are reached{lacking}.",
        "rows": len(outcomes),
        "table": tables.html(grid),
        "files": _relative(write_tables(grid, folder / "tables" / "beside-the-papers"), folder),
    }


def _doubts(records: Sequence[dict]) -> list[str]:
    """Results that look wrong by themselves: both directions equal to the last digit, or hardly better than chance."""
    sentences: dict[str, list[str]] = {}
    for line in records:
        own = sentences.setdefault(f"{line['method']}, {line['bits']} bits, {line['database']} database codes", [])
        own += results.doubts(line["map"], line.get("chance", 0.0))
    more = {what: f" (and {len(own) - 1} more like this)" if len(own) > 1 else "" for what, own in sentences.items()}
    return [f"{what}: {own[0]}{more[what]}" for what, own in sentences.items() if own]


def _summary(study: figures.Study) -> str:
    lines = study.lines
    varied = f"; varied: {', '.join(map(figures.symbol, study.vary))}" if study.vary else ""
    seeds = len({line["seed"] for line in lines})
    words = f"{_count(len(lines), 'result')}, {_count(seeds, 'seed')}{varied}; data {study.data}"
    return f"{words}, {lines[0]['ties']} ties, {results.score(lines[0]['at'], lines[0].get('divisor', 'retrieved'))}"


def _best(study: figures.Study) -> str:
    """Which methods have the highest mAP in the mean, where all were run alike; empty where they were not."""
    if study.vary or len({line["method"] for line in study.lines}) < 2:
        return ""
    sentences = []
    for kind in dict.fromkeys(line["database"] for line in study.lines):
        scores: dict[str, dict[tuple, float]] = {}
        for line in (line for line in study.lines if line["database"] == kind):
            run = line["bits"], line["seed"], line["n_train"]
            scores.setdefault(line["method"], {})[run] = fmean(line["map"].values())
        if len({frozenset(runs) for runs in scores.values()}) == 1:
            ranked = sorted(((fmean(runs.values()), name) for name, runs in scores.items()), reverse=True)
            first = ", ".join(f"{name} {mean:.3f}" for mean, name in ranked[:3])
            sentences.append(f"{kind.replace('_', ' ')} database codes, {first}")
    return f"Highest mAP in the mean of all here: {'; '.join(sentences)}." if sentences else ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("s" if number != 1 else "")


def _lede(records: Sequence[dict], studies: Sequence[figures.Study]) -> str:
    trainings = {
        (line["key"], line["database"]): line["times"] for line in records if line["database"] == records[0]["database"]
    }
    seconds = sum(times.get("train", 0.0) for times in trainings.values())
    if seconds < 1:
        spent = "less than a second"
    else:
        spent = _count(round(seconds), "second") if seconds < 120 else f"{seconds / 60:.0f} minutes"
    methods = ", ".join(dict.fromkeys(line["method"] for line in records))
    data = ", ".join(dict.fromkeys(line["data"] for line in records))
    parts = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    return f"{_count(len(trainings), 'training')} of {methods} on {data}, {spent} of training, in {parts}."


def _facts(records: Sequence[dict]) -> list[tuple[str, str]]:
    facts = []
    for method in dict.fromkeys(line["method"] for line in records):
        own = [line for line in records if line["method"] == method]
        params = {name: sorted({line["params"][name] for line in own}) for name in own[0]["params"]}
        words = [f"{figures.symbol(name)} {_span(values)}" for name, values in params.items()]
        words.append(endings(own))
        words.append("features " + "; ".join(dict.fromkeys(tables.features(line) for line in own)))
        words.append(f"{', '.join(dict.fromkeys(line['hash_function'] for line in own))} hash functions")
        words.append(f"bits {_span(sorted({line['bits'] for line in own}))}")
        words.append(f"seeds {_span(sorted({line['seed'] for line in own}))}")
        facts.append((method, ", ".join(words)))
    for data in dict.fromkeys(line["data"] for line in records):
        first = next(line for line in records if line["data"] == data)
        hashes = f"data {first['data_hash']}, split {first['split_hash']}"
        size = f"{first.get('n_train', '?')} training items, {first['n_database']} in the database"
        facts.append((f"data {data}", f"{size}, {first['n_queries']} queries; hashes {hashes}"))
    environments = [line["environment"] for line in records]
    for name in ("platform", "device", "cpus", "commit"):
        values = dict.fromkeys(str(one[name]) for one in environments if one.get(name) is not None)
        if values:
            facts.append((name if name != "cpus" else "processors", ", ".join(values)))
    versions = dict.fromkeys(
        f"{name} {number}" for one in environments for name, number in one.get("versions", {}).items()
    )
    facts.append(("versions", ", ".join(versions)))
    return facts


def endings(lines: Sequence[Mapping[str, Any]]) -> str:
    """When trainings of a method ended, in words.

    >>> endings([{"max_iterations": 50, "tolerance": 1e-4, "converged": k, "database": "learned"} for k in (12, 31, 0)])
    'at most 50 iterations, tolerance 0.0001: 2 trainings converged after 12 / 31 iterations, 1 did not converge'
    """
    most, tolerances = (sorted({line[name] for line in lines}) for name in ("max_iterations", "tolerance"))
    if tolerances == [0.0]:
        return f"{_span(most)} iterations, whether converged or not"
    once = [line for line in lines if line["database"] == lines[0]["database"] and line["tolerance"] > 0]
    after = sorted({line["converged"] for line in once if line.get("converged")})
    count = sum(bool(line.get("converged")) for line in once)
    outcome = [f"{_count(count, 'training')} converged after {_span(after)} iterations"] if count else []
    outcome += [f"{len(once) - count} did not converge"] if count < len(once) else []
    return f"at most {_span(most)} iterations, tolerance {_span(tolerances)}: {', '.join(outcome)}"


def _span(values: Sequence[float]) -> str:
    """A few values, or how many there are from where to where."""
    if len(values) <= 5:
        return " / ".join(f"{v:g}" for v in values)
    return f"{values[0]:g} to {values[-1]:g} ({len(values)} values)"


# -- sweeps -----------------------------------------------------------------------------------------------------------


def _sweep(study: figures.Study, several: bool) -> dict[str, Any] | None:
    """What the page needs of every point of a study: columns of values, and the importance of what is varied."""
    names = [n for n in study.vary if len({tables.value(line, n) for line in study.lines} - {None}) > 1]
    if not names:
        return None
    directions = list(study.lines[0]["map"])
    kinds = list(dict.fromkeys(line["database"] for line in study.lines))
    columns = {name: [tables.value(line, name) for line in study.lines] for name in (*names, "bits", "seed")}
    return {
        "name": f"{study.name}, {study.data}" if several else study.name,
        "vary": [{"name": name, "symbol": figures.symbol(name)} for name in names],
        "kinds": kinds,
        "directions": directions,
        "kind": [kinds.index(line["database"]) for line in study.lines],
        "columns": columns,
        "map": {d: [round(line["map"][d], 5) for line in study.lines] for d in directions},
        "importance": {
            kind: {
                d: importances([line for line in study.lines if line["database"] == kind], names, d) for d in directions
            }
            for kind in kinds
        },
    }
