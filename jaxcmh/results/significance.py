"""Whether two methods really differ: paired permutation tests over queries, from the per-query AP of run folders."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from jaxcmh import brief, results
from jaxcmh.checks import Array, Iterations, PathLike, Share, checked, filled
from jaxcmh.progress import shown_while
from jaxcmh.results import runs, tables
from jaxcmh.results.lines import Lines

LEVEL = 0.05
RESAMPLES = 9_999  # sign flips of a test; p is never below 1 / (RESAMPLES + 1)


class Comparison(NamedTuple):
    """The difference of two configurations in one direction and kind of database codes.

    Attributes:
        first, second: names of the configurations.
        database, direction: where they were compared.
        means: mAP of the first and of the second, over queries and seeds.
        difference: first minus second.
        low, high: 95 % bootstrap interval of the difference, over queries.
        p: two-sided paired permutation test over queries, not corrected.
        holm: p corrected by Holm's method for all comparisons made together.
        seeds: how many seeds the first and the second have; AP is their mean.
        queries: how many queries have a relevant item.

    Example:
        >>> tested = {"low": 0.05, "high": 0.15, "p": 0.01, "holm": 0.02, "seeds": (5, 5), "queries": 100}
        >>> one = Comparison("dcgh", "aah", "learned", "i2t", means=(0.5, 0.4), difference=0.1, **tested)
        >>> one.holm < LEVEL
        True
    """

    first: str
    second: str
    database: str
    direction: str
    means: tuple[float, float]
    difference: float
    low: float
    high: float
    p: float
    holm: float
    seeds: tuple[int, int]
    queries: int

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
def paired(first: Array, second: Array, resamples: Iterations = RESAMPLES) -> tuple[float, float, float, float]:
    """Difference of two means over the same queries, its 95 % interval and its two-sided p.

    Args:
        first, second: (n,) AP of the same n queries, finite.
        resamples: sign flips of the test (all, where there are fewer), and resamplings of the interval.
    Returns:
        difference, low, high (percentile bootstrap over queries), p (permutation test that flips the sign of every
        query's difference).
    Raises:
        ValueError: shapes that differ, fewer than two queries, or a value that is not finite.

    >>> difference, low, high, p = paired([0.5, 0.6, 0.7, 0.8, 0.9, 0.7], [0.4, 0.5, 0.6, 0.7, 0.8, 0.6])
    >>> round(difference, 3), round(low, 3), round(high, 3), p
    (0.1, 0.1, 0.1, 0.03125)
    """
    from scipy import stats

    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(f"first and second must both have shape (n,), n at least 2; got {first.shape}, {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("first and second must be finite: leave out queries without a relevant item")
    gaps = first - second
    if not gaps.any():
        return 0.0, 0.0, 0.0, 1.0
    # Rounding hides that flips of equal gaps give equal means; rounded gaps keep the count of such ties exact.
    gaps = np.round(gaps, 12)
    test = stats.permutation_test(
        (gaps,),
        lambda x, axis: x.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=512,
        rng=np.random.default_rng(0),
    )
    rng = np.random.default_rng(0)
    means = [gaps[rng.integers(0, len(gaps), len(gaps))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(gaps.mean()), float(low), float(high), float(test.pvalue)


@checked
def holm(p: Annotated[Sequence[Share], filled]) -> list[float]:
    """Holm's correction of p for being tested together.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    stepped = np.maximum.accumulate(np.asarray(p, float)[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1)
    return corrected.tolist()


@checked
@shown_while("comparing queries")
def compare(
    folders: Annotated[Sequence[PathLike], filled],
    databases: Sequence[str] | None = None,
    *,
    verbose: bool | None = None,
) -> list[Comparison]:
    """Compare the configurations of run folders pair by pair, on the same queries.

    Args:
        folders: run folders; those that differ in nothing but the seed are one configuration.
        databases: kinds of database codes; all that every run has if None.
        verbose: as for `jaxcmh.train`.
    Returns:
        One comparison per pair, kind of database codes and direction; p is corrected over all of them.
    Raises:
        ValueError: fewer than two configurations, other data, other queries or another protocol.
        FileNotFoundError: a folder is missing, or is no run folder.
    Example:
        >>> import tempfile, jaxcmh
        >>> from jaxcmh.studies.runs import run
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("dcgh", "dcgh-d"):
        ...         outcome = run(split, name, bits=8, data="synthetic")
        ...         _ = runs.keep(f"{folder}/{name}", outcome, {"data": "synthetic"})
        ...     compared = compare([f"{folder}/dcgh", f"{folder}/dcgh-d"], ["learned"])
        >>> [(one.first, one.second, one.direction, one.queries) for one in compared]
        [('dcgh', 'dcgh-d', 'i2t', 10), ('dcgh', 'dcgh-d', 't2i', 10)]
    """
    groups: dict[str, dict[int, runs.Run]] = {}
    stored = [runs.read_run(folder) for folder in folders]
    first = [run.records[0] for run in stored]
    differing = tables.differing([{**line, "features": tables.features(line)} for line in first])
    several = len({line["bits"] for line in first}) > 1
    for folder, run in zip(folders, stored):
        line = run.records[0]
        values = {name: tables.value({**line, "features": tables.features(line)}, name) for name in differing}
        more = [v if isinstance(v, str) else f"{name}={v:g}" for name, v in values.items() if v is not None]
        name = ", ".join([line["method"], *([f"{line['bits']} bits"] if several else []), *more])
        if line["seed"] in groups.setdefault(name, {}):
            raise ValueError(f"{folder}: a second run of {name}, seed {line['seed']}")
        groups[name][line["seed"]] = run
    if len(groups) < 2:
        raise ValueError(f"a comparison needs two configurations; these runs are all of {', '.join(groups)}")
    columns = _columns(stored, databases)
    comparisons = []
    for one, two in itertools.combinations(groups, 2):
        for column in columns:
            aps = [np.mean([run.per_query[column] for run in groups[name].values()], axis=0) for name in (one, two)]
            known = np.isfinite(aps[0]) & np.isfinite(aps[1])
            a, b = (ap[known] for ap in aps)
            difference, low, high, p = paired(a, b)
            database, direction = column.split(" ", 1)
            means, seeds = (float(a.mean()), float(b.mean())), (len(groups[one]), len(groups[two]))
            comparisons.append(
                Comparison(one, two, database, direction, means, difference, low, high, p, p, seeds, int(known.sum()))
            )
    return [c._replace(holm=p) for c, p in zip(comparisons, holm([c.p for c in comparisons]))]


def _columns(stored: Sequence[runs.Run], databases: Sequence[str] | None) -> list[str]:
    """Columns of per-query AP that all runs have, when queries and protocol are the same in all."""
    queries = stored[0].per_query["query"]
    for run in stored:
        if not np.array_equal(run.per_query["query"], queries):
            raise ValueError(f"{run.model.parent}: other queries than {stored[0].model.parent}")
    common = [name for name in stored[0].per_query if all(name in run.per_query for run in stored) and name != "query"]
    if databases:
        have = dict.fromkeys(name.split(" ", 1)[0] for name in common)
        for kind in databases:
            if kind not in have:
                raise ValueError(f"database: the runs have {' and '.join(have)} codes; got {kind!r}")
        common = [name for name in common if name.split(" ", 1)[0] in databases]
    if not common:
        raise ValueError("the runs have no kind of database codes and direction in common")
    for kind in dict.fromkeys(name.split(" ", 1)[0] for name in common):
        # per_query.csv holds the evaluation a run was made with, which is the first line of its kind
        results.one_protocol([next(line for line in run.records if line["database"] == kind) for run in stored])
    return common


class Pairs(NamedTuple):
    """The differences of all methods in one direction and kind of database codes.

    Attributes:
        database, direction: where they were compared.
        methods: names of k methods, the best first.
        means: (k,) mAP over queries and seeds.
        differences: (k, k) mAP of the row's method less that of the column's.
        holm: (k, k) two-sided p of paired permutation tests over queries, Holm's correction over all pairs.
        seeds, queries: how many of each the AP is of; fewest seeds of any method.

    Example:
        >>> means, p = np.array([0.5, 0.3]), np.array([[1.0, 0.01], [0.01, 1.0]])
        >>> differences = np.array([[0.0, 0.2], [-0.2, 0.0]])
        >>> one = Pairs("learned", "i2t", ("dcgh", "random_codewords"), means, differences, p, seeds=1, queries=9)
        >>> one.methods[0], float(one.differences[0, 1]), bool(one.holm[0, 1] < LEVEL)
        ('dcgh', 0.2, True)
    """

    database: str
    direction: str
    methods: tuple[str, ...]
    means: np.ndarray
    differences: np.ndarray
    holm: np.ndarray
    seeds: int
    queries: int

    __repr__ = brief.text
    _repr_html_ = brief.table


@checked
@shown_while("comparing queries")
def pairs(records: Lines, resamples: Iterations = RESAMPLES, *, verbose: bool | None = None) -> list[Pairs]:
    """Compare methods pair by pair by result lines that keep the AP of every query, see `studies.run`.

    Args:
        records: lines of one data set and code length with "ap"; those of a method differ in nothing but the seed.
        resamples: random sign flips, the same for all pairs.
        verbose: as for `jaxcmh.train`.
    Returns:
        One for each kind of database codes and direction.
    Raises:
        ValueError: a line without AP, other protocols, or fewer than two methods.
    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies.runs import run
        >>> split, lines = jaxcmh.load_dataset("synthetic", train=60, query=10), []
        >>> for name in ("dcgh", "dcgh-d"):
        ...     outcome = run(split, name, bits=8, data="synthetic")
        ...     ap = {"i2t": runs.per_query(outcome)["learned i2t"].tolist()}
        ...     lines.append({**outcome.records[0], "ap": ap})
        >>> [(sorted(one.methods), one.direction, one.queries) for one in pairs(lines, 100)]
        [(['dcgh', 'dcgh-d'], 'i2t', 10)]
    """
    groups: dict[tuple[str, str], dict[str, dict[int, list]]] = {}
    results.one_protocol(records, ("database",))
    for line in records:
        if "ap" not in line:
            raise ValueError(f"records: expected lines with the AP of every query; got one of {line['method']} without")
        for direction, ap in line["ap"].items():
            own = groups.setdefault((line["database"], direction), {}).setdefault(line["method"], {})
            if own.setdefault(line["seed"], ap) != ap:
                raise ValueError(f"records: two results of {line['method']}, seed {line['seed']}, disagree")
    return [_pairs(*place, own, resamples) for place, own in groups.items()]


def _pairs(database: str, direction: str, own: Mapping[str, Mapping[int, list]], resamples: int) -> Pairs:
    if len(own) < 2:
        raise ValueError(f"records: a comparison needs two methods; got {', '.join(own)}")
    aps = np.array([np.mean(np.array(list(seeds.values()), float), axis=0) for seeds in own.values()])
    aps = aps[:, np.isfinite(aps).all(0)]
    order = np.argsort(-aps.mean(1), kind="stable")
    aps, names = aps[order], list(own)
    first, second = np.triu_indices(len(aps), 1)
    gaps = aps[first] - aps[second]
    flips = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (resamples, gaps.shape[1]))
    # Equal gaps flipped give equal means but for rounding, which the slack forgives.
    extreme = np.abs(flips @ gaps.T.astype(np.float32)) >= np.abs(gaps.sum(1)) * (1 - 1e-4)
    differences, p = np.zeros((len(aps),) * 2), np.ones((len(aps),) * 2)
    differences[first, second] = gaps.mean(1)
    p[first, second] = p[second, first] = holm(((1 + extreme.sum(0)) / (1 + resamples)).tolist())
    seeds, methods = min(map(len, own.values())), tuple(names[i] for i in order)
    return Pairs(database, direction, methods, aps.mean(1), differences - differences.T, p, seeds, gaps.shape[1])


