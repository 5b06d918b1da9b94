"""Files in every layout the benchmarks circulate in, and every way in which they can be bad."""

import gc
import os
import struct
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from scipy import sparse

from jaxcmh import parsing
from jaxcmh.datasets import files, inspect_files, load_dataset, load_files, mat5, resplit, validation
from jaxcmh.datasets.files import contents
from jaxcmh.datasets.named import NAMED, load_named, select

h5py = pytest.importorskip("h5py")

N_TRAIN, N_QUERY, N_DATABASE, D_IMAGE, D_TEXT, CLASSES = 30, 8, 40, 7, 5, 4


def make(n, seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, CLASSES)) < 0.4).astype(np.uint8)
    labels[:CLASSES] = np.eye(CLASSES)
    return {
        "image": rng.random((n, D_IMAGE)).astype(np.float32),
        "text": rng.integers(0, 2, (n, D_TEXT)).astype(np.uint8),
        "labels": labels,
    }


TRAIN, QUERY, DATABASE = make(N_TRAIN, 0), make(N_QUERY, 1), make(N_DATABASE, 2)
CLASS_TRAIN, CLASS_QUERY = TRAIN["labels"].argmax(1), QUERY["labels"].argmax(1)


def whole(kind):
    return np.concatenate([QUERY[kind], TRAIN[kind]])


def check(part, expected):
    for view, kind in zip(part.views, ("image", "text"), strict=True):
        view = view.toarray() if sparse.issparse(view) else view
        np.testing.assert_array_equal(view, expected[kind])
    np.testing.assert_array_equal(part.labels, expected["labels"])
    assert part.labels.dtype == np.uint8
    assert len(part.ids) == len(part.labels)


def check_split(split, train=TRAIN, query=QUERY, database=None):
    check(split.train, train)
    check(split.query, query)
    check(split.database, train if database is None else database)
    assert split.view_names == ("image", "text")


def check_whole(split):
    """A random split of the whole set: every row is where its id says."""
    ids = np.concatenate([split.query.ids, split.train.ids])
    assert sorted(ids.tolist()) == list(range(N_QUERY + N_TRAIN))
    for part in (split.query, split.train):
        check(part, {kind: whole(kind)[part.ids] for kind in TRAIN})


# -- writers ----------------------------------------------------------------------------------------------------------


def write_v5(path, arrays):
    scipy.io.savemat(path, arrays)


def write_v73(path, arrays, attribute=True):
    """As MATLAB writes it: HDF5 behind a header of 512 bytes, axes reversed, every array's class as an attribute."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in arrays.items():
            write_v73_item(file, key, array, attribute)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def write_v73_item(group, key, array, attribute):
    if isinstance(array, dict):
        inner = group.create_group(key)
        for name, value in array.items():
            write_v73_item(inner, name, value, attribute)
        item, kind = inner, b"struct"
    elif np.iscomplexobj(array):
        pairs = np.zeros(array.T.shape, [("real", float), ("imag", float)])
        item, kind = group.create_dataset(key, data=pairs), b"double"
    elif not sparse.issparse(array) and 0 in array.shape:
        item, kind = group.create_dataset(key, data=np.array(array.shape, np.uint64)), b"double"
        item.attrs["MATLAB_empty"] = np.uint8(1)
    elif sparse.issparse(array):
        item, kind = group.create_group(key), b"logical"
        csc = array.tocsc()
        item["data"], item["ir"], item["jc"] = csc.data.astype(np.uint8), csc.indices, csc.indptr
        item.attrs["MATLAB_sparse"] = np.uint64(csc.shape[0])
    else:
        item, kind = group.create_dataset(key, data=np.atleast_2d(array).T), b"double"
    if attribute:
        item.attrs["MATLAB_class"] = np.bytes_(kind)


WRITERS = {
    "v5": write_v5,
    "v7.3": write_v73,
    "v7.3 without attributes": lambda path, arrays: write_v73(path, arrays, attribute=False),
}
writer = pytest.fixture(params=WRITERS)(lambda request: WRITERS[request.param])


def family(image="I", suffixes=("tr", "te"), parts=(TRAIN, QUERY)):
    return {
        f"{letter}_{suffix}": part[kind]
        for suffix, part in zip(suffixes, parts)
        for letter, kind in ((image, "image"), ("T", "text"), ("L", "labels"))
    }


# -- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", ["I", "V"])
def test_matlab_family(tmp_path, writer, image):
    writer(tmp_path / "set.mat", family(image))
    split = load_dataset(tmp_path / "set.mat")
    check_split(split)
    assert split.database is split.train
    assert "MATLAB family" in split.notes[0]
    assert split.query.ids.tolist() == list(range(N_TRAIN, N_TRAIN + N_QUERY))


def test_matlab_family_with_a_database(tmp_path, writer):
    writer(tmp_path / "set.mat", family(suffixes=("tr", "te", "db"), parts=(TRAIN, QUERY, DATABASE)))
    check_split(load_dataset(tmp_path / "set.mat"), database=DATABASE)


def test_x_test_x_database(tmp_path, writer):
    arrays = {
        f"{letter}{part}": value[kind]
        for part, value in (("Test", QUERY), ("Database", TRAIN))
        for letter, kind in (("X", "image"), ("Y", "text"))
    }
    arrays |= {"testL": QUERY["labels"], "databaseL": TRAIN["labels"]}
    deep = {"VTest": QUERY["image"] + 1, "VDatabase": TRAIN["image"] + 1}
    writer(tmp_path / "set.mat", arrays | deep)
    split = load_dataset(tmp_path / "set.mat")
    check_split(split)
    assert any("VDatabase is not used" in note for note in split.notes)
    split = load_dataset(tmp_path / "set.mat", keys={"query.image": "VTest", "database.image": "VDatabase"})
    np.testing.assert_array_equal(split.train.views[0], deep["VDatabase"])
    np.testing.assert_array_equal(split.query.views[0], deep["VTest"])


@pytest.mark.parametrize("image", ["images", "IAll", "XAll"])
def test_dcmh_family_in_one_file(tmp_path, writer, image):
    writer(tmp_path / "set.mat", {image: whole("image"), "YAll": whole("text"), "LAll": whole("labels")})
    check_whole(load_dataset(tmp_path / "set.mat"))


def test_dcmh_family_in_three_files(tmp_path, writer):
    """The image file is HDF5 more often than the others; its axes are told by the other files' rows."""
    writer(tmp_path / "flickr-iall.mat", {"IAll": whole("image")})
    write_v5(tmp_path / "flickr-yall.mat", {"YAll": whole("text")})
    write_v5(tmp_path / "flickr-lall.mat", {"LAll": whole("labels")})
    check_whole(load_dataset(tmp_path))
    check_whole(load_dataset(sorted(tmp_path.iterdir())))


