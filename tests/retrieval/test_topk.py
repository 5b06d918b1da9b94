"""Exact search against brute force in NumPy."""

import jax
import numpy as np
import pytest
from jax import lax

from jaxcmh.learning import mesh
from jaxcmh.retrieval import topk
from jaxcmh.retrieval.topk import arrange, codes_of, hamming_range, hamming_topk, lookup_topk, pack, unpack


@pytest.fixture(autouse=True)
def by_jax(request, monkeypatch):
    """Searches are those of JAX, which numba would take over where it is installed, but in tests of numba."""
    if "numba" not in request.node.name:
        monkeypatch.setattr(topk, "_numba", lambda: None)


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


@pytest.mark.parametrize(("n", "k"), [(1000, 5), (1000, 300), (70_000, 100)])
def test_a_mask_restricts_the_search(n, k):
    queries, database = codes(0, 4, 16), codes(1, n, 16)
    mask = np.random.default_rng(2).random(n) < 0.5
    mask[: n // 3] = False
    rows = np.flatnonzero(mask)
    distances, ids = hamming_topk(queries, database, k, mask=mask)
    expected_distances, at = hamming_topk(queries, database[rows], k)
    np.testing.assert_array_equal(ids, rows[at])
    np.testing.assert_array_equal(distances, expected_distances)


@pytest.mark.parametrize(("n", "k", "masked"), [(1000, 10, False), (1003, 900, True)])
def test_a_database_spread_over_devices_gives_the_same(n, k, masked):
    queries, database = codes(0, 4, 16), codes(1, n, 16)
    mask = np.arange(n) % 10 > 0 if masked else None
    everywhere = mesh.row_mesh()
    assert everywhere.size == 8
    spread = arrange(database, devices=8)
    assert len(spread.words) == 8
    for given in (database, spread):
        one, many = (hamming_topk(queries, given, k, mask=mask, mesh=m) for m in (None, everywhere))
        np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("k", [3, 200])
def test_one_query_over_several_chunks(k):
    check_hamming(codes(0, 1, 1024), codes(1, 9000, 1024), k)


def test_queries_shared_out_to_threads_give_the_same():
    queries, database = codes(0, 203, 16), codes(1, 70_000, 16)
    whole = hamming_topk(queries, database, 3)
    np.testing.assert_array_equal(
        whole, np.concatenate([hamming_topk(queries[i : i + 29], database, 3) for i in range(0, 203, 29)], axis=1)
    )


def test_hamming_topk_inside_a_jitted_function():
    queries, database = codes(0, 3, 16), codes(1, 50, 16)
    np.testing.assert_array_equal(
        jax.jit(lambda q, x: hamming_topk(q, x, 7))(queries, database), hamming_topk(queries, database, 7)
    )


@pytest.mark.parametrize(
    ("bits", "n", "k", "masked"),
    [
        (64, 1000, 1, False),
        (64, 1000, 1000, False),
        (72, 70_000, 100, True),
        (16, 70_000, 3000, False),
        (256, 20_000, 50, True),
        (1024, 9000, 40, False),
    ],
)
def test_numba_gives_the_same(bits, n, k, masked):
    pytest.importorskip("numba", reason="extra fast is not installed")
    queries, database = codes(0, 5, bits), codes(1, n, bits)
    mask = np.arange(n) % 3 > 0 if masked else None
    distance = brute_hamming(queries, database)
    if masked:
        distance = np.where(mask, distance, bits + 1)
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    distances, ids = hamming_topk(queries, database, k, mask=mask, engine="numba")
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(distance, order, axis=1))


def test_numba_is_chosen_wherever_it_can_be_used(monkeypatch):
    used = []

    def nearest(words, n, queries, present, k, threads):
        used.append((len(queries), k))
        return np.zeros((len(queries), k), np.int32), np.zeros((len(queries), k), np.int32)

    monkeypatch.setattr(topk, "_numba", lambda: nearest)
    database = arrange(codes(1, 200, 16))
    for n_q, k in ((20, 10), (1, 100)):
        hamming_topk(codes(0, n_q, 16), database, k)
    hamming_topk(codes(0, 20, 16), database, 100, engine="jax")
    hamming_topk(codes(0, 20, 16), codes(1, 200, 16), 100, mesh=mesh.row_mesh())
    jax.jit(lambda queries: hamming_topk(queries, database, 100))(codes(0, 20, 16))
    assert used == [(20, 10), (1, 100)]
    monkeypatch.setattr(topk, "_numba", lambda: None)
    assert hamming_topk(codes(0, 20, 16), database, 100)[0].shape == (20, 100)
    with pytest.raises(ValueError, match="engine: numba is not installed"):
        hamming_topk(codes(0, 1, 16), database, 1, engine="numba")


