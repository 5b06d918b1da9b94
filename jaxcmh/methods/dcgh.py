"""DCGH, distribution consistency guided hashing (ACM MM 2024).

Over codes H in {-1, 1}^(n, r); for each view v a representation B^v (n, r) with balanced, uncorrelated
columns (1ᵀB^v = 0, B^vᵀB^v = nI), a projection W^v (q_v, r) and an encoding F^v (n, c); an encoding E (n, c)
of the codes; and class centres U (c, r).  W, F, E, U have orthonormal columns, or rows where they are wider than tall:

    min  sum_v (|B^v - X^v W^v|² + alpha |B^v - F^v U|² + beta |H B^vᵀ - r Y Yᵀ|²) + alpha |H - E U|²

Eq. 4 with samples as rows, and with alpha |H - E U|² once, as in eqs. 3 and 14, where eqs. 4 and 9-11 count it for
every view; X are kernel features, Y labels with rows of length 1.  As in the paper's step from eq. 12 to eq. 13,
|X^v W^v|² counts as the constant |X^v|², which it is with no fewer bits than features.
Each block is then minimised exactly given the others; an unseen x gets the code sgn(x P^v), eq. 21.

With more classes than bits F and E lack the part that is orthogonal to B, H and U, which no term sees.

X, Y, B and F are reduced rows.  Labels are all that an update of H and E knows of a sample, so samples with equal
labels have equal codes: H and E have one row per label set, and with the square roots of the counts, `data.roots`,
these are reduced rows too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, random

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method
from jaxcmh.learning.encoders import ridge
from jaxcmh.learning.linalg import gap_to_wide, polar, product_gap, sign, sqnorm, unit_rows


class Params(NamedTuple):
    alpha: Weight = 10.0  # distribution consistency: representations and codes share the class centres
    beta: Weight = 10.0  # consensus: codes and representations agree with the labels
    lam: Weight = 1e-2  # ridge of the hash functions


class State(NamedTuple):
    H: Array  # (u, r) consensus codes in {-1, 1}, one per label set
    B: Array  # (views, p, r) representation of each view
    W: tuple[Array, ...]  # (q_v, r) projection of each view
    U: Array  # (c, r) class centres
    F: Array  # (views, p, c) encoding of each representation
    E: Array  # (u, c) encoding of the codes, times `data.roots`


def of_sets(s: State, data: Data) -> tuple[Array, Array]:
    """Y and H as reduced rows, one per label set."""
    return data.roots * unit_rows(data.sets), data.roots * s.H


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Random codes, everything else orthonormal."""
    (p_rows, c), u, views = data.labels.shape, len(data.sets), len(data.views)
    keys = iter(random.split(key, views + 4))

    def normal(*shape: int) -> Array:
        return data.gaussian(next(keys), *shape)

    W = tuple(polar(normal(X.shape[1], bits)) for X in data.views)
    U, F = polar(normal(c, bits)), jax.vmap(polar)(normal(views, p_rows, c))
    H, E = sign(normal(u, bits)), polar(normal(u, c))
    return update_B(State(H, jnp.zeros((views, p_rows, bits), H.dtype), W, U, F, E), data, p)


def update_B(s: State, data: Data, p: Params) -> State:
    """Eqs. 6-8 by one polar factor: the B with 1ᵀB = 0 and BᵀB = nI for which tr(JᵀB) is largest."""
    (Y_u, H), r = of_sets(s, data), s.H.shape[1]
    XW = jnp.stack([X @ W for X, W in zip(data.views, s.W)])
    J = XW + p.alpha * s.F @ s.U + p.beta * r * data.unit_labels @ (Y_u.T @ H)
    return s._replace(B=jnp.sqrt(data.n) * jax.vmap(polar, (0, None))(J, data.ones))


def update_H(s: State, data: Data, p: Params) -> State:
    """Eq. 11, in which alpha E U counts once, not once per view."""
    (Y_u, _), r = of_sets(s, data), s.H.shape[1]
    return s._replace(H=sign(p.alpha * s.E @ s.U + p.beta * r * Y_u @ (data.unit_labels.T @ s.B.sum(0))))


