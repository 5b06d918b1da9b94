"""The experiments of the five papers, as data: one file a paper, see `plan.Plan`."""

from jaxcmh.plans import a2lh, aah, acqh, dcgh, imads
from jaxcmh.plans.plan import Plan

plans: dict[str, Plan] = {
    "a2lh": a2lh.plan,
    "acqh": acqh.plan,
    "aah": aah.plan,
    "imads": imads.plan,
    "dcgh": dcgh.plan,
}
