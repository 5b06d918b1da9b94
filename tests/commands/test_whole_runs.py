"""Runs that carry all that they need: searched, evaluated and made an index of where their data are not there."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from coloured import pictures
from PIL import Image

import jaxcmh
from jaxcmh import index as indexes
from jaxcmh import progress
from jaxcmh.commands import cli
from jaxcmh.results import runs

pytestmark = pytest.mark.xdist_group("whole runs")  # the trained run is shared
FIXTURES = Path(__file__).parents[1] / "fixtures"


def captions(folder):
    """The list of a folder as JSON lines, each picture with a long and a short text."""
    lines = [line.split(",") for line in (folder / "metadata.csv").read_text().splitlines()[1:]]
    records = [
        {"file_name": file, "text": [text, " ".join(labels.split(";"))], "labels": labels.split(";")}
        for file, text, labels in lines
    ]
    (folder / "metadata.csv").unlink()
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, records)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with thumbnails, and the pictures that it was trained on; the file of features is not there any more."""
    place = tmp_path_factory.mktemp("whole")
    pictures(place)
    captions(place / "pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "start_jax", lambda: "device: cpu")
        patch.chdir(place)
        words = ["features", "pictures", "-o", "pairs.npz", "--image", "photo", "--text", "words"]
        assert cli.main(words) == 0
        assert cli.main(["train", "dcgh", "--data", "pairs.npz", "--bits", "16", "--out", "run", "--thumbnails"]) == 0
    (place / "pairs.npz").unlink()
    return place


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Runs a command in an empty folder and returns what it prints; one that is refused, its line."""
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        capsys.readouterr()
        assert cli.main(list(map(str, words))) == code, capsys.readouterr().err
        said = capsys.readouterr()
        return said.err if code else said.out

    return run


def test_a_run_is_searched_from_any_folder_without_its_data(made, call):
    for words in (["--text", "blue stripes"], ["--image", made / "pictures" / "02.png"]):
        listed = [json.loads(line) for line in call("search", made / "run", *words, "-k", 4, "--json").splitlines()]
        assert [(a["rank"], a["distance"], a["labels"]) for a in listed] == [(1, 0, ["blue", "stripes"])] * 4
        names = [a["name"] for a in listed]
        assert len(set(names)) == 4  # each picture once, though it has two texts
        assert {int(name[:2]) % 9 for name in names} == {2}


def test_a_run_is_evaluated_without_its_data_as_with_it(made, call):
    stored = runs.read_run(made / "run").records
    again = [json.loads(line) for line in call("evaluate", made / "run", "--json").splitlines()]
    assert [(line["key"], line["map"]) for line in again] == [(line["key"], line["map"]) for line in stored]
    assert "allows learned and encoded codes" in call("evaluate", made / "run", "--database", "held_out", code=2)


def test_a_run_with_a_database_of_its_own_is_evaluated_without_its_data(call, tmp_path):
    from jaxcmh.datasets import load_dataset, resplit
    from jaxcmh.studies import runs as made_runs

    split = resplit(load_dataset("synthetic", train=60, query=20), query=10, train=40)
    outcome = made_runs.run(split, "acqh", bits=8, data="gone.npz", max_iterations=3)
    runs.keep(tmp_path / "run", outcome, {"data": "gone.npz"})
    again = [json.loads(line) for line in call("evaluate", "run", "--json").splitlines()]
    assert [line["map"] for line in again] == [line["map"] for line in outcome.records]
    assert [line["database"] for line in again] == ["encoded"]


def test_a_run_of_an_earlier_version_is_searched_with_its_data_or_by_features(call):
    shutil.copytree(FIXTURES / "v0.1.0" / "run", "old")
    line = call("search", "old", "--text", "blue", code=2)
    assert "synthetic: the data are not those the run was trained on" in line
    np.save("q.npy", np.load(FIXTURES / "v0.1.0" / "expected.npz")["view_0"][:1])
    (found,) = (json.loads(line) for line in call("search", "old", "--query", "q.npy", "-k", 1, "--json").splitlines())
    assert set(found) == {"query", "rank", "distance", "item"}
    with pytest.raises(ValueError, match="nothing is known of its items"):
        jaxcmh.load("old").search(text="blue")


def test_a_model_is_asked_in_python(made):
    model = jaxcmh.load(made / "run")
    first, *_, last = model.search(text="blue stripes", k=8)
    assert (first.rank, first.score, first.labels) == (1, 0, ["blue", "stripes"])
    assert last.rank > 1
    assert last.score > 0
    assert model.search(image=made / "pictures" / "04.png", k=1)[0].labels == ["dots", "green"]
    assert len(model.search(text="red", k=1000)) == 41  # all there are
    for wrong in ({}, {"text": "a", "image": "b"}):
        with pytest.raises(ValueError, match="expected either a text or an image"):
            model.search(**wrong)
    with pytest.raises(ValueError, match="no word of 'qwzx'"):
        model.search(text="qwzx")


def test_codes_of_raw_things_are_those_of_their_features(made):
    model = jaxcmh.load(made / "run")
    files, texts = [made / "pictures" / f"{i:02}.png" for i in (7, 3)], ["a blue picture of circle", "red dots"]
    for kind, raw, encode in (("image", files, model.encode_images), ("text", texts, model.encode_texts)):
        view, rows = model.features(kind, raw)
        np.testing.assert_array_equal(encode(raw), jaxcmh.encode(model, rows, view))
    pairs = np.asarray(model.encode_pairs(files, ["", "qwzx"]))  # texts that say nothing
    np.testing.assert_array_equal(pairs, model.encode_images(files))
    with pytest.raises(ValueError, match="texts: expected 2, one for each picture; got 1"):
        model.encode_pairs(files, ["a"])


@pytest.mark.parametrize("method", ["dcgh", "acqh"])
def test_both_views_of_a_pair_are_looked_at(method):
    from jaxcmh.datasets import load_dataset
    from jaxcmh.model import _encode_all

    split = load_dataset("synthetic", train=200, query=20)
    model = jaxcmh.train(method, split.train.views, split.train.labels, bits=16)
    both = _encode_all(model, split.train.views)
    assert both.shape == model.encoded[0].shape
    near = [np.mean(np.asarray(codes) == np.asarray(model.codes)) for codes in (both, *model.encoded)]
    assert near[0] > min(near[1:])


def test_all_that_is_known_of_items_comes_back_from_the_file(made, tmp_path):
    model = jaxcmh.load(made / "run")
    known = model.catalogue
    assert known.view_names == ("image", "text")
    assert [maker.kind for maker in known.makers] == ["photo", "unit-words"]
    assert len(known.thumbnails) == len(known.names) == 82
    jaxcmh.save(model, tmp_path / "a.safetensors")
    again = jaxcmh.load(tmp_path / "a.safetensors").catalogue
    for field in ("name", "view_names", "label_names", "makers", "names", "texts", "thumbnails"):
        assert list(getattr(again, field)) == list(getattr(known, field)), field
    for field in ("ids", "things", "labels"):
        np.testing.assert_array_equal(getattr(again, field), getattr(known, field))


def test_thumbnails_are_small_pictures_of_the_items(made):
    from io import BytesIO

    known = jaxcmh.load(made / "run").catalogue
    small = np.asarray(Image.open(BytesIO(known.thumbnails[0])), float)
    whole = np.asarray(Image.open(made / "pictures" / known.names[0]), float)
    assert max(small.shape) <= 96
    assert abs(small.mean() - whole.mean()) < 10


def test_a_page_shows_what_the_queries_of_ones_own_pictures_find(made):
    whole = (made / "run" / "index.html").read_text()
    assert "None of them was trained on." in whole
    page = json.loads(re.search(r'id="data">(.*?)</script>', whole, re.S)[1])
    assert {(r["database"], r["direction"]) for r in page["rankings"]} == {
        (kind, way) for kind in ("learned", "encoded") for way in ("i2t", "t2i")
    }
    model = jaxcmh.load(made / "run")
    ranking = next(r for r in page["rankings"] if (r["database"], r["direction"]) == ("learned", "t2i"))
    assert len(page["queries"]["names"]) == len(set(page["queries"]["names"])) == 4  # one text of each picture
    for text, ids, scores in zip(page["queries"]["texts"], ranking["ids"], ranking["scores"]):
        found = model.search(text=text, k=10)
        assert [page["database"]["names"][i] for i in ids] == [answer.name for answer in found]
        assert scores == [answer.score for answer in found]
    assert page["database"]["pictures"][0].startswith("data:image/jpeg;base64,")


def test_without_queries_all_pictures_are_found_and_scores_say_so(made, call):
    words = ("features", made / "pictures", "--image", "photo", "--text", "words", "--query", 0, "-o", "all.npz")
    assert "all.npz: 90 training items" in call(*words)
    out = call("train", "dcgh", "--data", "all.npz", "--bits", 16, "--out", "run")
    assert "90 queries that were trained on" in out
    assert {line["queries"] for line in runs.read_run("run").records} == {"trained"}
    assert "90 queries that were trained on" in call("evaluate", "run", "--at", 5)
    model = jaxcmh.load("run")
    assert len({answer.name for answer in model.search(text="blue", k=1000)}) == 45
    assert "45 items" in call("index", "build", "run", "--out", "all.index")
    out = call("train", "dcgh", "--data", "all.npz", "--bits", 16, "--out", "run", "--json")
    assert "trained" in out  # the same run, shown again


# -- indexes of raw things --------------------------------------------------------------------------------------------


def test_an_index_grows_from_pictures_and_texts(made, call, tmp_path):
    run = made / "run"
    printed = call("index", "build", run, "--out", "pets.index")
    assert printed == "pets.index: 41 items of 16 bits\n"  # pictures, though there are 82 pairs
    (tmp_path / "new").mkdir()
    shutil.copy(made / "pictures" / "02.png", tmp_path / "new" / "twin.png")
    (tmp_path / "new" / "below").mkdir()
    shutil.copy(made / "pictures" / "04.png", tmp_path / "new" / "below" / "0 4.PNG")
    (tmp_path / "words.txt").write_text("red circle\n\n")
    printed = call("index", "add", "pets.index", "new", "words.txt", "--model", run)
    assert printed == "pets.index: 44 items of 16 bits, 3 of them new\n"
    printed = call("index", "add", "pets.index", "new", made / "pictures", "--model", run)
    assert printed == "pets.index: 48 items of 16 bits, 4 of them new; 43 were there already\n"
    search = ("index", "search", "pets.index", "--model", run, "--json", "--text")
    found = [json.loads(line)["item"] for line in call(*search, "blue stripes", "-k", 6).splitlines()]
    assert "twin.png" in found
    found = [json.loads(line)["item"] for line in call(*search, "green dots", "-k", 6).splitlines()]
    assert "below/0 4.PNG" in found
    assert call("index", "remove", "pets.index", "twin.png", "red circle").endswith("46 items of 16 bits, 2 removed\n")
    assert "twin.png" not in indexes.load("pets.index").ids.values
    (tmp_path / "gone.txt").write_text("00.png\n01.png\n")
    assert "44 items" in call("index", "remove", "pets.index", "--ids", "gone.txt")


def test_an_index_shows_what_is_known_of_its_items(made, call, tmp_path):
    run = made / "run"
    call("index", "build", run, "--out", "pets.index", "--thumbnails")
    shutil.copytree(made / "pictures", tmp_path / "new")
    lines = (tmp_path / "new" / "metadata.jsonl").read_text().splitlines()
    (tmp_path / "new" / "metadata.jsonl").write_text("\n".join(line.replace("0.png", "0 b.png") for line in lines[:1]))
    (tmp_path / "new" / "00.png").rename(tmp_path / "new" / "00 b.png")
    (tmp_path / "words.txt").write_text("red circle\n")
    call("index", "add", "pets.index", "new", "words.txt", "--model", run, "--thumbnails")
    search = ("index", "search", "pets.index", "--model", run, "--json", "-k", 43, "--text")
    known = jaxcmh.load(run).catalogue
    found = {a["item"]: a for a in map(json.loads, call(*search, "red circle").splitlines())}
    name = known.names[0]
    assert (found[name]["labels"], found[name]["text"]) == (known.labels_of(0), known.texts[0])
    new = json.loads(lines[0])
    assert (found["00 b.png"]["labels"], found["00 b.png"]["text"]) == (new["labels"], " ".join(new["text"]))
    assert (found["red circle"]["labels"], found["red circle"]["text"]) == ([], "")
    items = indexes.load("pets.index")
    small = dict(zip(items.ids.values.tolist(), items.details.thumbnails))
    assert (small[name], small["red circle"]) == (known.thumbnails[0], b"")
    with Image.open(io.BytesIO(small["00 b.png"])) as picture:
        assert max(picture.size) <= 96
    assert "texts" in call("index", "info", "pets.index")
    assert "blue, stripes" in call("index", "search", "pets.index", "--model", run, "--text", "blue stripes")
    np.save("codes.npy", np.zeros((1, 2), np.uint8))
    (tmp_path / "name.txt").write_text("a\n")
    words = ("codes.npy", "--ids", "name.txt", "--thumbnails")
    assert "--thumbnails: expected with pictures" in call("index", "add", "pets.index", *words, code=2)
    assert "--thumbnails: expected with pictures" in call("index", "build", *words, "--out", "b.index", code=2)


def test_a_folder_becomes_an_index_by_one_view_or_by_both(made, call):
    model = jaxcmh.load(made / "run")
    files = sorted((made / "pictures").glob("*.png"))
    codes = {}
    for view in ("image", "text", "1", None):
        words = [] if view is None else ["--view", view]
        call("index", "build", made / "pictures", "--model", made / "run", *words, "--out", f"{view}.index")
        items = indexes.load(f"{view}.index")
        assert items.ids.values.tolist() == [file.name for file in files]
        codes[view] = items.codes
    np.testing.assert_array_equal(codes["image"], model.encode_images(files))
    np.testing.assert_array_equal(codes["text"], codes["1"])
    assert len(np.unique(codes["text"], axis=0)) <= 9


def test_raw_things_that_cannot_be_added_are_named(made, call, tmp_path):
    run, folder = made / "run", made / "pictures"
    call("index", "build", run, "--out", "a.index")
    (tmp_path / "words.txt").write_text("qwzx\n")
    (tmp_path / "empty").mkdir()
    for words, why in (
        (["words.txt", "--model", run], "no word of 'qwzx'"),
        (["words.txt"], "--model: expected with pictures and texts"),
        (["gone.png", "--model", run], "items: no such file or folder: gone.png"),
        (["empty", "--model", run], "items: no pictures and no texts in empty"),
        ([folder / "00.png", folder, "--model", run], "two of them are called '00.png'"),
        ([folder / "00.png", "b.npy", "--model", run], "expected one file of codes or features"),
        ([folder, "--model", run, "--view", "sound"], "no view 'sound' of pictures or texts; there are image, text"),
        (["words.txt", "--model", run, "--view", "image"], "'qwzx' is a text, which has no view image"),
    ):
        assert why in call("index", "add", "a.index", *words, code=2)
    assert "--model: expected with pictures" in call("index", "build", folder, "--out", "b.index", code=2)
    np.save("codes.npy", np.zeros((1, 2), np.uint8))
    call("index", "build", "codes.npy", "--out", "b.index")
    assert "--ids: expected integers" in call("index", "add", "b.index", folder, "--model", run, code=2)
