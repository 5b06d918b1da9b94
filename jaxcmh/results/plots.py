"""Figures from result lines: precision-recall, topN, bits, convergence, mAP against time; heat maps, bars, scatters.

Every figure is written as PNG, SVG and PDF beside a CSV of the points in it. At most eight lines are coloured (a
palette that colour-blind readers can tell apart, each line with a marker of its own); further lines are grey. Figures
only read result lines, so drawing one never runs an experiment.
"""

import csv
import itertools
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import numpy as np

from jaxcmh import brief, results
from jaxcmh.checks import PathLike, array, checked, filled
from jaxcmh.results.lines import Lines
from jaxcmh.store import replacing

__all__ = [
    "Bars",
    "Cloud",
    "Matrix",
    "Panel",
    "Surface",
    "answers",
    "bars",
    "bits",
    "clouds",
    "convergence",
    "draw",
    "labelled",
    "matrix",
    "precision_recall",
    "surface",
    "time",
    "topn",
]

# Okabe and Ito's colours in an order that keeps neighbours far apart; brown stands for their yellow, too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A4B00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#BBBBBB"
GREYS = {"p": GREY, "H": "#888888", "<": "#666666", ">": "#A0A0A0"}  # markers of four more classes of a scatter
BANDS = 3  # lines per panel up to which the spread is a band; above, it is a bar at every point
PRINTED = 3  # decimals of mAP that tables print
KINDS = ("png", "svg", "pdf")
DATES = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # left out: equal figures give equal files
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "svg.hashsalt": "jaxcmh",
    "pdf.fonttype": 42,
}

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]


class Panel(NamedTuple):
    """One set of axes: a title and name -> (x, y), drawn in the order given.

    `spread` is name -> ± of every y, `ringed` name -> the x of the point that gets a ring.

    Example:
        >>> panel = Panel("i2t", {"dcgh": ([16, 32], [0.5, 0.6])}, spread={"dcgh": [0.01, 0.02]}, ringed={"dcgh": 32})
        >>> bits, scores = panel.lines["dcgh"]
        >>> dict(zip(bits, scores))
        {16: 0.5, 32: 0.6}
    """

    title: str
    lines: Curves
    spread: Mapping[str, Sequence[float]] = MappingProxyType({})
    ringed: Mapping[str, float] = MappingProxyType({})

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def draw(
    stem: PathLike,
    panels: Annotated[Sequence[Panel], filled],
    *,
    x: str,
    y: str,
    caption: str = "",
    log_x: bool = False,
    log_y: bool = False,
    share_y: bool = True,
    from_zero: bool = False,
    relative: bool = False,
    whole_ticks: bool = False,
    ticks: Sequence[float] | None = None,
    ends: tuple[float, float] | None = None,
    markers: bool = True,
    joined: bool = True,
) -> list[Path]:
    """Draw panels of lines side by side and write stem.png, .svg, .pdf and .csv (panel, line, x, y, spread, rings).

    Args:
        stem: path without an ending.
        panels: at least one, each with at least one line.
        x, y: axis labels.
        caption: small print under the figure, such as the protocol; the only line there is, which needs no legend, is
            named in it.
        log_x, log_y: logarithmic axes, where values spread over more than a factor of 5; zero has a place of its own.
        share_y: one y scale for all panels.
        from_zero: a y axis that is not logarithmic starts at zero.
        relative: y is relative to 1; where all of it is very near, ticks tell the distance from there.
        whole_ticks: whole numbers only on the x axis, which begins and ends with the points.
        ticks: the only x ticks there shall be.
        ends: where the x axis begins and ends; with its points if None.
        markers: put a marker on the points.
        joined: join the points of a line.
    Returns:
        The paths written.
    Raises:
        ValueError: nothing to draw, or x and y of a line differ in length.
    Example:
        >>> import tempfile
        >>> panel = Panel("loss", {"mine": ([1, 2, 3], [0.9, 0.5, 0.4])})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in draw(f"{folder}/figure", [panel], x="iteration", y="loss")]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    if not panels or not all(panel.lines for panel in panels):
        raise ValueError("nothing to draw: every panel needs at least one line")
    for panel in panels:
        for name, (xs, ys) in panel.lines.items():
            if len(xs) != len(ys):
                raise ValueError(
                    f"line {name!r} of panel {panel.title!r} has {len(xs)} x values and {len(ys)} y values"
                )
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))

    def fill(axes: Any, panel: Panel) -> None:
        from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

        for name, (xs, ys) in panel.lines.items():
            place = names.index(name)
            shown = place < len(COLOURS)
            colour = COLOURS[place] if shown else GREY
            xs, ys = np.asarray(xs, float), np.asarray(ys, float)
            wide = _spread_of(panel, name) if shown else np.zeros(0)
            if wide.any() and joined and len(panel.lines) <= BANDS:
                axes.fill_between(xs, ys - wide, ys + wide, color=colour, alpha=0.15, linewidth=0, zorder=2)
            elif wide.any():  # more bands would hide each other
                some = wide > 0
                axes.errorbar(xs[some], ys[some], wide[some], fmt="none", ecolor=colour, elinewidth=0.8, zorder=2)
            axes.plot(
                xs,
                ys,
                color=colour,
                linestyle="solid" if joined else "none",
                linewidth=1.6 if shown else 1.0,
                zorder=3 if shown else 1,
                marker=MARKERS[place] if shown and markers else None if joined else ".",
                markersize=4.5,
                markevery=max(1, len(xs) // 12) if joined else 1,
                markeredgecolor="white",
                markeredgewidth=0.6,
                label=name if shown else "others",
            )
            if name in panel.ringed:
                place = np.flatnonzero(xs == panel.ringed[name])
                axes.plot(
                    xs[place],
                    ys[place],
                    "o",
                    markersize=9,
                    markerfacecolor="none",
                    color=colour,
                    mew=1.4,
                    zorder=4,
                    clip_on=False,  # of a last point, at the border
                )
        if log_x:
            _log(axes, axes.xaxis, [value for xs, _ in panel.lines.values() for value in xs])
        if log_y:
            _log(axes, axes.yaxis, [value for _, ys in panel.lines.values() for value in ys])
        if relative and axes.get_yscale() == "linear":
            _beside_one(axes.yaxis, [value for _, ys in panel.lines.values() for value in ys])
        if from_zero and axes.get_yscale() == "linear":
            axes.set_ylim(0, 1.05 * axes.dataLim.y1)  # the margin of points near each other would cut their markers
        if whole_ticks:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            room = 0.02 * axes.dataLim.width
            axes.set_xlim(axes.dataLim.x0 - (room or 0.5), axes.dataLim.x1 + (room or 0.5))
        if ticks is not None:
            axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(ScalarFormatter())
        if ends is not None:
            room = 0.02 * (ends[1] - ends[0])
            axes.set_xlim(ends[0] - room, ends[1] + room)

    spread, ringed = any(panel.spread for panel in panels), any(panel.ringed for panel in panels)
    points = [
        [
            *(panel.title, name, float(a), float(b)),
            *([float(c)] if spread else []),
            *([int(a == panel.ringed.get(name))] if ringed else []),
        ]
        for panel in panels
        for name, (xs, ys) in panel.lines.items()
        for a, b, c in zip(xs, ys, panel.spread.get(name, [math.nan] * len(xs)))
    ]
    head = ["panel", "line", x, y, *(["±"] if spread else []), *(["ring"] if ringed else [])]
    if len(names) == 1:
        caption = ", ".join(filter(None, [names[0], caption]))
    return _figure(stem, panels, fill, x=x, y=y, caption=caption, share_y=share_y, points=(head, points))


def _spread_of(panel: Any, name: str) -> np.ndarray:
    """± of every value of a line or series; 0 where there is none, as of one seed, and nothing to draw."""
    return np.nan_to_num(np.asarray(panel.spread.get(name, [0.0]), float))


def _log(axes: Any, axis: Any, values: Sequence[float]) -> None:
    """A logarithmic axis with readable ticks; zero, of which there is no logarithm, one decade below the rest."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = [v for v in values if v > 0]
    if not positive or max(values) / min(positive) < 5:  # linear, where no power of ten need lie within
        return
    few = max(positive) / min(positive) < 50  # then the powers of ten alone are too few
    scale = getattr(axes, f"set_{axis.axis_name}scale")
    if min(values) <= 0:
        scale("symlog", linthresh=min(positive), linscale=0.5)
    else:
        scale("log")
        axis.set_minor_locator(LogLocator(subs=(2, 5) if few else tuple(range(2, 10))))
        axis.set_minor_formatter(FuncFormatter(lambda value, _: short(value, False)) if few else NullFormatter())
    powers = not few and _powers(positive)
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value, powers)))


