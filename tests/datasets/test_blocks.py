"""Rows that stay in their file, or come in blocks."""

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

from jaxcmh import checks
from jaxcmh.datasets import blocks, load_dataset, rows
from jaxcmh.datasets.identity import data_hash

X = np.random.default_rng(0).normal(size=(2500, 3)).astype(np.float32)


def parquet(path, table, **options):
    pq.write_table(pa.table(table), path, **options)
    return path


def files(folder):
    np.save(folder / "x.npy", X)
    with h5py.File(folder / "x.h5", "w") as file:
        file["deep/x"], file["numbers"] = X, np.arange(5)
    lists = pa.FixedSizeListArray.from_arrays(X.ravel(), 3)
    return {
        "npy": rows(folder / "x.npy"),
        "h5": rows(str(folder / "x.h5")),
        "lists": rows(parquet(folder / "lists.parquet", {"x": lists}, row_group_size=300)),
        "named": rows(parquet(folder / "two.parquet", {"x": lists, "y": lists}), "y"),
        "columns": rows(parquet(folder / "columns.parquet", {f"f{i}": X[:, i] for i in range(3)})),
        "blocks": rows([X[:7], X[7:7], X[7:1900], X[1900:]]),
        "sparse": rows([scipy.sparse.csr_array(X[:7]), scipy.sparse.csr_matrix(X[7:])]),
    }


@pytest.mark.parametrize("kind", ["npy", "h5", "lists", "named", "columns", "blocks", "sparse"])
def test_rows_are_those_that_were_written(kind, tmp_path):
    found = files(tmp_path)[kind]
    assert found.shape == X.shape
    assert found.dtype == np.float32
    for start, stop in [(0, 512), (512, 1100), (2400, 9999), (5, 9), (9, 9), (0, 2500)]:
        np.testing.assert_array_equal(found[start:stop], X[start:stop])
    np.testing.assert_array_equal(found[np.array([3, 4, 700, 2499])], X[[3, 4, 700, 2499]])


def test_npy_files_are_mapped_and_blocks_are_read_once_a_pass(tmp_path):
    assert isinstance(files(tmp_path)["npy"], np.memmap)
    begun = []

    class Blocks:
        def __iter__(self):
            begun.append(0)
            return (X[i : i + 100] for i in range(0, 2500, 100))

    found = rows(Blocks())
    for start in (*range(0, 2500, 64), *range(0, 2500, 64)):
        found[start : start + 64]
    assert len(begun) == 3  # one to count them


class Fewer:
    """A second pass ends before the first."""

    times = 0

    def __iter__(self):
        self.times += 1
        return iter([X[: 2500 // self.times]])


def test_another_number_of_rows_in_a_later_pass_is_noticed():
    with pytest.raises(ValueError, match="expected 2500 rows, as in the first pass; row 1250 is not there"):
        rows(Fewer())[1000:2000]


def cut(path):
    np.save(path, X)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def several(path):
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = X, X
    return path


def ragged(path):
    return parquet(path, {"x": [[1.0, 2.0], [1.0]]})


def text(path):
    path.write_text("1 2 3")
    return path


def vector(path):
    np.save(path, X[0])
    return path


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda folder: folder / "none.npy", FileNotFoundError("none.npy: no such file")),
        (lambda folder: cut(folder / "x.npy"), ValueError("x.npy: cannot be read as npy, it may be cut off")),
        (lambda folder: several(folder / "x.h5"), ValueError("x.h5: expected the name of an array .*one of a, b")),
        (
            lambda folder: ragged(folder / "x.parquet"),
            ValueError("x.parquet: row 1 has 1 numbers, the rows before it 2"),
        ),
        (lambda folder: text(folder / "x.npy"), ValueError("x.npy: expected a npy, HDF5 or Parquet file")),
        (
            lambda folder: vector(folder / "x.npy"),
            ValueError(r"x.npy: expected numbers \(n, d\); got float32 of shape"),
        ),
        (lambda _: iter([X]), ValueError("source: expected a file, or blocks that can be gone through again")),
        (lambda _: [], ValueError("source: expected at least one row; got none")),
        (lambda _: [X, X[:, :2]], ValueError(r"source: block 1: expected rows \(k, 3\); got shape \(2500, 2\)")),
        (lambda _: X[0], ValueError(r"source: block 0: expected rows \(k, d\); got shape \(\)")),
        (lambda _: [["a"]], ValueError("source: block 0: expected real numbers")),
    ],
    ids=["missing", "cut", "several", "ragged", "text", "vector", "once", "none", "widths", "array", "words"],
)
def test_what_is_no_rows_is_named(made, said, tmp_path):
    with pytest.raises(type(said), match=str(said)):
        rows(made(tmp_path))


def test_a_pass_that_begins_later_reads_no_row_groups_before(tmp_path, monkeypatch):
    lists = pa.FixedSizeListArray.from_arrays(X.ravel(), 3)
    found, first = rows(parquet(tmp_path / "x.parquet", {"x": lists}, row_group_size=300)), []
    lists_of = blocks.parquet_lists
    monkeypatch.setattr(blocks, "parquet_lists", lambda *words: first.append(words[2]) or lists_of(*words))
    for start, stop in [(1400, 1600), (1600, 1700), (2450, 2500), (1000, 2500), (0, 10)]:
        np.testing.assert_array_equal(found[start:stop], X[start:stop])
    assert first == [1200, 2400, 900, 0]