def test_no_queries_get_no_answers():
    assert hamming_topk(codes(0, 0, 16), codes(1, 50, 16), 7)[1].shape == (0, 7)
    assert hamming_range(codes(0, 0, 16), codes(1, 50, 16), 7)[0].tolist() == [0]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("radius", [0, 3, 99])
def test_hamming_range_returns_every_item_within_the_radius(radius, masked):
    queries, database = codes(0, 300, 16), codes(1, 500, 16)
    mask = np.arange(500) % 7 > 2
    distance = brute_hamming(queries, database)
    offsets, distances, ids = hamming_range(queries, database, radius, mask=mask if masked else None)
    assert len(distances) == len(ids) == offsets[-1]
    for i in range(300):
        order = np.argsort(distance[i], kind="stable")
        order = order[(distance[i, order] <= radius) & (mask[order] if masked else True)]
        own = slice(offsets[i], offsets[i + 1])
        np.testing.assert_array_equal(ids[own], order)
        np.testing.assert_array_equal(distances[own], distance[i, order])


def test_arranged_codes_come_back_row_by_row():
    for n in (0, 1, 5000, 70_000):
        database = codes(1, n, 16)
        np.testing.assert_array_equal(codes_of(arrange(database)), database)
        np.testing.assert_array_equal(codes_of(arrange(database, devices=3)), database)


@pytest.mark.parametrize(("n", "more"), [(0, 1), (5, 2043), (2047, 2), (70_000, 300), (70_000, 0), (600_000, 5)])
def test_extended_codes_are_arranged_as_all_of_them_at_once(n, more):
    database = codes(1, n + more, 16)
    for blocks in (arrange(database[:n]), arrange(database[:n], devices=3)):
        grown, whole = topk.extended(blocks, database[n:]), arrange(database)
        np.testing.assert_array_equal(grown.words, whole.words)
        assert grown.n == whole.n


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


def lookup_case(n: int, words: int = 256):
    rng = np.random.default_rng(0)
    queries, books = rng.normal(size=(6, 12)).astype(np.float32), rng.normal(size=(3, words, 12)).astype(np.float32)
    return queries, rng.integers(0, words, (n, 3), dtype=np.uint8), books


def table_sums(queries: np.ndarray, items: np.ndarray, books: np.ndarray) -> np.ndarray:
    return sum(np.float64(queries) @ np.float64(books[b, items[:, b]]).T for b in range(len(books)))


@pytest.mark.parametrize(("n", "words", "k"), [(500, 16, 40), (500, 256, 500), (70_000, 256, 40)])
def test_lookup_topk_is_a_sort_of_the_table_sums(n, words, k):
    queries, items, books = lookup_case(n, words)
    exact = table_sums(queries, items, books)
    scores, ids = (np.asarray(x) for x in lookup_topk(queries, items, books, k))
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :k], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(exact, ids, axis=1), scores, rtol=1e-5, atol=1e-5)
    assert all(len(set(row)) == k for row in ids.tolist())


@pytest.mark.parametrize("k", [20, 900])
def test_lookup_topk_orders_items_of_equal_codes_by_id(k):
    queries, items, books = lookup_case(1000, 4)  # 64 different items
    scores, ids = (np.asarray(x) for x in lookup_topk(queries, items, books, k))
    for row, at in zip(scores, ids):
        order = np.lexsort((at, -row))
        np.testing.assert_array_equal(order, np.arange(k))
        for score in set(row[:-1][row[:-1] > row[-1]]):
            same = (items == items[at[row == score][0]]).all(axis=1)
            np.testing.assert_array_equal(at[row == score], np.flatnonzero(same))


def test_lookup_topk_masked_and_spread_over_devices():
    queries, items, books = lookup_case(1000, 64)
    mask = np.arange(1000) % 3 > 0
    rows = np.flatnonzero(mask)
    scores, at = lookup_topk(queries, items[rows], books, 50)
    for devices in (None, mesh.row_mesh()):
        answers = lookup_topk(queries, items, books, 50, mask=mask, mesh=devices)
        np.testing.assert_array_equal(answers[0], scores)
        np.testing.assert_array_equal(answers[1], rows[at])


