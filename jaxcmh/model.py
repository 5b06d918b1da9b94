"""A trained model: what it takes to encode, evaluate and search, and how it is stored."""

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array, random
from jax.sharding import Mesh

import jaxcmh
from jaxcmh import brief, checks, store
from jaxcmh.checks import Bits, Iterations, Labels, PathLike, Positive, Rows, Seed, Sources, Views, Weight, checked
from jaxcmh.datasets import Split
from jaxcmh.datasets import catalogue as catalogues
from jaxcmh.datasets.catalogue import Catalogue
from jaxcmh.datasets.identity import Database
from jaxcmh.datasets.raw import rows_of, understood
from jaxcmh.learning import core, one_row, reduction, streaming
from jaxcmh.learning import features as feature_maps
from jaxcmh.learning import stages as finished_stages
from jaxcmh.learning.compilation import make_room, quickly
from jaxcmh.learning.core import Method, Precision
from jaxcmh.learning.encoders import MLP, Translated, Unlabelled, ask, mlp, nearest_words, of_view, project
from jaxcmh.learning.features import ENCODE_ROWS, FeatureMap, Features
from jaxcmh.learning.growing import Summary, check_summary, data_of, grown, summarised
from jaxcmh.learning.linalg import exact, sign
from jaxcmh.learning.memory import widths
from jaxcmh.learning.mesh import shard_rows
from jaxcmh.learning.processes import devices_of, everywhere, here, several, share
from jaxcmh.learning.stages import Kept
from jaxcmh.learning.streaming import Streamed
from jaxcmh.methods import find, registry
from jaxcmh.progress import for_many, progress, shown_while
from jaxcmh.retrieval import metrics, topk

KIND = "jaxcmh"
FORMAT = 2  # of the model file; raised when a file of this version can no longer be read by the last one
ROOM = 2.0  # GB of mapped features that are kept, of views that are not in memory themselves

__all__ = [
    "Answer",
    "Info",
    "Model",
    "directions",
    "encode",
    "evaluate",
    "grow",
    "load",
    "query_vectors",
    "save",
    "search",
    "train",
]

HashFunction = Literal["ridge", "mlp"]


class Answer(NamedTuple):
    """An item that a query finds; what is not known of it is empty.

    Attributes:
        rank: from 1; items that are equally near have equal ranks.
        score: Hamming distance, or score of look-up codes.
        item: the item's row in the complete data set.
        row: its row among the training items.
        name, labels, text: as the data set has them.

    Example:
        >>> from jaxcmh.datasets import Maker
        >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
        >>> vocabulary = tuple(f"word{i}" for i in range(split.train.views[1].shape[1]))
        >>> split = split._replace(makers=(Maker("photo"), Maker("words", vocabulary)))
        >>> model = train("dcgh", split.train.views, split.train.labels, bits=16).with_catalogue(split)
        >>> first, second = model.search(text="word0 word7", k=2)
        >>> first.rank, first.score <= second.score, bool(first.item == split.train.ids[first.row])
        (1, True, True)
    """

    rank: int
    score: float
    item: int
    row: int
    name: str
    labels: list[str]
    text: str

    __repr__ = brief.text
    _repr_html_ = brief.table


class Info(NamedTuple):
    """How a model was made.

    Example:
        >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
        >>> model = train("dcgh", split.train.views, split.train.labels, bits=16)
        >>> model.info.method, model.info.bits, model.info.n, model.info.dims
        ('dcgh', 16, 200, (64, 128))
        >>> model.info.features[0].kind
        'rbf'
    """

    method: str
    bits: int
    seed: int
    max_iterations: int
    tolerance: float
    params: tuple[tuple[str, float], ...]
    features: tuple[Features, ...]  # one per view
    hash_function: str
    n: int  # training pairs
    dims: tuple[int, ...]  # raw features of each view
    version: str  # of jaxcmh


