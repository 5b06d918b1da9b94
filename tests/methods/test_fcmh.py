"""FCMH: its printed objective, and a class without samples."""

import jax
import numpy as np
import pytest
from jax import random
from reference import fcmh as reference
from tiny import problem

from jaxcmh.learning import core
from jaxcmh.methods import fcmh


@pytest.mark.parametrize("classes", [5, 12])
def test_the_objective_is_the_printed_one_and_falls(classes):
    """Over all samples and pairs: the data have no more samples than columns, so nothing is reduced."""
    views, labels = problem(n=30, c=classes)
    data, p = core.prepare(views, labels, "float64"), fcmh.Params(alpha=0.3, beta=0.7, gamma=2.0)
    assert data.turned is None
    s, losses, _ = jax.tree.map(np.asarray, core.fit(fcmh.method, data, random.key(0), p, bits=8))
    np.testing.assert_allclose(losses[-1], reference.objective(labels, s.B, s.V, s.R, s.E, p), rtol=1e-9)
    assert (losses[1:] <= losses[:-1] * (1 + 1e-9)).all()


def test_the_representation_is_balanced_and_the_rotation_orthogonal():
    data = core.prepare(*problem(n=200), "float64")
    s, _, _ = core.fit(fcmh.method, data, random.key(0), bits=16)
    with jax.enable_x64(True):
        np.testing.assert_allclose(core.ready(fcmh.method, data, 16).ones @ s.V, 0, atol=1e-8)
        np.testing.assert_allclose(s.V.T @ s.V, 200 * np.eye(16), atol=1e-8)
        np.testing.assert_allclose(s.R.T @ s.R, np.eye(16), atol=1e-8)


def test_a_class_without_samples_has_no_prototype():
    views, labels = problem(n=100)
    labels[:, 2] = 0
    s, _, _ = core.fit(fcmh.method, core.prepare(views, labels, "float64"), random.key(0), bits=8)
    E = np.asarray(s.E)
    np.testing.assert_allclose(E[2], 0, atol=1e-9)
    assert (np.abs(E[[0, 1, 3, 4]]).max(1) > 1e-3).all()
