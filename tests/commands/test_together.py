"""`jaxcmh train` by several processes: what they learn, and what becomes of the others when one ends."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import jaxcmh
from jaxcmh.commands import cli, together

ROOT = Path(jaxcmh.__file__).parents[1]
NAMES = ("I_tr", "T_tr", "L_tr", "I_te", "T_te", "L_te")
SLOW = '''
"""dcgh that waits, between its stages, for a file; and that finds no reduction a second time."""
import time
from pathlib import Path

import numpy as np

from jaxcmh.learning import reduction
from jaxcmh.methods import registry

here = Path(__file__).parent


def turn(*_):
    raise AssertionError("the features are reduced a second time")


if (here / "go").exists():
    reduction.turn = turn


def links(sets):
    (here / "waits").touch()
    while not (here / "go").exists():
        time.sleep(0.05)
    return np.zeros(1)


method = registry["dcgh"]._replace(name="slow", links=links)
'''


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder of .npy files, with some rows that have no labels."""
    folder = tmp_path_factory.mktemp("pairs")
    split = jaxcmh.load_dataset("synthetic", train=401, query=40)
    labels = split.train.labels * (np.arange(401) % 50 > 0)[:, None]
    for name, array in zip(NAMES, (*split.train.views, labels, *split.query.views, split.query.labels)):
        np.save(folder / f"{name}.npy", array)
    return folder


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def started(folder: Path | list[Path], count: int, *words: object) -> list[subprocess.Popen]:
    """So many processes of a command, each with one device; in one folder or each in its own."""
    folders = folder if isinstance(folder, list) else [folder] * count
    flags = re.sub(r"\S*device_count=\d+", "", os.environ["XLA_FLAGS"])
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    coordinator = f"localhost:{free_port()}"
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "jaxcmh", "train", *map(str, words), "--coordinator", coordinator),
                *("--num-processes", str(count), "--process-id", str(number)),
            ],
            cwd=folders[number],
            env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


def ended(processes: list[subprocess.Popen], seconds: float) -> list[tuple[int, str, str]]:
    """Exit code and output of each, none of which may take longer."""
    try:
        return [(p.wait(seconds), *p.communicate()) for p in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.filterwarnings("ignore:labels")
@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.long)])
def test_several_processes_train_the_run_of_one(pairs, tmp_path, count):
    words = ("dcgh", "--data", pairs, "--bits", 16, "--anchors", 60)
    found = ended(started(tmp_path, count, *words, "--out", "many", "--json"), 300)
    assert [code for code, _, _ in found] == [0] * count, found
    assert cli.main(["train", *map(str, words), "--out", str(tmp_path / "one")]) == 0
    one, many = (np.load(tmp_path / run / "codes.npz") for run in ("one", "many"))
    for name in ("learned", "encoded_0", "encoded_1"):
        assert one[name].shape == many[name].shape
        assert np.unpackbits(one[name] ^ many[name]).mean() <= 1e-3, name
    lines = [
        list(map(json.loads, (tmp_path / run / "results.jsonl").read_text().splitlines())) for run in ("one", "many")
    ]
    for a, b in zip(*lines, strict=True):
        assert a["data_hash"] == b["data_hash"]
        for direction in ("i2t", "t2i"):
            assert abs(a["map"][direction] - b["map"][direction]) <= 2e-3
    assert found[0][1].count("\n") == len(lines[1]), "nothing else may be written where results go"
    assert [out for _, out, _ in found[1:]] == [""] * (count - 1)
    assert not list(tmp_path.glob(".many*")), "stages and locks are removed"


def test_the_end_of_one_ends_the_others_and_the_same_again_goes_on(pairs, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    words = ("slow:method", "--data", pairs, "--bits", 16, "--anchors", 60, "--out", "run")
    processes = started(tmp_path, 2, *words)
    limit = time.monotonic() + 200
    while not (tmp_path / "waits").exists() or len(list(tmp_path.glob(".run.*.stages/features-*"))) < 2:
        assert time.monotonic() < limit
        assert all(p.poll() is None for p in processes)
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGKILL)
    (code, _, said), (killed, _, _) = ended(processes, 60)
    assert (code, killed) == (2, -signal.SIGKILL)
    assert said.splitlines()[-1].startswith("jaxcmh: process 1 of 2 has ended"), said
    assert not (tmp_path / "run").exists()
    (tmp_path / "go").touch()
    found = ended(started(tmp_path, 2, *words), 300)
    assert [code for code, _, _ in found] == [0, 0], found
    assert np.load(tmp_path / "run" / "codes.npz")["learned"].shape == (401, 2)
    assert not list(tmp_path.glob(".run*"))