@partial(
    jax.tree_util.register_dataclass,
    data_fields=(
        *("maps", "encoders", "codes", "encoded", "codebooks", "unlabelled"),
        *("objective", "converged", "diagnostics", "times", "summary"),
    ),
    meta_fields=("info", "catalogue"),
)
@dataclass(frozen=True)
class Model:
    """A trained model; a pytree.  `lookup` models keep word indices and codebooks, the others packed bits.

    Example:
        >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
        >>> model = train("dcgh", split.train.views, split.train.labels, bits=16)
        >>> model.info.method, model.codes.shape, len(model.encoders)
        ('dcgh', (200, 2), 2)
    """

    maps: tuple[FeatureMap, ...]  # one per view
    encoders: tuple[Array | MLP | Translated, ...]  # hash functions, one per view: (q_m, bits) where linear
    codes: Array  # (n, bits/8), (views, n, bits/8) or (n, books) uint8: codes learned with the labels
    encoded: tuple[Array, ...]  # the same items encoded from each view by the hash functions; () once it has grown
    codebooks: Array | None  # (books, words, bits) for look-up search
    unlabelled: Unlabelled | None  # how items without labels find their words for look-up search
    objective: Array  # (max_iterations + 1,) from the start on; of version 0.1.0, from the first iteration on
    converged: int | Array  # the iteration in which the training converged; 0 if it did not
    diagnostics: dict[str, Array]
    times: dict[str, float]  # seconds: features, fit, hash
    info: Info
    catalogue: Catalogue | None = None  # what its items are, and how rows of new things are made
    summary: Summary | None = None  # what `grow` goes on from

    __repr__ = brief.text
    _repr_html_ = brief.table

    def _facts(self) -> dict[str, Any]:
        known = self.info._asdict() | {"params": dict(self.info.params)}
        return known | {"codes": self.codes, "codebooks": self.codebooks, "converged": self.converged}

    @cached_property
    def fingerprint(self) -> str:
        """What tells two models apart that would encode items differently: a hash of hash functions and codebooks."""
        return store.digest(("", leaf) for leaf in jax.tree.leaves((self.encoders, self.codebooks)))[:16]

    @cached_property
    def row_hashes(self) -> tuple[one_row.RowHash | None, ...]:
        """What encodes one row of a view on the host, where it can be done there."""
        possible = self.codebooks is None and jax.default_backend() == "cpu"
        return tuple(one_row.row_hash(fitted, W) if possible else None for fitted, W in zip(self.maps, self.encoders))

    @cached_property
    def blocks(self) -> tuple[topk.Blocks, ...]:
        """The codes learned with the labels, arranged for search: for all views, or for each its own."""
        arranged = topk.distinct if self.codebooks is None else topk.arrange
        return tuple(map(arranged, self.codes if self.codes.ndim == 3 else [self.codes]))

    @checked
    def with_catalogue(self, split: Split, thumbnails: bool = False) -> "Model":
        """The model with what its data set knows of the items, and of how new ones become features; kept by `save`.

        Args:
            split: the data set it was trained on.
            thumbnails: keep a small picture of each item too.

        Raises:
            ValueError: the data set has other training items than the model.

        Example:
            >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
            >>> model = train("dcgh", split.train.views, split.train.labels, bits=16).with_catalogue(split)
            >>> model.catalogue.view_names
            ('image', 'text')
        """
        if len(split.train.ids) != self.info.n:
            raise ValueError(
                f"split: expected {self.info.n} training items, as the model has; got {len(split.train.ids)}"
            )
        return replace(self, catalogue=catalogues.catalogue(split, thumbnails))

    @checked
    def encode_texts(self, texts: Annotated[Sequence[str], checks.filled]) -> Array:
        """Codes of new texts, as `encode` gives them.

        Raises:
            ValueError: the model does not know how its texts became features, or a text has nothing to go by.

        Example:
            >>> from jaxcmh.datasets import Maker
            >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
            >>> vocabulary = tuple(f"word{i}" for i in range(split.train.views[1].shape[1]))
            >>> split = split._replace(makers=(Maker("photo"), Maker("words", vocabulary)))
            >>> model = train("dcgh", split.train.views, split.train.labels, bits=16).with_catalogue(split)
            >>> model.encode_texts(["word0 word7", "word3"]).shape
            (2, 2)
        """
        view, rows = self.features("text", texts)
        return encode(self, rows, view)

    @checked
    def encode_images(self, images: Annotated[Sequence[Any], checks.filled]) -> Array:
        """Codes of new pictures: files, Pillow pictures, or arrays; errors as for `encode_texts`.

        Example:
            >>> from jaxcmh.datasets import Maker
            >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20, dims=(1764, 128))
            >>> makers = Maker("drawing"), Maker("words", tuple(f"word{i}" for i in range(128)))
            >>> model = train("dcgh", split.train.views, split.train.labels, bits=16)
            >>> model = model.with_catalogue(split._replace(makers=makers))
            >>> picture = np.full((32, 32), 255, np.uint8)
            >>> picture[8:24, 8:24] = 0
            >>> model.encode_images([picture]).shape
            (1, 2)
        """
        view, rows = self.features("image", images)
        return encode(self, rows, view)

    @checked
    def encode_pairs(
        self, images: Annotated[Sequence[Any], checks.filled], texts: Annotated[Sequence[str], checks.filled]
    ) -> Array:
        """Codes of pictures with the texts that belong to them, by both; of an empty or unknown text, by the picture.

        Raises:
            ValueError: as for `encode_texts`; other numbers of texts than of pictures; codes for each view.

        Example:
            >>> from jaxcmh.datasets import Maker
            >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20, dims=(1764, 128))
            >>> makers = Maker("drawing"), Maker("words", tuple(f"word{i}" for i in range(128)))
            >>> model = train("dcgh", split.train.views, split.train.labels, bits=16)
            >>> model = model.with_catalogue(split._replace(makers=makers))
            >>> picture = np.full((32, 32), 255, np.uint8)
            >>> picture[8:24, 8:24] = 0
            >>> both, image = model.encode_pairs([picture, picture], ["word0 word7", ""])
            >>> image.tolist() == model.encode_images([picture])[0].tolist()
            True
        """
        if len(images) != len(texts):
            raise ValueError(f"texts: expected {len(images)}, one for each picture; got {len(texts)}")
        if self.codes.ndim == 3:
            raise ValueError(f"texts: {self.info.method} learns codes for each view; encode pictures or texts")
        image, rows = self.features("image", images)
        text, known = self.view("text"), self._known().makers[self.view("text")]
        codes, both = np.array(encode(self, rows, image)), understood(known, texts)
        if both.any():
            some = {image: rows[both], text: self.features("text", [t for t, b in zip(texts, both) if b])[1]}
            codes[both] = _encode_all(self, [some[m] for m in sorted(some)])
        return jnp.asarray(codes)

    @checked
    def search(
        self, *, text: str | None = None, image: Any = None, k: Annotated[int, checks.Whole(1)] = 10
    ) -> list[Answer]:
        """The training items nearest to a new text or picture.

        Args:
            text: what to search for; or
            image: a picture: a file, a Pillow picture, or an array.
            k: answers, fewer where there are fewer items.

        Raises:
            ValueError: neither or both are given; otherwise as for `encode_texts`.
            FileNotFoundError: a picture file is not there.

        Example:
            >>> from jaxcmh.datasets import Maker
            >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
            >>> vocabulary = tuple(f"word{i}" for i in range(split.train.views[1].shape[1]))
            >>> split = split._replace(makers=(Maker("photo"), Maker("words", vocabulary)))
            >>> model = train("dcgh", split.train.views, split.train.labels, bits=16).with_catalogue(split)
            >>> [answer.rank for answer in model.search(text="word0 word7", k=1)]
            [1]
        """
        if (text is None) == (image is None):
            raise ValueError("text: expected either a text or an image")
        view, rows = self.features("text", [text]) if image is None else self.features("image", [image])
        return answers(self, rows, view, min(k, self._known().pairs[0]))[0]

    def features(self, kind: str, raw: Sequence[Any]) -> tuple[int, np.ndarray]:
        """Number and rows of the view "text" or "image" of new things."""
        return self.view(kind), rows_of(self._known(), kind, raw)

    def view(self, kind: str) -> int:
        """The number of the view of this name."""
        names = self._known().view_names
        if kind not in names:
            raise ValueError(f"{kind}: the data set has no {kind} view; its views are {', '.join(names) or 'unnamed'}")
        return names.index(kind)

    def _known(self) -> Catalogue:
        if self.catalogue is None:
            raise ValueError(
                "model: nothing is known of its items and of how their features were made; load a run, or see "
                "Model.with_catalogue"
            )
        return self.catalogue


