"""Supervised cross-modal hashing in JAX.

    model = jaxcmh.train("dcgh", (images, texts), labels, bits=64)
    distances, ids = jaxcmh.search(model, new_texts, view=1, k=10)

Names are imported on first use, so that the command line starts without loading JAX.
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from jaxcmh import methods
    from jaxcmh.datasets import load_dataset
    from jaxcmh.learning.features import Features
    from jaxcmh.model import Model, encode, evaluate, grow, load, save, search, train
    from jaxcmh.studies.forecasts import forecast
    from jaxcmh.studies.scores import study

_homes = {
    "Features": ("jaxcmh.learning.features", "Features"),
    "Model": ("jaxcmh.model", "Model"),
    "encode": ("jaxcmh.model", "encode"),
    "evaluate": ("jaxcmh.model", "evaluate"),
    "forecast": ("jaxcmh.studies.forecasts", "forecast"),
    "grow": ("jaxcmh.model", "grow"),
    "load": ("jaxcmh.model", "load"),
    "load_dataset": ("jaxcmh.datasets", "load_dataset"),
    "methods": ("jaxcmh.methods", None),
    "save": ("jaxcmh.model", "save"),
    "search": ("jaxcmh.model", "search"),
    "study": ("jaxcmh.studies.scores", "study"),
    "train": ("jaxcmh.model", "train"),
}
__all__ = [  # noqa: RUF022 (in the order of use)
    "load_dataset",
    "Features",
    "methods",
    "train",
    "grow",
    "encode",
    "evaluate",
    "search",
    "study",
    "forecast",
    "save",
    "load",
    "Model",
]


# Names of version 0.1.0 -> where a module lies now; a name stands for all that is below it.
_moved = {
    **{name: f"learning.{name}" for name in ("core", "features", "linalg", "encoders", "mesh")},
    **{name: f"retrieval.{name}" for name in ("topk", "metrics")},
    "deep": "datasets.deep",
    "export": "index",
    "export.optuna_study": "studies.optuna_study",
    "fast": "retrieval.numba_topk",
    **{name: f"results.{name}" for name in ("tables", "figures", "plots", "report", "significance", "trec")},
    **{name: f"studies.{name}" for name in ("plans", "trackers", "runs")},
    "plans.reproduce": "studies.reproduce",
    "cli": "commands.cli",
}


def _home(name: str) -> str | None:
    """Where the module of a former name lies now, both without the package's own name."""
    if name in _moved:
        return _moved[name]
    above, _, last = name.rpartition(".")
    home = _home(above) if above else None
    return f"{home}.{last}" if home else None


class _Moved(MetaPathFinder, Loader):
    """Imports a module by its former name: both names are one module."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == __name__ and _home(name) else None

    def exec_module(self, module: ModuleType) -> None:
        home = _home(module.__name__.removeprefix(f"{__name__}."))
        sys.modules[module.__name__] = import_module(f"{__name__}.{home}")


sys.meta_path.insert(0, _Moved())  # first: what finds files would load one that is loaded already once more


def __getattr__(name: str) -> Any:
    if name in _moved:
        return import_module(f"{__name__}.{_moved[name]}")
    if name not in _homes:
        raise AttributeError(f"module 'jaxcmh' has no attribute {name!r}")
    module, attribute = _homes[name]
    home = import_module(module)
    return getattr(home, attribute) if attribute else home


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
