"""The command `jaxcmh`: demo, methods, plan, train, grow, evaluate, search, index, export, serve, data, features,
studies, results and doctor.

Results go to standard output, everything else to standard error. Nothing heavy is imported before a command needs it.
Exit codes: 0 done, 1 `doctor` found what does not work, 2 bad input (one line says what), 130 interrupted, 129 and 143
stopped by SIGHUP and SIGTERM.
"""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, get_args

from cyclopts import App, CycloptsError, Parameter, convert
from cyclopts.exceptions import UnknownOptionError, UnusedCliTokensError

import jaxcmh
from jaxcmh.checks import checked
from jaxcmh.commands import data, doctor, index, reading, serve, study, training
from jaxcmh.progress import say


def _is_of_integers(kind: Any) -> bool:
    return kind is int or any(map(_is_of_integers, get_args(kind)))


def _converted(kind: Any, tokens: Sequence[Any]) -> Any:
    """What cyclopts makes of the words; but 2.9 is no integer, which it would round."""
    if _is_of_integers(kind):
        for token in tokens:
            if "." in token.value:
                raise ValueError(f"expected an integer; got {token.value}")
    return convert(kind, tokens)


app = App(
    name="jaxcmh",
    help="Supervised cross-modal hashing: learn short codes with which a text finds images and an image finds texts.",
    version=jaxcmh.__version__,
    help_format="plaintext",  # of one line per command; reading Markdown takes a third of the time
    default_parameter=Parameter(converter=_converted),
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
for command in (
    training.demo,
    training.methods,
    training.plan,
    training.train,
    training.grow,
    training.evaluate,
    training.search,
):
    app.command(command, help_format="markdown")
app.command(data.data_app)
app.command(index.index_app)
app.command(index.export_app)
for command in (
    serve.serve,
    data.features,
    study.reproduce,
    study.compare_methods,
    study.sweep,
    reading.report,
    reading.table,
    reading.compare,
    reading.trec,
    doctor.doctor,
):
    app.command(command, help_format="markdown")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: the words after `jaxcmh`; those of this process if None.

    >>> main(["--version"])
    0.2.0
    0
    """
    # Both are read when NumPy and jax are imported. Two BLAS threads on busy cores make small solves many times slower;
    # jax keeps its own threads for products.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stdout is None:
        return _refuse("standard output is closed; send it to /dev/null if nobody is to read it")
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        command, bound, _ = app.parse_args(words)
        # Every command has the checks of its annotations; what prints help and version is not ours.
        run = checked(command) if command.__module__.startswith("jaxcmh") else command
        with _stopped_by_signals():
            code = run(*bound.args, **bound.kwargs)
            sys.stdout.flush()
    except UnusedCliTokensError as error:
        rest = " ".join(error.unused_tokens or ())
        return _refuse(
            f"nothing takes {rest!r}; words that belong together go in quotes, such as --text 'blue stripes'"
        )
    except CycloptsError as error:
        return _refuse(f"{error}{_options(error)}")
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _drop_output()
        return 0
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if os.environ.get("JAXCMH_TRACEBACK"):
            raise
        return _refuse(_of_option(str(error), words))
    except KeyboardInterrupt as error:
        name, code = error.args or ("interrupted", 130)
        with suppress(OSError):  # the terminal may be gone
            say(f"\njaxcmh: {name}; nothing unfinished was left behind")
        if arguments is None:
            os._exit(code)  # jax would first wait for what it is computing
        return code
    return code or 0


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, unless who started the process has other plans for them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = sys.unraisablehook

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}", 128 + number)

    def send_again(number: int) -> None:
        if sys.unraisablehook is again:
            signal.pthread_kill(threading.main_thread().ident or 0, number)

    def again(unraisable: "sys.UnraisableHookArgs") -> None:
        """Python drops what is raised within a finalizer or a callback of its garbage collector: send it once more."""
        if not isinstance(error := unraisable.exc_value, KeyboardInterrupt):
            return ignored(unraisable)
        threading.Timer(0.05, send_again, [error.args[1] - 128 if error.args else signal.SIGINT]).start()

    caught = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]
    caught = [number for number in caught if signal.getsignal(number) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, stop)
    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = ignored
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def _drop_output() -> None:
    """What could not be written would be tried again when Python ends, and complained of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_option(message: str, words: Sequence[str]) -> str:
    """The message, where it begins with the name of a parameter, with that of its option."""
    short = re.sub(r"^mesh\b", "devices", message.removeprefix("features."))
    name = (re.match(r"\w+", short) or [""])[0]
    _, apps, _ = app.parse_commands(words)
    for argument in apps[-1].assemble_argument_collection():
        if argument.field_info.name == name and argument.name.startswith("-"):
            return argument.name + re.sub(r"^\[\d+\]", "", short.removeprefix(name))
    return f"--param {message.removeprefix('params.')}" if message.startswith("params.") else message


def _refuse(message: str) -> int:
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        _drop_output()
    say(f"jaxcmh: {' '.join(message.split())}")
    return 2


def _options(error: CycloptsError) -> str:
    """The options there are, after a mistyped one."""
    if not isinstance(error, UnknownOptionError):
        return ""
    names = [name for argument in error.argument_collection for name in argument.names if name.startswith("--")]
    return f" Options: {', '.join(dict.fromkeys([*names, '--help']))}."
