"""DCGH beside what every method must hold: label sets stand for samples, and the codes of version 0.1.0."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from reference import dcgh as reference

import jaxcmh
from jaxcmh.learning import core, features
from jaxcmh.learning.linalg import sqnorm, unit_rows
from jaxcmh.learning.reduction import Turn
from jaxcmh.methods import dcgh
from jaxcmh.retrieval.topk import pack

EXPECTED = Path(__file__).parents[1] / "fixtures" / "v0.1.0" / "wiki_codes.npz"


def problem(n=61, c=5, dims=(12, 9)):
    rng = np.random.default_rng(0)
    labels = rng.random((n, c)) < 0.3
    labels[np.arange(n), rng.integers(c, size=n)] = True
    return [labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims], labels.astype(np.uint8)


def each_its_own_set(data):
    n = len(data.mask)
    return data._replace(
        sets=data.per_sample(data.sets), member=jnp.arange(n, dtype=jnp.int32), counts=jnp.ones_like(data.mask)
    )


@pytest.mark.parametrize("classes", [5, 11])
def test_the_objective_is_the_printed_one(classes):
    """Eq. 4 over all rows and pairs, but for |X W|, which is |X| (eq. 13); with fewer and more classes than bits."""
    with jax.enable_x64(True):
        data = core.prepare(*problem(n=30, c=classes), "float64")
        assert data.turned is None
        p = dcgh.Params(alpha=0.3, beta=0.2)
        s, _, _ = core.fit(dcgh.method, data, random.key(0), p, bits=8, max_iterations=2)
        H, Y = data.per_sample(s.H), data.unit_labels
        E = data.per_sample(s.E / data.roots)
        expected = p.alpha * sqnorm(H - E @ s.U)
        for X, B, W, F in zip(data.features, s.B, s.W, s.F):
            expected += sqnorm(B) - 2 * jnp.vdot(B, X @ W) + sqnorm(X) + p.alpha * sqnorm(B - F @ s.U)
            expected += p.beta * sqnorm(H @ B.T - 8 * Y @ Y.T)
        np.testing.assert_allclose(dcgh.objective(s, data, p), expected, rtol=1e-9)


def test_every_sample_as_a_label_set_of_its_own_changes_nothing():
    """Where samples with equal labels start with equal codes and encodings, they keep them."""
    with jax.enable_x64(True):
        data = core.ready(dcgh.method, core.prepare(*problem(), "float64"), 8)
        p, s = dcgh.Params(), dcgh.init(random.key(0), data, dcgh.Params(), 8)
        alone, t = each_its_own_set(data), s._replace(H=s.H[data.member], E=(s.E / data.roots)[data.member])
        for _ in range(4):
            s, t = core.step(dcgh.method, s, data, p), core.step(dcgh.method, t, alone, p)
        np.testing.assert_array_equal(dcgh.codes(t, alone, p), dcgh.codes(s, data, p))
        np.testing.assert_allclose(dcgh.objective(t, alone, p), dcgh.objective(s, data, p), rtol=1e-9)


def test_with_more_classes_than_bits_its_codes_are_those_of_whole_polar_factors():
    """F and E with all the columns that the paper gives them, by singular value decompositions."""
    views, labels = problem(n=120, c=20)
    with jax.enable_x64(True):
        data = core.ready(dcgh.method, core.prepare(views, labels, "float64"), 8)
        s = start = dcgh.init(random.key(0), data, dcgh.Params(), 8)
        for _ in range(5):
            s = core.step(dcgh.method, s, data, dcgh.Params())
        started = jax.tree.map(np.asarray, start._asdict()) | {"F": [np.asarray(data.rows(F)) for F in start.F]}
        expected = reference.run(views, labels.astype(float), started, dcgh.Params(), 5)
        np.testing.assert_array_equal(expected, dcgh.codes(s, data, dcgh.Params()))


def test_representations_are_balanced_and_uncorrelated_rows():
    with jax.enable_x64(True):
        data = core.prepare(*problem(n=200), "float64")
        s, _, _ = core.fit(dcgh.method, data, random.key(0), bits=8, max_iterations=3)
        wide = core.ready(dcgh.method, data, 8)
        for B in s.B:
            np.testing.assert_allclose(wide.ones @ B, 0, atol=1e-8)
            np.testing.assert_allclose(B.T @ B, 200 * np.eye(8), atol=1e-8)
        assert dcgh.representations(s, data)[0].shape == (200, 8)


def as_of_old(data, key, bits):
    """Data and state with which version 0.1.0 started: codes of ones, all else Gaussian, in every sample anew.

    Beside its views and labels each sample had Gaussian noise, in which F started, so reduced rows here span that too.
    """
    c, views = data.sets.shape[1], len(data.views)
    keys = iter(random.split(key, views + 3))
    W, U = tuple(data.gaussian(next(keys), X.shape[1], bits) for X in data.features), data.gaussian(next(keys), c, bits)
    E, N = (data.gaussian(next(keys), len(data.mask), width) for width in (c, max(bits, c)))
    L, Y = data.per_sample(data.sets), data.per_sample(unit_rows(data.sets))
    Q, R = jnp.linalg.qr(jnp.column_stack([*data.features, L, Y, data.mask, N]))
    *reduced, L, Y, ones, N = jnp.split(R, np.cumsum([*(X.shape[1] for X in data.views), c, c, 1]), axis=1)
    data = each_its_own_set(data)._replace(
        views=tuple(reduced), labels=L, unit_labels=Y, ones=ones[:, 0], turned=Turn(Q=Q)
    )
    F, B = jnp.stack([N[:, :c]] * views), jnp.zeros((views, len(R), bits))
    return data, dcgh.State(jnp.ones((len(data.mask), bits)), B, W, U, F, E)


@pytest.mark.parametrize("bits", [16, 64])
def test_from_the_start_of_version_0_1_0_its_codes_on_wiki(bits, shared_data):
    """Every bit, in float64.  The file has what 0.1.0 gave:

    split = jaxcmh.load_dataset("wiki", "shared/data/wiki")
    for name, anchors in (("dcgh", 400), ("imads", 500)):
        for bits in (16, 64):
            chosen = Features(anchors=anchors)
            model = jaxcmh.train(name, split.train.views, split.train.labels, bits=bits, features=chosen)
            codes[f"{name}_{bits}"] = np.asarray(model.codes)
    np.savez_compressed("wiki_codes.npz", **codes)
    """
    split = jaxcmh.load_dataset("wiki", shared_data / "wiki")
    key, chosen = random.key(0), features.Features(anchors=400)
    views = [features.fit(chosen, random.fold_in(key, m), x)[1] for m, x in enumerate(split.train.views)]
    with jax.enable_x64(True):
        data = core.prepare(views, split.train.labels, "float64")
        assert data.turned is not None
        data, state = as_of_old(data, random.fold_in(key, 2), bits)
        step = jax.jit(core.step, static_argnums=0)
        for _ in range(10):
            state = step(core.bare(dcgh.method), state, data, dcgh.Params())
        codes = dcgh.codes(state, data, dcgh.Params())
    np.testing.assert_array_equal(pack(np.asarray(codes, np.float32)), np.load(EXPECTED)[f"dcgh_{bits}"])
