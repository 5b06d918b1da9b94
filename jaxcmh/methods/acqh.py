"""ACQH, asymmetric correlation quantization hashing (Wang & Yang, 2020).

An item becomes z = sum_b C_b[a_b], one word (K real numbers) from each of a few books, and is stored as the word
numbers; a query stays a real vector x W_v, and its score for an item is the inner product with z, found by look-up.
Over maps W_v (q_v, K), books C, word numbers A, a regression M (c, K) of Z = C[A] (n, K) on the labels and one
drift t (n,) per sample:

    min  sum_v |X_v W_v Zᵀ - S|² + lam |Z - L M - t 1ᵀ|² + mu |M|²,    S = L Lᵀ,

eq. 6 with samples as rows; X and L are reduced rows.  Labels are all that an update of Z, t or A knows of a sample, so
samples with equal labels have equal codes: Z, t and A have one row per label set, and with the square roots of the
counts, `data.roots`, these are reduced rows too.

Extension: an item without labels gets words for its estimated labels X_v D_v.  Regression shrinks these towards the
mean, where the words, learned for whole labels, are too coarse; so they are first spread about the mean until their
targets vary as much as those of labels, which changes no ranking by exact scores.
"""

from functools import lru_cache, partial
from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import Array, lax, random

from jaxcmh.checks import Weight, Whole, checked
from jaxcmh.learning.core import Data, Method, labels_of_sets
from jaxcmh.learning.encoders import Unlabelled, nearest_words, spanned
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import least_norm, lstsq, product_gap, qr, refined, ridge_factor, sqnorm, sums_of_words
from jaxcmh.learning.ones import places


class Params(NamedTuple):
    lam: Weight = 1e-4  # regression of the items on their labels
    mu: Weight = 1e-3  # ridge of that regression


class State(NamedTuple):
    W: tuple[Array, ...]  # (q_v, K) maps of queries
    M: Array  # (c, K) regression of items on labels
    t: Array  # (u,) drift of each label set
    C: Array  # (books, words, K)
    A: Array  # (u, books) words of each label set


class Known(NamedTuple):
    D: tuple[Array, ...]  # (q_v, c) regression of the labels on each view, for every update of W
    LTL: Array  # (c, c) how many samples have both labels


def prepare(data: Data) -> Known:
    D = tuple(lstsq((1.0, X, data.labels[: len(X)])) for X in spanned(data))
    return Known(D, labels_of_sets(data).gram(data.counts[:, None]))


def items(s: State) -> Array:
    """Z (u, K): what the words of each label set add up to."""
    return jnp.stack([words[chosen] for words, chosen in zip(s.C, s.A.T)]).sum(0)


def targets(s: State, data: Data, p: Params) -> tuple[Array, Array, Array]:
    """[l t] N (u, K), N (c + 1, K) and T (K, K): the objective asks that |(z - [l t] N) Tᵀ|² of each row z be small.

    N minimises sum_v |X_v W_v Nᵀ - [L 0]|² + lam |Nᵀ - [Mᵀ 1]|², and TᵀT is the sum of W_vᵀ X_vᵀ X_v W_v and lam I.
    """
    views, K = spanned(data), s.M.shape[1]
    XW = jnp.concatenate([X @ W for X, W in zip(views, s.W)])
    I, nothing, one = jnp.eye(K, dtype=XW.dtype), jnp.zeros((len(XW), 1), XW.dtype), jnp.ones((K, 1), XW.dtype)
    L = jnp.concatenate([data.labels[: len(X)] for X in views])
    N = lstsq((1.0, XW, jnp.hstack([L, nothing])), (p.lam, I, jnp.hstack([s.M.T, one]))).T
    return labels_of_sets(data) @ N[:-1] + jnp.outer(s.t, N[-1]), N, ridge_factor(XW, p.lam)


def init(key: Array, data: Data, p: Params, bits: int, books: int = 4, words: int = 256) -> State:
    """Gaussian M and words; each label set gets the words nearest to its regression, where line 3 says no more than
    "NN search".  W follows at once, so that the objective has a start.
    """
    key_M, key_C = random.split(key)
    M = data.gaussian(key_M, data.sets.shape[1], bits)
    C = data.gaussian(key_C, books, words, bits)
    A = nearest_words(labels_of_sets(data) @ M, C, jnp.eye(bits, dtype=M.dtype))
    return update_W(State((), M, jnp.zeros(len(A), M.dtype), C, A), data, p)


def update_W(s: State, data: Data, p: Params) -> State:
    """Eqs. 8 and 9; fewer label sets than K leave directions open in which W is 0."""
    Q, R_Z = qr(data.roots * items(s))
    R = least_norm(R_Z, labels_of_sets(data).transposed_times(data.roots * Q).T)
    return s._replace(W=tuple(D @ R.T for D in data.extra.D))


def update_M(s: State, data: Data, p: Params) -> State:
    """Eq. 11, with the sign that makes it a minimum."""
    L, target, I = labels_of_sets(data), items(s) - s.t[:, None], jnp.eye(len(s.M), dtype=s.M.dtype)

    def undone(M: Array) -> Array:
        return p.lam * L.transposed_times(data.counts[:, None] * (target - L @ M)) - p.mu * M

    return s._replace(M=refined(p.lam * data.extra.LTL + p.mu * I, undone, target.shape[1]))


def update_t(s: State, data: Data, p: Params) -> State:
    """Eq. 12."""
    return s._replace(t=(items(s) - labels_of_sets(data) @ s.M).mean(1))


