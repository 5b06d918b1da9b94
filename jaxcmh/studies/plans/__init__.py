"""The experiments of the five papers, as data: one file a paper, see `plan.Plan`."""

from collections.abc import Iterable

from jaxcmh.studies.plans import a2lh, aah, acqh, dcgh, imads
from jaxcmh.studies.plans.plan import Plan

plans: dict[str, Plan] = {
    "a2lh": a2lh.plan,
    "acqh": acqh.plan,
    "aah": aah.plan,
    "imads": imads.plan,
    "dcgh": dcgh.plan,
}


def reasons(datasets: Iterable[str]) -> dict[tuple[str, str], str]:
    """(method, data set) -> why the method's paper is not reached there, for data sets named as in result lines."""
    return {
        (method, data): why
        for data in set(datasets)
        for plan in plans.values()
        for (method, benchmark), why in plan.reasons.items()
        if data.partition(":")[0] == benchmark
    }
