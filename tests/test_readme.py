"""What the guides say is run: Python as doctests, and every shell command in order, as a reader would type it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from coloured import pictures
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import jaxcmh
from jaxcmh.commands import asked, cli
from jaxcmh.studies.reproduce import wanted

ROOT = Path(__file__).resolve().parents[1]
README, EXPERIMENTS = ROOT / "README.md", ROOT / "experiments" / "README.md"
GUIDE = Path(jaxcmh.__file__).parent / "methods" / "README.md"
CHANGES = EXPERIMENTS.parent / "guide" / "changes.md"
PAGES = {page.stem: page for page in sorted(CHANGES.parent.glob("[a-z]*.md")) if page != CHANGES}
TOGETHER = (  # pages of which one goes on in the folder of another, in the order of the guide
    ("first-model",),
    ("convergence",),
    ("sensitivity",),
    ("comparing-methods",),
    ("own-data", "search"),
    ("own-method",),
    ("devices",),
    ("reproducing",),
    ("why-numbers-differ",),
)
INDENTED = re.compile(r"^    ((?:jaxcmh|python) .*)$", re.M)
SPAN = re.compile(r"`((?:jaxcmh |python |reproduce )[^`\n]+)`")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
LINE = re.compile(r".*<< 'END'\n(?:.*\n)*?END$|.*\S.*", re.M)  # with the file that it is given
SMALL = 60_000  # bytes of a picture


def blocks(path, *parsers):
    return list(Sybil(parsers=parsers, path=str(path.parent), pattern=path.name).parse(path).examples())


def commands(path):
    """The lines of the shell blocks of a document, and those that are indented like code, in order."""
    found = [(example.start, example.parsed) for example in blocks(path, CodeBlockParser(language="sh"))]
    found += [(match.start(), match[1]) for match in INDENTED.finditer(path.read_text())]
    return [line for _, text in sorted(found) for line in LINE.findall(text)]


def spans(path):
    """Commands in running text and tables."""
    return SPAN.findall(re.sub(r"```.*?```", "", path.read_text(), flags=re.S))


# -- Python -----------------------------------------------------------------------------------------------------------


def test_every_python_block_of_the_readme_runs():
    examples = blocks(README, PythonCodeBlockParser())
    assert examples
    for example in examples:
        example.evaluate()


@pytest.mark.xdist_group("own_methods")
def test_every_python_block_of_the_guide_to_a_method_of_ones_own_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    own_method(tmp_path)
    try:
        examples = blocks(GUIDE, PythonCodeBlockParser())
        assert examples
        for example in examples:
            if ">>>" in example.document.text[example.start : example.end]:
                example.evaluate()
    finally:
        sys.modules.pop("mymethod", None)


def own_method(folder):
    """mymethod.py and myplan.py, as the guide writes them."""
    parsed = (example.parsed for example in blocks(GUIDE, CodeBlockParser(language="python")))
    *method, plan = (text for text in parsed if ">>>" not in text)
    (folder / "mymethod.py").write_text("\n\n".join(method))
    (folder / "myplan.py").write_text(plan)


def test_the_entry_to_cite_is_of_this_version():
    (entry,) = (example.parsed for example in blocks(README, CodeBlockParser(language="bibtex")))
    fields = dict(re.findall(r"(\w+) += \{+([^{}]+)\}", entry))
    assert fields["version"] == jaxcmh.__version__
    assert f"This is version {jaxcmh.__version__}; [what changed]" in README.read_text()
    assert re.findall("^## (.*)", CHANGES.read_text(), re.M)[0] == jaxcmh.__version__
    assert fields["author"] in (ROOT / "LICENSE").read_text()


# -- what a command needs ---------------------------------------------------------------------------------------------


def new_pictures(folder):
    """A folder of pictures that no list names."""
    (folder / "new").mkdir()
    for name in ("03", "04"):
        shutil.copy(folder / "pictures" / f"{name}.png", folder / "new" / f"new {name}.png")


class Step(NamedTuple):
    """A command of a document, by how its line begins.

    `instead` is what is run in its place, "" for nothing, and `why` says why; `before` makes the files that it names;
    `says` are patterns that its output must have, of what the document says about it; `then` are commands that the
    document says can follow.
    """

    begins: str
    says: tuple[str, ...] = ()
    instead: str | None = None
    why: str = ""
    before: Callable[[Path], None] | None = None
    then: tuple[tuple[str, tuple[str, ...]], ...] = ()


SERVED = """
jaxcmh serve pets.index --model run --pictures pictures new --port 0 > address & server=$!
until [ -s address ]; do kill -0 $server; sleep 0.2; done
python -c "import sys, urllib.request as web; print(web.urlopen(sys.argv[1]).read().decode())" \\
    "$(cat address)search?text=blue+stripes"
