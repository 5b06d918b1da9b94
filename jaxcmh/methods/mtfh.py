"""MTFH, matrix tri-factorisation hashing (Liu et al., IEEE TPAMI 2021), for two views.

Each view has codes of its own, U and V; U' and V' (here U_hat, V_hat) are the other's items in the same space, all of
them in {-1, 1}^(n, r); H_1 and H_2 (r, r) take codes from one space to the other:

    min  alpha |S - U U'ᵀ / r|² + (1 - alpha) |S - V' Vᵀ / r|²
       + beta (|U' - V H_1|² + |V' - U H_2|² + |H_1|² / 10 + |H_2|² / 10),     S = L Lᵀ,

with samples as rows; L are labels 0 and 1, in the variant `unit` with rows of length 1.  H is minimised exactly given
the others, the codes bit by bit.  An unseen x of the first view gets the code sgn(x W_1), and as a query
sgn(sgn(x W_1) H_2); of the second alike.  W are ridge regressions, where the released code has kernel logistic ones.
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, random

from jaxcmh.checks import Share, Weight
from jaxcmh.learning.core import Data, Method, labels_of_sets, similarity, unit_labels_of_sets
from jaxcmh.learning.encoders import Translated, ridge
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import descend, lstsq, sign, sqnorm
from jaxcmh.learning.ones import Similarity, places

SWEEPS = 10  # over the bits in each update of codes; the released code visits some bits, drawn by chance, once
RIDGE = 0.1  # of H beside beta


class Params(NamedTuple):
    alpha: Share = 0.5  # similarity in the space of the first view; 1 - alpha in that of the second
    beta: Weight = 0.1  # codes agree with those taken over from the other space
    omega: Weight = 1e-2  # ridge of the hash functions


class State(NamedTuple):
    H: Array  # (2, r, r) from V to U_hat, from U to V_hat
    U: Array  # (n, r) codes of the first view
    U_hat: Array  # (n, r) codes of the second view in the space of the first
    V: Array  # (n, r) codes of the second view
    V_hat: Array  # (n, r) codes of the first view in the space of the second


def prepare(data: Data, unit: bool = False) -> Similarity:
    """S."""
    return similarity(data, unit_labels_of_sets(data) if unit else labels_of_sets(data))


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Random codes, H at 0."""
    if len(data.views) != 2:
        raise ValueError(f"views: mtfh learns codes of two views; got {len(data.views)}")
    B = (sign(data.gaussian(k, len(data.mask), bits), data.mask) for k in random.split(key, 4))
    return State(jnp.zeros((2, bits, bits), data.mask.dtype), *B)


def update_H(s: State, data: Data, p: Params) -> State:
    return s._replace(H=jnp.stack([lstsq((1.0, s.V, s.U_hat), ridge=RIDGE), lstsq((1.0, s.U, s.V_hat), ridge=RIDGE)]))


def descended(B: Array, pair: Array, weight: Array | float, pull: Array, H: Array | float, data: Data) -> Array:
    """The codes B bit by bit, for which weight |S - B pairᵀ / r|² + tr(B H Bᵀ) - 2 tr(B pullᵀ) is least."""
    S, r = data.extra, B.shape[1]
    target = weight / r * (S @ pair) + pull
    return descend(B, target, weight / r**2 * pair.T @ pair + H, partial(sign, mask=data.mask), SWEEPS)


def update_U(s: State, data: Data, p: Params) -> State:
    _, H = s.H
    return s._replace(U=descended(s.U, s.U_hat, p.alpha, p.beta * s.V_hat @ H.T, p.beta * H @ H.T, data))


def update_U_hat(s: State, data: Data, p: Params) -> State:
    return s._replace(U_hat=descended(s.U_hat, s.U, p.alpha, p.beta * s.V @ s.H[0], 0.0, data))


def update_V(s: State, data: Data, p: Params) -> State:
    H, _ = s.H
    return s._replace(V=descended(s.V, s.V_hat, 1 - p.alpha, p.beta * s.U_hat @ H.T, p.beta * H @ H.T, data))


def update_V_hat(s: State, data: Data, p: Params) -> State:
    return s._replace(V_hat=descended(s.V_hat, s.V, 1 - p.alpha, p.beta * s.U @ s.H[1], 0.0, data))


def objective(s: State, data: Data, p: Params) -> Array:
    S, r = data.extra, s.U.shape[1]
    loss = (p.alpha * S.gap(s.U, s.U_hat) + (1 - p.alpha) * S.gap(s.V_hat, s.V)) / r**2
    return loss + p.beta * (sqnorm(s.U_hat - s.V @ s.H[0], s.V_hat - s.U @ s.H[1]) + RIDGE * sqnorm(s.H))


def codes(s: State, data: Data, p: Params) -> Array:
    return jnp.stack([s.U, s.V])


def encoder(s: State, data: Data, p: Params) -> tuple[Translated, ...]:
    W = ridge(codes(s, data, p), data, p.omega)
    return Translated(W[0], s.H[1]), Translated(W[1], s.H[0])


updates = (update_H, update_U, update_U_hat, update_V, update_V_hat)
method = Method(
    "mtfh",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    max_iterations=30,
    tolerance=1e-6,
    features=Features(anchors=500, width=0.71),
    prepare=prepare,
    across=False,
    label_rows=(),
    links=places,
)
paper_params = {"wiki": Params()}
variants = {"unit": method._replace(prepare=partial(prepare, unit=True))}  # similarity of labels with length 1
