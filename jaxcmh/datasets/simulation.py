"""Data as they are outside the laboratory, simulated reproducibly: pairs that are none, labels wrong or missing."""

import numpy as np

from jaxcmh.checks import Seed, Share, checked

from .split import Split


@checked
def unpair(split: Split, share: Share, seed: Seed = 0) -> Split:
    """Break pairs of the training part as DCGH does: shuffle the first rows of view 0 and the last rows of view 1.

    With share 0.5 the first 25 % of the rows of view 0 are shuffled among themselves, and the last 25 % of view 1.
    Labels stay where they are, and so do further views. Where the database is the training part, it is shuffled too.

    Args:
        split: the data set.
        share: of the training rows whose pair is broken, 0 to 1.
        seed: the same seed shuffles alike.
    Raises:
        ValueError: share out of range.

    >>> from jaxcmh.datasets import synthetic
    >>> split = synthetic(train=100, query=5)
    >>> broken = unpair(split, 0.5)
    >>> [int((a != b).any(1).sum()) for a, b in zip(broken.train.views, split.train.views)][0] > 20
    True
    """
    n = len(split.train.ids)
    count = round(share * n / 2)
    rng = np.random.default_rng(seed)
    first, last = np.arange(n), np.arange(n)
    first[:count] = rng.permutation(count)
    last[n - count :] = n - count + rng.permutation(count)
    views = split.train.views
    train = split.train._replace(views=(views[0][first], views[1][last], *views[2:]))
    database = train if split.database is split.train else split.database
    note = f"unpaired: the first {count} rows of view 0 and the last {count} of view 1 shuffled with seed {seed}"
    return split._replace(train=train, database=database, notes=(*split.notes, note))


@checked
def flip_labels(split: Split, share: Share, seed: Seed = 0) -> Split:
    """Give a share of the training rows a wrong label: one of the row's classes becomes another, drawn evenly.

    The number of labels of a row stays. The database keeps the true labels, for evaluation.

    Args:
        split: the data set, with two classes at least.
        share: of the training rows, 0 to 1. Rows without a label or with all of them are left alone.
        seed: the same seed flips alike.
    Raises:
        ValueError: share out of range.

    >>> from jaxcmh.datasets import synthetic
    >>> split = synthetic(train=100, query=5)
    >>> int((flip_labels(split, 0.2).train.labels != split.train.labels).any(1).sum())
    20
    """
    rng = np.random.default_rng(seed)
    labels = split.train.labels.copy()
    counts = labels.sum(1)
    able = np.flatnonzero((counts > 0) & (counts < labels.shape[1]))
    rows = rng.permutation(able)[: round(share * len(labels))]
    noise = rng.random((len(rows), labels.shape[1]))
    wrong = np.where(labels[rows] == 0, noise, -1).argmax(1)
    right = np.where(labels[rows] == 1, noise, -1).argmax(1)
    labels[rows, right], labels[rows, wrong] = 0, 1
    note = f"{len(rows)} training rows have a wrong label (seed {seed})"
    return split._replace(train=split.train._replace(labels=labels), notes=(*split.notes, note))


@checked
def drop_labels(split: Split, share: Share, seed: Seed = 0) -> Split:
    """Take away a share of all training labels, at random but for one that every labelled row keeps.

    The database keeps the true labels, for evaluation.

    Args:
        split: the data set.
        share: of the labels beyond the first of each row that are lost, 0 to 1.
        seed: the same seed drops alike.
    Raises:
        ValueError: share out of range.

    >>> from jaxcmh.datasets import synthetic
    >>> drop_labels(synthetic(train=100, query=5), 1.0).train.labels.sum(1).max()
    np.uint64(1)
    """
    rng = np.random.default_rng(seed)
    labels = split.train.labels.copy()
    kept = np.where(labels == 1, rng.random(labels.shape), -1).argmax(1)
    rows, classes = np.nonzero(labels)
    spare = np.flatnonzero(classes != kept[rows])
    lost = rng.permutation(spare)[: round(share * len(spare))]
    labels[rows[lost], classes[lost]] = 0
    note = f"{len(lost)} labels of training rows dropped (seed {seed})"
    return split._replace(train=split.train._replace(labels=labels), notes=(*split.notes, note))