kill $server
wait $server || [ $? -eq 143 ]
"""
NEEDS_WIKI = "needs Wiki's files, which are not part of the repository"
STEPS = {
    README: (
        Step(
            'python -m pip install -e ".[icons]" && jaxcmh demo',
            (r"open +runs/demo/index.html", r"results +runs/demo/", r"search it +jaxcmh search runs/demo/best"),
            "jaxcmh demo --methods dcgh --bits 16",
            "installing needs the network, and five methods half a minute",
        ),
        Step("jaxcmh search runs/demo/best --text", (r"currency", r"(\n +\d+ +\d+ +\d+ .*){10}", "labels")),
        Step('python -m pip install -e ".[test]" && python -m pytest', instead="", why="it is what runs this test"),
        Step("jaxcmh features pictures", (r"pairs.npz: 41 training items, 4 queries",), before=pictures),
        Step("jaxcmh train dcgh --data pairs.npz", (r"run folder: run\n",)),
        Step("jaxcmh index build run", (r"pets.index: 41 items of 16 bits",)),
        Step(
            "jaxcmh index add pets.index pictures new",
            (r"pets.index: 47 items of 16 bits, 6 of them new; 41 were there already",),
            before=new_pictures,
        ),
        Step(
            "jaxcmh serve pets.index",
            (r'"rank":1,"distance":0,"item":"\d+.png","labels":\["blue","stripes"\]', r'"items":47'),
            SERVED,
            "a server runs until it is told to end; port 8000 may be taken",
        ),
    ),
    EXPERIMENTS: (
        Step("jaxcmh compare-methods --dataset wiki --root FOLDER", instead="", why=NEEDS_WIKI),
        Step(
            "jaxcmh compare-methods --dataset icons synthetic:hard synthetic:easy --study bits",
            (r"runs/compare/synthetic/report.html",),
            "jaxcmh compare-methods --methods dcgh --dataset synthetic --study paired --quick",
            "all methods on both take many minutes",
            then=(("jaxcmh table runs/compare/synthetic --study paired", (r"mAP less that of random_codewords",)),),
        ),
        Step("jaxcmh compare-methods --dataset mirflickr25k:tags --root FOLDER", instead="", why=NEEDS_WIKI),
        Step(
            "jaxcmh table experiments/results/compare/wiki --study bits",
            (r"random_codewords learns no codes",),
            f"jaxcmh table {ROOT}/experiments/results/compare/wiki --study bits",
            "the results lie in the repository",
        ),
        Step("jaxcmh reproduce dcgh --dataset wiki --root FOLDER", instead="", why=NEEDS_WIKI),
        Step("jaxcmh reproduce dcgh --dataset wiki --figure 5", instead="", why=NEEDS_WIKI),
        Step("jaxcmh reproduce all --dataset wiki --study bits", instead="", why=NEEDS_WIKI),
        Step("jaxcmh reproduce all --quick", instead="", why="the quick experiments of five papers take many minutes"),
        Step("jaxcmh reproduce all --dataset wiki --study bits --out", instead="", why=NEEDS_WIKI),
        Step("jaxcmh reproduce dcgh --dataset wiki --study", instead="", why=NEEDS_WIKI),
        Step("jaxcmh reproduce imads --dataset wiki --study", instead="", why=NEEDS_WIKI),
        Step("jaxcmh reproduce aah --dataset wiki --study components", instead="", why=NEEDS_WIKI),
        Step("jaxcmh reproduce all --dataset icons --study bits", instead="", why="105 trainings take minutes"),
        Step("jaxcmh train dcgh --data icons --bits 64 --anchors 500", (r"run folder: runs/dcgh-icons-64-0",)),
        Step("jaxcmh reproduce all --dataset wiki --root FOLDER --out runs/wiki", instead="", why=NEEDS_WIKI),
        Step(
            "jaxcmh reproduce imads --dataset icons --figure 8 --out runs/wiki",
            (r"runs/wiki/imads-icons/report.html",),
            "jaxcmh reproduce imads --dataset icons --figure 8 --quick --out runs/wiki",
            "without --quick it trains five times as much",
        ),
        Step("jaxcmh report runs/wiki/dcgh-wiki", instead="", why=NEEDS_WIKI),
    ),
    GUIDE: (
        Step("jaxcmh train mymethod:method", (r"converged after", r"runs/mine-synthetic-16-0"), before=own_method),
        Step("jaxcmh sweep mymethod:method", (r"3 runs, 0 of them cached", r"runs/sweep-mine-synthetic-")),
        Step("jaxcmh reproduce myplan:plan", (r"runs/reproduce/myplan-plan-synthetic/report.html",)),
    ),
    PAGES["sensitivity"]: (
        Step("jaxcmh sweep dcgh", (r"18 runs, 0 of them cached", r"jaxcmh report surface\n")),
        Step("jaxcmh report surface", (r"surface/report.html",)),
    ),
    PAGES["comparing-methods"]: (
        Step("jaxcmh train dcgh", (r"run folder: one",)),
        Step("jaxcmh train random_codewords", (r"run folder: control",)),
        Step("jaxcmh compare one control", (r"p \(Holm\)", r"95 % interval", r"single seed!")),
        Step("jaxcmh table one control", (r"\| dcgh \|", r"\| random_codewords \|")),
        Step("jaxcmh trec one", (r"trec/i2t.run", r"trec/t2i.qrels")),
    ),
    PAGES["own-data"]: (
        Step(
            "jaxcmh data check pictures",
            (r"items +45", r"usable +45", r"problems +none", r"not listed +none", r"stripes: 15"),
        ),
        Step("jaxcmh features pictures", (r"pairs.npz: 41 training items, 4 queries",)),
        Step("jaxcmh data inspect pairs.npz", ("arrays", "layout", r"parts +train: 41", "split hash", "suspicious")),
        Step("jaxcmh train dcgh --data pairs.npz", (r"run folder: run\n",)),
        Step('jaxcmh search run --text "blue stripes"', (r"(\n +1 +0 .* a blue picture of stripes *){3}",)),
        Step("jaxcmh search run --image", (r"(\n +1 +0 .* picture of dots *){3}",)),
    ),
    PAGES["search"]: (
        Step("jaxcmh index build run", (r"pets.index: 41 items of 16 bits",)),
        Step(
            "jaxcmh index add pets.index pictures new",
            (r"pets.index: 46 items of 16 bits, 5 of them new; 41 were there already",),
        ),
        Step(
            "jaxcmh index search pets.index", (r'"query": "blue stripes", "rank": 1, "distance": 0, "item": "\d+.png"',)
        ),
        Step("jaxcmh index remove pets.index", (r"44 items of 16 bits, 2 removed",)),
        Step("jaxcmh serve pets.index", instead="", why="the README's own command, which is the same, is run"),
        Step("jaxcmh export faiss pets.index --out", (r"pets.faiss: 44 items",)),
        Step("jaxcmh export faiss pets.index --kind hnsw", (r"[Rr]ecall",)),
    ),
    PAGES["own-method"]: (
        Step(
            "jaxcmh train mymethod:method",
            (r"converged after \d+ iterations", r"run folder: runs/mine-synthetic-16-0"),
        ),
        Step("jaxcmh sweep mymethod:method", (r"6 runs, 0 of them cached", r"runs/sweep-mine-synthetic-")),
        Step("jaxcmh demo --methods mymethod:method dcgh", (r"\n mine ", r"open +runs/demo/index.html")),
        Step("jaxcmh reproduce myplan:plan", (r"runs/reproduce/myplan-plan-synthetic/report.html",)),
    ),
    PAGES["devices"]: (
        Step("XLA_FLAGS=--xla_force_host_platform_device_count=8 jaxcmh train", (r"run folder: eight",)),
    ),
    PAGES["reproducing"]: (
        Step("jaxcmh reproduce dcgh --dataset synthetic", (r"runs/reproduce/dcgh-synthetic/report.html",)),
        Step("jaxcmh table experiments/results/wiki --published", (r"not reached", r"explained")),
    ),
}


def step(path, line):
    """What is known of a command; of one that was added to a document, that it runs as it stands."""
    known = [one for one in STEPS.get(path, ()) if line.startswith(one.begins)]
    return max(known, key=lambda one: len(one.begins), default=Step(line))


# -- in a shell -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path):
    """Runs a line in bash, in an empty folder, with the command `jaxcmh` of this checkout; returns what it prints."""
    folder, programs = tmp_path / "work", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    for name, words in (
        ("jaxcmh", f"{shlex.quote(sys.executable)} -m jaxcmh"),
        ("python", shlex.quote(sys.executable)),
    ):
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / name).chmod(0o755)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    environment["PYTHONPATH"] = os.pathsep.join(paths)

    def run(line, says):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], cwd=folder, env=environment, capture_output=True, text=True
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, f"{line}\n{printed}"
        assert [pattern for pattern in says if not re.search(pattern, printed)] == [], f"{line}\n{printed}"

    return folder, run


def follow(path, line, folder, run):
    """Run a command of a document, or what is run in its place."""
    known = step(path, line)
    if known.before:
        known.before(folder)
    if known.instead != "":
        run(line if known.instead is None else known.instead, known.says)
    for following, says in known.then:
        run(following, says)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.xdist_group(f"commands {i}"))
        for i, path in enumerate((README, EXPERIMENTS, GUIDE))
    ],
    ids=["readme", "experiments", "guide"],
)
def test_every_shell_command_runs_and_shows_what_the_document_says(path, shell):
    pytest.importorskip("fontawesomefree")
    assert commands(path)
    for line in commands(path):
        follow(path, line, *shell)


@pytest.mark.parametrize(
    "names",
    [pytest.param(names, marks=pytest.mark.xdist_group(f"page {names[0]}"), id=names[0]) for names in TOGETHER],
)
def test_every_block_of_a_guide_page_runs_and_draws_its_pictures(names, shell, monkeypatch):
    pytest.importorskip("fontawesomefree")
    folder, run = shell
    (folder / "experiments").symlink_to(EXPERIMENTS.parent)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])  # which a page changes
    monkeypatch.syspath_prepend(folder)  # where Python finds what a page writes
    for name in names:
        page = PAGES[name]

        def in_the_shell(example, page=page):
            for line in LINE.findall(example.parsed):
                follow(page, line, folder, run)

        for example in blocks(page, PythonCodeBlockParser(), CodeBlockParser(language="sh", evaluator=in_the_shell)):
            example.evaluate()
        drawn = [Path("figures", Path(place).name) for _, place in PICTURE.findall(page.read_text())]
        assert [place for place in drawn if not place.is_file()] == []
    sys.modules.pop("mymethod", None)


def test_the_guide_lists_its_pages_in_their_order():
    listed = re.findall(r"\]\(([a-z-]+)\.md\)", (EXPERIMENTS.parent / "guide" / "README.md").read_text())
    assert listed == [*(name for names in TOGETHER for name in names), "changes"]
    assert sorted(listed) == sorted([*PAGES, "changes"])


DOCUMENTS = (README, EXPERIMENTS, GUIDE, EXPERIMENTS.parent / "guide" / "README.md", CHANGES, *PAGES.values())


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_every_link_and_picture_of_a_document_is_there(path):
    prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    broken = []
    for link in LINK.findall(prose):
        file, _, anchor = link.partition("#")
        target = (path.parent / file) if file else path
        if link.startswith("http"):
            continue
        known = target.exists() and (not anchor or anchor in anchors(target))
        broken += [] if known else [link]
    assert broken == []
    pictures = [(alt, path.parent / place) for alt, place in PICTURE.findall(prose)]
    assert [str(place) for alt, place in pictures if not alt] == []
    if path != EXPERIMENTS:
        assert [str(place) for _, place in pictures if place.stat().st_size >= SMALL] == []


def anchors(path):
    """What headings are linked by."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", STEPS)
