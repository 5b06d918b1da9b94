"""What a training has finished, on the disk: the same training, started again, goes on from there.

Each process has files of its own, for it has rows of its own.  Mapped features are not kept: they are as many as the
data, and the maps make them again in one pass.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxcmh import store
from jaxcmh.learning.processes import everywhere, here, of_each, over_rows, own, several

KIND, FORMAT = "jaxcmh_stage", 1
STAGES = ("features", "fit", "model")


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


def read(kept: Kept, stage: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a finished stage.

    Raises:
        ValueError: the file is damaged, or of another training.
    """
    header, arrays = store.read(kept.file(stage), KIND, FORMAT, "stage of a training", lambda *found: found)
    if (header.get("stage"), header.get("wanted")) != (stage, kept.wanted):
        raise ValueError(of_another(kept))
    return header, arrays


def of_another(kept: Kept) -> str:
    return f"stages: {kept.folder} holds stages of another training; name another folder or remove it"


def keep_state(kept: Kept, state: Any, objective: Any, converged: int, rows: int) -> None:
    """The state after the fit; of arrays with so many rows, the rows of this process."""
    leaves, mesh = jax.tree.leaves(state), kept.mesh
    mine = [m for m, leaf in enumerate(leaves) if leaf.shape[:1] == (rows,)]
    arrays = {
        str(m): own(over_rows(leaf, mesh)) if mesh is not None and m in mine else here(leaf, mesh)
        for m, leaf in enumerate(leaves)
    }
    keep(kept, "fit", {**arrays, "objective": here(objective, mesh)}, rows=mine, converged=int(converged))


def state(kept: Kept, tree: Any, rows: int) -> tuple[Any, Any, int]:
    """State, objective and convergence after the fit; `tree` is like the state."""
    header, arrays = read(kept, "fit")
    with jax.enable_x64(True):

        def placed(name: str) -> Any:
            if kept.mesh is None:
                return jnp.asarray(arrays[name])
            if name.isdigit() and int(name) in header["rows"]:
                return over_rows(arrays[name], kept.mesh, rows)
            return everywhere(arrays[name], kept.mesh)

        structure = jax.tree.structure(tree)
        leaves = [placed(str(m)) for m in range(structure.num_leaves)]
        return structure.unflatten(leaves), placed("objective"), header["converged"]
