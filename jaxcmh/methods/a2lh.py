"""A2LH, adaptive asymmetric label-guided hashing (Long 2022).

Over weights mu of the views (sum_m mu_m = 1), a label embedding R (c, r), a common space U (n, q), its map C (q, r)
to codes, codes B in {-1, 1}^(n, r) and for each view V_m (q_m, q) with orthonormal columns:

    min  |L (U C)ᵀ - r S|² + alpha |B - U C|² + beta |L - B|²
       + sum_m mu_m^zeta |X_m - U V_mᵀ|² + eta (|L|² + |U|²),     L = Y R,   S = 2 Y Yᵀ - 1 1ᵀ,

eq. 9 with samples as rows; X are kernel features, Y labels with rows of length 1, q is the smallest q_m.  Each
block is minimised exactly given the others; an unseen x gets the code sgn(x W_m), eq. 34.

U is never formed: with many anchors it would be the largest matrix of all.  Its columns are always combinations of
the columns of Z = [X_1 .. X_M, Y, 1, B'], where B' are the codes that the last update of U saw.  So U = Z A is kept
as its coefficients A (p, q), and its products from the Gram matrix ZᵀZ, in float64.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random

from jaxcmh.learning.core import Data, Method, random_rows
from jaxcmh.learning.encoders import ridge
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import cross, descend, double, eigh, general_solve, qr, sign, solve, sqnorm, stacked_gram


class Params(NamedTuple):
    zeta: float = 2.0  # 0: all views weigh 1; from 2 on the larger, the more alike the weights; never 1
    alpha: float = 1e-2  # codes agree with the common space
    beta: float = 10.0  # codes agree with the label embedding
    eta: float = 1e-3  # ridge of label embedding and common space
    lam: float = 1e-4  # penalty of V = K, in the multiplier version only
    omega: float = 1e-2  # ridge of the hash functions


class State(NamedTuple):
    """Codes are in the precision of the data, all else is in float64."""

    mu: Array  # (M,) weights of the views
    R: Array  # (c, r) label embedding
    C: Array  # (q, r) map from the common space to codes
    B: Array  # (n, r) codes
    A: Array  # (p, q) coefficients of the common space U = Z A
    ZU: Array  # (p, q) ZᵀU
    V: tuple[Array, ...]  # (q_m, q) the space of each view
    seen: Array  # (n, r) the codes B' in Z: B itself but between its update and that of U, which follows at once
    ZB: Array  # (p, r) ZᵀB'
    K: tuple[Array, ...] = ()  # (q_m, q) copies of V, in the multiplier version only
    Lam: tuple[Array, ...] = ()  # (q_m, q) multipliers of V = K


class Fixed(NamedTuple):
    Y: Array  # (n, c) labels
    ZZ: Array  # float64 Gram matrix of [X_1 .. X_M, Y, 1]


def prepare(data: Data, normalize_labels: bool = True) -> Fixed:
    Y = data.unit_labels if normalize_labels else data.labels
    return Fixed(Y, stacked_gram((*data.views, jnp.column_stack([Y, data.mask])), data.grams))


def parts(rows: Array, data: Data) -> tuple[list[Array], Array, Array, Array]:
    """What of a (p, k) matrix belongs to the views, to Y, to 1 and to B'."""
    *views, Y, one, B = jnp.split(rows, np.cumsum([*map(len, data.grams), data.labels.shape[1], 1]))
    return views, Y, one[0], B


def Z_times(W: Array, s: State, data: Data) -> Array:
    """Z W (n, k) of coefficients W (p, k)."""
    views, Y, one, B = parts(W.astype(s.B.dtype), data)
    return sum(X @ W_m for X, W_m in zip(data.views, views)) + data.extra.Y @ Y + data.mask[:, None] * one + s.seen @ B


def ZT_times(B: Array, data: Data) -> Array:
    """ZᵀB (p, r) where B are the codes in Z too; in float64, or rounding would leave UᵀU indefinite."""
    return jnp.concatenate([cross(X, B) for X in (*data.views, data.extra.Y, data.mask[:, None], B)])


def ZTZ_times(W: Array, ZB: Array, data: Data) -> Array:
    """ZᵀZ W (p, k) of coefficients W (p, k)."""
    ZZ, r = data.extra.ZZ, ZB.shape[1]
    return jnp.concatenate([ZZ @ W[:-r] + ZB[:-r] @ W[-r:], ZB.T @ W])


