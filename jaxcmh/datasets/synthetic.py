"""Generated multi-label image / text pairs of any size, seeded: stand-ins with the shapes of the benchmarks."""

import difflib
from typing import Annotated, NamedTuple

import numpy as np

from jaxcmh.checks import Number, Seed, Share, Whole, checked, fields

from .split import Part, Split, one_hot, take

Size = Annotated[int, Whole(1, 10_000_000)]
Dims = tuple[Annotated[int, Whole(1, 1_000_000)], ...]
Classes = Annotated[int, Whole(2, 10_000)]
LARGEST = 1 << 32  # numbers in the views


class Shape(NamedTuple):
    """What a generated data set is like, see `synthetic`: `dims` of each view, `cardinality` labels per item, ...

    >>> SHAPES["wiki"].dims
    (128, 10)
    >>> split = synthetic(Shape(train=60, query=10, dims=(8, 4)))
    >>> [view.shape for view in split.train.views]
    [(60, 8), (60, 4)]
    """

    train: Size = 1800
    query: Size = 200
    dims: Dims = (64, 128)
    labels: Classes = 10
    cardinality: Annotated[float, Number(1)] = 1.5
    noise: Share = 0.5


SHAPES = {
    "small": Shape(),
    "wiki": Shape(2173, 693, (128, 10), 10, 1.0),
    "mirflickr25k": Shape(18_015, 2_000, (512, 1_386), 24, 3.8),
    "iaprtc12": Shape(18_000, 2_000, (512, 2_912), 255, 5.7),
    "nuswide10": Shape(184_577, 2_000, (500, 1_000), 10, 1.5),
    "easy": Shape(5_000, 500, (128, 256), 24, 3.0, 0.3),
    "hard": Shape(5_000, 500, (128, 256), 24, 3.0, 0.7),
}
SHAPES["M"], SHAPES["N"] = SHAPES["mirflickr25k"], SHAPES["nuswide10"]


LARGEST_SHARE = 0.35  # of the items that the most frequent class holds, unless the cardinality asks for more


