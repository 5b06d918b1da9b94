"""Write the API reference from the docstrings as pages to open:  python experiments/build_reference.py FOLDER

Needs the extra `dev`.
"""

import inspect
import sys
import typing
from importlib import import_module
from pathlib import Path

import jaxcmh

PAGES = (
    *("sklearn", "model", "datasets", "datasets.deep", "datasets.preparation"),
    *("learning.core", "learning.features", "learning.encoders", "learning.mesh", "learning.linalg"),
    *("retrieval.metrics", "retrieval.topk"),
    *("index", "index.faiss", "index.files", "index.milvus", "index.pgvector"),
    *("results", "results.tables", "results.figures", "results.plots", "results.report", "results.runs"),
    *("results.importance", "results.significance", "results.trec"),
    *("studies", "studies.runs", "studies.reproduce", "studies.trackers", "studies.optuna_study", "studies.forecasts"),
)


def main(folder: Path) -> None:
    import pdoc  # here, for tests without it read the names of the pages
    import pdoc.render

    # pdoc looks at what a module holds, and the package's own names come on first use.
    for name in jaxcmh.__all__:
        setattr(jaxcmh, name, getattr(jaxcmh, name))
    for module in list(map(import_module, ("jaxcmh", *(f"jaxcmh.{page}" for page in PAGES)))):
        for value in vars(module).values():
            if getattr(value, "__module__", "").startswith("jaxcmh") and (inspect.isclass(value) or callable(value)):
                own = inspect.unwrap(value)  # the types alone: checks among them have no text to read
                own.__annotations__ = typing.get_type_hints(own)
    pdoc.render.configure(docformat="google", footer_text=f"jaxcmh {jaxcmh.__version__}")
    pdoc.pdoc("jaxcmh", *(f"jaxcmh.{page}" for page in PAGES), output_directory=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
