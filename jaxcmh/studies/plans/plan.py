"""What a plan is: the studies of a paper, which tables and figures they make, and why a number is not reached."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxcmh.learning.features import KERNELS, Features
from jaxcmh.methods import paper_features, paper_params, registry
from jaxcmh.studies import Study


class Plan(NamedTuple):
    """The experiments of a paper.

    Attributes:
        title: the paper.
        datasets: the data sets it uses, as `load_dataset` takes them.
        studies: (data set, number of training rows) -> studies, in the order they are run.
        tables, figures: number in the paper -> names of the studies it is made of.
        reasons: (method, benchmark) -> why printed values are not reached, in one sentence with what was measured.
        representation: (final state, data) -> what the method learns of each view, (n, r), for pictures of it.
    """

    title: str
    datasets: tuple[str, ...]
    studies: Callable[[str, int], list[Study]]
    tables: Mapping[int, Sequence[str]]
    figures: Mapping[int, Sequence[str]]
    reasons: Mapping[tuple[str, str], str]
    representation: Callable[[Any, Any], Sequence[Any]] | None = None


def shape(data: str) -> str:
    """The benchmark whose settings a data set gets: its own, or the one it is a stand-in for.

    >>> shape("mirflickr25k:dcgh"), shape("synthetic:nuswide10"), shape("icons")
    ('mirflickr25k', 'nuswide10', 'icons')
    """
    name, _, detail = data.partition(":")
    return detail if name == "synthetic" and detail else name


def parameters(method: str, data: str) -> Any:
    """What the paper gives for a data set; for others its method's defaults."""
    try:
        return paper_params(method, shape(data))
    except ValueError:
        return registry[method].params


def feature_map(method: str, data: str, rows: int, fewer: int = 500) -> Features:
    """The feature map that belongs to `parameters`, with fewer anchors where there are not that many training rows.

    >>> feature_map("imads", "mirflickr25k:imads", 15_902).anchors, feature_map("a2lh", "wiki", 2_173).anchors
    (1500, 500)
    """
    try:
        features = paper_features(method, shape(data))
    except ValueError:
        features = registry[method].features
    too_many = features.kind in KERNELS and features.anchors > rows
    return features._replace(anchors=fewer) if too_many else features


def powers(low: int, high: int) -> tuple[float, ...]:
    """10^low, ..., 10^high.

    >>> powers(-1, 1)
    (0.1, 1.0, 10.0)
    """
    return tuple(float(f"1e{e}") for e in range(low, high + 1))


def sizes(wanted: Sequence[int], rows: int, name: str = "rows") -> tuple[Mapping[str, int], ...]:
    """Settings with the wanted numbers of training rows, as far as there are that many, and with all of them.

    Where fewer than three are left: an eighth, a quarter, a half and all.

    >>> [setting["rows"] for setting in sizes((1_500, 5_000, 10_000), 8_000)]
    [1500, 5000, 8000]
    """
    fits = [*(size for size in wanted if size < rows), rows]
    return tuple({name: size} for size in (fits if len(fits) > 2 else [rows // 8, rows // 4, rows // 2, rows]))


def convergence(method: str, bits: int, iterations: int, **common: Any) -> list[Study]:
    """Trainings of 1, 2, ... iterations, for the mAP after each; the longest tells the objective after every one."""
    return [
        Study(
            "convergence", "convergence", method, bits=(bits,), seeds=1, max_iterations=count, tolerance=0.0, **common
        )
        for count in range(1, iterations + 1)
    ]
