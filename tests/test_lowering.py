"""Every program is lowered for accelerators at the sizes of real data, with no device and nothing run.

For a TPU the data are as they are made there, `precision="float32"`, and no float64 type may appear; no program may
call back to the host.  Small sizes would not do: decompositions of large matrices have rules of their own.
"""

import re
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, random

from jaxcmh import methods, model
from jaxcmh.learning import core, encoders, features, graph, linalg, reduction
from jaxcmh.retrieval import metrics, topk

N, CLASSES, SETS, BITS = 20_000, 24, 300, 64
PLATFORMS = ("cuda", "tpu")
every_platform = pytest.mark.parametrize("platform", PLATFORMS)
# One of each program: what differs by numbers alone is lowered alike.
METHODS = [
    *methods.registry,
    "a2lh-m",
    "a2lh-multipliers",
    "aah-knn",
    "imads-c",
    "imads-r",
    "dch-relaxed",
    "dlfh-exact",
]
LINKS = 5_000, 40_000  # combinations of labels, and how often label sets have one
KEY = jax.eval_shape(lambda: random.key(0))


def of_shape(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def data_for(platform, columns):
    """Shapes of data with so many columns in each view, as `core.prepare` makes them on the platform."""
    q, p = (columns, columns), 2 * columns + 2 * CLASSES + 1
    if platform == "tpu":
        turned = reduction.Turn(Q=of_shape(N, p))
    else:
        turned = reduction.Turn(R=of_shape(p, p, dtype=np.float64))
    return core.Data(
        views=tuple(of_shape(p, k) for k in q),
        labels=of_shape(p, CLASSES),
        unit_labels=of_shape(p, CLASSES),
        ones=of_shape(p),
        sets=of_shape(SETS, CLASSES),
        counts=of_shape(SETS),
        member=of_shape(N, dtype=np.int32),
        mask=of_shape(N),
        features=tuple(of_shape(N, k) for k in q),
        turned=turned,
    )


def lowered(function, platform, *arguments, precision="HIGHEST", **options):
    """The program as text; without float64 where the platform has none, without host callbacks, and with all products
    in one precision."""
    text = export.export(function, platforms=[platform])(*arguments, **options).mlir_module()
    if platform == "tpu":
        assert not re.search(r"[<x]f64>", text), "float64"
    assert not re.search(r"callback|lapack|SendToHost|RecvFromHost", text)
    products = re.findall(r"stablehlo\.dot_general.*", text)
    said = [re.search(r"precision = \[(\w+), \1\]", line) for line in products]
    assert [line for line, match in zip(products, said) if (match[1] if match else "DEFAULT") != precision] == []
    return text


@every_platform
@pytest.mark.parametrize("columns", [400, 2500])
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in METHODS])
def test_training_and_what_follows_it(name, columns, platform):
    method, data = methods.find(name), data_for(platform, columns)
    params, bare = jax.tree.map(lambda _: of_shape(), method.params), core.bare(method)
    options = {"method": bare, "bits": BITS, "max_iterations": method.max_iterations}
    lowered(core._fit, platform, data, KEY, params, of_shape(), **options)
    if columns == 400:
        keys, lanes = jax.eval_shape(lambda: random.split(random.key(0), 4)), of_shape(4)
        grid = jax.tree.map(lambda _: lanes, method.params)
        lowered(core._sweep, platform, data, keys, grid, of_shape(), **options, lanes=4, output=None)
    fitted = jax.eval_shape(lambda *arguments: core._fit(*arguments, **options), data, KEY, params, of_shape())
    lowered(model._finish, platform, fitted.state, data, params, method=bare, bits=BITS)


@every_platform
def test_links_of_label_sets(platform):
    combinations, f = LINKS
    numbers = [of_shape(size, dtype=np.int32) for size in (SETS, combinations, f, f, f, f)]
    lowered(jax.jit(graph._link_by_labels), platform, graph.Links(*numbers), of_shape(SETS, BITS))


