"""The command line: what it prints, what it refuses and with which exit code, and what it leaves on disk."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import jaxcmh
from jaxcmh import progress, results, store
from jaxcmh.commands import cli
from jaxcmh.commands.demo import prepared
from jaxcmh.results import report, runs

pytestmark = pytest.mark.xdist_group("cli")  # the trained runs are shared
BITS = 16


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def trained(patch, tmp_path_factory):
    """A run folder, trained by the command on a small synthetic set; jax keeps the settings of the tests."""
    patch.setattr(progress, "start_jax", lambda: "device: cpu")
    patch.chdir(tmp_path_factory.mktemp("work"))
    assert cli.main(["train", "dcgh", "--data", "synthetic", "--bits", str(BITS), "--out", "made/run"]) == 0
    return "made/run"


@pytest.fixture(autouse=True)
def quiet_start(patch):
    patch.setattr(progress, "start_jax", lambda: "device: cpu")


def call(capsys, *words):
    code = cli.main(list(map(str, words)))
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, *words):
    """The one line with which the command refuses its input."""
    code, out, err = call(capsys, *words)
    lines = [line for line in err.splitlines() if line.startswith("jaxcmh: ")]
    assert code == 2, (out, err)
    assert len(lines) == 1
    assert "Traceback" not in err
    assert out == ""
    return lines[0]


# -- words ------------------------------------------------------------------------------------------------------------


def test_help_of_every_command(capsys):
    for words in (["--help"], ["train", "--help"], ["demo", "-h"], ["data", "info", "--help"], ["search", "--help"]):
        code, out, _ = call(capsys, *words)
        assert code == 0
        assert "Usage: jaxcmh" in out
    code, out, _ = call(capsys, "--version")
    assert (code, out.strip()) == (0, jaxcmh.__version__)


@pytest.mark.parametrize("command", ["train", "sweep", "demo"])
def test_help_says_where_every_method_is_listed(capsys, command):
    from jaxcmh.methods import registry

    assert "jaxcmh methods" in " ".join(call(capsys, command, "--help")[1].replace("│", " ").split())
    out = call(capsys, "methods")[1]
    assert [name for name in registry if not re.search(rf"\b{name}\b", out)] == []


def test_help_names_every_paper_that_can_be_reproduced(capsys):
    from jaxcmh.studies.plans import collect

    out = call(capsys, "reproduce", "--help")[1]
    papers = [name for name in collect() if name != "compare"]  # which is of no paper, and has a command of its own
    assert [name for name in papers if not re.search(rf"\b{name}\b", out)] == []


@pytest.mark.parametrize("command", [["train"], ["sweep"], ["reproduce"], ["data", "info"]])
def test_help_names_every_data_set(capsys, command):
    from jaxcmh.datasets import NAMES

    out = call(capsys, *command, "--help")[1]
    assert [name for name in NAMES if not re.search(rf"\b{name}\b", out)] == []


def test_help_lists_the_values_of_every_option_that_has_a_fixed_set(capsys):
    for command, values in (("train", "ridge, mlp"), ("train", "expected, stable"), ("table", "text, markdown, latex")):
        assert f"choices: {values}" in " ".join(re.sub(r"[│\s]+", " ", call(capsys, command, "--help")[1]).split())


def test_help_loads_nothing_heavy_and_takes_less_than_importing_jax():
    heavy = ("jax", "numpy", "scipy", "pandas", "matplotlib", "PIL", "skimage")
    program = (
        "import sys; from jaxcmh.commands.cli import main; code = main(['--help']); "
        f"print([name for name in {heavy} if name in sys.modules], code)"
    )
    spent = {program: [], "import jax": []}
    for _ in range(3):
        for text, times in spent.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(
                [sys.executable, "-c", text],
                capture_output=True,
                text=True,
                check=True,
                cwd=Path(jaxcmh.__file__).parents[1],
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            assert text != program or done.stdout.splitlines()[-1] == "[] 0"
    assert min(spent[program]) < min(spent["import jax"])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["trian"], ['"trian"', 'Did you mean "train"', "demo, methods, plan, train, grow, evaluate"]),
        (["data", "inof", "icons"], ['"inof"', "info"]),
        (["train", "dcgh", "--bit", "32"], ["--bit.", "Did you mean --bits?", "--seed", "--out"]),
        (["train", "imasd"], ["no method 'imasd'; did you mean 'imads'?", "dcgh-d"]),
        (["train", "DCGH"], ["no method 'DCGH'; did you mean 'dcgh'?"]),
        (["train", "dcgh", "--param", "alpha", "10"], ["nothing takes '10'"]),
        (["search", "absent", "--text", "blue", "stripes"], ["nothing takes 'stripes'", "--text 'blue stripes'"]),
        (["train", "dcgh", "--data", "Icons"], ["no data set 'Icons'; did you mean 'icons'? Known: icons"]),
        (["data", "info", "nope"], ["no data set 'nope'. Known: icons"]),
        (["reproduce", "dchg"], ["no paper 'dchg'; did you mean 'dcgh'? Papers: dcgh, a2lh"]),
        (["train", "dcgh", "--data", "icon"], ["'icon'", "did you mean 'icons'?", "wiki", "synthetic"]),
        (["data", "info", "synthetik"], ["did you mean 'synthetic'?"]),
        (["train"], ["METHOD requires an argument"]),
        (["train", "dcgh", "--bits", "many"], ["--bits", '"many"']),
        (["train", "dcgh", "--bits", "12"], ["--bits: expected a positive multiple of 8; got 12"]),
        (["train", "dcgh", "--param", "alpah=1"], ["no 'alpah'; did you mean 'alpha'?", "alpha, beta, lam"]),
        (["train", "dcgh", "--param", "alpha"], ["expected name=value", "'alpha'"]),
        (["train", "dcgh", "--param", "alpha=big"], ["alpha must be a number, got 'big'"]),
        (["train", "dcgh", "--ties", "none"], ["--ties", '"expected", "stable"']),
        (["train", "dcgh", "--features", "rbff"], ['"rbff"', 'Did you mean "rbf"']),
        (["demo", "--methods", "nothing"], ["no method 'nothing'", "dcgh"]),
        (["demo", "--bits", "7"], ["--bits: expected a positive multiple of 8; got 7"]),
        (["evaluate", "absent"], ["no run folder absent"]),
        (["search", "absent", "--text", "dog"], ["no run folder absent"]),
        (["search", "absent"], ["give one of --text, --image and --query"]),
        (["search", "absent", "--text", "a", "--query", "b.npy"], ["give one of"]),
    ],
)
def test_mistakes_are_named_in_one_line(capsys, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, *words)
    for part in parts:
        assert part in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--max-iterations", "0", "--max-iterations"),
        ("--seed", "-1", "seed"),
        ("--anchors", "0", "anchors"),
        ("--width", "0", "width"),
        ("--hash-function", "forest", '"ridge", "mlp"'),
        ("--at", "0", "at"),
        ("--param", "alpha=nan", "alpha"),
    ],
)
def test_values_out_of_range_are_named(capsys, tmp_path, monkeypatch, option, value, named):
    monkeypatch.chdir(tmp_path)
    assert named in refused(capsys, "train", "dcgh", "--data", "synthetic", "--bits", BITS, option, value)
    assert not list(tmp_path.iterdir())


# -- train and its folder ---------------------------------------------------------------------------------------------


def test_a_run_folder_holds_everything_and_comes_back(trained):
    run = runs.read_run(trained)
    model = jaxcmh.load(trained)
    split = jaxcmh.load_dataset("synthetic")
    assert sorted(os.listdir(trained)) == [
        "codes.npz",
        "config.json",
        "environment.json",
        "model.safetensors",
        "per_query.csv",
        "results.jsonl",
    ]
    assert (run.config["method"], run.config["bits"], run.config["data"]) == ("dcgh", BITS, "synthetic")
    assert run.environment["versions"]["jax"]
    assert [line["database"] for line in run.records] == ["learned", "encoded"]
    for line in run.records:
        assert (line["data_hash"], line["split_hash"]) == (results.data_hash(split), results.split_hash(split))
        for direction, value in line["map"].items():
            per_query = run.per_query[f"{line['database']} {direction}"]
            assert len(per_query) == line["n_queries"] == len(split.query.ids)
            assert np.isnan(per_query).sum() == line["n_without_relevant"]
            assert np.nanmean(per_query) == pytest.approx(value)
        assert {"load", "compile", "train", "evaluate"} <= set(line["times"])
        assert len(line["objective"]) == line["max_iterations"] + 1
    assert np.array_equal(run.codes["learned"], model.codes)
    assert np.array_equal(run.codes["query_1"], jaxcmh.encode(model, split.query.views[1], 1))
    assert os.listdir(".") == ["made"]


def test_a_folder_that_is_there_is_refused_before_any_work(capsys, trained):
    before = time.perf_counter()
    assert "is there already" in refused(capsys, "train", "dcgh", "--data", "synthetic", "--out", trained)
    assert time.perf_counter() - before < 1


def test_the_same_command_again_shows_what_is_stored(capsys, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "dcgh", "--data", "synthetic", "--bits", BITS, "--json"]
    code, first, err = call(capsys, *words)
    assert (code, err.splitlines()[-1]) == (0, "run folder: runs/dcgh-synthetic-16-0")
    code, again, err = call(capsys, *words)
    assert (code, err.splitlines()[-1]) == (0, "cached; run folder: runs/dcgh-synthetic-16-0")
    assert again == first
    code, other, err = call(capsys, *words, "--param", "alpha=2")
    assert (code, err.splitlines()[-1]) == (0, "run folder: runs/dcgh-synthetic-16-0-2")
    assert other != first
    assert sorted(os.listdir("runs")) == ["dcgh-synthetic-16-0", "dcgh-synthetic-16-0-2"]
    named = call(capsys, *words, "--out", "runs/dcgh-synthetic-16-0")  # the same, if the folder is said
    assert (named[0], named[1], named[2].splitlines()[-1]) == (0, first, "cached; run folder: runs/dcgh-synthetic-16-0")
    for changed in (["--param", "alpha=3"], ["--seed", "1"], ["--ties", "stable"]):
        assert "is not this run" in refused(capsys, *words, *changed, "--out", "runs/dcgh-synthetic-16-0")


def test_the_table_names_protocol_and_times(capsys, trained):
    code, out, _ = call(capsys, "train", "dcgh", "--data", "synthetic", "--bits", BITS, "-p", "alpha=2", "--at", 20)
    assert code == 0
    assert re.search(r"mAP@20, data synthetic, expected ties, \d+ queries \(\d+ without a relevant item\)", out)
    assert re.search(r"times: load .* s, compile .* s, train .* s, evaluate .* s", out)
    folder = runs.read_run("runs/dcgh-synthetic-16-0")
    assert folder.records[0]["params"]["alpha"] == 2.0


def test_what_looks_wrong_is_said(capsys, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = jaxcmh.load_dataset("synthetic")
    noise = np.random.default_rng(0)

    def blind(part):
        x = noise.normal(size=(len(part.ids), 5)).astype(np.float32)
        return part._replace(views=(x, x))

    train = blind(split.train)
    monkeypatch.setattr(
        jaxcmh, "load_dataset", lambda *_, **__: split._replace(train=train, database=train, query=blind(split.query))
    )
    code, _, err = call(capsys, "train", "dcgh", "--data", "noise", "--features", "identity")
    assert code == 0
    assert "warning: encoded database: i2t and t2i have exactly the same mAP" in err
    assert "hardly better than chance" in err


# -- evaluate and search ----------------------------------------------------------------------------------------------


def test_evaluate_agrees_with_training_and_keeps_only_new_results(capsys, trained):
    stored = runs.read_run(trained).records
    code, out, _ = call(capsys, "evaluate", trained, "--json")
    again = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["map"] for line in again] == [line["map"] for line in stored]
    assert runs.read_run(trained).records == stored
    code, out, _ = call(capsys, "evaluate", trained, "--database", "learned", "--ties", "stable", "--at", 50)
    assert code == 0
    assert "mAP@50" in out
    assert "stable ties" in out
    assert [line["ties"] for line in runs.read_run(trained).records] == ["expected", "expected", "stable"]


def test_evaluate_measures_more_than_map_where_it_is_asked_to(capsys, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    stored = [line for line in runs.read_run(run).records if line["ties"] == "expected"]
    assert "the results measure mAP alone" in refused(capsys, "table", run, "--measures")
    for _ in range(2):
        code, out, _ = call(capsys, "evaluate", run, "--beyond-map")
        assert (code, "NDCG@10" in out) == (0, True)
    kept = [line for line in runs.read_run(run).records if "measures" in line]
    assert [(line["key"], line["map"]) for line in kept] == [(line["key"], line["map"]) for line in stored]
    model, split = jaxcmh.load(run), jaxcmh.load_dataset("synthetic")
    options = {"database": "encoded", "beyond_map": True}
    report = jaxcmh.evaluate(model, split.query.views, split.query.labels, split.train.labels, **options)
    assert kept[1]["measures"] == report["measures"]
    code, out, _ = call(capsys, "table", run, "--measures", "--format", "csv")
    assert [row.split(",")[2:4] for row in out.splitlines()[1:]] == [
        [kind, direction] for kind in ("learned", "encoded") for direction in ("image → text", "text → image")
    ]
    assert f"{report['measures']['t2i']['recall@10']:.3f}" in out.splitlines()[-1]
    call(capsys, "evaluate", run, "--at", 20)
    code, out, _ = call(capsys, "evaluate", run, "--at", 20, "--divisor", "possible")
    assert "mAP@20 (divided by what is possible)" in out
    *_, first, _, second, _ = runs.read_run(run).records
    assert (first["key"] != second["key"], second["divisor"]) == (True, "possible")
    assert first["map"]["i2t"] > second["map"]["i2t"]


def test_evaluate_refuses_what_does_not_fit(capsys, trained):
    assert "allows learned and encoded codes" in refused(capsys, "evaluate", trained, "--database", "held_out")
    assert "did you mean 'wiki'?" in refused(capsys, "evaluate", trained, "--data", "wikki")
    assert "is not a run folder: it has no config.json" in refused(capsys, "evaluate", ".")
    line = refused(capsys, "evaluate", f"{trained}/model.safetensors")
    assert line.endswith(f"no run folder {trained}/model.safetensors: it is a file; did you mean {trained}?")


@pytest.mark.parametrize("name", ["config.json", "results.jsonl", "codes.npz", "per_query.csv", "model.safetensors"])
def test_a_damaged_run_folder_is_named(capsys, trained, tmp_path, name):
    for file in os.listdir(trained):
        content = Path(trained, file).read_bytes()
        (tmp_path / file).write_bytes(content[: len(content) // 2] + b"\n" if file == name else content)
    line = refused(capsys, "evaluate", tmp_path)
    assert str(tmp_path) in line
    (tmp_path / name).unlink()
    assert name in refused(capsys, "evaluate", tmp_path)


def test_search_by_vectors_agrees_with_the_library(capsys, trained, tmp_path):
    split = jaxcmh.load_dataset("synthetic")
    np.save(tmp_path / "q.npy", split.query.views[1][:2])
    distances, ids = jaxcmh.search(jaxcmh.load(trained), split.query.views[1][:2], 1, k=3)
    code, out, _ = call(capsys, "search", trained, "--query", tmp_path / "q.npy", "-k", 3, "--json")
    listed = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [a["query"] for a in listed] == [f"row {i}" for i in (0, 1) for _ in range(3)]
    assert [a["distance"] for a in listed] == np.ravel(distances).tolist()
    assert [a["rank"] for a in listed] == [1 + int((own < d).sum()) for own in np.asarray(distances) for d in own]
    assert [a["item"] for a in listed] == split.train.ids[np.ravel(ids)].tolist()
    code, out, _ = call(capsys, "search", trained, "--query", tmp_path / "q.npy", "-k", 3)
    assert code == 0
    assert out.count("\n    1 ") == sum(a["rank"] == 1 for a in listed)
    assert "distance" in out


def test_search_refuses_what_does_not_fit(capsys, trained, tmp_path):
    split = jaxcmh.load_dataset("synthetic")
    files = {
        "good": split.query.views[0][:1],
        "narrow": np.zeros((1, 3)),
        "nan": split.query.views[0][:1] * np.nan,
        "cube": np.zeros((1, 1, 3)),
        "words": np.array([["a", "b"]]),
        "objects": np.array([{}], dtype=object),
    }
    for name, array in files.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    (tmp_path / "text.npy").write_text("no array")

    def line(name, *words):
        return refused(capsys, "search", trained, "--query", tmp_path / f"{name}.npy", *words)

    assert "no such file" in line("absent")
    assert "is not an array file" in line("text")
    assert "is not an array file" in line("objects")
    assert "rows have 3 features" in line("narrow")
    assert "row 0 holds NaN" in line("nan")
    assert "expected numbers of shape (n, d)" in line("cube")
    assert "expected numbers of shape (n, d)" in line("words")
    assert "no view 'sound'" in line("good", "--view", "sound")
    assert re.search(r"k: .* got 0", line("good", "-k", "0"))
    assert re.search(r"k: .* got 1000000", line("good", "-k", "1000000"))
    assert "features only" in refused(capsys, "search", trained, "--text", "dog")


# -- data -------------------------------------------------------------------------------------------------------------


def test_data_info(capsys):
    split = jaxcmh.load_dataset("synthetic")
    code, out, _ = call(capsys, "data", "info", "synthetic", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["parts"]["train"].startswith(f"{len(split.train.ids):,} rows")
    assert facts["classes"] == {str(c): int(split.train.labels[:, c].sum()) for c in range(10)}
    assert facts["data hash"] == results.data_hash(split)
    assert facts["chance mAP"] == round(results.chance(split.query.labels, split.database.labels), 4)
    code, out, _ = call(capsys, "data", "info", "synthetic")
    assert code == 0
    assert facts["data hash"] in out


def test_data_inspect(capsys, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.eye(3, dtype=np.uint8)[np.arange(30) % 3]
    np.savez(tmp_path / "pairs.npz", I_tr=rng.random((30, 4)), T_tr=rng.random((30, 5)), L_tr=labels)
    code, out, _ = call(capsys, "data", "inspect", tmp_path / "pairs.npz", "--json")
    facts = json.loads(out)
    assert code == 0
    assert set(facts["arrays"]) == {"I_tr", "T_tr", "L_tr"}
    assert "problem" in facts  # there are no queries
    code, out, _ = call(capsys, "data", "inspect", tmp_path / "pairs.npz")
    assert code == 0
    assert "30 x 4 float64" in out
    assert "absent.mat" in refused(capsys, "data", "inspect", tmp_path / "absent.mat")
    (tmp_path / "broken.mat").write_text("nothing")
    assert "broken.mat" in refused(capsys, "data", "inspect", tmp_path / "broken.mat")


# -- icons ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(trained):
    pytest.importorskip("fontawesomefree")
    assert cli.main(["demo", "--methods", "dcgh", "--bits", "16", "32", "--out", "shown"]) == 0
    return "shown"


def test_the_demo_leaves_results_plots_page_and_a_model(demo):
    assert sorted(os.listdir(demo)) == ["best", "index.html", "plots", "results.jsonl", "scores.md"]
    lines = results.read(f"{demo}/results.jsonl")
    assert [(line["bits"], line["database"]) for line in lines] == [
        (16, "learned"),
        (16, "encoded"),
        (32, "learned"),
        (32, "encoded"),
    ]
    chance = 0.15
    assert all(value > 2 * chance for line in lines for value in line["map"].values())
    assert sorted(os.listdir(f"{demo}/plots")) == sorted(
        f"{name}.{kind}"
        for name in ("convergence", "precision_recall", "topn")
        for kind in ("csv", "pdf", "png", "svg")
    )
    assert f"{lines[-1]['map']['t2i']:.3f}" in Path(demo, "scores.md").read_text()
    assert jaxcmh.load(f"{demo}/best").info.bits == 32
    assert os.path.getsize(f"{demo}/index.html") < report.LIMIT


def test_the_same_demo_again_is_shown_and_another_refused(capsys, demo):
    lines = Path(demo, "results.jsonl").read_bytes()
    words = ["demo", "--methods", "dcgh", "--bits", "16", "32", "--out", demo]
    code, out, _ = call(capsys, *words)
    assert code == 0
    assert "cached: this demo was there already; remove shown to train anew" in out
    proposed = re.search(rf"search it  jaxcmh search {demo}/best --text '(\w+)'", out)[1]
    found = jaxcmh.load(f"{demo}/best").search(text=proposed, k=5)
    assert sum(proposed in answer.text.split() for answer in found) >= 3
    assert f"serve it   jaxcmh serve {demo}/best" in out
    assert Path(demo, "results.jsonl").read_bytes() == lines
    assert "is not this run" in refused(capsys, *words, "--tolerance", "0.5")


def test_the_page_of_the_demo_shows_the_first_answers(demo):
    text = Path(demo, "index.html").read_text()
    page = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    split, model = prepared(), jaxcmh.load(f"{demo}/best")
    ranking = next(r for r in page["rankings"] if (r["database"], r["direction"], r["bits"]) == ("learned", "t2i", 32))
    scores, ids = jaxcmh.search(model, split.query.views[1], 1, k=10)
    assert ranking["ids"] == np.asarray(ids).tolist()
    assert ranking["scores"] == np.asarray(scores).tolist()
    stored = runs.read_run(f"{demo}/best").per_query["learned t2i"]
    assert ranking["ap"] == pytest.approx(np.round(stored, 4).tolist())
    labels = [np.flatnonzero(row).tolist() for row in split.query.labels]
    assert page["queries"]["labels"] == labels


def test_a_new_text_and_a_new_picture_are_searched_within_two_seconds(capsys, demo, tmp_path):
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (90, 90), "white")
    ImageDraw.Draw(picture).polygon([(45, 5), (85, 50), (60, 50), (60, 85), (30, 85), (30, 50), (5, 50)], fill="black")
    picture.save(tmp_path / "arrow.png")
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert 'jaxcmh search runs/demo/best --text "currency"       # or --image' in readme
    for words in (["--text", "currency"], ["--image", tmp_path / "arrow.png"]):
        code, out, _ = call(capsys, "search", f"{demo}/best", *words, "-k", 5)
        assert code == 0
        assert out.count("\n    ") >= 5
        searched = float(re.search(r"search ([\d.]+) s", out)[1])
        assert searched < 2
    code, out, _ = call(capsys, "search", f"{demo}/best", "--text", "currency", "-k", 5, "--json")
    assert ["Money" in "".join(json.loads(line)["labels"]) for line in out.splitlines()] == [True] * 5


def test_search_refuses_raw_queries_it_cannot_read(capsys, demo, tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    assert "not a picture" in refused(capsys, "search", f"{demo}/best", "--image", tmp_path / "broken.png")
    assert "no such picture" in refused(capsys, "search", f"{demo}/best", "--image", tmp_path / "absent.png")
    assert "no word of 'qwertzuiop'" in refused(capsys, "search", f"{demo}/best", "--text", "qwertzuiop")
    assert "is of view text" in refused(capsys, "search", f"{demo}/best", "--text", "dog", "--view", "image")


# -- the process ------------------------------------------------------------------------------------------------------


def process(folder, *words, **options):
    paths = [str(Path(jaxcmh.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "JAXCMH_CACHE": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    # What a shell starts in the background ignores Ctrl-C, and hands that down to tests and their children.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # nohup has it ignored
        "from jaxcmh.commands.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, *words]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **options)


def compiled(folder):
    """The programs in the compilation cache of such a process."""
    return [path.name for path in folder.glob("cache/**/*-cache")]


def test_piped_output_has_no_carriage_returns_and_compiles_once(tmp_path):
    words = ["train", "dcgh", "--data", "synthetic", "--bits", "16", "--json"]
    programs = []
    for number in range(2):
        began = time.perf_counter()
        child = process(tmp_path, *words, "--out", f"runs/{number}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = child.communicate(timeout=240)
        spent = time.perf_counter() - began
        assert child.returncode == 0, err
        assert "\r" not in out + err
        assert "\x1b" not in out + err
        lines = err.splitlines()
        assert sum(line.startswith("device: ") for line in lines) == 1
        assert len(lines) <= 3 + spent / 10  # device, run folder, and one line of progress in ten seconds
        assert json.loads(out.splitlines()[0])["times"]["compile"] > 0
        programs.append(set(compiled(tmp_path)))
    assert programs[0] == programs[1] != set()
    assert sorted(os.listdir(tmp_path)) == ["cache", "runs"]


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 129, "stopped by SIGHUP"),
    ],
)
def test_a_signal_ends_a_command_at_once_and_leaves_nothing(tmp_path, number, code, said):
    words = ["train", "dcgh", "--data", "synthetic", "--bits", "16", "--max-iterations", "3000000"]
    child = process(tmp_path, *words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    try:
        assert next(line for line in child.stderr if line.startswith("device: "))
        until = time.monotonic() + 120
        stage = "_fit" if number == signal.SIGINT else ""
        while not any(stage in name for name in compiled(tmp_path)) and time.monotonic() < until:
            time.sleep(0.1)
        assert (tmp_path / "runs").exists()
        child.send_signal(number)
        began = time.perf_counter()
        _, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert time.perf_counter() - began < 10
    assert child.returncode == code
    assert err.strip().splitlines()[-1] == f"jaxcmh: {said}; nothing unfinished was left behind"
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_that_comes_within_a_finalizer_is_not_lost(number, code):
    program = f"""