def test_a_pass_over_a_parquet_file_holds_a_part_of_a_column(tmp_path):
    wide = np.random.default_rng(0).random((50_000, 64), np.float32)  # which cannot be compressed
    lists = pa.FixedSizeListArray.from_arrays(wide.ravel(), 64)
    parquet(tmp_path / "x.parquet", {"x": lists}, row_group_size=5000, use_dictionary=False)
    del lists
    found, before, most = rows(tmp_path / "x.parquet"), pa.total_allocated_bytes(), 0
    for start in range(0, len(wide), 1000):
        np.testing.assert_array_equal(found[start : start + 1000], wide[start : start + 1000])
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < wide.nbytes / 2


LABELS = np.eye(4, dtype=np.uint8)[np.arange(2500) % 4]


def whole_h5(folder):
    with h5py.File(folder / "set.h5", "w") as file:
        file["data/images"], file["data/LAll"] = X, LABELS
        file.create_dataset("data/YAll", data=X[:, :2], chunks=(999, 1))


def parts_h5(folder):
    with h5py.File(folder / "set.h5", "w") as file:
        for part, n in (("tr", 2500), ("te", 50)):
            file[f"I_{part}"], file[f"T_{part}"], file[f"L_{part}"] = X[:n], X[:n, :2], LABELS[:n]
        del file["T_tr"]
        file["other/name"], file["T_tr"] = X[:, :2], h5py.SoftLink("/other/name")


def whole_parquet(folder):
    columns = {name: list(x) for name, x in (("image", X), ("text", X[:, :2]), ("label", LABELS))}
    parts = ["query" if row % 50 == 7 else "train" for row in range(2500)]
    parquet(folder / "set.parquet", {**columns, "split": parts}, row_group_size=400)


def parts_parquet(folder):
    for part, n in (("tr", 2500), ("te", 50)):
        columns = {f"I_{part}": list(X[:n]), f"T_{part}": list(X[:n, :2]), f"L_{part}": list(LABELS[:n])}
        parquet(folder / f"{part}.parquet", columns)


@pytest.mark.parametrize("write", [whole_h5, parts_h5, whole_parquet, parts_parquet])
def test_training_views_that_stay_in_their_files_are_those_that_are_loaded(write, tmp_path):
    write(tmp_path)
    split, usual = load_dataset(tmp_path, on_disk=True), load_dataset(tmp_path)
    assert split.database is split.train
    assert [*map(checks.is_read, (*split.train.views, *split.query.views))] == [True, True, False, False]
    assert data_hash(split) == data_hash(usual)
    for part, expected in zip(split, usual[:2]):
        for x, y in zip(part.views, expected.views):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x[:], y)
            assert x[9:9].shape == x[9999:].shape == (0, x.shape[1])
        np.testing.assert_array_equal(part.labels, expected.labels)
    some = np.array([3, 4, 700, 2000])
    np.testing.assert_array_equal(split.train.views[1][some], usual.train.views[1][some])


def test_a_database_of_its_own_is_loaded_and_so_are_rows_that_are_drawn_anew(tmp_path):
    parts_h5(tmp_path)
    for options in ({"query": 5}, {"train": 9}):
        split, usual = (load_dataset(tmp_path, on_disk=on_disk, **options) for on_disk in (True, False))
        assert data_hash(split) == data_hash(usual)
    (tmp_path / "set.h5").unlink()
    whole_h5(tmp_path)
    split, usual = (load_dataset(tmp_path, on_disk=on_disk, train=50) for on_disk in (True, False))
    assert not checks.is_read(split.database.views[0])
    assert data_hash(split) == data_hash(usual)


def test_a_query_that_is_not_finite_is_named_by_its_row_in_the_file(tmp_path):
    damaged = X.copy()
    damaged[157, 1] = np.nan
    columns = {"image": list(damaged), "text": list(X), "label": list(LABELS)}
    parquet(tmp_path / "x.parquet", {**columns, "split": ["query" if i % 50 == 7 else "train" for i in range(2500)]})
    with pytest.raises(ValueError, match="image: 1 values are not finite, the first in row 157"):
        load_dataset(tmp_path, on_disk=True)


def test_training_views_in_files_of_their_own_can_stay_there(tmp_path):
    labels = np.arange(2500) % 4
    for part, n in (("tr", 2500), ("te", 50)):
        for letter, array in (("I", X), ("T", X[:, :2]), ("L", np.eye(4, dtype=np.uint8)[labels])):
            np.save(tmp_path / f"{letter}_{part}.npy", array[:n])
    split, usual = load_dataset(tmp_path, on_disk=True), load_dataset(tmp_path)
    assert [isinstance(view, np.memmap) for view in (*split.train.views, *split.query.views)] == [
        True,
        True,
        False,
        False,
    ]
    for found, expected in zip(split.train.views, usual.train.views):
        np.testing.assert_array_equal(found, expected)
        assert not isinstance(expected, np.memmap)
