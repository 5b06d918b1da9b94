"""Damaged files of every kind and their readers: a program of its own, so that no reader can take the tests along.

    python damage.py FOLDER FIRST COUNT NAME...

reads COUNT damaged files of each named kind in FOLDER, numbered from FIRST on: the number decides the damage. It prints
one JSON line for each. The address space may grow by twice the file and 200 MB.
"""

import io
import json
import random
import resource
import signal
import struct
import sys
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "v0.1.0"
FREE, SECONDS = 200_000_000, 30
EXECUTING = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.connect",
)
N, CLASSES = 24, 3


class Kind(NamedTuple):
    """How a whole file is made (name -> contents), which of them is damaged and how, and what reads it."""

    make: Callable[[], dict[str, bytes]]
    read: Callable[[Path], Any]
    damage: Callable[[bytes, random.Random], bytes]


# -- damage -----------------------------------------------------------------------------------------------------------


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """A few bytes, numbers or stretches changed, mostly near the beginning or the end, where headers are."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        end = rng.choice((min(len(data), 200), len(data)))
        at = rng.randrange(end) if rng.random() < 0.8 else max(0, len(data) - 1 - rng.randrange(min(len(data), 400)))
        match rng.randrange(8):
            case 0 | 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                data[at] = rng.choice((0, 1, 127, 128, 254, 255))
            case 3 | 4:
                number = rng.choice((0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, len(data), 10**6, 10**9))
                width = rng.choice((2, 4, 8))
                order = rng.choice(("little", "big"))
                data[at : at + width] = (number % 256**width).to_bytes(width, order)
            case 5:
                del data[at : at + rng.choice((1, 8, 64, len(data)))]
            case 6:
                piece = data[at : at + rng.choice((1, 8, 64))]
                data[at:at] = piece * rng.choice((1, 4))
            case _:
                other = rng.randrange(len(data))
                data[at : at + 8] = data[other : other + 8]
    return bytes(data)


JUNK: tuple[Any, ...] = (
    *(None, True, "x", "", "a\0", "\ud800", -1, 0, 2.5, 1e308, 10**30, [], {}, [1], {"a": 1}, [[1], [2, 3]]),
    *("\x1b[2J", "0" * 5000, [None], "__import__('os')", float("nan")),
)


def damaged_value(value: Any, rng: random.Random) -> Any:
    """A JSON value with something else in one place of it."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        changed = {**value, name: damaged_value(value[name], rng)}
        if rng.random() < 0.15:
            del changed[name]
        return changed
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], damaged_value(value[at], rng), *value[at + 1 :]]
    return rng.choice(JUNK)


def damaged_json(content: bytes, rng: random.Random) -> bytes:
    """A JSON text with another value in it; now and then nested deeply, or with damaged bytes."""
    choice = rng.random()
    if choice < 0.15:
        return damaged_bytes(content, rng)
    return b"[" * 200_000 if choice < 0.2 else json.dumps(damaged_value(json.loads(content), rng)).encode()


def damaged_lines(content: bytes, rng: random.Random) -> bytes:
    """JSON lines, one of them damaged."""
    lines = content.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = damaged_json(lines[at], rng)
    return b"".join(line + b"\n" for line in lines)