import os, signal, sys, time
from jaxcmh.commands import cli, doctor

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), {int(number)})
        time.sleep(1)  # the handler runs here, and Python drops what it raises

def command():
    held = Finalized()
    del held
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
command.__module__ = doctor.__name__
cli.app.command(command, name="wait")
sys.exit(cli.main(["wait"]))
"""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert time.perf_counter() - began < 50
    assert done.returncode == code, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "nothing unfinished was left behind" in done.stderr


@pytest.mark.parametrize(
    ("streams", "code", "said"),
    [
        (">&-", 2, "jaxcmh: standard output is closed; send it to /dev/null if nobody is to read it\n"),
        (">/dev/full", 2, "jaxcmh: [Errno 28] No space left on device\n"),
        ("| true", 0, ""),
        ("2>&-", 0, ""),
    ],
)
def test_output_that_cannot_be_written_is_said_in_one_line(tmp_path, streams, code, said):
    command = f"set -o pipefail; {sys.executable} -m jaxcmh data info synthetic {streams}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)


# -- several at once, and full disks ----------------------------------------------------------------------------------


def at_once(*commands):
    """Exit codes of commands that run at the same time."""
    with ThreadPoolExecutor(len(commands)) as pool:
        return sorted(pool.map(lambda words: cli.main(list(map(str, words))), commands))


def test_two_additions_to_one_index_are_both_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("codes.npy", np.arange(8, dtype=np.uint8).reshape(4, 2))
    assert at_once(*[("index", "build", "codes.npy", "--out", "a.index")] * 2) == [0, 2]
    assert at_once(*[("index", "add", "a.index", "codes.npy")] * 3) == [0, 0, 0]
    assert jaxcmh.index.load("a.index").ids.values.tolist() == list(range(16))
    assert sorted(os.listdir()) == ["a.index", "codes.npy"]


def test_two_evaluations_of_one_run_add_their_lines_once(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    before = len(results.read(run))
    assert at_once(*[("evaluate", run, "--at", 7)] * 2) == [0, 0]
    keys = [line["key"] for line in results.read(run)]
    assert len(keys) == len(set(keys)) == before + 2


def test_trainings_at_once_have_folders_of_their_own(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = ("train", "dcgh", "--data", "synthetic", "--bits", BITS)
    assert at_once((*train, "--seed", 0, "--out", "run"), (*train, "--seed", 1, "--out", "run")) == [0, 2]
    assert "run is being written by process" in capsys.readouterr().err
    assert at_once(*[(*train, "--param", f"alpha={alpha}") for alpha in (1, 2)]) == [0, 0]
    runs_there = sorted(Path("runs").iterdir())
    assert [place.name for place in runs_there] == ["dcgh-synthetic-16-0", "dcgh-synthetic-16-0-2"]
    assert {runs.read_run(place).config["params"]["alpha"] for place in runs_there} == {1.0, 2.0}


def test_a_sweep_into_a_folder_that_is_being_written_is_refused(capsys, tmp_path):
    words = ["sweep", "dcgh", "--data", "synthetic", "--list", "alpha=1", "--out", str(tmp_path / "S")]
    (tmp_path / "S").mkdir()
    with store.only_writer(tmp_path / "S" / "results.jsonl"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(cli.main, words).result() == 2
    assert "results.jsonl is being written by process" in capsys.readouterr().err
    assert os.listdir(tmp_path / "S") == []


def test_several_devices_train_as_one(capsys, tmp_path):
    options = "train", "dcgh", "--data", "synthetic", "--bits", BITS, "--json"
    maps = [
        [json.loads(line)["map"] for line in call(capsys, *options, *more, "--out", tmp_path / name)[1].splitlines()]
        for name, more in (("one", ()), ("four", ("--devices", 4)))
    ]
    assert maps[1] == [pytest.approx(line, abs=0.01) for line in maps[0]]
    assert "--devices: expected at most 8" in refused(capsys, *options, "--devices", 9, "--out", tmp_path / "nine")
    for command in (("evaluate", tmp_path / "one"), ("search", tmp_path / "one", "--text", "word1")):
        one, three = (call(capsys, *command, "--json", *more)[1].splitlines() for more in ((), ("--devices", 3)))
        fields = "map" if command[0] == "evaluate" else "score"
        assert [json.loads(line)[fields] for line in three] == [json.loads(line)[fields] for line in one]


def test_several_devices_sweep_as_one(capsys, tmp_path):
    options = "sweep", "dcgh", "--data", "synthetic", "--bits", BITS, "--grid", "alpha=1,10,100", "--json"
    one, three = (
        [json.loads(line)["map"] for line in call(capsys, *options, *more, "--out", tmp_path / name)[1].splitlines()]
        for name, more in (("one", ()), ("three", ("--devices", 3)))
    )
    assert three == [pytest.approx(line, abs=0.01) for line in one]


def test_a_training_is_kept_elsewhere_where_the_disk_is_full(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    whole = store.write

    def write(path, *rest):
        if "full" in str(path):
            raise OSError(28, "No space left on device")
        whole(path, *rest)

    monkeypatch.setattr(store, "write", write)
    code, out, err = call(capsys, "train", "dcgh", "--data", "synthetic", "--bits", BITS, "--out", tmp_path / "full")
    (line,) = [line for line in err.splitlines() if line.startswith("jaxcmh: ")]
    assert code == 2
    assert "dcgh" in out
    (place,) = tmp_path.iterdir()
    assert "full cannot be written ([Errno 28] No space left on device: " in line
    assert line.endswith(f"; the run is in {place / 'run'}")
    assert runs.read_run(place / "run").records


def test_a_disk_without_room_is_told_of_before_training(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    line = refused(capsys, "train", "dcgh", "--data", "synthetic", "--bits", BITS, "--out", tmp_path / "run")
    assert "run takes" in line
    assert os.listdir(tmp_path) == []
    pytest.importorskip("fontawesomefree")
    assert "demo takes" in refused(capsys, "demo", "--methods", "dcgh", "--bits", BITS, "--out", tmp_path / "demo")
    assert os.listdir(tmp_path) == []


# -- time -------------------------------------------------------------------------------------------------------------


def test_time_left_never_counts_up_while_a_step_goes_on(monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now)
    steps, told = progress.Progress(4), []
    steps.step("first")
    now += 10  # what a step takes
    steps.advance()
    for _ in range(30):
        told.append(steps.left())
        now += 1
    assert told[0] == " · 0:30 left"
    assert told[5] == " · 0:25 left"
    assert told[10:] == [" · 0:20 left"] * 20  # this one takes longer, those after it perhaps not


def test_what_threads_compile_side_by_side_counts_once_for_the_whole(monkeypatch):
    from contextvars import copy_context

    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))
    compiled = progress._compilation()
    whole, parts = progress.Stages(), progress.Stages()

    def part():  # begins at 1, 4; compiles until 2, 5 for a second and a half; ends at 3, 6
        with parts("part"):
            compiled("/jax/core/compile/backend_compile_duration", 1.5)

    with whole("all"), ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            pool.submit(copy_context().run, part).result()
    assert whole.seconds == {"all": 4.0, "compile": 3.0}
    assert parts.seconds == {"part": 1.0, "compile": 3.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sweep", "dcgh", "--grid", "alpha=1:2:1000000000"), "a count from 1 to 65536"),
        (("sweep", "dcgh", "--grid", "alpha=1:2:9999", "beta=1:2:9999"), "at most 1,000,000 runs; got 99,980,001"),
        (("train", "dcgh", "--width", "0"), "--width: expected a number from 1e-06"),
    ],
)
def test_sizes_are_refused_before_anything_is_made(capsys, tmp_path, words, message):
    out = tmp_path / "out"
    assert cli.main([*words, "--data", "synthetic", "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
