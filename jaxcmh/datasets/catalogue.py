"""What the rows of a trained model stand for and how rows of new things are made: all that a search needs and shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np

from jaxcmh import brief, store
from jaxcmh.checks import checked
from jaxcmh.extras import require

from .pictures import opened
from .preparation import Affine, Pca, TfIdf, UnitRows
from .raw import KINDS
from .split import Maker, Split, pictures_of

SIDE = 96  # pixels of a thumbnail's longer side
STEPS = {kind.__name__: kind for kind in (Affine, Pca, TfIdf, UnitRows)}


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items of a trained model, row by row; what is not known is empty. Compared by identity, as part of a pytree.

    Attributes:
        ids: (n,) int64, the items' rows in the complete data set.
        name: what the data set is called.
        view_names: such as ("image", "text").
        makers: how rows of each view are made of raw things.
        label_names: of the c classes.
        labels: (n, c) uint8, 0 or 1.
        names, texts: of each item.
        thumbnails: of each item the bytes of a small JPEG or PNG file.
        things: (n,) int64: rows with equal numbers are pairs of one picture with several texts.
    """

    ids: np.ndarray
    name: str = ""
    view_names: tuple[str, ...] = ()
    makers: tuple[Maker, ...] = ()
    label_names: tuple[str, ...] = ()
    labels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    names: Sequence[str] = ()
    texts: Sequence[str] = ()
    thumbnails: Sequence[bytes] = ()
    things: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    __repr__ = brief.text
    _repr_html_ = brief.table

    @cached_property
    def pairs(self) -> tuple[int, int]:
        """How many things there are, and of how many rows at most one of them is."""
        counts = np.unique(self.things, return_counts=True)[1]
        return len(counts), int(counts.max(initial=0))

    def labels_of(self, row: int) -> list[str]:
        """Names of the labels of an item."""
        return [self.label_names[c] for c in self.labels[row].nonzero()[0]] if self.label_names else []


@checked
def catalogue(split: Split, thumbnails: bool = False) -> Catalogue:
    """The catalogue of the training items of a data set.

    Args:
        split: the data set.
        thumbnails: keep a small picture of each item.
    Raises:
        ValueError: the data set has no pictures to make thumbnails of, or one cannot be read.
        FileNotFoundError: the file of a picture is not there.

    >>> from jaxcmh.datasets import load_dataset
    >>> catalogue(load_dataset("synthetic", train=90, query=10)).ids.tolist()[:3]
    [0, 1, 2]
    """
    ids, items = np.asarray(split.train.ids, np.int64), split.items
    _, first, things = np.unique(pictures_of(split, ids), return_index=True, return_inverse=True)
    things = np.asarray(things)
    return Catalogue(
        ids,
        split.name,
        split.view_names,
        split.makers,
        split.label_names,
        split.train.labels,
        [str(items.names[i]) for i in ids] if len(items.names) else (),
        [str(items.texts[i]) for i in ids] if len(items.texts) else (),
        small_pictures(split, ids) if thumbnails else (),
        ids[first][things],
    )


def joined(first: Catalogue, second: Catalogue) -> Catalogue:
    """The catalogue of the items of `first` and those of `second` behind them, whose numbers go on.

    Names, texts and thumbnails are those of all items or of none.

    Raises:
        ValueError: labels have other names, or views.
    """
    for name, wanted, got in (
        ("labels", first.label_names, second.label_names),
        ("views", first.view_names, second.view_names),
    ):
        if wanted and got and wanted != got:
            raise ValueError(f"{name}: expected {', '.join(wanted)}, as in training; got {', '.join(got)}")
    behind = int(first.ids.max(initial=-1)) + 1
    pairs = {name: (getattr(first, name), getattr(second, name)) for name in ("names", "texts", "thumbnails")}
    return replace(
        first,
        ids=np.concatenate([first.ids, second.ids + behind]),
        things=np.concatenate([first.things, second.things + behind]),
        labels=np.concatenate([first.labels, second.labels]),
        **{name: [*one, *other] if len(one) and len(other) else () for name, (one, other) in pairs.items()},
    )


