"""AAH, average approximate hashing (Fang et al., IEEE Transactions on Cybernetics 2021).

Over hash functions Q_v (q_v, r), the projections U_v = X_v Q_v (n, r), bases P_v (q_v, r) with orthonormal
short side and relaxed codes B (n, r):

    min  sum_v theta_v sum_ij S_ij |x_i - P_v u_j|^2 + alpha/2 sum_{v != w} sum_ij S_ij |u_i^v - u_j^w|^2
       + beta/2 sum_{v != w} |U_v - U_w|^2 + average |B - mean_v U_v|^2,

eq. 34 with samples as rows, weighted so that two views give eq. 8 (theta_0 = 1).  S_ij is 1 where i and j share a
label.  It depends on their label sets alone, so its products go through one row a set and are never n x n.
As in eqs. 9-13, |P_v u|^2 counts as |u|^2, which it is where there are no more bits than features.
U_v = X_v Q_v is held by multipliers C_v and a growing penalty mu (eq. 14); an unseen x gets the code sgn(x Q_v).

Extension: a ridge on Q_v.  With more features than samples the paper's Q_v reproduces any U_v on the training samples
and says little of others.
"""

# sum() of arrays counts as perhaps 0 for the type checker, and hyper-parameters as floats though they are traced.
# pyright: reportArgumentType=false, reportReturnType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from jax.tree_util import Partial

from jaxcmh.learning.core import Data, Method, random_rows
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import cross, orthonormal, sign, solve, sqnorm

KEPT = 1 << 13  # label sets up to which the table of those that share a label is kept (256 MiB)
BLOCK = 1 << 10  # rows of a similarity held at a time where it is not


class Params(NamedTuple):
    theta: float = 10.0  # weight of every view after the first
    alpha: float = 1.0  # samples with a common label are near each other across views
    beta: float = 10.0  # the views of a sample are near each other
    average: float = 1.0  # codes near the mean of the views
    mu: float = 0.1  # penalty at the start
    growth: float = 1.01  # of the penalty, each iteration
    mu_max: float = 1e8
    ridge: float = 100.0  # of eqs. 17 and 19; 0 in the paper, which has many more samples than features


class State(NamedTuple):
    Q: tuple[Array, ...]  # (q_v, r) hash function of each view
    U: tuple[Array, ...]  # (n, r) its projections
    P: tuple[Array, ...]  # (q_v, r) basis that rebuilds the view
    B: Array  # (n, r) relaxed codes
    C: tuple[Array, ...]  # (n, r) multipliers of U = X Q
    mu: Array  # () penalty of U = X Q


class Graph(NamedTuple):
    """The similarity S = Eᵀ T E: each sample belongs to one of g nodes, its label set or itself; T links nodes."""

    node: Array  # (n,) the node of each sample
    T: Partial  # Y (g, r) -> T Y
    EX: tuple[Array, ...]  # (g, q_v) sums of X_v over each node
    D: Array  # (n,) row sums of S
    xDx: tuple[Array, ...]  # () sum_ij S_ij |x_i|^2


def label_graph(data: Data) -> Graph:
    """Eqs. 3 and 4: similar is what shares a label."""
    sets = data.sets
    if len(sets) <= KEPT:
        return _graph(data, data.member, len(sets), Partial(jnp.matmul, (sets @ sets.T > 0).astype(sets.dtype)))
    return _graph(data, data.member, len(sets), Partial(_link_sets, sets))


def neighbour_graph(data: Data, k: int = 10) -> Graph:
    """Similar are a sample itself and its k nearest that have it among theirs, all views weighing the same.

    This costs O(n²) time once, but no n x n memory; with rows over devices each device gathers every row.
    """
    X = jnp.concatenate([x / jnp.sqrt(sqnorm(x)) for x in data.views], axis=1)
    squares = jnp.where(data.mask > 0, (X * X).sum(1), jnp.inf)
    n, samples = len(X), jnp.arange(len(X), dtype=jnp.int32)

    def nearest_others(x_and_own: tuple[Array, Array]) -> Array:
        x, own = x_and_own
        return lax.top_k((2 * X @ x - squares).at[own].set(-jnp.inf), min(k, n - 1))[1]

    nearest = lax.map(nearest_others, (X, samples), batch_size=BLOCK)
    mutual = (nearest[nearest] == samples[:, None, None]).any(2) * data.mask[:, None]
    return _graph(data, samples, n, Partial(_link_neighbours, nearest, mutual))


def _link_sets(sets: Array, Y: Array) -> Array:
    return lax.map(lambda labels: (sets @ labels > 0).astype(Y.dtype) @ Y, sets, batch_size=BLOCK)


def _link_neighbours(nearest: Array, mutual: Array, Y: Array) -> Array:
    return Y + sum(mutual[:, a, None] * Y[nearest[:, a]] for a in range(nearest.shape[1]))


def _graph(data: Data, node: Array, nodes: int, T: Partial) -> Graph:
    EX = tuple(jax.ops.segment_sum(X, node, nodes) for X in data.views)
    D = data.mask * T(jax.ops.segment_sum(data.mask[:, None], node, nodes))[node, 0]
    return Graph(node, T, EX, D, tuple(D @ (X * X).sum(1) for X in data.views))


def pooled(graph: Graph, Z: Array) -> Array:
    """E Z (g, r): the sums of Z (n, r) over each node."""
    return jax.ops.segment_sum(Z, graph.node, len(graph.EX[0]))


