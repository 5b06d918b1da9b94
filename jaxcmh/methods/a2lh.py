"""A2LH, adaptive asymmetric label-guided hashing (Long 2022).

Over weights mu of the views (sum_m mu_m = 1), a label embedding R (c, r), a common space U (n, q), its map C (q, r)
to codes, codes B in {-1, 1}^(n, r) and for each view V_m (q_m, q) with orthonormal columns:

    min  |L (U C)ᵀ - r S|² + alpha |B - U C|² + beta |L - B|²
       + sum_m mu_m^zeta |X_m - U V_mᵀ|² + eta (|L|² + |U|²),     L = Y R,   S = 2 Y Yᵀ - 1 1ᵀ,

eq. 9 with samples as rows, its first term as in eq. 13, and the sum over m that it omits.  L is R L in the paper, and
Y its L: labels, here with rows of length 1; X are kernel features, q is the smallest q_m.  Each block is minimised
exactly given the others; an unseen x gets the code sgn(x W_m), eq. 34.

X, Y, 1 and U are reduced rows.  The columns of U are combinations of theirs and of the codes, so codes are turned into
reduced rows too, and where they are learned, the rows of U C are taken back.
"""

from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, random

from jaxcmh.checks import Number, Weight
from jaxcmh.learning.core import Data, Method
from jaxcmh.learning.encoders import ridge
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import descend, lstsq, polar, product_gap, sign, similarity_factors, sqnorm, svd, unit_rows

Zeta = Annotated[float, Number(0, 0)] | Annotated[float, Number(above=1)]


class Params(NamedTuple):
    zeta: Zeta = 2.0  # 0: all views weigh 1; the larger above 1, the more alike the weights
    alpha: Weight = 1e-2  # codes agree with the common space
    beta: Weight = 10.0  # codes agree with the label embedding
    eta: Weight = 1e-3  # ridge of label embedding and common space
    omega: Weight = 1e-2  # ridge of the hash functions; the paper sweeps it and names no value


class State(NamedTuple):
    mu: Array  # (M,) weights of the views
    R: Array  # (c, r) label embedding
    C: Array  # (q, r) map from the common space to codes
    B: Array  # (n, r) codes
    B_p: Array  # (p, r) their reduced rows, as U was learned with them
    U: Array  # (p, q) common space
    V: tuple[Array, ...]  # (q_m, q) the space of each view


class Labels(NamedTuple):
    Y: Array  # (p, c)
    of_sets: Array  # (u, c)


def prepare(data: Data, unit: bool = True) -> Labels:
    return Labels(data.unit_labels, unit_rows(data.sets)) if unit else Labels(data.labels, data.sets)


def similar(M: Array, data: Data) -> Array:
    """S M."""
    return 2 * data.extra.Y @ (data.extra.Y.T @ M) - jnp.outer(data.ones, data.ones @ M)


def label_embedding(s: State, data: Data) -> Array:
    """L; the variant m puts the codes in its place."""
    return data.extra.Y @ s.R


def init(key: Array, data: Data, p: Params, bits: int, from_labels: bool = False) -> State:
    """Random codes, maps and spaces, the mixture of the views as common space, and R at 0.  The paper gives no start.

    With `from_labels` the codes are signs of random projections of the labels, the common space is the mean of the
    views, and C is 0.
    """
    key_B, key_C, *keys = random.split(key, 2 + len(data.views))
    sizes, c, q = [X.shape[1] for X in data.views], data.sets.shape[1], min(X.shape[1] for X in data.views)
    if from_labels:
        V, C = tuple(jnp.eye(size, q, dtype=data.ones.dtype) for size in sizes), jnp.zeros((q, bits), data.ones.dtype)
        B = data.per_sample(data.extra.of_sets @ data.gaussian(key_B, c, bits))
    else:
        V = tuple(polar(data.gaussian(k, size, q)) for k, size in zip(keys, sizes))
        B, C = data.gaussian(key_B, len(data.mask), bits), data.gaussian(key_C, q, bits)
    B, U = sign(B, data.mask), jnp.stack([X @ V_m for X, V_m in zip(data.views, V)]).mean(0)
    mu, R = jnp.full_like(data.ones[: len(V)], 1 / len(V)), jnp.zeros((c, bits), B.dtype)
    return State(mu, R, C, B, data.reduced(B), U, V)


