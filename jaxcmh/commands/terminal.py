"""Results as the command line prints them: tables, answers, facts, times."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxcmh.progress import printable

if TYPE_CHECKING:
    from jaxcmh.model import Answer, Model
    from jaxcmh.results import Table


def _console() -> Any:
    """Standard output; wide where it is no terminal, so that a table in a file is never wrapped."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the process, with a code that says something went wrong

    return Output(width=None if sys.stdout.isatty() else 200, highlight=False, emoji=False, markup=False)


def _rich_table(**options: Any) -> Any:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", **options)


def print_table(table: "Table", title: str = "") -> None:
    """Print a table of results, best values bold, its protocol under it."""
    from rich.text import Text

    from jaxcmh import results

    grid = _rich_table()
    for name in table.index:
        grid.add_column(name)
    before: tuple = ()
    for top in table.columns:  # a value is not repeated over the columns it spans
        heads = (
            "" if top[: level + 1] == before[: level + 1] else printable(results.head(field, top[level]))
            for level, field in enumerate(table.fields)
        )
        grid.add_column("\n".join(heads), justify="right", min_width=7)
        before = top
    bold = results.best(table) if len(table.rows) > 1 else set()
    for i, (head, cells) in enumerate(table.rows):
        shown = [Text(results.show(cell), "bold" if (i, j) in bold else "") for j, cell in enumerate(cells)]
        grid.add_row(*map(_cell, head), *shown)
    console = _console()
    if title:
        console.print(printable(title), style="bold", soft_wrap=True)
    console.print(grid)
    console.print(printable(table.caption) + ".\n", style="dim", soft_wrap=True)


def ending(line: Mapping[str, Any]) -> str:
    """How the training of a result line ended, in one line; nothing to say where no tolerance was asked for.

    >>> ending({"tolerance": 0.01, "converged": 7, "objective": [9, 3, 3]})
    'converged after 7 iterations'
    >>> ending({"tolerance": 0.01, "converged": 0, "max_iterations": 2, "objective": [9, 4, 3]})
    'warning: not converged: the objective still moved by 25 % in iteration 2, the last (--max-iterations allows more)'
    """
    if not line.get("tolerance"):
        return ""
    if line["converged"]:
        return f"converged after {line['converged']} iteration{'s' if line['converged'] > 1 else ''}"
    before, after = line["objective"][-2:]
    moved = f"{abs(after - before) / abs(before):.2g}" if before else "inf"
    last = f"iteration {line['max_iterations']}, the last (--max-iterations allows more)"
    return f"warning: not converged: the objective still moved by {float(moved) * 100:g} % in {last}"


def print_records(records: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print result lines of one data set: as JSON, or as a table of all methods, code lengths and database codes."""
    from jaxcmh import results
    from jaxcmh.results import tables

    if as_json:
        print_lines(records)
    elif any(line.get("measures") for line in records):
        print(tables.render(tables.measures(records)), end="")
    else:
        print_table(results.table(records, rows=("method", "bits", "database"), columns=("direction",)))


def print_lines(lines: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON line for each."""
    for line in lines:
        print(json.dumps(line))


def print_answers(query: str, answers: Sequence[Mapping[str, Any]], as_json: bool = False) -> None:
    """Print the answers to one query, best first; every answer has the same keys, "query" and "rank" among them."""
    if as_json:
        print_lines(answers)
        return
    from rich.text import Text

    grid = _rich_table(title=Text(printable(query), "bold"), title_justify="left")
    names = [name for name in answers[0] if name != "query"]
    for name in names:
        number = name in ("rank", "distance", "score", "item")
        grid.add_column(name, justify="right" if number else "left", no_wrap=True, overflow="ellipsis")
    for answer in answers:
        grid.add_row(*(Text(_cell(answer[name])) for name in names))
    _console().print(grid)


def answer(query: str, one: "Answer", model: "Model") -> dict[str, Any]:
    """What is shown of an answer: what is known of it."""
    known, word = model.catalogue, "distance" if model.codebooks is None else "score"
    facts: dict[str, Any] = {"query": query, "rank": one.rank, word: one.score, "item": one.item}
    if known is not None:
        facts |= {"name": one.name} if known.names else {}
        facts |= {"labels": one.labels} if known.label_names else {}
        facts |= {"text": one.text} if known.texts else {}
    return facts


def print_rows(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print numbers under their names, one line per row."""
    from rich.text import Text

    grid = _rich_table(title=Text(title, "bold"), title_justify="left")
    for name in rows[0]:
        grid.add_column(name, justify="right")
    for row in rows:
        grid.add_row(*(_cell(value) for value in row.values()))
    _console().print(grid)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(value)
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def print_facts(facts: Mapping[str, Any], as_json: bool = False) -> None:
    """Print names and values as JSON, or in two columns; a mapping or list takes one line per entry."""
    if as_json:
        print_lines([facts])
        return
    from rich.text import Text

    grid = _rich_table(show_header=False)
    grid.add_column(style="dim")
    grid.add_column()
    for name, value in facts.items():
        if isinstance(value, Mapping):
            value = [f"{key}: {entry}" for key, entry in value.items()]
        entries = value if isinstance(value, list) else [str(value)]
        grid.add_row(name, Text("\n".join(map(printable, entries))))
    _console().print(grid)


def print_times(records: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print seconds, one row per method: training by code length, then compilation and evaluation of all lengths."""
    grid = _rich_table()
    lengths = sorted({line["bits"] for line in records})
    for name in ("method", *(f"train\n{length} bits" for length in lengths), "compile\nall", "evaluate\nall"):
        grid.add_column(name, justify="left" if name == "method" else "right")
    rows: dict[str, dict[int, Mapping[str, float]]] = {}
    for line in records:  # the kinds of database codes share one training
        rows.setdefault(line["method"], {})[line["bits"]] = line["times"]
    for method, times in rows.items():
        trained = [_seconds(times[length]["train"]) if length in times else "-" for length in lengths]
        sums = [_seconds(sum(t[stage] for t in times.values())) for stage in ("compile", "evaluate")]
        grid.add_row(method, *trained, *sums)
    console = _console()
    console.print(title, style="bold", soft_wrap=True)
    console.print(grid)


def stages_line(times: Mapping[str, float]) -> str:
    """Seconds by stage in one line.

    >>> stages_line({"load": 1.24, "compile": 3.0, "train": 0.5})
    'times: load 1.2 s, compile 3.0 s, train 0.50 s'
    """
    stages = ("load", "compile", "train", "evaluate", "search")
    return f"times: {', '.join(f'{name} {_seconds(times[name])} s' for name in stages if name in times)}"


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"