def weights(data: Data, p: Params) -> Array:
    """(views,) theta_v."""
    return jnp.full(len(data.views), p.theta).at[0].set(1)


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Gaussian Q and B, random bases, projections that agree with Q."""
    views, dtype = len(data.views), data.mask.dtype
    keys = random.split(key, 2 * views + 1)

    def gaussian(key: Array, rows: int) -> Array:
        return random.normal(key, (rows, bits), jnp.float32).astype(dtype)

    Q = tuple(gaussian(key, X.shape[1]) for key, X in zip(keys, data.views))
    U = tuple(X @ Q_v for X, Q_v in zip(data.views, Q))
    P = tuple(orthonormal(gaussian(key, X.shape[1])) for key, X in zip(keys[views:], data.views))
    return State(Q, U, P, random_rows(keys[-1], data, bits), tuple(map(jnp.zeros_like, U)), p.mu)


def update_Q(s: State, data: Data, p: Params) -> State:
    """Eqs. 17 and 19."""
    targets = (cross(X, U - C / s.mu) for X, U, C in zip(data.views, s.U, s.C))
    return s._replace(Q=tuple(solve(gram, T, p.ridge).astype(s.B.dtype) for gram, T in zip(data.grams, targets)))


def update_U(s: State, data: Data, p: Params) -> State:
    """Eqs. 21 and 23, one view after the other."""
    graph, U, M = data.extra, list(s.U), len(s.U)
    pull = 2 * p.average / M**2  # of the mean of the views towards B
    for v, (X, theta) in enumerate(zip(data.views, weights(data, p))):
        others = sum(U[:v] + U[v + 1 :])
        similar = graph.T(theta * graph.EX[v] @ s.P[v] + p.alpha * pooled(graph, others))
        E = 2 * similar[graph.node] * data.mask[:, None] + s.mu * X @ s.Q[v] + s.C[v]
        E += (2 * p.beta - pull) * others + M * pull * s.B
        F = 2 * (theta + (M - 1) * p.alpha) * graph.D + 2 * (M - 1) * p.beta + pull + s.mu
        U[v] = E / F[:, None]
    return s._replace(U=tuple(U))


def update_P(s: State, data: Data, p: Params) -> State:
    """Eqs. 26 and 28."""
    graph = data.extra
    return s._replace(P=tuple(orthonormal(EX.T @ graph.T(pooled(graph, U))) for EX, U in zip(graph.EX, s.U)))


def update_B(s: State, data: Data, p: Params) -> State:
    """Eq. 30."""
    return s._replace(B=sum(s.U) / len(s.U))


def update_C(s: State, data: Data, p: Params) -> State:
    """Eqs. 31-33."""
    C = tuple(C + s.mu * (X @ Q - U) for C, X, Q, U in zip(s.C, data.views, s.Q, s.U))
    return s._replace(C=C, mu=jnp.minimum(p.growth * s.mu, p.mu_max))


def objective(s: State, data: Data, p: Params) -> Array:
    """Eq. 34 of the projections U, as in eq. 13."""
    graph, M = data.extra, len(s.U)
    loss = p.average * sqnorm(s.B - sum(s.U) / M)
    sums = [pooled(graph, U) for U in s.U]
    for v, (U, theta) in enumerate(zip(s.U, weights(data, p))):
        energy, similar = graph.D @ (U * U).sum(1), graph.T(sums[v])
        loss += theta * (graph.xDx[v] - 2 * jnp.vdot(graph.EX[v] @ s.P[v], similar) + energy)
        loss += p.alpha * (M - 1) * energy
        for w in range(v):
            loss += p.beta * sqnorm(U - s.U[w]) - 2 * p.alpha * jnp.vdot(similar, sums[w])
    return loss


def lagrangian(s: State, data: Data, p: Params) -> Array:
    """Eq. 14, what every update of Q, U, P and B minimises."""
    loss = objective(s, data, p) + s.mu / 2 * p.ridge * sqnorm(*s.Q)
    for X, Q, U, C in zip(data.views, s.Q, s.U, s.C):
        loss += s.mu / 2 * sqnorm(X @ Q - U) + jnp.vdot(C, X @ Q - U)
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    return sign(s.B, data.mask)


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return s.Q


def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """How far the projections are from X Q, and how many bits of the codes sgn(X Q) gives."""
    named = {"penalty": s.mu}
    for v, (X, Q, U) in enumerate(zip(data.views, s.Q, s.U)):
        agreement = jnp.vdot(sign(X @ Q, data.mask), codes(s, data, p)) / data.mask.sum() / s.B.shape[1]
        named[f"distance of U from X Q, view {v}"] = jnp.sqrt(sqnorm(X @ Q - U) / sqnorm(U))
        named[f"codes that are signs of X Q, view {v}"] = agreement / 2 + 0.5
    return named


def check(p: Params) -> None:
    if p.mu <= 0:
        raise ValueError(f"params.mu: expected a positive number; got {p.mu!r}")
    for name in ("theta", "alpha", "beta", "average", "ridge"):
        if getattr(p, name) < 0:
            raise ValueError(f"params.{name}: expected a number of at least 0; got {getattr(p, name)!r}")


updates = (update_Q, update_U, update_P, update_B, update_C)
method = Method(
    "aah",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    features=Features("standardise"),
    prepare=label_graph,
    diagnostics=diagnostics,
    check=check,
)
paper_params = {
    "wiki": Params(theta=1.0, alpha=10.0, beta=10.0, ridge=0.0),
    "mirflickr25k": Params(theta=10.0, alpha=1.0, beta=10.0, ridge=0.0),
    "nuswide10": Params(theta=10.0, alpha=1.0, beta=10.0, ridge=0.0),
}
variants = {
    "knn": method._replace(prepare=neighbour_graph),  # neighbours in feature space instead of labels
    "nl": method._replace(params=Params(alpha=0.0)),  # no label consistency across views
    "ng": method._replace(params=Params(beta=0.0)),  # no global approximation
    "na": method._replace(params=Params(average=0.0)),  # no average approximation
}