def _labels(rng: np.random.Generator, n: int, classes: int, cardinality: float) -> np.ndarray:
    """Frequencies fall like 1 / rank; a few shared factors make some classes occur together. No row is empty."""
    if cardinality <= 1:
        return one_hot(rng.integers(classes, size=n), classes)
    factors = max(2, classes // 4)
    loadings = rng.standard_normal((factors, classes), np.float32) / np.sqrt(factors)
    scores = rng.standard_normal((n, factors), np.float32) @ loadings + rng.standard_normal((n, classes), np.float32)
    share = 1 / np.arange(1.0, classes + 1)
    largest = max(LARGEST_SHARE, 1.2 * cardinality / classes)
    for _ in range(50):  # the shares add up to the cardinality
        share = np.minimum(share * cardinality / share.sum(), largest)
    sample = np.sort(scores[:20_000], axis=0)
    cut = sample[np.minimum(((1 - share) * len(sample)).astype(int), len(sample) - 1), np.arange(classes)]
    labels = (scores > cut).astype(np.uint8)
    empty = np.flatnonzero(~labels.any(1))
    labels[empty, (scores[empty] - cut).argmax(1)] = 1
    return labels


def _dense(rng: np.random.Generator, labels: np.ndarray, dims: int, noise: float) -> np.ndarray:
    """Class prototypes added up, with noise, folded to be non-negative like a histogram of gradients."""
    weights = labels / np.sqrt(labels.sum(1, keepdims=True), dtype=np.float32)
    x = weights.astype(np.float32) @ rng.standard_normal((labels.shape[1], dims), np.float32)
    x += np.float32(noise * np.sqrt(dims) / 2) * rng.standard_normal(x.shape, np.float32)
    return np.abs(x, out=x)


def _words(rng: np.random.Generator, labels: np.ndarray, dims: int, noise: float) -> np.ndarray:
    """0/1 bag of words: each of about eight words comes from one of the item's classes or, for noise, from anywhere."""
    n, classes = labels.shape
    draws = 8
    cumulative = labels.cumsum(1, dtype=np.int32)
    pick = (rng.random((n, draws), np.float32) * cumulative[:, -1:]).astype(np.int32)
    group = (cumulative[:, None, :] <= pick[:, :, None]).sum(2)
    # Every class ranks the vocabulary in an order of its own; low ranks are drawn far more often.
    ranks = np.stack([rng.permutation(dims) for _ in range(classes + 1)])
    group[rng.random((n, draws), np.float32) < noise] = classes
    word = ranks[group, (dims * rng.random((n, draws), np.float32) ** 3).astype(np.int32)]
    x = np.zeros((n, dims), np.float32)
    np.put_along_axis(x, word, 1, axis=1)
    return x


@checked
def synthetic(
    shape: str | Shape = "small",
    *,
    train: Size | None = None,
    query: Size | None = None,
    dims: Dims | None = None,
    labels: Classes | None = None,
    cardinality: Annotated[float, Number(1)] | None = None,
    noise: Share | None = None,
    seed: Seed = 0,
) -> Split:
    """Generate a learnable but noisy multi-label data set.

    Labels: frequencies falling like 1 / rank, some classes occurring together. Views 0, 2, ... look like image
    histograms (dense, non-negative), views 1, 3, ... like bags of words (0/1, about eight words per item).

    Args:
        shape: a `Shape` or the name of one: small, wiki, mirflickr25k (M), iaprtc12, nuswide10 (N), easy, hard.
        train: number of training items (they are the database too).
        query: number of query items.
        dims: columns of every view, two views or more.
        labels: number of classes.
        cardinality: mean number of labels per item; 1 gives one class per item.
        noise: 0 (views determined by the labels) to 1 (text says nothing, images little).
        seed: another seed, another data set.
    Returns:
        A `Split` with float32 views.
    Raises:
        ValueError: an unknown shape or a size out of range.

    >>> split = synthetic(train=100, query=20, dims=(8, 16), labels=4)
    >>> [view.shape for view in split.train.views], split.query.labels.shape
    ([(100, 8), (100, 16)], (20, 4))
    """
    if isinstance(shape, str):
        if shape not in SHAPES:
            close = difflib.get_close_matches(shape, SHAPES, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"shape: unknown {shape!r}{hint} known: {', '.join(SHAPES)}")
        name, shape = f"synthetic:{shape}", SHAPES[shape]
    else:
        name = "synthetic"
    given = {"train": train, "query": query, "dims": dims, "labels": labels, "cardinality": cardinality, "noise": noise}
    given = {key: value for key, value in given.items() if value is not None}
    shape = fields(shape._replace(**given), "shape")
    if (shape.train + shape.query) * sum(shape.dims) > LARGEST:
        raise ValueError(f"shape: expected at most {LARGEST:,} numbers in all views; got {shape}")
    if len(shape.dims) < 2:
        raise ValueError(f"dims: expected two views or more, got {shape.dims!r}")
    if shape.cardinality > shape.labels / 2:
        raise ValueError(f"cardinality: expected 1 to labels / 2 = {shape.labels / 2:g}, got {shape.cardinality}")
    rng = np.random.default_rng(seed)
    n = shape.train + shape.query
    y = _labels(rng, n, shape.labels, shape.cardinality)
    views = tuple((_words if m % 2 else _dense)(rng, y, d, shape.noise) for m, d in enumerate(shape.dims))
    whole = Part(views, y, np.arange(n))
    part = take(whole, slice(shape.train))
    names = ("image", "text") if len(shape.dims) == 2 else tuple(f"view{m}" for m in range(len(shape.dims)))
    options = ",".join(f"{k}={v}" for k, v in {**given, "noise": shape.noise, "seed": seed}.items())
    return Split(part, take(whole, slice(shape.train, n)), part, f"{name}({options})", names)
