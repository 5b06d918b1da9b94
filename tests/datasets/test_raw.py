"""Words of texts in all scripts, and of vocabularies that earlier versions made."""

import unicodedata

import numpy as np
import pytest

from jaxcmh.datasets import Items, Maker, Part, Split, featurise, load_dataset, save_split
from jaxcmh.datasets.raw import plain_words, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("आधुनिक मानक", ["आधुनिक", "मानक"]),
        ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),
        ("مَرْحَبًا، بِكَ", ["مَرْحَبًا", "بِكَ"]),
        ("می\u200cخواهم", ["میخواهم"]),
        (unicodedata.normalize("NFD", "Café naïve"), ["café", "naïve"]),
        ("İSTANBUL İstanbul", ["istanbul", "istanbul"]),
        ("红色的灯笼，旧", ["红色", "色的", "的灯", "灯笼", "旧"]),
        ("ภาษาไทย", ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]),
        ("ที่นี่", ["ที่นี่"]),
        ("新しいiPhone15を", ["新し", "しい", "iphone15", "を"]),
        ("가방 하나", ["가방", "하나"]),
        ("snake_case, don't", ["snake", "case", "don", "t"]),
    ],
)
def test_words_are_those_of_the_script(text, expected):
    assert words(text) == expected


def test_words_of_ascii_are_as_they_were():
    text = "".join(map(chr, range(1, 128))) * 2
    assert words(text) == plain_words(text)
    assert plain_words("मानक") == ["म", "नक"]


def test_vocabularies_of_earlier_files_still_answer(tmp_path):
    x = np.eye(4, 2, dtype=np.float32)
    part = Part((x, x), np.eye(2, dtype=np.uint8)[[0, 1, 0, 1]], np.arange(4))
    query = Part((x[:1], x[:1]), part.labels[:1], np.array([4]))
    for kind, vocabulary in (("words", ("नक", "म")), ("unicode-words", ("cat", "मानक"))):
        makers = Maker("photo"), Maker(kind, vocabulary)
        split = Split(part, query, part, "set", ("image", "text"), ("a", "b"), Items(["x"] * 5), makers)
        save_split(split, tmp_path / "set.npz")
        rows = featurise(load_dataset(tmp_path / "set.npz"), "text", ["मानक"])
        assert rows.tolist() == ([[1, 1]] if kind == "words" else [[0, 1]])
