"""Tables to read: result lines as text, Markdown, LaTeX, CSV or HTML with equal values, beside what papers print.

`study` makes the table of result lines, `seconds` that of their times, `against` sets them beside the published values
one by one; `render` writes any of them in any format.
"""

import csv
import functools
import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jaxcmh import brief, results
from jaxcmh.checks import Bits, checked
from jaxcmh.progress import printable
from jaxcmh.results.lines import Lines
from jaxcmh.results.pivot import Digits

__all__ = [
    "ENDINGS",
    "Grid",
    "Verdict",
    "against",
    "grid",
    "html",
    "measures",
    "printed",
    "published",
    "render",
    "seconds",
    "study",
    "verdicts",
]

Format = Literal["text", "markdown", "latex", "csv", "html"]
ENDINGS: dict[Format, str] = {"text": "txt", "markdown": "md", "latex": "tex", "csv": "csv", "html": "html"}
# Names of the data sets in the copy of the published values, where they differ from ours.
PUBLISHED_AS = {"nuswide10": "nuswide"}
# "alpha" -> "α"; Unicode spells one of them "lamda".
GREEK = {unicodedata.name(letter).split()[-1].lower(): letter for letter in "αβγδεζηθικλμνξπρστφχψω"} | {"lambda": "λ"}
COMPARED = ("bits", "ablation", "unpaired", "deep")  # kinds of studies that papers print numbers of
# Settings of the copy that are repeated on data sets of their own, by the split these are named for.
# What the papers call methods of ours, where it is not their name; FCMH is DCGH's variant c too.
CALLED = {"scm": ("scm-seq", "scms"), "fcmh": ("fcmh", "dcgh-c")}
SIZES = {"aah-deep": ("10,000 training pairs and 2,000 queries", "training size of the deep methods")}
CONTROL = "random_codewords"
MEANING = (
    f"{CONTROL} learns no codes: where items have a single label and database codes are learned, mAP measures features "
    "and hash functions, not codes"
)
REACHED = 0.01  # a mean this little below the published value, or two standard deviations, counts as reached


class Grid(NamedTuple):
    """A table in words, ready to be printed.

    Attributes:
        index: heads of the columns that name a row.
        levels: rows of heads over the other columns, each [head, columns it spans].
        rows: (names of the row, one (text, bold) per column).
        caption: what all cells share.
        marked: what the bold cells are, starred in text.

    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> made = grid(results.table(outcome.records, rows=("database",), columns=("direction",)))
        >>> made.index, made.levels, len(made.rows)
        (('database',), ((('image → text', 1), ('text → image', 1)),), 2)
    """

    index: tuple[str, ...]
    levels: tuple[tuple[tuple[str, int], ...], ...]
    rows: tuple[tuple[tuple[str, ...], tuple[tuple[str, bool], ...]], ...]
    caption: str
    marked: str = "best of its column"

    __repr__ = brief.text

    def _repr_html_(self) -> str:
        return html(self)


# -- from lines to tables ---------------------------------------------------------------------------------------------


@checked
def study(records: Lines) -> results.Table:
    """The table of result lines of one protocol: rows are methods and whatever differs, columns directions and bits.

    Args:
        records: result lines. Data sets, hyper-parameters, settings, features, iterations and hash functions in which
            lines of one method differ become columns that name the row.
    Returns:
        The table, rows by method and value, with the published values where the lines repeat a published experiment. Of
        a single method, rows are its code lengths.
    Raises:
        ValueError: no lines, or lines of different protocols.
    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> study(lines[:1]).index, study(lines[:1]).fields
        (('method', 'bits'), ('direction',))
    """
    records = [_named(line) for line in records]
    rows = ("method", *differing(records))
    if len({line["data"] for line in records}) > 1:
        rows = ("method", "data", *(name for name in rows[1:] if name != "features"))
    if (
        len({line["method"] for line in records}) == len(rows) == 1
    ):  # one row per code length, where there is one method
        table = results.table(records, rows=("method", "bits"), columns=("direction",))
    else:
        table = results.table(records, rows=rows, columns=("direction", "bits"))
    methods = list(dict.fromkeys(head[0] for head, _ in table.rows))
    order = lambda row: [methods.index(row[0][0]), *((isinstance(v, str), v) for v in row[0][1:])]  # noqa: E731
    controlled = any(method.startswith(CONTROL) for method in methods)
    caption = f"{table.caption}; {MEANING}" if controlled else table.caption
    return beside(table._replace(rows=tuple(sorted(table.rows, key=order)), caption=caption), records)


