"""Whether MLP hash functions beat linear ones: every binary method, trained alike but for the hash function.

    python experiments/mlp.py [--root FOLDER_OF_WIKI] [--seeds 3]

64 bits, expected ties, default parameters, one kernel of 500 anchors (AAH: standardised features), on the icons and
on Wiki.  The learned codes of a pair of runs are the same, so `learned` differs by the codes of the queries alone,
`encoded` by those of the database too.  Lines go to experiments/results/mlp.jsonl, from which the table is printed;
lines that are there already are not computed again.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

import jaxcmh
from jaxcmh import Features, results
from jaxcmh.methods import registry
from jaxcmh.studies import runs

RESULTS = Path(__file__).parent / "results" / "mlp.jsonl"
BITS = 64


def features(method: str) -> Features:
    own = registry[method].features
    return own if own.kind == "standardise" else Features(anchors=500)


def table(lines: list[dict]) -> str:
    """Mean over seeds of each direction, ridge beside MLP, and the seconds that the hash functions took."""
    head = ["data", "method", "database", "I→T ridge", "mlp", "T→I ridge", "mlp", "seconds ridge", "mlp"]
    rows = [head, ["---"] * len(head)]
    for key in dict.fromkeys((line["data"], line["method"], line["database"]) for line in lines):
        cells = [*key]
        group = [line for line in lines if (line["data"], line["method"], line["database"]) == key]
        by_kind = {kind: [line for line in group if line["hash_function"] == kind] for kind in ("ridge", "mlp")}
        for direction in ("i2t", "t2i"):
            cells += [f"{np.mean([line['map'][direction] for line in same]):.3f}" for same in by_kind.values()]
        cells += [f"{np.mean([line['times']['hash'] for line in same]):.1f}" for same in by_kind.values()]
        rows.append(cells)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of the Wiki files (default: $JAXCMH_DATA)")
    parser.add_argument("--data", nargs="+", choices=("icons", "wiki"), default=["icons", "wiki"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()

    done = results.read(RESULTS) if RESULTS.exists() else []
    have = {(line["data"], line["method"], line["seed"], line["hash_function"]) for line in done}
    for data in arguments.data:
        split = jaxcmh.load_dataset(data, **({"root": arguments.root} if data == "wiki" else {}))
        hashes = results.data_hash(split), results.split_hash(split)
        settings = [
            (method, seed, kind)
            for method, found in registry.items()
            if found.codebooks is None
            for seed in range(arguments.seeds)
            for kind in ("ridge", "mlp")
            if (data, method, seed, kind) not in have
        ]
        for method, seed, kind in track(settings, data):
            options = {"features": features(method), "hash_function": kind}
            outcome = runs.run(split, method, bits=BITS, seed=seed, data=data, hashes=hashes, **options)
            for line in outcome.records:
                results.append(RESULTS, {name: value for name, value in line.items() if name != "curves"})
    print(table(results.read(RESULTS)))


if __name__ == "__main__":
    main()
