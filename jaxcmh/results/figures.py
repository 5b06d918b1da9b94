"""The figures of a study, drawn from its result lines alone: one function for each kind of study.

A result line of a study carries, beside the fields of every result,

* `study`: {"name": ..., "kind": a key of `KINDS`, "vary": [names of what is varied]}; a line without one is a plain
  run, read as kind "bits";
* `setting`: conditions of the data, such as {"unpaired": 0.5} or {"rows": 5000}; {} normally;

and for some kinds

* convergence: `map_trace`, {direction: [mAP after every iteration]}, and `objectives`, {stage: [value at the start and
  after every iteration]} of a method with several stages; both may be missing;
* tsne, residuals, pictures: `arrays`, the name of an `.npz` file in the folder of the lines.
  - tsne: `labels` (n,) class numbers, `label_names` (c,); every other array (n, 2) is a panel of its name, and
    "NAME centres" (c, 2) its class centres (the means of the classes if there are none);
  - residuals: every array (n,) holds distances and is named for what they are distances of;
  - pictures: `queries` (q, h, w) or (q, h, w, 3) uint8, or (q,) texts; `answers` (q, k, ...) alike; `right` (q, k)
    bool.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcmh import brief, results
from jaxcmh.checks import PathLike, checked
from jaxcmh.parsing import read_arrays, reason
from jaxcmh.results import plots, significance, tables
from jaxcmh.results.importance import best, importances
from jaxcmh.results.lines import Lines

__all__ = ["Figure", "Study", "draw", "plan", "studies"]

Line = Mapping[str, Any]
LETTERS = {"lam": "λ", **tables.GREEK}


class Figure(NamedTuple):
    """A figure of a study: what it shows, its files (png, svg, pdf, csv), and if it has none the PNG itself.

    Example:
        >>> figure = Figure("mAP of two methods", [Path("methods.png"), Path("methods.csv")])
        >>> [file.suffix for file in figure.files]
        ['.png', '.csv']
    """

    title: str
    files: list[Path]
    png: bytes = b""

    __repr__ = brief.text

    def _facts(self) -> dict[str, Any]:
        return {"title": self.title, "files": [str(file) for file in self.files]}

    def _repr_png_(self) -> bytes:
        return self.png or self.files[0].read_bytes()


class Study(NamedTuple):
    """Result lines that belong together: `name` and `kind` of the study, what it varies, and the data set.

    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
        >>> study = studies(outcome.records)[0]
        >>> study.name, study.kind, study.vary, study.data, len(study.lines)
        ('runs', 'bits', (), 'synthetic', 2)
    """

    name: str
    kind: str
    vary: tuple[str, ...]
    data: str
    lines: list[Line]

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def studies(records: Lines) -> list[Study]:
    """The studies among result lines, in order of appearance; one for each data set, tie rule and cut-off.

    Raises:
        ValueError: a study that is none, or of a kind that does not exist.

    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> [(study.name, study.kind, len(study.lines)) for study in studies(lines)]
        [('runs', 'bits', 2)]
    """
    parted: dict[tuple, Study] = {}
    for line in records:
        about = line.get("study") or {"name": "runs", "kind": "bits", "vary": []}
        if not isinstance(about, Mapping) or not {"name", "kind"} <= set(about):
            raise ValueError(f"study: expected a name and a kind, got {about!r}")
        if about["kind"] not in KINDS:
            raise ValueError(f"study {about['name']!r}: kind must be one of {', '.join(KINDS)}; got {about['kind']!r}")
        place = about["name"], about["kind"], line["data"], line["ties"], line["at"], line.get("divisor")
        parted.setdefault(place, Study(about["name"], about["kind"], (), line["data"], [])).lines.append(line)
    for study in parted.values():
        if study.kind == "deep":  # beside the same methods with the features the data set has
            own = {_configuration(line) for line in study.lines}
            base = study.data.partition(":")[0]
            others = [s for s in parted.values() if s.kind == "bits" and s.data != study.data]
            plain = [line for other in others if other.data.partition(":")[0] == base for line in other.lines]
            study.lines[:0] = {line["key"]: line for line in plain if _configuration(line) in own}.values()
    return [_varied(study) for study in parted.values()]


def _varied(study: Study) -> Study:
    """The study with what it varies; a sweep, whatever its user asked for, is drawn as what it turns out to be."""
    vary = dict.fromkeys(v for line in study.lines for v in line.get("study", {}).get("vary", ()))
    if study.kind != "sweep":
        return study._replace(vary=tuple(vary))
    study = study._replace(vary=tuple(v for v in vary if len({tables.value(line, v) for line in study.lines}) > 1))
    if not study.vary:
        return study._replace(kind="bits")
    return study._replace(kind="surface") if len(study.vary) == 2 and _whole_grid(study) else study


def _whole_grid(study: Study) -> bool:
    """Whether every value of what is varied was combined with every value of the others."""
    rows = {tuple(tables.value(line, name) for name in study.vary) for line in study.lines}
    return len(rows) == math.prod(len(set(column)) for column in zip(*rows))


def _configuration(line: Line) -> str:
    return json.dumps([line["database"], *(line[name] for name in results.CONFIGURATION)], sort_keys=True)


@checked
def draw(study: Study, stem: PathLike, folder: PathLike) -> tuple[list[Figure], list[str]]:
    """Every figure of a study.

    Args:
        study: see `studies`.
        stem: path without an ending; the figures append what they show to its name.
        folder: where the arrays lie that lines name.
    Returns:
        The figures, and for each that could not be drawn a sentence that says why.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     drawn, missing = draw(studies(lines)[0], f"{folder}/figure", folder)
        >>> len(drawn) > 0, missing
        (True, [])
    """
    stem, made, skipped = Path(stem), [], []
    for name, (title, form) in plan(study, folder).items():
        try:
            files = form(stem.with_name(f"{stem.name}-{name}" if name else stem.name))
        except (ValueError, OSError, KeyError) as error:
            skipped.append(f"{study.name}, {title}: {error}")
        else:
            made.append(Figure(title, files))
    return made, skipped


@checked
def plan(study: Study, folder: PathLike) -> dict[str, tuple[str, Callable[[Path], list[Path]]]]:
    """The figures of a study by name: the title of each, and what draws it to a path without an ending.

    Args:
        study, folder: as for `draw`.
    Example:
        >>> import jaxcmh
        >>> options = {"bits": [8], "seeds": 1, "databases": ["encoded"]}
        >>> lines = jaxcmh.study("dcgh", "synthetic", params={"alpha": [1, 10], "beta": [1, 10]}, **options).lines
        >>> {name: title for name, (title, _) in plan(studies(lines)[0], ".").items()}
        {'surface': 'mAP over α and β: dcgh', 'importance': 'Importance for mAP'}
    """
    return {name: (title, form) for title, name, form in KINDS[study.kind](study, Path(folder))}


Plan = list[tuple[str, str, Callable[[Path], list[Path]]]]  # title, ending of the name, how to draw it to a stem


# -- shared -----------------------------------------------------------------------------------------------------------


def _labelled(lines: Sequence[Line], without: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The lines with everything they differ in behind the name of the method, and features in words."""
    worded = [{**line, "features": tables.features(line)} for line in lines]
    differing = [name for name in tables.differing(worded) if name not in without]
    named = []
    if len({line["data"] for line in lines}) > 1:
        differing = ["data", *(name for name in differing if name != "features")]
    for line, words in zip(lines, worded):
        values = {name: tables.value(words, name) for name in differing}
        more = [v if isinstance(v, str) else f"{symbol(n)} = {_number(v)}" for n, v in values.items() if v is not None]
        named.append({**line, "method": ", ".join([line["method"], *more])})
    return named


