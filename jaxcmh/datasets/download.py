"""Fetch the data sets that have a stable public address. Nothing else in the package opens a connection."""

import tempfile
import zipfile
from pathlib import Path

from jaxcmh.checks import PathLike, checked
from jaxcmh.extras import require
from jaxcmh.store import digest

from .named import NAMED, WIKI_FILES, load_named
from .split import Split

WIKI = "http://www.svcl.ucsd.edu/projects/crossmodal/wikipedia_dataset.zip"
# Of the arrays and classes, not of the archive: they are what results depend on, however they are packed.
WIKI_SHA256 = "db08469dbbbee2d71d321b1d9e81fcbc3d6010dfccad99fef4391edf514dc5f6"


def content_sha256(split: Split) -> str:
    """SHA-256 over views and labels of the training part and the queries."""
    return digest(("", array) for part in (split.train, split.query) for array in (*part.views, part.labels))


@checked
def download(name: str, root: PathLike) -> Path:
    """Download a benchmark set, check it, and put it where `load_dataset(name, root)` looks.

    Args:
        name: "wiki"; the others have no address that can be relied on.
        root: a folder; the files go into a folder `name` in it.
    Returns:
        The folder with the files.
    Raises:
        ValueError: no address is known (the message says which files to get), or what came is not the data set.
        ModuleNotFoundError: the extra `download` is not installed.
        OSError: the address cannot be reached.
    """
    if name != "wiki":
        if name not in NAMED:
            raise ValueError(f"name: expected wiki, got {name!r}")
        raise ValueError(
            f"name: no stable address is known for {name}; put into {Path(root) / name}: {NAMED[name].files}"
        )
    require("download", "pooch")
    import pooch

    pooch.get_logger().setLevel("WARNING")
    folder = Path(root).expanduser() / name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        try:
            archive = pooch.retrieve(WIKI, known_hash=None, fname="archive.zip", path=place)
        except OSError as error:
            raise OSError(f"{WIKI} cannot be downloaded: {error}") from None
        new = Path(place) / name
        new.mkdir()
        try:
            with zipfile.ZipFile(archive) as packed:
                members = {Path(member).name: member for member in packed.namelist()}
                for file in WIKI_FILES:
                    (new / file).write_bytes(packed.read(members[file]))
        except (zipfile.BadZipFile, KeyError) as error:
            raise ValueError(f"{WIKI}: not the archive that was there when this was written ({error})") from None
        if content_sha256(load_named(name, new)) != WIKI_SHA256:
            raise ValueError(f"{WIKI}: its arrays are not those that the papers used")
        for file in WIKI_FILES:
            (new / file).replace(folder / file)
    return folder
