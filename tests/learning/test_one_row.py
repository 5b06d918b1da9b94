"""One row encoded in NumPy against the compiled programs."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import jaxcmh
from jaxcmh.learning import features, numba_row, one_row
from jaxcmh.learning.encoders import project

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 6, 300)
LABELS = np.eye(6, dtype=np.uint8)[CLASSES]
IMAGES, TEXTS = ((LABELS @ RNG.normal(size=(6, d)) + RNG.normal(size=(300, d))).astype(np.float32) for d in (40, 7))


@pytest.mark.parametrize("packed", [numba_row.packed, one_row._packed], ids=["numba", "numpy"])
@pytest.mark.parametrize("kind", ["identity", "centre", "standardise", "rbf", "rbf_centred"])
def test_a_row_has_the_signs_of_its_exact_projection(kind, packed, monkeypatch):
    monkeypatch.setattr(one_row, "_numba", lambda: packed)
    fitted, phi = features.fit(features.Features(kind, anchors=60), random.key(0), IMAGES)
    W = jnp.asarray(RNG.normal(size=(phi.shape[1], 32)).astype(np.float32))
    row = one_row.row_hash(fitted, W)
    expected = np.packbits(np.asarray(project(W, phi)) > 0, axis=1, bitorder="little")
    found = [one_row.code(row, IMAGES[i : i + 1]) for i in range(300)]
    decided = [i for i, code in enumerate(found) if code is not None]
    assert len(decided) > 280
    np.testing.assert_array_equal(np.concatenate([found[i] for i in decided]), expected[decided])


@pytest.mark.parametrize("packed", [numba_row.packed, one_row._packed], ids=["numba", "numpy"])
@pytest.mark.parametrize("off", [0.25, -1.0, np.nan])
def test_no_code_is_packed_of_a_projection_within_its_error(packed, off):
    W, phi = np.ones((16, 3), np.float32), np.array([1, 1, 0], np.float32)
    assert packed(W, phi, 1.0).tolist() == [[255, 255]]
    W[9] = -1
    assert packed(W, phi, 1.0).tolist() == [[255, 253]]
    W[9] = [off, 0, 0]
    assert packed(W, phi, 1.0) is None


def test_a_bit_that_rounding_decides_gets_no_answer_and_the_program_is_asked():
    model = jaxcmh.train("dcgh", [IMAGES, TEXTS], LABELS, bits=8, features="standardise")
    _, *encoders = model.encoders
    W = np.asarray(model.encoders[0]).copy()
    W[:, 3] = 0
    model = replace(model, encoders=(jnp.asarray(W), *encoders))
    assert one_row.code(model.row_hashes[0], IMAGES[:1]) is None
    assert np.asarray(jaxcmh.encode(model, IMAGES[:1], 0))[0, 0] >> 3 & 1 == 1  # 0 counts as +1


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
