"""Preparation fitted on training rows, simulated faults, and what inspection says."""

import numpy as np
import pytest
from scipy import sparse

from jaxcmh.datasets import (
    Maker,
    Part,
    Split,
    describe,
    drop_labels,
    featurise,
    flip_labels,
    inspect_files,
    load_dataset,
    prepare,
    suspicions,
    synthetic,
    unpair,
)
from jaxcmh.datasets.preparation import UnitRows, apply, fit_centre, fit_pca, fit_standardise, fit_tfidf

RNG = np.random.default_rng(0)
X, Y = RNG.normal(2, 3, (50, 6)), RNG.normal(0, 1, (20, 6))


# -- preparation ------------------------------------------------------------------------------------------------------


def test_centre_and_standardise():
    np.testing.assert_allclose(apply(fit_centre(X), Y), Y - X.mean(0))
    np.testing.assert_allclose(apply(fit_standardise(X), Y), (Y - X.mean(0)) / X.std(0))
    np.testing.assert_allclose(
        apply(fit_standardise(sparse.csr_array(X)), sparse.csr_array(Y)), apply(fit_standardise(X), Y)
    )
    constant = np.full((40, 1), 0.1, np.float32)
    assert not apply(fit_standardise(constant), constant).any()


def test_pca_is_the_eigenbasis_of_the_training_covariance():
    fitted = fit_pca(X, 3)
    values = np.linalg.eigvalsh(np.cov(X.T))[::-1][:3]
    np.testing.assert_allclose(fitted.variances, values)
    np.testing.assert_allclose(apply(fitted, X).var(0, ddof=1), values)
    np.testing.assert_allclose(fitted.directions.T @ fitted.directions, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(apply(fitted, Y), (Y - X.mean(0)) @ fitted.directions)
    for k in (0, 7):
        with pytest.raises(ValueError, match="k: expected 1 to 6 directions"):
            fit_pca(X, k)


def test_tfidf_and_unit_rows():
    counts = RNG.poisson(0.7, (30, 8)).astype(np.float32)
    counts[:, 3] = 0
    counts[5] = 0
    idf = np.log(30 / np.maximum((counts > 0).sum(0), 1))
    weighed = counts * idf
    lengths = np.linalg.norm(weighed, axis=1, keepdims=True)
    expected = weighed / np.where(lengths > 0, lengths, 1)
    dense, thin = apply(fit_tfidf(counts), counts), apply(fit_tfidf(sparse.csr_array(counts)), sparse.csr_array(counts))
    np.testing.assert_allclose(dense, expected, rtol=1e-5)
    assert thin.format == "csr"
    np.testing.assert_allclose(thin.toarray(), dense, rtol=1e-5)
    unit = apply(UnitRows(), counts)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), counts.any(1), rtol=1e-6)
    with pytest.raises(ValueError, match="word counts >= 0"):
        fit_tfidf(-counts)


def test_prepare_learns_nothing_from_queries_or_database():
    split = synthetic(train=80, query=20, dims=(6, 9))
    split = split._replace(database=split.train._replace(views=tuple(v * 2 for v in split.train.views)))
    steps = [["standardise", "pca:4", "l2"], ["tfidf"]]
    prepared = prepare(split, steps)
    strange = tuple(v * 1000 + 7 for v in split.query.views)
    other = prepare(split._replace(query=split.query._replace(views=strange), database=split.query), steps)
    for a, b in zip(prepared.train.views, other.train.views):
        np.testing.assert_array_equal(a, b)
    first = fit_standardise(split.train.views[0])
    second = fit_pca(apply(first, split.train.views[0]), 4)
    expected = apply(UnitRows(), apply(second, apply(first, split.query.views[0])))
    np.testing.assert_array_equal(prepared.query.views[0], expected)
    assert prepared.train.views[0].dtype == np.float32
    assert "pca:4" in prepared.notes[-1]
    for bad in ([["pca"], []], [["pca:x"], []], [["whiten"], []]):
        with pytest.raises(ValueError, match="steps: unknown"):
            prepare(split, bad)
    with pytest.raises(ValueError, match=r"steps\[0\]: expected a sequence of text"):
        prepare(split, ["l2", "l2"])


def test_prepared_sets_prepare_new_objects_too():
    split = synthetic(train=30, query=5, dims=(3, 4))
    split = split._replace(makers=(Maker("words", ("cat", "dog", "emu")), Maker("words", ("a", "b", "c", "d"))))
    prepared = prepare(split, [["centre", "l2"], []])
    assert prepared.database is prepared.train
    bag = np.array([1, 0, 1]) - split.train.views[0].mean(0, dtype=float)
    np.testing.assert_allclose(featurise(prepared, 0, ["emu, cat"]), [bag / np.linalg.norm(bag)], rtol=1e-6)
    np.testing.assert_array_equal(featurise(prepared, 1, ["b"]), [[0, 1, 0, 0]])


# -- simulated faults -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_unpairing_shuffles_the_first_and_the_last_rows(share):
    split = synthetic(train=200, query=5, dims=(4, 30, 3))
    broken = unpair(split, share, seed=1)
    half = round(share * 100)
    for m, moved in ((0, slice(0, half)), (1, slice(200 - half, 200))):
        before, after = split.train.views[m], broken.train.views[m]
        kept = np.ones(200, bool)
        kept[moved] = False
        np.testing.assert_array_equal(after[kept], before[kept])
        assert sorted(map(tuple, after[moved])) == sorted(map(tuple, before[moved]))
        assert half == 0 or (after[moved] != before[moved]).any(1).mean() > 0.8
    np.testing.assert_array_equal(broken.train.views[2], split.train.views[2])
    np.testing.assert_array_equal(broken.train.labels, split.train.labels)
    assert broken.database is broken.train
    np.testing.assert_array_equal(unpair(split, share, seed=1).train.views[0], broken.train.views[0])


