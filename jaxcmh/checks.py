"""Checks of input at the border, which a function has by its annotations.

    @checked
    def search(model: Model, x: Rows, view: Natural, k: Count) -> ...

`checked` puts every argument into a usable form or raises a ValueError that names it, says what is expected and what
was given. What a type alone does not say stands in an alias, `Annotated[type, check, ...]`; a check takes a value and
its name, and returns the value or raises. Fields of NamedTuples have checks in the same way, see `fields`.

Nothing heavy is imported here, for the command line starts with it.
"""

import functools
import inspect
import math
import numbers
import os
import re
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union

T = TypeVar("T")
F = TypeVar("F", bound=Callable)
Check = Callable[[Any, str], Any]

LARGEST = float.fromhex("0x1.fffffep127")  # of single precision
MOST = 10_000_000  # of iterations, passes, draws: what is counted up to it fits into memory
SEEDS = 2**32 - 1
CLASSES = 65_536


# -- numbers, text, paths ---------------------------------------------------------------------------------------------


def _scalar(value: Any) -> Any:
    """The number in an array of no axes; everything else as it is, also what is masked."""
    bare = hasattr(value, "dtype") and getattr(value, "shape", None) == () and not hasattr(value, "mask")
    return value.item() if bare else value


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


class Whole(NamedTuple):
    """A check for integers from `least` to `most`; True and False are none."""

    least: int | None = None
    most: int | None = None

    def __call__(self, value: Any, name: str) -> int:
        value = value if type(value) is int else _scalar(value)
        fits = type(value) is int or _is(value, numbers.Integral)
        least, most = self
        if not (fits and (least is None or least <= value) and (most is None or value <= most)):
            raise ValueError(f"{name}: expected {self}; got {got(value)}")
        return int(value)

    def __str__(self) -> str:
        if self.most is not None and self.least is not None:
            return f"an integer from {self.least} to {self.most}"
        return "an integer" if self.least is None else f"an integer of at least {self.least}"


class Number(NamedTuple):
    """A check for numbers of single precision from `least` to `most`, and above `above`; True and False are none."""

    least: float = -LARGEST
    most: float = LARGEST
    above: float = -math.inf

    def __call__(self, value: Any, name: str) -> float:
        if is_traced(value):
            return value
        value = _scalar(value)
        fits = _is(value, numbers.Real)
        if not (fits and self.least <= value <= self.most and value > self.above):
            raise ValueError(f"{name}: expected {self}; got {got(value)}")
        return float(value)

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.least:g}"
        low = "" if self.least == -LARGEST else f" of at least {self.least:g}"
        low = low if self.above == -math.inf else f" above {self.above:g}"
        if self.most == LARGEST:
            return f"a finite number{low}"
        if self.above == -math.inf:
            return f"a number from {self.least:g} to {self.most:g}"
        return f"a number{low} and at most {self.most:g}"


class Has(NamedTuple):
    """A check for a mapping with these entries."""

    names: tuple[str, ...]

    def __call__(self, value: Any, name: str) -> Any:
        missing = [one for one in self.names if not isinstance(value, Mapping) or one not in value]
        if missing:
            raise ValueError(f"{name}: expected a mapping with {', '.join(missing)}; got {got(value)}")
        return value


def bits(value: Any, name: str) -> int:
    """`value` as a code length in bits, a positive multiple of 8."""
    if not _is(value, numbers.Integral) or not 0 < value <= CLASSES or value % 8:
        raise ValueError(f"{name}: expected a positive multiple of 8; got {got(value)}")
    return int(value)


def flag(value: Any, name: str) -> bool:
    """`value` as True or False; NumPy's are taken, numbers are not."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise ValueError(f"{name}: expected True or False; got {got(value)}")
    return bool(value)


def text(value: Any, name: str) -> str:
    """`value` as text that can be written to a file."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected text; got {got(value)}")
    if any("\ud800" <= sign <= "\udfff" for sign in value) or "\0" in value:
        raise ValueError(f"{name}: expected text without lone surrogates and zero characters; got {got(value)}")
    return value


