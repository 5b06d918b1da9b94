"""Evaluation against enumeration, plain loops and ir-measures."""

from fractions import Fraction
from itertools import permutations
from math import comb

import ir_measures
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax import lax

from jaxcmh.retrieval import metrics
from jaxcmh.retrieval.metrics import hamming_metrics, hamming_ndcg, known_item, precision_within, score_metrics


def packed(rng, n, bits, distinct=None):
    """Random codes, or rows drawn from `distinct` random codes so that distances tie."""
    codes = rng.integers(0, 256, (distinct or n, bits // 8), dtype=np.uint8)
    return codes if distinct is None else codes[rng.integers(0, distinct, n)]


def label_sets(rng, n, classes, share=0.2):
    labels = (rng.random((n, classes)) < share).astype(np.uint8)
    labels[0, 0] = 1
    return labels


def distances(query, items):
    return np.bitwise_count(query ^ items).sum(axis=1, dtype=int)


def relevance(query_labels, database_labels):
    return query_labels.astype(int) @ database_labels.T.astype(int) > 0


def average_precision(relevant, at=None):
    """Of one order of the database: a plain loop."""
    hits, gain = 0, 0
    for rank, hit in enumerate(relevant[:at], 1):
        if hit:
            hits += 1
            gain += Fraction(hits, rank)
    return gain / hits if hits else Fraction(0)


def stable_ap(order_by, relevant, at=None):
    return float(average_precision(relevant[np.argsort(order_by, kind="stable")], at))


def tied_orders(distance):
    """All orders of the items that a sort by distance may give."""
    return [p for p in permutations(range(len(distance))) if all(np.diff(distance[list(p)]) >= 0)]


# Ties


@pytest.mark.parametrize("at", [None, 1, 2, 3, 4, 5, 6, 7])
def test_expected_ap_is_the_mean_over_all_orders_of_ties(at):
    rng = np.random.default_rng(0)
    queries, items = packed(rng, 12, 8, 4), packed(rng, 7, 8, 3)
    query_labels, item_labels = label_sets(rng, 12, 3, 0.4), label_sets(rng, 7, 3, 0.4)
    relevant = relevance(query_labels, item_labels)
    result = hamming_metrics(queries, items, query_labels, item_labels, at=at)
    assert 0 < result.n_without_relevant < 12
    for q in range(12):
        orders = tied_orders(distances(queries[q], items))
        assert len(orders) > 1
        expected = float(sum(average_precision(relevant[q, list(order)], at) for order in orders) / len(orders))
        np.testing.assert_allclose(result.ap[q], expected if relevant[q].any() else np.nan, rtol=1e-13)


def test_expected_topn_precision_is_the_mean_over_all_orders_of_ties():
    rng = np.random.default_rng(1)
    queries, items = packed(rng, 6, 8, 4), packed(rng, 6, 8, 3)
    query_labels, item_labels = label_sets(rng, 6, 2, 0.7), label_sets(rng, 6, 2, 0.5)
    relevant = relevance(query_labels, item_labels)
    result = hamming_metrics(queries, items, query_labels, item_labels, topn=range(1, 7))
    means = []
    for q in np.flatnonzero(relevant.any(axis=1)):
        orders = [relevant[q, list(order)] for order in tied_orders(distances(queries[q], items))]
        means.append(np.mean([np.cumsum(order) / np.arange(1, 7) for order in orders], axis=0))
    assert result.topn == (1, 2, 3, 4, 5, 6)
    np.testing.assert_allclose(result.topn_precision, np.mean(means, axis=0), rtol=1e-13)


@pytest.mark.parametrize("at", [None, 1, 20, 59])
def test_expected_ap_of_large_buckets_in_exact_arithmetic(at):
    """Every split of the bucket at R weighted by its number of orders; precision summed rank by rank, in fractions."""
    rng = np.random.default_rng(2)
    n = 60
    distance, relevant = rng.integers(0, 4, n), rng.random(n) < 0.4
    items = np.packbits(np.arange(8) < distance[:, None], axis=1)  # codes of so many ones
    result = hamming_metrics(np.zeros((1, 1), np.uint8), items, [1], relevant.astype(int), at=at)

    def inside(tied, hits, before, found):
        """Sum over places of P(relevant) times the mean precision there."""
        places = range(1, tied + 1)
        slope = Fraction(hits - 1, tied - 1) if tied > 1 else 0
        return sum(Fraction(hits, tied) * (found + 1 + (p - 1) * slope) / (before + p) for p in places)

    before = found = gain = 0
    cut = at or n
    for value in range(4):
        tied, hits = int((distance == value).sum()), int(relevant[distance == value].sum())
        if before + tied <= cut:
            gain += inside(tied, hits, before, found)
            before, found = before + tied, found + hits
            expected = gain / max(found, 1)
            continue
        places = cut - before
        if places:
            weights = {j: comb(hits, j) * comb(tied - hits, places - j) for j in range(min(hits, places) + 1)}
            expected = sum(
                Fraction(weight, comb(tied, places)) * (gain + inside(places, j, before, found)) / max(found + j, 1)
                for j, weight in weights.items()
            )
        break
    np.testing.assert_allclose(result.map, float(expected), rtol=1e-12)


@pytest.mark.parametrize("at", [None, 1, 10, 250])
@pytest.mark.parametrize(
    ("bits", "classes", "n"),
    [(8, 2, 250), (16, 10, 300), (24, 33, 257), (64, 70, 1000), (128, 200, 333), (1024, 3, 300)],
)
def test_stable_ap_is_that_of_a_stable_sort(bits, classes, n, at):
    rng = np.random.default_rng(bits)
    queries, items = packed(rng, 9, bits, 5), packed(rng, n, bits, 40)
    query_labels, item_labels = label_sets(rng, 9, classes), label_sets(rng, n, classes, 0.05)
    relevant = relevance(query_labels, item_labels)
    topn = (1, 7, 100)
    result = hamming_metrics(queries, items, query_labels, item_labels, ties="stable", at=at, topn=topn)
    kept = relevant.any(axis=1)
    ranked = [relevant[q, np.argsort(distances(queries[q], items), kind="stable")] for q in range(9)]
    expected = [float(average_precision(row, at)) if row.any() else np.nan for row in ranked]
    np.testing.assert_allclose(result.ap, expected, rtol=1e-13)
    assert result.map == pytest.approx(np.nanmean(expected), rel=1e-13)
    assert (result.n_queries, result.n_without_relevant) == (9, (~kept).sum())
    np.testing.assert_allclose(
        result.topn_precision, [np.mean([row[:k].mean() for row in np.array(ranked)[kept]]) for k in topn], rtol=1e-13
    )


def test_databases_of_several_chunks_and_queries_of_several_blocks():
    rng = np.random.default_rng(3)
    n = 2 * metrics._ITEMS + 3
    queries, items = packed(rng, 5, 16, 5), packed(rng, n, 16)
    query_labels, item_labels = label_sets(rng, 5, 4), label_sets(rng, n, 4)
    query_labels[:, 1] = 1
    relevant = relevance(query_labels, item_labels)
    stable = hamming_metrics(queries, items, query_labels, item_labels, ties="stable")
    for q in range(5):
        order = np.argsort(distances(queries[q], items), kind="stable")
        rank = np.flatnonzero(relevant[q, order]) + 1
        np.testing.assert_allclose(stable.ap[q], (np.arange(1, len(rank) + 1) / rank).mean(), rtol=1e-12)

    many = 2 * metrics._QUERIES + 1
    queries = packed(rng, many, 16)
    few = items[:50], item_labels[:50]
    labels = label_sets(rng, many, 4, 0.5)
    for ties in ("expected", "stable"):
        together = hamming_metrics(queries, few[0], labels, few[1], ties=ties)
        for block in (slice(0, 1), slice(250, 300), slice(many - 1, many)):
            alone = hamming_metrics(queries[block], few[0], labels[block] | [1, 0, 0, 0], few[1], ties=ties)
            same = labels[block, 0] == 1
            np.testing.assert_array_equal(together.ap[block][same], alone.ap[same])


def test_only_the_stable_rule_depends_on_the_order_of_the_database():
    rng = np.random.default_rng(4)
    queries, items = packed(rng, 8, 8), packed(rng, 200, 8)
    query_labels, item_labels = label_sets(rng, 8, 3, 0.5), label_sets(rng, 200, 3)
    turned = [
        hamming_metrics(queries, items[::-1], query_labels, item_labels[::-1], ties=t) for t in ("expected", "stable")
    ]
    as_is = [hamming_metrics(queries, items, query_labels, item_labels, ties=t) for t in ("expected", "stable")]
    assert turned[0].map == as_is[0].map
    assert abs(turned[1].map - as_is[1].map) > 1e-3


@pytest.mark.parametrize("ties", ["expected", "stable"])
@pytest.mark.parametrize("at", [None, 10, 100])
def test_agreement_with_ir_measures_on_rankings_without_ties(ties, at):
    """trec_eval divides AP@R by all relevant items, so that one is first brought to the items retrieved."""
    rng = np.random.default_rng(5)
    n, bits = 250, 256
    distance = rng.permutation(bits + 1)[:n]  # one item a distance
    items = np.packbits(np.arange(bits) < distance[:, None], axis=1)
    query_labels, item_labels = label_sets(rng, 6, 12), label_sets(rng, n, 12)
    query_labels[:, 2] = 1
    relevant = relevance(query_labels, item_labels)
    result = hamming_metrics(
        np.zeros((6, bits // 8), np.uint8), items, query_labels, item_labels, ties=ties, at=at, topn=(1, 5, 100)
    )
    qrels = {str(q): {str(i): int(relevant[q, i]) for i in range(n)} for q in range(6)}
    run = {str(q): {str(i): -float(distance[i]) for i in range(n)} for q in range(6)}
    ap, precision = (ir_measures.AP @ at, ir_measures.P @ at) if at else (ir_measures.AP, ir_measures.P @ n)
    theirs = {(m.measure, m.query_id): m.value for m in ir_measures.iter_calc([ap, precision], qrels, run)}
    for q in range(6):
        retrieved = theirs[precision, str(q)] * (at or n)
        assert result.ap[q] == pytest.approx(theirs[ap, str(q)] * relevant[q].sum() / retrieved, abs=1e-6)
    if at is None:
        assert result.map == pytest.approx(ir_measures.calc_aggregate([ap], qrels, run)[ap], abs=1e-6)
    top = [ir_measures.P @ k for k in (1, 5, 100)]
    expected = ir_measures.calc_aggregate(top, qrels, run)
    np.testing.assert_allclose(result.topn_precision, [expected[m] for m in top], atol=1e-6)


# Curves


def test_curves_at_every_radius():
    rng = np.random.default_rng(6)
    queries, items = packed(rng, 10, 16), packed(rng, 40, 16)
    query_labels, item_labels = label_sets(rng, 10, 3, 0.6), label_sets(rng, 40, 3)
    query_labels[4] = 0
    relevant = relevance(query_labels, item_labels)
    kept = np.flatnonzero(relevant.any(axis=1))
    assert len(kept) < 10
    result = hamming_metrics(queries, items, query_labels, item_labels)
    assert result.radius_precision.shape == result.pr_recall.shape == (17,)
    for radius in range(17):
        table, curve = [], []
        for q in kept:
            distance = distances(queries[q], items)
            inside = distance <= radius
            found = relevant[q, inside].sum() / relevant[q].sum()
            table.append((relevant[q, inside].mean() if inside.any() else 0.0, found))
            inside = distance <= max(radius, distance.min())
            curve.append((relevant[q, inside].mean(), relevant[q, inside].sum() / relevant[q].sum()))
        np.testing.assert_allclose(
            [result.radius_precision[radius], result.radius_recall[radius]], np.mean(table, axis=0)
        )
        np.testing.assert_allclose([result.pr_precision[radius], result.pr_recall[radius]], np.mean(curve, axis=0))
    stable = hamming_metrics(queries, items, query_labels, item_labels, ties="stable")
    np.testing.assert_array_equal(stable.pr_precision, result.pr_precision)


# Real-valued scores: small integers, so that sums are exact and many scores tie


def integer_lookup(rng, n_queries, n, books=3, words=4, dimensions=2):
    queries = rng.integers(-2, 3, (n_queries, dimensions)).astype(float)
    codebooks = rng.integers(-2, 3, (books, words, dimensions)).astype(float)
    codes = rng.integers(0, words, (n, books)).astype(np.uint8)
    scores = np.einsum("qd,bnd->qn", queries, np.stack([codebooks[b][codes[:, b]] for b in range(books)]))
    return queries, codes, codebooks, scores


@pytest.mark.parametrize("at", [None, 1, 3, 7])
def test_expected_ap_of_scores_is_the_mean_over_all_orders_of_ties(at):
    rng = np.random.default_rng(7)
    queries, codes, codebooks, scores = integer_lookup(rng, 8, 7, books=1, words=3)
    query_labels, item_labels = label_sets(rng, 8, 3, 0.6), label_sets(rng, 7, 3, 0.5)
    relevant = relevance(query_labels, item_labels)
    result = score_metrics(queries, codes, codebooks, query_labels, item_labels, at=at, topn=(3,))
    top = []
    for q in np.flatnonzero(relevant.any(axis=1)):
        orders = [relevant[q, list(order)] for order in tied_orders(-scores[q])]
        assert result.ap[q] == pytest.approx(
            float(sum(average_precision(o, at) for o in orders) / len(orders)), rel=1e-13
        )
        top.append(np.mean([order[:3].mean() for order in orders]))
    assert result.topn_precision[0] == pytest.approx(np.mean(top), rel=1e-13)


@pytest.mark.parametrize("at", [None, 5, 400])
def test_stable_ap_of_scores_is_that_of_a_stable_sort(at):
    rng = np.random.default_rng(8)
    queries, codes, codebooks, scores = integer_lookup(rng, 12, 401)
    query_labels, item_labels = label_sets(rng, 12, 40, 0.05), label_sets(rng, 401, 40, 0.02)
    relevant = relevance(query_labels, item_labels)
    result = score_metrics(queries, codes, codebooks, query_labels, item_labels, ties="stable", at=at, topn=(1, 20))
    kept = relevant.any(axis=1)
    expected = [stable_ap(-scores[q], relevant[q], at) if kept[q] else np.nan for q in range(12)]
    np.testing.assert_allclose(result.ap, expected, rtol=1e-13)
    order = np.argsort(-scores, axis=1, kind="stable")
    top = np.take_along_axis(relevant, order, axis=1)[kept]
    np.testing.assert_allclose(result.topn_precision, [top[:, 0].mean(), top[:, :20].mean()], rtol=1e-13)
    ranks = np.unique(np.geomspace(1, 401, 100).round().astype(int))
    found = np.cumsum(top, axis=1)[:, ranks - 1]
    np.testing.assert_allclose(result.pr_precision, (found / ranks).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.pr_recall, (found / top.sum(axis=1, keepdims=True)).mean(axis=0), rtol=1e-12)
    assert result.radius_precision.shape == result.radius_recall.shape == (0,)


def test_hamming_and_scores_agree_on_equal_rankings():
    """Codebooks of the bytes' signs: the score of two codes is bits - 2 distance."""
    rng = np.random.default_rng(9)
    signs = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") * 2.0 - 1
    codebooks = np.zeros((2, 256, 16))
    codebooks[0, :, :8] = codebooks[1, :, 8:] = signs
    queries, items = packed(rng, 20, 16), packed(rng, 300, 16)
    vectors = np.unpackbits(queries, axis=1, bitorder="little") * 2.0 - 1
    labels = rng.integers(0, 5, 20), rng.integers(0, 5, 300)
    for ties in ("expected", "stable"):
        for at in (None, 17):
            hamming = hamming_metrics(queries, items, *labels, ties=ties, at=at)
            score = score_metrics(vectors, items, codebooks, *labels, ties=ties, at=at)
            np.testing.assert_allclose(score.ap, hamming.ap, rtol=1e-12)
            np.testing.assert_allclose(score.topn_precision, hamming.topn_precision, rtol=1e-12)


def test_scores_of_both_signs_and_both_zeros_are_ordered():
    codebooks = np.array([[[2.0], [-1.0], [0.0], [-3.0], [1e-30], [-0.0]]])
    codes = np.array([[3], [5], [2], [0], [1], [4]], np.uint8)  # from best: items 3, 5, then 1 = 2, 4, 0
    best_first = score_metrics([[1.0]], codes, codebooks, [1], [0, 0, 1, 0, 0, 0], ties="stable")
    assert best_first.map == 1 / 4
    assert score_metrics([[1.0]], codes, codebooks, [1], [0, 0, 1, 0, 0, 0]).map == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert score_metrics([[-1.0]], codes, codebooks, [1], [1, 0, 0, 0, 0, 0]).map == 1


# Queries without relevant items


@pytest.mark.parametrize("ties", ["expected", "stable"])
@pytest.mark.parametrize("at", [None, 3])
def test_queries_without_relevant_items_are_counted_and_in_no_mean(ties, at):
    rng = np.random.default_rng(10)
    queries, items = packed(rng, 6, 8), packed(rng, 30, 8)
    query_labels, item_labels = label_sets(rng, 6, 4, 0.5), label_sets(rng, 30, 4)
    item_labels[:, 3] = 0
    query_labels[:, 0] = 1
    query_labels[2], query_labels[4] = [0, 0, 0, 1], 0
    rest = [0, 1, 3, 5]
    every = hamming_metrics(queries, items, query_labels, item_labels, ties=ties, at=at)
    others = hamming_metrics(queries[rest], items, query_labels[rest], item_labels, ties=ties, at=at)
    assert (every.n_queries, every.n_without_relevant) == (6, 2)
    np.testing.assert_array_equal(np.isnan(every.ap), [False, False, True, False, True, False])
    np.testing.assert_array_equal(every.ap[rest], others.ap)
    for field in ("map", "topn_precision", "pr_precision", "pr_recall", "radius_precision", "radius_recall"):
        np.testing.assert_array_equal(getattr(every, field), getattr(others, field))


def test_no_relevant_item_for_any_query_is_an_error():
    with pytest.raises(ValueError, match=r"query_labels: .* no query has any relevant item"):
        hamming_metrics(np.zeros((2, 1), np.uint8), np.zeros((3, 1), np.uint8), [1, 2], [3, 4, 5])


def test_a_query_with_nothing_relevant_among_the_first_ranks_counts_as_zero():
    items = np.array([[0], [1], [3], [7]], np.uint8)
    for ties in ("expected", "stable"):
        result = hamming_metrics(np.zeros((1, 1), np.uint8), items, [1], [0, 0, 0, 1], ties=ties, at=3)
        assert (result.map, result.n_without_relevant) == (0.0, 0)


# Faults of public evaluators


def test_a_byte_that_differs_in_all_bits_counts_eight():
    """A saturating popcount table makes it seven, a tie with the other item."""
    items = np.array([[0b11111111], [0b01111111]], np.uint8)
    result = hamming_metrics(np.zeros((1, 1), np.uint8), items, [1], [1, 0], ties="stable")
    assert result.map == 0.5
    np.testing.assert_array_equal(result.radius_recall, [0, 0, 0, 0, 0, 0, 0, 0, 1])


def test_the_mean_is_over_the_number_of_queries_and_nothing_more():
    codes = np.arange(4, dtype=np.uint8)[:, None]
    for ties in ("expected", "stable"):
        assert hamming_metrics(codes, codes, np.arange(4), np.arange(4), ties=ties).map == 1.0
        assert hamming_metrics(codes[:1], codes, [0], np.arange(4), ties=ties).map == 1.0


def test_a_query_is_measured_by_itself():
    """Nothing is taken from the batch of queries: neither a width nor a mean."""
    rng = np.random.default_rng(11)
    queries, codes, codebooks, _ = integer_lookup(rng, 7, 60)
    labels = rng.integers(0, 3, 7), rng.integers(0, 3, 60)
    together = score_metrics(queries, codes, codebooks, *labels)
    alone = [score_metrics(queries[q : q + 1], codes, codebooks, labels[0][q : q + 1], labels[1]).map for q in range(7)]
    np.testing.assert_array_equal(together.ap, alone)


def test_a_cut_off_map_says_so():
    rng = np.random.default_rng(12)
    queries, items = packed(rng, 5, 16), packed(rng, 100, 16)
    labels = rng.integers(0, 3, 5), rng.integers(0, 3, 100)
    cut, whole = hamming_metrics(queries, items, *labels, at=10), hamming_metrics(queries, items, *labels)
    assert (cut.at, whole.at, cut.ties) == (10, None, "expected")
    assert abs(cut.map - whole.map) > 1e-3
    assert hamming_metrics(queries, items, *labels, at=100).map == whole.map


# What may be given


def test_one_query_and_one_item():
    for ties in ("expected", "stable"):
        one = hamming_metrics(np.array([[5]], np.uint8), np.array([[250]], np.uint8), [[1]], [[1]], ties=ties)
        assert (one.map, one.topn, one.topn_precision.tolist()) == (1.0, (1,), [1.0])
        assert score_metrics([[1.0]], np.zeros((1, 1), np.uint8), [[[1.0]]], [0], [0], ties=ties).map == 1.0


def test_labels_of_every_kind_mean_the_same():
    rng = np.random.default_rng(13)
    queries, items = packed(rng, 30, 8), packed(rng, 90, 8)
    classes = rng.integers(0, 70, 30), rng.integers(0, 70, 90)
    expected = hamming_metrics(queries, items, *classes)
    one_hot = [np.eye(70)[y] for y in classes]
    kinds = [
        one_hot,
        [y.astype(bool) for y in one_hot],
        [scipy.sparse.csr_array(y) for y in one_hot],
        [jnp.asarray(y) for y in classes],
        [1_000_000_007 * y for y in classes],
    ]
    for labels in kinds:
        np.testing.assert_array_equal(hamming_metrics(jnp.asarray(queries), items, *labels).ap, expected.ap)


def test_results_do_not_depend_on_the_precision_setting_of_the_process():
    rng = np.random.default_rng(14)
    queries, items = packed(rng, 5, 8), packed(rng, 50, 8)
    labels = rng.integers(0, 3, 5), rng.integers(0, 3, 50)
    lookup = integer_lookup(rng, 5, 50)[:3]
    for ties in ("expected", "stable"):
        hamming, score = hamming_metrics(queries, items, *labels, ties=ties), score_metrics(*lookup, *labels, ties=ties)
        jax.config.update("jax_enable_x64", True)
        try:
            wide = hamming_metrics(queries, items, *labels, ties=ties), score_metrics(*lookup, *labels, ties=ties)
        finally:
            jax.config.update("jax_enable_x64", False)
        np.testing.assert_array_equal(wide[0].ap, hamming.ap)
        np.testing.assert_array_equal(wide[1].ap, score.ap)
        assert hamming.ap.dtype == np.float64


@pytest.mark.parametrize("ties", ["expected", "stable"])
def test_a_device_without_float64_gives_the_same_map(ties, monkeypatch):
    rng = np.random.default_rng(15)
    queries, items = packed(rng, 20, 16), packed(rng, 50_000, 16)
    labels = label_sets(rng, 20, 24), label_sets(rng, 50_000, 24, 0.05)
    codes, judged = (jnp.asarray(queries), jnp.asarray(items)), metrics.judge(*labels)
    wide = hamming_metrics(queries, items, *labels, ties=ties), metrics.hamming_map(*codes, judged, ties=ties)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.delattr(metrics, "_on_device")
    narrow = hamming_metrics(queries, items, *labels, ties=ties), metrics.hamming_map(*codes, judged, ties=ties)
    np.testing.assert_allclose(narrow[0].ap, wide[0].ap, rtol=0, atol=1e-6)
    assert narrow[0].ap.dtype == np.float64
    assert narrow[1] == pytest.approx(wide[1], rel=0, abs=1e-6)
    assert (narrow[0].map == wide[0].map) == (ties == "expected")  # the stable pass is another program
    np.testing.assert_array_equal(narrow[0].topn_precision, wide[0].topn_precision)


GOOD = {
    "query_codes": np.zeros((2, 2), np.uint8),
    "database_codes": np.zeros((3, 2), np.uint8),
    "query_labels": np.eye(2, 4),
    "database_labels": np.eye(3, 4),
}
LOOKUP = {
    "queries": np.zeros((2, 5)),
    "database_codes": np.zeros((3, 2), np.uint8),
    "codebooks": np.zeros((2, 4, 5)),
    "query_labels": np.eye(2, 4),
    "database_labels": np.eye(3, 4),
}
SHARED = [
    ("database_codes", np.zeros((3, 2)), r"database_codes: expected uint8 codes of shape .* got float64"),
    ("database_codes", np.zeros(3, np.uint8), r"database_codes: expected .* shape \(3,\)"),
    ("database_codes", np.zeros((0, 2), np.uint8), r"database_codes: expected at least 1 code; got uint8 of shape"),
    ("query_labels", np.eye(3, 4), r"query_labels: expected 2 rows of labels.* got shape \(3, 4\)"),
    ("database_labels", np.eye(2, 4), r"database_labels: expected 3 rows of labels.* got shape \(2, 4\)"),
    ("query_labels", np.eye(2, 5), r"query_labels: expected the same classes .* \(2, 5\) and \(3, 4\)"),
    ("query_labels", [1, 2], r"query_labels: expected the same classes"),
    ("query_labels", 2 * np.eye(2, 4), r"query_labels: expected 0 and 1; row 0"),
    ("query_labels", np.full((2, 4), np.nan), r"query_labels: expected 0 and 1; row 0"),
    ("query_labels", np.zeros((2, 4)), r"query_labels: expected labels; every row is empty"),
    ("query_labels", [["a"] * 4] * 2, r"query_labels: expected real numbers; got <U1"),
    ("query_labels", None, r"query_labels: expected real numbers; got object"),
    ("ties", "random", r"ties: expected one of expected, stable; got 'random'"),
    ("at", 0, r"at: expected an integer from 1 to 3; got 0"),
    ("at", 4, r"at: expected an integer from 1 to 3; got 4"),
    ("at", 2.0, r"at: expected an integer; got 2.0"),
    ("topn", (1, 4), r"topn: expected an integer from 1 to 3; got .*4"),
    ("topn", "x", r"topn: expected a sequence of an integer"),
]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *SHARED,
        ("query_codes", np.zeros((2, 3), np.uint8), r"query_codes: expected 2 bytes per code.* got \(2, 3\)"),
        ("query_codes", np.ones((2, 2)), r"query_codes: expected uint8 codes"),
    ],
)
def test_bad_input_to_hamming_metrics_is_named(name, value, message):
    with pytest.raises(ValueError, match=message) as error:
        hamming_metrics(**GOOD | {name: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *SHARED,
        ("queries", np.full((2, 5), np.inf), r"queries: expected finite numbers; row 0"),
        ("queries", np.zeros((2, 6)), r"codebooks: expected real numbers \(2, words, 6\); got .*\(2, 4, 5\)"),
        ("codebooks", np.zeros((3, 4, 5)), r"codebooks: expected real numbers \(2, words, 5\); got .*\(3, 4, 5\)"),
        ("codebooks", np.full((2, 4, 5), np.nan), r"codebooks: expected finite numbers"),
        ("database_codes", np.full((3, 2), 4, np.uint8), r"database_codes: expected words below 4.* got 4"),
    ],
)
def test_bad_input_to_score_metrics_is_named(name, value, message):
    with pytest.raises(ValueError, match=message) as error:
        score_metrics(**LOOKUP | {name: value})
    assert "\n" not in str(error.value)


def test_scores_beyond_float32_are_an_error():
    with pytest.raises(ValueError, match="queries: scores are beyond the range of float32"):
        score_metrics(**LOOKUP | {"queries": np.full((2, 5), 3e38), "codebooks": np.full((2, 4, 5), 1e30)})


def test_class_numbers_below_zero_are_an_error():
    with pytest.raises(ValueError, match=r"query_labels: expected classes 0, 1, 2, .*; row 0 is -1"):
        hamming_metrics(**GOOD | {"query_labels": np.array([-1, 2]), "database_labels": np.array([1, 2, 3])})


# Definitions of others


@pytest.mark.parametrize("at", [1, 3, 5, 7])
@pytest.mark.parametrize("ties", ["expected", "stable"])
def test_cut_off_ap_by_what_is_possible_is_the_gain_over_the_smaller_of_ranks_and_relevant_items(ties, at):
    rng = np.random.default_rng(11)
    queries, items = packed(rng, 1, 8), packed(rng, 7, 8, distinct=3)
    relevant = np.array([1, 0, 1, 0, 0, 1, 0])
    distance = distances(queries, items)
    orders = tied_orders(distance) if ties == "expected" else [np.argsort(distance, kind="stable")]
    gains = [average_precision(relevant[list(order)], at) * relevant[list(order)][:at].sum() for order in orders]
    expected = float(sum(map(Fraction, gains)) / len(gains) / min(at, 3))
    options = {"ties": ties, "at": at, "divisor": "possible", "topn": (1,)}
    result = hamming_metrics(queries, items, [1], relevant, **options)
    assert result.ap[0] == pytest.approx(expected, abs=1e-12)
    assert result.divisor == "possible"
    books = np.zeros((1, 9, 1))
    books[0, :, 0] = -np.arange(9)
    scored = score_metrics([[1.0]], distance[:, None].astype(np.uint8), books, [1], relevant, **options)
    assert scored.ap[0] == pytest.approx(expected, abs=1e-12)


def test_precision_within_a_radius_counts_empty_balls_both_ways():
    rng = np.random.default_rng(12)
    queries, items = packed(rng, 30, 16), packed(rng, 40, 16)
    query_labels, item_labels = label_sets(rng, 30, 4, 0.5), label_sets(rng, 40, 4, 0.5)
    query_labels[:, 1] = item_labels[0, 1] = 1
    relevant = relevance(query_labels, item_labels)
    within = np.stack([distances(q, items) for q in queries]) <= 3
    found = within.sum(1)
    precision = (within & relevant).sum(1) / np.maximum(found, 1)
    assert 0 < (found == 0).sum() < 30
    measured = hamming_metrics(queries, items, query_labels, item_labels)
    assert precision_within(measured, 3) == pytest.approx(precision.mean())
    assert precision_within(measured, 3, empty="left out") == pytest.approx(precision[found > 0].mean())
    with pytest.raises(ValueError, match="radius: expected an integer from 0 to 16; got 17"):
        precision_within(measured, 17)
    far = hamming_metrics(np.full((1, 2), 255, np.uint8), np.zeros((1, 2), np.uint8), [1], [1])
    with pytest.raises(ValueError, match="radius: no query has an item within 2"):
        precision_within(far, empty="left out")


@pytest.mark.parametrize("ties", ["expected", "stable"])
def test_ndcg_agrees_with_ir_measures_on_rankings_without_ties(ties):
    rng = np.random.default_rng(6)
    n, bits = 250, 256
    distance = rng.permutation(bits + 1)[:n]
    items = np.packbits(np.arange(bits) < distance[:, None], axis=1)
    query_labels, item_labels = label_sets(rng, 6, 40), label_sets(rng, n, 40)
    shared = query_labels.astype(int) @ item_labels.T
    assert shared.max() > 3
    qrels = {str(q): {str(i): int(shared[q, i]) for i in range(n)} for q in range(6)}
    run = {str(q): {str(i): -float(distance[i]) for i in range(n)} for q in range(6)}
    measures = [ir_measures.nDCG @ k for k in (1, 10, 100)]
    expected = ir_measures.calc_aggregate(measures, qrels, run)
    codes = np.zeros((6, bits // 8), np.uint8), items
    found = hamming_ndcg(*codes, query_labels, item_labels, at=[1, 10, 100], gain="linear", ties=ties)
    np.testing.assert_allclose(found, [expected[m] for m in measures], atol=1e-6)


def test_expected_ndcg_is_the_mean_over_all_orders_of_ties():
    rng = np.random.default_rng(7)
    queries, items = packed(rng, 1, 8), packed(rng, 7, 8, distinct=3)
    labels, item_labels = np.array([[1, 1, 1, 0]]), label_sets(rng, 7, 4, 0.5)
    gains = 2.0 ** (labels @ item_labels.T)[0] - 1
    discount = 1 / np.log2(np.arange(2, 9))
    distance = distances(queries, items)
    for at in (1, 3, 5, 7):
        best = (np.sort(gains)[::-1] * discount)[:at].sum()
        every = [(gains[list(order)] * discount)[:at].sum() / best for order in tied_orders(distance)]
        assert hamming_ndcg(queries, items, labels, item_labels, at=[at])[0] == pytest.approx(np.mean(every))
        stable = (gains[np.argsort(distance, kind="stable")] * discount)[:at].sum() / best
        found = hamming_ndcg(queries, items, labels, item_labels, at=[at], ties="stable")
        assert found[0] == pytest.approx(stable)


def test_ndcg_of_queries_without_relevant_items_is_in_no_mean():
    codes = np.zeros((2, 1), np.uint8), np.uint8([[0], [255]])
    found = hamming_ndcg(*codes, [[1, 0], [0, 1]], [[1, 0], [1, 0]], at=[1, 2])
    np.testing.assert_array_equal(found, hamming_ndcg(codes[0][:1], codes[1], [[1, 0]], [[1, 0], [1, 0]], at=[1, 2]))
    with pytest.raises(ValueError, match="no query has any relevant item"):
        hamming_ndcg(*codes, [[0, 1], [0, 1]], [[1, 0], [1, 0]], at=[1])


@pytest.mark.parametrize("ties", ["expected", "stable"])
def test_known_items_come_where_a_sort_puts_them(ties):
    rng = np.random.default_rng(8)
    queries, items = packed(rng, 40, 8), packed(rng, 60, 8, distinct=9)
    rows = rng.integers(0, 60, 40)
    distance = np.stack([distances(q, items) for q in queries])
    own = distance[np.arange(40), rows][:, None]
    closer, tied = (distance < own).sum(1), (distance == own).sum(1)
    if ties == "stable":
        first = 1 + np.array([np.argsort(d, kind="stable").tolist().index(row) for d, row in zip(distance, rows)])
        last = first
    else:
        first, last = closer + 1, closer + tied
    found = known_item(queries, items, rows, ranks=[1, 5, 10], ties=ties)
    np.testing.assert_array_equal(found.rank, (first + last) / 2)
    assert found.median_rank == np.median((first + last) / 2)
    places = [np.arange(a, b + 1) for a, b in zip(first, last)]
    expected = [np.mean([(place <= k).mean() for place in places]) for k in (1, 5, 10)]
    np.testing.assert_allclose(found.recall, expected)


def test_recall_of_known_items_is_that_of_ir_measures():
    rng = np.random.default_rng(9)
    items = np.packbits(np.arange(64) < rng.permutation(65)[:50, None], axis=1)
    queries, rows = items[rng.permutation(50)[:20]], rng.integers(0, 50, 20)
    found = known_item(queries, items, rows, ties="stable")
    qrels = {str(q): {str(rows[q]): 1} for q in range(20)}
    run = {str(q): {str(i): -float(d) - i / 1e4 for i, d in enumerate(distances(queries[q], items))} for q in range(20)}
    measures = [ir_measures.R @ k for k in (1, 5, 10)]
    theirs = ir_measures.calc_aggregate(measures, qrels, run)
    np.testing.assert_allclose(found.recall, [theirs[m] for m in measures])


@pytest.mark.parametrize("items", [[0, 3], [-1, 0], [0.0, 1.0], [0]])
def test_rows_of_known_items_that_are_none_are_named(items):
    codes = np.zeros((2, 1), np.uint8), np.zeros((3, 1), np.uint8)
    with pytest.raises(ValueError, match="items: expected a row below 3 for each of 2 queries"):
        known_item(*codes, items)


def test_beyond_map_searches_what_belongs_to_a_query_among_all_items():
    rng = np.random.default_rng(10)
    queries, items, paired = packed(rng, 20, 16), packed(rng, 60, 16, distinct=9), packed(rng, 20, 16)
    labels = rng.integers(0, 3, 20), rng.integers(0, 3, 60)
    measured = hamming_metrics(queries, items, *labels)
    found = metrics.beyond_map(measured, queries, items, paired, *labels)
    known = known_item(queries, np.concatenate([items, paired]), np.arange(60, 80))
    assert [found[f"recall@{k}"] for k in (1, 5, 10)] == known.recall.tolist()
    assert found["median rank"] == known.median_rank
    assert found["NDCG@10"] == hamming_ndcg(queries, items, *labels, at=[10])[0]
    labels = labels[0], labels[1][:9]
    few = metrics.beyond_map(hamming_metrics(queries, items[:9], *labels), queries, items[:9], paired, *labels)
    assert ("NDCG@10" in found, "NDCG@10" in few) == (True, False)


def block(seed=0, n=500, queries=40, bits=16):
    """Codes and label sets as the passes over the database take them, the last 12 items being none."""
    rng = np.random.default_rng(seed)
    codes = [rng.integers(0, 4, (rows, bits // 8), dtype=np.uint8) for rows in (queries, n)]
    words = [metrics._words(x) for x in codes]
    sets = [rng.integers(1, 8, (rows, 1), dtype=np.uint32) for rows in (queries, n)]
    return words, sets, codes


def on_an_accelerator(monkeypatch):
    """What is chosen by platform is chosen as for no CPU, and run on this one."""
    monkeypatch.setattr(lax, "platform_dependent", lambda *args, default, cpu: default(*args))
    jax.clear_caches()


@pytest.mark.parametrize("wide", [True, False])
def test_a_sort_gives_the_sums_of_the_walk(wide):
    (queries, items), (query_sets, item_sets), _ = block()
    n = len(items)
    chunks = [jnp.asarray(metrics._chunked(x)) for x in (items, item_sets, np.ones((n, 1), np.int32))]
    counts = metrics._count(queries, query_sets, *chunks, bits=16)
    padded = [jnp.asarray(metrics._filled(x, n + 12)) for x in (items, item_sets)]
    cuts = jnp.asarray([n, 1, 50, 200], jnp.int32)
    walked, ordered = (
        form(counts, queries.T, query_sets.T, *padded, cuts, wide=wide) for form in (metrics._walked, metrics._sorted)
    )
    np.testing.assert_allclose(ordered[0], walked[0], rtol=1e-12 if wide else 1e-7)
    np.testing.assert_array_equal(ordered[1], walked[1])
    assert (np.asarray(walked[1])[:, 0] > 50).all()


def test_accelerators_measure_the_same(monkeypatch):
    _, _, (queries, items) = block()
    rng = np.random.default_rng(1)
    labels = [(rng.random((len(x), 5)) < 0.3).astype(np.uint8) for x in (queries, items)]
    books, vectors = rng.integers(-3, 4, (2, 4, 6)).astype(np.float32), rng.integers(-3, 4, (40, 6)).astype(np.float32)

    def measured():
        for options in ({}, {"at": 30}, {"ties": "stable"}, {"ties": "stable", "at": 30}):
            yield metrics.hamming_metrics(queries, items, *labels, **options)
            yield metrics.score_metrics(vectors, items, books, *labels, **options)
        for ties in ("expected", "stable"):
            yield metrics.hamming_ndcg(queries, items, *labels, at=[10, 100], ties=ties)
            yield metrics.hamming_map(queries, items, metrics.judge(*labels), ties=ties)

    expected = jax.tree.leaves(list(measured()))
    on_an_accelerator(monkeypatch)
    monkeypatch.setattr(metrics, "_SORTED", 1500)
    found = jax.tree.leaves(list(measured()))
    jax.clear_caches()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12) if not isinstance(one, str) else None
