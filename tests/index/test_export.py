"""Exports: inside the real engine, the same ids and distances; what comes back is what went out."""

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from jaxcmh import index as indexes
from jaxcmh.index import faiss as to_faiss
from jaxcmh.index import files, milvus, pgvector

RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 256, (60, 4), dtype=np.uint8)
SIGNS = RNG.integers(0, 2, (60, 12))
SHORT = np.packbits(SIGNS, axis=1, bitorder="little")
BOOKS = RNG.normal(size=(4, 256, 6)).astype(np.float32)
NAMES = [f"Bild {i}\t'é\\N\n" for i in range(60)]
INDEXES = {
    "rows": indexes.build(CODES),
    "integers": indexes.build(CODES, np.arange(60)[::-1] * 3 - 2**40),
    "strings": indexes.build(CODES, NAMES),
    "12 bits": indexes.build(SHORT, NAMES, bits=12),
    "lookup": indexes.build(CODES, np.arange(60) + 7, codebooks=BOOKS),
    "few words": indexes.build(CODES % 7, NAMES, codebooks=BOOKS[:, :7]),
    "empty": indexes.build(CODES[:0]),
}
QUERIES = {"12 bits": SHORT[:5] ^ 1, "lookup": RNG.normal(size=(5, 6)).astype(np.float32)}
QUERIES["few words"] = QUERIES["lookup"]
every_index = pytest.mark.parametrize("name", INDEXES)


def queries(name):
    return QUERIES.get(name, CODES[:5] ^ 1)


def assert_same(index, expected, fingerprint=True):
    assert index.bits == expected.bits
    np.testing.assert_array_equal(index.codes, expected.codes)
    np.testing.assert_array_equal(index.ids.values, expected.ids.values)
    assert (index.codebooks is None) == (expected.codebooks is None)
    if index.codebooks is not None:
        words = expected.codebooks.shape[1]
        np.testing.assert_array_equal(index.codebooks[:, :words], expected.codebooks)
    if fingerprint:
        assert index.model_fingerprint == expected.model_fingerprint


def assert_same_answers(index, name, distances, ids, k=9):
    """Distances as ours, each id at the distance it came with, and the same ids wherever distances do not tie."""
    every = indexes.search(index, queries(name), len(index))
    expected = every[0][:, :k]
    np.testing.assert_allclose(distances, expected, rtol=1e-5, atol=1e-5)
    for row in range(len(ids)):
        at = dict(zip(every[1][row].tolist(), every[0][row].tolist()))
        assert len(set(ids[row])) == k
        np.testing.assert_allclose([at[i] for i in ids[row]], expected[row], rtol=1e-5, atol=1e-5)


@every_index
@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_plain_files_come_back(tmp_path, name, kind):
    index = INDEXES[name]
    write, read = getattr(files, f"write_{kind}"), getattr(files, f"read_{kind}")
    write(index, tmp_path / "items")
    assert [file.name for file in tmp_path.iterdir()] == ["items"]
    assert_same(read(tmp_path / "items"), index)


def test_plain_files_say_bit_order_and_length(tmp_path):
    import pyarrow.parquet as pq

    files.write_npz(INDEXES["12 bits"], tmp_path / "items.npz")
    with np.load(tmp_path / "items.npz") as stored:
        assert (stored["bit_order"], stored["bits"]) == ("little", 12)
        signs = np.unpackbits(stored["codes"], axis=1, bitorder=str(stored["bit_order"]))[:, : stored["bits"]]
    np.testing.assert_array_equal(signs, SIGNS)
    files.write_parquet(INDEXES["12 bits"], tmp_path / "items.parquet")
    table = pq.read_table(tmp_path / "items.parquet")
    facts = json.loads(table.schema.metadata[b"jaxcmh"])
    assert facts == {"bits": 12, "bit_order": "little", "model": ""}
    assert table["code"].to_pylist() == [bytes(code) for code in SHORT]
    assert table["id"].to_pylist() == NAMES


def test_files_of_others_in_big_bit_order_are_turned_round(tmp_path):
    np.savez(tmp_path / "items.npz", codes=np.packbits(SIGNS, axis=1), bits=12, bit_order="big")
    index = files.read_npz(tmp_path / "items.npz")
    np.testing.assert_array_equal(index.codes, SHORT)
    assert index.ids.values.tolist() == list(range(60))


