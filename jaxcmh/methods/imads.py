"""IMADS, individual mapping and asymmetric dual supervision (Wang et al., Expert Systems with Applications 2024).

Stage one, individual mapping: over a representation V_m (n, r) of each view with its basis U_m (r, q_m) and its map
W_m (r, r) to the shared one L U, U (c, r), and correlations Q_m (r, r) of the first view with the others,

    min  sum_m lam_m |X_m - V_m U_m|² + lam3 |L U - V_m W_m|² + lam4 sum_{m>1} |V_m - V_1 Q_m|² + lam5 |all of them|²,

eq. 6 with samples as rows; X are kernel features, L labels 0 and 1.  Stage two, asymmetric dual supervision: over
codes B in {-1, 1}^(n, r) and hash functions P_m (q_m, r), with V = L U from stage one and Y labels of row length 1,

    min  alpha |B - V|² + beta |r S - B Vᵀ|² + sum_m mu_m |X_m P_m - B|² + gamma |P_m|²,     S = 2 Y Yᵀ - 1 1ᵀ,

eq. 9, where one B of the quadratic term becomes a copy C, held by a multiplier D with penalty theta (eq. 17).
Each block is minimised exactly given the others; an unseen x gets the code sgn(x P_m), eq. 23.

The columns of V_m always are combinations of those of Z = [X_1 .. X_M, L], so V_m = Z A_m is kept as coefficients
A_m (p, r), and stage one works on the Gram matrix ZᵀZ alone: in float64, which it needs, and at no cost in n.
"""

# sum() of arrays counts as perhaps 0 for the type checker, and hyper-parameters as floats though they are traced.
# pyright: reportArgumentType=false, reportReturnType=false

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, random

from jaxcmh.learning.core import Data, Method, random_rows, run
from jaxcmh.learning.encoders import ridge
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import descend, double, product_gap, sign, solve, sqnorm, stacked_gram


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


def over_views(first: Array, further: Array, data: Data) -> list[Array]:
    return [first] + [further] * (len(data.views) - 1)


class Mapping(NamedTuple):
    """State of stage one, in float64."""

    bases: tuple[Array, ...]  # (r, q_m) U_m
    A: tuple[Array, ...]  # (p, r) coefficients of V_m = Z A_m; in variant c a single one
    W: tuple[Array, ...]  # (r, r)
    U: Array  # (c, r)
    Q: tuple[Array, ...]  # (r, r) for every view after the first


def prepare(data: Data) -> Array:
    """ZᵀZ."""
    return stacked_gram((*data.views, data.labels), data.grams)


def rows_of(M: Array, data: Data) -> list[Array]:
    """The rows of a (p, k) matrix that belong to each view, and those that belong to L."""
    return jnp.split(M, np.cumsum([*map(len, data.grams)]))


@double
def init_mapping(key: Array, data: Data, p: Params, bits: int, shared: bool = False) -> Mapping:
    """Everything Gaussian; the representations are projections of their views, or of all views if `shared`."""
    sizes, c = [len(G) for G in data.grams], data.labels.shape[1]
    keys = iter(random.split(key, 3 * len(sizes)))

    def normal(*shape: int) -> Array:
        return random.normal(next(keys), shape, jnp.float32).astype(jnp.float64)

    U, W = normal(c, bits), tuple(normal(bits, bits) for _ in sizes)
    Q = () if shared else tuple(normal(bits, bits) for _ in sizes[1:])
    drawn = [normal(q, bits) for q in sizes]
    A = [[G if m == k else jnp.zeros_like(G) for k, G in enumerate(drawn)] for m in range(len(sizes))]
    A = [jnp.concatenate([*blocks, jnp.zeros((c, bits))]) for blocks in ([drawn] if shared else A)]
    return Mapping(tuple(jnp.zeros((bits, q)) for q in sizes), tuple(A), W, U, Q)


