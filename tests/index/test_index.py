"""The index: what goes in comes out, what does not fit is refused and changes nothing."""

import ast
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
import safetensors

import jaxcmh
from jaxcmh import index as indexes
from jaxcmh import store
from jaxcmh.learning import features
from jaxcmh.learning.mesh import row_mesh
from jaxcmh.retrieval import topk

RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 256, (60, 4), dtype=np.uint8)
QUERIES = RNG.integers(0, 256, (5, 4), dtype=np.uint8)
BOOKS = RNG.normal(size=(4, 256, 6)).astype(np.float32)
VECTORS = RNG.normal(size=(5, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def split():
    return jaxcmh.load_dataset("synthetic", train=200, query=12)


@pytest.fixture(scope="module")
def model(split):
    return jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=16)


@pytest.fixture(scope="module")
def lookup_model(split):
    return jaxcmh.train("acqh", split.train.views, split.train.labels, bits=16)


@pytest.mark.parametrize(
    "ids", [None, np.arange(60)[::-1] + 2**40, [f"Bild {i} é" for i in range(60)]], ids=["none", "int64", "strings"]
)
def test_search_returns_the_users_ids(ids):
    expected_ids = np.arange(60) if ids is None else np.asarray(ids)
    distances, at = topk.hamming_topk(QUERIES, CODES, 7)
    answers = indexes.search(indexes.build(CODES, ids), QUERIES, 7)
    np.testing.assert_array_equal(answers[0], distances)
    np.testing.assert_array_equal(answers[1], expected_ids[np.asarray(at)])


def test_adding_then_removing_is_building_from_the_rest():
    ids = np.arange(100, 160)
    index = indexes.add(indexes.build(CODES[:20], ids[:20]), CODES[20:], ids[20:])
    np.testing.assert_array_equal(index.codes, CODES)
    fewer = indexes.remove(index, ids[10:30])
    rest = np.r_[0:10, 30:60]
    np.testing.assert_array_equal(fewer.codes, CODES[rest])
    np.testing.assert_array_equal(fewer.ids.values, ids[rest])
    assert len(index) == 60
    assert len(fewer) == 40
    np.testing.assert_array_equal(
        indexes.search(fewer, QUERIES, 9), indexes.search(indexes.build(CODES[rest], ids[rest]), QUERIES, 9)
    )


def test_added_items_without_ids_continue_from_the_largest():
    index = indexes.build(CODES[:3], [5, 900, 7])
    assert indexes.add(index, CODES[3:5]).ids.values.tolist() == [5, 900, 7, 901, 902]


def test_everything_can_be_removed_and_added_again():
    empty = indexes.remove(indexes.build(CODES), np.arange(60))
    assert len(empty) == 0
    np.testing.assert_array_equal(indexes.add(empty, CODES, np.arange(60)).codes, CODES)
    with pytest.raises(ValueError, match=r"k: there are no items to search.*got 1"):
        indexes.search(empty, QUERIES, 1)


def test_a_mask_of_members_restricts_both_searches():
    names = [f"n{i}" for i in range(60)]
    index = indexes.build(CODES, names)
    mask = indexes.members(index, names[20:40])
    answers = indexes.search(index, QUERIES, 20, mask=mask)[1]
    assert all(set(row) == set(names[20:40]) for row in answers.tolist())
    offsets, distances, ids = indexes.search_range(index, QUERIES, 14, mask=mask)
    exact = np.bitwise_count(QUERIES[:, None] ^ CODES).sum(axis=2)
    assert np.diff(offsets).tolist() == (exact[:, 20:40] <= 14).sum(axis=1).tolist()
    for i in range(5):
        part = slice(offsets[i], offsets[i + 1])
        assert exact[i, [names.index(name) for name in ids[part].tolist()]].tolist() == distances[part].tolist()


def test_lookup_codes_are_searched_by_score():
    index = indexes.build(CODES, codebooks=BOOKS)
    np.testing.assert_array_equal(indexes.search(index, VECTORS, 9), topk.lookup_topk(VECTORS, CODES, BOOKS, 9))
    with pytest.raises(ValueError, match="index: look-up codes have scores"):
        indexes.search_range(index, VECTORS, 3)


@pytest.mark.parametrize("kind", ["model", "lookup_model"])
def test_raw_features_of_either_view_go_in_and_find_what_their_codes_find(kind, split, request):
    model = request.getfixturevalue(kind)
    images, texts = split.train.views
    index = indexes.build(images[:150], model=model, view=0)
    index = indexes.add(index, texts[150:], model=model, view=1)
    codes = np.concatenate([jaxcmh.encode(model, images[:150], 0), jaxcmh.encode(model, texts[150:], 1)])
    np.testing.assert_array_equal(index.codes, codes)
    for view in (0, 1):
        scores, ids = indexes.search(index, split.query.views[view], 6, model=model, view=view)
        queries = jaxcmh.model.query_vectors(model, split.query.views[view], view)
        if model.codebooks is None:
            expected = topk.hamming_topk(queries, codes, 6)
        else:
            expected = topk.lookup_topk(queries, codes, model.codebooks, 6)
        np.testing.assert_array_equal(scores, expected[0])
        np.testing.assert_array_equal(ids, expected[1])


def test_an_index_of_learned_codes_gives_what_the_model_gives(split, model):
    index = indexes.build(model.codes, split.train.ids, model=model)
    _, rows = jaxcmh.search(model, split.query.views[1], 1, 5)
    answers = indexes.search(index, split.query.views[1], 5, model=model, view=1)[1]
    np.testing.assert_array_equal(answers, np.asarray(split.train.ids)[np.asarray(rows)])


def test_an_index_of_codes_that_repeat_gives_the_same_after_every_change():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (6, 2), dtype=np.uint8)[rng.integers(0, 6, 200)]
    names = [f"n{i}" for i in range(200)]
    index = indexes.add(indexes.build(codes[:150], names[:150]), codes[150:], names[150:])
    index = indexes.remove(index, names[:30])
    assert index.blocks.repeats is not None
    plain = replace(index, blocks=topk.arrange(codes[30:]))
    for mask in (None, rng.random(170) < 0.5):
        for found, expected in zip(*(indexes.search(i, codes[:5], 20, mask=mask) for i in (index, plain))):
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(index.codes, codes[30:])


