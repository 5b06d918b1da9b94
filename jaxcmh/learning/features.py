"""Feature maps: fitted on training rows, applied anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array, lax, random
from jax.sharding import Mesh

from jaxcmh import brief, checks
from jaxcmh.checks import Count, Key, Number, Rows, checked
from jaxcmh.learning.compilation import quickly
from jaxcmh.learning.processes import by_rows, devices_of, everywhere, here, rows_of_each, several, share, total

Kind = Literal["identity", "centre", "standardise", "rbf", "laplace", "rbf_centred"]
LINEAR = ("identity", "centre", "standardise")
KERNELS = ("rbf", "laplace", "rbf_centred")
__all__ = ["KERNELS", "LINEAR", "FeatureMap", "Features", "Kind", "apply", "fit"]
BLOCK_ENTRIES = 1 << 22  # mapped entries that a process computes at a time (16 MiB of float32)
ENCODE_ROWS = 1 << 14  # rows mapped at a time where mapped rows are not kept


class Features(NamedTuple):
    """The choice of a feature map, recorded with every result.

    `rbf` is φ(x)_j = exp(-|x - a_j|² / 2σ²), the papers' formula; `laplace` is exp(-|x - a_j| / 2σ²), which
    some public code uses instead.  `rbf_centred` is `rbf` less its mean over the training rows, for methods whose hash
    functions shall not rest on what all rows have in common.  `centre` takes each feature's mean away, `standardise`
    divides by its deviation too.  σ is `width` times the mean distance between training rows and anchors.

    On a GPU or TPU, products with the anchors are in precision "high" (TF32, three bfloat16), which moves mAP by less
    than seeds do, unless `jax.default_matmul_precision` says otherwise: "highest" is float32.  All that follows the
    features is in full float32.

    Example:
        >>> Features(anchors=500, width=0.5)
        Features(kind='rbf', anchors=500, width=0.5, standardise=False)
    """

    kind: Kind = "rbf"
    anchors: Count = 1500  # training rows drawn without replacement, for each view anew; all rows if there are fewer
    width: Annotated[float, Number(1e-6, 1e6)] = 1.0  # multiple of the mean distance to the anchors
    standardise: bool = False  # before the kernel: each feature to mean 0 and standard deviation 1


@partial(
    jax.tree_util.register_dataclass, data_fields=("mean", "scale", "anchors", "sigma", "offset"), meta_fields=("kind",)
)
@dataclass(frozen=True)
class FeatureMap:
    """A fitted feature map of one view; a pytree.

    Example:
        >>> fitted, phi = fit(Features("standardise"), random.key(0), np.array([[1.0], [3.0]]))
        >>> fitted.mean.tolist(), fitted.scale.tolist(), phi.tolist()
        ([2.0], [1.0], [[-1.0], [1.0]])
    """

    mean: Array  # (d,) subtracted first
    scale: Array  # (d,) divided by then
    anchors: Array  # (q, d) in standardised coordinates; (0, d) without a kernel
    sigma: Array  # () kernel width
    kind: str = field(default="rbf")
    offset: Array | None = None  # (q,) subtracted last; rbf_centred alone has one

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def fit(
    features: Annotated[Features, checks.fields], key: Key, x: Rows, mesh: Mesh | None = None
) -> tuple[FeatureMap, Array]:
    """Fit a feature map on training rows and map them.

    Args:
        features: which map.
        key: a `jax.random.key`; draws the anchors.
        x: (n, d) real array or scipy.sparse matrix.
        mesh: map on these devices, each its share of the rows, see `jaxcmh.mesh.row_mesh`.

    Returns:
        The fitted map and the (n, q) mapped rows; on a mesh they stay spread, with zeros behind up to a multiple of
        the devices, and the map is on the first device.

    Raises:
        ValueError: unknown kind, fewer than one anchor, width not positive, or x not a finite (n, d) array.

    Example:
        >>> fitted, phi = fit(Features("rbf", anchors=2), random.key(0), np.eye(5))
        >>> phi.shape, float(phi.max())
        ((5, 2), 1.0)
    """
    return fit_map(features, key, x, mesh)


def fit_map(
    features: Features, key: Key, x: Any, mesh: Mesh | None = None, keep: bool = True
) -> tuple[FeatureMap, Any]:
    """`fit` of rows that are checked already or read block by block; mapped rows are None where they are not kept."""
    n, d = x.shape
    zeros, ones = jax.device_put((np.zeros(d), np.ones(d)))  # which compiles nothing
    mean, scale = zeros, ones
    if features.standardise or features.kind in ("centre", "standardise"):
        mean, deviation = (jnp.asarray(a, float) for a in _moments(x, mesh))
        scale = ones if features.kind == "centre" else deviation
    if features.kind in LINEAR:
        fitted = FeatureMap(mean, scale, jnp.zeros((0, d)), jnp.ones(()), features.kind)
        if not keep:
            return fitted, None
        return fitted, mapped_over(fitted, x, mesh)
    drawn = np.sort(np.asarray(quickly(_drawn, key, n=n, k=min(features.anchors, n))))
    # On the host, where no view has a program of its own.
    anchors = jax.device_put((np.asarray(_dense(x[drawn])) - np.asarray(mean)) / np.asarray(scale))
    if not keep:
        blocks = [slice(i, i + ENCODE_ROWS) for i in range(0, n, ENCODE_ROWS)]
        distances = [_total_distance(_dense(x[block]), mean, scale, anchors) for block in blocks]
        fitted = FeatureMap(mean, scale, anchors, _sigma(features.width, distances, n), features.kind)
        if features.kind == "rbf_centred":
            fitted = replace(fitted, offset=sum(mapped(fitted, x[block]).sum(0) for block in blocks) / n)
        return fitted, None
    phi, distances = _squares_over(mesh, x, mean, scale, anchors)
    fitted = FeatureMap(mean, scale, anchors, everywhere(_sigma(features.width, distances, n), mesh), features.kind)
    phi = _zeros_behind(_kernel(phi, fitted.sigma, features.kind), n)
    if features.kind == "rbf_centred":
        fitted = replace(fitted, offset=phi.mean(0) * (len(phi) / n))
        phi = _zeros_behind(_less(phi, fitted.offset), n)
    return here(fitted, mesh), phi


@checked
def apply(fitted: FeatureMap, x: Rows) -> Array:
    """Map any rows with a fitted map.

    Args:
        fitted: from `fit`.
        x: (n, d) real array or scipy.sparse matrix.

    Returns:
        (n, q) array: q anchors, or q = d without a kernel.

    Raises:
        ValueError: x is not a finite (n, d) array of the d features the map was fitted on.

    Example:
        >>> fitted, _ = fit(Features("standardise"), random.key(0), np.array([[0.0, 1.0], [2.0, 5.0]]))
        >>> apply(fitted, np.array([[1.0, 3.0]])).tolist()
        [[0.0, 0.0]]
    """
    if x.shape[1] != len(fitted.mean):
        raise ValueError(f"x: expected {len(fitted.mean)} columns, as in training; got shape {x.shape}")
    return mapped_over(fitted, x, None)


def mapped(fitted: FeatureMap, x: Any, mesh: Mesh | None = None) -> Array:
    """`apply` of a block of rows; on a mesh with more behind, up to a multiple of its devices."""
    return map_rows(everywhere(fitted, mesh), spread(x, mesh))


def spread(x: Any, mesh: Mesh | None, first: int = 0, most: int | None = None) -> Array:
    """Rows, dense, over the devices of a mesh, each of which is sent its share, with zeros behind up to a multiple.

    Of each share those from `first` on, at most so many.
    """
    if mesh is None:
        return _dense(x if most is None else x[first : first + most])
    (n, d), dtype = x.shape, jnp.zeros(()).dtype
    x, rows = np.asarray(x) if isinstance(x, jax.Array) else x, rows_of_each(n, mesh)
    size = rows if most is None else most

    def part(index: Any) -> np.ndarray:
        start = (index[0].start or 0) // size * rows + first
        found = x[start : start + size]
        found = found.toarray() if scipy.sparse.issparse(found) else found
        return np.pad(found.astype(dtype, copy=False), ((0, size - len(found)), (0, 0)))

    return jax.make_array_from_callback((size * mesh.size, d), by_rows(mesh), part)


def mapped_over(fitted: FeatureMap, x: Any, mesh: Mesh | None) -> Array:
    """`mapped` of all rows, of which each device of a mesh has its share, with zeros behind up to a multiple."""
    fitted, phi = everywhere(fitted, mesh), _zeros_over(mesh, x.shape[0], len(fitted.anchors) or x.shape[1])
    for start, block in _blocks_over(mesh, x, phi.shape[1]):
        phi = jax.block_until_ready(_write_each(phi, map_rows(fitted, block), start, devices=devices_of(mesh)))
    return _zeros_behind(phi, x.shape[0])


def _squares_over(mesh: Mesh | None, x: Any, mean: Array, scale: Array, anchors: Array) -> tuple[Array, list[Array]]:
    """Squared distances (n, q) to the anchors, as `mapped_over` has its rows; and sums of the rows' mean distances."""
    phi, distances = _zeros_over(mesh, x.shape[0], len(anchors)), []
    mean, scale, anchors = everywhere((mean, scale, anchors), mesh)
    for start, block in _blocks_over(mesh, x, len(anchors)):
        phi, distance = _fill_each(phi, block, start, mean, scale, anchors, x.shape[0], devices=devices_of(mesh))
        distances.append(jax.block_until_ready(distance))
    return phi, distances


