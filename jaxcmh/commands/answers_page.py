"""A page to look at: what the queries of a training on one's own pictures find."""

from pathlib import Path

import numpy as np

from jaxcmh.datasets import Split
from jaxcmh.datasets.catalogue import small_pictures
from jaxcmh.datasets.split import pictures_of
from jaxcmh.model import among, answers, directions
from jaxcmh.progress import say
from jaxcmh.results import report
from jaxcmh.studies import runs

ANSWERS = 10
QUERIES = (60, 30, 15, 5)  # at most; fewer where pictures are too heavy for a page


def write(path: Path, split: Split, outcome: runs.Outcome) -> None:
    """Write the page of a run of two views, pictures and texts, with thumbnails.

    Args:
        path: the `.html` file.
        split: what it was trained on.
        outcome: what it gave; its model has a catalogue with thumbnails.
    """
    _, first = np.unique(pictures_of(split, split.query.ids), return_index=True)
    queries = np.sort(first)
    for most in QUERIES:
        some = queries[np.unique(np.linspace(0, len(queries) - 1, most).astype(int))]
        try:
            _write(path, split, outcome, some)
            return
        except ValueError as error:
            if "would weigh" not in str(error):
                raise
    say(f"warning: no page of answers: the pictures are too heavy for {path.name}")


def _write(path: Path, split: Split, outcome: runs.Outcome, queries: np.ndarray) -> None:
    model, known = outcome.model, outcome.model.catalogue
    k = min(ANSWERS, known.pairs[0])
    found = {}
    for kind in [kind for kind in ("encoded", "learned") if kind in outcome.reports]:
        for direction, (query, answer) in reversed(directions(2).items()):
            found[kind, direction] = answers(among(model, kind, answer), split.query.views[query][queries], query, k)
    shown = sorted({answer.row for lists in found.values() for own in lists for answer in own})
    place = {row: number for number, row in enumerate(shown)}
    rankings = [
        report.Ranking(
            model.info.method,
            model.info.bits,
            kind,
            direction,
            [[place[answer.row] for answer in own] for own in lists],
            np.array([[answer.score for answer in own] for own in lists]),
            outcome.reports[kind]["metrics"][direction].ap[queries],
            model.codebooks is not None,
        )
        for (kind, direction), lists in found.items()
    ]
    ids, names = split.query.ids[queries], split.label_names or tuple(map(str, range(split.query.labels.shape[1])))
    items = split.items
    trained = outcome.records[0].get("queries") == "trained"
    seen = "They were trained on, so answers to new ones are worse." if trained else "None of them was trained on."
    report.page(
        path,
        title=f"Words find pictures, pictures find words: {split.name}",
        lede=f"{known.pairs[0]:,} pictures and their texts, each a code of {model.info.bits} bits, and "
        f"the nearest to {len(queries)} queries. {seen} An answer is right when it shares a label with the query.",
        queries=report.Items(
            [str(items.names[i]) for i in ids],
            [str(items.texts[i]) for i in ids],
            small_pictures(split, ids),
            split.query.labels[queries],
        ),
        database=report.Items(
            [known.names[row] for row in shown],
            [known.texts[row] for row in shown],
            [known.thumbnails[row] for row in shown],
            known.labels[shown],
        ),
        label_names=names,
        rankings=rankings,
        facts=[("model", f"{model.info.method}, {model.info.bits} bits, seed {model.info.seed}"), ("data", split.name)],
    )
