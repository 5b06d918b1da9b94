"""The experiments of the papers, as data: one file per paper, named for its method, with a `plan` (see `plan.Plan`).

Every such file in this folder is found; nothing lists them.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable

from jaxcmh.methods import registry
from jaxcmh.studies.plans.plan import Plan


def collect() -> dict[str, Plan]:
    """Every plan in this folder by the name of its file, in the order of the methods in `jaxcmh.methods.registry`."""
    files = {file.name: importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)}
    there = {name: file.plan for name, file in files.items() if isinstance(getattr(file, "plan", None), Plan)}
    return {name: there[name] for name in dict.fromkeys([*registry, *there]) if name in there}


plans: dict[str, Plan] = collect()


def find(paper: str) -> Plan:
    """The plan of a paper, named by its method.

    Raises:
        ValueError: there is none; the message lists all.

    Example:
        >>> find("dcg")
        Traceback (most recent call last):
        ValueError: paper: expected one of dcgh, a2lh, acqh, aah, imads, compare; got 'dcg'. Did you mean 'dcgh'?
    """
    if paper not in plans:
        close = difflib.get_close_matches(paper, plans, 1)
        hint = f". Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"paper: expected one of {', '.join(plans)}; got {paper!r}{hint}")
    return plans[paper]


def reasons(datasets: Iterable[str]) -> dict[tuple[str, str], str]:
    """(method, data set) -> why the method's paper is not reached there, for data sets named as in result lines."""
    return {
        (method, data): why
        for data in set(datasets)
        for plan in plans.values()
        for (method, benchmark), why in plan.reasons.items()
        if data.partition(":")[0] == benchmark
    }
