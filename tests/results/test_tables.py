"""Tables: equal values in every format, published values beside ours, mixed protocols refused."""

import csv
import re
import shutil
import subprocess
from html.parser import HTMLParser
from io import StringIO

import fake_lines
import pytest

from jaxcmh import results
from jaxcmh.results import tables


def learned(lines):
    return [line for line in lines if line["database"] == "learned"]


def _numbers(text: str) -> list[tuple[str, str]]:
    """(mean, standard deviation) of every cell, in order."""
    return re.findall(r"(\d\.\d{3}) (?:±|\$\\pm\$) (\d\.\d{3})", text)


class _Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.cells, self.bold, self.inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "td"
        if self.inside:
            self.bold.append(("class", "best") in attrs)

    def handle_data(self, data):
        if self.inside:
            self.cells.append(data)

    def handle_endtag(self, tag):
        self.inside = False


def test_every_format_has_equal_values():
    table = tables.study(learned(fake_lines.bits()))
    made = {form: tables.render(table, form) for form in tables.ENDINGS}
    expected = [(f"{cell.mean:.3f}", f"{cell.sd:.3f}") for _, cells in table.rows for cell in cells]
    assert len(expected) == 3 * 4
    for form in ("text", "markdown", "latex", "html"):
        assert _numbers(made[form]) == expected, form
    rows = list(csv.DictReader(StringIO(made["csv"])))
    assert [(f"{float(r['map']):.3f}", f"{float(r['sd']):.3f}") for r in rows] == expected
    for text in made.values():
        assert text.endswith("\n")
    for form in ("text", "markdown", "latex", "html"):
        assert "learned database codes, expected ties, 20 queries" in made[form]


def test_all_tied_bests_are_marked_in_every_format():
    lines = [fake_lines.line(m, map={"i2t": v, "t2i": 0.5}) for m, v in (("dcgh", 0.4), ("aah", 0.4001), ("acqh", 0.1))]
    table = tables.study(lines)
    html = _Cells()
    html.feed(tables.render(table, "html"))
    assert html.bold == [True, False, True, False, False, False]  # all are equal in the other direction
    assert tables.render(table, "markdown").count("**") == 2 * 2
    assert tables.render(table, "latex").count("\\textbf{") == 2
    text = tables.render(table, "text")
    assert [text.count(f"{v}*") for v in ("0.400", "0.500", "0.100")] == [2, 0, 0]


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match="expected one of text, markdown, latex, csv, html; got 'word'"):
        tables.render(tables.study([fake_lines.line()]), "word")


PDFLATEX = shutil.which("pdflatex")


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex on this machine")
def test_latex_compiles(tmp_path):
    odd = fake_lines.line(hash_function="50 % of a_b & #1 {x} ~^\\ <α → β>")
    wide = tables.render(tables.study([odd, fake_lines.line(hash_function="ridge"), fake_lines.line(bits=32)]), "latex")
    verdict = tables.render(tables.verdicts(tables.against([fake_lines.line(data="wiki")])), "latex")
    body = "\n\n".join([wide, verdict])
    (tmp_path / "t.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + body + "\n\\end{document}\n"
    )
    command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("field", ["data_hash", "split_hash", "database", "ties", "at", "n_queries"])
def test_mixed_protocols_are_refused(field):
    with pytest.raises(ValueError, match=f"mix protocols: {field} is"):
        tables.study([fake_lines.line(), fake_lines.line("aah", **{field: 7})])


