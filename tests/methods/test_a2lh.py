"""What A2LH keeps implicit is what it says, its weights behave, its versions agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import jaxcmh
from jaxcmh.learning import core
from jaxcmh.methods import a2lh


def problem(n=70, c=4, dims=(11, 8)):
    rng = np.random.default_rng(0)
    labels = np.eye(c)[rng.integers(c, size=n)]
    return [labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims], labels


def started(method=a2lh.method, steps=2, **options):
    views, labels = problem(**options)
    data = core.with_extra(method, core.prepare(views, labels))
    state = method.init(random.key(0), data, method.params, 8)
    for _ in range(steps):
        state = core.step(method, state, data, method.params)
    return state, data


def stack(state, data):
    return np.column_stack([*data.views, data.extra.Y, data.mask, state.seen])


def test_products_with_the_common_space_are_those_of_the_whole_matrix():
    with jax.enable_x64(True):
        state, data = started()
        Z, W = stack(state, data), np.asarray(state.A[:, :3])
        np.testing.assert_allclose(a2lh.Z_times(W, state, data), Z @ W, atol=1e-9)
        np.testing.assert_allclose(a2lh.ZT_times(state.B, data), Z.T @ state.B, atol=1e-9)
        np.testing.assert_allclose(a2lh.ZTZ_times(W, state.ZB, data), Z.T @ Z @ W, atol=1e-8)
        U = Z @ state.A
        np.testing.assert_allclose(state.ZU, Z.T @ U, atol=1e-8)
        whole = [np.linalg.norm(X - U @ V.T) ** 2 for X, V in zip(data.views, state.V)]
        np.testing.assert_allclose(a2lh.distances(state, data), whole, rtol=1e-9)


def test_the_objective_is_the_printed_one():
    with jax.enable_x64(True):
        state, data = started()
        p, Y, B = a2lh.method.params, np.asarray(data.extra.Y), np.asarray(state.B)
        S = 2 * Y @ Y.T - np.ones((len(Y), len(Y)))
        U, L = stack(state, data) @ state.A, Y @ state.R
        UC = U @ state.C
        expected = np.linalg.norm(L @ UC.T - B.shape[1] * S) ** 2
        expected += p.alpha * np.linalg.norm(B - UC) ** 2 + p.beta * np.linalg.norm(L - B) ** 2
        expected += p.eta * (np.linalg.norm(L) ** 2 + np.linalg.norm(U) ** 2)
        for mu, X, V in zip(state.mu, data.views, state.V):
            expected += mu**p.zeta * np.linalg.norm(X - U @ V.T) ** 2
        np.testing.assert_allclose(a2lh.objective(state, data, p), expected, rtol=1e-10)


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
        data = core.with_extra(a2lh.method, core.prepare([views[0], views[0]], labels))
        state = a2lh.init(random.key(0), data, a2lh.method.params, 8)
        assert np.abs(a2lh.distances(state, data)).max() < 1e-9
        np.testing.assert_allclose(a2lh.update_mu(state, data, a2lh.method.params).mu, [0.5, 0.5])


@pytest.mark.parametrize("zeta", [1.0, 0.5, -1.0])
def test_zeta_without_a_minimum_is_an_error(zeta):
    views, labels = problem()
    with pytest.raises(ValueError, match=r"params\.zeta: expected 0, for equal weights, or a number above 1; got"):
        jaxcmh.train("a2lh", views, labels, bits=8, params={"zeta": zeta})


def test_the_multiplier_version_ends_at_the_same_codes_and_no_lower():
    views, labels = problem(n=200)
    with jax.enable_x64(True):
        data = core.prepare(views, labels)
        exact, objective = core.fit(a2lh.method, data, random.key(0), bits=16)
        method = a2lh.variants["multipliers"]
        split, objective_split = core.fit(method, data, random.key(0), bits=16)
        assert (exact.B == split.B).mean() > 0.99
        assert objective[-1] <= objective_split[-1]


def test_labels_are_used_as_they_are_when_not_normalised():
    rng = np.random.default_rng(0)
    labels = (rng.random((50, 4)) < 0.5).astype(float)
    data = core.prepare([rng.normal(size=(50, 6)), rng.normal(size=(50, 5))], labels)
    for method, Y in ((a2lh.method, data.unit_labels), (a2lh.variants["counts"], data.labels)):
        YY, Y1 = a2lh.label_gram(core.with_extra(method, data))
        np.testing.assert_allclose(YY, Y.T @ Y, rtol=1e-5)
        np.testing.assert_allclose(Y1, Y.sum(0), rtol=1e-5)


@pytest.mark.parametrize("decades", [3, 9, 15, np.inf])
def test_polar_factors_are_those_of_the_singular_value_decomposition(decades):
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(q, 60)))[0] for q in (80, 60))
    values = np.where(np.arange(60) < 30, 1.0, 0.0) if np.isinf(decades) else 10 ** (-decades * np.arange(60) / 60)
    M = left * values @ right.T
    with jax.enable_x64(True):
        Z = np.asarray(a2lh.polar(jnp.asarray(M)))
    np.testing.assert_allclose(Z.T @ Z, np.eye(60), atol=1e-12)
    assert values.sum() - np.vdot(M, Z) <= 1e-6 * values.sum()
    if decades == 3:
        np.testing.assert_allclose(Z, left @ right.T, atol=1e-9)