def symbol(name: str) -> str:
    """How a hyper-parameter is written on an axis: the papers' letter.

    >>> symbol("alpha"), symbol("lam3"), symbol("mu_0"), symbol("iterations")
    ('α', 'λ3', 'μ0', 'iterations')
    """
    base = name.rstrip("0123456789")
    letter = LETTERS.get(base.rstrip("_"))
    return letter + name[len(base) :] if letter else name


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _caption(lines: Sequence[Line], free: Sequence[str] = (), spread: str = " ± standard deviation") -> str:
    if len({line["data"] for line in lines}) > 1:  # each says which in its label
        free = (*free, "data", *results.OF_THE_SETTING)
    protocol = results.one_protocol(lines, ("database", *free) if len(_kinds(lines)) > 1 else free)
    seeds = len({line["seed"] for line in lines})
    bits = sorted({line["bits"] for line in lines})
    words = results.describe(protocol) + (f", {bits[0]} bits" if len(bits) == 1 else "")
    return words + (f", mean{spread} of {seeds} seeds" if seeds > 1 else ", one seed")


def _kinds(lines: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(line["database"] for line in lines))


def _once(lines: Sequence[Line]) -> list[Line]:
    """One line per training: what does not depend on the database codes is said once."""
    first = _kinds(lines)[0]
    return [line for line in lines if line["database"] == first]