@every_platform
def test_lanes_decompose_together_on_accelerators(platform):
    text = lowered(jax.jit(jax.vmap(linalg.qr)), platform, of_shape(4, 96, 64))
    assert any("custom_call" in line and "4x96x64" in line for line in text.splitlines())
    assert "stablehlo.while" not in text.split("func.func public @main")[1].split("func.func")[0]


@every_platform
def test_reduction(platform, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: {"cuda": "gpu"}.get(platform, platform))  # on CPU BLAS does it
    columns = of_shape(N, 400), of_shape(N, 2 * CLASSES + 1)
    lowered(jax.jit(lambda *z: reduction.turn(z, by_gram=platform == "cuda")), platform, *columns)


@every_platform
@pytest.mark.parametrize("kind", typing.get_args(features.Kind))
def test_features(kind, platform):
    x, anchors = of_shape(4096, 512), of_shape(2500 if kind in features.KERNELS else 0, 512)
    offset = of_shape(2500) if kind == "rbf_centred" else None
    fitted = features.FeatureMap(of_shape(512), of_shape(512), anchors, of_shape(), kind, offset)
    lowered(features.map_rows, platform, fitted, x, precision="HIGH")
    if anchors.shape[0]:
        moments = fitted.mean, fitted.scale, fitted.anchors
        place = of_shape(N, 2500), x, of_shape(dtype=np.int32)
        lowered(features._fill_each, platform, *place, *moments, of_shape(dtype=np.int32), devices=1, precision="HIGH")
        lowered(features._kernel, platform, of_shape(N, 2500), of_shape(), kind=kind)


def test_features_have_the_precision_that_jax_is_told():
    fitted = features.FeatureMap(of_shape(8), of_shape(8), of_shape(9, 8), of_shape(), "rbf")
    for told in ("HIGHEST", "DEFAULT"):
        with jax.default_matmul_precision(told.lower()):
            assert "dot_general" in lowered(features.map_rows, "cuda", fitted, of_shape(5, 8), precision=told)


@every_platform
def test_encoders(platform):
    phi, codes = of_shape(N, 2500), of_shape(N, BITS)
    lowered(model.pack_signs, platform, phi, of_shape(2500, BITS))
    network = jax.eval_shape(lambda key, phi: encoders._started(key, phi, 1024, BITS), KEY, phi)
    lowered(encoders._started, platform, KEY, phi, hidden=1024, bits=BITS)
    lowered(model.pack_signs, platform, phi, network)
    options, rows, held_out = of_shape(3), of_shape(N - 2000, dtype=np.int32), of_shape(2000, dtype=np.int32)
    slots = jax.eval_shape(lambda options, network: encoders._optimiser(options).init(network), options, network)
    arguments = network, slots, KEY, options, phi, codes, rows, held_out
    lowered(encoders._epoch, platform, *arguments, precision="DEFAULT", batch=128)
    items = encoders.Unlabelled((of_shape(2500, BITS),) * 2, (of_shape(BITS),) * 2, of_shape(BITS, BITS))
    lowered(model.choose_words, platform, phi, view=1, codebooks=of_shape(4, 256, BITS), items=items)


