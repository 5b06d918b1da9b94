"""The commands around studies: `jaxcmh reproduce` and `jaxcmh sweep`."""

import json
import math
import random as random_numbers
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from jaxcmh import progress as terminal

FORM = "name=low:high:count or name=value,value, such as alpha=1e-4:1e4:9"
BEST = 10  # rows that `sweep` prints for a code length
Tracker = Literal["tensorboard", "mlflow", "wandb"]
Many = Parameter(consume_multiple=True, negative=())


def reproduce(
    paper: str,
    /,
    *,
    dataset: Annotated[list[str] | None, Many] = None,
    table: Annotated[list[int] | None, Many] = None,
    figure: Annotated[list[int] | None, Many] = None,
    study: Annotated[list[str] | None, Many] = None,
    quick: Annotated[bool, Parameter(negative=())] = False,
    ties: Literal["expected", "stable"] = "stable",
    deep: str | None = None,
    memory: float | None = None,
    log: Tracker | None = None,
    root: Annotated[Path | None, Parameter(name="--root")] = None,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("runs/reproduce"),
) -> None:
    """Redo the experiments of a paper, and set what comes out beside what it prints.

    Every run is kept in OUT/PAPER-DATASET/results.jsonl as soon as it is finished; what is there already is not
    computed again. Tables, figures and report.html are written beside it.

    Parameters
    ----------
    paper
        A paper by its method, such as dcgh, or all.
    dataset
        Data sets. [default: those of the paper, and the icons]
    table
        Only the experiments of these tables of the paper.
    figure
        Only those of these figures.
    study
        Only these, by name.
    quick
        One seed, two code lengths and three values of whatever is varied.
    ties
        How items of equal distance count in mAP; stable is what the papers' programs do.
    deep
        A data set of the same pairs with deep features, for the comparisons with deep features.
    memory
        GB that the process may have at its peak; fewer runs go side by side then.
    log
        Show every run that is computed to this experiment tracker too, below OUT/PAPER-DATASET.
    root
        Folder with the files of the data sets. [default: $JAXCMH_DATA]
    out
        Folder for results.
    """
    tracked(log, out)  # what is not installed is said before anything is computed
    with terminal.progress(0) as steps:
        steps.step("starting jax")
        terminal.say(terminal.start_jax())
        from jaxcmh.studies import plans
        from jaxcmh.studies.reproduce import run, shortened, wanted

        papers = plans.plans if paper == "all" else {paper: plans.find(paper)}
        asked_for = table or (), figure or (), study or ()
        names = {name: wanted(plan, *asked_for) for name, plan in papers.items()}
        done, missing = [], {}
        for name, plan in papers.items():
            for data in dataset or (*plan.datasets, "icons"):
                steps.step(f"loading {data}")
                split = _load(data, root, missing)
                if split is None:
                    continue
                asked = [one for one in plan.studies(data, len(split.train.labels)) if one.name in names[name]]
                folder = out / f"{name}-{Path(data).stem if Path(data).exists() else data.replace(':', '-')}"
                told = {"data": data, "deep": deep, "root": root, "say": terminal.say, "ties": ties}
                told |= {"memory": memory, "progress": steps, "log": tracked(log, folder)}
                asked = [shortened(one) for one in asked] if quick else asked
                lines = run(asked, split, folder, **told)
                done.append((folder, lines))
    if not done:
        raise ValueError("nothing to do: none of the data sets is there")
    with terminal.progress(len(done)) as steps:
        for folder, lines in done:
            steps.step(f"reading {terminal.shown(folder)}, drawing")
            _show(folder, lines)
            steps.advance()