def test_an_index_spread_over_devices_gives_the_same():
    index = indexes.build(CODES, np.arange(60) * 3)
    devices = row_mesh()
    spread = indexes.spread(index, devices)
    assert len(spread.blocks.words.sharding.device_set) == 8
    np.testing.assert_array_equal(indexes.search(index, QUERIES, 9), indexes.search(spread, QUERIES, 9, mesh=devices))
    assert indexes.answers(spread, QUERIES, 9, mesh=devices) == indexes.answers(index, QUERIES, 9)
    with pytest.raises(ValueError, match="mesh: expected without a radius"):
        indexes.answers(spread, QUERIES, None, radius=1, mesh=devices)
    np.testing.assert_array_equal(indexes.remove(spread, [3]).codes, np.delete(CODES, 1, axis=0))


@pytest.mark.parametrize("kind", ["model", "lookup_model"])
def test_devices_encode_items_as_one_does(kind, split, request, monkeypatch):
    model, devices, given = request.getfixturevalue(kind), row_mesh(), []
    images, texts = split.train.views
    index = indexes.add(indexes.build(images[:150], model=model, view=0), texts[150:], model=model, view=1)
    mapped = features.mapped
    monkeypatch.setattr(features, "mapped", lambda *a: given.append(mapped(*a)) or given[-1])
    found = indexes.build(images[:150], model=model, view=0, mesh=devices)
    found = indexes.add(found, texts[150:], model=model, view=1, mesh=devices)
    np.testing.assert_array_equal(found.codes, index.codes)
    assert [len({shard.device for shard in phi.addressable_shards}) for phi in given] == [8, 8]
    for refused in (lambda: indexes.build(CODES, mesh=devices), lambda: indexes.add(index, CODES, mesh=devices)):
        with pytest.raises(ValueError, match="mesh: expected with raw features and the view that they are of"):
            refused()


def test_an_index_is_a_pytree():
    index = indexes.build(CODES, [f"n{i}" for i in range(60)])
    same = jax.tree.map(lambda x: x, index)
    np.testing.assert_array_equal(indexes.search(same, QUERIES, 4), indexes.search(index, QUERIES, 4))
    nearest = jax.jit(lambda index, q: topk.hamming_topk(q, index.blocks, 4)[1])
    np.testing.assert_array_equal(nearest(index, QUERIES), topk.hamming_topk(QUERIES, CODES, 4)[1])