@checked
@shown_while("training")
def train(
    method: str | Method,
    views: Sources,
    labels: Labels,
    *,
    bits: Bits,
    seed: Seed = 0,
    params: Any = None,
    max_iterations: Iterations | None = None,
    tolerance: Weight | None = None,
    features: Any = None,
    hash_function: HashFunction = "ridge",
    precision: Precision | None = None,
    mesh: Mesh | None = None,
    room: Positive | None = None,
    growing: bool = False,
    stages: PathLike | None = None,
    codes: PathLike | None = None,
    progress: Callable[[int, int, float], Any] | None = None,
    verbose: bool | None = None,
) -> Model:
    """Learn codes for paired samples, and hash functions that encode new samples of either view.

    Args:
        method: a name of `jaxcmh.methods.registry` ("dcgh"), of a variant ("dcgh-d"), or a `Method`.
        views: M >= 2 arrays (n, d_m), NumPy, JAX or scipy.sparse; row i of each is one sample.  Memory-mapped arrays,
            HDF5 datasets and `jaxcmh.datasets.rows` are read a block of rows at a time.
        labels: (n, c) 0/1, or (n,) or (n, 1) integer classes; nothing is learned from rows without.
        bits: code length, a positive multiple of 8.
        seed: of anchors and of the random start.
        params: the method's Params or a dict of those that differ from its defaults.
        max_iterations, tolerance: see `core.fit`; the method's own if None.
        features: `Features`, the name of a kind, or one of them for each view; the method's own if None.
        hash_function: "ridge", the method's own, linear in the mapped features; or "mlp", a network with one hidden
            layer that predicts each bit (`encoders.mlp`), for any method but a look-up one.
        precision: as for `core.prepare`; "float64" runs the same training in float64, as a check.
        mesh: train on these devices, each with its share of the rows, see `jaxcmh.mesh.row_mesh`; the codes are those
            of one device up to rounding, and the model is on the first device.  An MLP is trained there too.  Devices
            may be of several processes (`jax.distributed`), each of which calls this with the same arguments, reads its
            rows alone of views that are read, and gets the whole model; not an MLP.
        room: GB that the mapped features may take; where they take more, they are computed anew, a block of rows at a
            time, whenever they are wanted: memory beyond labels and codes does not grow with n, and the codes are the
            same up to rounding.  If None, 2 where a view is read from outside of memory and there is no mesh, else no
            limit.
        growing: keep what `grow` needs to learn from more pairs: 8 p² bytes, p being all mapped features and twice the
            labels; the sum of the mapped features of each label set; and those of each item without labels.  For
            methods whose codes follow from the label set.
        stages: folder to keep finished stages in (feature maps and reduction, state after the fit, model): the same
            training with the same folder goes on after the last one.  That the rows are the same is taken on trust.
            The folder is yours to remove.
        codes: folder for the codes of the items, which are written as they are computed and memory-mapped instead of
            kept in memory: learned.npy has `Model.codes`, encoded_0.npy, encoded_1.npy and so on have `Model.encoded`.
            It appears whole or not at all, and is needed for as long as the model is used; `save` copies them.
        progress: called after each pass over the samples that trains an MLP, with the view, the number of passes and
            the cross entropy on held-out samples.
        verbose: show on standard error what is being done; if None, a moving line in a terminal or a notebook, and
            elsewhere one line after two seconds. False is silent.

    Returns:
        A `Model`.  A training with a tolerance that `max_iterations` end before it has converged gives a warning, as do
        bits that are the same for all items, a view whose items all get one code when encoded, and rows without labels:
        their codes are those of the hash functions.

    Raises:
        ValueError: an argument is not as described; the message names it, what was given and what is allowed.  Or the
            method has no finite solution, or gives all items the same code; the message says why.
        FileExistsError: there is something in the folder `codes`.

    Example:
        >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
        >>> model = train("dcgh", split.train.views, split.train.labels, bits=16)
        >>> model.codes.shape == (len(split.train.labels), 2)
        True
    """
    make_room()
    method = find(method)
    params = checks.params(params, method.params)
    max_iterations, tolerance = core.endings(method, max_iterations, tolerance)
    checks.choice(hash_function, "hash_function", ("ridge",) if method.codebooks else ("ridge", "mlp"))
    n = views[0].shape[0]
    host_labels = checks.labels(labels, "labels", n)
    labelled = host_labels.any(1)
    checks.enough_rows(int(labelled.sum()), bits, host_labels.shape[1])
    if growing:
        _check_growing(method, {"mesh": mesh is not None, "hash_function": hash_function == "mlp"})
    _say_unlabelled(labelled)
    chosen = resolve_features(features, method, len(views))

    info = Info(
        method=method.name,
        bits=bits,
        seed=seed,
        max_iterations=max_iterations,
        tolerance=tolerance,
        params=tuple(params._asdict().items()),
        features=chosen,
        hash_function=hash_function,
        n=n,
        dims=tuple(x.shape[1] for x in views),
        version=jaxcmh.__version__,
    )
    if codes is not None:
        if several(mesh):
            raise ValueError("codes: expected None, for each of several processes has the codes in its own memory")
        store.free(codes)
        store.room(codes, n * bits // 8 * (1 + len(views)))
    kept, done = None, 0
    if stages is not None:
        try:
            Path(stages).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"stages: expected a folder, or a name that is free; got {stages} ({error})") from None
        told = {"precision": precision, "growing": growing, "devices": devices_of(mesh)}
        told |= {"x64": bool(jax.config.read("jax_enable_x64")), "labels": store.digest([("", host_labels)])}
        kept = Kept(Path(stages), json.loads(json.dumps(store.plain({"info": info, **told}))), mesh)
        done = finished_stages.reached(kept)
        if done == len(finished_stages.STAGES):
            finished_stages.read(kept, "features", lambda *_: None)
            model = load(kept.file("model"))
            if model.info != info:
                raise ValueError(finished_stages.of_another(kept))
            if codes is None:
                return model
            with store.folder(codes) as place:
                _in_files((model.codes, *model.encoded), place)
            return _with_codes_of(model, codes)

    start = time.perf_counter()
    key = random.key(seed)
    keep = _fits(
        ROOM if room is None and mesh is None and any(map(checks.is_read, views)) else room, views, chosen, host_labels
    )
    if not keep:
        refused = {"mesh": mesh is not None, "hash_function": hash_function == "mlp"}
        refused["precision"] = precision == "float32" or jax.default_backend() not in ("cpu", "gpu")
        for name in (name for name, given in refused.items() if given):
            raise ValueError(f"{name}: this one wants mapped features in memory; give more room, or another value")
    if several(mesh) and hash_function == "mlp":
        raise ValueError("hash_function: expected 'ridge', for one process trains an MLP; got 'mlp'")
    views = [streaming.source(x, f"views[{m}]", keep, share(n, mesh)) for m, x in enumerate(views)]
    known_R, maps = None, None
    if kept is not None and done:
        maps, known_R = finished_stages.read(kept, "features", lambda _, a: (_maps(a, chosen), a.get("R")))
    maps, mapped_views = _mapped(chosen, key, views, mesh, keep, maps)
    known, known_labels = mapped_views, host_labels
    if not labelled.all():
        known, known_labels = _labelled_rows(maps, mapped_views, views, labelled, mesh), host_labels[labelled]
    # A run that grows keeps all label columns, so that new ones can be put below them.
    label_rows = core.LABEL_ROWS if growing else method.label_rows
    data = core.prepared(known, known_labels, precision, method.across, label_rows, known_R)
    if kept is not None and not done:
        R = {} if data.turned is None or data.turned.R is None else {"R": here(data.turned.R, mesh)}
        finished_stages.keep(kept, "features", _parts_of(maps) | R)
    summary = summarised(data, mapped_views, labelled) if growing else None
    data = jax.block_until_ready(data if mesh is None else shard_rows(data, mesh))
    data = jax.block_until_ready(core.known(method, data, bits))
    del host_labels, known_labels
    mapped = time.perf_counter()
    ends = {"max_iterations": max_iterations, "tolerance": tolerance}
    fit_key = random.fold_in(key, len(views))
    if kept is not None and done > 1:
        like = _like_the_state(method, data, fit_key, params, bits)
        state, objective, converged = finished_stages.state(kept, like, len(data.mask))
    else:
        state, objective, converged = _fit(method, data, fit_key, params, bits, views, **ends)
        if kept is not None:
            finished_stages.keep_state(kept, state, objective, int(converged), len(data.mask))
    learned = time.perf_counter()
    found, codebooks = _finished(state, data, params, method, bits)
    del state
    # Whatever it was trained in, a model is in the precision of those who use it.
    found, codebooks, known, every, objective = _as_used(
        jax.block_until_ready((found, codebooks, data.features, mapped_views, objective))
    )
    *found, item_codes, diagnostics = found
    (encoders, unlabelled), codebooks, diagnostics, objective = here((found, codebooks, diagnostics, objective), mesh)
    if hash_function == "mlp":
        if isinstance(encoders[0], Translated):
            raise ValueError(f"hash_function: expected 'ridge', for {method.name} translates its codes; got 'mlp'")
        item_codes, known = here((item_codes, known), mesh)
        encoders = mlp(
            item_codes.astype(objective.dtype),
            data._replace(features=known),
            random.fold_in(key, len(views) + 1),
            progress=progress,
        )
    if not all(np.isfinite(np.asarray(W)).all() for W in jax.tree.leaves(encoders)):
        raise ValueError(_no_solution(method, params, views))
    hashes = everywhere((encoders, codebooks, unlabelled), mesh)
    with nullcontext() if codes is None else store.folder(codes) as place:
        packed, encoded = _codes_of_items(item_codes, every, hashes, labelled, mesh, place)
        _check_codes(method, np.asarray(packed)[..., labelled, :], codebooks is None)
        for m, view_codes in enumerate(map(np.asarray, encoded)):
            if (view_codes == view_codes[0]).all():
                warnings.warn(
                    f"views[{m}]: all items get the same code when encoded, so that a search by this view finds "
                    "nothing; do its rows differ?",
                    stacklevel=3,
                )
    jax.block_until_ready(encoded)
    finished = time.perf_counter()

    times = {"features": mapped - start, "fit": learned - mapped, "hash": finished - learned}
    model = Model(
        *(maps, encoders, packed, encoded, codebooks, unlabelled, objective, int(converged), diagnostics, times, info),
        summary=summary,
    )
    if kept is not None:
        save(model, kept.file("model"))
    return model if codes is None else _with_codes_of(model, codes)


def _code_files(folder: PathLike, views: int) -> list[Path]:
    """The files for the learned codes, and for those of each view that the hash functions give."""
    return [Path(folder, f"{name}.npy") for name in ("learned", *(f"encoded_{m}" for m in range(views)))]


