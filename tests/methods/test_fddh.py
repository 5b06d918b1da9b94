"""FDDH beside what every method must hold: its objective, dragged labels, and codes shorter than the classes."""

import jax
import numpy as np
import pytest
from jax import random
from reference import fddh as reference
from tiny import fitted, problem

from jaxcmh.methods import fddh

P = fddh.Params(theta1=0.3, theta2=0.2, gamma=0.5)
every_length = pytest.mark.parametrize("classes", [5, 12])  # with 8 bits


def columns(s):
    return *(np.asarray(a).T for a in (s.B, s.D, s.C)), [np.asarray(R) for R in s.R]


@every_length
def test_the_objective_is_the_printed_one(classes):
    s, _, losses = fitted(fddh.method, P, c=classes)
    np.testing.assert_allclose(losses[-1], reference.objective(problem(c=classes)[0], *columns(s), P), rtol=1e-9)


@every_length
def test_the_objective_never_rises(classes):
    _, _, losses = fitted(fddh.method, P, iterations=8, c=classes)
    assert (np.diff(losses) <= 1e-9 * losses[0]).all()
    assert losses[-1] < 0.9 * losses[0]


def test_codes_shorter_than_the_classes_are_those_of_a_plain_loop():
    s, data, _ = fitted(fddh.method, P, iterations=4, c=12)
    with jax.enable_x64(True):
        start = jax.tree.map(np.asarray, fddh.init(random.key(0), data, P, 8))._asdict()
    np.testing.assert_array_equal(s.B, reference.run(*problem(c=12), start, P, 4))
    C = np.asarray(s.C)
    np.testing.assert_allclose(C.T @ C, np.eye(8), atol=1e-10)


def test_labels_are_dragged_away_from_each_other_and_stay_where_they_are_under_a_large_ridge():
    _, labels = problem()
    s, _, _ = fitted(fddh.method, P)
    D = np.asarray(s.D)
    assert (D[labels > 0] >= 1).all()
    assert (D[labels == 0] <= 0).all()
    assert np.abs(D - labels).max() > 0.1
    kept, _, _ = fitted(fddh.method)
    np.testing.assert_allclose(kept.D, labels, atol=1e-3)


def test_directions_that_features_leave_open_keep_their_reconstruction():
    """Nothing depends on how a decomposition completes its factors: a second update finds the same."""
    s, data, _ = fitted(fddh.method, P)
    with jax.enable_x64(True):
        again = fddh.update_R(fddh.update_R(s, data, P), data, P)
        for R, same in zip(fddh.update_R(s, data, P).R, again.R):
            np.testing.assert_allclose(same, R, atol=1e-9)
            np.testing.assert_allclose(R.T @ R, np.eye(8), atol=1e-9)
