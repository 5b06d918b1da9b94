"""What tells data sets apart: hashes, chance and kinds of database codes."""

import numpy as np
import pytest
from scipy import sparse

from jaxcmh.datasets import Part, Split, identity


def part(rows, shift=0.0):
    rng = np.random.default_rng(0)
    views = tuple(rng.normal(size=(10, d))[rows] + shift for d in (3, 2))
    labels = np.eye(2, dtype=np.uint8)[np.arange(10) % 2]
    return Part(views, labels[rows], np.arange(10)[rows])


def split(**changes):
    train = part(slice(0, 7))
    return Split(train, part(slice(7, 10)), train)._replace(**changes)


def test_hashes_change_with_the_data_and_with_the_split():
    same, moved = split(), split(query=part(slice(7, 10), shift=1e-6))
    other = split(query=part(slice(6, 9)))
    assert identity.data_hash(same) == identity.data_hash(split())
    assert identity.data_hash(same) != identity.data_hash(moved)
    assert identity.split_hash(same) == identity.split_hash(moved) != identity.split_hash(other)


def test_sparse_views_hash_by_content():

    dense = part(slice(0, 7))
    one, two = (dense._replace(views=(sparse.csr_array(x), x)) for x in dense.views)
    assert identity.data_hash(split(train=one)) == identity.data_hash(split(train=one))
    assert identity.data_hash(split(train=one)) != identity.data_hash(split(train=two))


def test_kinds_of_database_codes():
    assert identity.kinds(split()) == ("learned", "encoded")
    assert identity.kinds(split(database=part(slice(7, 10)))) == ("held_out",)
    assert identity.kinds(split(database=part(slice(5, 10)))) == ("encoded",)


def test_chance_is_the_share_of_relevant_items():
    rng = np.random.default_rng(1)
    query, database = (rng.integers(0, 2, (n, 3)) for n in (300, 40))
    query[0] = 0
    relevant = np.array([[bool((q & d).any()) for d in database] for q in query])
    assert identity.chance(query, database) == pytest.approx(relevant[relevant.any(1)].mean())
    assert identity.chance(np.zeros((2, 3)), database) == 0.0


def test_hashes_have_the_values_they_always_had():
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    train, query = (
        Part(
            views=(x[:n], sparse.csr_array(x[:n])),
            labels=np.eye(2, dtype=np.uint8)[[0, 1, 0, 1]][:n],
            ids=np.array(ids),
        )
        for n, ids in ((4, ["a", "bb", "c", "d"]), (1, ["e"]))
    )
    whole = Split(train, query, train)
    assert (identity.data_hash(whole), identity.split_hash(whole)) == ("ed96e99e139c9269", "073da85802d544bb")
