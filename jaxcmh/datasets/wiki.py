"""The Wikipedia set of Rasiwasia et al. (2010) as its authors give it: `raw_features.mat` and two `.list` files."""

import re
from pathlib import Path

import numpy as np
import scipy.io

from .split import Items, Part, Split, one_hot

CLASSES = ("art", "biology", "geography", "history", "literature", "media", "music", "royalty", "sport", "warfare")
FILES = ("raw_features.mat", "trainset_txt_img_cat.list", "testset_txt_img_cat.list")


def read_list(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Text ids, image ids and classes counted from 0 of a `.list` file: three columns parted by tabs, classes 1 to 10.

    A stray character before the id of the first line (there is one in the published training list) is dropped.

    Raises:
        ValueError: naming the line that does not fit.
    """
    texts, images, classes = [], [], []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        fields = line.split("\t")
        found = re.search(r"[0-9a-f]{32}-[\d.]+$", fields[0])
        stray = number == 1  # allowed before the first id
        if len(fields) != 3 or not found or found.start() > stray or fields[2].strip() not in map(str, range(1, 11)):
            raise ValueError(
                f"{path}, line {number}: expected text id, image id, class 1..10 parted by tabs, got {line!r}"
            )
        texts.append(found[0])
        images.append(fields[1])
        classes.append(int(fields[2]) - 1)
    return texts, images, np.array(classes, int)


def load_wiki(root: Path) -> Split:
    """Wiki with its official split: 2,173 training pairs (the database too) and 693 queries, 10 classes, one a pair.

    View 0: SIFT bag of visual words, 128-d. View 1: 10 LDA topics. Both float64 as distributed.

    Args:
        root: the folder that holds the three files, or one with such a folder `wiki` in it.
    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is not what it should be; the message names file and key or line.
    """
    folder = next((f for f in (root, root / "wiki") if (f / FILES[0]).is_file()), root)
    for name in FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file; Wiki needs {', '.join(FILES)} in one folder")
    try:
        arrays = scipy.io.loadmat(folder / FILES[0], variable_names=["I_tr", "I_te", "T_tr", "T_te"])
    except Exception as error:  # scipy raises a dozen kinds for damaged files
        raise ValueError(f"{folder / FILES[0]}: cannot be read as a MAT file ({error})") from None
    parts, names, start = [], [], 0
    for suffix, file in zip(("tr", "te"), FILES[1:]):
        texts, _, classes = read_list(folder / file)
        views = []
        for key, columns in ((f"I_{suffix}", 128), (f"T_{suffix}", 10)):
            if key not in arrays or arrays[key].shape != (len(classes), columns):
                got = arrays[key].shape if key in arrays else "nothing"
                raise ValueError(
                    f"{folder / FILES[0]}: {key}: expected {(len(classes), columns)} as in {file}, got {got}"
                )
            if not np.isfinite(arrays[key]).all():
                raise ValueError(f"{folder / FILES[0]}: {key}: holds values that are not finite")
            views.append(arrays[key])
        parts.append(Part(tuple(views), one_hot(classes, 10), np.arange(start, start + len(classes))))
        start += len(classes)
        names += texts
    train, query = parts
    return Split(train, query, train, "wiki", ("image", "text"), CLASSES, Items(names))
