"""From a folder of result lines to tables, figures and a page: the report, its sweep view, and the commands."""

import json
import re
import xml.etree.ElementTree as ET

import fake_lines
import numpy as np
import pytest
from browser import browse, in_browser

from jaxcmh import results
from jaxcmh.commands.cli import main
from jaxcmh.results import figures, report
from jaxcmh.results.importance import importances

pytestmark = pytest.mark.xdist_group("reading")  # one report of everything serves all


def store(folder, lines):
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(results.lines._nan_to_none(line)) + "\n" for line in lines)
    (folder / "results.jsonl").write_text(text)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report of every kind of study, all figures drawn."""
    folder = tmp_path_factory.mktemp("made-up")
    report.write(store(folder, fake_lines.everything(folder)))
    return folder


def test_a_report_is_one_light_file_that_asks_for_nothing(written):
    text = (written / "report.html").read_text()
    assert len(text.encode()) < report.LIMIT
    addresses = re.findall(r"""(?:src|href)=["'](.*?)["']""", text)
    assert len(addresses) > 100
    for address in addresses:
        assert address.startswith(("data:", "#")) or (written / address).is_file(), address
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttp", text)
    for name in ("Sensitivity of alpha", "Alpha and beta", "t-SNE", "Unpaired share"):
        assert f"<h2>{name}</h2>" in text
    assert text.count('<img src="data:image') == len(list((written / "figures").glob("*.png")))
    assert "α 1e-05 to 100000 (11 values)" in text
    assert "jax 0" in text


def test_every_figure_and_table_is_there_in_every_format(written):
    stems = {path.stem for path in (written / "figures").iterdir()}
    assert len(stems) == 21
    for stem in stems:
        for kind, head in {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "csv": b"p"}.items():
            if stem != "pictures" or kind != "csv":
                assert (written / "figures" / f"{stem}.{kind}").read_bytes().startswith(head), (stem, kind)
    for path in (written / "figures").glob("*.svg"):
        ET.parse(path)
    tables = {path.stem for path in (written / "tables").iterdir()}
    assert {"all-methods-learned", "all-methods-encoded", "alpha-and-beta-learned"} <= tables
    assert all(
        (written / "tables" / f"{stem}.{end}").is_file()
        for stem in tables
        for end in ("txt", "md", "tex", "csv", "html")
    )


def test_nothing_but_reports_is_written(written):
    assert {path.name for path in written.iterdir()} == {
        "results.jsonl", "tsne.npz", "residuals.npz", "pictures.npz", "figures", "tables", "report.html",
    }  # fmt: skip


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_: ([], []))


def test_numbers_stand_beside_the_papers(tmp_path, undrawn):
    lines = [fake_lines.line(m, b, data="wiki") for m in ("dcgh", "aah") for b in (16, 32)]
    text = report.write(store(tmp_path / "r", lines)).read_text()
    assert "of 8 published numbers are reached" in text
    assert "(0.388)" in text
    assert (tmp_path / "r" / "tables" / "beside-the-papers.tex").is_file()


def test_the_best_methods_are_named_where_all_ran_alike(tmp_path, undrawn):
    scores = {"dcgh": 0.5, "aah": 0.25, "imads": 0.75}
    lines = [
        fake_lines.line(m, b, map={"i2t": score, "t2i": score + 0.125}) for m, score in scores.items() for b in (16, 32)
    ]
    said = "in the mean of all here: learned database codes, imads 0.812, dcgh 0.562, aah 0.312."
    assert said in report.write(store(tmp_path / "r", lines)).read_text()
    assert "in the mean of all here" not in report.write(store(tmp_path / "r", lines[:-1])).read_text()


def test_many_notes_are_folded(tmp_path, undrawn):
    lines = [fake_lines.line("aah", b, map={"i2t": 0.11, "t2i": 0.4}, chance=0.105) for b in (8, 16, 32, 64)]
    assert "<summary>4 notes on these results" in report.write(store(tmp_path / "r", lines)).read_text()
    assert "notes on these results" not in report.write(store(tmp_path / "r", lines[:3])).read_text()