@pytest.mark.parametrize("kind", ["npz", "parquet", "faiss"])
def test_truncated_files_are_refused(tmp_path, kind):
    if kind == "faiss":
        pytest.importorskip("faiss")
        write, read = to_faiss.write, to_faiss.read
    else:
        write, read = getattr(files, f"write_{kind}"), getattr(files, f"read_{kind}")
    write(INDEXES["integers"], tmp_path / "items")
    whole = (tmp_path / "items").read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        (tmp_path / "items").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="truncated"):
            read(tmp_path / "items")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(tmp_path / "nothing")
    with pytest.raises(ValueError, match="path: expected a file in an existing folder"):
        write(INDEXES["integers"], tmp_path / "no" / "items")


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_flipped_code_is_noticed(tmp_path, kind):
    getattr(files, f"write_{kind}")(INDEXES["integers"], tmp_path / "items")
    whole = bytearray((tmp_path / "items").read_bytes())
    whole[whole.index(CODES.tobytes()) + 9] ^= 4
    (tmp_path / "items").write_bytes(whole)
    with pytest.raises(ValueError, match="truncated, damaged"):
        getattr(files, f"read_{kind}")(tmp_path / "items")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": CODES}, "holds no codes; it has x"),
        ({"codes": CODES.astype(float)}, "items: expected uint8 codes"),
        ({"codes": CODES, "ids": np.zeros(60, int)}, "ids: expected each once"),
        ({"codes": CODES, "bits": 12}, "bits: expected an integer from 25 to 32; got 12"),
        ({"codes": CODES, "bit_order": "middle"}, "bit_order: expected one of little, big; got 'middle'"),
        ({"codes": CODES, "codebooks": BOOKS[:, :7]}, "codes: expected words below 7"),
        ({"codes": np.array([object()])}, "truncated, damaged or no .npz file"),
    ],
)
def test_files_of_another_layout_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "items.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        files.read_npz(tmp_path / "items.npz")


@pytest.mark.parametrize(
    "metadata", ["[1]", "[" * 200_000, '{"bits": "x"}', '{"model": 5}', '{"codebooks": 3}', '{"bit_order": []}']
)
def test_metadata_of_another_shape_are_refused(tmp_path, metadata):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    column = pa.array([b"ab", b"cd"], pa.binary(2))
    pq.write_table(pa.table({"code": column}, metadata={"jaxcmh": metadata}), tmp_path / "items.parquet")
    with pytest.raises(ValueError, match=r"path: .*items\.parquet is truncated, damaged or no Parquet file of codes"):
        files.read_parquet(tmp_path / "items.parquet")


def test_faiss_makes_no_room_for_more_than_the_file_has(tmp_path):
    pytest.importorskip("faiss")
    to_faiss.write(INDEXES["rows"], tmp_path / "items.faiss")
    whole = (tmp_path / "items.faiss").read_bytes()
    size = len(CODES).to_bytes(8, "little"), CODES.size.to_bytes(8, "little")
    (tmp_path / "items.faiss").write_bytes(whole.replace(size[1], (2**39).to_bytes(8, "little"), 1))
    with pytest.raises(ValueError, match=r"path: .*items\.faiss is truncated or no FAISS file"):
        to_faiss.read(tmp_path / "items.faiss")


@pytest.mark.parametrize(
    "call",
    [
        lambda path: files.write_parquet(INDEXES["rows"], path),
        lambda path: files.read_parquet(path),
        lambda path: to_faiss.write(INDEXES["rows"], path),
        lambda path: to_faiss.read(path),
        lambda path: to_faiss.from_faiss(None),
        lambda path: milvus.upload(INDEXES["rows"], f"{path}.db", "items"),
        lambda path: milvus.connect(f"{path}.db", "items"),
    ],
)
def test_a_missing_engine_is_named_with_its_extra(tmp_path, monkeypatch, call):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"this needs [\w, ]+: python -m pip install 'jaxcmh\[\w+\]'"):
        call(tmp_path / "items")
    assert not list(tmp_path.iterdir())


