"""A folder of pictures with captions and labels: checked, read, made features of, written and read back."""

import functools
import http.server
import json
import re
import threading
import zipfile

import numpy as np
import pytest
import scipy.io
from PIL import Image

from jaxcmh.commands.cli import main
from jaxcmh.datasets import (
    Maker,
    check_folder,
    download,
    featurise,
    load_dataset,
    load_folder,
    prepare,
    resplit,
    save_split,
    synthetic,
    validation,
)
from jaxcmh.datasets.folder import read_folder
from jaxcmh.datasets.pictures import opened
from jaxcmh.datasets.raw import photo_features

WORDS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 230)}


@pytest.fixture
def folder(tmp_path):
    """Thirty plain pictures in three colours, with stripes or without, captions and labels in metadata.csv."""
    place = tmp_path / "pictures"
    place.mkdir()
    lines = ["file_name,text,labels"]
    rng = np.random.default_rng(0)
    for i in range(30):
        colour = list(WORDS)[i % 3]
        pixels = np.full((40 + i, 50, 3), WORDS[colour], np.uint8)
        striped = i % 2 == 0
        if striped:
            pixels[:, ::7] = 255
        pixels[:3] = rng.integers(0, 255, (3, 50, 3))
        Image.fromarray(pixels).save(place / f"{i:02}.png")
        text = f"A {colour} picture{', with stripes' if striped else ''}"
        lines.append(f'{i:02}.png,"{text}",{colour}{";striped" if striped else ""}')
    (place / "metadata.csv").write_text("\n".join(lines))
    return place


def as_jsonl(folder, change=lambda number, record: record):
    """The list as JSON lines, each record changed."""
    lines = (folder / "metadata.csv").read_text().splitlines()[1:]
    records = []
    for number, line in enumerate(lines):
        file, rest = line.split(",", 1)
        text, labels = rest.rsplit(",", 1)
        record = change(number, {"file_name": file, "text": text.strip('"'), "labels": labels.split(";")})
        records.append(json.dumps(record))
    (folder / "metadata.csv").unlink()
    (folder / "metadata.jsonl").write_text("\n".join(records))


def test_a_folder_becomes_a_data_set(folder):
    split = load_dataset(folder)
    assert split.label_names == ("blue", "green", "red", "striped")
    assert (len(split.train.ids), len(split.query.ids)) == (27, 3)
    assert split.database is split.train
    for part in (split.train, split.query):
        for row, labels in zip(part.ids, part.labels):
            expected = {list(WORDS)[row % 3], *(["striped"] if row % 2 == 0 else [])}
            assert {split.label_names[c] for c in np.flatnonzero(labels)} == expected
            assert split.items.names[row] == f"{row:02}.png"
    assert split.makers[1].vocabulary == ("a", "blue", "green", "picture", "red", "stripes", "with")
    row = split.train.ids[5]
    np.testing.assert_array_equal(featurise(split, "image", [split.items.pictures[row]])[0], split.train.views[0][5])
    np.testing.assert_array_equal(featurise(split, "text", [split.items.texts[row]])[0], split.train.views[1][5])


def test_lists_in_json_with_a_split(folder):
    def change(number, record):
        record["split"] = "test" if number < 6 else "database" if number < 10 else "train"
        return record

    csv = load_folder(folder)
    as_jsonl(folder, change)
    split = load_folder(folder)
    assert [len(part.ids) for part in split[:3]] == [20, 6, 24]
    assert split.query.ids.tolist() == list(range(6))
    labels = {i: row.tolist() for part in csv[:2] for i, row in zip(part.ids, part.labels)}
    assert all(labels[i] == row.tolist() for part in split[:3] for i, row in zip(part.ids, part.labels))
    assert len(load_folder(folder, query=4, seed=2).query.ids) == 4


def test_subfolders_are_classes_and_parts(folder):
    """As ImageFolder has it: train/red/01.png, and a list in each part."""
    for part, rows in (("train", range(24)), ("test", range(24, 30))):
        lines = ["file_name,text"]
        for i in rows:
            colour = list(WORDS)[i % 3]
            (folder / part / colour).mkdir(parents=True, exist_ok=True)
            (folder / f"{i:02}.png").rename(folder / part / colour / f"{i:02}.png")
            lines.append(f"{colour}/{i:02}.png,some {colour} picture")
        (folder / part / "metadata.csv").write_text("\n".join(lines))
    (folder / "metadata.csv").unlink()
    split = load_dataset(folder)
    assert split.label_names == ("blue", "green", "red")
    assert (len(split.train.ids), len(split.query.ids)) == (24, 6)
    assert split.items.names[0] == "train/red/00.png"
    assert split.query.labels.argmax(1).tolist() == [2, 1, 0, 2, 1, 0]