def _title(kind: str, direction: str, kinds: Sequence[str]) -> str:
    return plots.heading(direction, kind if len(kinds) > 1 else "")


def _panels(
    lines: Sequence[Line], x: Callable[[Line], Any], label: Callable[[Line], str]
) -> tuple[list[plots.Panel], list[float]]:
    """mAP against x, one panel per kind of database codes and direction; mean and standard deviation over seeds."""
    kinds = _kinds(lines)
    panels, every = [], set()
    for kind in kinds:
        for direction in lines[0]["map"]:
            cells: dict[str, dict[float, dict[int, float]]] = {}
            for line in lines:
                at = x(line)
                if line["database"] == kind and at is not None:
                    cells.setdefault(label(line), {}).setdefault(float(at), {})[line["seed"]] = line["map"][direction]
            means, spread = _summary(cells)
            every |= {at for cell in cells.values() for at in cell}
            if means:
                panels.append(plots.Panel(_title(kind, direction, kinds), means, spread))
    return panels, sorted(every)


def _summary(cells: Mapping[str, Mapping[float, Mapping[int, float]]]) -> tuple[dict, dict]:
    means, spread = {}, {}
    for name, cell in cells.items():
        xs = sorted(cell)
        values = [list(cell[at].values()) for at in xs]
        means[name] = xs, [float(np.mean(v)) for v in values]
        if any(len(v) > 1 for v in values):
            spread[name] = [float(np.std(v, ddof=1)) if len(v) > 1 else math.nan for v in values]
    return means, spread


def _wide(values: Sequence[float]) -> bool:
    """Whether an axis is logarithmic: two decades or nearly so."""
    positive = [v for v in values if v > 0]
    return bool(positive) and min(values) >= 0 and max(positive) / min(positive) >= 30


def _several(lines: Sequence[Line]) -> bool:
    return len({line["bits"] for line in lines}) > 1


def _named(lines: Sequence[Line]) -> Callable[[Line], str]:
    several = _several(lines)
    return lambda line: f"{line['method']}, {line['bits']} bits" if several else line["method"]


# -- kinds ------------------------------------------------------------------------------------------------------------


def _bits(study: Study, _: Path) -> Plan:
    lines = _labelled(study.lines)
    first = min(line["seed"] for line in lines)
    curves = [line for line in lines if line["seed"] == first and line.get("curves")]
    lengths = sorted({line["bits"] for line in lines})
    plan: Plan = []
    if len(lengths) > 1:
        plan.append(("mAP against code length", "bits", lambda stem: plots.bits(lines, stem)))
    for length in dict.fromkeys([32 if 32 in lengths else lengths[0], lengths[-1]]):
        at = [line for line in curves if line["bits"] == length]
        if at:
            which = f"{length} bits, seed {first}"
            plan += [
                (
                    f"Precision and recall, {which}",
                    f"pr-{length}",
                    lambda stem, at=at: plots.precision_recall(at, stem),
                ),
                (f"Precision of the first N, {which}", f"topn-{length}", lambda stem, at=at: plots.topn(at, stem)),
            ]
    timed = [line for line in lines if "train" in line["times"]]
    if len({line["method"] for line in timed}) > 1:
        plan.append(("mAP against training time", "time", lambda stem: plots.time(timed, stem)))
    return plan + _objective(study)


