"""scikit-learn's manners (extra `sklearn`): an estimator for pipelines, cross-validation and grid search."""

from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np

from jaxcmh import checks
from jaxcmh.datasets.identity import Database
from jaxcmh.extras import require
from jaxcmh.learning.core import Method
from jaxcmh.methods import find
from jaxcmh.model import HashFunction, directions, encode, evaluate, train
from jaxcmh.retrieval.topk import unpack

require("sklearn", "sklearn")
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

__all__ = ["CrossModalHasher"]


class CrossModalHasher(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """`jaxcmh.train`, `encode` and `evaluate` as an estimator of scikit-learn.

    scikit-learn splits and scales one matrix X, so the views lie beside each other in its columns: `np.hstack` of them,
    or `scipy.sparse.hstack`, and `starts` says where the second view begins. A `ColumnTransformer` before it can
    prepare each view in its own way.

    Args:
        starts: column at which the second view begins; or of several views the columns at which each after the first
            does.
        method, bits, seed, params, features, max_iterations, tolerance, hash_function: as for `jaxcmh.train`; `params`
            is a dict. For a grid search each hyper-parameter has a name of its own, such as `params__alpha`.
        packed: whether `transform` gives packed bits instead of -1 and 1.
        database, at: which codes of the training items `score` searches and where it cuts rankings, as for
            `jaxcmh.evaluate`; "held_out" is none of them.
        verbose: as for `jaxcmh.train`, but silent unless it is asked for, for a search fits often.

    Attributes:
        model_: the trained `jaxcmh.Model`; `jaxcmh.search(hasher.model_, texts, view=1, k=10)` takes one view alone.
        labels_: labels of the training items, as they were given, or (n,) positions in `classes_`.
        classes_: the classes that were given, sorted; None if labels were given as 0 and 1.

    Example:
        >>> from sklearn.model_selection import GridSearchCV
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> import jaxcmh
        >>> data = jaxcmh.load_dataset("synthetic", train=300, query=40, dims=(16, 12))
        >>> X = np.hstack(data.train.views)
        >>> steps = make_pipeline(StandardScaler(), CrossModalHasher(16, bits=16, features="identity"))
        >>> grid = {"crossmodalhasher__params__lam": [0.01, 100.0]}
        >>> found = GridSearchCV(steps, grid, cv=2).fit(X, data.train.labels)
        >>> found.transform(np.hstack(data.query.views)).shape
        (40, 32)
        >>> 0.3 < found.score(np.hstack(data.query.views), data.query.labels) < 1
        True
    """

    def __init__(
        self,
        starts: int | tuple[int, ...] | None = None,
        *,
        method: str | Method = "dcgh",
        bits: int = 32,
        seed: int = 0,
        params: Mapping[str, float] | None = None,
        features: Any = None,
        max_iterations: int | None = None,
        tolerance: float | None = None,
        hash_function: HashFunction = "ridge",
        packed: bool = False,
        database: Database = "learned",
        at: int | None = None,
        verbose: bool | None = False,
    ) -> None:
        self.starts = starts
        self.method = method
        self.bits = bits
        self.seed = seed
        self.params = params
        self.features = features
        self.max_iterations = max_iterations
        self.tolerance = tolerance
        self.hash_function = hash_function
        self.packed = packed
        self.database: Database = database
        self.at = at
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> "CrossModalHasher":
        """Train on samples with labels.

        Args:
            X: (n, d_1 + d_2 + ...) the views beside each other, array, data frame or scipy.sparse.
            y: (n, c) of 0 and 1, or (n,) classes, numbers or text.

        Returns:
            The estimator itself.

        Raises:
            ValueError: `starts` are no columns of X, X is a pair of views, or as for `jaxcmh.train`.

        Example:
            >>> X = np.random.default_rng(0).normal(size=(60, 7))
            >>> CrossModalHasher(4, bits=8).fit(X, ["cat", "dog", "bird"] * 20).classes_.tolist()
            ['bird', 'cat', 'dog']
        """
        options: dict[str, Any] = {"accept_sparse": "csr", "ensure_min_samples": 2, "ensure_min_features": 2}
        X, y = validate_data(self, _matrix(X), y, multi_output=True, **options)
        check_classification_targets(y)
        if y.ndim == 2 and y.shape[1] > 1:
            self.classes_, self.labels_ = None, y
        else:
            self.classes_, self.labels_ = np.unique(np.ravel(y), return_inverse=True)
        names = ("bits", "seed", "params", "features", "max_iterations", "tolerance", "hash_function", "verbose")
        options = {name: getattr(self, name) for name in names}
        self.model_ = train(self.method, self._views(X), self.labels_, **options)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Codes of the views beside each other, each encoded by its hash function.

        Args:
            X: (n, d_1 + d_2 + ...) as for `fit`.

        Returns:
            (n, views * bits) float32 of -1 and 1; with `packed` or for a look-up method uint8 (n, views * bytes), as
            `jaxcmh.encode` gives them.

        Raises:
            ValueError: X has other columns than in training, or is not finite.

        Example:
            >>> X = np.random.default_rng(0).normal(size=(60, 7))
            >>> hasher = CrossModalHasher(4, bits=8).fit(X, np.arange(60) % 3)
            >>> hasher.transform(X[:5]).shape, hasher.set_params(packed=True).fit_transform(X, np.arange(60) % 3).shape
            ((5, 16), (60, 2))
        """
        check_is_fitted(self)
        X = validate_data(self, _matrix(X), accept_sparse="csr", reset=False)
        codes = [encode(self.model_, x, view, verbose=self.verbose) for view, x in enumerate(self._views(X))]
        return np.hstack([unpack(one) for one in codes] if self._signs else codes)

    def score(self, X: Any, y: Any) -> float:
        """Mean average precision over all directions: samples of each view search the training items of another.

        Args:
            X: (n_q, d_1 + d_2 + ...) queries, as for `fit`.
            y: their labels, of the same kind as in training; classes that are new have no item to be found.

        Returns:
            A number from 0 to 1.

        Raises:
            ValueError: as for `transform`, or labels do not match.

        Example:
            >>> X = np.random.default_rng(0).normal(size=(60, 7))
            >>> hasher = CrossModalHasher(4, bits=8).fit(X[:40], np.arange(40) % 3)
            >>> 0 < hasher.score(X[40:], np.arange(40, 60) % 3) < 1
            True
        """
        check_is_fitted(self)
        checks.choice(self.database, "database", ("learned", "encoded"))
        X, y = validate_data(self, _matrix(X), y, accept_sparse="csr", multi_output=True, reset=False)
        if self.classes_ is not None:
            y = np.ravel(y)
            places = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
            y = np.where(self.classes_[places] == y, places, len(self.classes_))
        protocol = {"database": self.database, "at": self.at, "verbose": self.verbose}
        report = evaluate(self.model_, self._views(X), y, self.labels_, **protocol)
        return float(np.mean([report[name] for name in directions(len(self.model_.maps))]))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Arguments by name; if deep, the method's hyper-parameters too, as `params__NAME`.

        Example:
            >>> CrossModalHasher(4, params={"alpha": 2.0}).get_params()["params__alpha"]
            2.0
        """
        known = super().get_params(deep=deep)
        if deep:
            with suppress(ValueError):  # a method that is none is refused by fit
                given = self.params if isinstance(self.params, Mapping) else {}
                values = {**find(self.method).params._asdict(), **given}
                known |= {f"params__{name}": value for name, value in values.items()}
        return known

    def set_params(self, **params: Any) -> "CrossModalHasher":
        """Set arguments, and hyper-parameters of the method as `params__NAME`; `fit` checks them.

        Example:
            >>> CrossModalHasher(4).set_params(bits=16, params__alpha=2.0).params
            {'alpha': 2.0}
        """
        inner = {name: params.pop(name) for name in list(params) if name.startswith("params__")}
        super().set_params(**params)
        if inner:
            own = {name.removeprefix("params__"): value for name, value in inner.items()}
            self.params = {**(self.params or {}), **own}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    @property
    def _signs(self) -> bool:
        return self.model_.codebooks is None and not self.packed

    @property
    def _n_features_out(self) -> int:  # read by get_feature_names_out
        return sum(codes.shape[1] for codes in self.model_.encoded) * (8 if self._signs else 1)

    def _views(self, X: Any) -> list[Any]:
        """The columns of each view."""
        starts = np.ravel(self.starts) if self.starts is not None else np.zeros(0, int)
        ends = [0, *starts.tolist(), X.shape[1]]
        if not len(starts) or starts.dtype.kind not in "iu" or not all(a < b for a, b in pairwise(ends)):
            raise ValueError(
                "starts: expected the column of X at which the second view begins, or rising columns for several "
                f"views, from 1 to {X.shape[1] - 1}; got {self.starts!r}"
            )
        return [X[:, a:b] for a, b in pairwise(ends)]


def _matrix(X: Any) -> Any:
    """X, unless it is the views one by one, as everything else in the package takes them."""
    if isinstance(X, list | tuple) and any(getattr(view, "ndim", 0) == 2 for view in X):
        raise ValueError(f"X: expected one matrix, the views beside each other: np.hstack(views); got {checks.got(X)}")
    return X
