"""The commands around studies: `jaxcmh reproduce` and `jaxcmh sweep`."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jaxcmh import checks
from jaxcmh.checks import Bits, Copies, Count, Iterations, Positive, Weight
from jaxcmh.commands import asked, terminal
from jaxcmh.commands.asked import Databases, Design, Flag, Json, Kernel, Many, Out, Repeated, Root, Ties, Tracker
from jaxcmh.commands.queries import load_data
from jaxcmh.progress import Progress, Stages, progress, say, shown

if TYPE_CHECKING:
    from jaxcmh.studies import Study
    from jaxcmh.studies.plans.plan import Plan

FORM = "name=low:high:count or name=value,value, such as alpha=1e-4:1e4:9"
BEST = 10  # rows that `sweep` prints for a code length


def reproduce(
    paper: str,
    /,
    *,
    dataset: Annotated[list[str] | None, Many] = None,
    table: Annotated[list[int] | None, Many] = None,
    figure: Annotated[list[int] | None, Many] = None,
    study: Annotated[list[str] | None, Many] = None,
    quick: Flag = False,
    ties: Ties = "stable",
    deep: str | None = None,
    max_iterations: Iterations | None = None,
    tolerance: Weight | None = None,
    memory: Positive | None = None,
    devices: Count | None = None,
    log: Tracker | None = None,
    root: Root = None,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("runs/reproduce"),
) -> None:
    """Redo the experiments of a paper, and set what comes out beside what it prints.

    Every run is kept in OUT/PAPER-DATASET/results.jsonl as soon as it is finished; what is there already is not
    computed again. Tables, figures and report.html are written beside it.

    Parameters
    ----------
    paper
        A paper by its method: dcgh, a2lh, acqh, aah or imads; or all; or a plan of your own as module:attribute, such
        as myplan:plan for what myplan.py in the current folder calls plan.
    dataset
        Data sets: wiki, mirflickr25k, nuswide10, iaprtc12, icons, synthetic, or files with arrays. [default: those of
        the paper, and the icons]
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
    max_iterations
        Iterations at most, instead of the paper's; results go to OUT/PAPER-DATASET-max_iterations-N.
    tolerance
        Relative change of the objective below which training has converged, instead of the paper's; results go to
        OUT/PAPER-DATASET-tolerance-T.
    memory
        GB that the process may have at its peak; fewer runs go side by side then.
    devices
        Work on the first of so many devices (`jax.devices()`), each with its share of the runs; on one by default.
    log
        Show every run that is computed to this experiment tracker too, below OUT/PAPER-DATASET.
    root
        Folder with the files of the data sets. [default: $JAXCMH_DATA]
    out
        Folder for results.
    """
    from jaxcmh.studies.reproduce import wanted

    asked.tracker(log, out)  # what is not installed is said before anything is computed
    plans = asked.plans(paper)
    studies = {name: wanted(plan, table or (), figure or (), study or ()) for name, plan in plans.items()}
    endings = {"max_iterations": max_iterations, "tolerance": tolerance}
    endings = {name: value for name, value in endings.items() if value is not None}
    options = {"ties": ties, "memory": memory, "mesh": asked.mesh(devices), "deep": deep, "root": root, "log": log}
    _run(plans, studies, dataset, out, quick=quick, endings=endings, **options)


def compare_methods(
    methods: Annotated[list[str] | None, Parameter(name="--methods", consume_multiple=True, negative=())] = None,
    *,
    dataset: Annotated[list[str] | None, Many] = None,
    study: Annotated[list[str] | None, Many] = None,
    quick: Flag = False,
    ties: Ties = "stable",
    memory: Positive | None = None,
    devices: Count | None = None,
    log: Tracker | None = None,
    root: Root = None,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("runs/compare"),
) -> None:
    """Compare methods with each other, with random codewords and with what the papers print.

    Each method runs with its own settings, and again, called NAME-common, with one feature map and hash function for
    all, so that only the codes differ. Five seeds, 16, 32 and 64 bits, learned and encoded database codes, times and
    memory, paired significance. Every run is kept in OUT/DATASET/results.jsonl as soon as it is finished; what is
    there already is not computed again. Tables, figures and report.html are written beside it.

    Parameters
    ----------
    methods
        Methods that `jaxcmh methods` lists, variants such as dcgh-d, or methods of your own as module:attribute. The
        control random_codewords is always among them. [default: all of the package]
    dataset
        Data sets: wiki, mirflickr25k:tags (the even and the odd tags), nuswide10, iaprtc12, icons, synthetic:easy or
        synthetic:hard, or files with arrays. [default: wiki, mirflickr25k:tags, both synthetic ones and the icons]
    study
        Only these: bits (own settings), "8 and 128 bits", "one feature map", paired (its significance), time.
    quick
        One seed and two code lengths.
    ties
        How items of equal distance count in mAP; stable is what the papers' programs do.
    memory
        GB that the process may have at its peak; fewer runs go side by side then.
    devices
        Work on the first of so many devices (`jax.devices()`), each with its share of the runs; on one by default.
    log
        Show every run that is computed to this experiment tracker too, below OUT/DATASET.
    root
        Folder with the files of the data sets. [default: $JAXCMH_DATA]
    out
        Folder for results.
    """
    from jaxcmh.methods import registry
    from jaxcmh.results.tables import CONTROL
    from jaxcmh.studies.plans.compare import compared
    from jaxcmh.studies.reproduce import wanted

    asked.tracker(log, out)
    chosen = {name: asked.method(name) for name in dict.fromkeys([*(methods or registry), CONTROL])}
    plan, sources = compared(chosen), filter(None, map(asked.source, chosen))
    options = {"ties": ties, "memory": memory, "mesh": asked.mesh(devices), "root": root, "log": log, "named": sources}
    _run({"": plan}, {"": wanted(plan, (), (), study or ())}, dataset, out, quick=quick, **options)


def _run(
    plans: "Mapping[str, Plan]",
    studies: Mapping[str, set[str]],
    dataset: Sequence[str] | None,
    out: Path,
    *,
    quick: bool,
    root: Path | None,
    log: "Tracker | None",
    endings: Mapping[str, Any] = MappingProxyType({}),
    named: Iterable[str] = (),
    **options: Any,
) -> None:
    """Run studies of plans, those of the named ones, on the data sets that are there; then print and draw."""
    from jaxcmh.studies.reproduce import run, shortened, with_control

    more = [*named, *(part for ending in endings.items() for part in ending)]
    done, missing = [], set()
    with progress(0) as steps:
        asked.start(steps)
        for name, plan in plans.items():
            for data in dataset or (*plan.datasets, "icons"):
                split = _load(data, root, missing, steps)
                if split is None:
                    continue
                rows = len(split.train.labels)
                chosen = [one for one in plan.studies(data, rows) if one.name in studies[name]]
                chosen = [_ended(shortened(one) if quick else one, endings) for one in with_control(chosen, data, rows)]
                folder = out / asked.file_name(*filter(None, (name, data, *more)))
                track = asked.tracker(log, folder)
                of_the_run = {"data": data, "progress": steps, "root": root, "say": say, "log": track}
                lines = run(chosen, split, folder, **of_the_run, **options)
                done.append((folder, lines, plan.reasons))
    if not done:
        raise ValueError("nothing to do: none of the data sets is there")
    with progress(len(done)) as steps:
        for folder, lines, reasons in done:
            steps.step(f"reading {shown(folder)}, drawing")
            _show(folder, lines, reasons)
            steps.advance()


def _ended(study: "Study", endings: Mapping[str, Any]) -> "Study":
    """The study with trainings that end so; one that compares numbers of iterations as it is."""
    return study if study.kind == "convergence" else study._replace(**endings)


def sweep(
    method: str,
    /,
    *,
    grid: Annotated[list[str] | None, Parameter(name="--grid", consume_multiple=True, negative=())] = None,
    list_: Annotated[list[str] | None, Parameter(name="--list", consume_multiple=True, negative=())] = None,
    random: Copies | None = None,
    design: Design | None = None,
    bits: Annotated[list[Bits] | None, Parameter(name=["--bits", "-b"], consume_multiple=True, negative=())] = None,
    seeds: Copies = 1,
    param: Repeated = None,
    data: str = "icons",
    features: Kernel | None = None,
    anchors: Count | None = None,
    width: float | None = None,
    standardise: Flag = False,
    max_iterations: Iterations | None = None,
    tolerance: Weight | None = None,
    ties: Ties = "expected",
    database: Databases = None,
    memory: Positive | None = None,
    devices: Count | None = None,
    quick: Flag = False,
    log: Tracker | None = None,
    root: Root = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Train a method with many hyper-parameters and seeds, side by side, and say which are best.

    Every run is kept in OUT/results.jsonl as soon as it is finished; what is there already is not computed again, so
    a sweep that was stopped goes on where it was.

    Parameters
    ----------
    method
        One that `jaxcmh methods` lists; or a variant, such as dcgh-d; or one of your own as module:attribute, such as
        mymethod:method for what mymethod.py in the current folder calls method.
    grid
        Hyper-parameters and their values, in all combinations: alpha=1e-4:1e4:9 for nine values from 1e-4 to 1e4,
        evenly spaced in logarithm; lam=0.01,0.1 for those two; with --random, ranges to draw from: alpha=1e-4:1e4.
    list_
        Values that belong together: alpha=1,10 beta=2,20 for two runs.
    random
        Draw so many runs from the ranges of --grid, evenly in logarithm.
    design
        How --random draws: random, each for itself, or more evenly: sobol, halton or latin (a Latin hypercube).
    bits
        Code lengths. [default: 32]
    seeds
        Seeds 0, 1, ... for each.
    param
        A hyper-parameter that does not vary, such as lam=0.1; may be repeated.
    data
        icons, synthetic, wiki, mirflickr25k, nuswide10 or iaprtc12; or the path of a file with arrays.
    features
        Feature map of every view; the method's own by default.
    anchors
        Anchors of the kernels rbf, laplace and rbf_centred.
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
    devices
        Work on the first of so many devices (`jax.devices()`), each with its share of the runs; on one by default.
    quick
        One seed, and the first, middle and last value of whatever varies.
    log
        Show every run that is computed to this experiment tracker too, below OUT.
    root
        Folder with the files of a named data set. [default: $JAXCMH_DATA]
    out
        Folder for results. [default: runs/sweep-METHOD-DATA, of a method of your own with a digest of its file behind,
        so that an edited method starts anew]
    as_json
        Print result lines (JSON) instead of a table.
    """
    chosen = asked.method(method)
    if design is not None and random is None:
        raise ValueError("--design: expected with --random; without it a grid or a list is run")
    vary, combine = _varied(chosen.params, grid or [], list_ or [], random, design or "random")
    source = asked.source(method)
    folder = out or Path("runs") / asked.file_name("sweep", chosen.name, data, *([source] if source else []))
    path, mesh = folder / "results.jsonl", asked.mesh(devices)
    track = asked.tracker(log, folder)
    with progress(0) as steps:
        asked.start(steps)
        from jaxcmh import studies
        from jaxcmh.studies.reproduce import shortened

        study = studies.Study(
            name="sweep",
            kind="sweep",
            method=chosen,
            bits=tuple(bits or (32,)),
            seeds=seeds,
            params=asked.params(param or [], chosen),
            vary=vary,
            combine=combine,
            features=asked.features(chosen, features, anchors, width, standardise),
            max_iterations=max_iterations,
            tolerance=tolerance,
        )
        if quick:
            study = shortened(study)._replace(bits=study.bits)
        points = studies.points(study)  # what is wrong is said before anything is loaded
        split = load_data(data, root, Stages(), steps)
        options = {"ties": ties, "databases": database, "memory": memory, "mesh": mesh, "progress": steps, "log": track}
        lines = studies.run(study, split, path, data=data, **options)
    if as_json:
        terminal.print_lines(lines)
    else:
        _print_best(lines, [name for name, values in study.vary.items() if len(values) > 1])
    moving = sum(bool(line["tolerance"]) and not line["converged"] for line in lines)
    if moving:
        say(f"warning: {moving} of {len(lines)} results are of trainings that had not converged (--max-iterations)")
    cached = len(points) - steps.done
    say(f"{len(points)} runs, {cached} of them cached; peak memory {lines[-1]['peak_memory_gb']:.1f} GB")
    say(f"results: {shown(path)}; as a page with figures: jaxcmh report {shown(folder)}")


