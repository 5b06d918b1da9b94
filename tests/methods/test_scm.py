"""SCM-seq: its printed objective, codes of each view's own, bits one after the other, and where the variant stops."""

import jax
import numpy as np
import pytest
from jax import random
from reference import scm as reference

import jaxcmh
from jaxcmh.learning import core
from jaxcmh.methods import find


def problem(n=200, c=5, dims=(12, 9), density=0.3, noise=1.0):
    rng = np.random.default_rng(0)
    labels = rng.random((n, c)) < density
    labels[np.arange(n), rng.integers(c, size=n)] = True
    views = [labels @ rng.normal(size=(c, d)) + noise * rng.normal(size=(n, d)) for d in dims]
    return [x - x.mean(0) for x in views], labels.astype(np.uint8)


def bits_of(name, bits, **options):
    views, labels = problem(**options)
    data = core.prepare(views, labels, "float64")
    state, losses, _ = core.fit(find(name), data, random.key(0), bits=bits)
    return jax.tree.map(np.asarray, (state, losses))


@pytest.mark.parametrize("classes", [5, 20])
def test_the_objective_is_the_printed_one_and_bits_lower_it(classes):
    labels = problem(c=classes)[1]
    state, losses = bits_of("scm", 16, c=classes)
    np.testing.assert_allclose(losses[-1], reference.objective(labels, state.B), rtol=1e-9)
    assert losses[-1] < 0.9 * losses[0]


def test_the_database_has_the_codes_of_its_own_view():
    views, labels = problem()
    model = jaxcmh.train("scm", views, labels, bits=16)
    for learned, encoded in zip(model.codes, model.encoded):
        np.testing.assert_array_equal(learned, encoded)
    assert (np.asarray(model.codes[0]) != np.asarray(model.codes[1])).any()


def test_directions_have_unit_variance_and_the_first_explains_most():
    """K C K of two views has the top singular value wᵀ C w."""
    views, labels = problem()
    state, _ = bits_of("scm", 16)
    C = views[0].T @ (16 * reference.similarity(labels)) @ views[1]
    w = [W[:, 0] for W in state.W]
    variances = [np.linalg.norm(X @ w_m) for X, w_m in zip(views, w)]
    np.testing.assert_allclose(variances[0], variances[1], rtol=1e-4)
    K = [reference.inverse_root(X.T @ X) for X in views]
    most = np.linalg.svd(K[0] @ C @ K[1])[1][0]
    np.testing.assert_allclose(w[0] @ C @ w[1] / np.prod(variances), most, rtol=1e-4)


def test_the_variant_stop_goes_on_with_canonical_directions_in_reverse_order():
    views, _ = problem(noise=4.0)
    (never, _), (stop, _) = bits_of("scm", 32, noise=4.0), bits_of("scm-stop", 32, noise=4.0)
    same = np.isclose(never.W[0], stop.W[0], rtol=1e-4).all(0)
    first = int(same.argmin())
    assert 0 < first < 32
    assert not same[first:].any()
    K = [reference.inverse_root(X.T @ X) for X in views]
    left, values, _ = np.linalg.svd(K[0] @ views[0].T @ views[1] @ K[1], full_matrices=False)
    canonical = K[0] @ left
    for b in range(first, 32):
        expected, found = canonical[:, (31 - b) % len(values)], stop.W[0][:, b]
        cosine = abs(expected @ found) / np.linalg.norm(expected) / np.linalg.norm(found)
        np.testing.assert_allclose(cosine, 1, atol=1e-4)