def test_an_interrupted_training_leaves_no_lock(pairs, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    words = ("slow:method", "--data", pairs, "--bits", 16, "--anchors", 60, "--out", "run")
    processes = started(tmp_path, 2, *words)
    limit = time.monotonic() + 200
    while not (tmp_path / "waits").exists():
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert (tmp_path / ".run.lock").exists()
    processes[0].send_signal(signal.SIGTERM)
    (code, _, said), (other, _, _) = ended(processes, 60)
    assert (code, other) == (128 + signal.SIGTERM, 2)
    assert said.splitlines()[-1] == "jaxcmh: stopped by SIGTERM; nothing unfinished was left behind"
    assert not (tmp_path / ".run.lock").exists()


def test_a_mistake_is_said_in_one_line_by_each(tmp_path):
    for code, out, said in ended(started(tmp_path, 2, "dcgh", "--data", "nowhere.npz"), 120):
        assert (code, out) == (2, "")
        (line,) = (line for line in said.splitlines() if line.startswith("jaxcmh: "))
        assert "nowhere.npz" in line or "has ended" in line


NO_HOSTS = ("", "a..b", "[::1", "::1]", "::1", "[]", "[10.0.0.1]", "[h]", "http://h", "me@h", "a/b", "a b", "a-", "h:1")
NO_HOSTS += ("10.0.0.256", "10.0.1", "a" * 64)
TWO = ["--coordinator", "localhost:7000", "--num-processes", "2", "--process-id", "1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (TWO[:4], "--process-id: expected with --coordinator, --num-processes"),
        (TWO[2:], "--coordinator: expected with --num-processes, --process-id"),
        ([*TWO[:5], "2"], "--process-id: expected 0 to 1, as --num-processes says; got 2"),
        (
            ["--coordinator", "here", *TWO[2:]],
            "--coordinator: expected host:port, such as 10.0.0.1:7000 or [::1]:7000; got 'here'",
        ),
        (["--coordinator", "here:0", *TWO[2:]], "--coordinator: expected host:port"),
        *((["--coordinator", f"{host}:7000", *TWO[2:]], "--coordinator: expected host:port") for host in NO_HOSTS),
        (["--coordinator", "here:" + "1" * 5000, *TWO[2:]], "--coordinator: expected host:port"),
        ([*TWO[:3], "1", *TWO[4:]], "--num-processes: expected an integer of at least 2; got 1"),
        ([*TWO, "--devices", "2"], "--devices: expected without --coordinator"),
        ([*TWO, "--room", "2"], "--room: expected without --coordinator"),
        ([*TWO, "--memory", "2"], "--memory: expected without --coordinator"),
        ([*TWO, "--growing"], "--growing: expected without --coordinator"),
        ([*TWO, "--thumbnails"], "--thumbnails: expected without --coordinator"),
        ([*TWO, "--hash-function", "mlp"], "--hash-function mlp: expected without --coordinator"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, said, capsys):
    assert cli.main(["train", "dcgh", *words]) == 2
    assert capsys.readouterr().err.startswith(f"jaxcmh: {said}")


@pytest.mark.parametrize("host", ["here", "my_host-2.lan", "host.", "10.0.0.1", "[::1]", "[fe80::1%eth0]", "bücher.de"])
def test_a_coordinator_is_a_name_or_an_address(host):
    assert together.place(f"{host}:7000", 2, 1) == (f"{host}:7000", 2, 1)


def test_nobody_is_waited_for_for_ever(monkeypatch, capsys):
    monkeypatch.setattr(together, "PATIENCE", 0.5)
    place = ["--coordinator", f"localhost:{free_port()}", "--num-processes", "3"]
    assert cli.main(["train", "dcgh", *place, "--process-id", "1"]) == 2
    assert "--coordinator: nobody answers at localhost:" in capsys.readouterr().err
    assert cli.main(["train", "dcgh", *place, "--process-id", "0"]) == 2
    assert "--num-processes: expected 3 processes at localhost:" in capsys.readouterr().err
    with socket.create_server(("localhost", 0)) as taken:
        place[1] = f"localhost:{taken.getsockname()[1]}"
        assert cli.main(["train", "dcgh", *place, "--process-id", "0"]) == 2
    assert "--coordinator: process 0 cannot listen at localhost:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "number", "options", "said"),
    [
        (3, 1, "same", "--num-processes: process 0 was told 2; got 3"),
        (2, 2, "same", "--process-id: there is a process 2 already"),
        (2, 1, "others", "--process-id: process 1 has other options, or another version, than process 0"),
    ],
)
def test_processes_that_do_not_belong_together_are_refused(count, number, options, said, monkeypatch):
    monkeypatch.setattr(together, "PATIENCE", 2.0)
    place = f"localhost:{free_port()}"

    def first():
        with ExitStack() as held, pytest.raises(ValueError, match="expected 2 processes"):
            together._met(place, 2, 0, "same", held)

    thread = threading.Thread(target=first)
    thread.start()
    with ExitStack() as held, pytest.raises(ValueError, match=re.escape(said)):
        together._met(place, count, number, options, held)
    thread.join()


@pytest.mark.parametrize("line", ["{}", "[]", "5", "HTTP/1.0 400", '{"refused": 5}', '{"port": "x"}', '{"port": 0}'])
def test_somebody_else_at_the_coordinator_is_named(line, monkeypatch):
    monkeypatch.setattr(together, "PATIENCE", 2.0)
    with socket.create_server(("localhost", 0)) as server, ExitStack() as held:

        def answer():
            link, _ = server.accept()
            link.sendall(f"{line}\n".encode())
            held.callback(link.close)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ValueError, match=r"--coordinator: who answers at localhost:.* is no jaxcmh that trains"):
            together._met(f"localhost:{server.getsockname()[1]}", 2, 1, "same", held)
        thread.join()