@checked
def beside_control(found: Annotated[Sequence[Pairs], filled]) -> tables.Grid:
    """What each method gains over the control, as a table to print; bold where the corrected p is below `LEVEL`.

    Raises:
        ValueError: the control is not among the methods.

    Example:
        >>> means, p = np.array([0.5, 0.3]), np.array([[1.0, 0.01], [0.01, 1.0]])
        >>> differences = np.array([[0.0, 0.2], [-0.2, 0.0]])
        >>> found = [Pairs("learned", "i2t", ("dcgh", "random_codewords"), means, differences, p, seeds=1, queries=9)]
        >>> beside_control(found).rows
        ((('dcgh',), (('+0.200', True),)), (('random_codewords',), (('0', False),)))
    """
    heads = [f"{results.direction_name(one.direction)}, {one.database} codes" for one in found]
    rows: dict[str, list[tuple[str, bool]]] = {name: [("-", False)] * len(found) for name in found[0].methods}
    for column, one in enumerate(found):
        control = next((i for i, name in enumerate(one.methods) if name.startswith(tables.CONTROL)), None)
        if control is None:
            raise ValueError(f"found: expected {tables.CONTROL} among the methods; got {', '.join(one.methods)}")
        for name, gap, p in zip(one.methods, one.differences[:, control], one.holm[:, control]):
            rows[name][column] = f"{gap:+.3f}" if one.methods[control] != name else "0", bool(p < LEVEL)
    caption = f"mAP less that of {found[0].methods[control]}, {tested(found)}"
    body = tuple(((name,), tuple(cells)) for name, cells in rows.items())
    return tables.Grid(("method",), (tuple((head, 1) for head in heads),), body, caption, f"corrected p below {LEVEL}")