def update_W(s: State, data: Data, p: Params) -> State:
    """Eqs. 12-13."""
    return s._replace(W=tuple(polar(X.T @ B) for X, B in zip(data.views, s.B)))


def update_U(s: State, data: Data, p: Params) -> State:
    """Eqs. 14-15."""
    _, H = of_sets(s, data)
    return s._replace(U=polar(jnp.einsum("vpc,vpr->cr", s.F, s.B) + s.E.T @ H))


def update_F(s: State, data: Data, p: Params) -> State:
    """Eqs. 16-17: P(B Uᵀ), and BᵀB = nI."""
    return s._replace(F=s.B @ s.U.T / jnp.sqrt(data.n))


def update_E(s: State, data: Data, p: Params) -> State:
    """Eq. 18: P(H Uᵀ)."""
    (_, H), (c, r) = of_sets(s, data), s.U.shape
    return s._replace(E=polar(H @ s.U.T) if c <= r else polar(H) @ s.U.T)


def label_gap(s: State, B: Array, data: Data) -> Array:
    """|H Bᵀ - r Y Yᵀ|²."""
    (Y_u, H), Y, (c, r) = of_sets(s, data), data.unit_labels, s.U.shape
    if c <= r:
        return product_gap(H, B, r * Y_u, Y)
    root = jnp.sqrt(data.n)  # BᵀB = nI
    return gap_to_wide(root * H, r * Y_u @ (Y.T @ B) / root, r**2 * sqnorm(Y.T @ Y))


def objective(s: State, data: Data, p: Params) -> Array:
    _, H = of_sets(s, data)
    loss = p.alpha * sqnorm(H - s.E @ s.U)
    for X, B, W, F in zip(data.views, s.B, s.W, s.F):
        loss += sqnorm(B) - 2 * jnp.vdot(X.T @ B, W) + sqnorm(X)
        loss += p.alpha * sqnorm(B - F @ s.U) + p.beta * label_gap(s, B, data)
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    return data.per_sample(s.H)


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    """Eqs. 19-20: P^v minimises |X^v P^v - H|² + lam |P^v|²."""
    return ridge(codes(s, data, p), data, p.lam)


def representations(s: State, data: Data) -> tuple[Array, ...]:
    """B^v (n, r), to look at."""
    return tuple(data.rows(B) for B in s.B)


def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """The sizes of the terms of J, and the distance of H Bᵀ from r Y Yᵀ, relative to the size of that."""
    (Y_u, H), Y, r = of_sets(s, data), data.unit_labels, s.H.shape[1]
    sizes = {"label term": p.beta * r * jnp.linalg.norm(Y @ (Y_u.T @ H))}
    for v, (X, B, W, F) in enumerate(zip(data.views, s.B, s.W, s.F)):
        sizes[f"feature term, view {v}"] = jnp.linalg.norm(X @ W)
        sizes[f"centre term, view {v}"] = p.alpha * jnp.linalg.norm(F @ s.U)
        sizes[f"distance from the labels, view {v}"] = jnp.sqrt(label_gap(s, B, data)) / (r * jnp.linalg.norm(Y.T @ Y))
    return sizes


updates = (update_B, update_H, update_W, update_U, update_F, update_E)
# Ten iterations and 1,500 anchors, the defaults of Method and Features, are the paper's.
method = Method(
    "dcgh",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    diagnostics=diagnostics,
    across=False,
    by_labels=True,
)
paper_params = {
    "wiki": Params(alpha=10.0, beta=10.0, lam=1e-2),
    "mirflickr25k": Params(alpha=1e4, beta=0.1, lam=1e-2),
    "iaprtc12": Params(alpha=1e3, beta=1e-2, lam=1e-3),
    "nuswide10": Params(alpha=1e4, beta=0.1, lam=1e-4),
}
variants = {  # the paper's variant c is another method, FCMH
    "d": method._replace(params=Params(alpha=0.0)),  # no distribution consistency
    "r": method._replace(params=Params(lam=0.0)),  # no ridge in the hash functions
}