def distances(s: State, data: Data) -> Array:
    """|X_m - U V_mᵀ|², one per view."""
    return jnp.stack([sqnorm(X - s.U @ V.T) for X, V in zip(data.views, s.V)])


def update_mu(s: State, data: Data, p: Params) -> State:
    """Eq. 12; a view that U rebuilds up to rounding must not take all the weight."""
    Delta = jnp.maximum(distances(s, data), 1e-6 * jnp.stack([sqnorm(X) for X in data.views]))
    return s._replace(mu=jax.nn.softmax(jnp.log(Delta) / (1 - p.zeta)))


def toward(P: Array, B: Array, weight: Array | float, data: Data) -> tuple[Array, Array, Array]:
    """G (p, r), scale (r,), A (r, r): (G / scale) Aᵀ is the Z that minimises |P Zᵀ - r S|² + weight |Z - B|².

    A are the axes of PᵀP + weight I, and scale its square roots along them.  Directions in which P is only rounding
    count as 0: S would outweigh B there when the weight is small.
    """
    left, sigma, AT = svd(P)
    sigma = jnp.where(sigma > 1e-6 * sigma[0], sigma, 0)
    scale = jnp.sqrt(sigma**2 + weight)
    return B.shape[1] * similar(left * sigma / scale, data) + weight * B @ AT.T / scale, scale, AT.T


def update_R(s: State, data: Data, p: Params) -> State:
    """Eq. 15: Y R is nearest to the L that minimises |L (U C)ᵀ - r S|² + beta |L - B|² + eta |L|².

    For any other L the three terms are larger by |(L - that one) T|², TᵀT = (U C)ᵀ U C + (beta + eta) I; T stands on
    the right, so the best R is that of plain least squares.
    """
    G, scale, A = toward(s.U @ s.C, p.beta / (p.beta + p.eta) * s.B_p, p.beta + p.eta, data)
    return s._replace(R=lstsq((1.0, data.extra.Y, G / scale @ A.T)))


def update_C(s: State, data: Data, p: Params, L_of=label_embedding) -> State:
    """Eq. 18: U C is nearest to the Z that minimises |L Zᵀ - r S|² + alpha |Z - B|², for the reason given at eq. 15."""
    G, scale, A = toward(L_of(s, data), s.B_p, p.alpha, data)
    return s._replace(C=lstsq((1.0, s.U, G / scale @ A.T)))


def pull(s: State, data: Data, p: Params) -> Array:
    """alpha U C + beta L (n, r)."""
    L = data.per_sample(data.extra.of_sets @ s.R)
    return p.alpha * data.rows(s.U @ s.C, s.B, s.B_p) + p.beta * L


def update_B(s: State, data: Data, p: Params) -> State:
    """Eq. 22, which lacks the sign.  The reduced rows B_p follow in `update_U`, for U is learned with them."""
    return s._replace(B=sign(pull(s, data, p), data.mask))


def update_relaxed_B(s: State, data: Data, p: Params) -> State:
    """Eq. 38."""
    return s._replace(B=pull(s, data, p) / (p.alpha + p.beta))


def update_B_bit_by_bit(s: State, data: Data, p: Params) -> State:
    """Eq. 37 is quadratic in the codes: each bit exactly, given the others."""
    UC, r = s.U @ s.C, s.B.shape[1]
    Y, UC_rows = data.per_sample(data.extra.of_sets), data.rows(UC, s.B, s.B_p)
    target = r * (2 * Y @ (data.extra.Y.T @ UC) - data.mask[:, None] * (data.ones @ UC)) + p.alpha * UC_rows
    return s._replace(B=descend(s.B, target, UC.T @ UC, partial(sign, mask=data.mask)))


