"""Made-up result lines of every kind of study, for the tests of tables, figures and reports: no number is a result."""

import numpy as np

from jaxcmh import results

SHIFT = {"dcgh": 0.05, "dcgh-d": 0.0, "dcgh-r": 0.03, "aah": 0.02, "acqh": 0.04, "a2lh": 0.01, "imads": 0.0}


def line(method="dcgh", bits=16, seed=0, *, study=None, setting=None, lift=0.0, **changes) -> dict:
    """A whole result line of made-up numbers; `study` is (name, kind, varied names)."""
    rng = np.random.default_rng([seed, bits, len(method)])
    database = changes.get("database", "learned")
    start = SHIFT.get(method, 0.0) + lift + 0.02 * np.log2(bits / 8) + rng.normal(0, 0.004)
    start -= 0.1 if database == "encoded" else 0.0
    scores = {"i2t": 0.3 + start, "t2i": 0.6 + start}
    recall = np.linspace(0, 1, 9)
    curves = {
        direction: {
            "topn_precision": (score + 0.2 * np.linspace(1, 0, 6) ** 2).tolist(),
            "precision": [None, *(score + 0.3 * (1 - recall[1:]) ** 2).tolist()],
            "recall": recall.tolist(),
        }
        for direction, score in scores.items()
    }
    record = {
        "format": 2,
        "data": "toy",
        "data_hash": "d",
        "split_hash": "s",
        "database": database,
        "ties": "expected",
        "at": None,
        "n_queries": 20,
        "n_without_relevant": 1,
        "n_database": 50,
        "method": method,
        "bits": bits,
        "params": {"alpha": 1.0, "beta": 10.0},
        "max_iterations": 5,
        "tolerance": 0.1,
        "features": [{"kind": "rbf", "anchors": 500, "width": 1.0, "standardise": False}],
        "hash_function": "ridge",
        "seed": seed,
        "n_train": 50,
        "map": {direction: float(score) for direction, score in scores.items()},
        "topn": [1, 2, 5, 10, 20, 50],
        "curves": curves,
        "objective": (1 + 3 * np.exp(-np.minimum(np.arange(6), 4) * (1 + SHIFT.get(method, 0)))).tolist(),
        "converged": 4,
        "diagnostics": {},
        "times": {"train": 0.01 * bits * (1 + SHIFT.get(method, 0)), "compile": 1.0, "evaluate": 0.02},
        "environment": {"versions": {"jaxcmh": "0", "jax": "0"}, "platform": "made up", "cpus": 1, "device": "none"},
        **changes,
    }
    if study:
        record["study"] = dict(zip(("name", "kind", "vary"), study))
        record["setting"] = setting or {}
    return {**record, "key": results.key(record)}


def bits(seeds=2, lengths=(16, 32), methods=("dcgh", "aah", "acqh"), databases=("learned", "encoded"), **changes):
    """Several methods, lengths and seeds, with both kinds of database codes."""
    study = ("all methods", "bits", [])
    return [
        line(method, length, seed, study=study, database=kind, **changes)
        for method in methods
        for length in lengths
        for seed in range(seeds)
        for kind in databases
    ]


def _params(**changes):
    return {"alpha": 1.0, "beta": 10.0, **changes}


def sensitivity(values=tuple(10.0**e for e in range(-5, 6)), seeds=2):
    """One hyper-parameter over many decades."""
    study = ("sensitivity of alpha", "sensitivity", ["alpha"])
    return [
        line("dcgh", 32, seed, study=study, params=_params(alpha=v), lift=-0.01 * abs(np.log10(v) - 1), database=kind)
        for v in values
        for seed in range(seeds)
        for kind in ("learned", "encoded")
    ]


def surface(side=9, seeds=1, missing=()):
    """Two hyper-parameters, every pair of their values but the missing ones."""
    study = ("alpha and beta", "surface", ["alpha", "beta"])
    values = [10.0**e for e in np.linspace(-4, 4, side)]
    return [
        line(
            "dcgh", 32, seed, study=study, params={"alpha": a, "beta": b},
            lift=-0.005 * (abs(np.log10(a) - 2) + 2 * abs(np.log10(b))),
        )
        for i, a in enumerate(values)
        for j, b in enumerate(values)
        for seed in range(seeds)
        if (i, j) not in missing
    ]  # fmt: skip


def ablation():
    """A method and two of its variants."""
    methods = ("dcgh", "dcgh-d", "dcgh-r")
    return [line(m, b, s, study=("variants", "ablation", [])) for m in methods for b in (16, 32) for s in (0, 1)]


