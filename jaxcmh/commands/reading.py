"""The commands that read results: `jaxcmh report`, `table`, `compare` and `trec`."""

from pathlib import Path
from typing import Any

import jaxcmh
from jaxcmh.checks import Count
from jaxcmh.commands import asked, terminal
from jaxcmh.commands.asked import Database, Databases, Flag, Format, Json, NewPlace, Root
from jaxcmh.commands.queries import load_data, stored_root
from jaxcmh.progress import Stages, progress, say, shown


def report(folders: list[Path], /) -> None:
    """Write tables, figures and a page from the result lines of a folder; nothing is run again.

    Parameters
    ----------
    folders
        Folders with results.jsonl. Each gets report.html, tables and figures.
    """
    from jaxcmh import results
    from jaxcmh.results.report import write
    from jaxcmh.studies.plans import reasons

    with progress(len(folders)) as steps:
        made = []
        for folder in folders:
            steps.step(f"reading {folder}, drawing")
            made.append(
                write(folder, reasons(line["data"] for line in results.read(folder)) if folder.is_dir() else None)
            )
            steps.advance()
    for path in made:
        print(shown(path))


def table(
    sources: list[Path],
    /,
    *,
    format: Format = "text",
    database: Database | None = None,
    study: str | None = None,
    published: Flag = False,
    measures: Flag = False,
) -> None:
    """Print the table of the results in folders or files, with the published values beside ours.

    Parameters
    ----------
    sources
        Run folders, folders of runs, or .jsonl files of result lines.
    format
        How to print it; latex needs the package booktabs.
    database
        Only this kind of database codes. [default: a table for each]
    study
        Only the lines of this study. [default: a table for each]
    published
        Instead, one row for each published number: the number, ours, the difference, and whether it is reached.
    measures
        Instead, a column for mAP and for each of what `jaxcmh evaluate --beyond-map` measured.
    """
    from jaxcmh import results
    from jaxcmh.results import figures, significance, tables

    records = [line for source in sources for line in results.read(source)]
    if not records:
        raise ValueError("no results there yet")
    if database:
        there = dict.fromkeys(line["database"] for line in records)
        records = [line for line in records if line["database"] == database]
        if not records:
            raise ValueError(f"--database: the results have {' and '.join(there)} codes; got {database!r}")
    studies = figures.studies(records)
    if study is not None:
        names = dict.fromkeys(one.name for one in studies)
        studies = [one for one in studies if one.name == study]
        if not studies:
            raise ValueError(f"--study: no study {study!r}; there are {', '.join(names)}")
    if published:
        from jaxcmh.studies.plans import reasons

        lines = [line for one in studies for line in one.lines]
        compared = tables.against(lines, reasons(line["data"] for line in records))
        if not compared:
            raise ValueError("no published number is of these methods, data and code lengths")
        print(tables.render(tables.verdicts(compared), format), end="")
        return
    if measures:
        some = [one.lines for one in studies if any("measures" in line for line in one.lines)] or [records]
        print("\n".join(tables.render(tables.measures(lines), format) for lines in some), end="")
        return
    _one_protocol(studies)
    made = []
    for one in studies:
        if one.kind == "scaling":
            made.append(tables.render(tables.seconds(one.lines), format))
        if one.kind == "paired" and any(line["method"].startswith(tables.CONTROL) for line in one.lines):
            made.append(tables.render(significance.beside_control(significance.pairs(one.lines)), format))
        for kind in dict.fromkeys(line["database"] for line in one.lines):
            made.append(tables.render(tables.study([line for line in one.lines if line["database"] == kind]), format))
    print("\n".join(made), end="")


def _one_protocol(studies: list[Any]) -> None:
    """Plain runs on several data or by several rules would fall apart into tables that look alike."""
    from jaxcmh import results

    plain = [line for one in studies if one.name == "runs" for line in one.lines]
    if plain:
        results.one_protocol(plain, ("database",))


def compare(
    runs: list[Path],
    /,
    *,
    database: Databases = None,
    format: Format = "text",
    as_json: Json = False,
) -> None:
    """Test whether methods differ: paired permutation tests over queries, corrected for their number.

    Parameters
    ----------
    runs
        Run folders of two or more methods or settings on the same data; several seeds of one are averaged.
    database
        Kinds of database codes. [default: all that the runs have]
    format
        How to print the table.
    as_json
        Print one JSON line per comparison instead.
    """
    from jaxcmh.results import significance, tables

    with progress() as steps:
        steps.step("comparing")
        comparisons = significance.compare(runs, database)
    if as_json:
        terminal.print_lines(map(significance.as_dict, comparisons))
    else:
        print(tables.render(significance.grid(comparisons), format), end="")
    if any(min(one.seeds) == 1 for one in comparisons):
        say("warning: a single seed says nothing of the spread from training to training")


def trec(
    run: Path,
    /,
    *,
    out: NewPlace,
    database: Database | None = None,
    depth: Count | None = None,
    root: Root = None,
) -> None:
    """Write the rankings of a run and what is relevant as TREC run and qrels files.

    Parameters
    ----------
    run
        Run folder.
    out
        Folder for the files; must not exist.
    database
        Kind of database codes. [default: the first that the data allow]
    depth
        Answers per query; the whole database by default.
    root
        Folder with the files of a named data set, for runs of version 0.1.0; later ones keep what is needed.
        [default: that of the training, or $JAXCMH_DATA]
    """
    from jaxcmh.datasets.identity import data_hash
    from jaxcmh.results import runs
    from jaxcmh.results.trec import export

    stored = runs.read_run(run)
    if out.exists():
        raise FileExistsError(f"--out: {out} is there already; name another folder or remove it first")
    with progress() as steps:
        asked.start(steps)
        model, source = jaxcmh.load(run), stored
        if "query_labels" not in stored.codes:
            name = runs.data_of(stored)
            source = load_data(name, root or stored_root(stored.config), Stages(), steps)
            if data_hash(source) != stored.records[0]["data_hash"]:
                raise ValueError(f"{name}: the data are not those the run was trained on")
        kind = database or stored.records[0]["database"]
        made = export(out, model, source, database=kind, depth=depth, say=lambda doing: steps.step(f"ranking {doing}"))
    for path in made:
        print(shown(path))
