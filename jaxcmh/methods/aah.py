"""AAH, average approximate hashing (Fang et al., IEEE Transactions on Cybernetics 2021).

Over hash functions Q_v (q_v, r), the projections U_v = X_v Q_v (n, r), bases P_v (q_v, r) with orthonormal
short side and relaxed codes B (n, r):

    min  sum_v theta_v sum_ij S_ij |x_i - P_v u_j|² + alpha/2 sum_{v != w} sum_ij S_ij |u_i^v - u_j^w|²
       + beta/2 sum_{v != w} |U_v - U_w|² + average |B - mean_v U_v|²,

eq. 34 with samples as rows, weighted so that two views give eq. 8 (theta_0 = 1).  S_ij is 1 where i and j share a
label.  It depends on their label sets alone, so its products go through one row per set and are never n x n.
As in eqs. 9-13, |P_v u|² counts as |u|², which it is where there are no more bits than features.
U_v = X_v Q_v is held by multipliers C_v and a growing penalty mu (eq. 14); an unseen x gets the code sgn(x Q_v).

S weighs samples by how many are similar to them, so U, B and C keep all n rows, and X are the features themselves;
only eqs. 17 and 19 are least squares on reduced rows.

Extension: a ridge on Q_v.  With more features than samples the paper's Q_v reproduces any U_v on the training samples
and says little of others.
"""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import Array, random

from jaxcmh.checks import Number, Positive, Weight
from jaxcmh.learning.core import Data, Method
from jaxcmh.learning.encoders import ridge_by_svd
from jaxcmh.learning.features import Features
from jaxcmh.learning.graph import label_graph, label_links, neighbour_graph, similar
from jaxcmh.learning.linalg import polar, sign, sqnorm


class Params(NamedTuple):
    theta: Weight = 10.0  # weight of every view after the first
    alpha: Weight = 1.0  # samples with a common label are near each other across views
    beta: Weight = 10.0  # the views of a sample are near each other
    average: Weight = 1.0  # codes near the mean of the views
    mu: Positive = 0.1  # penalty at the start
    growth: Annotated[float, Number(1)] = 1.01  # of the penalty, each iteration
    mu_max: Positive = 1e8
    ridge: Weight = 100.0  # of eqs. 17 and 19; 0 in the paper, which has many more samples than features


class State(NamedTuple):
    Q: tuple[Array, ...]  # (q_v, r) hash function of each view
    U: tuple[Array, ...]  # (n, r) its projections
    TU: tuple[Array, ...]  # (g, r) their sums over each node's neighbours, T E U
    P: tuple[Array, ...]  # (q_v, r) basis that rebuilds the view
    B: Array  # (n, r) relaxed codes
    C: tuple[Array, ...]  # (n, r) multipliers of U = X Q
    mu: Array  # () penalty of U = X Q


