"""Run folders: free names, and folders that are none."""

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
