import json
import os
import struct
import warnings

import jax
import numpy as np
import pytest
import safetensors
import scipy.sparse

import jaxcmh
from jaxcmh import model as model_module
from jaxcmh import store, studies
from jaxcmh.learning import core, mesh
from jaxcmh.learning.features import Features
from jaxcmh.methods import registry


def pairs(n=150, dims=(8, 6), c=4, seed=0):
    rng = np.random.default_rng(seed)
    classes = rng.integers(c, size=n)
    views = [rng.normal(size=(c, d))[classes] + 0.7 * rng.normal(size=(n, d)) for d in dims]
    return [x.astype(np.float32) for x in views], np.eye(c, dtype=np.uint8)[classes]


@pytest.fixture(scope="module")
def trained():
    views, labels = pairs()
    return jaxcmh.train("dcgh", views, labels, bits=16, max_iterations=3)


def test_codes_of_training_items_are_the_stored_ones(trained):
    views, _ = pairs()
    assert trained.codes.shape == (150, 2)
    assert trained.codes.dtype == np.uint8
    for view, x in enumerate(views):
        np.testing.assert_array_equal(jaxcmh.encode(trained, x, view), trained.encoded[view])


def test_encoding_by_blocks_changes_nothing(trained, monkeypatch):
    views, _ = pairs()
    monkeypatch.setattr(model_module, "ENCODE_ROWS", 64)
    np.testing.assert_array_equal(jaxcmh.encode(trained, views[0], 0), trained.encoded[0])


def test_sparse_views_train_the_same_model(trained):
    views, labels = pairs()
    sparse = jaxcmh.train("dcgh", [scipy.sparse.csr_matrix(x) for x in views], labels, bits=16, max_iterations=3)
    assert (np.asarray(sparse.codes) == np.asarray(trained.codes)).mean() > 0.98
    np.testing.assert_array_equal(
        jaxcmh.encode(trained, scipy.sparse.csr_matrix(views[1]), 1), jaxcmh.encode(trained, views[1], 1)
    )


def test_what_links_label_sets_is_found_once_for_a_training():
    asked = []

    def links(sets):
        asked.append(sets.shape)
        return registry["acqh"].links(sets)

    jaxcmh.train(registry["acqh"]._replace(links=links), *pairs(n=400, c=300), bits=8)
    assert len(asked) == 1


def test_what_a_method_prepares_is_computed_once_for_a_training():
    asked = []

    def prepare(data):
        asked.append(data.n)
        return registry["acqh"].prepare(data)

    jaxcmh.train(registry["acqh"]._replace(prepare=prepare), *pairs(n=400), bits=8)
    assert len(asked) == 1


@pytest.mark.parametrize("method", ["dcgh", "imads", "acqh", "amsh"])
def test_eight_devices_train_the_model_of_one(method):
    views, labels = pairs(n=150)
    options = {"bits": 8, "max_iterations": 3, "tolerance": 0, "features": "identity", "precision": "float64"}
    one, many = (jaxcmh.train(method, views, labels, mesh=devices, **options) for devices in (None, mesh.row_mesh()))
    np.testing.assert_array_equal(many.codes, one.codes)
    np.testing.assert_array_equal(many.encoded, one.encoded)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(many) if isinstance(leaf, jax.Array))
    answers = jaxcmh.search(many, views[1][:9], 1, 5, mesh.row_mesh())
    np.testing.assert_allclose(answers, jaxcmh.search(one, views[1][:9], 1, 5), rtol=1e-5)


@pytest.mark.parametrize("hash_function", ["ridge", "mlp"])
def test_eight_devices_learn_from_labelled_rows_what_one_does(hash_function):
    views, labels = pairs(n=150)
    labels = labels * (np.arange(150) % 5 > 0)[:, None]
    options = {
        "bits": 8,
        "max_iterations": 3,
        "tolerance": 0,
        "features": "standardise",
        "hash_function": hash_function,
    }
    with pytest.warns(UserWarning, match="30 of 150 rows"):
        one, many = (jaxcmh.train("dcgh", views, labels, mesh=m, **options) for m in (None, mesh.row_mesh()))
    assert many.codes.shape == one.codes.shape
    assert (np.asarray(many.codes) == np.asarray(one.codes)).mean() > 0.98
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(many) if isinstance(leaf, jax.Array))


