"""What commands search with: the data set of a run, new texts and pictures as features, files of rows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jaxcmh

if TYPE_CHECKING:
    from jaxcmh.model import Model
    from jaxcmh.progress import Progress, Stages


def load_data(
    name: str, root: Path | None, stages: "Stages", steps: "Progress", required: bool = True, **options: Any
) -> Any:
    """The data set, timed; None when it is not required and cannot be had."""
    steps.step(f"loading {name}")
    try:
        with stages("load"):
            return jaxcmh.load_dataset(name, root=root, **options)
    except (OSError, ValueError, ModuleNotFoundError):
        if required:
            raise
        return None


def are_arrays(name: str) -> bool:
    """Whether a data set is of files with arrays, which may be left where they are."""
    from jaxcmh.datasets.folder import lists_of

    folder = Path(name).expanduser()
    return name.partition(":")[0] not in ("icons", "synthetic") and not (folder.is_dir() and lists_of(folder))


def stored_root(config: dict) -> Path | None:
    """Where the data of a run were, as its configuration says."""
    return Path(config["root"]) if config.get("root") else None


def knowing(
    model: "Model", run: Any, root: Path | None, stages: "Stages", steps: "Progress", required: bool = True
) -> "Model":
    """The model of a run with its catalogue: its own; of a run of version 0.1.0, from the data set it was trained on.

    Where that cannot be had and is not required, the ids of its items alone.
    """
    from jaxcmh.datasets.catalogue import Catalogue
    from jaxcmh.results import runs

    if model.catalogue is not None:
        return model
    name = runs.data_of(run)
    split = load_data(name, root or stored_root(run.config), stages, steps, required)
    if split is not None and len(split.train.ids) == model.info.n:
        return model.with_catalogue(split)
    if required:
        raise ValueError(f"{name}: the data are not those the run was trained on")
    ids = runs.train_ids(run)
    return replace(model, catalogue=Catalogue(ids, things=ids))


def read_queries(
    model: "Model", text: list[str] | None, image: list[Path] | None, query: Path | None, view: str | None
) -> tuple[int, Any, list[str]]:
    """View number, feature rows and a name for each query, of a model with its catalogue."""
    names = () if model.catalogue is None else model.catalogue.view_names
    if query is None:
        kind, raw = ("text", text or []) if image is None else ("image", image)
        try:
            number = model.view(kind)
        except ValueError as error:
            raise ValueError(f"--{error}") from None
        if view is not None and view not in (kind, str(number)):
            raise ValueError(f"--view: a query by --{kind} is of view {kind}; got {view!r}")
        return *model.features(kind, raw), list(map(str, raw))
    rows = read_rows(query, "--query")
    number = view_number(model, rows, view, "--query", names)
    return number, rows, [f"row {i}" for i in range(len(rows))]


def view_number(model: "Model", rows: Any, view: str | None, what: str, names: Sequence[str] = ()) -> int:
    """The view that (n, d) feature rows are of: the one named or numbered, or the only one of their width.

    Raises:
        ValueError: no such view, or none or several of that width; the message begins with `what` for the rows.
    """
    dims = model.info.dims
    if view is not None:
        known = {**{name: m for m, name in enumerate(names)}, **{str(m): m for m in range(len(dims))}}
        if view not in known:
            raise ValueError(f"--view: no view {view!r}; there are {', '.join(known)}")
        return known[view]
    fits = [m for m, d in enumerate(dims) if rows.shape[1] == d]
    if len(fits) != 1:
        widths = ", ".join(map(str, dims))
        raise ValueError(f"{what}: rows have {rows.shape[1]} features and the views {widths}; say which with --view")
    return fits[0]


def read_rows(path: Path, what: str) -> Any:
    """(n, d) numbers from a file: .npy, or .npz with one array.

    Raises:
        FileNotFoundError, ValueError: the file is missing or holds something else; the message begins with `what`.
    """
    stored = read_array(path, what)
    if stored.ndim == 1:
        stored = stored[None]
    if stored.ndim != 2 or stored.dtype.kind not in "fiub":
        raise ValueError(f"{what}: expected numbers of shape (n, d), got {stored.dtype} of shape {stored.shape}")
    return stored


def read_array(path: Path, what: str) -> Any:
    """The array in a .npy file, or in a .npz with one; errors as for `read_rows`."""
    from jaxcmh.parsing import read_arrays, reason

    if not path.is_file():
        raise FileNotFoundError(f"{what}: no such file: {path}")
    try:
        arrays = read_arrays(path)
    except Exception as error:  # numpy and zipfile each have errors of their own for a file that is not theirs
        raise ValueError(f"{what}: {path} is not an array file ({reason(error)})") from None
    if len(arrays) != 1:
        raise ValueError(f"{what}: {path}: expected one array, got {', '.join(arrays) or 'none'}")
    return next(iter(arrays.values()))
