"""DCGH, distribution consistency guided hashing (ACM MM 2024).

Over codes H in {-1, 1}^(n, r); for each view v a representation B^v (n, r) with balanced, uncorrelated
columns (1ᵀB^v = 0, B^vᵀB^v = nI), a projection W^v (q_v, r) and an encoding F^v (n, c); an encoding E (n, c)
of the codes; and class centres U (c, r), all of W, F, E, U with orthonormal short side:

    min  sum_v |B^v - X^v W^v|^2 + alpha |B^v - F^v U|^2 + beta |H B^vᵀ - r Y Yᵀ|^2  +  alpha |H - E U|^2

Eq. 4 with samples as rows; X are kernel features, Y labels with rows of length 1.  As in the paper's step
from eq. 12 to eq. 13, |X^v W^v|^2 counts as the constant |X^v|^2 which it is for square W^v.
Each block is then minimised exactly given the others; an unseen x gets the code sgn(x P^v), eq. 20.

B^v and F^v are never formed: their columns are always combinations of those of Z^v = [X^v, Y, 1, N] with Gaussian N, in
which F^v starts.  They are kept as coefficients, B^v = Z^v A^v and F^v = Z^v D^v, and their products come from Gram
matrices, in float64: the terms of J in eq. 5 lie up to ten orders of magnitude apart.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax, random

from jaxcmh.learning.core import Data, Method, random_rows
from jaxcmh.learning.encoders import ridge
from jaxcmh.learning.linalg import cross, double, eigh, one_by_one, orthonormal, sign, sqnorm, svd


class Params(NamedTuple):
    alpha: float = 10.0  # distribution consistency: representations and codes share the class centres
    beta: float = 10.0  # consensus: codes and representations agree with the labels
    lam: float = 1e-2  # ridge of the hash functions


class State(NamedTuple):
    """Codes and N are in the precision of the data, all else is in float64."""

    H: Array  # (n, r) consensus codes in {-1, 1}
    A: tuple[Array, ...]  # (p_v, r) coefficients of the representation of each view, B = Z A
    W: tuple[Array, ...]  # (q_v, r) projection of each view
    U: Array  # (c, r) class centres
    D: tuple[Array, ...]  # (p_v, c) coefficients of the encoding of each representation, F = Z D
    E: Array  # (n, c) encoding of the codes
    YH: Array  # (c, r) YᵀH
    HH: Array  # (r, r) HᵀH
    ZB: tuple[Array, ...]  # (p_v, r) ZᵀB
    ZF: tuple[Array, ...]  # (p_v, c) ZᵀF
    N: Array  # (n, max(r, c)) Gaussian numbers
    XR: tuple[Array, ...]  # (q_v, p_v - q_v) XᵀR of R = [Y, 1, N], what is the same in every Z
    RR: Array  # RᵀR


def R_of(N: Array, data: Data) -> Array:
    return jnp.column_stack([data.unit_labels, data.mask, N])


def to_axes(M: Array, v: int, data: Data) -> Array:
    """(q_v, k) for the principal axes of X^v, where a sweep knows them: nothing here depends on the axes."""
    return data.eigen[v][1].T @ M if data.eigen else M


def ZTZ_times(C: Array, v: int, XR: Array, RR: Array, data: Data) -> Array:
    """ZᵀZ C (p_v, k) of coefficients C (p_v, k); in principal axes XᵀX is diagonal."""
    X, R = C[: len(XR)], C[len(XR) :]
    XX_X = jnp.maximum(data.eigen[v][0], 0)[:, None] * X if data.eigen else data.grams[v] @ X
    return jnp.concatenate([XX_X + XR @ R, XR.T @ X + RR @ R])


def noise(v: int, s: State) -> tuple[Array, Array]:
    """Coefficients of N, and ZᵀN."""
    ZN = jnp.concatenate([s.XR[v], s.RR])[:, -s.N.shape[1] :]
    return jnp.eye(*ZN.shape, k=ZN.shape[1] - ZN.shape[0]), ZN


def centred(C: Array, ZC: Array, v: int, s: State, data: Data) -> tuple[Array, Array]:
    """Coefficients, and Zᵀ times what they stand for, after each column of Z C has lost its mean."""
    one = data.labels.shape[1]
    means = ZC[len(s.XR[v]) + one] / data.mask.sum()
    Z1 = jnp.concatenate([s.XR[v], s.RR])[:, one]
    return C.at[len(s.XR[v]) + one].add(-means), ZC - jnp.outer(Z1, means)


def principal(C: Array, ZC: Array) -> tuple[Array, Array]:
    """Squared singular values of Z C, the largest first, and its right singular vectors."""
    values, V = eigh(C.T @ ZC)
    return values[::-1], V[:, ::-1]


def completed(keep: Array, T: Array, ZT: Array, N: Array, ZN: Array) -> tuple[Array, Array]:
    """What is not kept of the orthonormal columns Z T, replaced by what N has beside the rest."""
    T, ZT = jnp.where(keep, T, 0), jnp.where(keep, ZT, 0)
    along = T.T @ ZN
    N, ZN = N - T @ along, ZN - ZT @ along
    values, V = principal(N, ZN)
    place = jnp.maximum(jnp.arange(len(keep)) - keep.sum(), 0)  # the first to be replaced gets the strongest
    V = (V / jnp.sqrt(jnp.maximum(values, jnp.finfo(values.dtype).tiny)))[:, place]
    return jnp.where(keep, T, N @ V), jnp.where(keep, ZT, ZN @ V)


@one_by_one
def polar(C: Array, ZC: Array, N: Array, ZN: Array) -> tuple[Array, Array]:
    """Coefficients of the polar factor of Z C (n, k), and Zᵀ times it; N completes it where Z C says nothing."""
    values, V = principal(C, ZC)

    def plain() -> tuple[Array, Array]:
        turn = V / jnp.sqrt(values) @ V.T
        return C @ turn, ZC @ turn

    def graded() -> tuple[Array, Array]:
        """A Gram matrix loses singular values below 1e-8 of the largest: what is small is scaled up and seen again."""
        scale = jnp.sqrt(jnp.maximum(values, 1e-14 * values[0]) + jnp.finfo(values.dtype).tiny)
        T, ZT = C @ (V / scale), ZC @ (V / scale)
        again, V2 = principal(T, ZT)
        keep = again > 1e-8
        length = jnp.sqrt(jnp.where(keep, again, 1))
        left, _, right = svd(jnp.where(keep, length, 0)[:, None] * V2.T * scale @ V.T)

        def whole() -> tuple[Array, Array]:
            turn = V2 / length @ left @ right
            return T @ turn, ZT @ turn

        def deficient() -> tuple[Array, Array]:
            full = completed(keep, T @ (V2 / length), ZT @ (V2 / length), N, ZN)
            return full[0] @ left @ right, full[1] @ left @ right

        return lax.cond(keep.all(), whole, deficient)

    return lax.cond(values[-1] > 1e-6 * values[0], plain, graded)


@double
def init(key: Array, data: Data, p: Params, bits: int) -> State:
    """Codes of ones, everything else Gaussian, as in the authors' code; the first step meets the constraints."""
    views, c = len(data.views), data.labels.shape[1]
    keys = iter(random.split(key, views + 3))

    def small(*shape: int) -> Array:
        return random.normal(next(keys), shape, jnp.float32).astype(jnp.float64)

    W, U, E = tuple(small(len(G), bits) for G in data.grams), small(c, bits), random_rows(next(keys), data, c)
    N = random_rows(next(keys), data, max(bits, c))
    R = R_of(N, data)
    H = jnp.ones((len(data.mask), bits), data.mask.dtype) * data.mask[:, None]
    s = State(
        H=H,
        A=tuple(jnp.zeros((len(G) + R.shape[1], bits)) for G in data.grams),
        W=tuple(to_axes(W_v, v, data) for v, W_v in enumerate(W)),
        U=U,
        D=(),
        E=E.astype(jnp.float64),
        YH=cross(data.unit_labels, H),
        HH=cross(H, H),
        ZB=tuple(jnp.zeros((len(G) + R.shape[1], bits)) for G in data.grams),
        ZF=(),
        N=N,
        XR=tuple(to_axes(cross(X, R), v, data) for v, X in enumerate(data.views)),
        RR=cross(R, R),
    )
    D, ZF = zip(*((M[:, :c] for M in noise(v, s)) for v in range(views)))
    return s._replace(D=D, ZF=ZF)