def test_flipped_labels_keep_their_number_and_leave_the_database_alone():
    split = synthetic(train=400, query=5, labels=6)
    noisy = flip_labels(split, 0.25, seed=2)
    changed = (noisy.train.labels != split.train.labels).any(1)
    assert changed.sum() == 100
    np.testing.assert_array_equal(noisy.train.labels.sum(1), split.train.labels.sum(1))
    assert ((noisy.train.labels != split.train.labels).sum(1)[changed] == 2).all()
    np.testing.assert_array_equal(noisy.database.labels, split.train.labels)
    np.testing.assert_array_equal(flip_labels(split, 0.25, seed=2).train.labels, noisy.train.labels)
    assert not np.array_equal(flip_labels(split, 0.25, seed=3).train.labels, noisy.train.labels)


def test_dropped_labels_leave_every_row_one():
    split = synthetic(train=400, query=5, labels=12, cardinality=3.0)
    spare = int((split.train.labels.sum(1).astype(int) - 1).sum())
    for share in (0.0, 0.4, 1.0):
        thin = drop_labels(split, share)
        assert (thin.train.labels <= split.train.labels).all()
        assert thin.train.labels.any(1).all()
        assert int(split.train.labels.sum()) - int(thin.train.labels.sum()) == round(share * spare)
        np.testing.assert_array_equal(thin.database.labels, split.train.labels)


@pytest.mark.parametrize("simulate", [unpair, flip_labels, drop_labels])
def test_shares_are_checked(simulate):
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share: expected a number from 0 to 1"):
            simulate(synthetic(train=20, query=2), share)


# -- inspection -------------------------------------------------------------------------------------------------------


def test_suspicious_things_are_told():
    image, text = RNG.random((10, 3)), (RNG.random((10, 4)) + 0.1)
    image[:, 1] = 4.0
    image[3] = image[2]
    text[3] = text[2]
    text[7] = 0
    labels = np.eye(4, dtype=np.uint8)[np.arange(10) % 3]
    labels[5] = 0
    train = Part((image, text), labels, np.arange(10))
    query = Part((image[8:9].copy(), text[8:9].copy()), labels[8:9], np.arange(10, 11))
    for make in (np.asarray, sparse.csr_array):
        parts = (p._replace(views=tuple(make(v) for v in p.views)) for p in (train, query))
        train_, query_ = parts
        assert suspicions(Split(train_, query_, train_)) == [
            "train: view 0 has 1 constant column: 1",
            "train: view 1 has 1 empty row: 7",
            "train: 1 row: 5 without a label",
            "train: 1 row: 2 with duplicates, equal in all views",
            "train: 1 class: 3 without any row",
            "1 of 1 queries also are in the database, the first are rows 0",
        ]
    assert suspicions(synthetic(train=200, query=20)) == []


def test_inspection_names_every_array_and_the_hashes(tmp_path):
    part = synthetic(train=40, query=10, dims=(5, 6), labels=4, seed=3)
    arrays = {
        f"{key}_{suffix}": value
        for suffix, p in (("tr", part.train), ("te", part.query))
        for key, value in (("I", p.views[0]), ("T", p.views[1]), ("L", p.labels))
    }
    np.savez(tmp_path / "set.npz", **arrays, V_tr=part.train.views[0], extra=np.eye(2))
    report = inspect_files(tmp_path / "set.npz")
    assert report["arrays"]["I_tr"] == "40 x 5 float32, train.image"
    assert report["arrays"]["V_tr"] == "40 x 5 float32, train.image, not used"
    assert report["arrays"]["extra"] == "2 x 2 float64, not recognised"
    assert report["parts"]["query"].startswith("10 rows")
    assert len(report["data hash"]) == len(report["split hash"]) == 16
    assert report["data hash"] == inspect_files([tmp_path / "set.npz"])["data hash"]
    assert report["classes"] == {str(c): int(part.train.labels[:, c].sum()) for c in range(4)}
    many = describe(synthetic(train=300, query=10, labels=30, dims=(2, 2)))
    assert len(many["largest classes"]) == len(many["smallest classes"]) == 5
    assert min(many["largest classes"].values()) > max(many["smallest classes"].values())
    assert "problem" not in report
    del arrays["L_te"]
    np.savez(tmp_path / "set.npz", **arrays)
    report = inspect_files(tmp_path / "set.npz")
    assert "no query.labels" in report["problem"]
    assert "parts" not in report


def test_inspection_of_the_real_files(shared_data):
    report = inspect_files(shared_data / "wiki")
    assert report["layout"][0].startswith("MATLAB family")
    assert report["suspicious"] == ["nothing"]
    assert report["labels"] == "10 classes, 1.00 per row (1 to 1)"
    assert "all.image" in inspect_files(shared_data / "mirflickr25k")["problem"]


def test_hashes_tell_data_and_splits_apart(shared_data):
    first, second = (inspect_files(shared_data / "wiki_variants" / f"{name}_wikiData.mat") for name in ("MTFH", "RFDH"))
    assert (first["data hash"], first["split hash"]) == (second["data hash"], second["split hash"])
    roph = inspect_files(shared_data / "wiki_variants" / "RoPH_wiki.mat")
    assert roph["data hash"] != first["data hash"]
    assert roph["split hash"] != first["split hash"]
    assert load_dataset("wiki", shared_data).train.labels.shape == (2173, 10)
