"""Queries to try: words whose answers are good, as the texts of the items themselves say."""

import re
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxcmh.model import Model

TRIED = 2_000  # words at most, the most frequent
SHOWN = 10  # answers that count
LEAST, SHORTEST = 3, 4  # items that have the word, and its letters


def examples(model: "Model", count: int = 4) -> list[str]:
    """Words whose first answers have that word in their texts, of different answers.

    None for a model that does not know its texts, or whose texts went through a network, where there is no vocabulary.

    Args:
        model: a model with its catalogue.
        count: how many at most.
    """

    from jaxcmh.datasets.raw import CUTS, understood, words
    from jaxcmh.model import answers

    known = model.catalogue
    if known is None or not known.texts or not known.makers or "text" not in known.view_names:
        return []
    maker = known.makers[model.view("text")]
    if maker.kind not in CUTS:
        return []
    having: dict[str, set[int]] = defaultdict(set)
    for thing, text in zip(known.things.tolist(), known.texts):
        for word in words(text):
            if len(word) >= SHORTEST and re.fullmatch(r"[^\W\d_]+", word):
                having[word].add(thing)
    things, _ = known.pairs
    some = [word for word, those in having.items() if LEAST <= len(those) <= things / 2]
    some = sorted(some, key=lambda word: (-len(having[word]), word))[:TRIED]
    some = [word for word, fine in zip(some, understood(maker, some)) if fine]
    if not some:
        return []
    view, rows = model.features("text", some)
    k = min(SHOWN, things)
    ranked = []
    for word, found in zip(some, answers(model, rows, view, k)):
        first = [int(known.things[answer.row]) for answer in found]
        most = min(k, len(having[word]))
        good = sum(thing in having[word] for thing in first[:most]) / most
        ranked.append((good, most, word, set(first)))
    ranked.sort(key=lambda one: (-one[0], -one[1], one[2]))
    chosen: list[tuple[str, set[int]]] = []
    for good, _, word, first in ranked:
        if good >= 0.5 and all(len(first & other) <= k / 2 for _, other in chosen):
            chosen.append((word, first))
        if len(chosen) == count:
            break
    return [word for word, _ in chosen]
