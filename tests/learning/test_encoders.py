"""Hash functions: the MLP learns what no linear one can, stops early, repeats itself and is stored; nearest words."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import jaxcmh
from jaxcmh.learning import core, encoders
from jaxcmh.studies import runs


def exclusive_or(n=600):
    """Bits that are the product of two signs: no linear function of the features tells them."""
    x = np.asarray(random.normal(random.key(0), (n, 2)))
    codes = jnp.where(jnp.asarray(x[:, :1] * x[:, 1:]) > 0, 1.0, -1.0)
    return codes, core.prepare([x, -3 * x + 1], np.eye(2)[np.arange(n) % 2])


def test_the_mlp_learns_what_ridge_cannot():
    codes, data = exclusive_or()
    linear = encoders.ridge(codes, data, 1e-3)
    networks = encoders.mlp(codes, data, random.key(1), hidden=64)
    for x, W, network in zip(data.features, linear, networks):
        right = [((encoders.project(e, x) > 0) == (codes > 0)).mean() for e in (W, network)]
        assert right[0] < 0.65
        assert right[1] > 0.9


def test_training_stops_early_and_returns_the_best_network():
    """The targets are noise: the held-out loss soon grows, and what comes back is the network before."""
    codes, data = exclusive_or(200)
    codes = jnp.where(random.bernoulli(random.key(2), shape=codes.shape), 1.0, -1.0)
    seen = []
    networks = encoders.mlp(
        codes, data, random.key(1), hidden=64, rate=1e-2, patience=4, progress=lambda *told: seen.append(told)
    )
    for view, network in enumerate(networks):
        losses = [loss for told_view, _, loss in seen if told_view == view]
        assert [passes for told_view, passes, _ in seen if told_view == view] == list(range(1, len(losses) + 1))
        assert len(losses) == np.argmin(losses) + 1 + 4 < 200
        samples = np.asarray(random.permutation(random.fold_in(random.key(1), 0), 200))[:20]
        margins = (codes * encoders.project(network, data.features[view]))[samples]
        np.testing.assert_allclose(jnp.log1p(jnp.exp(-margins)).mean(), min(losses), rtol=1e-5)


def test_the_same_key_trains_the_same_networks():
    codes, data = exclusive_or(100)
    first, second, other = (encoders.mlp(codes, data, random.key(k), hidden=8, epochs=2) for k in (1, 1, 2))
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second)):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0].W1, other[0].W1)


def test_constant_features_and_few_samples_leave_no_nan():
    data = core.prepare([np.ones((3, 4)), np.zeros((3, 2))], np.eye(3))
    networks = encoders.mlp(jnp.ones((3, 8)), data, random.key(0), hidden=4, epochs=3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(networks))


@pytest.mark.parametrize("method", ["dcgh", "aah"])
def test_a_model_with_an_mlp_encodes_and_comes_back_from_its_file(method, tmp_path):
    split = jaxcmh.load_dataset("synthetic", train=120, query=10)
    options = {"bits": 16, "hash_function": "mlp"}
    model = jaxcmh.train(method, split.train.views, split.train.labels, **options)
    assert model.info.hash_function == "mlp"
    np.testing.assert_array_equal(jaxcmh.encode(model, split.train.views[1], 1), model.encoded[1])
    jaxcmh.save(model, tmp_path / "model.safetensors")
    loaded = jaxcmh.load(tmp_path)
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(model)):
        np.testing.assert_array_equal(a, b)


def test_progress_is_told_pass_by_pass():
    split = jaxcmh.load_dataset("synthetic", train=100, query=10)
    told = []
    runs.run(split, "dcgh", bits=8, data="synthetic", hash_function="mlp", say=told.append)
    passes = [line for line in told if line.startswith("hash function")]
    assert told[0] == "training"
    assert told[-1] == "evaluating"
    for view in (0, 1):
        assert sum(
            re.match(rf"hash function of view {view}, pass \d+, held-out loss \d\.\d+", p) is not None for p in passes
        )


def test_nearest_words_choose_book_by_book():
    rng = np.random.default_rng(0)
    h, C, root = rng.normal(size=(20, 4)), rng.normal(size=(3, 7, 4)), rng.normal(size=(4, 4))
    G = root @ root.T
    found = np.asarray(encoders.nearest_words(h, C, G))
    for target, chosen in zip(h, found):
        z = np.zeros(4)
        for words, word in zip(C, chosen):
            costs = [(z + c) @ G @ (z + c) - 2 * target @ (z + c) for c in words]
            assert word == np.argmin(costs)
            z = z + words[word]