@pytest.mark.parametrize("method", ["dcgh", "mtfh", "acqh"])
def test_eight_devices_encode_evaluate_and_search_as_one(method):
    views, labels = pairs(n=150)
    model = jaxcmh.train(method, views, labels, bits=8, max_iterations=2, tolerance=0)
    rows, queries = mesh.row_mesh(), [x[:37] for x in views]
    for view, x in enumerate(views):
        np.testing.assert_array_equal(jaxcmh.encode(model, x, view, rows), jaxcmh.encode(model, x, view))
        sparse = jaxcmh.encode(model, scipy.sparse.csr_matrix(x), view, rows)
        np.testing.assert_array_equal(sparse, jaxcmh.encode(model, x, view))
        for one, many in zip(*(jaxcmh.search(model, queries[view], view, 9, m) for m in (None, rows))):
            np.testing.assert_allclose(many, one, rtol=1e-5)
    held_out = {"database": "held_out", "database_views": views}
    for options in ({}, {"ties": "stable", "at": 20}, held_out):
        one, many = (jaxcmh.evaluate(model, queries, labels[:37], labels, **options, mesh=m) for m in (None, rows))
        assert many["i2t"] == pytest.approx(one["i2t"], rel=1e-6)
        assert many["t2i"] == pytest.approx(one["t2i"], rel=1e-6)


def test_integer_classes_are_one_hot_labels(trained):
    views, labels = pairs()
    same = jaxcmh.train("dcgh", views, labels.argmax(1), bits=16, max_iterations=3)
    np.testing.assert_array_equal(same.codes, trained.codes)


def test_a_column_of_classes_means_what_a_row_of_them_does(trained):
    views, labels = pairs()
    column = labels.argmax(1)[:, None]
    same = jaxcmh.train("dcgh", views, column, bits=16, max_iterations=3)
    np.testing.assert_array_equal(same.codes, trained.codes)
    reports = [jaxcmh.evaluate(trained, views, y, y)["i2t"] for y in (labels, column, column[:, 0], 7 * column)]
    assert len(set(reports)) == 1


@pytest.mark.parametrize("method", list(registry))
def test_nothing_is_learned_from_rows_without_labels(method):
    views, labels = pairs()
    known = np.arange(150) % 5 > 0
    options = {"bits": 8, "max_iterations": 3, "features": "identity"}
    with pytest.warns(UserWarning, match="labels: 30 of 150 rows have none; nothing is learned from them"):
        model = jaxcmh.train(method, views, labels * known[:, None], **options)
    alone = jaxcmh.train(method, [x[known] for x in views], labels[known], **options)
    np.testing.assert_array_equal(np.asarray(model.codes)[..., known, :], alone.codes)
    for view, x in enumerate(views):
        np.testing.assert_array_equal(model.encoded[view], jaxcmh.encode(alone, x, view))
    assert model.codes.shape[-2] == model.info.n == 150
    report = jaxcmh.evaluate(model, views, labels, labels)
    assert min(report["i2t"], report["t2i"]) > 0.4  # chance is .26: codes of the others are guessed, not noise


@pytest.mark.parametrize("size", [1e20, 1e30])
def test_what_has_no_finite_solution_is_refused_with_its_cause(size):
    views, labels = pairs()
    with pytest.raises(ValueError, match=r"views\[0\]: a2lh found no finite solution; the largest feature is \d"):
        jaxcmh.train("a2lh", [size * x for x in views], labels, bits=8, features="identity")


def test_codes_that_tell_nothing_apart_are_refused_and_idle_bits_are_told():
    views, labels = pairs()
    same = registry["dcgh"]._replace(codes=lambda s, data, p: jax.numpy.ones((150, 8)))
    with pytest.raises(ValueError, match="dcgh: learned the same code for all items"):
        jaxcmh.train(same, views, labels, bits=8, max_iterations=1)

    def idle(s, data, p):
        return jax.numpy.where(jax.numpy.arange(8) < 3, 1.0, registry["dcgh"].codes(s, data, p))

    with pytest.warns(UserWarning, match="dcgh: 3 of 8 bits are the same for all items"):
        jaxcmh.train(registry["dcgh"]._replace(codes=idle), views, labels, bits=8)