FORKED = """
import multiprocessing, sys, tempfile, warnings
import numpy as np
import jaxcmh
from jaxcmh import index
from jaxcmh.retrieval import metrics, topk

warnings.simplefilter("ignore")
split = jaxcmh.load_dataset("synthetic", train=40, query=5)
model = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=8)
codes = np.asarray(model.codes)
items = index.build(codes)
x, y = split.query.views[0], split.query.labels
folder = tempfile.mkdtemp()
jaxcmh.save(model, f"{folder}/model.safetensors")
index.save(items, f"{folder}/items.index")
CALLS = {
    "load": lambda: jaxcmh.load(folder),
    "load an index": lambda: index.load(f"{folder}/items.index"),
    "search": lambda: index.search(items, codes, 1),
    "add": lambda: index.add(items, codes),
    "topk": lambda: topk.hamming_topk(codes, items.blocks, 1),
    "encode": lambda: jaxcmh.encode(model, x, 0),
    "train": lambda: jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=8),
    "evaluate": lambda: jaxcmh.evaluate(model, split.query.views, y, split.train.labels),
    "metrics": lambda: metrics.hamming_metrics(codes, codes, split.train.labels, split.train.labels),
    "pack": lambda: topk.pack(np.ones((5, 8))),
    "study": lambda: jaxcmh.study("dcgh", split, bits=8),
}

def attempt(name):
    try:
        CALLS[name]()
    except RuntimeError as error:
        sys.exit(5 if "'spawn'" in str(error) else 1)

context = multiprocessing.get_context("fork")
children = {name: context.Process(target=attempt, args=(name,)) for name in CALLS}
for child in children.values():
    child.start()
for child in children.values():
    child.join(20)
print({name: child.exitcode for name, child in children.items()})
for child in children.values():
    child.kill()
"""


def test_a_forked_child_is_refused_at_once_and_told_of_spawn():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True, timeout=200)
    codes = ast.literal_eval(done.stdout.splitlines()[-1])
    assert codes == dict.fromkeys(codes, 5), done.stderr
    assert len(codes) == 11


@pytest.mark.parametrize("ids", [None, np.arange(60) - 2**62, [f"Bild {i} é" for i in range(60)]])
@pytest.mark.parametrize("books", [None, BOOKS], ids=["packed", "lookup"])
def test_a_saved_index_comes_back(tmp_path, ids, books):
    index = indexes.build(CODES, ids, codebooks=books)
    indexes.save(index, tmp_path / "index")
    loaded = indexes.load(tmp_path / "index")
    assert [file.name for file in tmp_path.iterdir()] == ["index"]
    queries = QUERIES if books is None else VECTORS
    np.testing.assert_array_equal(indexes.search(loaded, queries, 9), indexes.search(index, queries, 9))
    np.testing.assert_array_equal(loaded.codes, CODES)
    assert loaded.ids.values.dtype == index.ids.values.dtype


def test_an_empty_index_comes_back(tmp_path):
    indexes.save(indexes.build(CODES[:0]), tmp_path / "index")
    assert len(indexes.load(tmp_path / "index")) == 0


def test_a_saved_index_keeps_one_byte_for_eight_bits_and_its_ids(tmp_path):
    many = RNG.integers(0, 256, (5000, 8), dtype=np.uint8)
    indexes.save(indexes.build(many), tmp_path / "index")
    assert (tmp_path / "index").stat().st_size < 5000 * (8 + 8) + 1000


