"""The comparison of all methods: its plan, and the command that runs it."""

import jax
import numpy as np
import pytest

import jaxcmh
from jaxcmh import progress, results, studies
from jaxcmh.commands import asked, cli
from jaxcmh.datasets import load_dataset, save_split, synthetic
from jaxcmh.learning.encoders import ridge
from jaxcmh.methods import registry
from jaxcmh.results import tables
from jaxcmh.studies.plans import compare, plans

pytestmark = pytest.mark.xdist_group("plans")


@pytest.fixture(autouse=True)
def quiet_start(monkeypatch):
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")


@pytest.fixture(scope="module")
def split():
    return synthetic(train=120, query=20, dims=(12, 15), labels=4)


@pytest.mark.parametrize("data", [*plans["compare"].datasets, "icons", "nuswide10"])
def test_every_method_is_in_every_study(data):
    named = {}
    for study in plans["compare"].studies(data, 2173):
        name = study.method.name
        named.setdefault(study.name, []).append(name.removesuffix("-common"))
        assert name.endswith("-common") == (study.name in ("paired", "one feature map"))
        assert (study.seeds, {point.seed for point in studies.points(study)}) == (5, set(range(5)))
    assert set(map(tuple, named.values())) == {tuple(registry)}
    printed = data in ("wiki", "nuswide10")
    assert set(named) == {"bits", "paired", "one feature map", "time", *(["8 and 128 bits"] if printed else [])}


def test_methods_run_with_the_settings_of_their_papers():
    chosen = {study.method.name: study for study in plans["compare"].studies("mirflickr25k:tags", 18_015)}
    assert chosen["dcgh"].params == jaxcmh.methods.paper_params("dcgh", "mirflickr25k")
    assert {name: study.features for name, study in chosen.items() if name.endswith("-common")} == {
        f"{name}-common": compare.COMMON for name in registry
    }


@pytest.mark.parametrize("name", ["dcgh", "dlfh", "mtfh"])
def test_the_common_hash_function_is_the_ridge_regression_of_the_codes(split, name):
    model = jaxcmh.train(compare.common(registry[name]), *split.train[:2], bits=8, features="centre", max_iterations=2)
    views = [x - x.mean(0) for x in split.train.views]
    codes = 2.0 * np.unpackbits(model.codes, axis=-1, bitorder="little") - 1
    with jax.enable_x64(True):
        data = jaxcmh.core.prepare(views, split.train.labels, precision="float64")
        expected = ridge(codes, data, compare.RIDGE)
    for encoder, W in zip(model.encoders, expected):
        np.testing.assert_allclose(getattr(encoder, "W", encoder), W, rtol=1e-3, atol=1e-4)


def test_where_queries_are_no_codes_the_hash_function_is_the_methods_own():
    assert compare.common(registry["acqh"]) == registry["acqh"]._replace(name="acqh-common")


def test_a_comparison_end_to_end_and_again(capsys, tmp_path, split):
    save_split(split, tmp_path / "tiny.npz")
    words = ["compare-methods", "--methods", "dcgh", "acqh", "--quick", "--dataset", str(tmp_path / "tiny.npz")]
    words += ["--out", str(tmp_path / "out")]
    assert cli.main(words) == 0, capsys.readouterr().err
    folder = tmp_path / "out" / "tiny"
    lines = results.read(folder / "results.jsonl")
    found = {(line["study"]["name"], line["method"].removesuffix("-common"), line["database"]) for line in lines}
    own = ("dcgh", "acqh", tables.CONTROL)
    assert found == {
        *((study, m, kind) for study in ("bits", "one feature map", "paired") for m in own for kind in KINDS),
        *(("time", method, "learned") for method in own),
    }
    assert all(("ap" in line) == (line["study"]["name"] == "paired") for line in lines)
    for line in lines:
        for direction, ap in line.get("ap", {}).items():
            assert len(ap) == 20
            assert np.nanmean(np.array(ap, float)) == pytest.approx(line["map"][direction], abs=5e-4)
    timed = [line for line in lines if line["study"]["name"] == "time"]
    assert all(line["times"]["train"] > 0 and line["peak_memory_gb"] > 0 for line in timed)
    figures = {path.name for path in (folder / "figures").glob("*.png")}
    assert {"time-map.png", "paired.png"} <= figures
    page = (folder / "report.html").read_text()
    assert tables.MEANING in page
    assert "Gain over random codewords" in page
    capsys.readouterr()
    assert cli.main(["table", str(folder), "--study", "paired"]) == 0
    assert "mAP less that of random_codewords-common, a single seed" in capsys.readouterr().out
    before = (folder / "results.jsonl").read_bytes()
    assert cli.main(words) == 0
    assert (folder / "results.jsonl").read_bytes() == before


KINDS = ("learned", "encoded")


def test_missing_data_are_skipped_and_all_papers_are_without_the_comparison(capsys, tmp_path):
    assert cli.main(["compare-methods", "--dataset", "wiki", "--root", str(tmp_path)]) == 2
    assert "raw_features.mat" in capsys.readouterr().err
    assert "compare" not in asked.plans("all")
    assert cli.main(["compare-methods", "--methods", "dcg"]) == 2
    assert "did you mean 'dcgh'" in capsys.readouterr().err


def test_the_difficulties_differ_in_noise_alone():
    easy, hard = (load_dataset(f"synthetic:{name}", train=100, query=10) for name in ("easy", "hard"))
    np.testing.assert_array_equal(easy.train.labels, hard.train.labels)
    assert (easy.train.views[1] != hard.train.views[1]).any()
    assert easy.train.labels.sum(1).mean() > 2
