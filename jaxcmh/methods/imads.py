"""IMADS, individual mapping and asymmetric dual supervision (Wang et al., Expert Systems with Applications 2024).

Stage one, individual mapping, learns U (c, r), with which labels L, 0 and 1, are mapped: see `imads_mapping`.  Stage
two, asymmetric dual supervision: over codes B in {-1, 1}^(n, r) and hash functions P_m (q_m, r), with V = L U from
stage one, X kernel features and Y labels with rows of length 1,

    min  alpha |B - V|² + beta |r S - B Vᵀ|² + sum_m (mu_m |X_m P_m - B|² + gamma |P_m|²),     S = 2 Y Yᵀ - 1 1ᵀ,

eq. 9, where one B of the quadratic term becomes a copy C, held by a multiplier D with penalty theta (eq. 17).
B, C and P are minimised exactly given the others; an unseen x gets the code sgn(x P_m), eq. 23.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, random

from jaxcmh.learning.core import (
    Data,
    Method,
    by_rows,
    codes_by_rows,
    labels_of_sets,
    of_views,
    random_codes,
    squared_similarity,
    stage,
    summed,
    unit_labels_of_sets,
)
from jaxcmh.learning.encoders import SVD, decomposed, ridge_by_svd, spanned
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import descend, sign, sqnorm
from jaxcmh.learning.ones import places
from jaxcmh.methods import imads_mapping
from jaxcmh.methods.imads_mapping import Params


class State(NamedTuple):
    U: Array  # (c, r) what stage one learned
    U_start: Array  # (c, r) where it started
    mapping: Array  # its objective, from the start on
    B: Array  # (n, r) codes
    B_p: Array  # (k, r) their reduced rows along the views
    C: Array  # (n, r) their copy
    D: Array  # (n, r) multipliers of B = C
    P: tuple[Array, ...]  # (q_m, r) hash functions


class Known(NamedTuple):
    svd: tuple[SVD, ...]  # of each X_m, for every update of P
    S_squared: Array  # () |S|²


def prepare(data: Data) -> Known:
    return Known(decomposed(data), squared_similarity(data))


def init(key: Array, data: Data, p: Params, bits: int, stage_one: Method) -> State:
    """Stage one, then random codes, and hash functions at 0, where Algorithm 1 starts them at random."""
    start, (mapped, objective, _) = stage(stage_one, key, data, p, bits)
    B, C = random_codes(random.split(random.fold_in(key, 0)), data, bits)
    P = tuple(jnp.zeros((X.shape[1], bits), B.dtype) for X in data.views)
    return State(mapped.U, start.U, objective, B, data.along_views(B), C, jnp.zeros_like(B), P)


def UL(s: State, data: Data) -> tuple[Array, Array]:
    """V = L U (u, r), one row per label set, and G = VᵀV."""
    V = labels_of_sets(data) @ s.U
    return V, (data.roots * V).T @ (data.roots * V)


def similar(V: Array, data: Data) -> Array:
    """S V (u, r) of V (u, r), one row per label set."""
    Y = unit_labels_of_sets(data)
    return 2 * (Y @ Y.transposed_times(data.counts[:, None] * V)) - data.counts @ V


def terms(s: State, data: Data, p: Params) -> dict[str, Array]:
    """What pulls at the codes in eq. 19, (n, r) each; they follow the sign of the sum.

    Eq. 19 misprints the similarity term, which lacks U, and eqs. 17-19 lack the sum over m.
    """
    (V, G), r = UL(s, data), s.B.shape[1]
    mu = of_views(p.mu1, p.mu2, data)
    return {
        "labels": data.per_sample(2 * p.alpha * V),
        "similarity": data.per_sample(2 * p.beta * r * similar(V, data)),
        "hash functions": 2 * sum((X @ (m * P) for m, X, P in zip(mu, data.features, s.P)), jnp.zeros_like(s.B)),
        "quadratic": -p.beta * s.C @ G,
        "copy": p.theta * s.C,
        "multipliers": -s.D,
    }


@codes_by_rows
def update_B(s: State, data: Data, p: Params) -> State:
    """Eq. 19."""
    return s._replace(B=sign(sum(terms(s, data, p).values(), jnp.zeros_like(s.B)), data.mask))


@by_rows
def update_C(s: State, data: Data, p: Params) -> State:
    """Eq. 20."""
    return s._replace(C=sign(p.theta * s.B + s.D - p.beta * s.B @ UL(s, data)[1], data.mask))


@by_rows
def update_D(s: State, data: Data, p: Params) -> State:
    """Eq. 21."""
    return s._replace(D=s.D + p.theta * (s.B - s.C))


def update_P(s: State, data: Data, p: Params) -> State:
    """Eq. 22, with kernel features where it prints raw ones: P_m minimises mu_m |X_m P_m - B|² + gamma |P_m|²."""
    weights = (p.gamma / mu for mu in of_views(p.mu1, p.mu2, data))
    return s._replace(P=tuple(ridge_by_svd(X, s.B_p, weight) for X, weight in zip(data.extra.svd, weights)))


def update_relaxed_B(s: State, data: Data, p: Params) -> State:
    """Eq. 16 over [-1, 1] instead, without a copy: each bit exactly, given the others."""
    pulls, (_, G) = terms(s, data, p), UL(s, data)
    target = (pulls["labels"] + pulls["similarity"] + pulls["hash functions"]) / 2
    ridge = p.alpha + sum(of_views(p.mu1, p.mu2, data))
    H = p.beta * G + ridge * jnp.eye(len(G), dtype=G.dtype)
    B = descend(s.B, target, H, lambda b: jnp.clip(b, -1, 1))
    return s._replace(B=B, B_p=data.along_views(B))


@summed
def sums(s: State, data: Data, p: Params) -> tuple[Array, Array]:
    """BᵀB and |B - V|²."""
    return s.B.T @ s.B, sqnorm(s.B - data.per_sample(UL(s, data)[0]))


def objective(s: State, data: Data, p: Params) -> Array:
    (V, G), r, (BB, gap) = UL(s, data), s.B.shape[1], sums(s, data, p)
    BSV = jnp.vdot(data.of_sets(s.B), data.roots * similar(V, data))
    loss = p.alpha * gap + p.beta * (jnp.vdot(BB, G) - 2 * r * BSV + r**2 * data.extra.S_squared)  # |r S - B Vᵀ|²
    for mu, X, P in zip(of_views(p.mu1, p.mu2, data), spanned(data), s.P):
        B_p = s.B_p[: len(X)]
        loss += mu * (sqnorm(X @ P - B_p) + jnp.trace(BB) - sqnorm(B_p)) + p.gamma * sqnorm(P)  # |X_m P_m - B|²
    return loss


def lagrangian(s: State, data: Data, p: Params) -> Array:
    """Eq. 17, what the updates of B and C minimise."""
    split = p.beta * jnp.vdot(s.B @ UL(s, data)[1], s.C - s.B)
    return objective(s, data, p) + split + jnp.vdot(s.D, s.B - s.C) + p.theta / 2 * sqnorm(s.B - s.C)


def codes(s: State, data: Data, p: Params) -> Array:
    return sign(s.B, data.mask)


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return s.P


@summed
def sizes(s: State, data: Data, p: Params) -> tuple[Array, Array, dict[str, Array]]:
    """|B|², |B - C|², and the same of each of the terms."""
    return sqnorm(s.B), sqnorm(s.B - s.C), {name: sqnorm(term) for name, term in terms(s, data, p).items()}


def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """How far stage one moved U, how far the codes are from their copy, and what pulled at them."""
    norm, (B, gap, squares) = jnp.linalg.norm, sizes(s, data, p)
    return {
        "cosine of U and its start": jnp.vdot(s.U, s.U_start) / norm(s.U) / norm(s.U_start),
        "distance of B from C": jnp.sqrt(gap) / jnp.sqrt(B),
        **{f"{name} term": jnp.sqrt(square) for name, square in squares.items()},
    }


updates = (update_B, update_C, update_D, update_P)
method = Method(
    "imads",
    Params(),
    partial(init, stage_one=imads_mapping.method),
    updates,
    objective,
    codes,
    encoder,
    features=Features(anchors=500),
    prepare=prepare,
    diagnostics=diagnostics,
    label_rows=("labels",),
    links=places,
)
paper_params = {
    "wiki": Params(),
    "mirflickr25k": Params(lam3=1e5, lam5=1e-4, alpha=1e5, beta=0.1, theta=1e-4),
    "nuswide10": Params(lam3=1e5, lam5=1e-4, alpha=1e5, beta=0.1, theta=1e-4),
}
paper_features = {"wiki": Features(anchors=500), "mirflickr25k": Features(), "nuswide10": Features(anchors=1000)}
variants = {
    "mapping": imads_mapping.method,  # stage one alone: codes are sgn(L U)
    "c": method._replace(init=partial(init, stage_one=imads_mapping.shared)),  # one representation shared by all views
    "l": method._replace(params=Params(beta=0.0)),  # labels only
    "s": method._replace(params=Params(alpha=0.0)),  # similarity only
    "r": method._replace(updates=(update_relaxed_B, update_P)),  # relaxed codes
}
