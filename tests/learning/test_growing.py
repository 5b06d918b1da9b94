"""A model that grows by new pairs is that of a training on all pairs, though features of the old ones are gone."""

import json

import numpy as np
import pytest
import safetensors
from jax import random

import jaxcmh
from jaxcmh import methods, store
from jaxcmh.datasets import rows
from jaxcmh.learning import core, features, growing, reduction
from jaxcmh.learning.features import Features

OLD, N = 900, 1_500
SPLIT = jaxcmh.load_dataset("synthetic", train=N, query=30, dims=(20, 30), labels=6).train
ABLE = ["dcgh", "acqh", "lcmfh", "random_codewords", "random_codewords-labels", "imads-mapping"]


def part(some, views=SPLIT.views):
    return [x[some] for x in views], SPLIT.labels[some]


def trained(method, views, labels, **options):
    # Features that differ by 1e-7 of themselves give ACQH other words from the third iteration on.
    some = {"bits": 16, "features": "identity", "max_iterations": 2 if method == "acqh" else 5, "tolerance": 0}
    return jaxcmh.train(method, views, labels, **some, **options)


def mapped():
    """Centred kernel features whose anchors are old items, by which a map is the same for all trainings."""
    maps = [features.fit(Features(anchors=25), random.key(m), x[:OLD])[0] for m, x in enumerate(SPLIT.views)]
    phi = [np.asarray(features.apply(fitted, x)) for fitted, x in zip(maps, SPLIT.views)]
    return [x - x.mean(0) for x in phi]


def other_bits(first, second):
    return np.bitwise_count(np.asarray(first) ^ np.asarray(second)).mean() / 8


@pytest.mark.parametrize("method", ABLE)
def test_codes_and_hash_functions_are_those_of_a_training_on_all_pairs(method):
    views = mapped()
    first = trained(method, *part(slice(OLD), views), growing=True)
    found, expected = jaxcmh.grow(first, *part(slice(OLD, None), views)), trained(method, *part(slice(N), views))
    assert found.info == expected.info
    np.testing.assert_allclose(found.objective, expected.objective, rtol=1e-3)
    if found.codebooks is None:
        assert other_bits(found.codes, expected.codes) <= 1e-3
    else:
        assert (np.asarray(found.codes) != np.asarray(expected.codes)).mean() <= 1e-3
    for view, x in enumerate(views):  # without labels, items are encoded alone
        new, known = (jaxcmh.encode(model, x[-50:], view) for model in (found, expected))
        assert other_bits(new, known) <= 1e-2


@pytest.mark.parametrize("method", ABLE)
@pytest.mark.filterwarnings("ignore:labels")
def test_items_without_labels_are_encoded_as_in_a_training_on_all(method):
    """Also those of before, whose hash functions were others."""
    views, labels = mapped(), SPLIT.labels.copy()
    bare = np.arange(N) % 7 == 0
    labels[bare] = 0
    first = trained(method, [x[:OLD] for x in views], labels[:OLD], growing=True)
    with pytest.warns(UserWarning, match=r"labels: 86 of 600 rows have none; nothing is learned from them"):
        found = jaxcmh.grow(first, [x[OLD:] for x in views], labels[OLD:])
    expected = trained(method, views, labels)
    assert found.info == expected.info
    for some in (bare, ~bare):
        mine, theirs = (np.asarray(model.codes)[some] for model in (found, expected))
        assert (other_bits(mine, theirs) if found.codebooks is None else (mine != theirs).mean()) <= 1e-2


@pytest.mark.filterwarnings("ignore:labels")
def test_new_items_may_all_be_without_labels_and_their_rows_be_read():
    labels = np.zeros_like(SPLIT.labels)
    labels[:OLD] = SPLIT.labels[:OLD]
    first = trained("dcgh", *part(slice(OLD)), growing=True)
    found = jaxcmh.grow(first, [rows([x[OLD:]]) for x in SPLIT.views], labels[OLD:])
    assert other_bits(found.codes, trained("dcgh", SPLIT.views, labels).codes) <= 1e-2
    np.testing.assert_array_equal(found.summary.unlabelled, np.hstack([x[OLD:] for x in SPLIT.views]))
    again = jaxcmh.grow(found, [x[:1] for x in SPLIT.views], labels[-1:])
    assert other_bits(again.codes[:N], found.codes) <= 1e-3


