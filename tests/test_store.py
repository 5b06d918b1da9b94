"""Files and folders with one writer that appear whole or not at all."""

import os
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from jaxcmh import store


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with store.folder(tmp_path / "a" / "run") as place:
        (place / "file").write_text("x")
        assert not (tmp_path / "a" / "run").exists()
    assert [p.name for p in (tmp_path / "a").rglob("*")] == ["run", "file"]

    def interrupted():
        with store.folder(tmp_path / "b" / "run") as place:
            (place / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_is_never_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="is there already"), store.folder(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / "mine").read_text() == "x"


def test_text_is_replaced_whole(tmp_path):
    path = store.write_text(tmp_path / "page.html", "one")
    store.write_text(path, "two")
    assert path.read_text() == "two"
    with pytest.raises(TypeError):
        store.write_text(path, b"bytes")  # pyright: ignore[reportArgumentType]
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "two"


def test_a_file_keeps_its_ending_while_it_is_written_and_gets_the_usual_permissions(tmp_path):
    with store.replacing(tmp_path / "codes.npz") as temporary:
        assert temporary.suffix == ".npz"
        np.savez(temporary, x=np.zeros(2))
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npz"]
    (tmp_path / "plain").touch()
    assert (tmp_path / "codes.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with pytest.raises(ValueError, match="in an existing folder"), store.replacing(tmp_path / "absent" / "file"):
        pass


def test_a_new_folder_gets_the_usual_permissions(tmp_path):
    with store.folder(tmp_path / "new"):
        pass
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.float32(1.5), np.eye(3)[:, ::2], np.array(["a", "bc"])])
def test_arrays_of_any_form_have_a_digest(array):
    assert store.digest([("x", array)]) == store.digest([("x", np.array(array))]) != store.digest([("y", array)])


# -- several at once --------------------------------------------------------------------------------------------------


HOLDS = """
import sys
from jaxcmh import store
with store.only_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
COUNTS = """
import sys
from pathlib import Path
from jaxcmh import store
for _ in range(20):
    with store.only_writer(sys.argv[1]):
        store.write_text(sys.argv[1], str(int(Path(sys.argv[1]).read_text()) + 1))
"""


def process(program, path):
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_who_writes_a_target_is_named_and_its_lock_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "WAIT", 0.1)
    path = tmp_path / "a.index"
    with process(HOLDS, path) as holder:
        assert holder.stdout.readline() == "held\n"
        for writing in (store.replacing, store.folder):
            with (
                pytest.raises(BlockingIOError, match=f"a.index is being written by process {holder.pid};"),
                writing(path),
            ):
                pass
        store.write_text(tmp_path / "b.index", "another target")
        holder.kill()
    store.write_text(path, "mine")
    assert sorted(os.listdir(tmp_path)) == ["a.index", "b.index"]


def test_what_processes_and_threads_read_under_the_lock_is_there_when_they_write(tmp_path):
    path = store.write_text(tmp_path / "count", "0")

    def count(_):
        with store.only_writer(path):
            store.write_text(path, str(int(path.read_text()) + 1))

    others = [process(COUNTS, path) for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(20)))
    assert [other.communicate()[1] or other.returncode for other in others] == [0, 0, 0]
    assert path.read_text() == "80"
    assert os.listdir(tmp_path) == ["count"]


# -- killed, or without room ------------------------------------------------------------------------------------------


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    leaves = """
import os, signal, sys
from jaxcmh import store
with store.folder(sys.argv[1] + "/run") as run, store.replacing(run / "a.npz"), store.replacing(sys.argv[1] + "/a.npz"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with process(leaves, tmp_path):
        pass
    assert sorted(os.listdir(tmp_path)) == [".a.npz.lock", ".a.part.npz", ".run.lock", ".run.part"]
    with store.folder(tmp_path / "run") as run:
        assert os.listdir(run) == []
    np.savez(tmp_path / "b.npz")
    with store.replacing(tmp_path / "a.npz") as temporary:
        os.replace(tmp_path / "b.npz", temporary)
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "run"]


