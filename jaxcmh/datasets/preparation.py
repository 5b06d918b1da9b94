"""Preparation of features, fitted on training rows only: centre, standardise, PCA, tf-idf, rows of length 1.

Each `fit_...` looks at training rows and returns a NamedTuple of arrays; `apply` uses it on any rows. `prepare` does
both for a whole data set.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from jaxcmh.checks import Rows, checked

from .split import Part, Split


class Affine(NamedTuple):
    """x -> (x - shift) * scale, both (d,).

    >>> fit_centre([[1.0], [3.0]]).shift
    array([2.])
    """

    shift: np.ndarray
    scale: np.ndarray


class Pca(NamedTuple):
    """x -> (x - mean) @ directions: mean (d,), directions (d, k) by falling variance, variances (k,).

    >>> fitted = fit_pca([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]], 1)
    >>> fitted.mean.tolist(), fitted.variances.round(3).tolist()
    ([2.0, 0.0], [4.0])
    """

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray


class TfIdf(NamedTuple):
    """x -> rows of length 1 of x * idf: idf (d,).

    >>> fit_tfidf([[1, 1], [1, 0]]).idf.round(3)
    array([0.   , 0.693])
    """

    idf: np.ndarray


class UnitRows(NamedTuple):
    """x -> rows of length 1; zero rows stay.

    >>> apply(UnitRows(), [[0.0, 4.0], [0.0, 0.0]])
    array([[0., 1.],
           [0., 0.]])
    """


Fitted = Affine | Pca | TfIdf | UnitRows


def _dense(x: Any) -> np.ndarray:
    """As floats: float32 unless it is float64 already."""
    x = x.toarray() if sparse.issparse(x) else np.asarray(x)
    return x if x.dtype == np.float64 else x.astype(np.float32)


@checked
def fit_centre(x: Rows) -> Affine:
    """Shift every column to mean 0.

    >>> apply(fit_centre([[1.0], [3.0]]), [[4.0]])
    array([[2.]])
    """
    mean = _dense(x).mean(0, dtype=np.float64)
    return Affine(mean, np.ones_like(mean))


@checked
def fit_standardise(x: Rows) -> Affine:
    """Shift every column to mean 0 and scale it to variance 1; constant columns become 0.

    >>> apply(fit_standardise([[1.0, 5.0], [3.0, 5.0]]), [[4.0, 5.0]])
    array([[2., 0.]])
    """
    x = _dense(x)
    mean, deviation = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    constant = deviation <= 1e-12 * np.abs(mean)  # what rounding leaves of a constant column
    return Affine(mean, np.where(constant, 0.0, 1 / np.where(constant, 1.0, deviation)))


@checked
def fit_pca(x: Rows, k: int) -> Pca:
    """Project on the k directions of largest variance.

    Args:
        x: (n, d) training rows.
        k: number of directions, at most d and n - 1.
    Raises:
        ValueError: k out of range.

    >>> fit_pca([[0.0, 0.0], [2.0, 0.0], [4.0, 0.1]], 1).directions.shape
    (2, 1)
    """
    x = _dense(x)
    most = min(x.shape[1], len(x) - 1)
    if not 1 <= k <= most:
        raise ValueError(f"k: expected 1 to {most} directions for {len(x)} rows of {x.shape[1]} columns, got {k}")
    mean = x.mean(0, dtype=np.float64)
    gram = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), 4096):  # in float64, a block of rows at a time
        block = x[start : start + 4096] - mean
        gram += block.T @ block
    variances, directions = np.linalg.eigh(gram / max(1, len(x) - 1))
    directions = directions[:, ::-1][:, :k]
    largest = np.abs(directions).argmax(0)
    directions = directions * np.sign(directions[largest, np.arange(k)])  # a sign that does not depend on the machine
    return Pca(mean, directions, variances[::-1][:k])


@checked
def fit_tfidf(x: Rows) -> TfIdf:
    """Weigh words by log(n / number of rows with the word), at least one row; then rows of length 1.

    >>> apply(fit_tfidf([[1, 1], [1, 0]]), [[1, 1]])
    array([[0., 1.]], dtype=float32)
    """
    x = x if sparse.issparse(x) else np.asarray(x)
    if (x.min() if x.shape[0] else 0) < 0:
        raise ValueError(f"x: expected word counts >= 0, got {x.min()}")
    uses = np.asarray((x > 0).sum(0)).ravel()
    return TfIdf(np.log(x.shape[0] / np.maximum(uses, 1)))


@checked
def apply(fitted: Fitted, x: Rows) -> Any:
    """Prepare rows as it was fitted.

    Args:
        fitted: what a `fit_...` returned, or `UnitRows()`.
        x: (n, d) rows, array or scipy.sparse; sparse rows stay sparse under tf-idf and unit rows.
    Returns:
        (n, d) or (n, k); float32 unless x is float64.

    >>> fitted = fit_standardise([[1.0], [3.0]])
    >>> apply(fitted, [[2.0], [5.0]])
    array([[0.],
           [3.]])
    """
    if isinstance(fitted, TfIdf | UnitRows):
        if sparse.issparse(x):
            kind = np.float64 if x.dtype == np.float64 else np.float32
            x = x.astype(kind).tocsr()
            x = x @ sparse.diags_array(fitted.idf.astype(kind)) if isinstance(fitted, TfIdf) else x
            lengths = np.sqrt(np.asarray(x.multiply(x).sum(1)).ravel())
            return (sparse.diags_array(1 / np.where(lengths > 0, lengths, 1).astype(kind)) @ x).tocsr()
        x = _dense(x)
        x = x * fitted.idf.astype(x.dtype) if isinstance(fitted, TfIdf) else x
        lengths = np.linalg.norm(x, axis=1, keepdims=True)
        return x / np.where(lengths > 0, lengths, 1)
    x = _dense(x)
    if isinstance(fitted, Pca):
        return ((x - fitted.mean) @ fitted.directions).astype(x.dtype)
    return ((x - fitted.shift) * fitted.scale).astype(x.dtype)


STEPS = {"centre": fit_centre, "standardise": fit_standardise, "tfidf": fit_tfidf, "l2": lambda x: UnitRows()}


@checked
def prepare(split: Split, steps: Sequence[Sequence[str]]) -> Split:
    """Prepare the views of a data set step by step, every step fitted on the training rows and applied to all parts.

    Args:
        split: the data set.
        steps: for every view its steps in order: "centre", "standardise", "l2", "tfidf", or "pca:K" with K directions.
    Returns:
        The data set with prepared views; `jaxcmh.datasets.featurise` prepares new rows alike.
    Raises:
        ValueError: an unknown step, or not one list per view.

    >>> from jaxcmh.datasets import synthetic
    >>> prepare(synthetic(train=50, query=9), [["pca:3"], ["tfidf"]]).query.views[0].shape
    (9, 3)
    """
    if len(steps) != len(split.train.views) or any(isinstance(s, str) for s in steps):
        raise ValueError(f"steps: expected a list for each of the {len(split.train.views)} views, got {steps!r}")
    parts = [split.train, split.query, split.database]
    same = split.database is split.train
    chains: list[list[Fitted]] = []
    for m, names in enumerate(steps):
        chain: list[Fitted] = []
        for name in names:
            x = parts[0].views[m]
            kind, _, number = name.partition(":")
            if kind == "pca" and number.isdigit():
                chain.append(fit_pca(x, int(number)))
            elif name in STEPS:
                chain.append(STEPS[name](x))
            else:
                raise ValueError(f"steps: unknown {name!r}; known: {', '.join(STEPS)}, pca:K")
            parts = [_with_view(part, m, apply(chain[-1], part.views[m])) for part in (parts[:2] if same else parts)]
        chains.append(chain)
    if same:
        parts.append(parts[0])
    described = "; ".join(f"view {m}: {', '.join(names)}" for m, names in enumerate(steps) if names)
    makers = tuple(maker._replace(steps=(*maker.steps, *chain)) for maker, chain in zip(split.makers, chains))
    return split._replace(
        train=parts[0],
        query=parts[1],
        database=parts[2],
        makers=makers,
        notes=(*split.notes, f"prepared on training rows: {described}"),
    )


def _with_view(part: Part, m: int, view: Any) -> Part:
    return part._replace(views=(*part.views[:m], view, *part.views[m + 1 :]))