def test_a_setting_names_the_rows_and_lets_the_data_differ():
    table = tables.study(fake_lines.unpaired())
    assert table.index == ("method", "unpaired")
    assert [head for head, _ in table.rows] == [("dcgh", share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert table.rows[0][1][0].seeds == 2


def test_what_differs_within_a_method_names_its_rows():
    assert tables.study(fake_lines.surface(side=2)).index == ("method", "alpha", "beta")
    assert tables.study(fake_lines.deep()).index == ("method", "features")
    assert tables.study(learned(fake_lines.bits())).index == ("method",)


def test_published_values_stand_beside_what_repeats_them():
    line = fake_lines.line("dcgh", 32, data="wiki")
    cell = tables.study([line]).rows[0][1][0]
    assert cell.published == tables.published("dcgh", "wiki", "i2t", 32)[0] == 0.3884
    assert f"{cell.mean:.3f} (0.388)" in tables.render(tables.study([line]), "markdown")
    for other in ({"database": "encoded"}, {"at": 50}, {"data": "toy"}):
        table = tables.study([fake_lines.line("dcgh", 32, **{"data": "wiki", **other})])
        assert table.rows[0][1][0].published is None
    swept = [
        fake_lines.line("dcgh", 32, data="wiki", study=("a", "sensitivity", ["alpha"]), params={"alpha": a})
        for a in (1, 2)
    ]
    assert tables.study(swept).rows[0][1][0].published is None


def test_published_values_of_variants_settings_and_data():
    rows = [r for r in tables._printed() if r["paper"] == "dcgh" and r["task"] == "i2t"]
    printed = {(r["dataset"], r["method"], r["setting"], r["bits"]): float(r["map"]) for r in rows}
    half = tables.published("dcgh", "mirflickr25k:dcgh", "i2t", 16, {"unpaired": 0.5})
    assert half == (printed["mirflickr25k", "DCGH", "50 % unpaired", "16"], "50 % unpaired")
    ablated = tables.published("dcgh-d", "wiki", "i2t", 64)
    assert ablated == (printed["wiki", "DCGH-d", "ablation", "64"], "ablation")
    assert tables.published("aah-knn", "wiki", "i2t", 16) is not None
    assert tables.published("a2lh", "nuswide10:a2lh", "i2t", 32) is not None
    for method, data, setting in (
        ("dcgh", "wiki", {"unpaired": 0.3}),
        ("dcgh", "wiki", {"rows": 9}),
        ("dcgh", "icons", {}),
    ):
        assert tables.published(method, data, "i2t", 16, setting) is None
    assert tables.published("dcgh", "wiki:deep", "i2t", 16) is None
    assert tables.published("a2lh", "nuswide10:deep", "i2t", 16)[1] == "VGG-19 image features"


def test_verdicts():
    target = tables.published("dcgh", "wiki", "i2t", 32)[0]

    def outcome(*scores, reasons=None, method="dcgh"):
        lines = [
            fake_lines.line(method, 32, seed, data="wiki", map={"i2t": value}) for seed, value in enumerate(scores)
        ]
        (verdict,) = tables.against(lines, reasons)
        return verdict

    assert outcome(target - 0.009).verdict == "reached"
    low = outcome(target - 0.02)
    assert (low.verdict, low.published, low.seeds) == ("not reached", target, 1)
    assert low.difference == pytest.approx(-0.02)
    assert outcome(target - 0.04, target).verdict == "reached"  # within two standard deviations of two seeds
    assert outcome(0.1, reasons={("dcgh", "wiki"): "other split"}).verdict == "explained: other split"
    assert outcome(0.1, method="imads").verdict == "not reached"  # its remark is of another data set
    assert outcome(0.1, method="aah").verdict.startswith("explained: paper states CNN image features")
    assert tables.against(fake_lines.sensitivity()) == []


def test_configurations_of_one_method_are_judged_apart():
    plain = [fake_lines.line("dcgh", 32, s, data="wiki", study=("bits", "bits", [])) for s in (0, 1)]
    again = [{**plain[0], "study": {"name": "curves", "kind": "bits", "vary": []}}]  # a run of two studies
    kernel = [{"kind": "laplace", "anchors": 500, "width": 1.0, "standardise": False}]
    other = [fake_lines.line("dcgh", 32, data="wiki", study=("laplace", "bits", []), features=kernel, lift=0.1)]
    longer = [fake_lines.line("dcgh", 32, data="wiki", study=("convergence", "convergence", []), max_iterations=20)]
    outcomes = tables.against([*plain, *again, *other, *longer])
    assert [(v.method, v.seeds) for v in outcomes] == [
        ("dcgh", 2),
        ("dcgh", 2),
        ("dcgh, laplace", 1),
        ("dcgh, laplace", 1),
    ]


def test_reasons_are_told_once_under_the_table():
    lines = [fake_lines.line("dcgh", b, data="wiki", map={"i2t": 0.1, "t2i": 0.1}) for b in (16, 32)]
    text = tables.render(tables.verdicts(tables.against(lines, {("dcgh", "wiki"): "other split."})), "markdown")
    assert text.count("explained (1)") == 4
    assert text.count("other split") == 1
    assert text.rstrip().endswith("; (1) other split.")


def test_a_grid_of_verdicts_prints_in_every_format():
    lines = [fake_lines.line(b, 32, data="wiki") for b in ("dcgh", "aah")]
    grid = tables.verdicts(tables.against(lines))
    for form in tables.ENDINGS:
        text = tables.render(grid, form)
        assert text.count("0.388") == 1, form
    assert results.DIRECTIONS["i2t"] in tables.render(grid, "csv")


def test_times_are_a_table_of_seconds():
    lines = fake_lines.scaling()
    text = tables.render(tables.seconds(lines), "markdown")
    assert "| method | rows | train | evaluate |" in text
    assert f"| dcgh | 100000 | {lines[2]['times']['train']:.2f} | 1.00 |" in text
    assert "Seconds; toy; none, 1 processors." in text
    two = [fake_lines.line(seed=seed, times={"train": seed + 1.0}) for seed in (0, 2)]
    assert "2.00 ± 1.41" in tables.render(tables.seconds(two), "text")
    with pytest.raises(ValueError, match="records: expected at least one"):
        tables.seconds([])


def test_memory_stands_beside_times_that_are_a_trainings_own():
    text = tables.render(tables.seconds(fake_lines.times()), "markdown")
    assert "| method | train | evaluate | peak memory, GB |" in text
    assert "| random_codewords | 1.00 ± 0.00 | 1.00 ± 0.00 | 1.00 ± 0.00 |" in text
    shared = [fake_lines.line(seed=seed, peak_memory_gb=1.0) for seed in (0, 1)]  # of a process that ran others too
    assert "memory" not in tables.render(tables.seconds(shared), "text")


def test_rows_that_other_papers_print_are_judged_too():
    assert tables.printed("batch", "wiki", "i2t", 16) == [("dcgh: BATCH", 0.3437, "fully paired")]
    assert [row for row, *_ in tables.printed("lcmfh", "wiki", "i2t", 16)] == ["imads: LCMFH", "dcgh: LCMFH"]
    assert [row for row, *_ in tables.printed("lcmfh", "wiki:dcgh", "i2t", 16)] == ["dcgh: LCMFH"]
    assert [row for row, *_ in tables.printed("fcmh", "wiki", "i2t", 64)] == ["dcgh: FCMH", "dcgh: DCGH-c"]
    assert [row for row, *_ in tables.printed("scm", "wiki", "i2t", 16)] == ["aah: SCM-seq", "imads: SCMs"]
    assert [row for row, *_ in tables.printed("dcgh", "wiki", "i2t", 16)] == ["dcgh"]  # its own paper's
    for method, data in (("batch", "mirflickr25k:tags"), ("batch-common", "wiki"), ("random_codewords", "wiki")):
        assert tables.printed(method, data, "i2t", 16) == []
    scores = {"i2t": 0.2, "t2i": 0.7167}
    lines = [fake_lines.line("dch", 16, data="wiki", study=("bits", "bits", []), map=scores)]
    found = {(v.paper, v.direction): v.verdict for v in tables.against(lines, {("aah: DCH", "wiki"): "other images"})}
    assert found == {
        ("acqh: DCH", "i2t"): "not reached",
        ("acqh: DCH", "t2i"): "reached",
        ("aah: DCH", "i2t"): "explained: other images",
        ("aah: DCH", "t2i"): "reached",
    }


def test_a_table_with_the_control_says_what_it_means():
    lines = [fake_lines.line(method) for method in ("dcgh", "random_codewords")]
    assert tables.MEANING in tables.study(lines).caption
    assert tables.MEANING not in tables.study(lines[:1]).caption


def test_a_remark_on_sizes_is_of_the_data_set_that_has_them():
    printed = [row for row in tables._printed() if row["paper"] == "imads" and "training pairs" in row["setting"]]
    assert {row["dataset"] for row in printed} == {"nuswide"}
    assert tables.published("imads", "wiki", "i2t", 16)[1] == ""
    assert tables._reason("10,000 training pairs", "nuswide10") == "10,000 training pairs"
    assert tables._reason("10,000 training pairs", "nuswide10:imads") == ""


def test_a_name_cannot_leave_its_cell():
    """Line ends, control characters and what each form has signs for."""
    name = "toy\nend \x1b]0;title\x07 $a_b$ <i> | \\end{tabular} \u202e"
    lines = [fake_lines.line(method, data=name) for method in ("dcgh", "aah")]
    for form in ("text", "markdown", "latex", "html"):
        printed = tables.render(tables.study(lines), form)
        assert printed.count("toy end") == 1
        assert not {"\x1b", "\x07", "\u202e"} & set(printed)
        if form == "latex":
            (caption,) = (line for line in printed.splitlines() if "toy end" in line)
            assert caption.startswith("% ")
        assert form != "html" or "&lt;i&gt;" in printed
    both = tables.render(tables.study([*lines, fake_lines.line("dcgh", data="other", data_hash="e")]), "latex")
    assert "toy end \\textbackslash{}x1b]0;title" in both
    assert both.count("\\end{tabular}") == 1
