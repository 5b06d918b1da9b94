"""Training over a mesh of several processes, each with two devices."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import scipy.sparse
from jax import random

import jaxcmh
from jaxcmh.learning import core, features, mesh, processes, reduction, stages, streaming

METHODS = ("dcgh", "imads", "acqh", "amsh")
ROOT = Path(jaxcmh.__file__).parents[1]
TRAIN = """
import json, sys
import jax
number, address, folder, methods, options = json.loads(sys.argv[1])
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(address, 2, number)
import numpy as np
import jaxcmh
from jaxcmh.learning.mesh import row_mesh
views = [np.load(f"{folder}/{m}.npy", mmap_mode="r") for m in range(2)]
labels = np.load(f"{folder}/labels.npy")
assert row_mesh().size == 4
found = {}
for name in methods:
    model = jaxcmh.train(name, views, labels, mesh=row_mesh(), **options)
    found |= {name: model.codes, **{f"{name}.{m}": codes for m, codes in enumerate(model.encoded)}}
jax.distributed.shutdown()
np.savez(f"{folder}/codes-{number}.npz", **found)
"""

PEAKS = """
import json, sys
import jax
number, address, folder, sizes, anchors, options = json.loads(sys.argv[1])
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(address, 2, number)
import numpy as np
import jaxcmh
from jaxcmh.learning import reduction
from jaxcmh.learning.features import Features
from jaxcmh.learning.mesh import row_mesh
from jaxcmh.studies.lanes import peak_memory
reduction.PROCESSORS = 1  # each of them has a block of rows at work
views = [np.load(f"{folder}/{m}.npy", mmap_mode="r") for m in range(2)]
labels, peaks = np.load(f"{folder}/labels.npy"), []
options |= {"features": Features(anchors=anchors), "mesh": row_mesh()}
for n in sizes:
    jaxcmh.train("dcgh", [x[:n] for x in views], labels[:n], **options)
    peaks.append(peak_memory())
jax.distributed.shutdown()
with open(f"{folder}/peaks-{number}.json", "w") as file:
    json.dump(peaks, file)
"""


def pairs(n=203):
    rng = np.random.default_rng(0)
    labels = np.eye(4, dtype=np.uint8)[rng.integers(4, size=n)]
    labels[::40] = 0
    return [(labels @ rng.normal(size=(4, d)) + rng.normal(size=(n, d))).astype(np.float32) for d in (12, 9)], labels


def run_two(program, *arguments):
    """Two processes of a program, which is given its number, the coordinator's address and the arguments."""
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": re.sub(r"\S*device_count=\d+", "", os.environ["XLA_FLAGS"]),
    }
    asked = (json.dumps([number, address, *arguments]) for number in range(2))
    started = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", program, one], env=env) for one in asked]
    assert [process.wait(300) for process in started] == [0, 0]


def test_two_processes_train_the_models_of_one(tmp_path):
    """In float64, where rounding turns no bit; of rows that are read from disk, some without labels."""
    views, labels = pairs()
    for name, array in (("0", views[0]), ("1", views[1]), ("labels", labels)):
        np.save(tmp_path / f"{name}.npy", array)
    options = {"bits": 8, "max_iterations": 3, "tolerance": 0, "features": "standardise", "precision": "float64"}
    run_two(TRAIN, str(tmp_path), METHODS, options)
    first, second = (np.load(tmp_path / f"codes-{number}.npz") for number in range(2))
    for name in METHODS:
        with pytest.warns(UserWarning, match="6 of 203 rows"):
            model = jaxcmh.train(name, views, labels, **options)
        for found in (first, second):
            np.testing.assert_array_equal(found[name], model.codes)
            for m, codes in enumerate(model.encoded):
                np.testing.assert_array_equal(found[f"{name}.{m}"], codes)


def test_neither_of_two_processes_has_the_mapped_features_of_all_rows(tmp_path):
    """More than for a few rows, each takes 0.7 of the bytes of those features, and one process alone 1.2 of them."""
    n, few, anchors = 200_000, 16_384, 200
    rng = np.random.default_rng(0)
    for m in range(2):
        np.save(tmp_path / f"{m}.npy", rng.standard_normal((n, 4), np.float32))
    np.save(tmp_path / "labels.npy", np.eye(4, dtype=np.uint8)[rng.integers(4, size=n)])
    options = {"bits": 8, "max_iterations": 1, "tolerance": 0}
    run_two(PEAKS, str(tmp_path), [few, n], anchors, options)
    for number in range(2):
        small, whole = json.loads((tmp_path / f"peaks-{number}.json").read_text())
        assert 0.3 < (whole - small) * 1e9 / (2 * 4 * anchors * n) < 1


def test_rows_are_shared_out_without_gaps():
    rows = mesh.row_mesh()
    assert processes.share(150, rows) == slice(0, 150)  # all devices are of this process
    assert processes.share(150, None) == slice(0, 150)
    spread = processes.over_rows(np.arange(16.0)[:, None], rows)
    np.testing.assert_array_equal(processes.own(spread)[:, 0], np.arange(16.0))


