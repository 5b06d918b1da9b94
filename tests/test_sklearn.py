"""The estimator: scikit-learn's own checks, and what its tools make of it."""

import pickle

import numpy as np
import pytest
import scipy.sparse

import jaxcmh

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from jaxcmh.sklearn import CrossModalHasher

pytestmark = pytest.mark.xdist_group("sklearn")


@pytest.mark.filterwarnings("ignore:views.[01].. all items get the same code")  # of what some checks make up
@parametrize_with_checks([CrossModalHasher(1, bits=8, features="identity", max_iterations=2)])
def test_all_checks_of_scikit_learn(estimator, check):
    check(estimator)


# -- what it computes -------------------------------------------------------------------------------------------------

DATA = jaxcmh.load_dataset("synthetic", train=120, query=40, dims=(9, 7), labels=5)
X, Y = np.hstack(DATA.train.views), DATA.train.labels
QUERIES, THEIRS = np.hstack(DATA.query.views), DATA.query.labels
HASHER = CrossModalHasher(9, bits=8, features="identity", max_iterations=5, tolerance=0)


@pytest.fixture(scope="module")
def fitted():
    return clone(HASHER).fit(X, Y)


@pytest.fixture(scope="module")
def model():
    options = {"features": "identity", "max_iterations": 5, "tolerance": 0}
    return jaxcmh.train("dcgh", DATA.train.views, Y, bits=8, **options)


def test_views_one_by_one_are_refused_with_what_joins_them(fitted):
    message = r"X: expected one matrix, the views beside each other: np\.hstack\(views\); got"
    for views in (DATA.query.views, list(DATA.query.views), (scipy.sparse.csr_array(X[:, :9]), X[:, 9:])):
        with pytest.raises(ValueError, match=message):
            clone(HASHER).fit(views, Y)
        with pytest.raises(ValueError, match=message):
            fitted.transform(views)
        with pytest.raises(ValueError, match=message):
            fitted.score(views, THEIRS)
    assert (fitted.transform(QUERIES.tolist()) == fitted.transform(QUERIES)).all()


def test_codes_and_score_are_those_of_the_functions(fitted, model):
    codes = fitted.transform(QUERIES)
    assert (codes.shape, codes.dtype, set(codes.flat)) == ((40, 16), np.float32, {-1, 1})
    expected = [np.asarray(jaxcmh.encode(model, x, view)) for view, x in enumerate(DATA.query.views)]
    packed = clone(HASHER).set_params(packed=True).fit(X, Y).transform(QUERIES)
    assert (packed == np.hstack(expected)).all()
    assert (np.packbits(codes > 0, axis=1, bitorder="little") == packed).all()
    report = jaxcmh.evaluate(model, DATA.query.views, THEIRS, Y)
    assert fitted.score(QUERIES, THEIRS) == pytest.approx((report["i2t"] + report["t2i"]) / 2)
    cut = jaxcmh.evaluate(model, DATA.query.views, THEIRS, Y, database="encoded", at=7)
    again = pickle.loads(pickle.dumps(fitted)).set_params(database="encoded", at=7)
    assert again.score(QUERIES, THEIRS) == pytest.approx((cut["i2t"] + cut["t2i"]) / 2)


def test_sparse_rows_and_labels_are_the_same(fitted):
    sparse = clone(HASHER).fit(scipy.sparse.csr_matrix(X), scipy.sparse.csr_matrix(Y))
    assert (sparse.transform(scipy.sparse.csr_matrix(QUERIES)) == fitted.transform(QUERIES)).all()
    assert sparse.score(QUERIES, scipy.sparse.csr_matrix(THEIRS)) == pytest.approx(fitted.score(QUERIES, THEIRS))


