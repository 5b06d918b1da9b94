"""Named data sets: icons, wiki, synthetic."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jaxcmh import extras as optional
from jaxcmh.datasets import featurise, icons, load_dataset, one_hot, synthetic, take
from jaxcmh.datasets.files import contents, read_list

PIL_Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def split(cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXCMH_CACHE", str(cache))
        return load_dataset("icons")


def rows(split):
    """Every item's first view in the order of `items`."""
    x = np.empty((len(split.items.names), split.train.views[0].shape[1]), np.float32)
    for part in (split.train, split.query):
        x[part.ids] = part.views[0]
    return x


# -- icons ------------------------------------------------------------------------------------------------------------


def test_icons_shapes_and_split(split):
    assert len(split.items.names) == 1335
    assert len(split.label_names) == split.train.labels.shape[1] == 52
    assert (np.concatenate([split.train.labels, split.query.labels]).sum(0) >= 20).all()
    assert split.database is split.train
    assert [v.shape for v in split.query.views] == [(267, 1764), (267, 2938)]
    assert not set(split.train.ids.tolist()) & set(split.query.ids.tolist())
    assert split.query.labels.any(1).all()
    assert all(np.isfinite(v).all() for v in split.train.views)
    assert split.items.pictures.shape == (1335, 64, 64)


def test_icons_vocabulary_is_learned_from_training_icons_only(split):
    assert split.train.views[1].shape[1] == 2938
    assert (split.train.views[1].sum(0) >= 1).all()


