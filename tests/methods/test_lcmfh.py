"""LCMFH: its printed objective, and classes and samples that have nothing."""

import jax
import numpy as np
from jax import random
from reference import lcmfh as reference

import jaxcmh
from jaxcmh.learning import core
from jaxcmh.methods import lcmfh


def problem(n=61, c=5, dims=(12, 9)):
    rng = np.random.default_rng(0)
    labels = rng.random((n, c)) < 0.3
    labels[np.arange(n), rng.integers(c, size=n)] = True
    return [labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims], labels.astype(np.uint8)


def test_the_objective_is_the_printed_one_and_falls():
    views, labels = problem()
    data, p = core.prepare(views, labels, "float64"), lcmfh.Params(lam=0.6, mu=3.0, gamma=0.5)
    s, losses, _ = jax.tree.map(np.asarray, core.fit(lcmfh.method, data, random.key(0), p, bits=8))
    np.testing.assert_allclose(losses[-1], reference.objective(views, labels, *s, p), rtol=1e-9)
    assert (losses[1:] <= losses[:-1] * (1 + 1e-9)).all()


def test_a_class_without_samples_and_samples_without_labels():
    """The class gets no code, and the samples the signs of what V = 0 is above its mean."""
    views, labels = problem()
    labels[:, 2], labels[:5] = 0, 0
    data = core.prepare(views, labels, "float64")
    s = core.fit(lcmfh.method, data, random.key(0), bits=8).state
    Z = np.asarray(s.Z)
    np.testing.assert_allclose(Z[2], 0, atol=1e-6)
    with jax.enable_x64(True):
        codes = np.asarray(lcmfh.codes(s, data, lcmfh.Params()))
    Y = labels / np.maximum(np.linalg.norm(labels, axis=1, keepdims=True), 1)
    np.testing.assert_array_equal(codes[:5], np.tile(np.where((Y @ Z).mean(0) <= 0, 1, -1), (5, 1)))


def test_queries_are_centred_by_the_training_mean():
    views, labels = problem(n=100)
    model = jaxcmh.train("lcmfh", views, labels, bits=16)
    some = jaxcmh.encode(model, views[0][:7], 0)
    np.testing.assert_array_equal(some, model.encoded[0][:7])
    moved = jaxcmh.train("lcmfh", [x + 5 for x in views], labels, bits=16)
    assert (np.unpackbits(moved.codes) == np.unpackbits(model.codes)).mean() > 0.99