def path(value: Any, name: str) -> Path:
    """`value` as the path of a file or folder."""
    if not isinstance(value, str | os.PathLike):
        raise ValueError(f"{name}: expected a path; got {got(value)}")
    try:
        fits = b"\0" not in os.fsencode(value) and os.fspath(value) != ""
    except UnicodeEncodeError:
        fits = False
    if not fits or not isinstance(os.fspath(value), str):
        raise ValueError(f"{name}: expected a path; got {got(value)}")
    return Path(value)


def series(value: Any, name: str, of: Any = float) -> Any:
    """A sequence or an array (n,) of numbers, or of what else an annotation says."""
    return _sequence(Sequence[of], value, name)


def filled(value: Any, name: str) -> Any:
    """`value` if there is something in it."""
    if not len(value):
        raise ValueError(f"{name}: expected at least one; got {got(value)}")
    return value


def instance(value: Any, name: str, kind: type | tuple[type, ...], described: str) -> Any:
    """`value` if it is of the type, such as a model; `described` says what was expected."""
    if not isinstance(value, kind):
        raise ValueError(f"{name}: expected {described}; got {got(value)}")
    return value


def choice(value: Any, name: str, allowed: Sequence[Any]) -> Any:
    """`value` if it is one of `allowed`."""
    if not any(isinstance(value, type(one)) and value == one for one in allowed):
        raise ValueError(f"{name}: expected one of {', '.join(map(str, allowed))}; got {got(value)}")
    return value


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100


def got(value: Any) -> str:
    """A value in a message: shape and type of an array, else what it looks like, cut short."""
    if hasattr(value, "dtype") and getattr(value, "shape", ()):
        return f"{value.dtype} of shape {value.shape}"
    return _short.repr(value)


# -- arrays -----------------------------------------------------------------------------------------------------------


