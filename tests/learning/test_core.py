"""Training to convergence; and what the functional layer refuses, each with one line that names the argument."""

import copy

import chex
import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax import random

import jaxcmh
from jaxcmh import methods, results
from jaxcmh.learning import core, features, mesh
from jaxcmh.learning.features import Features
from jaxcmh.retrieval import metrics

X = np.random.default_rng(0).normal(size=(40, 6))
LABELS = (np.arange(40)[:, None] % 4 == np.arange(4)).astype(np.uint8)
DCGH, OTHER, KEY = methods.registry["dcgh"], methods.registry["aah"], random.key(0)
IMADS = methods.variants["imads"]["mapping"]
CODES = np.zeros((3, 1), np.uint8)


def with_nan():
    broken = X.copy()
    broken[3, 2] = np.nan
    return broken


def fit(**changed):
    arguments = {"method": DCGH, "data": core.prepare([X, X], LABELS), "key": KEY, "bits": 8} | changed
    return core.fit(**arguments)


def sweep(**changed):
    arguments = {"method": DCGH, "data": core.prepare([X, X], LABELS), "params": DCGH.params, "bits": 8}
    return core.sweep(**arguments | {"keys": random.split(KEY, 3)} | changed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: core.prepare([], LABELS), "views: expected a sequence of at least 2 arrays; got 0"),
        (lambda: core.prepare(X, LABELS), "views: expected a sequence of arrays, one per view; got float"),
        (lambda: core.prepare([X[0], X], LABELS), r"views\[0\]: .* got shape \(6,\)"),
        (lambda: core.prepare([X, X[:30]], LABELS), r"views\[1\]: expected 40 rows"),
        (lambda: core.prepare([X, with_nan()], LABELS), r"views\[1\]: expected finite numbers; row 3 holds NaN"),
        (lambda: core.prepare([X, jnp.asarray(with_nan())], LABELS), r"views\[1\]: expected finite numbers; row 3"),
        (lambda: core.prepare([X * 1e300, X], LABELS), r"views\[0\]: .* beyond single precision"),
        (lambda: core.prepare([X, X], LABELS[:30]), "labels: expected 40 rows"),
        (lambda: core.prepare([X, X], LABELS * 2), "labels: expected 0 and 1"),
        (lambda: fit(method="dcgh"), "method: expected a Method"),
        (lambda: fit(key=3), "key: expected one key made by jax.random.key; got 3"),
        (lambda: fit(key=random.split(KEY, 2)), "key: expected one key"),
        (lambda: fit(bits=12), "bits: expected a positive multiple of 8; got 12"),
        (lambda: fit(bits=8.0), "bits: expected a positive multiple of 8; got 8.0"),
        (lambda: fit(bits=40), r"views: expected more rows than bits \(40\) and classes \(4\); got 40"),
        (lambda: fit(tolerance=-1.0), "tolerance: expected"),
        (lambda: fit(tolerance=np.nan), "tolerance: expected"),
        (lambda: core.prepare([X, X], LABELS, "float16"), "precision: expected one of float32, float64; got 'float16'"),
        (lambda: fit(max_iterations=0), "max_iterations: expected an integer from 1 to 10000000; got 0"),
        (lambda: fit(params=OTHER.params), r"params: expected dcgh's Params"),
        (
            lambda: fit(params=DCGH.params._replace(alpha=np.nan)),
            "params.alpha: expected a finite number of at least 0; got nan",
        ),
        (lambda: fit(params=DCGH.params._replace(alpha=jnp.ones(2))), "params.alpha: expected one number; got"),
        (lambda: sweep(keys=KEY), r"keys: expected \(s,\) keys"),
        (
            lambda: sweep(params=DCGH.params._replace(beta=jnp.ones(2))),
            "params.beta: expected one number or one per key",
        ),
        (lambda: sweep(lanes=0), "lanes: expected an integer of at least 1; got 0"),
        (lambda: mesh.row_mesh(99), "devices: expected a sequence of Devices"),
        (lambda: mesh.pad_rows(core.prepare([X, X], LABELS), 0), "multiple: expected an integer from 1 to"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def moving(tolerance, objective):
    """The iteration in which a training of this objective has converged; 0 if it has not."""
    changes = np.abs(np.diff(objective)) < tolerance * np.abs(objective[:-1])
    return int(changes.argmax()) + 1 if changes.any() else 0


@pytest.mark.parametrize("tolerance", [1e-9, 3e-3, 0.3])
def test_a_training_stays_as_it_is_once_converged(tolerance):
    data = core.prepare([X, X[:, :5]], LABELS, "float64")
    options = {"bits": 8, "max_iterations": 12}
    free = core.fit(IMADS, data, KEY, **options, tolerance=0)
    assert free.objective.shape == (13,)
    assert free.converged == 0
    found = core.fit(IMADS, data, KEY, **options, tolerance=tolerance)
    end = moving(tolerance, np.asarray(free.objective))
    assert int(found.converged) == end
    np.testing.assert_array_equal(found.objective[: end + 1], free.objective[: end + 1])
    np.testing.assert_array_equal(found.objective[end:], found.objective[end] if end else free.objective)
    short = core.fit(IMADS, data, KEY, bits=8, max_iterations=end or 12, tolerance=0)
    chex.assert_trees_all_equal(found.state, short.state)


def test_a_tolerance_of_0_never_converges_even_at_a_fixed_point():
    found = fit(max_iterations=30, tolerance=0)
    np.testing.assert_allclose(found.objective[-2], found.objective[-1], rtol=1e-6)
    assert found.converged == 0


def test_lanes_of_a_sweep_converge_by_themselves_and_a_new_tolerance_compiles_nothing():
    data, keys = core.prepare([X, X[:, :5]], LABELS, "float64"), random.split(KEY, 4)
    traced = []

    def objective(*arguments):
        traced.append(arguments)
        return IMADS.objective(*arguments)

    method = IMADS._replace(objective=objective)
    grid = IMADS.params._replace(lam3=np.array([1e4, 1e2, 1.0, 1e-2]))
    free = core.sweep(method, data, keys, grid, bits=8, max_iterations=12, tolerance=0)
    programs = len(traced)
    found = core.sweep(method, data, keys, grid, bits=8, max_iterations=12, tolerance=1e-2)
    assert len(traced) == programs > 0
    ends = [moving(1e-2, objective) for objective in np.asarray(free.objective)]
    assert found.converged.tolist() == ends
    assert len(set(ends)) > 1
    for before, after, end in zip(np.asarray(free.objective), np.asarray(found.objective), ends):
        np.testing.assert_array_equal(after[: end + 1], before[: end + 1])


def test_the_objective_begins_at_the_start_value():
    data = core.prepare([X, X], LABELS, "float64")
    with jax.enable_x64(True):
        wide = core.ready(DCGH, data, 8)
        value = DCGH.objective(DCGH.init(KEY, wide, DCGH.params, 8), wide, DCGH.params)
    np.testing.assert_allclose(core.fit(DCGH, data, KEY, bits=8, max_iterations=1).objective[0], value, rtol=1e-9)


def test_hyper_parameters_may_be_traced_from_outside():
    data = core.prepare([X, X], LABELS)

    def last(alpha):
        return core.fit(DCGH, data, KEY, DCGH.params._replace(alpha=alpha), bits=8, max_iterations=2)[1][-1]

    losses = [jax.jit(last)(alpha) for alpha in (1.0, 10.0)]
    np.testing.assert_allclose(losses, [last(1.0), last(10.0)], rtol=1e-4)


NO_MODEL, NO_PATH = "model: expected a Model; got 3", "path: expected a path; got None"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: features.fit("rbf", KEY, X), "features: expected a Features; got 'rbf'"),
        (
            lambda: features.fit(Features(width="wide"), KEY, X),
            "features.width: expected a number from 1e-06",
        ),
        (lambda: features.fit(Features(standardise="no"), KEY, X), "features.standardise: expected True or False"),
        (lambda: features.fit(Features(), 3, X), "key: expected one key made by jax.random.key; got 3"),
        (lambda: features.apply(3, X), "fitted: expected a FeatureMap; got 3"),
        (lambda: core.fit(DCGH, 3, KEY, bits=8), "data: expected a Data; got 3"),
        (lambda: jaxcmh.encode(3, X, 0), NO_MODEL),
        (lambda: jaxcmh.search(3, X, 0, 1), NO_MODEL),
        (lambda: jaxcmh.evaluate(3, [X, X], LABELS, LABELS), NO_MODEL),
        (lambda: jaxcmh.save(3, "model"), NO_MODEL),
        (lambda: jaxcmh.load(None), NO_PATH),
        (lambda: jaxcmh.load_dataset(None), "name_or_path: expected a path or a sequence of paths; got None"),
        (lambda: jaxcmh.train("dcgh", [X, X], LABELS, bits=8, progress=3), "progress: expected a function; got 3"),
        (lambda: methods.paper_params("dcgh", "nowhere"), "nowhere"),
        (lambda: metrics.hamming_metrics(CODES, CODES, ["a"] * 3, [0, 1, 2]), "query_labels: expected real numbers"),
        (lambda: results.table([{}]), r"records\[0\]: the result lacks format, key"),
        (lambda: results.doubts({}, 0.1, {"learned": X}), r"codes\['learned'\]: expected uint8 codes"),
    ],
)
def test_arguments_of_another_kind_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_copy_of_a_method_is_the_method():
    method = methods.find("imads-c")
    assert copy.deepcopy({"method": method})["method"] is method


def test_codes_by_chance_are_drawn_in_blocks_of_which_the_first_is_that_of_few_rows(monkeypatch):
    monkeypatch.setattr(core, "DRAWN", 70)  # together with this number of rows nobody else compiles it
    rng = np.random.default_rng(0)
    data = core.prepare([rng.random((157, 5)), rng.random((157, 6))], np.arange(157) % 3)
    (codes,) = core.random_codes(random.split(random.key(4), 1), data, 40)
    key = random.split(random.key(4), 1)[0]
    first = np.where(data.gaussian(key, 157, 40)[:70] >= 0, 1, -1)
    np.testing.assert_array_equal(codes[:70], first)
    blocks = np.split(np.asarray(codes), [70, 140])
    assert all(abs(block.mean()) < 0.1 for block in blocks)
    assert (blocks[0] != blocks[1]).mean() > 0.4