def convergence():
    """Objectives of one stage and of two, from the start on, and mAP after every iteration."""
    study = ("convergence", "convergence", [])
    trace = {"i2t": [0.1, 0.2, 0.25], "t2i": [0.3, 0.5, 0.6]}
    stages = {"stage one": [4.0, 2.0, 1.5], "stage two": [3.0, 2.9, 2.8]}
    return [line("imads", b, study=study, map_trace=trace, objectives=stages) for b in (16, 32)]


def scaling():
    """Training time against the number of training pairs."""
    study = ("time", "scaling", [])
    return [
        line(m, 32, study=study, setting={"rows": n}, n_train=n, data_hash=str(n), n_database=n,
             times={"train": n**p / 1e4, "evaluate": n / 1e5})
        for m, p in (("dcgh", 1.05), ("aah", 1.0))
        for n in (1000, 10_000, 100_000)
    ]  # fmt: skip


def paired(methods=("dcgh-common", "aah-common", "random_codewords-common"), seeds=2, queries=20):
    """Methods at one code length, with the AP of every query, in both kinds of database codes."""
    rng, lines = np.random.default_rng(0), []
    easy = rng.random(queries) / 4
    for rank, method in enumerate(methods):
        for seed in range(seeds):
            for kind in ("learned", "encoded"):
                ap = {d: (easy + 0.6 - 0.2 * rank + rng.normal(0, 0.01, queries)).tolist() for d in ("i2t", "t2i")}
                ap = {d: [None, *values[1:]] for d, values in ap.items()}  # a query without a relevant item
                scores = {d: float(np.mean(values[1:])) for d, values in ap.items()}
                options = {"study": ("paired", "paired", []), "database": kind, "map": scores, "ap": ap}
                lines.append(line(method, 32, seed, **options))
    return lines


def times():
    """Times of several methods on the same data."""
    study, names = ("time", "scaling", []), [f"method {number}" for number in range(18)]
    return [
        line(m, 32, s, study=study, times={"train": 10.0 ** (k / 6), "evaluate": 1.0}, peak_memory_gb=1.0 + k)
        for k, m in enumerate(["random_codewords", *names])
        for s in (0, 1)
    ]


def unpaired():
    """mAP against the share of unpaired pairs."""
    study = ("unpaired share", "unpaired", [])
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    return [
        line("dcgh", 32, s, study=study, setting={"unpaired": u}, data_hash=str(u), lift=-0.1 * u)
        for u in shares
        for s in (0, 1)
    ]


def training_size():
    """mAP against the number of training pairs."""
    study = ("training size", "training_size", [])
    return [
        line("aah", 32, s, study=study, setting={"rows": n}, n_train=n, data_hash=f"{n}", n_database=n, lift=n / 1e5)
        for n in (500, 1000, 2000)
        for s in (0, 1)
    ]


def deep():
    """Hand-made against deep features."""
    study = ("deep features", "deep", [])
    maps = [{"kind": "identity"}], [{"kind": "rbf", "anchors": 500, "width": 1.0, "standardise": False}]
    return [line("dcgh", 32, s, study=study, features=m, lift=0.1 * (m is maps[0])) for m in maps for s in (0, 1)]


def tsne(folder):
    """Coordinates of 10 classes in two panels, stored in `folder`."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    centres = rng.normal(0, 6, (10, 2))
    np.savez(
        folder / "tsne.npz", labels=labels, label_names=np.array([f"label {i}" for i in range(10)]),
        raw=rng.normal(0, 5, (200, 2)), codes=centres[labels] + rng.normal(0, 1, (200, 2)),
        **{"codes centres": centres},
    )  # fmt: skip
    return [line(study=("t-SNE", "tsne", []), arrays="tsne.npz")]


def residuals(folder):
    """Distances within and between classes, stored in `folder`."""
    rng = np.random.default_rng(0)
    np.savez(folder / "residuals.npz", **{"same class": rng.gamma(4, 1, 500), "other classes": rng.gamma(8, 1, 900)})
    return [line("aah", study=("residual distances", "residuals", []), arrays="residuals.npz")]


def pictures(folder):
    """Three queries of words and their answers as pictures, stored in `folder`."""
    rng = np.random.default_rng(0)
    answers = rng.integers(0, 256, (3, 10, 12, 12), dtype=np.uint8)
    words = np.array(["a dog on a lawn", "sailing boat", "red arrow to the left, or to the right, or nowhere at all"])
    np.savez(folder / "pictures.npz", queries=words, answers=answers, right=rng.random((3, 10)) < 0.6)
    return [line("imads", study=("pictures", "pictures", []), arrays="pictures.npz")]


def everything(folder):
    """Lines of every kind, with their arrays in `folder`."""
    lines = [*bits(), *sensitivity(), *surface(), *ablation(), *convergence(), *scaling(), *unpaired(), *paired()]
    return [*lines, *training_size(), *deep(), *tsne(folder), *residuals(folder), *pictures(folder)]
