"""Which samples are similar, as a graph that is never n x n."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.tree_util import Partial

from jaxcmh.learning.core import Data
from jaxcmh.learning.encoders import SVD, decomposed
from jaxcmh.learning.linalg import sqnorm
from jaxcmh.learning.reduction import in_memory, sum_over_blocks

KEPT = 1 << 14  # label sets up to which the table of those that share a label is kept (256 MiB)
DENSER = 100  # numbers of a table that are multiplied in the time of one that is gathered and scattered
BLOCK = 1 << 10  # rows of a similarity multiplied at a time


class Graph(NamedTuple):
    """The similarity S = Eᵀ T E: each sample belongs to one of g nodes, its label set or itself; T links nodes."""

    node: Array  # (n,) the node of each sample
    T: Partial  # Y (g, r) -> T Y
    EX: tuple[Array, ...]  # (g, q_v) sums of X_v over each node
    D: Array  # (n,) row sums of S
    weighted_squares: tuple[Array, ...]  # () sum_ij S_ij |x_i|²
    svd: tuple[SVD, ...]  # of each X_v, for every regression on it


class Links(NamedTuple):
    """Which label sets share a label, T = F diag(sign) Fᵀ + diag(own), with F (u, s) sparse.

    F says which set has which of the s combinations of one or more labels; sign is 1 for an odd number of labels and
    -1 for an even one.  Of the labels that two sets share there is one odd combination more than there are even ones,
    so that the signs add up to 1, and to 0 where they share none.  Combinations that a single set has are left out.
    """

    own: Any  # (u,) int32
    sign: Any  # (s,) int32
    set_of: Any  # (f,) int32, where F is 1: the label set,
    subset_of: Any  # (f,) and the combination, in order;
    subset_in: Any  # (f,) int32, the same again: the combination,
    set_in: Any  # (f,) and the label set, in order


def label_links(sets: np.ndarray) -> Links | None:
    """The links of distinct label sets (u, c), found on the host; None where products with a table of T cost less."""
    u, c = sets.shape
    owner, label = (a.astype(np.int64) for a in np.nonzero(sets))
    end, most = np.searchsorted(owner, owner, "right"), u * u // DENSER
    place, key, number, found, signs = np.arange(len(owner)), label, 0, [], []
    for sign in itertools.cycle([1, -1]):
        # Combinations of one label more each time; of one that a single set has, no larger one is in two sets.
        _, subset, times = np.unique(key, return_inverse=True, return_counts=True)
        kept, new = times > 1, np.cumsum(times > 1) - 1 + number
        inside = kept[subset]
        holder, subset, place = owner[place[inside]], new[subset[inside]], place[inside]
        found.append((holder, subset))
        signs.append(np.full(kept.sum(), sign))
        number += kept.sum()
        further = end[place] - place - 1  # a combination grows by a label behind its last one
        if sum(len(subset) for _, subset in found) + further.sum() > most:
            return None
        if not further.any():
            break
        behind = np.arange(further.sum()) - np.repeat(np.cumsum(further) - further, further)
        place, subset = np.repeat(place + 1, further) + behind, np.repeat(subset, further)
        key = subset * c + label[place]
    set_of, subset_of = (np.concatenate(parts) for parts in zip(*found))
    sign = np.concatenate(signs)
    own = sets.any(1) - np.bincount(set_of, sign[subset_of], u)
    by_subset, by_set = (np.argsort(a, kind="stable") for a in (subset_of, set_of))
    sorted_twice = set_of[by_subset], subset_of[by_subset], subset_of[by_set], set_of[by_set]
    return Links(*(a.astype(np.int32) for a in (own, sign, *sorted_twice)))


def label_graph(data: Data) -> Graph:
    """Eqs. 3 and 4: similar is what shares a label."""
    sets, T = data.sets, Partial(_link_sets, data.sets)
    if data.linked is not None:
        T = Partial(_link_by_labels, data.linked)
    elif len(sets) <= KEPT:
        table = lax.map(lambda labels: (sets @ labels > 0).astype(jnp.uint8), sets, batch_size=BLOCK)
        T = Partial(_link_by_table, table)
    return _graph(data, data.member, len(sets), T)


def neighbour_graph(data: Data, k: int = 10) -> Graph:
    """Similar are a sample itself and its k nearest that have it among theirs: one graph, all views weighing the same.

    The paper has one graph per modality.  This costs O(n²) time once, but no n x n memory; with rows over devices each
    device gathers every row.

    Raises:
        ValueError: the features are not in memory.
    """
    if not in_memory(*data.features):
        raise ValueError("room: neighbours among features are found in memory; give more room")
    X = jnp.concatenate([x / jnp.sqrt(sqnorm(x)) for x in data.features], axis=1)
    squares = jnp.where(data.mask > 0, (X * X).sum(1), jnp.inf)
    n, samples = len(X), jnp.arange(len(X), dtype=jnp.int32)

    def nearest_others(x_and_own: tuple[Array, Array]) -> Array:
        x, own = x_and_own
        return lax.top_k((2 * X @ x - squares).at[own].set(-jnp.inf), min(k, n - 1))[1]

    nearest = lax.map(nearest_others, (X, samples), batch_size=BLOCK)
    mutual = (nearest[nearest] == samples[:, None, None]).any(2) * data.mask[:, None]
    return _graph(data, samples, n, Partial(_link_neighbours, nearest, mutual))


def _link_sets(sets: Array, Y: Array) -> Array:
    return lax.map(lambda labels: (sets @ labels > 0).astype(Y.dtype) @ Y, sets, batch_size=BLOCK)


def _link_by_labels(links: Links, Y: Array) -> Array:
    sums = jax.ops.segment_sum(Y[links.set_of], links.subset_of, len(links.sign), indices_are_sorted=True)
    signed = links.sign[:, None].astype(Y.dtype) * sums
    linked = jax.ops.segment_sum(signed[links.subset_in], links.set_in, len(Y), indices_are_sorted=True)
    return links.own[:, None].astype(Y.dtype) * Y + linked


def _link_by_table(table: Array, Y: Array) -> Array:
    return lax.map(lambda row: row.astype(Y.dtype) @ Y, table, batch_size=BLOCK)


def _link_neighbours(nearest: Array, mutual: Array, Y: Array) -> Array:
    return Y + sum((mutual[:, a, None] * Y[nearest[:, a]] for a in range(nearest.shape[1])), jnp.zeros_like(Y))


def _graph(data: Data, node: Array, nodes: int, T: Partial) -> Graph:
    def total(product: Callable[..., Array], X: Any, *rows: Array) -> Array:
        return product(X, *rows) if in_memory(X) else sum_over_blocks(product, X, *rows)

    EX = tuple(total(partial(jax.ops.segment_sum, num_segments=nodes), X, node) for X in data.features)
    D = data.mask * T(jax.ops.segment_sum(data.mask[:, None], node, nodes))[node, 0]
    squares = tuple(total(lambda X, D: D @ (X * X).sum(1), X, D) for X in data.features)
    return Graph(node, T, EX, D, squares, decomposed(data))


def similar(graph: Graph, U: Array) -> Array:
    """T E U (g, r): the sums of U (n, r) over the samples that are similar to each node."""
    return graph.T(jax.ops.segment_sum(U, graph.node, len(graph.EX[0])))