def test_captions_may_lie_elsewhere(folder, tmp_path):
    (folder / "metadata.csv").rename(tmp_path / "captions.csv")
    assert len(load_folder(folder, captions=tmp_path / "captions.csv").train.ids) == 27
    text = (tmp_path / "captions.csv").read_text().replace("file_name,text,labels", "image\tcaption\tlabel")
    lines = [
        text.splitlines()[0],
        *(line.replace(".png,", ".png\t").replace('",', '"\t') for line in text.splitlines()[1:]),
    ]
    (tmp_path / "captions.tsv").write_text("\ufeff" + "\n".join(lines))
    assert len(load_folder(folder, captions=tmp_path / "captions.tsv").train.ids) == 27
    with pytest.raises(FileNotFoundError, match=r"gone\.csv: no such file"):
        load_folder(folder, captions=tmp_path / "gone.csv")


def spoil(folder):
    """One line of every kind that cannot be used."""
    (folder / "broken.png").write_bytes((folder / "00.png").read_bytes()[:60])
    (folder / "extra.png").write_bytes((folder / "00.png").read_bytes())
    (folder / "bare.png").write_bytes((folder / "00.png").read_bytes())
    (folder.parent / "secret.png").write_bytes((folder / "00.png").read_bytes())
    with open(folder / "metadata.csv", "a") as file:
        file.write("\ngone.png,a text,red\nbroken.png,a text,red\n00.png,again,red\nbare.png,,red\n")
        file.write("bare.png,a text,\n../secret.png,a text,red\n")


