"""A training set that grows: what is kept of old samples so that new ones can be learned beside them.

A method whose codes are a function of the label set sees a sample only by products with what is equal for all samples
of a set.  Those need the reduction of all samples, and of each set its number of samples and the sum of their features.
Then there is a row for each set in place of rows of samples: with the square root s of its number, s times what its
samples have in common, and the sum of their features over s.  Products of such rows are those of all samples.

Samples without labels take no part in this.  Their mapped features are kept, for new hash functions encode them anew.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxcmh.learning import core, reduction, streaming
from jaxcmh.learning.core import Data


class Summary(NamedTuple):
    """What is kept of n samples; of labelled ones no features, but where a label set has one sample only."""

    R: np.ndarray  # (p, p) float64, the triangle of the reduction of those with labels
    sets: np.ndarray  # (u, c) uint8, the distinct label sets in order
    member: np.ndarray  # (n,) int32, which of them each sample has; -1 for none
    sums: np.ndarray  # (u, q) float32, of the mapped features of all views over the samples of each
    unlabelled: np.ndarray  # (k, q) float32, the mapped features of those that have none


def summarised(data: Data, features: Sequence[Any], labelled: np.ndarray) -> Summary:
    """Of a training set that is reduced in float64.

    Args:
        data: of the labelled rows.
        features: (n, q_m) mapped features of all rows, or `streaming.Streamed`.
        labelled: (n,) bool.

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
    sums = _sums(data.features, member, len(data.sets)).astype(np.float32)
    sets, bare = np.asarray(data.sets, np.uint8), _whole(features, ~labelled)
    return Summary(np.asarray(data.turned.R), sets, _among(labelled, member), sums, bare)


def grown(kept: Summary, features: Sequence[Any], labels: np.ndarray, across: bool) -> Summary:
    """The summary of the samples kept and of new ones behind them.

    Args:
        kept: of the samples so far.
        features: (k, q_m) mapped features of the new samples, or `streaming.Streamed`.
        labels: (k, c) uint8; rows of zeros have none.
        across: as for `core.prepare`.
    """
    labelled, known = np.asarray(labels.any(1)), kept.member[kept.member >= 0]
    old, host = len(known), np.concatenate([kept.sets[known], labels[labelled]])
    first, member, _ = core.label_sets(host)
    sets, of_all = host[first], _among(np.concatenate([kept.member >= 0, labelled]), member)
    bare = np.concatenate([kept.unlabelled, _whole(features, ~labelled)])
    features = features if labelled.all() else [streaming.some(phi, labelled) for phi in features]
    of_sets = np.asarray(core.label_columns(jnp.asarray(sets, jnp.float32)))
    columns = *map(_on_host, features), of_sets[member[old:]]
    ends = tuple(int(end) for end in np.cumsum([X.shape[1] for X in columns]))
    blocks: tuple[Any, ...] = (kept.R, *reduction.row_blocks(*columns))
    R = reduction.triangle_by_gram(blocks, ends[-2:] if across else ends)
    sums, place = _sums(features, member[old:], len(sets)), np.zeros(len(kept.sets), int)
    place[known] = member[:old]
    sums[place] += kept.sums
    return Summary(np.asarray(R), sets, of_all, sums.astype(np.float32), bare)


def data_of(kept: Summary, widths: Sequence[int], rows: int) -> Data:
    """Training data with a row for each label set in place of its samples, see above; at least so many rows."""
    (u, c), known = kept.sets.shape, kept.member[kept.member >= 0]
    counts = np.bincount(known, minlength=u).astype(np.float32)
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
    (u, c), q, bare = kept.sets.shape, sum(widths), int((kept.member < 0).sum())
    p = q + 2 * c + 1
    shapes = (p, p, "f8"), (u, c, "u1"), (n, "i4"), (u, q, "f4"), (bare, q, "f4")
    for name, array, (*shape, kind) in zip(kept._fields, kept, shapes):
        if array.shape != tuple(shape) or array.dtype != kind:
            raise ValueError(f"growing.{name}: expected {kind} of shape {shape}; got {array.dtype} of {array.shape}")
    known = np.unique(kept.member[kept.member >= 0])
    if kept.sets.max(initial=0) > 1 or kept.member.min() < -1 or not np.array_equal(known, np.arange(u)):
        raise ValueError(f"growing.member: expected samples of each of {u} label sets")


def _on_host(X: Any) -> Any:
    return np.asarray(X) if reduction.in_memory(X) else X


def _among(labelled: np.ndarray, member: np.ndarray) -> np.ndarray:
    """(n,) int32: those of the labelled rows at their places, -1 at the others."""
    of_all = np.full(len(labelled), -1, np.int32)
    of_all[labelled] = member
    return of_all


def _whole(features: Sequence[Any], rows: np.ndarray) -> np.ndarray:
    """(k, q) float32, the features of all views side by side, where a mask is true."""
    features = list(map(_on_host, features))
    found = [np.zeros((0, sum(X.shape[1] for X in features)), np.float32)]
    for start in range(0, len(rows), reduction.BLOCK_ROWS):
        block = slice(start, start + reduction.BLOCK_ROWS)
        if rows[block].any():
            found.append(np.concatenate([np.asarray(X[block], np.float32)[rows[block]] for X in features], axis=1))
    return np.concatenate(found)


def _sums(features: Sequence[Any], member: np.ndarray, sets: int) -> np.ndarray:
    """(sets, q) float64, of the rows of each label set, a block at a time."""
    sums, start = np.zeros((sets, sum(X.shape[1] for X in features))), 0
    for block in reduction.row_blocks(*map(_on_host, features)):
        found, place = np.unique(member[start : start + len(block)], return_inverse=True)
        start += len(block)
        has = scipy.sparse.csr_array((np.ones(len(place)), place, np.arange(len(place) + 1)), (len(place), len(found)))
        sums[found] += has.T @ np.asarray(block, np.float64)
    return sums