def test_what_is_said_here_of_a_command_is_of_one_in_the_document(path):
    used = {step(path, line).begins for line in commands(path)}
    assert [one.begins for one in STEPS[path] if one.begins not in used] == []
    assert [one.begins for one in STEPS[path] if (one.instead is None) == bool(one.why)] == []


def test_every_command_of_a_page_but_the_server_runs_as_it_stands():
    replaced = [one.begins for path in PAGES.values() for one in STEPS.get(path, ()) if one.instead is not None]
    assert replaced == ["jaxcmh serve pets.index"]


# -- commands that are only named -------------------------------------------------------------------------------------


def words_of(command):
    words = shlex.split(re.sub(r"^[A-Z_]+=\S+ ", "", command), comments=True)
    return words[1:] if words[0] in ("jaxcmh", "python") else words


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_command_that_is_named_exists_with_its_options(path, capsys):
    named = [line for line in [*commands(path), *spans(path)] if not line.startswith(("python", "mkdir", "cat"))]
    assert named
    for command in named:
        words = words_of(command)
        app, name = cli.app, []
        for word in words:
            if word not in app:
                break
            app, name = app[word], [*name, word]
        assert name, command
        assert cli.main([*name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert [word for word in words if re.match(r"--?[a-z]", word) and f"{word} " not in shown] == [], command


def test_every_script_that_is_named_exists():
    named = [word for path in DOCUMENTS for command in spans(path) for word in command.split() if word.endswith(".py")]
    assert named
    assert [script for script in named if not (ROOT / script).is_file()] == []


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_study_table_and_figure_that_is_named_is_in_a_plan(path):
    for command in [*commands(path), *spans(path)]:
        words = words_of(command)
        if words[0] != "reproduce" or len(words) < 2 or ":" in words[1]:
            continue
        asked_for: dict[str, list] = {"--table": [], "--figure": [], "--study": []}
        into: list = []
        for word in words[2:]:
            if word.startswith("--"):
                into = asked_for.get(word, [])
            else:
                into.append(word)
        for plan in asked.plans("all" if words[1] == "PAPER" else words[1]).values():
            assert wanted(
                plan, [*map(int, asked_for["--table"])], [*map(int, asked_for["--figure"])], asked_for["--study"]
            )