def test_lookup_topk_batched_over_many_queries():
    queries, items, books = lookup_case(20_000)
    many = np.tile(queries, (40, 1))
    scores, ids = (np.asarray(x) for x in lookup_topk(many, items, books, 5))
    alone = [np.asarray(x) for x in lookup_topk(queries, items, books, 5)]
    np.testing.assert_array_equal(ids, np.tile(alone[1], (40, 1)))
    np.testing.assert_allclose(scores, np.tile(alone[0], (40, 1)), rtol=1e-6)


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
        (lambda: hamming_topk(GOOD, GOOD, 2, mask=np.arange(4) == 1), "k: .*from 1 to 1; got 2"),
        (lambda: hamming_topk(GOOD, GOOD, 1, mask=np.ones(3, bool)), "mask: expected 4 bools.*\\(3,\\)"),
        (lambda: hamming_topk(GOOD, GOOD, 1, mask=np.ones(4)), "mask: expected 4 bools.*float64"),
        (lambda: hamming_topk(GOOD, arrange(GOOD), 1, mesh=mesh.row_mesh()), "database_codes: .*devices=8"),
        (lambda: hamming_topk(GOOD, GOOD[:0], 1), "k: there are no items to search.*got 1"),
        (lambda: hamming_topk(GOOD, GOOD, 1, engine="C"), "engine: expected one of auto, jax, numba; got 'C'"),
        (lambda: hamming_topk(GOOD, GOOD, 1, mesh=mesh.row_mesh(), engine="numba"), "engine: numba .* without a mesh"),
        (lambda: hamming_range(GOOD, GOOD, -1), "radius: .*at least 0; got -1"),
        (lambda: hamming_range(GOOD, GOOD, 1.5), "radius: .*got 1.5"),
        (lambda: arrange(GOOD, devices=0), "devices: .*from 1 to 65536; got 0"),
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


def test_nothing_asked_is_nothing_found():
    assert pack(np.zeros((0, 16))).shape == (0, 2)
    items, books = np.zeros((3, 1), np.uint8), np.ones((1, 2, 4), np.float32)
    for distances, ids in (
        hamming_topk(np.zeros((0, 1), np.uint8), items, 2),
        lookup_topk(np.zeros((0, 4), np.float32), items, books, 2),
    ):
        assert (distances.shape, ids.shape, ids.dtype) == ((0, 2), (0, 2), np.int32)
    offsets, distances, ids = hamming_range(np.zeros((0, 1), np.uint8), items, 2)
    assert (offsets.tolist(), len(distances), len(ids)) == ([0], 0, 0)


REPEATING = [(8, 5, 100), (16, 40, 1000), (72, 300, 9000), (64, 1, 300)]


def repeating(bits: int, different: int, n: int) -> np.ndarray:
    return codes(1, different, bits)[np.random.default_rng(2).integers(0, different, n)]


