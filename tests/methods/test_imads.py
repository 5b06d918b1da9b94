"""Stage one of IMADS against whole matrices, its place in the second, and what the diagnostics say."""

import jax
import numpy as np
from jax import random
from reference.imads import mapping as reference

from jaxcmh.learning import core
from jaxcmh.learning.linalg import sign
from jaxcmh.methods import imads


def problem(n=90, c=6, dims=(11, 8)):
    rng = np.random.default_rng(0)
    labels = (rng.random((n, c)) < 0.3).astype(float)
    labels[np.arange(n), rng.integers(c, size=n)] = 1
    return core.prepare([labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims], labels)


def test_stage_one_is_that_of_whole_representations():
    """At no more bits than classes: with more, conditions of 1e9 amplify the rounding of the explicit inverses."""
    with jax.enable_x64(True):
        data = core.with_extra(imads.mapping, problem())
        state = imads.mapping.init(random.key(0), data, imads.Params(), 4)
        start = jax.tree.map(np.asarray, state)._asdict()
        for _ in range(5):
            state = core.step(imads.mapping, state, data, imads.Params())
        views, labels = [np.asarray(X) for X in data.views], np.asarray(data.labels)
        U = reference(views, labels, start, imads.Params(), 5)
        np.testing.assert_allclose(state.U, U, rtol=1e-6)


def test_the_objective_of_stage_one_is_the_printed_one():
    with jax.enable_x64(True):
        data, p = (
            core.with_extra(imads.mapping, problem()),
            imads.Params(lam1=0.3, lam2=0.7, lam3=2.0, lam4=0.4, lam5=0.1),
        )
        s = imads.mapping.init(random.key(0), data, p, 4)
        s = core.step(imads.mapping, s, data, p)
        V = [np.column_stack([*data.views, data.labels]) @ A for A in s.A]
        ridge = sum(np.linalg.norm(block) ** 2 for block in (*s.bases, *V, *s.W, s.U, *s.Q))
        expected = p.lam4 * np.linalg.norm(V[1] - V[0] @ s.Q[0]) ** 2 + p.lam5 * ridge
        for lam, X, V_m, U_m, W in zip((p.lam1, p.lam2), data.views, V, s.bases, s.W):
            expected += lam * np.linalg.norm(X - V_m @ U_m) ** 2
            expected += p.lam3 * np.linalg.norm(data.labels @ s.U - V_m @ W) ** 2
        np.testing.assert_allclose(imads.mapping_objective(s, data, p), expected, rtol=1e-9)


def test_the_second_stage_starts_where_the_first_ended():
    with jax.enable_x64(True):
        data = problem()
        found, trace = core.fit(imads.mapping, data, random.key(3), bits=8)
        state, _ = core.fit(imads.method, data, random.key(3), bits=8)
        np.testing.assert_array_equal(state.U, found.U)
        np.testing.assert_allclose(state.mapping, trace, rtol=1e-9)
        assert state.mapping.shape == (40,)


def test_the_objective_of_stage_two_is_the_printed_one():
    with jax.enable_x64(True):
        data, p = problem(), imads.Params(alpha=0.3, beta=0.2, mu1=0.5, mu2=0.7, gamma=0.1)
        s, _ = core.fit(imads.method, data, random.key(0), p, bits=8, max_iterations=2)
        Y = np.asarray(data.unit_labels)
        S, V, B = 2 * Y @ Y.T - np.ones((len(Y), len(Y))), data.labels @ s.U, np.asarray(s.B)
        expected = p.alpha * np.linalg.norm(B - V) ** 2 + p.beta * np.linalg.norm(8 * S - B @ V.T) ** 2
        for mu, X, P in zip((p.mu1, p.mu2), data.views, s.P):
            expected += mu * np.linalg.norm(X @ P - B) ** 2 + p.gamma * np.linalg.norm(P) ** 2
        np.testing.assert_allclose(imads.objective(s, data, p), expected, rtol=1e-10)


def test_diagnostics_tell_the_drift_the_residual_and_every_pull():
    data = problem()
    state, _ = core.fit(imads.method, data, random.key(0), bits=8)
    found = imads.diagnostics(state, data, imads.Params())
    assert 0.99 < found["cosine of U and its start"] <= 1 + 1e-6
    assert found["distance of B from C"] == np.sqrt(4 * (state.B != state.C).mean())
    for name, term in imads.terms(state, data, imads.Params()).items():
        np.testing.assert_allclose(found[f"{name} term"], np.linalg.norm(term), rtol=1e-4)


def test_the_quadratic_term_outweighs_the_labels_as_the_set_grows():
    """Why the parameters of the larger sets do worse on them than those of Wiki (see experiments)."""
    params = imads.paper_params["mirflickr25k"]

    def share(n):
        data = problem(n=n)
        state, _ = core.fit(imads.method, data, random.key(0), params, bits=8)
        found = imads.diagnostics(state, data, params)
        return found["quadratic term"] / found["labels term"]

    assert share(800) > 5 * share(100)


def test_relaxed_codes_stay_in_their_box_and_end_as_signs():
    data = problem()
    method = imads.variants["r"]
    state, _ = core.fit(method, data, random.key(0), bits=8)
    assert np.abs(state.B).max() <= 1
    np.testing.assert_array_equal(method.codes(state, data, method.params), sign(state.B, data.mask))


def test_variant_c_has_one_representation_for_all_views():
    data = problem(dims=(11, 8, 5))
    shared, _ = core.fit(imads.shared_mapping, data, random.key(0), bits=8)
    single, _ = core.fit(imads.mapping, data, random.key(0), bits=8)
    assert (len(shared.A), len(shared.Q)) == (1, 0)
    assert (len(single.A), len(single.Q)) == (3, 2)
