"""The graph of AAH is the n x n similarity it stands for, and its objective is the printed one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import jaxcmh
from jaxcmh.learning import core, graph
from jaxcmh.methods import aah


def pairs(n=60, c=5, dims=(9, 7)):
    rng = np.random.default_rng(0)
    labels = (rng.random((n, c)) < 0.3).astype(np.uint8)
    return [labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims], labels


def similarity(found):
    """S, from its products."""
    return np.asarray(graph.similar(found, jnp.eye(len(found.node)))[found.node])


@pytest.mark.parametrize(
    ("kept", "denser"), [(graph.KEPT, 1e9), (0, 1e9), (0, 1e-9)], ids=["by a table", "by its rows", "by labels"]
)
def test_the_label_graph_is_the_similarity_of_label_sets(kept, denser, monkeypatch):
    monkeypatch.setattr(graph, "KEPT", kept)
    monkeypatch.setattr(graph, "BLOCK", 4)
    monkeypatch.setattr(graph, "DENSER", denser)
    with jax.enable_x64(True):
        views, labels = pairs()
        data = core.linked(aah.method, core.prepare(views, labels, "float64"))
        assert (data.linked is None) == (denser > 1)
        found = graph.label_graph(data)
        S = (labels.astype(int) @ labels.T > 0).astype(float)
        assert len(found.EX[0]) < len(labels)
        np.testing.assert_array_equal(similarity(found), S)
        np.testing.assert_array_equal(found.D, S.sum(1))
        for X, EX, squares in zip(views, found.EX, found.weighted_squares):
            np.testing.assert_allclose(found.T(EX)[found.node], S @ X)
            np.testing.assert_allclose(squares, (S.sum(1)[:, None] * X * X).sum())


@pytest.mark.parametrize("sets", ["many classes", "one label each", "nothing"])
def test_links_of_label_sets_are_the_table_of_those_that_share_a_label(sets, monkeypatch):
    monkeypatch.setattr(graph, "DENSER", 1e-9)
    rng = np.random.default_rng(0)
    many = np.unique(rng.random((300, 40)) < rng.random(300)[:, None] * 0.2, axis=0)
    labels = {"many classes": many, "one label each": np.eye(5), "nothing": np.zeros((1, 3))}[sets].astype(np.float32)
    links, Y = graph.label_links(labels), rng.integers(9, size=(len(labels), 2)).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(graph._link_by_labels)(links, Y), (labels @ labels.T > 0) @ Y)


def test_links_are_left_out_where_a_table_is_smaller():
    assert graph.label_links(np.eye(500)[:, :300]) is not None
    assert graph.label_links(np.unique(np.random.default_rng(0).random((200, 12)) < 0.5, axis=0)) is None


def test_training_with_links_is_training_with_a_table(monkeypatch):
    views, labels = pairs(n=200, c=8)
    options = {"bits": 8, "max_iterations": 3, "tolerance": 0}
    objectives = []
    for denser in (1e9, 1e-9):
        monkeypatch.setattr(graph, "DENSER", denser)
        objectives.append(core.fit(aah.method, core.prepare(views, labels), random.key(0), **options).objective)
    np.testing.assert_allclose(objectives[1], objectives[0], rtol=1e-5)


def test_the_neighbour_graph_links_mutual_neighbours_and_oneself():
    with jax.enable_x64(True):
        views, labels = pairs()
        X = np.concatenate([x / np.linalg.norm(x) for x in views], axis=1)
        squares = ((X[:, None] - X) ** 2).sum(2)
        np.fill_diagonal(squares, np.inf)
        near = squares <= np.sort(squares, axis=1)[:, 9:10]
        expected = (near & near.T) | np.eye(len(X), dtype=bool)
        found = graph.neighbour_graph(core.prepare(views, labels, "float64"))
        np.testing.assert_array_equal(similarity(found), expected)


def test_the_objective_is_the_printed_one():
    with jax.enable_x64(True):
        views, labels = pairs(dims=(9, 8))
        data = core.ready(aah.method, core.prepare(views, labels, "float64"), 8)
        params = aah.Params(theta=0.7, alpha=2.0, beta=3.0)
        state = core.step(aah.method, aah.init(random.key(0), data, params, 8), data, params)
        S = labels.astype(int) @ labels.T > 0
        (U, V), (P1, P2) = (np.asarray(u) for u in state.U), (np.asarray(b) for b in state.P)

        def gaps(A, B):
            return (((A[:, None] - B) ** 2).sum(2) * S).sum()

        expected = gaps(views[0], U @ P1.T) + 0.7 * gaps(views[1], V @ P2.T) + 2 * gaps(U, V)
        expected += 3 * ((U - V) ** 2).sum() + ((np.asarray(state.B) - (U + V) / 2) ** 2).sum()
        np.testing.assert_allclose(aah.objective(state, data, params), expected, rtol=1e-10)


def test_three_views_weigh_every_pair_alike():
    with jax.enable_x64(True):
        views, labels = pairs(dims=(9, 9, 9))
        data = core.ready(aah.method, core.prepare([views[0]] * 3, labels, "float64"), 8)
        params = aah.Params(theta=1.0)
        state = aah.init(random.key(0), data, params, 8)
        state = state._replace(U=state.U[:1] * 3, Q=state.Q[:1] * 3, P=state.P[:1] * 3)

        def loss(moved):
            U = tuple(state.U[0] + (v == moved) for v in range(3))
            TU = tuple(graph.similar(data.extra, U_v) for U_v in U)
            return aah.objective(state._replace(U=U, TU=TU), data, params)

        np.testing.assert_allclose([loss(1), loss(2)], loss(0))


def test_a_penalty_of_zero_is_refused():
    views, labels = pairs()
    with pytest.raises(ValueError, match=r"params\.mu: expected a finite number above 0; got 0\.0"):
        jaxcmh.train("aah", views, labels, bits=8, params={"mu": 0.0})


def test_the_ridge_helps_where_features_outnumber_samples_and_papers_have_none():
    split = jaxcmh.load_dataset("synthetic", train=100, query=200, dims=(150, 160), labels=5)
    ten = {"max_iterations": 10, "tolerance": 0}

    def score(ridge):
        model = jaxcmh.train("aah", split.train.views, split.train.labels, bits=16, params={"ridge": ridge}, **ten)
        return jaxcmh.evaluate(model, split.query.views, split.query.labels, split.train.labels)

    plain, ridged = score(0.0), score(100.0)
    assert min(ridged[way] - plain[way] for way in ("i2t", "t2i")) > 0.03
    assert all(params.ridge == 0 for params in aah.paper_params.values())
