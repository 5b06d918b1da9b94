"""What shapes say of a training's peak memory."""

import re

import numpy as np
import pytest
import scipy.sparse

from jaxcmh import methods
from jaxcmh.datasets import rows
from jaxcmh.learning import memory
from jaxcmh.learning.features import Features

KERNEL = (Features(anchors=500), Features(anchors=500))


def peak(method="dcgh", n=1_000_000, kept=True, chosen=KERNEL, bits=32):
    return memory.peak_gb(methods.find(method), n, (64, 128), 24, bits, chosen, kept)


def test_kept_features_take_their_bytes_and_blocks_none():
    more = peak(n=2_000_000) - peak()
    assert 4.0 < more < 5.5  # 4 bytes for each of 1,000 mapped features of a million samples
    assert peak(n=2_000_000, kept=False) - peak(kept=False) < 1
    narrow = (Features("identity"), Features("identity"))
    assert peak(chosen=narrow) < peak() - 3


@pytest.mark.parametrize(("method", "arrays"), [("dcgh", 0), ("batch", 1), ("imads", 3)])
def test_the_state_is_that_of_the_method(method, arrays):
    assert memory.state_bytes(methods.find(method), (50, 50), 24, 16) == arrays * 4 * 16


def test_raw_views_count_where_they_are_in_memory(tmp_path):
    dense, sparse = np.zeros((100, 8), np.float32), scipy.sparse.csr_array(np.eye(100))
    np.save(tmp_path / "x.npy", dense)
    assert memory.held(dense) == 3200
    assert memory.held(sparse) == sparse.data.nbytes + sparse.indices.nbytes + sparse.indptr.nbytes
    assert memory.held(np.load(tmp_path / "x.npy", mmap_mode="r")) == 0
    assert memory.held(rows([dense])) == 0


def test_the_room_is_all_or_nothing_or_there_is_none():
    views = [np.broadcast_to(np.float32(0), (1_000_000, d)) for d in (64, 128)]
    dcgh, raw = methods.find("dcgh"), 4 * 192 / 1e3
    kept, blocks = raw + peak(), raw + peak(kept=False)
    given = dcgh, views, 24, 32, KERNEL
    assert memory.room_within(kept + 0.1, *given) == kept + 0.1
    assert memory.room_within(kept - 0.1, *given) == memory.NO_ROOM
    with pytest.raises(ValueError, match=rf"memory: expected at least {blocks:.2f} GB, .* or {kept:.2f} with"):
        memory.room_within(blocks - 0.1, *given)


@pytest.mark.parametrize("limit", [2.0, 1.0, 0.1])
def test_what_would_fit_instead_does(limit, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    views = [np.broadcast_to(np.float32(0), (1_000_000, d)) for d in (640, 1280)]
    with pytest.raises(ValueError, match=f"; got {limit:g}$") as refused:
        memory.room_within(limit, methods.find("dcgh"), views, 24, 32, KERNEL)
    files, processes = (
        re.search(r"files \(([\d.]+) GB\)", said := str(refused.value)),
        re.search(r"(\d+) processes", said),
    )
    assert bool(files) == (limit == 2)
    assert bool(processes) == (limit > 0.1) == ("what would fit" in said)
    if files:
        assert 0 < float(files[1]) <= limit
    if processes:
        count = int(processes[1])
        shared, fewer = (
            memory.peak_gb(methods.find("dcgh"), 1_000_000 // k, (640, 1280), 24, 32, KERNEL)
            for k in (count, count // 2)
        )
        assert shared <= limit < fewer


def test_fewer_anchors_are_named_where_they_would_do(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    views = [np.broadcast_to(np.float32(0), (100_000, 64)).view(np.memmap) for _ in range(2)]
    many = tuple(f._replace(anchors=4000) for f in KERNEL)
    with pytest.raises(ValueError, match=r"what would fit: .*1000 anchors; got 1\.2$"):
        memory.room_within(1.2, methods.find("dcgh"), views, 24, 32, many)
