"""Libraries that only some data sets need."""

from importlib import util


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
