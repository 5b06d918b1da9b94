"""SCM-seq, semantic correlation maximization, one bit after the other (Zhang & Li, AAAI 2014).

Over a hash function W_m (q_m, r) of each view, with codes B_m = sgn(X_m W_m) (n, r) of its own:

    min  sum_{m<l} |B_m B_lᵀ - r S|²,     S = 2 Y Yᵀ - 1 1ᵀ,

with samples as rows; X are centred features, Y labels with rows of length 1.  Each bit maximises, without the signs,
its share of what the bits before it have left of S: sum_{m<l} w_mᵀ C_ml w_l, C_ml = X_mᵀ (r S - sum_b b_m b_lᵀ) X_l,
for columns X_m w_m of unit variance.  The paper has two views; more are this library's extension, with one residual a
pair.  Nothing is random.  The codes of a view are what its hash function says, those of the database as well.

Each view is whitened by its singular values, so the directions w_m of a bit are, together, the top eigenvector of
the matrix that has the C_ml beside its diagonal: of two views that is the top singular triple of C_12.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method, squared_similarity
from jaxcmh.learning.encoders import decomposed
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import eigh, gap_to_wide, product_gap, qr, sign, similarity_factors, svd
from jaxcmh.learning.ones import places


class Params(NamedTuple):
    epsilon: Weight = 1e-6  # ridge of the variances, as a share of their mean; an absolute one in the released code


class State(NamedTuple):
    W: tuple[Array, ...]  # (q_m, r) hash functions
    B: tuple[Array, ...]  # (n, r) codes of each view


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """No codes yet."""
    return coded(tuple(jnp.zeros((X.shape[1], bits), X.dtype) for X in data.views), data)


def coded(W: tuple[Array, ...], data: Data) -> State:
    return State(W, tuple(sign(X @ W_m, data.mask) for X, W_m in zip(data.features, W)))


def whitened(data: Data, p: Params) -> tuple[Array, tuple[Array, ...], np.ndarray]:
    """P (p, q), the reduced rows of all views with unit variances; maps A_m (q_m, k_m) to them; the view of each."""
    P, A, view = [], [], []
    for m, (left, values, right) in enumerate(data.extra):
        scale = 1 / jnp.sqrt(values**2 + p.epsilon * jnp.vdot(values, values) / len(values))
        P.append(jnp.pad(left * values * scale, ((0, len(data.ones) - len(left)), (0, 0))))
        A.append(right.T * scale)
        view += [m] * len(values)
    return jnp.concatenate(P, axis=1), tuple(A), np.array(view)


def update_bits(s: State, data: Data, p: Params, stop: bool = False) -> State:
    """All bits anew.  With `stop`, as in the released code, the first bit that explains more than the one before it
    and those after it are canonical directions of the views in reverse order, and where these end they begin again."""
    (P, A, view), bits = whitened(data, p), s.W[0].shape[1]
    between, ends = view[:, None] != view, np.cumsum([A_m.shape[1] for A_m in A])[:-1]
    PY, P1, few = P.T @ data.unit_labels, P.T @ data.ones, min(A_m.shape[1] for A_m in A)
    canonical = eigh((P.T @ P) * between)[1][:, ::-1] if stop else None

    def top(C: Array) -> tuple[Array, Array]:
        """The largest eigenvalue and its vector; of two views by their C_12 alone, in a third of the time."""
        if len(A) == 2:
            left, values, right = svd(C[: ends[0], ends[0] :])
            return values[0], jnp.concatenate([left[:, 0], right[0]]) * 0.5**0.5
        values, vectors = eigh(C)
        return values[-1], vectors[:, -1]

    def directions(z: Array) -> tuple[Array, ...]:
        """The column of each W_m, with the sign that makes the largest entry of the first positive."""
        w = [A_m @ z_m for A_m, z_m in zip(A, jnp.split(z, ends))]
        largest = w[0][jnp.argmax(jnp.abs(w[0]))]
        return tuple(jnp.where(largest < 0, -w_m, w_m) for w_m in w)

    def bit(carry: tuple[Array, Array, Array], b: Array) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
        C, before, stopped = carry
        value, z = top(C)
        if canonical is not None:
            stopped = stopped | (value > before)
            z = jnp.where(stopped, canonical[:, (bits - 1 - b) % few], z)
        w = directions(z)
        h = jnp.concatenate([(sign(X @ w_m) * data.mask) @ X @ A_m for X, w_m, A_m in zip(data.features, w, A)])
        return (C - jnp.outer(h, h) * between, value, stopped), w

    C = bits * (2 * PY @ PY.T - jnp.outer(P1, P1)) * between
    start = C, jnp.full_like(C[0, 0], jnp.inf), jnp.zeros((), bool)
    _, W = lax.scan(bit, start, jnp.arange(bits, dtype=jnp.int32))
    return coded(tuple(W_m.T for W_m in W), data)


def similarity_gap(A: Array, B: Array, data: Data) -> Array:
    """|A Bᵀ - r S|² of codes as reduced rows."""
    Y, r = data.unit_labels, A.shape[1]
    if Y.shape[1] <= r:
        return product_gap(A, B, *similarity_factors(Y, data.ones, r))
    Q, R = qr(A)
    SQ = 2 * Y @ (Y.T @ Q) - jnp.outer(data.ones, data.ones @ Q)
    return gap_to_wide(B @ R.T, r * SQ, r**2 * squared_similarity(data))


def objective(s: State, data: Data, p: Params) -> Array:
    B = [data.reduced(B_m) for B_m in s.B]
    return sum((similarity_gap(B[m], B[l], data) for l in range(len(B)) for m in range(l)), jnp.zeros((), B[0].dtype))


def codes(s: State, data: Data, p: Params) -> Array:
    return jnp.stack(s.B)


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return s.W


method = Method(
    "scm",
    Params(),
    init,
    (update_bits,),
    objective,
    codes,
    encoder,
    max_iterations=1,
    features=Features("centre"),
    prepare=decomposed,
    label_rows=("unit_labels",),
    links=places,
)
paper_params: dict[str, Params] = {}
variants = {"stop": method._replace(updates=(partial(update_bits, stop=True),))}