def _varied(
    params: Any, grid: Sequence[str], listed: Sequence[str], draws: int | None, design: Design = "random"
) -> tuple[dict[str, list[float]], str]:
    """What --grid, --list and --random say: values of each hyper-parameter, and how they combine."""
    if bool(grid) + bool(listed) > 1 or (draws is not None and not grid):
        raise ValueError("give --grid, or --list, or --grid with --random")
    option = "--grid" if grid else "--list"
    vary: dict[str, list[float]] = {}
    for word in [*grid, *listed]:
        name, _, values = word.partition("=")
        if name not in params._fields:
            raise ValueError(f"{option}: no hyper-parameter {name!r}; there are {', '.join(params._fields)}")
        if name in vary:
            raise ValueError(f"{option}: {name} is given twice")
        vary[name] = _values(option, word, values, draws)
        try:
            for one in vary[name]:
                checks.params({name: one}, params)
        except ValueError as error:
            raise ValueError(f"{option} {str(error).removeprefix('params.')}") from None
    if draws is not None:
        from jaxcmh.studies.designs import drawn

        return drawn(params, {name: (low, high) for name, (low, high) in vary.items()}, draws, design), "list"
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
    if not (0 < low <= high < math.inf and 0 < count <= checks.CLASSES):
        raise ValueError(f"{option}: expected 0 < low <= high and a count from 1 to {checks.CLASSES}; got {word!r}")
    if draws is not None:
        return [low, high]
    steps = [step / max(count - 1, 1) for step in range(count)]
    return [float(f"{low * (high / low) ** step:.12g}") for step in steps]


def _print_best(lines: list[dict], vary: Sequence[str]) -> None:
    """A table of the best hyper-parameters: mAP over all directions, mean over the seeds."""
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


def _load(data: str, root: Path | None, missing: set[str], steps: Progress) -> Any:
    """The data set, or None where files are missing, which is said once."""
    from jaxcmh.datasets import NAMED

    try:
        return load_data(data, root, Stages(), steps)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if isinstance(error, ValueError) and data.partition(":")[0] not in NAMED:
            raise  # a name that is none
        if data not in missing:
            say(f"skipped {data}: {error}")
        missing.add(data)
        return None


def _show(folder: Path, lines: list[dict], own_reasons: Mapping[tuple[str, str], str]) -> None:
    """Print what a paper prints beside ours, and write the report of everything the folder has."""
    from jaxcmh.results import tables
    from jaxcmh.studies import plans

    if not lines:
        return
    reasons = {**own_reasons, **plans.reasons(line["data"] for line in lines)}
    compared = tables.against(lines, reasons)
    if compared:
        print(tables.render(tables.verdicts(compared), "text"))
    try:
        from jaxcmh.results import report

        print(f"{shown(report.write(folder, reasons))}\n")
    except ModuleNotFoundError as error:
        say(f"no report: {error}")