def test_hdf5_written_by_python_with_items_in_rows(tmp_path):
    with h5py.File(tmp_path / "set.mat", "w") as file:
        file["images"], file["YAll"], file["LAll"] = whole("image"), whole("text"), whole("labels")
    check_whole(load_dataset(tmp_path / "set.mat"))


def test_hdf5_with_only_some_arrays_turned(tmp_path):
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["images"], file["YAll"], file["LAll"] = whole("image"), whole("text").T, whole("labels").T
    check_whole(load_dataset(tmp_path / "set.h5"))


@pytest.mark.parametrize("kind", ["npz", "columns.npz", "v7.3", "rows.h5", "chunks.h5"])
def test_large_arrays_are_read_in_blocks(tmp_path, monkeypatch, kind):
    """Here of one row or a few; with the files' own split and with a random one, of rows in the middle."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 64)
    arrays = {"image": whole("image"), "text": whole("text"), "labels": whole("labels")}
    options = {"chunks": (4, 3), "compression": "gzip"} if kind == "chunks.h5" else {}
    for content, test in ((arrays, check_whole), (family(), check_split)):
        path = tmp_path / f"{len(content)}.{kind}"
        if kind.endswith("npz"):
            np.savez(path, **{k: np.asfortranarray(v) if kind == "columns.npz" else v for k, v in content.items()})
        elif kind == "v7.3":
            write_v73(path, content)
        else:
            with h5py.File(path, "w") as file:
                for key, value in content.items():
                    file.create_dataset(key, data=value, **options)
        test(load_dataset(path))
    content["T_te"] = QUERY["text"].astype(float)
    content["T_te"][5, 1] = np.inf
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(ValueError, match=r"bad\.npz: T_te: 1 values are not finite, the first in row 5"):
        load_dataset(tmp_path / "bad.npz")


def test_cpah(tmp_path, writer):
    writer(tmp_path / "set.mat", {"image": whole("image"), "text": whole("text"), "label": whole("labels")})
    check_whole(load_dataset(tmp_path / "set.mat"))


@pytest.mark.parametrize("base", [0, 1])
def test_dscmr_one_key_a_file(tmp_path, writer, base):
    for name, part, classes in (("train", TRAIN, CLASS_TRAIN), ("test", QUERY, CLASS_QUERY)):
        writer(tmp_path / f"{name}_img.mat", {f"{name}_img": part["image"]})
        writer(tmp_path / f"{name}_txt.mat", {f"{name}_txt": part["text"]})
        writer(tmp_path / f"{name}_img_lab.mat", {f"{name}_img_lab": (classes + base)[:, None]})
    split = load_dataset(tmp_path)
    one = np.eye(CLASSES, dtype=np.uint8)
    check_split(split, TRAIN | {"labels": one[CLASS_TRAIN]}, QUERY | {"labels": one[CLASS_QUERY]})


def mrl(text="text", base=1):
    return {
        f"{name}_{kind}": value
        for name, part, classes in (
            ("train", TRAIN, CLASS_TRAIN),
            ("valid", QUERY, CLASS_QUERY),
            ("test", QUERY, CLASS_QUERY),
        )
        for kind, value in {
            "imgs_deep": part["image"],
            text: part["text"],
            "imgs_labels": classes + base,
            "texts_labels": classes + base,
        }.items()
    }


@pytest.mark.parametrize("text", ["text", "texts", "texts_doc", "texts_idx"])
def test_mrl(tmp_path, text):
    with h5py.File(tmp_path / "set.h5py", "w") as file:
        for key, value in mrl(text).items():
            file[key] = value
    split = load_dataset(tmp_path / "set.h5py")
    one = np.eye(CLASSES, dtype=np.uint8)
    check_split(split, TRAIN | {"labels": one[CLASS_TRAIN]}, QUERY | {"labels": one[CLASS_QUERY]})
    assert any("valid_imgs_deep" in note and "not used" in note for note in split.notes)


def test_mrl_with_images_and_texts_that_are_no_pairs(tmp_path):
    arrays = mrl()
    arrays["test_texts_labels"] = arrays["test_texts_labels"][::-1].copy()
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(ValueError, match=r"set\.npz: test_texts_labels: differs from test_imgs_labels"):
        load_dataset(tmp_path / "set.npz")


@pytest.mark.parametrize("base", [0, 1])
def test_roph_struct_with_items_in_columns(tmp_path, writer, base):
    order = np.random.default_rng(5).permutation(N_QUERY + N_TRAIN)
    train, query = np.sort(order[N_QUERY:]), np.sort(order[:N_QUERY])
    assert 0 in train
    data = {
        "X1": whole("image").T,
        "X2": whole("text").T,
        "Y": sparse.csc_array(whole("labels").T.astype(bool)),
        "split": {"ind_train": (order[N_QUERY:] + base)[None], "ind_test": (order[:N_QUERY] + base)[None]},
    }
    writer(tmp_path / "set.mat", {"data": data})
    split = load_dataset(tmp_path / "set.mat")
    np.testing.assert_array_equal(split.train.ids, train)
    np.testing.assert_array_equal(split.query.ids, query)
    check(split.train, {kind: whole(kind)[train] for kind in TRAIN})
    check(split.query, {kind: whole(kind)[query] for kind in TRAIN})


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("shape", ["column", "row", "vector"])
def test_labels_as_class_numbers(tmp_path, base, shape):
    as_shape = {"column": lambda y: y[:, None], "row": lambda y: y[None], "vector": lambda y: y}[shape]
    arrays = family() | {"L_tr": as_shape(CLASS_TRAIN + base), "L_te": as_shape(CLASS_QUERY.astype(float) + base)}
    write_v5(tmp_path / "set.mat", arrays)
    np.savez(tmp_path / "set.npz", **arrays)
    one = np.eye(CLASSES, dtype=np.uint8)
    for name in ("set.mat", "set.npz"):
        check_split(
            load_dataset(tmp_path / name),
            TRAIN | {"labels": one[CLASS_TRAIN]},
            QUERY | {"labels": one[CLASS_QUERY]},
        )


def test_class_numbers_are_counted_alike_in_all_parts(tmp_path):
    """Queries that miss the first class must not be counted from it."""
    keep = CLASS_QUERY > 0
    arrays = family(parts=(TRAIN, {k: v[keep] for k, v in QUERY.items()}))
    arrays |= {"L_tr": CLASS_TRAIN + 1, "L_te": CLASS_QUERY[keep] + 1}
    np.savez(tmp_path / "set.npz", **arrays)
    split = load_dataset(tmp_path / "set.npz")
    np.testing.assert_array_equal(split.query.labels.argmax(1), CLASS_QUERY[keep])


def test_sparse_labels_and_views(tmp_path, writer):
    arrays = family()
    arrays |= {key: sparse.csc_array(arrays[key].astype(bool)) for key in ("T_tr", "T_te", "L_tr", "L_te")}
    writer(tmp_path / "set.mat", arrays)
    split = load_dataset(tmp_path / "set.mat")
    check_split(split)
    assert sparse.issparse(split.train.views[1])
    assert split.train.views[1].format == "csr"


def test_npz_npy_and_sparse_npz(tmp_path):
    np.savez(tmp_path / "set.npz", **family())
    check_split(load_dataset(tmp_path / "set.npz"))
    np.savez_compressed(tmp_path / "set2.npz", **family())
    check_split(load_dataset(tmp_path / "set2.npz"))
    (tmp_path / "folder").mkdir()
    for key, array in family().items():
        np.save(tmp_path / "folder" / f"{key}.npy", array)
    check_split(load_dataset(tmp_path / "folder"))
    for key in ("T_tr", "T_te"):
        (tmp_path / "folder" / f"{key}.npy").unlink()
        sparse.save_npz(tmp_path / "folder" / f"{key}.npz", sparse.csr_array(family()[key]))
    check_split(load_dataset(tmp_path / "folder"))
    (tmp_path / "dcmh").mkdir()
    for key, kind in (("iall", "image"), ("yall", "text"), ("lall", "labels")):
        np.save(tmp_path / "dcmh" / f"mirflickr25k-{key}.npy", whole(kind))
    check_whole(load_dataset(tmp_path / "dcmh"))


@pytest.mark.parametrize("fixed", [True, False])
def test_parquet(tmp_path, fixed):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def column(array):
        kind = pa.list_(pa.from_numpy_dtype(array.dtype), array.shape[1] if fixed else -1)
        return pa.array(list(array), kind)

    words = ["query"] * N_QUERY + ["train"] * N_TRAIN
    columns = {kind: column(whole(kind)) for kind in TRAIN} | {"split": pa.array(words)}
    pq.write_table(pa.table(columns), tmp_path / "set.parquet", row_group_size=16)
    split = load_dataset(tmp_path / "set.parquet")
    check_split(split)
    width = TRAIN["image"].shape[1] if fixed else "?"
    assert inspect_files(tmp_path / "set.parquet")["arrays"]["image"].startswith(f"{N_QUERY + N_TRAIN} x {width} ")
    columns["labels"] = pa.array(np.concatenate([CLASS_QUERY, CLASS_TRAIN]))
    pq.write_table(pa.table(columns), tmp_path / "set.parquet")
    labels = load_dataset(tmp_path / "set.parquet").train.labels
    np.testing.assert_array_equal(labels.argmax(1), CLASS_TRAIN)
    columns["image"] = pa.array([[1.0]] + [[1.0, 2.0]] * (N_QUERY + N_TRAIN - 1))
    pq.write_table(pa.table(columns), tmp_path / "set.parquet")
    with pytest.raises(ValueError, match=r"set\.parquet: image: row 1 has 2 numbers, the rows before it 1"):
        load_dataset(tmp_path / "set.parquet")


def test_a_pipe_is_refused_as_one(tmp_path):
    os.mkfifo(tmp_path / "set.npz")
    with pytest.raises(ValueError, match=r"set\.npz: expected a file or a folder; got a pipe"):
        load_dataset(tmp_path / "set.npz")


def test_names_and_splits_named_in_words(tmp_path):
    n = N_QUERY + N_TRAIN
    words = np.array(["test"] * 4 + ["database"] * 4 + ["train"] * N_TRAIN)
    names = np.array([f"item {i}" for i in range(n)])
    np.savez(tmp_path / "set.npz", **{k: whole(k) for k in TRAIN}, names=names, split=words)
    split = load_dataset(tmp_path / "set.npz")
    assert split.query.ids.tolist() == [0, 1, 2, 3]
    assert split.train.ids.tolist() == list(range(8, n))
    assert sorted(split.database.ids.tolist()) == list(range(4, n))
    check(split.database, {k: whole(k)[split.database.ids] for k in TRAIN})
    assert split.items.names[9] == "item 9"
    np.savez(tmp_path / "bad.npz", **{k: whole(k) for k in TRAIN}, split=names)
    with pytest.raises(ValueError, match=r"bad\.npz: split: expected train, query"):
        load_dataset(tmp_path / "bad.npz")


def test_unknown_names_can_be_told_and_views_can_be_more_than_two(tmp_path):
    renamed = {f"{key}_mine": value for key, value in family().items()}
    renamed |= {"A_tr": TRAIN["image"][:, :2], "A_te": QUERY["image"][:, :2]}
    np.savez(tmp_path / "set.npz", **renamed)
    short = {"train": "tr", "query": "te"}
    keys = {
        f"{p}.{kind}": f"{k}_{s}_mine"
        for p, s in short.items()
        for k, kind in (("I", "image"), ("T", "text"), ("L", "labels"))
    }
    check_split(load_dataset(tmp_path / "set.npz", keys=keys))
    three = load_dataset(tmp_path / "set.npz", keys=keys | {"train.audio": "A_tr", "query.audio": "A_te"})
    assert three.view_names == ("image", "text", "audio")
    np.testing.assert_array_equal(three.query.views[2], QUERY["image"][:, :2])
    with pytest.raises(ValueError, match=r"no array 'I_tr_min'; did you mean 'I_tr_mine'\?"):
        load_dataset(tmp_path / "set.npz", keys={"train.image": "I_tr_min"})
    with pytest.raises(ValueError, match="'image' is no role"):
        load_dataset(tmp_path / "set.npz", keys={"image": "I_tr_mine"})


# -- splits -----------------------------------------------------------------------------------------------------------


def test_random_splits_are_seeded_and_sized(tmp_path):
    np.savez(tmp_path / "set.npz", **{kind: whole(kind) for kind in TRAIN})
    n = N_QUERY + N_TRAIN
    split = load_files(tmp_path / "set.npz", query=5, train=20, seed=3)
    assert [len(part.ids) for part in split[:3]] == [20, 5, n - 5]
    assert set(split.train.ids.tolist()) < set(split.database.ids.tolist())
    for part in split[:3]:
        check(part, {kind: whole(kind)[part.ids] for kind in TRAIN})
    same, other = (load_files(tmp_path / "set.npz", query=5, train=20, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(same.train.ids, split.train.ids)
    assert not np.array_equal(other.train.ids, split.train.ids)
    assert len(load_files(tmp_path / "set.npz", query=0.5).query.ids) == n // 2
    for bad in ({"query": 0}, {"query": n}, {"query": 5, "train": n - 4}, {"query": -0.5}):
        with pytest.raises(ValueError, match=r"(query|train): expected "):
            load_files(tmp_path / "set.npz", **bad)


def test_the_split_of_the_files_can_be_replaced(tmp_path):
    np.savez(tmp_path / "set.npz", **family())
    split = load_files(tmp_path / "set.npz", query=5, seed=1)
    joined = {kind: np.concatenate([TRAIN[kind], QUERY[kind]]) for kind in TRAIN}
    for part in split[:2]:
        check(part, {kind: joined[kind][part.ids] for kind in TRAIN})
    assert sorted([*split.train.ids.tolist(), *split.query.ids.tolist()]) == list(range(N_TRAIN + N_QUERY))
    smaller = load_files(tmp_path / "set.npz", train=10)
    check(smaller.query, QUERY)
    assert (len(smaller.train.ids), len(smaller.database.ids)) == (10, N_TRAIN)
    again = resplit(smaller, query=5, seed=1)
    np.testing.assert_array_equal(again.query.ids, split.query.ids)
    with pytest.raises(ValueError, match="train: expected 1 to 30"):
        resplit(split._replace(query=smaller.query, train=smaller.database, database=smaller.database), train=31)


def test_validation_leaves_the_queries_alone(tmp_path):
    np.savez(tmp_path / "set.npz", **family())
    split = load_files(tmp_path / "set.npz")
    held = validation(split, 0.3)
    assert len(held.query.ids) == 9
    both = np.concatenate([held.query.ids, held.train.ids])
    assert sorted(both.tolist()) == split.train.ids.tolist()


# -- the real files ---------------------------------------------------------------------------------------------------


def test_four_layouts_of_wiki_are_bit_identical(shared_data):
    wiki = load_dataset("wiki", shared_data)
    for name in ("MTFH_wikiData.mat", "RFDH_wikiData.mat"):
        other = load_dataset(shared_data / "wiki_variants" / name)
        for a, b in zip((wiki.train, wiki.query), (other.train, other.query)):
            assert [v.dtype for v in a.views] == [v.dtype for v in b.views]
            assert all(np.array_equal(x, y) for x, y in zip(a.views, b.views))
            np.testing.assert_array_equal(a.labels, b.labels)
            np.testing.assert_array_equal(a.ids, b.ids)
    roph = load_dataset(shared_data / "wiki_variants" / "RoPH_wiki.mat")  # own features, own split, official row order
    labels = np.concatenate([wiki.train.labels, wiki.query.labels])
    for part in (roph.train, roph.query):
        np.testing.assert_array_equal(part.labels, labels[part.ids])
    assert sorted(np.concatenate([roph.train.ids, roph.query.ids]).tolist()) == list(range(2866))
    stored = scipy.io.loadmat(shared_data / "wiki_variants" / "RoPH_wiki.mat")["data"][0, 0]
    np.testing.assert_array_equal(roph.train.views[0], stored["X1"].T[roph.train.ids])
    np.testing.assert_array_equal(roph.query.views[1], stored["X2"].T[roph.query.ids])


def test_mirflickr_tags_and_labels(shared_data):
    tags, labels = (
        scipy.io.loadmat(shared_data / "mirflickr25k" / f"mirflickr25k-{name}all.mat")[f"{name.upper()}All"]
        for name in "yl"
    )
    assert (tags.shape, labels.shape) == ((20_015, 1_386), (20_015, 24))
    split = load_dataset("mirflickr25k", shared_data, halves="text")
    assert [len(part.ids) for part in split[:3]] == [18_015, 2_000, 18_015]
    for part in split[:2]:
        np.testing.assert_array_equal(part.views[0], tags[part.ids, 0::2])
        np.testing.assert_array_equal(part.views[1], tags[part.ids, 1::2])
        np.testing.assert_array_equal(part.labels, labels[part.ids])
    with pytest.raises(ValueError, match=r"no all\.image .*put into .*mirflickr25k-iall\.mat"):
        load_dataset("mirflickr25k", shared_data)


def test_papers_splits_of_wiki(shared_data):
    for paper in ("aah", "imads"):
        assert load_dataset("wiki", shared_data, paper=paper).query.ids.tolist() == list(range(2173, 2866))
    random = load_dataset("wiki", shared_data, paper="dcgh")
    assert (len(random.query.ids), len(random.train.ids)) == (693, 2173)
    assert random.query.ids.min() < 2173
    with pytest.raises(ValueError, match=r"no split of 'dghc' for wiki; did you mean 'dcgh'\?"):
        load_dataset("wiki", shared_data, paper="dghc")


def test_recipes_have_the_papers_sizes(tmp_path):
    """On stand-ins with the benchmarks' numbers of rows and very few columns."""
    sizes = {
        ("mirflickr25k", "imads"): (2_000, 18_015, 18_015),
        ("mirflickr25k", "a2lh"): (2_000, 18_015, 18_015),
        ("mirflickr25k", "acqh"): (2_000, 18_015, 18_015),
        ("mirflickr25k", "dcgh"): (2_000, 18_015, 18_015),
        ("mirflickr25k", "aah"): (1_001, 19_014, 19_014),
        ("mirflickr25k", "aah-deep"): (2_000, 10_000, 18_015),
        ("mirflickr25k", "tags"): (2_000, 18_015, 18_015),
        ("nuswide10", "imads"): (2_000, 10_000, 184_577),
        ("nuswide10", "a2lh"): (2_000, 184_577, 184_577),
        ("nuswide10", "acqh"): (2_000, 184_577, 184_577),
        ("nuswide10", "aah"): (1_866, 25_000, 184_711),
        ("nuswide10", "dcgh"): (1_867, 184_710, 184_710),
        ("iaprtc12", "dcgh"): (2_000, 18_000, 18_000),
    }
    for name in ("mirflickr25k", "nuswide10", "iaprtc12"):
        n = NAMED[name].rows
        (tmp_path / name).mkdir()
        labels = np.zeros((n, 2), np.uint8)
        labels[np.arange(n), np.arange(n) % 2] = 1
        arrays = {"image": np.zeros((n, 1), np.uint8), "text": np.ones((n, 1), np.uint8), "labels": labels}
        np.savez(tmp_path / name / "set.npz", **arrays)
    assert set(sizes) == {(name, p) for name in NAMED if name != "wiki" for p in NAMED[name].recipes if p != "default"}
    for (name, paper), (query, train, database) in sizes.items():
        split = load_named(name, tmp_path, paper=paper)
        assert (len(split.query.ids), len(split.train.ids), len(split.database.ids)) == (query, train, database)
        assert split.name == name


