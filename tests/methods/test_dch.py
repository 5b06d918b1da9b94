"""DCH beside what every method must hold: its objective, and the rounded relaxation of the released code."""

import jax
import numpy as np
from jax import random
from reference import dch as reference
from tiny import fitted, problem

from jaxcmh.methods import dch


def columns(s):
    return np.asarray(s.B).T, np.asarray(s.G).T, [np.asarray(W).T for W in s.W]


def test_the_objective_is_the_printed_one():
    p = dch.Params(0.3, 0.2, 0.4)
    s, _, losses = fitted(dch.method, p)
    np.testing.assert_allclose(losses[-1], reference.objective(*problem(), *columns(s), p), rtol=1e-9)


def test_relaxed_codes_are_those_of_the_released_code():
    method, (views, labels) = dch.variants["relaxed"], problem()
    s, data, _ = fitted(method, iterations=3)
    with jax.enable_x64(True):
        start = method.init(random.key(0), data, method.params, 8)
    expected = reference.run(views, labels, {"B": np.asarray(start.B)}, method.params, 3, relaxed=True)
    np.testing.assert_array_equal(s.B, expected)


def test_codes_bit_by_bit_fit_better_than_relaxed_ones():
    s, data, _ = fitted(dch.method, dch.Params(mu=0.0), iterations=1)
    with jax.enable_x64(True):
        p = dch.Params(mu=0.0)
        bits, relaxed = (update(s, data, p) for update in (dch.update_B, dch.update_relaxed_B))
        assert dch.objective(bits, data, p) < dch.objective(relaxed, data, p)


def test_hash_functions_are_those_of_the_last_codes():
    s, data, _ = fitted(dch.method, iterations=1)
    with jax.enable_x64(True):
        for x, W in zip(problem()[0], dch.encoder(s, data, dch.Params())):
            np.testing.assert_allclose(W.T, reference.ridge(np.asarray(s.B).T, x.T, 1e-2), rtol=1e-8, atol=1e-10)
