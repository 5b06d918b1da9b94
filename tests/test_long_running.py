"""A process that serves for long does not grow: what is compiled is compiled for a few sizes, and kept."""

import gc
import resource
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from jax import monitoring

import jaxcmh
from jaxcmh import index as indexes
from jaxcmh.retrieval import metrics, topk

STATUS = Path("/proc/self/statm")


def resident() -> float:
    """Megabytes of this process that are in memory."""
    gc.collect()
    return int(STATUS.read_text().split()[1]) * resource.getpagesize() / 1e6


@pytest.fixture
def compiled():
    """Counts what is compiled meanwhile, under "programs"."""
    counts: Counter = Counter()
    watching = True

    def listen(event: str, *_: float, **__: str | int) -> None:
        counts["programs"] += watching and event == "/jax/core/compile/backend_compile_duration"

    monitoring.register_event_duration_secs_listener(listen)
    yield counts
    watching = False


@pytest.fixture(scope="module")
def split():
    return jaxcmh.load_dataset("synthetic", train=400, query=64)


@pytest.fixture(scope="module")
def model(split):
    return jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=16)


def test_searches_with_any_k_and_number_of_queries_share_a_few_programs(compiled, monkeypatch):
    monkeypatch.setattr(topk, "_numba", lambda: None)
    codes = np.random.default_rng(0).integers(0, 256, (3000, 7), dtype=np.uint8)
    index = indexes.build(codes)
    mask = np.arange(3000) % 2 == 0
    compiled.clear()
    for k in range(1, 41):
        indexes.search(index, codes[:1], k)
    assert 0 < compiled["programs"] <= 10
    compiled.clear()
    for queries in range(1, 65):
        indexes.search(index, codes[:queries], 10)
    assert 0 < compiled["programs"] <= 7
    compiled.clear()
    for n in range(2000, 2040):
        indexes.search(indexes.build(codes[:n]), codes[:1], 10, mask=mask[:n])
    assert 0 < compiled["programs"] <= 3


def test_encoding_any_number_of_rows_takes_a_few_programs(split, model, compiled):
    jaxcmh.encode(model, split.query.views[0][:1], 0)
    compiled.clear()
    whole = np.asarray(jaxcmh.encode(model, split.query.views[0], 0))
    for n in range(1, 65):
        np.testing.assert_array_equal(jaxcmh.encode(model, split.query.views[0][:n], 0), whole[:n])
    assert 0 < compiled["programs"] <= 14


@pytest.mark.parametrize("ties", ["expected", "stable"])
def test_evaluating_ever_more_items_takes_one_program(compiled, ties):
    rng = np.random.default_rng(0)
    codes, labels = rng.integers(0, 256, (1700, 4), dtype=np.uint8), rng.integers(0, 3, 1700)
    books = rng.normal(size=(4, 256, 5)).astype(np.float32)

    def measure(n: int) -> None:
        metrics.hamming_metrics(codes[:9], codes[:n], labels[:9], labels[:n], ties=ties)
        metrics.score_metrics(books[0, :9], codes[:n], books, labels[:9], labels[:n], ties=ties)
        metrics.hamming_ndcg(codes[:9], codes[:n], labels[:9], labels[:n], at=[10])
        metrics.known_item(codes[:9], codes[:n], ties=ties)
        metrics.hamming_map(codes[:9], codes[:n], metrics.judge(labels[:9], labels[:n]), ties=ties)

    measure(1601)
    compiled.clear()
    for n in range(1602, 1650, 3):
        measure(n)
    assert compiled["programs"] == 0
    measure(1700)
    assert compiled["programs"] > 0  # it is counted at all


def test_adding_a_thousand_items_one_by_one_compiles_nothing_and_grows_by_little(compiled):
    codes = np.random.default_rng(0).integers(0, 256, (2040, 9), dtype=np.uint8)
    index = indexes.build(codes[:1030])
    index = indexes.add(index, codes[1030:1031])
    compiled.clear()
    before, seconds = resident(), []
    for row in range(1031, 2031):
        start = time.process_time()
        index = indexes.add(index, codes[row : row + 1])
        seconds.append(time.process_time() - start)
    assert compiled["programs"] == 0
    assert resident() - before < 20
    assert np.median(seconds) < 0.005
    np.testing.assert_array_equal(index.codes, codes[:2031])


def serve(split, model, calls: int, queries: int, most: int) -> None:
    """Mixed calls: encode, search with up to so many queries and answers, add, remove, evaluate a part."""
    rng = np.random.default_rng(0)
    index = indexes.build(split.train.views[0][:300], [f"n{i}" for i in range(300)], model=model, view=0)
    for call in range(calls):
        some = rng.integers(0, 64, rng.integers(1, queries + 1))
        kind, view = call % 6, call // 6 % 2
        if kind == 0:
            jaxcmh.encode(model, split.query.views[view][some], view)
        elif kind == 1:
            indexes.search(index, split.query.views[view][some], rng.integers(1, most + 1), model=model, view=view)
        elif kind == 2:
            jaxcmh.search(model, split.query.views[view][some], view, rng.integers(1, most + 1))
        elif kind == 3:
            ids = [f"{call}-{i}" for i in range(len(some))]
            index = indexes.add(index, split.train.views[view][some], ids, model=model, view=view)
        elif kind == 4:
            index = indexes.remove(index, rng.choice(index.ids.values, len(index) - 300, replace=False))
        else:
            part = [view[some] for view in split.query.views]
            jaxcmh.evaluate(model, part, split.query.labels[some], split.train.labels)
    assert 300 <= len(index) <= 300 + queries


def warm_up(split, model, queries: int, most: int) -> None:
    """Every program that `serve` needs."""
    for n in {topk.roomy(n) for n in range(1, queries + 1)}:
        part = [view[:n] for view in split.query.views]
        jaxcmh.evaluate(model, part, split.query.labels[:n], split.train.labels)
        jaxcmh.encode(model, part[0], 0)
        for k in range(1, most + 1):
            jaxcmh.search(model, part[0], 0, k)
    # A row with a bit that rounding decides goes to the program for one row, and so does a sparse one.
    row = scipy.sparse.csr_matrix(split.query.views[0][:1])
    jaxcmh.encode(model, row, 0)
    jaxcmh.search(model, row, 0, 1)
    serve(split, model, 12, queries, most)


@pytest.mark.skipif(not STATUS.exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("calls", "queries", "most"), [(300, 8, 10), pytest.param(10_000, 64, 40, marks=pytest.mark.long)]
)
def test_a_service_of_mixed_calls_does_not_grow(split, model, compiled, calls, queries, most):
    warm_up(split, model, queries, most)
    before = resident()
    compiled.clear()
    serve(split, model, calls, queries, most)
    grown = resident() - before
    print(f"{calls} calls: {grown:.1f} MB, {compiled['programs']} programs")
    assert compiled["programs"] == 0
    assert grown < 50
