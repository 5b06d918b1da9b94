"""ACQH: Tables I-V and Figs. 2-12 of its paper.

Apart from the paper: five seeds on one split, where it averages five random splits; the ranges of its Figs. 10-12 are
not in the text, so mu and lambda run over 10^-5 .. 10 and the books are 2, 4 and 8. "Bits" are the dimension of the
codewords; an item takes one byte per book whatever they are.
"""

from jaxcmh.learning.features import Features
from jaxcmh.studies import Study
from jaxcmh.studies.plans.plan import Plan, parameters, powers, shape, sizes

BITS = (8, 16, 32, 64, 128)


def studies(data: str, rows: int) -> list[Study]:
    # Raw features, as in the paper; the icons have more of them than training rows.
    common = {"params": parameters("acqh", data), "features": Features("rbf", 500) if shape(data) == "icons" else None}
    return [
        Study("curves", "bits", "acqh", seeds=1, **common),
        Study("bits", "bits", "acqh", bits=BITS, **common),
        Study("time", "scaling", "acqh", bits=BITS, seeds=1, **common),
        Study(
            "time against rows",
            "scaling",
            "acqh",
            seeds=1,
            settings=sizes((10_000, 20_000, 50_000, 100_000, 150_000), rows),
            **common,
        ),
        Study("convergence", "convergence", "acqh", seeds=1, **common),
        Study("mu", "sensitivity", "acqh", vary={"mu": powers(-5, 1)}, **common),
        Study("lambda", "sensitivity", "acqh", vary={"lam": powers(-5, 1)}, **common),
        *(Study("books", "ablation", name, **common) for name in ("acqh-2", "acqh", "acqh-8")),
    ]


plan = Plan(
    "Asymmetric Correlation Quantization Hashing for Cross-modal Retrieval, 2020",
    ("wiki", "mirflickr25k:acqh", "nuswide10:acqh"),
    studies,
    tables={1: ("bits",), 2: ("bits",), 3: ("bits",), 4: ("time",), 5: ("time",)},
    figures={
        **dict.fromkeys((2, 3, 4, 5, 6, 7), ("curves",)),
        8: ("time against rows",),
        9: ("convergence",),
        10: ("mu",),
        11: ("lambda",),
        12: ("books",),
    },
    reasons={},
)