def test_there_may_be_fewer_label_sets_than_bits():
    views, classes = mapped(), SPLIT.labels.argmax(1)
    assert len(np.unique(classes)) < 16
    first = trained("dcgh", [x[:OLD] for x in views], classes[:OLD], growing=True)
    found = jaxcmh.grow(first, [x[OLD:] for x in views], classes[OLD:])
    assert other_bits(found.codes, trained("dcgh", views, classes).codes) <= 1e-3


def test_growing_twice_is_growing_once_and_rows_may_be_read():
    first = trained("dcgh", *part(slice(OLD)), growing=True)
    once = jaxcmh.grow(first, *part(slice(OLD, None)))
    views, labels = part(slice(OLD + 200, None))
    twice = jaxcmh.grow(jaxcmh.grow(first, *part(slice(OLD, OLD + 200))), [rows([x]) for x in views], labels)
    assert other_bits(once.codes, twice.codes) <= 1e-3
    np.testing.assert_allclose(once.summary.sums, twice.summary.sums, rtol=1e-5)
    np.testing.assert_array_equal(once.summary.member, twice.summary.member)


def test_new_rows_are_mapped_a_block_at_a_time(monkeypatch):
    first, sizes, map_rows = trained("dcgh", *part(slice(OLD)), growing=True), [], features.map_rows
    monkeypatch.setattr(features, "BLOCK_ENTRIES", 100 * 30)
    monkeypatch.setattr(features, "map_rows", lambda fitted, x: sizes.append(len(x)) or map_rows(fitted, x))
    jaxcmh.grow(first, *part(slice(OLD, None)))
    assert sizes == [150] * 4 + [100] * 6  # views of 20 and 30 columns


