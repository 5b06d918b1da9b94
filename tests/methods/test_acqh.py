"""ACQH on label sets is ACQH on samples; items without labels; other sizes of books."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import jaxcmh
from jaxcmh.learning import core, features
from jaxcmh.methods import acqh


def pairs(n=80, c=5, dims=(9, 7)):
    rng = np.random.default_rng(0)
    labels = (rng.random((n, c)) < 0.3).astype(np.uint8)
    labels[np.arange(n), rng.integers(c, size=n)] = 1
    return [labels @ rng.normal(size=(c, d)) + 0.5 * rng.normal(size=(n, d)) for d in dims], labels


def started(steps, bits=8, precision="float64", **options):
    views, labels = pairs(**options)
    data = core.ready(acqh.method, core.prepare(views, labels, precision), bits)
    state = acqh.init(random.key(0), data, acqh.Params(), bits)
    for _ in range(steps):
        state = core.step(acqh.method, state, data, acqh.Params())
    return state, data


@pytest.mark.parametrize("c", [5, 12], ids=["fewer classes than bits", "more"])
def test_the_objective_over_label_sets_is_the_printed_one_over_samples(c):
    with jax.enable_x64(True):
        state, data = started(2, c=c)
        X, L = [np.asarray(x) for x in data.features], np.asarray(data.per_sample(data.sets))
        Z, t = np.asarray(acqh.items(state)[data.member]), np.asarray(state.t[data.member])
        expected = 1e-4 * ((Z - L @ state.M - t[:, None]) ** 2).sum() + 1e-3 * (np.asarray(state.M) ** 2).sum()
        expected += sum(((x @ W @ Z.T - L @ L.T) ** 2).sum() for x, W in zip(X, state.W))
        np.testing.assert_allclose(acqh.objective(state, data, acqh.Params()), expected, rtol=1e-10)


def test_every_sample_as_a_label_set_of_its_own_changes_nothing():
    data = core.prepare(*pairs(), "float64")
    options = {"bits": 8, "max_iterations": 3, "tolerance": 0}
    with jax.enable_x64(True):
        alone = data._replace(
            sets=data.per_sample(data.sets), member=jnp.arange(80, dtype=jnp.int32), counts=jnp.ones(80)
        )
        together, apart = (core.fit(acqh.method, d, random.key(0), **options) for d in (data, alone))
        np.testing.assert_allclose(apart.objective, together.objective, rtol=1e-7)
        whole, parts = (acqh.items(found.state)[d.member] for found, d in ((together, data), (apart, alone)))
        np.testing.assert_allclose(parts, whole, atol=1e-4 * jnp.abs(whole).max())


def test_words_out_of_use_are_zero():
    state, data = started(1, precision=None)
    state = acqh.update_C(state, data, acqh.Params())
    for words, used in zip(state.C, state.A.T):
        assert np.abs(words).sum(1)[np.unique(used)].all()
        assert not np.delete(np.asarray(words), np.unique(used), axis=0).any()


@pytest.mark.parametrize(("books", "words"), [(1, 256), (3, 16), (2, 2)])
def test_books_of_other_sizes(books, words):
    views, labels = pairs()
    method = acqh.with_books(books, words)
    assert method is acqh.with_books(books, words)
    model = jaxcmh.train(method, views, labels, bits=16)
    assert model.codebooks.shape == (books, words, 16)
    assert model.codes.shape == (80, books)
    assert model.codes.dtype == np.uint8
    assert int(model.codes.max()) < words


@pytest.mark.parametrize(("books", "words", "name"), [(0, 256, "books"), (4, 1, "words"), (4, 257, "words")])
def test_books_out_of_range_are_refused(books, words, name):
    with pytest.raises(ValueError, match=f"{name}: expected an integer"):
        acqh.with_books(books, words)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match=r"params\.lam: expected a finite number of at least 0; got -1\.0"):
        jaxcmh.train("acqh", *pairs(), bits=8, params={"lam": -1.0})


def test_samples_with_equal_labels_have_equal_codes():
    views, labels = pairs()
    codes = np.asarray(jaxcmh.train("acqh", views, labels, bits=16).codes)
    for _, rows in zip(range(5), np.unique(labels, axis=0)):
        assert len(np.unique(codes[(labels == rows).all(1)], axis=0)) == 1


def test_items_without_labels_get_the_words_of_their_regressed_labels():
    """With the labels among the features, the regression is exact and the words are the learned ones."""
    views, labels = pairs()
    views = [np.hstack([x, labels]) for x in views]
    model = jaxcmh.train("acqh", views, labels, bits=16)
    scores = np.asarray(model.codebooks)
    learned, encoded = (
        sum(scores[b][np.asarray(codes)[:, b]] for b in range(4)) for codes in (model.codes, model.encoded[0])
    )
    queries = np.asarray(features.apply(model.maps[1], views[1])) @ np.asarray(model.encoders[1])
    exact, approximate = queries @ learned.T, queries @ encoded.T
    assert np.corrcoef(exact.ravel(), approximate.ravel())[0, 1] > 0.99


def test_estimates_are_spread_as_widely_as_the_targets_of_labels():
    with jax.enable_x64(True):
        state, data = started(4, n=400, bits=16)
        _, N, G = acqh.targets(state, data, acqh.Params())
        wanted = np.cov((data.per_sample(data.sets) @ N[:-1] @ G.T).T)
        items = acqh.unlabelled(state, data, acqh.Params())
        for X, V, offset in zip(data.features, items.V, items.offset):
            estimated = jnp.linalg.solve(G.T, (X @ V + offset).T)
            np.testing.assert_allclose(np.trace(np.cov(estimated)), np.trace(wanted), rtol=1e-6)


def test_a_look_up_model_takes_no_mlp_and_comes_back_from_its_file(tmp_path):
    views, labels = pairs()
    with pytest.raises(ValueError, match="hash_function: expected one of ridge; got 'mlp'"):
        jaxcmh.train("acqh", views, labels, bits=8, hash_function="mlp")
    model = jaxcmh.train("acqh", views, labels, bits=8)
    jaxcmh.save(model, tmp_path / "model.safetensors")
    loaded = jaxcmh.load(tmp_path)
    np.testing.assert_array_equal(jaxcmh.encode(loaded, views[1], 1), model.encoded[1])
    for a, b in zip(jaxcmh.search(loaded, views[0], 0, 3), jaxcmh.search(model, views[0], 0, 3)):
        np.testing.assert_array_equal(a, b)
