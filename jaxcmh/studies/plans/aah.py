"""AAH: Tables II-V and Figs. 2-11 of its paper, and the studies of its supplement.

Apart from the paper: Wiki's images as 128-d SIFT, which its own row of SCM fits, where it says CNN features; five seeds
where its Figs. 8-10 average ten; of Table V only AAH on MIRFlickr, for the sizes on NUS-WIDE are not given. Its
supplement is not at hand, so the last three studies choose their own ranges.
"""

from jaxcmh.studies import Study
from jaxcmh.studies.plans.plan import Plan, parameters, powers, sizes

BITS = (16, 32, 64, 128)
DEEP_SIZES = "mirflickr25k:aah-deep"  # 10,000 training pairs and 2,000 queries, as DCMH and SSAH beside AAH in Table V
COMPONENTS = {"nl": "alpha", "ng": "beta", "na": "average"}  # variant -> the weight that is 0


def studies(data: str, rows: int) -> list[Study]:
    params = parameters("aah", data)
    common = {"params": params}
    if data == DEEP_SIZES:
        return [Study("sizes of deep methods", "bits", "aah", bits=(16, 32, 64), **common)]
    scales = powers(-3, 3)
    return [
        Study("curves", "bits", "aah", bits=BITS, seeds=1, **common),
        Study("bits", "bits", "aah", bits=BITS, **common),
        Study(
            "weights",
            "sensitivity",
            "aah",
            bits=(64,),
            vary={"theta": scales, "alpha": scales, "beta": scales},
            combine="each",
            **common,
        ),
        Study(
            "time",
            "scaling",
            "aah",
            bits=(16,),
            seeds=1,
            settings=sizes((1_500, 2_000, 3_000, 5_000, 8_000, 10_000, 25_000, 50_000, 100_000), rows),
            **common,
        ),
        Study("components", "ablation", "aah", bits=(16,), **common),
        Study("components", "ablation", "aah-knn", bits=(16,), **common),
        *(
            Study("components", "ablation", f"aah-{variant}", bits=(16,), params=params._replace(**{weight: 0.0}))
            for variant, weight in COMPONENTS.items()
        ),
        Study("convergence", "convergence", "aah", bits=(16,), seeds=1, max_iterations=20, tolerance=0.0, **common),
        Study("t-SNE", "tsne", "aah", bits=(16,), seeds=1, **common),
        Study(
            "training size",
            "training_size",
            "aah",
            bits=(16,),
            settings=tuple({"training_size": rows * tenths // 10} for tenths in range(1, 11)),
            **common,
        ),
        Study("residuals", "residuals", "aah", bits=(16,), seeds=1, **common),
    ]


plan = Plan(
    "Average Approximate Hashing-Based Double Projections Learning for Cross-Modal Retrieval, "
    "IEEE Transactions on Cybernetics 2021",
    ("wiki", "mirflickr25k:aah", "nuswide10:aah", DEEP_SIZES),
    studies,
    tables={2: ("bits",), 3: ("time",), 4: ("components",), 5: ("sizes of deep methods",)},
    figures={
        **dict.fromkeys(range(2, 8), ("curves",)),
        8: ("weights",),
        9: ("weights",),
        10: ("weights",),
        11: ("convergence",),
    },
    reasons={
        ("aah-knn", "wiki"): "the paper does not say how many neighbours; here are 10",
    },
    representation=lambda state, data: state.U,
)
