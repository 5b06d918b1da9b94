"""Options of the command line, and what becomes of them: methods, plans, hyper-parameters, folders to write."""

import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from jaxcmh import checks, progress

if TYPE_CHECKING:
    from jaxcmh.learning.core import Method
    from jaxcmh.learning.features import Features
    from jaxcmh.studies.plans.plan import Plan

Out = Annotated[Path | None, Parameter(name=["--out", "-o"])]
NewPlace = Annotated[Path, Parameter(name=["--out", "-o"])]
Root = Annotated[Path | None, Parameter(name="--root")]
Json = Annotated[bool, Parameter(name="--json", negative=())]
Flag = Annotated[bool, Parameter(negative=())]
Count = Annotated[int, Parameter(name=["-k", "--count"]), checks.Whole(1)]
Many = Parameter(consume_multiple=True, negative=())
Repeated = Annotated[list[str] | None, Parameter(name=["--param", "-p"], negative=())]
Texts = Annotated[list[str] | None, Parameter(name=["--text", "-t"], negative=())]
Images = Annotated[list[Path] | None, Parameter(name=["--image", "-i"], negative=())]
Query = Annotated[Path | None, Parameter(name=["--query", "-q"])]
Kernel = Literal["rbf", "laplace", "rbf_centred", "standardise", "centre", "identity"]
HashFunction = Literal["ridge", "mlp"]
Ties = Literal["expected", "stable"]
Design = Literal["random", "sobol", "halton", "latin"]
Database = Literal["learned", "encoded", "held_out"]
Databases = Annotated[list[Database] | None, Many]
Format = Literal["text", "markdown", "latex", "csv", "html"]
Tracker = Literal["tensorboard", "mlflow", "wandb"]


def start(steps: progress.Progress) -> None:
    """Start jax, and say on which device."""
    steps.step("starting jax")
    progress.say(progress.start_jax())


def one_query(*given: Any) -> None:
    """Refuse anything but one kind of query."""
    if sum(query is not None for query in given) != 1:
        raise ValueError("give one of --text, --image and --query")


# -- methods and plans ------------------------------------------------------------------------------------------------


def method(name: str) -> "Method":
    """The method of a name such as dcgh or dcgh-d, or the one that is asked for as module:attribute.

    Raises:
        ValueError: no such method; or the module cannot be imported, lacks the attribute, or it is something else.
    """
    from jaxcmh.learning.core import Method
    from jaxcmh.methods import find, registry, variants

    known = [*registry, *(variant.name for named in variants.values() for variant in named.values())]
    if name in known:
        return find(name)
    if ":" not in name:
        own = "or one of your own as module:attribute"
        raise ValueError(f"no method {name!r}{nearest(name, known)} Methods: {', '.join(known)}; {own}")
    chosen = _imported(name, Method, "a jaxcmh.learning.core.Method, such as registry['dcgh']._replace(name='mine')")
    if not isinstance(chosen.name, str) or not re.search(r"\w", chosen.name):
        raise ValueError(f"{name}: expected a method with a name; got {chosen.name!r}")
    if chosen.name in known and chosen is not find(chosen.name):
        raise ValueError(
            f"{name}: its name is {chosen.name!r}, and so is that of a method of the package, from which its results "
            "could not be told apart; give it another, such as method._replace(name='mine')"
        )
    return chosen


def is_own(name: str) -> bool:
    """Whether a method or plan is asked for as module:attribute."""
    return ":" in name


def source(name: str) -> str | None:
    """What tells versions of a module of one's own apart, for it changes between runs: a digest of its file.

    None for what is not of the form module:attribute. What the module imports does not count.
    """
    if not is_own(name):
        return None
    from jaxcmh import store

    file = sys.modules[name.partition(":")[0]].__file__
    return store.digest([], Path(file).read_text(encoding="utf-8", errors="replace"))[:8] if file else None


def plans(name: str) -> dict[str, "Plan"]:
    """Plans by what their results are filed under: of one paper, of all of them, or one's own as module:attribute.

    All are those of papers, which have the names of methods.

    Raises:
        ValueError: no such paper, or as for `method`.
    """
    from jaxcmh.methods import registry
    from jaxcmh.studies.plans import find, plans
    from jaxcmh.studies.plans.plan import Plan

    if name == "all":
        return {paper: plan for paper, plan in plans.items() if paper in registry}
    if is_own(name):
        return {name: _imported(name, Plan, "a jaxcmh.studies.plans.plan.Plan")}
    if name not in plans:
        own = "or one of your own as module:attribute"
        raise ValueError(f"no paper {name!r}{nearest(name, plans)} Papers: {', '.join(plans)}, all; {own}")
    return {name: find(name)}


