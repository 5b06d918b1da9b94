"""SCRATCH: its printed objective, its second step, and anchors that are there twice."""

import jax
import numpy as np
from jax import random
from reference import scratch as reference

import jaxcmh
from jaxcmh.learning import core
from jaxcmh.methods import find, scratch


def problem(n=61, c=5, dims=(12, 9)):
    rng = np.random.default_rng(0)
    labels = rng.random((n, c)) < 0.3
    labels[np.arange(n), rng.integers(c, size=n)] = True
    return [labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims], labels.astype(np.uint8)


def test_the_objective_is_the_printed_one_and_falls():
    """Over all samples: the data have no more samples than columns, so nothing is reduced."""
    views, labels = problem(n=30)
    data, p = core.prepare(views, labels, "float64"), scratch.Params(lam=0.6, mu=3.0, alpha=2.0, gamma=0.5)
    assert data.turned is None
    s, losses, _ = jax.tree.map(np.asarray, core.fit(scratch.method, data, random.key(0), p, bits=8))
    expected = reference.objective(views, labels, s.B, s.V, s.U, s.G, s.W, s.R, p)
    np.testing.assert_allclose(losses[-1], expected, rtol=1e-9)
    assert (losses[1:] <= losses[:-1] * (1 + 1e-9)).all()


def test_the_objective_falls_where_rows_are_reduced():
    data = core.prepare(*problem(n=300), "float64")
    losses = np.asarray(core.fit(scratch.method, data, random.key(0), bits=16).objective)
    assert data.turned is not None
    assert (losses[1:] <= losses[:-1] * (1 + 1e-9)).all()


def test_an_unseen_item_needs_no_second_step_but_in_variant_t():
    data = core.prepare(*problem(n=200), "float64")
    for name in ("scratch", "scratch-t"):
        method, p = find(name), find(name).params
        s, _, _ = core.fit(method, data, random.key(0), bits=8)
        with jax.enable_x64(True):
            wide = core.ready(method, data, 8)
            B = np.asarray(method.codes(s, wide, p))
            for X, W, W_m in zip(data.features, method.encoder(s, wide, p), s.W):
                G = np.asarray(X.T @ X)
                regression = np.linalg.solve(G + p.xi * np.eye(len(G)), np.asarray(X).T @ B)
                np.testing.assert_allclose(W, W_m @ s.R if name == "scratch" else regression, atol=1e-8)
                assert np.any(W_m) == (name == "scratch")


def test_features_that_are_there_twice_do_no_harm_in_single_precision():
    """Their Gram matrix is singular, and a float32 solve with it diverges."""
    views, labels = problem(n=400, c=6)
    views = [np.hstack([np.exp(x / 4), np.exp(x / 4)]) for x in views]
    ends = []
    for precision in ("float64", "float32"):
        losses = np.asarray(
            jaxcmh.train("scratch", views, labels, bits=16, features="identity", precision=precision).objective
        )
        assert (losses[1:] <= losses[:-1] * 1.001).all()
        ends.append(losses[-1])
    np.testing.assert_allclose(*ends, rtol=0.1)