def update_U(s: State, data: Data, p: Params, L_of=label_embedding) -> State:
    """Eq. 25, which omits the sum over m: U (K Kᵀ + tau I) = F + G Kᵀ, where G, scale, A are from `toward` and

    F = sum_m mu_m^zeta X_m V_m, tau = sum_m mu_m^zeta + eta, K = C A diag(scale) (q, r).  Along the axes of
    K = axes diag(sigma) Qᵀ the system is diagonal, and orthogonal to them U = F / tau.
    """
    s = s._replace(B_p=data.reduced(s.B))
    (G, scale, A), w = toward(L_of(s, data), s.B_p, p.alpha, data), s.mu**p.zeta
    F, tau = sum(w_m * (X @ V) for w_m, X, V in zip(w, data.views, s.V)), w.sum() + p.eta
    axes, sigma, QT = svd(s.C @ A * scale)
    along = F @ axes
    return s._replace(U=(F - along @ axes.T) / tau + (along + G @ QT.T * sigma) / (tau + sigma**2) @ axes.T)


def update_V(s: State, data: Data, p: Params) -> State:
    """Eq. 26 exactly: |U V_mᵀ|² = |U|² is constant, so no copy and no penalty are needed (see `a2lh_multipliers`)."""
    return s._replace(V=tuple(polar(X.T @ s.U) for X in data.views))


def objective(s: State, data: Data, p: Params, L_of=label_embedding) -> Array:
    L, UC = L_of(s, data), s.U @ s.C
    loss = product_gap(L, UC, *similarity_factors(data.extra.Y, data.ones, s.B.shape[1]))
    loss += p.alpha * sqnorm(s.B_p - UC) + p.beta * sqnorm(label_embedding(s, data) - s.B_p)
    loss += jnp.vdot(s.mu**p.zeta, distances(s, data))
    return loss + p.eta * sqnorm(label_embedding(s, data), s.U)


def codes(s: State, data: Data, p: Params) -> Array:
    return sign(s.B, data.mask)


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    """Eq. 34."""
    return ridge(codes(s, data, p), data, p.omega)


def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """The weights mu^zeta of the views, the sizes of the two terms of eq. 22, and how many codes are signs of U C."""
    UC = s.U @ s.C
    agreement = jnp.vdot(codes(s, data, p), sign(data.rows(UC, s.B, s.B_p), data.mask)) / data.n / s.B.shape[1]
    return {
        **{f"weight of view {m}": weight for m, weight in enumerate(s.mu**p.zeta)},
        "common space term": jnp.linalg.norm(p.alpha * UC),
        "label term": jnp.linalg.norm(p.beta * label_embedding(s, data)),
        "codes that are signs of U C": agreement / 2 + 0.5,
    }


updates = (update_mu, update_R, update_C, update_B, update_U, update_V)
method = Method(
    "a2lh",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    max_iterations=20,
    tolerance=2e-2,  # mAP stays where it is from then on
    features=Features(anchors=2500),
    prepare=prepare,
    diagnostics=diagnostics,
)
paper_params = {"mirflickr25k": Params(), "nuswide10": Params()}
of_codes = {"L_of": lambda s, data: s.B_p}
without_embedding = (
    update_mu,
    partial(update_C, **of_codes),
    update_B_bit_by_bit,
    partial(update_U, **of_codes),
    update_V,
)
variants = {
    "k": method._replace(features=Features("identity")),  # no kernel
    "m": method._replace(  # no label embedding: the codes stand in its place
        params=Params(beta=0.0), updates=without_embedding, objective=partial(objective, **of_codes)
    ),
    "b": method._replace(  # relaxed codes
        updates=(update_mu, update_R, update_C, update_relaxed_B, update_U, update_V)
    ),
    "labels": method._replace(init=partial(init, from_labels=True)),  # another start
    "counts": method._replace(prepare=partial(prepare, unit=False)),  # labels 0 and 1 as they are
}