def test_masked_entries_are_refused():
    views, labels = pairs()
    with pytest.raises(ValueError, match=r"views\[0\]: expected an array without masked entries"):
        jaxcmh.train("dcgh", [np.ma.masked_less(views[0], 0), views[1]], labels, bits=8)


@pytest.mark.parametrize("method", ["dcgh", "acqh"])
def test_a_view_that_tells_nothing_apart_is_told(method):
    views, labels = pairs()
    with pytest.warns(UserWarning, match=r"views\[1\]: all items get the same code when encoded"):
        jaxcmh.train(method, [views[0], np.ones_like(views[1])], labels, bits=8)


@pytest.mark.parametrize(("method", "name"), [(m, name) for m in registry for name in registry[m].params._fields])
def test_every_hyper_parameter_has_a_domain(method, name):
    views, labels = pairs()
    chosen, key = registry[method], jax.random.key(0)
    data = core.prepare(views, labels)
    bad = chosen.params._replace(**{name: -8.0})
    for refused in (
        lambda: jaxcmh.train(method, views, labels, bits=8, params={name: -8.0}),
        lambda: core.fit(chosen, data, key, bad, bits=8),
        lambda: core.sweep(chosen, data, jax.random.split(key, 2), bad, bits=8),
        lambda: studies.points(
            studies.Study("one", "sensitivity", method, vary={name: (chosen.params._asdict()[name], -8.0)})
        ),
    ):
        with pytest.raises(ValueError, match=f"params.{name}: expected .*; got -8.0"):
            refused()


def test_a_method_variant_and_params_can_be_chosen_in_either_form(trained):
    views, labels = pairs()
    by_name = jaxcmh.train("dcgh-d", views, labels, bits=8, max_iterations=2)
    by_params = jaxcmh.train(registry["dcgh"], views, labels, bits=8, max_iterations=2, params={"alpha": 0.0})
    np.testing.assert_array_equal(by_name.codes, by_params.codes)
    assert dict(by_params.info.params) == {"alpha": 0.0, "beta": 10.0, "lam": 0.01}


def test_each_view_can_have_its_own_features():
    views, labels = pairs()
    model = jaxcmh.train("dcgh", views, labels, bits=8, features=("standardise", Features("laplace", anchors=20)))
    assert [W.shape for W in model.encoders] == [(8, 8), (20, 8)]
    assert [f.kind for f in model.info.features] == ["standardise", "laplace"]


def test_search_ranks_the_models_own_database(trained):
    views, _ = pairs()
    distances, ids = jaxcmh.search(trained, views[1][:5], 1, k=150)
    assert type(distances) is type(ids) is np.ndarray
    bits = np.unpackbits(np.asarray(trained.codes), axis=1, bitorder="little").astype(int)
    queries = np.unpackbits(np.asarray(jaxcmh.encode(trained, views[1][:5], 1)), axis=1, bitorder="little")
    expected = (queries[:, None] != bits).sum(2)
    order = np.argsort(expected, axis=1, kind="stable")
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(expected, order, 1))


def brute_force_map(queries, items, query_labels, labels):
    """Stable ties, over the whole database."""
    queries, items = (np.unpackbits(np.asarray(codes), axis=1).astype(int) for codes in (queries, items))
    order = np.argsort((queries[:, None] != items).sum(2), axis=1, kind="stable")
    relevant = (query_labels.astype(int) @ labels.T > 0)[np.arange(len(queries))[:, None], order]
    precision = relevant.cumsum(1) / np.arange(1, len(labels) + 1)
    return ((precision * relevant).sum(1) / relevant.sum(1)).mean()


@pytest.mark.parametrize("database", ["learned", "encoded", "held_out"])
def test_evaluate_measures_the_database_it_names(trained, database):
    _, labels = pairs()
    views, query_labels = pairs(40, seed=7)
    held_views, held_labels = pairs(60, seed=8)
    items = {
        "learned": [trained.codes] * 2,
        "encoded": trained.encoded,
        "held_out": [jaxcmh.encode(trained, x, v) for v, x in enumerate(held_views)],
    }[database]
    options = {"database_views": held_views} if database == "held_out" else {}
    item_labels = held_labels if database == "held_out" else labels
    report = jaxcmh.evaluate(trained, views, query_labels, item_labels, database=database, ties="stable", **options)
    queries = [jaxcmh.encode(trained, x, v) for v, x in enumerate(views)]
    np.testing.assert_allclose(
        report["i2t"], brute_force_map(queries[0], items[1], query_labels, item_labels), rtol=1e-6
    )
    np.testing.assert_allclose(
        report["t2i"], brute_force_map(queries[1], items[0], query_labels, item_labels), rtol=1e-6
    )
    assert {k: report[k] for k in ("database", "ties", "at", "bits", "n_queries", "n_database", "method")} == {
        "database": database,
        "ties": "stable",
        "at": None,
        "bits": 16,
        "n_queries": 40,
        "n_database": len(item_labels),
        "method": "dcgh",
    }


