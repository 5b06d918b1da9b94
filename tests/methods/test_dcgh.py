"""DCGH beside what every method must hold: the polar factor of a matrix that is known by coefficients."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcmh.methods import dcgh


def spanned(singular_values, n=60, p=20, noise=12, seed=0):
    """Z, coefficients of a matrix with these singular values, its polar factor, and coefficients of the noise."""
    rng = np.random.default_rng(seed)
    left, right = np.linalg.qr(rng.normal(size=(n, p)))[0], np.linalg.qr(rng.normal(size=(8, 8)))[0]
    mixing = np.eye(p) + 0.1 * rng.normal(size=(p, p))
    Z = np.concatenate([left @ mixing, rng.normal(size=(n, noise))], axis=1)
    C = np.linalg.solve(mixing, np.eye(p, 8) * singular_values @ right.T)
    return Z, np.pad(C, ((0, noise), (0, 0))), left[:, :8] @ right.T, np.eye(p + noise)[:, p:]


def test_polar_resolves_singular_values_ten_orders_of_magnitude_apart():
    Z, C, factor, N = spanned(np.logspace(6, -4, 8))
    with jax.enable_x64(True):
        found, Z_found = map(np.asarray, dcgh.polar(*map(jnp.asarray, (C, Z.T @ Z @ C, N, Z.T @ Z @ N))))
    np.testing.assert_allclose(Z @ found, factor, atol=1e-4)
    np.testing.assert_allclose(Z_found, Z.T @ Z @ found, atol=1e-6)


def test_polar_completes_what_is_deficient_from_the_noise():
    values = np.array([3.0, 2.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0])
    Z, C, _, N = spanned(values)
    with jax.enable_x64(True):
        found, _ = dcgh.polar(*(jnp.asarray(M) for M in (C, Z.T @ Z @ C, N, Z.T @ Z @ N)))
    factor = Z @ np.asarray(found)
    np.testing.assert_allclose(factor.T @ factor, np.eye(8), atol=1e-9)
    np.testing.assert_allclose(np.vdot(Z @ C, factor), values.sum(), rtol=1e-7)