# -- FAISS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [None, np.arange(3000) * 3 + 5], ids=["rows", "ids"])
@pytest.mark.parametrize(("kind", "least"), [("flat", 1.0), ("ivf", 0.6), ("hnsw", 0.8), ("multihash", 0.3)])
def test_faiss_finds_as_many_as_its_recall_says(kind, least, ids, tmp_path):
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 2, (20, 64))
    signs = centres[rng.integers(0, 20, 3000)] ^ (rng.random((3000, 64)) < 0.1)
    index = indexes.build(np.packbits(signs, axis=1, bitorder="little"), ids)
    asked = np.packbits(centres, axis=1, bitorder="little")
    to_faiss.write(index, tmp_path / "items.faiss", kind)
    distances, found = to_faiss.to_faiss(index, kind).search(asked, 10)
    exact = np.bitwise_count(asked[:, None] ^ index.codes).sum(2)
    furthest = np.sort(exact, axis=1)[:, 9:10]
    row = {name: i for i, name in enumerate(index.ids.values.tolist())}
    known = [[exact[q, row[i]] if i >= 0 else 65 for i in line] for q, line in enumerate(found.tolist())]
    np.testing.assert_array_equal(distances[found >= 0], np.array(known)[found >= 0])
    share = float((np.array(known) <= furthest).mean())
    assert share >= least
    assert to_faiss.recall(index, tmp_path / "items.faiss", 10, asked) == pytest.approx(share)
    assert least <= to_faiss.recall(index, tmp_path / "items.faiss") <= 1
    if kind != "flat":
        with pytest.raises(ValueError, match="faiss_index: expected a flat binary or an additive index"):
            to_faiss.read(tmp_path / "items.faiss")


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "multihash"])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_faiss_takes_few_items_in_every_form(kind, n):
    pytest.importorskip("faiss")
    index = indexes.build(CODES[:n])
    converted = to_faiss.to_faiss(index, kind)
    assert converted.ntotal == n
    assert n == 0 or to_faiss.recall(index, converted, 1) == 1


def test_look_up_codes_have_one_form_in_faiss():
    pytest.importorskip("faiss")
    with pytest.raises(ValueError, match="kind: expected flat, for look-up codes; got 'ivf'"):
        to_faiss.to_faiss(INDEXES["lookup"], "ivf")
    with pytest.raises(ValueError, match="index: expected packed codes"):
        to_faiss.recall(INDEXES["lookup"], None)


@every_index
def test_faiss_finds_the_same(name):
    pytest.importorskip("faiss")
    index = INDEXES[name]
    converted = to_faiss.to_faiss(index)
    assert converted.ntotal == len(index)
    if len(index) == 0:
        return
    distances, ids = converted.search(queries(name), 9)
    if index.ids.values.dtype.kind == "U":
        ids = index.ids.values[ids]
    assert_same_answers(index, name, distances, ids)


@every_index
def test_faiss_files_come_back(tmp_path, name):
    pytest.importorskip("faiss")
    index = INDEXES[name]
    to_faiss.write(index, tmp_path / "items.faiss")
    names = tmp_path / "items.faiss.ids.json"
    assert names.is_file() == (index.ids.values.dtype.kind == "U")
    bits = 12 if name == "12 bits" else None
    assert_same(to_faiss.read(tmp_path / "items.faiss", bits), index, fingerprint=False)
    to_faiss.write(INDEXES["integers"], tmp_path / "items.faiss")
    assert not names.exists()


def test_foreign_faiss_indexes_are_read_verbatim():
    faiss = pytest.importorskip("faiss")
    faiss.omp_set_num_threads(1)
    vectors = RNG.normal(size=(200, 6)).astype(np.float32)
    for kind in ("ResidualQuantizer", "LocalSearchQuantizer"):
        for search_type in ("ST_LUT_nonorm", "ST_norm_float"):
            how = getattr(faiss.AdditiveQuantizer, search_type)
            quantizer = getattr(faiss, f"Index{kind}")(6, 3, 3, faiss.METRIC_INNER_PRODUCT, how)
            quantizer.train(vectors)
            quantizer.add(vectors)
            index = to_faiss.from_faiss(quantizer)
            assert index.codebooks.shape == (3, 8, 6)
            scores, ids = indexes.search(index, vectors[:5], 9)
            theirs, _ = quantizer.search(vectors[:5], 9)
            np.testing.assert_allclose(scores, theirs, rtol=1e-4, atol=1e-4)
            composed = quantizer.reconstruct_n(0, 200)
            np.testing.assert_allclose((composed[ids] * vectors[:5, None]).sum(2), scores, rtol=1e-4, atol=1e-4)