def test_queries_without_relevant_items_are_counted_and_left_out(trained):
    views, labels = pairs()
    query_labels = labels[:20].copy()
    query_labels[3] = 0
    report = jaxcmh.evaluate(trained, [x[:20] for x in views], query_labels, labels)
    rest = np.delete(np.arange(20), 3)
    without = jaxcmh.evaluate(trained, [x[rest] for x in views], query_labels[rest], labels)
    assert report["n_without_relevant"] == 1
    np.testing.assert_allclose(report["i2t"], without["i2t"], rtol=1e-6)
    assert np.isnan(report["metrics"]["i2t"].ap[3])


def test_a_saved_model_comes_back_bit_for_bit(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    jaxcmh.save(trained, path)
    for loaded in (jaxcmh.load(path), jaxcmh.load(tmp_path)):
        assert jax.tree.structure(loaded) == jax.tree.structure(trained)
        assert loaded.info == trained.info
        for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(trained)):
            np.testing.assert_array_equal(a, b)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_centred_kernel_comes_back_with_its_means(tmp_path):
    views, labels = pairs()
    model = jaxcmh.train("dcgh", views, labels, bits=8, features="rbf_centred", max_iterations=2)
    jaxcmh.save(model, tmp_path / "model.safetensors")
    for loaded, saved in zip(jaxcmh.load(tmp_path).maps, model.maps):
        assert loaded.kind == "rbf_centred"
        np.testing.assert_array_equal(loaded.offset, saved.offset)


def test_mlp_hash_functions_are_saved_and_beat_chance(tmp_path):
    views, labels = pairs()
    model = jaxcmh.train("dcgh", views, labels, bits=16, max_iterations=3, hash_function="mlp")
    jaxcmh.save(model, tmp_path / "model.safetensors")
    loaded = jaxcmh.load(tmp_path)
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    np.testing.assert_array_equal(jaxcmh.encode(loaded, views[0], 0), model.encoded[0])
    report = jaxcmh.evaluate(model, views, labels, labels, database="encoded")
    assert min(report["i2t"], report["t2i"]) > 0.5


def test_a_look_up_method_takes_no_mlp():
    views, labels = pairs()
    with pytest.raises(ValueError, match="hash_function: expected one of ridge; got 'mlp'"):
        jaxcmh.train("acqh", views, labels, bits=16, hash_function="mlp")