def _objective(study: Study) -> Plan:
    lines = [line for line in _labelled(_once(study.lines)) if line.get("objective")]
    if not lines:
        return []
    first = min(line["seed"] for line in lines)
    lines = [line for line in lines if line["seed"] == first]
    return [("Convergence of the objective", "convergence", lambda stem: plots.convergence(lines, stem))]


def _convergence(study: Study, _: Path) -> Plan:
    longest: dict[str, int] = {}
    for line in study.lines:
        longest[line["method"]] = max(line["max_iterations"], longest.get(line["method"], 0))
    ends = [line for line in study.lines if line["max_iterations"] == longest[line["method"]]]
    if len(ends) < len(study.lines):  # trainings of 1, 2, ... iterations
        study = study._replace(vary=("max_iterations",))
    lines = _labelled(study.lines, without=study.vary)
    plan: Plan = _objective(study._replace(lines=ends))

    def stages(stem: Path) -> list[Path]:
        by_stage: dict[str, dict[str, tuple]] = {}
        for line in _once(lines):
            for stage, trace in line.get("objectives", {}).items():
                lengths = by_stage.setdefault(f"{line['method']}, {stage}", {})
                lengths.setdefault(f"{line['bits']} bits", plots.relative_trace(line, trace))
        panels = [plots.Panel(title, traces) for title, traces in by_stage.items()]
        return plots.draw_objectives(stem, panels, lines)

    def traces(stem: Path) -> list[Path]:
        kinds = _kinds(lines)
        traced, label = [line for line in lines if line.get("map_trace")], _named(lines)
        panels = []
        for kind in kinds:
            for direction in traced[0]["map_trace"]:
                cells: dict[str, dict[float, dict[int, float]]] = {}
                for line in traced:
                    for step, score in enumerate(line["map_trace"][direction], 1):
                        if line["database"] == kind:
                            cells.setdefault(label(line), {}).setdefault(step, {})[line["seed"]] = score
                if cells:
                    panels.append(plots.Panel(_title(kind, direction, kinds), *_summary(cells)))
        return plots.draw(
            stem, panels, x="iteration", y="mAP", caption=_caption(traced), share_y=False, whole_ticks=True
        )

    if any(line.get("objectives") for line in lines):
        plan.append(("Convergence of every stage", "stages", stages))
    if any(line.get("map_trace") for line in lines):
        plan.append(("Convergence of mAP", "map", traces))
    if "max_iterations" in study.vary:
        plan.append(_along(study, "max_iterations", "mAP against the number of iterations"))
    return plan


def _along(
    study: Study, name: str, title: str, tied: Sequence[str] = (), joined: bool = True
) -> tuple[str, str, Callable]:
    """mAP against one varied name; the others have the values that most lines have, but those `tied` vary with it.

    Points that are not `joined` by lines are those of a design, whose settings differ in all that is varied.
    """

    def form(stem: Path) -> list[Path]:
        lines = study.lines
        for other in study.vary:
            if other != name and other not in tied:
                values = [tables.value(line, other) for line in lines]
                usual = Counter(values).most_common(1)[0][0]
                lines = [line for line, value in zip(lines, values) if value == usual]
        settings = {other for line in lines for other in line.get("setting", {})}
        labelled = _labelled(lines, without=study.vary)
        panels, xs = _panels(labelled, lambda line: tables.value(line, name), _named(labelled))
        if not panels:
            raise ValueError(f"no line says what {name} was")
        caption = _caption(lines, results.OF_THE_SETTING if settings else ())
        few = xs if len(xs) <= 10 and not _wide(xs) else None
        x = symbol(name) + (f", and with it {', '.join(map(symbol, tied))}" if tied and joined else "")
        options = {"caption": caption, "log_x": _wide(xs), "share_y": False, "ticks": few, "joined": joined}
        return plots.draw(stem, panels, x=x, y="mAP", **options)

    return title, _ending(name), form


