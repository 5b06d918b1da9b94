"""IMADS: Tables 2 and 3 and Figs. 2-9 of its paper.

Apart from the paper: five seeds where it averages 15 runs; its Fig. 5 has no ranges in the text, so weights run over
10^-5 .. 10^5 and the two reconstruction weights from 0.1 to 0.9; its Fig. 8 shows Wiki's pictures, ours the icons.
"""

from jaxcmh.learning.features import Features
from jaxcmh.studies import Study
from jaxcmh.studies.plans.plan import Plan, feature_map, parameters, powers, sizes

BITS = (16, 32, 64, 128)
# Beside the paper's kernel, whose width is the mean distance to the anchors: half of it, the images standardised.
HALF_WIDTH = (Features("rbf", 500, 0.5, True), Features("rbf", 500, 0.5))
TENTHS = tuple(tenths / 10 for tenths in range(1, 10))


def studies(data: str, rows: int) -> list[Study]:
    params, features = parameters("imads", data), feature_map("imads", data, rows)
    common = {"params": params, "features": features}
    weights = {name: powers(-5, 5) for name in ("lam3", "lam4", "lam5", "alpha", "beta", "gamma", "theta")}
    return [
        Study("curves", "bits", "imads", bits=(64, 128), seeds=1, **common),
        Study("bits", "bits", "imads", bits=BITS, **common),
        *(
            Study("ablation", "ablation", f"imads{variant}", bits=BITS, features=features, params=changed)
            for variant, changed in (
                ("", params),
                ("-c", params),
                ("-l", params._replace(beta=0.0)),
                ("-s", params._replace(alpha=0.0)),
                ("-r", params),
            )
        ),
        Study("time", "scaling", "imads", bits=BITS, seeds=1, **common),
        Study(
            "time against rows",
            "scaling",
            "imads",
            bits=(64,),
            seeds=1,
            settings=sizes((1_000, 2_500, 5_000, 10_000, 50_000, 100_000), rows),
            **common,
        ),
        Study(
            "reconstruction", "sensitivity", "imads", vary={"lam1": TENTHS, "lam2": TENTHS}, combine="list", **common
        ),
        Study("weights", "sensitivity", "imads", vary=weights, combine="each", **common),
        Study(
            "hash functions",
            "sensitivity",
            "imads",
            vary=dict.fromkeys(("mu1", "mu2"), powers(-5, 5)),
            combine="list",
            **common,
        ),
        # The two stages; the first is a method of its own that ends where the second starts.
        Study("convergence", "convergence", "imads-mapping", bits=(64,), seeds=1, **common),
        Study("convergence", "convergence", "imads", bits=(64,), seeds=1, **common),
        Study("first answers", "pictures", "imads", bits=(64,), seeds=1, **common),
        Study("bits, half width", "bits", "imads", bits=BITS, params=params, features=HALF_WIDTH),
        Study("deep features", "deep", "imads", bits=(32, 64), **common),
    ]


plan = Plan(
    "Individual mapping and asymmetric dual supervision for discrete cross-modal hashing, "
    "Expert Systems with Applications 2024",
    ("wiki", "mirflickr25k:imads", "nuswide10:imads"),
    studies,
    tables={2: ("bits",), 3: ("ablation",)},
    figures={
        2: ("curves",),
        3: ("curves",),
        4: ("time", "time against rows"),
        5: ("reconstruction", "weights", "hash functions"),
        7: ("convergence",),
        8: ("first answers",),
        9: ("deep features",),
    },
    reasons={
        ("imads", "wiki"): "the kernel's width: half of the stated one, with standardised images (bits, half width), "
        "brings every value within .020",
    },
)
