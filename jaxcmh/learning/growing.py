"""A training set that grows: what is kept of old samples so that new ones can be learned beside them.

A method whose codes are a function of the label set sees a sample only by products with what is equal for all samples
of a set.  Those need the reduction of all samples, and of each set its number of samples and the sum of their features.
Then there is a row for each set in place of rows of samples: with the square root s of its number, s times what its
samples have in common, and the sum of their features over s.  Products of such rows are those of all samples.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxcmh.learning import core, reduction
from jaxcmh.learning.core import Data


class Summary(NamedTuple):
    """What is kept of n labelled samples; no features of single ones, but where a label set has one sample only."""

    R: np.ndarray  # (p, p) float64, the triangle of their reduction
    sets: np.ndarray  # (u, c) uint8, the distinct label sets in order
    member: np.ndarray  # (n,) int32, which of them each sample has
    sums: np.ndarray  # (u, q) float32, of the mapped features of all views over the samples of each


def summarised(data: Data) -> Summary:
    """Of a training set that is reduced in float64.

    Raises:
        ValueError: it is not.
    """
    if data.turned is None or data.turned.R is None or data.turned.R.dtype != jnp.float64:
        p = sum(X.shape[1] for X in data.features) + 2 * data.sets.shape[1] + 1
        raise ValueError(
            f"growing: expected more than {p} labelled rows, as many as there are features and labels, and float32 on "
            f"a CPU or GPU; got {len(data.member)} rows"
        )
    member = np.asarray(data.member)
    sums = _sums(data.features, member, len(data.sets))
    return Summary(np.asarray(data.turned.R), np.asarray(data.sets, np.uint8), member, sums.astype(np.float32))


def grown(kept: Summary, features: Sequence[Any], labels: np.ndarray, across: bool) -> Summary:
    """The summary of the samples kept and of new ones behind them.

    Args:
        kept: of the samples so far.
        features: (k, q_m) mapped features of the new samples, or `streaming.Streamed`.
        labels: (k, c) uint8.
        across: as for `core.prepare`.
    """
    old, host = len(kept.member), np.concatenate([kept.sets[kept.member], labels])
    first, member, _ = core.label_sets(host)
    sets, member = host[first], member.astype(np.int32)
    of_sets = np.asarray(core.label_columns(jnp.asarray(sets, jnp.float32)))
    columns = *map(_on_host, features), of_sets[member[old:]]
    ends = tuple(int(end) for end in np.cumsum([X.shape[1] for X in columns]))
    blocks: tuple[Any, ...] = (kept.R, *reduction.row_blocks(*columns))
    R = reduction.triangle_by_gram(blocks, ends[-2:] if across else ends)
    sums, place = _sums(features, member[old:], len(sets)), np.zeros(len(kept.sets), int)
    place[kept.member] = member[:old]
    sums[place] += kept.sums
    return Summary(np.asarray(R), sets, member, sums.astype(np.float32))


def data_of(kept: Summary, widths: Sequence[int], rows: int) -> Data:
    """Training data with a row for each label set in place of its samples, see above; at least so many rows."""
    (u, c), counts = kept.sets.shape, np.bincount(kept.member, minlength=len(kept.sets)).astype(np.float32)
    roots, behind = np.sqrt(counts), max(rows - u, 0)
    features = np.split(np.pad(kept.sums / roots[:, None], ((0, behind), (0, 0))), np.cumsum(widths)[:-1], axis=1)
    sets = jnp.asarray(kept.sets, jnp.float32)
    with jax.enable_x64(True):
        turned = reduction.Turn(R=jnp.asarray(kept.R))
    *views, labels, unit_labels, ones = core.parted(jnp.asarray(kept.R, jnp.float32), (*widths, c, c))
    member = np.pad(np.arange(u, dtype=np.int32), (0, behind))
    rows_of = jnp.asarray(member), jnp.asarray(np.pad(roots, (0, behind))), tuple(map(jnp.asarray, features))
    return Data(tuple(views), labels, unit_labels, ones, sets, jnp.asarray(counts), *rows_of, turned)


def check_summary(kept: Summary, n: int, widths: Sequence[int]) -> None:
    """Refuse a summary, as read from a file, of other than n samples with so many mapped features in each view."""
    (u, c), q = kept.sets.shape, sum(widths)
    p = q + 2 * c + 1
    shapes = (p, p, "f8"), (u, c, "u1"), (n, "i4"), (u, q, "f4")
    for name, array, (*shape, kind) in zip(kept._fields, kept, shapes):
        if array.shape != tuple(shape) or array.dtype != kind:
            raise ValueError(f"growing.{name}: expected {kind} of shape {shape}; got {array.dtype} of {array.shape}")
    if kept.sets.max(initial=0) > 1 or (np.unique(kept.member) != np.arange(u)).any():
        raise ValueError(f"growing.member: expected samples of each of {u} label sets")


def _on_host(X: Any) -> Any:
    return np.asarray(X) if reduction.in_memory(X) else X


def _sums(features: Sequence[Any], member: np.ndarray, sets: int) -> np.ndarray:
    """(sets, q) float64, of the rows of each label set, a block at a time."""
    sums, start = np.zeros((sets, sum(X.shape[1] for X in features))), 0
    for block in reduction.row_blocks(*map(_on_host, features)):
        found, place = np.unique(member[start : start + len(block)], return_inverse=True)
        start += len(block)
        has = scipy.sparse.csr_array((np.ones(len(place)), place, np.arange(len(place) + 1)), (len(place), len(found)))
        sums[found] += has.T @ np.asarray(block, np.float64)
    return sums
