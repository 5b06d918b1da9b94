"""What a model keeps of its data set."""

import numpy as np
import pytest

from jaxcmh.datasets import Items, Maker, Part, Split, prepare
from jaxcmh.datasets.catalogue import catalogue, restored, stored


def split(**changes):
    rng = np.random.default_rng(0)
    labels = np.eye(3, dtype=np.uint8)[np.arange(12) % 3]
    views = rng.random((12, 4)).astype(np.float32), rng.random((12, 2)).astype(np.float32)
    train = Part(views, labels, np.arange(12) + 5)
    items = Items([f"n{i} é" for i in range(17)], [f"text {i}" for i in range(17)])
    return Split(train, train, train, "toy", ("image", "text"), ("a", "b", "c"), items, ())._replace(**changes)


def test_rows_are_named_by_their_place_in_the_whole_set():
    known = catalogue(split())
    assert list(known.names)[:2] == ["n5 é", "n6 é"]
    assert known.things.tolist() == known.ids.tolist() == list(range(5, 17))
    assert known.labels_of(2) == ["c"]


def test_preparation_comes_back_from_arrays():
    makers = (Maker("photo"), Maker("words", ("cat", "dog")))
    made = prepare(split(makers=makers), [["pca:2", "l2"], ["tfidf"]])
    facts, arrays = stored(catalogue(made))
    again = restored(facts, arrays, 12)
    for maker, other in zip(made.makers, again.makers):
        assert (maker.kind, maker.vocabulary) == (other.kind, other.vocabulary)
        for step, same in zip(maker.steps, other.steps, strict=True):
            assert type(step) is type(same)
            for value, equal in zip(step, same, strict=True):
                np.testing.assert_array_equal(value, equal)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": {"makers": [{"kind": "eval", "vocabulary": [], "steps": []}]}}, "makers: expected one of drawing"),
        ({"facts": {"label_names": ["a"]}}, "labels: expected 3 classes; got 1 names"),
        ({"arrays": {"items.names_lengths": np.array([3])}}, "items.names_lengths: expected lengths"),
        ({"arrays": {"items.ids": np.arange(3)}}, "ids: expected one for each of 12 items; got 3"),
        ({"arrays": {"items.ids": np.arange(12.0)}}, "ids: expected integers"),
    ],
)
def test_parts_that_do_not_fit_are_named(change, message):
    facts, arrays = stored(catalogue(split()))
    with pytest.raises(ValueError, match=message):
        restored({**facts, **change.get("facts", {})}, {**arrays, **change.get("arrays", {})}, 12)


def test_thumbnails_need_pictures():
    with pytest.raises(ValueError, match="thumbnails: toy has no pictures"):
        catalogue(split(), thumbnails=True)