def test_what_is_kept_of_items_goes_with_them(tmp_path):
    texts, labels = [f"Möwe {i}" for i in range(20)], [["sea", "a;b"]] * 20
    index = indexes.build(CODES[:20], range(20), details=indexes.Details(texts, labels))
    index = indexes.add(index, CODES[20:25], range(20, 25))
    index = indexes.add(index, CODES[25:27], range(25, 27), details=indexes.Details(thumbnails=[b"x", b""]))
    index = indexes.remove(index, [3, 26])
    indexes.save(index, tmp_path / "index")
    loaded = indexes.load(tmp_path / "index")
    for kept in (index.details, loaded.details):
        assert kept.texts == [f"Möwe {i}" for i in range(20) if i != 3] + [""] * 6
        assert list(map(list, kept.labels)) == [["sea", "a;b"]] * 19 + [[]] * 6
        assert kept.thumbnails == [b""] * 24 + [b"x"]
    (first, *_), *_ = indexes.answers(loaded, CODES[4:5], 2)
    assert first == (1, 0, 4, 3, ["sea", "a;b"], "Möwe 4")
    (near,) = indexes.answers(loaded, CODES[21:22], None, radius=0)
    assert [(answer.item, answer.labels, answer.text) for answer in near] == [(21, [], "")]
    assert [len(own) for own in indexes.answers(loaded, ~CODES[:2], None, radius=0)] == [0, 0]


def test_an_index_that_keeps_nothing_of_its_items_is_written_as_before(tmp_path):
    indexes.save(indexes.build(CODES), tmp_path / "index")
    with safetensors.safe_open(tmp_path / "index", "numpy") as file:
        assert set(file.keys()) == {"codes", "ids"}


@pytest.mark.parametrize(
    ("details", "message"),
    [
        (indexes.Details(texts=["a"]), "details.texts: expected 60, one per item; got 1"),
        (indexes.Details(texts=["\ud800"] * 60), r"details.texts\[0\]: expected text without lone surrogates"),
        (indexes.Details(labels=["sea"] * 60), r"details.labels\[0\]: expected a sequence of text; got 'sea'"),
        (indexes.Details(thumbnails=["x"] * 60), r"details.thumbnails\[0\]: expected a bytes; got 'x'"),
    ],
)
def test_details_that_do_not_fit_are_named(details, message):
    with pytest.raises(ValueError, match=message):
        indexes.build(CODES, details=details)


def test_a_truncated_file_is_refused(tmp_path):
    indexes.save(indexes.build(CODES), tmp_path / "index")
    whole = (tmp_path / "index").read_bytes()
    for length in (0, 5, 100, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="truncated or not a jaxcmh index"):
            indexes.load(tmp_path / "cut")


def test_any_flipped_byte_is_noticed(tmp_path):
    indexes.save(indexes.build(CODES, [f"n{i}" for i in range(60)]), tmp_path / "index")
    whole = bytearray((tmp_path / "index").read_bytes())
    for at in [*range(0, 200, 13), *range(200, len(whole), 37), len(whole) - 1]:
        flipped = whole.copy()
        flipped[at] ^= 4
        (tmp_path / "flipped").write_bytes(flipped)
        with pytest.raises(ValueError, match=r"truncated or not a jaxcmh index|damaged|format"):
            indexes.load(tmp_path / "flipped")


def test_files_of_another_version_or_kind_are_refused(tmp_path, monkeypatch, model):
    monkeypatch.setattr("jaxcmh.index.index.FORMAT", 2)
    indexes.save(indexes.build(CODES), tmp_path / "later")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has format 2; this version reads up to 1"):
        indexes.load(tmp_path / "later")
    jaxcmh.save(model, tmp_path / "model")
    with pytest.raises(ValueError, match="not a jaxcmh index"):
        indexes.load(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="no jaxcmh index at"):
        indexes.load(tmp_path / "nothing")


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    indexes.save(indexes.build(CODES), tmp_path / "index")
    before = (tmp_path / "index").read_bytes()

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    with pytest.raises(OSError, match="No space"):
        indexes.save(indexes.build(CODES[:5]), tmp_path / "index")
    assert [file.name for file in tmp_path.iterdir()] == ["index"]
    assert (tmp_path / "index").read_bytes() == before
    with pytest.raises(ValueError, match="path: expected a file in an existing folder"):
        indexes.save(indexes.build(CODES), tmp_path / "no" / "index")


def test_codes_that_do_not_fill_their_bytes_keep_their_length(tmp_path):
    signs = RNG.integers(0, 2, (40, 12))
    codes = np.packbits(signs, axis=1, bitorder="little")
    index = indexes.build(codes, bits=12)
    indexes.save(index, tmp_path / "index")
    for kept in (index, indexes.load(tmp_path / "index"), indexes.add(index, codes), indexes.remove(index, [39])):
        assert kept.bits == 12
        distances, ids = indexes.search(kept, codes[:3], 5)
        np.testing.assert_array_equal(distances, (signs[:3, None] != signs[ids % 40]).sum(axis=2))


