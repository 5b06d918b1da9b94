"""The control: codewords of label sets that nothing learns, and regressions on them."""

import jax
import numpy as np
import pytest
from jax import random
from reference import random_codewords as reference

import jaxcmh
from jaxcmh.learning import core
from jaxcmh.methods import find, random_codewords


def problem(n=60, c=5, dims=(9, 7)):
    rng = np.random.default_rng(0)
    labels = (rng.random((n, c)) < 0.3).astype(np.uint8)
    return [labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims], labels


@pytest.mark.parametrize("name", ["random_codewords", "random_codewords-labels"])
def test_it_is_ridge_regression_of_one_codeword_per_label_set(name):
    views, labels = problem()
    data, p = core.prepare(views, labels, "float64"), random_codewords.Params(lam=0.3)
    state, losses, _ = core.fit(find(name), data, random.key(0), p, bits=16)
    with jax.enable_x64(True):
        B = np.asarray(state.B)
        pairs = np.unique(np.column_stack([labels, B]), axis=0)
        assert set(B.ravel()) == {-1, 1}
        assert len(pairs) == len(np.unique(labels, axis=0)) > 10
        for W, expected in zip(state.W, reference.hash_functions(views, B, p)):
            np.testing.assert_allclose(W, expected, atol=1e-8)
        np.testing.assert_allclose(losses[-1], reference.objective(views, B, state.W, p), rtol=1e-9)


def test_codes_of_labels_are_alike_where_labels_are():
    views, labels = problem(n=200)
    Y = labels / np.maximum(np.linalg.norm(labels, axis=1, keepdims=True), 1)

    def correlation(name):
        data = core.prepare(views, labels)
        B = np.asarray(core.fit(find(name), data, random.key(0), bits=128).state.B)
        different = ~(labels[:, None] == labels).all(2)
        return np.corrcoef((B @ B.T)[different], (Y @ Y.T)[different])[0, 1]

    assert correlation("random_codewords-labels") > 0.8
    assert abs(correlation("random_codewords")) < 0.3


def test_a_sample_keeps_its_codeword_in_the_model():
    views, labels = problem()
    with pytest.warns(UserWarning, match="14 of 60 rows have none"):
        model = jaxcmh.train("random_codewords", views, labels, bits=16)
    labels, learned = labels[labels.any(1)], np.asarray(model.codes)[labels.any(1)]
    codes = {labels[i].tobytes(): learned[i].tobytes() for i in range(len(labels))}
    assert all(codes[row.tobytes()] == code.tobytes() for row, code in zip(labels, learned))
