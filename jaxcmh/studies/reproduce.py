"""Running a plan: which of its studies are asked for, on which data, into which folder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from jaxcmh import store, studies
from jaxcmh.checks import Count, PathLike, Positive, checked
from jaxcmh.datasets import Split, load_dataset
from jaxcmh.methods import find
from jaxcmh.progress import Progress
from jaxcmh.results.tables import CONTROL
from jaxcmh.retrieval.metrics import Ties
from jaxcmh.studies import Study, runs
from jaxcmh.studies.plans import inside
from jaxcmh.studies.plans.plan import Plan, feature_map, parameters

__all__ = ["deep_pictures", "run", "shortened", "wanted", "with_control"]

CURVES = "curves"  # the studies of this name keep precision-recall and topN curves
# Kinds whose lines are compared with printed values get every kind of database codes; the others only the first.
COMPARED = ("bits", "ablation", "unpaired", "deep", "paired")


@checked
def wanted(plan: Plan, tables: Sequence[int], figures: Sequence[int], names: Sequence[str]) -> set[str]:
    """Names of the studies of some tables and figures of a paper and of those named; all if nothing is asked for.

    Raises:
        ValueError: no such table, figure or study; the message lists what there is.

    Example:
        >>> from jaxcmh.studies.plans import find
        >>> wanted(find("dcgh"), tables=[2], figures=[], names=[])
        {'half unpaired'}
    """
    own = dict.fromkeys(study.name for data in ("wiki", *plan.datasets) for study in plan.studies(data, 10_000))
    for name in names:
        if name not in own:
            raise ValueError(f"--study: no study {name!r}; there are {_listed(own)}")
    chosen = set(names)
    for word, numbers, there in (("table", tables, plan.tables), ("figure", figures, plan.figures)):
        for number in numbers:
            if number not in there:
                raise ValueError(f"--{word}: no {word} {number}; those with experiments are {_listed(there)}")
            chosen |= set(there[number])
    return chosen or set(own)


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))


@checked
def shortened(study: Study) -> Study:
    """A small version of a study: one seed, two code lengths, three values of what is varied; its runs are among the
    whole study's.

    >>> shortened(Study("lambda", "sensitivity", "dcgh", vary={"lam": (1.0, 2.0, 3.0, 4.0, 5.0)})).vary
    {'lam': (1.0, 3.0, 5.0)}
    """
    return study._replace(
        seeds=1,
        bits=study.bits[:2],
        vary={name: few(values) for name, values in study.vary.items()},
        settings=few(study.settings),
    )


@checked
def with_control(plan_studies: Sequence[Study], data: str, rows: Count) -> list[Study]:
    """The studies with the control `random_codewords` in each that makes a table of mAP, if it is not there.

    Args:
        plan_studies: from a plan.
        data, rows: what the plan was asked for.

    >>> study = Study("bits", "bits", "dcgh", bits=(16, 32))
    >>> [(one.name, one.method, one.bits) for one in with_control([study], "wiki", 2173)]
    [('bits', 'dcgh', (16, 32)), ('bits', 'random_codewords', (16, 32))]
    """
    there = {study.name for study in plan_studies if find(study.method).name.startswith(CONTROL)}
    complete = []
    for study in plan_studies:
        complete.append(study)
        if study.kind in ("bits", "unpaired") and study.name not in (CURVES, *there):
            there.add(study.name)
            choices = {"params": parameters(CONTROL, data), "features": feature_map(CONTROL, data, rows)}
            complete.append(study._replace(method=CONTROL, vary={}, max_iterations=None, tolerance=None, **choices))
    return complete


def few(values: Sequence[Any]) -> tuple:
    """The first, the middle and the last.

    >>> few(range(5))
    (0, 2, 4)
    """
    return tuple(values[i] for i in sorted({0, len(values) // 2, len(values) - 1}))


@checked
def deep_pictures(split: Split) -> Split:
    """The data set with deep features of its pictures in place of their own, and the texts as they are.

    Raises:
        ValueError: the data set has no pictures.
        ModuleNotFoundError: the extra `deep` is not installed.

    Example:
        >>> import jaxcmh
        >>> deep_pictures(jaxcmh.load_dataset("synthetic", train=60, query=10))
        Traceback (most recent call last):
        ValueError: no pictures to compute deep features of; name a file that has them with --deep
    """
    if not len(split.items.pictures):
        raise ValueError("no pictures to compute deep features of; name a file that has them with --deep")
    from jaxcmh.datasets.deep import image_embeddings

    pictures = image_embeddings([255 - picture for picture in split.items.pictures])  # drawn in black on white
    train, query = (part._replace(views=(pictures[part.ids], *part.views[1:])) for part in (split.train, split.query))
    return split._replace(train=train, query=query, database=train)


@checked
def run(
    plan_studies: Sequence[Study],
    split: Split,
    folder: PathLike,
    *,
    data: str,
    ties: Ties,
    progress: Progress,
    memory: Positive | None = None,
    mesh: Mesh | None = None,
    deep: str | None = None,
    root: PathLike | None = None,
    say: Callable[[str], Any] = print,
    log: Callable[[dict], None] | None = None,
) -> list[dict]:
    """Compute what a folder lacks of some studies.

    Args:
        plan_studies: from a plan, and `chosen`.
        split, data: the data set and its name.
        folder: gets results.jsonl, and arrays that its lines name.
        ties, progress, memory, mesh, log: as for `studies.run`.
        deep: a data set with the same pairs and deep features, for the studies of kind "deep".
        root: where its files lie.
        say: called with the reason why a study cannot be run here.
    Returns:
        The lines of these studies.
    Raises:
        BlockingIOError: another process is writing the file of results.
    Example:
        >>> import tempfile, jaxcmh
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> study = Study("weights", "sensitivity", "dcgh", bits=(8,), seeds=1, vary={"alpha": [1, 10]})
        >>> options = {"data": "synthetic", "ties": "expected", "progress": jaxcmh.progress.Progress(2)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lines = run([study], split, folder, **options)
        >>> len(lines)
        2
    """
    path, lines = Path(folder) / "results.jsonl", []
    with store.parents(path), store.only_writer(path, wait=0):
        for study in plan_studies:
            on, name = split, data
            try:
                if study.kind == "deep":
                    on = load_dataset(deep, root=root) if deep else deep_pictures(split)
                    name = f"{data.partition(':')[0]}:deep"
                if study.kind in inside.LOOKS:
                    lines += inside.run(study, on, path, data=name, ties=ties, progress=progress)
                    continue
            except (ValueError, OSError, ModuleNotFoundError) as error:
                say(f"{data}: {study.name} skipped: {error}")
                continue
            # With fewer training rows than database rows, none of these are learned.
            kinds = None if study.kind in COMPARED else runs.kinds(studies.conditions(on, study.settings[0]))[:1]
            options = {"data": name, "ties": ties, "databases": kinds, "memory": memory, "mesh": mesh}
            options |= {"progress": progress, "log": log}
            options |= {"curves": study.name == CURVES, "per_query": study.kind == "paired"}
            lines += studies.run(study, on, path, alone=study.kind == "scaling", **options)  # whose times are its own
    return lines
