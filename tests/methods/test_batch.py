"""BATCH: its printed objective, its balanced representation, and codes that labels alone decide."""

import jax
import numpy as np
import pytest
from jax import random
from reference import batch as reference
from tiny import problem

import jaxcmh
from jaxcmh.learning import core
from jaxcmh.learning.features import Features
from jaxcmh.methods import batch


@pytest.mark.parametrize("classes", [5, 12])
def test_the_objective_is_the_printed_one_and_falls(classes):
    """Over all samples and pairs: the data have no more samples than columns, so nothing is reduced."""
    views, labels = problem(n=30, c=classes)
    data, p = core.prepare(views, labels, "float64"), batch.Params(eta=0.3, eta0=0.6, omega=0.2)
    assert data.turned is None
    s, losses, _ = core.fit(batch.method, data, random.key(0), p, bits=8)
    s, losses = jax.tree.map(np.asarray, (s, losses))
    expected = reference.objective(views, labels, s.B, s.V, s.U, s.U_0, p)
    np.testing.assert_allclose(losses[-1], expected, rtol=1e-9)
    assert (losses[1:] <= losses[:-1] * (1 + 1e-9)).all()


def test_the_representation_is_balanced_and_uncorrelated():
    """With more bits than label sets too, where almost nothing decides on most of its columns."""
    views, _ = problem(n=200)
    for labels in (problem(n=200)[1], np.eye(3)[np.arange(200) % 3]):
        data = core.prepare(views, labels, "float64")
        s, _, _ = core.fit(batch.method, data, random.key(0), bits=16, max_iterations=3)
        with jax.enable_x64(True):
            wide = core.ready(batch.method, data, 16)
            np.testing.assert_allclose(wide.ones @ s.V, 0, atol=1e-8)
            np.testing.assert_allclose(s.V.T @ s.V, 200 * np.eye(16), atol=1e-8)


def test_labels_alone_decide_on_the_codes_and_the_diagnostics_say_so():
    views, labels = problem(n=300)
    model = jaxcmh.train("batch", views, labels, bits=32, features=Features(anchors=20))
    assert len(np.unique(np.column_stack([labels, model.codes]), axis=0)) == len(np.unique(labels, axis=0))
    sizes = model.diagnostics
    assert all(sizes["similarity term"] > 100 * size for name, size in sizes.items() if name != "similarity term")
