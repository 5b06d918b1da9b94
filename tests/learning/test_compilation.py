import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import jaxcmh
from jaxcmh.learning import compilation, core
from jaxcmh.learning.features import Features
from jaxcmh.methods import registry

DCGH = registry["dcgh"]
PROGRAMS = 16  # of a first training; where fewer are needed, lower it: each takes some hundredths of a second or more


@pytest.fixture
def quick(monkeypatch):
    """The options that users get: the tests' own XLA_FLAGS name the same ones."""
    jax.devices()  # read the tests' flags before they go
    monkeypatch.delenv("XLA_FLAGS")
    compilation.options.cache_clear()
    compilation._quick.cache_clear()
    yield
    compilation.options.cache_clear()
    compilation._quick.cache_clear()


def fitted(key):
    data = core.prepare([np.eye(40)[:, :30], np.eye(40)[:, 10:]], np.arange(40)[:, None] % 4 == np.arange(4))
    return core.fit(DCGH, data, key, bits=8, max_iterations=2)


def test_a_training_is_the_same_with_quick_options(quick, monkeypatch):
    assert compilation.options() == compilation.QUICK
    found = fitted(random.key(0))
    monkeypatch.setattr(compilation, "QUICK", {})
    compilation.options.cache_clear()
    plain = fitted(random.key(0))
    np.testing.assert_array_equal(found.state.H, plain.state.H)
    np.testing.assert_allclose(found.objective, plain.objective, rtol=1e-5)


def test_a_training_within_jit_and_vmap(quick):
    keys = random.split(random.key(0), 2)
    one = np.asarray(fitted(keys[1]).state.H)
    np.testing.assert_array_equal(jax.jit(lambda key: fitted(key).state.H)(keys[1]), one)
    np.testing.assert_array_equal(jax.jit(lambda: fitted(keys[1]).state.H)(), one)
    np.testing.assert_array_equal(jax.vmap(lambda key: fitted(key).state.H)(keys)[1], one)


def test_products_with_a_matrix_of_equal_numbers_are_right(quick):
    V, X = np.full((500, 32), 2.0, np.float32), np.ones((500, 500), np.float32)
    for number in (0.0, 1.0):
        loss = jax.jit(
            lambda V, X, number: ((X - V @ jnp.full((32, 500), number)) ** 2).sum(), static_argnames="number"
        )
        found = compilation.quickly(loss, V, X, number=number)
        assert float(found) == pytest.approx(500 * 500 * (1 - 64 * number) ** 2, rel=1e-4)


@pytest.mark.parametrize("flags", ["--xla_backend_optimization_level=3", "--xla_cpu_use_fusion_emitters=true"])
def test_flags_of_the_environment_hold(quick, monkeypatch, flags):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert set(compilation.options()) == set(compilation.QUICK) - {flags.strip("-").split("=")[0]}


def test_options_that_the_compiler_does_not_know_are_left_out(quick, monkeypatch):
    known = dict(list(compilation.QUICK.items())[:1])
    monkeypatch.setattr(compilation, "QUICK", {"xla_no_such_option": True, **known})
    assert compilation.options() == known
    compilation.options.cache_clear()
    monkeypatch.setattr(compilation, "QUICK", {"xla_no_such_option": True})
    assert compilation.options() is None
    function = jax.jit(lambda x, k: x * k, static_argnames="k")
    assert compilation.quickly(function, jnp.ones(2), k=3).tolist() == [3, 3]


def test_accelerators_get_no_options(quick, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert compilation.options() is None


@pytest.mark.skipif(not compilation.MAPS.exists(), reason="memory maps are read from /proc")
def test_programs_are_forgotten_before_the_table_of_memory_maps_is_full():
    def maps():
        return len(compilation.MAPS.read_bytes().splitlines())

    compilation.make_room(0)
    before, program = maps(), jax.jit(lambda x: jnp.cumsum(x * 3).sum())
    for n in range(1, 60):
        program(np.ones(n))
    full = maps()
    assert full > before + 100
    compilation.make_room(1.0)
    assert maps() > before + 100
    compilation.make_room(0)
    assert maps() < before + 50


@pytest.mark.parametrize("name", ["dcgh", "acqh", "aah", "imads", "a2lh"])
def test_a_first_training_compiles_no_more_programs_than_it_needs(name):
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 12)) < 0.2) | (np.arange(12) == rng.integers(12, size=(300, 1)))
    views = [(labels @ rng.normal(size=(12, d)) + rng.normal(size=(300, d))).astype(np.float32) for d in (60, 40)]
    compilation.options()  # compiles one to ask what the compiler knows
    jax.clear_caches()
    compiled = []

    def listen(event, seconds, **about):
        if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":  # also of those that a cache on disk has
            compiled.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jaxcmh.train(name, views, labels, bits=16, features=Features(anchors=64), verbose=False)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(compiled) <= PROGRAMS, compiled
