"""Rows over devices: eight of them, each a share of one processor."""

import re

import jax
import numpy as np
import pytest
import scipy.sparse
from jax import random
from jax.sharding import NamedSharding, PartitionSpec

from jaxcmh.learning import core, features, mesh, processes, reduction, streaming

X = np.random.default_rng(0).normal(size=(150, 6)).astype(np.float32)  # no multiple of eight
LABELS = np.eye(4, dtype=np.uint8)[np.arange(150) % 4]


@pytest.mark.parametrize("kind", ["standardise", "rbf", "laplace", "rbf_centred"])
@pytest.mark.parametrize("of", [np.asarray, scipy.sparse.csr_matrix, jax.numpy.asarray])
def test_devices_map_features_as_one_does(kind, of):
    chosen, rows = features.Features(kind, anchors=20), mesh.row_mesh()
    one, expected = features.fit(chosen, random.key(0), of(X))
    fitted, found = features.fit(chosen, random.key(0), of(X), rows)
    np.testing.assert_allclose(found[:150], expected, rtol=1e-5, atol=1e-6)
    assert found.shape[0] == 152
    assert not np.asarray(found)[150:].any()
    assert len({shard.device for shard in found.addressable_shards}) == 8
    assert {shard.data.shape[0] for shard in found.addressable_shards} == {19}
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(fitted))
    np.testing.assert_allclose(fitted.sigma, one.sigma, rtol=1e-6)


@pytest.mark.parametrize("precision", [None, "float32"])
def test_rows_that_are_spread_reduce_to_what_they_do_together(precision, monkeypatch):
    """Also by the way of accelerators, which add up blocks of every device's rows."""
    chosen, rows = features.Features("standardise"), mesh.row_mesh()
    together, spread = (features.fit(chosen, random.key(0), X, m)[1] for m in (None, rows))
    expected = core.prepare([together, together[:, :3]], LABELS, precision)
    monkeypatch.setattr(reduction, "BLOCK_ROWS", 8)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = core.prepared([spread, spread[:, :3]], LABELS, precision, True)
    assert found.mask.sum() == 150 == found.n
    for views in ((expected.views, found.views), (expected.labels, found.labels)):
        for one, many in zip(*map(jax.tree.leaves, views)):
            np.testing.assert_allclose(many.T @ many, one.T @ one, rtol=1e-4, atol=1e-3)


def test_a_gram_matrix_sums_up_the_rows_of_each_device():
    rows, labels = mesh.row_mesh(), streaming.Labelled(np.float32(LABELS[:4]), np.arange(152) % 4, np.arange(152) < 150)
    spread, whole = features.spread(X, rows), np.pad(X, ((0, 2), (0, 0)))
    for views in ((spread, spread), (spread, processes.everywhere(whole, rows)), (whole, whole)):
        R, _ = reduction.turn((*views, labels), by_gram=True)
        Z = np.concatenate([whole, whole, np.pad(LABELS, ((0, 2), (0, 0)))], axis=1)
        np.testing.assert_allclose(R.T @ R, Z.T @ Z, rtol=1e-5, atol=1e-4)


def test_a_block_has_rows_of_every_device(monkeypatch):
    monkeypatch.setattr(reduction, "BLOCK_ROWS", 8)
    spread = features.spread(X, mesh.row_mesh())
    blocks = list(reduction.row_blocks(spread, spread[:, :2]))
    assert [block.shape for block in blocks] == [(64, 8), (64, 8), (24, 8)]
    rows = np.concatenate([np.asarray(block)[:, :6] for block in blocks])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(np.asarray(spread), axis=0))
    assert all(len({shard.device for shard in block.addressable_shards}) == 8 for block in blocks)


def test_sums_over_blocks_gather_no_rows_of_other_devices():
    rows = NamedSharding(mesh.row_mesh(), PartitionSpec("rows"))
    n = mesh.row_mesh().size * reduction.BLOCK_ROWS
    X, B = (jax.device_put(np.ones((n, columns), np.float32), rows) for columns in (5, 3))
    with jax.enable_x64(True):
        program = jax.jit(reduction.cross).lower(X, B).compile()
        np.testing.assert_array_equal(program(X, B), np.full((5, 3), n))
    assert "all-reduce" in program.as_text()
    assert "all-gather" not in program.as_text()


def test_each_device_draws_its_own_codes_by_chance(monkeypatch):
    """With the values that one device draws, and no array of all rows on any."""
    monkeypatch.setattr(core, "DRAWN", 300)
    n, rows, keys = 2400, mesh.row_mesh(), random.split(random.key(3), 1)
    views = [np.random.default_rng(m).normal(size=(n, 3)) for m in range(2)]
    data = core.prepare(views, np.arange(n) % 3)
    spread = mesh.shard_rows(data, rows)
    program = jax.jit(core.random_codes, static_argnums=2).lower(keys, spread, 16).compile()
    shapes = re.findall(r"\w+\[(\d+)[\d,]*\]", program.as_text().split("ENTRY")[1])
    assert n // 8 <= max(map(int, shapes)) <= n // 2
    np.testing.assert_array_equal(program(keys, spread)[0], core.random_codes(keys, data, 16)[0])
