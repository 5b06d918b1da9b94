"""Layouts in which features of the benchmarks circulate, recognised by the names of the arrays.

A role is `part.kind`: the part is train, query, database, valid or all (the whole set in one array); the kind is image,
text, labels, rows (which rows of the whole set belong to the part), names or split.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from .files import Stored, contents
from .split import PARTS

_DEEP = {"imgs_deep": "image", "imgs": "image", "imgs_labels": "labels", "texts_labels": "labels2"}
_DEEP |= dict.fromkeys(("text", "texts", "texts_doc", "texts_idx"), "text")
_PARTS = {"train": "train", "valid": "valid", "test": "query"}

# Array name in lower case -> role. Where several names have one role, the first present is taken.
LAYOUTS: dict[str, dict[str, str]] = {
    "MATLAB family (I_tr, T_tr, L_tr, ...)": {
        f"{letter}_{short}": f"{part}.{kind}"
        for short, part in (("tr", "train"), ("te", "query"), ("db", "database"))
        for letter, kind in (("i", "image"), ("v", "image"), ("t", "text"), ("t_tfidf", "text"), ("l", "labels"))
    },
    "Wiki's lists": {"trainset_txt_img_cat": "train.labels", "testset_txt_img_cat": "query.labels"},
    "DCMH family (images / IAll / XAll, YAll, LAll)": {
        **dict.fromkeys(("iall", "xall", "images", "vall"), "all.image"),
        "yall": "all.text",
        "lall": "all.labels",
    },
    "XTest, YTest, XDatabase, YDatabase, testL, databaseL": {
        f"{letter}{part}": f"{role}.{kind}"
        for part, role in (("train", "train"), ("test", "query"), ("database", "database"))
        for letter, kind in (("x", "image"), ("v", "image"), ("y", "text"))
    }
    | {"trainl": "train.labels", "testl": "query.labels", "databasel": "database.labels"},
    "whole set (image, text, label)": {
        "image": "all.image",
        "text": "all.text",
        **dict.fromkeys(("label", "labels"), "all.labels"),
        "names": "all.names",
        "split": "all.split",
    },
    "DSCMR (train_img, train_txt, train_img_lab, ...)": {
        f"{name}_{kind}": f"{part}.{role}"
        for name, part in _PARTS.items()
        for kind, role in (("img", "image"), ("txt", "text"), ("img_lab", "labels"), ("txt_lab", "labels2"))
    },
    "MRL (train_imgs_deep, train_text, train_imgs_labels, ...)": {
        f"{name}_{kind}": f"{part}.{role}" for name, part in _PARTS.items() for kind, role in _DEEP.items()
    },
    "clip-retrieval (img_emb, text_emb, metadata)": {
        "img_emb": "all.image",
        "text_emb": "all.text",
        "image_path": "all.names",
    },
    "RoPH struct (X1, X2, Y, split; items are columns)": {
        "data.x1": "all.image",
        "data.x2": "all.text",
        "data.y": "all.labels",
        "data.split.ind_train": "train.rows",
        "data.split.ind_test": "query.rows",
    },
}
ITEMS_ARE_COLUMNS = ("data.x1", "data.x2", "data.y")
CLIP_FOLDERS = ("img_emb", "text_emb", "metadata")
PIECE = re.compile(r"_(\d+)$")
ROLES = {key: role for names in LAYOUTS.values() for key, role in names.items()}


class Recognised(NamedTuple):
    """What was recognised in some files.

    Attributes:
        layouts: names of the layouts that arrays belong to.
        chosen: role -> the array that has it.
        spare: arrays that could have had a role that another one has, with that role.
        unused: arrays without a role.
    """

    layouts: tuple[str, ...]
    chosen: dict[str, Stored]
    spare: dict[str, list[Stored]]
    unused: list[Stored]


def files_of(paths: Any) -> list[Path]:
    """The data files meant by a file, a folder, or a sequence of files.

    Raises:
        FileNotFoundError: a path that is not there, or a folder without data files.
    """
    listed = [Path(p).expanduser() for p in ([paths] if isinstance(paths, str | Path) else paths)]
    files: list[Path] = []
    for path in listed:
        if path.is_dir():
            suffixes = (".mat", ".h5", ".hdf5", ".h5py", ".npz", ".npy", ".parquet", ".list")
            places = [path, *(path / name for name in CLIP_FOLDERS if (path / name).is_dir())]
            inside = [f for place in places for f in place.iterdir() if f.suffix in suffixes]
            if not inside:
                raise FileNotFoundError(
                    f"{path}: no {', '.join(suffixes)} file in this folder; of pictures, ask `jaxcmh data check`"
                )
            files += sorted((f for f in inside if f.name != "categories.list"), key=_in_order)
        elif path.is_file():
            files.append(path)
        elif path.exists():
            raise ValueError(f"{path}: expected a file or a folder; got a pipe, socket or device")
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    if not files:
        raise FileNotFoundError("no files given")
    return files


def _in_order(path: Path) -> tuple[str, int, str]:
    """By folder, and pieces of one array by their number: img_emb_10 after img_emb_9."""
    piece = PIECE.search(path.stem)
    return str(path.parent), int(piece[1]) if piece else -1, path.name


def _whole(arrays: list[Stored]) -> Stored:
    """The array that numbered files hold a piece of each, one behind the other."""
    first, n = arrays[0], sum(array.shape[0] for array in arrays)
    for array in arrays:
        if array.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"{array.file}: {array.key}: expected {first.shape[1:]} like {first.key}, got {array.shape}"
            )

    def values(array: Stored) -> Any:
        if array.blocks is None:
            return array.read() if array.read else None
        out = np.empty(array.shape[::-1] if array.outer else array.shape, array.dtype)
        for _ in array.blocks(out, 0):
            pass
        return out.T if array.outer else out

    def read() -> Any:
        return np.concatenate([values(array) for array in arrays])

    return first._replace(
        key=normal_key(first), shape=(n, *first.shape[1:]), read=read, blocks=None, strands=1, outer=0, place=None
    )


def recognise(files: Iterable[Path], keys: Mapping[str, str] | None = None) -> Recognised:
    """Find out which array of some files has which role.

    Args:
        files: data files that belong together.
        keys: role -> array name, for names no layout knows or to prefer one of several; the names of the other roles
            are still recognised.
    Raises:
        ValueError: a key that is not there, or a role that arrays of several files have.
    """
    stored = [array for file in files for array in contents(file)]
    wanted = {name: role for role, name in (keys or {}).items()}
    names = [s.key for s in stored]
    for name, role in wanted.items():
        part, dot, kind = role.partition(".")
        if part not in (*PARTS, "valid", "all") or not dot or not kind:
            raise ValueError(f"keys: {role!r} is no role; expected part.kind, such as train.image or all.labels")
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"keys: no array {name!r}{hint} there are {', '.join(sorted(set(names)))}")
    candidates: dict[str, list[Stored]] = {}
    unused = []
    for array in stored:
        role = wanted.get(array.key) or ROLES.get(normal_key(array))
        if role is None or not array.usable or (role in (keys or {}) and array.key not in wanted):
            unused.append(array)
        else:
            candidates.setdefault(role, []).append(turned(array) if normal_key(array) in ITEMS_ARE_COLUMNS else array)
    for role, arrays in candidates.items():
        pieces = [array for array in arrays if PIECE.search(array.file.stem) and array.usable]
        if len({array.file.parent for array in pieces}) == 1 and len(pieces) == len(arrays) > 1:
            candidates[role] = [_whole(arrays)]
    order = list(ROLES)
    chosen, spare = {}, {}
    for role, arrays in candidates.items():
        arrays.sort(key=lambda a: (len(a.shape) > 2, order.index(normal_key(a)) if normal_key(a) in order else 0))
        if len(arrays) > 1 and arrays[0].key == arrays[1].key:
            raise ValueError(
                f"{arrays[0].key} is in {arrays[0].file} and in {arrays[1].file}: give the files of one layout"
            )
        chosen[role], spare[role] = arrays[0], arrays[1:]
    layouts = tuple(
        name
        for name, known in LAYOUTS.items()
        if any(known.get(normal_key(array)) == role for role, array in chosen.items())
    )
    return Recognised(layouts, chosen, {role: arrays for role, arrays in spare.items() if arrays}, unused)


def normal_key(array: Stored) -> str:
    """Its name as the layouts have it.

    Files such as mirflickr25k-yall.npy carry the data set's name before it, pieces such as img_emb_0.npy a number
    behind it, and fields such as data.IAll the name of their struct.
    """
    key = array.key.lower().rsplit("-", 1)[-1]
    names = (key, PIECE.sub("", key), key.rsplit(".", 1)[-1])
    return next((name for name in names if name in ROLES), key)


def turned(array: Stored) -> Stored:
    """The array with its axes exchanged; without copying, unless it is sparse."""
    read = array.read

    def transposed() -> Any:
        value: Any = read() if read else None
        return value.T.tocsr() if sparse.issparse(value) else value.T

    outer = 1 - array.outer
    return array._replace(shape=array.shape[::-1], read=transposed if read else None, outer=outer, place=None)
