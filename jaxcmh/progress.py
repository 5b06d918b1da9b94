"""What the command line shows while it works: the device, progress, and the time of each stage."""

import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcmh.results import Table

_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_PIPED_SECONDS = 10.0


def start_jax() -> str:
    """Import jax with a persistent compilation cache, without start-up warnings; return a line naming the device.

    The cache lies in $JAXCMH_CACHE, the user's cache folder, or where JAX_COMPILATION_CACHE_DIR says. Must run before
    the first array is made.
    """
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    import jax

    from jaxcmh.datasets import cache_folder

    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        cache = cache_folder() / "compiled"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            jax.config.update("jax_compilation_cache_dir", str(cache))
        except OSError as error:
            say(f"no compilation cache, every start compiles again: {error}")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    _compilation()
    devices = jax.devices()
    kind = devices[0].device_kind
    name = devices[0].platform + ("" if kind.lower() == devices[0].platform else f" ({kind})")
    many = f"{len(devices)} x " if len(devices) > 1 else ""
    return f"device: {many}{name}, {os.cpu_count()} processors, jax {jax.__version__}"


def say(text: str) -> None:
    """One line to standard error, where everything goes that is not a result."""
    print(text, file=sys.stderr, flush=True)


# -- compilation ------------------------------------------------------------------------------------------------------


# What jax compiles for the block that is being timed: each thread has its own, and passes it on to those it starts.
_spans: ContextVar[list[tuple[float, float]] | None] = ContextVar("spans", default=None)


class _Compilation:
    """Told by jax of the time it spends tracing, lowering and compiling."""

    busy = False

    def __call__(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            now = time.perf_counter()
            spans = _spans.get()
            if spans is not None:
                spans.append((now - duration_secs, now))
            self.busy = event == _LOWERED  # lowering has ended, so the compiler runs until its own event


@functools.cache
def _compilation() -> _Compilation:
    from jax import monitoring

    listener = _Compilation()
    monitoring.register_event_duration_secs_listener(listener)
    return listener


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds within spans; those inside others count once."""
    total, reached = 0.0, 0.0
    for begin, end in sorted(spans):
        if end > reached:
            total += end - max(begin, reached)
            reached = end
    return total


class Stages:
    """Seconds by stage, with compilation taken out of each and kept under "compile"."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        if "jax" in sys.modules:
            _compilation()
        token = _spans.set(spans := [])
        begin = time.perf_counter()
        try:
            yield
        finally:
            _spans.reset(token)
            compiled = _covered(spans)
            spent = {stage: time.perf_counter() - begin - compiled, "compile": compiled}
            for name, value in spent.items():
                self.seconds[name] = self.seconds.get(name, 0.0) + value


# -- progress ---------------------------------------------------------------------------------------------------------


class Progress:
    """Steps done out of a known number, and what is being done now."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.doing = total, 0, ""
        self.began: float | None = None  # when there was first something to do; time left is told from then on

    def step(self, doing: str) -> None:
        """Say what is being done now; nothing is counted as done yet."""
        self.doing = doing
        self.began = self.began or time.perf_counter()

    def advance(self, steps: int = 1) -> None:
        """A step is done, or several."""
        self.done += steps

    def line(self) -> str:
        """Everything there is to say, in one line."""
        compiling = " · compiling (once)" if "jax" in sys.modules and _compilation().busy else ""
        count = f"[{self.done}/{self.total}] " if self.total > 1 else ""
        return f"{count}{self.doing}{self.left()}{compiling}"

    def left(self) -> str:
        """Time left, once it is worth telling: if every step takes as long as those before."""
        if self.began is None or not self.done or self.done >= self.total:
            return ""
        spent = time.perf_counter() - self.began
        seconds = round(spent / self.done * (self.total - self.done))
        return f" · {seconds // 60}:{seconds % 60:02} left" if spent > 5 else ""


@contextmanager
def progress(total: int = 1) -> Iterator[Progress]:
    """Show progress on standard error while the block runs: a moving line on a terminal, else a line every ten seconds.

    >>> with progress(2) as steps:
    ...     steps.step("first")
    ...     steps.advance()
    >>> steps.line()
    '[1/2] first'
    """
    steps = Progress(total)
    watch = _moving if sys.stderr.isatty() else _piped
    with watch(steps):
        yield steps


@contextmanager
def _moving(steps: Progress) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Doing(ProgressColumn):
        def render(self, task: Task) -> Text:
            task.completed, task.total = steps.done, steps.total
            return Text(steps.line())

    columns = [SpinnerColumn(), *([BarColumn(bar_width=24)] if steps.total != 1 else []), TimeElapsedColumn(), Doing()]
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    bar.add_task("", total=steps.total)
    with bar:
        yield


@contextmanager
def _piped(steps: Progress) -> Iterator[None]:
    over = threading.Event()

    def speak() -> None:
        wait = 1.5  # a command that ends at once says nothing
        while not over.wait(wait):
            if steps.doing:
                say(steps.line())
                wait = _PIPED_SECONDS

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def shown(path: str | Path) -> str:
    """A path as the user would type it from the current folder."""
    path = Path(path)
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


# -- results ----------------------------------------------------------------------------------------------------------


def _console() -> Any:
    """Standard output; wide where it is no terminal, so that a table in a file is never wrapped."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200, highlight=False, emoji=False, markup=False)


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
            "" if top[: level + 1] == before[: level + 1] else _head(field, top[level])
            for level, field in enumerate(table.fields)
        )
        grid.add_column("\n".join(heads), justify="right", min_width=7)
        before = top
    bold = results.best(table) if len(table.rows) > 1 else set()
    for i, (head, cells) in enumerate(table.rows):
        shown = [Text(results.show(cell), "bold" if (i, j) in bold else "") for j, cell in enumerate(cells)]
        grid.add_row(*map(str, head), *shown)
    console = _console()
    if title:
        console.print(title, style="bold", soft_wrap=True)
    console.print(grid)
    console.print(table.caption + ".\n", style="dim", soft_wrap=True)


