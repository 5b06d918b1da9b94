"""What users see of large values in a shell and in a notebook."""

import dataclasses
import importlib
import pkgutil
from html.parser import HTMLParser

import fake_lines
import jax
import numpy as np
import pytest
from scipy import sparse

import jaxcmh
from jaxcmh import brief, core, index, results
from jaxcmh.datasets import Maker, Part, Split
from jaxcmh.methods import registry
from jaxcmh.results import tables
from jaxcmh.studies import runs


@pytest.fixture(scope="module")
def values():
    split = jaxcmh.load_dataset("synthetic", train=200, query=20)
    model = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=8)
    data = core.prepare(split.train.views, split.train.labels)
    report = jaxcmh.evaluate(model, split.query.views, split.query.labels, split.train.labels)
    return {
        "model": model,
        "map": model.maps[0],
        "index": index.build(model.codes, ids=[f"<b>{i}</b>" for i in range(200)], model=model),
        "split": split._replace(label_names=tuple(map(str, range(10_000)))),
        "part": split.train,
        "data": data,
        "fit": core.fit(registry["dcgh"], data, jax.random.key(0), bits=8, max_iterations=1),
        "metrics": report["metrics"]["i2t"],
        "method": registry["dcgh"],
        "outcome": runs.run(split, "dcgh", bits=8, data="synthetic"),
    }


KINDS = ("model", "map", "index", "split", "part", "data", "fit", "metrics", "method", "outcome")


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_is_at_most_five_lines_in_a_shell(values, kind):
    value = values[kind]
    lines = repr(value).splitlines()
    assert len(lines) <= 5
    assert max(map(len, lines)) <= brief.WIDTH
    assert lines[0].startswith(f"{type(value).__name__}(")


def test_what_matters_of_a_model_and_an_index_is_said(values):
    assert all(word in repr(values["model"]) for word in ("'dcgh'", "bits=8", "n=200", "uint8[200,1]"))
    assert all(word in repr(values["index"]) for word in ("items=200", "packed, 8 bits", "<b>0</b>"))


SHORT = {"Cell", "Features", "Ids", "Info", "Recipe", "Shape"}  # a line or two by themselves


def test_every_public_record_shows_itself_in_a_few_lines_and_in_notebooks():
    records = {}
    for found in pkgutil.walk_packages(jaxcmh.__path__, "jaxcmh."):
        if "__main__" in found.name or not hasattr(module := importlib.import_module(found.name), "__all__"):
            continue
        for value in (getattr(module, name) for name in module.__all__):
            if isinstance(value, type) and (hasattr(value, "_fields") or dataclasses.is_dataclass(value)):
                records[value.__name__] = value
    assert len(records) > 30
    shown = {"_repr_html_", "_repr_png_"}
    assert [
        n for n, r in records.items() if n not in SHORT and not (r.__repr__ is brief.text and shown & {*dir(r)})
    ] == []


def test_tables_of_results_are_tables_in_a_notebook():
    table = results.table([fake_lines.line(f"<{number}>", seed=s) for number in range(30) for s in (0, 1)])
    for page in (table._repr_html_(), tables.grid(table)._repr_html_()):
        assert "&lt;0&gt;" in page
        assert " ± " in page
    assert table._repr_html_().count("<tr>") == 1 + brief.ROWS
    assert "the first 20 of 30 rows" in table._repr_html_()


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_notebook_shows_a_small_table_in_which_everything_is_escaped(values, kind):
    page = values[kind]._repr_html_()
    cells = Cells()
    cells.feed(page)
    assert cells.tags == {"table", "caption", "tr", "th", "td"}
    assert cells.text[0] == type(values[kind]).__name__
    assert len(page) < 4000
    assert ("<b>0</b>" in "".join(cells.text)) == (kind == "index")


def test_named_tuples_stay_what_they_are(values):
    split, fit = values["split"], values["fit"]
    assert isinstance(split, tuple)
    train, query, *_ = split
    assert split == Split(train, query, *split[2:])
    assert len(jax.tree.leaves(fit)) == len(fit.state) + len(fit.state.W) - 1 + 2
    assert Maker("words")._replace(kind="photo") == ("photo", (), ())


def test_arrays_of_every_sort_and_what_jax_traces_are_named_by_type_and_shape():
    part = Part(
        (np.zeros((3, 2)), sparse.csr_array((3, 4), dtype=np.float32)), np.zeros((3, 1), np.uint8), np.arange(3)
    )
    assert repr(part) == "Part(views=(float64[3,2], float32[3,4]), labels=uint8[3,1], ids=int64[3])"
    seen = []
    jax.make_jaxpr(lambda x: seen.append(brief.one({"x": x, "sum": x.sum(), "key": jax.random.key(0)})))(np.zeros(3))
    assert seen == ["{x: float32[3], sum: float32, key: key<fry>}"]
    assert brief.one("a\x1b[2J\n") == "'a\\x1b[2J\\n'"
