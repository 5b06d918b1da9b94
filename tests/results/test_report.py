"""The retrieval page: what it holds, what it refuses, and that it works in a browser at both widths."""

import json
import re

import fake_lines
import numpy as np
import pytest
from browser import browse, in_browser

from jaxcmh import results
from jaxcmh.results import report

PIXEL = b"\x89PNG\r\n\x1a\n"
DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect width="9" height="9"/></svg>'


def items(n: int, labelled: bool = True) -> report.Items:
    labels = np.eye(3, dtype=np.uint8)[np.arange(n) % 3] if labelled else None
    names = [f"item {i}" for i in range(n)]
    return report.Items(names, [f"word{i} </script><b>" for i in range(n)], [DRAWING] * n, labels)


def ranking(direction: str = "t2i", ap=(0.9, 0.2, np.nan, 0.5), **changes) -> report.Ranking:
    ids = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]])
    plain = report.Ranking("dcgh", 16, "learned", direction, ids, ids, None if ap is None else np.array(ap))
    return plain._replace(**changes)


def write(path, labelled=True, rankings=None, **changes):
    table = results.Table(
        ("method",), ("direction", "bits"), (("i2t", 16), ("i2t", 32)), ((("dcgh",), (None, None)),), "toy"
    )
    options = {
        "title": "A page <with> signs & letters",
        "lede": "Some words.",
        "queries": items(4, labelled),
        "database": items(6, labelled),
        "label_names": ["red", "green", "blue"],
        "rankings": [ranking(), ranking("i2t"), ranking(method="aah")] if rankings is None else rankings,
        "tables": [("Scores", table)],
        "facts": [("data", "toy")],
    }
    return report.page(path, **{**options, **changes})


def data(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(), re.S)[1])


def test_the_page_holds_what_was_given(tmp_path):
    shown = data(write(tmp_path / "p.html"))
    assert shown["queries"]["names"] == ["item 0", "item 1", "item 2", "item 3"]
    assert shown["queries"]["texts"][0] == "word0 </script><b>"
    assert shown["queries"]["labels"] == [[0], [1], [2], [0]]
    assert shown["rankings"][0]["ids"] == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert shown["rankings"][0]["ap"] == [0.9, 0.2, None, 0.5]
    assert [r["method"] for r in shown["rankings"]] == ["dcgh", "dcgh", "aah"]
    assert shown["database"]["pictures"][0].startswith("data:image/svg+xml;base64,")


def test_the_page_escapes_and_refers_to_nothing_outside(tmp_path):
    text = write(tmp_path / "p.html").read_text()
    assert "A page &lt;with&gt; signs &amp; letters" in text
    assert "</script><b>" not in text
    addresses = re.findall(r"""(?:src|href)=["'](.*?)["']""", text)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttp", text)


def test_pictures_do_not_wait_to_be_looked_at(tmp_path):
    # A page that is printed at once would leave out those that are further down.
    folder = tmp_path / "results"
    folder.mkdir()
    results.append(folder / "results.jsonl", fake_lines.line(curves={}))
    for page in (report.write(folder).read_text(), write(tmp_path / "p.html").read_text()):
        assert "data:image" in page
        assert "lazy" not in page


def test_pictures_are_recognised():
    assert report._uri(PIXEL).startswith("data:image/png;")
    assert report._uri(b"\xff\xd8\xff").startswith("data:image/jpeg;")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rankings": []}, "rankings: expected at least one"),
        ({"queries": items(4)._replace(texts=["a"])}, r"queries.texts has 1 entries for 4 items"),
        (
            {"database": items(6)._replace(labels=np.ones((6, 2)))},
            r"database.labels must have shape \(6, 3\), got \(6, 2\)",
        ),
        ({"rankings": [ranking(ids=np.zeros((3, 3), int))]}, r"ids and scores must both have shape \(4, k\)"),
        ({"rankings": [ranking(ids=np.full((4, 3), 6))]}, "ids run from 6 to 6, the database has rows 0 to 5"),
        ({"rankings": [ranking(ap=(0.1,))]}, r"ap must have shape \(4,\), got \(1,\)"),
    ],
)
def test_bad_input_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "p.html", **{"rankings": [ranking()], **changes})
    assert not list(tmp_path.iterdir())


def test_a_page_that_would_be_too_heavy_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"would weigh .* MB, more than 5"):
        write(tmp_path / "p.html", queries=items(4)._replace(pictures=[PIXEL * 200_000] * 4))


# -- in a browser -----------------------------------------------------------------------------------------------------

PROBE = """
  const seen = () => ({
    queries: count(".query"), right: count(".hit.right"), wrong: count(".hit.wrong"), answers: count(".hit"),
    pictures: count(".hit img"), strips: count(".query:first-child .strip"), wide: inside.documentElement.scrollWidth,
    first: inside.querySelector(".asked").textContent, text: inside.getElementById("summary").textContent });
  Object.assign(result, { start: seen(), directions: count(".switch button"), texts: inside.body.innerText });
"""
ACTIONS = """
  set("Order", "worst"); result.worst = seen(); set("Order", "best"); result.best = seen(); set("Order", "given");
  set("Label", "1"); result.label = seen(); set("Label", "");
  set("Beside", "aah, 16 bits"); result.two = seen(); set("Beside", "");
  inside.querySelector(".switch button[value=i2t]").click(); result.turned = seen();
"""


@in_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_works_in_a_browser(tmp_path, width):
    seen = browse(tmp_path, write(tmp_path / "page.html"), width, PROBE + ACTIONS)
    start = seen["start"]
    assert start["wide"] == width  # nothing sticks out
    assert (start["queries"], start["answers"], start["pictures"]) == (4, 12, 12)
    assert (start["right"], start["wrong"]) == (4, 8)  # classes in turn: one answer in three shares the query's
    assert start["first"].startswith("item 0")
    assert "mAP 0.533" in start["text"]
    assert seen["worst"]["first"].startswith("item 1")
    assert seen["best"]["first"].startswith("item 0")
    assert seen["label"]["queries"] == 1
    assert (start["strips"], seen["two"]["strips"]) == (1, 2)
    assert seen["turned"]["pictures"] == 0
    assert seen["turned"]["first"] == "red"  # now the query is a picture, with its label under it


@in_browser
def test_the_page_works_for_unlabelled_queries(tmp_path):
    page = write(tmp_path / "page.html", labelled=False, rankings=[ranking(ap=None), ranking(ap=None, method="aah")])
    seen = browse(tmp_path, page, 390, PROBE)
    assert (seen["start"]["answers"], seen["start"]["right"], seen["start"]["wrong"]) == (12, 0, 0)
    assert seen["directions"] == 0
    assert "mAP" not in seen["texts"]
    assert "Label" not in seen["texts"]


def test_the_endings_of_trainings_are_told():
    lines = fake_lines.bits(seeds=2, lengths=(16,), methods=("dcgh",))
    assert report.endings(lines) == "at most 5 iterations, tolerance 0.1: 2 trainings converged after 4 iterations"
    lines[0]["converged"] = 0
    assert report.endings(lines).endswith("1 training converged after 4 iterations, 1 did not converge")
    fixed = [line | {"tolerance": 0.0, "converged": 0} for line in lines]
    assert report.endings(fixed) == "5 iterations, whether converged or not"
