"""Checks of input at the border: each returns its argument in a usable form, or raises a ValueError that names it."""

import functools
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import scipy.sparse

LARGEST = float(np.finfo(np.float32).max)


def rows(x: Any, name: str, columns: int | None = None) -> Any:
    """`x` as a finite real (n, d) array, or CSR matrix if it is sparse.

    Args:
        x: array-like or scipy.sparse matrix; rows are samples.
        name: the argument's name, for the message.
        columns: d, where it is known.

    Raises:
        ValueError: not numeric, not (n, d), empty, not finite, or another number of columns.
        RuntimeError: see `not_forked`.

    Example:
        >>> rows([[1.0, float("nan")]], "views[0]")
        Traceback (most recent call last):
        ValueError: views[0]: expected finite numbers; row 0 holds NaN or infinity (drop the row or fill the gap)
    """
    not_forked()
    if scipy.sparse.issparse(x):
        x = x.tocsr()
        values = x.data
    else:
        x = values = x if isinstance(x, jax.Array) else np.asarray(x)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers; got dtype {values.dtype}")
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name}: expected a non-empty (n, d) array, rows are samples; got shape {x.shape}")
    if columns is not None and x.shape[1] != columns:
        raise ValueError(f"{name}: expected {columns} columns, as in training; got shape {x.shape}")
    # Extremes need no copy of large features, which stay on their device; NaN is its own minimum.
    if values.dtype.kind == "f" and values.size and not (values.min() >= -LARGEST and values.max() <= LARGEST):
        dense = x.toarray() if scipy.sparse.issparse(x) else np.asarray(x)
        bad = int(np.argmin((np.abs(dense) <= LARGEST).all(1)))
        what = "a number beyond single precision" if np.isfinite(dense[bad]).all() else "NaN or infinity"
        raise ValueError(f"{name}: expected finite numbers; row {bad} holds {what} (drop the row or fill the gap)")
    return x


def labels(y: Any, name: str, n: int | None = None, classes: int | None = None) -> np.ndarray:
    """`y` as uint8 (n, c) of 0 and 1; integer classes (n,) become one-hot rows.

    Args:
        y: (n, c) array or sparse matrix of 0 and 1, or (n,) integer classes from 0.
        name: the argument's name, for the message.
        n: number of rows it must have.
        classes: c, where it is known.

    Raises:
        ValueError: other values, another shape, rows not aligned with n, or no label at all.

    Example:
        >>> labels([2, 0], "labels").tolist()
        [[0, 0, 1], [1, 0, 0]]
    """
    y = y.toarray() if scipy.sparse.issparse(y) else np.asarray(y)
    if y.dtype.kind not in "fiub" or y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(f"{name}: expected (n, c) of 0 and 1 or (n,) classes; got {y.dtype} of shape {y.shape}")
    if n is not None and len(y) != n:
        raise ValueError(f"{name}: expected {n} rows, one for each row of the views; got {len(y)}")
    if y.ndim == 1:
        if not ((y == np.floor(y)).all() and (y >= 0).all()):
            bad = int(np.argmin((y == np.floor(y)) & (y >= 0)))
            raise ValueError(f"{name}: expected classes 0, 1, 2, ...; row {bad} is {y[bad]}")
        count = int(y.max()) + 1 if classes is None else classes
        if y.max() >= count or (classes is None and count > 65_536):
            raise ValueError(f"{name}: expected classes below {min(count, 65_536)}; got class {int(y.max())}")
        return np.eye(count, dtype=np.uint8)[y.astype(int)]
    ok = ((y == 0) | (y == 1)).all(1)
    if not ok.all():
        raise ValueError(f"{name}: expected 0 and 1; row {int(np.argmin(ok))} holds another value")
    if classes is not None and y.shape[1] != classes:
        raise ValueError(f"{name}: expected {classes} classes; got shape {y.shape}")
    if not y.any():
        raise ValueError(f"{name}: expected labels; every row is empty")
    return y.astype(np.uint8)


