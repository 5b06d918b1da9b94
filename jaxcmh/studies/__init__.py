"""Studies: many runs of one method, and the experiments of the papers."""

from jaxcmh.studies.scores import Scores
from jaxcmh.studies.study import (
    CONDITIONS,
    Point,
    Study,
    conditions,
    points,
    run,
)

__all__ = [
    "CONDITIONS",
    "Point",
    "Scores",
    "Study",
    "conditions",
    "points",
    "run",
]