def test_what_cannot_be_drawn_or_looks_wrong_is_told(tmp_path):
    lines = [
        fake_lines.line(study=("t-SNE", "tsne", []), arrays="absent.npz"),
        fake_lines.line(seed=1, map={"i2t": 0.5, "t2i": 0.5}, study=("t-SNE", "tsne", []), arrays="absent.npz"),
        *(fake_lines.line("aah", seed=s, map={"i2t": 0.11, "t2i": 0.4}, chance=0.105, at=20) for s in (0, 1)),
    ]
    text = report.write(store(tmp_path / "r", lines)).read_text()
    assert "no such file" in text
    assert "i2t and t2i have exactly the same mAP 0.5000" in text
    assert (
        "aah, 16 bits, learned database codes: i2t has mAP 0.1100, hardly better than chance (0.1050) (and 1 more"
        in text
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no results.jsonl"), ("", "no results in"), ("{}\n", "line 1: the result lacks format")],
)
def test_a_folder_without_results_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "results.jsonl").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


# -- importance -------------------------------------------------------------------------------------------------------


def score_lines(points):
    study = ("grid", "surface", ["alpha", "beta"])
    return [
        fake_lines.line(study=study, params={"alpha": a, "beta": b}, seed=s, map={"i2t": v}) for a, b, s, v in points
    ]


def test_importance_is_the_share_of_variance_each_explains_alone():
    found = importances(
        score_lines([(a, b, 0, 0.3 * a + 0.1 * b) for a in (0, 1) for b in (0, 1)]), ["alpha", "beta"], "i2t"
    )
    assert found["names"]["alpha"] == {"share": 0.9, "range": 0.3, "best": 1.0}
    assert found["names"]["beta"] == {"share": 0.1, "range": 0.1, "best": 1.0}
    assert found["seeds"] is None


def test_seed_spread_and_designs_of_one_at_a_time():
    points = [(a, 1, s, 0.1 * a + 0.02 * s) for a in (1, 2, 3) for s in (0, 1)] + [(1, b, 0, 0.5) for b in (0, 2)]
    found = importances(score_lines(points), ["alpha", "beta"], "i2t")
    assert found["seeds"] == pytest.approx(0.02 / np.sqrt(2), abs=1e-5)
    assert found["names"]["alpha"]["best"] == 3.0
    assert found["names"]["alpha"]["range"] == pytest.approx(0.2)


def test_importance_of_a_random_search_is_that_of_groups_of_values():
    rng = np.random.default_rng(0)
    points = [(a, b, 0, 0.5 + 0.3 * a) for a, b in rng.random((300, 2))]
    found = importances(score_lines(points), ["alpha", "beta"], "i2t")["names"]
    assert found["alpha"]["share"] > 0.95
    assert found["beta"]["share"] < 0.05
    assert found["alpha"]["best"] > 0.9


# -- in a browser -----------------------------------------------------------------------------------------------------

LOOK = """
  const canvas = () => ({ ...inside.getElementById("plane").dataset });
  const colours = () => {
    const plane = inside.getElementById("plane");
    const pixels = plane.getContext("2d").getImageData(0, 0, plane.width, plane.height).data;
    const found = new Set();
    for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3]) found.add(pixels.slice(i, i + 3).join());
    return found.size;
  };
  Object.assign(result, {
    wide: inside.documentElement.scrollWidth, images: [...inside.images].map((image) => image.src.length > 100),
    drawn: canvas(), colours: colours(), readout: inside.getElementById("readout").textContent,
    importance: inside.getElementById("importance").innerText,
  });
"""


@in_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_the_report_works_in_a_browser(written, tmp_path, width):
    more = """
      const readout = () => inside.getElementById("readout").textContent;
      set("Study", "1"); result.other = canvas(); set("Direction", "t2i"); result.turned = readout();
      const plane = inside.getElementById("plane"), at = plane.getBoundingClientRect();
      const middle = { clientX: at.left + at.width / 2, clientY: at.top + at.height / 2, bubbles: true };
      set("Study", "0"); plane.dispatchEvent(new PointerEvent("pointermove", middle)); result.hover = readout();
    """
    seen = browse(tmp_path, written / "report.html", width, LOOK + more)
    assert seen["wide"] == width  # nothing sticks out
    assert len(seen["images"]) == 21
    assert all(seen["images"])
    assert seen["drawn"]["drawn"] == "81"
    assert seen["colours"] > 10
    assert "Best over all settings: mAP 0.39" in seen["readout"]
    assert "α" in seen["importance"]
    assert "one seed a point" in seen["importance"]
    assert seen["other"]["drawn"] == "22"
    assert "mAP 0.69" in seen["turned"]
    assert re.match(r"mAP 0\.\d{4} at α = \S+, β = \S+, 32 bits \(seed 0\)", seen["hover"])


