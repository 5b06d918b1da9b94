"""Files and folders that appear whole or not at all."""

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