@checked
def measures(records: Lines) -> Grid:
    """The table of all that result lines measure: a row for each method, code length, database and direction.

    Args:
        records: result lines of one protocol but for the kind of database codes.
    Returns:
        The table, its columns mAP and whatever else lines measure, see `jaxcmh.evaluate`'s `beyond_map`.
    Raises:
        ValueError: no lines, lines of different protocols, or none that measures more than mAP.
    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> report = runs.evaluate(outcome.model, split, "learned", beyond_map=True)
        >>> line = results.record(outcome.model, report, data="synthetic", hashes=("a", "b"), times={})
        >>> [head for head, _ in measures([line]).levels[0]][:3]
        ['mAP', 'NDCG@10', 'recall@1']
    """
    records = [_named(line) for line in records if line.get("measures")]
    if not records:
        raise ValueError("the results measure mAP alone; jaxcmh evaluate --beyond-map measures more")
    rows = ("method", "bits", *differing(records), "database", "direction")
    table = results.table(records, rows, columns=("measure",))
    caption = (
        f"{table.caption}; recall: how often what belongs to a query is among the first answers, where all that "
        "belongs to the queries is added to the database; precision within 2 bits: a query with no item so near counts "
        "as 0, or is left out (found)"
    )
    names = [name for (name,) in table.columns]
    words = tuple(
        (
            (*map(_word, place), results.direction_name(direction)),
            tuple((results.show(cell, 1 if "rank" in name else 3), False) for name, cell in zip(names, cells)),
        )
        for (*place, direction), cells in table.rows
    )
    return Grid(table.index, (tuple((name, 1) for name in names),), words, caption)


@checked
def seconds(records: Lines) -> Grid:
    """Times of runs in seconds: rows are methods, code lengths and whatever differs, columns the stages of a run.

    Args:
        records: result lines; those of one training have the same times. "train" is all stages of training together.
            Beside the times stands the peak memory of the process, where it is a training's own: in studies of times.
    Returns:
        The table, mean ± standard deviation over seeds.
    Raises:
        ValueError: no lines.
    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> "train" in [head for head, _ in seconds(lines).levels[-1]]
        True
    """
    records = [_named(line) for line in records]
    names = ["method", *differing(records)]
    names += ["bits"] if len({line["bits"] for line in records}) > 1 else []
    stages = list(dict.fromkeys(stage for line in records for stage, spent in line["times"].items() if spent > 0))
    rows: dict[tuple, dict[str, dict[int, float]]] = {}
    for line in records:
        cells = rows.setdefault(tuple(value(line, name) for name in names), {})
        for stage, spent in line["times"].items():
            cells.setdefault(stage, {})[line["seed"]] = spent
    alone = all(line.get("study", {}).get("kind") == "scaling" and "peak_memory_gb" in line for line in records)
    for line in records if alone else ():
        place = tuple(value(line, name) for name in names)
        rows[place].setdefault("peak memory, GB", {})[line["seed"]] = line["peak_memory_gb"]
    stages += ["peak memory, GB"] if alone else []
    words = tuple(
        (
            tuple(map(_word, place)),
            tuple((results.show(results.averaged(cells.get(stage)), 2), False) for stage in stages),
        )
        for place, cells in rows.items()
    )
    caption = f"Seconds; {', '.join(sorted({line['data'] for line in records}))}; {machines(records)}"
    return Grid(tuple(names), (tuple((stage, 1) for stage in stages),), words, caption)


def machines(records: Iterable[Mapping[str, Any]]) -> str:
    """The devices and processors that the lines were computed on, in words.

    >>> machines([{"environment": {"device": "cpu (cpu)", "cpus": 2}}])
    'cpu (cpu), 2 processors'
    """
    environments = (line["environment"] for line in records)
    return "; ".join(
        sorted({f"{e.get('device', 'device unknown')}, {e.get('cpus', '?')} processors" for e in environments})
    )


