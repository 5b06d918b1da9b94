"""The benchmark sets by name: which files they are read from, and how each paper splits them, as data."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcmh.checks import PathLike, Seed, checked, choice

from .files import read_list
from .reading import MissingArrayError, Selection, load_files
from .split import Items, Split


class Recipe(NamedTuple):
    """How a paper splits a data set.

    Attributes:
        query: number of random queries, or below 1 their share; None for the split that the files bring.
        train: number of random training rows; None for all that are no queries. The database is always all of those.
        note: what else the paper says.
        seeds: how many runs the paper averages, each on a random split of its own; none prints its seeds, here they
            are 0, 1, ...
        halves: "text" makes two views of the even and the odd tags, see `load_named`.

    >>> NAMED["nuswide10"].recipes["imads"]._replace(note="")
    Recipe(query=2000, train=10000, note='', seeds=15, halves=None)
    """

    query: float | None = None
    train: int | None = None
    note: str = ""
    seeds: int = 1
    halves: str | None = None


class Named(NamedTuple):
    """A benchmark set.

    Attributes:
        rows: number of items the papers have.
        recipes: paper -> how it splits them; "default" where no paper is asked for.
        files: which files to get, for the message when they are not there.
        least_tag_uses: tags that fewer items have are dropped, and items left without a tag.
        top_labels: only the most frequent classes are kept, and items that have one of them.
    """

    rows: int
    recipes: Mapping[str, Recipe]
    files: str
    least_tag_uses: int = 0
    top_labels: int = 0


OFFICIAL = "official split of the authors, 2,173 and 693"
DCMH_FILES = "{0}-iall.mat (or -xall.mat, features of the images), {0}-yall.mat (tags) and {0}-lall.mat (labels)"
ONE_FILE = (
    "or one .mat file with I_tr, T_tr, L_tr, I_te, T_te, L_te (or XDatabase, YDatabase, databaseL, XTest, YTest, testL)"
)

NAMED = {
    "wiki": Named(
        2866,
        {
            "default": Recipe(note=OFFICIAL),
            "acqh": Recipe(693, note="random", seeds=5),
            "aah": Recipe(note=OFFICIAL),
            "imads": Recipe(note=f"{OFFICIAL} (the paper gives the sizes)", seeds=15),
            "dcgh": Recipe(693, note="random"),
        },
        "raw_features.mat, trainset_txt_img_cat.list and testset_txt_img_cat.list of "
        "http://www.svcl.ucsd.edu/projects/crossmodal/wikipedia_dataset.zip "
        "(`jaxcmh data download wiki --root FOLDER` fetches them)",
    ),
    "mirflickr25k": Named(
        20_015,
        {
            "default": Recipe(2000),
            "a2lh": Recipe(2000, note="the paper does not give the sizes; those of its group's other papers"),
            "acqh": Recipe(2000, note="150-d histograms and 500-d latent semantic vectors", seeds=5),
            "aah": Recipe(
                0.05,
                note="5 % are queries, 836 of its 16,738 items; 150-d edge histograms, tags reduced to 500-d by PCA",
            ),
            "aah-deep": Recipe(2000, 10_000, note="AAH beside DCMH and SSAH"),
            "imads": Recipe(2000, note="512-d GIST and 1,386-d tags", seeds=15),
            "dcgh": Recipe(2000),
            "tags": Recipe(2000, note="no paper's: the even and the odd tags, without the images", halves="text"),
        },
        f"{DCMH_FILES.format('mirflickr25k')}, {ONE_FILE}",
        least_tag_uses=20,
    ),
    "nuswide10": Named(
        186_577,
        {
            "default": Recipe(2000),
            "a2lh": Recipe(2000, note="the paper does not give the sizes; those of its group's other papers"),
            "acqh": Recipe(2000, seeds=5),
            "aah": Recipe(
                0.01, 25_000, note="1 % are queries; trains on 25,000 of the others, 128-d PCA of VGG features"
            ),
            "imads": Recipe(2000, 10_000, note="trains on 10,000 pairs, retrieves from 184,577", seeds=15),
            "dcgh": Recipe(1867, note="1 % are queries"),
        },
        f"{DCMH_FILES.format('nus-wide-tc10')}, {ONE_FILE}",
        top_labels=10,
    ),
    "iaprtc12": Named(
        20_000,
        {"default": Recipe(2000), "dcgh": Recipe(2000)},
        f"{DCMH_FILES.format('iapr-tc12')}, {ONE_FILE}",
    ),
}
WIKI_FILES = ("raw_features.mat", "trainset_txt_img_cat.list", "testset_txt_img_cat.list")
WIKI_CLASSES = ("art", "biology", "geography", "history", "literature", "media", "music", "royalty", "sport", "warfare")


def select(named: Named, text: Any, labels: np.ndarray) -> Selection:
    """The rows, tags and classes of a raw set that the papers keep; everything, where this has been done before.

    Args:
        named: the data set.
        text: (n, d) tags, array or sparse.
        labels: (n, c) 0/1.
    """
    everything = slice(None)
    if len(labels) <= named.rows:
        return Selection(everything, everything, everything, f"{len(labels)} rows, none left out")
    columns, classes = np.arange(text.shape[1]), np.arange(labels.shape[1])
    if named.least_tag_uses:
        columns = np.flatnonzero(np.asarray((text != 0).sum(0)).ravel() >= named.least_tag_uses)
    if named.top_labels:
        classes = np.sort(np.argsort(-labels.sum(0), kind="stable")[: named.top_labels])
    rows = labels[:, classes].any(1)
    if named.least_tag_uses:
        rows &= np.asarray((text[:, columns] != 0).sum(1)).ravel() > 0
    note = f"kept {rows.sum()} of {len(labels)} rows, {len(columns)} of {text.shape[1]} tags, {len(classes)} classes"
    return Selection(np.flatnonzero(rows), columns, classes, note)


@checked
def load_named(
    name: str, root: PathLike, *, paper: str = "default", seed: Seed = 0, halves: str | None = None, **options: Any
) -> Split:
    """One of the benchmark sets, read from the user's files, split as a paper does.

    Args:
        name: wiki, mirflickr25k, nuswide10 or iaprtc12.
        root: the folder with its files, or one with a folder of that name in it. Files of any known layout will do.
        paper: whose split: a2lh, acqh, aah, imads or dcgh, where they use the set, or tags for two halves of
            MIRFlickr's tags; by default the split of the files, or 2,000 random queries.
        seed: of a random split. The papers give none.
        halves: "text" makes two views of the even and the odd tags, where the features of the images are not at hand.
        options: see `jaxcmh.datasets.load_files`.
    Raises:
        FileNotFoundError: files are missing; the message says which to get and where to put them.
        ValueError: an unknown paper, or files that are not what they should be.
    Example:
        >>> load_named("wiki", "/nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: wiki: /nowhere: no such file or folder; put into /nowhere: raw_features.mat, ...
    """
    root = Path(root)
    named = NAMED[choice(name, "name", tuple(NAMED))]
    if paper not in named.recipes:
        close = difflib.get_close_matches(paper, named.recipes, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"paper: no split of {paper!r} for {name}{hint} known: {', '.join(named.recipes)}")
    recipe = named.recipes[paper]
    folder = next((f for f in (root / name, root) if f.is_dir() and any(f.glob("*.*"))), root)
    paths: Any = [folder / file for file in WIKI_FILES] if (folder / WIKI_FILES[0]).is_file() else folder
    halves = halves or recipe.halves
    sizes = {"query": recipe.query, "train": recipe.train} if paper != "default" else {}
    try:
        split = load_files(
            paths, name=name, seed=seed, halves=halves, select=lambda t, y: select(named, t, y), **{**sizes, **options}
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: {error}; put into {folder}: {named.files}") from None
    except MissingArrayError as error:
        raise ValueError(f"{name}: {error}; put into {folder}: {named.files}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    notes = [*split.notes, *([f"split of {paper}: {recipe.note}"] if recipe.note and paper != "default" else [])]
    if name != "wiki":
        return split._replace(notes=tuple(notes))
    lists = [folder / file for file in WIKI_FILES[1:]]
    names = [text for file in lists for text in read_list(file)[0]] if lists[0].is_file() else []
    return split._replace(notes=tuple(notes), label_names=WIKI_CLASSES, items=Items(names))
