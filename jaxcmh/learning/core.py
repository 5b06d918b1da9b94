"""What a method is, and how any of them is run: one jitted scan over a state pytree.

A method is a module constant made of pure functions, so it can be a static argument of `jit`; its float
hyper-parameters are data, so that changing them compiles nothing and `sweep` can map over them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial, wraps
from itertools import compress
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax, random
from jax.core import Tracer

from jaxcmh import brief, checks
from jaxcmh.checks import Bits, Count, Iterations, Key, Keys, Labels, Pairs, Weight, checked
from jaxcmh.learning import reduction
from jaxcmh.learning.compilation import options, quickly
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import exact, lstsq, sign, sqnorm, unit_rows
from jaxcmh.learning.ones import OfSamples, Ones, Places, Similarity
from jaxcmh.learning.streaming import Labelled
from jaxcmh.progress import shown_while

__all__ = ["Data", "Fit", "Method", "fit", "prepare", "sweep"]

Precision = Literal["float32", "float64"]
LabelRows = tuple[Literal["labels", "unit_labels"], ...]
LABEL_ROWS: LabelRows = ("labels", "unit_labels")
DRAWN = 1 << 18  # rows of random codes at a time: while it draws, jax takes 16 times the bytes that are drawn


class Data(NamedTuple):
    """Everything about the training set that no hyper-parameter touches; computed once, shared by all lanes of a sweep.

    Rows are samples.  The first four fields are reduced rows (see `reduction`): p rows with the inner products of the
    n samples, written here as if there were p samples.  Padding (see `mesh.pad_rows`) has mask 0.

    Example:
        >>> data = prepare([np.eye(4), np.ones((4, 2))], np.array([0, 1, 1, 1]))
        >>> float(data.n), data.sets.tolist(), data.counts.tolist(), data.member.tolist()
        (4.0, [[0.0, 1.0], [1.0, 0.0]], [3.0, 1.0], [1, 0, 0, 0])
        >>> data.per_sample(data.sets).shape
        (4, 2)
    """

    views: tuple[Array, ...]  # (p, q_m) mapped features of each view
    labels: Array  # (p, c) labels 0/1
    unit_labels: Array  # (p, c) labels with rows of length 1
    ones: Array  # (p,) the row of ones
    sets: Array  # (u, c) the distinct label sets, 0/1
    counts: Array  # (u,) samples with each label set
    member: Array  # (n,) int32, the row of `sets` that each sample has
    mask: Array  # (n,) 1 for a sample, 0 for padding
    features: tuple[Any, ...]  # (n, q_m) mapped features of each view, every sample: arrays, or `streaming.Streamed`
    turned: reduction.Turn | None = None  # between rows and reduced rows; None where they are the same
    extra: Any = None  # what a method's `prepare` adds; None until it is `ready`
    svd: tuple[tuple[Array, Array, Array], ...] = ()  # of the views, where it saves many solves
    linked: Any = None  # what a method's `links` says of the label sets

    __repr__ = brief.text
    _repr_html_ = brief.table

    @property
    def n(self) -> Array:
        """() the number of samples."""
        return self.counts.sum()

    @property
    def roots(self) -> Array:
        """(u, 1): what is equal for all samples of a label set has as reduced rows its u values times these."""
        return jnp.sqrt(self.counts)[:, None]

    def gaussian(self, key: Array, *shape: int) -> Array:
        """Gaussian numbers in the precision of the data, the same in every precision."""
        return random.normal(key, shape, jnp.float32).astype(self.mask.dtype)

    def per_sample(self, values: Array) -> Array:
        """(n, k) of `values` (u, k), one row per label set; 0 on padding."""
        return values[self.member] * self.mask[:, None]

    def of_sets(self, B: Array) -> Array:
        """(u, k) of rows B (n, k), one per label set: what products with rows that are constant on label sets need."""
        return jax.ops.segment_sum(B, self.member, len(self.sets)) / self.roots

    def coordinates(self, B: Array) -> Array:
        """Reduced rows (p, k) of rows B (n, k) as far as views and labels span them: enough for products with those."""
        if self.turned is None:
            return B
        top = reduction.coordinates(self.turned, self._columns(), B)
        return jnp.pad(top, ((0, len(self.ones) - len(top)), (0, 0)))

    def along_views(self, B: Array) -> Array:
        """The first rows of `coordinates`, as far as views have any: enough for products with views."""
        return B if self.turned is None else reduction.coordinates(self.turned, self.features, B)

    def reduced(self, B: Array) -> Array:
        """Reduced rows (p, r) of codes B (n, r): what the span lacks goes to the last r rows, which are 0 elsewhere."""
        if self.turned is None:
            return B
        top = reduction.coordinates(self.turned, self._columns(), B)
        return jnp.concatenate([top, reduction.remainder(self.turned, B, top)])

    def rows(self, M: Array, B: Array | None = None, B_p: Array | None = None) -> Array:
        """The rows (n, k) that reduced rows M (p, k) stand for.

        Args:
            M: within the span of views and labels; and of B, if that is given.
            B: (n, r) codes with which M was made.
            B_p: (p, r) their reduced rows.
        """
        if self.turned is None:
            return M
        columns = self._columns()
        if B is None or B_p is None:
            return reduction.back(self.turned, columns, M[: sum(X.shape[1] for X in columns)])
        bits = B.shape[1]
        share = lstsq((1.0, B_p[-bits:], M[-bits:]), ridge=1e-8 * jnp.vdot(B, B) / bits)
        return reduction.back(self.turned, columns, M[:-bits] - B_p[:-bits] @ share) + B @ share

    def _columns(self) -> tuple[Any, ...]:
        """What Z is made of, (n, k) each."""
        wanted = self.labels.shape[1] > 0, self.unit_labels.shape[1] > 0
        whole = reduction.in_memory(*self.features)
        if whole and any(wanted) and isinstance(self.linked, Places):
            matrices = labels_of_sets(self), unit_labels_of_sets(self), Ones(jnp.ones_like(self.sets[:, :1]))
            return *self.features, of_samples(self, *compress(matrices, (*wanted, True)))
        of_sets = label_columns(self.sets, *wanted)
        if whole:
            return *self.features, self.per_sample(of_sets)
        return *self.features, Labelled(of_sets, self.member, self.mask)


@partial(jax.jit, static_argnames=("labels", "unit_labels"))
def label_columns(sets: Array, labels: bool = True, unit_labels: bool = True) -> Array:
    """[L, Y, 1] (u, 2c + 1) of label sets (u, c), or those of L and Y that are wanted."""
    return jnp.column_stack([sets] * labels + [unit_rows(sets)] * unit_labels + [jnp.ones(len(sets), sets.dtype)])


def labels_of_sets(data: Data) -> Ones:
    """L (u, c), of data whose method has `ones.places` as its `links`."""
    return Ones(data.sets, data.linked)


def unit_labels_of_sets(data: Data) -> Ones:
    """The same with rows of length 1."""
    L = labels_of_sets(data)
    often = L @ jnp.ones((L.dense.shape[1], 1), L.dense.dtype)
    return L._replace(scale=1 / jnp.sqrt(jnp.maximum(often, 1)))


def squared_similarity(data: Data) -> Array:
    """|S|² of S = 2 Y Yᵀ - 1 1ᵀ."""
    Y, counts = unit_labels_of_sets(data), data.counts[:, None]
    return 4 * sqnorm(Y.gram(counts)) - 4 * sqnorm(Y.transposed_times(counts)) + data.n**2


def of_samples(data: Data, *of_sets: Ones) -> OfSamples:
    """Matrices of label sets side by side, with a row for each sample."""
    return OfSamples(of_sets, data.member, data.mask)


def similarity(data: Data, L: Ones) -> Similarity:
    """L Lᵀ between all samples, of L (u, c) of label sets."""
    return Similarity(of_samples(data, L), sqnorm(L.gram(data.counts[:, None])))


def of_views(first: float | Array, further: float | Array, data: Data) -> list[float | Array]:
    """One weight per view, where papers that have two views name one for each."""
    return [first] + [further] * (len(data.views) - 1)


def _rows(state: Any, data: Data) -> tuple[list[Any], Callable[..., tuple[Any, Data]]]:
    """All that has a row for each sample, and what makes a state and data of some of these rows."""
    leaves, tree = jax.tree.flatten(state)
    mine, views = [m for m, a in enumerate(leaves) if a.shape[:1] == data.mask.shape], len(data.features)

    def of(*rows: Array) -> tuple[Any, Data]:
        features, (member, mask), some = rows[:views], rows[views : views + 2], dict(zip(mine, rows[views + 2 :]))
        part = data._replace(features=features, member=member, mask=mask)
        return tree.unflatten([some.get(m, a) for m, a in enumerate(leaves)]), part

    return [*data.features, data.member, data.mask, *(leaves[m] for m in mine)], of


def _block(
    update: Callable[[Any, Data, Any], Any], state: Any, data: Data, params: Any, start: Array | int, size: int
) -> tuple[Any, Any, Data]:
    """The state with an update of a block of samples written in place; and of the block alone, its state and data."""
    arrays, of = _rows(state, data)
    some, part = of(*(reduction.rows_at(a, start, size) for a in arrays))
    updated = update(some, part, params)

    def written(a: Array, old: Array, new: Array) -> Array:
        return a if new is old else lax.dynamic_update_slice_in_dim(a, new, start, 0)

    return jax.tree.map(written, state, some, updated), updated, part


def by_rows(update: Callable[[Any, Data, Any], Any]) -> Callable[[Any, Data, Any], Any]:
    """An update that looks at each sample for itself; where features are not in memory, a block of samples at a time.

    Rows (n, ..) of the state are written in place then, and nothing else that has n rows is made.
    """

    @wraps(update)
    def blocked(state: Any, data: Data, params: Any) -> Any:
        if reduction.in_memory(*data.features):
            return update(state, data, params)

        def step(start: Array | int, size: int, state: Any) -> Any:
            return _block(update, state, data, params, start, size)[0]

        return reduction.over_blocks(len(data.mask), step, state)

    return blocked


def codes_by_rows(update: Callable[[Any, Data, Any], Any]) -> Callable[[Any, Data, Any], Any]:
    """`by_rows` of an update of codes B, after which the state has B_p, what `Data.along_views` makes of them.

    Features that are not in memory are read once for both.
    """

    @wraps(update)
    def blocked(state: Any, data: Data, params: Any) -> Any:
        if data.turned is None or reduction.in_memory(*data.features):
            state = update(state, data, params)
            return state._replace(B_p=data.along_views(state.B))

        def step(start: Array | int, size: int, carry: tuple[Any, list[Array]]) -> tuple[Any, list[Array]]:
            state, updated, part = _block(update, carry[0], data, params, start, size)
            with jax.enable_x64(True):
                return state, [XB + reduction.cross(X, updated.B) for XB, X in zip(carry[1], part.features)]

        with jax.enable_x64(True):
            zeros = [jnp.zeros((X.shape[1], state.B.shape[1]), jnp.float64) for X in data.features]
        state, XB = reduction.over_blocks(len(data.mask), step, (state, zeros))
        return state._replace(B_p=reduction.from_products(data.turned, XB, state.B.dtype))

    return blocked


def summed(function: Callable[[Any, Data, Any], Any]) -> Callable[[Any, Data, Any], Any]:
    """A sum over samples; where features are not in memory, the sum of those of blocks of samples."""

    @wraps(function)
    def blocked(state: Any, data: Data, params: Any) -> Any:
        if reduction.in_memory(*data.features):
            return function(state, data, params)
        arrays, of = _rows(state, data)
        return reduction.sum_over_blocks(lambda *rows: function(*of(*rows), params), *arrays)

    return blocked


class Method(NamedTuple):
    """A hashing method: pure functions over its own State and Params, in the order of its paper.

    Example:
        >>> import jaxcmh
        >>> method = jaxcmh.methods.registry["dcgh"]
        >>> method.name, method.max_iterations, method.params.alpha
        ('dcgh', 10, 10.0)
        >>> longer = method._replace(max_iterations=50, params=method.params._replace(alpha=2.0))
        >>> longer.max_iterations, longer.params.alpha
        (50, 2.0)
    """

    name: str
    params: Any  # default hyper-parameters: NamedTuple of floats, always traced; annotations say what they can be
    init: Callable[[Array, Data, Any, int], Any]  # (key, data, params, bits) -> state
    updates: tuple[Callable[[Any, Data, Any], Any], ...]  # block updates (state, data, params) -> state
    objective: Callable[[Any, Data, Any], Array]  # (state, data, params) -> scalar: the specification
    codes: Callable[[Any, Data, Any], Array]  # -> (n, bits) or (M, n, bits) -1 or +1, or (n, books) words
    encoder: Callable[[Any, Data, Any], tuple[Any, ...]]  # -> (q_m, bits) per view, or `encoders.Translated`
    max_iterations: int = 10
    tolerance: float = 0.0  # relative change of the objective that ends a training; 0 for a fixed number of iterations
    features: Features = Features()
    prepare: Callable[[Data], Any] | None = None  # data -> Data.extra
    codebooks: Callable[[Any], Array] | None = None  # state -> (books, words, bits): look-up instead of Hamming
    unlabelled: Callable[[Any, Data, Any], Any] | None = None  # look-up: -> encoders.Unlabelled
    diagnostics: Callable[[Any, Data, Any], dict[str, Array]] | None = None  # -> named scalars worth a look
    across: bool = True  # whether products between views are used
    label_rows: LabelRows = LABEL_ROWS  # which of them are used; Data has the others without columns
    links: Callable[[np.ndarray], Any] | None = None  # distinct label sets, on the host -> Data.linked
    by_labels: bool = False  # codes follow from the label set, and `Data.of_sets` is not used: see `growing`

    __repr__ = brief.text
    _repr_html_ = brief.table

    def __deepcopy__(self, memo: dict) -> "Method":
        """Itself: it is made of functions and numbers, and a copy would be compiled anew."""
        return self


@checked
@shown_while("reducing rows")
def prepare(
    views: Pairs,
    labels: Labels,
    precision: Precision | None = None,
    across: bool = True,
    label_rows: LabelRows = LABEL_ROWS,
    *,
    verbose: bool | None = None,
) -> Data:
    """Collect mapped features and labels into `Data`.

    Args:
        views: one dense (n, q_m) array per view, already mapped by `features.fit`.
        labels: (n, c) 0/1, or (n,) integer classes.
        precision: None for float32 after a reduction in float64 where the device computes that well; "float32" for no
            float64 anywhere; "float64" for all of the training, as a check.
        across: whether products between views are wanted; a method that says it needs none is prepared faster without.
        label_rows: which of `Data.labels` and `Data.unit_labels` are wanted, likewise; the others have no columns.
        verbose: as for `jaxcmh.train`.

    Returns:
        Data with reduced rows and the distinct label sets.

    Raises:
        ValueError: fewer than two views, rows not aligned, numbers not finite, or labels other than 0 and 1.

    Example:
        >>> data = prepare([np.eye(3), np.ones((3, 2))], np.array([[1, 0], [0, 1], [1, 0]]))
        >>> data.counts.tolist(), data.member.tolist()
        ([1.0, 2.0], [1, 0, 1])
    """
    return prepared(views, checks.labels(labels, "labels", len(views[0])), precision, across, label_rows)


def prepared(
    views: Sequence[Any],
    host: np.ndarray,
    precision: Precision | None,
    across: bool,
    label_rows: LabelRows = LABEL_ROWS,
    known_R: Any = None,
) -> Data:
    """`prepare` of checked views, and labels (n, c) uint8 on the host.

    Views may be `Streamed`, with n > p; behind the rows that have labels there may be zeros.  The triangle of their
    reduction, if it is known, is not found again.
    """
    first, member, counts = label_sets(host)
    wide = precision == "float64" or (precision is None and jax.config.read("jax_enable_x64"))
    with jax.enable_x64(wide):
        dtype, rows = jnp.result_type(float), views[0].shape[0]
        member = np.pad(member.astype(np.int32), (0, rows - len(host)))
        mask = (np.arange(rows) < len(host)).astype(dtype)
        known = host[first].astype(dtype), counts.astype(dtype), member, mask
        by_gram = precision is None and not wide and jax.default_backend() in ("cpu", "gpu")
        widths = [*(x.shape[1] for x in views), *(host.shape[1] * (name in label_rows) for name in LABEL_ROWS), 1]
        whole, few = reduction.in_memory(*views), len(host) <= sum(widths)
        features = tuple(jnp.asarray(x, dtype) if whole else replace(x, dtype=dtype) for x in views)
        if whole and (few or not by_gram or jax.default_backend() != "cpu"):
            data, columns = _collected(features, *known, label_rows=label_rows)
            if few:
                return data
        else:  # a Gram matrix on the host takes labels a block of rows at a time, which may be many columns
            sets, counts, member, mask = jax.device_put(known)
            data = Data((), sets, sets, mask, sets, counts, member, mask, features)
            of_sets = label_columns(sets, *(name in label_rows for name in LABEL_ROWS))
            columns = *features, Labelled(of_sets, member, mask)
        if known_R is None:
            R, turned = reduction.turn(columns, by_gram, across)
        else:
            with jax.enable_x64(True):
                turned = reduction.Turn(R=jnp.asarray(known_R))
            R = jnp.asarray(known_R, dtype)
        *reduced, labels, unit_labels, ones = parted(R, tuple(widths[:-1]))
        return data._replace(views=tuple(reduced), labels=labels, unit_labels=unit_labels, ones=ones, turned=turned)


def label_sets(host: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the distinct label sets in order: a row (u,) that has it, and how many have; and which each row (n,) has."""
    packed = np.packbits(host, axis=1)
    if packed.shape[1] <= 8:  # whole numbers are sorted in the order of their bytes, and faster
        packed = np.pad(packed, ((0, 0), (0, 8 - packed.shape[1]))).view(">u8").astype(np.uint64)
    else:
        packed = packed.view(f"V{packed.shape[1]}")
    _, first, member, counts = np.unique(packed.ravel(), return_index=True, return_inverse=True, return_counts=True)
    return first, member, counts