def test_unusable_lines_are_told_or_left_out(folder):
    spoil(folder)
    report = check_folder(folder)
    assert (report["items"], report["usable"]) == (36, 30)
    assert report["problems"] == {
        "missing file": "1: metadata.csv, line 32: gone.png",
        "no picture that Pillow can read": "1: metadata.csv, line 33: broken.png",
        "listed twice": "2: metadata.csv, line 34: 00.png; metadata.csv, line 36: bare.png",
        "no text": "1: metadata.csv, line 35: bare.png",
        "outside the folder": "1: metadata.csv, line 37: ../secret.png",
    }
    assert report["not listed"] == "1: extra.png"
    assert report["labels"] == {"striped": 15, "red": 10, "green": 10, "blue": 10}
    assert report["picture sizes"] == "50 x 40 to 50 x 69"
    with pytest.raises(ValueError, match=r"missing file: 1: metadata\.csv, line 32: gone\.png"):
        load_folder(folder)
    split = load_folder(folder, skip=True)
    assert len(split.train.ids) + len(split.query.ids) == 30
    assert "6 unusable lines left out" in split.notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected pictures of two classes or more, got 0"),
        ("file_name,labels\n00.png,red\n", r"metadata\.csv, line 1: no text column \(text, caption"),
        ("text,labels\na,red\n", r"line 1: no file column"),
        ("file_name,text,labels\n00.png,a b,red\n01.png,a b,red\n", "two classes or more, got 2 of 1"),
        ("file_name,text,labels\n00.png,a,red,b\n", r"line 2: more columns than the first line names"),
        ("file_name,text,labels\n00.png,a b,red\n01.png,c d,blue\n02.png,e f,red\n", r"no word is in 2 of the 2"),
    ],
)
def test_bad_lists_are_told(folder, content, message):
    (folder / "metadata.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_folder(folder)


def test_bad_json_and_bad_encodings_are_told(folder):
    (folder / "metadata.csv").unlink()
    for content, message in (
        (b"{", "line 1: not JSON"),
        (b"3", "line 1: expected an object"),
        (b"caf\xe9", "UTF-8.*iconv"),
        (b'{"file_name": "00.png", "text": "a", "labels": [["c0"]]}', r"line 1: labels: expected names or numbers"),
    ):
        (folder / "metadata.jsonl").write_bytes(content)
        with pytest.raises(ValueError, match=rf"metadata\.jsonl.*{message}"):
            load_folder(folder)
    (folder / "metadata.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"metadata\.csv: no such file"):
        check_folder(folder)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        check_folder(folder / "gone")
    with pytest.raises(ValueError, match="image: expected photo or drawing"):
        load_folder(folder, image="hog")


def jsonl(folder, records):
    (folder / "metadata.csv").unlink(missing_ok=True)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def records(count=9, **more):
    return [{"file_name": f"{i:02}.png", "text": "a word", "labels": [f"c{i % 2}"], **more} for i in range(count)]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_lines_end_at_line_ends_only(folder, form):
    texts = ["one\u2028two", "one\x85two", "one\x0btwo"]
    if form == "jsonl":
        jsonl(folder, [{**record, "text": text} for record, text in zip(records(), texts)])
    else:
        rows = [f"{i:02}.png,{text},red\r\n" for i, text in enumerate(texts)]
        (folder / "metadata.csv").write_text("file_name,text,labels\r\n" + "".join(rows), "utf-8", newline="")
    assert [line.texts for line in read_folder(folder).lines] == [(text,) for text in texts]


def test_a_bad_line_is_told_alone(folder):
    bad = [{"text": None}, {"file_name": "a\0.png"}, {"file_name": None}, {"file_name": "x" * 5000}]
    jsonl(folder, [*records(4), *({**records(1)[0], "file_name": f"{i + 10}.png", **b} for i, b in enumerate(bad))])
    with open(folder / "metadata.jsonl", "a") as file:
        file.write(r'{"file_name": "20.png", "text": "half \ud83d", "labels": ["a"]}' + "\n")
        file.write('{"file_name": "21.png", "labels": ["a"]}\n')
    report = check_folder(folder)
    assert report["usable"] == 4
    assert {problem: lines[0] for problem, lines in report["problems"].items()} == {
        "no text": "2",
        "a NUL character": "1",
        "no file": "1",
        "missing file": "1",
        "half a character (a lone surrogate)": "1",
    }
    with pytest.raises(ValueError, match=r"no text: 2: metadata\.jsonl, line 5: 10\.png"):
        load_folder(folder)
    assert len(load_folder(folder, skip=True).items.names) == 4


def test_zero_one_labels_are_a_0_or_1_for_every_class(folder):
    rows = [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]]
    jsonl(folder, [{**record, "labels": rows[i % 3]} for i, record in enumerate(records())])
    split = load_folder(folder)
    assert split.label_names == ("0", "1", "2", "3")
    for part in split[:2]:
        np.testing.assert_array_equal(part.labels, [rows[i % 3] for i in part.ids])
    jsonl(folder, [*({**record, "labels": rows[0]} for record in records(3)), {**records(4)[3], "labels": [1]}])
    with pytest.raises(
        ValueError, match=r"line 1: labels 0, 1, 0, 1: either 0 or 1 for every class, .*or class numbers"
    ):
        read_folder(folder)
    jsonl(folder, [{**record, "labels": [i % 3, 5]} for i, record in enumerate(records())])
    assert load_folder(folder).label_names == ("0", "1", "2", "5")


def test_each_caption_is_a_pair_and_all_of_a_picture_are_in_one_part(folder, tmp_path):
    jsonl(folder, [{**record, "text": [f"long word {i}", "a word", "a word"]} for i, record in enumerate(records())])
    split = load_folder(folder, query=3, train=4)
    assert [len(part.ids) for part in split[:3]] == [8, 6, 12]
    assert split.items.texts[:4] == ["long word 0", "a word", "long word 1", "a word"]
    assert "18 pairs of 9 pictures" in split.notes
    save_split(split, tmp_path / "pairs.npz")
    for drawn in (
        split,
        load_dataset(tmp_path / "pairs.npz", query=2),
        resplit(split, train=3, seed=5),
        validation(split),
    ):
        queries, trained = ({split.items.pictures[i] for i in part.ids} for part in (drawn.query, drawn.train))
        assert not queries & trained
        assert len(drawn.query.ids) == 2 * len(queries)
        assert len(drawn.train.ids) == 2 * len(trained)
    for picture in split.train.ids[::2]:
        first, second = (np.flatnonzero(split.train.ids == picture + k)[0] for k in (0, 1))
        np.testing.assert_array_equal(split.train.views[0][first], split.train.views[0][second])


@pytest.mark.parametrize("write", ["semicolons", "utf-16", "backslashes", "long"])
def test_tables_of_other_programs_are_read(folder, write):
    text = (folder / "metadata.csv").read_text()
    if write == "semicolons":
        rows = [line.rsplit(",", 1) for line in text.splitlines()[1:]]
        body = "".join(f'{a.replace(",", ";", 1)};"{labels}"\n' for a, labels in rows)
        (folder / "metadata.csv").write_text("file_name;text;labels\n" + body)
    elif write == "utf-16":
        (folder / "metadata.csv").write_text(text, "utf-16")
    elif write == "backslashes":
        (folder / "sub").mkdir()
        for picture in folder.glob("*.png"):
            picture.rename(folder / "sub" / picture.name)
        (folder / "metadata.csv").write_text(re.sub(r"^(\d)", r"sub\\\1", text, flags=re.MULTILINE))
    else:
        (folder / "metadata.csv").write_text(text.replace("A red picture", f"A red picture {'x' * 200_000}", 1))
    assert check_folder(folder)["usable"] == 30


def test_what_is_no_table_is_told_with_a_remedy(folder):
    (folder / "metadata.csv").write_bytes("file_name,text,labels\n00.png,café,red\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"metadata\.csv, line 2: expected text in UTF-8 .*iconv -f CP1252"):
        check_folder(folder)
    for order in ("le", "be"):
        (folder / "metadata.csv").write_bytes("file_name,text,labels\n00.png,café,red\n".encode(f"utf-16-{order}"))
        with pytest.raises(ValueError, match=rf"metadata\.csv, line 1: .*iconv -f UTF-16{order.upper()}"):
            check_folder(folder)
    (folder / "metadata.csv").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"metadata\.csv: no such file; .*columns such as file_name, text and labels"
    ):
        check_folder(folder)
    with pytest.raises(FileNotFoundError, match=r"of pictures, ask `jaxcmh data check`"):
        load_dataset(folder)
    (folder / "metadata.jsonl").write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"line 1: not JSON \(nested too deeply\)"):
        check_folder(folder)