def damaged_member(content: bytes, rng: random.Random) -> bytes:
    """An archive whose sums are right again after a member was damaged."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w") as made:
        chosen = rng.choice(archive.namelist())
        for name in archive.namelist():
            data = archive.read(name)
            if name == "jaxcmh.npy" and chosen == name:
                facts = json.dumps(damaged_value(json.loads(data[data.index(b'{"format') :]), rng)).encode()
                member = io.BytesIO()
                np.lib.format.write_array(member, np.frombuffer(facts, np.uint8))
                data = member.getvalue()
            elif name == chosen:
                data = damaged_bytes(data, rng)
            made.writestr(name, data)
    return out.getvalue()


def damaged_packed(content: bytes, rng: random.Random) -> bytes:
    """A packed MAT 5 file, damaged inside one of its packed arrays."""
    pieces, at = [content[:128]], 128
    while at < len(content):
        kind, length = struct.unpack("<II", content[at : at + 8])
        pieces.append(content[at + 8 : at + 8 + length])
        assert kind == 15
        at += 8 + length
    chosen = rng.randrange(1, len(pieces))
    pieces[chosen] = zlib.compress(damaged_bytes(zlib.decompress(pieces[chosen]), rng))
    return pieces[0] + b"".join(struct.pack("<II", 15, len(piece)) + piece for piece in pieces[1:])


def damaged_stored(kind: str) -> Callable[[bytes, random.Random], bytes]:
    """A file of `jaxcmh.store` whose sums are right again after its header, or an array in it, was changed."""

    def damage(content: bytes, rng: random.Random) -> bytes:
        import tempfile

        import safetensors
        import safetensors.numpy

        from jaxcmh import store

        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "file"
            place.write_bytes(content)
            with safetensors.safe_open(place, "numpy") as file:
                header = json.loads(file.metadata()[kind])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if rng.random() < 0.5:
                header = damaged_value(header, rng)
            else:
                name = rng.choice(sorted(arrays))
                array = arrays[name]
                changes: list[Callable[[], np.ndarray]] = [
                    lambda: array[:-1],
                    lambda: array.ravel(),
                    lambda: array[..., None],
                    lambda: array.astype(rng.choice(("f8", "i4", "u1", "i8", "?"))),
                    lambda: np.concatenate([array, array]),
                    lambda: -array if array.dtype.kind != "b" else array,
                    lambda: np.zeros((0,), array.dtype),
                    lambda: np.full_like(array, rng.choice((0, 1, 255))),
                ]
                arrays[name] = rng.choice(changes)()
                if rng.random() < 0.2:
                    del arrays[name]
            store.write(place, kind, header, arrays)
            return place.read_bytes()

    return damage


# -- whole files and their readers ------------------------------------------------------------------------------------


def whole_set() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.random((N, 5)).astype(np.float32),
        "text": rng.integers(0, 2, (N, 4)).astype(np.uint8),
        "labels": np.eye(CLASSES, dtype=np.uint8)[np.arange(N) % CLASSES],
    }


def written(name: str, write: Callable[[Path], Any]) -> Callable[[], dict[str, bytes]]:
    """What `write` writes to a file of that name, and to others beside it."""

    def make() -> dict[str, bytes]:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / name)
            files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
        return {name: files.pop(name), **files}

    return make


def write_mat(path: Path, **options: Any) -> None:
    import scipy.io
    from scipy import sparse

    more = {} if options.get("format") == "4" else {"note": {"x": np.eye(2), "y": "a text"}}
    scipy.io.savemat(path, whole_set() | {"tags": sparse.csc_array(np.eye(6, 4))} | more, **options)


def write_hdf5(path: Path, **options: Any) -> None:
    import h5py

    with h5py.File(path, "w", **options) as file:
        for name, array in whole_set().items():
            file[name] = array
        file.create_dataset("packed", data=np.eye(30), chunks=(8, 8), compression="gzip")
        group = file.create_group("tags")
        group.attrs["MATLAB_sparse"] = np.uint64(6)
        group["data"], group["ir"], group["jc"] = np.ones(4), np.arange(4), np.arange(5)
        file["soft"] = h5py.SoftLink("/image")
    if options:
        with open(path, "r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def write_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array(list(array)) for name, array in whole_set().items()}
    columns |= {
        "names": pa.array([f"item {i}" for i in range(N)]),
        "classes": pa.array([[*range(i % 3 + 1)] for i in range(N)]),
    }
    pq.write_table(pa.table(columns), path)


def write_split(path: Path) -> None:
    from jaxcmh.datasets import Items, Maker, Part, Split, save_split

    arrays = whole_set()
    part = Part((arrays["image"], arrays["text"]), arrays["labels"], np.arange(N))
    names = [f"item {i}" for i in range(N)]
    makers = Maker("photo"), Maker("unicode-words", ("a", "b", "c", "d"))
    query = Part(tuple(v[:4] for v in part.views), part.labels[:4], part.ids[:4])
    train = Part(tuple(v[4:] for v in part.views), part.labels[4:], part.ids[4:])
    save_split(Split(train, query, train, "set", ("image", "text"), ("x", "y", "z"), Items(names), makers), path)


def read_contents(path: Path) -> None:
    from jaxcmh.datasets.files import contents

    for array in contents(path):
        read = array.classes or array.read
        if read:
            read()
        for _ in array.blocks(None, 0) if array.blocks else ():
            pass


def read_set(path: Path) -> None:
    from jaxcmh.datasets.reading import load_files

    read_contents(path)
    load_files(path)


def picture(kind: str, mode: str = "RGB") -> Kind:
    def write(path: Path) -> None:
        from PIL import Image

        pixels = np.random.default_rng(1).integers(0, 255, (20, 16, 3)).astype(np.uint8)
        made = Image.fromarray(pixels if mode == "RGB" else pixels[..., 0].astype(np.uint16) * 9)
        made.save(path)

    def read(path: Path) -> None:
        from jaxcmh.datasets.pictures import opened

        list(opened([path]))

    return Kind(written(f"picture.{kind}", write), read, damaged_bytes)


def folder_of(name: str, content: str) -> Callable[[], dict[str, bytes]]:
    def write(path: Path) -> None:
        from PIL import Image

        for i in range(4):
            pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path.with_name(f"{i}.png"))
        path.write_text(content)

    return written(name, write)


def read_list(path: Path) -> None:
    from jaxcmh.datasets.folder import check_folder

    check_folder(path.parent)


def write_mat_list(path: Path) -> None:
    import scipy.io
    from PIL import Image

    for i in range(4):
        Image.fromarray(np.full((4, 4), i * 9, np.uint8)).save(path.with_name(f"{i}.png"))
    cell = np.empty(4, object)
    cell[:] = [np.array(["a dog", "a cat"]), "one", np.array(["a"]), "b"]
    scipy.io.savemat(path.with_name("caption.mat"), {"caption": cell})
    scipy.io.savemat(path.with_name("label.mat"), {"category": np.eye(4, 3)})
    scipy.io.savemat(path.with_name("index.mat"), {"index": [f"/home/x/{i}.png" for i in range(4)]})


def checkpoint() -> bytes:
    from jaxcmh.datasets.torch_file import MAGIC

    def text(word: str) -> bytes:
        return b"X" + struct.pack("<I", len(word)) + word.encode()

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("1") + text("cpu") + b"K\x0cNtQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00(K\x03K\x04t(K\x04K\x01t\x89ccollections\n"
    call += b"OrderedDict\n)RtR"
    head = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"." + b"\x80\x02M\xe9\x03." + b"\x80\x02}."
    table = b"\x80\x02ccollections\nOrderedDict\n)R(" + text("plain") + call + b"u."
    numbers = struct.pack("<q", 12) + np.arange(12, dtype=np.float32).tobytes()
    return head + table + b"\x80\x02](" + text("1") + b"e." + numbers


def read_checkpoint(path: Path) -> None:
    from jaxcmh.datasets.torch_file import read_tensors

    read_tensors(path)


def an_index(look_up: bool = False) -> Any:
    from jaxcmh import index

    codes = np.arange(40, dtype=np.uint8).reshape(20, 2) % 4
    if look_up:
        books = np.random.default_rng(0).random((2, 4, 3)).astype(np.float32)
        return index.build(codes, codebooks=books, ids=np.arange(20) * 3)
    return index.build(codes, ids=[f"item {i}" for i in range(20)])


def exported(module: str, write: str, read: str, name: str, look_up: bool = False) -> Kind:
    """An index as another program's file."""
    import importlib

    def make(path: Path) -> None:
        getattr(importlib.import_module(module), write)(an_index(look_up), path)

    return Kind(written(name, make), lambda path: getattr(importlib.import_module(module), read)(path), damaged_bytes)