def test_the_model_file_is_safetensors_with_a_json_header(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    jaxcmh.save(trained, path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["jaxcmh"])
    assert header["info"]["method"] == "dcgh"
    assert header["info"]["params"] == {"alpha": 10.0, "beta": 10.0, "lam": 0.01}


def test_a_damaged_model_file_is_refused(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    jaxcmh.save(trained, path)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-9] ^= 4
    later = content.replace(f'\\"format\\": {model_module.FORMAT}'.encode(), b'\\"format\\": 9')
    assert later != content
    for damaged, message in (
        (content[: len(content) // 2], "is truncated or not a jaxcmh model"),
        (b"", "is truncated or not a jaxcmh model"),
        (b"\x80\x04pickled", "is truncated or not a jaxcmh model"),
        (bytes(flipped), "is damaged: its contents do not match its checksum"),
        (later, f"has format 9; this version reads up to {model_module.FORMAT}"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=message):
            jaxcmh.load(path)


def test_a_failed_save_leaves_the_old_file(trained, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    jaxcmh.save(trained, path)
    before = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        jaxcmh.save(trained, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_saving_into_no_folder_is_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="path: expected a file in an existing folder"):
        jaxcmh.save(trained, tmp_path / "nowhere" / "model.safetensors")


def test_train_warns_of_an_objective_that_still_moves():
    views, labels = pairs()
    told = r"dcgh had not converged after 2 iterations: the last one changed the objective by \d\.\de-\d\d of itself"
    with pytest.warns(UserWarning, match=told):
        model = jaxcmh.train("dcgh", views, labels, bits=16, max_iterations=2, tolerance=1e-9)
    assert model.converged == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jaxcmh.train("dcgh", views, labels, bits=16, max_iterations=2, tolerance=0)
        assert jaxcmh.train("dcgh", views, labels, bits=16, max_iterations=2, tolerance=1e9).converged == 1


@pytest.mark.parametrize(("method", "hash_function"), [("dcgh", "ridge"), ("dcgh", "mlp"), ("acqh", "ridge")])
def test_a_model_trained_in_float64_is_used_like_any_other(method, hash_function):
    views, labels = pairs()
    options = {"bits": 16, "max_iterations": 3, "tolerance": 0, "hash_function": hash_function}
    model = jaxcmh.train(method, views, labels, **options, precision="float64")
    assert not {leaf.dtype for leaf in jax.tree.leaves(model) if hasattr(leaf, "dtype")} & {np.dtype(np.float64)}
    for view, x in enumerate(views):
        np.testing.assert_array_equal(jaxcmh.encode(model, x, view), model.encoded[view])


def nan_in_row(row):
    views, _ = pairs()
    views[1][row, 2] = np.nan
    return views


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "dgch"}, "method: expected one of dcgh, .*; got 'dgch'"),
        ({"bits": 12}, "bits: expected a positive multiple of 8; got 12"),
        ({"bits": 0}, "bits: expected a positive multiple of 8; got 0"),
        ({"bits": 16.0}, "bits: expected a positive multiple of 8; got 16.0"),
        ({"seed": -1}, "seed: expected an integer from 0 to"),
        ({"max_iterations": 0}, "max_iterations: expected an integer from 1 to 10000000; got 0"),
        ({"params": {"gamma": 1.0}}, "params: expected names among alpha, beta, lam; got 'gamma'"),
        ({"params": {"alpha": float("nan")}}, "params.alpha: expected a finite number of at least 0; got nan"),
        ({"params": {"alpha": "much"}}, "params.alpha: expected a finite number of at least 0; got 'much'"),
        ({"features": "gauss"}, "features.kind: expected one of identity, centre, .*; got 'gauss'"),
        ({"features": [Features()]}, "features: expected Features, a kind, or one of them for each of 2 views"),
        ({"hash_function": "forest"}, "hash_function: expected one of ridge.*; got 'forest'"),
        ({"views": pairs()[0][:1]}, "views: expected a sequence of at least 2 arrays; got 1"),
        ({"views": pairs()[0][0]}, "views: expected a sequence of arrays, one per view; got float"),
        ({"views": [pairs()[0][0], pairs()[0][1][:-1]]}, r"views\[1\]: expected 150 rows.*got shape \(149, 6\)"),
        ({"views": nan_in_row(5)}, r"views\[1\]: expected finite numbers; row 5 holds NaN"),
        ({"labels": pairs()[1][:-1]}, "labels: expected 150 rows, one for each row of the views; got 149"),
        ({"labels": pairs()[1] * 2}, "labels: expected 0 and 1; row 0 holds another value"),
        ({"labels": pairs()[1] * 0}, "labels: expected labels; every row is empty"),
        ({"labels": np.full(150, -1)}, "labels: expected classes 0, 1, 2, ...; row 0 is -1"),
        ({"bits": 256}, r"views: expected more rows than bits \(256\)"),
    ],
)
def test_train_refuses(change, message):
    views, labels = pairs()
    arguments = {"method": "dcgh", "views": views, "labels": labels, "bits": 16} | change
    with pytest.raises(ValueError, match=message):
        jaxcmh.train(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"database": "trained"}, "database: expected one of learned, encoded, held_out; got 'trained'"),
        ({"ties": "random"}, "ties: expected one of expected, stable; got 'random'"),
        ({"at": 0}, "at: expected an integer from 1 to 150.*; got 0"),
        ({"at": 151}, "at: expected an integer from 1 to 150.*; got 151"),
        ({"query_views": pairs()[0][:1]}, "query_views: expected 2 arrays, one per view; got 1"),
        (
            {"query_views": [pairs()[0][0][:9], pairs()[0][1][:8]]},
            r"query_views\[1\]: expected 9 rows, as query_views\[0\] has; got shape \(8, 6\)",
        ),
        ({"query_views": pairs()[0][::-1]}, "x: expected 8 columns, as in training; got shape"),
        ({"database_labels": pairs(149)[1]}, "database_labels: expected 150 rows"),
        ({"database_labels": pairs(c=5)[1]}, "query_labels: expected the same classes as database_labels"),
        ({"database": "held_out"}, "database_views: expected with database='held_out', and only then"),
        ({"database_views": pairs()[0]}, "database_views: expected with database='held_out', and only then"),
    ],
)
def test_evaluate_refuses(trained, change, message):
    views, labels = pairs()
    arguments = {"query_views": views, "query_labels": labels, "database_labels": labels} | change
    with pytest.raises(ValueError, match=message):
        jaxcmh.evaluate(trained, **arguments)


