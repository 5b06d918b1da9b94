"""What is found outside the package: libraries that only some commands need, and the user's cache folder."""

import os
from collections.abc import Callable
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any


def require(extra: str, *modules: str) -> None:
    """Check that modules can be imported.

    Args:
        extra: which extra of the package installs them.
        modules: their import names.
    Raises:
        ModuleNotFoundError: naming what is missing and the command that installs it.
    """
    missing = [name for name in modules if util.find_spec(name) is None]
    if missing:
        command = f"python -m pip install 'jaxcmh[{extra}]'"
        raise ModuleNotFoundError(f"this needs {', '.join(missing)}: {command}", name=missing[0])


def if_compiled(load: Callable[[], Any]) -> Callable[[], Any]:
    """A function that imports what numba compiles, asked once; it gives None where that cannot be had.

    Example:
        >>> @if_compiled
        ... def absent():
        ...     import no_such_module
        >>> absent() is None
        True
    """

    @cache
    def found() -> Any:
        try:
            return load()
        except (ImportError, RuntimeError):  # it is not there, or finds no folder to keep its programs in
            return None

    return found


def cache_folder() -> Path:
    """Where built data sets and compiled programs are kept: $JAXCMH_CACHE, or the user's cache folder.

    Example:
        >>> from unittest import mock
        >>> with mock.patch.dict(os.environ, JAXCMH_CACHE="/data/cache"):
        ...     cache_folder().name
        'cache'
    """
    if os.environ.get("JAXCMH_CACHE"):
        return Path(os.environ["JAXCMH_CACHE"]).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("jaxcmh", appauthor=False))
