"""Random arrays, indexes, result lines and lists of pictures against plain models of what they should do."""

import csv
import json
import unicodedata

import numpy as np
import pytest
from fake_lines import line

from jaxcmh import index, results
from jaxcmh.datasets.files import contents
from jaxcmh.datasets.folder import read_folder
from jaxcmh.datasets.raw import words

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

COUNTS = pytest.mark.parametrize("count", [12, pytest.param(400, marks=pytest.mark.long)])
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def holds(count, check, *strategies):
    """`check` holds for that many examples, the same in every run."""
    quiet = settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    quiet(given(*strategies)(check))()


@COUNTS
@pytest.mark.parametrize("kind", ["npy", "npz", "packed.npz", "mat", "packed.mat", "h5"])
def test_arrays_come_back_from_every_kind_of_file(tmp_path, count, kind):
    h5py, io = pytest.importorskip("h5py"), pytest.importorskip("scipy.io")
    path = tmp_path / f"a.{kind}"

    def check(array):
        if kind == "npy":
            np.save(path, array)
        elif kind.endswith("npz"):
            (np.savez_compressed if kind.startswith("packed") else np.savez)(path, a=array)
        elif kind.endswith("mat"):
            io.savemat(path, {"a": array}, do_compression=kind.startswith("packed"))
        else:
            with h5py.File(path, "w") as file:
                file["a"] = array
        (stored,) = contents(path)
        if stored.blocks:
            read = np.empty(array.shape[::-1] if stored.outer else array.shape, array.dtype)
            for start, block in stored.blocks(None, 0):
                read[start : start + len(block)] = block
            for start, block in stored.blocks(None, 1) if stored.strands > 1 else ():
                read[start : start + len(block)] = block
            read = read.T if stored.outer else read
        else:
            read = stored.read()
        np.testing.assert_array_equal(read, np.atleast_2d(array) if kind.endswith("mat") else array)

    kinds = st.sampled_from([np.float32, np.float64, np.uint8, np.int16, np.int64])
    holds(count, check, arrays.arrays(kinds, arrays.array_shapes(min_dims=1, max_dims=2, max_side=9)))


@COUNTS
@pytest.mark.parametrize("names", [st.integers(-(2**63), 2**63 - 1), TEXT.filter(lambda text: not text.endswith("\0"))])
def test_an_index_does_what_a_list_does(tmp_path, count, names):
    """Items built, added, taken out, saved and loaded, in any order; searched in the end."""
    path = tmp_path / "items.index"

    def check(data):
        drawn = data.draw(st.lists(names, min_size=2, max_size=6, unique=True))
        items = {name: data.draw(st.integers(0, 255)) for name in drawn}
        cut = data.draw(st.integers(1, len(drawn) - 1))

        def codes(some):
            return np.array([[items[name]] for name in some], np.uint8)

        made, model = index.build(codes(drawn[:cut]), drawn[:cut]), drawn[:cut]
        made, model = index.add(made, codes(drawn[cut:]), drawn[cut:]), model + drawn[cut:]
        gone = data.draw(st.lists(st.sampled_from(model), max_size=len(model) - 1, unique=True))
        made, model = index.remove(made, gone), [name for name in model if name not in gone]
        index.save(made, path)
        made = index.load(path)
        assert made.ids.values.tolist() == model
        query = data.draw(st.integers(0, 255))
        distances = [(items[name] ^ query).bit_count() for name in model]
        order = sorted(range(len(model)), key=lambda i: (distances[i], i))
        scores, found = index.search(made, np.array([[query]], np.uint8), k=len(model))
        assert found[0].tolist() == [model[i] for i in order]
        assert scores[0].tolist() == [distances[i] for i in order]

    holds(min(count, 100), check, st.data())


@COUNTS
def test_result_lines_come_back_or_are_refused_by_field(tmp_path, count):
    path = tmp_path / "results.jsonl"
    whole = line()

    def check(field, value):
        path.write_text(json.dumps(whole | {field: value}) + "\n")
        try:
            (read,) = results.read(path)
        except ValueError as error:
            message = str(error)
            assert message.startswith(f"{path}, line 1: ")
            assert "\n" not in message
            assert field in message or "format" in message
            return
        results.describe(read)
        assert json.dumps(read) == json.dumps(whole | {field: value})

    holds(count, check, st.sampled_from(sorted(whole)), VALUES)


@COUNTS
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_lists_of_pictures_keep_every_text(tmp_path, count, form):
    image = pytest.importorskip("PIL.Image")
    for i in range(3):
        image.fromarray(np.full((4, 4), 9 * i, np.uint8)).save(tmp_path / f"{i}.png")
    path = tmp_path / f"metadata.{form}"

    def check(texts):
        rows = [{"file_name": f"{i}.png", "text": text, "labels": "a;b"} for i, text in enumerate(texts)]
        if form == "jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8", newline="")
        else:
            with open(path, "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        folder = read_folder(tmp_path)
        kept = [text.strip() for text in texts if text.strip() and "\0" not in text]
        assert [text for one in folder.lines for text in one.texts] == kept
        assert sum(map(len, folder.problems.values())) == 3 - len(kept)

    holds(count, check, st.lists(TEXT, min_size=3, max_size=3))


@COUNTS
def test_words_do_not_depend_on_the_form_of_unicode(count):
    def check(text):
        found = words(text)
        assert found == words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text))
        assert all(word and not any(sign.isspace() for sign in word) for word in found)

    holds(20 * count, check, TEXT)