@pytest.mark.parametrize("engine", ["jax", "numba"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("bits", "different", "n"), REPEATING)
def test_codes_that_repeat_are_searched_once_each_with_the_same_answers(bits, different, n, masked, engine):
    if engine == "numba":
        pytest.importorskip("numba", reason="extra fast is not installed")
    queries, database = codes(0, 7, bits), repeating(bits, different, n)
    mask = np.random.default_rng(3).random(n) < 0.3 if masked else None
    if masked:
        mask[: n // 3] = False  # the first item of most codes
    once, each = topk.distinct(database), arrange(database)
    assert int(once.n) <= different
    for k in (1, 2, 10, mask.sum() if masked else n):
        found, expected = (hamming_topk(queries, b, k, mask=mask, engine=e) for b, e in ((once, engine), (each, "jax")))
        np.testing.assert_array_equal(found, expected)
    for radius in (0, 2, bits // 2):
        for found, expected in zip(*(hamming_range(queries, b, radius, mask=mask) for b in (once, each))):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype


def test_many_queries_of_codes_that_repeat_are_answered_in_parts(monkeypatch):
    monkeypatch.setattr(topk, "RANGE_ITEMS", 100)
    queries, database = codes(0, 30, 8), repeating(8, 5, 200)
    found, expected = (hamming_topk(queries, b, 40) for b in (topk.distinct(database), database))
    np.testing.assert_array_equal(found, expected)


def test_codes_that_repeat_are_searched_under_a_trace_and_on_a_mesh():
    queries, database = codes(0, 7, 16), repeating(16, 40, 1000)
    blocks, expected = topk.distinct(database), hamming_topk(queries, database, 9)
    np.testing.assert_array_equal(jax.jit(lambda q, b: hamming_topk(q, b, 9))(queries, blocks), expected)
    np.testing.assert_array_equal(hamming_topk(queries, blocks, 9, mesh=mesh.row_mesh()), expected)
    books = np.random.default_rng(0).normal(size=(2, 256, 3))
    found, expected = (lookup_topk(books[0, :5], items, books, 9)[1] for items in (blocks, database))
    np.testing.assert_array_equal(found, expected)


def same(found: topk.Blocks, expected: topk.Blocks) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("bits", "different", "n"), REPEATING)
def test_codes_that_repeat_are_added_and_taken_away_as_if_arranged_anew(bits, different, n):
    database, gone = repeating(bits, different, n), np.random.default_rng(3).random(n) < 0.3
    gone[: n // 5] = True
    more = np.concatenate([database[:5], codes(4, 9, bits), database[:3]])
    blocks = topk.distinct(database)
    np.testing.assert_array_equal(codes_of(blocks), database)
    same(topk.extended(blocks, more), topk.distinct(np.concatenate([database, more])))
    same(topk.without(blocks, gone), topk.distinct(database[~gone]))
    np.testing.assert_array_equal(codes_of(topk.without(blocks, np.ones(n, bool))), database[:0])


def test_codes_that_do_not_repeat_are_arranged_one_by_one_also_when_they_become_so():
    database = codes(0, 400, 64)
    assert topk.distinct(database).repeats is None
    assert topk.distinct(codes(0, 270_000, 64)).repeats is None
    blocks = topk.extended(topk.distinct(database[np.arange(400) % 10]), codes(1, 500, 64))
    assert blocks.repeats is None
    assert codes_of(blocks).shape == (900, 8)


def test_different_codes_of_one_key_are_arranged_one_by_one(monkeypatch):
    factor = np.uint64(0x9E3779B97F4A7C15)
    first = np.uint64([[1, 0]])
    with np.errstate(over="ignore"):
        second = np.stack([np.uint64([2]), np.uint64([1]) * factor - np.uint64([2]) * factor], axis=1)
    database = np.repeat(np.concatenate([first, second]), 40, axis=0).view(np.uint8)
    assert topk.distinct(database).repeats is None
    assert topk.distinct(database[:40]).repeats is not None


@pytest.mark.parametrize("k", [1, 10, 600])
def test_accelerators_find_the_same(k, monkeypatch):
    queries, database = codes(0, 37, 16), codes(1, 700, 16)
    books = np.random.default_rng(2).integers(-3, 4, (2, 256, 5)).astype(np.float32)
    vectors = np.random.default_rng(3).integers(-3, 4, (37, 5)).astype(np.float32)

    def found():
        return *hamming_topk(queries, database, k), *lookup_topk(vectors, database, books, k)

    expected = found()
    monkeypatch.setattr(lax, "platform_dependent", lambda *args, default, cpu: default(*args))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.clear_caches()
    for one, other in zip(found(), expected):
        np.testing.assert_array_equal(one, other)
    jax.clear_caches()


def test_words_on_a_cpu_are_numpys_in_place_and_of_jax_where_it_works_elsewhere(monkeypatch):
    blocks = arrange(codes(0, 100, 16))
    for grown in (blocks, topk.extended(blocks, codes(1, 3, 16))):
        assert isinstance(grown.words, np.ndarray)
        assert not grown.words.flags.owndata
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for grown in (arrange(codes(0, 100, 16)), topk.extended(blocks, codes(1, 3, 16))):
        assert isinstance(grown.words, jax.Array)


def test_nothing_is_searched_on_the_host_where_jax_works_elsewhere_numba(monkeypatch):
    def called():
        raise AssertionError("numba")

    queries, database = codes(0, 3, 16), np.repeat(codes(1, 5, 16), 40, axis=0)
    assert topk.distinct(database).repeats is not None
    monkeypatch.setattr(topk, "_numba", called)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    blocks = topk.distinct(database)
    assert blocks.repeats is None
    order = np.argsort(brute_hamming(queries, database), axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(hamming_topk(queries, blocks, 9)[1], order)
    with pytest.raises(ValueError, match="numba searches on a CPU only"):
        hamming_topk(queries, blocks, 9, engine="numba")
