"""LCMFH, label consistent matrix factorization hashing (Wang et al., TPAMI 2019).

Over a code Z (c, r) of each label; for each of M views a basis U_m (r, q_m) and a hash function W_m (q_m, r):

    min  sum_m (lam / M |X_m - V U_m|² + mu |V - X_m W_m|² + gamma (|U_m|² + |W_m|²)) + gamma |V|²,     V = Y Z,

with samples as rows; X are centred features, Y labels with rows of length 1.  Each block is minimised exactly given the
others.  Codes are the signs of V less its mean; an unseen x gets the code sgn(x W_m), x centred by the training mean.

X and Y are reduced rows.  Nothing changes if Z turns by an orthogonal matrix, so the random start decides which of
all turns is taken, and V has hardly more than c dimensions: codes along principal axes would be worse.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, random

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method, unit_labels_of_sets
from jaxcmh.learning.encoders import SVD, decomposed, ridge_by_svd
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import lstsq, over_ridge, qr, sign, sqnorm, upper_solve
from jaxcmh.learning.ones import places


class Params(NamedTuple):
    lam: Weight = 1.0  # views are rebuilt from the representation; each view has its share of it
    mu: Weight = 10.0  # hash functions predict the representation
    gamma: Weight = 1e-3  # ridge


class State(NamedTuple):
    Z: Array  # (c, r) code of each label
    U: tuple[Array, ...]  # (r, q_m) basis of each view
    W: tuple[Array, ...]  # (q_m, r) hash functions


class Known(NamedTuple):
    svd: tuple[SVD, ...]  # of each X_m, for every update of W
    QR: tuple[Array, Array]  # of Y over the smallest ridge, for every update of Z


def prepare(data: Data) -> Known:
    return Known(decomposed(data), qr(over_ridge(data.unit_labels)))


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Gaussian Z and W; U at 0."""
    key, *keys = random.split(key, 1 + len(data.views))
    W = tuple(data.gaussian(k, X.shape[1], bits) for k, X in zip(keys, data.views))
    return State(data.gaussian(key, data.sets.shape[1], bits), tuple(jnp.zeros_like(W_m.T) for W_m in W), W)


def update_U(s: State, data: Data, p: Params) -> State:
    V = data.unit_labels @ s.Z
    return s._replace(U=tuple(lstsq((p.lam / len(s.U), V, X), ridge=p.gamma) for X in data.views))


def update_Z(s: State, data: Data, p: Params) -> State:
    """Y Z is nearest to the V that were best with no labels; a class without samples gets 0."""
    terms, I = [], jnp.eye(s.Z.shape[1], dtype=s.Z.dtype)
    for X, U, W in zip(data.views, s.U, s.W):
        terms += [(p.lam / len(s.U), U.T, X.T), (p.mu, I, (X @ W).T)]
    (Q, R), V = data.extra.QR, lstsq(*terms, ridge=p.gamma).T
    return s._replace(Z=upper_solve(R, Q[: len(V)].T @ V))


def update_W(s: State, data: Data, p: Params) -> State:
    V = data.unit_labels @ s.Z
    return s._replace(W=tuple(ridge_by_svd(X, V, p.gamma / p.mu) for X in data.extra.svd))


def objective(s: State, data: Data, p: Params) -> Array:
    V = data.unit_labels @ s.Z
    loss = p.gamma * sqnorm(V, *s.U, *s.W)
    for X, U, W in zip(data.views, s.U, s.W):
        loss += p.lam / len(s.U) * sqnorm(X - V @ U) + p.mu * sqnorm(V - X @ W)
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    V = unit_labels_of_sets(data) @ s.Z
    return data.per_sample(sign(V - data.counts @ V / data.n))


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return s.W


method = Method(
    "lcmfh",
    Params(),
    init,
    (update_U, update_Z, update_W),
    objective,
    codes,
    encoder,
    max_iterations=20,
    features=Features("centre"),
    prepare=prepare,
    by_labels=True,
    label_rows=("unit_labels",),
    links=places,
)
paper_params = {"mirflickr25k": Params()}
variants: dict[str, Method] = {}