def label_gram(data: Data) -> tuple[Array, Array]:
    """YᵀY and Yᵀ1."""
    c = data.labels.shape[1]
    return data.extra.ZZ[-c - 1 : -1, -c - 1 : -1], data.extra.ZZ[-c - 1 : -1, -1]


def embedded_labels(s: State, data: Data) -> tuple[Array, Array, Array]:
    """LᵀL, YᵀL and 1ᵀL of L = Y R."""
    YY, Y1 = label_gram(data)
    return s.R.T @ YY @ s.R, YY @ s.R, Y1 @ s.R


def own_codes(s: State, data: Data) -> tuple[Array, Array, Array]:
    """The same of L = B."""
    return cross(s.B, s.B), cross(data.extra.Y, s.B), cross(s.B, data.mask[:, None])[:, 0]


def polar(M: Array) -> Array:
    """P(M) of a float64 matrix (q_m, q) of any rank, without its singular value decomposition.

    The right singular vectors are those of MᵀM.  They are blurred where singular values are below 1e-8 of the
    largest; there the QR factor is as orthonormal, and |M|_* - tr(MᵀZ) stays below 1e-6 |M|_* for kernel features.
    """
    V = eigh(M.T @ M)[1][:, ::-1]
    Q, R = qr(M @ V)
    return (Q * jnp.where(jnp.diag(R) < 0, -1, 1)) @ V.T


def distances(s: State, data: Data) -> Array:
    """|X_m - U V_mᵀ|², one a view."""
    XU, *_ = parts(s.ZU, data)
    return jnp.stack([jnp.trace(G) - 2 * jnp.vdot(V, M) for G, V, M in zip(data.grams, s.V, XU)]) + jnp.vdot(s.A, s.ZU)


@double
def init(key: Array, data: Data, p: Params, bits: int, gaussian: bool = False) -> State:
    """Codes that are signs of random projections of the labels, and the mean of the views as common space.

    With `gaussian`, which is less accurate: random codes, maps and spaces, and a random mixture of the views.
    """
    sizes, Y, dtype = [len(G) for G in data.grams], data.extra.Y, data.mask.dtype
    M, q, c = len(sizes), min(sizes), Y.shape[1]
    key_B, key_C, *keys = random.split(key, 2 + M)

    def normal(key: Array, *shape: int) -> Array:
        return random.normal(key, shape, jnp.float32).astype(jnp.float64)

    V = [polar(normal(key, size, q)) if gaussian else jnp.eye(size, q) for key, size in zip(keys, sizes)]
    embedding = Y @ normal(key_B, c, bits).astype(dtype)
    B = sign(random_rows(key_B, data, bits) if gaussian else embedding, data.mask)
    A, ZB = jnp.concatenate([*(V_m / M for V_m in V), jnp.zeros((c + 1 + bits, q))]), ZT_times(B, data)
    return State(
        mu=jnp.ones(M) / M,
        R=jnp.zeros((c, bits)),
        C=normal(key_C, q, bits) if gaussian else jnp.zeros((q, bits)),
        B=B,
        A=A,
        ZU=ZTZ_times(A, ZB, data),
        V=tuple(V),
        seen=B,
        ZB=ZB,
    )


def init_with_multipliers(key: Array, data: Data, p: Params, bits: int) -> State:
    s = init(key, data, p, bits)
    return s._replace(K=s.V, Lam=jax.tree.map(jnp.zeros_like, s.V))


@double
def update_mu(s: State, data: Data, p: Params) -> State:
    """Eq. 12; a view that U rebuilds up to rounding must not take all the weight."""
    least = 1e-6 * jnp.stack([jnp.trace(G) for G in data.grams]) + jnp.finfo(s.mu.dtype).tiny
    return s._replace(mu=jax.nn.softmax(jnp.log(jnp.maximum(distances(s, data), least)) / (1 - p.zeta)))


