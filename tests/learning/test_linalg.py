"""Polar factors, least squares, sums of words: what is the solution in float64 NumPy, also where float32 is short."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcmh.learning import linalg


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def graded(m, q, decades, seed=0):
    """(m, q) with singular values from 1 down so many decades."""
    left, right = (np.linalg.qr(normal(size, q, seed=seed + i))[0] for i, size in enumerate((m, q)))
    return left * np.logspace(0, -decades, q) @ right.T


def test_product_gap_equals_the_n_by_n_norm():
    with jax.enable_x64(True):
        A, B, C, D = (jnp.asarray(normal(30, k, seed=k)) for k in (4, 4, 3, 3))
        np.testing.assert_allclose(linalg.product_gap(A, B, C, D), np.sum((A @ B.T - C @ D.T) ** 2), rtol=1e-12)


@pytest.mark.parametrize("shape", [(50, 6), (6, 50), (8, 8)])
def test_polar_is_the_factor_of_the_singular_value_decomposition(shape):
    M = normal(*shape).astype(np.float32)
    left, _, right = np.linalg.svd(M.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(linalg.polar(jnp.asarray(M)), left @ right, atol=2e-6)


@pytest.mark.parametrize("decades", [3, 9, 15])
def test_polar_resolves_what_lies_decades_apart(decades):
    M = graded(80, 60, decades)
    left, _, right = np.linalg.svd(M, full_matrices=False)
    with jax.enable_x64(True):
        Z = np.asarray(linalg.polar(jnp.asarray(M)))
    np.testing.assert_allclose(Z.T @ Z, np.eye(60), atol=1e-12)
    np.testing.assert_allclose(np.vdot(M, Z), np.linalg.svd(M, compute_uv=False).sum(), rtol=1e-9)
    if decades == 3:
        np.testing.assert_allclose(Z, left @ right, atol=1e-9)


@pytest.mark.parametrize("shape", [(40, 8), (8, 40)])
def test_polar_completes_a_deficient_matrix(shape):
    M = (normal(shape[0], 3) @ normal(3, shape[1], seed=1)).astype(np.float32)
    Z = np.asarray(linalg.polar(jnp.asarray(M)), np.float64)
    np.testing.assert_allclose(Z.T @ Z if shape[0] > shape[1] else Z @ Z.T, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(np.vdot(M, Z), np.linalg.svd(M, compute_uv=False).sum(), rtol=1e-5)


def test_polar_beside_a_vector_is_that_of_centred_columns():
    M = normal(40, 8)
    with jax.enable_x64(True):
        Z = linalg.polar(jnp.asarray(M), beside=jnp.ones(40))
        np.testing.assert_allclose(Z, linalg.polar(jnp.asarray(M - M.mean(0))), atol=1e-12)
        np.testing.assert_allclose(Z.sum(0), 0, atol=1e-12)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("r", [3, 9])
def test_lstsq_minimises_the_weighted_sum_of_its_terms(ridge, r):
    A, B, C, D = normal(30, 6), normal(30, r, seed=1), normal(20, 6, seed=2), normal(20, r, seed=3)
    stacked = np.concatenate([A * np.sqrt(2), C * np.sqrt(0.1), np.sqrt(ridge) * np.eye(6)])
    target = np.concatenate([B * np.sqrt(2), D * np.sqrt(0.1), np.zeros((6, r))])
    with jax.enable_x64(True):
        found = linalg.lstsq((2.0, *map(jnp.asarray, (A, B))), (0.1, *map(jnp.asarray, (C, D))), ridge=ridge)
        np.testing.assert_allclose(found, np.linalg.lstsq(stacked, target)[0], rtol=1e-9)


def test_lstsq_fits_in_float32_where_normal_equations_do_not():
    A, B = graded(60, 20, 4).astype(np.float32), normal(60, 3).astype(np.float32)
    exact = A @ np.linalg.lstsq(A.astype(np.float64), B)[0]
    np.testing.assert_allclose(A @ linalg.lstsq((1.0, jnp.asarray(A), jnp.asarray(B))), exact, atol=2e-3)
    squared = np.linalg.solve(A.T @ A + 1e-7 * np.eye(20, dtype=np.float32), A.T @ B)
    assert np.abs(A @ squared - exact).max() > 0.05


def test_lstsq_of_dependent_columns_fits_as_well_as_any():
    A = np.repeat(normal(30, 3), 2, axis=1).astype(np.float32)
    B = normal(30, 2, seed=1).astype(np.float32)
    least = np.linalg.norm(A @ np.linalg.lstsq(A, B)[0] - B)
    for ridge, share in ((0.0, 1e-2), (1e-4, 1e-6)):
        found = linalg.lstsq((1.0, jnp.asarray(A), jnp.asarray(B)), ridge=ridge)
        assert np.linalg.norm(A @ found - B) <= (1 + share) * least
    assert np.isfinite(linalg.lstsq((1.0, jnp.zeros((5, 5)), jnp.zeros((5, 2))))).all()


def test_ridge_factor_is_that_of_the_gram_matrix():
    P = normal(30, 5)
    with jax.enable_x64(True):
        T = linalg.ridge_factor(jnp.asarray(P), 0.2)
        np.testing.assert_allclose(T.T @ T, P.T @ P + 0.2 * np.eye(5), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(40, 8), (6, 8)])
def test_least_norm_is_the_pseudo_inverse(shape):
    A, B = normal(shape[0], 4) @ normal(4, 8, seed=1), normal(shape[0], 3, seed=2)
    with jax.enable_x64(True):
        found = linalg.least_norm(jnp.asarray(A), jnp.asarray(B))
    np.testing.assert_allclose(found, np.linalg.pinv(A, rcond=1e-10) @ B, atol=1e-9)


def test_many_right_hand_sides_of_least_norm_are_solved_as_few():
    A, B = normal(40, 2) @ normal(2, 4, seed=1), normal(40, 9, seed=2)
    with jax.enable_x64(True):
        found = linalg.least_norm(jnp.asarray(A), jnp.asarray(B))
    np.testing.assert_allclose(found, np.linalg.pinv(A, rcond=1e-10) @ B, atol=1e-9)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_refining_removes_the_bias_of_rounding_and_leaves_0_where_nothing_is_said(precision):
    labels, target = (np.random.default_rng(0).random((300, 6)) < 0.3).astype(float), normal(300, 2)
    labels[:, 4] = 0
    expected = np.linalg.pinv(labels) @ target
    with jax.enable_x64(precision == "float64"):
        L, B = jnp.asarray(labels, float), jnp.asarray(target, float)
        found = linalg.refined(L.T @ L, lambda X: L.T @ (B - L @ X), 2)
    np.testing.assert_allclose(found, expected, atol=1e-12 if precision == "float64" else 1e-6)


@pytest.mark.parametrize(("sets", "precision"), [(200, "float64"), (200, "float32"), (9, "float64"), (9, "float32")])
def test_sums_of_words_are_the_shortest_least_squares_also_where_words_are_left_open(sets, precision):
    rng, words, books = np.random.default_rng(0), 7, 3
    A, counts, target = rng.integers(words, size=(sets, books)), rng.integers(1, 9, size=sets), normal(sets, 4)
    chosen = np.zeros((sets, books * words))
    chosen[np.arange(sets)[:, None], A + words * np.arange(books)] = 1
    weights = np.sqrt(counts)[:, None]
    shortest = np.linalg.pinv(weights * chosen, rcond=1e-10) @ (weights * target)
    with jax.enable_x64(precision == "float64"):
        arguments = jnp.asarray(A, jnp.int32), words, jnp.asarray(counts, float), jnp.asarray(target, float)
        C = np.asarray(linalg.sums_of_words(*arguments))
        shifted = np.asarray(linalg.sums_of_words(*arguments[:3], arguments[3] * (1 + 1e-15)))
    np.testing.assert_allclose(C.reshape(-1, 4), shortest, atol=1e-8 if precision == "float64" else 1e-3)
    np.testing.assert_allclose(chosen @ (C.reshape(-1, 4) - shortest), 0, atol=1e-9 if precision == "float64" else 1e-4)
    if precision == "float64":
        np.testing.assert_allclose(shifted, C, atol=1e-6)
    unused = np.setdiff1d(np.arange(books * words), A + words * np.arange(books))
    np.testing.assert_array_equal(C.reshape(-1, 4)[unused], 0)


def test_descend_minimises_one_column_after_the_other():
    rng = np.random.default_rng(0)
    root, target = rng.normal(size=(5, 5)), rng.normal(size=(20, 5))
    H, B = root @ root.T + np.eye(5), np.sign(rng.normal(size=(20, 5)))
    with jax.enable_x64(True):
        found = np.asarray(linalg.descend(*map(jnp.asarray, (B, target, H)), linalg.sign, sweeps=2))
    for k in [*range(5), *range(5)]:
        B[:, k] = 0
        B[:, k] = np.where(target[:, k] - B @ H[:, k] >= 0, 1, -1)
    np.testing.assert_array_equal(found, B)


def test_unit_rows_leaves_empty_rows_alone():
    np.testing.assert_allclose(linalg.unit_rows(jnp.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_lanes_decompose_what_each_would_alone():
    """Also where one argument belongs to all lanes, and with one program for all."""
    M, beside = jnp.asarray(normal(3, 12, 4), jnp.float32), jnp.ones(12)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def polars(M):
        return jax.vmap(linalg.polar, (0, None))(M, beside)

    for scale in (1.0, 2.0):
        alone = jnp.stack([linalg.polar(m, beside) for m in M])
        np.testing.assert_allclose(polars(scale * M), alone, atol=1e-5)