@pytest.mark.parametrize("captions", ["caption.mat", "caption.txt"])
def test_the_lists_of_deep_repositories_are_read(folder, captions):
    (folder / "metadata.csv").unlink()
    labels = np.eye(3)[np.arange(30) % 3]
    scipy.io.savemat(folder / "index.mat", {"index": [f"/home/me/set/{i:02}.png" for i in range(30)]})
    scipy.io.savemat(folder / "label.mat", {"category": labels})
    cell = np.empty(30, object)
    cell[:] = [np.array([f"a word {i}", "one more"][: i % 2 + 1]) for i in range(30)]
    if captions == "caption.mat":
        scipy.io.savemat(folder / captions, {"caption": cell})
    else:
        (folder / captions).write_text("".join(f"a word {i}\n" for i in range(30)))
    split = load_dataset(folder)
    assert split.items.texts[:2] == ["a word 0", "a word 1"]
    assert len(split.items.texts) == (45 if captions == "caption.mat" else 30)
    rows = [int(name[:2]) for name in split.items.names]
    for part in split[:2]:
        np.testing.assert_array_equal(part.labels, labels[[rows[i] for i in part.ids]])


# -- pictures of other depths -----------------------------------------------------------------------------------------


def deep_pictures(folder, kind):
    """120 pictures whose levels differ, beyond 8 bits; in the list of a folder."""
    folder.mkdir()
    lines = []
    for i in range(120):
        k, pixels = i % 4, np.zeros((32, 32), np.uint16) + 300 + i
        pixels[4 * k : 4 * k + 10, 3 * k : 3 * k + 12] = 3500 - 20 * i
        pixels[31, : i % 30] = 2000
        picture = Image.fromarray(pixels) if kind == "png" else Image.fromarray((pixels / 65535).astype(np.float32))
        picture.save(folder / f"{i:03}.{kind}")
        lines.append({"file_name": f"{i:03}.{kind}", "text": "a square", "labels": [f"place {k}"]})
    jsonl(folder, lines)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_pictures_of_more_than_8_bits_differ(tmp_path, kind):
    deep_pictures(tmp_path / "deep", kind)
    split = load_folder(tmp_path / "deep", image="photo", query=1)
    assert len(np.unique(split.train.views[0], axis=0)) > 100
    assert not any("all pictures" in note or "one colour" in note for note in split.notes)


