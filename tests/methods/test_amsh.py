"""AMSH beside what every method must hold: its objective, its constraints and its hash functions with margins."""

import jax
import numpy as np
from reference import amsh as reference
from tiny import fitted, problem

from jaxcmh.methods import amsh


def test_the_objective_is_the_printed_one():
    p = amsh.Params(0.3, 0.2, 0.4, 0.5)
    s, _, losses = fitted(amsh.method, p)
    columns = ([np.asarray(x).T for x in part] for part in (s.V, s.B, s.E, s.P))
    np.testing.assert_allclose(losses[-1], reference.objective(problem()[1], *columns, p), rtol=1e-9)
    assert (np.diff(losses) < 0).all()


def test_representations_are_balanced_and_uncorrelated_and_margins_are_not_negative():
    s, _, _ = fitted(amsh.method, iterations=3)
    for V in np.asarray(s.V):
        np.testing.assert_allclose(V.sum(0), 0, atol=1e-9)
        np.testing.assert_allclose(V.T @ V, 61 * np.eye(8), atol=1e-9)
    assert (np.asarray(s.E) >= 0).all()
    assert (np.asarray(s.E) > 0).any()


def test_representations_start_at_principal_components():
    _, data, _ = fitted(amsh.method)
    with jax.enable_x64(True):
        start = np.asarray(amsh.init(jax.random.key(0), data, amsh.Params(), 8).V)
    for x, V in zip(problem()[0], start):
        left = np.linalg.svd(x - x.mean(0), full_matrices=False)[0][:, :8]
        np.testing.assert_allclose(np.abs(left.T @ V) / np.sqrt(61), np.eye(8), atol=1e-7)


def test_more_bits_than_features_start_at_gaussian_numbers_too():
    _, data, _ = fitted(amsh.method, bits=16)
    with jax.enable_x64(True):
        for V in np.asarray(amsh.init(jax.random.key(0), data, amsh.Params(), 16).V):
            np.testing.assert_allclose(V.T @ V, 61 * np.eye(16), atol=1e-9)


def test_hash_functions_have_margins():
    p = amsh.Params(omega=0.5)
    s, data, _ = fitted(amsh.method, p)
    with jax.enable_x64(True):
        encoders = amsh.encoder(s, data, p)
    for x, B, F in zip(problem()[0], np.asarray(s.B), encoders):
        np.testing.assert_allclose(F.T, reference.hash_function(B.T, x.T, p.omega), rtol=1e-8, atol=1e-10)