@pytest.mark.filterwarnings("ignore:labels")
def test_mapped_features_that_are_not_kept_are_summarised_too():
    n = 2 * reduction.BLOCK_ROWS + 100
    more = jaxcmh.load_dataset("synthetic", train=n, query=30, dims=(20, 30), labels=6).train
    more.labels[::9] = 0
    kept, blocks = (trained("dcgh", more.views, more.labels, growing=True, room=room) for room in (None, 1e-9))
    np.testing.assert_allclose(blocks.summary.sums, kept.summary.sums, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(blocks.summary.unlabelled, np.hstack(more.views)[::9])
    np.testing.assert_array_equal(kept.summary.unlabelled, blocks.summary.unlabelled)
    np.testing.assert_allclose(blocks.summary.R, kept.summary.R, rtol=1e-3, atol=1e-3)


def test_a_row_for_each_label_set_has_the_products_of_all_samples():
    data = core.prepare(SPLIT.views, SPLIT.labels)
    of_sets = growing.data_of(growing.summarised(data, SPLIT.views, np.ones(N, bool)), (20, 30), 16)
    H = np.random.default_rng(0).normal(size=(len(data.sets), 3)).astype(np.float32)
    both = [d.per_sample(H) for d in (data, of_sets)]
    np.testing.assert_allclose(both[1].T @ both[1], both[0].T @ both[0], rtol=1e-4)
    expected, found = (d.coordinates(B) for d, B in zip((data, of_sets), both))
    np.testing.assert_allclose(found, expected, atol=1e-2)
    assert float(of_sets.n) == N


@pytest.mark.filterwarnings("ignore:labels")
def test_a_model_keeps_what_it_grows_from_in_its_file(tmp_path):
    first = trained("dcgh", *part(slice(OLD)), growing=True)
    labels = SPLIT.labels[OLD:].copy()
    labels[::3] = 0
    for model in (first, jaxcmh.grow(first, [x[OLD:] for x in SPLIT.views], labels)):
        jaxcmh.save(model, tmp_path / "model.safetensors")
        again = jaxcmh.load(tmp_path / "model.safetensors")
        for found, kept in zip(again.summary, model.summary):
            np.testing.assert_array_equal(found, kept)
        assert again.summary.R.dtype == np.float64
        assert len(again.encoded) == len(model.encoded)
    more = [jaxcmh.grow(model, *part(slice(OLD, None))) for model in (again, model)]
    np.testing.assert_array_equal(more[0].codes, more[1].codes)
    assert trained("dcgh", *part(slice(OLD))).summary is None


def test_a_file_of_before_some_could_be_without_labels_has_labels_for_all(tmp_path):
    model = trained("dcgh", *part(slice(OLD)), growing=True)
    jaxcmh.save(model, tmp_path / "model.safetensors")
    with safetensors.safe_open(tmp_path / "model.safetensors", "numpy") as file:
        header = json.loads(file.metadata()["jaxcmh"])
        arrays = {name: file.get_tensor(name) for name in set(file.keys()) - {"growing.unlabelled"}}
    store.write(tmp_path / "model.safetensors", "jaxcmh", header, arrays)
    kept = jaxcmh.load(tmp_path / "model.safetensors").summary
    assert kept.unlabelled.shape == (0, 50)
    assert kept.unlabelled.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("R", np.zeros((3, 3)), "growing.R: expected f8"),
        ("sets", np.zeros((2, 6), np.float32), "growing"),
        ("member", np.zeros(OLD, np.int32), "growing.member: expected samples of each"),
        ("member", np.zeros(3, np.int32), "growing.member: expected i4"),
        ("member", np.full(OLD, -1, np.int32), "growing.unlabelled: expected f4 of shape"),
        ("sums", np.zeros((2, 2), np.float32), "growing.sums: expected f4"),
        ("unlabelled", np.zeros((1, 50), np.float32), "growing.unlabelled: expected f4 of shape"),
    ],
)
def test_a_file_whose_parts_do_not_fit_is_refused(name, value, said, tmp_path):
    model = trained("dcgh", *part(slice(OLD)), growing=True)
    jaxcmh.save(model.__class__(**{**vars(model), "summary": model.summary._replace(**{name: value})}), tmp_path / "m")
    with pytest.raises(ValueError, match=said):
        jaxcmh.load(tmp_path / "m")


def test_what_cannot_grow_is_refused_by_name():
    views, labels = part(slice(OLD))
    with pytest.raises(ValueError, match=r"growing: imads learns the code of each item .* dcgh, acqh"):
        trained("imads", views, labels, growing=True)
    with pytest.raises(ValueError, match="hash_function: this one wants features of every item"):
        trained("dcgh", views, labels, growing=True, hash_function="mlp")
    with pytest.raises(ValueError, match="growing: expected more than 63 labelled rows"):
        trained("dcgh", [x[:60] for x in views], labels[:60], growing=True)
    with pytest.raises(ValueError, match="model: expected one that was trained with growing=True"):
        jaxcmh.grow(trained("dcgh", views, labels), views, labels)
    model = trained("dcgh", views, labels, growing=True)
    with pytest.raises(ValueError, match=r"views: expected \(20, 30\) columns, as in training; got \(20, 20\)"):
        jaxcmh.grow(model, [views[0], views[0]], labels)
    with pytest.raises(ValueError, match="labels: expected 6 classes, as in training; got 7: train on all pairs anew"):
        jaxcmh.grow(model, views, np.pad(labels, ((0, 0), (0, 1))))
    with pytest.raises(ValueError, match="database: expected 'learned'"):
        jaxcmh.evaluate(jaxcmh.grow(model, views, labels), views, labels, np.tile(labels, (2, 1)), database="encoded")


def test_methods_that_say_so_give_equal_labels_equal_codes():
    able = [methods.find(name) for name in ABLE]
    assert {known.name for known in methods.registry.values() if known.by_labels} <= {known.name for known in able}
    for method in able:
        model = trained(method, [x - x.mean(0) for x in SPLIT.views], SPLIT.labels)
        pairs = np.unique(np.column_stack([SPLIT.labels, np.asarray(model.codes)]), axis=0)
        assert len(pairs) == len(np.unique(SPLIT.labels, axis=0))