def _ending(name: str) -> str:
    return name.replace("_", "-")


def _sensitivity(study: Study, _: Path) -> Plan:
    rows = {tuple(tables.value(line, name) for name in study.vary) for line in study.lines}
    together = len(study.vary) > 1 and all(len(set(column)) == len(rows) for column in zip(*rows))
    if together:  # listed side by side, so that each value of one goes with one of the other
        first, *tied = list(study.vary)
        return [_along(study, first, f"mAP against {', '.join(map(symbol, study.vary))}", tied)]
    return [_along(study, name, f"mAP against {symbol(name)}") for name in study.vary]


def _sweep(study: Study, _: Path) -> Plan:
    """mAP against each varied name: in a whole grid beside the best values of the others, else over all points."""
    if not _whole_grid(study):
        others = {name: tuple(other for other in study.vary if other != name) for name in study.vary}
        plan = [_along(study, n, f"mAP against {symbol(n)}", tied, joined=False) for n, tied in others.items()]
        return [*plan, *_importance(study)]
    setting = best(study.lines, study.vary)[0]
    plan: Plan = []
    for name in study.vary:
        lines = _at(study.lines, {other: value for other, value in setting.items() if other != name})
        words = _words({other: value for other, value in setting.items() if other != name})
        title = f"mAP against {symbol(name)}" + (f", {words} as in the best of all settings" if words else "")
        plan.append(_along(study._replace(lines=lines), name, title))
    if _several(study.lines):
        lines = _at(study.lines, setting)
        title = f"mAP against code length, {_words(setting)} as in the best of all settings"
        plan.append((title, "bits", lambda stem: plots.bits(_labelled(lines), stem)))
    return [*plan, *_importance(study)]


def _at(lines: Sequence[Line], setting: Mapping[str, Any]) -> list[Line]:
    return [line for line in lines if all(tables.value(line, name) == value for name, value in setting.items())]


def _words(setting: Mapping[str, Any]) -> str:
    return ", ".join(f"{symbol(name)} = {_number(value)}" for name, value in setting.items())


def _importance(study: Study) -> Plan:
    """How much each of what varies matters; where one thing varies there is nothing to compare."""
    names = [*study.vary, *(["bits"] if _several(study.lines) else [])]
    if len(names) < 2:
        return []

    def form(stem: Path) -> list[Path]:
        kinds, panels = _kinds(study.lines), []
        for kind in kinds:
            own = [line for line in study.lines if line["database"] == kind]
            for direction in own[0]["map"]:
                found = importances(own, names, direction)["names"]
                shares = {symbol(name): found[name]["share"] for name in names}
                panels.append(plots.Bars(_title(kind, direction, kinds), list(shares), {"alone": [*shares.values()]}))
        methods = ", ".join(dict.fromkeys(line["method"] for line in own))
        caption = f"{methods}, {_caption(study.lines)}; first-order Sobol indices of {len(own)} results: what each "
        caption += "explains alone"
        return plots.bars(stem, panels, x="share of the variance of mAP", caption=caption)

    return [("Importance for mAP", "importance", form)]


def _surface(study: Study, folder: Path) -> Plan:
    if len(study.vary) != 2:
        return _sensitivity(study, folder)
    first, second = study.vary
    lines = _labelled(study.lines, without=study.vary)
    label = _named(lines)
    plan: Plan = []
    for number, name in enumerate(dict.fromkeys(map(label, lines))):
        own = [line for line in lines if label(line) == name]

        def form(stem: Path, own: Sequence[Line] = own) -> list[Path]:
            xs, ys = (sorted({tables.value(line, which) for line in own}) for which in (first, second))
            kinds = _kinds(own)
            panels = []
            for kind in kinds:
                for direction in own[0]["map"]:
                    sums, counts = np.zeros((len(ys), len(xs))), np.zeros((len(ys), len(xs)))
                    for line in own:
                        if line["database"] == kind:
                            cell = ys.index(tables.value(line, second)), xs.index(tables.value(line, first))
                            sums[cell] += line["map"][direction]
                            counts[cell] += 1
                    cells = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
                    panels.append(plots.Surface(_title(kind, direction, kinds), xs, ys, cells))
            caption = f"{label(own[0])}, {_caption(own, spread='')}"
            if len(panels) > 1:
                which = f", {kinds[0]} codes" if len(kinds) > 1 else ""
                caption += f"; best by mean over directions{which}: {_words(best(own, study.vary)[0])}"
            return plots.surface(stem, panels, x=symbol(first), y=symbol(second), z="mAP", caption=caption)

        title = f"mAP over {symbol(first)} and {symbol(second)}: {name}"
        plan.append((title, "surface" if number == 0 else f"surface-{number + 1}", form))
    return [*plan, *_importance(study)]