@in_browser
def test_ten_thousand_points_are_drawn_within_two_seconds(tmp_path, undrawn):
    rng = np.random.default_rng(0)
    study = ("random search", "sensitivity", ["alpha", "beta"])
    base = fake_lines.line(study=study, curves={}, objective=[1.0])
    lines = [
        base | {"params": {"alpha": float(a), "beta": float(b)}, "map": {"i2t": float(a * b), "t2i": float(a)}}
        for a, b in rng.random((10_000, 2))
    ]
    page = report.write(store(tmp_path / "r", lines))
    assert page.stat().st_size < report.LIMIT
    seen = browse(tmp_path, page, 1440, LOOK + 'set("Up", ""); result.flat = canvas();')
    for drawing in (seen["drawn"], seen["flat"]):
        assert drawing["drawn"] == "10000"
        assert float(drawing["ms"]) < 2000


# -- commands ---------------------------------------------------------------------------------------------------------


def test_the_report_command(tmp_path, undrawn, capsys):
    folders = [str(store(tmp_path / name, fake_lines.bits())) for name in ("a", "b")]
    assert main(["report", *folders]) == 0
    assert [line.split("/")[-2:] for line in capsys.readouterr().out.split()] == [
        ["a", "report.html"],
        ["b", "report.html"],
    ]


def test_the_table_command(tmp_path, capsys):
    folder = str(store(tmp_path / "a", fake_lines.bits()))
    assert main(["table", folder, "--format", "latex"]) == 0
    assert capsys.readouterr().out.count("\\begin{tabular}") == 2
    assert main(["table", folder, "--format", "csv", "--database", "learned"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 3 * 2 * 2
    lines = [fake_lines.line("dcgh", 32, data="wiki"), fake_lines.line("aah", 32, data="wiki")]
    assert main(["table", str(store(tmp_path / "w", lines)), "--published"]) == 0
    assert "(1) the start: random codes" in capsys.readouterr().out  # the plan of DCGH says why


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "{}/absent"], "no folder"),
        (["table", "{}/absent"], "no such file"),
        (["table", "{}/a", "--database", "held_out"], "the results have learned and encoded codes"),
        (["table", "{}/a", "--study", "x"], "no study 'x'; there are all methods"),
        (["table", "{}/a", "--published"], "no published number"),
        (["table", "{}/mixed"], "these results mix protocols: ties"),
        (["compare", "{}/a", "{}/a"], "not a run folder"),
        (["trec", "{}/a", "--out", "{}/b"], "not a run folder"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, message):
    store(tmp_path / "a", fake_lines.bits())
    store(tmp_path / "mixed", [fake_lines.line(), fake_lines.line("aah", ties="stable")])
    assert main([argument.format(tmp_path) for argument in arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]
    assert "Traceback" not in "".join(lines)


A4 = 718  # pixels within the margins that browsers leave
PRINTED = """
  for (const rule of [...inside.styleSheets].flatMap((sheet) => [...sheet.cssRules]))
    if (rule.media && rule.media.mediaText === "print")
      inside.head.append(Object.assign(inside.createElement("style"), {
        textContent: [...rule.cssRules].map((inner) => inner.cssText).join("\\n") }));
  result.wide = inside.documentElement.scrollWidth;
  result.columns = Math.max(...[...inside.querySelectorAll("tbody tr")].map((row) => row.cells.length));
"""


@in_browser
@pytest.mark.parametrize("lengths", [8, 16])
def test_nothing_sticks_out_of_a_printed_page(tmp_path, lengths):
    study = ("many lengths", "sweep", ["alpha"])
    lines = [
        fake_lines.line("dcgh", 8 * (k + 1), s, study=study, params={"alpha": a, "beta": 1.0})
        for k in range(lengths)
        for a in (1.0, 2.0)
        for s in (0, 1)
    ]
    seen = browse(tmp_path, report.write(store(tmp_path / "wide", lines)), A4, PRINTED)
    assert seen == {"wide": A4, "columns": 2 + 2 * lengths}
