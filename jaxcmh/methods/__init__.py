"""The registry of methods, and the symbols their files share.

Inside a method file the paper's letters are the names.  What they have in common: rows are samples;
X are mapped features of a view (n, q); L, Y are labels (n, c), with rows of length 1 where the paper
normalises them; B, H are codes (n, r) in {-1, +1}; r is the number of bits.
"""

from typing import Any

from jaxcmh.checks import checked
from jaxcmh.learning.core import Method
from jaxcmh.learning.features import Features
from jaxcmh.methods import (
    a2lh,
    a2lh_multipliers,
    aah,
    acqh,
    amsh,
    batch,
    cmfh,
    dcgh,
    dch,
    dlfh,
    fcmh,
    fddh,
    imads,
    lcmfh,
    mtfh,
    random_codewords,
    scm,
    scratch,
    srlch,
)

_files = (
    *(dcgh, a2lh, acqh, aah, imads),
    random_codewords,
    *(batch, scratch, lcmfh, cmfh, scm, fcmh),
    *(srlch, dch, fddh, dlfh, amsh, mtfh),
)

registry: dict[str, Method] = {file.method.name: file.method for file in _files}
# A variant carries its whole name, so that results of a method and of its variants are told apart.
variants: dict[str, dict[str, Method]] = {
    base.name: {variant: method._replace(name=f"{base.name}-{variant}") for variant, method in file.variants.items()}
    for file in _files
    for base in [file.method]
}
variants["a2lh"]["multipliers"] = a2lh_multipliers.method


@checked
def find(method: str | Method) -> Method:
    """The method of a name such as "dcgh", or "dcgh-d" for its variant d.

    Args:
        method: a name, or a `Method`, which comes back as it is.

    Raises:
        ValueError: no such method; the message lists all.

    Example:
        >>> find("dcgh-d").params
        Params(alpha=0.0, beta=10.0, lam=0.01)
    """
    if isinstance(method, Method):
        return method
    base, _, variant = method.partition("-")
    if base in registry and (not variant or variant in variants[base]):
        return variants[base][variant] if variant else registry[base]
    names = [*registry, *(f"{base}-{variant}" for base in variants for variant in variants[base])]
    raise ValueError(f"method: expected one of {', '.join(names)}; got {method!r}")


@checked
def paper_params(method: str, dataset: str) -> Any:
    """The hyper-parameters a paper gives for a data set; `paper_features` says with which anchors.

    Args:
        method: a name of `registry`.
        dataset: such as "wiki", "mirflickr25k", "nuswide10".

    Raises:
        ValueError: no such method, or its paper gives nothing for this data set.

    Example:
        >>> paper_params("dcgh", "mirflickr25k")
        Params(alpha=10000.0, beta=0.1, lam=0.01)
    """
    given = {file.method.name: file.paper_params for file in _files}
    if method not in given:
        raise ValueError(f"method: expected one of {', '.join(given)}; got {method!r}")
    if dataset not in given[method]:
        raise ValueError(f"dataset: expected one of {', '.join(given[method])}; got {dataset!r}")
    return given[method][dataset]


@checked
def paper_features(method: str, dataset: str) -> Features:
    """The feature map that belongs to `paper_params`; same arguments and errors.

    Example:
        >>> paper_features("imads", "mirflickr25k").anchors
        1500
    """
    paper_params(method, dataset)
    file = next(file for file in _files if file.method.name == method)
    return getattr(file, "paper_features", {}).get(dataset, file.method.features)
