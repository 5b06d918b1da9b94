"""What users of JAX set to find mistakes of theirs finds none here: everything runs under each of these, alike."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcmh
from jaxcmh import index
from jaxcmh.learning import core
from jaxcmh.learning.encoders import of_view
from jaxcmh.retrieval import metrics, topk

STRICT = {
    "rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "dtype promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "transfer guard": lambda: jax.transfer_guard("disallow"),
    "debug nans": lambda: jax.debug_nans(True),
}
RNG = np.random.default_rng(0)
LABELS = np.eye(4, dtype=np.uint8)[np.arange(60) % 4]
IMAGES, TEXTS = ((LABELS @ RNG.normal(size=(4, d)) + 0.3 * RNG.normal(size=(60, d))).astype(np.float32) for d in (6, 5))


def everything(method: str, features: str, mlp: bool = False) -> dict[str, np.ndarray]:
    """A training and all that is done with it."""
    options = {"features": features, "max_iterations": 3, "hash_function": "mlp" if mlp else "ridge"}
    model = jaxcmh.train(method, [IMAGES, TEXTS], LABELS, bits=8, **options)
    found = {"codes": model.codes, "encoded": jaxcmh.encode(model, TEXTS[:5], 1)}
    found["scores"], found["ids"] = jaxcmh.search(model, TEXTS[:5], 1, 3)
    for ties in ("expected", "stable"):
        report = jaxcmh.evaluate(model, [IMAGES[:9], TEXTS[:9]], LABELS[:9], LABELS, ties=ties)
        found[ties] = np.array([report["i2t"], report["t2i"]])
    items = index.add(index.build(of_view(np.asarray(model.codes), 1), model=model), TEXTS[:2], model=model, view=1)
    found["index"] = index.search(items, TEXTS[:5], 3, model=model, view=1)[1]
    if model.codebooks is None:
        found["range"] = index.search_range(items, TEXTS[:5], 2, model=model, view=1)[2]
        codes = of_view(np.asarray(model.codes), 0)
        found["map"] = np.array(metrics.hamming_map(codes, codes, metrics.judge(LABELS, LABELS)))
        found["signs"] = topk.unpack(codes)
    return {name: np.asarray(jax.device_get(value)) for name, value in found.items()}


def lower(method: str) -> dict[str, np.ndarray]:
    """The functions below `train`."""
    chosen = jaxcmh.methods.find(method)
    with jax.transfer_guard("allow"):
        key = jax.random.key(0)
        keys = jax.random.split(key, 2)
    data = core.prepare([IMAGES, TEXTS], LABELS)
    fitted = core.fit(chosen, data, key, bits=8, max_iterations=2)
    grid = chosen.params._replace(**{chosen.params._fields[-1]: np.array([0.1, 0.2], np.float32)})
    swept = core.sweep(chosen, data, keys, grid, bits=8, max_iterations=2, lanes=1)
    return {"fit": jax.device_get(fitted.objective), "sweep": jax.device_get(swept.objective)}


@pytest.mark.parametrize("setting", STRICT)
@pytest.mark.parametrize("method", list(jaxcmh.methods.registry))
def test_everything_runs_under_strict_settings(method, setting):
    expected = everything(method, "standardise") | lower(method)
    with STRICT[setting]():
        found = everything(method, "standardise") | lower(method)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("setting", STRICT)
def test_kernels_and_networks_run_under_strict_settings(setting):
    expected = everything("dcgh", "rbf", mlp=True)
    with STRICT[setting]():
        found = everything("dcgh", "rbf", mlp=True)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
@pytest.mark.parametrize("of", [lambda x, dtype: np.asarray(x).astype(dtype), jnp.asarray], ids=["numpy", "jax"])
def test_half_precision_is_taken_for_the_single_precision_of_the_same_numbers(dtype, of):
    def run(kind):
        views = [of(x, dtype).astype(kind) for x in (IMAGES, TEXTS)]
        model = jaxcmh.train("dcgh", views, LABELS, bits=8)
        return [*model.codes, *jaxcmh.encode(model, views[1], 1), *jaxcmh.search(model, views[1], 1, 2)[1]]

    for half, single in zip(run(dtype), run(np.float32)):
        np.testing.assert_array_equal(half, single)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_in_every_precision(dtype, bad):
    x = IMAGES.astype(dtype)
    x[2, 1] = bad
    with pytest.raises(ValueError, match=r"views\[0\]: expected finite numbers; row 2 holds NaN or infinity"):
        jaxcmh.train("dcgh", [x, TEXTS], LABELS, bits=8)


def test_large_half_precision_overflows_nothing():
    x = np.full((3, 2), 60_000, np.float16)
    with contextlib.nullcontext(), np.errstate(all="raise"):
        assert topk.lookup_topk(x, np.zeros((2, 1), np.uint8), np.ones((1, 1, 2), np.float16), 1)[0].shape == (3, 1)