def _with_codes_of(model: Model, folder: PathLike) -> Model:
    """The model with the codes of a folder, memory-mapped."""
    files = _code_files(folder, len(model.encoded))
    codes, *encoded = (np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
    return replace(model, codes=codes, encoded=tuple(encoded))


def _in_files(arrays: Sequence[Any], folder: PathLike) -> list[Any]:
    """Learned codes, and those of each view, in the files for them, in which some of them may be already."""
    files = _code_files(folder, len(arrays) - 1)
    return [
        a if isinstance(a, np.memmap) else store.mapped(file, len(a), [np.asarray(a)]) for file, a in zip(files, arrays)
    ]


def _mapped(
    features: Sequence[Features],
    key: Array,
    views: Sequence[Any],
    mesh: Mesh | None,
    keep: bool,
    maps: Sequence[FeatureMap] | None,
) -> tuple[tuple[FeatureMap, ...], tuple[Any, ...]]:
    """Feature maps, fitted unless they are given, and mapped features: arrays if they are kept, else `Streamed`."""
    if maps is None:
        keys = (random.fold_in(key, m) for m in range(len(views)))
        maps, mapped = zip(*(feature_maps.fit_map(*one, mesh, keep) for one in zip(features, keys, views)))
    elif keep:
        mapped = tuple(feature_maps.mapped_over(*pair, mesh) for pair in zip(maps, views))
    if not keep:
        mapped = tuple(map(Streamed, maps, views, (fitted.mean.dtype for fitted in maps)))
    return tuple(maps), mapped


def _labelled_rows(
    maps: Sequence[FeatureMap], mapped: Sequence[Any], views: Sequence[Any], labelled: np.ndarray, mesh: Mesh | None
) -> list[Any]:
    """The mapped features of the rows that have labels."""
    if not reduction.in_memory(*mapped):
        return [streaming.some(phi, labelled) for phi in mapped]
    if several(mesh):  # some of them may belong to another process: they are mapped again where they do
        some = np.flatnonzero(labelled)
        return [feature_maps.mapped_over(fitted, streaming.Source(x, some), mesh) for fitted, x in zip(maps, views)]
    return [feature_maps.spread(phi[: len(labelled)][labelled], mesh) for phi in mapped]


def _codes_of_items(
    codes: Array,
    mapped: tuple[Any, ...],
    hashes: tuple[Any, ...],
    labelled: np.ndarray,
    mesh: Mesh | None,
    place: Path | None,
) -> tuple[Any, tuple[Any, ...]]:
    """Codes of all items, learned ones where there are labels, and of each view those that the hash functions give.

    They are in files of the folder `place`, if there is one.
    """
    n, every = len(labelled), bool(labelled.all())
    files = [None] * len(mapped) if place is None else _code_files(place, len(mapped))[1:]
    if hashes[1] is None:  # no codebooks
        signs = pack if mesh is None else jax.jit(pack)  # which takes padding, and leaves codes on their devices
        packed = signs(codes)
        encoded = tuple(by_blocks(pack_signs, *one, file=file) for *one, file in zip(mapped, hashes[0], files))
    else:
        choose = (partial(quickly, choose_words, view=m) for m in range(len(mapped)))
        packed = codes
        encoded = tuple(by_blocks(one, phi, *hashes[1:], file=file) for one, phi, file in zip(choose, mapped, files))
    of_all = of_all_views if mesh is None else jax.jit(of_all_views)
    guessed = None if every else by_blocks(of_all, mapped, *hashes)
    packed, encoded, guessed = here((packed, encoded, guessed), mesh)
    packed = packed[..., : labelled.sum(), :]
    if mesh is not None:
        encoded, guessed = jax.tree.map(lambda x: x[:n], (encoded, guessed))
    packed = packed if guessed is None else beside(packed, np.flatnonzero(labelled), encoded, guessed)
    if place is not None:
        packed, *encoded = _in_files((packed, *encoded), place)
    return packed, tuple(encoded)


def _fits(room: float | None, views: Sequence[Any], features: Sequence[Features], labels: np.ndarray) -> bool:
    """Whether mapped features are kept in memory: there is room, or there are fewer rows than reduced rows would be."""
    n = len(labels)
    width = sum(widths(features, [x.shape[1] for x in views], n))
    return room is None or 4 * n * width <= room * 1e9 or int(labels.any(1).sum()) <= width + 2 * labels.shape[1] + 1


def by_blocks(function: Callable[..., Array], phi: Any, *rest: Any, file: Path | None = None) -> Any:
    """function(phi, ...) of mapped features (n, q), or of those of all views; a block at a time where they are read.

    Blocks are put into a file, if there is one.
    """
    views = phi if isinstance(phi, tuple) else (phi,)
    if reduction.in_memory(*views):
        return function(phi, *rest)
    n = views[0].shape[0]
    rows = (tuple(view[i : i + ENCODE_ROWS] for view in views) for i in range(0, n, ENCODE_ROWS))
    blocks = (np.asarray(function(some if isinstance(phi, tuple) else some[0], *rest)) for some in rows)
    return jnp.asarray(np.concatenate(list(blocks))) if file is None else store.mapped(file, n, blocks)


def _fit(
    method: Method, data: core.Data, key: Array, params: Any, bits: int, views: Sequence[Any], **ends: Any
) -> core.Fit:
    """`core.fit`, which must come to numbers, and should have converged where it was to."""
    fit = core.fit(method, data, key, params, bits=bits, **ends)
    jax.block_until_ready(fit.state)  # answers an interrupt, as copying to NumPy does not
    objective, tolerance = np.asarray(fit.objective), ends["tolerance"]
    if not np.isfinite(objective).all():
        raise ValueError(_no_solution(method, params, views))
    if tolerance > 0 and not fit.converged:
        last = abs(objective[-1] - objective[-2]) / abs(objective[-2])
        warnings.warn(
            f"{method.name} had not converged after {ends['max_iterations']} iterations: the last one changed the "
            f"objective by {last:.1e} of itself, and tolerance is {tolerance:.1e}",
            stacklevel=5,
        )
    return fit


def _like_the_state(method: Method, data: core.Data, key: Array, params: Any, bits: int) -> Any:
    """A tree like the state of a training."""

    def start(data: core.Data) -> Any:
        return method.init(key, core.ready(method, data, bits), params, bits)

    with jax.enable_x64(data.mask.dtype == jnp.float64):
        return jax.eval_shape(start, data)


def _finished(state: Any, data: core.Data, params: Any, method: Method, bits: int) -> tuple[Any, Array | None]:
    """What `finish` makes of a state, and codebooks, if there are any."""
    with jax.enable_x64(data.mask.dtype == jnp.float64):
        found = quickly(_finish, state, data, params, method=core.bare(method), bits=bits)
        return found, method.codebooks(state) if method.codebooks else None


def _check_growing(method: Method, refused: Mapping[str, bool]) -> None:
    """Refuse what a model that grows cannot be."""
    if not method.by_labels:
        able = ", ".join(known.name for known in registry.values() if known.by_labels)
        raise ValueError(
            f"growing: {method.name} learns the code of each item from its own features, which are not kept; it works "
            f"with {able}"
        )
    for name in (name for name, given in refused.items() if given):
        raise ValueError(f"{name}: this one wants features of every item, which a model that grows does not keep")


def _say_unlabelled(labelled: Any) -> None:
    if not labelled.all():
        warnings.warn(
            f"labels: {(~labelled).sum()} of {len(labelled)} rows have none; nothing is learned from them, and their "
            "codes are those of the hash functions",
            stacklevel=5,
        )


@checked
@shown_while("training")
def grow(
    model: Model,
    views: Sources,
    labels: Annotated[Any, partial(checks.classes, some=False)],
    *,
    verbose: bool | None = None,
) -> Model:
    """A model of its training items and of new ones behind them, learned anew without the features of the old ones.

    Codes, codebooks and hash functions are those of a training on all pairs with the feature maps of the model, up to
    rounding; a learned code may change for every item.  Time and memory are those of the new pairs, and of iterations.
    From items without labels nothing is learned: they get codes of the hash functions, as in training, and the model
    keeps their mapped features, to encode them anew when it grows again.  Many of them are better added to an index.

    Args:
        model: trained with `growing=True`, or grown.
        views: new samples, as for `train`; of the dimensions of the model.
        labels: as for `train`, of the classes of the model; none of the new samples needs any.
        verbose: as for `train`.

    Returns:
        A `Model` that can grow again; without codes that the hash functions give its items, and without a catalogue.
        Rows without labels give a warning, as in training.

    Raises:
        ValueError: the model cannot grow, or there are other views or classes than in training.

    Example:
        >>> views, labels, _ = jaxcmh.load_dataset("synthetic", train=400, query=20).train
        >>> first = train("dcgh", [x[:300] for x in views], labels[:300], bits=16, features="identity", growing=True)
        >>> model = grow(first, [x[300:] for x in views], labels[300:])
        >>> model.info.n, model.codes.shape
        (400, (400, 2))
    """
    if model.summary is None:
        raise ValueError("model: expected one that was trained with growing=True; this one keeps nothing to grow from")
    info, method, c = model.info, find(model.info.method), model.summary.sets.shape[1]
    params = checks.params(dict(info.params), method.params)
    if tuple(x.shape[1] for x in views) != info.dims:
        raise ValueError(f"views: expected {info.dims} columns, as in training; got {tuple(x.shape[1] for x in views)}")
    host = checks.labels(labels, "labels", views[0].shape[0], some=False)
    if np.ndim(labels) == 1 and host.shape[1] < c:
        host = np.pad(host, ((0, 0), (0, c - host.shape[1])))
    if host.shape[1] != c:
        raise ValueError(f"labels: expected {c} classes, as in training; got {host.shape[1]}: train on all pairs anew")
    _say_unlabelled(host.any(1))

    start = time.perf_counter()
    read = [streaming.source(x, f"views[{m}]", keep=True) for m, x in enumerate(views)]
    features = [
        Streamed(fitted, x, fitted.mean.dtype)
        if isinstance(x, streaming.Source)
        else feature_maps.mapped_over(fitted, x, None)
        for fitted, x in zip(model.maps, read)
    ]
    summary = grown(model.summary, features, host, method.across)
    columns = [phi.shape[1] for phi in features]
    data = data_of(summary, columns, max(info.bits, c) + 1)
    data = core.known(method, data, info.bits)
    mapped = time.perf_counter()
    key, ends = random.key(info.seed), {"max_iterations": info.max_iterations, "tolerance": info.tolerance}
    fit = _fit(method, data, random.fold_in(key, len(views)), params, info.bits, read, **ends)
    learned = time.perf_counter()
    found, codebooks = _finished(fit.state, data, params, method, info.bits)
    encoders, unlabelled, codes, diagnostics = found
    if not all(np.isfinite(np.asarray(W)).all() for W in jax.tree.leaves(encoders)):
        raise ValueError(_no_solution(method, params, read))
    codes, bare = (pack(sign(codes)) if codebooks is None else codes)[summary.member], summary.member < 0
    _check_codes(method, np.asarray(codes)[~bare], codebooks is None)
    if bare.any():
        views = np.split(summary.unlabelled, np.cumsum(columns)[:-1], axis=1)
        codes = codes.at[bare].set(of_all_views(views, encoders, codebooks, unlabelled))
    return Model(
        model.maps,
        encoders,
        codes,
        (),
        codebooks,
        unlabelled,
        fit.objective,
        int(fit.converged),
        diagnostics,
        {"features": mapped - start, "fit": learned - mapped, "hash": time.perf_counter() - learned},
        info._replace(n=len(summary.member), version=jaxcmh.__version__),
        summary=summary,
    )


def encoded_of(model: Model, view: int) -> Array:
    """Codes that the hash functions give to the items of a model.

    Raises:
        ValueError: it has grown, and the features of its items are gone.
    """
    if not model.encoded:
        raise ValueError("database: expected 'learned', for a model that has grown keeps no features to encode")
    return model.encoded[view]


def _no_solution(method: Method, params: Any, views: Sequence[Any]) -> str:
    """Why a training ended in numbers that are none: features of extreme size, or else hyper-parameters."""
    steps = [range(0, x.shape[0], ENCODE_ROWS) for x in views]
    sizes = [max(float(abs(x[i : i + ENCODE_ROWS]).max()) for i in step) for x, step in zip(views, steps)]
    for m, size in enumerate(sizes):
        if not 1e-6 < size < 1e6:
            return (
                f"views[{m}]: {method.name} found no finite solution; the largest feature is {size:.1e}: scale the "
                "features to about 1, such as by features='standardise'"
            )
    return f"params: {method.name} found no finite solution for {params} on these features"


def _check_codes(method: Method, codes: np.ndarray, packed: bool) -> None:
    """Refuse codes that are all the same, and warn of bits that are."""
    codes = codes.reshape(-1, *codes.shape[-2:])
    if (codes == codes[:, :1]).all((1, 2)).any():
        raise ValueError(
            f"{method.name}: learned the same code for all items, which finds nothing; are there two label sets at "
            "least, and features that differ?"
        )
    if packed:
        differ = np.bitwise_or.reduce(codes ^ codes[:, :1], axis=1)
        constant = 8 * codes.shape[2] - int(np.bitwise_count(differ).sum(1).min())
        if constant:
            warnings.warn(
                f"{method.name}: {constant} of {8 * codes.shape[2]} bits are the same for all items", stacklevel=5
            )


def beside(learned: Array, labelled: Array | np.ndarray, encoded: Sequence[Array], guessed: Array) -> Array:
    """Codes of all items: learned ones where there are labels, else those of each view, or what all views guess."""
    whole = jnp.stack(encoded) if learned.ndim == 3 else guessed
    return whole.at[..., labelled, :].set(learned.astype(whole.dtype))


@exact
def of_all_views(views: Sequence[Array], encoders: Any, codebooks: Array | None, items: Unlabelled | None) -> Array:
    """Codes of items of which every view is known but no label: by the sum over the views."""
    if codebooks is None or items is None:
        return topk.pack(jnp.where(sum(project(W, phi) for phi, W in zip(views, encoders)) >= 0, 1, -1))
    sums = (phi @ V + offset for phi, V, offset in zip(views, items.V, items.offset))
    return nearest_words(sum(sums) / len(views), codebooks, items.G)


@exact
def finish(method: Method, state: Any, data: core.Data, params: Any) -> tuple[tuple[Any, ...], Any, Array, dict]:
    """Hash functions, how unlabelled items find words, codes, diagnostics."""
    unlabelled = method.unlabelled(state, data, params) if method.unlabelled else None
    diagnostics = method.diagnostics(state, data, params) if method.diagnostics else {}
    return method.encoder(state, data, params), unlabelled, method.codes(state, data, params), diagnostics


@partial(jax.jit, static_argnames=("method", "bits"))
def _finish(state: Any, data: core.Data, params: Any, *, method: Method, bits: int) -> Any:
    encoders, unlabelled, codes, diagnostics = finish(method, state, core.ready(method, data, bits), params)
    # A byte per bit is a quarter of what it was among other numbers, all of which are still there.
    return encoders, unlabelled, codes if method.codebooks else codes.astype(jnp.int8), diagnostics


def _as_used(tree: Any) -> Any:
    """Floats in the precision that they have here by default."""
    dtype = jnp.result_type(float)

    def cast(a: Array) -> Array:
        return a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) and a.dtype != dtype else a

    with jax.enable_x64(True):
        return jax.tree.map(cast, tree)