@pytest.mark.parametrize("function", [jaxcmh.encode, lambda *a: jaxcmh.search(*a, k=3)])
def test_encode_and_search_refuse(trained, function):
    views, _ = pairs()
    with pytest.raises(ValueError, match="view: expected an integer from 0 to 1; got 2"):
        function(trained, views[0], 2)
    with pytest.raises(ValueError, match=r"x: expected 8 columns, as in training; got shape \(150, 6\)"):
        function(trained, views[1], 0)
    with pytest.raises(ValueError, match="x: expected finite numbers; row 5 holds NaN"):
        function(trained, nan_in_row(5)[1], 1)


def test_search_refuses_k_beyond_the_database(trained):
    for k in (0, 151):
        with pytest.raises(ValueError, match=f"k: expected an integer from 1 to .*150.*; got {k}"):
            jaxcmh.search(trained, pairs()[0][0], 0, k=k)


@pytest.mark.parametrize(
    ("info", "arrays", "message"),
    [
        ({"bits": "x"}, {}, "bits: expected a positive multiple of 8"),
        ({"bits": 24}, {}, r"codes: expected shape \(150, 3\)"),
        ({"n": 149}, {}, r"codes: expected shape \(149, 2\)"),
        ({"method": 5}, {}, "method: expected text"),
        ({"dims": [8]}, {}, "dims: expected one for each of 2 views"),
        ({"dims": [8, 7]}, {}, r"maps\.1\.mean: expected shape \(7,\)"),
        ({"features": 3}, {}, "not iterable"),
        ({}, {"encoders.0.W": np.zeros((3, 16), np.float32)}, r"encoders\.0: expected shape"),
        ({}, {"encoded.1": np.zeros((150, 2))}, r"encoded\.1: expected shape .*got float"),
        ({}, {"codes": None}, "'codes'"),
    ],
)
def test_parts_of_a_file_that_do_not_fit_are_named(trained, tmp_path, info, arrays, message):
    jaxcmh.save(trained, tmp_path / "model")
    with safetensors.safe_open(tmp_path / "model", "numpy") as file:
        header = json.loads(file.metadata()["jaxcmh"])
        whole = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header["info"] |= info
    kept = {name: array for name, array in (whole | arrays).items() if array is not None}
    store.write(tmp_path / "model", "jaxcmh", header, kept)
    with pytest.raises(ValueError, match=rf"path: .*model is truncated or not a jaxcmh model \(.*{message}"):
        jaxcmh.load(tmp_path / "model")


def test_a_method_may_learn_codes_for_each_view(tmp_path):
    views, labels = pairs()
    model = jaxcmh.train("dlfh", views, labels, bits=16)
    assert model.codes.shape == (2, 150, 2)
    queries = [x[:20] for x in views]
    report = jaxcmh.evaluate(model, queries, labels[:20], labels, ties="stable")
    for name, (a, b) in {"i2t": (0, 1), "t2i": (1, 0)}.items():
        encoded = jaxcmh.encode(model, queries[a], a)
        assert report[name] == pytest.approx(brute_force_map(encoded, model.codes[b], labels[:20], labels))
        distances, _ = jaxcmh.search(model, queries[a], a, k=1)
        differ = np.bitwise_count(np.asarray(encoded)[:, None] ^ np.asarray(model.codes[b])).sum(2)
        np.testing.assert_array_equal(distances[:, 0], differ.min(1))
    jaxcmh.save(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(jaxcmh.load(tmp_path / "model.safetensors").codes, model.codes)
