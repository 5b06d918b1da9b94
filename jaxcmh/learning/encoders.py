"""Hash functions: from mapped features to the real vectors whose signs are codes."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax, random

from jaxcmh import brief, checks
from jaxcmh.checks import Copies, Iterations, Key, Positive, Share, Weight, checked
from jaxcmh.learning.core import Data
from jaxcmh.learning.linalg import exact, lstsq, sign, smallest_ridge, svd

__all__ = ["MLP", "Unlabelled", "mlp", "ridge"]

SVD = tuple[Array, Array, Array]  # left (p, q), values (q,), right (q, q)


def targets(codes: Any, name: str) -> Any:
    """Codes (n, r), or (M, n, r), those of each view, as finite numbers."""
    codes = checks.array(codes, name)
    for part in codes if codes.ndim == 3 else [codes]:
        checks.rows(part, name)
    return codes


Targets = Annotated[Any, targets]


def of_view(codes: Array, view: int) -> Array:
    """The codes (n, r) of a view, of codes (n, r) that all views share or (views, n, r) that each has of its own."""
    return codes if codes.ndim == 2 else codes[view]


@checked
@exact
def ridge(codes: Targets, data: Data, weight: Weight) -> tuple[Array, ...]:
    """Linear hash functions: for each view the W that minimises |Φ_m W - B|² + weight |W|², on reduced rows.

    Args:
        codes: (n, r) targets B, or (M, n, r), those of each view.
        data: training set with mapped features Φ_m.
        weight: ridge weight, at least 0.

    Returns:
        One (q_m, r) array per view.

    Example:
        >>> from jaxcmh.learning.core import prepare
        >>> x = random.normal(random.key(0), (200, 4))
        >>> data = prepare([x, -x], np.eye(2)[np.arange(200) % 2])
        >>> first, second = ridge(data.features[0] @ jnp.eye(4), data, 0.1)
        >>> bool(jnp.allclose(first, -second))
        True
    """
    _check_rows(codes, data)
    B = data.along_views(codes) if codes.ndim == 2 else jnp.stack([data.along_views(B) for B in codes])
    if data.svd:
        return tuple(ridge_by_svd(X, of_view(B, m), weight) for m, X in enumerate(data.svd))
    return tuple(lstsq((1.0, X, of_view(B, m)[: len(X)]), ridge=weight) for m, X in enumerate(spanned(data)))


def _check_rows(codes: Array, data: Data) -> None:
    if codes.shape[-2] != len(data.mask):
        raise ValueError(f"codes: expected {len(data.mask)} rows, as data has; got {codes.shape[-2]}")


def spanned(data: Data) -> tuple[Array, ...]:
    """The reduced rows of each view down to the last one that is not 0, for R is a triangle."""
    if data.turned is None:
        return data.views
    return tuple(X[:end] for X, end in zip(data.views, np.cumsum([X.shape[1] for X in data.views])))


def decomposed(data: Data) -> tuple[SVD, ...]:
    """The singular value decompositions of the views, each of which serves every ridge weight and every target."""
    return data.svd or tuple(map(svd, spanned(data)))


def ridge_by_svd(decomposition: SVD, B: Array, weight: float | Array) -> Array:
    """The W (q, r) that minimises |X W - B|² + weight |W|², what `lstsq` gives; B may have more rows, where X is 0."""
    left, values, right = decomposition
    least = smallest_ridge(values)
    return right.T @ ((values / (values**2 + weight + least))[:, None] * (left.T @ B[: len(left)]))


class MLP(NamedTuple):
    """A hash function with one hidden layer: relu((φ - mean) / scale @ W1 + b1) @ W2 + b2.

    Example:
        >>> W1, W2 = jnp.array([[1.0, -1.0]]), jnp.array([[1.0], [-1.0]])
        >>> network = MLP(jnp.zeros(1), jnp.ones(1), W1, jnp.zeros(2), W2, jnp.zeros(1))
        >>> project(network, jnp.array([[3.0], [-2.0]])).tolist()
        [[3.0], [-2.0]]
    """

    mean: Array  # (q,)
    scale: Array  # (q,)
    W1: Array  # (q, hidden)
    b1: Array  # (hidden,)
    W2: Array  # (hidden, r)
    b2: Array  # (r,)

    __repr__ = brief.text
    _repr_html_ = brief.table


class Translated(NamedTuple):
    """A linear hash function of a view, and the way from its codes to the other view's: queries are sgn(sgn(φ W) H)."""

    W: Array  # (q, r)
    H: Array  # (r, r)