def read_index(path: Path) -> None:
    from jaxcmh import index

    index.load(path)


def write_index(path: Path) -> None:
    from jaxcmh import index

    index.save(an_index(), path)


STATE = (np.ones((4, 2)), np.zeros(3))


def a_training(path: Path) -> Any:
    from jaxcmh.learning import stages

    return stages.Kept(path.parent, {"bits": 8}, None)


def write_stage(path: Path) -> None:
    from jaxcmh.learning import stages

    stages.keep_state(a_training(path), STATE, np.ones(2), 1, rows=4)


def read_stage(path: Path) -> None:
    from jaxcmh.learning import stages

    stages.state(a_training(path), STATE, rows=4)


def write_known_model(path: Path) -> None:
    from jaxcmh import model
    from jaxcmh.datasets import Items, Maker, Part, Split
    from jaxcmh.datasets.preparation import fit_centre

    bare = model.load(FIXTURES / "acqh.safetensors")
    n = bare.info.n
    part = Part(
        tuple(np.zeros((n, d)) for d in bare.info.dims), np.eye(3, dtype=np.uint8)[np.arange(n) % 3], np.arange(n)
    )
    makers = Maker("photo", (), (fit_centre(np.eye(3)),)), Maker("unit-words", ("a", "b"))
    items = Items([f"item {i}" for i in range(n)], ["a b"] * n, np.full((n, 8, 8), 9, np.uint8))
    split = Split(part, part, part, "set", ("image", "text"), ("x", "y", "z"), items, makers)
    model.save(bare.with_catalogue(split, thumbnails=True), path)


