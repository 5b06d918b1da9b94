"""Reduced rows have every inner product of the rows they stand for, both ways, whatever the columns."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax import random

from jaxcmh.learning import core, encoders, mesh, reduction

PRECISIONS = (None, "float32", "float64")
every_precision = pytest.mark.parametrize("precision", PRECISIONS, ids=str)
# Of inner products, as a share of the largest: what Gram matrix, float32 and float64 rounding leave.
NEAR = {None: 1e-6, "float32": 3e-6, "float64": 1e-13}


def problem(n=90, c=4, dims=(7, 5)):
    """Columns that depend on each other: a feature twice, a class without samples, single labels of length 1."""
    rng = np.random.default_rng(0)
    labels = np.eye(c + 1, dtype=np.uint8)[rng.integers(c, size=n)]
    views = [labels[:, :1] + rng.normal(size=(n, d)).astype(np.float32) for d in dims]
    views[0][:, 3] = views[0][:, 2]
    return views, labels


def columns(data):
    """Z and its reduced rows."""
    L = np.asarray(data.per_sample(core.label_columns(data.sets)), np.float64)
    Z = np.column_stack([*(np.asarray(x, np.float64) for x in data.features), L])
    parts = *data.views, data.labels, data.unit_labels, data.ones
    return Z, np.column_stack([np.asarray(x, np.float64) for x in parts])


@every_precision
def test_reduced_rows_have_every_inner_product(precision):
    data = core.prepare(*problem(), precision)
    with jax.enable_x64(precision == "float64"):
        Z, R = columns(data)
        assert R.shape == (23, 23)
        np.testing.assert_allclose(R.T @ R, Z.T @ Z, atol=NEAR[precision] * np.abs(Z.T @ Z).max())
        assert data.turned is not None
        if precision is None:
            assert data.turned.R.dtype == np.float64
            assert data.turned.Q is None
        else:
            Q = np.asarray(data.turned.Q, np.float64)
            np.testing.assert_allclose(Q @ R, Z, atol=NEAR[precision] * np.abs(Z).max() * 10)


@every_precision
def test_products_with_codes_and_ridges_are_those_of_the_rows(precision):
    data = core.prepare(*problem(), precision)
    with jax.enable_x64(precision == "float64"):
        wide = core.ready(core.Method("", (), None, (), None, None, None), data, 8)  # pyright: ignore
        B = jnp.where(random.normal(random.key(0), (90, 8)) > 0, 1.0, -1.0).astype(data.mask.dtype)
        Z, R = columns(wide)
        ZB = Z.T @ np.asarray(B, np.float64)
        for B_p in (wide.coordinates(B), wide.reduced(B)):
            assert B_p.shape == (23 + 8, 8)
            np.testing.assert_allclose(R.T @ np.asarray(B_p, np.float64), ZB, atol=3e-6 * np.abs(ZB).max())
        B_p = np.asarray(wide.reduced(B), np.float64)
        np.testing.assert_allclose(B_p.T @ B_p, np.asarray(B.T @ B), atol=1e-3)
        for X, W in zip(data.features, encoders.ridge(B, wide, 0.1)):
            X = np.asarray(X, np.float64)
            exact = np.linalg.solve(X.T @ X + 0.1 * np.eye(X.shape[1]), X.T @ np.asarray(B, np.float64))
            np.testing.assert_allclose(X @ W, X @ exact, atol=1e-4)


@every_precision
def test_rows_come_back_from_reduced_rows(precision):
    data = core.prepare(*problem(), precision)
    with jax.enable_x64(precision == "float64"):
        wide = core.ready(core.Method("", (), None, (), None, None, None), data, 8)  # pyright: ignore
        near = {"rtol": 0, "atol": 1e-9 if precision == "float64" else 2e-4}
        for X, X_p in zip(data.features, wide.views):
            np.testing.assert_allclose(wide.rows(X_p), X, **near)
        np.testing.assert_allclose(wide.rows(wide.labels), data.per_sample(data.sets), **near)
        np.testing.assert_allclose(wide.rows(wide.ones[:, None])[:, 0], data.mask, **near)
        B = jnp.where(random.normal(random.key(0), (90, 8)) > 0, 1.0, -1.0).astype(data.mask.dtype)
        mixture, turn = jnp.linspace(-1, 1, 7 * 3).reshape(7, 3), jnp.linspace(-1, 1, 8 * 3).reshape(8, 3)
        B_p = wide.reduced(B)
        found = wide.rows(wide.views[0] @ mixture + B_p @ turn, B, B_p)
        np.testing.assert_allclose(found, data.features[0] @ mixture + B @ turn, atol=max(near["atol"], 1e-6))


def test_without_products_between_views_all_others_are_there():
    data = core.prepare(*problem(), across=False)
    Z, R = columns(data)
    first, second = slice(0, 7), slice(7, 12)
    expected, found = Z.T @ Z, R.T @ R
    far = np.abs(found - expected)[first, second].max()
    found[first, second], found[second, first] = expected[first, second], expected[second, first]
    np.testing.assert_allclose(found, expected, atol=NEAR[None] * np.abs(expected).max())
    assert far > 1e-3 * np.abs(expected).max()
    B = jnp.where(random.normal(random.key(0), (90, 8)) > 0, 1.0, -1.0)
    np.testing.assert_allclose(R.T @ data.coordinates(B), Z.T @ np.asarray(B), atol=1e-3)


def test_labels_of_many_classes_have_every_inner_product_too():
    labels = np.eye(150, dtype=np.uint8)[np.random.default_rng(0).integers(140, size=600)]
    data = core.prepare([labels[:, :7] + np.float32(1), labels[:, 3:9] * np.float32(0.1)], labels)
    assert scipy.sparse.issparse(reduction.of_few(np.asarray(core.label_columns(data.sets))))
    Z, R = columns(data)
    np.testing.assert_allclose(R.T @ R, Z.T @ Z, atol=1e-6 * np.abs(Z.T @ Z).max())


@pytest.mark.parametrize(
    "form", [lambda blocks: reduction.triangle_by_gram(blocks, (6, 6)), lambda z: reduction.triangle_by_qr(z, 6)]
)
def test_blocks_of_rows_one_after_another_equal_the_whole(form):
    z = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    whole = np.asarray(form(iter([jnp.asarray(z)])))
    for size in (1, 7, 49):
        R = np.asarray(form(jnp.asarray(z[i : i + size]) for i in range(0, 50, size)))
        np.testing.assert_allclose(np.abs(R), np.abs(whole), atol=1e-5)
        np.testing.assert_allclose(R.T @ R, z.T.astype(np.float64) @ z, atol=1e-4)


def test_smaller_blocks_change_nothing(monkeypatch):
    rows = [jnp.asarray(x, jnp.float32) for x in problem()[0]]
    B = random.normal(random.key(0), (90, 3))
    expected, turned = reduction.turn(tuple(rows), by_gram=True)
    whole = reduction.coordinates(turned, tuple(rows), B)
    monkeypatch.setattr(reduction, "BLOCK_ROWS", 32)
    jax.clear_caches()
    found, turned = reduction.turn(tuple(rows), by_gram=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(reduction.coordinates(turned, tuple(rows), B), whole, atol=1e-5)
    jax.clear_caches()


def test_what_spans_nothing_stays_finite():
    for by_gram in (True, False):
        R, turned = reduction.turn((jnp.zeros((9, 2)), jnp.ones((9, 2))), by_gram)
        chex.assert_tree_all_finite((R, turned))
        np.testing.assert_allclose(R.T @ R, [[0, 0, 0, 0]] * 2 + [[0, 0, 9, 9]] * 2, atol=1e-5)


@every_precision
def test_no_more_samples_than_columns_are_the_rows_themselves(precision):
    data = core.prepare(*problem(n=23), precision)
    with jax.enable_x64(precision == "float64"):
        assert data.turned is None
        wide = core.ready(core.Method("", (), None, (), None, None, None), data, 8)  # pyright: ignore
        chex.assert_trees_all_equal(wide.views, data.features)
        np.testing.assert_array_equal(wide.labels, data.per_sample(data.sets))
        M = jnp.ones((23, 2))
        assert all(turn(M) is M for turn in (wide.coordinates, wide.reduced, wide.rows))


def test_precision_float32_is_without_float64_and_float64_without_float32():
    for precision, absent in (("float32", "float64"), ("float64", "float32")):
        data = core.prepare(*problem(), precision)
        assert not {leaf.dtype for leaf in jax.tree.leaves(data)} & {np.dtype(absent)}
    traced = []

    def prepared(*views):
        traced.append(str(jax.make_jaxpr(lambda *views: reduction.turn(views, by_gram=False))(*views)))

    prepared(*(jnp.asarray(x, jnp.float32) for x in problem()[0]))
    assert "f64" not in traced[0]


def test_padding_and_precision_leave_random_numbers_as_they_are():
    data, double = (core.prepare(*problem(), precision) for precision in (None, "float64"))
    drawn = data.gaussian(random.key(0), 90, 4)
    np.testing.assert_array_equal(mesh.pad_rows(data, 8).gaussian(random.key(0), 90, 4), drawn)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(double.gaussian(random.key(0), 90, 4), drawn)


@pytest.mark.parametrize("across", [True, False])
def test_the_gram_matrix_of_an_accelerator_is_that_of_blas(monkeypatch, across):
    columns = tuple(jnp.asarray(x, jnp.float32) for x in problem()[0])
    by_blas, _ = reduction.turn(columns, by_gram=True, across=across)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    by_xla, _ = reduction.turn(columns, by_gram=True, across=across)
    np.testing.assert_allclose(by_xla, by_blas, atol=1e-5)


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("ids", [True, False], ids=["classes", "sets"])
def test_labels_of_many_classes_are_reduced_as_those_of_few(monkeypatch, across, ids):
    views, labels = problem(n=400, c=60)
    labels = labels if ids else labels | labels[::-1]
    reduced = {}
    for share in (0, 1):
        monkeypatch.setattr(reduction, "SPARSE", share)
        _, reduced[share] = columns(core.prepare(views, labels, across=across))
    np.testing.assert_allclose(reduced[1], reduced[0], atol=1e-6)


def test_views_need_the_first_coordinates_alone():
    B = random.normal(random.key(0), (90, 8))
    for precision in PRECISIONS[:2]:
        data = core.prepare(*problem(), precision)
        first = data.along_views(B)
        assert first.shape == (12, 8)
        np.testing.assert_allclose(first, data.coordinates(B)[:12], atol=1e-5)


@every_precision
@pytest.mark.parametrize("n", [90, 12])
def test_label_rows_that_are_not_wanted_change_nothing_else(precision, n):
    with jax.enable_x64(precision == "float64"):
        every, some = (core.prepare(*problem(n=n), precision, label_rows=rows) for rows in (core.LABEL_ROWS, ()))
        assert some.labels.shape[1] == some.unit_labels.shape[1] == 0
        assert len(some.ones) == min(n, 13)
        for a, b in ((every.views, some.views), ((every.ones[:, None],), (some.ones[:, None],))):
            np.testing.assert_allclose(b[0].T @ some.views[0], a[0].T @ every.views[0], atol=1e-4)
        B = random.normal(random.key(0), (n, 3), some.mask.dtype)
        np.testing.assert_allclose(some.views[0].T @ some.coordinates(B), some.features[0].T @ B, atol=1e-4)