def test_raw_sets_are_reduced_as_the_papers_do():
    rng = np.random.default_rng(0)
    tags = (rng.random((400, 12)) < np.linspace(0.01, 0.3, 12)).astype(np.uint8)
    labels = (rng.random((400, 6)) < np.linspace(0.02, 0.5, 6)).astype(np.uint8)
    for text in (tags, sparse.csr_array(tags)):
        kept = select(NAMED["mirflickr25k"]._replace(rows=100), text, labels)
        uses = tags.sum(0)
        assert kept.text.tolist() == np.flatnonzero(uses >= 20).tolist()
        assert kept.rows.tolist() == [i for i in range(400) if labels[i].any() and tags[i, uses >= 20].any()]
    kept = select(NAMED["nuswide10"]._replace(rows=100, top_labels=2), tags, labels)
    assert kept.labels.tolist() == [4, 5]
    assert kept.rows.tolist() == np.flatnonzero(labels[:, [4, 5]].any(1)).tolist()
    assert select(NAMED["nuswide10"], tags, labels).rows == slice(None)


# -- bad files --------------------------------------------------------------------------------------------------------


def bad(arrays, message):
    return pytest.param(arrays, message)


NAN = TRAIN["image"].copy()
NAN[3, 2] = np.nan
HUGE = np.full_like(TRAIN["image"], np.finfo(np.float32).max)