def read_model(path: Path) -> None:
    from jaxcmh import model

    model.load(path)


def read_lines(path: Path) -> None:
    from jaxcmh import results

    for record in results.read(path):
        results.describe(record)


def run_folder(damaged: str) -> Callable[[], dict[str, bytes]]:
    files = {path.name: path.read_bytes() for path in sorted((FIXTURES / "run").iterdir())}
    return lambda: {damaged: files[damaged], **files}


def read_run(path: Path) -> None:
    from jaxcmh.results import runs

    run = runs.read_run(path.parent)
    runs.data_of(run)
    runs.train_ids(run)


def read_ids(path: Path) -> None:
    from jaxcmh.commands.index import _read_ids

    _read_ids(path)


def read_array(path: Path) -> None:
    from jaxcmh.commands.queries import read_array

    read_array(path, "--query")


CSV = 'file_name,text,labels\n0.png,"a dog, in fog",dog;animal\n1.png,cats,cat\n2.png,x y,dog\n3.png,z,cat|dog\n'
LINES = "".join(
    json.dumps({"file_name": f"{i}.png", "text": ["a dog", "a cat"][: i % 2 + 1], "labels": [i % 2, 1]}) + "\n"
    for i in range(4)
)
LIST = "".join(f"{i:032x}-1.1\t{i:032x}\t{i % 10 + 1}\n" for i in range(9))

KINDS: dict[str, Kind] = {
    "npz": Kind(written("set.npz", lambda p: np.savez(p, **whole_set())), read_set, damaged_bytes),
    "npz packed": Kind(written("set.npz", lambda p: np.savez_compressed(p, **whole_set())), read_set, damaged_bytes),
    "npz member": Kind(written("set.npz", lambda p: np.savez(p, **whole_set())), read_set, damaged_member),
    "npz facts": Kind(written("set.npz", write_split), read_set, damaged_member),
    "npy": Kind(written("image.npy", lambda p: np.save(p, whole_set()["image"])), read_contents, damaged_bytes),
    "array": Kind(written("rows.npy", lambda p: np.save(p, whole_set()["image"])), read_array, damaged_bytes),
    "mat 5": Kind(written("set.mat", write_mat), read_set, damaged_bytes),
    "mat 5 packed": Kind(written("set.mat", lambda p: write_mat(p, do_compression=True)), read_set, damaged_packed),
    "mat 4": Kind(written("set.mat", lambda p: write_mat(p, format="4")), read_set, damaged_bytes),
    "mat 7.3": Kind(written("set.mat", lambda p: write_hdf5(p, userblock_size=512)), read_set, damaged_bytes),
    "hdf5": Kind(written("set.h5", write_hdf5), read_set, damaged_bytes),
    "parquet": Kind(written("set.parquet", write_parquet), read_set, damaged_bytes),
    "list": Kind(written("trainset_txt_img_cat.list", lambda p: p.write_text(LIST)), read_contents, damaged_bytes),
    "csv": Kind(folder_of("metadata.csv", CSV), read_list, damaged_bytes),
    "jsonl": Kind(folder_of("metadata.jsonl", LINES), read_list, damaged_lines),
    "index.mat": Kind(written("index.mat", write_mat_list), read_list, damaged_bytes),
    "png": picture("png"),
    "png 16": picture("png", "I;16"),
    "jpeg": picture("jpg"),
    "gif": picture("gif"),
    "bmp": picture("bmp"),
    "webp": picture("webp"),
    "tiff": picture("tiff"),
    "torch": Kind(written("net.pth", lambda p: p.write_bytes(checkpoint())), read_checkpoint, damaged_bytes),
    "index": Kind(written("items.index", write_index), read_index, damaged_bytes),
    "index parts": Kind(written("items.index", write_index), read_index, damaged_stored("jaxcmh_index")),
    "stage": Kind(written("fit-0-of-1.safetensors", write_stage), read_stage, damaged_bytes),
    "stage parts": Kind(written("fit-0-of-1.safetensors", write_stage), read_stage, damaged_stored("jaxcmh_stage")),
    "model": Kind(lambda: {"acqh.model": (FIXTURES / "acqh.safetensors").read_bytes()}, read_model, damaged_bytes),
    "model parts": Kind(
        lambda: {"acqh.model": (FIXTURES / "acqh.safetensors").read_bytes()}, read_model, damaged_stored("jaxcmh")
    ),
    "model items": Kind(written("known.model", write_known_model), read_model, damaged_stored("jaxcmh")),
    "export npz": exported("jaxcmh.index.files", "write_npz", "read_npz", "items.npz"),
    "export npz member": exported("jaxcmh.index.files", "write_npz", "read_npz", "items.npz", True)._replace(
        damage=damaged_member
    ),
    "export parquet": exported("jaxcmh.index.files", "write_parquet", "read_parquet", "items.parquet"),
    "faiss": exported("jaxcmh.index.faiss", "write", "read", "items.faiss"),
    "faiss look-up": exported("jaxcmh.index.faiss", "write", "read", "items.faiss", True),
    "lines": Kind(run_folder("results.jsonl"), read_lines, damaged_lines),
    "config": Kind(run_folder("config.json"), read_run, damaged_json),
    "codes": Kind(run_folder("codes.npz"), read_run, damaged_bytes),
    "per query": Kind(run_folder("per_query.csv"), read_run, damaged_bytes),
    "ids": Kind(written("ids.txt", lambda p: p.write_text("001\nb\n3\n")), read_ids, damaged_bytes),
}