@checked
def tested(found: Annotated[Sequence[Pairs], filled]) -> str:
    """How the differences were tested, in words.

    Example:
        >>> means, p = np.array([0.5, 0.3]), np.array([[1.0, 0.01], [0.01, 1.0]])
        >>> differences = np.array([[0.0, 0.2], [-0.2, 0.0]])
        >>> found = [Pairs("learned", "i2t", ("dcgh", "random_codewords"), means, differences, p, seeds=1, queries=9)]
        >>> tested(found).split(";")[0]
        'a single seed, so that nothing is known of its spread'
    """
    one = found[0]
    words = f"mean of {one.seeds} seeds" if one.seeds > 1 else "a single seed, so that nothing is known of its spread"
    return f"{words}; paired permutation tests over {one.queries} queries, Holm's correction over all pairs of methods"


@checked
def grid(comparisons: Annotated[Sequence[Comparison], filled]) -> tables.Grid:
    """Comparisons as a table to print; the difference is bold where the corrected p is below `LEVEL`.

    Example:
        >>> one = Comparison("a", "b", "learned", "i2t", (0.5, 0.4), 0.1, 0.0, 0.2, 0.03, 0.06, (1, 1), 9)
        >>> print(tables.render(grid([one]), "csv"), end="")
        method,other,database,direction,mAP,mAP of other,difference,95 % interval,p,p (Holm),seeds
        a,b,learned,image → text,0.500,0.400,+0.1000,+0.0000 to +0.2000,0.0300,0.0600,1 / 1 single seed!
    """
    heads = ("mAP", "mAP of other", "difference", "95 % interval", "p", "p (Holm)", "seeds")
    rows = tuple(
        (
            (c.first, c.second, c.database, results.direction_name(c.direction)),
            (
                (f"{c.means[0]:.3f}", False),
                (f"{c.means[1]:.3f}", False),
                (f"{c.difference:+.4f}", c.holm < LEVEL),
                (f"{c.low:+.4f} to {c.high:+.4f}", False),
                (f"{c.p:.4f}", False),
                (f"{c.holm:.4f}", False),
                (f"{c.seeds[0]} / {c.seeds[1]}" + (" single seed!" if min(c.seeds) == 1 else ""), False),
            ),
        )
        for c in comparisons
    )
    caption = (
        f"Paired permutation test over {comparisons[0].queries} queries ({RESAMPLES:,} sign flips), bootstrap interval "
        f"over queries, Holm's correction over {len(comparisons)} comparisons; AP is the mean over seeds"
    )
    if any(min(c.seeds) == 1 for c in comparisons):
        caption += "; with a single seed nothing is known of the spread from training to training"
    index, level = ("method", "other", "database", "direction"), tuple((head, 1) for head in heads)
    return tables.Grid(index, (level,), rows, caption, marked=f"corrected p below {LEVEL}")


@checked
def as_dict(comparison: Comparison) -> Mapping[str, Any]:
    """A comparison as JSON types, with `single_seed` to be seen by programs.

    Example:
        >>> one = Comparison("a", "b", "learned", "i2t", (0.5, 0.4), 0.1, 0.0, 0.2, 0.03, 0.06, (1, 1), 9)
        >>> as_dict(one)["holm"], as_dict(one)["single_seed"]
        (0.06, True)
    """
    return {**comparison._asdict(), "single_seed": min(comparison.seeds) == 1}