@pytest.mark.parametrize("suffix", ["mat", "npz", "v73.mat"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        bad({"I_tr": None, "I_training": TRAIN["image"]}, r"no train\.image .*I_training"),
        bad({"I_tr": TRAIN["image"][:, 1:]}, r"(I_te: expected 6|I_tr: expected 7) columns"),
        bad({"T_tr": TRAIN["text"][1:]}, r"T_tr: expected 30 rows"),
        bad({"L_te": QUERY["labels"][1:]}, r"L_te: expected 8 rows"),
        bad({"I_tr": NAN}, r"I_tr: 1 values are not finite, the first in row 3"),
        bad({"L_tr": None, "L_te": None}, r"no train\.labels"),
        bad({"L_te": None}, r"no query\.labels"),
        bad({"T_tr": None, "T_te": None}, r"no train\.text"),
        bad({"L_tr": np.ones((N_TRAIN, 1)), "L_te": np.ones((N_QUERY, 1))}, r"L_tr: all rows have the same labels"),
        bad({"L_tr": TRAIN["labels"] * 2.0}, r"L_tr: expected 0 or 1"),
        bad({"L_tr": CLASS_TRAIN[:, None] - 0.5, "L_te": CLASS_QUERY[:, None]}, r"L_tr: expected class numbers"),
        bad({"L_te": QUERY["labels"][:, 1:]}, r"L_te: expected 4 columns"),
        bad({"I_tr": np.zeros((0, D_IMAGE))}, r"(I_tr|T_tr): (is empty|holds empty|expected)"),
        bad({"I_tr": np.zeros((N_TRAIN, 2, 2, 3))}, r"I_tr: .* are pictures, not features"),
        bad({"I_tr": TRAIN["image"] * 1j}, r"I_tr: holds .*, expected numbers"),
    ],
)
def test_bad_arrays_are_named(tmp_path, suffix, changes, message):
    arrays = {key: value for key, value in {**family(), **changes}.items() if value is not None}
    path = tmp_path / f"set.{suffix}"
    if suffix == "npz":
        np.savez(path, **arrays)
    elif suffix == "mat":
        write_v5(path, arrays)
    else:
        write_v73(path, arrays)
    with pytest.raises(ValueError, match=rf"{path.name}.*{message}") as error:
        load_dataset(path)
    assert "\n" not in str(error.value)