def _ablation(study: Study, _: Path) -> Plan:
    def form(stem: Path) -> list[Path]:
        lines = _labelled(study.lines)
        kinds = _kinds(lines)
        groups = list(dict.fromkeys(line["method"] for line in lines))
        lengths = sorted({line["bits"] for line in lines})[: len(plots.COLOURS)]
        panels = []
        for kind in kinds:
            for direction in lines[0]["map"]:
                series, spread, marks = {}, {}, {}
                for bits in lengths:
                    values = [
                        [
                            r["map"][direction]
                            for r in lines
                            if (r["method"], r["bits"], r["database"]) == (g, bits, kind)
                        ]
                        for g in groups
                    ]
                    name = f"{bits} bits"
                    series[name] = [float(np.mean(v)) if v else math.nan for v in values]
                    spread[name] = [float(np.std(v, ddof=1)) if len(v) > 1 else math.nan for v in values]
                    printed = [_printed(study.lines, lines, g, kind, direction, bits) for g in groups]
                    marks[name] = [math.nan if p is None else p for p in printed]
                panels.append(plots.Bars(_title(kind, direction, kinds), groups, series, spread, marks))
        settings = any(line.get("setting") for line in lines)
        return plots.bars(stem, panels, x="mAP", caption=_caption(lines, results.OF_THE_SETTING if settings else ()))

    return [("mAP of every variant", "", form)]


def _printed(
    lines: Sequence[Line], labelled: Sequence[Line], group: str, kind: str, direction: str, bits: int
) -> float | None:
    """The published value of a bar, where the line is measured as papers do."""
    for line, named in zip(lines, labelled):
        if named["method"] == group and line["database"] == kind and tables.repeats(line):
            printed = tables.published(line["method"], line["data"], direction, bits, line.get("setting"))
            return printed[0] if printed else None
    return None


def _scaling(study: Study, _: Path) -> Plan:
    lines = _labelled(_once(study.lines), without=(*study.vary, *_settings(study)))
    machines = tables.machines(lines)
    axes: dict[str, Callable[[Line], Any]] = {"training pairs": lambda r: r.get("n_train"), "bits": lambda r: r["bits"]}

    def form(stem: Path, stage: str, name: str) -> list[Path]:
        others = [other for other in axes if other != name and len(set(map(axes[other], lines))) > 1]
        cells: dict[str, dict[float, dict[int, float]]] = {}
        for line in lines:
            if line["times"].get(stage, 0) > 0:
                label = ", ".join([line["method"], *(f"{axes[other](line):,} {other}" for other in others)])
                cells.setdefault(label, {}).setdefault(float(axes[name](line)), {})[line["seed"]] = line["times"][stage]
        means, spread = _summary(cells)
        labels = {label: f"{label} (slope {_slope(*points):.2f})" for label, points in means.items()}
        panel = plots.Panel(
            "",
            {labels[label]: points for label, points in means.items()},
            {labels[label]: values for label, values in spread.items()},
        )
        caption = f"slope: exponent of the power law fitted to the points; without compilation; {machines}"
        lengths = sorted({line["bits"] for line in lines}) if name == "bits" else None
        options = {"caption": caption, "log_x": True, "log_y": True, "from_zero": True, "ticks": lengths}
        return plots.draw(stem, [panel], x=name, y="seconds", **options)

    def methods(stem: Path) -> list[Path]:
        panels = []
        for direction in lines[0]["map"]:
            cells: dict[str, list[tuple[float, float]]] = {}
            for line in lines:
                cells.setdefault(line["method"], []).append((line["times"]["train"], line["map"][direction]))
            means = {name: np.mean(points, axis=0) for name, points in cells.items()}
            spread = {
                name: [float(np.std([y for _, y in points], ddof=1))]
                for name, points in cells.items()
                if len(points) > 1
            }
            points = {name: ([float(x)], [float(y)]) for name, (x, y) in means.items()}
            panels.append(plots.Panel(plots.heading(direction), points, spread))
        options = {"caption": f"{_caption(lines)}; without compilation; {machines}", "marked": tables.CONTROL}
        return plots.labelled(stem, panels, x="training time, seconds", y="mAP", **options)

    alike = len({(line["n_train"], line["bits"]) for line in lines if "train" in line["times"]}) == 1
    if alike and len({line["method"] for line in lines}) > 1:
        return [("mAP against training time", "map", methods)]
    return [
        (f"{title} time against {name}", f"{stage}-{ending}", lambda stem, s=stage, n=name: form(stem, s, n))
        for stage, title in (("train", "Training"), ("evaluate", "Evaluation"))
        for name, ending in (("training pairs", "rows"), ("bits", "bits"))
        if len({axes[name](line) for line in lines if line["times"].get(stage, 0) > 0} - {None}) > 1
    ]


