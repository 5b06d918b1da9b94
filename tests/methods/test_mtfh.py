"""MTFH beside what every method must hold: its objective, its two spaces, and queries taken from one to the other."""

import jax
import numpy as np
import pytest
from jax import random
from reference import mtfh as reference
from tiny import fitted, problem

import jaxcmh
from jaxcmh.methods import mtfh
from jaxcmh.model import query_vectors
from jaxcmh.retrieval.topk import unpack


def test_the_objective_is_the_printed_one():
    p = mtfh.Params(alpha=0.3, beta=0.4)
    s, _, losses = fitted(mtfh.method, p)
    codes, (H1, H2) = (np.asarray(B).T for B in (s.U, s.U_hat, s.V, s.V_hat)), np.asarray(s.H)
    np.testing.assert_allclose(losses[-1], reference.objective(problem()[1], *codes, H1.T, H2, p), rtol=1e-9)


def test_the_objective_never_rises():
    _, _, losses = fitted(mtfh.method, iterations=8)
    assert (np.diff(losses) <= 1e-9 * losses[0]).all()


def test_the_variant_counts_labels_with_length_1():
    method = mtfh.variants["unit"]
    s, data, _ = fitted(method, iterations=3)
    with jax.enable_x64(True):
        start = jax.tree.map(np.asarray, method.init(random.key(0), data, method.params, 8))._asdict()
    expected = reference.run(*problem(), start, method.params, 3, unit=True)
    np.testing.assert_array_equal(method.codes(s, data, method.params), expected)


def test_items_keep_their_space_and_queries_go_to_the_other(tmp_path):
    views, labels = problem(n=200, c=3)
    model = jaxcmh.train("mtfh", views, labels, bits=8, tolerance=0.0)
    jaxcmh.save(model, tmp_path / "model.safetensors")
    for m in (jaxcmh.load(tmp_path / "model.safetensors"), model):
        for view, x in enumerate(views):
            items, queries = (
                np.asarray(unpack(codes), float) for codes in (jaxcmh.encode(m, x, view), query_vectors(m, x, view))
            )
            np.testing.assert_array_equal(queries, np.where(items @ np.asarray(m.encoders[view].H) >= 0, 1, -1))
            assert (items == unpack(m.codes[view])).mean() > 0.8
            assert (queries == unpack(m.codes[1 - view])).mean() > 0.8


def test_networks_and_more_than_two_views_are_refused():
    views, labels = problem(dims=(12, 9, 7))
    with pytest.raises(ValueError, match="views: mtfh learns codes of two views; got 3"):
        jaxcmh.train("mtfh", views, labels, bits=8)
    with pytest.raises(ValueError, match="hash_function: expected 'ridge', for mtfh translates its codes; got 'mlp'"):
        jaxcmh.train("mtfh", views[:2], labels, bits=8, tolerance=0.0, hash_function="mlp")
