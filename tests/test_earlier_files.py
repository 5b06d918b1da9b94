"""Files that earlier versions wrote still load, and mean what they meant."""

from pathlib import Path

import numpy as np
import pytest

import jaxcmh
from jaxcmh import index, results
from jaxcmh.results import runs

VERSIONS = sorted(path for path in (Path(__file__).parent / "fixtures").glob("v*"))
pytestmark = pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: path.name)


def test_a_run_folder_gives_its_results_and_its_model(folder):
    run = runs.read_run(folder / "run")
    assert [line["database"] for line in run.records] == ["learned", "encoded"]
    assert results.table(run.records[:1]).rows
    assert {len(column) for column in run.per_query.values()} == {10}
    model, expected = jaxcmh.load(folder / "run"), np.load(folder / "expected.npz")
    np.testing.assert_array_equal(model.codes, run.codes["learned"])
    for view in (0, 1):
        codes = jaxcmh.encode(model, expected[f"view_{view}"], view)
        np.testing.assert_array_equal(codes, run.codes[f"query_{view}"])


@pytest.mark.parametrize("name", ["acqh", "mlp"])
def test_a_model_encodes_as_it_did(folder, name):
    model, expected = jaxcmh.load(folder / f"{name}.safetensors"), np.load(folder / "expected.npz")
    for view in (0, 1):
        codes = jaxcmh.encode(model, expected[f"view_{view}"], view)
        np.testing.assert_array_equal(codes, expected[f"{name}_{view}"])


def test_an_index_finds_its_items(folder):
    loaded = index.load(folder / "index.safetensors")
    assert loaded.ids.values.tolist() == [f"item {i}" for i in range(40)]
    distances, _ = index.search(loaded, loaded.codes[:3], k=1)
    assert distances.ravel().tolist() == [0, 0, 0]