@partial(jax.jit, static_argnames="label_rows")
def _collected(
    features: tuple[Array, ...],
    sets: Array,
    counts: Array,
    member: Array,
    mask: Array,
    *,
    label_rows: LabelRows,
) -> tuple[Data, tuple[Array, ...]]:
    """Data whose reduced rows are the rows, and the columns that Z is made of."""
    of_sets = dict(zip(LABEL_ROWS, (sets, unit_rows(sets))))
    labels, unit_labels = (
        of_sets[name][member] * mask[:, None] if name in label_rows else jnp.zeros((len(mask), 0), mask.dtype)
        for name in LABEL_ROWS
    )
    data = Data(features, labels, unit_labels, mask, sets, counts, member, mask=mask, features=features)
    return data, data._columns()


def parted(R: Array | np.ndarray, widths: tuple[int, ...]) -> list[Array]:
    """The columns of R in parts of these widths; the last one, which is left, as a vector."""
    if not isinstance(R, np.ndarray):
        return _parted(R, widths)
    *parts, last = np.split(R, np.cumsum(widths), axis=1)  # which compiles nothing
    return jax.device_put([*parts, last[:, 0]])


@partial(jax.jit, static_argnames="widths")
def _parted(R: Array, widths: tuple[int, ...]) -> list[Array]:
    *parts, last = jnp.split(R, np.cumsum(widths), axis=1)
    return [*parts, last[:, 0]]