def sweep(
    method: str,
    /,
    *,
    grid: Annotated[list[str] | None, Parameter(name="--grid", consume_multiple=True, negative=())] = None,
    list_: Annotated[list[str] | None, Parameter(name="--list", consume_multiple=True, negative=())] = None,
    random: int | None = None,
    bits: Annotated[list[int] | None, Parameter(name=["--bits", "-b"], consume_multiple=True, negative=())] = None,
    seeds: int = 1,
    param: Annotated[list[str] | None, Parameter(name=["--param", "-p"], negative=())] = None,
    data: str = "icons",
    features: Literal["rbf", "laplace", "standardise", "identity"] | None = None,
    anchors: int | None = None,
    width: float | None = None,
    standardise: Annotated[bool, Parameter(negative=())] = False,
    max_iterations: int | None = None,
    tolerance: float | None = None,
    ties: Literal["expected", "stable"] = "expected",
    database: Annotated[list[Literal["learned", "encoded", "held_out"]] | None, Many] = None,
    memory: float | None = None,
    quick: Annotated[bool, Parameter(negative=())] = False,
    log: Tracker | None = None,
    root: Annotated[Path | None, Parameter(name="--root")] = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Train a method with many hyper-parameters and seeds, side by side, and say which are best.

    Every run is kept in OUT/results.jsonl as soon as it is finished; what is there already is not computed again, so
    a sweep that was stopped goes on where it was.

    Parameters
    ----------
    method
        Name of a method, such as dcgh, or of a variant, such as dcgh-d.
    grid
        Hyper-parameters and their values, in all combinations: alpha=1e-4:1e4:9 for nine values from 1e-4 to 1e4,
        evenly spaced in logarithm; lam=0.01,0.1 for those two; with --random, ranges to draw from: alpha=1e-4:1e4.
    list_
        Values that belong together: alpha=1,10 beta=2,20 for two runs.
    random
        Draw so many runs from the ranges of --grid, evenly in logarithm.
    bits
        Code lengths. [default: 32]
    seeds
        Seeds 0, 1, ... for each.
    param
        A hyper-parameter that does not vary, such as lam=0.1; may be repeated.
    data
        Name of a data set, or path of a file with arrays.
    features
        Feature map of every view; the method's own by default.
    anchors
        Anchors of the kernels rbf and laplace.
    width
        Factor on the kernel width.
    standardise
        Standardise the raw features before the kernel.
    max_iterations
        Iterations at most; the method's own number by default.
    tolerance
        Relative change of the objective below which training has converged; the method's own by default, 0 for never.
    ties
        How items of equal distance count in mAP.
    database
        Kinds of database codes; all that the data allow by default.
    memory
        GB that the program may take at its peak; fewer runs go side by side, down to one.
    quick
        One seed, and the first, middle and last value of whatever varies.
    log
        Show every run that is computed to this experiment tracker too, below OUT.
    root
        Folder with the files of a named data set. [default: $JAXCMH_DATA]
    out
        Folder for results. [default: runs/sweep-METHOD-DATA]
    as_json
        Print result lines (JSON) instead of a table.
    """
    from jaxcmh.commands import cli
    from jaxcmh.commands.queries import load_data

    chosen = cli._method(method)
    names = chosen.params._fields
    vary, combine = _varied(names, grid or [], list_ or [], random)
    name = f"sweep-{method}-{Path(data).stem if Path(data).exists() else data}".replace(":", "-")
    path = (out or Path("runs") / name) / "results.jsonl"
    tell = tracked(log, path.parent)
    with terminal.progress(0) as steps:
        cli._start(steps)
        from jaxcmh import studies
        from jaxcmh.studies.reproduce import few

        if quick:
            vary, seeds = {name: few(values) for name, values in vary.items()}, 1
        study = studies.Study(
            name="sweep",
            kind="sweep",
            method=method,
            bits=tuple(bits or (32,)),
            seeds=seeds,
            params=cli._params(param or [], chosen),
            vary=vary,
            combine=combine,
            features=cli._features(chosen, features, anchors, width, standardise),
            max_iterations=max_iterations,
            tolerance=tolerance,
        )
        studies.points(study)  # what is wrong is said before anything is loaded
        split = load_data(data, root, terminal.Stages(), steps)
        options = {"ties": ties, "databases": database, "memory": memory, "progress": steps, "log": tell}
        lines = studies.run(study, split, path, data=data, **options)
    _print_sweep(lines, [name for name in vary if len(vary[name]) > 1], as_json)
    runs = len(studies.points(study))
    terminal.say(f"{runs} runs, {runs - steps.done} of them cached; peak memory {lines[-1]['peak_memory_gb']:.1f} GB")
    terminal.say(f"results: {terminal.shown(path)}")


def tracked(log: str | None, folder: Path) -> Callable[[dict], None] | None:
    """What is to be told every finished run, see `trackers.logger`; nothing if no tracker is asked for."""
    if log is None:
        return None
    from jaxcmh.studies import trackers

    return trackers.logger(log, folder)


def _varied(
    names: Sequence[str], grid: Sequence[str], listed: Sequence[str], draws: int | None
) -> tuple[dict[str, list[float]], str]:
    """What --grid, --list and --random say: values of each hyper-parameter, and how they combine."""
    if bool(grid) + bool(listed) > 1 or (draws is not None and not grid):
        raise ValueError("give --grid, or --list, or --grid with --random")
    option = "--grid" if grid else "--list"
    vary: dict[str, list[float]] = {}
    for word in [*grid, *listed]:
        name, _, values = word.partition("=")
        if name not in names:
            raise ValueError(f"{option}: no hyper-parameter {name!r}; there are {', '.join(names)}")
        if name in vary:
            raise ValueError(f"{option}: {name} is given twice")
        vary[name] = _values(option, word, values, draws)
    if draws is not None:
        if draws < 1:
            raise ValueError(f"--random: expected a number of at least 1; got {draws}")
        rng = random_numbers.Random(0)
        ranges = vary.items()
        drawn = {name: [low * (high / low) ** rng.random() for _ in range(draws)] for name, (low, high) in ranges}
        return drawn, "list"
    if listed and len(set(map(len, vary.values()))) > 1:
        raise ValueError(f"--list: expected as many values of each; got {' '.join(listed)}")
    return vary, "list" if listed else "grid"


def _values(option: str, word: str, values: str, draws: int | None) -> list[float]:
    """Values of one hyper-parameter; of a range to draw from, its ends."""
    try:
        if draws is None and ":" not in values:
            return [float(part) for part in values.split(",")]
        low, high, *rest = values.split(":")
        (count,) = (2,) if draws is not None and not rest else map(int, rest)
        low, high = float(low), float(high)
    except ValueError:
        form = "name=low:high, such as alpha=1e-4:1e4" if draws is not None else FORM
        raise ValueError(f"{option}: expected {form}; got {word!r}") from None
    if not (0 < low <= high < math.inf and count > 0):
        raise ValueError(f"{option}: expected 0 < low <= high and a count of at least 1; got {word!r}")
    if draws is not None:
        return [low, high]
    steps = [step / max(count - 1, 1) for step in range(count)]
    return [float(f"{low * (high / low) ** step:.12g}") for step in steps]


def _print_sweep(lines: list[dict], vary: Sequence[str], as_json: bool) -> None:
    """All lines as JSON, or a table of the best hyper-parameters: mAP over all directions, mean over the seeds."""
    if as_json:
        for line in lines:
            print(json.dumps(line))
        return
    kind = lines[0]["database"]
    groups: dict[tuple, list[dict]] = {}
    for line in lines:
        if line["database"] == kind:
            groups.setdefault((line["bits"], *(line["params"][name] for name in vary)), []).append(line["map"])
    rows = []
    for (bits, *values), maps in groups.items():
        means = {direction: statistics.fmean(one[direction] for one in maps) for direction in maps[0]}
        overall = [statistics.fmean(one.values()) for one in maps]
        spread = {"sd over seeds": statistics.stdev(overall)} if len(overall) > 1 else {}
        rows.append({"bits": bits, **dict(zip(vary, values)), **means, "mean": statistics.fmean(overall), **spread})
    rows.sort(key=lambda row: -row["mean"])
    best = [row for bits in sorted({row["bits"] for row in rows}) for row in _first(rows, bits)]
    title = f"mAP, {kind} database codes"
    terminal.print_rows(best, title + (f"; best {len(best)} of {len(rows)}" if len(best) < len(rows) else ""))


def _first(rows: list[dict], bits: int) -> list[dict]:
    return [row for row in rows if row["bits"] == bits][:BEST]


def _load(data: str, root: Path | None, missing: dict[str, str]) -> Any:
    """The data set, or None where files are missing, which is said once."""
    import jaxcmh
    from jaxcmh.datasets import NAMED

    try:
        return jaxcmh.load_dataset(data, root=root)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if isinstance(error, ValueError) and data.partition(":")[0] not in NAMED:
            raise  # a name that is none
        if data not in missing:
            terminal.say(f"skipped {data}: {error}")
        missing[data] = str(error)
        return None


def _show(folder: Path, lines: list[dict]) -> None:
    """Print what a paper prints beside ours, and write the report of everything the folder has."""
    from jaxcmh.results import tables
    from jaxcmh.studies import plans

    if not lines:
        return
    reasons = plans.reasons(line["data"] for line in lines)
    found = tables.against(lines, reasons)
    if found:
        print(tables.render(tables.verdicts(found), "text"))
    try:
        from jaxcmh.results import report

        print(f"{terminal.shown(report.write(folder, reasons))}\n")
    except ModuleNotFoundError as error:
        terminal.say(f"no report: {error}")