@every_platform
@pytest.mark.parametrize("k", [10, 5000])
def test_exact_search(k, platform):
    queries, items = of_shape(1000, BITS // 8, dtype=np.uint8), of_shape(N, BITS // 8, dtype=np.uint8)
    lowered(jax.jit(lambda q, x: topk.hamming_topk(q, x, k, engine="jax")), platform, queries, items)
    queries, items, codebooks = of_shape(1000, BITS), of_shape(N, 4, dtype=np.uint8), of_shape(4, 256, BITS)
    lowered(jax.jit(lambda q, x, C: topk.lookup_topk(q, x, C, k)), platform, queries, items, codebooks)


def ranking():
    """Shapes of codes and label sets of 64 queries and of a database, as words and in chunks."""
    words = [of_shape(64, BITS // 32, dtype=np.uint32), of_shape(64, 1, dtype=np.uint32)]
    items = [of_shape(N, BITS // 32, dtype=np.uint32), of_shape(N, 1, dtype=np.uint32)]
    chunks = [jax.eval_shape(metrics._chunked, x) for x in (*items, of_shape(N, 1, dtype=np.int32))]
    return words, items, chunks


@every_platform
def test_metrics(platform):
    words, _, chunks = ranking()
    lowered(metrics._device_words, platform, of_shape(N, BITS // 8, dtype=np.uint8))
    lowered(metrics._count, platform, *words, *chunks, bits=BITS)
    items = of_shape(4, N, dtype=np.uint8), of_shape(1, N, dtype=np.uint32), of_shape(4, 256, BITS)
    lowered(metrics._scores, platform, of_shape(64, BITS), words[1], *items, of_shape(dtype=np.int32))


@every_platform
def test_the_stable_pass(platform):
    words, items, _ = ranking()
    counts, turned = of_shape(64, BITS + 1, 2, dtype=np.int32), [of_shape(*x.shape[::-1], dtype=x.dtype) for x in words]
    cuts = of_shape(1, dtype=np.int32)
    lowered(metrics._stable, platform, counts, *turned, *items, cuts, wide=platform == "cuda")


@every_platform
def test_accelerators_rank_in_forms_of_their_own(platform):
    words, items, chunks = ranking()
    counts, turned = of_shape(64, BITS + 1, 2, dtype=np.int32), [of_shape(*x.shape[::-1], dtype=x.dtype) for x in words]
    text = lowered(metrics._stable, platform, counts, *turned, *items, of_shape(1, dtype=np.int32), wide=False)
    assert "stablehlo.sort" in text
    assert "stablehlo.scatter" not in text + lowered(metrics._count, platform, *words, *chunks, bits=BITS)
    queries, database = of_shape(1000, BITS // 8, dtype=np.uint8), of_shape(N, BITS // 8, dtype=np.uint8)
    text = lowered(jax.jit(lambda q, x: topk.hamming_topk(q, x, 10, engine="jax")), platform, queries, database)
    assert text.count("stablehlo.while") == 2  # over batches and over chunks, not over queries


def test_what_has_a_row_for_each_sample_is_written_in_place():
    """The first argument is given away, and nothing else."""
    phi, block, few, one = of_shape(N, 400), of_shape(400, 400), of_shape(400), of_shape()
    x, start = of_shape(400, 20), of_shape(dtype=np.int32)
    moments = of_shape(20), of_shape(20), of_shape(400, 20), start
    imads = methods.find("imads")
    data = jax.eval_shape(lambda data: core.ready(imads, data, BITS), data_for("cuda", 400))
    state = jax.eval_shape(lambda data, key: imads.init(key, data, imads.params, BITS), data, KEY)
    for lowered in (
        features._write_each.lower(phi, block, start, devices=1),
        features._fill_each.lower(phi, x, start, *moments, devices=1),
        features._kernel.lower(phi, one, kind="rbf"),
        features._less.lower(phi, few),
        features._zeroed.lower(phi, start),
        reduction._below.lower(of_shape(20, 20), x),
        core._advance().lower(state, data, imads.params, method=core.bare(imads)),
    ):
        first, *others = lowered.args_info[0]
        assert all(info.donated for info in jax.tree.leaves(first))
        assert not any(info.donated for info in jax.tree.leaves(others))


def test_sums_of_precisions():
    """In float64, so not for a TPU: there they are NumPy's."""
    counts, hits = of_shape(64, BITS + 1, 2, dtype=np.int32), of_shape(64, 1, dtype=np.int32)
    with jax.enable_x64(True):
        lowered(metrics._on_device, "cuda", metrics._summed_ap, counts, of_shape(N + 1, dtype=np.float64))
        lowered(metrics._on_device, "cuda", metrics._summed_gain, of_shape(64, dtype=np.float64), hits)


def test_a_float64_type_would_be_seen():
    with jax.enable_x64(True), pytest.raises(AssertionError, match="float64"):
        lowered(jax.jit(lambda x: x + jnp.ones(3)), "tpu", of_shape(3, dtype=np.float64))
