"""The commands around studies: `jaxcmh reproduce`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from jaxcmh import terminal

PAPERS = ("a2lh", "acqh", "aah", "imads", "dcgh")
Many = Parameter(consume_multiple=True, negative=())


def reproduce(
    paper: Literal["a2lh", "acqh", "aah", "imads", "dcgh", "all"],
    /,
    *,
    dataset: Annotated[list[str] | None, Many] = None,
    table: Annotated[list[int] | None, Many] = None,
    figure: Annotated[list[int] | None, Many] = None,
    study: Annotated[list[str] | None, Many] = None,
    quick: Annotated[bool, Parameter(negative=())] = False,
    ties: Literal["expected", "stable"] = "stable",
    deep: str | None = None,
    root: Annotated[Path | None, Parameter(name="--root")] = None,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("runs/reproduce"),
) -> None:
    """Redo the experiments of a paper, and set what comes out beside what it prints.

    Every run is kept in OUT/PAPER-DATASET/results.jsonl as soon as it is finished; what is there already is not
    computed again. Tables, figures and report.html are written beside it.

    Parameters
    ----------
    paper
        A paper by its method, or all five.
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
    root
        Folder with the files of the data sets. [default: $JAXCMH_DATA]
    out
        Folder for results.
    """
    papers = PAPERS if paper == "all" else (paper,)
    with terminal.progress(0) as steps:
        steps.step("starting jax")
        terminal.say(terminal.start_jax())
        from jaxcmh import plans
        from jaxcmh.plans import reproduce as doing

        wanted = {name: doing.wanted(plans.plans[name], table or (), figure or (), study or ()) for name in papers}
        done, missing = [], {}
        for name in papers:
            plan = plans.plans[name]
            for data in dataset or (*plan.datasets, "icons"):
                steps.step(f"loading {data}")
                split = _load(data, root, missing)
                if split is None:
                    continue
                asked = [one for one in plan.studies(data, len(split.train.labels)) if one.name in wanted[name]]
                folder = out / f"{name}-{Path(data).stem if Path(data).exists() else data.replace(':', '-')}"
                told = {"data": data, "deep": deep, "root": root, "say": terminal.say, "ties": ties, "progress": steps}
                lines = doing.run([doing.quick(one) for one in asked] if quick else asked, split, folder, **told)
                done.append((folder, lines))
    if not done:
        raise ValueError("nothing to do: none of the data sets is there")
    with terminal.progress(len(done)) as steps:
        for folder, lines in done:
            steps.step(f"reading {terminal.shown(folder)}, drawing")
            _show(folder, lines)
            steps.advance()


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
    from jaxcmh import plans, tables

    if not lines:
        return
    reasons = plans.reasons(line["data"] for line in lines)
    found = tables.against(lines, reasons)
    if found:
        print(tables.render(tables.verdicts(found), "text"))
    try:
        from jaxcmh import report

        print(f"{terminal.shown(report.write(folder, reasons))}\n")
    except ModuleNotFoundError as error:
        terminal.say(f"no report: {error}")