def weights(data: Data, p: Params) -> Array:
    """(views,) theta_v."""
    return jnp.full(len(data.views), p.theta).at[0].set(1)


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Gaussian Q and B, random bases, projections that agree with Q."""
    views = len(data.views)
    keys = random.split(key, 2 * views + 1)
    sizes = [X.shape[1] for X in data.views]
    Q = tuple(data.gaussian(key, q, bits) for key, q in zip(keys, sizes))
    U = tuple(X @ Q_v for X, Q_v in zip(data.features, Q))
    P = tuple(polar(data.gaussian(key, q, bits)) for key, q in zip(keys[views:], sizes))
    B = data.gaussian(keys[-1], len(data.mask), bits) * data.mask[:, None]
    TU = tuple(similar(data.extra, U_v) for U_v in U)
    return State(Q, U, TU, P, B, tuple(map(jnp.zeros_like, U)), jnp.asarray(p.mu))


def update_Q(s: State, data: Data, p: Params) -> State:
    """Eqs. 17 and 19: Q_v minimises |X_v Q_v - (U_v - C_v / mu)|², and its ridge."""
    targets = jnp.split(data.along_views(jnp.concatenate(s.U, 1) - jnp.concatenate(s.C, 1) / s.mu), len(s.U), axis=1)
    return s._replace(Q=tuple(ridge_by_svd(X, T, p.ridge) for X, T in zip(data.extra.svd, targets)))


def update_U(s: State, data: Data, p: Params) -> State:
    """Eqs. 21 and 23, one view after the other."""
    graph, U, TU, M = data.extra, list(s.U), list(s.TU), len(s.U)
    TXP = jnp.split(graph.T(jnp.concatenate([EX @ P for EX, P in zip(graph.EX, s.P)], axis=1)), M, axis=1)
    pull = 2 * p.average / M**2  # of the mean of the views towards B
    for v, (X, theta) in enumerate(zip(data.features, weights(data, p))):
        others = sum(U[:v] + U[v + 1 :])
        pulled = theta * TXP[v] + p.alpha * sum(TU[:v] + TU[v + 1 :])
        numerator = 2 * pulled[graph.node] * data.mask[:, None] + s.mu * (X @ s.Q[v]) + s.C[v]
        numerator += (2 * p.beta - pull) * others + M * pull * s.B
        denominator = 2 * (theta + (M - 1) * p.alpha) * graph.D + 2 * (M - 1) * p.beta + pull + s.mu
        U[v] = numerator / denominator[:, None]
        TU[v] = similar(graph, U[v])
    return s._replace(U=tuple(U), TU=tuple(TU))


def update_P(s: State, data: Data, p: Params) -> State:
    """Eqs. 26 and 28."""
    return s._replace(P=tuple(polar(EX.T @ TU) for EX, TU in zip(data.extra.EX, s.TU)))


def update_B(s: State, data: Data, p: Params) -> State:
    """Eq. 30."""
    return s._replace(B=sum(s.U) / len(s.U))


def update_C(s: State, data: Data, p: Params) -> State:
    """Eqs. 31-33."""
    C = tuple(C + s.mu * (X @ Q - U) for C, X, Q, U in zip(s.C, data.features, s.Q, s.U))
    return s._replace(C=C, mu=jnp.minimum(p.growth * s.mu, p.mu_max))


def objective(s: State, data: Data, p: Params) -> Array:
    """Eq. 34 of the projections U, as in eq. 13."""
    graph, M = data.extra, len(s.U)
    loss = p.average * sqnorm(s.B - sum(s.U) / M)
    for v, (U, TU, theta) in enumerate(zip(s.U, s.TU, weights(data, p))):
        energy = graph.D @ (U * U).sum(1)
        loss += (
            theta * (graph.weighted_squares[v] - 2 * jnp.vdot(graph.EX[v] @ s.P[v], TU) + energy)
            + p.alpha * (M - 1) * energy
        )
        for W in s.U[:v]:
            loss += p.beta * sqnorm(U - W) - 2 * p.alpha * jnp.vdot(TU[graph.node], W)
    return loss


def lagrangian(s: State, data: Data, p: Params) -> Array:
    """Eq. 14, what every update of Q, U, P and B minimises."""
    loss = objective(s, data, p) + s.mu / 2 * p.ridge * sqnorm(*s.Q)
    for X, Q, U, C in zip(data.features, s.Q, s.U, s.C):
        loss += s.mu / 2 * sqnorm(X @ Q - U) + jnp.vdot(C, X @ Q - U)
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    return sign(s.B, data.mask)


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return s.Q


def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """How far the projections are from X Q, and the share of code bits that sgn(X Q) reproduces."""
    named = {"penalty": s.mu}
    for v, (X, Q, U) in enumerate(zip(data.features, s.Q, s.U)):
        agreement = jnp.vdot(sign(X @ Q, data.mask), codes(s, data, p)) / data.n / s.B.shape[1]
        named[f"distance of U from X Q, view {v}"] = jnp.sqrt(sqnorm(X @ Q - U) / sqnorm(U))
        named[f"codes that are signs of X Q, view {v}"] = agreement / 2 + 0.5
    return named


updates = (update_Q, update_U, update_P, update_B, update_C)
method = Method(
    "aah",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    max_iterations=50,
    tolerance=1e-6,  # most of the objective is a constant, the spread of the features
    features=Features("standardise"),  # by the standard deviation, where the paper says variance
    prepare=label_graph,
    diagnostics=diagnostics,
    across=False,
    label_rows=(),
    links=label_links,
)
paper_params = {
    "wiki": Params(theta=1.0, alpha=10.0, beta=10.0, ridge=0.0),
    "mirflickr25k": Params(theta=10.0, alpha=1.0, beta=10.0, ridge=0.0),
    "nuswide10": Params(theta=10.0, alpha=1.0, beta=10.0, ridge=0.0),
}
variants = {
    # Neighbours in feature space instead of labels; one graph, not one per view.  mAP falls after ten iterations.
    "knn": method._replace(prepare=neighbour_graph, links=None, max_iterations=10, tolerance=0.0),
    "nl": method._replace(params=Params(alpha=0.0)),  # no label consistency across views
    "ng": method._replace(params=Params(beta=0.0)),  # no global approximation
    "na": method._replace(params=Params(average=0.0)),  # no average approximation
}
