"""Arrays over devices of which other processes have some: what each has of the rows, and what all know.

Every process runs the same program, see `jax.distributed`.  Rows are spread, each process has those of its devices;
everything else is the same in all.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def several(mesh: Mesh | None) -> bool:
    """Whether other processes have devices of a mesh."""
    return mesh is not None and mesh.is_multi_process


def addressed(x: Any) -> bool:
    """Whether all of an array is on devices of this process."""
    return not isinstance(x, Array) or isinstance(x, Tracer) or x.is_fully_addressable


def mesh_of(x: Any) -> Mesh | None:
    """The mesh of an array of which other processes have some; None if this one has all of it."""
    return None if addressed(x) else x.sharding.mesh


def by_rows(mesh: Mesh) -> NamedSharding:
    """How arrays lie on a mesh of which each device has its share of the rows."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def devices_of(mesh: Mesh | None) -> int:
    """How many devices a mesh has; without one there is one."""
    return 1 if mesh is None else mesh.size


def rows_of_each(n: int, mesh: Mesh | None) -> int:
    """How many of n rows are on each device of a mesh, with what is behind the last of them."""
    return -(-n // devices_of(mesh))


def share(n: int, mesh: Mesh | None, process: int | None = None) -> slice:
    """Which of n rows are on devices of a process, this one if None: equally many on each, on the last ones fewer."""
    if mesh is None:
        return slice(0, n)
    process = jax.process_index() if process is None else process
    rows, mine = rows_of_each(n, mesh), [i for i, d in enumerate(mesh.devices.flat) if d.process_index == process]
    return slice(min(n, rows * mine[0]), min(n, rows * (mine[-1] + 1)))


def parts(x: Array | np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """The rows (k, ..) that each device of this process has, not copied, by the first of them and the one behind."""
    if not isinstance(x, Array) or x.sharding.shard_shape(x.shape)[1:] != x.shape[1:]:  # no device has whole rows
        return {(0, len(x)): np.asarray(x)}
    found = {shard.index[0].indices(len(x))[:2]: shard.data for shard in x.addressable_shards}
    return {rows: np.asarray(found[rows]) for rows in sorted(found)}


def own(x: Array) -> np.ndarray:
    """The rows (k, ..) of an array over devices that are on those of this process."""
    return np.concatenate(list(parts(x).values()))


def total(x: np.ndarray, mesh: Mesh | None) -> np.ndarray:
    """The sum over processes of what each has of an array."""
    if not several(mesh):
        return x
    assert mesh is not None
    zeros, first = np.zeros_like(x), mesh.local_devices[0]
    with jax.enable_x64(True):
        parts = [jax.device_put((x if d == first else zeros)[None], d) for d in mesh.local_devices]
        spread = jax.make_array_from_single_device_arrays((mesh.size, *x.shape), by_rows(mesh), parts)
        return np.asarray(jax.jit(_sum, out_shardings=NamedSharding(mesh, PartitionSpec()))(spread))


def of_each(x: float, mesh: Mesh | None) -> np.ndarray:
    """(processes,) the number that each has."""
    if not several(mesh):
        return np.array([x])
    return total(np.where(np.arange(jax.process_count()) == jax.process_index(), x, 0.0), mesh)


def _sum(x: Array) -> Array:
    return jnp.sum(x, 0)


def _same(tree: Any) -> Any:
    return tree


def everywhere(tree: Any, mesh: Mesh | None) -> Any:
    """A copy on each device of a mesh; of arrays of one process, which are the same in all."""
    if mesh is None:
        return tree
    whole = NamedSharding(mesh, PartitionSpec())

    def put(x: Any) -> Array:
        if not addressed(x):
            return jax.jit(_same, out_shardings=whole)(x)
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, whole, lambda index: host[index])

    with jax.enable_x64(True):  # or float64 on several devices would become float32 without a word
        return jax.tree.map(put, tree) if several(mesh) else jax.device_put(tree, whole)


def over_rows(x: Any, mesh: Mesh, mine_of: int | None = None) -> Array:
    """An array with its rows, a multiple of the devices, spread over a mesh.

    All processes have the whole array, or each has its own of so many rows.
    """
    rows = by_rows(mesh)
    with jax.enable_x64(True):
        if mine_of is not None:
            return jax.make_array_from_process_local_data(rows, x, (mine_of, *x.shape[1:]))
        if not several(mesh) or not addressed(x):
            return jax.device_put(x, rows)
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, rows, lambda index: host[index])


def here(tree: Any, mesh: Mesh | None) -> Any:
    """Whole arrays on the first device of a mesh, of those that this process has."""
    if mesh is None:
        return tree
    with jax.enable_x64(True):
        if several(mesh):
            tree = jax.tree.map(lambda x: x.addressable_data(0), everywhere(tree, mesh))
        return jax.device_put(tree, mesh.local_devices[0])