def test_of_rows_that_are_read_a_process_reads_its_own():
    """Of two processes with two devices each."""
    x, asked = np.zeros((150, 3), np.float32), []
    devices = np.array([SimpleNamespace(process_index=number // 2) for number in range(4)])

    class Read:
        shape, dtype = x.shape, x.dtype

        def __getitem__(self, rows):
            asked.extend(range(150)[rows])
            return x[rows]

    for process in range(2):
        mine = processes.share(150, SimpleNamespace(devices=devices, size=4), process)
        streaming.source(Read(), "x", mine=mine)
        assert asked == list(range(76) if process == 0 else range(76, 150))
        asked.clear()


def test_rows_are_looked_at_where_the_devices_have_them():
    spread = processes.over_rows(np.arange(1600.0, dtype=np.float32).reshape(80, 20), mesh.row_mesh())
    found = processes.parts(spread)
    assert list(found) == [(start, start + 10) for start in range(0, 80, 10)]
    for shard in spread.addressable_shards:
        rows = shard.index[0]
        assert np.shares_memory(found[rows.start, rows.stop], np.asarray(shard.data))
    np.testing.assert_array_equal(np.concatenate(list(found.values())), spread)


def test_columns_of_devices_are_put_together():
    columns = jax.NamedSharding(mesh.row_mesh(), jax.P(None, "rows"))
    spread = jax.device_put(np.arange(24.0, dtype=np.float32).reshape(3, 8), columns)
    np.testing.assert_array_equal(processes.parts(spread)[0, 3], spread)


@pytest.mark.parametrize("over", [None, "devices"])
@pytest.mark.parametrize("method", ["dcgh", "imads", "acqh"])
def test_a_training_goes_on_after_its_last_finished_stage(tmp_path, monkeypatch, method, over):
    views, labels = pairs()
    labels[::40] = 1
    options = {"bits": 8, "max_iterations": 3, "tolerance": 0, "features": "standardise", "stages": tmp_path}
    options["mesh"] = over and mesh.row_mesh()
    first = jaxcmh.train(method, views, labels, **options)

    def again(*_, **__):
        raise AssertionError("what was finished is done a second time")

    monkeypatch.setattr(reduction, "turn", again)
    (tmp_path / "model-0-of-1.safetensors").unlink()
    (tmp_path / "fit-0-of-1.safetensors").unlink()
    after_features = jaxcmh.train(method, views, labels, **options)
    monkeypatch.setattr(core, "fit", again)
    (tmp_path / "model-0-of-1.safetensors").unlink()
    after_fit = jaxcmh.train(method, views, labels, **options)
    monkeypatch.setattr(core, "prepared", again)
    whole = jaxcmh.train(method, views, labels, **options)
    for other in (after_features, after_fit, whole):
        np.testing.assert_array_equal(other.codes, first.codes)
        np.testing.assert_array_equal(other.encoded, first.encoded)
        np.testing.assert_allclose(other.objective, first.objective, rtol=1e-5)
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == set(stages.STAGES)


def test_stages_of_another_training_are_refused(tmp_path):
    views, labels = pairs()
    labels[::40] = 1
    options = {"bits": 8, "max_iterations": 3, "tolerance": 0, "stages": tmp_path}
    jaxcmh.train("dcgh", views, labels, **options)
    with pytest.raises(ValueError, match=r"^stages: .* holds stages of another training"):
        jaxcmh.train("dcgh", views, labels, **options, seed=1)
    other = jaxcmh.train("imads", views, labels, bits=8, max_iterations=3, tolerance=0)
    jaxcmh.save(other, tmp_path / "model-0-of-1.safetensors")
    with pytest.raises(ValueError, match=r"^stages: .* holds stages of another training"):
        jaxcmh.train("dcgh", views, labels, **options)
    (tmp_path / "model-0-of-1.safetensors").unlink()
    shutil.copy(tmp_path / "features-0-of-1.safetensors", tmp_path / "fit-0-of-1.safetensors")
    with pytest.raises(ValueError, match=r"^stages: .* holds stages of another training"):
        jaxcmh.train("dcgh", views, labels, **options)
    with pytest.raises(ValueError, match=r"^stages: expected a folder, or a name that is free; got .*"):
        jaxcmh.train("dcgh", views, labels, **options | {"stages": tmp_path / "fit-0-of-1.safetensors"})


@pytest.mark.parametrize("of", [np.asarray, scipy.sparse.csr_matrix, jax.numpy.asarray])
def test_a_mesh_maps_new_rows_as_one_device_does(of, monkeypatch):
    monkeypatch.setattr(features, "BLOCK_ENTRIES", 50)  # blocks of a few rows of each device
    views, _ = pairs()
    fitted, expected = features.fit(features.Features("rbf_centred", anchors=20), random.key(0), views[0])
    found = features.mapped_over(fitted, of(views[0]), mesh.row_mesh())
    assert found.shape == (208, 20)
    assert not np.asarray(found)[203:].any()
    np.testing.assert_allclose(found[:203], expected, atol=1e-5)
    again, fitted_there = features.fit(
        features.Features("rbf_centred", anchors=20), random.key(0), of(views[0]), mesh.row_mesh()
    )
    np.testing.assert_allclose(fitted_there[:203], expected, atol=1e-5)
    np.testing.assert_allclose(again.sigma, fitted.sigma, rtol=1e-5)
