"""What a look inside one training shows: t-SNE of data, representations and codes, residual distances, first answers.

Each of these studies leaves arrays in an .npz file beside the result lines, and a line that names it; figures are drawn
from there.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import jaxcmh
from jaxcmh import results, store
from jaxcmh.datasets import Part, Split
from jaxcmh.learning import core, features
from jaxcmh.methods import find
from jaxcmh.progress import Progress
from jaxcmh.retrieval import topk
from jaxcmh.retrieval.metrics import Ties
from jaxcmh.studies import Study, points, runs

EMBEDDED = 2500  # rows of a t-SNE picture
SHOWN, ANSWERS = 6, 10  # queries and answers per picture


def learned(model: Any, split: Split) -> tuple[core.Data, Any]:
    """The mapped training set and the state that a model's training ended in, by training it once more."""
    import jax

    info = model.info
    views = [features.apply(fitted, x) for fitted, x in zip(model.maps, split.train.views)]
    method = find(info.method)
    data = core.prepare(views, split.train.labels, across=method.across, label_rows=method.label_rows)
    key = jax.random.fold_in(jax.random.key(info.seed), len(views))
    params = method.params._replace(**dict(info.params))
    return data, core.fit(
        method, data, key, params, bits=info.bits, max_iterations=info.max_iterations, tolerance=info.tolerance
    ).state


def tsne(model: Any, split: Split) -> dict[str, dict[str, np.ndarray]]:
    """Points in the plane for the raw views, their representations where the plan says which, and the codes.

    An item of several classes is shown in its first; of more than `EMBEDDED` rows so many are drawn.

    Raises:
        ModuleNotFoundError: the extra `tsne` is not installed.
    """
    from jaxcmh.studies import plans

    try:
        from openTSNE import TSNE
    except ModuleNotFoundError:
        raise ModuleNotFoundError("t-SNE needs openTSNE: pip install 'jaxcmh[tsne]'") from None

    n = len(split.train.labels)
    rows = np.sort(np.random.default_rng(0).permutation(n)[:EMBEDDED])
    names = split.view_names or tuple(f"view {m}" for m in range(len(split.train.views)))
    spaces = {f"{name} features": x for name, x in zip(names, split.train.views)}
    plan = plans.plans.get(model.info.method.partition("-")[0])
    if plan and plan.representation:
        data, state = learned(model, split)
        spaces |= {f"{name} representation": x for name, x in zip(names, plan.representation(state, data))}
    if model.codebooks is None:
        own = model.codes.ndim == 3
        codes = {f"{name} codes": B for name, B in zip(names, model.codes)} if own else {"codes": model.codes}
        spaces |= {name: topk.unpack(B) for name, B in codes.items()}
    embed = TSNE(random_state=0, n_jobs=1, initialization="pca")
    arrays = {"labels": split.train.labels[rows].argmax(1), "label_names": np.array(split.label_names, dtype="U")}
    for name, x in spaces.items():
        x = x[rows].toarray() if hasattr(x, "toarray") else np.asarray(x)[rows]
        arrays[name] = np.asarray(embed.fit(np.asarray(x, np.float64)), np.float32)
    return {"": arrays}


def residuals(model: Any, split: Split) -> dict[str, dict[str, np.ndarray]]:
    """AAH: distances of training items from what their projections rebuild, and of the projections of two views."""
    data, state = learned(model, split)
    if not {"U", "P"} <= set(state._fields):
        raise ValueError(f"{model.info.method} rebuilds no views; residual distances are those of aah")
    U, P, X = ([np.asarray(x) for x in arrays] for arrays in (state.U, state.P, data.features))
    norm = np.linalg.norm
    names = split.view_names or tuple(f"view {m}" for m in range(len(X)))
    distances = {f"{name} features to rebuilt": norm(x - u @ p.T, axis=1) for name, x, u, p in zip(names, X, U, P)}
    distances |= {f"{names[0]} to {name} projection": norm(U[0] - u, axis=1) for name, u in zip(names[1:], U[1:])}
    return {"": distances}


def pictures(model: Any, split: Split) -> dict[str, dict[str, np.ndarray]]:
    """The first answers to some queries, spread evenly over the query part, in both directions.

    Raises:
        ValueError: the data set has no pictures or no texts.
    """
    if not len(split.items.pictures) or not len(split.items.texts):
        raise ValueError("no pictures and texts to show")
    rows = np.linspace(0, len(split.query.ids) - 1, SHOWN).astype(int)
    asked = Part(tuple(x[rows] for x in split.query.views), split.query.labels[rows], split.query.ids[rows])
    shown = {"image": 255 - np.asarray(split.items.pictures), "text": np.array(split.items.texts, dtype="U")}
    shown_by_direction = {}
    for view, (query, answer) in enumerate((("image", "text"), ("text", "image"))):
        _, ids = jaxcmh.search(model, asked.views[view], view, ANSWERS)
        ids = np.asarray(ids)
        right = (asked.labels[:, None, :] & split.train.labels[ids]).any(2)
        shown_by_direction[f"{query} to {answer}"] = {
            "queries": shown[query][asked.ids],
            "answers": shown[answer][split.train.ids[ids]],
            "right": right,
        }
    return shown_by_direction


LOOKS: Mapping[str, Callable[[Any, Split], dict[str, dict[str, np.ndarray]]]] = {
    "tsne": tsne,
    "residuals": residuals,
    "pictures": pictures,
}


def run(study: Study, split: Split, path: Path, *, data: str, ties: Ties, progress: Progress) -> list[dict]:
    """Compute what a result file lacks of such a study, as `studies.run` does for others; nobody else may write it.

    Args, returns: as for `studies.run`; lines are those of the first kind of database codes and have "arrays", the
    name of the file beside `path` that holds what was seen.

    Raises:
        ValueError, ModuleNotFoundError: the data set, or what is installed, does not allow it.
    """
    stored = results.read(path) if path.exists() else []
    hashes = results.data_hash(split), results.split_hash(split)
    own = [
        line for line in stored if line.get("study", {}).get("name") == study.name and line["data_hash"] == hashes[0]
    ]
    if own and all((path.parent / line["arrays"]).exists() for line in own):
        return own
    progress.step(study.name)
    progress.total += 1
    point = points(study)[0]
    outcome = runs.run(
        split,
        study.method,
        bits=point.bits,
        seed=point.seed,
        params=point.params,
        max_iterations=study.max_iterations,
        tolerance=study.tolerance,
        features=study.features,
        data=data,
        hashes=hashes,
        ties=ties,
    )
    seen = LOOKS[study.kind](outcome.model, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, arrays in seen.items():
        stem = "-".join(filter(None, [study.name, name])).replace(" ", "-").lower()
        with store.replacing(path.parent / f"{stem}.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **arrays)
        line = {k: v for k, v in outcome.records[0].items() if k not in ("curves", "topn")}
        more = {"study": {"name": study.name, "kind": study.kind, "vary": []}, "setting": {}, "arrays": f"{stem}.npz"}
        lines.append(line | more)
        results.append(path, lines[-1])
    progress.advance()
    return lines
