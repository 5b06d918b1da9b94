"""Run folders: free names, and folders that are none."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxcmh.results import runs


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    (tmp_path / "run").mkdir()
    assert runs.free(tmp_path / "run") == tmp_path / "run-2"
    assert runs.free(tmp_path / "new") == tmp_path / "new"


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        runs.read_run(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"it has no config.json"):
        runs.read_run(tmp_path)


def test_the_former_module_of_runs_still_trains_and_reads():
    import jaxcmh.runs

    from jaxcmh import studies

    assert jaxcmh.runs is studies.runs
    assert {"Outcome", "Run", "evaluate", "folder", "free", "keep", "kinds", "per_query", "read_run", "run"} <= set(
        dir(jaxcmh.runs)
    )


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"{}", r"config\.json: format: expected an integer, got None"),
        ("config.json", b'{"format": 1}', r"config\.json: data: expected the name of the data set, got none"),
        ("config.json", b'{"format": 1, "data": 7}', r"config\.json: data: expected text, got 7"),
        ("config.json", b'{"format": 1, "data": "x", "root": {}}', r"config\.json: root: expected text, got {}"),
        ("config.json", b"[" * 200_000, r"config\.json is damaged \(not JSON \(nested too deeply\)\)"),
        ("environment.json", b"[1]", r"environment\.json is damaged \(not a JSON object\)"),
        ("codes.npz", None, r"codes\.npz: train_ids: expected the ids of the items, got none"),
    ],
)
def test_what_a_run_lacks_is_named_with_its_file(tmp_path, file, content, message):
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "v0.1.0" / "run", tmp_path / "run")
    if content is None:
        np.savez(tmp_path / "run" / file, learned=np.zeros(1))
    else:
        (tmp_path / "run" / file).write_bytes(content)

    def use():
        run = runs.read_run(tmp_path / "run")
        return runs.data_of(run), runs.train_ids(run)

    with pytest.raises(ValueError, match=message) as error:
        use()
    assert "\n" not in str(error.value)