def test_icons_labels_match_the_packages_categories(split):
    part = (
        split.train if 5 * (split.items.names.index("dog") // 5) + 4 != split.items.names.index("dog") else split.query
    )
    row = np.flatnonzero(part.ids == split.items.names.index("dog"))[0]
    assert {split.label_names[c] for c in np.flatnonzero(part.labels[row])} == {"Animals"}
    assert "puppy" in split.items.texts[part.ids[row]].split()


def test_icons_cache_is_used_and_rebuilt_when_damaged(split, cache, tmp_path, monkeypatch):
    built = icons._read_cache(next(cache.iterdir()))
    assert built
    builds = []
    monkeypatch.setattr(icons, "_build", lambda: builds.append(1) or built)
    monkeypatch.setenv("JAXCMH_CACHE", str(tmp_path))
    load_dataset("icons")
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    np.testing.assert_array_equal(load_dataset("icons").train.views[0], split.train.views[0])
    assert len(builds) == 1, "the second call reads the cache"

    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for number, damaged in enumerate((bytes(flipped), whole[:-1000], whole[:5], b"")):
        file.write_bytes(damaged)
        again = load_dataset("icons")
        np.testing.assert_array_equal(again.train.views[0], split.train.views[0])
        np.testing.assert_array_equal(again.items.pictures, split.items.pictures)
        assert len(builds) == number + 2
        assert file.stat().st_size == len(whole)
    assert list(tmp_path.iterdir()) == [file], "no temporary files stay behind"

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXCMH_CACHE", str(tmp_path / "file" / "folder"))
    with pytest.warns(UserWarning, match="JAXCMH_CACHE"):
        np.testing.assert_array_equal(load_dataset("icons").train.labels, split.train.labels)


def test_icons_without_the_extra_say_what_to_install(monkeypatch):
    monkeypatch.setattr(optional.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"jaxcmh\[icons\]"):
        load_dataset("icons")


def test_a_new_text_gets_the_bag_of_words_of_the_same_words(split):
    bag = featurise(split, "text", ["A DOG, a puppy!"])
    assert bag.sum() == 3
    best = (split.train.views[1] @ bag[0]).argmax()
    assert split.items.names[split.train.ids[best]] == "dog"
    with pytest.raises(ValueError, match=r"texts\[1\].*qwzx"):
        featurise(split, "text", ["dog", "qwzx"])


def test_a_drawn_icon_is_recognised_in_any_size_colour_and_ground(split, tmp_path):
    x = rows(split)
    for name in ("house", "dog", "arrow-up", "heart"):
        number = split.items.names.index(name)
        ink = PIL_Image.fromarray(split.items.pictures[number])
        large = ink.resize((300, 300))
        transparent = PIL_Image.new("RGBA", (300, 300), (200, 30, 30, 255))
        transparent.putalpha(large)
        shifted = PIL_Image.new("L", (640, 400), 255)
        shifted.paste(PIL_Image.eval(large, lambda level: 255 - level), (300, 50))
        transparent.save(tmp_path / "icon.png")
        new = featurise(split, "image", [np.asarray(ink), tmp_path / "icon.png", str(tmp_path / "icon.png"), shifted])
        assert [int(((x - row) ** 2).sum(1).argmin()) for row in new] == [number] * 4


def test_bad_pictures_and_views_are_named(split, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png: not a picture"):
        featurise(split, 0, [tmp_path / "text.png"])
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        featurise(split, 0, [tmp_path / "gone.png"])
    with pytest.raises(ValueError, match=r"pictures\[0\]: the picture is blank"):
        featurise(split, 0, [np.zeros((8, 8), np.uint8)])
    with pytest.raises(ValueError, match=r"view: expected 0\.\.1 or one of image, text, got 2"):
        featurise(split, 2, ["dog"])
    with pytest.raises(ValueError, match="raw: expected a sequence"):
        featurise(split, 1, "dog")
    with pytest.raises(ValueError, match="features only"):
        featurise(synthetic(train=10, query=2), 1, ["dog"])


def test_importing_data_sets_imports_no_jax():
    code = "import sys, jaxcmh.datasets; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


# -- wiki -------------------------------------------------------------------------------------------------------------


def test_wiki_official_split(shared_data, monkeypatch):
    split = load_dataset("wiki", shared_data / "wiki")
    assert [v.shape for v in split.train.views] == [(2173, 128), (2173, 10)]
    assert [v.shape for v in split.query.views] == [(693, 128), (693, 10)]
    assert split.train.labels.sum(0).tolist() == [138, 272, 244, 248, 202, 178, 186, 144, 214, 347]
    assert (split.query.labels.sum(1) == 1).all()
    assert split.query.ids.tolist() == list(range(2173, 2866))
    assert split.items.names[0] == "b3150b0c281960b6a6d33407824fd40a-3"
    monkeypatch.setenv("JAXCMH_DATA", str(shared_data))
    np.testing.assert_array_equal(load_dataset("wiki").train.views[0], split.train.views[0])


def test_wiki_without_a_folder_says_where_it_looks(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXCMH_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"\$JAXCMH_DATA in which folder its files are: raw_features\.mat"):
        load_dataset("wiki")
    with pytest.raises(FileNotFoundError, match=r"put into .*raw_features\.mat.*svcl"):
        load_dataset("wiki", tmp_path)
    with pytest.raises(FileNotFoundError, match="not a folder"):
        load_dataset("wiki", tmp_path / "gone")


def test_wiki_list_lines_are_checked(tmp_path):
    path = tmp_path / "a.list"
    good = "0" * 32 + "-2.4\tpicture\t3\n"
    path.write_text("A" + good + good)
    texts, images, classes = read_list(path)
    assert texts == ["0" * 32 + "-2.4"] * 2
    assert images == ["picture"] * 2
    assert classes.tolist() == [3, 3]
    for bad in ("A" + good, good.replace("\t3", "\t11"), good.replace("\t", " "), "\n"):
        path.write_text(good + bad)
        with pytest.raises(ValueError, match=r"a\.list: .*line 2"):
            contents(path)


# -- synthetic --------------------------------------------------------------------------------------------------------


def test_synthetic_is_seeded_and_has_the_shape_asked_for():
    a, b, c = (synthetic(train=300, query=40, dims=(8, 20, 12), labels=6, seed=seed) for seed in (1, 1, 2))
    assert [v.shape for v in a.query.views] == [(40, 8), (40, 20), (40, 12)]
    assert all(np.array_equal(x, y) for x, y in zip(a.train.views, b.train.views))
    assert not np.array_equal(a.train.views[0], c.train.views[0])
    assert a.train.labels.any(1).all()
    assert a.name == "synthetic:small(train=300,query=40,dims=(8, 20, 12),labels=6,noise=0.5,seed=1)"


def test_synthetic_labels_have_the_cardinality_and_are_correlated():
    labels = synthetic("mirflickr25k", train=18_000, query=1, dims=(2, 2)).train.labels.astype(float)
    assert labels.sum(1).mean() == pytest.approx(3.8, abs=0.2)
    frequency = labels.mean(0)
    assert (np.diff(frequency) <= 0.02).all()
    correlation = np.corrcoef(labels.T) - np.eye(24)
    assert correlation.max() > 0.15
    single = synthetic(train=500, query=1, cardinality=1.0, labels=7).train.labels
    assert (single.sum(1) == 1).all()


def test_synthetic_noise_goes_from_told_by_the_labels_to_unrelated():
    """Nearest neighbours share a label without noise, less often with more of it; texts at noise 1 are unrelated."""

    def share(noise, view):
        s = synthetic(train=600, query=100, noise=noise)
        q, x = s.query.views[view], s.train.views[view]
        distance = (q**2).sum(1)[:, None] + (x**2).sum(1) - 2 * q @ x.T
        relevant = s.query.labels @ s.train.labels.T > 0
        nearest = np.argsort(distance, 1)[:, :5]
        return np.take_along_axis(relevant, nearest, 1).mean(), relevant.mean()

    for view in (0, 1):
        clean, half, full = (share(noise, view)[0] for noise in (0.0, 0.5, 1.0))
        assert clean > half > full
    assert share(0.0, 0)[0] > 0.95
    at_one, chance = share(1.0, 1)
    assert abs(at_one - chance) < 0.06


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"shape": "larg"}, "shape: unknown 'larg'"),
        ({"train": 0}, "train"),
        ({"query": 2.5}, "query"),
        ({"dims": (4,)}, "dims"),
        ({"dims": (4, 0)}, "dims"),
        ({"labels": 1}, "labels"),
        ({"cardinality": 9.0}, "cardinality"),
        ({"noise": 1.5}, "noise"),
    ],
)
def test_synthetic_refuses_bad_sizes(options, culprit):
    with pytest.raises(ValueError, match=culprit):
        synthetic(**options)


# -- names and helpers ------------------------------------------------------------------------------------------------


def test_unknown_names_and_options_are_told():
    with pytest.raises(ValueError, match=r"'icon'; did you mean 'icons'\?"):
        load_dataset("icon")
    with pytest.raises(ValueError, match="sise"):
        load_dataset("synthetic", sise=3)
    with pytest.raises(ValueError, match=r"options: .*seed"):
        load_dataset("icons", seed=3)


def test_one_hot_and_take():
    with pytest.raises(ValueError, match="classes"):
        one_hot([0, -1])
    with pytest.raises(ValueError, match="classes"):
        one_hot([0, 3], 3)
    with pytest.raises(ValueError, match="classes"):
        one_hot([[0], [1]])
    part = take(synthetic(train=10, query=2).train, np.arange(10) > 6)
    assert part.ids.tolist() == [7, 8, 9]
    assert len(part.labels) == len(part.views[0]) == 3
