"""What a method is, and how any of them is run: one jitted scan over a state pytree.

A method is a module constant made of pure functions, so it can be a static argument of `jit`; its float
hyper-parameters are data, so that changing them compiles nothing and `sweep` can map over them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax, random
from jax.core import Tracer

from jaxcmh import checks
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import gram, unit_rows


class Data(NamedTuple):
    """Everything about the training set that no hyper-parameter touches; computed once, shared by all lanes of a sweep.

    Rows are samples.  Padding rows (see `pad_rows`) are zero everywhere and have mask 0.
    """

    views: tuple[Array, ...]  # (n, q_m) mapped features of each view
    labels: Array  # (n, c) 0/1
    unit_labels: Array  # (n, c) labels with rows of length 1
    mask: Array  # (n,) 1 for a sample, 0 for padding
    grams: tuple[Array, ...]  # (q_m, q_m) float64, views[m].T @ views[m]
    sets: Array  # (u, c) the distinct label sets
    member: Array  # (n,) int32, the row of `sets` that each sample has
    counts: Array  # (u,) samples with each label set
    extra: Any = ()  # what a method's `prepare` adds
    eigen: tuple[tuple[Array, Array], ...] = ()  # eigenvalues and vectors of the grams, where they save many solves


class Method(NamedTuple):
    """A hashing method: pure functions over its own State and Params, in the order of its paper."""

    name: str
    params: Any  # default hyper-parameters: NamedTuple of floats, always traced
    init: Callable[[Array, Data, Any, int], Any]  # (key, data, params, bits) -> state
    updates: tuple[Callable[[Any, Data, Any], Any], ...]  # block updates (state, data, params) -> state
    objective: Callable[[Any, Data, Any], Array]  # (state, data, params) -> scalar: the specification
    codes: Callable[[Any, Data, Any], Array]  # -> (n, bits) in {-1, +1}, or (n, books) int32 word indices
    encoder: Callable[[Any, Data, Any], tuple[Array, ...]]  # -> linear hash functions (q_m, bits), one a view
    iterations: int = 10
    features: Features = Features()
    prepare: Callable[[Data], Any] | None = None  # data -> Data.extra
    codebooks: Callable[[Any], Array] | None = None  # state -> (books, words, bits): look-up instead of Hamming
    unlabelled: Callable[[Any, Data, Any], Any] | None = None  # look-up: -> encoders.Unlabelled
    diagnostics: Callable[[Any, Data, Any], dict[str, Array]] | None = None  # -> named scalars worth a look
    check: Callable[[Any], None] | None = None  # params of Python floats -> a ValueError where the method has none


def prepare(views: Sequence[Array], labels: Any) -> Data:
    """Collect mapped features and labels into `Data`.

    Args:
        views: one dense (n, q_m) array per view, already mapped by `features.fit`.
        labels: (n, c) 0/1, or (n,) integer classes.

    Returns:
        Data with float64 Gram matrices and the distinct label sets.

    Raises:
        ValueError: fewer than two views, rows not aligned, numbers not finite, or labels other than 0 and 1.

    Example:
        >>> data = prepare([np.eye(3), np.ones((3, 2))], np.array([[1, 0], [0, 1], [1, 0]]))
        >>> data.counts.tolist(), data.member.tolist()
        ([1.0, 2.0], [1, 0, 1])
    """
    checked, host = checks.pairs(views, labels)
    views = tuple(jnp.asarray(x, float) for x in checked)
    packed = np.ascontiguousarray(np.packbits(host, axis=1)).view(f"V{-(-host.shape[1] // 8)}").ravel()
    _, first, member, counts = np.unique(packed, return_index=True, return_inverse=True, return_counts=True)
    dtype = views[0].dtype
    L = jnp.asarray(host, dtype)
    return Data(
        views=views,
        labels=L,
        unit_labels=unit_rows(L),
        mask=jnp.ones(len(host), dtype),
        grams=tuple(gram(x) for x in views),
        sets=L[first],
        member=jnp.asarray(member, jnp.int32),
        counts=jnp.asarray(counts, dtype),
    )


def random_rows(key: Array, data: Data, width: int) -> Array:
    """(n, width) Gaussian numbers, 0 on padding; the numbers of a row depend neither on padding nor on precision."""
    drawn = random.normal(key, (len(data.mask), width), jnp.float32)
    return drawn.astype(data.mask.dtype) * data.mask[:, None]


def step(method: Method, state: Any, data: Data, params: Any) -> Any:
    """One iteration: the method's block updates, in order."""
    for update in method.updates:
        state = update(state, data, params)
    return state


def fit(
    method: Method, data: Data, key: Array, params: Any = None, *, bits: int, iterations: int | None = None
) -> tuple[Any, Array]:
    """Train a method: one jitted `lax.scan` over its step.

    Args:
        method: a `Method`; only its functions are compiled in, never its numbers.
        data: the training set, from `prepare`.
        key: a `jax.random.key`.
        params: hyper-parameters; the method's own if None.
        bits: length of the codes, a positive multiple of 8.
        iterations: steps; the method's own number if None.

    Returns:
        The final state, and the objective after every iteration, shape (iterations,).

    Raises:
        ValueError: an argument is not as described, or there are fewer samples than bits or classes.

    Example:
        >>> import jaxcmh
        >>> data = prepare([np.eye(40)[:, :30], np.eye(40)[:, 10:]], np.arange(40)[:, None] % 4 == np.arange(4))
        >>> state, objective = fit(jaxcmh.methods.registry["dcgh"], data, random.key(0), bits=8)
        >>> state.H.shape, bool(objective[-1] < objective[0])
        ((40, 8), True)
    """
    params, bits, iterations = _checked(method, data, key, params, bits, iterations, axes=0)
    return _fit(method._replace(params=None), data, key, params, bits, iterations)


