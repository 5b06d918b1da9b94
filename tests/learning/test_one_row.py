"""One row encoded in NumPy against the compiled programs."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import jaxcmh
from jaxcmh.learning import features, numba_row, one_row

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 6, 300)
LABELS = np.eye(6, dtype=np.uint8)[CLASSES]
IMAGES, TEXTS = ((LABELS @ RNG.normal(size=(6, d)) + RNG.normal(size=(300, d))).astype(np.float32) for d in (40, 7))
TAGS = (RNG.random((300, 60)) < 0.02 + 0.1 * (np.arange(60) % 6 == CLASSES[:, None])).astype(np.float32)


@pytest.mark.parametrize("packed", [numba_row.packed, one_row._packed], ids=["numba", "numpy"])
@pytest.mark.parametrize("kind", ["identity", "centre", "standardise", "rbf", "rbf_centred"])
@pytest.mark.parametrize("rows", [IMAGES, TAGS], ids=["dense", "tags"])
def test_a_row_has_the_signs_of_its_exact_projection(rows, kind, packed, monkeypatch):
    monkeypatch.setattr(one_row, "_numba", lambda: packed)
    fitted, phi = features.fit(features.Features(kind, anchors=60), random.key(0), rows)
    W = jnp.asarray(RNG.normal(size=(phi.shape[1], 32)).astype(np.float32))
    row = one_row.row_hash(fitted, W)
    projected = np.asarray(phi, float) @ np.asarray(W, float)
    codes = np.concatenate([one_row.code(row, rows[i : i + 1]) for i in range(300)])
    wrong = np.unpackbits(codes, axis=1, bitorder="little") != (projected > 0)
    assert np.abs(projected[wrong]).max(initial=0) < 1e-5 * np.abs(projected).max()


@pytest.mark.parametrize("packed", [numba_row.packed, one_row._packed], ids=["numba", "numpy"])
def test_a_projection_of_0_counts_as_1_as_it_does_among_many_rows(packed, monkeypatch):
    monkeypatch.setattr(one_row, "_numba", lambda: packed)
    model = jaxcmh.train("dcgh", [IMAGES, TEXTS], LABELS, bits=8, features="standardise")
    W = np.asarray(model.encoders[0]).copy()
    W[:, 3] = 0
    model = replace(model, encoders=(jnp.asarray(W), model.encoders[1]))
    for rows in (IMAGES[:1], IMAGES[:2]):
        assert (np.asarray(jaxcmh.encode(model, rows, 0))[:, 0] >> 3 & 1 == 1).all()


def test_numbers_that_are_too_large_get_no_code_and_the_program_is_asked():
    model = jaxcmh.train("dcgh", [IMAGES, TEXTS], LABELS, bits=8, features=features.Features(anchors=60))
    huge = 1e18 * IMAGES[:1]
    assert one_row.code(model.row_hashes[0], huge) is None
    assert jaxcmh.encode(model, huge, 0).shape == (1, 1)


@pytest.mark.parametrize("kind", ["rbf", "laplace"])
@pytest.mark.parametrize("of", [np.asarray, jnp.asarray, lambda x: x.astype(np.float64)], ids=["numpy", "jax", "wide"])
def test_rows_encoded_one_by_one_are_those_encoded_together(kind, of):
    model = jaxcmh.train("dcgh", [IMAGES, TEXTS], LABELS, bits=16, features=kind, max_iterations=3)
    whole = np.asarray(jaxcmh.encode(model, TEXTS[:40], 1))
    single = np.concatenate([jaxcmh.encode(model, of(TEXTS[i : i + 1]), 1) for i in range(40)])
    np.testing.assert_array_equal(single, whole)


def test_what_is_no_linear_hash_function_of_single_precision_has_no_form_here():
    fitted, _ = features.fit(features.Features("identity"), random.key(0), IMAGES)
    network = jaxcmh.train("dcgh", [IMAGES, TEXTS], LABELS, bits=8, hash_function="mlp", max_iterations=2).encoders[0]
    assert one_row.row_hash(fitted, network) is None
    assert one_row.row_hash(fitted, jnp.ones((40, 8))) is not None
