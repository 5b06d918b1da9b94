"""What is learned from rows that are read and mapped by blocks is what is learned from rows in memory."""

import warnings
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax import random

import jaxcmh
from jaxcmh import methods
from jaxcmh.datasets import rows
from jaxcmh.learning import features, mesh, reduction, streaming
from jaxcmh.learning.features import Features
from jaxcmh.model import ENCODE_ROWS

N = 2 * reduction.BLOCK_ROWS + 808  # two whole blocks and the rest of a third
NOTHING = 1e-9  # GB: no room for mapped features
SPLIT = jaxcmh.load_dataset("synthetic", train=N, query=10, dims=(8, 12), labels=6).train


def trained(method, views=SPLIT.views, labels=SPLIT.labels, anchors=24, **options):
    chosen = methods.find(method)
    options.setdefault("max_iterations", min(2, chosen.max_iterations))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that two iterations are not enough
        return jaxcmh.train(
            chosen, views, labels, bits=8, features=chosen.features._replace(anchors=anchors), **options
        )


def share_of_other_bits(first, second):
    codes = [np.concatenate([np.asarray(c).reshape(-1, 1) for c in (m.codes, *m.encoded)]) for m in (first, second)]
    return np.bitwise_count(codes[0] ^ codes[1]).mean() / 8


@pytest.mark.parametrize("classes", [3, 90])
def test_rows_of_labels_are_the_same_on_the_host(classes):
    of_sets = np.eye(classes, dtype=np.float32)[:3] * np.float32([[1], [0.5], [2]])
    rows = streaming.Labelled(jnp.asarray(of_sets), jnp.arange(20) % 3, (jnp.arange(20) < 17).astype(jnp.float32))
    part = rows.on_host().part(5, 20)[slice(2, 15)]
    assert scipy.sparse.issparse(part) == (classes == 90)
    np.testing.assert_array_equal(part.toarray() if scipy.sparse.issparse(part) else part, rows[7:20])


@pytest.mark.parametrize("method", methods.registry)
def test_codes_are_those_learned_in_memory(method):
    first, second = trained(method), trained(method, room=NOTHING)
    assert share_of_other_bits(first, second) <= 1e-3
    np.testing.assert_allclose(second.objective, first.objective, rtol=1e-3)
    assert second.codes.dtype == np.uint8


def sources(folder):
    """Every kind of views that are not in memory, dense float32 and sparse."""
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq

    image, text = SPLIT.views
    np.save(folder / "image.npy", image)
    with h5py.File(folder / "views.h5", "w") as file:
        file.create_dataset("deep/text", data=text, chunks=(1000, 5))
    lists = pa.FixedSizeListArray.from_arrays(image.ravel(), image.shape[1])
    pq.write_table(pa.table({"image": lists}), folder / "image.parquet", row_group_size=700)
    mapped, dataset = np.load(folder / "image.npy", mmap_mode="r"), h5py.File(folder / "views.h5")["deep/text"]
    blocks = [text[i : i + 999] for i in range(0, N, 999)]
    return {
        "memory-mapped and HDF5": (mapped, dataset),
        "Parquet and blocks": (rows(folder / "image.parquet"), rows(blocks)),
        "JAX and CSR": (jnp.asarray(image), scipy.sparse.csr_array(text)),
    }


@pytest.mark.parametrize("kind", ["memory-mapped and HDF5", "Parquet and blocks", "JAX and CSR"])
@pytest.mark.parametrize("room", [1.0, NOTHING], ids=["mapped features kept", "by blocks"])
def test_rows_are_read_from_anywhere(kind, room, tmp_path):
    views = sources(tmp_path)[kind]
    found, expected = trained("random_codewords", views, room=room), trained("random_codewords")
    assert share_of_other_bits(found, expected) <= 1e-3
    assert found.info == expected.info


def test_items_without_labels_get_the_codes_of_the_hash_functions():
    labels = SPLIT.labels.copy()
    labels[5::7] = 0
    for method in ("random_codewords", "acqh"):
        first, second = trained(method, labels=labels), trained(method, labels=labels, room=NOTHING)
        assert share_of_other_bits(first, second) <= 1e-3