INDEX = indexes.build(CODES[:3], [1, 2, 3])
SHORT = indexes.build(np.uint8([[0, 1]]), bits=12)
NAMED = indexes.build(CODES[:2], ["a", "b"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: indexes.build(CODES, np.zeros(60, int)), "ids: expected each once; got 0 more than once"),
        (lambda: indexes.build(CODES, np.arange(59)), r"ids: expected 60, one per item; got shape \(59,\)"),
        (lambda: indexes.build(CODES, np.arange(60.0)), "ids: expected .* integers .*float64"),
        (lambda: indexes.build(CODES.astype(float)), "items: expected uint8 codes"),
        (lambda: indexes.build(CODES, view=0), "view: expected with a model only"),
        (lambda: indexes.build(CODES, bits=24), "bits: expected an integer from 25 to 32; got 24"),
        (
            lambda: indexes.build(np.uint8([[0, 0], [0, 16]]), bits=12),
            "items: expected zeros behind bit 12 .*row 1 has",
        ),
        (lambda: indexes.build(CODES, codebooks=BOOKS, bits=32), "bits: expected with packed codes only"),
        (lambda: indexes.search(SHORT, np.uint8([[0, 128]]), 1), "queries: expected zeros behind bit 12 .*row 0 has"),
        (lambda: indexes.add(SHORT, np.uint8([[0, 128]])), "items: expected zeros behind bit 12 .*row 0 has"),
        (lambda: indexes.build(CODES, codebooks=BOOKS[:2]), "codes: expected 2 books, as codebooks has; got 4"),
        (lambda: indexes.build(CODES, codebooks=BOOKS[:, :7]), "codes: expected words below 7"),
        (lambda: indexes.add(INDEX, CODES[:1], [3]), "ids: 3 is in the index already"),
        (lambda: indexes.add(INDEX, CODES[:1], ["c"]), "ids: expected integers, as the index has"),
        (lambda: indexes.add(NAMED, CODES[:1], [3]), "ids: expected strings, as the index has"),
        (lambda: indexes.add(NAMED, CODES[:1]), "ids: expected strings, as the index has; got None"),
        (lambda: indexes.add(INDEX, CODES[:1, :2]), "items: expected codes of 4 bytes, .*got 2"),
        (lambda: indexes.remove(INDEX, [2, 9]), "ids: 9 is not in the index"),
        (lambda: indexes.remove(INDEX, [True, 3]), "ids: expected integers or strings; got True or False among them"),
        (lambda: indexes.members(NAMED, ["z"]), "ids: 'z' is not in the index"),
        (lambda: indexes.search(INDEX, QUERIES, 4), "k: expected an integer from 1 to 3; got 4"),
        (lambda: indexes.search(INDEX, QUERIES[:, :3], 1), "query_codes: expected 32 bits"),
        (lambda: indexes.search(INDEX, QUERIES, 1, view=1), "view: expected with a model only"),
        (
            lambda: indexes.search(indexes.build(CODES, codebooks=BOOKS), VECTORS * np.float32(np.nan), 1),
            "queries: expected finite numbers; row 0",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_model_that_does_not_fit_is_refused(split, model, lookup_model):
    rows = split.query.views[0]
    images = split.train.views[0]
    other = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=16, seed=1)
    longer = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=24)
    index = indexes.build(images, model=model, view=0)
    for wrong, message in (
        (longer, "model: makes codes of 24 bits, but the index holds codes of 16"),
        (other, "model: is not the one that encoded the items"),
        (lookup_model, "model: makes look-up codes, but the index holds packed codes"),
    ):
        with pytest.raises(ValueError, match=message):
            indexes.search(index, rows, 1, model=wrong, view=0)
        with pytest.raises(ValueError, match=message):
            indexes.add(index, rows, model=wrong, view=0)
    with pytest.raises(ValueError, match="view: expected with a model"):
        indexes.search(index, rows, 1, model=model)
    with pytest.raises(ValueError, match="items: expected uint8 codes"):
        indexes.add(index, rows, model=model)
    with pytest.raises(ValueError, match="items: expected codes of 2 bytes, as the model makes them"):
        indexes.build(CODES, model=model)
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        indexes.search(index, np.full_like(np.asarray(rows, np.float32), np.nan), 1, model=model, view=0)