def test_pixels_of_any_range_are_scaled():
    pixels = np.arange(16).reshape(4, 4)
    levels = lambda array: np.asarray(next(opened([array]))[1].convert("L"))  # noqa: E731
    np.testing.assert_array_equal(levels(pixels), pixels)
    scaled = levels((pixels * 17).astype(np.uint8))
    for other in (pixels / 15, pixels * 1000 - 300, pixels.astype(np.uint16) * 4000, pixels == 15):
        expected = 255 * (pixels == 15) if other.dtype == bool else scaled
        np.testing.assert_array_equal(levels(other), expected)
    for wrong in (np.full((4, 4), np.nan), np.zeros((4, 4), complex)):
        with pytest.raises(ValueError, match=r"pictures\[0\]: .*expected finite numbers"):
            levels(wrong)


def test_pictures_of_one_colour_and_equal_features_are_told(folder):
    for i in range(30):
        Image.fromarray(np.full((9, 9), 40, np.uint8)).save(folder / f"{i:02}.png")
    report = check_folder(folder)
    assert report["suspicious"] == [
        "pictures of one colour: 30: 00.png; 01.png; 02.png; 03.png; 04.png; ...",
    ]
    notes = load_folder(folder).notes
    assert "warning: the features of all pictures are the same" in notes
    Image.fromarray(np.arange(81, dtype=np.uint8).reshape(9, 9)).save(folder / "00.png")
    (folder / "01.png").write_bytes((folder / "00.png").read_bytes())
    assert "pictures that look like one before them: 1: 01.png" in check_folder(folder)["suspicious"]


def test_a_picture_larger_than_its_file_allows_is_refused(tmp_path):
    Image.new("1", (9_000, 9_000)).save(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match=r"bomb\.png: .*more than 500 times as many"):
        list(opened([tmp_path / "bomb.png"]))


# -- features of photographs ------------------------------------------------------------------------------------------


def test_photographs_of_one_colour_differ_from_another_and_striped_from_plain(folder):
    x = photo_features([folder / f"{i:02}.png" for i in range(12)])
    assert x.shape == (12, 1828)
    assert np.isfinite(x).all()
    distance = ((x[:, None] - x[None]) ** 2).sum(2)
    assert distance[0, 6] < min(distance[0, 1], distance[0, 2], distance[0, 3])  # same colour and stripes
    np.testing.assert_allclose((x[:, -64:] ** 2).sum(1), 49, rtol=1e-5)


def test_pictures_of_any_kind_open_the_same(folder, tmp_path):
    picture = Image.open(folder / "00.png")
    picture.save(tmp_path / "a.bmp")
    clear = picture.convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    (_, first), (_, second), (_, third) = opened([folder / "00.png", tmp_path / "a.bmp", clear])
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))
    assert third.getpixel((0, 0)) == (255, 255, 255)
    turned = picture.copy()
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was held upright
    turned.save(tmp_path / "turned.jpg", exif=exif)
    ((_, upright),) = opened([tmp_path / "turned.jpg"])
    assert upright.size == picture.size[::-1]


# -- writing and reading back -----------------------------------------------------------------------------------------


def test_a_data_set_written_is_read_back_whole(folder, tmp_path):
    split = load_folder(folder, query=5, train=20)
    save_split(split, tmp_path / "pairs.npz")
    again = load_dataset(tmp_path / "pairs.npz")
    for a, b in zip(split[:3], again[:3]):
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_array_equal(a.labels, b.labels)
        assert all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a.views, b.views))
    assert again.label_names == split.label_names
    assert again.makers == split.makers
    assert again.view_names == split.view_names
    assert [list(field) for field in again.items] == [list(field) for field in split.items]
    picture = folder / "07.png"
    np.testing.assert_array_equal(featurise(again, "image", [picture]), featurise(split, "image", [picture]))
    assert list(tmp_path.glob("*.npz")) == [tmp_path / "pairs.npz"]


def test_any_views_can_be_written(tmp_path):
    split = synthetic(train=20, query=5, dims=(3, 4, 5))
    save_split(split, tmp_path / "three.npz")
    again = load_dataset(tmp_path / "three.npz")
    assert again.view_names == ("view0", "view1", "view2")
    np.testing.assert_array_equal(again.query.views[2], split.query.views[2])
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        save_split(split, tmp_path / "three.mat")
    made = split._replace(makers=(Maker("words", ("a", "b", "c")),) * 3)
    with pytest.raises(ValueError, match="write them before preparing"):
        save_split(prepare(made, [["l2"], [], []]), tmp_path / "x.npz")


