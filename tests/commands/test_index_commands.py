"""`jaxcmh index` and `jaxcmh export`: what they print and write, what they refuse."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxcmh
from jaxcmh import index as indexes
from jaxcmh import progress
from jaxcmh.commands import cli
from jaxcmh.index import faiss, files
from jaxcmh.studies import runs

pytestmark = pytest.mark.xdist_group("index_commands")  # the trained run is shared
RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 256, (40, 2), dtype=np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of a small model of 16 bits."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    split = jaxcmh.load_dataset("icons")
    outcome = runs.run(split, "dcgh", bits=16, data="icons")
    runs.keep(folder, outcome, {"data": "icons", "root": None})
    return folder


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """An empty folder with files of codes; jax keeps the settings of the tests."""
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")
    monkeypatch.chdir(tmp_path)
    np.save("codes.npy", CODES)
    return tmp_path


def call(capsys, *words):
    code = cli.main(list(map(str, words)))
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def refused(capsys, *words):
    """The one line with which the command refuses its input."""
    capsys.readouterr()  # a slow training has said that it takes a while
    code = cli.main(list(map(str, words)))
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("jaxcmh: ")]
    assert (code, len(lines), out) == (2, 1, ""), (out, err)
    assert "Traceback" not in err
    return lines[0]


def answers(capsys, *words):
    return [json.loads(line) for line in call(capsys, "index", "search", *words, "--json").splitlines()]


def test_codes_are_built_added_and_searched(capsys, here):
    (here / "ids.txt").write_text("".join(f"Bild {i} é\n" for i in range(40)), encoding="utf-8")
    assert "40 items of 16 bits" in call(capsys, "index", "build", "codes.npy", "--ids", "ids.txt", "--out", "a.index")
    np.save("more.npy", CODES[:3] ^ 1)
    (here / "more.txt").write_text("x\ny\nz\n")
    printed = call(capsys, "index", "add", "a.index", "more.npy", "--ids", "more.txt", "--out", "b.index")
    assert printed == "b.index: 43 items of 16 bits, 3 of them new\n"
    assert len(indexes.load("a.index")) == 40
    call(capsys, "index", "add", "a.index", "more.npy", "--ids", "more.txt")
    assert indexes.load("a.index").ids.values.tolist() == indexes.load("b.index").ids.values.tolist()
    listed = answers(capsys, "b.index", "--query", "more.npy", "-k", 4)
    distances, ids = indexes.search(indexes.load("b.index"), CODES[:3] ^ 1, 4)
    assert [a["query"] for a in listed] == [f"row {i}" for i in range(3) for _ in range(4)]
    assert [a["rank"] for a in listed] == [1 + int((own < d).sum()) for own in distances for d in own]
    assert [a["distance"] for a in listed] == distances.ravel().tolist()
    assert [a["item"] for a in listed] == ids.ravel().tolist()
    assert answers(capsys, "b.index", "--query", "more.npy", "-k", 4, "--devices", 8) == listed
    table = call(capsys, "index", "search", "b.index", "--query", "more.npy", "-k", 2)
    assert "row 2" in table
    assert "distance" in table
    within = answers(capsys, "b.index", "--query", "more.npy", "--radius", 3)
    offsets, distances, ids = indexes.search_range(indexes.load("b.index"), CODES[:3] ^ 1, 3)
    assert [(a["distance"], a["item"]) for a in within] == list(zip(distances.tolist(), ids.tolist()))
    assert len(within) == offsets[-1]
    np.save("far.npy", np.uint8([[1, 2]]) ^ CODES[:1])
    (here / "one.index").write_bytes(b"")
    (here / "one.index").unlink()
    call(capsys, "index", "build", "far.npy", "--out", "one.index")
    np.save("first.npy", CODES[:1])
    assert call(capsys, "index", "search", "one.index", "--query", "first.npy", "--radius", 1).startswith(
        "row 0: no item within 1 bits"
    )


def test_info(capsys):
    call(capsys, "index", "build", "codes.npy", "--out", "a.index")
    facts = json.loads(call(capsys, "index", "info", "a.index", "--json"))
    assert {name: facts[name] for name in ("items", "codes", "bits", "ids", "model")} == {
        "items": 40,
        "codes": "packed",
        "bits": 16,
        "ids": "integers",
        "model": "not known",
    }
    assert "packed" in call(capsys, "index", "info", "a.index")


def test_a_run_becomes_an_index_that_texts_and_features_search(capsys, run):
    model, split = jaxcmh.load(run), jaxcmh.load_dataset("icons")
    call(capsys, "index", "build", run, "--out", "learned.index")
    index = indexes.load("learned.index")
    np.testing.assert_array_equal(index.codes, model.codes)
    assert index.ids.values.tolist() == [split.items.names[i] for i in split.train.ids]
    call(capsys, "index", "build", run, "--view", 1, "--out", "encoded.index")
    np.testing.assert_array_equal(indexes.load("encoded.index").codes, model.encoded[1])

    images = np.asarray(split.query.views[0])
    np.save("images.npy", images)
    call(capsys, "index", "build", "images.npy", "--model", run, "--out", "new.index")
    np.testing.assert_array_equal(indexes.load("new.index").codes, jaxcmh.encode(model, images, 0))
    call(capsys, "index", "build", "images.npy", "--model", run, "--devices", 8, "--out", "eight.index")
    np.testing.assert_array_equal(indexes.load("eight.index").codes, indexes.load("new.index").codes)
    call(capsys, "index", "add", "eight.index", "images.npy", "--model", run, "--devices", 3)
    np.testing.assert_array_equal(indexes.load("eight.index").codes[len(images) :], indexes.load("new.index").codes)
    for given in (["codes.npy"], ["codes.npy", "--model", run], [run], [run, "--model", run]):
        said = refused(capsys, "index", "build", *given, "--devices", 8, "--out", "codes.index")
        assert "--devices: expected with --model and a .npy file of features" in said
    said = refused(capsys, "index", "add", "eight.index", "codes.npy", "--model", run, "--devices", 8)
    assert "--devices: expected with --model and a .npy file of features" in said
    words = ("index", "add", "learned.index", "images.npy", "--model", run / "model.safetensors", "--view", 0)
    name = split.items.names[split.train.ids[0]]
    assert f"--ids: expected names for the new items, as learned.index has, such as '{name}'" in refused(capsys, *words)
    Path("names.txt").write_text("".join(f"new {i}\n" for i in range(len(images))))
    call(capsys, *words, "--ids", "names.txt")
    assert len(indexes.load("learned.index")) == len(index) + len(images)

    listed = answers(capsys, "new.index", "--text", "dog", "--text", "cloud rain", "--model", run, "-k", 3)
    assert [a["query"] for a in listed] == ["dog"] * 3 + ["cloud rain"] * 3
    listed = answers(capsys, "new.index", "--query", "images.npy", "--model", run, "-k", 1)
    assert all(a["distance"] == 0 for a in listed)

    for words in (("search", "new.index", "--query", "images.npy"), ("add", "new.index", "images.npy")):
        assert "are no codes; features need --model RUN" in refused(capsys, "index", *words)
    assert "expected with --text" in refused(capsys, "index", "search", "new.index", "--text", "dog")
    other = indexes.build(CODES, model=jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=16, seed=1))
    indexes.save(other, "other.index")
    line = refused(capsys, "index", "search", "other.index", "--query", "images.npy", "--model", run)
    assert "model: is not the one that encoded the items" in line
    indexes.save(indexes.build(CODES[:, :1]), "short.index")
    line = refused(capsys, "index", "add", "short.index", "images.npy", "--model", run)
    assert "model: makes codes of 16 bits, but the index holds codes of 8" in line


def test_exports_are_what_the_library_writes_and_can_be_built_from(capsys):
    pytest.importorskip("faiss")
    np.save("ids.npy", np.arange(40) * 7)
    call(capsys, "index", "build", "codes.npy", "--ids", "ids.npy", "--out", "a.index")
    index = indexes.load("a.index")
    for kind, read in (("npz", files.read_npz), ("parquet", files.read_parquet), ("faiss", faiss.read)):
        assert "40 items of 16 bits" in call(capsys, "export", kind, "a.index", "--out", f"items.{kind}")
        np.testing.assert_array_equal(read(f"items.{kind}").ids.values, index.ids.values)
        assert "is there already" in refused(capsys, "export", kind, "a.index", "--out", f"items.{kind}")
        call(capsys, "index", "build", f"items.{kind}", "--out", f"{kind}.index")
        back = indexes.load(f"{kind}.index")
        np.testing.assert_array_equal(back.codes, index.codes)
        np.testing.assert_array_equal(back.ids.values, index.ids.values)
    call(capsys, "index", "build", "items.faiss", "--bits", 16, "--ids", "ids.npy", "--out", "again.index")
    for kind in ("ivf", "hnsw", "multihash"):
        said = call(capsys, "export", "faiss", "a.index", "--out", f"{kind}.faiss", "--kind", kind)
        assert f"recall@10: {faiss.recall(index, f'{kind}.faiss'):.4f}, for 40 items of the index" in said
        kept = {"kind": kind, "k": 10, "recall": faiss.recall(index, f"{kind}.faiss"), "queries": 40}
        assert json.loads(faiss.recall_of(f"{kind}.faiss").read_text()) == kept
    assert not faiss.recall_of("items.faiss").exists()
    faiss.write(index, "ivf.faiss")
    assert not faiss.recall_of("ivf.faiss").exists()  # what was there was of another kind
    call(capsys, "export", "pgvector", "a.index", "--out", "items.sql", "--table", "pets")
    with open("items.sql") as script:
        assert 'CREATE TABLE "pets" (id bigint PRIMARY KEY, code bit(16) NOT NULL)' in script.read()


@pytest.mark.parametrize("names", [None, ["twice"]])
def test_a_run_whose_items_have_no_names_of_their_own_keeps_integers(capsys, run, here, names):
    place = shutil.copytree(run, here / "run")
    with np.load(run / "codes.npz") as stored:
        codes = {name: stored[name] for name in stored.files if name != "train_names"}
    if names:
        codes["train_names"] = np.array(names * len(codes["train_ids"]))
    np.savez(place / "codes.npz", **codes)
    call(capsys, "index", "build", "run", "--out", "a.index")
    np.testing.assert_array_equal(indexes.load("a.index").ids.values, codes["train_ids"])


def test_lookup_codes_with_codebooks_of_a_file(capsys):
    books, vectors = RNG.normal(size=(2, 256, 5)).astype(np.float32), RNG.normal(size=(2, 5)).astype(np.float32)
    np.save("books.npy", books)
    np.save("vectors.npy", vectors)
    call(capsys, "index", "build", "codes.npy", "--codebooks", "books.npy", "--out", "a.index")
    listed = answers(capsys, "a.index", "--query", "vectors.npy", "-k", 3)
    scores, ids = indexes.search(indexes.build(CODES, codebooks=books), vectors, 3)
    assert [a["item"] for a in listed] == ids.ravel().tolist()
    assert [a["score"] for a in listed] == scores.ravel().tolist()
    facts = json.loads(call(capsys, "index", "info", "a.index", "--json"))
    assert (facts["codes"], facts["books"], facts["words"], facts["dimensions"]) == ("look-up", 2, 256, 5)
    assert "index: pgvector takes packed codes" in refused(capsys, "export", "pgvector", "a.index", "--out", "a.sql")


def test_milvus_takes_an_index(capsys, here):
    pytest.importorskip("milvus_lite", reason="the embedded Milvus is not installed (extra milvus)")
    call(capsys, "index", "build", "codes.npy", "--out", "a.index")

    # A process of its own, for pymilvus sets up logging when it is imported.
    words = ("export", "milvus", "a.index", "--uri", "items.db", "--collection", "pets")
    program = [sys.executable, "-m", "jaxcmh", *words]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "pets in items.db: 40 items of 16 bits\n"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["index", "build", "no.npy", "--out", "new"], "items: no such file: no.npy"),
        (["index", "build", "codes.npy", "--out", "a.index"], "--out: a.index is there already"),
        (["index", "build", "codes.npy", "--ids", "two.txt", "--out", "new"], "ids: expected 40, one per item"),
        (["index", "build", "codes.npy", "--ids", "same.npy", "--out", "new"], "ids: expected each once; got 0"),
        (["index", "build", "codes.npy", "--bits", "9", "--out", "new"], "items: expected zeros behind bit 9"),
        (["index", "build", "real.npy", "--out", "new"], "items: expected uint8 codes"),
        (["index", "build", "codes.npy", "--view", "1", "--out", "new"], "--view: expected with --model only"),
        (["index", "build", "codes.npy", "--out", "no/new"], "path: expected a file in an existing folder"),
        (["index", "add", "a.index", "codes.npy", "--ids", "same.npy"], "ids: expected each once"),
        (["index", "add", "a.index", "codes.npy", "--ids", "taken.npy"], "ids: 7 is in the index already"),
        (["index", "add", "no.index", "codes.npy"], "path: no jaxcmh index at no.index"),
        (["index", "search", "a.index", "--query", "codes.npy", "-k", "41"], "-k: expected an integer from 1 to 40"),
        (["index", "search", "a.index", "--query", "codes.npy", "-k", "0"], "-k: expected an integer of at least 1"),
        (["index", "search", "a.index", "--query", "codes.npy", "--radius", "-1"], "radius: expected an integer"),
        (["index", "search", "a.index", "--query", "codes.npy", "--devices", "9"], "--devices: expected at most 8"),
        (
            ["index", "search", "a.index", "--query", "codes.npy", "--devices", "2", "--radius", "1"],
            "--devices: expected without --radius",
        ),
        (["index", "search", "a.index", "--query", "cut.index"], "--query: cut.index is not an array file"),
        (["index", "search", "a.index"], "give one of --text, --image and --query"),
        (["index", "search", "books.index", "--query", "real.npy"], "queries: expected finite numbers; row 0"),
        (["index", "info", "cut.index"], "path: cut.index is truncated or not a jaxcmh index"),
        (["index", "info", "later.index"], "path: later.index has format 2; this version reads up to 1"),
        (["index", "info", "flipped.index"], "path: flipped.index is damaged"),
        (["index", "inof", "a.index"], '"inof"'),
        (["export", "npz", "cut.index", "--out", "new"], "path: cut.index is truncated"),
        (["export", "parqet", "a.index"], '"parqet"'),
        (["export", "pgvector", "a.index", "--out", "new", "--table", "a-b"], "table: expected letters, digits"),
        (["export", "milvus", "a.index", "--uri", "x.db", "--collection", "a-b"], "collection: expected letters"),
        (["export", "milvus", "a.index", "--uri", "x y.db", "--collection", "a"], "uri: expected http://host:port"),
    ],
)
def test_mistakes_are_named_in_one_line_and_nothing_is_written(capsys, here, monkeypatch, words, named):
    indexes.save(indexes.build(CODES), "a.index")
    indexes.save(indexes.build(CODES, codebooks=np.ones((2, 256, 3))), "books.index")
    whole = (here / "a.index").read_bytes()
    (here / "cut.index").write_bytes(whole[:-5])
    (here / "flipped.index").write_bytes(whole[:-5] + bytes([whole[-5] ^ 4]) + whole[-4:])
    with monkeypatch.context() as later:
        later.setattr("jaxcmh.index.index.FORMAT", 2)
        indexes.save(indexes.build(CODES), "later.index")
    np.save("same.npy", np.zeros(40, int))
    np.save("taken.npy", np.arange(40) + 100 * (np.arange(40) != 7))
    np.save("real.npy", np.full((2, 3), np.nan))
    (here / "two.txt").write_text("a\nb\n")
    before = {file.name: file.read_bytes() for file in here.iterdir()}
    assert named in refused(capsys, *words)
    assert {file.name: file.read_bytes() for file in here.iterdir()} == before


def test_ids_of_a_text_file_are_text_unless_told(capsys, here):
    np.save("two.npy", CODES[:2])
    for text, first, told in (
        ("0\n1\n", "0", []),
        ("a\u2028b\r\n-0\r\n", "a\u2028b", []),
        ("0\n1\n", 0, ["--integer-ids"]),
    ):
        (here / "ids.txt").write_text(text, "utf-8", newline="")
        call(capsys, "index", "build", "two.npy", "--ids", "ids.txt", "--out", "two.index", *told)
        assert indexes.load("two.index").ids.values.tolist()[0] == first
        (here / "two.index").unlink()
    (here / "ids.txt").write_text("007\n1\n")
    line = refused(capsys, "index", "build", "two.npy", "--ids", "ids.txt", "--out", "two.index", "--integer-ids")
    assert "--ids: expected integers; got '007'" in line


def test_an_index_with_integers_takes_integers_from_a_text_file(capsys, here):
    call(capsys, "index", "build", "codes.npy", "--out", "a.index")
    np.save("one.npy", CODES[:1])
    (here / "ids.txt").write_text("77\n")
    call(capsys, "index", "add", "a.index", "one.npy", "--ids", "ids.txt")
    assert indexes.load("a.index").ids.values.tolist() == [*range(40), 77]
    assert "39 items of 16 bits, 2 removed" in call(capsys, "index", "remove", "a.index", "3", "77")
    assert "39 items of 16 bits, 0 removed" not in call(capsys, "index", "remove", "a.index", "5", "--out", "b.index")
    assert indexes.load("a.index").ids.values.tolist() == [i for i in range(40) if i != 3]
    assert "expected integers; got 'x'" in refused(capsys, "index", "remove", "a.index", "x")
    assert "3 is not in the index" in refused(capsys, "index", "remove", "a.index", "3")
    assert "expected ids behind the index, or a file" in refused(capsys, "index", "remove", "a.index")


def test_control_characters_do_not_reach_the_terminal(capsys, here):
    np.save("two.npy", CODES[:2])
    (here / "ids.txt").write_text("\x1b[2Jcat\x07\nb\n")
    call(capsys, "index", "build", "two.npy", "--ids", "ids.txt", "--out", "two.index")
    cli.main(["index", "search", "two.index", "--query", "two.npy", "-k", "1"])
    out = capsys.readouterr().out
    assert r"\x1b[2Jcat\x07" in out
    assert "\x1b" not in out
    cli.main(["index", "info", "two.index"])
    assert "\x1b" not in capsys.readouterr().out
    cli.main(["index", "info", "no\x1b[2J.index"])
    assert r"no\x1b[2J.index" in capsys.readouterr().err
