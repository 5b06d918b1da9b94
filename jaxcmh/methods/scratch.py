"""SCRATCH, a scalable discrete matrix factorization hashing (Li et al., ACM MM 2018; Chen et al., TCSVT 2020).

Over codes B in {-1, 1}^(n, r), a common representation V (n, r) and its rotation R (r, r) to the codes; for each of M
views a basis U_m (r, q_m) and a hash function W_m (q_m, r) of V; and a basis G (r, c) of the labels:

    min  |B - V R|² + sum_m (lam / M |X_m - V U_m|² + mu |V - X_m W_m|²) + alpha |L - V G|²
       + gamma (sum_m (|U_m|² + |W_m|²) + |G|² + |V|²),

the objective whose blocks the authors' code minimises, with samples as rows; X are centred kernel features, L labels 0
and 1.  Each block is minimised exactly given the others; an unseen x gets the code sgn(x W_m R).

X, L and V are reduced rows.  V is made with the codes, so it is learned right after they are reduced; the codes of
the last V are one update newer than those the released code returns.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, random

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method
from jaxcmh.learning.encoders import decomposed, ridge, ridge_by_svd
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import lstsq, polar, sign, sqnorm
from jaxcmh.learning.ones import places


class Params(NamedTuple):
    lam: Weight = 1.0  # views are rebuilt from the representation; each view has its share of it
    mu: Weight = 1e3  # hash functions predict the representation
    alpha: Weight = 500.0  # labels are rebuilt from the representation
    gamma: Weight = 5.0  # ridge
    xi: Weight = 1e-2  # ridge of the hash functions of variant t, which learns them from the codes


class State(NamedTuple):
    B: Array  # (n, r) codes
    B_p: Array  # (p, r) their reduced rows, as V was learned with them
    V: Array  # (p, r) representation
    U: tuple[Array, ...]  # (r, q_m) basis of each view
    G: Array  # (r, c) basis of the labels
    W: tuple[Array, ...]  # (q_m, r) hash function of each view, before the rotation
    R: Array  # (r, r) rotation


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Gaussian V and a random rotation, with their codes; everything else at 0."""
    key_V, key_R = random.split(key)
    V = data.coordinates(data.gaussian(key_V, len(data.mask), bits) * data.mask[:, None])
    R, sizes, c = polar(data.gaussian(key_R, bits, bits)), [X.shape[1] for X in data.views], data.sets.shape[1]
    B = sign(data.rows(V @ R), data.mask)
    U, W = (
        tuple(jnp.zeros(shape, B.dtype) for shape in shapes) for shapes in zip(*(((bits, q), (q, bits)) for q in sizes))
    )
    return State(B, data.reduced(B), V, U, jnp.zeros((bits, c), B.dtype), W, R)


def update_B(s: State, data: Data, p: Params) -> State:
    """The reduced rows B_p follow in `update_V`, for V is learned with them."""
    return s._replace(B=sign(data.rows(s.V @ s.R, s.B, s.B_p), data.mask))


def update_U(s: State, data: Data, p: Params) -> State:
    return s._replace(U=tuple(lstsq((p.lam / len(s.U), s.V, X), ridge=p.gamma) for X in data.views))


def update_G(s: State, data: Data, p: Params) -> State:
    return s._replace(G=lstsq((p.alpha, s.V, data.labels), ridge=p.gamma))


def update_W(s: State, data: Data, p: Params) -> State:
    return s._replace(W=tuple(ridge_by_svd(X, s.V, p.gamma / p.mu) for X in data.extra))


def update_V(s: State, data: Data, p: Params) -> State:
    B, I = data.reduced(s.B), jnp.eye(len(s.R), dtype=s.R.dtype)
    terms = [(p.lam / len(s.U), U.T, X.T) for X, U in zip(data.views, s.U)]
    terms += [(p.mu, I, (X @ W).T) for X, W in zip(data.views, s.W)]
    terms += [(p.alpha, s.G.T, data.labels.T), (1.0, s.R.T, B.T)]
    return s._replace(V=lstsq(*terms, ridge=p.gamma).T, B_p=B)


def update_R(s: State, data: Data, p: Params) -> State:
    return s._replace(R=polar(s.V.T @ s.B_p))


def objective(s: State, data: Data, p: Params) -> Array:
    loss = sqnorm(s.B_p - s.V @ s.R) + p.alpha * sqnorm(data.labels - s.V @ s.G)
    for X, U, W in zip(data.views, s.U, s.W):
        loss += p.lam / len(s.U) * sqnorm(X - s.V @ U) + p.mu * sqnorm(s.V - X @ W)
    return loss + p.gamma * sqnorm(*s.U, *s.W, s.G, s.V)


def codes(s: State, data: Data, p: Params) -> Array:
    return update_B(s, data, p).B


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return tuple(W @ s.R for W in s.W)


def second_step(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    """Hash functions of variant t."""
    return ridge(codes(s, data, p), data, p.xi)


updates = (update_B, update_U, update_G, update_W, update_V, update_R)
method = Method(
    "scratch",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    max_iterations=20,  # a parameter: with more of them mAP goes on to change
    features=Features("rbf_centred", 500, 1.05),  # exp(-d²/2s), s the mean squared distance, less its mean
    prepare=decomposed,
    links=places,
)
paper_params = dict.fromkeys(("wiki", "mirflickr25k", "nuswide10"), Params())
variants = {
    "t": method._replace(  # two steps: hash functions after the codes
        params=Params(mu=0.0), updates=(update_B, update_U, update_G, update_V, update_R), encoder=second_step
    )
}