@double
def update_R(s: State, data: Data, p: Params) -> State:
    """Eq. 15."""
    (YY, Y1), ZP, r = label_gram(data), s.ZU @ s.C, s.B.shape[1]  # P = U C
    _, YP, sums, _ = parts(ZP, data)
    _, YB, _, _ = parts(s.ZB, data)
    target = r * (2 * YY @ YP - jnp.outer(Y1, sums)) + p.beta * YB
    return s._replace(R=solve((s.A @ s.C).T @ ZP, solve(YY, target).T, p.beta + p.eta).T)


@double
def update_C(s: State, data: Data, p: Params, left=embedded_labels) -> State:
    """Eq. 18."""
    (LL, YL, sums), (_, YU, U1, _), r = left(s, data), parts(s.ZU, data), s.B.shape[1]
    target = r * (2 * YU.T @ YL - jnp.outer(U1, sums)) + p.alpha * s.A.T @ s.ZB
    return s._replace(C=solve(LL, solve(s.A.T @ s.ZU, target).T, p.alpha).T)


def pull(s: State, data: Data, p: Params) -> Array:
    """alpha U C + beta Y R."""
    return p.alpha * Z_times(s.A @ s.C, s, data) + p.beta * data.extra.Y @ s.R.astype(s.B.dtype)


@double
def update_B(s: State, data: Data, p: Params) -> State:
    """Eq. 22."""
    return s._replace(B=sign(pull(s, data, p), data.mask))


@double
def update_relaxed_B(s: State, data: Data, p: Params) -> State:
    """Eq. 38."""
    return s._replace(B=pull(s, data, p) / (p.alpha + p.beta))


@double
def update_B_bit_by_bit(s: State, data: Data, p: Params) -> State:
    """Eq. 37 is quadratic in the codes: each bit exactly, given the others."""
    W, r, dtype = s.A @ s.C, s.B.shape[1], s.B.dtype
    P, ZP = Z_times(W, s, data), s.ZU @ s.C
    _, YP, sums, _ = parts(ZP.astype(dtype), data)
    target = r * (2 * data.extra.Y @ YP - data.mask[:, None] * sums) + p.alpha * P
    return s._replace(B=descend(s.B, target, W.T @ ZP, partial(sign, mask=data.mask)))


@double
def update_U(s: State, data: Data, p: Params, left=embedded_labels) -> State:
    """Eq. 25 by an r x r system: tau U = F + (tau T - F C N) (tau I + CᵀC N)⁻¹ Cᵀ, T = r S L + alpha B."""
    s = s._replace(seen=s.B)
    (LL, YL, sums), ZB, w, r = left(s, data), ZT_times(s.B, data), s.mu**p.zeta, s.B.shape[1]
    tau, N, I = w.sum() + p.eta, LL + p.alpha * jnp.eye(r), jnp.eye(r)
    F = jnp.concatenate([*(w_m * V for w_m, V in zip(w, s.V)), jnp.zeros((len(ZB) - sum(map(len, s.V)), len(s.C)))])
    T = jnp.concatenate([jnp.zeros((len(ZB) - len(YL) - 1 - r, r)), 2 * r * YL, -r * sums[None], p.alpha * I])
    E = general_solve(tau * I + N @ s.C.T @ s.C, (tau * T - F @ s.C @ N).T).T
    A = (F + E @ s.C.T) / tau
    return s._replace(A=A, ZU=ZTZ_times(A, ZB, data), ZB=ZB)


@double
def update_V(s: State, data: Data, p: Params) -> State:
    """Eq. 26 exactly: |U V_mᵀ|² = |U|² is constant, so what the paper splits and penalises has a closed form."""
    XU, *_ = parts(s.ZU, data)
    return s._replace(V=tuple(map(polar, XU)))


@double
def update_V_by_multipliers(s: State, data: Data, p: Params) -> State:
    """Eq. 30."""
    UU, (XU, *_), w = s.A.T @ s.ZU, parts(s.ZU, data), s.mu**p.zeta
    O = (2 * w_m * M - w_m * K @ UU + p.lam * K - Lam for w_m, M, K, Lam in zip(w, XU, s.K, s.Lam))
    return s._replace(V=tuple(map(polar, O)))


@double
def update_K(s: State, data: Data, p: Params) -> State:
    """Eq. 31, with V where it prints its transpose."""
    UU, w = s.A.T @ s.ZU, s.mu**p.zeta
    O = (p.lam * V + Lam - w_m * V @ UU for w_m, V, Lam in zip(w, s.V, s.Lam))
    return s._replace(K=tuple(map(polar, O)))


