"""CMFH: its printed objective, no use of labels, and few dimensions whatever the bits."""

import jax
import numpy as np
from jax import random
from reference import cmfh as reference

from jaxcmh.learning import core
from jaxcmh.methods import cmfh


def problem(n=61, c=5, dims=(12, 9)):
    rng = np.random.default_rng(0)
    labels = rng.random((n, c)) < 0.3
    labels[np.arange(n), rng.integers(c, size=n)] = True
    views = [labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims]
    return [x - x.mean(0) for x in views], labels.astype(np.uint8)


def test_the_objective_is_the_printed_one_and_falls():
    views, labels = problem()
    data, p = core.prepare(views, labels, "float64"), cmfh.Params(lam=0.6, mu=3.0, gamma=0.5)
    s, losses, _ = jax.tree.map(np.asarray, core.fit(cmfh.method, data, random.key(0), p, bits=8))
    with jax.enable_x64(True):
        V = np.asarray(core.ready(cmfh.method, data, 8).rows(s.V))
    np.testing.assert_allclose(losses[-1], reference.objective(views, V, s.U, s.W, p), rtol=1e-9)
    assert (losses[1:] <= losses[:-1] * (1 + 1e-9)).all()


def test_labels_change_nothing():
    views, labels = problem()
    results = []
    for given in (labels, np.roll(labels, 7, axis=0)):
        data = core.prepare(views, given, "float64")
        s = core.fit(cmfh.method, data, random.key(0), bits=16).state
        with jax.enable_x64(True):
            wide = core.ready(cmfh.method, data, 16)
            results.append(np.asarray(cmfh.codes(s, wide, cmfh.Params())))
    np.testing.assert_array_equal(*results)


def test_the_turn_of_the_start_stays():
    """A start turned by an orthogonal matrix gives the same V, turned, and so other codes."""
    with jax.enable_x64(True):
        data = core.ready(cmfh.method, core.prepare(*problem(), "float64"), 8)
        s, p = cmfh.init(random.key(0), data, cmfh.Params(), 8), cmfh.Params()
        O = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
        t = s._replace(V=s.V @ O, U=tuple(O.T @ U for U in s.U), W=tuple(W @ O for W in s.W))
        for _ in range(4):
            s, t = core.step(cmfh.method, s, data, p), core.step(cmfh.method, t, data, p)
        np.testing.assert_allclose(t.V, s.V @ O, atol=1e-8)
        assert (cmfh.codes(s, data, p) != cmfh.codes(t, data, p)).any()