def _slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0]) if len(xs) > 1 else math.nan


def _paired(study: Study, _: Path) -> Plan:
    def form(stem: Path) -> list[Path]:
        found = significance.pairs(study.lines)
        kinds, panels = _kinds(study.lines), []
        endings = {"".join(name.rpartition("-")[1:]) for name in found[0].methods}
        ending = endings.pop() if len(endings) == 1 else ""  # what all have in common is said once
        for one in found:
            notes, sure = [f"{mean:.3f}" for mean in one.means], one.holm < significance.LEVEL
            names = [name.removesuffix(ending) for name in one.methods]
            panels.append(plots.Matrix(_title(one.database, one.direction, kinds), names, notes, one.differences, sure))
        words = results.describe(results.one_protocol(study.lines, ("database",)))
        words = f"{study.name}: {words}, {study.lines[0]['bits']} bits"
        colours = f"mAP of row less that of column, grey where p is above {significance.LEVEL}"
        caption = f"{colours}; beside the names mAP; {words}{f'; all are NAME{ending}' if ending else ''}; "
        caption += significance.tested(found)
        return plots.matrix(stem, panels, z="mAP of row less that of column", caption=caption)

    return [("Which differences are significant", "", form)]


def _settings(study: Study) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for line in study.lines for name in line.get("setting", {})))


def _unpaired(study: Study, _: Path) -> Plan:
    def form(stem: Path) -> list[Path]:
        lines = _labelled(study.lines, without=("unpaired",))
        panels, _ = _panels(lines, lambda line: 100 * line.get("setting", {}).get("unpaired", 0.0), _named(lines))
        caption = _caption(lines, results.OF_THE_SETTING)
        return plots.draw(stem, panels, x="unpaired training pairs, %", y="mAP", caption=caption, share_y=False)

    shares = {line.get("setting", {}).get("unpaired", 0.0) for line in study.lines}
    if len(shares) == 1 and _several(study.lines):
        lines = _labelled(study.lines)
        return [(f"mAP against code length, {100 * shares.pop():g} % unpaired", "", partial(plots.bits, lines))]
    return [("mAP against the share of unpaired data", "", form)]


def _training_size(study: Study, _: Path) -> Plan:
    def form(stem: Path) -> list[Path]:
        lines = _labelled(study.lines, without=_settings(study))
        panels, xs = _panels(lines, lambda line: line["n_train"], _named(lines))
        caption = _caption(lines, results.OF_THE_SETTING)
        options = {"caption": caption, "log_x": _wide(xs), "share_y": False}
        return plots.draw(stem, panels, x="training pairs", y="mAP", **options)

    return [("mAP against the number of training pairs", "", form)]


