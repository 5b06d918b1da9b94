"""AMSH, adaptive marginalised semantic hashing (Luo et al., IEEE Transactions on Multimedia 2023).

For each view m, over codes B_m in {-1, 1}^(n, r), balanced representations V_m (n, r) with 1ᵀV_m = 0 and V_mᵀV_m = nI,
margins E_m (n, c) of at least 0, and a classifier P_m (r, c):

    min  sum_m (|T_m - V_m P_m|² + lam |r Y Yᵀ - B_m V_mᵀ|² + eta |B_m - V_m|²) + beta sum_{m<l} |r Y Yᵀ - V_m V_lᵀ|²

with samples as rows, T_m = L + (2 L - 1) ∘ E_m; L are labels 0 and 1, and Y the same with rows of length 1.  Each block
is minimised exactly given the others, V view by view.  Then hash functions F_m and margins M_m (n, r) of at least 0
minimise |B_m + B_m ∘ M_m - X_m F_m|² + omega |F_m|², X being kernel features; an unseen x gets the code sgn(x F_m).

Features tell where representations start and nothing more, so all letters have n rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax, random

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method, similarity, unit_labels_of_sets
from jaxcmh.learning.encoders import decomposed, ridge_by_svd
from jaxcmh.learning.linalg import balanced, eigh, sign, sqnorm
from jaxcmh.learning.ones import Similarity, places

ROUNDS = 15  # of hash functions and their margins


class Params(NamedTuple):
    beta: Weight = 1e-3  # representations of two views agree with the similarity
    lam: Weight = 1e-3  # codes and representations agree with the similarity
    eta: Weight = 1.0  # codes agree with representations
    omega: Weight = 1e-2  # ridge of the hash functions


class State(NamedTuple):
    P: Array  # (views, r, c) classifiers
    V: Array  # (views, n, r) representations
    B: Array  # (views, n, r) codes
    E: Array  # (views, n, c) margins


def prepare(data: Data) -> Similarity:
    """Y Yᵀ."""
    return similarity(data, unit_labels_of_sets(data))


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Principal components of each view, Gaussian numbers where there are fewer than bits, and their signs."""

    def components(X: Array, key: Array) -> Array:
        centred = X - jnp.outer(data.ones, data.ones @ X / data.n)
        axes = eigh(centred.T @ centred)[1][:, ::-1][:, :bits]
        axes = axes * sign(axes.sum(0))  # else the sign of a decomposition would decide which bits two views share
        beside = data.mask[:, None] * data.gaussian(key, len(data.mask), bits - axes.shape[1])
        return balanced(jnp.hstack([data.rows(centred @ axes), beside]), data.mask) * data.mask[:, None]

    V = jnp.stack([components(X, k) for X, k in zip(data.views, random.split(key, len(data.views)))])
    E = jnp.zeros((*V.shape[:2], data.sets.shape[1]), V.dtype)
    return State(jnp.zeros((len(V), bits, E.shape[2]), V.dtype), V, signs(V, data), E)


def signs(Z: Array, data: Data) -> Array:
    return jnp.stack([sign(z, data.mask) for z in Z])


def targets(s: State, data: Data) -> Array:
    """T (views, n, c)."""
    L = data.per_sample(data.sets)
    return L + (2 * L - 1) * s.E


def update_P(s: State, data: Data, p: Params) -> State:
    return s._replace(P=s.V.mT @ targets(s, data) / data.n)


def update_V(s: State, data: Data, p: Params) -> State:
    YYT, T, V, r = data.extra, targets(s, data), s.V, s.B.shape[2]
    for m, (P, B) in enumerate(zip(s.P, s.B)):
        J = T[m] @ P.T + r * (YYT @ (p.lam * B + p.beta * (V.sum(0) - V[m]))) + p.eta * B
        V = V.at[m].set(balanced(J, data.mask) * data.mask[:, None])
    return s._replace(V=V)


def update_B(s: State, data: Data, p: Params) -> State:
    YYT, r = data.extra, s.B.shape[2]
    return s._replace(B=signs(jnp.stack([p.lam * r * (YYT @ V) + p.eta * V for V in s.V]), data))


def update_E(s: State, data: Data, p: Params) -> State:
    L = data.per_sample(data.sets)
    return s._replace(E=within((2 * L - 1) * (s.V @ s.P - L), data))


def within(E: Array, data: Data) -> Array:
    """The nearest margins that are allowed."""
    return jnp.maximum(E, 0)


def objective(s: State, data: Data, p: Params) -> Array:
    YYT, loss = data.extra, sqnorm(targets(s, data) - s.V @ s.P) + p.eta * sqnorm(s.B - s.V)
    for m, (B, V) in enumerate(zip(s.B, s.V)):
        loss += p.lam * YYT.gap(B, V)
        loss += p.beta * sum((YYT.gap(V, other) for other in s.V[:m]), jnp.zeros_like(loss))
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    return s.B


def hash_function(B: Array, X: Array, svd: tuple, data: Data, p: Params) -> Array:
    outside = jax.config.read("jax_enable_x64")

    def again(_: Array, F: Array) -> Array:
        with jax.enable_x64(outside):
            margins = jnp.maximum(B * (X @ F) - 1, 0)
            return ridge_by_svd(svd, data.along_views(B * (1 + margins)), p.omega)

    with jax.enable_x64(True):  # as in `core.run`
        return lax.fori_loop(0, ROUNDS, again, jnp.zeros((X.shape[1], B.shape[1]), B.dtype))


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    """All margins are 0 at first."""
    return tuple(hash_function(*of_view, data, p) for of_view in zip(s.B, data.features, decomposed(data)))


updates = (update_P, update_V, update_B, update_E)
# 1,500 anchors, the default of Features, are the paper's.
method = Method(
    "amsh",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    max_iterations=15,
    prepare=prepare,
    across=False,
    label_rows=(),
    links=places,
)
paper_params = {"mirflickr25k": Params()}
variants: dict[str, Method] = {}