def pairs(views: Any, y: Any) -> tuple[list[Any], np.ndarray]:
    """Views of the same samples, as `rows` gives them, and their labels, as `labels` does.

    Raises:
        ValueError: fewer than two views, rows not aligned, or what `rows` and `labels` refuse.

    Example:
        >>> pairs([np.ones((3, 2)), np.ones((2, 2))], [0, 1, 1])
        Traceback (most recent call last):
        ValueError: views[1]: expected 3 rows, as views[0] has; got shape (2, 2)
    """
    if not isinstance(views, Sequence) or len(views) < 2:
        given = len(views) if isinstance(views, Sequence) else type(views).__name__
        raise ValueError(f"views: expected a sequence of at least 2 arrays; got {given}")
    views = [rows(x, f"views[{m}]") for m, x in enumerate(views)]
    n = views[0].shape[0]
    for m, x in enumerate(views):
        if x.shape[0] != n:
            raise ValueError(f"views[{m}]: expected {n} rows, as views[0] has; got shape {x.shape}")
    return views, labels(y, "labels", n)


def enough_rows(n: int, bits: int, classes: int) -> None:
    """Refuse fewer samples than codes of this length can be learned from."""
    if n <= max(bits, classes):
        raise ValueError(f"views: expected more rows than bits ({bits}) and classes ({classes}); got {n}")


def bits(value: Any) -> int:
    """`value` as a code length in bits, a positive multiple of 8."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value <= 0 or value % 8:
        raise ValueError(f"bits: expected a positive multiple of 8; got {value!r}")
    return int(value)


def integer(value: Any, name: str, least: int, most: int | None = None) -> int:
    """`value` as an integer from `least` to `most`."""
    bounds = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    fits = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not fits or value < least or (most is not None and value > most):
        raise ValueError(f"{name}: expected {bounds}; got {value!r}")
    return int(value)


def number(value: Any, name: str, least: float) -> float:
    """`value` as a finite number of at least `least`."""
    fits = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not fits or not np.isfinite(value) or value < least:
        raise ValueError(f"{name}: expected a finite number of at least {least:g}; got {value!r}")
    return float(value)


def instance(value: Any, name: str, kind: type | tuple[type, ...], described: str) -> Any:
    """`value` if it is of the type, such as a model; `described` says what was expected."""
    if not isinstance(value, kind):
        raise ValueError(f"{name}: expected {described}; got {type(value).__name__}")
    return value


def key(value: Any, name: str = "key", axes: int = 0) -> jax.Array:
    """`value` as a key of `jax.random.key`, or as an array of keys with this many axes."""
    typed = isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)
    if not (typed and value.ndim == axes):
        expected = "(s,) keys" if axes else "one key"
        raise ValueError(f"{name}: expected {expected} made by jax.random.key; got {value!r}")
    return value


def choice(value: Any, name: str, allowed: Sequence[str]) -> str:
    """`value` if it is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}; got {value!r}")
    return value


def params(given: Any, defaults: Any) -> Any:
    """Hyper-parameters of a method: `defaults`, or a NamedTuple like it, or a dict of the values that differ.

    Raises:
        ValueError: a name the method does not have, or a value that is not a finite number.

    Example:
        >>> from jaxcmh.methods import registry
        >>> params({"alpha": 1.0}, registry["dcgh"].params)
        Params(alpha=1.0, beta=10.0, lam=0.01)
    """
    if given is None:
        return defaults
    if isinstance(given, dict):
        unknown = [name for name in given if name not in defaults._fields]
        if unknown:
            raise ValueError(f"params: expected names among {', '.join(defaults._fields)}; got {unknown[0]!r}")
        given = defaults._replace(**given)
    if getattr(given, "_fields", None) != defaults._fields:
        raise ValueError(f"params: expected a dict or {type(defaults).__name__}{defaults._fields}; got {given!r}")
    for name, value in zip(given._fields, given):
        try:
            finite = np.ndim(value) == 0 and np.isfinite(float(value))
        except (TypeError, ValueError):
            finite = False
        if not finite:
            raise ValueError(f"params.{name}: expected a finite number; got {value!r}")
    return given._replace(**{name: float(value) for name, value in zip(given._fields, given)})


@functools.cache
def _process() -> int:
    """The process that was the first to compute."""
    return os.getpid()


def not_forked() -> None:
    """Refuse to compute in a copy of a process that has computed: jax waits there for threads that were not copied.

    Raises:
        RuntimeError: this process was forked from one that had been here.
    """
    if _process() != os.getpid():
        raise RuntimeError(
            "this process was forked from one that has used jax, and would wait for ever for threads that it lacks: "
            "start it by multiprocessing.get_context('spawn')"
        )
