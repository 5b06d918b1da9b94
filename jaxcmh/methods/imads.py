"""IMADS, individual mapping and asymmetric dual supervision (Wang et al., Expert Systems with Applications 2024).

Stage one, individual mapping: over a representation V_m (n, r) of each view with its basis U_m (r, q_m) and its map
W_m (r, r) to the shared one L U, U (c, r), and correlations Q_m (r, r) of the first view with the others,

    min  sum_m lam_m |X_m - V_m U_m|² + lam3 |L U - V_m W_m|² + lam4 sum_{m>1} |V_m - V_1 Q_m|² + lam5 |all of them|²,

eq. 6 with samples as rows; X are kernel features, L labels 0 and 1, all of them reduced rows.  Stage two, asymmetric
dual supervision: over codes B in {-1, 1}^(n, r) and hash functions P_m (q_m, r), with V = L U from stage one and Y
labels with rows of length 1,

    min  alpha |B - V|² + beta |r S - B Vᵀ|² + sum_m mu_m |X_m P_m - B|² + gamma |P_m|²,     S = 2 Y Yᵀ - 1 1ᵀ,

eq. 9, where one B of the quadratic term becomes a copy C, held by a multiplier D with penalty theta (eq. 17).
Each block is minimised exactly given the others; an unseen x gets the code sgn(x P_m), eq. 23.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, random

from jaxcmh.learning.core import Data, Method, bare, gaussian, run
from jaxcmh.learning.encoders import SVD, decomposed, ridge, ridge_by_svd
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import descend, lstsq, product_gap, sign, sqnorm, unit_rows


class Params(NamedTuple):
    lam1: float = 0.5  # reconstruction of the first view
    lam2: float = 0.5  # reconstruction of every further view
    lam3: float = 1e4  # representations agree with the labels
    lam4: float = 1e-2  # representations agree with that of the first view
    lam5: float = 1e-3  # ridge of stage one
    alpha: float = 1e3  # codes agree with the labels
    beta: float = 1e-3  # codes agree with the similarity
    mu1: float = 1e-3  # fit of the first view's hash function
    mu2: float = 1e-3  # fit of every further view's hash function
    gamma: float = 1e-3  # ridge of the hash functions
    theta: float = 1e-3  # penalty of B = C


def of_views(first: float, further: float, data: Data) -> list[float]:
    return [first] + [further] * (len(data.views) - 1)


class Mapping(NamedTuple):
    """State of stage one."""

    U_m: tuple[Array, ...]  # (r, q_m)
    V: tuple[Array, ...]  # (p, r); in variant c a single one for all views
    W: tuple[Array, ...]  # (r, r)
    U: Array  # (c, r)
    Q: tuple[Array, ...]  # (r, r) for every view after the first


def init_mapping(key: Array, data: Data, p: Params, bits: int, shared: bool = False) -> Mapping:
    """Everything Gaussian; the representations are projections of their views, or of all views if `shared`."""
    views, keys = data.views, iter(random.split(key, 3 * len(data.views)))

    def normal(*shape: int) -> Array:
        return gaussian(next(keys), *shape, dtype=data.ones.dtype)

    U, W = normal(data.sets.shape[1], bits), tuple(normal(bits, bits) for _ in views)
    Q = () if shared else tuple(normal(bits, bits) for _ in views[1:])
    V = tuple(X @ normal(X.shape[1], bits) for X in views)
    return Mapping(tuple(jnp.zeros((bits, X.shape[1]), U.dtype) for X in views), (sum(V),) if shared else V, W, U, Q)


def V_of_views(s: Mapping) -> tuple[Array, ...]:
    return s.V * (len(s.W) // len(s.V))


def update_U_m(s: Mapping, data: Data, p: Params) -> Mapping:
    """Eq. 10."""
    terms = zip(of_views(p.lam1, p.lam2, data), V_of_views(s), data.views)
    return s._replace(U_m=tuple(lstsq(term, ridge=p.lam5) for term in terms))


def update_V(s: Mapping, data: Data, p: Params) -> Mapping:
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


def update_W(s: Mapping, data: Data, p: Params) -> Mapping:
    """Eq. 13."""
    return s._replace(W=tuple(lstsq((p.lam3, V, data.labels @ s.U), ridge=p.lam5) for V in V_of_views(s)))


def update_U(s: Mapping, data: Data, p: Params) -> Mapping:
    """Eq. 14, whose printed form diverges: the stationary point has M lam3 LᵀL + lam5 I in place of its inverse."""
    terms = [(p.lam3, data.labels, V @ W) for V, W in zip(V_of_views(s), s.W)]
    return s._replace(U=lstsq(*terms, ridge=p.lam5))


def update_Q(s: Mapping, data: Data, p: Params) -> Mapping:
    """Eq. 15."""
    return s._replace(Q=tuple(lstsq((p.lam4, s.V[0], V), ridge=p.lam5) for V in s.V[1:]))


def mapping_objective(s: Mapping, data: Data, p: Params) -> Array:
    loss = p.lam5 * sqnorm(*s.U_m, *s.V, *s.W, s.U, *s.Q)
    for lam, X, V, U_m, W in zip(of_views(p.lam1, p.lam2, data), data.views, V_of_views(s), s.U_m, s.W):
        loss += lam * sqnorm(X - V @ U_m) + p.lam3 * sqnorm(data.labels @ s.U - V @ W)
    return loss + p.lam4 * sum(sqnorm(V - s.V[0] @ Q) for V, Q in zip(s.V[1:], s.Q))


def mapping_codes(s: Mapping, data: Data, p: Params) -> Array:
    return data.per_sample(sign(data.sets @ s.U))


def mapping_encoder(s: Mapping, data: Data, p: Params) -> tuple[Array, ...]:
    return ridge(mapping_codes(s, data, p), data, p.gamma / p.mu1)


class State(NamedTuple):
    U: Array  # (c, r) what stage one learned
    U_start: Array  # (c, r) where it started
    mapping: Array  # (41,) its objective
    B: Array  # (n, r) codes
    C: Array  # (n, r) their copy
    D: Array  # (n, r) multipliers of B = C
    P: tuple[Array, ...]  # (q_m, r) hash functions


def init(key: Array, data: Data, p: Params, bits: int, stage_one: Method) -> State:
    """Stage one, then random codes and hash functions at zero."""
    trained = run(bare(stage_one), data, key, p, bits, stage_one.max_iterations, stage_one.tolerance)
    start = stage_one.init(key, data, p, bits).U

    def random_codes(key: Array) -> Array:
        return sign(gaussian(key, len(data.mask), bits, dtype=data.mask.dtype), data.mask)

    B, C = map(random_codes, random.split(random.fold_in(key, 0)))
    P = tuple(jnp.zeros((X.shape[1], bits), B.dtype) for X in data.views)
    return State(trained.state.U, start, trained.objective, B, C, jnp.zeros_like(B), P)


def UL(s: State, data: Data) -> tuple[Array, Array]:
    """V = L U (u, r), one row per label set, and G = VᵀV."""
    V = data.sets @ s.U
    return V, (data.roots * V).T @ (data.roots * V)


def terms(s: State, data: Data, p: Params) -> dict[str, Array]:
    """What pulls at the codes in eq. 19, (n, r) each; they follow the sign of the sum."""
    (V, G), Y, r = UL(s, data), unit_rows(data.sets), s.B.shape[1]
    SV = 2 * Y @ (Y.T @ (data.counts[:, None] * V)) - data.counts @ V
    mu = of_views(p.mu1, p.mu2, data)
    return {
        "labels": data.per_sample(2 * p.alpha * V),
        "similarity": data.per_sample(2 * p.beta * r * SV),
        "hash functions": 2 * sum((m * X @ P for m, X, P in zip(mu, data.features, s.P)), jnp.zeros_like(s.B)),
        "quadratic": -p.beta * s.C @ G,
        "copy": p.theta * s.C,
        "multipliers": -s.D,
    }


def update_B(s: State, data: Data, p: Params) -> State:
    """Eq. 19."""
    return s._replace(B=sign(sum(terms(s, data, p).values(), jnp.zeros_like(s.B)), data.mask))


def update_C(s: State, data: Data, p: Params) -> State:
    """Eq. 20."""
    return s._replace(C=sign(p.theta * s.B + s.D - p.beta * s.B @ UL(s, data)[1], data.mask))


def update_D(s: State, data: Data, p: Params) -> State:
    """Eq. 21."""
    return s._replace(D=s.D + p.theta * (s.B - s.C))


def update_P(s: State, data: Data, p: Params) -> State:
    """Eq. 22, with kernel features where it prints raw ones: P_m minimises mu_m |X_m P_m - B|² + gamma |P_m|²."""
    B = data.coordinates(s.B)
    weights = (p.gamma / mu for mu in of_views(p.mu1, p.mu2, data))
    return s._replace(P=tuple(ridge_by_svd(X, B, weight) for X, weight in zip(data.extra, weights)))


def update_relaxed_B(s: State, data: Data, p: Params) -> State:
    """Eq. 16 over [-1, 1] instead, without a copy: each bit exactly, given the others."""
    pulls, (_, G) = terms(s, data, p), UL(s, data)
    target = (pulls["labels"] + pulls["similarity"] + pulls["hash functions"]) / 2
    ridge = p.alpha + sum(of_views(p.mu1, p.mu2, data))
    H = p.beta * G + ridge * jnp.eye(len(G), dtype=G.dtype)
    return s._replace(B=descend(s.B, target, H, lambda b: jnp.clip(b, -1, 1)))


def objective(s: State, data: Data, p: Params) -> Array:
    V, Y, r = data.per_sample(UL(s, data)[0]), data.per_sample(unit_rows(data.sets)), s.B.shape[1]
    similar = jnp.column_stack([2 * r * Y, -r * data.mask]), jnp.column_stack([Y, data.mask])
    loss = p.alpha * sqnorm(s.B - V) + p.beta * product_gap(s.B, V, *similar) + p.gamma * sqnorm(*s.P)
    fits = zip(of_views(p.mu1, p.mu2, data), data.features, s.P)
    return loss + sum((mu * sqnorm(X @ P - s.B) for mu, X, P in fits), jnp.zeros_like(loss))


def lagrangian(s: State, data: Data, p: Params) -> Array:
    """Eq. 17, what the updates of B and C minimise."""
    split = p.beta * jnp.vdot(s.B @ UL(s, data)[1], s.C - s.B)
    return objective(s, data, p) + split + jnp.vdot(s.D, s.B - s.C) + p.theta / 2 * sqnorm(s.B - s.C)


def codes(s: State, data: Data, p: Params) -> Array:
    return sign(s.B, data.mask)


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return s.P


def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """How far stage one moved U, how far the codes are from their copy, and what pulled at them."""
    norm = jnp.linalg.norm
    return {
        "cosine of U and its start": jnp.vdot(s.U, s.U_start) / norm(s.U) / norm(s.U_start),
        "distance of B from C": norm(s.B - s.C) / norm(s.B),
        **{f"{name} term": norm(term) for name, term in terms(s, data, p).items()},
    }


def prepare(data: Data) -> tuple[SVD, ...]:
    """X_m by its singular values, which serve every update of P_m."""
    return decomposed(data)


mapping = Method(
    "imads-mapping",
    Params(),
    init_mapping,
    (update_U_m, update_V, update_W, update_U, update_Q),
    mapping_objective,
    mapping_codes,
    mapping_encoder,
    max_iterations=40,
    features=Features(anchors=500),
)
updates = (update_B, update_C, update_D, update_P)
method = Method(
    "imads",
    Params(),
    partial(init, stage_one=mapping),
    updates,
    objective,
    codes,
    encoder,
    features=Features(anchors=500),
    prepare=prepare,
    diagnostics=diagnostics,
)
paper_params = {
    "wiki": Params(),
    "mirflickr25k": Params(lam3=1e5, lam5=1e-4, alpha=1e5, beta=0.1, theta=1e-4),
    "nuswide10": Params(lam3=1e5, lam5=1e-4, alpha=1e5, beta=0.1, theta=1e-4),
}
paper_features = {"wiki": Features(anchors=500), "mirflickr25k": Features(), "nuswide10": Features(anchors=1000)}
shared_mapping = mapping._replace(init=partial(init_mapping, shared=True), updates=mapping.updates[:-1])
variants = {
    "mapping": mapping,  # stage one alone: codes are sgn(L U)
    "c": method._replace(init=partial(init, stage_one=shared_mapping)),  # one representation shared by all views
    "l": method._replace(params=Params(beta=0.0)),  # labels only
    "s": method._replace(params=Params(alpha=0.0)),  # similarity only
    "r": method._replace(updates=(update_relaxed_B, update_P)),  # relaxed codes
}