def update_C(s: State, data: Data, p: Params) -> State:
    """Eq. 13: the words in use whose sums are nearest to the targets; a word out of use becomes 0.

    The inverse of A Aᵀ that it prints does not exist, since one word of every book is in each sum: this is the shortest
    solution.
    """
    known, N, _ = targets(s, data, p)
    # With c + 1 <= K solve for [l t] and map the words by N then, so that Z keeps the rank of [L, t]; else map first.
    few = len(N) <= N.shape[1]
    known, N = (jnp.column_stack([data.sets, s.t]), N) if few else (known, jnp.eye(N.shape[1], dtype=N.dtype))
    # With fewer label sets than words, a word goes by the number of the first set that uses it.
    words = min(len(s.A), s.C.shape[1])
    A = s.A.astype(jnp.int32) if words == s.C.shape[1] else lax.argmax(s.A[:, None] == s.A, 0, jnp.int32)
    C = sums_of_words(A, words, data.counts, known) @ N
    books = jnp.arange(s.A.shape[1])
    return s._replace(C=jnp.zeros_like(s.C).at[books, s.A].set(C[books, A]))


def update_A(s: State, data: Data, p: Params) -> State:
    """Eqs. 14-18: book by book the nearest word, distances measured after Tᵀ; eq. 17 lacks lam in its last term.

    An early book chooses as if no later one followed, so this step may raise the objective.
    """
    known, _, T = targets(s, data, p)
    return s._replace(A=nearest_words(known @ T.T, s.C @ T.T, jnp.eye(len(T), dtype=T.dtype)))


def gaps(s: State, data: Data) -> list[Array]:
    """|X_v W_v Zᵀ - S|² of each view."""
    Z = data.roots * items(s)
    if len(s.M) <= Z.shape[1]:
        return [product_gap(X @ W, Z, data.labels, data.roots * data.sets) for X, W in zip(data.views, s.W)]
    # S has more dimensions than Z: what of it is beside Z = Q R is no small part, and the same for all views.
    Q, R = qr(Z)
    SQ = data.labels @ labels_of_sets(data).transposed_times(data.roots * Q)
    beside = sqnorm(data.extra.LTL) - sqnorm(SQ)
    return [beside + sqnorm(X @ (W @ R.T) - SQ) for X, W in zip(data.views, s.W)]


def objective(s: State, data: Data, p: Params) -> Array:
    rest = data.roots * (items(s) - labels_of_sets(data) @ s.M - s.t[:, None])
    return sum(gaps(s, data), p.lam * sqnorm(rest) + p.mu * sqnorm(s.M))


def codes(s: State, data: Data, p: Params) -> Array:
    return s.A[data.member]


def codebooks(s: State) -> Array:
    return s.C


def encoder(s: State, data: Data, p: Params) -> tuple[Array, ...]:
    return s.W


def unlabelled(s: State, data: Data, p: Params) -> Unlabelled:
    """How features become the targets of words, with drift t = 0."""
    _, N, T = targets(s, data, p)
    N = N[:-1] @ T.T

    def mean_and_spread(rows: Array) -> tuple[Array, Array]:
        """Of the targets that reduced rows of labels or of estimates lead to."""
        mean = data.ones @ rows / data.n
        return mean, sqnorm(rows - jnp.outer(data.ones, mean))

    mean, spread = mean_and_spread(data.labels @ N)
    V, offset = [], []
    for X, D in zip(data.views, data.extra.D):
        m, narrow = mean_and_spread(X @ (D @ N))
        wider = jnp.sqrt(spread / narrow)
        V.append(wider * D @ N @ T)
        offset.append((mean - wider * m) @ T)
    return Unlabelled(tuple(V), tuple(offset), T.T @ T)


def diagnostics(s: State, data: Data, p: Params) -> dict[str, Array]:
    """Words in use, and the share of the similarity that the scores of each view explain."""
    used = jnp.zeros(s.C.shape[:2]).at[jnp.arange(len(s.C)), s.A].set(1).sum(1)
    named = {f"words in use, book {b}": count for b, count in enumerate(used)}
    for v, gap in enumerate(gaps(s, data)):
        named[f"similarity explained, view {v}"] = 1 - gap / sqnorm(data.extra.LTL)
    return named


@checked
@lru_cache
def with_books(books: Annotated[int, Whole(1, 256)] = 4, words: Annotated[int, Whole(2, 256)] = 256) -> Method:
    """ACQH with another number of books, bytes per item, or of words in each.

    Args:
        books: from 1 to 256.
        words: from 2 to 256.

    Raises:
        ValueError: a number out of range.

    Example:
        >>> import numpy as np
        >>> from jaxcmh.learning.core import fit, prepare
        >>> data = prepare([np.eye(40)[:, :30], np.eye(40)[:, 10:]], np.arange(40)[:, None] % 4 == np.arange(4))
        >>> fit(with_books(books=2, words=16), data, random.key(0), bits=8).state.C.shape
        (2, 16, 8)
    """
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
    tolerance=1e-3,  # mAP gains less than .002 after it
    features=Features("identity"),
    prepare=prepare,
    codebooks=codebooks,
    unlabelled=unlabelled,
    diagnostics=diagnostics,
    across=False,
    label_rows=("labels",),
    links=places,
    by_labels=True,
)
paper_params = dict.fromkeys(("wiki", "mirflickr25k", "nuswide10"), Params())
variants = {"2": with_books(2), "8": with_books(8)}  # books: bytes per item
