"""Damaged files of every kind: each is read or refused in one line that names it, and no reader falls."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

if not Path("/proc/self/statm").exists():
    pytest.skip("the address space is measured as Linux tells it", allow_module_level=True)
for needed in ("h5py", "pyarrow", "faiss", "PIL"):
    pytest.importorskip(needed)

damage = pytest.importorskip("fuzz.damage")

LONG = 2_000  # files in the long form, over all kinds


def damaged(folder, first, count, names):
    """Outcomes of that many damaged files of each kind; of a child that dies the rest is read by another."""
    # Memory that libraries set aside in advance would count as if a file had asked for it.
    quiet = {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    environment = {**os.environ, **quiet}
    folder.mkdir()
    command = [sys.executable, damage.__file__, str(folder), str(first), str(count), *names]
    child = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
    outcomes = [line for line in lines if "came" in line]
    if child.returncode:
        assert lines, child.stderr
        name, number = lines[-1].get("begun"), lines[-1].get("number")
        assert name, child.stderr
        why = f"the child ended with {child.returncode}: {child.stderr[-2000:]}"
        outcomes.append({"kind": name, "number": number, "came": why})
        rest = first + count - number - 1
        if rest:
            outcomes += damaged(folder.with_name(f"{folder.name}-{number}"), number + 1, rest, [name])
        others = names[names.index(name) + 1 :]
        if others:
            outcomes += damaged(folder.with_name(f"{folder.name}-{others[0]}"), first, count, others)
    return outcomes


def judged(outcomes):
    counts = Counter(line["came"] if line["came"] in ("read", "named") else "wrong" for line in outcomes)
    wrong = [line for line in outcomes if line["came"] not in ("read", "named")]
    print(dict(counts))
    assert not wrong, "\n".join(f"{line['kind']} {line['number']}: {line['came'][-3000:]}" for line in wrong[:20])
    return counts


def test_damaged_files_are_read_or_refused_by_name(tmp_path):
    counts = judged(damaged(tmp_path / "few", 0, 8, list(damage.KINDS)))
    assert counts["named"] > 100
    assert sum(counts.values()) == 8 * len(damage.KINDS)


@pytest.mark.long
@pytest.mark.parametrize("name", damage.KINDS)
def test_many_damaged_files_are_read_or_refused_by_name(tmp_path, name):
    count = -(-LONG // len(damage.KINDS))
    assert sum(judged(damaged(tmp_path / "many", 1000, count, [name])).values()) == count
