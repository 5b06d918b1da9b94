"""What mAP does not say of the answers of DCGH, and what an asymmetric order within ties would add to mAP.

    python experiments/answers.py [--root FOLDER_OF_WIKI] [--seeds 5]

64 bits, the method's own settings, expected ties, on Wiki and the icons, with learned and with encoded database codes.
Asymmetric: items that are equally near are ordered by the inner product of the query's real vector, whose signs are
its code, with the item's encoded code.  Lines go to experiments/results/answers/DATA/results.jsonl, from which the
tables are printed; lines that are there already are not computed again.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

import jaxcmh
from jaxcmh import results
from jaxcmh.datasets import Split
from jaxcmh.learning.encoders import ask
from jaxcmh.learning.features import mapped
from jaxcmh.model import Model, directions
from jaxcmh.results import tables
from jaxcmh.retrieval.metrics import score_metrics
from jaxcmh.retrieval.topk import unpack
from jaxcmh.studies import runs

RESULTS = Path(__file__).parent / "results" / "answers"
BITS = 64


def asymmetric_map(model: Model, split: Split, database: str) -> dict[str, float]:
    """mAP of each direction where items of equal distance are ordered by the query's real vector.

    As look-up codes: every byte of an item is a word, of its eight signs. The query's signs reach from -BITS to BITS in
    steps of 2, and its real vector is scaled so that it adds less than one such step.
    """
    books = np.zeros((2 * BITS // 8, 256, 2 * BITS), np.float32)
    for book in range(len(books)):
        books[book, :, 8 * book : 8 * book + 8] = unpack(np.arange(256, dtype=np.uint8)[:, None])
    found = {}
    for name, (a, b) in directions(2).items():
        real = np.asarray(ask(model.encoders[a], mapped(model.maps[a], split.query.views[a])))
        queries = np.hstack([np.where(real >= 0, 1, -1), 0.99 * real / np.abs(real).sum(axis=1, keepdims=True)])
        codes = model.codes if database == "learned" else model.encoded[b]
        items = np.hstack([codes, model.encoded[b]])
        found[name] = score_metrics(queries, items, books, split.query.labels, split.train.labels).map
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of the Wiki files (default: $JAXCMH_DATA)")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()

    for data in ("wiki", "icons"):
        path = RESULTS / data / "results.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        have = {line["seed"] for line in results.read(path)} if path.exists() else set()
        split = jaxcmh.load_dataset(data, **({"root": arguments.root} if data == "wiki" else {}))
        hashes = results.data_hash(split), results.split_hash(split)
        for seed in track(sorted({*range(arguments.seeds)} - have), data):
            model = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=BITS, seed=seed)
            lines = []
            for kind in runs.kinds(split):
                report = runs.evaluate(model, split, kind, beyond_map=True)
                for direction, score in asymmetric_map(model, split, kind).items():
                    report["measures"][direction] = {"mAP, asymmetric": score, **report["measures"][direction]}
                lines.append(results.record(model, report, data=data, hashes=hashes, times={}))
            for line in lines:
                results.append(path, {name: value for name, value in line.items() if name != "curves"})
        print(tables.render(tables.measures(results.read(path)), "markdown"))


if __name__ == "__main__":
    main()
