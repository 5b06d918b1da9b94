"""What the command line shows while it works: the device, progress, and the time of each stage."""

import functools
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from jaxcmh.extras import cache_folder

F = TypeVar("F", bound=Callable[..., Any])
_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_PIPED_SECONDS = 10.0
FEW = 1_000  # rows of which nothing is said
_PATIENCE = 1.5  # seconds; what ends sooner says nothing
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def start_jax() -> str:
    """Import jax with a persistent compilation cache, without start-up warnings; return a line naming the device.

    The cache lies in $JAXCMH_CACHE, the user's cache folder, or where JAX_COMPILATION_CACHE_DIR says. Must run before
    the first array is made.
    """
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    # Commands say in words of their own which trainings did not converge.
    warnings.filterwarnings("ignore", ".* had not converged after|.* bits are the same for all items", UserWarning)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    import jax

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


def printable(text: str) -> str:
    r"""A text on one line, with escapes for the characters that steer a terminal or turn the direction of writing.

    >>> print(printable("cat\x1b]0;title\x07\n of\u202e mine"))
    cat\x1b]0;title\x07  of\u202e mine
    """
    return STEERING.sub(lambda found: " " if found[0] in "\t\n\r" else ascii(found[0])[1:-1], text)


def say(text: str) -> None:
    """Lines to standard error, where everything goes that is not a result."""
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


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
    """Seconds by stage, with compilation taken out of each and kept under "compile".

    A block within another's tells the outer one of what it compiles. What threads compile side by side counts once.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        if "jax" in sys.modules:
            _compilation()
        outer = _spans.get()
        token = _spans.set(spans := [])
        begin = time.perf_counter()
        try:
            yield
        finally:
            _spans.reset(token)
            if outer is not None:
                outer.extend(spans)
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
        self.advanced = 0.0  # when a step was last done

    def step(self, doing: str) -> None:
        """Say what is being done now; nothing is counted as done yet."""
        self.doing = doing
        self.began = self.began or time.perf_counter()

    def advance(self, steps: int = 1) -> None:
        """A step is done, or several."""
        self.done += steps
        self.advanced = time.perf_counter()

    def line(self) -> str:
        """Everything there is to say, in one line."""
        compiling = " · compiling (once)" if "jax" in sys.modules and _compilation().busy else ""
        count = f"[{self.done}/{self.total}] " if self.total > 1 else ""
        return f"{count}{self.doing}{self.left()}{compiling}"

    def left(self) -> str:
        """Time left, once it is worth telling: if every step takes as long as those before.

        While a step goes on it counts down; a step that takes longer than those before, for it is compiled, holds it.
        """
        if self.began is None or not self.done or self.done >= self.total:
            return ""
        now = time.perf_counter()
        pace = (self.advanced - self.began) / self.done
        seconds = round(pace * (self.total - self.done) - min(now - self.advanced, pace))
        return f" · {seconds // 60}:{seconds % 60:02} left" if seconds and now - self.began > 5 else ""


_at_most_one = threading.Lock()  # of what is in progress is shown, or silent: the outermost


@contextmanager
def progress(total: int = 1, verbose: bool | None = True) -> Iterator[Progress]:
    """Show progress while the block runs: on a terminal or in a notebook a moving line, else one per ten seconds.

    Args:
        total: number of steps.
        verbose: whether to; if None, where there is neither a terminal nor a notebook, one line and no more.

    >>> with progress(2) as steps:
    ...     steps.step("first")
    ...     steps.advance()
    >>> steps.line()
    '[1/2] first'
    """
    steps = Progress(total)
    if not _at_most_one.acquire(blocking=False):
        yield steps
        return
    try:
        watch = _watch(verbose)
        with nullcontext() if watch is None else watch(steps):
            yield steps
    finally:
        _at_most_one.release()


def shown_while(doing: str) -> Callable[[F], F]:
    """Functions that show that they are at work as their argument `verbose` says, see `progress`.

    >>> @shown_while("adding")
    ... def total(*numbers, verbose=None):
    ...     return sum(numbers)
    >>> total(1, 2, verbose=False)
    3
    """

    def decorated(function: F) -> F:
        @functools.wraps(function)
        def whole(*args: Any, **kwargs: Any) -> Any:
            with progress(verbose=kwargs.get("verbose")) as steps:
                steps.step(doing)
                return function(*args, **kwargs)

        return whole  # pyright: ignore[reportReturnType]

    return decorated


def for_many(rows: int, doing: str, verbose: bool | None) -> AbstractContextManager[Any]:
    """Show that a block is at work on many rows; of few, where each microsecond counts, nothing is shown.

    >>> with for_many(3, "searching", verbose=True):
    ...     pass
    """
    return _shown(doing, verbose) if rows > FEW else nullcontext()


@contextmanager
def _shown(doing: str, verbose: bool | None) -> Iterator[None]:
    with progress(verbose=verbose) as steps:
        steps.step(doing)
        yield


def _watch(verbose: bool | None) -> Callable[[Progress], AbstractContextManager[None]] | None:
    """How progress is shown here, if it is."""
    if verbose is False:
        return None
    if notebook():
        return _in_notebook
    if sys.stderr.isatty():
        return _moving
    return _piped if verbose else _once


def notebook() -> bool:
    """Whether a notebook shows what is displayed."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextmanager
def _moving(steps: Progress) -> Iterator[None]:
    import rich.progress
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TimeElapsedColumn
    from rich.text import Text

    class Doing(ProgressColumn):
        def render(self, task: Task) -> Text:
            task.completed, task.total = steps.done, steps.total
            return Text(printable(steps.line()))

    columns = [SpinnerColumn(), *([BarColumn(bar_width=24)] if steps.total != 1 else []), TimeElapsedColumn(), Doing()]
    bar = rich.progress.Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task("", total=steps.total)
    begin = threading.Timer(_PATIENCE, bar.start)
    begin.daemon = True
    begin.start()
    try:
        yield
    finally:
        begin.cancel()
        begin.join()
        if bar.live.is_started:
            bar.stop()


@contextmanager
def _in_notebook(steps: Progress) -> Iterator[None]:
    """One line of output that is replaced, and emptied at the end."""
    from IPython.display import display  # pyright: ignore[reportMissingImports]

    shown = []

    def tell(line: str) -> None:
        bundle = {"text/plain": printable(line)}
        if shown:
            shown[0].update(bundle, raw=True)
        else:
            shown.append(display(bundle, raw=True, display_id=True))

    with _every(1.0, steps, tell):
        yield
    if shown:
        tell("")


def _piped(steps: Progress) -> AbstractContextManager[None]:
    return _every(_PIPED_SECONDS, steps, say)


def _once(steps: Progress) -> AbstractContextManager[None]:
    """One line, so that a script is not silent, and its log not long."""
    return _every(threading.TIMEOUT_MAX, steps, lambda _: say(f"jaxcmh: {steps.doing} ..."))


@contextmanager
def _every(seconds: float, steps: Progress, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell what is being done every so many seconds, while the block runs."""
    over = threading.Event()

    def speak() -> None:
        wait = _PATIENCE
        while not over.wait(wait):
            if steps.doing:
                tell(steps.line())
                wait = seconds

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
