"""FDDH, fast discriminative discrete hashing (Liu et al., IEEE TNNLS 2022).

Over codes B in {-1, 1}^(n, r), dragged labels D (n, c), a basis C (c, r), and for each view R_m (q_m, r) with
orthonormal columns:

    min  |B - D C|² + sum_m theta_m |X_m - D C R_mᵀ|² + gamma |D|²

with samples as rows, where D is at least 1 for labels a sample has and at most 0 for all others.  C has orthonormal
rows, or columns with fewer bits than classes, where the paper has no solution.  X are kernel features; with fewer of
them than bits, |D C R_mᵀ|² counts as |D C|².  Each block is minimised exactly given the others, but that C and D take
steps downwards with fewer bits than classes; an unseen x gets the code sgn(x W_m), W_m being ridge regressions.

D has bounds for each sample, so it has n rows.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax, random

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method, of_views
from jaxcmh.learning.encoders import ridge
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import eigh, polar, sign, sqnorm

STEPS = 5  # of C in each update with fewer bits than classes


class Params(NamedTuple):
    theta1: Weight = 1e-3  # reconstruction of the first view
    theta2: Weight = 1e-3  # reconstruction of every further view
    gamma: Weight = 1e4  # ridge of the dragged labels; as large as this it leaves them where they start, at the labels
    lam: Weight = 1e-4  # ridge of the hash functions


class State(NamedTuple):
    C: Array  # (c, r) basis
    R: tuple[Array, ...]  # (q_m, r) reconstruction of each view
    B: Array  # (n, r) codes
    D: Array  # (n, c) dragged labels


def theta(data: Data, p: Params) -> list[float | Array]:
    return of_views(p.theta1, p.theta2, data)


def crossed(s: State, data: Data) -> list[Array]:
    """Dᵀ X_m (c, q_m)."""
    # XLA's CPU backend, left to itself, would turn DX.T into the product with Xᵀ, which takes it twice the time.
    return [lax.optimization_barrier(s.D.T @ X) for X in data.features]


def target(s: State, data: Data, p: Params) -> Array:
    """Dᵀ (B + sum_m theta_m X_m R_m) (c, r)."""
    return s.D.T @ s.B + sum(t * DX @ R for t, DX, R in zip(theta(data, p), crossed(s, data), s.R))


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Labels as they are, random codes and reconstructions, and the basis nearest to them."""
    key_B, *keys = random.split(key, 1 + len(data.views))
    D = data.per_sample(data.sets)
    B = sign(data.gaussian(key_B, len(D), bits), data.mask)
    R = tuple(polar(data.gaussian(k, X.shape[1], bits)) for k, X in zip(keys, data.views))
    s = State(jnp.zeros((D.shape[1], bits), D.dtype), R, B, D)
    return s._replace(C=polar(target(s, data, p)))


def update_C(s: State, data: Data, p: Params) -> State:
    """With fewer bits than classes D C counts quadratically, and each step minimises a bound that touches there."""
    M = target(s, data, p)
    if M.shape[0] <= M.shape[1]:
        return s._replace(C=polar(M))
    DD, weight = s.D.T @ s.D, 1 + sum(theta(data, p))
    room = eigh(DD)[0][-1] * jnp.eye(len(DD), dtype=DD.dtype) - DD
    return s._replace(C=lax.fori_loop(0, STEPS, lambda _, C: polar(M + weight * room @ C), s.C))


def update_R(s: State, data: Data, p: Params) -> State:
    """P(Xᵀ D C), which with more bits than classes leaves directions open: there R stays as it is as far as it can."""

    def nearest(DX: Array, R: Array) -> Array:
        if s.C.shape[0] > s.C.shape[1]:
            return polar(DX.T @ s.C)
        Q = polar(DX.T)
        R = R - (R @ s.C.T) @ s.C
        return polar(Q @ s.C + R - Q @ (Q.T @ R))

    return s._replace(R=tuple(map(nearest, crossed(s, data), s.R)))


def update_B(s: State, data: Data, p: Params) -> State:
    return s._replace(B=sign(s.D @ s.C, data.mask))


def update_D(s: State, data: Data, p: Params) -> State:
    """A step along the gradient, then the bounds.  The released code leaves a 1 out of the divisor."""
    weight = 1 + sum(theta(data, p))
    gap = weight * s.D @ s.C - s.B - sum(t * (X @ R) for t, X, R in zip(theta(data, p), data.features, s.R))
    return s._replace(D=within(s.D - (gap @ s.C.T + p.gamma * s.D) / (weight + p.gamma), data))


def within(D: Array, data: Data) -> Array:
    """The nearest D that its bounds allow."""
    return jnp.where(data.per_sample(data.sets) > 0, jnp.maximum(D, 1), jnp.minimum(D, 0))


def objective(s: State, data: Data, p: Params) -> Array:
    DC = s.D @ s.C
    loss = sqnorm(s.B - DC) + p.gamma * sqnorm(s.D)
    for t, X, DX, R in zip(theta(data, p), data.views, crossed(s, data), s.R):
        loss += t * (sqnorm(X) - 2 * jnp.vdot(s.C, DX @ R) + sqnorm(DC))
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    return s.B


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return ridge(s.B, data, p.lam)


updates = (update_C, update_R, update_B, update_D)
method = Method(
    "fddh",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    max_iterations=19,
    tolerance=1e-4,
    features=Features(anchors=800, width=0.71),
    across=False,
    label_rows=(),
)
paper_params = {"wiki": Params(), "mirflickr25k": Params(theta2=1.0, gamma=1e5)}
variants: dict[str, Method] = {}
