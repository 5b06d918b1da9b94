"""DCGH, distribution consistency guided hashing (ACM MM 2024).

Over codes H in {-1, 1}^(n, r); for each view v a representation B^v (n, r) with balanced, uncorrelated
columns (1ᵀB^v = 0, B^vᵀB^v = nI), a projection W^v (q_v, r) and an encoding F^v (n, c); an encoding E (n, c)
of the codes; and class centres U (c, r), all of W, F, E, U with orthonormal short side:

    min  sum_v |B^v - X^v W^v|^2 + alpha |B^v - F^v U|^2 + beta |H B^vᵀ - r Y Yᵀ|^2  +  alpha |H - E U|^2

Eq. 4 with samples as rows; X are kernel features, Y labels with rows of length 1.  As in the paper's step
from eq. 12 to eq. 13, |X^v W^v|^2 counts as the constant |X^v|^2 which it is for square W^v.
Each block is then minimised exactly given the others; an unseen x gets the code sgn(x P^v), eq. 20.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, random

from jaxcmh.core import Data, Method, random_rows
from jaxcmh.encoders import ridge
from jaxcmh.linalg import orthonormal, product_gap, sign, sqnorm


class Params(NamedTuple):
    alpha: float = 10.0  # distribution consistency: representations and codes share the class centres
    beta: float = 10.0  # consensus: codes and representations agree with the labels
    lam: float = 1e-2  # ridge of the hash functions


class State(NamedTuple):
    H: Array  # (n, r) consensus codes in {-1, 1}
    B: tuple[Array, ...]  # (n, r) representation of each view
    W: tuple[Array, ...]  # (q_v, r) projection of each view
    U: Array  # (c, r) class centres
    F: tuple[Array, ...]  # (n, c) encoding of each representation
    E: Array  # (n, c) encoding of the codes


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Codes of ones, everything else Gaussian, as in the authors' code; the first step meets the constraints."""
    views, c, dtype = len(data.views), data.labels.shape[1], data.mask.dtype
    keys = iter(random.split(key, 3 * views + 2))

    def small(*shape: int) -> Array:
        return random.normal(next(keys), shape, jnp.float32).astype(dtype)

    return State(
        H=jnp.ones((len(data.mask), bits), dtype) * data.mask[:, None],
        B=tuple(random_rows(next(keys), data, bits) for _ in range(views)),
        W=tuple(small(X.shape[1], bits) for X in data.views),
        U=small(c, bits),
        F=tuple(random_rows(next(keys), data, c) for _ in range(views)),
        E=random_rows(next(keys), data, c),
    )


def balanced(J: Array, data: Data) -> Array:
    """Eqs. 6-8: the B with 1ᵀB = 0 and BᵀB = nI for which tr(JᵀB) is largest."""
    n = data.mask.sum()
    J = J - data.mask[:, None] * (J.sum(0) / n)
    return jnp.sqrt(n) * orthonormal(J, data.mask, centred=True)


def update_B(s: State, data: Data, p: Params) -> State:
    r, Y = s.H.shape[1], data.unit_labels
    J = (X @ W + p.alpha * F @ s.U + p.beta * r * Y @ (Y.T @ s.H) for X, W, F in zip(data.views, s.W, s.F))
    return s._replace(B=tuple(balanced(J_v, data) for J_v in J))


def update_H(s: State, data: Data, p: Params) -> State:
    r, Y = s.H.shape[1], data.unit_labels
    return s._replace(H=sign(p.alpha * s.E @ s.U + p.beta * r * Y @ (Y.T @ sum(s.B)), data.mask))


def update_W(s: State, data: Data, p: Params) -> State:
    return s._replace(W=tuple(orthonormal(X.T @ B) for X, B in zip(data.views, s.B)))


def update_U(s: State, data: Data, p: Params) -> State:
    return s._replace(U=orthonormal(s.E.T @ s.H + sum(F.T @ B for F, B in zip(s.F, s.B))))


def update_F(s: State, data: Data, p: Params) -> State:
    return s._replace(F=tuple(orthonormal(B @ s.U.T, data.mask) for B in s.B))


def update_E(s: State, data: Data, p: Params) -> State:
    return s._replace(E=orthonormal(s.H @ s.U.T, data.mask))


def objective(s: State, data: Data, p: Params) -> Array:
    r, Y = s.H.shape[1], data.unit_labels
    loss = p.alpha * sqnorm(s.H - s.E @ s.U)
    for X, B, W, F in zip(data.views, s.B, s.W, s.F):
        loss += sqnorm(B) - 2 * jnp.vdot(B, X @ W) + sqnorm(X) + p.alpha * sqnorm(B - F @ s.U)
        loss += p.beta * product_gap(s.H, B, r * Y, Y)
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    return s.H


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    """Eq. 20: P^v = (X^vᵀX^v + lam I)⁻¹ X^vᵀH."""
    return ridge(s.H, data, p.lam)


def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """How far codes and representations agree, and how the terms of the update of B weigh against each other."""
    r, Y = s.H.shape[1], data.unit_labels
    norm = jnp.linalg.norm
    named = {"label term": norm(p.beta * r * Y @ (Y.T @ s.H))}
    for v, (X, B, W, F) in enumerate(zip(data.views, s.B, s.W, s.F)):
        named[f"feature term, view {v}"] = norm(X @ W)
        named[f"centre term, view {v}"] = norm(p.alpha * F @ s.U)
        named[f"codes that are signs of B, view {v}"] = (
            jnp.vdot(s.H, sign(B, data.mask)) / data.mask.sum() / r / 2 + 0.5
        )
    return named


updates = (update_B, update_H, update_W, update_U, update_F, update_E)
method = Method("dcgh", Params(), init, updates, objective, codes, encoder, diagnostics=diagnostics)
paper_params = {
    "wiki": Params(alpha=10.0, beta=10.0, lam=1e-2),
    "mirflickr25k": Params(alpha=1e4, beta=0.1, lam=1e-2),
    "iaprtc12": Params(alpha=1e3, beta=1e-2, lam=1e-3),
    "nuswide10": Params(alpha=1e4, beta=0.1, lam=1e-4),
}
variants = {
    "d": method._replace(params=Params(alpha=0.0)),  # no distribution consistency
    "r": method._replace(params=Params(lam=0.0)),  # no ridge in the hash functions
}