@double
def update_Lam(s: State, data: Data, p: Params) -> State:
    """Eq. 32."""
    return s._replace(Lam=tuple(Lam + p.lam * (V - K) for Lam, V, K in zip(s.Lam, s.V, s.K)))


@double
def objective(s: State, data: Data, p: Params, left=embedded_labels) -> Array:
    (YY, Y1), (LL, YL, sums), r, n = label_gram(data), left(s, data), s.B.shape[1], data.mask.sum()
    W, L = s.A @ s.C, data.extra.Y @ s.R.astype(s.B.dtype)
    ZP, P = s.ZU @ s.C, Z_times(W, s, data)
    _, YP, P1, _ = parts(ZP, data)
    SS, PP = 4 * sqnorm(YY) - 4 * sqnorm(Y1) + n**2, W.T @ ZP
    loss = jnp.vdot(LL, PP) - 2 * r * (2 * jnp.vdot(YL, YP) - jnp.vdot(sums, P1)) + r**2 * SS
    loss += p.alpha * sqnorm(s.B - P) + p.beta * sqnorm(s.B - L)
    loss += jnp.vdot(s.mu**p.zeta, distances(s, data))
    loss += p.eta * (jnp.vdot(s.R, YY @ s.R) + jnp.vdot(s.A, s.ZU))
    return loss.astype(data.mask.dtype)


@double
def lagrangian(s: State, data: Data, p: Params) -> Array:
    """Eq. 28, what the multiplier version minimises over V and K."""
    UU, loss = s.A.T @ s.ZU, objective(s, data, p)
    for w, V, K, Lam in zip(s.mu**p.zeta, s.V, s.K, s.Lam):
        loss += w * (jnp.vdot(V, K @ UU) - jnp.trace(UU)) + jnp.vdot(Lam, V - K) + p.lam / 2 * sqnorm(V - K)
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    return sign(s.B, data.mask)


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    """Eq. 34."""
    return ridge(codes(s, data, p), data, p.omega)


def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """The weights of the views, and how the two terms of the update of B weigh against each other."""
    with jax.enable_x64(True):
        UC, L = Z_times(s.A @ s.C, s, data), data.extra.Y @ s.R.astype(s.B.dtype)
    agreement = jnp.vdot(codes(s, data, p), sign(UC, data.mask)) / data.mask.sum() / s.B.shape[1]
    return {
        **{f"weight of view {m}": weight.astype(UC.dtype) for m, weight in enumerate(s.mu)},
        "common space term": jnp.linalg.norm(p.alpha * UC),
        "label term": jnp.linalg.norm(p.beta * L),
        "codes that are signs of U C": agreement / 2 + 0.5,
    }


def check(p: Params) -> None:
    if not (p.zeta == 0 or p.zeta > 1):
        raise ValueError(f"params.zeta: expected 0, for equal weights, or a number above 1; got {p.zeta!r}")


updates = (update_mu, update_R, update_C, update_B, update_U, update_V)
method = Method(
    "a2lh",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    max_iterations=6,  # the paper's Fig. 4 is flat after 5
    features=Features(anchors=2500),
    prepare=prepare,
    diagnostics=diagnostics,
    check=check,
)
paper_params = {"mirflickr25k": Params(), "nuswide10": Params()}
of_codes = {"left": own_codes}
variants = {
    "k": method._replace(features=Features("identity")),  # no kernel
    "m": method._replace(  # no label embedding: the codes stand in its place
        params=Params(beta=0.0),
        updates=(
            update_mu,
            partial(update_C, **of_codes),
            update_B_bit_by_bit,
            partial(update_U, **of_codes),
            update_V,
        ),
        objective=partial(objective, **of_codes),
    ),
    "b": method._replace(
        updates=(update_mu, update_R, update_C, update_relaxed_B, update_U, update_V)
    ),  # relaxed codes
    "multipliers": method._replace(  # the paper's own step for V
        init=init_with_multipliers,
        updates=(*updates[:-1], update_V_by_multipliers, update_K, update_Lam),
    ),
    "gaussian": method._replace(init=partial(init, gaussian=True)),
    "counts": method._replace(prepare=partial(prepare, normalize_labels=False)),  # labels 0 and 1 as they are
}