def test_other_faiss_indexes_are_refused(tmp_path):
    faiss = pytest.importorskip("faiss")
    for refused, message in (
        (faiss.IndexFlatL2(4), "expected a flat binary or an additive index; got IndexFlatL2"),
        (faiss.IndexBinaryHNSW(32, 4), "got IndexBinaryHNSW"),
        (faiss.IndexResidualQuantizer(4, 2, 4), "scores by inner product"),
        (faiss.IndexResidualQuantizer(4, 2, 9, faiss.METRIC_INNER_PRODUCT), r"at most 8 bits per word; got \[9, 9\]"),
        ("items", "expected a FAISS index; got str"),
    ):
        with pytest.raises(ValueError, match=message):
            to_faiss.from_faiss(refused)
    to_faiss.write(INDEXES["strings"], tmp_path / "items.faiss")
    to_faiss.names_of(tmp_path / "items.faiss").write_text('["a"')
    with pytest.raises(ValueError, match=r"items.faiss.ids.json is no list of ids"):
        to_faiss.read(tmp_path / "items.faiss")


# -- Milvus -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def milvus_file(tmp_path_factory):
    pytest.importorskip("milvus_lite", reason="the embedded Milvus is not installed (extra milvus)")
    return str(tmp_path_factory.mktemp("milvus") / "items.db")


@pytest.mark.xdist_group("milvus")
@pytest.mark.parametrize("name", ["integers", "strings", "12 bits"])
def test_milvus_finds_the_same(milvus_file, name):
    index, steps = INDEXES[name], []
    collection = name.replace("12 bits", "short")
    uploaded = milvus.upload(index, milvus_file, collection, batch=25, progress=lambda *sent: steps.append(sent))
    assert steps == [(25, 60), (50, 60), (60, 60)]
    for items in (uploaded, milvus.connect(milvus_file, collection)):
        assert items.bits == index.bits
        distances, ids = milvus.search(items, queries(name), 9)
        assert distances.dtype == np.int32
        assert_same_answers(index, name, distances, ids)
        with pytest.raises(ValueError, match="k: expected an integer from 1 to 60; got 61"):
            milvus.search(items, queries(name), 61)
        with pytest.raises(ValueError, match=f"queries: expected {index.bits} bits, .*got 24"):
            milvus.search(items, CODES[:, :3], 1)


