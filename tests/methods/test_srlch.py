"""SRLCH beside what every method must hold: its objective, and which codes its hash functions belong to."""

import jax
import numpy as np
from reference import srlch as reference
from tiny import fitted, problem

from jaxcmh.methods import srlch


def test_the_objective_is_the_printed_one():
    p = srlch.Params(0.3, 0.2, 0.4, 0.5, 0.6)
    s, _, losses = fitted(srlch.method, p)
    views, labels = problem()
    B, W, P = np.asarray(s.B).T, np.asarray(s.W).T, [np.asarray(P).T for P in s.P]
    np.testing.assert_allclose(losses[-1], reference.objective(views, labels, B, W, P, p), rtol=1e-9)


def test_hash_functions_are_those_of_the_last_codes():
    p = srlch.Params()
    s, data, _ = fitted(srlch.method, p, iterations=1)
    views, _ = problem()
    with jax.enable_x64(True):
        for x, P, rho in zip(views, srlch.encoder(s, data, p), (p.rho1, p.rho2)):
            np.testing.assert_allclose(P.T, reference.ridge(np.asarray(s.B).T, x.T, rho), rtol=1e-8, atol=1e-10)


def test_without_fits_samples_of_one_label_set_end_with_one_code_and_keep_it():
    p = srlch.Params(mu1=0.0, mu2=0.0)
    earlier, data, _ = fitted(srlch.method, p, iterations=9)
    last, _, _ = fitted(srlch.method, p, iterations=10)
    np.testing.assert_array_equal(earlier.B, last.B)
    for m in range(len(data.sets)):
        assert len(np.unique(np.asarray(last.B)[np.asarray(data.member) == m], axis=0)) == 1