def _imported(name: str, kind: type, described: str) -> Any:
    """What module:attribute names, or module:variants.key, if it is of this kind; the current folder comes first."""
    module_name, _, place = name.partition(":")
    attribute, _, key = place.partition(".")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise ValueError(
            f"{name}: expected module:attribute, such as mymethod:method for what mymethod.py calls method"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise ValueError(f"{name}: no module {missing!r} in {os.getcwd()}, nor installed") from None
        raise ValueError(f"{name}: {module_name} cannot be imported: {type(error).__name__}: {error}") from error
    fitting = [one for one, value in vars(module).items() if isinstance(value, kind)]
    of_name = getattr(module, "variants", None)
    if isinstance(of_name, dict):
        fitting += [f"variants.{key}" for key, value in of_name.items() if isinstance(value, kind)]
    there = f"there is {', '.join(fitting)}" if fitting else "nothing there is"
    there += "" if fitting else f" {described}"
    value = getattr(module, attribute, None)
    value = value.get(key) if key and isinstance(value, dict) else None if key else value
    if value is None:
        raise ValueError(f"{name}: {module_name} has no {place!r}; {there}")
    if not isinstance(value, kind):
        raise ValueError(f"{name}: expected {described}; got {type(value).__name__}; {there}")
    return value


def nearest(name: str, names: Iterable[str]) -> str:
    """How a message goes on after a name that is none: with the name that may be meant."""
    close = difflib.get_close_matches(name.lower(), list(names), 1)
    return f"; did you mean {close[0]!r}?" if close else "."


def params(given: Sequence[str], method: "Method") -> dict[str, float]:
    """name=value words as a dict."""
    fields = method.params._fields
    values = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"--param: expected name=value, such as {fields[0]}=1; got {word!r}")
        if name not in fields:
            raise ValueError(
                f"--param: {method.name} has no {name!r}{nearest(name, fields)} It has {', '.join(fields)}"
            )
        try:
            values[name] = float(value)
        except ValueError:
            raise ValueError(f"--param: {name} must be a number, got {value!r}") from None
    checks.params(values, method.params)
    return values


def features(
    method: "Method", kind: str | None, anchors: int | None, width: float | None, standardise: bool
) -> "Features | None":
    """The method's own feature map with what the user asked for changed, or None when nothing was."""
    asked = {"kind": kind, "anchors": anchors, "width": width, "standardise": standardise or None}
    asked = {name: value for name, value in asked.items() if value is not None}
    return method.features._replace(**asked) if asked else None


def info(method: "Method", split: Any, hash_function: str, options: dict[str, Any]) -> dict[str, Any]:
    """Fields of the `Info` that a model trained with these options will have."""
    from jaxcmh.learning.core import endings
    from jaxcmh.model import resolve_features

    max_iterations, tolerance = endings(method, options["max_iterations"], options["tolerance"])
    return {
        "method": method.name,
        "seed": options["seed"],
        "max_iterations": max_iterations,
        "tolerance": tolerance,
        "params": checks.params(options["params"], method.params),
        "features": resolve_features(options["features"], method, len(split.train.views)),
        "hash_function": hash_function,
    }


# -- where results go -------------------------------------------------------------------------------------------------


def mesh(devices: int | None, every: bool = False) -> Any:
    """The first of so many devices, for what takes a mesh; None for one. Or every device, of all processes.

    Raises:
        ValueError: there are fewer.
    """
    if devices in (None, 1) and not every:
        return None
    import jax

    from jaxcmh.learning.mesh import row_mesh

    if devices is None:
        return row_mesh()
    there = jax.devices()
    if devices > len(there):
        raise ValueError(f"--devices: expected at most {len(there)}, as jax sees {there[0].platform}; got {devices}")
    return row_mesh(there[:devices])


def file_name(*parts: Any) -> str:
    """A name for a folder or file: parts joined, signs that do not belong in one replaced; of a path its stem.

    >>> file_name("dcgh-d", "wiki:dcgh", 32, 0)
    'dcgh-d-wiki-dcgh-32-0'
    """
    words = (Path(part).stem if isinstance(part, str) and Path(part).exists() else str(part) for part in parts)
    return re.sub(r"[^\w.+-]+", "-", "-".join(words))


def folder(
    out: Path | None, name: str, wanted: Mapping[str, Any], data_hash: str | None = None, below: str = ""
) -> tuple[Path, bool]:
    """The folder for what is wanted, and whether it is there already: the one asked for, or one in runs/.

    Args:
        out: the folder asked for; if None, runs/NAME or the next of its name that holds what is wanted or is free.
        name: NAME.
        wanted, data_hash: see `results.runs.holds`; before the data are known, None for their hash.
        below: where in the folder the run lies.

    Raises:
        FileExistsError: the folder asked for holds something else.
    """
    from jaxcmh.results import runs

    if out is None:
        earlier = data_hash and runs.stored(Path("runs") / name, wanted, data_hash, below)
        return (earlier, True) if earlier else (runs.free(Path("runs") / name), False)
    there = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if there and not runs.holds(out / below, wanted, data_hash):
        raise FileExistsError(f"--out: {out} is there already and is not this run; name another folder or remove it")
    return out, there


@contextmanager
def only_folder(
    out: Path | None, name: str, wanted: Mapping[str, Any], data_hash: str, below: str = ""
) -> Iterator[tuple[Path, bool]]:
    """What `folder` says, with no other writer meanwhile; of runs/NAME, what another is writing is not free."""
    from jaxcmh import store
    from jaxcmh.results import runs

    with ExitStack() as held:
        held.enter_context(store.parents(out or Path("runs") / name))
        if out is not None:
            held.enter_context(store.only_writer(out, wait=0))
        place, there = folder(out, name, wanted, data_hash, below)
        if out is None and not there:
            for place in runs.names(Path("runs") / name):
                if not place.exists():
                    with suppress(BlockingIOError):
                        held.enter_context(store.only_writer(place, wait=0))
                        if not place.exists():
                            break
        yield place, there


@contextmanager
def new_file(out: Path, suffix: str = "") -> Iterator[None]:
    """No other writer of a file meanwhile, which must not be there, nor end otherwise."""
    from jaxcmh import store

    if out.suffix != (suffix or out.suffix):
        raise ValueError(f"--out: expected a name that ends in {suffix}, got {out}")
    with store.only_writer(out, wait=0):
        if out.exists():
            raise FileExistsError(f"--out: {out} is there already; name another file or remove it first")
        yield


def tracker(log: str | None, folder: Path) -> Callable[[dict], None] | None:
    """What is given every finished run, see `trackers.logger`; nothing if no tracker is asked for."""
    if log is None:
        return None
    from jaxcmh.studies import trackers

    return trackers.logger(log, folder)
