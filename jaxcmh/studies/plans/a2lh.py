"""A2LH: Tables 2-5 and Figs. 1-4 of its paper.

Apart from the paper: it has no Wiki, whose training set is smaller than its 2,500 anchors; there, and on the icons, 500
are used. The sizes of its query sets are not given; those of its group's other papers are taken. omega is not given.
"""

from jaxcmh.studies import Study
from jaxcmh.studies.plans.plan import Plan, feature_map, parameters, powers

BITS = (16, 32, 64, 128)
WEIGHTS = ("alpha", "beta", "eta", "omega")


def studies(data: str, rows: int) -> list[Study]:
    features, params = feature_map("a2lh", data, rows), parameters("a2lh", data)
    common = {"params": params, "features": features}
    return [
        Study("curves", "bits", "a2lh", bits=(64,), seeds=1, **common),
        Study("bits", "bits", "a2lh", bits=BITS, **common),
        Study("deep features", "deep", "a2lh", bits=(16, 32, 64), **common),
        Study("ablation", "ablation", "a2lh", bits=BITS, **common),
        Study("ablation", "ablation", "a2lh-k", bits=BITS, params=params),  # raw features, as its variant says
        Study("ablation", "ablation", "a2lh-m", bits=BITS, features=features, params=params._replace(beta=0.0)),
        Study("ablation", "ablation", "a2lh-b", bits=BITS, **common),
        Study("zeta", "sensitivity", "a2lh", vary={"zeta": (0.0, *map(float, range(2, 10)))}, **common),
        Study("weights", "sensitivity", "a2lh", vary=dict.fromkeys(WEIGHTS, powers(-5, 5)), combine="each", **common),
        Study("convergence", "convergence", "a2lh", bits=(64,), seeds=1, max_iterations=20, tolerance=0.0, **common),
    ]


plan = Plan(
    "Adaptive Asymmetric Label-guided Hashing for Multimedia Search, 2022",
    ("wiki", "mirflickr25k:a2lh", "nuswide10:a2lh"),
    studies,
    tables={2: ("bits",), 3: ("bits",), 4: ("deep features",), 5: ("ablation",)},
    figures={1: ("curves",), 2: ("zeta",), 3: ("weights",), 4: ("convergence",)},
    reasons={},
)
