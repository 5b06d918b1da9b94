"""Supervised cross-modal hashing in JAX.

    model = jaxcmh.train("dcgh", (images, texts), labels, bits=64)
    distances, ids = jaxcmh.search(model, new_texts, view=1, k=10)

Names are imported on first use, so that the command line starts without loading JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxcmh import methods
    from jaxcmh.datasets import load_dataset
    from jaxcmh.features import Features
    from jaxcmh.model import Model, encode, evaluate, load, save, search, train

_homes = {
    "Features": ("jaxcmh.features", "Features"),
    "Model": ("jaxcmh.model", "Model"),
    "encode": ("jaxcmh.model", "encode"),
    "evaluate": ("jaxcmh.model", "evaluate"),
    "load": ("jaxcmh.model", "load"),
    "load_dataset": ("jaxcmh.datasets", "load_dataset"),
    "methods": ("jaxcmh.methods", None),
    "save": ("jaxcmh.model", "save"),
    "search": ("jaxcmh.model", "search"),
    "train": ("jaxcmh.model", "train"),
}
__all__ = [  # noqa: RUF022 (in the order of use)
    "load_dataset",
    "Features",
    "methods",
    "train",
    "encode",
    "evaluate",
    "search",
    "save",
    "load",
    "Model",
]


def __getattr__(name: str) -> Any:
    if name not in _homes:
        raise AttributeError(f"module 'jaxcmh' has no attribute {name!r}")
    module, attribute = _homes[name]
    home = import_module(module)
    return getattr(home, attribute) if attribute else home


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
