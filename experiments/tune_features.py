"""Choose kernel, width and standardisation for each view of Wiki on a validation part of its training set.

    python experiments/tune_features.py --root FOLDER

One fifth of the training pairs are validation queries, the rest is trained on; the official test queries are not
touched.  Both views get the candidate map; its score is the mAP of the direction whose queries are of that view.
Writes experiments/results/tune_features.jsonl and prints the best map of each view.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
from rich.progress import track

import jaxcmh
from jaxcmh import Features
from jaxcmh.learning.features import Kind
from jaxcmh.results import environment

KINDS: tuple[Kind, ...] = "rbf", "laplace"
WIDTHS, BITS, SEEDS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4), 32, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of the Wiki files (default: $JAXCMH_DATA)")
    parser.add_argument("--method", default="dcgh")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "tune_features.jsonl")
    arguments = parser.parse_args()

    train = jaxcmh.load_dataset("wiki", root=arguments.root).train
    rows = np.random.default_rng(0).permutation(len(train.labels))
    held, kept = np.split(rows, [len(rows) // 5])
    lines = []
    candidates = [Features(k, 1500, w, s) for k, s, w in itertools.product(KINDS, (False, True), WIDTHS)]
    for features in track(candidates, "maps tried"):
        reports = []
        for seed in range(SEEDS):
            views = [x[kept] for x in train.views]
            model = jaxcmh.train(arguments.method, views, train.labels[kept], bits=BITS, seed=seed, features=features)
            queries = [x[held] for x in train.views]
            reports.append(jaxcmh.evaluate(model, queries, train.labels[held], train.labels[kept], ties="stable"))
        score = {name: float(np.mean([report[name] for report in reports])) for name in ("i2t", "t2i")}
        lines.append(
            {"method": arguments.method, "bits": BITS, "seeds": SEEDS, "features": features._asdict(), **score}
        )
    arguments.output.write_text("".join(json.dumps(line | {"environment": environment()}) + "\n" for line in lines))
    for view, direction in (("image", "i2t"), ("text", "t2i")):
        best = max(lines, key=lambda line: line[direction])
        print(f"{view}: {Features(**best['features'])} {best[direction]:.4f} on validation queries")


if __name__ == "__main__":
    main()