def is_traced(x: Any) -> bool:
    """Whether x is what jax puts in the place of an array while it compiles: its numbers are not known."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.core.Tracer)


def array(x: Any, name: str, kinds: str = "fiub") -> Any:
    """`x` as an array of real numbers, or of other NumPy kinds: JAX's stay JAX's, half precision becomes single.

    Raises:
        ValueError: no array, one with masked entries, or of another kind.
        RuntimeError: see `not_forked`.
    """
    import numpy as np

    not_forked()
    jax = sys.modules.get("jax")
    if type(x) is not np.ndarray and not (jax is not None and isinstance(x, jax.Array)):
        if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
            raise ValueError(f"{name}: expected an array without masked entries (drop the rows or fill the gaps)")
        try:
            x = np.asarray(x)
        except Exception:  # whatever a foreign object does when it is asked for an array
            raise ValueError(f"{name}: expected an array; got {got(x)}") from None
    x = x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.name in ("float16", "bfloat16") else x
    if x.dtype.kind not in kinds:
        blocks = "; blocks of rows are read by jaxcmh.datasets.rows" if x.dtype.kind == "O" and x.ndim < 2 else ""
        raise ValueError(f"{name}: expected real numbers; got {x.dtype} of shape {x.shape}{blocks}")
    return x


def rows(x: Any, name: str) -> Any:
    """`x` as a finite real (n, d) array, or CSR matrix if it is sparse.

    Args:
        x: array-like or scipy.sparse matrix; rows are samples.
        name: the argument's name, for the message.

    Raises:
        ValueError: not numeric, not (n, d), empty, or not finite.
        RuntimeError: see `not_forked`.

    Example:
        >>> rows([[1.0, float("nan")]], "views[0]")
        Traceback (most recent call last):
        ValueError: views[0]: expected finite numbers; row 0 holds NaN or infinity (drop the row or fill the gap)
    """
    sparse = _is_sparse(x)
    if sparse:
        not_forked()
        x = x.tocsr()
        values = x.data
        if values.dtype.name == "float16":
            x = x.astype("float32")
            values = x.data
    else:
        x = values = array(x, name)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers; got {values.dtype}")
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name}: expected a non-empty (n, d) array, rows are samples; got shape {x.shape}")
    return finite(x, name)


def finite(x: Any, name: str, first: int = 0) -> Any:
    """Rows (n, d), dense or sparse, if all numbers are finite in single precision; `first` is the number of the first.

    Raises:
        ValueError: some are not; the message says in which row.
    """
    import numpy as np

    sparse = hasattr(x, "tocsr")
    values = x.data if sparse else x
    # Neither a sum of squares nor extremes need a copy of large features, which stay on their device; NaN is its own
    # minimum.
    if values.dtype.kind == "f" and values.size and not is_traced(values):
        if isinstance(values, np.ndarray):
            if values.flags.c_contiguous and np.vdot(values, values) <= LARGEST:
                return x
            low, high = np.minimum.reduce(values, None), np.maximum.reduce(values, None)
        else:
            low, high = (float(np.asarray(extreme)) for extreme in (values.min(), values.max()))
        if not (low >= -LARGEST and high <= LARGEST):
            dense = x.toarray() if sparse else np.asarray(x)
            bad = int(np.argmin((np.abs(dense) <= LARGEST).all(1)))
            what = "a number beyond single precision" if np.isfinite(dense[bad]).all() else "NaN or infinity"
            raise ValueError(
                f"{name}: expected finite numbers; row {first + bad} holds {what} (drop the row or fill the gap)"
            )
    return x


def is_read(x: Any) -> bool:
    """Whether x is (n, d) numbers that are read when they are asked for: memory-mapped, an HDF5 dataset, or alike.

    Such have a shape, a NumPy dtype and rows, but hand their memory to nobody.
    """
    np = sys.modules.get("numpy")
    if np is None or not isinstance(getattr(x, "dtype", None), np.dtype) or len(getattr(x, "shape", None) or ()) != 2:
        return False
    if isinstance(x, np.memmap):
        return True
    return hasattr(x, "__getitem__") and not (hasattr(x, "__dlpack__") or hasattr(x, "tocsr"))


def source(x: Any, name: str) -> Any:
    """`rows`, of what is read when it is asked for only by shape and dtype: its numbers are looked at when read."""
    if not is_read(x):
        return rows(x, name)
    not_forked()
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers; got {x.dtype} of shape {x.shape}")
    if 0 in x.shape:
        raise ValueError(f"{name}: expected a non-empty (n, d) array, rows are samples; got shape {x.shape}")
    return x


def _is_sparse(x: Any) -> bool:
    if not hasattr(x, "tocsr"):  # sooner said than asked of scipy
        return False
    import scipy.sparse

    return scipy.sparse.issparse(x)


def codes(x: Any, name: str, least: int = 0) -> Any:
    """`x` as a uint8 (n, bytes) array of at least `least` rows and one column.

    Example:
        >>> codes([[1.0, 2.0]], "items")
        Traceback (most recent call last):
        ValueError: items: expected uint8 codes of shape (n, bytes); got float64 of shape (1, 2)
    """
    x = array(x, name, "fiubcVOSUTmM")
    if x.dtype.char != "B" or x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"{name}: expected uint8 codes of shape (n, bytes); got {x.dtype} of shape {x.shape}")
    if len(x) < least:
        raise ValueError(f"{name}: expected at least {least} code; got {got(x)}")
    return x


def books(x: Any, name: str) -> Any:
    """`x` as finite real codebooks (books, words, K), of at most 256 words each, for words are bytes."""
    import numpy as np

    x = array(x, name)
    if x.ndim != 3 or 0 in x.shape or x.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected real numbers (books, words, K), none empty; got {got(x)}")
    if x.shape[1] > 256:
        raise ValueError(f"{name}: expected at most 256 words, for codes are bytes; got {x.shape[1]}")
    if not is_traced(x) and not (np.abs(np.asarray(x)) <= LARGEST).all():
        raise ValueError(f"{name}: expected finite numbers; got NaN or infinity")
    return x


def classes(y: Any, name: str, some: bool = True) -> Any:
    """`y` as (n, c) 0/1 numbers or as (n,) classes from 0: a column (n, 1) is classes too, whatever numbers it holds.

    With `some`, at least one row must have a label.

    Example:
        >>> classes([[3], [0]], "labels").tolist()
        [3, 0]
    """
    import numpy as np
    import scipy.sparse

    y = y.toarray() if scipy.sparse.issparse(y) else np.asarray(array(y, name))
    if y.dtype.kind not in "fiub" or y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(f"{name}: expected (n, c) of 0 and 1 or (n,) classes; got {y.dtype} of shape {y.shape}")
    if 1 in y.shape[1:]:
        y = y[:, 0]
    if y.ndim == 1:
        ok = np.isfinite(y) & (y == np.floor(y)) & (y >= 0) & (y < 2**63)
        if not ok.all():
            raise ValueError(f"{name}: expected classes 0, 1, 2, ...; row {int(np.argmin(ok))} is {y[np.argmin(ok)]}")
        return y.astype(np.int64)
    ok = ((y == 0) | (y == 1)).all(1)
    if not ok.all():
        raise ValueError(f"{name}: expected 0 and 1; row {int(np.argmin(ok))} holds another value")
    if some and not y.any():
        raise ValueError(f"{name}: expected labels; every row is empty")
    return y


def labels(y: Any, name: str, n: int | None = None, some: bool = True) -> Any:
    """`y` as uint8 (n, c) of 0 and 1; classes become one-hot rows.

    Args:
        y: (n, c) array or sparse matrix of 0 and 1, or (n,) or (n, 1) classes from 0.
        name: the argument's name, for the message.
        n: number of rows it must have.
        some: at least one row must have a label.

    Raises:
        ValueError: other values, another shape, rows not aligned with n, or no label at all.

    Example:
        >>> labels([2, 0], "labels").tolist()
        [[0, 0, 1], [1, 0, 0]]
    """
    import numpy as np

    y = classes(y, name, some)
    if n is not None and len(y) != n:
        raise ValueError(f"{name}: expected {n} rows, one for each row of the views; got {len(y)}")
    if y.ndim == 2:
        return y.astype(np.uint8)
    if y.max() >= CLASSES:
        raise ValueError(f"{name}: expected classes below {CLASSES}; got class {int(y.max())}")
    return np.eye(int(y.max()) + 1, dtype=np.uint8)[y]


def several(views: Any, name: str, least: int = 1, each: Check = rows) -> list[Any]:
    """Arrays of the same rows, one per view, as `each` gives them.

    Example:
        >>> several([[[1, 2], [3, 4], [5, 6]], [[1], [2]]], "views")
        Traceback (most recent call last):
        ValueError: views[1]: expected 3 rows, as views[0] has; got shape (2, 1)
    """
    if not isinstance(views, Sequence) or isinstance(views, str | bytes):
        raise ValueError(f"{name}: expected a sequence of arrays, one per view; got {got(views)}")
    if len(views) < least:
        raise ValueError(f"{name}: expected a sequence of at least {least} arrays; got {len(views)}")
    views = [each(x, f"{name}[{m}]") for m, x in enumerate(views)]
    for m, x in enumerate(views):
        if x.shape[0] != views[0].shape[0]:
            raise ValueError(f"{name}[{m}]: expected {views[0].shape[0]} rows, as {name}[0] has; got shape {x.shape}")
    return views


def enough_rows(n: int, bits: int, classes: int) -> None:
    """Refuse fewer samples than codes of this length can be learned from."""
    if n <= max(bits, classes):
        raise ValueError(f"views: expected more rows than bits ({bits}) and classes ({classes}); got {n}")


def key(value: Any, name: str, axes: int = 0) -> Any:
    """`value` as a key of `jax.random.key`, or as an array of keys with this many axes."""
    import jax

    typed = isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)
    if not (typed and value.ndim == axes):
        expected = "(s,) keys" if axes else "one key"
        raise ValueError(f"{name}: expected {expected} made by jax.random.key; got {got(value)}")
    return value


# -- annotations ------------------------------------------------------------------------------------------------------

Natural = Annotated[int, Whole(0)]
Count = Annotated[int, Whole(1)]
Copies = Annotated[int, Whole(1, CLASSES)]  # of something that takes memory
Iterations = Annotated[int, Whole(1, MOST)]
Seed = Annotated[int, Whole(0, SEEDS)]
Bits = Annotated[int, bits]
Positive = Annotated[float, Number(above=0)]
Weight = Annotated[float, Number(0)]
Share = Annotated[float, Number(0, 1)]
PathLike = Annotated[str | Path, path]
Array = Annotated[Any, array]
Rows = Annotated[Any, rows]
Views = Annotated[Any, several]
Pairs = Annotated[Any, functools.partial(several, least=2)]
Sources = Annotated[Any, functools.partial(several, least=2, each=source)]
Labels = Annotated[Any, classes]
Codes = Annotated[Any, codes]
SomeCodes = Annotated[Any, functools.partial(codes, least=1)]
Books = Annotated[Any, books]
Series = Annotated[Any, series, filled]
Shares = Annotated[Any, functools.partial(series, of=Share), filled]
Key = Annotated[Any, key]
Keys = Annotated[Any, functools.partial(key, axes=1)]

_PLAIN: dict[Any, tuple[Check, str]] = {
    int: (Whole(), "an integer"),
    float: (Number(), "a finite number"),
    bool: (flag, "True or False"),
    str: (text, "text"),
    Path: (path, "a path"),
    os.PathLike: (path, "a path"),
}


def checked(function: F) -> F:
    """The function with the checks that its annotations say.

    Integers are taken where numbers are asked for, NumPy's numbers where Python's are; True is no number. A default is
    not checked, nor what is annotated as Any.

    Example:
        >>> @checked
        ... def repeat(word: str, times: Count = 2) -> str:
        ...     return word * times
        >>> repeat("ab", times=2.5)
        Traceback (most recent call last):
        ValueError: times: expected an integer of at least 1; got 2.5
    """
    signature, own = inspect.signature(function), inspect.unwrap(function)
    is_usual, usual = _is_usual, as_usual
    parameters, plain = signature.parameters, inspect.Parameter.POSITIONAL_OR_KEYWORD
    named = all(parameter.kind in (plain, inspect.Parameter.KEYWORD_ONLY) for parameter in parameters.values())
    first = [name for name, parameter in parameters.items() if parameter.kind == plain]
    needed = {name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty}

    @functools.cache
    def checks() -> dict[str, Check]:  # read at the first call: annotations may name what is defined further down
        hints = typing.get_type_hints(own, include_extras=True)
        every = ((name, check_of(hints.get(name, Any)), parameter.kind) for name, parameter in parameters.items())
        return {name: _each(check, kind) for name, check, kind in every if check}

    # What a form of call has to check, if it binds: `bind` takes longer than a search.
    @functools.cache
    def steps_of(count: int, *names: str) -> tuple[list[tuple[int, str, Check]], list[tuple[str, Check]]] | None:
        given = {*first[:count], *names}
        if not named or len(given) < count + len(names) or not needed <= given <= parameters.keys():
            return None
        known = checks()
        by_place = [(i, name, known[name]) for i, name in enumerate(first[:count]) if name in known]
        return by_place, [(name, known[name]) for name in names if name in known]

    def bound(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return args, kwargs  # the function itself says best what is missing or too much
        known = checks()
        for name, value in bound.arguments.items():
            if name in known:
                bound.arguments[name] = known[name](value, name)
        return bound.args, bound.kwargs

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        steps = steps_of(len(args), *kwargs)
        if steps is None:
            args, kwargs = bound(args, kwargs)
        else:
            values = [*args]
            for i, name, check in steps[0]:
                values[i] = check(values[i], name)
            for name, check in steps[1]:
                kwargs[name] = check(kwargs[name], name)
            args = (*values,)
        if is_usual():
            return function(*args, **kwargs)
        with usual():
            return function(*args, **kwargs)

    # With the globals of the function, by which doctest knows whose it is.
    whole = types.FunctionType(wrapper.__code__, own.__globals__, own.__name__, None, wrapper.__closure__)
    functools.update_wrapper(whole, function)
    whole.is_checked = True  # pyright: ignore[reportFunctionMemberAccess]
    return whole  # pyright: ignore[reportReturnType]


def as_usual() -> AbstractContextManager:
    """JAX's own rules of promotion and transfer, where the user has stricter ones, which are for code of theirs.

    For threads too: each begins with the rules of the whole process.
    """
    if _is_usual():
        return nullcontext()
    jax, rules = sys.modules["jax"], ExitStack()
    for rule in (jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"), jax.transfer_guard("allow")):
        rules.enter_context(rule)
    return rules


def _is_usual() -> bool:
    """Whether JAX's own rules hold, or it is not loaded."""
    jax = sys.modules.get("jax")
    if jax is None:
        return True
    config, free = jax.config, (None, "allow")
    return (
        config.jax_transfer_guard_host_to_device in free
        and config.jax_transfer_guard_device_to_host in free
        and config.jax_transfer_guard_device_to_device in free
        and config.jax_numpy_rank_promotion == "allow"
        and str(config.jax_numpy_dtype_promotion) == "standard"
    )


