"""A2LH with the paper's own step for V: an augmented Lagrangian, eqs. 27-32, in place of the closed form of `a2lh`.

V_m gets a copy K_m, held by a multiplier Lam_m with penalty lam:

    sum_m (mu_m^zeta (|X_m|² - 2 tr(V_mᵀ X_mᵀ U) + tr(V_mᵀ K_m Uᵀ U)) + tr(Lam_mᵀ (V_m - K_m)) + lam / 2 |V_m - K_m|²)

stands for sum_m mu_m^zeta |X_m - U V_mᵀ|²; V_m and K_m have orthonormal columns.  Convergence is judged by the
objective of `a2lh`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxcmh.checks import Positive, Weight
from jaxcmh.learning.core import Data
from jaxcmh.learning.linalg import polar, sqnorm
from jaxcmh.methods import a2lh


class Params(NamedTuple):
    zeta: a2lh.Zeta = 2.0  # as in `a2lh`, like all but lam
    alpha: Weight = 1e-2
    beta: Weight = 10.0
    eta: Weight = 1e-3
    lam: Positive = 1e-4  # penalty of V = K
    omega: Weight = 1e-2


class State(NamedTuple):
    mu: Array  # (M,) as in `a2lh`, like all but K and Lam
    R: Array  # (c, r)
    C: Array  # (q, r)
    B: Array  # (n, r)
    B_p: Array  # (p, r)
    U: Array  # (p, q)
    V: tuple[Array, ...]  # (q_m, q)
    K: tuple[Array, ...]  # (q_m, q) copies of V
    Lam: tuple[Array, ...]  # (q_m, q) multipliers of V = K


def init(key: Array, data: Data, p: Params, bits: int) -> State:
    s = a2lh.init(key, data, p, bits)  # pyright: ignore[reportArgumentType]
    return State(*s, K=s.V, Lam=jax.tree.map(jnp.zeros_like, s.V))


def update_V(s: State, data: Data, p: Params) -> State:
    """Eq. 30."""
    UU, w = s.U.T @ s.U, s.mu**p.zeta
    O = (2 * w_m * X.T @ s.U - w_m * K @ UU + p.lam * K - Lam for w_m, X, K, Lam in zip(w, data.views, s.K, s.Lam))
    return s._replace(V=tuple(map(polar, O)))


def update_K(s: State, data: Data, p: Params) -> State:
    """Eq. 31, with V where it prints its transpose."""
    UU, w = s.U.T @ s.U, s.mu**p.zeta
    return s._replace(K=tuple(polar(p.lam * V + Lam - w_m * V @ UU) for w_m, V, Lam in zip(w, s.V, s.Lam)))


def update_Lam(s: State, data: Data, p: Params) -> State:
    """Eq. 32, which Algorithm 1 leaves out."""
    return s._replace(Lam=tuple(Lam + p.lam * (V - K) for Lam, V, K in zip(s.Lam, s.V, s.K)))


def lagrangian(s: State, data: Data, p: Params) -> Array:
    """Eq. 28 without its constant |Lam|² / 2 lam, what the updates of V and K minimise."""
    UU, loss = s.U.T @ s.U, a2lh.objective(s, data, p)  # pyright: ignore[reportArgumentType]
    for w, V, K, Lam in zip(s.mu**p.zeta, s.V, s.K, s.Lam):
        loss += w * (jnp.vdot(V, K @ UU) - jnp.trace(UU)) + jnp.vdot(Lam, V - K) + p.lam / 2 * sqnorm(V - K)
    return loss


method = a2lh.method._replace(
    name="a2lh-multipliers",
    params=Params(),
    init=init,
    updates=(*a2lh.updates[:-1], update_V, update_K, update_Lam),
)