def linked(method: Method, data: Data) -> Data:
    """Data with what the method's `links` says of the label sets, whose size depends on their numbers: before `jit`."""
    if method.links is None or data.linked is not None or isinstance(data.sets, Tracer):
        return data
    return data._replace(linked=method.links(np.asarray(data.sets)))


def known(method: Method, data: Data, bits: int) -> Data:
    """Data `linked`, and where the method has a `prepare` `ready`, so that it is done once for all that follows."""
    data = linked(method, data)
    if method.prepare is None:
        return data
    with jax.enable_x64(data.mask.dtype == jnp.float64):
        return quickly(_ready, data, method=bare(method), bits=bits)


@exact
def ready(method: Method, data: Data, bits: int) -> Data:
    """Data as a training of this many bits sees them: room for codes, and what the method's `prepare` adds.

    Reduced rows get `bits` more of zeros: directions that views and labels do not span, for codes that lie outside, and
    for factors that are to have more columns than the span has dimensions.
    """
    if data.extra is not None:
        return data
    if data.turned is not None:

        def room(x: Array) -> Array:
            return jnp.pad(x, ((0, bits),) + ((0, 0),) * (x.ndim - 1))

        reduced = data.views, data.labels, data.unit_labels, data.ones
        views, labels, unit_labels, ones = jax.tree.map(room, reduced)
        data = data._replace(views=views, labels=labels, unit_labels=unit_labels, ones=ones)
    return data._replace(extra=method.prepare(data) if method.prepare else ())


