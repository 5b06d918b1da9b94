"""The scripts that say what an accelerator gives: here on a CPU, in the sizes of a trial."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"


def script(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench():
    return script("bench_accelerator")


def test_products_are_counted_from_their_shapes(bench):
    program = jax.jit(lambda a, b: (jnp.einsum("bij,bjk->bik", a, b), a[0] @ b[0]))
    text = program.lower(jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5))).as_text()
    assert bench.products(text) == 2 * (2 * 3 * 4 * 5) + 2 * 3 * 4 * 5


def test_every_part_of_the_benchmark_runs_here(bench, tmp_path, capsys):
    for _ in range(2):  # lines are appended
        bench.main(["--small", "--methods", "dcgh", "--output", str(tmp_path / "lines.jsonl")])
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * (1 + 1 + 1 + 1 + 3 + 3)
    assert {line["part"] for line in lines} == {"roofline", *bench.PARTS}
    assert "training   dcgh" in capsys.readouterr().out
    for line in lines:
        assert line["environment"]["device"] == "cpu (cpu)"
        if line["part"] != "roofline":
            assert line["median"] > 0
            assert line.get("of_copy", 0) > 0 or line["of_matmul"]["highest"] > 0
        for program in line.get("programs", {}).values():
            assert program["bytes"]["argument"] > 0
            assert all(isinstance(count, int) for count in program["products"].values()), program["products"]
    (step, *_) = [line["programs"]["step"]["products"] for line in lines if line["part"] == "training"]
    assert step["cuda"] > 0


def test_sweeps_double_their_lanes_until_there_is_no_room(bench, tmp_path, monkeypatch):
    path, compiled = tmp_path / "lines.jsonl", bench.lanes.compiled

    def widths(*words):
        path.unlink(missing_ok=True)
        bench.main(["--small", "--methods", "random_codewords", "--parts", "sweep", "--output", str(path), *words])
        return [line["lanes"] for line in map(json.loads, path.read_text().splitlines()) if line["part"] == "sweep"]

    monkeypatch.setattr(bench.lanes, "LANES", 1)
    assert widths() == [1]
    assert widths("--lanes", "3") == [1, 2]
    narrow = lambda *words, lanes, **options: compiled(*words, lanes=min(lanes, 2), **options)  # noqa: E731
    monkeypatch.setattr(bench.lanes, "compiled", narrow)
    assert widths("--lanes", "64") == [1, 2]


def test_a_sweep_that_a_device_refuses_is_the_last(bench, monkeypatch):
    def refused(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(bench.lanes, "compiled", refused)
    split = bench.jaxcmh.load_dataset("synthetic", train=60, query=10)
    (line,) = bench.sweeps(split, "random_codewords", 8, 1, 1, 64)
    assert line["lanes"] == 8
    assert line["refused"].startswith("RESOURCE_EXHAUSTED")
    assert not line["seconds"]


def test_accounts_time_nothing_and_have_a_table(bench, tmp_path, capsys):
    path = tmp_path / "lines.jsonl"
    bench.main(["--small", "--accounts", "--methods", "dcgh", "--output", str(path)])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 1 + 1 + 3 + 3
    assert not any(line["seconds"] or {"median", "of_copy", "of_matmul"} & set(line) for line in lines)
    capsys.readouterr()
    bench.main(["--table", "--shape", "M", "--output", str(path)])
    assert len(capsys.readouterr().out.splitlines()) == 2
    names, _, *rows = (
        [cell.strip() for cell in row.split("|")[1:-1]] for row in bench.table(lines, "small").splitlines()
    )
    of = {tuple(row[:3]): dict(zip(names, row)) for row in rows}
    assert set(of) >= {
        ("training", "dcgh", "fit"),
        ("search", "hamming 10", "search"),
        ("evaluation", "hamming, stable ties", "count"),
    }
    assert (
        float(of["training", "dcgh", "fit"]["products, cuda"]) > 0 < float(of["training", "dcgh", "fit"]["arguments"])
    )


def test_the_table_of_accounts_is_that_of_the_committed_lines(bench):
    lines = [json.loads(line) for line in bench.RESULTS.read_text().splitlines()]
    assert all("+" not in line["environment"]["commit"] for line in lines)
    table = bench.table(lines, "M")
    assert {line["method"] for line in lines if line["part"] == "training"} == set(bench.METHODS)
    assert table in (EXPERIMENTS / "README.md").read_text()


def test_the_table_of_precisions_is_that_of_the_committed_lines():
    lines = [json.loads(line) for line in (EXPERIMENTS / "results" / "precision.jsonl").read_text().splitlines()]
    assert all("+" not in line["environment"]["commit"] for line in lines)  # made by a committed state of the package
    assert script("precision").table(lines) in (EXPERIMENTS / "README.md").read_text()


def test_rounded_products_keep_the_digits_they_are_said_to():
    precision = script("precision")
    x, anchors = (jax.random.normal(jax.random.key(i), (50, 30)) for i in (0, 1))
    exact = jnp.matmul(x, anchors.T)
    error = {name: float(jnp.abs(of(x, anchors) - exact).max()) for name, of in precision.PRODUCTS.items()}
    assert error["float32"] < 1e-5 < 1e-3 < error["tf32"] < error["bfloat16"] / 4
    assert error["three bfloat16"] < error["tf32"] / 10