@partial(jax.jit, static_argnames="view")
@exact
def choose_words(phi: Array, codebooks: Array, items: Unlabelled, *, view: int) -> Array:
    """Words of mapped features of a view, for a look-up model."""
    return nearest_words(phi @ items.V[view] + items.offset[view], codebooks, items.G)


def pack(codes: Array) -> Array:
    """Packed codes, of codes that all views share or that each has of its own."""
    return topk.pack(codes) if codes.ndim == 2 else jnp.stack([topk.pack(B) for B in codes])


@jax.jit
@exact
def pack_signs(phi: Array, encoder: Array | MLP | Translated) -> Array:
    """Packed codes of mapped features."""
    return topk.pack(jnp.where(project(encoder, phi) >= 0, 1, -1))


@jax.jit
@exact
def pack_queries(phi: Array, encoder: Array | MLP | Translated) -> Array:
    """Packed codes that mapped features are searched with."""
    return topk.pack(jnp.where(ask(encoder, phi) >= 0, 1, -1))


multiply = jax.jit(exact(jnp.matmul))  # what a look-up model's queries are asked with


@checked
def encode(model: Model, x: Rows, view: int, mesh: Mesh | None = None, *, verbose: bool | None = None) -> Array:
    """Codes of samples that need not be in the training set.

    Args:
        model: a trained model.
        x: (n, d) raw features of one view, array or scipy.sparse.
        view: which view they are of, from 0.
        mesh: encode on these devices, each its share of the rows, see `jaxcmh.mesh.row_mesh`.
        verbose: as for `train`.

    Returns:
        uint8 codes: (n, bits/8) packed bits, bit j of byte b being bit 8b + j of the code; or (n, books) word
        indices for a look-up model.

    Raises:
        ValueError: no such view, or x is not a finite (n, d) array of that view.

    Example:
        >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
        >>> model = train("dcgh", split.train.views, split.train.labels, bits=16)
        >>> encode(model, split.query.views[1], 1).shape == (len(split.query.labels), 2)
        True
    """
    return jax.device_put(encoded_with(model, x, view, mesh, verbose))