def sweep(
    method: Method,
    data: Data,
    keys: Array,
    params: Any,
    *,
    bits: int,
    iterations: int | None = None,
    lanes: int = 4,
    output: Callable[[Any, Data, Any], Any] | None = None,
) -> tuple[Any, Array]:
    """Train many configurations in one compiled loop over vectorised lanes.

    Args:
        method, data, bits, iterations: as in `fit`.
        keys: (s,) keys, one a configuration.
        params: the method's Params with leaves of shape () or (s,).
        lanes: configurations in flight at once.  More lanes need more memory; beyond a few, decompositions
            in vectorised lanes stop paying on CPU.
        output: (state, data, params) -> what to keep of each configuration, a module-level function;
            the whole state if None.

    Returns:
        What `output` gave and the objectives, every leaf with a leading axis of s.

    Raises:
        ValueError: an argument is not as described, or there are fewer samples than bits or classes.

    Example:
        >>> import jaxcmh
        >>> data = prepare([np.eye(40)[:, :30], np.eye(40)[:, 10:]], np.arange(40)[:, None] % 4 == np.arange(4))
        >>> dcgh = jaxcmh.methods.registry["dcgh"]
        >>> grid = dcgh.params._replace(alpha=jnp.array([1.0, 10.0, 100.0]))
        >>> states, objectives = sweep(dcgh, data, random.split(random.key(0), 3), grid, bits=8)
        >>> states.H.shape, objectives.shape
        ((3, 40, 8), (3, 10))
    """
    params, bits, iterations = _checked(method, data, keys, params, bits, iterations, axes=1)
    params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(keys),)), params)
    lanes = min(checks.integer(lanes, "lanes", least=1), len(keys))
    # The last lanes are filled up with repeats: a remainder of another size would be compiled once more.
    filled = np.minimum(np.arange(-(-len(keys) // lanes) * lanes), len(keys) - 1)
    keys_and_params = jax.tree.map(lambda leaf: leaf[filled], (keys, params))
    results = _sweep(method._replace(params=None), data, *keys_and_params, bits, iterations, lanes, output)
    return jax.tree.map(lambda leaf: leaf[: len(keys)], results)


def _checked(
    method: Method, data: Data, keys: Any, params: Any, bits: Any, iterations: Any, axes: int
) -> tuple[Any, int, int]:
    """Hyper-parameters as arrays of the data's dtype (traced, never weakly typed), bits and iterations.

    Keys must have this many axes; hyper-parameters none, or those of the keys.
    """
    checks.instance(method, "method", Method, "a Method, such as methods.registry['dcgh']")
    checks.instance(data, "data", Data, "what prepare returned")
    bits = checks.bits(bits)
    checks.enough_rows(len(data.mask), bits, data.labels.shape[1])
    iterations = checks.integer(method.iterations if iterations is None else iterations, "iterations", least=1)
    keys = checks.key(keys, "keys" if axes else "key", axes)
    params = method.params if params is None else params
    if getattr(params, "_fields", None) != method.params._fields:
        raise ValueError(f"params: expected {method.name}'s Params{method.params._fields}; got {params!r}")
    for name, value in params._asdict().items():
        if np.shape(value) not in ((), keys.shape):
            raise ValueError(f"params.{name}: expected one number{' or one a key' if axes else ''}; got {value!r}")
        if not isinstance(value, Tracer) and not np.isfinite(value).all():
            raise ValueError(f"params.{name}: expected finite numbers; got {value!r}")
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, data.mask.dtype), params), bits, iterations


def with_extra(method: Method, data: Data) -> Data:
    """Data with what the method's `prepare` adds to it."""
    return data._replace(extra=method.prepare(data)) if method.prepare else data


def run(method: Method, data: Data, key: Array, params: Any, bits: int, iterations: int) -> tuple[Any, Array]:
    outside = jax.config.read("jax_enable_x64")

    def iterate(state, _):
        with jax.enable_x64(outside):
            # The objective of the state that comes in, not of the one that goes out: it shares its large
            # products with the first update, which makes it nearly free.
            return step(method, state, data, params), method.objective(state, data, params)

    state = method.init(key, data, params, bits)
    # A sweep vectorises the finished loop, where the contexts its float64 algebra was written in are gone.
    with jax.enable_x64(True):
        state, objective = lax.scan(iterate, state, length=iterations)
    return state, jnp.append(objective[1:], method.objective(state, data, params))


@partial(jax.jit, static_argnames=("method", "bits", "iterations"))
def _fit(method: Method, data: Data, key: Array, params: Any, bits: int, iterations: int) -> tuple[Any, Array]:
    return run(method, with_extra(method, data), key, params, bits, iterations)


@partial(jax.jit, static_argnames=("method", "bits", "iterations", "lanes", "output"))
def _sweep(
    method: Method, data: Data, keys: Array, params: Any, bits: int, iterations: int, lanes: int, output: Any
) -> tuple[Any, Array]:
    data = with_extra(method, data)

    def lane(key_and_params: tuple[Array, Any]) -> tuple[Any, Array]:
        key, params = key_and_params
        state, objective = run(method, data, key, params, bits, iterations)
        return (state if output is None else output(state, data, params)), objective

    return lax.map(lane, (keys, params), batch_size=lanes)
