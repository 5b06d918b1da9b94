"""Rows over devices: padding, and sharding of the training set."""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh

from jaxcmh.checks import Copies, checked, filled, series
from jaxcmh.learning.core import Data
from jaxcmh.learning.processes import everywhere, over_rows

ROW_FIELDS = ("features", "member", "mask", "turned")  # of Data: one entry per sample, where they are not reduced
REDUCED = ("views", "labels", "unit_labels", "ones")  # rows too, where nothing is reduced


@checked
def row_mesh(devices: Annotated[Any, partial(series, of=jax.Device), filled] | None = None) -> Mesh:
    """A one-dimensional mesh named "rows" over the given devices, all of them if None.

    Raises:
        ValueError: `devices` is not a sequence of jax devices.

    Example:
        >>> row_mesh().axis_names
        ('rows',)
    """
    chosen = jax.devices() if devices is None else list(devices)
    # Auto axes: products over sharded rows become all-reduces of small matrices by themselves.
    return jax.make_mesh((len(chosen),), ("rows",), axis_types=(AxisType.Auto,), devices=chosen)


@checked
def pad_rows(data: Data, multiple: Copies) -> Data:
    """Append rows of zeros, with mask 0, until the number of rows is divisible; they change nothing that is learned.

    Args:
        data: from `core.prepare`.
        multiple: usually the number of devices.

    Raises:
        ValueError: `multiple` is not a positive integer.

    Example:
        >>> from jaxcmh.learning.core import prepare
        >>> import numpy as np
        >>> pad_rows(prepare([np.eye(3), np.eye(3)], np.eye(3)), 4).mask.tolist()
        [1.0, 1.0, 1.0, 0.0]
    """
    missing, n = -len(data.mask) % multiple, len(data.mask)
    if not missing:
        return data

    def pad(x: jax.Array) -> jax.Array:
        return jnp.pad(x, ((0, missing),) + ((0, 0),) * (x.ndim - 1)) if len(x) == n else x

    names = ROW_FIELDS if data.turned is not None else (*ROW_FIELDS, *REDUCED)
    return data._replace(**{name: jax.tree.map(pad, getattr(data, name)) for name in names})


@checked
def shard_rows(data: Data, mesh: Mesh) -> Data:
    """Spread the samples over a mesh from `row_mesh`, and copy everything else to each device.

    Args:
        data: from `core.prepare`; padded here to a multiple of the devices.
        mesh: from `row_mesh`.

    Returns:
        Data to hand to `core.fit` or `core.sweep`, which then run on all devices.

    Example:
        >>> from jaxcmh.learning.core import prepare
        >>> import numpy as np
        >>> mesh = row_mesh()
        >>> len(shard_rows(prepare([np.eye(8), np.eye(8)], np.eye(8)), mesh).mask) % mesh.size
        0
    """
    data = pad_rows(data, mesh.size)

    def place(name: str, value: Any) -> Any:
        def put(x: jax.Array) -> jax.Array:
            return over_rows(x, mesh) if name in ROW_FIELDS and len(x) == len(data.mask) else everywhere(x, mesh)

        return jax.tree.map(put, value)

    return Data(**{name: place(name, value) for name, value in data._asdict().items()})