def small_pictures(split: Split, ids: np.ndarray) -> list[bytes]:
    """A thumbnail of each of these items of a data set; errors as for `catalogue`."""
    pictures = split.items.pictures
    if not len(pictures):
        raise ValueError(f"thumbnails: {split.name or 'this data set'} has no pictures to make them of")
    _, first, things = np.unique(pictures_of(split, ids), return_index=True, return_inverse=True)
    small = [thumbnail(pictures[i]) for i in ids[first]]
    return [small[thing] for thing in things]


def thumbnail(picture: Any) -> bytes:
    """A small JPEG of a picture; of one that is ink on nothing, (height, width) uint8, a PNG, black on white."""
    require("icons", "PIL")
    drawn = isinstance(picture, np.ndarray) and picture.ndim == 2
    ((_, small),) = opened([255 - picture if drawn else picture], SIDE)
    small.thumbnail((SIDE, SIDE))
    content = BytesIO()
    small.convert("L" if drawn else "RGB").save(content, "PNG" if drawn else "JPEG", quality=80, optimize=True)
    return content.getvalue()


# -- in a file --------------------------------------------------------------------------------------------------------


def stored(known: Catalogue) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A catalogue as JSON and arrays, which `restored` reads."""
    arrays = {"items.ids": known.ids, "items.things": known.things, "items.labels": np.packbits(known.labels, axis=1)}
    for name, words in (("names", known.names), ("texts", known.texts)):
        arrays |= store.pieces(f"items.{name}", [word.encode(errors="replace") for word in words])
    arrays |= store.pieces("items.thumbnails", known.thumbnails)
    makers = []
    for m, maker in enumerate(known.makers):
        for s, step in enumerate(maker.steps):
            arrays |= {f"makers.{m}.{s}.{part}": value for part, value in step._asdict().items()}
        steps = [type(step).__name__ for step in maker.steps]
        makers.append({"kind": maker.kind, "vocabulary": maker.vocabulary, "steps": steps})
    facts = {"name": known.name, "views": known.view_names, "label_names": known.label_names, "makers": makers}
    facts["classes"] = known.labels.shape[1]
    return facts, arrays


def restored(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray], n: int) -> Catalogue:
    """The catalogue of n items that `stored` wrote.

    Raises:
        ValueError: its parts do not fit together.
    """
    makers = []
    for m, maker in enumerate(facts["makers"]):
        if maker["kind"] not in KINDS:
            raise ValueError(f"makers: expected one of {', '.join(KINDS)}; got {maker['kind']!r}")
        kinds = [STEPS[name] for name in maker["steps"]]
        steps = [kind(*(arrays[f"makers.{m}.{s}.{part}"] for part in kind._fields)) for s, kind in enumerate(kinds)]
        makers.append(Maker(maker["kind"], _words(maker["vocabulary"]), tuple(steps)))
    label_names, packed = _words(facts["label_names"]), arrays["items.labels"]
    if len(label_names) not in (0, facts["classes"]) or packed.shape[1] != -(-facts["classes"] // 8):
        raise ValueError(f"labels: expected {facts['classes']} classes; got {len(label_names)} names")
    names, texts = ([piece.decode() for piece in store.cut(f"items.{name}", arrays)] for name in ("names", "texts"))
    known = Catalogue(
        arrays["items.ids"],
        "".join(_words([facts["name"]])),
        _words(facts["views"]),
        tuple(makers),
        label_names,
        np.unpackbits(packed, axis=1, count=facts["classes"]),
        names,
        texts,
        store.cut("items.thumbnails", arrays),
        arrays["items.things"],
    )
    for name in ("ids", "things", "labels", "names", "texts", "thumbnails"):
        if len(getattr(known, name)) not in ((n,) if name in ("ids", "things", "labels") else (0, n)):
            raise ValueError(f"{name}: expected one for each of {n} items; got {len(getattr(known, name))}")
    if {known.ids.dtype, known.things.dtype} != {np.dtype(np.int64)}:
        raise ValueError("ids: expected integers")
    return known


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"expected texts; got {value!r:.100}")
    return tuple(value)
