"""What a training has finished, on the disk: the same training, started again, goes on from there.

Each process has files of its own, for it has rows of its own.  Mapped features are not kept: they are as many as the
data, and the maps make them again in one pass.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxcmh import store
from jaxcmh.learning.processes import everywhere, here, of_each, over_rows, own, several

KIND, FORMAT = "jaxcmh_stage", 1
STAGES = ("features", "fit", "model")
T = TypeVar("T")


class Kept(NamedTuple):
    """Where finished stages are kept, and of which training."""

    folder: Path
    wanted: dict[str, Any]  # what tells trainings apart: JSON values
    mesh: Mesh | None

    def file(self, stage: str) -> Path:
        number, count = (jax.process_index(), jax.process_count()) if several(self.mesh) else (0, 1)
        return self.folder / f"{stage}-{number}-of-{count}.safetensors"


def reached(kept: Kept) -> int:
    """How many stages every process has finished."""
    there = [kept.file(stage).is_file() for stage in STAGES]
    return int(of_each(there.index(False) if False in there else len(STAGES), kept.mesh).min())


def keep(kept: Kept, stage: str, arrays: dict[str, Any], **said: Any) -> None:
    kept.folder.mkdir(parents=True, exist_ok=True)
    header = {"format": FORMAT, "stage": stage, "wanted": kept.wanted, **said}
    store.write(kept.file(stage), KIND, header, {name: np.asarray(array) for name, array in arrays.items()})


def read(kept: Kept, stage: str, restore: Callable[[dict[str, Any], dict[str, np.ndarray]], T]) -> T:
    """What `restore` makes of header and arrays of a finished stage.

    Raises:
        ValueError: the file is damaged, or of another training.
    """

    def of_this(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[T] | None:
        same = (header["stage"], header["wanted"]) == (stage, kept.wanted)
        return (restore(header, arrays),) if same else None

    found = store.read(kept.file(stage), KIND, FORMAT, "stage of a training", of_this)
    if found is None:
        raise ValueError(of_another(kept))
    return found[0]


def of_another(kept: Kept) -> str:
    return f"stages: {kept.folder} holds stages of another training; name another folder or remove it"


def _of_samples(leaf: Any, rows: int) -> bool:
    """Whether an array of a state has a row for each sample, of which a process keeps its own."""
    return leaf.shape[:1] == (rows,)


def keep_state(kept: Kept, state: Any, objective: Any, converged: int, rows: int) -> None:
    """The state after the fit; of arrays with so many rows, the rows of this process."""
    mesh = kept.mesh
    arrays = {
        str(m): own(over_rows(leaf, mesh)) if mesh is not None and _of_samples(leaf, rows) else here(leaf, mesh)
        for m, leaf in enumerate(jax.tree.leaves(state))
    }
    keep(kept, "fit", {**arrays, "objective": here(objective, mesh)}, converged=converged)


def state(kept: Kept, tree: Any, rows: int) -> tuple[Any, Any, int]:
    """State, objective and convergence after the fit; `tree` is like the state."""
    mesh, (leaves, structure) = kept.mesh, jax.tree.flatten(tree)

    def placed(array: np.ndarray, of_samples: bool = False) -> Any:
        if mesh is None:
            return jnp.asarray(array)
        return over_rows(array, mesh, rows) if of_samples else everywhere(array, mesh)

    def restore(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[Any, Any, int]:
        found = [placed(arrays[str(m)], _of_samples(leaf, rows)) for m, leaf in enumerate(leaves)]
        for m, (leaf, array) in enumerate(zip(leaves, found)):
            if array.shape != leaf.shape:
                raise ValueError(f"array {m} of the state: expected shape {leaf.shape}; got {array.shape}")
        return structure.unflatten(found), placed(arrays["objective"]), int(header["converged"])

    with jax.enable_x64(True):
        return read(kept, "fit", restore)