@pytest.mark.parametrize("bad", [True, "x", [[np.nan]], np.ones((2, 3)), np.ones((0, 64)), [["a"]]])
def test_raw_features_that_do_not_fit_are_refused_by_the_name_of_their_argument(split, model, bad):
    index = indexes.build(split.train.views[0][:5], model=model, view=0)
    with pytest.raises((ValueError, TypeError), match=r"^items: "):
        indexes.build(bad, model=model, view=0)
    with pytest.raises((ValueError, TypeError), match=r"^items: "):
        indexes.add(index, bad, model=model, view=0)
    with pytest.raises((ValueError, TypeError), match=r"^queries: "):
        indexes.search(index, bad, k=1, model=model, view=0)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b\0", "c"], r"without NUL at the end; got 'b\\x00'"),
        (["a", "\ud800", "c"], r"whole characters, .*got '\\ud800'"),
        (["a", 1, "c"], "integers or strings, not both; got 1 too"),
        (np.array(["a", 2, "c"], object), "integers or strings, not both; got 2 too"),
        (("a", None, "c"), "not both; got None too"),
    ],
)
def test_ids_that_would_be_changed_are_refused(ids, message):
    with pytest.raises(ValueError, match=f"ids: expected .*{message}"):
        indexes.build(CODES[:3], ids)


def test_ids_of_any_text_come_back(tmp_path):
    names = ["000", "001", "é\u2028", "a\tb", "", "日本"]
    indexes.save(indexes.build(CODES[:6], names), tmp_path / "index")
    assert indexes.load(tmp_path / "index").ids.values.tolist() == names


@pytest.mark.parametrize(
    ("header", "arrays", "message"),
    [
        ({"bits": "x"}, {}, "bits: expected an integer"),
        ({"bits": 17}, {}, "bits: expected an integer from 25 to 32; got 17"),
        ({"n": 59}, {}, "n: expected 60; got 59"),
        ({"model": [1]}, {}, "model: expected"),
        ({"model": None}, {}, "model: expected"),
        ({"format": "1"}, {}, "not supported"),
        ({"format": None}, {}, "not supported"),
        ({}, {"ids": np.arange(59)}, r"ids: expected 60, one per item; got shape \(59,\)"),
        ({}, {"ids": np.zeros(60, np.int64)}, "ids: expected each once; got 0 more than once"),
        ({}, {"ids": np.zeros(60)}, "ids: expected a list of integers"),
        ({}, {"codes": CODES.astype(np.int32)}, "items: expected uint8 codes"),
        ({}, {"codes": CODES.ravel()}, "items: expected uint8 codes"),
        ({}, {"codebooks": BOOKS[:3]}, "codes: expected 3 books"),
        ({}, {"id_text": np.zeros(3, np.uint8), "id_lengths": np.array([5, -2])}, "id_lengths: expected lengths"),
        ({}, {"id_text": np.zeros(3, np.uint8), "id_lengths": np.array([2.0, 1.0])}, "id_lengths: expected lengths"),
        ({}, {"id_text": np.zeros(3, np.uint8)}, "'id_lengths'"),
        ({}, store.pieces("texts", [b"a"] * 59), "details.texts: expected 60, one per item; got 59"),
        ({}, store.pieces("texts", [b"\xff"] * 60), "can't decode byte 0xff"),
        ({}, store.pieces("labels", [b'"a"'] * 60), "labels: expected a sequence of text; got 'a'"),
        ({}, store.pieces("labels", [b"[1]"] * 60), r"labels\[0\]: expected text; got 1"),
        ({}, {"thumbnails_text": np.zeros(3, np.uint8)}, "'thumbnails_lengths'"),
    ],
)
def test_parts_of_a_file_that_do_not_fit_are_named(tmp_path, header, arrays, message):
    whole = {"codes": CODES, "ids": np.arange(60)}
    facts = {"format": 1, "bits": 32, "n": 60, "model": ""}
    store.write(tmp_path / "index", "jaxcmh_index", facts | header, whole | arrays)
    with pytest.raises(ValueError, match=rf"path: .*index is truncated or not a jaxcmh index \(.*{message}") as error:
        indexes.load(tmp_path / "index")
    assert "\n" not in str(error.value)
