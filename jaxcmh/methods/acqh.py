"""ACQH, asymmetric correlation quantization hashing (Wang & Yang, 2020).

An item becomes z = sum_b C_b[a_b], one word (K real numbers) from each of a few books, and is stored as the word
numbers; a query stays a real vector x W_v, and its score for an item is the inner product with z, found by look-up.
Over maps W_v (q_v, K), books C, word numbers A, a regression M (c, K) of Z = C[A] (n, K) on the labels and one
drift t (n,) a sample:

    min  sum_v |X_v W_v Zᵀ - S|^2 + lam |Z - L M - t 1ᵀ|^2 + mu |M|^2,    S = L Lᵀ,

eq. 6 with samples as rows.  Labels are all that an update of Z, t or A knows of a sample, so samples with equal
labels have equal codes: training runs on the u distinct label sets with their counts, which is exact, and on X_vᵀX_v
and X_vᵀL.  It costs nothing in n, so everything here is float64.

Extension: an item without labels gets the words of its labels as regressed on its features, X_v D_v in place of L.
Regression shrinks towards the mean, where the words, learned for whole labels, are too coarse; so the estimates are
first spread about the mean as widely as labels are, which changes no ranking by exact scores.
"""

# sum() of arrays counts as perhaps 0 for the type checker, and hyper-parameters as floats though they are traced.
# pyright: reportArgumentType=false, reportReturnType=false

from functools import lru_cache, partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax, random

from jaxcmh import checks
from jaxcmh.learning.core import Data, Method
from jaxcmh.learning.encoders import Unlabelled, nearest_words
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import cho_factor, cho_solve, cross, double, one_by_one, solve, sqnorm


class Params(NamedTuple):
    lam: float = 1e-4  # regression of the items on their labels
    mu: float = 1e-3  # ridge of that regression


class State(NamedTuple):
    W: tuple[Array, ...]  # (q_v, K) maps of queries
    M: Array  # (c, K) regression of items on labels
    t: Array  # (u,) drift of each label set
    C: Array  # (books, words, K)
    A: Array  # (u, books) words of each label set


class Regression(NamedTuple):
    """Labels on features, in float64: all that training needs of the views."""

    XL: tuple[Array, ...]  # (q_v, c) X_vᵀL
    D: tuple[Array, ...]  # (q_v, c) (X_vᵀX_v)⁻¹ X_vᵀL
    mean: tuple[Array, ...]  # (c,) mean row of X_v D_v


@double
def prepare(data: Data) -> Regression:
    XL = tuple(cross(X, data.labels) for X in data.views)
    D = tuple(solve(gram, F) for gram, F in zip(data.grams, XL))
    sums = (cross(data.mask[:, None], X)[0] for X in data.views)
    return Regression(XL, D, tuple(x @ D_v / data.counts.sum() for x, D_v in zip(sums, D)))


pinv = one_by_one(lambda A: jnp.linalg.pinv(A, rtol=1e-12, hermitian=True))


def items(s: State) -> Array:
    """Z (u, K): what the words of each label set add up to."""
    return sum(words[chosen] for words, chosen in zip(s.C, s.A.T))


def weighted(data: Data, Z: Array) -> Array:
    """Every row (u, K) times the number of samples with that label set."""
    return data.counts[:, None] * Z


def known(s: State, data: Data) -> Array:
    """(u, c + 1) labels and drift."""
    return jnp.column_stack([data.sets, s.t])


def targets(s: State, data: Data, p: Params) -> tuple[Array, Array]:
    """G (K, K) and H (c + 1, K): of a row z of Z the objective asks that z G zᵀ - 2 h zᵀ be small, h = [l, t] H."""
    K = s.M.shape[1]
    G = p.lam * jnp.eye(K) + sum(W.T @ gram @ W for W, gram in zip(s.W, data.grams))
    H = p.lam * s.M + sum(F.T @ W for F, W in zip(data.extra.XL, s.W))
    return G, jnp.vstack([H, p.lam * jnp.ones(K)])


@double
def init(key: Array, data: Data, p: Params, bits: int, books: int = 4, words: int = 256) -> State:
    """Gaussian M and words; each label set gets the words nearest to its regression."""
    key_M, key_C = random.split(key)
    M = random.normal(key_M, (data.labels.shape[1], bits), jnp.float32).astype(jnp.float64)
    C = random.normal(key_C, (books, words, bits), jnp.float32).astype(jnp.float64)
    A = nearest_words(data.sets @ M, C, jnp.eye(bits))
    return update_W(State((), M, jnp.zeros(len(A)), C, A), data, p)


@double
def update_W(s: State, data: Data, p: Params) -> State:
    """Eqs. 8 and 9; fewer label sets than K leave directions open in which W is 0."""
    Z = items(s)
    R = data.sets.T @ weighted(data, Z) @ pinv(Z.T @ weighted(data, Z))
    return s._replace(W=tuple(D @ R for D in data.extra.D))


@double
def update_M(s: State, data: Data, p: Params) -> State:
    """Eq. 11, with the sign that makes it a minimum."""
    L = data.sets
    return s._replace(
        M=solve(p.lam * L.T @ weighted(data, L), p.lam * L.T @ weighted(data, items(s) - s.t[:, None]), p.mu)
    )


@double
def update_t(s: State, data: Data, p: Params) -> State:
    """Eq. 12."""
    return s._replace(t=(items(s) - data.sets @ s.M).mean(1))