def test_classes_may_be_text_and_those_never_trained_on_find_nothing():
    names = np.array(["dog", "ape", "cat", "eel", "bat"])
    classes, theirs = Y.argmax(1), THEIRS.argmax(1)
    numbers, texts = clone(HASHER).fit(X, classes), clone(HASHER).fit(X, names[classes])
    assert texts.classes_.tolist() == sorted(names)
    known = texts.score(QUERIES, names[theirs])
    assert known == pytest.approx(numbers.score(QUERIES, theirs), abs=0.1)  # classes in another order
    some = theirs > 0
    strange = np.where(some, names[theirs], "zebu")  # at the end of all classes
    assert texts.score(QUERIES, strange) == pytest.approx(texts.score(QUERIES[some], names[theirs[some]]))
    strange[~some] = "auk"
    assert texts.score(QUERIES, strange) == pytest.approx(texts.score(QUERIES[some], names[theirs[some]]))


def test_three_views_and_look_up_methods(fitted):
    three = clone(HASHER).set_params(starts=(4, 9)).fit(X, Y)
    assert three.model_.info.dims == (4, 5, 7)
    assert three.transform(X).shape == (120, 24)
    words = clone(HASHER).set_params(method="acqh", bits=16).fit(X, Y)
    codes = words.transform(QUERIES)
    assert (codes == np.hstack([jaxcmh.encode(words.model_, x, m) for m, x in enumerate(DATA.query.views)])).all()
    assert len(words.get_feature_names_out()) == codes.shape[1]


@pytest.mark.parametrize("starts", [None, 0, 16, (9, 9), (9, 4), 4.5, "nine"])
def test_starts_that_are_no_columns_are_refused(starts):
    with pytest.raises(ValueError, match="starts: expected the column of X at which the second view begins"):
        clone(HASHER).set_params(starts=starts).fit(X, Y)


def test_items_that_the_estimator_does_not_know_cannot_be_searched(fitted):
    with pytest.raises(ValueError, match="database: expected one of learned, encoded; got 'held_out'"):
        clone(fitted).set_params(database="held_out").fit(X, Y).score(QUERIES, THEIRS)


# -- with scikit-learn's tools ----------------------------------------------------------------------------------------


def test_grid_search_over_hyper_parameters_in_a_pipeline():
    views = [("image", PCA(6, random_state=0), slice(0, 9)), ("text", StandardScaler(), slice(9, 16))]
    steps = Pipeline([("views", ColumnTransformer(views)), ("hash", clone(HASHER).set_params(starts=6))])
    search = GridSearchCV(steps, {"hash__params__lam": [1e8, 1e-2]}, cv=2).fit(X, Y)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) == 2
    assert search.best_score_ == scores.max()
    best = search.best_estimator_["hash"]
    assert dict(best.model_.info.params)["lam"] == search.best_params_["hash__params__lam"]
    assert best.model_.info.dims == (6, 7)


def test_hyper_parameters_have_names_of_their_own():
    hasher = CrossModalHasher(9, params={"alpha": 2.0})
    assert {name for name in hasher.get_params() if "__" in name} == {
        f"params__{name}" for name in ("alpha", "beta", "lam")
    }
    other = clone(hasher).set_params(params__lam=3.0)
    assert (other.params, hasher.params) == ({"alpha": 2.0, "lam": 3.0}, {"alpha": 2.0})
    assert "params__zeta" not in clone(other).set_params(method="none").get_params()
    with pytest.raises(ValueError, match="params: expected names among alpha, beta, lam; got 'alpah'"):
        clone(HASHER).set_params(params__alpah=1.0).fit(X, Y)
    with pytest.raises(ValueError, match="Invalid parameter 'alpah'"):
        hasher.set_params(alpah=1.0)


def test_names_of_codes_go_on_in_data_frames(fitted):
    pandas = pytest.importorskip("pandas")
    names = [f"f{i}" for i in range(16)]
    hasher = clone(HASHER).set_output(transform="pandas").fit(pandas.DataFrame(X, columns=names), Y)
    frame = hasher.transform(pandas.DataFrame(QUERIES, columns=names))
    assert frame.columns.tolist() == [f"crossmodalhasher{i}" for i in range(16)]
    assert (frame.to_numpy() == fitted.transform(QUERIES)).all()
    with pytest.raises(ValueError, match="feature names should match"):
        hasher.transform(pandas.DataFrame(QUERIES, columns=names[::-1]))
