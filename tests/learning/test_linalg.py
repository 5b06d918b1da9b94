import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from jaxcmh.learning import linalg


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_product_gap_equals_the_n_by_n_norm():
    with jax.enable_x64(True):
        A, B = jnp.asarray(normal(30, 4)), jnp.asarray(normal(30, 4, seed=1))
        C, D = jnp.asarray(normal(30, 3, seed=2)), jnp.asarray(normal(30, 3, seed=3))
        np.testing.assert_allclose(linalg.product_gap(A, B, C, D), np.sum((A @ B.T - C @ D.T) ** 2), rtol=1e-12)


def test_cross_adds_blocks_in_float64(monkeypatch):
    X, Y = normal(50, 4).astype(np.float32), normal(50, 3, seed=1).astype(np.float32)
    exact = X.astype(np.float64).T @ Y.astype(np.float64)
    for block in (7, 25, 64):
        monkeypatch.setattr(linalg, "BLOCK_ROWS", block)
        found = linalg.cross(jnp.asarray(X), jnp.asarray(Y))
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, exact, rtol=1e-13)


def test_gram_fills_both_triangles(monkeypatch):
    X = normal(50, 20).astype(np.float32)
    for panel in (6, 20, 64):
        monkeypatch.setattr(linalg, "PANEL", panel)
        jax.clear_caches()
        found = linalg.gram(jnp.asarray(X))
        np.testing.assert_allclose(found, X.astype(np.float64).T @ X.astype(np.float64), rtol=1e-12, atol=1e-12)


def test_solve_is_accurate_where_float32_is_not():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    A = (Q * np.logspace(0, -9, 40)) @ Q.T
    A = (A + A.T) / 2
    B = rng.normal(size=(40, 3)).astype(np.float32)
    with jax.enable_x64(True):
        A64 = jnp.asarray(A)
    found = linalg.solve(A64, jnp.asarray(B), 1e-8)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.linalg.solve(A + 1e-8 * np.eye(40), B), rtol=1e-3)


def test_solve_of_a_singular_matrix_stays_finite():
    A = np.ones((5, 5), np.float32)
    assert np.isfinite(linalg.solve(jnp.asarray(A), jnp.ones((5, 2), jnp.float32))).all()
    assert np.isfinite(linalg.solve(jnp.zeros((5, 5)), jnp.zeros((5, 2)))).all()


@pytest.mark.parametrize("shape", [(50, 6), (6, 50), (8, 8)])
def test_orthonormal_is_the_polar_factor(shape):
    M = normal(*shape).astype(np.float32)
    left, _, right = np.linalg.svd(M.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(linalg.orthonormal(jnp.asarray(M)), left @ right, atol=2e-6)


def test_orthonormal_survives_singular_values_over_five_orders_of_magnitude():
    left, right = np.linalg.qr(normal(200, 8))[0], np.linalg.qr(normal(8, 8, seed=1))[0]
    with jax.enable_x64(True):
        M = jnp.asarray(left * np.logspace(4, -1, 8) @ right.T)
        np.testing.assert_allclose(linalg.orthonormal(M), left @ right.T, atol=1e-6)


def test_orthonormal_completes_a_deficient_matrix():
    M = normal(40, 3) @ normal(3, 8, seed=1)
    mask = np.ones(44)
    mask[40:] = 0
    M = np.concatenate([M - M.mean(0), np.zeros((4, 8))]).astype(np.float32)
    Z = np.asarray(linalg.orthonormal(jnp.asarray(M), jnp.asarray(mask, jnp.float32)), np.float64)
    np.testing.assert_allclose(Z.T @ Z, np.eye(8), atol=1e-5)
    np.testing.assert_array_equal(Z[40:], 0)
    np.testing.assert_allclose(np.vdot(M, Z), np.linalg.svd(M, compute_uv=False).sum(), rtol=1e-5)


def test_unit_rows_leaves_empty_rows_alone():
    np.testing.assert_allclose(linalg.unit_rows(jnp.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_in_float64_needs_no_global_flag():
    @linalg.in_float64
    def third(x):
        return (x + 1e-12 - x) * 1e12

    assert not jax.config.jax_enable_x64
    np.testing.assert_allclose(jax.jit(third)(jnp.float32(1.0)), 1.0, rtol=1e-3)


def test_random_numbers_of_a_row_depend_on_neither_padding_nor_precision():
    from jaxcmh.learning.core import prepare, random_rows
    from jaxcmh.learning.mesh import pad_rows

    data = prepare([normal(9, 3), normal(9, 2)], np.eye(9, 3))
    drawn = random_rows(random.key(0), data, 4)
    np.testing.assert_array_equal(random_rows(random.key(0), pad_rows(data, 8), 4)[:9], drawn)
    np.testing.assert_array_equal(random_rows(random.key(0), pad_rows(data, 8), 4)[9:], 0)
    with jax.enable_x64(True):
        wide = prepare([normal(9, 3), normal(9, 2)], np.eye(9, 3))
        np.testing.assert_array_equal(random_rows(random.key(0), wide, 4), drawn)