def _each(check: Check, kind: Any) -> Check:
    """The check of a parameter; of *args and **kwargs for every one of them."""
    if kind is inspect.Parameter.VAR_KEYWORD:
        return lambda values, _: {name: check(value, name) for name, value in values.items()}
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return lambda values, name: tuple(check(value, f"{name}[{i}]") for i, value in enumerate(values))
    return check


@functools.cache
def check_of(annotation: Any) -> Check | None:
    """The check that an annotation says; None where anything goes."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        base, *marks = args
        # A command's annotations have marks of the command line beside the checks.
        own = [m for m in marks if isinstance(m, types.FunctionType | functools.partial | Whole | Number | Has)]
        # A check of a number, of text or of several types begins with the type itself, and says more.
        first = None if own and (base in _PLAIN or typing.get_origin(base) is types.UnionType) else check_of(base)
        steps = [*([first] if first else []), *own]
        return functools.partial(_in_turn, steps) if len(steps) > 1 else steps[0] if steps else None
    if annotation in _PLAIN:
        return _PLAIN[annotation][0]
    if annotation in (Any, object, inspect.Parameter.empty) or isinstance(annotation, TypeVar):
        return None
    if origin in (Union, types.UnionType):
        return functools.partial(_one_of, args, {kind: check_of(kind) for kind in args if isinstance(kind, type)})
    if origin is Literal:
        return lambda value, name: choice(value, name, args)
    kind = origin or annotation
    if kind.__name__.endswith("Array"):  # of JAX; what NumPy has can be one
        return array
    if kind is Callable:
        return lambda value, name: value if callable(value) else _refuse(value, name, annotation)
    if issubclass(kind, Mapping):
        return functools.partial(_mapping, annotation)
    if issubclass(kind, Iterable) and kind is not annotation and kind.__module__ in ("builtins", "collections.abc"):
        return functools.partial(_sequence, annotation)
    if hasattr(kind, "_fields"):
        return functools.partial(_record, kind)
    return lambda value, name: value if isinstance(value, kind) else _refuse(value, name, annotation)


def _in_turn(steps: Sequence[Check], value: Any, name: str) -> Any:
    for step in steps:
        value = step(value, name)
    return value


def _one_of(kinds: Sequence[Any], own: Mapping[type, Check | None], value: Any, name: str) -> Any:
    """The value as its own type, where that is one (2 as an integer, where it may be a float too), else as the first
    of these types that it can be."""
    if type(value) in own:
        check = own[type(value)]
        return value if check is None else check(value, name)
    errors, detailed, fitting = [], [], []
    for kind in (kind for kind in kinds if kind is not type(None)):
        check = check_of(kind)
        try:
            return value if check is None else check(value, name)
        except ValueError as error:
            errors.append(error)
            detailed += [error] if typing.get_origin(kind) is Annotated else []
            fitting += [error] if isinstance(value, _outer(kind, ())) and not isinstance(value, str) else []
    for said in (errors, detailed, fitting):  # what is wrong with the one type that is meant
        if len(said) == 1:
            raise said[0]
    raise ValueError(f"{name}: expected {' or '.join(map(described, kinds))}; got {got(value)}")


def _mapping(annotation: Any, value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        _refuse(value, name, annotation)
    of_keys, of_values = (check_of(kind) for kind in (typing.get_args(annotation) or (Any, Any)))
    if of_keys:
        for one in value:
            of_keys(one, f"{name}: a name")
    return {k: of_values(v, f"{name}[{k!r}]") for k, v in value.items()} if of_values else value


def _sequence(annotation: Any, value: Any, name: str) -> Any:
    kind, args = typing.get_origin(annotation), typing.get_args(annotation)
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1:
        value = value.tolist()
    wanted = Iterable if kind is Iterable else Sequence
    if not isinstance(value, wanted) or isinstance(value, str | bytes) or getattr(value, "ndim", 1) == 0:
        _refuse(value, name, annotation)
    if kind is tuple and Ellipsis not in args:
        value = tuple(value)
        if len(value) != len(args):
            _refuse(value, name, annotation)
        each = [check_of(arg) for arg in args]
        return tuple(check(v, f"{name}[{i}]") if check else v for i, (v, check) in enumerate(zip(value, each)))
    check = check_of(args[0])
    if check is None:
        return tuple(value) if kind is tuple else value
    items = (check(v, f"{name}[{i}]") for i, v in enumerate(value))
    return tuple(items) if kind is tuple or isinstance(value, tuple) else list(items)


def _record(kind: Any, value: Any, name: str) -> Any:
    """A NamedTuple of this kind, if its fields are of the types that they are annotated with."""
    if not isinstance(value, kind):
        _refuse(value, name, kind)
    types_of, within = _field_types(kind, "jax" in sys.modules)
    if not all(map(isinstance, value, types_of)):
        field = next(f for f, v, types_ in zip(kind._fields, value, types_of) if not isinstance(v, types_))
        _refuse(getattr(value, field), f"{name}.{field}", domains(kind)[field])
    for field, check in within.items():
        check(getattr(value, field), f"{name}.{field}")
    return value


@functools.cache
def _field_types(kind: Any, with_jax: bool) -> tuple[tuple[Any, ...], dict[str, Check]]:
    """The types of a record's fields, and the checks of fields that have more than a type: records, and checks.

    Fields of arrays and numbers may be arrays of JAX too, once it is there.
    """
    within = {
        field: check
        for field, annotation in domains(kind).items()
        if _says_more(annotation) and (check := check_of(annotation))
    }
    import numpy as np

    arrays = (np.ndarray, np.generic, *([sys.modules["jax"].Array] if with_jax else []))
    return tuple(_outer(annotation, arrays) for annotation in domains(kind).values()), within


def _says_more(annotation: Any) -> bool:
    inner = any(map(_says_more, typing.get_args(annotation)))
    return typing.get_origin(annotation) is Annotated or hasattr(annotation, "_fields") or inner


def _outer(annotation: Any, arrays: tuple[type, ...]) -> Any:
    """What `isinstance` takes of an annotation: not what is inside."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _outer(args[0], arrays)
    if origin in (Union, types.UnionType):
        return tuple(_outer(arg, arrays) for arg in args)
    kind = origin or annotation
    if kind is Any or origin is Literal or not isinstance(kind, type):
        return object
    if kind.__name__.lower().endswith("array"):
        return arrays
    if kind in (int, float):
        return (numbers.Number, *arrays)
    return (kind, *arrays) if kind is Sequence else kind