def _beside_one(axis: Any, values: Sequence[float]) -> None:
    """Ticks near 1 that tell how far from it they are, where plain numbers would need more than three decimals."""
    from matplotlib.ticker import FuncFormatter

    farthest = max(abs(value - 1) for value in values)
    if 0 < farthest < 5e-3:
        axis.set_major_formatter(FuncFormatter(lambda value, _: beside_one(value, math.floor(math.log10(farthest)))))


def beside_one(value: float, exponent: int) -> str:
    """A number near 1 on an axis, with its distance from 1 in units of a power of ten.

    >>> beside_one(1.00005, -5), beside_one(1 - 2.5e-4, -4), beside_one(1.0, -5)
    ('$1 + 5 \\\\times 10^{-5}$', '$1 - 2.5 \\\\times 10^{-4}$', '1')
    """
    steps = round((value - 1) / 10.0**exponent, 3)
    return f"$1 {'+' if steps > 0 else '-'} {abs(steps):g} \\times 10^{{{exponent}}}$" if steps else "1"


def _powers(values: Sequence[float]) -> bool:
    """Whether some value is so small or large that all powers of ten on its axis are written as such."""
    return any(v > 0 and not 2e-3 < v < 2e3 for v in values)


def _figure(
    stem: str | Path,
    panels: Sequence[Any],
    fill: Callable[[Any, Any], None],
    *,
    x: str,
    y: str,
    caption: str,
    points: tuple[Sequence[str], Sequence[Sequence[Any]]],
    share_y: bool = False,
    size: tuple[float, float] = (3.4, 2.75),
    columns: int | None = None,
    grid: bool = True,
) -> list[Path]:
    """Axes side by side, each filled from its panel (which has a title), one legend, the caption; every format."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise ModuleNotFoundError("figures need matplotlib: python -m pip install 'jaxcmh[plots]'") from None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    with matplotlib.rc_context({**STYLE, "axes.grid": grid}):
        columns = columns or (2 if len(panels) in (2, 4) else min(len(panels), 3))
        rows = -(-len(panels) // columns)
        wide = max(size[0] * columns + 0.4, 4.8)
        figure = Figure(figsize=(wide, size[1] * rows + 0.75), layout="constrained")
        FigureCanvasAgg(figure)
        places = figure.subplots(rows, columns, sharey=share_y, squeeze=False)
        for axes in places.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(places.flat, panels):
            fill(axes, panel)
            axes.set_title(panel.title)
            axes.set_xlabel(sentence(x))
        for row in places:
            row[0].set_ylabel(sentence(y))
        drawn = {}
        for axes in places.flat[: len(panels)]:
            handles, labels = axes.get_legend_handles_labels()
            for handle, label in zip(handles, labels):
                drawn.setdefault(label, handle)
        if len(drawn) > 1:
            fit = max(1, min(len(drawn), int(12 * wide / (max(map(len, drawn)) + 6))))
            lines = -(-len(drawn) // fit)  # as long as each other
            figure.legend(drawn.values(), drawn.keys(), loc="outside upper left", ncols=-(-len(drawn) // lines))
        if caption:
            wrapped = textwrap.fill(caption, int(18 * wide))
            figure.supxlabel(wrapped, fontsize=7, color="#777777", x=0.01, ha="left")
        for text in filter(Text.get_text, figure.findobj(Text)):
            text.set_parse_math(False)  # a name may hold dollar signs; numbers along the axes are still to come
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not again for every file
        stem = Path(stem)
        written = []
        for kind in KINDS:
            save = partial(figure.savefig, dpi=160, metadata=DATES.get(kind))
            written.append(_write(stem.with_name(f"{stem.name}.{kind}"), save))
    return [*written, _write(stem.with_name(f"{stem.name}.csv"), lambda path: _points(path, *points))]


def sentence(words: str) -> str:
    """Words that begin with a capital letter, but for symbols and abbreviations.

    >>> sentence("training pairs"), sentence("mAP"), sentence("α, and with it β")
    ('Training pairs', 'mAP', 'α, and with it β')
    """
    first = re.match(r"[a-z]{2,}\b", words)
    return words[:1].upper() + words[1:] if first else words


def heading(direction: str, kind: str = "") -> str:
    """What is over a panel: a direction of search and, where there are several, the kind of database codes.

    >>> heading("i2t", "learned")
    'Image → text, learned codes'
    """
    name = results.direction_name(direction)
    return name[:1].upper() + name[1:] + (f", {kind} codes" if kind else "")


def _write(path: Path, fill: Callable[[Path], Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        fill(temporary)
    return path


def _points(path: Path, head: Sequence[str], points: Sequence[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([["" if v != v else v for v in row] for row in points])


class Surface(NamedTuple):
    """A heat map: a title, the values along x and y, and cells (len(ys), len(xs)), nan where nothing was computed.

    Example:
        >>> panel = Surface("i2t", [0.1, 1.0, 10.0], [1.0, 10.0], [[0.3, 0.4, 0.2], [0.5, 0.2, np.nan]])
        >>> panel.cells[1][0]  # where y is 10 and x is 0.1
        0.5
    """

    title: str
    xs: Sequence[float]
    ys: Sequence[float]
    cells: Any

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def surface(
    stem: PathLike, panels: Annotated[Sequence[Surface], filled], *, x: str, y: str, z: str, caption: str = ""
) -> list[Path]:
    """Draw heat maps with one true cell per computed value; the colour scale is each panel's own.

    The best cell of a panel is ringed, unless others print alike: of a plateau no cell is the best.

    Args:
        stem: path without an ending, see `draw`.
        panels: at least one.
        x, y, z: names of the axes and of the colour.
        caption: small print under the figure.
    Raises:
        ValueError: nothing to draw, or cells of another shape than the axes.
    Example:
        >>> import tempfile
        >>> panel = Surface("i2t", [0.1, 1.0], [1.0, 10.0], [[0.3, 0.4], [0.5, 0.2]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in surface(f"{folder}/figure", [panel], x="alpha", y="beta", z="mAP")]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    if not panels:
        raise ValueError("nothing to draw: a surface needs at least one panel")
    for panel in panels:
        shape = (len(panel.ys), len(panel.xs))
        if np.shape(panel.cells) != shape:
            raise ValueError(f"panel {panel.title!r}: cells must have shape {shape}, got {np.shape(panel.cells)}")
        if not np.isfinite(panel.cells).any():
            raise ValueError(f"panel {panel.title!r}: no cell has a value")

    def fill(axes: Any, panel: Surface) -> None:
        from matplotlib.ticker import FixedFormatter, FixedLocator

        cells = np.ma.masked_invalid(np.asarray(panel.cells, float))
        drawn = axes.pcolormesh(cells, cmap="viridis", edgecolors="white", linewidth=0.6, rasterized=False)
        for best in _peak(panel):
            axes.plot(best[1] + 0.5, best[0] + 0.5, "o", markersize=9, markerfacecolor="none", color="#D55E00", mew=1.8)
        for axis, values in ((axes.xaxis, panel.xs), (axes.yaxis, panel.ys)):
            step = -(-len(values) // 12)
            ticks = [short(v, _powers(values)) for v in values[::step]]
            axis.set_major_locator(FixedLocator((np.arange(len(values))[::step] + 0.5).tolist()))
            axis.set_major_formatter(FixedFormatter(ticks))
            axis.set_tick_params(length=0)
        axes.set_aspect("auto")
        bar = axes.figure.colorbar(drawn, ax=axes, label=sentence(z), pad=0.02)
        bar.outline.set_visible(False)

    points = [
        [panel.title, float(a), float(b), float(cell)]
        for panel in panels
        for b, row in zip(panel.ys, np.asarray(panel.cells, float))
        for a, cell in zip(panel.xs, row)
    ]
    table = (["panel", x, y, z], points)
    peaks = [bool(len(_peak(panel))) for panel in panels]
    ring = "ring: best cell of a panel" if any(peaks) else ""
    plateau = "" if all(peaks) else f"no ring where several are the best to {PRINTED} decimals"
    caption = "; ".join(filter(None, [caption, ring, plateau]))
    return _figure(stem, panels, fill, x=x, y=y, caption=caption, points=table, size=(4.2, 3.2), grid=False)


def _peak(panel: Surface) -> np.ndarray:
    """(1, 2) row and column of the best cell, (0, 2) where several print alike."""
    printed = np.round(np.asarray(panel.cells, float), PRINTED)
    best = np.argwhere(printed == np.nanmax(printed))
    return best if len(best) == 1 else best[:0]


class Matrix(NamedTuple):
    """Differences of k things, row less column.

    Attributes:
        title: of the panel.
        names, notes: k names, and what stands beside each.
        cells, sure: (k, k) differences, and which of them are sure.

    Example:
        >>> panel = Matrix("i2t", ["dcgh", "aah"], [".5", ".4"], np.array([[0, 0.1], [-0.1, 0]]), np.eye(2) == 0)
        >>> float(panel.cells[0, 1])  # dcgh less aah
        0.1
    """

    title: str
    names: Sequence[str]
    notes: Sequence[str]
    cells: Any
    sure: Any

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def matrix(stem: PathLike, panels: Annotated[Sequence[Matrix], filled], *, z: str, caption: str = "") -> list[Path]:
    """Draw differences row less column as squares, blue above and red below zero; grey where they are not sure.

    Args:
        stem: path without an ending, see `draw`.
        panels: at least one; the colour scale is that of all.
        z: what the difference is of, for the points.
        caption: small print under the figure.
    Raises:
        ValueError: cells of another shape than the names.
    Example:
        >>> import tempfile
        >>> differences = np.array([[0.0, 0.1], [-0.1, 0.0]])
        >>> panel = Matrix("i2t", ["dcgh", "aah"], [".5", ".4"], differences, differences != 0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in matrix(f"{folder}/figure", [panel], z="mAP")]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    for panel in panels:
        shape = (len(panel.names),) * 2
        if np.shape(panel.cells) != shape or np.shape(panel.sure) != shape:
            raise ValueError(f"panel {panel.title!r}: cells and sure must have shape {shape}, got {panel.cells!r}")
    highest = max(float(np.abs(np.where(panel.sure, panel.cells, 0)).max()) for panel in panels) or 1.0

    def fill(axes: Any, panel: Matrix) -> None:
        cells = np.ma.masked_where(~np.asarray(panel.sure, bool), np.asarray(panel.cells, float))
        places = np.arange(len(panel.names))
        axes.set_facecolor("#DDDDDD")
        drawn = axes.pcolormesh(cells, cmap="RdBu", vmin=-highest, vmax=highest, edgecolors="white", linewidth=0.4)
        axes.yaxis.set_ticks(places + 0.5, [f"{name}  {note}" for name, note in zip(panel.names, panel.notes)])
        axes.xaxis.set_ticks(places + 0.5, panel.names, rotation=90)
        axes.tick_params(length=0, labelsize=6.5)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        bar = axes.figure.colorbar(drawn, ax=axes, pad=0.02, fraction=0.05)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=6.5)

    points = [
        [panel.title, row, column, float(cell), int(sure)]
        for panel in panels
        for row, cells, sures in zip(panel.names, np.asarray(panel.cells), np.asarray(panel.sure))
        for column, cell, sure in zip(panel.names, cells, sures)
    ]
    side = max(3.2, 1.6 + 0.14 * max(len(panel.names) for panel in panels))
    table = (["panel", "row", "column", z, "sure"], points)
    return _figure(stem, panels, fill, x="", y="", caption=caption, points=table, size=(side + 1.2, side), grid=False)


def short(value: float, powers: bool = True) -> str:
    """A number on an axis: powers of ten as such.

    >>> short(0.5), short(0), short(1e-4), short(1000), short(1000, powers=False)
    ('0.5', '0', '$10^{-4}$', '$10^{3}$', '1,000')
    """
    exponent = math.log10(value) if value > 0 else 0.5
    if powers and abs(exponent - round(exponent)) < 1e-9:
        return f"$10^{{{round(exponent)}}}$"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


class Bars(NamedTuple):
    """Bars: a title, group names, series name -> one value per group; `spread` and `marks` are alike, nan for none.

    Example:
        >>> scores = {"dcgh": [0.5, 0.6], "aah": [0.4, 0.5]}
        >>> panel = Bars("16 bits", ["i2t", "t2i"], scores, marks={"dcgh": [0.52, np.nan]})
        >>> panel.series["dcgh"][1]  # t2i
        0.6
    """

    title: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float]]
    spread: Mapping[str, Sequence[float]] = MappingProxyType({})
    marks: Mapping[str, Sequence[float]] = MappingProxyType({})

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def bars(
    stem: PathLike, panels: Annotated[Sequence[Bars], filled], *, x: str, mark: str = "published", caption: str = ""
) -> list[Path]:
    """Draw horizontal bars in groups, with ± spread, and a diamond where there is a value to compare with.

    Args:
        stem: path without an ending, see `draw`.
        panels: at least one, with at most eight series.
        x: what the length means.
        mark: what the diamonds are.
        caption: small print under the figure.
    Raises:
        ValueError: nothing to draw, too many series, or a series that does not fit the groups.
    Example:
        >>> import tempfile
        >>> panel = Bars("i2t", ["16 bits", "32 bits"], {"dcgh": [0.5, 0.6], "aah": [0.4, 0.6]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in bars(f"{folder}/figure", [panel], x="mAP")]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    if not panels or not all(panel.series and panel.groups for panel in panels):
        raise ValueError("nothing to draw: every panel needs groups and at least one series")
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    if len(names) > len(COLOURS):
        raise ValueError(f"{len(names)} series cannot be told apart; at most {len(COLOURS)}")
    for panel in panels:
        for name, values in panel.series.items():
            if len(values) != len(panel.groups):
                raise ValueError(f"series {name!r} has {len(values)} values for {len(panel.groups)} groups")
    high = 0.8 / len(names)

    def fill(axes: Any, panel: Bars) -> None:
        middle = np.arange(len(panel.groups))[::-1]
        for k, name in enumerate(names):
            if name not in panel.series:
                continue
            at = middle + high * ((len(names) - 1) / 2 - k)
            long, wide = np.asarray(panel.series[name], float), _spread_of(panel, name)
            axes.barh(at, long, height=high * 0.92, color=COLOURS[k], label=name, zorder=2)
            if wide.any():
                some = wide > 0
                bars = {"fmt": "none", "ecolor": "#333333", "elinewidth": 0.9, "capsize": 1.5}
                axes.errorbar(long[some], at[some], xerr=wide[some], **bars)
            marks = np.asarray(panel.marks.get(name, [math.nan] * len(at)), float)
            if np.isfinite(marks).any():
                axes.plot(
                    marks, at, "D", markersize=4, markerfacecolor="white", color="black", mew=0.9, zorder=4, label=mark
                )
        axes.set_yticks(middle, panel.groups)
        axes.grid(axis="y", visible=False)
        axes.set_axisbelow(True)

    empty = [math.nan] * max(len(panel.groups) for panel in panels)
    points = [
        [
            panel.title,
            group,
            name,
            float(value),
            float(panel.spread.get(name, empty)[i]),
            float(panel.marks.get(name, empty)[i]),
        ]
        for panel in panels
        for name, values in panel.series.items()
        for i, (group, value) in enumerate(zip(panel.groups, values))
    ]
    tall = max(1.2, 0.5 + 0.13 * len(names) * max(len(panel.groups) for panel in panels))
    table = (["panel", "group", "series", x, "±", mark], points)
    return _figure(stem, panels, fill, x=x, y="", caption=caption, points=table, share_y=False, size=(3.9, tall))


class Cloud(NamedTuple):
    """Points in a plane: a title, (n, 2) places, (n,) class numbers, and (c, 2) centres of the classes.

    Example:
        >>> panel = Cloud("codes", [[0.0, 0.0], [1.0, 0.5], [0.2, 0.1]], [0, 1, 0], [[0.1, 0.05], [1.0, 0.5]])
        >>> panel.centres[panel.classes[2]]
        [0.1, 0.05]
    """

    title: str
    points: Any
    classes: Any
    centres: Any

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def clouds(
    stem: PathLike, panels: Annotated[Sequence[Cloud], filled], class_names: Sequence[str] = (), *, caption: str = ""
) -> list[Path]:
    """Draw scatters coloured by class with a star at every class centre; from the ninth class on in greys.

    Args:
        stem: path without an ending, see `draw`.
        panels: at least one.
        class_names: one per class; numbered if empty.
        caption: small print under the figure.
    Raises:
        ValueError: nothing to draw, or arrays that do not fit each other.
    Example:
        >>> import tempfile
        >>> panel = Cloud("codes", [[0.0, 0.0], [1.0, 0.5], [0.2, 0.1]], [0, 1, 0], [[0.1, 0.05], [1.0, 0.5]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in clouds(f"{folder}/figure", [panel], ["cat", "dog"])]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    if not panels:
        raise ValueError("nothing to draw: a scatter needs at least one panel")
    for panel in panels:
        n = len(panel.classes)
        if np.shape(panel.points) != (n, 2) or not np.isfinite(panel.points).all():
            raise ValueError(
                f"panel {panel.title!r}: points must be {(n, 2)} finite numbers, got {np.shape(panel.points)}"
            )
        if len(panel.centres) and np.shape(panel.centres)[1:] != (2,):
            raise ValueError(f"panel {panel.title!r}: centres must have shape (c, 2), got {np.shape(panel.centres)}")
    numbers = sorted({int(c) for panel in panels for c in panel.classes})
    looks = [*zip(MARKERS, COLOURS), *GREYS.items()]

    def name(number: int) -> str:
        return str(class_names[number]) if number < len(class_names) else f"class {number}"

    def fill(axes: Any, panel: Cloud) -> None:
        places, classes = np.asarray(panel.points, float), np.asarray(panel.classes)
        for k, number in enumerate(numbers):
            shown = k < len(looks)
            own = places[classes == number]
            marker, colour = looks[k] if shown else ("o", GREY)
            axes.scatter(
                *own.T, s=16, color=colour, marker=marker, linewidth=0, alpha=0.75,
                label=name(number) if shown else "others", zorder=2 if shown else 1, rasterized=True,
            )  # fmt: skip
            if number < len(panel.centres):
                for edge, wide in (("white", 3.2), ("black", 2.0), (colour, 1.0)):  # hollow: points show through
                    axes.scatter(
                        *panel.centres[number],
                        s=110,
                        facecolor="none",
                        marker="*",
                        edgecolor=edge,
                        linewidth=wide,
                        zorder=4,
                    )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.06)

    points = [
        [panel.title, "point", name(int(c)), float(a), float(b)]
        for panel in panels
        for (a, b), c in zip(panel.points, panel.classes)
    ]
    points += [
        [panel.title, "centre", name(c), float(a), float(b)]
        for panel in panels
        for c, (a, b) in enumerate(np.asarray(panel.centres).reshape(-1, 2))
    ]
    table = (["panel", "what", "class", "x", "y"], points)
    caption = "; ".join(filter(None, [caption, "axes of t-SNE have no unit; stars are class centres"]))
    return _figure(stem, panels, fill, x="", y="", caption=caption, points=table, grid=False, size=(3.6, 3.4))


class _Row(NamedTuple):
    title: str
    number: int


@checked
def answers(stem: PathLike, queries: Any, returned: Any, right: Any, *, caption: str = "") -> list[Path]:
    """Draw queries and their first answers, right ones framed in blue with a tick, wrong ones in orange with a cross.

    Args:
        stem: path without an ending, see `draw`.
        queries: (q, h, w) or (q, h, w, 3) uint8 pictures, or (q,) texts; at most 20.
        returned: (q, k, ...) pictures or texts, at most 20 per query.
        right: (q, k) bool.
        caption: small print under the figure.
    Raises:
        ValueError: shapes that do not fit each other.
    Example:
        >>> import tempfile
        >>> shown = {"queries": ["a dog"], "returned": np.zeros((1, 2, 8, 8), np.uint8), "right": [[True, False]]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in answers(f"{folder}/figure", **shown)]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    named = {"queries": queries, "returned": returned, "right": right}
    queries, returned, right = (np.asarray(array(value, name, "fiubUS")) for name, value in named.items())
    if (
        right.ndim != 2
        or not queries.ndim
        or returned.shape[:2] != right.shape
        or len(queries) != len(right)
        or max(right.shape) > 20
    ):
        raise ValueError(
            f"queries {queries.shape}, returned {returned.shape} and right {right.shape}: expected (q, ...), "
            "(q, k, ...) and (q, k), both at most 20"
        )
    k = right.shape[1]

    def show(axes: Any, item: Any, left: float, colour: str | None, mark: str) -> None:
        from matplotlib.patches import Rectangle

        if item.dtype.kind in "US":
            words = textwrap.shorten(str(item), 52, placeholder=" …")
            axes.text(left + 0.46, 0.5, textwrap.fill(words, 12), ha="center", va="center", fontsize=5)
        else:
            axes.imshow(item, cmap="gray", extent=(left, left + 0.92, 0.04, 0.96), aspect="auto", vmin=0, vmax=255)
        if colour:
            frame = {"fill": False, "edgecolor": colour, "linewidth": 1.6, "linestyle": "-" if mark == "✓" else "--"}
            axes.add_patch(Rectangle((left, 0.04), 0.92, 0.92, **frame))
            badge = {"boxstyle": "circle,pad=0.2", "facecolor": colour, "edgecolor": "white", "linewidth": 0.6}
            corner = {"ha": "center", "va": "center", "fontsize": 5, "fontweight": "bold"}
            axes.text(left + 0.02, 0.94, mark, color="white", bbox=badge, zorder=5, **corner)

    def fill(axes: Any, row: _Row) -> None:
        show(axes, queries[row.number], 0, None, "")
        for j in range(k):
            ok = bool(right[row.number, j])
            show(axes, returned[row.number, j], j + 1.25, COLOURS[0] if ok else COLOURS[1], "✓" if ok else "✗")
        axes.set_xlim(0, k + 1.25)
        axes.set_ylim(0, 1)
        axes.set_axis_off()

    rows = [_Row("", i) for i in range(len(queries))]
    points = [[i, j, int(value)] for i, line in enumerate(right) for j, value in enumerate(line)]
    size = (0.62 * (k + 1.25), 0.64)
    table = (["query", "place", "right"], points)
    return _figure(stem, rows, fill, x="", y="", caption=caption, points=table, size=size, columns=1, grid=False)


# -- figures of result lines ------------------------------------------------------------------------------------------


def _curves(
    records: Iterable[Mapping[str, Any]], pick: Callable[[Mapping, Mapping], tuple[Sequence, Sequence]]
) -> tuple[list[Panel], str]:
    """One panel per kind of database codes and direction, one line per method; all of one protocol and code length."""
    records = list(records)
    kinds = list(dict.fromkeys(r["database"] for r in records))
    caption = results.describe(results.one_protocol(records, ("database",) if len(kinds) > 1 else ()))
    bits = {r["bits"] for r in records}
    if len(bits) > 1:
        raise ValueError(f"these curves mix code lengths {sorted(bits)}: keep one")
    seen: dict[tuple[str, str], Mapping[str, Any]] = {}
    for line in records:
        if (line["database"], line["method"]) in seen:
            raise ValueError(
                f"two results of method {line['method']!r}: a curve is drawn from one seed and configuration"
            )
        seen[line["database"], line["method"]] = line
    panels = [
        Panel(
            heading(direction, kind if len(kinds) > 1 else ""),
            {method: _known(*pick(line["curves"][direction], line)) for (k, method), line in seen.items() if k == kind},
        )
        for kind in kinds
        for direction in records[0]["curves"]
    ]
    return panels, f"{bits.pop()} bits, {caption}"


def _known(xs: Sequence, ys: Sequence) -> tuple[list[float], list[float]]:
    """The points whose values exist: a radius within which nothing was found has no precision."""
    both = [(a, b) for a, b in zip(xs, ys) if a is not None and b is not None]
    return [a for a, _ in both], [b for _, b in both]


LATE = 0.05  # recall above which a line that begins there makes readers wonder


@checked
def precision_recall(records: Lines, stem: PathLike) -> list[Path]:
    """Mean precision against mean recall in both directions, one line per method.

    Args:
        records: result lines of one protocol and code length, at most one per method and kind of database codes.
        stem: path without an ending, see `draw`.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in precision_recall(lines, f"{folder}/figure")]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    panels, caption = _curves(records, lambda curve, _: (curve["recall"], curve["precision"]))
    if any(xs and xs[0] > LATE for panel in panels for xs, _ in panel.lines.values()):
        caption += (
            "; a line begins with the items nearest to a query, all at one distance: of short codes these are many"
        )
    return draw(stem, panels, x="recall", y="precision", caption=caption, ends=(0, 1))


@checked
def topn(records: Lines, stem: PathLike) -> list[Path]:
    """Precision of the first N answers against N, one line per method; arguments as `precision_recall`.

    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in topn(lines, f"{folder}/figure")]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    panels, caption = _curves(records, lambda curve, line: (line["topn"], curve["topn_precision"]))
    return draw(stem, panels, x="N", y="precision of the first N", caption=caption, log_x=True)


@checked
def bits(records: Lines, stem: PathLike) -> list[Path]:
    """mAP against code length in both directions, one line per method: mean and, of several seeds, standard deviation.

    Args:
        records: result lines of one protocol; each kind of database codes gets panels of its own.
        stem: path without an ending, see `draw`.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in bits(lines, f"{folder}/figure")]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    records = list(records)
    kinds = list(dict.fromkeys(r["database"] for r in records))
    table = results.table(records, columns=(*(["database"] if len(kinds) > 1 else []), "direction", "bits"))
    lengths = sorted({top[-1] for top in table.columns})
    panels = []
    for place in sorted({top[:-1] for top in table.columns}, key=lambda p: (kinds.index(p[0]) if p[1:] else 0, p)):
        lines, spread = {}, {}
        for head, cells in table.rows:
            row = [(top[-1], c.mean, c.sd) for top, c in zip(table.columns, cells) if top[:-1] == place and c]
            if row:
                xs, ys, sds = zip(*row)
                lines[head[0]] = xs, ys
                if not all(map(math.isnan, sds)):
                    spread[head[0]] = sds
        panels.append(Panel(heading(place[-1], place[0] if place[1:] else ""), lines, spread))
    seeds = max(cell.seeds for _, cells in table.rows for cell in cells if cell)
    caption = f"{table.caption}, " + (f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed")
    if len({tuple(xs) for panel in panels for xs, _ in panel.lines.values()}) > 1:
        caption += "; each method at the code lengths that it was run at"
    powers = [length for length in lengths if length.bit_count() == 1]
    ticks = powers if len(lengths) > 10 and len(powers) > 1 else lengths  # as many as have room
    return draw(stem, panels, x="bits", y="mAP", caption=caption, log_x=True, share_y=False, ticks=ticks)


OBJECTIVE = "objective, relative to its value at the start"


@checked
def convergence(records: Lines, stem: PathLike) -> list[Path]:
    """The objective from the start to the iteration of convergence, one panel per method, one line per code length.

    The scales differ, for methods minimise different objectives. Where a training converged, its last point is ringed.

    Args:
        records: result lines; of one training evaluated in several ways the first counts.
        stem: path without an ending, see `draw`.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in convergence(lines, f"{folder}/figure")]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    records = sorted(records, key=lambda line: line["bits"])
    lines: dict[str, dict[str, tuple]] = {}
    rings: dict[str, dict[str, float]] = {}
    for line in records:
        length = f"{line['bits']} bits"
        if length not in lines.setdefault(line["method"], {}):
            lines[line["method"]][length] = relative_trace(line)
            if line.get("converged"):
                rings.setdefault(line["method"], {})[length] = line["converged"]
    panels = [Panel(name, traces, ringed=rings.get(name, {})) for name, traces in lines.items()]
    notes = []
    if any(line.get("tolerance") for line in records):
        notes.append("a ring marks the iteration in which a training converged")
    if any(line.get("tolerance") and not line.get("converged") for line in records):
        notes.append("a training without one did not converge within its iterations")
    return draw_objectives(stem, panels, records, notes)


def relative_trace(line: Mapping[str, Any], values: Sequence[float] | None = None) -> tuple[list[int], list[float]]:
    """`results.trace`, relative to its first value."""
    iterations, shown = results.trace(line, values)
    start = abs(shown[0]) or 1.0
    return iterations, [value / start for value in shown]


def draw_objectives(
    stem: str | Path, panels: Sequence[Panel], records: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()
) -> list[Path]:
    """Draw panels of objectives, see `draw`; `records` are the result lines they were made of, `notes` go below."""
    notes = [*(f"data {data}" for data in dict.fromkeys(line["data"] for line in records)), *notes]
    if any(line["format"] == 1 for line in records):
        notes.append("lines of version 0.1.0 begin after their first iteration, and are relative to that")
    values = [ys for panel in panels for _, ys in panel.lines.values()]
    if any(after > before + 1e-6 for ys in values for before, after in itertools.pairwise(ys)):
        notes.append(
            "where a line rises, a step of the method does not minimise: that of multipliers, or a greedy choice"
        )
    decades = all(min(ys) > 0 for ys in values) and any(max(ys) > 30 * min(ys) for ys in values)
    options: dict[str, Any] = {"log_y": decades, "share_y": False, "whole_ticks": True, "relative": True}
    from_start = all(xs[0] == 0 for panel in panels for xs, _ in panel.lines.values())
    x = "iteration (0 = start)" if from_start else "iteration"
    return draw(stem, panels, x=x, y=OBJECTIVE, caption="; ".join(notes), **options)


@checked
def labelled(
    stem: PathLike,
    panels: Annotated[Sequence[Panel], filled],
    *,
    x: str,
    y: str,
    caption: str = "",
    marked: str = "",
) -> list[Path]:
    """Draw one point for each name, told by a label at the right edge; x is logarithmic, however many names there are.

    Args:
        stem, panels, x, y, caption: as for `draw`; a line has one point, and `spread` its ±.
        marked: names that begin so get a colour of their own.
    Example:
        >>> import tempfile
        >>> panel = Panel("i2t", {"dcgh": ([0.2], [0.5]), "aah": ([1.0], [0.4])})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in labelled(f"{folder}/figure", [panel], x="seconds", y="mAP")]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """

    def fill(axes: Any, panel: Panel) -> None:
        points = {name: (xs[0], ys[0]) for name, (xs, ys) in panel.lines.items()}
        for name, (at, height) in points.items():
            colour = COLOURS[1] if marked and name.startswith(marked) else COLOURS[0]
            wide = _spread_of(panel, name)
            bar = wide if wide.any() else None
            axes.errorbar([at], [height], bar, fmt="o", color=colour, elinewidth=0.8, markersize=4.5, zorder=3)
        _log(axes, axes.xaxis, [at for at, _ in points.values()])
        low, high = axes.get_ylim()
        axes.set_ylim(low, high)
        order = sorted(points, key=lambda name: points[name][1])
        for name, place in zip(order, _spread([(points[n][1] - low) / (high - low) for n in order])):
            colour = COLOURS[1] if marked and name.startswith(marked) else "#333333"
            line = {"arrowstyle": "-", "color": "#CCCCCC", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
            axes.annotate(
                name,
                points[name],
                xytext=(1.02, place),
                textcoords="axes fraction",
                fontsize=6.5,
                color=colour,
                va="center",
                arrowprops={**line, "relpos": (0, 0.5)},
            )

    names = max(len(panel.lines) for panel in panels)
    spread = any(panel.spread for panel in panels)
    points = [
        [
            panel.title,
            name,
            float(xs[0]),
            float(ys[0]),
            *(map(float, panel.spread.get(name, [math.nan])) if spread else []),
        ]
        for panel in panels
        for name, (xs, ys) in panel.lines.items()
    ]
    head = ["panel", "line", x, y, *(["±"] if spread else [])]
    size = (4.4, max(2.75, 0.4 + 0.15 * names))
    return _figure(stem, panels, fill, x=x, y=y, caption=caption, points=(head, points), size=size)


def _spread(places: Sequence[float]) -> list[float]:
    """Rising places from 0 to 1, moved as little as it takes (least squares) for labels there not to overlap."""
    from scipy.optimize import isotonic_regression

    gaps = np.arange(len(places)) / max(len(places), 15)
    return (np.clip(isotonic_regression(np.asarray(places) - gaps).x, 0, 1 - gaps[-1]) + gaps).tolist()


@checked
def time(records: Lines, stem: PathLike) -> list[Path]:
    """mAP against seconds of training without compilation, one line per method through its code lengths: means.

    Args:
        records: result lines of one protocol.
        stem: path without an ending, see `draw`.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in time(lines, f"{folder}/figure")]
        ['figure.png', 'figure.svg', 'figure.pdf', 'figure.csv']
    """
    records = list(records)
    kinds = list(dict.fromkeys(r["database"] for r in records))
    caption = results.describe(results.one_protocol(records, ("database",) if len(kinds) > 1 else ()))
    panels = []
    for kind, direction in [(kind, direction) for kind in kinds for direction in records[0]["map"]]:
        cells: dict[str, dict[int, list[tuple[float, float]]]] = {}
        for line in records:
            if line["database"] == kind:
                point = line["times"]["train"], line["map"][direction]
                cells.setdefault(line["method"], {}).setdefault(line["bits"], []).append(point)
        means = {name: [np.mean(by_bits[bits], axis=0) for bits in sorted(by_bits)] for name, by_bits in cells.items()}
        title = heading(direction, kind if len(kinds) > 1 else "")
        panels.append(Panel(title, {name: tuple(np.transpose(points).tolist()) for name, points in means.items()}))
    return draw(stem, panels, x="training time, seconds", y="mAP", caption=caption, log_x=True, share_y=False)