def differing(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the hyper-parameters, settings and choices in which lines of one method differ, varied ones first.

    >>> differing([{"method": "dcgh", "params": {"alpha": a, "beta": 1.0}} for a in (0.1, 10.0)])
    ['alpha']
    """
    varied = [name for line in records for name in line.get("study", {}).get("vary", ())]
    settings = [name for line in records for name in line.get("setting", {})]
    params = [name for line in records for name in line["params"]]
    names = dict.fromkeys(
        [*varied, *settings, *params, "map_label", "features", "max_iterations", "tolerance", "hash_function"]
    )
    seen: dict[tuple[str, str], set[str]] = {}
    for line in records:
        for name in names:
            seen.setdefault((name, line["method"]), set()).add(json.dumps(value(line, name)))
    unequal = [n for n in names if n != "bits" and any(len(v) > 1 for (name, _), v in seen.items() if name == n)]
    return [
        name for name in unequal if name != "features" or "map_label" not in unequal
    ]  # the label names the features


def value(line: Mapping[str, Any], name: str) -> Any:
    """What a line says of a name: a setting, a hyper-parameter, a field, or what all its feature maps say of it.

    >>> value({"params": {"alpha": 2.0}, "features": [{"anchors": 500}, {"anchors": 500}]}, "anchors")
    500
    """
    for place in (line.get("setting", {}), line["params"], line):
        if name in place:
            return place[name]
    maps = line.get("features", [])
    values = {json.dumps(kind.get(name)) for kind in maps} if maps and not isinstance(maps, str) else set()
    return json.loads(values.pop()) if len(values) == 1 else None


def _named(line: Mapping[str, Any]) -> dict[str, Any]:
    """The line with its feature maps in words, and with what is varied as a field of its own."""
    varied = {name: value(line, name) for name in line.get("study", {}).get("vary", ())}
    return {**{n: v for n, v in varied.items() if v is not None}, **line, "features": features(line)}


def features(line: Mapping[str, Any]) -> str:
    """The feature maps of a line in a few words.

    >>> features({"features": [{"kind": "rbf", "anchors": 500, "width": 1.0}, {"kind": "identity"}]})
    'rbf (500 anchors) and identity'
    """
    if isinstance(line["features"], str):
        return line["features"]
    words = []
    for one in line["features"]:
        kernel = one["kind"] in ("rbf", "laplace", "rbf_centred")
        facts = [f"{one['anchors']} anchors"] if kernel and one.get("anchors") else []
        facts += [f"width {one['width']:g}"] if kernel and one.get("width", 1.0) != 1.0 else []
        facts += ["standardised"] if one.get("standardise") else []
        words.append(one["kind"] + (f" ({', '.join(facts)})" if facts else ""))
    return " and ".join(dict.fromkeys(words))


# -- published values -------------------------------------------------------------------------------------------------


@functools.cache
def _printed() -> tuple[dict[str, str], ...]:
    """The rows of the copy of the papers' tables that lies in the package."""
    with open(Path(__file__).with_name("published.csv"), newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@checked
def published(
    method: str, data: str, direction: str, bits: Bits, setting: Mapping[str, Any] | None = None
) -> tuple[float, str] | None:
    """What the method's own paper prints for itself: the value and the copy's remark on it; None where it prints none.

    Args:
        method: name of a method or variant, such as "dcgh" or "dcgh-d".
        data: name of a data set, such as "wiki"; "wiki:deep" is wiki with deep features, "mirflickr25k:aah-deep" has
            the sizes of AAH's comparison with deep methods.
        direction: "i2t" or "t2i".
        bits: code length.
        setting: conditions of the data as in a result line; {"unpaired": 0.5} is the only one that is printed.

    >>> published("dcgh", "wiki", "i2t", 32)
    (0.3884, 'fully paired')
    """
    base, detail = method.partition("-")[0], data.partition(":")[2]
    called = f"{method}-d" if detail == "deep" else method  # as the one paper with such a table calls it
    rows = [row for row in _rows((called,), data, direction, bits, setting) if row["paper"] == base]
    return (float(rows[0]["map"]), rows[0]["setting"]) if rows else None


@checked
def printed(
    method: str, data: str, direction: str, bits: Bits, setting: Mapping[str, Any] | None = None
) -> list[tuple[str, float, str]]:
    """What papers print for a method: its own, as `published`, or others in their comparisons.

    Args:
        method, data, direction, bits, setting: as for `published`; of a paper's own split only that paper counts.
    Returns:
        Paper and what it calls the method, such as "dcgh: BATCH"; the value; and the copy's remark.

    >>> printed("srlch", "wiki", "i2t", 32)
    [('imads: SRLCH', 0.3424, '')]
    """
    own, paper = published(method, data, direction, bits, setting), data.partition(":")[2]
    if own:
        return [(method.partition("-")[0], *own)]
    rows = _rows(CALLED.get(method, (method,)), data, direction, bits, setting)
    rows = [row for row in rows if row["paper"] != method.partition("-")[0] and paper in ("", row["paper"])]
    return [(f"{row['paper']}: {row['method']}", float(row["map"]), row["setting"]) for row in rows]


def _rows(
    called: Sequence[str], data: str, direction: str, bits: int, setting: Mapping[str, Any] | None
) -> list[dict[str, str]]:
    """Rows of the copy under some names, those of a method in an ablation last; none for data no paper has."""
    unpaired = (setting or {}).get("unpaired", 0.0)
    name, _, detail = data.partition(":")
    if set(setting or {}) - {"unpaired"} or unpaired not in (0.0, 0.5) or detail == "tags":
        return []
    rows = [
        row
        for row in _printed()
        if row["method"].lower().replace("_", "-") in called
        and row["dataset"] == PUBLISHED_AS.get(name, name)
        and (row["task"], row["bits"]) == (direction, str(bits))
        and (row["setting"] == "50 % unpaired") == (unpaired == 0.5)
        and ("VGG" in row["setting"]) == (detail == "deep")
        and all((row["setting"] in settings) == (detail == split) for split, settings in SIZES.items())
    ]
    return sorted(rows, key=lambda row: row["setting"] == "ablation")


def repeats(line: Mapping[str, Any]) -> bool:
    """Whether a line is measured as papers do: the whole ranking, by codes learned with the labels where there are any.

    Of a database that is larger than the training set no codes were learned: there papers can only mean encoded ones.
    """
    larger = line.get("n_train", math.inf) < line["n_database"]
    return line["database"] == ("encoded" if larger else "learned") and line["at"] is None


def beside(table: results.Table, records: Sequence[Mapping[str, Any]]) -> results.Table:
    """The table with the published value in every cell that repeats a published experiment.

    Args:
        table: of `records`, with rows or columns "method", "direction" and "bits".
        records: the result lines it was made of.
    """
    names = table.index + table.fields
    if not {"method", "direction", "bits"} <= set(names) or not all(map(repeats, records)):
        return table
    varied = {name for line in records for name in line.get("study", {}).get("vary", ())} & set(names)
    if varied:  # of a sweep only one point is the paper's
        return table
    settings = {name: shared for line in records for name, shared in line.get("setting", {}).items()}
    repeated = False
    rows = []
    for head, cells in table.rows:
        row = []
        for top, cell in zip(table.columns, cells):
            place = dict(zip(names, head + top))
            setting = {name: place.get(name, shared) for name, shared in settings.items()}
            known = published(
                place["method"], place.get("data", records[0]["data"]), place["direction"], place["bits"], setting
            )
            repeated |= bool(cell and known)
            row.append(cell and cell._replace(published=known[0] if known else None))
        rows.append((head, tuple(row)))
    caption = table.caption + ("; in parentheses the value the method's paper prints" if repeated else "")
    return table._replace(rows=tuple(rows), caption=caption)


class Verdict(NamedTuple):
    """One published number and ours: mean and standard deviation (nan for one seed) over `seeds`, and what comes of it.

    `paper` is the method's own, or another and what that calls it, such as "dcgh: BATCH".
    `verdict` is "reached" (not below the published value by more than `REACHED` or two standard deviations, whichever
    is more), "explained: ..." (below, and the copy of the published values says what is different) or "not reached".

    Example:
        >>> ours = {"ours": 0.36, "sd": 0.01, "seeds": 5, "difference": 0.01, "verdict": "reached"}
        >>> one = Verdict("wiki", "dcgh", "dcgh", "i2t", bits=16, published=0.35, **ours)
        >>> f"{one.ours:.2f} for {one.published:.2f}: {one.verdict}"
        '0.36 for 0.35: reached'
    """

    data: str
    method: str
    paper: str
    direction: str
    bits: int
    published: float
    ours: float
    sd: float
    seeds: int
    difference: float
    verdict: str

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def against(records: Lines, reasons: Mapping[tuple[str, str], str] | None = None) -> list[Verdict]:
    """Every published number that the lines repeat, beside ours; lines without a published number are left out.

    Args:
        records: result lines; only those are compared that `repeats` says are measured as papers do.
        reasons: (method, data) -> why its published values are not reached, beside those the copy itself remarks; of
            what another paper prints (paper, data), such as ("acqh: DCH", "wiki").
    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> against(lines)  # no paper has numbers of generated data
        []
    """
    reasons = reasons or {}
    cells: dict[tuple[str, str, int, str], dict[int, float]] = {}
    first: dict[tuple, tuple[Mapping[str, Any], float, str]] = {}  # line, published value and remark
    for line in records:
        study = line.get("study", {"kind": "bits"})
        if not repeats(line) or study.get("vary") or study["kind"] not in COMPARED:
            continue
        for direction, score in line["map"].items():
            asked = line["method"], line["data"], direction, line["bits"], line.get("setting")
            for paper, target, remark in printed(*asked):
                place = _configuration(line), direction, line["bits"], paper
                first.setdefault(place, (line, target, remark))
                cells.setdefault(place, {})[line["seed"]] = score
    variants: dict[tuple, dict[str, None]] = {}
    for (configuration, *_), (line, *_) in first.items():
        variants.setdefault((line["data"], line["method"]), {})[configuration] = None
    outcomes = []
    for place, values in cells.items():
        cell = results.averaged(values)
        assert cell is not None
        line, target, remark = first[place]
        data, method = line["data"], line["method"]
        label = _called(line, several=len(variants[data, method]) > 1)
        slack = max(REACHED, 0.0 if math.isnan(cell.sd) else 2 * cell.sd)
        verdict = "reached" if cell.mean >= target - slack else "not reached"
        _, direction, bits, paper = place
        reason = reasons.get((paper if ":" in paper else method, data)) or _reason(remark, data)
        if verdict == "not reached" and reason:
            verdict = f"explained: {reason}"
        beside = target, cell.mean, cell.sd, cell.seeds, cell.mean - target
        outcomes.append(Verdict(data, label, paper, direction, bits, *beside, verdict))
    return outcomes


def _configuration(line: Mapping[str, Any]) -> str:
    """What must be equal for two seeds to belong together, whatever the bits."""
    circumstances = [line.get("setting", {}), line["data_hash"], line["ties"]]
    return json.dumps(
        [*circumstances, *(line[name] for name in results.CONFIGURATION if name != "bits")], sort_keys=True
    )


def _called(line: Mapping[str, Any], several: bool) -> str:
    """The method, and of several configurations of it on one data set which this is."""
    study = line.get("study", {}).get("name", "")
    setting = [f"{name} {v:g}" for name, v in line.get("setting", {}).items() if v]
    choice = line.get("map_label") or (study if several and not setting and study not in ("bits", "runs") else "")
    return ", ".join(filter(None, [line["method"], choice, *setting]))


def _reason(remark: str, data: str) -> str:
    """A remark of the copy, when it tells why numbers may differ: sizes do not on a split that has a paper's."""
    setting = remark in ("fully paired", "50 % unpaired", "ablation")
    size = "training" in remark and ":" in data
    return "" if setting or size else remark


@checked
def verdicts(outcomes: Sequence[Verdict]) -> Grid:
    """The outcome of `against` as a table to print.

    Example:
        >>> print(render(verdicts([]), "csv"), end="")
        data,method,paper,direction,bits,published,ours,seeds,difference,outcome
    """
    heads = ("published", "ours", "seeds", "difference", "outcome")
    reasons = [v.verdict.partition(": ")[2] for v in outcomes]  # each said once, under the table
    numbers = {reason: i for i, reason in enumerate(filter(None, dict.fromkeys(reasons)), 1)}
    rows = tuple(
        (
            (v.data, v.method, v.paper, results.direction_name(v.direction), str(v.bits)),
            (
                (f"{v.published:.3f}", False),
                (results.show(results.Cell(v.ours, v.sd, v.seeds)), False),
                (str(v.seeds), False),
                (f"{v.difference:+.3f}", False),
                (f"explained ({numbers[reason]})" if reason else v.verdict, False),
            ),
        )
        for v, reason in zip(outcomes, reasons)
    )
    caption = (
        "mAP over all items, learned database codes (encoded ones of a database larger than the training set); "
        f"reached: at most {REACHED} or two standard deviations below the "
        "published value"
    )
    caption += "".join(f"; ({number}) {reason.rstrip('.')}" for reason, number in numbers.items())
    return Grid(("data", "method", "paper", "direction", "bits"), (tuple((h, 1) for h in heads),), rows, caption)


# -- formats ----------------------------------------------------------------------------------------------------------


@checked
def grid(table: results.Table, digits: Digits = 3) -> Grid:
    """The table in words: heads of equal neighbours joined, best cells bold (all that tie at the printed precision).

    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> table = results.table(lines, rows=("database",), columns=("direction",))
        >>> [head for head, _ in grid(table).rows]
        [('learned',), ('encoded',)]
    """
    levels = []
    for level, field in enumerate(table.fields):
        joined: list[tuple[str, int]] = []
        before: tuple | None = None
        for top in table.columns:
            if top[: level + 1] == before:
                joined[-1] = joined[-1][0], joined[-1][1] + 1
            else:
                joined.append((results.head(field, top[level]), 1))
            before = top[: level + 1]
        levels.append(tuple(joined))
    bold = results.best(table, digits) if len(table.rows) > 1 else set()
    rows = tuple(
        (
            tuple(_word(v) for v in names),
            tuple((results.show(cell, digits), (i, j) in bold) for j, cell in enumerate(cells)),
        )
        for i, (names, cells) in enumerate(table.rows)
    )
    return Grid(table.index, tuple(levels), rows, table.caption)


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@checked
def render(table: results.Table | Grid, format: Format = "text") -> str:
    """A table as text, markdown, latex, csv or html.

    Args:
        table: see `study`, `results.table`, `verdicts`.
        format: a key of `ENDINGS`. LaTeX needs the package booktabs; marked cells are bold, in text starred.
    Raises:
        ValueError: no such format.

    >>> print(render(Grid(("method",), ((("mAP", 1),),), ((("dcgh",), (("0.391 ± 0.006", True),)),), "wiki"), "latex"))
    \\begin{tabular}{lr}
    \\toprule
    method & mAP \\\\
    \\midrule
    dcgh & \\textbf{0.391 $\\pm$ 0.006} \\\\
    \\bottomrule
    \\end{tabular}
    % wiki. In bold: best of its column. Needs the package booktabs.
    <BLANKLINE>
    """
    if format not in ENDINGS:
        raise ValueError(f"format: expected one of {', '.join(ENDINGS)}; got {format!r}")
    if format == "csv" and isinstance(table, results.Table):
        return results.to_csv(table)
    words = _one_line(table if isinstance(table, Grid) else grid(table))
    forms: dict[str, Callable[[Grid], str]] = {
        "text": _text,
        "markdown": _markdown,
        "latex": _latex,
        "csv": _csv,
        "html": html,
    }
    return forms[format](words)


def _one_line(grid: Grid) -> Grid:
    """The table without characters that would end a row, or a comment, or steer the terminal that it is printed on."""
    levels = tuple(tuple((printable(name), span) for name, span in level) for level in grid.levels)
    rows = tuple(
        (tuple(map(printable, names)), tuple((printable(text), bold) for text, bold in cells))
        for names, cells in grid.rows
    )
    index, caption = tuple(map(printable, grid.index)), printable(grid.caption)
    return grid._replace(index=index, levels=levels, rows=rows, caption=caption)


def _flat(grid: Grid) -> list[str]:
    """One head per column: those of all levels over it, joined."""
    spread = [[name for name, span in level for _ in range(span)] for level in grid.levels]
    return [*grid.index, *(" ".join(parts) for parts in zip(*spread))]


def _caption(grid: Grid, mark: str = "In bold") -> str:
    """The caption as sentences, with what is marked if something is."""
    any_marked = any(bold for _, cells in grid.rows for _, bold in cells)
    return f"{grid.caption}." + (f" {mark}: {grid.marked}." if any_marked else "")


def _text(grid: Grid) -> str:
    lines = []
    before: list[str] = []
    for level in grid.levels:
        last = level is grid.levels[-1]
        names = [name if k == 0 else "" for name, span in level for k in range(span)]
        lines.append([*(grid.index if last else [""] * len(grid.index)), *names])
        before = names
    body = [[*names, *(text + ("*" if bold else " ") for text, bold in cells)] for names, cells in grid.rows]
    widths = [max(len(row[j]) for row in body + lines[-1:]) for j in range(len(grid.index) + len(before))]
    left = len(grid.index)
    # A head that spans several columns may run over those to its right, which are empty in its line.
    padded = [
        "  ".join(
            c.ljust(w) if j < left or row in lines[:-1] else c.rjust(w) for j, (c, w) in enumerate(zip(row, widths))
        )
        for row in lines + body
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    heads = [line.rstrip() for line in padded[: len(lines)]]
    return "\n".join([*heads, rule, *(line.rstrip() for line in padded[len(lines) :]), "", _caption(grid, "*"), ""])


def _markdown(grid: Grid) -> str:
    escape = lambda text: text.replace("|", "\\|")  # noqa: E731
    lines = ["| " + " | ".join(map(escape, _flat(grid))) + " |"]
    lines.append("|" + "---|" * len(grid.index) + "--:|" * (len(_flat(grid)) - len(grid.index)))
    for names, cells in grid.rows:
        printed = [f"**{escape(text)}**" if bold else escape(text) for text, bold in cells]
        lines.append("| " + " | ".join([*map(escape, names), *printed]) + " |")
    return "\n".join([*lines, "", _caption(grid), ""])


SIGNS = {
    "\\": "\\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "→": "$\\to$",
    "±": "$\\pm$",
    "×": "$\\times$",
    "−": "$-$",
    **{letter: f"$\\{name}$" for name, letter in GREEK.items() if name != "lamda"},
}


def latex_text(text: str) -> str:
    """Text that LaTeX prints as it stands.

    >>> latex_text("50 % of a_b → c")
    '50 \\\\% of a\\\\_b $\\\\to$ c'
    """
    return "".join(SIGNS.get(sign, sign) for sign in text)


def _latex(grid: Grid) -> str:
    count = sum(span for _, span in grid.levels[-1])
    lines = [f"\\begin{{tabular}}{{{'l' * len(grid.index)}{'r' * count}}}", "\\toprule"]
    for level in grid.levels:
        last = level is grid.levels[-1]
        heads = [latex_text(name) for name in grid.index] if last else [""] * len(grid.index)
        for name, span in level:
            heads.append(f"\\multicolumn{{{span}}}{{c}}{{{latex_text(name)}}}" if span > 1 else latex_text(name))
        lines.append(" & ".join(heads).lstrip() + " \\\\")
    lines.append("\\midrule")
    for names, cells in grid.rows:
        printed = [f"\\textbf{{{latex_text(text)}}}" if bold else latex_text(text) for text, bold in cells]
        lines.append(" & ".join([*map(latex_text, names), *printed]) + " \\\\")
    note = f"% {_caption(grid)} Needs the package booktabs."
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", note, ""])


def _csv(grid: Grid) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_flat(grid))
    writer.writerows([*names, *(text for text, _ in cells)] for names, cells in grid.rows)
    return text.getvalue()


@checked
def html(grid: Grid) -> str:
    """The table as an HTML element with its caption; the classes are those of the pages' style sheet.

    Example:
        >>> print(html(Grid(("method",), ((("mAP", 1),),), ((("dcgh",), (("0.391", True),)),), "wiki")).splitlines()[5])
        <tr><th>dcgh</th><td class="best">0.391</td></tr>
    """
    from html import escape

    lines = ['<div class="scroll"><table>', "<thead>"]
    for number, level in enumerate(grid.levels):
        corner = ""
        if number == 0:
            corner = "".join(
                f'<th class="corner" rowspan="{len(grid.levels)}">{escape(name)}</th>' for name in grid.index
            )
        heads = (
            f'<th class="group" colspan="{span}">{escape(name)}</th>' if span > 1 else f"<th>{escape(name)}</th>"
            for name, span in level
        )
        lines.append(f"<tr>{corner}{''.join(heads)}</tr>")
    lines += ["</thead>", "<tbody>"]
    for names, cells in grid.rows:
        row = "".join(f"<th>{escape(name)}</th>" for name in names)
        row += "".join(f'<td class="best">{escape(t)}</td>' if bold else f"<td>{escape(t)}</td>" for t, bold in cells)
        lines.append(f"<tr>{row}</tr>")
    return "\n".join([*lines, "</tbody>", f'</table></div>\n<p class="small">{escape(_caption(grid))}</p>', ""])