CODE_FILES = ["encoded_0.npy", "encoded_1.npy", "learned.npy"]


@pytest.mark.parametrize("room", [None, NOTHING], ids=["in memory", "by blocks"])
@pytest.mark.parametrize("method", ["random_codewords", "acqh", "scm"])  # bits, words, codes for each view
def test_codes_can_stay_in_files(method, room, tmp_path):
    labels = SPLIT.labels.copy()
    labels[5::7] = 0
    expected = trained(method, labels=labels, room=room)
    model = trained(method, labels=labels, room=room, codes=tmp_path / "codes")
    assert sorted(file.name for file in (tmp_path / "codes").iterdir()) == CODE_FILES
    for codes, same in zip((model.codes, *model.encoded), (expected.codes, *expected.encoded), strict=True):
        assert isinstance(codes, np.memmap)
        assert not codes.flags.writeable
        np.testing.assert_array_equal(codes, same)
    np.testing.assert_array_equal(np.load(tmp_path / "codes" / "learned.npy"), expected.codes)
    query = [x[:40] for x in SPLIT.views]
    for found, same in zip(
        jaxcmh.search(model, query[0], 0, k=5), jaxcmh.search(expected, query[0], 0, k=5), strict=True
    ):
        np.testing.assert_array_equal(found, same)
    for database in ("learned", "encoded"):
        found, same = (jaxcmh.evaluate(m, query, SPLIT.labels[:40], SPLIT.labels, database) for m in (model, expected))
        assert (found["i2t"], found["t2i"]) == (same["i2t"], same["t2i"])
    jaxcmh.save(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(jaxcmh.load(tmp_path / "model.safetensors").codes, expected.codes)


def test_codes_of_a_finished_training_go_to_files_too(tmp_path):
    first = trained("random_codewords", stages=tmp_path / "stages")
    model = trained("random_codewords", stages=tmp_path / "stages", codes=tmp_path / "codes")
    assert isinstance(model.codes, np.memmap)
    for codes, same in zip((model.codes, *model.encoded), (first.codes, *first.encoded), strict=True):
        np.testing.assert_array_equal(codes, same)


def test_files_of_codes_appear_whole_or_not_at_all_and_replace_nothing(tmp_path):
    same = np.repeat(np.arange(N)[:, None] % 2, 2, 1)
    with pytest.raises(ValueError, match="learned the same code for all items"):
        trained("random_codewords", labels=np.ones_like(same), codes=tmp_path / "codes")
    assert not list(tmp_path.iterdir())
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="codes is there already"):
        trained("random_codewords", codes=tmp_path / "codes")
    assert [file.name for file in (tmp_path / "codes").iterdir()] == ["notes.txt"]


def test_float64_checks_it_too():
    first, second = (trained("srlch", precision="float64", **more) for more in ({}, {"room": NOTHING}))
    assert share_of_other_bits(first, second) <= 1e-3


@pytest.mark.parametrize("kind", ["identity", "centre", "standardise", "rbf", "laplace", "rbf_centred"])
def test_maps_are_those_fitted_in_memory(kind):
    chosen, x = Features(kind, anchors=20, standardise=kind == "laplace"), SPLIT.views[0]
    fitted, phi = features.fit(chosen, random.key(0), x)
    source = streaming.source(x, "x")
    found, nothing = features.fit_map(chosen, random.key(0), source, keep=False)
    assert nothing is None
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, fitted)
    streamed = streaming.Streamed(found, source, np.dtype("float32"))
    assert streamed.shape == phi.shape
    np.testing.assert_allclose(streamed[10:5000], phi[10:5000], rtol=1e-4, atol=1e-5)


def test_products_are_those_of_the_mapped_rows():
    fitted, phi = features.fit(Features("rbf", anchors=20), random.key(0), SPLIT.views[0])
    X, W, B = streaming.Streamed(fitted, streaming.Source(SPLIT.views[0]), phi.dtype), phi[:20, :3], phi[:, :2].T
    for found, expected in [(X @ W, phi @ W), (X @ W[:, 0], phi @ W[:, 0]), (B @ X, B @ phi), (B[0] @ X, B[0] @ phi)]:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda X: X @ W)(X), phi @ W, rtol=1e-4, atol=1e-5)
    kept = np.arange(N) % 3 > 0
    np.testing.assert_allclose(streaming.some(X, kept) @ W, phi[kept] @ W, rtol=1e-4, atol=1e-5)