def test_damaged_facts_are_told(tmp_path):
    split = synthetic(train=20, query=5)
    save_split(split, tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as stored:
        arrays = dict(stored)
    for facts in (b"{", b"[]", b'{"format": 2}'):
        np.savez(tmp_path / "set.npz", **arrays | {"jaxcmh": np.frombuffer(facts, np.uint8)})
        with pytest.raises(ValueError, match=r"set\.npz: jaxcmh: damaged, or written by a later jaxcmh"):
            load_dataset(tmp_path / "set.npz")


# -- commands ---------------------------------------------------------------------------------------------------------


def test_features_command_refuses(folder, tmp_path, capsys):
    out = tmp_path / "pairs.npz"
    spoil(folder)
    options = ["--image", "photo", "--text", "words"]
    assert main(["features", str(folder), "-o", str(out), *options]) == 2
    assert "missing file" in capsys.readouterr().err
    assert not out.exists()
    assert main(["features", str(folder), "-o", str(out), *options, "--skip"]) == 0
    assert main(["features", str(folder), "-o", str(out), *options, "--skip"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["features", str(folder), "-o", str(tmp_path / "pairs.mat")]) == 2
    assert "ends in .npz" in capsys.readouterr().err


def test_check_command(folder, tmp_path, capsys):
    assert main(["data", "check", str(folder)]) == 0
    assert "striped: 15" in capsys.readouterr().out
    spoil(folder)
    assert main(["data", "check", str(folder), "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["usable"] == 30
    assert captured.err.strip() == "jaxcmh: 6 of 36 lines cannot be used"
    arrays = {"image": np.eye(8), "text": np.eye(8), "labels": np.arange(8) % 2}
    np.savez(tmp_path / "set.npz", **arrays)
    assert main(["data", "check", str(tmp_path / "set.npz")]) == 0
    del arrays["text"]
    np.savez(tmp_path / "set.npz", **arrays)
    assert main(["data", "check", str(tmp_path / "set.npz")]) == 2
    assert "no all.text" in capsys.readouterr().err


# -- download ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """A web server on this machine that serves a folder, and its address."""
    pytest.importorskip("pooch")
    (tmp_path / "web").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "web")
    ) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield tmp_path / "web", f"http://127.0.0.1:{running.server_port}/set.zip"
        running.shutdown()
        thread.join()


def test_wiki_is_downloaded_and_checked(shared_data, server, tmp_path, monkeypatch, capsys):
    web, address = server
    monkeypatch.setattr(download, "WIKI", address)
    with zipfile.ZipFile(web / "set.zip", "w") as archive:
        for file in download.WIKI_FILES:
            archive.write(shared_data / "wiki" / file, f"wikipedia_dataset/{file}")
    assert main(["data", "download", "wiki", "--root", str(tmp_path / "data")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "data" / "wiki")
    assert len(load_dataset("wiki", tmp_path / "data").train.ids) == 2173
    assert sorted(f.name for f in (tmp_path / "data" / "wiki").iterdir()) == sorted(download.WIKI_FILES)


def test_a_download_of_something_else_leaves_nothing(server, tmp_path, monkeypatch):
    web, address = server
    monkeypatch.setattr(download, "WIKI", address)
    monkeypatch.setattr(download, "WIKI_SHA256", "0" * 64)
    (web / "set.zip").write_text("moved")
    with pytest.raises(ValueError, match="not the archive that was there"):
        download.download("wiki", tmp_path / "data")
    with zipfile.ZipFile(web / "set.zip", "w") as archive:
        archive.writestr("raw_features.mat", "")
    with pytest.raises(ValueError, match="not the archive that was there"):
        download.download("wiki", tmp_path / "data")
    (web / "set.zip").unlink()
    with pytest.raises(OSError, match="cannot be downloaded"):
        download.download("wiki", tmp_path / "data")
    assert not any((tmp_path / "data" / "wiki").iterdir())
    with pytest.raises(
        ValueError, match=r"no stable address is known for nuswide10; put into .*nus-wide-tc10-yall\.mat"
    ):
        download.download("nuswide10", tmp_path)


def test_an_empty_list_is_told(folder):
    (folder / "metadata.csv").write_text("")
    found = check_folder(folder)
    assert found["usable"] == 0
    assert list(found["problems"]) == ["an empty list"]