@double
def update_B(s: State, data: Data, p: Params) -> State:
    """Eqs. 5-8: the B with 1ᵀB = 0 and BᵀB = nI for which tr(JᵀB) is largest."""
    (c, r), n = s.U.shape, data.mask.sum()

    def update(v: int) -> tuple[Array, Array]:
        J = jnp.concatenate([s.W[v], p.beta * r * s.YH, jnp.zeros((len(s.RR) - c, r))])
        ZJ = ZTZ_times(J, v, s.XR[v], s.RR, data) + p.alpha * s.ZF[v] @ s.U
        J += p.alpha * s.D[v] @ s.U
        return polar(*centred(J, ZJ, v, s, data), *centred(*noise(v, s), v, s, data))

    A, ZB = zip(*((jnp.sqrt(n) * M for M in update(v)) for v in range(len(s.W))))
    return s._replace(A=A, ZB=ZB)


def YTB(s: State, data: Data) -> list[Array]:
    """YᵀB (c, r) of each view."""
    return [ZB[len(XR) : len(XR) + data.labels.shape[1]] for ZB, XR in zip(s.ZB, s.XR)]


@double
def update_H(s: State, data: Data, p: Params) -> State:
    r, Y = s.H.shape[1], data.unit_labels
    H = sign(p.alpha * s.E @ s.U + p.beta * r * Y @ sum(YTB(s, data)), data.mask).astype(s.H.dtype)
    return s._replace(H=H, YH=cross(Y, H), HH=cross(H, H))


@double
def update_W(s: State, data: Data, p: Params) -> State:
    return s._replace(W=tuple(orthonormal(ZB[: len(XR)]) for ZB, XR in zip(s.ZB, s.XR)))


