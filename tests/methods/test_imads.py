"""Stage one of IMADS against whole matrices, its place in the second, and what the diagnostics say."""

from pathlib import Path

import jax
import numpy as np
import pytest
from jax import random
from reference.imads import mapping as reference

import jaxcmh
from jaxcmh.learning import core
from jaxcmh.learning.features import Features
from jaxcmh.learning.linalg import sign
from jaxcmh.methods import imads, imads_mapping

EXPECTED = Path(__file__).parents[1] / "fixtures" / "v0.1.0" / "wiki_codes.npz"


def problem(n=90, c=6, dims=(11, 8), precision=None):
    rng = np.random.default_rng(0)
    labels = (rng.random((n, c)) < 0.3).astype(float)
    labels[np.arange(n), rng.integers(c, size=n)] = 1
    views = [labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims]
    return core.prepare(views, labels, precision)


def test_stage_one_is_that_of_whole_representations():
    """At no more bits than classes: with more, conditions of 1e9 amplify the rounding of the explicit inverses."""
    method, p = imads_mapping.method, imads.Params()
    with jax.enable_x64(True):
        data = core.ready(method, problem(precision="float64"), 4)
        state = method.init(random.key(0), data, p, 4)
        Q = np.pad(data.turned.Q, ((0, 0), (0, 4)))
        start = jax.tree.map(np.asarray, state._replace(V=tuple(Q @ V for V in state.V)))._asdict()
        for _ in range(5):
            state = core.step(method, state, data, p)
        views, labels = [np.asarray(X) for X in data.features], np.asarray(data.per_sample(data.sets))
        np.testing.assert_allclose(state.U, reference(views, labels, start, p, 5), rtol=1e-6)


def test_the_objective_of_stage_one_is_the_printed_one():
    method, p = imads_mapping.method, imads.Params(lam1=0.3, lam2=0.7, lam3=2.0, lam4=0.4, lam5=0.1)
    with jax.enable_x64(True):
        data = core.ready(method, problem(precision="float64"), 4)
        s = core.step(method, method.init(random.key(0), data, p, 4), data, p)
        L = data.per_sample(data.sets)
        V = [data.turned.Q @ V_m[:-4] for V_m in s.V]
        ridge = sum(np.linalg.norm(block) ** 2 for block in (*s.U_m, *V, *s.W, s.U, *s.Q))
        expected = p.lam4 * np.linalg.norm(V[1] - V[0] @ s.Q[0]) ** 2 + p.lam5 * ridge
        for lam, X, V_m, U_m, W in zip((p.lam1, p.lam2), data.features, V, s.U_m, s.W):
            expected += lam * np.linalg.norm(X - V_m @ U_m) ** 2 + p.lam3 * np.linalg.norm(L @ s.U - V_m @ W) ** 2
        np.testing.assert_allclose(method.objective(s, data, p), expected, rtol=1e-9)


def test_the_second_stage_starts_where_the_first_ended():
    data = problem(precision="float64")
    first = core.fit(imads_mapping.method, data, random.key(3), bits=8)
    state = core.fit(imads.method, data, random.key(3), bits=8).state
    np.testing.assert_array_equal(state.U, first.state.U)
    np.testing.assert_allclose(state.mapping, first.objective, rtol=1e-9)
    assert state.mapping.shape == (41,)


def test_the_objective_of_stage_two_is_the_printed_one():
    p = imads.Params(alpha=0.3, beta=0.2, mu1=0.5, mu2=0.7, gamma=0.1)
    data = problem(precision="float64")
    s = core.fit(imads.method, data, random.key(0), p, bits=8, max_iterations=2).state
    with jax.enable_x64(True):
        L = np.asarray(data.per_sample(data.sets))
        Y, B = L / np.linalg.norm(L, axis=1, keepdims=True), np.asarray(s.B)
        S, V = 2 * Y @ Y.T - np.ones((len(Y), len(Y))), L @ np.asarray(s.U)
        expected = p.alpha * np.linalg.norm(B - V) ** 2 + p.beta * np.linalg.norm(8 * S - B @ V.T) ** 2
        for mu, X, P in zip((p.mu1, p.mu2), data.features, s.P):
            expected += mu * np.linalg.norm(X @ P - B) ** 2 + p.gamma * np.linalg.norm(P) ** 2
        np.testing.assert_allclose(imads.objective(s, core.ready(imads.method, data, 8), p), expected, rtol=1e-10)


@pytest.mark.parametrize("bits", [16, 64])
def test_the_codes_of_version_0_1_0_on_wiki(bits, shared_data):
    """Every bit, in float64; the file is made as `test_dcgh` says."""
    split, chosen = jaxcmh.load_dataset("wiki", shared_data / "wiki"), Features(anchors=500)
    views, labels = split.train.views, split.train.labels
    model = jaxcmh.train("imads", views, labels, bits=bits, features=chosen, precision="float64")
    np.testing.assert_array_equal(model.codes, np.load(EXPECTED)[f"imads_{bits}"])


def test_diagnostics_tell_the_drift_the_residual_and_every_pull():
    data = problem()
    state = core.fit(imads.method, data, random.key(0), bits=8).state
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
        state = core.fit(imads.method, data, random.key(0), params, bits=8).state
        found = imads.diagnostics(state, data, params)
        return found["quadratic term"] / found["labels term"]

    assert share(800) > 5 * share(100)


def test_relaxed_codes_stay_in_their_box_and_end_as_signs():
    data = problem()
    method = imads.variants["r"]
    state = core.fit(method, data, random.key(0), bits=8).state
    assert np.abs(state.B).max() <= 1
    np.testing.assert_array_equal(method.codes(state, data, method.params), sign(state.B, data.mask))


def test_variant_c_has_one_representation_for_all_views():
    data = problem(dims=(11, 8, 5))
    shared = core.fit(imads_mapping.shared, data, random.key(0), bits=8).state
    single = core.fit(imads_mapping.method, data, random.key(0), bits=8).state
    assert (len(shared.V), len(shared.Q)) == (1, 0)
    assert (len(single.V), len(single.Q)) == (3, 2)