def step(method: Method, state: Any, data: Data, params: Any) -> Any:
    """One iteration: the method's block updates, in order."""
    for update in method.updates:
        state = update(state, data, params)
    return state


class Fit(NamedTuple):
    """What a training leaves; of a sweep, every leaf with a leading axis.

    Example:
        >>> import jaxcmh
        >>> data = prepare([np.eye(40)[:, :30], np.eye(40)[:, 10:]], np.arange(40)[:, None] % 4 == np.arange(4))
        >>> found = fit(jaxcmh.methods.registry["dcgh"], data, random.key(0), bits=8)
        >>> found.state.H.shape, bool(found.objective[-1] < found.objective[0]), int(found.converged)
        ((4, 8), True, 0)
    """

    state: Any  # the final state, or what `output` of a sweep made of it
    objective: Array  # (max_iterations + 1,) at the start and after every iteration; constant once converged
    converged: Array  # () int32, the iteration in which it converged; 0 if it did not

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
@shown_while("training")
def fit(
    method: Method,
    data: Data,
    key: Key,
    params: Any = None,
    *,
    bits: Bits,
    max_iterations: Iterations | None = None,
    tolerance: Weight | None = None,
    verbose: bool | None = None,
) -> Fit:
    """Train a method: one jitted `lax.scan` over its step.

    Args:
        method: a `Method`; only its functions are compiled in, never its numbers.
        data: the training set, from `prepare`.
        key: a `jax.random.key`.
        params: hyper-parameters; the method's own if None.
        bits: length of the codes, a positive multiple of 8.
        max_iterations: steps at most; the method's own number if None.
        tolerance: a training has converged once the objective changes by less than this share of itself; 0 runs all
            iterations; the method's own if None.  A new value compiles nothing.
        verbose: as for `jaxcmh.train`.

    Returns:
        `Fit`: the final state, the objective from the start on, and the iteration in which it converged.

    Raises:
        ValueError: an argument is not as described, or there are fewer samples than bits or classes.

    Example:
        >>> import jaxcmh
        >>> data = prepare([np.eye(40)[:, :30], np.eye(40)[:, 10:]], np.arange(40)[:, None] % 4 == np.arange(4))
        >>> state, objective, converged = fit(jaxcmh.methods.registry["dcgh"], data, random.key(0), bits=8)
        >>> state.H.shape, objective.shape, int(converged)
        ((4, 8), (11,), 0)
    """
    params, most, tolerance = _checked(method, data, key, params, bits, max_iterations, tolerance)
    static = {"method": bare(method), "bits": bits, "max_iterations": most}
    data = linked(method, data)
    with jax.enable_x64(data.mask.dtype == jnp.float64):
        if not reduction.in_memory(*data.features):
            return _fit_in_place(data, key, params, tolerance, **static)
        return quickly(_fit, data, key, params, tolerance, **static)