def test_identifiers_are_no_class_numbers(tmp_path):
    np.savez(tmp_path / "set.npz", **family() | {"L_tr": np.arange(N_TRAIN) * 10**9, "L_te": np.arange(N_QUERY)})
    with pytest.raises(
        ValueError, match=r"set\.npz: L_tr: expected class numbers, got numbers up to 29000000000, more"
    ):
        load_dataset(tmp_path / "set.npz")
    np.savez(tmp_path / "set.npz", **family() | {"L_tr": np.zeros((N_TRAIN, CLASSES))})
    with pytest.raises(ValueError, match=r"set\.npz: L_tr: no row has a label"):
        load_dataset(tmp_path / "set.npz")


@pytest.mark.parametrize("suffix", ["mat", "h5", "npz"])
def test_sparse_indices_outside_of_the_matrix_are_refused(tmp_path, suffix):
    """scipy would follow them into other memory."""
    path, matrix = tmp_path / f"T_tr.{suffix}", sparse.csc_array(np.eye(30, 8))
    wrong = np.full(8, 10**8, np.int32)
    if suffix == "mat":
        write_v5(path, {"T_tr": matrix})
        content = path.read_bytes()
        path.write_bytes(content.replace(matrix.indices.astype(np.int32).tobytes(), wrong.tobytes(), 1))
    elif suffix == "h5":
        write_v73(path, {"T_tr": sparse.csc_array((matrix.data, wrong, matrix.indptr), matrix.shape)})
    else:
        parts = {"shape": matrix.shape, "data": matrix.data, "indices": wrong, "indptr": matrix.indptr}
        np.savez(path, format=np.array(b"csc"), **parts)
    with pytest.raises(ValueError, match=rf"T_tr\.{suffix}: T_tr: cannot be read .*indices must be < 30"):
        contents(path)[0].read()


