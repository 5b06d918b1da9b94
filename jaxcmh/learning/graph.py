"""Which samples are similar, as a graph that is never n x n."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import Partial

from jaxcmh.learning.core import Data
from jaxcmh.learning.encoders import SVD, decomposed
from jaxcmh.learning.linalg import sqnorm
from jaxcmh.learning.reduction import in_memory, sum_over_blocks

KEPT = 1 << 14  # label sets up to which the table of those that share a label is kept (256 MiB)
BLOCK = 1 << 10  # rows of a similarity multiplied at a time


class Graph(NamedTuple):
    """The similarity S = Eᵀ T E: each sample belongs to one of g nodes, its label set or itself; T links nodes."""

    node: Array  # (n,) the node of each sample
    T: Partial  # Y (g, r) -> T Y
    EX: tuple[Array, ...]  # (g, q_v) sums of X_v over each node
    D: Array  # (n,) row sums of S
    weighted_squares: tuple[Array, ...]  # () sum_ij S_ij |x_i|²
    svd: tuple[SVD, ...]  # of each X_v, for every regression on it


def label_graph(data: Data) -> Graph:
    """Eqs. 3 and 4: similar is what shares a label."""
    sets, T = data.sets, Partial(_link_sets, data.sets)
    if len(sets) <= KEPT:
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