@contextmanager
def room_for(size):
    """Files cannot grow beyond this size meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_what_was_there(tmp_path):
    arrays = {"x": np.zeros(1000)}
    store.write(tmp_path / "a", "letters", {"format": 1}, arrays)
    before = (tmp_path / "a").read_bytes()
    with room_for(4096):
        with pytest.raises(OSError, match=r"path: .*a cannot be written"):
            store.write(tmp_path / "a", "letters", {"format": 2}, arrays)
        with pytest.raises(OSError, match=r"File too large: .*a'"):
            store.write_text(tmp_path / "a", "x" * 5000)
        with pytest.raises(OSError, match=r"File too large: .*run'"), store.folder(tmp_path / "b" / "run") as place:
            (place / "a").write_text("x" * 5000)
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == before


def test_what_the_disk_has_no_room_for_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 7_000}))
    with pytest.raises(OSError, match=r"a takes 0\.01 MB, and the disk has 0\.01 MB left") as error:
        store.write(tmp_path / "a", "letters", {"format": 1}, {"x": np.zeros(1000)})
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_files_are_on_the_disk_before_they_get_their_name_and_their_name_before_it_is_said(tmp_path, monkeypatch):
    steps = []
    keep, replace = store.keep, os.replace
    monkeypatch.setattr(store, "keep", lambda path: steps.append(("keep", path.name)) or keep(path))
    monkeypatch.setattr(os, "replace", lambda a, b: steps.append(("rename", b.name)) or replace(a, b))
    store.write_text(tmp_path / "a", "x")
    assert steps == [("keep", ".a.part"), ("rename", "a"), ("keep", tmp_path.name)]
    steps.clear()
    with store.folder(tmp_path / "run") as place:
        (place / "deep").mkdir()
        (place / "deep" / "b").write_text("x")
    assert steps[-2:] == [("rename", "run"), ("keep", tmp_path.name)]
    assert {name for step, name in steps[:-2]} == {"b", "deep", ".run.part"}


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs users and permissions as Unix has them")
def test_a_file_that_may_not_be_read_is_not_called_damaged_or_missing():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "letters"
        store.write(path, "letters", {"format": 1}, {"x": np.zeros(2)})
        os.chmod(folder, 0o755)
        os.chmod(path, 0)
        user = os.geteuid()
        os.seteuid(user or 65534)  # root may read everything
        try:
            with pytest.raises(PermissionError, match="letters"):
                store.read(path, "letters", 1, "file of letters", lambda header, arrays: arrays)
        finally:
            os.seteuid(user)


def test_a_link_is_written_through_and_shares_the_lock_of_its_file(tmp_path):
    (tmp_path / "deep").mkdir()
    store.write_text(tmp_path / "deep" / "a.txt", "1")
    (tmp_path / "b.txt").symlink_to(tmp_path / "deep" / "a.txt")
    store.write_text(tmp_path / "b.txt", "2")
    assert (tmp_path / "b.txt").is_symlink()
    assert (tmp_path / "deep" / "a.txt").read_text() == "2"
    with store.only_writer(tmp_path / "b.txt"):
        assert sorted(os.listdir(tmp_path / "deep")) == [".a.txt.lock", "a.txt"]


def test_arrays_keep_the_permissions_of_the_file_they_replace(tmp_path):
    before = os.umask(0o022)
    try:
        store.write(tmp_path / "a", "letters", {"format": 1}, {"x": np.zeros(3)})
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
        (tmp_path / "a").chmod(0o664)
        store.write(tmp_path / "a", "letters", {"format": 1}, {"x": np.ones(3)})
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_what_cannot_be_locked_is_not_called_busy(tmp_path):
    with pytest.raises(OSError, match="too long") as error:
        store.write_text(tmp_path / ("a" * 255), "x")
    assert error.value.filename == str(tmp_path / ("a" * 255))
    (tmp_path / "file").touch()
    with (
        pytest.raises(ValueError, match=r"path: expected a place in a folder; .*file is a file"),
        store.folder(tmp_path / "file" / "run"),
    ):
        pass
    with pytest.raises(ValueError, match="path: expected a path; got 5"), store.only_writer(5):
        pass
