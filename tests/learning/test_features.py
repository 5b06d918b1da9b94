import re
import typing

import jax
import numpy as np
import pytest
import scipy.sparse
from jax import random

from jaxcmh.learning import features
from jaxcmh.learning.features import Features


def rows(n=40, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def by_hand(fitted, x, features):
    z = (np.asarray(x, np.float64) - np.asarray(fitted.mean)) / np.asarray(fitted.scale)
    distances = np.linalg.norm(z[:, None] - np.asarray(fitted.anchors, np.float64), axis=2)
    return np.exp(-(distances**2 if features.kind == "rbf" else distances) / (2 * float(fitted.sigma) ** 2)), distances


@pytest.mark.parametrize("kind", ["rbf", "laplace"])
@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("width", [0.5, 1.0])
def test_kernels_follow_their_formula(kind, standardise, width):
    chosen = Features(kind, anchors=10, width=width, standardise=standardise)
    x = 3 + 2 * rows()
    fitted, phi = features.fit(chosen, random.key(0), x)
    expected, distances = by_hand(fitted, x, chosen)
    np.testing.assert_allclose(fitted.sigma, width * distances.mean(), rtol=1e-4)
    np.testing.assert_allclose(phi, expected, atol=1e-3 if kind == "laplace" else 1e-5)
    new = 3 + 2 * rows(7, seed=1)
    np.testing.assert_allclose(features.apply(fitted, new), by_hand(fitted, new, chosen)[0], atol=1e-5)


def test_anchors_are_distinct_training_rows_drawn_by_the_key():
    x = rows()
    one, two = (features.fit(Features(anchors=10), random.key(seed), x)[0].anchors for seed in (0, 1))
    matches = (np.asarray(one)[:, None] == x).all(2)
    assert (matches.sum(1) == 1).all()
    assert len(np.unique(matches.argmax(1))) == 10
    assert not np.array_equal(one, two)


def test_more_anchors_than_rows_takes_all_rows():
    assert features.fit(Features(anchors=99), random.key(0), rows())[1].shape == (40, 40)


def test_standardise_is_fitted_on_training_rows_and_leaves_constant_features():
    x = rows()
    x[:, 2] = 0.1
    fitted, phi = features.fit(Features("standardise"), random.key(0), x)
    varying = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(np.asarray(phi)[:, varying].std(0), 1, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(phi).mean(0), 0, atol=1e-5)
    new = rows(5, seed=3)
    np.testing.assert_allclose(
        np.asarray(features.apply(fitted, new))[:, varying], ((new - x.mean(0)) / x.std(0))[:, varying], rtol=1e-3
    )
    np.testing.assert_allclose(np.asarray(features.apply(fitted, new))[:, 2], new[:, 2] - 0.1, rtol=1e-5)


def test_the_centred_kernel_is_the_kernel_less_its_mean_over_training_rows():
    (plain, phi), (centred, psi) = (
        features.fit(Features(kind, anchors=10), random.key(0), rows()) for kind in ("rbf", "rbf_centred")
    )
    np.testing.assert_allclose(psi, phi - phi.mean(0), atol=1e-6)
    new = rows(seed=1)
    expected = features.apply(plain, new) - phi.mean(0)
    np.testing.assert_allclose(features.apply(centred, new), expected, atol=1e-6)


def test_centre_takes_the_means_of_the_training_rows_away_and_nothing_else():
    x = 3 + 2 * rows()
    fitted, phi = features.fit(Features("centre"), random.key(0), x)
    np.testing.assert_allclose(phi, x - x.mean(0), atol=1e-5)
    np.testing.assert_allclose(features.apply(fitted, x[:5] + 1), x[:5] + 1 - x.mean(0), atol=1e-5)


@pytest.mark.parametrize("kind", typing.get_args(features.Kind))
@pytest.mark.parametrize("layout", [scipy.sparse.csr_matrix, scipy.sparse.coo_array])
def test_sparse_rows_are_mapped_as_dense_ones(kind, layout):
    x = rows() * (rows(seed=1) > 0)
    chosen = Features(kind, anchors=10, standardise=True)
    dense_map, dense = features.fit(chosen, random.key(0), x)
    sparse_map, sparse = features.fit(chosen, random.key(0), layout(x))
    # Moments differ in their last digit, and of an anchor's distance to itself the root of its rounding is seen.
    atol = 1e-4 if kind == "laplace" else 1e-5
    np.testing.assert_allclose(sparse, dense, atol=atol)
    np.testing.assert_allclose(features.apply(sparse_map, layout(x)), features.apply(dense_map, x), atol=atol)


@pytest.mark.parametrize("kind", typing.get_args(features.Kind))
def test_row_blocks_change_nothing(kind, monkeypatch):
    chosen = Features(kind, anchors=10)
    whole_map, whole = features.fit(chosen, random.key(0), rows())
    monkeypatch.setattr(features, "BLOCK_ENTRIES", 170)
    fitted, phi = features.fit(chosen, random.key(0), rows())
    np.testing.assert_allclose(fitted.sigma, whole_map.sigma, rtol=1e-5)
    np.testing.assert_allclose(phi, whole, rtol=1e-4)


def test_identical_rows_give_no_nan():
    assert np.isfinite(features.fit(Features(anchors=5), random.key(0), np.ones((9, 3)))[1]).all()


def test_a_fitted_map_is_a_pytree_that_jit_takes():
    fitted, phi = features.fit(Features(anchors=5), random.key(0), rows())
    doubled = jax.tree.map(lambda leaf: leaf, fitted)
    np.testing.assert_array_equal(features.apply(doubled, rows()), phi)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (Features("gauss"), f"features.kind: expected one of {', '.join(typing.get_args(features.Kind))}; got 'gauss'"),
        (Features(anchors=0), "features.anchors: expected an integer of at least 1; got 0"),
        (Features(width=-1.0), "features.width: expected a number from 1e-06 to 1e+06; got -1.0"),
        (
            Features(width=float("nan")),
            "features.width: expected a number from 1e-06 to 1e+06; got nan",
        ),
    ],
)
def test_a_choice_that_cannot_be_is_refused(chosen, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        features.fit(chosen, random.key(0), rows())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(5), r"x: expected a non-empty \(n, d\) array, rows are samples; got shape \(5,\)"),
        (np.zeros((0, 5)), r"got shape \(0, 5\)"),
        (np.array([["a"]]), r"x: expected real numbers; got <U1 of shape \(1, 1\)"),
        (np.array([[1.0], [np.inf]]), "x: expected finite numbers; row 1 holds NaN or infinity"),
        (scipy.sparse.csr_matrix([[0.0], [np.nan]]), "x: expected finite numbers; row 1 holds NaN or infinity"),
    ],
)
def test_rows_that_cannot_be_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        features.fit(Features(anchors=2), random.key(0), x)


def test_apply_refuses_another_number_of_features():
    fitted, _ = features.fit(Features(anchors=2), random.key(0), rows())
    with pytest.raises(ValueError, match=r"x: expected 6 columns, as in training; got shape \(2, 5\)"):
        features.apply(fitted, np.zeros((2, 5)))