@pytest.mark.xdist_group("milvus")
def test_a_milvus_upload_that_fails_leaves_nothing(milvus_file, tmp_path):
    items = milvus.upload(INDEXES["rows"], milvus_file, "whole")

    def fail(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        milvus.upload(INDEXES["rows"], milvus_file, "half", batch=25, progress=fail)
    assert not items.client.has_collection("half")
    with pytest.raises(ValueError, match=r"collection: whole is in .* already"):
        milvus.upload(INDEXES["rows"], milvus_file, "whole")
    assert milvus.search(items, CODES[:2], 1)[1].tolist() == [[0], [1]]
    with pytest.raises(ValueError, match=r"collection: no half in .*it has .*whole"):
        milvus.connect(milvus_file, "half")
    for uri, collection, index, error, message in (
        (milvus_file, "9", INDEXES["rows"], ValueError, "collection: expected letters, digits"),
        (milvus_file, "books", INDEXES["lookup"], ValueError, "index: Milvus takes packed codes"),
        (
            str(tmp_path / "items.txt"),
            "items",
            INDEXES["rows"],
            ValueError,
            "uri: expected http://host:port, or a file",
        ),
        (str(tmp_path / "no" / "items.db"), "items", INDEXES["rows"], ValueError, "uri: expected http://host:port"),
        ("http://127.0.0.1:1", "items", INDEXES["rows"], OSError, "Milvus at http://127.0.0.1:1: Fail connecting"),
    ):
        with pytest.raises(error, match=message):
            milvus.upload(index, uri, collection)


@pytest.mark.xdist_group("milvus")
def test_an_embedded_milvus_that_starts_late_is_waited_for(tmp_path, monkeypatch):
    server = pytest.importorskip("milvus_lite.server", reason="the embedded Milvus is not installed (extra milvus)")
    late = tmp_path / "milvus"
    late.write_text(f'#!/bin/sh\nsleep 2\nLD_LIBRARY_PATH={server.BIN_PATH} exec {server.BIN_PATH}/milvus "$@"\n')
    late.chmod(0o755)
    monkeypatch.setenv("BIN_PATH", str(tmp_path))
    items = milvus.upload(INDEXES["rows"], str(tmp_path / "late.db"), "items")
    assert milvus.search(items, CODES[:2], 1)[1].tolist() == [[0], [1]]


def test_only_what_an_embedded_milvus_that_starts_refuses_is_tried_again(monkeypatch):
    pymilvus = pytest.importorskip("pymilvus", reason="pymilvus is not installed (extra milvus)")
    monkeypatch.setattr(milvus.time, "sleep", lambda _: None)

    def failing(times, code, message):
        left = [pymilvus.MilvusException(code=code, message=message)] * times

        def call():
            if left:
                raise left.pop()
            return "done"

        return call

    early = 2000, "Mmap manager has not been init."
    assert milvus._patiently("items.db", failing(2, *early)) == "done"
    assert milvus._patiently("items.db", failing(2, milvus.CONNECT_FAILED, "")) == "done"
    for uri, code, message in (("items.db", 2000, "out of disk"), ("http://milvus:19530", *early)):
        with pytest.raises(pymilvus.MilvusException):
            milvus._patiently(uri, failing(1, code, message))


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def psql():
    """Runs psql on a server started for these tests; as nobody where that is root, which PostgreSQL refuses."""
    spec = importlib.util.find_spec("pgserver")
    if spec is None or spec.origin is None:
        pytest.skip("no PostgreSQL server with pgvector is installed (extra pgvector)")
    package = Path(spec.origin).parent
    with tempfile.TemporaryDirectory() as folder:
        home, who = Path(folder), {}
        if os.geteuid() == 0:
            for part in (package, *package.parent.glob("pgserver*.libs")):
                shutil.copytree(part, home / "site" / part.name)
            package, who = home / "site" / package.name, {"user": "nobody", "extra_groups": []}
        data = home / "data"
        data.mkdir()
        if who:
            home.chmod(0o755)
            shutil.chown(data, "nobody")

        def run(program, *words, **options):
            path = package / "pginstall" / "bin" / program
            return subprocess.run(
                [path, *words], cwd=data, capture_output=True, text=True, timeout=120, check=True, **options
            ).stdout

        run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C", **who)
        settings = f"-c listen_addresses= -c unix_socket_directories={data} -c fsync=off"
        run("pg_ctl", "-D", data, "-l", data / "log", "-o", settings, "-w", "start", **who)
        try:
            yield lambda *words: run("psql", "-X", "-A", "-t", "-h", data, "-U", "postgres", *words)
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop", **who)


@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize("name", ["integers", "strings", "12 bits", "empty"])
def test_pgvector_finds_the_same(psql, tmp_path, name):
    index, table = INDEXES[name], name.replace("12 bits", "public.short")
    pgvector.write(index, tmp_path / "items.sql", table)
    psql("-q", "-f", tmp_path / "items.sql")
    assert psql("-c", f"SELECT count(*) FROM {table}").strip() == str(len(index))
    if len(index) == 0:
        return
    distances, ids = [], []
    for query in queries(name):
        statement = pgvector.select(table, query, bits=index.bits, k=9)
        rows = json.loads(
            psql("-c", f"SELECT json_agg(json_build_array(id, distance)) FROM ({statement[:-1]}) AS answers")
        )
        ids.append([row[0] for row in rows])
        distances.append([row[1] for row in rows])
    assert_same_answers(index, name, np.array(distances), np.array(ids))


@pytest.mark.xdist_group("postgres")
def test_a_script_that_fails_leaves_no_table(psql, tmp_path):
    pgvector.write(INDEXES["integers"], tmp_path / "items.sql", "broken")
    script = (tmp_path / "items.sql").read_text()
    (tmp_path / "items.sql").write_text(script.replace("\n\\.", "\nnothing\n\\."))
    with pytest.raises(subprocess.CalledProcessError):
        psql("-q", "-f", tmp_path / "items.sql")
    assert psql("-c", "SELECT to_regclass('broken')").strip() == ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: pgvector.write(INDEXES["lookup"], path), "index: pgvector takes packed codes"),
        (lambda path: pgvector.write(INDEXES["rows"], path, 'x"; DROP'), "table: expected letters, digits"),
        (lambda path: pgvector.write(indexes.build(CODES[:1], ["a\0b"]), path), "ids: expected text without"),
        (lambda path: pgvector.select("items", CODES[0], bits=32, k=0), "k: expected an integer of at least 1"),
        (lambda path: pgvector.select("items", CODES[0], bits=12, k=1), "bits: expected an integer from 25 to 32"),
        (lambda path: pgvector.bit_strings(np.uint8([[0, 16]]), 12), "codes: expected zeros behind bit 12"),
    ],
)
def test_what_pgvector_cannot_hold_is_named(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "items.sql")
    assert not list(tmp_path.iterdir())
