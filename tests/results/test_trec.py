"""TREC files: other programs read from them the rankings and scores that `evaluate` gives."""

import ir_measures
import pytest

import jaxcmh
from jaxcmh.commands.cli import main
from jaxcmh.datasets import resplit
from jaxcmh.results import trec


@pytest.fixture(scope="module")
def trained():
    split = jaxcmh.load_dataset("synthetic", train=60, query=10, seed=0)
    model = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=8)
    return model, split


@pytest.mark.parametrize("database", ["learned", "encoded"])
def test_other_programs_find_the_same_average_precision(trained, tmp_path, database):
    model, split = trained
    files = trec.export(tmp_path / "out", model, split, database=database)
    assert [file.name for file in files] == ["i2t.run", "i2t.qrels", "t2i.run", "t2i.qrels"]
    expected = jaxcmh.evaluate(
        model, split.query.views, split.query.labels, split.train.labels, database=database, ties="stable"
    )
    for direction in ("i2t", "t2i"):
        qrels = ir_measures.read_trec_qrels(str(tmp_path / "out" / f"{direction}.qrels"))
        run = list(ir_measures.read_trec_run(str(tmp_path / "out" / f"{direction}.run")))
        assert len(run) == 10 * 60
        measured = {m.query_id: m.value for m in ir_measures.iter_calc([ir_measures.AP], qrels, run)}
        ap = dict(zip(map(str, split.query.ids.tolist()), expected["metrics"][direction].ap.tolist()))
        assert measured == pytest.approx(ap, abs=1e-6)


def test_a_run_alone_gives_the_files_that_its_data_give(tmp_path):
    from jaxcmh.results import runs
    from jaxcmh.studies import runs as studied

    split = resplit(jaxcmh.load_dataset("synthetic", train=60, query=20), query=10, train=40)
    assert split.database is not split.train
    for method, data in (("dcgh", jaxcmh.load_dataset("synthetic", train=60, query=10)), ("acqh", split)):
        outcome = studied.run(data, method, bits=8, data="gone.npz", max_iterations=3)
        place = runs.keep(tmp_path / method, outcome, {"data": "gone.npz"})
        for source in (runs.read_run(place), data):
            trec.export(tmp_path / f"{method} {len(source)}", outcome.model, source, database="encoded")
        of_run, of_data = (
            [file.read_text() for file in sorted((tmp_path / f"{method} {len(source)}").iterdir())]
            for source in (runs.read_run(place), data)
        )
        assert of_run == of_data
        assert main(["trec", str(place), "--out", str(tmp_path / f"{method}-files"), "--depth", "3"]) == 0


def test_a_depth_cuts_every_ranking(trained, tmp_path):
    files = trec.export(tmp_path / "out", *trained, depth=5)
    lines = files[0].read_text().splitlines()
    assert len(lines) == 10 * 5
    assert [line.split()[3:5] for line in lines[:5]] == [["1", "4"], ["2", "3"], ["3", "2"], ["4", "1"], ["5", "0"]]
    assert len({line.split()[2] for line in lines[:5]}) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"database": "held_out"}, "allows learned and encoded codes"),
        ({"depth": 61}, "expected 1 to 60"),
        ({"depth": 0}, "got 0"),
    ],
)
def test_what_cannot_be_exported_is_named(trained, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        trec.export(tmp_path / "out", *trained, **options)
    assert not (tmp_path / "out").exists()


def test_the_commands_on_real_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed in ("0", "1"):
        options = ["--data", "synthetic", "--bits", "8", "--seed", seed, "--anchors", "50", "--features", "rbf"]
        for method in ("dcgh", "dcgh-d"):
            assert main(["train", method, *options, "--out", f"{method}-{seed}"]) == 0
    capsys.readouterr()
    assert main(["trec", "dcgh-0", "--out", "files", "--depth", "3"]) == 0
    assert capsys.readouterr().out.split() == [f"files/{d}.{end}" for d in ("i2t", "t2i") for end in ("run", "qrels")]
    assert main(["trec", "dcgh-0", "--out", "files"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["compare", "dcgh-0", "dcgh-1", "dcgh-d-0", "dcgh-d-1", "--format", "markdown"]) == 0
    table = capsys.readouterr().out
    assert table.count("| dcgh | dcgh-d |") == 4  # two kinds of database codes in two directions
    assert "2 / 2" in table
    assert main(["table", "dcgh-0", "dcgh-1", "--format", "markdown", "--database", "learned"]) == 0
    assert capsys.readouterr().out.count(" ± ") == 2