@double
def update_C(s: State, data: Data, p: Params) -> State:
    """Eq. 13: least squares on the words in use, of all books at once; a word out of use becomes 0."""
    G, H = targets(s, data, p)
    sets, books = s.A.shape
    words, book = s.A.astype(jnp.int32), jnp.arange(books, dtype=jnp.int32)
    cells = min(sets, s.C.shape[1])  # unknown words of a book: with few label sets those in use, by their first user
    if sets < s.C.shape[1]:
        words = lax.argmax(s.A[:, None] == s.A, 0, jnp.int32)
    cell = words + cells * book
    counts = jnp.broadcast_to(data.counts[:, None, None], (sets, books, books))
    together = jnp.zeros((cells * books,) * 2).at[cell[:, :, None], cell[:, None, :]].add(counts)
    B = known(s, data)
    total = jnp.zeros((cells * books, B.shape[1])).at[cell].add(weighted(data, B)[:, None])
    # `together` is singular (the books share a constant ...).  A ridge keeps rounding out of the directions that are
    # open, where the least words are wanted, and repeating what it left undone removes its bias elsewhere.
    factor = cho_factor(together + 1e-8 * jnp.trace(together) * jnp.eye(len(together)))
    C = jnp.zeros_like(total)
    for _ in range(3):
        C += cho_solve(factor, total - together @ C)
    # Words solved for [L, t] and then multiplied: so Z keeps the rank of [L, t], and update_W can tell what is 0.
    C = C[cell] @ solve(G, H.T).T
    return s._replace(C=jnp.zeros_like(s.C).at[book, s.A].set(C))


@double
def update_A(s: State, data: Data, p: Params) -> State:
    """Eqs. 15-18."""
    G, H = targets(s, data, p)
    return s._replace(A=nearest_words(known(s, data) @ H, s.C, G))


@double
def objective(s: State, data: Data, p: Params) -> Array:
    Z, L = items(s), data.sets
    ZZ, LZ = Z.T @ weighted(data, Z), L.T @ weighted(data, Z)
    loss = p.mu * sqnorm(s.M)
    loss += p.lam * jnp.vdot(data.counts, ((Z - L @ s.M - s.t[:, None]) ** 2).sum(1))
    for W, gram, F in zip(s.W, data.grams, data.extra.XL):
        loss += jnp.vdot(W.T @ gram @ W, ZZ) - 2 * jnp.vdot(F.T @ W, LZ) + sqnorm(L.T @ weighted(data, L))
    return loss


def codes(s: State, data: Data, p: Params) -> Array:
    return s.A[data.member]


def codebooks(s: State) -> Array:
    return s.C.astype(float)


@double
def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return tuple(W.astype(data.mask.dtype) for W in s.W)


@double
def unlabelled(s: State, data: Data, p: Params) -> Unlabelled:
    n, L = data.counts.sum(), data.sets
    G, H = targets(s, data, p)
    H = H[:-1]
    metric, mean = H @ solve(G, H.T), data.counts @ L / n

    def spread(LL: Array, mean: Array) -> Array:
        """Of the targets that estimates with this second moment and mean lead to."""
        return jnp.vdot(LL / n - jnp.outer(mean, mean), metric)

    V, offset = [], []
    for F, D, m in zip(*data.extra):
        wider = jnp.sqrt(spread(L.T @ weighted(data, L), mean) / spread(F.T @ D, m))
        V.append((wider * D @ H).astype(data.mask.dtype))
        offset.append(((mean - wider * m) @ H).astype(data.mask.dtype))
    return Unlabelled(tuple(V), tuple(offset), G.astype(data.mask.dtype))


@double
def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """Words in use, and the share of the similarity that the scores of each view explain."""
    similarity = sqnorm(data.sets.T @ weighted(data, data.sets))
    Z, L = items(s), data.sets
    ZZ, LZ = Z.T @ weighted(data, Z), L.T @ weighted(data, Z)
    used = jnp.zeros(s.C.shape[:2]).at[jnp.arange(len(s.C)), s.A].set(1).sum(1)
    named = {f"words in use, book {b}": count for b, count in enumerate(used)}
    for v, (W, gram, F) in enumerate(zip(s.W, data.grams, data.extra.XL)):
        gap = jnp.vdot(W.T @ gram @ W, ZZ) - 2 * jnp.vdot(F.T @ W, LZ)
        named[f"similarity explained, view {v}"] = -gap / similarity
    return named


def check(p: Params) -> None:
    for name, value in p._asdict().items():
        if value < 0:
            raise ValueError(f"params.{name}: expected a number of at least 0; got {value!r}")


@lru_cache
def with_books(books: int = 4, words: int = 256) -> Method:
    """ACQH with another number of books, bytes an item, or of words in each.

    Args:
        books: at least 1.
        words: from 2 to 256.

    Raises:
        ValueError: a number out of range.

    Example:
        >>> import numpy as np
        >>> from jaxcmh.learning.core import fit, prepare
        >>> data = prepare([np.eye(40)[:, :30], np.eye(40)[:, 10:]], np.arange(40)[:, None] % 4 == np.arange(4))
        >>> fit(with_books(books=2, words=16), data, random.key(0), bits=8)[0].C.shape
        (2, 16, 8)
    """
    checks.integer(books, "books", least=1)
    checks.integer(words, "words", least=2, most=256)
    return method._replace(init=partial(init, books=books, words=words))


updates = (update_W, update_M, update_t, update_C, update_A)
method = Method(
    "acqh",
    Params(),
    init,
    updates,
    objective,
    codes,
    encoder,
    max_iterations=40,
    features=Features("identity"),
    prepare=prepare,
    codebooks=codebooks,
    unlabelled=unlabelled,
    diagnostics=diagnostics,
    check=check,
)
paper_params = dict.fromkeys(("wiki", "mirflickr25k", "nuswide10"), Params())
variants = {"2": with_books(2), "8": with_books(8)}  # books: bytes an item