def test_views_are_never_read_as_a_whole():
    class Twice:
        def __init__(self, x):
            self.x, self.shape, self.dtype, self.most = x, (2 * N, x.shape[1]), x.dtype, 0

        def __getitem__(self, rows):
            chosen = np.arange(2 * N)[rows]
            self.most = max(self.most, len(chosen))
            return self.x[chosen % N]

    views = [Twice(x) for x in SPLIT.views]
    model = trained("cmfh", views, np.concatenate([SPLIT.labels, SPLIT.labels]), room=NOTHING)
    assert model.codes.shape == (2 * N, 1)
    assert all(0 < view.most <= ENCODE_ROWS < 2 * N for view in views)


def test_rows_are_read_forwards_in_every_pass():
    class Forwards:
        def __init__(self, x):
            self.x, self.shape, self.dtype, self.starts = x, x.shape, x.dtype, [0]

        def __getitem__(self, rows):
            self.starts.append(np.arange(N)[rows][0])
            return self.x[rows]

    views = [Forwards(x) for x in SPLIT.views]
    trained("dcgh", views, room=NOTHING)
    steps = [step for view in views for step in pairwise(view.starts)]
    assert all(after > before or after < reduction.BLOCK_ROWS for before, after in steps)


def test_training_again_on_the_same_arrays_compiles_nothing(caplog):
    trained("random_codewords", room=NOTHING)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        trained("random_codewords", room=NOTHING, seed=1)
    assert not [r.message for r in caplog.records if r.message.startswith("Compiling") and "_advance" in r.message]


def damaged(row, value):
    image = SPLIT.views[0].copy()
    image[row, 3] = value
    return rows([image[:5000], image[5000:]])


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (damaged(8200, np.nan), {}, r"views\[0\]: expected finite numbers; row 8200 holds NaN"),
        (damaged(8200, np.inf), {"room": NOTHING}, r"views\[0\]: expected finite numbers; row 8200 holds NaN"),
        (rows([SPLIT.views[0][:4000]]), {}, r"views\[1\]: expected 4000 rows, as views\[0\] has; got shape"),
        (SPLIT.views[0], {"room": NOTHING, "hash_function": "mlp"}, "hash_function: .* give more room"),
        (SPLIT.views[0], {"room": NOTHING, "precision": "float32"}, "precision: .* give more room"),
        (SPLIT.views[0], {"room": NOTHING, "mesh": mesh.row_mesh(jax.devices()[:1])}, "mesh: .* give more room"),
        (SPLIT.views[0], {"room": 0.0}, "room: expected a finite number above 0; got 0.0"),
    ],
    ids=["NaN", "infinity", "not aligned", "mlp", "float32", "mesh", "no room"],
)
def test_what_cannot_be_learned_by_blocks_is_refused(image, options, said):
    with pytest.raises(ValueError, match=said):
        trained("random_codewords", (image, SPLIT.views[1]), **options)


def test_neighbours_want_their_features_in_memory():
    with pytest.raises(ValueError, match="room: neighbours among features are found in memory"):
        trained("aah-knn", room=NOTHING)


def test_other_things_than_numbers_are_no_rows(tmp_path):
    texts = np.lib.format.open_memmap(tmp_path / "texts.npy", "w+", "U3", (N, 8))
    with pytest.raises(ValueError, match=r"views\[0\]: expected real numbers; got <U3 of shape"):
        trained("random_codewords", (texts, SPLIT.views[1]))


def test_rows_that_end_early_are_named():
    class Short:
        shape, dtype = SPLIT.views[0].shape, np.dtype("float32")

        def __getitem__(self, rows):
            return SPLIT.views[0][:8500][rows]

    with pytest.raises(ValueError, match=r"views\[0\]: expected 808 rows from row 8192 on; got shape \(308, 8\)"):
        trained("random_codewords", (Short(), SPLIT.views[1]))