def _blocks_over(mesh: Mesh | None, x: Any, columns: int) -> Iterator[tuple[int, Array]]:
    """A block of each device's rows at a time, and where in their shares it starts.

    Who takes them waits until one is mapped, or many would be read before.
    """
    rows, devices = rows_of_each(x.shape[0], mesh), max(1, devices_of(mesh) // jax.process_count())
    step = max(1, BLOCK_ENTRIES // devices // max(columns, x.shape[1]))
    for start in range(0, rows, step):
        yield start, spread(x, mesh, start, min(step, rows - start))


def _zeros_over(mesh: Mesh | None, n: int, columns: int) -> Array:
    if mesh is None:
        return _zeros(n, columns)
    shape = rows_of_each(n, mesh) * mesh.size, columns
    return jax.jit(partial(jnp.zeros, shape), out_shardings=by_rows(mesh))()


@partial(jax.jit, static_argnames=("n", "columns"))
def _zeros(n: int, columns: int) -> Array:
    return jnp.zeros((n, columns))


@partial(jax.jit, static_argnames=("n", "k"))
def _drawn(key: Array, n: int, k: int) -> Array:
    return random.permutation(key, n)[:k]


@jax.jit
def _standardised(x: Array, mean: Array, scale: Array) -> Array:
    return (x - mean) / scale


def _sigma(width: float, distances: list[Array], n: int) -> Array:
    """On the host, where no number of blocks has a program of its own."""
    return jax.device_put(width * sum(map(np.asarray, distances)) / n)


@jax.jit
def map_rows(fitted: FeatureMap, x: Any) -> Array:
    """The same of a block of dense rows."""
    if fitted.kind in LINEAR:
        return _standardised(x, fitted.mean, fitted.scale)
    squares, _ = _distances(x, fitted.mean, fitted.scale, fitted.anchors)
    phi = _kernel(squares, fitted.sigma, fitted.kind)
    return phi if fitted.offset is None else phi - fitted.offset


@jax.jit
def _distances(x: Array, mean: Array, scale: Array, anchors: Array) -> tuple[Array, Array]:
    """Squared distances (n, q) to the anchors, and the sum over rows of their mean distance."""
    x = _standardised(x, mean, scale)
    squares = (x * x).sum(1)[:, None] + (anchors * anchors).sum(1) - 2 * _products(x, anchors)
    squares = jnp.maximum(squares, 0)
    return squares, jnp.sqrt(squares).mean(1).sum()


def _products(x: Array, anchors: Array) -> Array:
    """(n, q), as precise as the user has told jax, else "high": TF32 on GPUs that have it, three bfloat16 on TPUs."""
    told = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return jnp.matmul(x, anchors.T, precision=told or "high")


@jax.jit
def _total_distance(x: Array, mean: Array, scale: Array, anchors: Array) -> Array:
    return _distances(x, mean, scale, anchors)[1]


@partial(jax.jit, static_argnames="devices", donate_argnums=0)
def _write_each(phi: Array, block: Array, start: Array, devices: int) -> Array:
    """Writes rows that are spread, some of each device's from `start` of its share on, in place."""
    whole, part = (a.reshape(devices, -1, a.shape[1]) for a in (phi, block))
    return lax.dynamic_update_slice_in_dim(whole, part, start, 1).reshape(phi.shape)


@partial(jax.jit, static_argnames="devices", donate_argnums=0)
def _fill_each(
    squares: Array, x: Array, start: Array, mean: Array, scale: Array, anchors: Array, n: int, devices: int
) -> tuple[Array, Array]:
    """Writes squared distances as `_write_each`; and the sum of the rows' mean distances, but of those from n on."""
    block, _ = _distances(x, mean, scale, anchors)
    rows, size = len(squares) // devices, len(x) // devices
    numbers = (rows * jnp.arange(devices)[:, None] + start + jnp.arange(size)).ravel()
    distance = jnp.where(numbers < n, jnp.sqrt(block).mean(1), 0).sum()
    return _write_each(squares, block, start, devices=devices), distance


@partial(jax.jit, static_argnames="kind", donate_argnums=0)
def _kernel(squares: Array, sigma: Array, kind: str) -> Array:
    sigma = jnp.where(sigma > 0, sigma, 1)  # every row equals every anchor: all distances are 0 anyway
    return jnp.exp(-(jnp.sqrt(squares) if kind == "laplace" else squares) / (2 * sigma**2))


@partial(jax.jit, donate_argnums=0)
def _less(phi: Array, offset: Array) -> Array:
    return phi - offset


def _zeros_behind(phi: Array, n: int) -> Array:
    """Rows from n on become 0."""
    return phi if len(phi) == n else _zeroed(phi, n)


@partial(jax.jit, donate_argnums=0)
def _zeroed(phi: Array, n: int) -> Array:
    return jnp.where(jnp.arange(len(phi))[:, None] < n, phi, 0)


def _dense(x: Any) -> Array:
    return jnp.asarray(x.toarray() if scipy.sparse.issparse(x) else x, float)


def _moments(x: Any, mesh: Mesh | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every feature, 1 in place of 0, in float64; each process reads its rows."""
    mine, n = share(x.shape[0], mesh), x.shape[0]
    if scipy.sparse.issparse(x):
        x = x[mine] if several(mesh) else x
        sums = (np.asarray(a.sum(0, dtype=np.float64)).ravel() for a in (x, x.multiply(x)))
        mean, squares = (total(of_mine, mesh) / n for of_mine in sums)
        variance = squares - mean**2
    else:
        x = np.asarray(x) if isinstance(x, jax.Array) else x
        steps = [slice(i, min(i + 4096, mine.stop)) for i in range(mine.start, mine.stop, 4096)]
        zeros = np.zeros(x.shape[1])
        mean = total(sum((x[step].sum(0, dtype=np.float64) for step in steps), zeros), mesh) / n
        blocks = (x[step] - mean for step in steps)  # x.var would copy all of x to float64
        variance = total(sum((np.einsum("ij,ij->j", block, block) for block in blocks), zeros), mesh) / n
    # A constant feature keeps a variance of rounding size; dividing by it would blow the feature up.
    constant = variance <= 1e-12 * (mean**2 + variance)
    return mean, np.sqrt(np.where(constant, 1, variance))
