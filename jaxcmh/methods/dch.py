"""DCH, discrete cross-modal hashing (Xu et al., IEEE Transactions on Image Processing 2017).

Over codes B in {-1, 1}^(n, r), a classifier G (r, c) of codes, and hash functions W_m (q_m, r):

    min  |L - B G|² + lam |G|² + mu sum_m (|B - X_m W_m|² + omega |W_m|²)

with samples as rows; X are features with mean 0, L labels 0 and 1.  G and W are minimised exactly given the others, B
bit by bit; an unseen x gets the code sgn(x W_m), W_m being those of the last codes.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method
from jaxcmh.learning.encoders import decomposed, ridge_by_svd
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import descend, lstsq, sign, sqnorm
from jaxcmh.learning.ones import places

SWEEPS = 10  # over the bits in each update of the codes; by then hardly any bit changes


class Params(NamedTuple):
    lam: Weight = 1.0  # ridge of the classifier
    mu: Weight = 1e-5  # fit of the hash functions
    omega: Weight = 1e-2  # ridge of the hash functions


class State(NamedTuple):
    G: Array  # (r, c) classifier
    W: tuple[Array, ...]  # (q_m, r) hash functions
    B: Array  # (n, r) codes


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Random codes, all else at 0."""
    B = sign(data.gaussian(key, len(data.mask), bits), data.mask)
    W = tuple(jnp.zeros((X.shape[1], bits), B.dtype) for X in data.views)
    return State(jnp.zeros((bits, data.sets.shape[1]), B.dtype), W, B)


def update_G(s: State, data: Data, p: Params) -> State:
    return s._replace(G=lstsq((1.0, data.reduced(s.B), data.labels), ridge=p.lam))


def update_W(s: State, data: Data, p: Params) -> State:
    B = data.along_views(s.B)
    return s._replace(W=tuple(ridge_by_svd(X, B, p.omega) for X in data.extra))


def update_B(s: State, data: Data, p: Params) -> State:
    """Discrete cyclic coordinate descent, which the released code leaves out: see `update_relaxed_B`."""
    target = data.per_sample(data.sets @ s.G.T) + p.mu * sum(X @ W for X, W in zip(data.features, s.W))
    return s._replace(B=descend(s.B, target, s.G @ s.G.T, partial(sign, mask=data.mask), SWEEPS))


def update_relaxed_B(s: State, data: Data, p: Params) -> State:
    """The released code: signs of the real B that minimises |L - B G|² + omega |B|², which is no minimum over signs."""
    return s._replace(B=data.per_sample(sign(lstsq((1.0, s.G.T, data.sets.T), ridge=p.omega).T)))


def objective(s: State, data: Data, p: Params) -> Array:
    B = data.reduced(s.B)
    loss = sqnorm(data.labels - B @ s.G) + p.lam * sqnorm(s.G)
    return loss + p.mu * sum(sqnorm(B - X @ W) + p.omega * sqnorm(W) for X, W in zip(data.views, s.W))


def codes(s: State, data: Data, p: Params) -> Array:
    return s.B


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return update_W(s, data, p).W


updates = (update_G, update_W, update_B)
method = Method(
    "dch",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    max_iterations=5,
    features=Features("centre"),
    prepare=decomposed,
    label_rows=("labels",),
    links=places,
)
paper_params = {"wiki": Params(), "mirflickr25k": Params(), "nuswide10": Params()}
variants = {
    "relaxed": method._replace(params=Params(mu=0.0), updates=(update_G, update_W, update_relaxed_B)),  # released code
}
