"""Stage one of IMADS, individual mapping (Wang et al., Expert Systems with Applications 2024).

Over a representation V_m (n, r) of each view with its basis U_m (r, q_m) and its map W_m (r, r) to the shared one
L U, U (c, r), and correlations Q_m (r, r) of the first view with the others,

    min  sum_m (lam_m |X_m - V_m U_m|² + lam3 |L U - V_m W_m|²) + lam4 sum_{m>1} |V_m - V_1 Q_m|² + lam5 |all of them|²,

eq. 6 with samples as rows; X are kernel features, L labels 0 and 1, all of them reduced rows.  Each block is minimised
exactly given the others.  Alone, with codes sgn(L U), this is the variant `imads-mapping`.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, random

from jaxcmh.checks import Positive, Weight
from jaxcmh.learning.core import Data, Method, of_views
from jaxcmh.learning.encoders import ridge
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import lstsq, ridge_factor, sign, solved, sqnorm


class Params(NamedTuple):
    lam1: Weight = 0.5  # reconstruction of the first view
    lam2: Weight = 0.5  # reconstruction of every further view
    lam3: Weight = 1e4  # representations agree with the labels
    lam4: Weight = 1e-2  # representations agree with that of the first view
    lam5: Weight = 1e-3  # ridge of stage one
    alpha: Weight = 1e3  # codes agree with the labels
    beta: Weight = 1e-3  # codes agree with the similarity
    mu1: Weight = 1e-3  # fit of the first view's hash function
    mu2: Weight = 1e-3  # fit of every further view's hash function
    gamma: Weight = 1e-3  # ridge of the hash functions
    theta: Positive = 1e-3  # penalty of B = C


class State(NamedTuple):
    U_m: tuple[Array, ...]  # (r, q_m)
    V: tuple[Array, ...]  # (p, r); in variant c a single one for all views
    W: tuple[Array, ...]  # (r, r)
    U: Array  # (c, r)
    Q: tuple[Array, ...]  # (r, r) for every view after the first
    T: Array  # (c, c) TᵀT = M lam3 LᵀL + lam5 I for M views, which every update of U wants


def init(key: Array, data: Data, p: Params, bits: int, shared: bool = False) -> State:
    """Gaussian U, W and Q, U_m at 0; each V_m projects its view at random, or all views if `shared`."""
    views, keys = data.views, iter(random.split(key, 3 * len(data.views)))

    def normal(*shape: int) -> Array:
        return data.gaussian(next(keys), *shape)

    U, W = normal(data.sets.shape[1], bits), tuple(normal(bits, bits) for _ in views)
    Q = () if shared else tuple(normal(bits, bits) for _ in views[1:])
    V = tuple(X @ normal(X.shape[1], bits) for X in views)
    V = (jnp.stack(V).sum(0),) if shared else V
    T = ridge_factor(jnp.sqrt(len(views) * p.lam3) * data.labels, p.lam5)
    return State(tuple(jnp.zeros((bits, X.shape[1]), U.dtype) for X in views), V, W, U, Q, T)


def V_of_views(s: State) -> tuple[Array, ...]:
    return s.V * (len(s.W) // len(s.V))


def update_U_m(s: State, data: Data, p: Params) -> State:
    """Eq. 10."""
    terms = zip(of_views(p.lam1, p.lam2, data), V_of_views(s), data.views)
    return s._replace(U_m=tuple(lstsq(term, ridge=p.lam5) for term in terms))


def update_V(s: State, data: Data, p: Params) -> State:
    """Eqs. 11 and 12, one view after the other."""
    V, UL, I = list(s.V), (data.labels @ s.U).T, jnp.eye(s.U.shape[1], dtype=s.U.dtype)
    lam = of_views(p.lam1, p.lam2, data)
    for v in range(len(V)):
        terms = []
        for m in [v] if len(V) > 1 else range(len(s.W)):
            terms += [(lam[m], s.U_m[m].T, data.views[m].T), (p.lam3, s.W[m].T, UL)]
        for m, Q in enumerate(s.Q, 1):
            if v == 0:
                terms.append((p.lam4, Q.T, V[m].T))
            elif v == m:
                terms.append((p.lam4, I, (V[0] @ Q).T))
        V[v] = lstsq(*terms, ridge=p.lam5).T
    return s._replace(V=tuple(V))


def update_W(s: State, data: Data, p: Params) -> State:
    """Eq. 13."""
    return s._replace(W=tuple(lstsq((p.lam3, V, data.labels @ s.U), ridge=p.lam5) for V in V_of_views(s)))


def update_U(s: State, data: Data, p: Params) -> State:
    """Eq. 14 as printed diverges: the minimum has (M lam3 LᵀL + lam5 I)⁻¹, M views, and a sum over m."""
    VW = [V @ W for V, W in zip(V_of_views(s), s.W)]

    def undone(U: Array) -> Array:
        return p.lam3 * data.labels.T @ sum(VW_m - data.labels @ U for VW_m in VW) - p.lam5 * U

    return s._replace(U=solved(s.T, undone, s.U.shape[1]))


def update_Q(s: State, data: Data, p: Params) -> State:
    """Eq. 15."""
    return s._replace(Q=tuple(lstsq((p.lam4, s.V[0], V), ridge=p.lam5) for V in s.V[1:]))


def objective(s: State, data: Data, p: Params) -> Array:
    loss = p.lam5 * sqnorm(*s.U_m, *s.V, *s.W, s.U, *s.Q)
    for lam, X, V, U_m, W in zip(of_views(p.lam1, p.lam2, data), data.views, V_of_views(s), s.U_m, s.W):
        loss += lam * sqnorm(X - V @ U_m) + p.lam3 * sqnorm(data.labels @ s.U - V @ W)
    return loss + p.lam4 * sum(sqnorm(V - s.V[0] @ Q) for V, Q in zip(s.V[1:], s.Q))


def codes(s: State, data: Data, p: Params) -> Array:
    return data.per_sample(sign(data.sets @ s.U))


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return ridge(codes(s, data, p), data, p.gamma / p.mu1)


method = Method(
    "imads-mapping",
    Params(),
    init,
    (update_U_m, update_V, update_W, update_U, update_Q),
    objective,
    codes,
    encoder,
    max_iterations=40,
    features=Features(anchors=500),
    by_labels=True,
)
shared = method._replace(  # one representation shared by all views
    init=partial(init, shared=True), updates=method.updates[:-1]
)