def _arrays(line: Line, folder: Path) -> dict[str, np.ndarray]:
    name = line.get("arrays")
    if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"arrays: expected the name of an .npz file beside the lines, got {name!r}")
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        return read_arrays(path)
    except Exception as error:  # numpy and zipfile each have errors of their own for a file that is not theirs
        raise ValueError(f"{path} is damaged ({reason(error)})") from None


def _stored(study: Study) -> list[tuple[str, str, Line]]:
    """Title, ending and line of every file of arrays that a study names."""
    first: dict[str, Line] = {}
    for line in study.lines:
        first.setdefault(str(line.get("arrays")), line)
    named = _labelled(list(first.values()))
    label = _named(named)
    slug = study.name.replace(" ", "-").lower() + "-"
    parts = [Path(name).stem.removeprefix(slug).replace("-", " ") for name in first]
    titles = [label(line) + (f", {part}" if len(first) > 1 else "") for line, part in zip(named, parts)]
    return [(title, "" if i == 0 else str(i + 1), line) for i, (title, line) in enumerate(zip(titles, first.values()))]


def _run(line: Line) -> str:
    return f"{line['method']}, data {line['data']}, {line['bits']} bits, seed {line['seed']}"


def _tsne(study: Study, folder: Path) -> Plan:
    def form(stem: Path, line: Line) -> list[Path]:
        arrays = _arrays(line, folder)
        if "labels" not in arrays:
            raise ValueError(f"{folder / line['arrays']} has no labels")
        classes = arrays.pop("labels").astype(int)
        names = [str(name) for name in arrays.pop("label_names", ())]
        panels = []
        for name, points in arrays.items():
            if name.endswith(" centres"):
                continue
            means = [
                points[classes == c].mean(0) if (classes == c).any() else (math.nan,) * 2
                for c in range(classes.max() + 1)
            ]
            panels.append(plots.Cloud(name, points, classes, arrays.get(f"{name} centres", np.array(means))))
        return plots.clouds(stem, panels, names, caption=_run(line))

    return [
        (f"t-SNE: {title}", ending, lambda stem, line=line: form(stem, line)) for title, ending, line in _stored(study)
    ]


def _residuals(study: Study, folder: Path) -> Plan:
    def form(stem: Path, line: Line) -> list[Path]:
        lines = {}
        for name, values in _arrays(line, folder).items():
            ordered = np.sort(np.asarray(values, float).ravel())
            kept = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), 200)).astype(int))
            lines[name] = ordered[kept], (kept + 1) / len(ordered)
        caption = _run(line)
        panels = [plots.Panel("", lines)]
        options = {"caption": caption, "log_x": True, "markers": False}
        return plots.draw(stem, panels, x="distance", y="share at most this far", **options)

    return [
        (f"Residual distances: {title}", ending, lambda stem, line=line: form(stem, line))
        for title, ending, line in _stored(study)
    ]


def _pictures(study: Study, folder: Path) -> Plan:
    def form(stem: Path, line: Line) -> list[Path]:
        arrays = _arrays(line, folder)
        missing = [name for name in ("queries", "answers", "right") if name not in arrays]
        if missing:
            raise ValueError(f"{folder / line['arrays']} has no {missing[0]}")
        caption = _run(line)
        return plots.answers(stem, arrays["queries"], arrays["answers"], arrays["right"], caption=caption)

    return [
        (f"First answers: {title}", ending, lambda stem, line=line: form(stem, line))
        for title, ending, line in _stored(study)
    ]


KINDS: dict[str, Callable[[Study, Path], Plan]] = {
    "bits": _bits,
    "sensitivity": _sensitivity,
    "surface": _surface,
    "sweep": _sweep,
    "ablation": _ablation,
    "convergence": _convergence,
    "scaling": _scaling,
    "paired": _paired,
    "unpaired": _unpaired,
    "training_size": _training_size,
    "tsne": _tsne,
    "pictures": _pictures,
    "residuals": _residuals,
    "deep": _ablation,
}