def test_items_in_columns_are_told(tmp_path):
    write_v5(tmp_path / "set.mat", family() | {"I_tr": TRAIN["image"].T})
    with pytest.raises(ValueError, match=r"set\.mat: I_tr: .*seem to lie in columns: transpose it"):
        load_dataset(tmp_path / "set.mat")


def test_the_other_byte_order_is_turned_round(tmp_path):
    np.savez(tmp_path / "set.npz", **{k: v.astype(">f4") if k == "I_tr" else v for k, v in family().items()})
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["image"], file["text"], file["labels"] = whole("image").astype(">f8"), whole("text"), whole("labels")
    check_split(load_dataset(tmp_path / "set.npz"))
    check_whole(load_dataset(tmp_path / "set.h5"))
    assert all(load_dataset(tmp_path / f"set.{kind}").train.views[0].dtype.isnative for kind in ("npz", "h5"))


def test_large_finite_numbers_are_no_infinity(tmp_path):
    np.savez(tmp_path / "set.npz", **family() | {"I_tr": HUGE})
    split = load_dataset(tmp_path / "set.npz")
    np.testing.assert_array_equal(split.train.views[0], HUGE)


@pytest.mark.parametrize("kind", ["v5", "v7.3", "npz", "npy", "parquet"])
def test_files_cut_off_or_empty(tmp_path, kind):
    path = tmp_path / f"I_tr.{kind if kind in ('npz', 'npy', 'parquet') else 'mat'}"
    arrays = {key: np.tile(value.astype(float), (1, 50)) for key, value in family().items()}
    if kind == "v5":
        write_v5(path, arrays)
    elif kind == "v7.3":
        write_v73(path, arrays)
    elif kind == "npz":
        np.savez(path, **arrays)
    elif kind == "npy":
        np.save(path, arrays["I_tr"])
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"image": list(arrays["I_tr"])}), path)
    content = path.read_bytes()
    for length in (0, 4, 60, len(content) // 3, len(content) - 40):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{path.name}: .*(empty|cut off|not a MAT|no )"):
            load_dataset(path)


def test_a_flipped_byte_in_a_compressed_file_is_noticed(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", **family())
    content = bytearray((tmp_path / "set.npz").read_bytes())
    content[150] ^= 255
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"set\.npz: .*cut off or damaged"):
        load_dataset(tmp_path / "set.npz")


class Trap:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_pickled_objects_are_never_loaded(tmp_path):
    traps = np.array([Trap(tmp_path / "sprung")] * N_TRAIN, dtype=object)[:, None]
    np.savez(tmp_path / "set.npz", **family() | {"I_tr": traps})
    with pytest.raises(ValueError, match=r"set\.npz: I_tr: holds object, expected numbers"):
        load_dataset(tmp_path / "set.npz")
    np.save(tmp_path / "I_tr.npy", traps)
    with pytest.raises(ValueError, match=r"I_tr\.npy: I_tr: holds object, expected numbers"):
        load_dataset(tmp_path / "I_tr.npy")
    assert not (tmp_path / "sprung").exists()


def test_matlab_cells_functions_and_objects_are_passed_over(tmp_path):
    """Cells and text are listed and left alone; a function handle where numbers belong is refused."""
    cells = np.empty((2, 1), object)
    cells[:] = [["system('touch sprung')"], [np.eye(2)]]
    write_v5(tmp_path / "set.mat", family() | {"code": cells, "L_extra": "eval(1)"})
    check_split(load_dataset(tmp_path / "set.mat"))
    write_v5(tmp_path / "set.mat", family() | {"I_tr": cells})
    with pytest.raises(ValueError, match=r"set\.mat: I_tr: holds cell, expected numbers"):
        load_dataset(tmp_path / "set.mat")
    for number, kind in ((3, "object"), (16, "function")):
        (tmp_path / "code.mat").write_bytes(MAT_HEADER + mat_array(number, b"I_tr"))
        with pytest.raises(ValueError, match=rf"code\.mat: I_tr: holds {kind}, expected numbers"):
            load_dataset(tmp_path / "code.mat")


def test_a_matlab_string_beside_the_arrays_does_no_harm(tmp_path):
    """scipy can load, but not list, a file with one."""
    write_v5(tmp_path / "set.mat", family())
    words = b"".join(mat_element(1, word) for word in (b"note", b"MCOS", b"string"))
    string = mat_element(6, struct.pack("<II", 17, 0)) + words + mat_array(6, b"")
    (tmp_path / "set.mat").write_bytes((tmp_path / "set.mat").read_bytes() + mat_element(14, string))
    with pytest.raises(TypeError):
        scipy.io.whosmat(tmp_path / "set.mat")
    check_split(load_dataset(tmp_path / "set.mat"))


MAT_HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def mat_element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def mat_array(number, name):
    """A 1 x 1 array of some class in MAT v5: a double, or what holds a double."""
    head = (
        mat_element(6, struct.pack("<II", number, 0)) + mat_element(5, struct.pack("<ii", 1, 1)) + mat_element(1, name)
    )
    return mat_element(14, head + (mat_element(9, b"\0" * 8) if number == 6 else mat_array(6, b"")))


def test_hdf5_links_and_references_are_not_followed(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = TRAIN["image"]
    with h5py.File(tmp_path / "set.h5", "w") as file:
        for key, value in family().items():
            if key != "I_tr":
                file[key] = value
        file["I_tr"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
        file["cell"] = np.array([file["T_tr"].ref], h5py.ref_dtype)
        file["loop"] = h5py.SoftLink("/")
    assert {s.key for s in contents(tmp_path / "set.h5")} == {*family(), "cell"} - {"I_tr"}
    with pytest.raises(ValueError, match=r"set\.h5: no train\.image"):
        load_dataset(tmp_path / "set.h5")


@pytest.mark.parametrize("kind", [0, 8, 10, 14, 19, 20, 38, 100, 130, 255])
@pytest.mark.parametrize("at", [136, 152, 184])
def test_wrong_type_tags_of_matlab_are_refused(tmp_path, kind, at):
    """Of class, shape and numbers; scipy follows those of the numbers out of its memory."""
    write_v5(tmp_path / "set.mat", {"image": TRAIN["image"].astype(float)})
    content = bytearray((tmp_path / "set.mat").read_bytes())
    assert content[at] in (5, 6, 9)
    content[at] = kind
    (tmp_path / "set.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"set\.mat: .*expected (numbers|a part of an array), got type"):
        [array.read() for array in contents(tmp_path / "set.mat")]


def test_matlab_values_are_those_of_scipy(tmp_path):
    cell = np.empty(2, object)
    cell[:] = [np.array(["ab", "abcd"]), np.eye(2)]
    arrays = {
        "double": np.arange(6.0).reshape(2, 3),
        "whole": np.arange(5, dtype=np.int16),
        "logical": np.array([True, False]),
        "sparse": sparse.csc_array(np.eye(4, 3)),
        "text": np.array(["a", "bcé"]),
        "cell": cell,
        "struct": {"x": np.eye(2), "inner": {"y": np.float32(3)}},
    }
    for packed in (False, True):
        scipy.io.savemat(tmp_path / "set.mat", arrays, do_compression=packed)
        expected = scipy.io.loadmat(tmp_path / "set.mat")
        read = {v.name: mat5.read(tmp_path / "set.mat", v) for v in mat5.variables(tmp_path / "set.mat")}
        for name in ("double", "whole", "logical"):
            assert read[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(read[name], expected[name])
        np.testing.assert_array_equal(read["sparse"].toarray(), np.eye(4, 3))
        assert read["text"].tolist() == ["a", "bcé"]
        assert [read["cell"][0].tolist(), read["cell"][1].tolist()] == [["ab", "abcd"], np.eye(2).tolist()]
        assert read["struct"]["inner"]["y"] == 3


@pytest.mark.parametrize("make", ["external", "virtual", "external sparse"])
@pytest.mark.parametrize("suffix", ["h5", "mat"])
def test_numbers_of_other_files_are_not_read(tmp_path, make, suffix):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(TRAIN["image"].astype(float).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = TRAIN["image"].astype(float)
    path = tmp_path / f"set.{suffix}"
    with h5py.File(path, "w", userblock_size=512 if suffix == "mat" else 0) as file:
        for key, value in family().items():
            if key != "I_tr":
                file[key] = value
        options = {"shape": (N_TRAIN, D_IMAGE), "dtype": float}
        if make == "external":
            file.create_dataset("I_tr", **options, external=[(str(secret), 0, 8 * N_TRAIN * D_IMAGE)])
        elif make == "virtual":
            layout = h5py.VirtualLayout(**options)
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "secret", options["shape"])
            file.create_virtual_dataset("I_tr", layout)
        else:
            group = file.create_group("I_tr")
            group["ir"], group["jc"] = np.zeros(4, int), np.full(D_IMAGE + 1, 4)
            group.create_dataset("data", (4,), float, external=[(str(secret), 0, 32)])
    with pytest.raises(
        ValueError, match=rf"set\.{suffix}: I_tr: holds (external|virtual|sparse, with parts elsewhere)"
    ):
        load_dataset(path)


def test_soft_links_structs_and_empty_sparse_matrices_are_found(tmp_path):
    with h5py.File(tmp_path / "set.h5", "w") as file:
        inner = file.create_group("stored")
        inner["a.b"], inner["text"], inner["labels"] = whole("image"), whole("text"), whole("labels")
        inner["itself"] = inner
        for name, to in (("image", "/stored/a.b"), ("text", "stored/text"), ("label", "/stored/labels")):
            file[name] = h5py.SoftLink(to)
        file["out"], file["round"] = h5py.SoftLink("/elsewhere/x"), h5py.SoftLink("/round")
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/")
    keys = {"all.image": "image", "all.text": "text", "all.labels": "label"}
    check_whole(load_files(tmp_path / "set.h5", keys=keys))
    for writer in (write_v5, write_v73):
        data = {"IAll": whole("image"), "YAll": whole("text"), "LAll": whole("labels")}
        writer(tmp_path / "struct.mat", {"data": data})
        check_whole(load_dataset(tmp_path / "struct.mat"))
    with h5py.File(tmp_path / "zero.mat", "w") as file:
        group = file.create_group("tags")
        group.attrs["MATLAB_sparse"], group.attrs["MATLAB_class"] = np.uint64(5), np.bytes_("double")
        group["jc"] = np.zeros(4, np.uint64)
    (stored,) = contents(tmp_path / "zero.mat")
    assert stored.shape == (5, 3)
    assert stored.read().nnz == 0


def test_folders_of_clip_retrieval_are_found(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pieces = np.split(np.arange(N_QUERY + N_TRAIN), range(3, N_QUERY + N_TRAIN, 3))
    for folder in ("img_emb", "text_emb", "metadata"):
        (tmp_path / folder).mkdir()
    for number, rows in enumerate(pieces):
        np.save(tmp_path / "img_emb" / f"img_emb_{number}.npy", whole("image")[rows])
        np.save(tmp_path / "text_emb" / f"text_emb_{number}.npy", whole("text")[rows].astype(np.float32))
        table = {"image_path": [f"{i}.jpg" for i in rows], "label": whole("labels").argmax(1)[rows].tolist()}
        pq.write_table(pa.table(table), tmp_path / "metadata" / f"metadata_{number}.parquet")
    split = load_dataset(tmp_path)
    assert len(pieces) > 10
    for part in split[:2]:
        np.testing.assert_array_equal(part.views[0], whole("image")[part.ids])
        np.testing.assert_array_equal(part.views[1], whole("text")[part.ids])
        np.testing.assert_array_equal(part.labels.argmax(1), whole("labels").argmax(1)[part.ids])
    assert split.items.names[7] == "7.jpg"


def test_parquet_lists_of_class_numbers_are_labels(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {kind: pa.array(list(whole(kind))) for kind in ("image", "text")}
    for base in (0, 1):
        lists = [(np.flatnonzero(row) + base).tolist() for row in whole("labels")]
        pq.write_table(pa.table(columns | {"labels": pa.array(lists)}), tmp_path / "set.parquet")
        check_whole(load_dataset(tmp_path / "set.parquet"))
    for bad, message in (
        ([*[[0.5, 1.0]] * 5, None, *[[0.0, 1.0]] * 32], r"image: row 5 has no value"),
        ([*[[0.5, 1.0]] * 7, [0.5, None], *[[0.0, 1.0]] * 30], r"image: row 7 lacks a number"),
        ([*[[0.5, 1.0]] * 9, [0.5], *[[0.0, 1.0]] * 28], r"image: row 9 has 1 numbers, the rows before it 2"),
    ):
        pq.write_table(
            pa.table(columns | {"image": pa.array(bad), "labels": pa.array(lists)}), tmp_path / "bad.parquet"
        )
        with pytest.raises(ValueError, match=rf"bad\.parquet: {message}$"):
            load_dataset(tmp_path / "bad.parquet")


def header(shape, descr="<f8"):
    return (
        b"\x93NUMPY\x01\x00\x76\x00"
        + f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode()
        + b"\n"
    )


def test_claims_are_compared_with_the_file(tmp_path):
    huge = (10**13,)
    (tmp_path / "I_tr.npy").write_bytes(header(huge) + b"\0" * 80)
    with zipfile.ZipFile(tmp_path / "claim.npz", "w") as archive:
        archive.writestr("I_tr.npy", header(huge))
    for name in ("I_tr.npy", "claim.npz"):
        with pytest.raises(ValueError, match=rf"{name}: .*its header claims \(10000000000000,\) of float64"):
            contents(tmp_path / name)
    (tmp_path / "I_tr.npy").write_bytes(header((10**13,), "<U0"))
    with pytest.raises(ValueError, match="its header claims"):
        contents(tmp_path / "I_tr.npy")
    np.savez_compressed(tmp_path / "bomb.npz", I_tr=np.zeros(25_000_000))
    with pytest.raises(ValueError, match=r"bomb\.npz: 200,000,128 bytes packed in .*more than 500 times as many"):
        contents(tmp_path / "bomb.npz")
    with zipfile.ZipFile(tmp_path / "method.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("I_tr.npy", header((1,)) + bytes(8))
    with pytest.raises(ValueError, match=r"method\.npz: I_tr is packed by method 14; numpy\.savez"):
        contents(tmp_path / "method.npz")
    with h5py.File(tmp_path / "claim.h5", "w") as file:
        file.create_dataset("I_tr", (10**6, 10**6), float, chunks=(100, 100), compression="gzip")
    with pytest.raises(ValueError, match=r"claim\.h5: 8,000,000,000,000 bytes packed in"):
        contents(tmp_path / "claim.h5")
    write_v5(tmp_path / "sparse.mat", {"T_tr": sparse.csc_array((2**31 - 1, 3))})
    with pytest.raises(ValueError, match=r"sparse\.mat: T_tr: 17,179,869,176 bytes packed in"):
        contents(tmp_path / "sparse.mat")[0].read()


def test_files_of_no_known_kind(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"notes\.txt: not a MAT, HDF5, npz, npy or Parquet file"):
        load_dataset(tmp_path / "notes.txt")
    (tmp_path / "set.mat").write_text("not a matrix at all, but long enough to look like something" * 9)
    with pytest.raises(ValueError, match=r"set\.mat: cannot be read as MAT"):
        load_dataset(tmp_path / "set.mat")
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    with pytest.raises(ValueError, match=r"set\.npz: holds no arrays"):
        load_dataset(tmp_path / "set.npz")
    with pytest.raises(FileNotFoundError, match=r"gone\.mat: no such file"):
        load_dataset(tmp_path / "gone.mat")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder: no .*file in this folder"):
        load_dataset(tmp_path / "folder")


def test_two_files_with_the_same_array(tmp_path):
    for name in ("a.mat", "b.mat"):
        write_v5(tmp_path / name, family())
    with pytest.raises(ValueError, match=r"in .*a\.mat and in .*b\.mat: give the files of one layout"):
        load_dataset(tmp_path)


def test_rows_outside_the_set(tmp_path):
    data = {"X1": whole("image").T, "X2": whole("text").T, "Y": whole("labels").T}
    for train, query in (([1, 2, 99], [3]), ([1, 2, 3], [3]), ([-1, 2], [3])):
        write_v5(tmp_path / "set.mat", {"data": data | {"split": {"ind_train": train, "ind_test": query}}})
        with pytest.raises(ValueError, match=r"data\.split\.ind_train: expected the rows 1\.\.38"):
            load_dataset(tmp_path / "set.mat")


def test_several_threads_read_headers_at_the_same_time(tmp_path):
    """Threads that parse literals disturb each other in Python 3.11, when one is left for another between two steps."""
    path = tmp_path / "views.npy"
    np.save(path, np.ones((3, 4), np.float32))
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()

    def pause(*_):
        sum(range(50))

    gc.callbacks.append(pause)
    try:
        sys.setswitchinterval(1e-6)
        gc.set_threshold(5)
        with ThreadPoolExecutor(4) as pool:
            shapes = set(pool.map(lambda _: parsing.read_arrays(path)[""].shape, range(2000)))
    finally:
        gc.callbacks.remove(pause)
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
    assert shapes == {(3, 4)}