@checked
@shown_while("training")
def sweep(
    method: Method,
    data: Data,
    keys: Keys,
    params: Any,
    *,
    bits: Bits,
    max_iterations: Iterations | None = None,
    tolerance: Weight | None = None,
    lanes: Count = 4,
    output: Callable[[Any, Data, Any], Any] | None = None,
    verbose: bool | None = None,
) -> Fit:
    """Train many configurations in one compiled loop over vectorised lanes.

    Args:
        method, data, bits, max_iterations, tolerance: as in `fit`.
        keys: (s,) keys, one per configuration.
        params: the method's Params with leaves of shape () or (s,).
        lanes: configurations in flight at once.  More lanes need more memory; beyond a few, decompositions
            in vectorised lanes stop paying on CPU.
        output: (state, data, params) -> what to keep of each configuration, a module-level function;
            the whole state if None.
        verbose: as for `jaxcmh.train`.

    Returns:
        `Fit`, every leaf with a leading axis of s.

    Raises:
        ValueError: an argument is not as described, or there are fewer samples than bits or classes.

    Example:
        >>> import jaxcmh
        >>> data = prepare([np.eye(40)[:, :30], np.eye(40)[:, 10:]], np.arange(40)[:, None] % 4 == np.arange(4))
        >>> dcgh = jaxcmh.methods.registry["dcgh"]
        >>> grid = dcgh.params._replace(alpha=jnp.array([1.0, 10.0, 100.0]))
        >>> states, objectives, converged = sweep(dcgh, data, random.split(random.key(0), 3), grid, bits=8)
        >>> states.H.shape, objectives.shape, converged.shape
        ((3, 4, 8), (3, 11), (3,))
    """
    params, most, tolerance = _checked(method, data, keys, params, bits, max_iterations, tolerance)
    params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(keys),)), params)
    data, lanes = linked(method, data), min(lanes, len(keys))
    # The last lanes are filled up with repeats: a remainder of another size would be compiled once more.
    filled = np.minimum(np.arange(-(-len(keys) // lanes) * lanes), len(keys) - 1)
    keys_and_params = jax.tree.map(lambda leaf: leaf[filled], (keys, params))
    static = {"method": bare(method), "bits": bits, "max_iterations": most, "lanes": lanes, "output": output}
    with jax.enable_x64(data.mask.dtype == jnp.float64):
        results = quickly(_sweep, data, *keys_and_params, tolerance, **static)
    return jax.tree.map(lambda leaf: leaf[: len(keys)], results)


def _checked(
    method: Method, data: Data, keys: Array, params: Any, bits: int, max_iterations: int | None, tolerance: float | None
) -> tuple[Any, int, float]:
    """Hyper-parameters as arrays of the data's dtype (traced, never weakly typed), iterations and tolerance.

    Hyper-parameters have no axes, or those of the keys.
    """
    checks.enough_rows(len(data.mask), bits, data.sets.shape[1])
    max_iterations, tolerance = endings(method, max_iterations, tolerance)
    params = method.params if params is None else params
    if getattr(params, "_fields", None) != method.params._fields:
        expected = f"{method.name}'s Params{method.params._fields}"
        raise ValueError(f"params: expected {expected}; got {checks.got(params)}")
    params = type(method.params)(*params)
    for name, domain in checks.domains(type(params)).items():
        value, check = getattr(params, name), checks.check_of(domain) or checks.Number()
        if isinstance(value, Tracer):
            continue
        value = np.asarray(checks.array(value, f"params.{name}"))
        if value.shape not in ((), keys.shape):
            which = "one number or one per key" if keys.ndim else "one number"
            raise ValueError(f"params.{name}: expected {which}; got {checks.got(value)}")
        for one in value.ravel().tolist():
            check(one, f"params.{name}")
    with jax.enable_x64(data.mask.dtype == jnp.float64):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, data.mask.dtype), params)
    return params, max_iterations, tolerance


def endings(method: Method, max_iterations: Any, tolerance: Any) -> tuple[int, float]:
    """When a training ends: what is given, or the method's own.

    Raises:
        ValueError: iterations below 1, or a tolerance that is negative or not a finite number.
    """
    most = method.max_iterations if max_iterations is None else max_iterations
    tolerance = method.tolerance if tolerance is None else tolerance
    return checks.Whole(1, checks.MOST)(most, "max_iterations"), checks.Number(0)(tolerance, "tolerance")


def bare(method: Method) -> Method:
    """The method without its numbers: others compile nothing."""
    return method._replace(params=None, max_iterations=0, tolerance=0.0)


@exact
def run(
    method: Method, data: Data, key: Array, params: Any, bits: int, max_iterations: int, tolerance: float | Array
) -> Fit:
    """`fit` within a jitted function; data are `ready`."""
    return _run_from(method.init(key, data, params, bits), method, data, params, max_iterations, tolerance)


def _run_from(
    state: Any, method: Method, data: Data, params: Any, max_iterations: int, tolerance: float | Array
) -> Fit:
    """`run` from a state on."""
    outside = jax.config.read("jax_enable_x64")

    def advance(state: Any) -> tuple[Any, Array]:
        state = step(method, state, data, params)
        return state, method.objective(state, data, params)

    def iterate(carry: tuple[Any, Array, Array], iteration: Array) -> tuple[tuple[Any, Array, Array], Array]:
        with jax.enable_x64(outside):
            state, before, converged = carry
            state, after = lax.cond(converged > 0, lambda state: (state, before), advance, state)
            ended = (converged == 0) & (jnp.abs(after - before) < tolerance * jnp.abs(before))
            return (state, after, jnp.where(ended, iteration, converged)), after

    start = method.objective(state, data, params)
    numbers = jnp.arange(1, max_iterations + 1, dtype=jnp.int32)
    # A sweep vectorises the finished loop, where the contexts that coordinates are computed in would be gone.
    with jax.enable_x64(True):
        (state, _, converged), objective = lax.scan(iterate, (state, start, jnp.int32(0)), numbers)
    return Fit(state, jnp.append(start, objective), converged)


@partial(jax.jit, static_argnames=("method", "bits", "max_iterations", "tolerance"))
@exact
def _stage(
    data: Data, key: Array, params: Any, *, method: Method, bits: int, max_iterations: int, tolerance: float
) -> tuple[Any, Fit]:
    start = method.init(key, data, params, bits)
    return start, _run_from(start, method, data, params, max_iterations, tolerance)


def stage(method: Method, key: Array, data: Data, params: Any, bits: int) -> tuple[Any, Fit]:
    """The start of a method that is a stage of another one, and all of its training."""
    ends = {"max_iterations": method.max_iterations, "tolerance": method.tolerance}
    return quickly(_stage, data, key, params, method=bare(method), bits=bits, **ends)


@partial(jax.jit, static_argnames="bits")
def _drawn(key: Array, data: Data, *, bits: int) -> Array:
    rows = len(data.mask)

    def block(number: Array) -> Array:
        own = jnp.where(number > 0, random.fold_in(key, number), key)
        return data.gaussian(own, min(rows, DRAWN), bits) >= 0

    return lax.map(block, jnp.arange(-(-rows // DRAWN))).reshape(-1, bits)[:rows]


@jax.jit
def _as_codes(positive: Array, mask: Array) -> Array:
    return sign(jnp.where(positive, 1, -1).astype(mask.dtype), mask)


def random_codes(keys: Array, data: Data, bits: int) -> list[Array]:
    """Codes (n, bits) by chance for each key; of many samples all are drawn, as bytes, before any becomes numbers."""
    drawn = [quickly(_drawn, key, data, bits=bits) for key in keys]
    return [quickly(_as_codes, positive, data.mask) for positive in drawn]


@partial(jax.jit, static_argnames=("method", "bits", "max_iterations"))
def _fit(
    data: Data, key: Array, params: Any, tolerance: float, *, method: Method, bits: int, max_iterations: int
) -> Fit:
    return run(method, ready(method, data, bits), key, params, bits, max_iterations, tolerance)


@partial(jax.jit, static_argnames=("method", "bits"))
def _ready(data: Data, *, method: Method, bits: int) -> Data:
    return ready(method, data, bits)


@partial(jax.jit, static_argnames="method")
def _objective(state: Any, data: Data, params: Any, *, method: Method) -> Array:
    return method.objective(state, data, params)


@cache
def _advance() -> Callable[..., tuple[Any, Array]]:
    """One iteration, whose state is written where the last one was; and the objective."""

    def advance(state: Any, data: Data, params: Any, *, method: Method) -> tuple[Any, Array]:
        state = step(method, state, data, params)
        return state, method.objective(state, data, params)

    return jax.jit(advance, static_argnames="method", donate_argnums=0, compiler_options=options())


@exact
def _fit_in_place(
    data: Data, key: Array, params: Any, tolerance: float, *, method: Method, bits: int, max_iterations: int
) -> Fit:
    """`_fit` of many samples: a loop within a program has copies of its state, a start all random numbers at once."""
    data = quickly(_ready, data, method=method, bits=bits)
    state = method.init(key, data, params, bits)
    start = quickly(_objective, state, data, params, method=method)
    objective, converged = [float(start)], 0
    for iteration in range(1, max_iterations + 1):
        if not converged:
            state, after = _advance()(state, data, params, method=method)
            objective.append(float(after))
            if abs(objective[-1] - objective[-2]) < tolerance * abs(objective[-2]):
                converged = iteration
        else:
            objective.append(objective[-1])
    return Fit(state, jnp.asarray(objective, start.dtype), jnp.int32(converged))


@partial(jax.jit, static_argnames=("method", "bits", "max_iterations", "lanes", "output"))
@exact
def _sweep(
    data: Data,
    keys: Array,
    params: Any,
    tolerance: float,
    *,
    method: Method,
    bits: int,
    max_iterations: int,
    lanes: int,
    output: Any,
) -> Fit:
    data = ready(method, data, bits)

    def lane(key_and_params: tuple[Array, Any]) -> Fit:
        key, params = key_and_params
        trained = run(method, data, key, params, bits, max_iterations, tolerance)
        return trained if output is None else trained._replace(state=output(trained.state, data, params))

    return lax.map(lane, (keys, params), batch_size=lanes)
