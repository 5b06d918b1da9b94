"""DLFH, discrete latent factor hashing (Jiang & Li, IEEE Transactions on Image Processing 2019).

Over codes U_m in {-1, 1}^(n, r) of each view m, for every two views l and m

    max  sum_ij (S_ij Theta_ij - log(1 + exp(Theta_ij))),     Theta = a U_m U_lᵀ,  a = lam / r,

with samples as rows; S_ij is 1 where i and j share a label, else 0.  An update draws m samples, with replacement, and
learns the codes of all samples against theirs, one bit after the other; more than two views are an extension.  An
unseen x gets the code sgn(x W_m), W_m being ridge regressions on features as they are.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax, random

from jaxcmh.checks import Positive, Weight
from jaxcmh.learning.core import Data, Method, labels_of_sets
from jaxcmh.learning.encoders import ridge
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import sign
from jaxcmh.learning.ones import places

STEP = 2.0**-10  # to which terms in units of a are rounded: then sums are exact, and ties alike in every precision


class Params(NamedTuple):
    lam: Positive = 8.0  # scale of the likelihood
    omega: Weight = 1e-6  # ridge of the hash functions


class State(NamedTuple):
    key: Array  # (2,) uint32, for the columns to come
    columns: Array  # (m,) int32 samples that were drawn last
    U: tuple[Array, ...]  # (n, r) codes of each view


def drawn(key: Array, count: int, n: Array) -> Array:
    """Samples (count,) of n, the same in every precision and whatever padding follows them."""
    n = jnp.asarray(n, jnp.int32)
    share = random.uniform(random.wrap_key_data(key), (count,), jnp.float32)
    return jnp.minimum((share * n.astype(jnp.float32)).astype(jnp.int32), n - 1)


def next_key(key: Array) -> Array:
    return random.key_data(random.fold_in(random.wrap_key_data(key), 1))


def init(key: Array, data: Data, p: Params, bits: int, count: int | None = None) -> State:
    """Random codes."""
    key, *keys = random.split(key, 1 + len(data.views))
    U = tuple(sign(data.gaussian(k, len(data.mask), bits), data.mask) for k in keys)
    return State(random.key_data(key), drawn(random.key_data(key), count or bits, data.n), U)


def similar(columns: Array, data: Data) -> Array:
    """S (n, m) of all samples and those of `columns`."""
    shared = labels_of_sets(data) @ data.sets[data.member[columns]].T
    return data.per_sample((shared > 0).astype(data.mask.dtype))


def likelihood_bound(a: Array, r: int) -> tuple[float, Array, Array | float, float]:
    """What a bit gains by each label shared, loses at each whole number of U Vᵀ, and by change; does it count itself.

    The likelihood is at least the quadratic function that touches it where the codes are, curved by 1/4.
    """
    whole = jnp.arange(-r, r + 1)
    return 1.0, jax.nn.sigmoid(a * whole), a / 4, 1.0


def likelihood(a: Array, r: int) -> tuple[float, Array, Array | float, float]:
    """The same for a bit that is best given all others, which the paper does not have."""
    whole = jnp.arange(-r, r + 1)
    return 2.0, (jax.nn.softplus(a * (whole + 1)) - jax.nn.softplus(a * (whole - 1))) / a, 0.0, 0.0


def update_U(s: State, data: Data, p: Params, of_bit=likelihood_bound) -> State:
    for m in range(len(s.U)):
        s = update_view(s, data, p, m, of_bit)
    return s


def update_view(s: State, data: Data, p: Params, m: int, of_bit=likelihood_bound) -> State:
    """New columns, and the codes of view m against those that the other views have there."""
    columns, U = drawn(s.key, len(s.columns), data.n), s.U[m]
    r, others = U.shape[1], [V[columns] for l, V in enumerate(s.U) if l != m]
    V = jnp.concatenate(others)
    gain, loss, inertia, itself = of_bit(p.lam / r, r)
    loss = (jnp.round(loss / STEP) * STEP).astype(U.dtype)
    pull = gain * similar(columns, data) @ sum(others)

    def bit(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        U, UV = carry
        u, v = U[:, k], V[:, k]
        at = (UV - (1 - itself) * jnp.outer(u, v)).astype(jnp.int32) + r
        new = sign((pull[:, k] - loss[at] @ v + inertia * len(V) * u)[:, None], data.mask)[:, 0]
        return U.at[:, k].set(new), UV + jnp.outer(new - u, v)

    U, _ = lax.fori_loop(0, r, bit, (U, U @ V.T))
    return State(next_key(s.key), columns, (*s.U[:m], U, *s.U[m + 1 :]))


def objective(s: State, data: Data, p: Params) -> Array:
    """The negative likelihood, where one of the two is among the last columns, scaled up to all pairs."""
    S, a = similar(s.columns, data), p.lam / s.U[0].shape[1]
    loss = jnp.zeros_like(data.n)
    for m, U in enumerate(s.U):
        for V in (*s.U[:m], *s.U[m + 1 :]):
            Theta = a * U @ V[s.columns].T
            loss += (data.mask[:, None] * (jax.nn.softplus(Theta) - S * Theta)).sum()
    return loss * data.n / len(s.columns) / 2


def codes(s: State, data: Data, p: Params) -> Array:
    return jnp.stack(s.U)


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return ridge(codes(s, data, p), data, p.omega)


method = Method(
    "dlfh",
    Params(),
    init,
    (update_U,),
    objective,
    codes,
    encoder,
    max_iterations=30,
    features=Features("identity"),
    across=False,
    label_rows=(),
    links=places,
)
paper_params = dict.fromkeys(("wiki", "mirflickr25k", "nuswide10"), Params())
variants = {
    "exact": method._replace(  # each bit is best given all others, which wants more columns than bits
        init=partial(init, count=128), updates=(partial(update_U, of_bit=likelihood),)
    )
}
