"""Exact search against brute force in NumPy."""

import jax
import numpy as np
import pytest

from jaxcmh.topk import hamming_topk, lookup_topk, pack, unpack


def codes(seed: int, n: int, bits: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, bits // 8), dtype=np.uint8)


def brute_hamming(queries: np.ndarray, database: np.ndarray) -> np.ndarray:
    return np.bitwise_count(queries[:, None] ^ database[None]).sum(axis=2, dtype=np.int32)


def check_hamming(queries: np.ndarray, database: np.ndarray, k: int) -> None:
    distance = brute_hamming(queries, database)
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    distances, ids = hamming_topk(queries, database, k)
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(distance, order, axis=1))
    assert distances.dtype == ids.dtype == np.int32


@pytest.mark.parametrize(
    ("bits", "n", "k"),
    [
        (8, 1000, 10),
        (64, 1000, 1),
        (64, 1000, 17),
        (64, 1000, 1000),
        (256, 1000, 10),
        (1024, 1000, 333),
        (64, 70_000, 20),  # columns of 128
        (16, 70_000, 700),
        (1024, 9000, 40),  # several chunks
        (2048, 5000, 5000),
    ],
)
def test_hamming_topk_is_a_stable_sort_cut_at_k(bits, n, k):
    check_hamming(codes(0, 5, bits), codes(1, n, bits), k)


def test_hamming_topk_with_every_item_equal_returns_ascending_ids():
    check_hamming(codes(0, 3, 64), np.repeat(codes(1, 1, 64), 700, axis=0), 130)


def test_hamming_topk_reaches_the_opposite_code():
    for bits in (8, 256, 1024):
        database = np.zeros((5, bits // 8), np.uint8)
        distances, _ = hamming_topk(~database[:1], database, 5)
        assert (np.asarray(distances) == bits).all()


def test_pack_is_numpy_packbits_little_and_unpack_inverts_it():
    signs = np.where(np.random.default_rng(0).random((9, 40)) < 0.5, -1.0, 1.0).astype(np.float32)
    packed = pack(signs)
    np.testing.assert_array_equal(packed, np.packbits(signs > 0, axis=1, bitorder="little"))
    np.testing.assert_array_equal(unpack(packed), signs)
    np.testing.assert_array_equal(jax.jit(pack)(signs), packed)


@pytest.mark.parametrize("words", [16, 256])
def test_lookup_topk_is_a_sort_of_the_table_sums(words):
    rng = np.random.default_rng(0)
    queries, books = rng.normal(size=(6, 12)).astype(np.float32), rng.normal(size=(3, words, 12)).astype(np.float32)
    items = rng.integers(0, words, (500, 3), dtype=np.uint8)
    exact = sum(np.float64(queries) @ np.float64(books[b, items[:, b]]).T for b in range(3))
    scores, ids = (np.asarray(x) for x in lookup_topk(queries, items, books, 40))
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :40], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(exact, ids, axis=1), scores, rtol=1e-5, atol=1e-5)
    assert all(len(set(row)) == 40 for row in ids.tolist())


GOOD = codes(0, 4, 16)
BOOKS = np.ones((2, 4, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack(np.ones((2, 12))), "signs: .*multiple of 8; got \\(2, 12\\)"),
        (lambda: pack(np.ones(8)), "signs"),
        (lambda: pack(np.zeros((2, 8))), "signs: .*row 0"),
        (lambda: unpack(np.zeros((2, 2))), "codes: .*float64"),
        (lambda: hamming_topk(GOOD, GOOD, 0), "k: .*from 1 to 4; got 0"),
        (lambda: hamming_topk(GOOD, GOOD, 5), "k: .*from 1 to 4; got 5"),
        (lambda: hamming_topk(GOOD, GOOD, 2.0), "k: "),
        (lambda: hamming_topk(GOOD[:, :1], GOOD, 1), "query_codes: expected 16 bits.*got 8"),
        (lambda: hamming_topk(GOOD.astype(int), GOOD, 1), "query_codes: .*int64"),
        (
            lambda: lookup_topk(np.ones((1, 3)), np.full((2, 2), 4, np.uint8), BOOKS, 1),
            "codes: expected words below 4, .*got 4",
        ),
        (
            lambda: lookup_topk(np.ones((1, 2)), np.zeros((2, 2), np.uint8), BOOKS, 1),
            "queries: expected 3 dimensions.*got 2",
        ),
        (lambda: lookup_topk(np.ones((1, 3)), np.zeros((2, 1), np.uint8), BOOKS, 1), "codes: expected 2 books.*got 1"),
        (
            lambda: lookup_topk([[1, np.nan, 0]], np.zeros((2, 2), np.uint8), BOOKS, 1),
            "queries: expected finite numbers; row 0",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
