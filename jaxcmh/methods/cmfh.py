"""CMFH, collective matrix factorization hashing (Ding et al., CVPR 2014; TIP 2016).

Over a common representation V (n, r); for each of M views a basis U_m (r, q_m) and a hash function W_m (q_m, r):

    min  sum_m (lam / M |X_m - V U_m|² + mu |V - X_m W_m|² + gamma (|U_m|² + |W_m|²)) + gamma |V|²,

with samples as rows; X are centred features, and no labels are used.  Each block is minimised exactly given the others.
Codes are the signs of V less its mean; an unseen x gets the code sgn(x W_m), x centred by the training mean.

X and V are reduced rows.  Nothing changes if V turns by an orthogonal matrix, so the random start decides which of
all turns is taken, and V has few dimensions however many bits there are: codes along principal axes would be worse.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, random

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method
from jaxcmh.learning.encoders import decomposed, ridge_by_svd
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import lstsq, sign, sqnorm


class Params(NamedTuple):
    lam: Weight = 1.0  # views are rebuilt from the representation; each view has its share of it
    mu: Weight = 100.0  # hash functions predict the representation
    gamma: Weight = 1e-2  # ridge


class State(NamedTuple):
    V: Array  # (p, r) representation
    U: tuple[Array, ...]  # (r, q_m) basis of each view
    W: tuple[Array, ...]  # (q_m, r) hash functions


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Gaussian V and W; U at 0."""
    key, *keys = random.split(key, 1 + len(data.views))
    V = data.reduced(data.gaussian(key, len(data.mask), bits) * data.mask[:, None])
    W = tuple(data.gaussian(k, X.shape[1], bits) for k, X in zip(keys, data.views))
    return State(V, tuple(jnp.zeros_like(W_m.T) for W_m in W), W)


def update_U(s: State, data: Data, p: Params) -> State:
    return s._replace(U=tuple(lstsq((p.lam / len(s.U), s.V, X), ridge=p.gamma) for X in data.views))


def update_V(s: State, data: Data, p: Params) -> State:
    terms, I = [], jnp.eye(s.V.shape[1], dtype=s.V.dtype)
    for X, U, W in zip(data.views, s.U, s.W):
        terms += [(p.lam / len(s.U), U.T, X.T), (p.mu, I, (X @ W).T)]
    return s._replace(V=lstsq(*terms, ridge=p.gamma).T)


def update_W(s: State, data: Data, p: Params) -> State:
    return s._replace(W=tuple(ridge_by_svd(X, s.V, p.gamma / p.mu) for X in data.extra))


def objective(s: State, data: Data, p: Params) -> Array:
    loss = p.gamma * sqnorm(s.V, *s.U, *s.W)
    for X, U, W in zip(data.views, s.U, s.W):
        loss += p.lam / len(s.U) * sqnorm(X - s.V @ U) + p.mu * sqnorm(s.V - X @ W)
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    return sign(data.rows(s.V - jnp.outer(data.ones, data.ones @ s.V / data.n)), data.mask)


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return s.W


method = Method(
    "cmfh",
    Params(),
    init,
    (update_U, update_V, update_W),
    objective,
    codes,
    encoder,
    max_iterations=25,
    features=Features("centre"),
    prepare=decomposed,
    label_rows=(),
)
paper_params: dict[str, Params] = {}
variants: dict[str, Method] = {}
