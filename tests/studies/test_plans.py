"""The plans of the papers, and the command that runs them."""

import json
import runpy
from pathlib import Path

import fake_lines
import numpy as np
import pytest

from jaxcmh import progress, results, studies
from jaxcmh.commands import cli
from jaxcmh.datasets import NAMED, load_dataset
from jaxcmh.methods import registry
from jaxcmh.results import tables
from jaxcmh.studies import reproduce
from jaxcmh.studies.plans import inside, plans
from jaxcmh.studies.plans.plan import shape
from jaxcmh.studies.reproduce import shortened, wanted

pytestmark = pytest.mark.xdist_group("plans")
ROWS = {"wiki": 2173, "mirflickr25k": 18_015, "nuswide10": 184_577, "iaprtc12": 18_000, "icons": 1068}
PAPERS = [name for name in plans if name in registry]
ALL = [(paper, data) for paper in PAPERS for data in (*plans[paper].datasets, "icons", "synthetic:wiki")]
# Smallest and largest value that a paper says it varies a hyper-parameter over.
RANGES = {
    "a2lh": {"zeta": (0, 9), **dict.fromkeys(("alpha", "beta", "eta", "omega"), (1e-5, 1e5))},
    "dcgh": {"alpha": (1e-4, 1e4), "beta": (1e-4, 1e4), "lam": (1e-4, 1e-1)},
}
BITS = {
    "a2lh": (16, 32, 64, 128),
    "acqh": (8, 16, 32, 64, 128),
    "aah": (16, 32, 64, 128),
    "imads": (16, 32, 64, 128),
    "dcgh": (8, 16, 32, 64),
}


@pytest.fixture(autouse=True)
def quiet_start(monkeypatch):
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")


def printed_by(row):
    """Data sets for which the copy has a row such as "acqh: DCH"."""
    return {line["dataset"] for line in tables._printed() if f"{line['paper']}: {line['method']}" == row}


def planned(paper, data):
    return plans[paper].studies(data, ROWS.get(shape(data), 2173))


@pytest.mark.parametrize(("paper", "data"), ALL)
def test_every_study_is_one_that_can_be_run(paper, data):
    assert data.partition(":")[0] in (*NAMED, "icons", "synthetic")
    for study in planned(paper, data):
        points = studies.points(study)  # its method, hyper-parameters and bits exist
        assert len({(str(p.setting), p.bits, p.params, p.seed) for p in points}) == len(points) > 0
        assert len(studies.points(shortened(study))) <= len(points)
        assert study.method.partition("-")[0] == paper
        for setting in study.settings:
            assert set(setting) <= set(studies.CONDITIONS)
            sizes = [value for name, value in setting.items() if name != "unpaired"]
            assert all(0 < size <= ROWS.get(shape(data), 2173) for size in sizes)


@pytest.mark.parametrize("paper", PAPERS)
def test_the_plans_keep_to_their_papers(paper):
    named = {study.name: study for study in planned(paper, "wiki")}
    assert named["bits"].bits == BITS[paper]
    assert named["bits"].seeds == 5
    varied = {name: values for study in named.values() for name, values in study.vary.items()}
    for name, (low, high) in RANGES.get(paper, {}).items():
        assert (min(varied[name]), max(varied[name])) == (low, high)
    if paper == "imads":
        assert len(varied) == 11  # its ten parameters, mu_1 and mu_2 apart


def test_the_surface_is_nine_by_nine():
    surface = next(study for study in planned("dcgh", "wiki") if study.kind == "surface")
    assert len(studies.points(surface)) == 81


@pytest.mark.parametrize("paper", plans)
def test_tables_and_figures_name_studies_and_every_reason_a_method(paper):
    plan = plans[paper]
    for word, places in (("tables", plan.tables), ("figures", plan.figures)):
        for number, names in places.items():
            chosen = wanted(plan, *([[number], []] if word == "tables" else [[], [number]]), [])
            assert chosen == set(names)
            assert chosen <= {study.name for data in plan.datasets for study in planned(paper, data)}
    for method, data in plan.reasons:
        assert method.partition("-")[0] in registry or data in printed_by(method)
        assert data in ROWS