# -- the program ------------------------------------------------------------------------------------------------------


def outcome(read: Callable[[Path], Any], path: Path) -> str:
    """Read, named, or what is wrong: another error, one that does not name the file, or too much memory asked for."""
    try:
        read(path)
        return "read"
    except (ValueError, FileNotFoundError) as error:
        chain: list[BaseException] = [error]
        while inner := chain[-1].__cause__ or chain[-1].__context__:
            chain.append(inner)
        if any(isinstance(one, MemoryError) for one in chain):
            return "asked for too much memory: " + "".join(traceback.format_exception(error))
        message = str(error)
        named = path.name in message or str(path.parent) in message
        if named and "\n" not in message:
            return "named"
        return f"does not name the file in one line: {message!r}" + "".join(traceback.format_exception(error))
    except BaseException as error:
        return "other error: " + "".join(traceback.format_exception(error))


def watch() -> None:
    """From now on, nothing may be executed."""

    def refuse(event: str, arguments: tuple) -> None:
        if event.startswith(EXECUTING):
            raise SystemExit(f"{event} {arguments}")

    sys.addaudithook(refuse)


def used() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def run(folder: Path, first: int, count: int, names: list[str]) -> Iterator[dict[str, Any]]:
    wholes = {}
    for name in names:
        wholes[name] = KINDS[name].make()
        place = folder / name.replace(" ", "-")
        place.mkdir()
        for file, content in wholes[name].items():
            (place / file).write_bytes(content)
        KINDS[name].read(place / next(iter(wholes[name])))  # whole files are read; and all is loaded that it takes
    watch()
    for name in names:
        (file, content), *_ = wholes[name].items()
        path = folder / name.replace(" ", "-") / file
        for number in range(first, first + count):
            damaged = KINDS[name].damage(content, random.Random(f"{name} {number}"))
            path.write_bytes(damaged)
            print(json.dumps({"begun": name, "number": number}), flush=True)
            limit = used() + 2 * len(damaged) + FREE
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            signal.alarm(SECONDS)
            try:
                came = outcome(KINDS[name].read, path)
            finally:
                signal.alarm(0)
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            yield {"kind": name, "number": number, "came": came}


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    place, first, count, *names = sys.argv[1:]
    for line in run(Path(place), int(first), int(count), names):
        print(json.dumps(line), flush=True)
