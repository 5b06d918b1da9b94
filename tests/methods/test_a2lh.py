"""The objective of A2LH is the printed one, its weights behave, its versions agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import jaxcmh
from jaxcmh.learning import core
from jaxcmh.learning.linalg import unit_rows
from jaxcmh.methods import a2lh, a2lh_multipliers, variants


def problem(n=70, c=4, dims=(11, 8)):
    rng = np.random.default_rng(0)
    labels = np.eye(c)[rng.integers(c, size=n)]
    return [labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims], labels


def started(method=a2lh.method, steps=2, **options):
    views, labels = problem(**options)
    data = core.ready(method, core.prepare(views, labels, "float64"), 8)
    state = method.init(random.key(0), data, method.params, 8)
    for _ in range(steps):
        state = core.step(method, state, data, method.params)
    return state, data


@pytest.mark.parametrize("n", [70, 20])
def test_the_objective_is_the_printed_one(n):
    with jax.enable_x64(True):
        state, data = started(n=n)
        assert (data.turned is None) == (n == 20)
        p, B, X = a2lh.method.params, np.asarray(state.B), data.features
        Y = np.asarray(data.per_sample(data.extra.of_sets))
        S = 2 * Y @ Y.T - np.ones((len(Y), len(Y)))
        L, U = Y @ state.R, np.asarray(data.rows(state.U, state.B, state.B_p))
        UC = U @ state.C
        expected = np.linalg.norm(L @ UC.T - B.shape[1] * S) ** 2
        expected += p.alpha * np.linalg.norm(B - UC) ** 2 + p.beta * np.linalg.norm(L - B) ** 2
        expected += p.eta * (np.linalg.norm(L) ** 2 + np.linalg.norm(U) ** 2)
        for mu, X_m, V in zip(state.mu, X, state.V):
            expected += mu**p.zeta * np.linalg.norm(X_m - U @ V.T) ** 2
        np.testing.assert_allclose(a2lh.objective(state, data, p), expected, rtol=1e-8)


def test_zeta_0_gives_every_view_weight_1():
    with jax.enable_x64(True):
        state, data = started()
        params = a2lh.Params(zeta=0.0)
        np.testing.assert_array_equal(a2lh.update_mu(state, data, params).mu ** params.zeta, [1, 1])


def test_larger_zeta_gives_more_equal_weights():
    with jax.enable_x64(True):
        state, data = started()
        spread = [np.ptp(a2lh.update_mu(state, data, a2lh.Params(zeta=zeta)).mu) for zeta in (1.5, 2.0, 4.0, 9.0)]
        assert spread == sorted(spread, reverse=True)
        assert spread[0] > spread[-1]


def test_a_view_rebuilt_exactly_leaves_the_others_some_weight():
    views, labels = problem(dims=(8, 8))
    with jax.enable_x64(True):
        data = core.ready(a2lh.method, core.prepare([views[0], views[0]], labels, "float64"), 8)
        state = a2lh.init(random.key(0), data, a2lh.method.params, 8, from_labels=True)
        assert np.abs(a2lh.distances(state, data)).max() < 1e-9
        np.testing.assert_allclose(a2lh.update_mu(state, data, a2lh.method.params).mu, [0.5, 0.5])


@pytest.mark.parametrize("zeta", [1.0, 0.5, -1.0])
def test_zeta_without_a_minimum_is_an_error(zeta):
    views, labels = problem()
    with pytest.raises(ValueError, match=r"params\.zeta: expected 0 or a finite number above 1; got"):
        jaxcmh.train("a2lh", views, labels, bits=8, params={"zeta": zeta})


def test_the_multiplier_version_ends_at_the_same_codes_and_no_lower():
    data = core.prepare(*problem(n=200), "float64")
    exact, split = (
        core.fit(method, data, random.key(0), bits=16, max_iterations=6, tolerance=0)
        for method in (a2lh.method, a2lh_multipliers.method)
    )
    assert (exact.state.B == split.state.B).mean() > 0.99
    assert exact.objective[-1] <= split.objective[-1]


def test_labels_are_used_as_they_are_when_not_normalised():
    rng = np.random.default_rng(0)
    labels = (rng.random((50, 4)) < 0.5).astype(float)
    data = core.prepare([rng.normal(size=(50, 6)), rng.normal(size=(50, 5))], labels)
    for method, unit in ((a2lh.method, True), (variants["a2lh"]["counts"], False)):
        Y, of_sets = core.ready(method, data, 8).extra
        expected = np.asarray(unit_rows(jnp.asarray(labels))) if unit else labels
        np.testing.assert_allclose(data.per_sample(of_sets), expected, rtol=1e-5)
        np.testing.assert_allclose(Y.T @ Y, expected.T @ expected, rtol=1e-5, atol=1e-5)


def test_diagnostics_tell_the_weights_and_which_term_decides():
    with jax.enable_x64(True):
        state, data = started()
        found = a2lh.diagnostics(state, data, a2lh.method.params)
        weights = np.array([found["weight of view 0"], found["weight of view 1"]])
        np.testing.assert_allclose(np.sqrt(weights).sum(), 1)  # zeta = 2
        equal = a2lh.diagnostics(state, data, a2lh.method.params._replace(zeta=jnp.array(0.0)))
        assert equal["weight of view 0"] == equal["weight of view 1"] == 1
        assert 0.5 < found["codes that are signs of U C"] <= 1
        assert found["label term"] > 0