def test_aah_beside_deep_methods_is_trained_on_their_sizes_and_compared_with_table_five():
    (study,) = planned("aah", "mirflickr25k:aah-deep")
    assert wanted(plans["aah"], [5], [], []) == {study.name}
    assert NAMED["mirflickr25k"].recipes["aah-deep"][:2] == (2000, 10_000)
    changes = {"data": "mirflickr25k:aah-deep", "database": "encoded", "n_train": 10_000, "n_database": 18_015}
    lines = [fake_lines.line("aah", bits, study=(study.name, study.kind, []), **changes) for bits in study.bits]
    printed = {(v.direction, v.bits): v.published for v in tables.against(lines)}
    assert printed == {
        **dict(zip([("i2t", 16), ("i2t", 32), ("i2t", 64)], [0.7048, 0.7148, 0.7204])),
        **dict(zip([("t2i", 16), ("t2i", 32), ("t2i", 64)], [0.8051, 0.8120, 0.8168])),
    }
    assert {v.verdict for v in tables.against(lines)} <= {"reached", "not reached"}
    assert tables.published("aah", "mirflickr25k:aah", "i2t", 16)[0] == 0.7145  # Table II


def call(capsys, *words):
    code = cli.main(list(map(str, words)))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A data set small enough to train on in no time, as a file."""
    from jaxcmh.datasets import save_split, synthetic

    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    save_split(synthetic(train=120, query=20, dims=(12, 15), labels=4), path)
    return path


def test_a_paper_end_to_end_and_again(capsys, tmp_path, tiny):
    words = ["reproduce", "dcgh", "--dataset", tiny, "--quick", "--out", tmp_path]
    words += ["--study", "curves", "bits", "lambda", "half unpaired"]
    code, _, err = call(capsys, *words)
    assert code == 0, err
    (folder,) = tmp_path.iterdir()
    lines = results.read(folder / "results.jsonl")
    kinds = {(line["study"]["name"], line["database"]) for line in lines}
    assert {("bits", "learned"), ("bits", "encoded"), ("lambda", "learned")} <= kinds
    assert ("lambda", "encoded") not in kinds
    assert {line["setting"].get("unpaired") for line in lines} == {None, 0.5}
    assert {"curves" in line for line in lines if line["study"]["name"] == "curves"} == {True}
    assert {"curves" in line for line in lines if line["study"]["name"] == "bits"} == {False}
    for study in ("bits", "half unpaired"):
        assert {line["method"] for line in lines if line["study"]["name"] == study} == {"dcgh", "random_codewords"}
    assert {line["method"] for line in lines if line["study"]["name"] in ("curves", "lambda")} == {"dcgh"}
    assert "random_codewords learns no codes" in (folder / "report.html").read_text()
    before = (folder / "results.jsonl").read_bytes()
    assert call(capsys, *words)[0] == 0
    assert (folder / "results.jsonl").read_bytes() == before


def test_with_fewer_training_rows_than_database_rows_all_codes_are_encoded(tmp_path, tiny):
    study = studies.Study("size", "training_size", "aah", bits=(8,), seeds=1, settings=({"training_size": 60},))
    options = {"data": "tiny", "ties": "stable", "progress": progress.Progress(0)}
    (line,) = reproduce.run([study], load_dataset(tiny), tmp_path, **options)
    assert (line["database"], line["n_train"], line["n_database"]) == ("encoded", 60, 120)


def test_missing_data_are_skipped_with_a_line_that_says_what_is_wanted(capsys, tmp_path, tiny):
    words = ["reproduce", "dcgh", "--quick", "--study", "bits", "--root", tmp_path, "--out", tmp_path / "out"]
    code, _, err = call(capsys, *words, "--dataset", "wiki", "nuswide10:dcgh", tiny)
    assert code == 0
    skipped = [line for line in err.splitlines() if line.startswith("skipped")]
    assert "raw_features.mat" in skipped[0]
    assert "nus-wide-tc10" in skipped[1]
    code, _, err = call(capsys, *words, "--dataset", "wiki")
    assert code == 2
    assert err.splitlines()[-1] == "jaxcmh: nothing to do: none of the data sets is there"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("reproduce", "dcg"), "did you mean 'dcgh'"),
        (("reproduce", "dcgh", "--table", "9"), "no table 9; those with experiments are 1, 2, 3"),
        (("reproduce", "dcgh", "--figure", "1"), "no figure 1"),
        (("reproduce", "dcgh", "--study", "bit"), "no study 'bit'; there are"),
        (("reproduce", "dcgh", "--dataset", "wikki"), "did you mean 'wiki'"),
    ],
)
def test_names_that_do_not_exist_are_refused_in_one_line(capsys, words, message):
    code, out, err = call(capsys, *words)
    lines = [line for line in err.splitlines() if line.startswith("jaxcmh: ")]
    assert (code, len(lines), out) == (2, 1, "")
    assert message in lines[0]
    assert "Traceback" not in err


def test_first_answers_and_residuals_leave_arrays_beside_the_lines(tmp_path):
    import jaxcmh
    from jaxcmh.studies import Study

    split = jaxcmh.load_dataset("synthetic", train=120, query=20, dims=(12, 15), labels=4)
    path, steps = tmp_path / "results.jsonl", progress.Progress(0)
    study = Study("residuals", "residuals", "aah", bits=(8,), seeds=1)
    options = {"data": "synthetic", "ties": "expected", "progress": steps}
    (line,) = inside.run(study, split, path, **options)
    with np.load(tmp_path / line["arrays"]) as stored:
        assert {stored[name].shape for name in stored.files} == {(120,)}
    assert inside.run(study, split, path, **options) == results.read(path) == [json.loads(json.dumps(line))]
    with pytest.raises(ValueError, match="no pictures and texts"):
        inside.run(Study("first answers", "pictures", "imads", bits=(8,), seeds=1), split, path, **options)


def test_the_state_a_look_inside_sees_is_that_of_the_model():
    import jaxcmh
    from jaxcmh.retrieval import topk

    split = jaxcmh.load_dataset("synthetic", train=120, query=20, dims=(12, 15), labels=4)
    model = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=8, seed=3, max_iterations=4)
    data, state = inside.learned(model, split)
    codes = jaxcmh.methods.registry["dcgh"].codes(state, data, None)
    np.testing.assert_array_equal(codes, topk.unpack(model.codes))


@pytest.mark.parametrize(
    ("data", "study", "database"),
    [
        ("wiki", "bits", "learned"),
        ("wiki", "bits", "encoded"),
        ("wiki", "half unpaired", "learned"),
        ("icons", "bits", "learned"),
        ("icons", "bits", "encoded"),
        ("compare/wiki", "bits", "learned"),
        ("compare/wiki", "bits", "encoded"),
        ("compare/wiki", "one feature map", "learned"),
        ("compare/wiki", "one feature map", "encoded"),
    ],
)
def test_the_tables_of_the_experiments_are_those_of_the_committed_lines(data, study, database):
    folder = Path(__file__).parents[2] / "experiments"
    lines = [line for line in results.read(folder / "results" / data) if line["study"]["name"] == study]
    assert all("+" not in line["environment"]["commit"] for line in lines)  # made by a committed state of the package
    table = tables.study([line for line in lines if line["database"] == database])
    text = (folder / "README.md").read_text()
    cells = [results.show(cell) for _, cells in table.rows for cell in cells if cell]
    assert len(cells) > 7
    assert [cell for cell in cells if cell not in text] == []
    assert {line["seed"] for line in lines} == set(range(5))


def test_the_table_of_all_sets_is_that_of_the_committed_lines():
    folder = Path(__file__).parents[2] / "experiments"
    found = runpy.run_path(str(folder / "compare_sets.py"))
    lines = found["rows"]()
    assert len(lines) == 20
    assert [line for line in lines if line not in (folder / "README.md").read_text()] == []


def test_times_beside_references_are_those_of_the_committed_lines():
    folder = Path(__file__).parents[2] / "experiments"
    lines = runpy.run_path(str(folder / "bench_references.py"))["rows"]()
    assert len(lines) == 2 + len(set(registry) - {*PAPERS, "random_codewords"})
    assert [line for line in lines if line not in (folder / "README.md").read_text()] == []


@pytest.mark.parametrize("data", ["wiki", "icons"])
def test_what_map_does_not_say_is_that_of_the_committed_lines(data):
    folder = Path(__file__).parents[2] / "experiments"
    lines = results.read(folder / "results" / "answers" / data)
    assert all("+" not in line["environment"]["commit"] for line in lines)
    assert {line["seed"] for line in lines} == set(range(5))
    text = (folder / "README.md").read_text()
    rows = [" | ".join(cell for cell, _ in cells) for _, cells in tables.measures(lines).rows]
    assert len(rows) == 4
    assert [row for row in rows if row not in text] == []


def test_a_plan_is_found_by_its_file_alone(tmp_path, monkeypatch):
    import jaxcmh.studies.plans as package

    (tmp_path / "toy.py").write_text(
        "from jaxcmh.studies import Study\n"
        "from jaxcmh.studies.plans.plan import Plan\n"
        "plan = Plan('Toy', ('wiki',), lambda data, rows: [Study('bits', 'bits', 'dcgh')], {1: ('bits',)}, {}, {})\n"
    )
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    there = package.collect()
    assert list(there) == [*plans, "toy"]
    assert list(plans) == [*PAPERS, "compare"]
    assert wanted(there["toy"], [1], [], []) == {"bits"}
