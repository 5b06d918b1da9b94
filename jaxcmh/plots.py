"""Figures from result lines: precision-recall, topN, bits, convergence, mAP against time.

Every figure is written as PNG, SVG and PDF beside a CSV of the points in it. At most eight lines are coloured (a
palette that colour-blind readers can tell apart, each line with a marker of its own); further lines are grey. Figures
only read result lines, so drawing one never runs an experiment.
"""

import csv
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcmh import results

# Okabe and Ito's colours in an order that keeps neighbours far apart; brown stands for their yellow, too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A4B00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#BBBBBB"
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
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "svg.hashsalt": "jaxcmh",
    "pdf.fonttype": 42,
}

Lines = Mapping[str, tuple[Sequence[float], Sequence[float]]]


class Panel(NamedTuple):
    """One set of axes: a title and name -> (x, y), drawn in the order given."""

    title: str
    lines: Lines


def draw(
    stem: str | Path,
    panels: Sequence[Panel],
    *,
    x: str,
    y: str,
    caption: str = "",
    log_x: bool = False,
    share_y: bool = True,
    whole_ticks: bool = False,
    ticks: Sequence[float] | None = None,
    markers: bool = True,
) -> list[Path]:
    """Draw panels of lines side by side and write stem.png, .svg, .pdf and .csv (panel, line, x, y).

    Args:
        stem: path without an ending.
        panels: at least one, each with at least one line.
        x, y: axis labels.
        caption: small print under the figure, such as the protocol.
        log_x: logarithmic x axis.
        share_y: one y scale for all panels.
        whole_ticks: whole numbers only on the x axis.
        ticks: the only x ticks there shall be.
        markers: put a marker on the points.
    Returns:
        The paths written.
    Raises:
        ValueError: nothing to draw, or x and y of a line differ in length.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, LogFormatter, MaxNLocator, NullLocator, ScalarFormatter

    if not panels or not all(panel.lines for panel in panels):
        raise ValueError("nothing to draw: every panel needs at least one line")
    for panel in panels:
        for name, (xs, ys) in panel.lines.items():
            if len(xs) != len(ys):
                raise ValueError(
                    f"line {name!r} of panel {panel.title!r} has {len(xs)} x values and {len(ys)} y values"
                )
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    with matplotlib.rc_context(STYLE):
        columns = 2 if len(panels) in (2, 4) else min(len(panels), 3)
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(3.4 * columns + 0.4, 2.75 * rows + 0.75), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, sharey=share_y, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels):
            for name, (xs, ys) in panel.lines.items():
                place = names.index(name)
                shown = place < len(COLOURS)
                xs, ys = np.asarray(xs, float), np.asarray(ys, float)
                axes.plot(
                    xs,
                    ys,
                    color=COLOURS[place] if shown else GREY,
                    linewidth=1.6 if shown else 1.0,
                    zorder=3 if shown else 1,
                    marker=MARKERS[place] if shown and markers else None,
                    markersize=4.5,
                    markevery=max(1, len(xs) // 12),
                    markeredgecolor="white",
                    markeredgewidth=0.6,
                    label=name if shown else "others",
                )
            axes.set_title(panel.title)
            axes.set_xlabel(x)
            if log_x:
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
                axes.xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
            if whole_ticks:
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if ticks is not None:
                axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
                axes.xaxis.set_minor_locator(NullLocator())
                axes.xaxis.set_major_formatter(ScalarFormatter())
        for row in grid:
            row[0].set_ylabel(y)
        drawn = {}
        for axes in grid.flat[: len(panels)]:
            handles, labels = axes.get_legend_handles_labels()
            for handle, label in zip(handles, labels):
                drawn.setdefault(label, handle)
        if len(drawn) > 1:
            figure.legend(drawn.values(), drawn.keys(), loc="outside upper left", ncols=min(len(drawn), 3 * columns))
        if caption:
            figure.supxlabel(caption, fontsize=7, color="#777777", x=0.01, ha="left")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not again for every file
        stem = Path(stem)
        written = []
        for kind in KINDS:
            save = partial(figure.savefig, dpi=160, metadata=DATES.get(kind))
            written.append(_write(stem.with_name(f"{stem.name}.{kind}"), save))
    return [*written, _write(stem.with_name(f"{stem.name}.csv"), lambda p: _points(p, panels, x, y))]


def _write(path: Path, fill: Callable[[str], Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as hidden:
        made = os.path.join(hidden, path.name)
        fill(made)
        os.replace(made, path)
    return path


def _points(path: str, panels: Sequence[Panel], x: str, y: str) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["panel", "line", x, y])
        for panel in panels:
            for name, (xs, ys) in panel.lines.items():
                writer.writerows([panel.title, name, float(a), float(b)] for a, b in zip(xs, ys))


# -- figures of result lines ------------------------------------------------------------------------------------------


def _title(direction: str) -> str:
    return results.DIRECTIONS.get(direction, direction.replace("->", " → "))


def _curves(
    records: Iterable[Mapping[str, Any]], pick: Callable[[Mapping, Mapping], tuple[Sequence, Sequence]]
) -> tuple[list[Panel], str]:
    """A panel a kind of database codes and direction, one line a method; all of one protocol and code length."""
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
            _title(direction) + (f", {kind} codes" if len(kinds) > 1 else ""),
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


def precision_recall(records: Iterable[Mapping[str, Any]], stem: str | Path) -> list[Path]:
    """Mean precision against mean recall in both directions, a line a method.

    Args:
        records: result lines of one protocol and code length, at most one a method and kind of database codes.
        stem: path without an ending, see `draw`.
    """
    panels, caption = _curves(records, lambda curve, _: (curve["recall"], curve["precision"]))
    return draw(stem, panels, x="recall", y="precision", caption=caption)


def topn(records: Iterable[Mapping[str, Any]], stem: str | Path) -> list[Path]:
    """Precision of the first N answers against N, a line a method; arguments as `precision_recall`."""
    panels, caption = _curves(records, lambda curve, line: (line["topn"], curve["topn_precision"]))
    return draw(stem, panels, x="N", y="precision of the first N", caption=caption, log_x=True)


def bits(records: Iterable[Mapping[str, Any]], stem: str | Path) -> list[Path]:
    """mAP against code length in both directions, a line a method; the mean where several seeds were run.

    Args:
        records: result lines of one protocol.
        stem: path without an ending, see `draw`.
    """
    table = results.table(records, rows=("method",), columns=("direction", "bits"))
    lengths = sorted({top[1] for top in table.columns})
    panels = []
    for direction in dict.fromkeys(top[0] for top in table.columns):
        lines = {}
        for head, cells in table.rows:
            found = [(top[1], cell.mean) for top, cell in zip(table.columns, cells) if top[0] == direction and cell]
            lines[head[0]] = tuple(zip(*found))
        panels.append(Panel(_title(direction), lines))
    return draw(stem, panels, x="bits", y="mAP", caption=table.caption, log_x=True, ticks=lengths)


def convergence(records: Iterable[Mapping[str, Any]], stem: str | Path) -> list[Path]:
    """The objective at every iteration, relative to its value after the first, a panel a method, a line a code length.

    The scales differ: methods minimise different objectives, and steps with multipliers need not descend.

    Args:
        records: result lines; of one training evaluated in several ways the first counts.
        stem: path without an ending, see `draw`.
    """
    lines: dict[str, dict[str, tuple]] = {}
    for line in sorted(records, key=lambda r: r["bits"]):
        trace = line["objective"]
        start = abs(trace[0]) or 1.0
        label = f"{line['bits']} bits"
        lines.setdefault(line["method"], {}).setdefault(label, (range(1, len(trace) + 1), [v / start for v in trace]))
    panels = [Panel(name, traces) for name, traces in lines.items()]
    return draw(stem, panels, x="iteration", y="objective / first", share_y=False, whole_ticks=True)


def time(records: Iterable[Mapping[str, Any]], stem: str | Path) -> list[Path]:
    """mAP against seconds of training without compilation, a line a method through its code lengths.

    Args:
        records: result lines of one protocol.
        stem: path without an ending, see `draw`.
    """
    records = sorted(records, key=lambda r: r["bits"])
    caption = results.describe(results.one_protocol(records))
    panels = []
    for direction in records[0]["map"]:
        lines: dict[str, tuple[list, list]] = {}
        for line in records:
            xs, ys = lines.setdefault(line["method"], ([], []))
            xs.append(line["times"]["train"])
            ys.append(line["map"][direction])
        panels.append(Panel(_title(direction), lines))
    return draw(stem, panels, x="training time, seconds", y="mAP", caption=caption, log_x=True)
