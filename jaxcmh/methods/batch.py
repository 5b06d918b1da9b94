"""BATCH, a scalable asymmetric discrete cross-modal hashing (Wang et al., TKDE 2021).

Over codes B in {-1, 1}^(n, r); a representation V (n, r) with balanced, uncorrelated columns (1ᵀV = 0, VᵀV = nI);
a basis U_m (r, q_m) of each view and one of the labels, U_0 (r, c):

    min  |V Bᵀ - r Y Yᵀ|² + omega |B - V|² + sum_m eta |X_m - V U_m|² + eta0 |L - V U_0|²,

the objective whose blocks the authors' code minimises, with samples as rows; X are centred kernel features, L labels 0
and 1, Y labels with rows of length 1.  Under the balance r Y Yᵀ differs from the similarity r (2 Y Yᵀ - 1 1ᵀ) by a
factor alone.  Each block is minimised exactly given the others; an unseen x gets the code sgn(x W_m) of a ridge
regression.

X, L, Y and V are reduced rows.  V is made with the codes, so it is learned right after they are reduced, and an
iteration begins with them; those of the last V are the codes.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, random

from jaxcmh.checks import Weight
from jaxcmh.learning.core import Data, Method, unit_labels_of_sets
from jaxcmh.learning.encoders import ridge
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import balanced, gap_to_wide, product_gap, sign, sqnorm
from jaxcmh.learning.ones import places


class Params(NamedTuple):
    eta: Weight = 0.05  # each view is rebuilt from the representation
    eta0: Weight = 0.9  # the labels are
    omega: Weight = 1e-2  # codes agree with the representation
    xi: Weight = 1e-2  # ridge of the hash functions


class State(NamedTuple):
    B: Array  # (n, r) codes
    B_p: Array  # (p, r) their reduced rows, as V was learned with them
    V: Array  # (p, r) representation
    U: tuple[Array, ...]  # (r, q_m) basis of each view
    U_0: Array  # (r, c) basis of the labels


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Random codes and a random representation, balanced from the start on."""
    key_B, key_V = random.split(key)
    B = sign(data.gaussian(key_B, len(data.mask), bits), data.mask)
    V = data.coordinates(data.gaussian(key_V, len(data.mask), bits) * data.mask[:, None])
    return update_U(State(B, data.reduced(B), balanced(V, data.ones), (), B), data, p)


def update_B(s: State, data: Data, p: Params) -> State:
    """Exact, for what is quadratic in the codes is constant.  B_p follow in `update_V`, for V is learned with them."""
    pull = s.V.shape[1] * data.unit_labels @ (data.unit_labels.T @ s.V) + p.omega * s.V
    return s._replace(B=sign(data.rows(pull, s.B, s.B_p), data.mask))


def update_U(s: State, data: Data, p: Params) -> State:
    """VᵀV = nI makes the least squares a product."""
    return s._replace(U=tuple(s.V.T @ X / data.n for X in data.views), U_0=s.V.T @ data.labels / data.n)


def update_V(s: State, data: Data, p: Params) -> State:
    B, r = data.reduced(s.B), s.B.shape[1]
    J = r * data.unit_labels @ (data.unit_labels.T @ B) + p.omega * B + p.eta0 * data.labels @ s.U_0.T
    J += p.eta * sum(X @ U.T for X, U in zip(data.views, s.U))
    return s._replace(V=balanced(J, data.ones), B_p=B)


def label_gap(s: State, data: Data) -> Array:
    """|V Bᵀ - r Y Yᵀ|²."""
    Y, (r, c), root = data.unit_labels, s.U_0.shape, jnp.sqrt(data.n)
    if c <= r:
        return product_gap(s.V, s.B_p, r * Y, Y)
    YTY = unit_labels_of_sets(data).gram(data.counts[:, None])
    return gap_to_wide(root * s.B_p, r * Y @ (Y.T @ s.V) / root, r**2 * sqnorm(YTY))  # VᵀV = nI


def objective(s: State, data: Data, p: Params) -> Array:
    loss = label_gap(s, data) + p.omega * sqnorm(s.B_p - s.V)
    loss += p.eta * sum(sqnorm(X - s.V @ U) for X, U in zip(data.views, s.U))
    return loss + p.eta0 * sqnorm(data.labels - s.V @ s.U_0)


def codes(s: State, data: Data, p: Params) -> Array:
    return update_B(s, data, p).B


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return ridge(codes(s, data, p), data, p.xi)


def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """The sizes of what pulls at V: the labels decide alone."""
    Y, sizes = data.unit_labels, {}
    sizes["similarity term"] = s.V.shape[1] * jnp.linalg.norm(Y @ (Y.T @ s.B_p))
    sizes["code term"] = p.omega * jnp.linalg.norm(s.B_p)
    sizes["label term"] = p.eta0 * jnp.linalg.norm(data.labels @ s.U_0.T)
    return sizes | {
        f"feature term, view {m}": p.eta * jnp.linalg.norm(X @ U.T) for m, (X, U) in enumerate(zip(data.views, s.U))
    }


method = Method(
    "batch",
    Params(),
    init,
    (update_B, update_U, update_V),
    objective,
    codes,
    encoder,
    max_iterations=6,
    features=Features("rbf_centred", 1000, 1.05),  # exp(-d²/2s), s the mean squared distance, less its mean
    diagnostics=diagnostics,
    links=places,
)
paper_params = dict.fromkeys(("wiki", "mirflickr25k", "nuswide10"), Params())
variants: dict[str, Method] = {}