def test_process_0_waits_on_when_somebody_else_calls(monkeypatch):
    monkeypatch.setattr(together, "PATIENCE", 5.0)
    place = f"localhost:{free_port()}"
    strange = [
        '{"number": 1}',
        '{"number": 1, "count": 2}',
        '{"number": Infinity}',
        "[" * 9000,
        "[1]",
        "GET / HTTP/1.1",
    ]

    def others():
        for line in strange:
            link = together._connected(place, time.monotonic() + 5)
            link.sendall(f"{line}\n".encode())
            link.close()
        with ExitStack() as held:
            together._met(place, 2, 1, "same", held)

    thread = threading.Thread(target=others)
    thread.start()
    with ExitStack() as held:
        links, _ = together._met(place, 2, 0, "same", held)
        assert list(links) == [1]
    thread.join()


MINE = """
from jaxcmh.methods import registry
method = registry["dcgh"]._replace(name="mine", params=registry["dcgh"].params._replace(alpha={alpha}))
"""


@pytest.mark.parametrize("differs", ["--data", "mine:method"])
def test_what_differs_between_processes_is_refused(pairs, tmp_path, differs):
    """Be it one row, or the file of a method of one's own."""
    folders = [tmp_path / "0", tmp_path / "1"]
    for number, folder in enumerate(folders):
        shutil.copytree(pairs, folder)
        (folder / "mine.py").write_text(MINE.format(alpha=10 + number * (differs == "mine:method")))
    if differs == "--data":
        image = np.load(folders[1] / "I_tr.npy", mmap_mode="r+")
        image[300] *= -1
        image.flush()
    words = ("mine:method", "--data", ".", "--bits", 16, "--anchors", 60, "--out", tmp_path / "run")
    found = ended(started(folders, 2, *words), 120)
    assert [code for code, _, _ in found] == [2, 2]
    wanted = f"{differs}: expected the same in all processes; other than in process 0 in 1"
    assert any(wanted in said for _, _, said in found), found


def test_what_process_0_alone_refuses_ends_the_others(pairs, tmp_path):
    words = ("dcgh", "--data", "I_tr.npy", "--bits", 16, "--anchors", 60, "--out", tmp_path / "run")
    found = ended(started([tmp_path, pairs], 2, *words), 30)
    assert [code for code, _, _ in found] == [2, 2]
    assert "I_tr.npy: no such file or folder" in found[0][2]
