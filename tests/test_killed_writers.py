"""Commands that write, killed at any moment and two at a time: nothing is lost, nothing doubled, everything is read."""

import random
import subprocess
import sys
import time

import numpy as np
import pytest

import jaxcmh
from jaxcmh import index as indexes
from jaxcmh import results
from jaxcmh.results import runs

ITEMS = 7  # of an addition
TRAIN = ("train", "dcgh", "--data", "synthetic", "--bits", "8")
SWEEP = ("sweep", "dcgh", "--data", "synthetic", "--bits", "8", "--grid")


def start(place, words):
    command = [sys.executable, "-m", "jaxcmh", *map(str, words)]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def done(place, words):
    child = start(place, words)
    child.communicate()
    return child.returncode


def commands(number):
    """Every command that writes, with something new to write."""
    return [
        ("index", "add", "a.index", "codes.npy"),
        (*TRAIN, "--out", f"trained-{number}"),
        ("evaluate", "run", "--at", number + 1),
        ("index", "build", "run", "--out", f"built-{number}.index"),
        (*SWEEP, f"alpha={number + 1},{number + 2}", "--out", "S"),
    ]


@pytest.fixture
def place(tmp_path):
    codes = np.arange(ITEMS, dtype=np.uint8)[:, None]
    np.save(tmp_path / "codes.npy", codes)
    indexes.save(indexes.build(codes), tmp_path / "a.index")
    return tmp_path


def prepare(place, kinds):
    """What all but the first kind of command needs."""
    if kinds > 1:
        assert done(place, (*TRAIN, "--out", "run")) == done(place, commands(900)[4]) == 0


def held(place):
    """What the folder holds, all of it read: index -> ids, run or sweep -> keys of its lines."""
    found = {path.name: indexes.load(path).ids.values.tolist() for path in place.glob("*.index")}
    for path in [*place.glob("run"), *place.glob("trained-*")]:
        assert jaxcmh.load(path).info.bits == 8
        found[path.name] = [line["key"] for line in runs.read_run(path).records]
    if (place / "S").exists():
        found["S"] = [line["key"] for line in results.read(place / "S")]
    for name, ids in found.items():
        assert len(ids) == len(set(ids)), f"{name} has something twice"
    assert found["a.index"] == list(range(len(found["a.index"])))
    assert len(found["a.index"]) % ITEMS == 0
    return found


def left_over(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob(".*"))


@pytest.mark.parametrize(("kills", "kinds"), [(2, 1), pytest.param(60, 5, marks=pytest.mark.long)])
def test_commands_killed_at_any_moment_lose_and_double_nothing(place, kills, kinds):
    prepare(place, kinds)
    rng = random.Random(0)
    began = time.monotonic()
    assert done(place, commands(901)[0]) == 0
    spent = time.monotonic() - began
    before, finished, left = held(place), 0, 0
    for kill in range(kills):
        words = commands(kill)[kill % kinds]
        child = start(place, words)
        try:
            child.communicate(timeout=spent * rng.uniform(0.3, 1.0 if words[0] == "index" else 2.0))
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
        finished += child.returncode == 0
        after = held(place)
        assert all(after[name][: len(ids)] == ids for name, ids in before.items())
        if left_over(place):
            left += 1
            done(place, words)  # the next that writes the same cleans up
        assert left_over(place) == []
        before = held(place)
    print(f"{kills} kills: {finished} too late, {left} left something over")


@pytest.mark.parametrize(("pairs", "kinds"), [(1, 1), pytest.param(20, 5, marks=pytest.mark.long)])
def test_two_commands_at_once_lose_and_double_nothing(place, pairs, kinds):
    prepare(place, kinds)
    for pair in range(pairs):
        words = commands(pair)[pair % kinds]
        before = held(place)
        children = [start(place, words) for _ in range(2)]
        said = [child.communicate()[1] for child in children]
        codes = sorted(child.returncode for child in children)
        after = held(place)
        if words[:2] == ("index", "add"):
            assert codes == [0, 0], said
            assert len(after["a.index"]) == len(before["a.index"]) + 2 * ITEMS
        elif words[0] == "evaluate":
            assert codes == [0, 0], said
            assert len(after["run"]) == len(before["run"]) + 2
        elif words[0] == "sweep":  # the second, where it comes late, finds all there
            assert codes in ([0, 0], [0, 2]), said
            assert len(after["S"]) > len(before["S"])
        else:
            assert codes == [0, 2], said
            assert len(after) == len(before) + 1
        assert not any("Traceback" in text for text in said)
        assert left_over(place) == []
