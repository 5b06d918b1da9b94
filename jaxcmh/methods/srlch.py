"""SRLCH, subspace relation learning for cross-modal hashing (Shen et al., DASFAA 2018 and TKDE 2020).

Over codes B in {-1, 1}^(n, r), a code W (c, r) of each label, and hash functions P_m (q_m, r):

    min  |B - L W|² + lam |W|² + sum_m mu_m (|B - X_m P_m|² + rho_m |P_m|²)

with samples as rows; X are kernel features, L labels 0 and 1.  Each block is minimised exactly given the others; an
unseen x gets the code sgn(x P_m), P_m being those of the last codes.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method, labels_of_sets, of_views
from jaxcmh.learning.encoders import SVD, decomposed, ridge_by_svd
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import refined, sign, sqnorm
from jaxcmh.learning.ones import places


class Params(NamedTuple):
    lam: Weight = 0.1  # ridge of the codes of labels
    mu1: Weight = 0.1  # fit of the first view's hash function
    mu2: Weight = 1e-5  # fit of every further view's hash function
    rho1: Weight = 1e-2  # ridge of the first view's hash function
    rho2: Weight = 0.1  # ridge of every further view's hash function


class State(NamedTuple):
    P: tuple[Array, ...]  # (q_m, r) hash functions
    W: Array  # (c, r) codes of labels
    B: Array  # (n, r) codes


class Known(NamedTuple):
    svd: tuple[SVD, ...]  # of each X_m, for every update of P
    LTL: Array  # (c, c) how many samples have both labels


def prepare(data: Data) -> Known:
    return Known(decomposed(data), labels_of_sets(data).gram(data.counts[:, None]))


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Random codes, all else at 0."""
    B = sign(data.gaussian(key, len(data.mask), bits), data.mask)
    P = tuple(jnp.zeros((X.shape[1], bits), B.dtype) for X in data.views)
    return State(P, jnp.zeros((data.sets.shape[1], bits), B.dtype), B)


def update_P(s: State, data: Data, p: Params) -> State:
    B = data.along_views(s.B)
    weights = of_views(p.rho1, p.rho2, data)
    return s._replace(P=tuple(ridge_by_svd(X, B, rho) for X, rho in zip(data.extra.svd, weights)))


def update_W(s: State, data: Data, p: Params) -> State:
    L, I = labels_of_sets(data), jnp.eye(len(s.W), dtype=s.W.dtype)
    LB = L.transposed_times(data.roots * data.of_sets(s.B))

    def undone(W: Array) -> Array:
        return LB - L.transposed_times(data.counts[:, None] * (L @ W)) - p.lam * W

    return s._replace(W=refined(data.extra.LTL + p.lam * I, undone, s.W.shape[1]))


def update_B(s: State, data: Data, p: Params) -> State:
    fits = zip(of_views(p.mu1, p.mu2, data), data.features, s.P)
    pull = data.per_sample(labels_of_sets(data) @ s.W) + sum(mu * (X @ P) for mu, X, P in fits)
    return s._replace(B=sign(pull, data.mask))


def objective(s: State, data: Data, p: Params) -> Array:
    loss = sqnorm(s.B - data.per_sample(labels_of_sets(data) @ s.W)) + p.lam * sqnorm(s.W)
    weights = zip(of_views(p.mu1, p.mu2, data), of_views(p.rho1, p.rho2, data))
    for (mu, rho), X, P in zip(weights, data.features, s.P):
        loss += mu * (sqnorm(s.B - X @ P) + rho * sqnorm(P))
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    return s.B


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    """The released code returns the P_m of the codes before the last; these are refitted."""
    return update_P(s, data, p).P


updates = (update_P, update_W, update_B)
method = Method(
    "srlch",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    features=Features(anchors=500, width=0.5),
    prepare=prepare,
    across=False,
    label_rows=(),
    links=places,
)
paper_params = dict.fromkeys(("wiki", "mirflickr25k", "nuswide10"), Params())
paper_features = {"nuswide10": Features(anchors=5000, width=0.5)}
variants: dict[str, Method] = {}