def products(s: Mapping, data: Data) -> list[tuple[Array, list[Array], Array]]:
    """VᵀV, XᵀV of every view X, and LᵀV, for the V of each view."""
    found = []
    for A in s.A:
        ZV = data.extra @ A
        *XV, LV = rows_of(ZV, data)
        found.append((A.T @ ZV, XV, LV))
    return found * (len(s.W) // len(s.A))


@double
def update_bases(s: Mapping, data: Data, p: Params) -> Mapping:
    """Eq. 10."""
    lam = over_views(p.lam1, p.lam2, data)
    found = enumerate(products(s, data))
    return s._replace(bases=tuple(solve(lam[m] * VV, lam[m] * XV[m].T, p.lam5) for m, (VV, XV, _) in found))


@double
def update_V(s: Mapping, data: Data, p: Params) -> Mapping:
    """Eqs. 11 and 12, one view after the other."""
    A, lam, I = list(s.A), over_views(p.lam1, p.lam2, data), jnp.eye(s.U.shape[1])
    for v in range(len(A)):
        H, target = p.lam5 * I, jnp.zeros_like(A[v])
        for m in [v] if len(A) > 1 else range(len(s.W)):
            H += lam[m] * s.bases[m] @ s.bases[m].T + p.lam3 * s.W[m] @ s.W[m].T
            blocks = [jnp.zeros_like(U.T) if k != m else lam[m] * U.T for k, U in enumerate(s.bases)]
            target += jnp.concatenate([*blocks, p.lam3 * s.U @ s.W[m].T])
        for m, Q in enumerate(s.Q, 1):
            if v == 0:
                H, target = H + p.lam4 * Q @ Q.T, target + p.lam4 * A[m] @ Q.T
            elif v == m:
                H, target = H + p.lam4 * I, target + p.lam4 * A[0] @ Q
        A[v] = solve(H, target.T).T
    return s._replace(A=tuple(A))


@double
def update_W(s: Mapping, data: Data, p: Params) -> Mapping:
    """Eq. 13."""
    return s._replace(W=tuple(solve(p.lam3 * VV, p.lam3 * LV.T @ s.U, p.lam5) for VV, _, LV in products(s, data)))


@double
def update_U(s: Mapping, data: Data, p: Params) -> Mapping:
    """Eq. 14, whose printed form diverges: the stationary point has M lam3 LᵀL + lam5 I in place of its inverse."""
    *_, LL = rows_of(data.extra, data)
    LL = LL[:, -len(LL) :]
    target = sum(LV @ W for (_, _, LV), W in zip(products(s, data), s.W))
    return s._replace(U=solve(len(s.W) * p.lam3 * LL, p.lam3 * target, p.lam5))


@double
def update_Q(s: Mapping, data: Data, p: Params) -> Mapping:
    """Eq. 15."""
    ZV = data.extra @ s.A[0]
    VV = s.A[0].T @ ZV
    return s._replace(Q=tuple(solve(p.lam4 * VV, p.lam4 * ZV.T @ A, p.lam5) for A in s.A[1:]))


@double
def mapping_objective(s: Mapping, data: Data, p: Params) -> Array:
    found, LL = products(s, data), data.extra[-len(s.U) :, -len(s.U) :]
    loss = p.lam5 * (sqnorm(*s.bases, *s.W, s.U, *s.Q) + sum(jnp.trace(VV) for VV, _, _ in found[: len(s.A)]))
    for m, (lam, (VV, XV, LV)) in enumerate(zip(over_views(p.lam1, p.lam2, data), found)):
        U, W = s.bases[m], s.W[m]
        loss += lam * (jnp.trace(data.grams[m]) - 2 * jnp.vdot(U, XV[m].T) + jnp.vdot(VV, U @ U.T))
        loss += p.lam3 * (jnp.vdot(s.U, LL @ s.U) - 2 * jnp.vdot(s.U, LV @ W) + jnp.vdot(VV, W @ W.T))
    ZV = data.extra @ s.A[0]
    for Q, A, (VV, _, _) in zip(s.Q, s.A[1:], found[1:]):
        loss += p.lam4 * (jnp.trace(VV) - 2 * jnp.vdot(ZV.T @ A, Q) + jnp.vdot(found[0][0], Q @ Q.T))
    return loss.astype(data.mask.dtype)


def mapping_codes(s: Mapping, data: Data, p: Params) -> Array:
    return sign(data.labels @ s.U.astype(data.labels.dtype), data.mask)


def mapping_encoder(s: Mapping, data: Data, p: Params) -> tuple[Array, ...]:
    return ridge(mapping_codes(s, data, p), data, p.gamma / p.mu1)


class State(NamedTuple):
    U: Array  # (c, r) what stage one found
    U_start: Array  # (c, r) where it started
    mapping: Array  # (41,) its objective
    B: Array  # (n, r) codes
    C: Array  # (n, r) their copy
    D: Array  # (n, r) multipliers of B = C
    P: tuple[Array, ...]  # (q_m, r) hash functions


def init(key: Array, data: Data, p: Params, bits: int, stage_one: Method) -> State:
    """Stage one, then random codes and hash functions at zero."""
    dtype = data.mask.dtype
    found, trace, _ = run(stage_one, data, key, p, bits, stage_one.max_iterations, stage_one.tolerance)
    start = stage_one.init(key, data, p, bits).U
    key_B, key_C = random.split(random.fold_in(key, 0))
    B, C = (sign(random_rows(k, data, bits), data.mask) for k in (key_B, key_C))
    P = tuple(jnp.zeros((X.shape[1], bits), dtype) for X in data.views)
    return State(found.U.astype(dtype), start.astype(dtype), trace, B, C, jnp.zeros_like(B), P)


def terms(s: State, data: Data, p: Params) -> dict[str, Array]:
    """What pulls at the codes in eq. 19, (n, r) each; they follow the sign of the sum."""
    V, Y, r = data.labels @ s.U, data.unit_labels, s.B.shape[1]
    mu = over_views(p.mu1, p.mu2, data)
    return {
        "labels": 2 * p.alpha * V,
        "similarity": 2 * p.beta * r * (2 * Y @ (Y.T @ V) - data.mask[:, None] * V.sum(0)),
        "hash functions": 2 * sum(mu_m * (X @ P) for mu_m, X, P in zip(mu, data.views, s.P)),
        "quadratic": -p.beta * s.C @ (V.T @ V),
        "copy": p.theta * s.C,
        "multipliers": -s.D,
    }


def update_B(s: State, data: Data, p: Params) -> State:
    """Eq. 19."""
    return s._replace(B=sign(sum(terms(s, data, p).values()), data.mask))


def update_C(s: State, data: Data, p: Params) -> State:
    """Eq. 20."""
    V = data.labels @ s.U
    return s._replace(C=sign(p.theta * s.B + s.D - p.beta * s.B @ (V.T @ V), data.mask))


def update_D(s: State, data: Data, p: Params) -> State:
    """Eq. 21."""
    return s._replace(D=s.D + p.theta * (s.B - s.C))


@double
def update_P(s: State, data: Data, p: Params) -> State:
    """Eq. 22, with kernel features where it prints raw ones."""
    mu = over_views(p.mu1, p.mu2, data)
    return s._replace(P=tuple(solve(m * G, m * (X.T @ s.B), p.gamma) for m, G, X in zip(mu, data.grams, data.views)))


def update_relaxed_B(s: State, data: Data, p: Params) -> State:
    """Eq. 16 over [-1, 1] instead, without a copy: each bit exactly, given the others."""
    found, V = terms(s, data, p), data.labels @ s.U
    target = (found["labels"] + found["similarity"] + found["hash functions"]) / 2
    ridge = p.alpha + sum(over_views(p.mu1, p.mu2, data))
    H = p.beta * V.T @ V + ridge * jnp.eye(len(V.T), dtype=V.dtype)
    return s._replace(B=descend(s.B, target, H, lambda b: jnp.clip(b, -1, 1)))


def objective(s: State, data: Data, p: Params) -> Array:
    V, Y, r = data.labels @ s.U, data.unit_labels, s.B.shape[1]
    similar = jnp.column_stack([2 * r * Y, -r * data.mask]), jnp.column_stack([Y, data.mask])
    loss = p.alpha * sqnorm(s.B - V) + p.beta * product_gap(s.B, V, *similar) + p.gamma * sqnorm(*s.P)
    return loss + sum(mu * sqnorm(X @ P - s.B) for mu, X, P in zip(over_views(p.mu1, p.mu2, data), data.views, s.P))


def lagrangian(s: State, data: Data, p: Params) -> Array:
    """Eq. 17, what the updates of B and C minimise."""
    V = data.labels @ s.U
    split = p.beta * jnp.vdot(s.B @ (V.T @ V), s.C - s.B)
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


mapping = Method(
    "imads-mapping",
    Params(),
    init_mapping,
    (update_bases, update_V, update_W, update_U, update_Q),
    mapping_objective,
    mapping_codes,
    mapping_encoder,
    max_iterations=40,
    features=Features(anchors=500),
    prepare=prepare,
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
paper_params = {  # with 500, 1,500 and 1,000 anchors
    "wiki": Params(),
    "mirflickr25k": Params(lam3=1e5, lam5=1e-4, alpha=1e5, beta=0.1, theta=1e-4),
    "nuswide10": Params(lam3=1e5, lam5=1e-4, alpha=1e5, beta=0.1, theta=1e-4),
}
shared_mapping = mapping._replace(init=partial(init_mapping, shared=True), updates=mapping.updates[:-1])
variants = {
    "mapping": mapping,  # stage one alone: codes are sgn(L U)
    "c": method._replace(init=partial(init, stage_one=shared_mapping)),  # one representation shared by all views
    "l": method._replace(params=Params(beta=0.0)),  # labels only
    "s": method._replace(params=Params(alpha=0.0)),  # similarity only
    "r": method._replace(updates=(update_relaxed_B, update_P)),  # relaxed codes
}
