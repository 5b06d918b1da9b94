"""The benchmark of trainings from disk runs, and says what it is to say."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np

from jaxcmh.methods import registry

SCRIPT = Path(__file__).parents[1] / "experiments" / "bench_scale.py"


def lines(folder, *options):
    results = folder / "lines.jsonl"
    command = [sys.executable, SCRIPT, "--folder", folder, "--methods", "random_codewords", "--bits", "8"]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, "--anchors", "8", "--results", results, *options],
        env=paths,
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in results.read_text().splitlines()], done.stdout


def test_time_and_memory_against_the_number_of_pairs(tmp_path):
    found, said = lines(tmp_path, "--n", "5000", "70000")
    assert [(line["n"], line["mode"], line["method"]) for line in found] == [
        (5000, "blocks", "random_codewords"),
        (70000, "blocks", "random_codewords"),
    ]
    assert all(line["within"] and 0.1 < line["peak_gb"] < 4 and 0.1 < line["i2t"] <= 1 for line in found)
    assert "random_codewords: slope" in said
    image = np.load(tmp_path / "pairs" / "image.npy", mmap_mode="r")
    again, _ = runpy.run_path(str(SCRIPT))["pairs"](1, 1 << 16, (64, 128), 24)
    np.testing.assert_array_equal(image[1 << 16 :], again[0][: 70000 - (1 << 16)])


def test_processes_that_train_together(tmp_path):
    found, said = lines(tmp_path, "--processes", "1", "2", "--n", "3000")
    assert [(line["processes"], line["devices"], len(line["peak_gb"])) for line in found] == [
        (1, 1, 1),
        (2, 1, 2),
        (1, 8, 1),
    ]
    assert all(line["bits_differ"] <= 1e-3 for line in found)
    assert np.ptp([line["i2t"] for line in found]) < 2e-3
    assert "2 processes, 1 devices each" in said


def test_ratios_to_the_time_in_memory(tmp_path):
    found, said = lines(tmp_path, "--compare", "--n", "3000", "--repeats", "1")
    assert [line["mode"] for line in found] == ["memory", "kept", "blocks"]
    assert found[0]["ratio"] == 1
    assert np.ptp([line["i2t"] for line in found]) < 1e-3
    assert "times memory" in said


def test_the_tables_are_those_of_the_committed_lines():
    scales = runpy.run_path(str(SCRIPT))["tables"]()
    assert [len(table) for table in scales] == [2 + 2, 2 + len(registry), 2 + 6, 2 + 8]
    text = (SCRIPT.parent / "README.md").read_text()
    assert [row for table in scales for row in table if row not in text] == []
