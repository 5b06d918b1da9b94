"""Products with few ones are those with the whole matrix."""

import jax
import numpy as np
import pytest

import jaxcmh
from jaxcmh.learning import core, ones

OPTIONS = {"bits": 8, "max_iterations": 2, "tolerance": 0}


def sparse_sets(u=150, c=250):
    """Up to two labels in a set, and a set without any."""
    rng = np.random.default_rng(0)
    sets = np.zeros((u, c))
    sets[np.arange(1, u), rng.integers(c, size=u - 1)] = 1
    sets[np.arange(1, u, 2), rng.integers(c, size=u // 2)] = 1
    return sets


@pytest.mark.parametrize("unit", [False, True])
def test_products_by_places_are_those_of_the_matrix(unit):
    sets, rng = sparse_sets(), np.random.default_rng(1)
    with jax.enable_x64(True):
        scale = 1 / np.sqrt(np.maximum(sets.sum(1, keepdims=True), 1)) if unit else 1.0
        found, whole = ones.Ones(sets, ones.places(sets), scale), scale * sets
        assert found.places is not None
        for one in (found, found._replace(places=None)):
            M, Y, w = rng.normal(size=(250, 3)), rng.normal(size=(150, 3)), rng.random((150, 1))
            np.testing.assert_allclose(one @ M, whole @ M, atol=1e-12)
            np.testing.assert_allclose(one.transposed_times(Y), whole.T @ Y, atol=1e-12)
            np.testing.assert_allclose(one.gram(w), whole.T @ (w * whole), atol=1e-12)


def test_reduced_rows_by_places_are_those_by_columns_of_labels():
    labels = sparse_sets(600)
    labels[0, 0] = 1
    views = [np.random.default_rng(0).normal(size=(600, q)) for q in (9, 7)]
    data = core.prepare(views, labels)
    few, rows = data._replace(linked=ones.places(np.asarray(data.sets))), jax.random.normal(jax.random.key(0), (600, 8))
    assert data.turned is not None
    assert few.linked is not None
    np.testing.assert_allclose(few.coordinates(rows), data.coordinates(rows), atol=1e-5)
    reduced = data.coordinates(rows)
    np.testing.assert_allclose(few.rows(reduced), data.rows(reduced), atol=1e-4)


def test_places_are_left_out_where_ones_are_not_few():
    assert ones.places(np.ones((4, 4))) is None
    assert ones.places(np.eye(99)) is None
    assert ones.places(np.eye(100)) is not None


@pytest.mark.parametrize("name", ["acqh", "imads", "fcmh", "srlch"])
def test_methods_learn_the_same_by_places(name, monkeypatch):
    labels, rng = sparse_sets(300), np.random.default_rng(2)
    labels[0, 0] = 1
    views = [labels @ rng.normal(size=(250, q)) + rng.normal(size=(300, q)) for q in (9, 7)]
    method = jaxcmh.methods.registry[name]
    data = core.prepare(views, labels, "float64")
    few = core.fit(method, data, jax.random.key(0), **OPTIONS)
    monkeypatch.setattr(ones, "DENSER", np.inf)
    assert core.linked(method, data).linked is None
    whole = core.fit(method, data, jax.random.key(0), **OPTIONS)
    np.testing.assert_allclose(few.objective, whole.objective, rtol=1e-7)