def _refuse(value: Any, name: str, annotation: Any) -> typing.NoReturn:
    raise ValueError(f"{name}: expected {described(annotation)}; got {got(value)}")


def described(annotation: Any) -> str:
    """What an annotation asks for, in words.

    >>> described(Sequence[str] | None), described(Sequence[Weight]), described(Literal["a", "b"])
    ('a sequence of text or None', 'a sequence of finite numbers of at least 0', 'one of a, b')
    """
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        said = [str(mark) for mark in args[1:] if isinstance(mark, Whole | Number)]
        said += ["a path" for mark in args[1:] if mark is path]
        return said[0] if said else described(args[0])
    if annotation in _PLAIN:
        return _PLAIN[annotation][1]
    if annotation is type(None):
        return "None"
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(described, args)))
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    kind = origin or annotation
    if kind is Callable:
        return "a function"
    if not isinstance(kind, type):
        return "a value"
    if issubclass(kind, Mapping):
        return "a mapping"
    if args and issubclass(kind, Iterable):
        one = described(args[0])
        several = re.sub(r"^an? ((?:finite )?\w+)", r"\1s", one)
        return "a sequence" if args[0] is Any else f"a sequence of {several}"
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"


# -- records ----------------------------------------------------------------------------------------------------------


@functools.cache
def domains(kind: type) -> Mapping[str, Any]:
    """Field -> annotation of a NamedTuple, checks included."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {name: hints.get(name, Any) for name in kind._fields}  # pyright: ignore[reportAttributeAccessIssue]


def fields(record: T, name: str) -> T:
    """A NamedTuple with every field checked as its annotation says; the message names the field."""
    values = {}
    for field, annotation in domains(type(record)).items():
        check, value = check_of(annotation), getattr(record, field)
        values[field] = check(value, f"{name}.{field}") if check else value
    return record._replace(**values)  # pyright: ignore[reportAttributeAccessIssue]


def params(given: Any, defaults: Any) -> Any:
    """Hyper-parameters of a method: `defaults`, or a NamedTuple like it, or a dict of the values that differ.

    What values a parameter can have is said by its annotation: `float` takes any finite number, `Weight` none below 0.

    Raises:
        ValueError: a name the method does not have, or a value outside of its domain.

    Example:
        >>> from jaxcmh.methods import registry
        >>> params({"alpha": 1.0}, registry["dcgh"].params)
        Params(alpha=1.0, beta=10.0, lam=0.01)
    """
    if given is None:
        return defaults
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in defaults._fields]
        if unknown:
            raise ValueError(f"params: expected names among {', '.join(defaults._fields)}; got {got(unknown[0])}")
        given = defaults._replace(**given)
    if getattr(given, "_fields", None) != defaults._fields:
        raise ValueError(f"params: expected a dict or {type(defaults).__name__}{defaults._fields}; got {got(given)}")
    given = type(defaults)(*given)
    for name, annotation in domains(type(given)).items():
        check = check_of(annotation) or Number()
        given = given._replace(**{name: float(check(getattr(given, name), f"params.{name}"))})
    return given


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