def project(encoder: Array | MLP | Translated, phi: Array, kept: Array | float = 1.0) -> Array:
    """Real vectors whose signs are codes.

    Args:
        encoder: (q, r) linear hash function, `Translated` or not, or an `MLP`.
        phi: (n, q) mapped features.
        kept: factor of the hidden units of an MLP, (n, hidden); for dropout.

    Returns:
        (n, r) vectors.
    """
    if not isinstance(encoder, MLP):
        return phi @ (encoder.W if isinstance(encoder, Translated) else encoder)
    mean, scale = lax.stop_gradient((encoder.mean, encoder.scale))  # they describe the features and are not learned
    hidden = jax.nn.relu((phi - mean) / scale @ encoder.W1 + encoder.b1)
    return kept * hidden @ encoder.W2 + encoder.b2


def ask(encoder: Array | MLP | Translated, phi: Array) -> Array:
    """Real vectors whose signs are the codes of queries; arguments as for `project`."""
    found = project(encoder, phi)
    return sign(found) @ encoder.H if isinstance(encoder, Translated) else found


@checked
def mlp(
    codes: Targets,
    data: Data,
    key: Key,
    *,
    hidden: Copies = 1024,
    batch: Copies = 128,
    rate: Positive = 1e-3,
    decay: Weight = 1e-2,
    dropout: Share = 0.5,
    epochs: Iterations = 200,
    patience: Iterations = 10,
    progress: Callable[[int, int, float], Any] | None = None,
) -> tuple[MLP, ...]:
    """Nonlinear hash functions: for each view an MLP trained to predict each bit, with optax's AdamW on minibatches.

    Its products have the precision that jax has by default, see `jax.default_matmul_precision`: steps on minibatches
    are rough anyway.  A tenth of the samples is held out; training stops when the cross entropy on it has not fallen
    for `patience` epochs, and the network with the lowest one is returned.

    Args:
        codes: (n, r) targets in {-1, +1}, or (M, n, r), those of each view.
        data: training set with mapped features.
        key: a `jax.random.key`: same key, same networks.
        hidden: hidden units.
        batch: samples a step.
        rate: learning rate.
        decay: weight decay.
        dropout: share of the hidden units that a step leaves out.
        epochs: at most so many passes over the samples.
        patience: passes without a new best before it stops.
        progress: called after each pass with the view, the number of passes and the held-out cross entropy in
            nats a bit.

    Returns:
        One `MLP` per view.

    Example:
        >>> from jaxcmh.learning.core import prepare
        >>> x = random.normal(random.key(0), (200, 4))
        >>> data = prepare([x, -x], np.eye(2)[np.arange(200) % 2])
        >>> first, second = mlp(jnp.where(x > 0, 1.0, -1.0), data, random.key(1), hidden=32, rate=1e-2)
        >>> bool(((project(second, -x) > 0) == (x > 0)).mean() > 0.9)
        True
    """
    _check_rows(codes, data)
    options = jnp.asarray([rate, decay, dropout], codes.dtype)
    samples = np.flatnonzero(np.asarray(data.mask))
    samples = samples[np.asarray(random.permutation(random.fold_in(key, 0), len(samples)))]
    held_out, rows = np.split(samples, [max(1, len(samples) // 10)])
    batch = min(batch, len(rows))
    networks = []
    for view, phi in enumerate(data.features):
        view_key, targets = random.fold_in(key, view + 1), of_view(codes, view)
        network = best = _started(view_key, phi[rows], hidden, targets.shape[1])
        slots = _optimiser(options).init(network)
        lowest, since = np.inf, 0
        for epoch in range(epochs):
            network, slots, loss = _epoch(
                network, slots, random.fold_in(view_key, epoch), options, phi, targets, rows, held_out, batch
            )
            since += 1
            if loss < lowest:
                lowest, since, best = float(loss), 0, network
            if progress:
                progress(view, epoch + 1, float(loss))
            if since == patience:
                break
        networks.append(best)
    return tuple(networks)


def _optimiser(options: Array) -> optax.GradientTransformation:
    rate, decay, _ = options
    decayed = MLP(False, False, True, False, True, False)  # pyright: ignore[reportArgumentType]
    return optax.adamw(rate, weight_decay=decay, mask=decayed)


@partial(jax.jit, static_argnames=("hidden", "bits"))
def _started(key: Array, phi: Array, hidden: int, bits: int) -> MLP:
    q, dtype = phi.shape[1], phi.dtype
    spread = phi.std(0)
    W1, W2 = (
        random.normal(random.fold_in(key, layer), shape, jnp.float32).astype(dtype) * jnp.sqrt(2 / shape[0])
        for layer, shape in enumerate([(q, hidden), (hidden, bits)])
    )
    zeros = jnp.zeros(hidden, dtype), jnp.zeros(bits, dtype)
    return MLP(phi.mean(0), jnp.where(spread > 1e-6 * jnp.abs(phi).max(), spread, 1), W1, zeros[0], W2, zeros[1])


@partial(jax.jit, static_argnames="batch")
def _epoch(
    network: MLP,
    slots: Any,
    key: Array,
    options: Array,
    phi: Array,
    codes: Array,
    rows: Array,
    held_out: Array,
    batch: int,
) -> tuple[MLP, Any, Array]:
    """One pass over the training rows in random order, and the loss on the held-out ones."""
    optimiser, (_, _, dropout) = _optimiser(options), options
    order_key, dropout_key = random.split(key)
    order = random.permutation(order_key, rows)[: len(rows) // batch * batch].reshape(-1, batch)

    def loss(network: MLP, rows: Array, kept: Array | float) -> Array:
        bits = (codes[rows] > 0).astype(codes.dtype)
        return optax.sigmoid_binary_cross_entropy(project(network, phi[rows], kept), bits).mean()

    def step(carry: tuple[MLP, Any], rows_and_key: tuple[Array, Array]) -> tuple[tuple[MLP, Any], None]:
        (network, slots), (rows, key) = carry, rows_and_key
        kept = random.bernoulli(key, 1 - dropout, (batch, len(network.b1))) / (1 - dropout)
        changes, slots = optimiser.update(jax.grad(loss)(network, rows, kept), slots, network)
        return (optax.apply_updates(network, changes), slots), None  # pyright: ignore[reportReturnType]

    carry, _ = lax.scan(step, (network, slots), (order, random.split(dropout_key, len(order))))
    return *carry, loss(carry[0], held_out, 1.0)


class Unlabelled(NamedTuple):
    """How a look-up method finds words for items without labels: see `nearest_words`.

    Example:
        >>> how = Unlabelled((jnp.eye(2),), (jnp.zeros(2),), jnp.eye(2))
        >>> h = jnp.array([[0.25, 1.0]]) @ how.V[0] + how.offset[0]
        >>> nearest_words(h, jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), how.G).tolist()
        [[1]]
    """

    V: tuple[Array, ...]  # (q_m, K) one per view
    offset: tuple[Array, ...]  # (K,) h = φ V + offset
    G: Array  # (K, K)

    __repr__ = brief.text
    _repr_html_ = brief.table


@jax.jit
@exact
def nearest_words(h: Array, codebooks: Array, G: Array) -> Array:
    """Compositional codes: book by book, the words whose sum z makes z G zᵀ - 2 h zᵀ small.

    With G the identity that is the word nearest to what the earlier books left over of h.

    Args:
        h: (n, K) vectors.
        codebooks: (books, words, K).
        G: (K, K) symmetric.

    Returns:
        (n, books) uint8 word indices.
    """

    numbers = jnp.arange(codebooks.shape[1], dtype=jnp.int32)

    def choose(rest: Array, words: Array) -> tuple[Array, Array]:
        pulled = words @ G
        value = (pulled * words).sum(1) - 2 * rest @ words.T
        # Two minima, of the values and of the numbers that have it, where argmin takes half as long again.
        chosen = jnp.where(value == value.min(1, keepdims=True), numbers, numbers[-1]).min(1)
        return rest - pulled[chosen], chosen.astype(jnp.uint8)

    return lax.scan(choose, h, codebooks)[1].T