def encoded_with(
    model: Model, x: Any, view: int, mesh: Mesh | None = None, verbose: bool | None = None, name: str = "x"
) -> np.ndarray:
    """`encode` of rows that are checked already, on the host; `name` is what messages call them."""
    if model.codebooks is None or model.unlabelled is None:
        return _by_rows(model, x, view, pack_signs, mesh, verbose, name)
    words = everywhere((model.codebooks, model.unlabelled), mesh)

    def choose(phi: Array, _: Any) -> Array:
        return choose_words(phi, *words, view=view)

    return _by_rows(model, x, view, choose, mesh, verbose, name)


@checked
def query_vectors(model: Model, x: Rows, view: int, mesh: Mesh | None = None) -> Array:
    """What a query is searched with: packed codes, or real vectors (n, bits) for a look-up model.

    Args, errors: as for `encode`.

    Example:
        >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
        >>> model = train("dcgh", split.train.views, split.train.labels, bits=16)
        >>> query_vectors(model, split.query.views[1], 1).shape
        (20, 2)
    """
    return jax.device_put(asked_with(model, x, view, mesh))


def asked_with(model: Model, x: Any, view: int, mesh: Mesh | None = None, name: str = "x") -> np.ndarray:
    """`query_vectors` of rows that are checked already, on the host; `name` is what messages call them."""
    return _by_rows(model, x, view, pack_queries if model.codebooks is None else multiply, mesh, name=name)


def _encode_all(model: Model, views: Sequence[Any]) -> np.ndarray:
    """Codes of items of which all views are known."""
    blocks = []
    for i in range(0, len(views[0]), ENCODE_ROWS):
        rows = [x[i : i + ENCODE_ROWS] for x in views]
        mapped = [feature_maps.mapped(fitted, _filled_up(x)) for fitted, x in zip(model.maps, rows)]
        codes = of_all_views(mapped, model.encoders, model.codebooks, model.unlabelled)
        blocks.append(np.asarray(codes)[: len(rows[0])])
    return np.concatenate(blocks)


