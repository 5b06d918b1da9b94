"""Random codewords: the control beside every table of methods, in which no code is learned.

Every label set gets a random codeword, its samples have it as their code B (n, r) in {-1, 1}, and the hash functions
W_m (q_m, r) are the ridge regression of the codes on the mapped features X_m, the only thing that is learned:

    min  sum_m (|X_m W_m - B|² + lam |W_m|²).

With a single label per sample such codes do as well as learned ones: mAP then measures features and regression.  With
many labels they know nothing of what two label sets have in common; in the variant `labels` they do, being the signs
of random projections of the labels.  The features and the ridge are FDDH's.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method
from jaxcmh.learning.encoders import ridge
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import sign, sqnorm


class Params(NamedTuple):
    lam: Weight = 1e-4  # ridge of the hash functions


class State(NamedTuple):
    B: Array  # (n, r) codes
    W: tuple[Array, ...]  # (q_m, r) hash functions


def init(key: Array, data: Data, p: Params, bits: int, of_labels: bool = False) -> State:
    """A codeword of each label set, or with `of_labels` the signs of a random projection; W at 0."""
    u, c = data.sets.shape
    H = data.sets @ data.gaussian(key, c, bits) if of_labels else data.gaussian(key, u, bits)
    return State(data.per_sample(sign(H)), tuple(jnp.zeros((X.shape[1], bits), H.dtype) for X in data.views))


def update_W(s: State, data: Data, p: Params) -> State:
    return s._replace(W=ridge(s.B, data, p.lam))


def objective(s: State, data: Data, p: Params) -> Array:
    B = data.reduced(s.B)
    return sum((sqnorm(X @ W - B) for X, W in zip(data.views, s.W)), p.lam * sqnorm(*s.W))


def codes(s: State, data: Data, p: Params) -> Array:
    return s.B


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return s.W


method = Method(
    "random_codewords",
    Params(),
    init,
    (update_W,),
    objective,
    codes,
    encoder,
    max_iterations=1,
    features=Features(anchors=800, width=0.71),  # exp(-d²/h), h the mean squared distance
    by_labels=True,
    label_rows=(),
)
paper_params: dict[str, Params] = {}
variants = {"labels": method._replace(init=partial(init, of_labels=True))}