@double
def update_U(s: State, data: Data, p: Params) -> State:
    return s._replace(U=orthonormal(cross(s.E, s.H) + sum(D.T @ ZB for D, ZB in zip(s.D, s.ZB))))


@double
def update_F(s: State, data: Data, p: Params) -> State:
    BU = ((A @ s.U.T, ZB @ s.U.T) for A, ZB in zip(s.A, s.ZB))
    D, ZF = zip(*(polar(*pair, *noise(v, s)) for v, pair in enumerate(BU)))
    return s._replace(D=D, ZF=ZF)


@double
def update_E(s: State, data: Data, p: Params) -> State:
    """The polar factor of H Uᵀ, whose Gram matrix is known; in one product, where that has full rank."""

    @one_by_one
    def factor(H: Array, U: Array, HH: Array, mask: Array) -> Array:
        values, V = eigh(U @ HH @ U.T)
        full = values[0] > 1e-8 * values[-1]
        return lax.cond(
            full,
            lambda: H @ (U.T @ (V / jnp.sqrt(values)) @ V.T),
            lambda: orthonormal(H @ U.T, mask),
        )

    return s._replace(E=factor(s.H, s.U, s.HH, data.mask))


def label_gaps(s: State, data: Data) -> list[Array]:
    """|H Bᵀ - r Y Yᵀ|² of each view."""
    c, r = s.U.shape
    pairs = ((A.T @ ZB, YB) for A, ZB, YB in zip(s.A, s.ZB, YTB(s, data)))
    return [jnp.vdot(s.HH, BB) - 2 * r * jnp.vdot(s.YH, YB) + r**2 * sqnorm(s.RR[:c, :c]) for BB, YB in pairs]


@double
def objective(s: State, data: Data, p: Params) -> Array:
    loss = p.alpha * sqnorm(s.H - s.E @ s.U)
    for G, A, ZB, W, D, ZF, gap in zip(data.grams, s.A, s.ZB, s.W, s.D, s.ZF, label_gaps(s, data)):
        BB, BF, FF = A.T @ ZB, A.T @ ZF, D.T @ ZF
        loss += jnp.trace(BB) - 2 * jnp.vdot(ZB[: len(W)], W) + jnp.diagonal(G).sum()
        loss += p.alpha * (jnp.trace(BB) - 2 * jnp.vdot(BF, s.U.T) + jnp.vdot(FF, s.U @ s.U.T)) + p.beta * gap
    return loss.astype(data.mask.dtype)


def codes(s: State, data: Data, p: Params) -> Array:
    return s.H


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    """Eq. 20: P^v = (X^vᵀX^v + lam I)⁻¹ X^vᵀH."""
    return ridge(s.H, data, p.lam)


def in_rows(coefficients: tuple[Array, ...], s: State, data: Data) -> tuple[Array, ...]:
    """Z C (n, k) of each view's coefficients C, to look at: `in_rows(s.A, s, data)` are the representations B.

    Not for states of a sweep, whose coefficients may be in principal axes.
    """
    R = R_of(s.N, data)
    parts = (
        (X, C[: X.shape[1]].astype(X.dtype), C[X.shape[1] :].astype(X.dtype)) for X, C in zip(data.views, coefficients)
    )
    return tuple(X @ of_X + R @ of_R for X, of_X, of_R in parts)


@double
def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """How the terms of the update of B weigh against each other, and how far H Bᵀ is from r Y Yᵀ, as a part of it."""
    r, YY = s.U.shape[1], s.RR[: len(s.U), : len(s.U)]
    squares = {"label term": (p.beta * r) ** 2 * jnp.vdot(s.YH, YY @ s.YH)}
    for v, (W, D, ZF, gap) in enumerate(zip(s.W, s.D, s.ZF, label_gaps(s, data))):
        ZXW = ZTZ_times(jnp.pad(W, ((0, len(s.RR)), (0, 0))), v, s.XR[v], s.RR, data)
        squares[f"feature term, view {v}"] = jnp.vdot(W, ZXW[: len(W)])
        squares[f"centre term, view {v}"] = p.alpha**2 * jnp.vdot(D @ s.U, ZF @ s.U)
        squares[f"distance from the labels, view {v}"] = gap / (r**2 * sqnorm(YY))
    return {name: jnp.sqrt(value).astype(data.mask.dtype) for name, value in squares.items()}


updates = (update_B, update_H, update_W, update_U, update_F, update_E)
method = Method("dcgh", Params(), init, updates, objective, codes, encoder, diagnostics=diagnostics)
paper_params = {
    "wiki": Params(alpha=10.0, beta=10.0, lam=1e-2),
    "mirflickr25k": Params(alpha=1e4, beta=0.1, lam=1e-2),
    "iaprtc12": Params(alpha=1e3, beta=1e-2, lam=1e-3),
    "nuswide10": Params(alpha=1e4, beta=0.1, lam=1e-4),
}
variants = {
    "d": method._replace(params=Params(alpha=0.0)),  # no distribution consistency
    "r": method._replace(params=Params(lam=0.0)),  # no ridge in the hash functions
}