def _head(field: str, value: Any) -> str:
    from jaxcmh import results

    return f"{value} bits" if field == "bits" else results.DIRECTIONS.get(value, str(value))


def print_answers(query: str, answers: Sequence[Mapping[str, Any]]) -> None:
    """Print the answers to one query, best first; every answer has the same keys, "query" and "rank" among them."""
    from rich.text import Text

    grid = _rich_table(title=Text(query, "bold"), title_justify="left")
    names = [name for name in answers[0] if name != "query"]
    for name in names:
        number = name in ("rank", "distance", "score", "item")
        grid.add_column(name, justify="right" if number else "left", no_wrap=True, overflow="ellipsis")
    for answer in answers:
        grid.add_row(*(Text(_cell(answer[name])) for name in names))
    _console().print(grid)


def print_rows(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print numbers under their names, a line a row."""
    from rich.text import Text

    grid = _rich_table(title=Text(title, "bold"), title_justify="left")
    for name in rows[0]:
        grid.add_column(name, justify="right")
    for row in rows:
        grid.add_row(*(_cell(value) for value in row.values()))
    _console().print(grid)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values in two columns; a mapping or list takes a line an entry."""
    from rich.text import Text

    grid = _rich_table(show_header=False)
    grid.add_column(style="dim")
    grid.add_column()
    for name, value in facts.items():
        if isinstance(value, Mapping):
            value = "\n".join(f"{key}: {entry}" for key, entry in value.items())
        grid.add_row(name, Text("\n".join(value) if isinstance(value, list) else str(value)))
    _console().print(grid)


def print_times(records: Sequence[Mapping[str, Any]]) -> None:
    """Print seconds, one row a method: training by code length, then compilation and evaluation of all lengths."""
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
    console.print("Seconds", style="bold")
    console.print(grid)


def stages_line(times: Mapping[str, float]) -> str:
    """Seconds by stage in one line.

    >>> stages_line({"load": 1.24, "compile": 3.0, "train": 0.5})
    'times: load 1.2 s, compile 3.0 s, train 0.50 s'
    """
    stages = ("load", "compile", "train", "evaluate", "search")
    told = [f"{name} {_seconds(times[name])} s" for name in stages if name in times]
    return f"times: {', '.join(told)}"


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"