def _by_rows(
    model: Model,
    x: Any,
    view: int,
    represent: Any,
    mesh: Mesh | None = None,
    verbose: bool | None = False,
    name: str = "x",
) -> np.ndarray:
    view = checks.Whole(0, len(model.maps) - 1)(view, "view")
    if x.shape[1] != model.info.dims[view]:
        raise ValueError(f"{name}: expected {model.info.dims[view]} columns, as in training; got shape {x.shape}")
    wide = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    if x.shape[0] == 1 and not scipy.sparse.issparse(x) and not wide and mesh is None:
        row = model.row_hashes[view]
        code = None if row is None else one_row.code(row, np.asarray(x))
        if code is not None:
            return code
    blocks, encoder = [], everywhere(model.encoders[view], mesh)
    step = ENCODE_ROWS * devices_of(mesh)
    with progress(-(-x.shape[0] // step), verbose) as steps:
        steps.step("encoding")
        for i in range(0, x.shape[0], step):
            rows = x[i : i + step]
            found = represent(feature_maps.mapped(model.maps[view], _filled_up(rows), mesh), encoder)
            blocks.append(np.asarray(found)[: rows.shape[0]])
            steps.advance()
    return np.concatenate(blocks)


def _filled_up(rows: Any) -> Any:
    """Rows with zeros behind them, of one of the few numbers that are compiled for, see `topk.roomy`."""
    n = topk.roomy(rows.shape[0])
    if n == rows.shape[0]:
        return rows
    if not scipy.sparse.issparse(rows):
        return topk.filled_up(np.asarray(rows), n)
    rows = rows.copy()
    rows.resize(n, rows.shape[1])
    return rows


@checked
def directions(views: Annotated[int, checks.Whole(1, 100)]) -> dict[str, tuple[int, int]]:
    """Names of all (query view, database view) pairs: i2t and t2i for two views, else view0->view1 and so on.

    Example:
        >>> directions(2)
        {'i2t': (0, 1), 't2i': (1, 0)}
    """
    if views == 2:
        return {"i2t": (0, 1), "t2i": (1, 0)}
    return {f"view{a}->view{b}": (a, b) for a in range(views) for b in range(views) if a != b}


@checked
@shown_while("evaluating")
def evaluate(
    model: Model,
    query_views: Views,
    query_labels: Labels,
    database_labels: Labels,
    database: Database = "learned",
    ties: metrics.Ties = "expected",
    at: int | None = None,
    database_views: Views | None = None,
    divisor: metrics.Divisor = "retrieved",
    beyond_map: bool = False,
    mesh: Mesh | None = None,
    *,
    verbose: bool | None = None,
) -> dict[str, Any]:
    """Mean average precision of every direction, with all that says how it was measured.

    Args:
        model: a trained model.
        query_views: one (n_q, d_m) array a view.
        query_labels: (n_q, c) 0/1 or (n_q,) classes.
        database_labels: labels of the database items, which are the training items unless `database` is "held_out".
        database: "learned" (training items keep the codes learned with their labels: what papers report),
            "encoded" (the same items encoded by the hash functions: what a deployed system sees), or "held_out"
            (items never trained on, given as `database_views`).
        ties: "expected" (mean over all orders of tied items) or "stable" (database order).
        at: cut the ranking at this rank; the whole database if None.
        database_views: one (n_db, d_m) array a view, for "held_out" only.
        divisor: of a cut-off average precision, see `metrics.hamming_metrics`.
        beyond_map: measure NDCG@10, known-item recall and precision within 2 bits too, see `metrics.beyond_map`; what
            belongs to a query is the same sample in the other view, encoded by the hash functions.
        mesh: evaluate on these devices, each its share of the queries and all of the database's codes; the numbers are
            those of one device.
        verbose: as for `train`.

    Returns:
        dict with the mAP of each direction ("i2t", "t2i"; "view0->view2" and so on for more than two views),
        n_queries, n_without_relevant (queries not averaged), n_database, method, bits, database, ties, at, divisor, and
        "metrics": for each direction a `metrics.Metrics` with per-query AP and curves. With `beyond_map` "measures":
        for each direction name -> value.

    Raises:
        ValueError: an argument is not as described, rows or classes do not match, or `beyond_map` of look-up codes.

    Example:
        >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
        >>> model = train("dcgh", split.train.views, split.train.labels, bits=16)
        >>> report = evaluate(model, split.query.views, split.query.labels, split.train.labels)
        >>> 0 < report["i2t"] <= 1 and report["ties"] == "expected"
        True
    """
    views = len(model.maps)
    _check_count(query_views, "query_views", views)
    if (database == "held_out") != (database_views is not None):
        raise ValueError(f"database_views: expected with database='held_out', and only then; got database={database!r}")
    queries = [query_vectors(model, x, view, mesh) for view, x in enumerate(query_views)]
    if database_views is not None:
        _check_count(database_views, "database_views", views)
        items = [encode(model, x, view, mesh) for view, x in enumerate(database_views)]
    else:
        items = [encoded_of(model, m) if database == "encoded" else of_view(model.codes, m) for m in range(views)]
    paired = [encode(model, x, view, mesh) for view, x in enumerate(query_views)] if beyond_map else None
    options = {"database": database, "ties": ties, "at": at, "divisor": divisor, "paired": paired, "mesh": mesh}
    return measured(model, queries, items, query_labels, database_labels, **options)


def measured(
    model: Model,
    queries: Sequence[Any],
    items: Sequence[Any],
    query_labels: Any,
    database_labels: Any,
    *,
    database: str,
    ties: metrics.Ties,
    at: int | None,
    divisor: metrics.Divisor = "retrieved",
    paired: Sequence[Any] | None = None,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """`evaluate`, of what queries are searched with (`query_vectors`) and of codes of the items, one array a view.

    With `paired`, the codes of the queries' samples, also what is beyond mAP.
    """
    if paired is not None and model.codebooks is not None:
        raise ValueError(
            f"beyond_map: expected packed codes, which have distances; {model.info.method} has look-up codes"
        )
    options: dict[str, Any] = {"ties": ties, "at": at, "divisor": divisor, "mesh": mesh}
    found = {}
    for name, (a, b) in directions(len(queries)).items():
        if model.codebooks is None:
            found[name] = metrics.hamming_metrics(queries[a], items[b], query_labels, database_labels, **options)
        else:
            found[name] = metrics.score_metrics(
                queries[a], items[b], model.codebooks, query_labels, database_labels, **options
            )
    first = next(iter(found.values()))
    measures = {}
    if paired is not None:
        for name, (a, b) in directions(len(queries)).items():
            codes, labels = (queries[a], items[b], paired[b]), (query_labels, database_labels)
            measures[name] = metrics.beyond_map(found[name], *codes, *labels, ties=ties)
    return {
        **{name: measure.map for name, measure in found.items()},
        "n_queries": first.n_queries,
        "n_without_relevant": first.n_without_relevant,
        "n_database": len(database_labels),
        "method": model.info.method,
        "bits": model.info.bits,
        "database": database,
        "ties": ties,
        "at": at,
        "divisor": divisor,
        "metrics": found,
        **({"measures": measures} if measures else {}),
    }


@checked
def search(
    model: Model, x: Rows, view: int, k: int, mesh: Mesh | None = None, *, verbose: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k training items nearest to each query, by their learned codes.

    Where a method learns codes for each view, an item's are those of the view after the query's; after the last comes
    the first.

    Args:
        model: a trained model.
        x: (n_q, d) raw features of one view.
        view: which view they are of, from 0.
        k: results per query, at most the number of training items.
        mesh: search on these devices: each encodes its share of the queries, and then seeks the nearest to all of them
            in its share of the items, which are laid out anew by each call; to search often, see `jaxcmh.index.spread`.
        verbose: as for `train`, of more than 1,000 queries.

    Returns:
        scores and ids, both (n_q, k) and of NumPy, as those of an index: Hamming distances ascending, or look-up scores
        descending; ids are rows of the training set, ascending within ties.

    Raises:
        ValueError: no such view, x not of that view, or k not from 1 to the number of items.

    Example:
        >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
        >>> model = train("dcgh", split.train.views, split.train.labels, bits=16)
        >>> distances, ids = search(model, split.query.views[1], 1, k=5)
        >>> bool((distances[:, 0] <= distances[:, 4]).all())
        True
    """
    with for_many(x.shape[0], "searching", verbose):
        queries, own = asked_with(model, x, view, mesh), (view + 1) % (len(model.maps) if model.codes.ndim == 3 else 1)
        blocks = model.blocks[own] if mesh is None else topk.arrange(of_view(model.codes, own), mesh.size)
        if model.codebooks is None:
            scores, ids = topk.nearest(queries, blocks, k, mesh=mesh)
        else:
            scores, ids = topk.lookup_topk(queries, blocks, model.codebooks, k, mesh=mesh)
        return np.asarray(scores), np.asarray(ids)


def among(model: Model, kind: str, view: int) -> Model:
    """The model that searches its "learned" or its "encoded" codes of the items of a view."""
    return replace(model, codes=of_view(model.codes, view) if kind == "learned" else encoded_of(model, view))


def answers(model: Model, x: Rows, view: int, k: int, mesh: Mesh | None = None) -> list[list[Answer]]:
    """`search`, with what the catalogue knows of the items; of several pairs of one picture, the best.

    Args:
        model: a model with a catalogue.
        x, view, mesh: as for `search`.
        k: answers per query, from 1 to the number of pictures.
    """
    known = model._known()
    things, most = known.pairs
    k = checks.Whole(1, things)(k, "k")
    found = []
    scores, rows = search(model, x, view, min(k * most, model.info.n), mesh)
    for own, at in zip(scores, rows):
        _, first = np.unique(known.things[at], return_index=True)
        kept = np.sort(first)[:k]
        found.append([_answer(known, *one) for one in zip(ranks(own[kept]), own[kept].tolist(), at[kept].tolist())])
    return found


def _answer(known: Catalogue, rank: int, score: float, row: int) -> Answer:
    name, text = (values[row] if values else "" for values in (known.names, known.texts))
    return Answer(rank, score, int(known.ids[row]), row, name, known.labels_of(row), text)


def ranks(scores: Any) -> list[int]:
    """Ranks of sorted scores, equal ones for equal scores.

    >>> ranks([0, 0, 3, 4, 4])
    [1, 1, 3, 4, 4]
    """
    scores = np.asarray(scores)
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])[: len(scores)]
    return (np.repeat(starts, np.diff(np.r_[starts, len(scores)])) + 1).tolist()


@checked
def save(model: Model, path: PathLike) -> None:
    """Write a model as one safetensors file with a JSON header; the file appears whole or not at all.

    Args:
        model: a trained model.
        path: the file to write; one that is there is replaced.

    Raises:
        ValueError: the folder of `path` does not exist.

    Example:
        >>> import tempfile
        >>> split = jaxcmh.load_dataset("synthetic", train=200, query=20)
        >>> model = train("dcgh", split.train.views, split.train.labels, bits=16)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(model, f"{folder}/model.safetensors")
        ...     bool((load(f"{folder}/model.safetensors").codes == model.codes).all())
        True
    """
    arrays = {"codes": model.codes, "objective": model.objective}
    arrays |= {f"encoded.{m}": codes for m, codes in enumerate(model.encoded)}
    arrays |= {} if model.summary is None else {f"growing.{name}": a for name, a in model.summary._asdict().items()}
    arrays |= _parts_of(model.maps)
    for m, encoder in enumerate(model.encoders):
        parts = encoder._asdict() if isinstance(encoder, MLP | Translated) else {"W": encoder}
        arrays |= {f"encoders.{m}.{name}": part for name, part in parts.items()}
    if model.codebooks is not None and model.unlabelled is not None:
        arrays |= {"codebooks": model.codebooks, "unlabelled.G": model.unlabelled.G}
        for m, (V, offset) in enumerate(zip(model.unlabelled.V, model.unlabelled.offset)):
            arrays |= {f"unlabelled.V.{m}": V, f"unlabelled.offset.{m}": offset}
    info = model.info._asdict()
    info["params"] = dict(model.info.params)
    info["features"] = [f._asdict() for f in model.info.features]
    known, parts = (None, {}) if model.catalogue is None else catalogues.stored(model.catalogue)
    arrays |= parts
    header = {
        "format": FORMAT,
        "info": info,
        "catalogue": known,
        "diagnostics": {name: float(value) for name, value in model.diagnostics.items()},
        "times": {name: float(value) for name, value in model.times.items()},
        "converged": int(model.converged),
    }
    store.write(path, KIND, header, {name: np.asarray(array) for name, array in arrays.items()})


@checked
def load(path: PathLike) -> Model:
    """Read a model written by `save`; nothing in the file is executed.

    Args:
        path: the file, or a folder with a model.safetensors.

    Returns:
        The model, bit for bit.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, damaged, not a jaxcmh model, or of a later format.

    Example:
        >>> load("nowhere/model.safetensors")
        Traceback (most recent call last):
        FileNotFoundError: path: no jaxcmh model at nowhere/model.safetensors
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    checks.not_forked()
    return store.read(path, KIND, FORMAT, "jaxcmh model", _restored)


def _parts(kind: str) -> tuple[str, ...]:
    """The arrays of a feature map."""
    return "mean", "scale", "anchors", "sigma", *(["offset"] if kind == "rbf_centred" else [])


def _parts_of(maps: Sequence[FeatureMap]) -> dict[str, Array]:
    return {f"maps.{m}.{part}": getattr(one, part) for m, one in enumerate(maps) for part in _parts(one.kind)}


def _maps(arrays: Mapping[str, np.ndarray], features: Sequence[Features]) -> tuple[FeatureMap, ...]:
    return tuple(
        FeatureMap(**{part: jnp.asarray(arrays[f"maps.{m}.{part}"]) for part in _parts(f.kind)}, kind=f.kind)
        for m, f in enumerate(features)
    )


def _restored(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Model:
    info = dict(header["info"])
    if header["format"] == 1:
        info |= {"max_iterations": info.pop("iterations"), "tolerance": 0.0}
    features = tuple(Features(**f) for f in info.pop("features"))
    params = tuple((name, float(value)) for name, value in info.pop("params").items())
    maps = _maps(arrays, features)
    if info["hash_function"] == "mlp":
        encoders = tuple(
            MLP(*(jnp.asarray(arrays[f"encoders.{m}.{part}"]) for part in MLP._fields)) for m in range(len(maps))
        )
    else:
        encoders = tuple(jnp.asarray(arrays[f"encoders.{m}.W"]) for m in range(len(maps)))
        if "encoders.0.H" in arrays:
            encoders = tuple(Translated(W, jnp.asarray(arrays[f"encoders.{m}.H"])) for m, W in enumerate(encoders))
    unlabelled = None
    if "codebooks" in arrays:
        V, offset = (
            tuple(jnp.asarray(arrays[f"unlabelled.{part}.{m}"]) for m in range(len(maps))) for part in ("V", "offset")
        )
        unlabelled = Unlabelled(V, offset, jnp.asarray(arrays["unlabelled.G"]))
    model = Model(
        maps=maps,
        encoders=encoders,
        codes=jnp.asarray(arrays["codes"]),
        encoded=tuple(jnp.asarray(arrays[f"encoded.{m}"]) for m in range(len(maps) if "encoded.0" in arrays else 0)),
        codebooks=jnp.asarray(arrays["codebooks"]) if "codebooks" in arrays else None,
        unlabelled=unlabelled,
        objective=jnp.asarray(arrays["objective"]),
        converged=header.get("converged", 0),
        diagnostics=dict(header["diagnostics"]),
        times=dict(header["times"]),
        info=Info(**{**info, "dims": tuple(info["dims"]), "params": params, "features": features}),
        summary=_summary(arrays) if "growing.R" in arrays else None,
    )
    _check_parts(model)
    if header.get("catalogue") is None:
        return model
    known = catalogues.restored(header["catalogue"], arrays, model.info.n)
    if len(known.makers) not in (0, len(maps)) or len(known.view_names) not in (0, len(maps)):
        raise ValueError(f"makers: expected one for each of {len(maps)} views; got {len(known.makers)}")
    return replace(model, catalogue=known)


def _summary(arrays: Mapping[str, np.ndarray]) -> Summary:
    """What a file keeps of samples; one that was written before some could be without labels has labels for all."""
    arrays = {"growing.unlabelled": arrays["growing.sums"][:0], **arrays}
    return Summary(*(arrays[f"growing.{name}"] for name in Summary._fields))


def _check_parts(model: Model) -> None:
    """Refuse parts of a file that do not fit together, before a search or an encoding trips over them."""
    info = model.info
    for name in ("method", "version"):
        checks.instance(getattr(info, name), name, str, "text")
    width = checks.bits(info.bits, "bits") // 8 if model.codebooks is None else len(model.codebooks)
    for name in ("seed", "max_iterations"):
        checks.Whole(0)(getattr(info, name), name)
    checks.Number(0)(info.tolerance, "tolerance")
    checks.choice(info.hash_function, "hash_function", ("ridge", "mlp"))
    checks.Whole(0)(model.converged, "converged")
    if not len(info.dims) == len(info.features) >= 2:
        raise ValueError(f"dims: expected one for each of {len(info.features)} views; got {info.dims}")
    own = model.codes.shape[:-2] and (len(info.features),)  # codes for each view
    shapes = {"codes": (model.codes, (*own, info.n, width))}
    for m, (fitted, encoder, d, chosen) in enumerate(zip(model.maps, model.encoders, info.dims, info.features)):
        checks.fields(chosen, "features")
        anchors = len(fitted.anchors)
        mapped = anchors if chosen.kind in feature_maps.KERNELS else d
        first = encoder.W1 if isinstance(encoder, MLP) else encoder.W if isinstance(encoder, Translated) else encoder
        shapes |= {
            f"maps.{m}.mean": (fitted.mean, (d,)),
            f"maps.{m}.scale": (fitted.scale, (d,)),
            f"maps.{m}.anchors": (fitted.anchors, (anchors, d)),
            f"maps.{m}.sigma": (fitted.sigma.ravel(), (1,)),
            f"encoders.{m}": (first, (mapped, first.shape[-1])),
        }
    if len(model.encoded) != (len(info.features) if model.summary is None or model.encoded else 0):
        raise ValueError(f"encoded: expected codes of {len(info.features)} views; got {len(model.encoded)}")
    shapes |= {f"encoded.{m}": (codes, (info.n, width)) for m, codes in enumerate(model.encoded)}
    if model.summary is not None:
        check_summary(model.summary, info.n, [shapes[f"encoders.{m}"][1][0] for m in range(len(model.maps))])
    for name, (array, shape) in shapes.items():
        kind = "u" if name.startswith(("codes", "encoded")) else "f"
        if array.shape != shape or array.dtype.kind != kind:
            raise ValueError(f"{name}: expected shape {shape}; got {array.dtype} of shape {array.shape}")
    if model.codebooks is not None:
        topk.check_lookup(model.codes, model.codebooks)


def _check_count(views: Any, name: str, count: int) -> None:
    if len(views) != count:
        raise ValueError(f"{name}: expected {count} arrays, one per view; got {len(views)}")


def resolve_features(features: Any, method: Method, views: int) -> tuple[Features, ...]:
    """One checked `Features` a view, of what may be given as `features` to `train`."""
    if features is None:
        features = method.features
    if isinstance(features, str | Features):
        features = [features] * views
    if not isinstance(features, Sequence) or len(features) != views:
        raise ValueError(f"features: expected Features, a kind, or one of them for each of {views} views")
    if not all(isinstance(f, str | Features) for f in features):
        raise ValueError(f"features: expected Features or the name of a kind; got {features!r}")
    chosen = (method.features._replace(kind=f) if isinstance(f, str) else f for f in features)
    return tuple(checks.fields(f, "features") for f in chosen)
