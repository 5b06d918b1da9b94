"""DLFH beside what every method must hold: its likelihood, its bound, and the bits that are best given all others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from reference import dlfh as reference
from tiny import fitted, problem

import jaxcmh
from jaxcmh.methods import dlfh

EXACT = dlfh.variants["exact"]
A = 1.0  # lam / r


def test_the_objective_is_the_printed_one_where_every_sample_is_drawn():
    s, data, _ = fitted(dlfh.method)
    with jax.enable_x64(True):
        s = s._replace(columns=jnp.arange(61, dtype=jnp.int32))
        found = dlfh.objective(s, data, dlfh.Params(lam=8 * A))
    np.testing.assert_allclose(found, reference.objective(problem()[1], *(np.asarray(U).T for U in s.U), A), rtol=1e-9)


def test_the_variant_gives_the_codes_of_a_plain_loop():
    s, data, _ = fitted(EXACT, iterations=3)
    with jax.enable_x64(True):
        start = jax.tree.map(np.asarray, EXACT.init(random.key(0), data, EXACT.params, 8))._asdict()
    expected = reference.run(*problem(), start, EXACT.params, 3, exact=True)
    np.testing.assert_array_equal(EXACT.codes(s, data, EXACT.params), expected)


def sampled(s, U, columns):
    """The negative likelihood of codes U (n, r) of the first view, over pairs with the columns of the second."""
    labels, V = problem()[1], np.asarray(s.U[1])[columns]
    S, Theta = (labels @ labels[columns].T >= 1).astype(float), A * np.asarray(U) @ V.T
    return (reference.softplus(Theta) - S * Theta).sum(1)


@pytest.mark.parametrize("of_bit", [dlfh.likelihood_bound, dlfh.likelihood])
def test_no_sample_becomes_less_likely(of_bit):
    s, data, _ = fitted(EXACT, iterations=1)
    with jax.enable_x64(True):
        after = dlfh.update_view(s, data, dlfh.Params(), 0, of_bit)
    before, now = (sampled(s, U, np.asarray(after.columns)) for U in (s.U[0], after.U[0]))
    assert (now <= before + 61 * dlfh.STEP).all()
    assert now.sum() < before.sum()


def test_bits_of_the_variant_leave_no_flip_that_is_better_when_repeated_on_the_same_columns():
    s, data, _ = fitted(EXACT, iterations=1)
    with jax.enable_x64(True):
        key = s.key
        for _ in range(10):
            s = dlfh.update_view(s._replace(key=key), data, dlfh.Params(), 0, dlfh.likelihood)
    best = sampled(s, s.U[0], np.asarray(s.columns))
    for k in range(8):
        flipped = np.asarray(s.U[0]).copy()
        flipped[:, k] *= -1
        assert (sampled(s, flipped, np.asarray(s.columns)) >= best - 128 * dlfh.STEP).all()


def test_every_sample_is_drawn_as_often_as_any_other_and_padding_never():
    found = np.asarray(dlfh.drawn(np.array([0, 7], np.uint32), 6000, 6))
    counts = np.bincount(found, minlength=6)
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 150
    assert not np.array_equal(found, dlfh.drawn(dlfh.next_key(np.array([0, 7], np.uint32)), 6000, 6))


def test_a_likelihood_without_scale_is_refused():
    with pytest.raises(ValueError, match=r"params.lam: expected a finite number above 0; got 0"):
        jaxcmh.train("dlfh", [np.eye(20), np.eye(20)], np.arange(20) % 2, bits=8, params={"lam": 0})
