"""What holds of every method and every variant: written once, run over the registry."""

import importlib
import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance_cases import cases, methods
from jax import random

import jaxcmh
from jaxcmh.learning import core, mesh
from jaxcmh.learning.linalg import sign
from jaxcmh.methods import paper_params


def together(name, *more):
    """A test of a method, kept on one worker with the others of this method, which share what is compiled."""
    return pytest.param(name, *more, marks=pytest.mark.xdist_group(name))


every_method = pytest.mark.parametrize("name", [together(name) for name in methods])
every_block = pytest.mark.parametrize(
    ("name", "update"), [together(name, update) for name, case in cases.items() for update in case.blocks]
)


def problem(n=61, c=5, dims=(12, 9), seed=0, noise=1.0, density=0.3):
    """Views that tell something of the labels, and labels of which a few are set in each row."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, c)) < density
    labels[np.arange(n), rng.integers(c, size=n)] = True
    views = [labels @ rng.normal(size=(c, d)) + noise * rng.normal(size=(n, d)) for d in dims]
    return views, labels.astype(np.uint8)


def prepared(**options):
    views, labels = problem(**options)
    return core.prepare(views, labels)


def started(method, data, bits=8, steps=1, seed=0):
    """Data with extras, the traced hyper-parameters, and the state after a few steps."""
    data = core.with_extra(method, data)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, data.mask.dtype), method.params)
    state = method.init(random.key(seed), data, params, bits)
    for _ in range(steps):
        state = core.step(method, state, data, params)
    return state, data, params


def update_named(method, name):
    """The update whose function has this name, also through functools.partial."""
    for update in method.updates:
        if getattr(update, "func", update).__name__ == name:
            return update
    pytest.fail(f"{method.name} has no update {name}")


def test_every_method_and_variant_has_a_case():
    assert set(cases) == set(methods)


@every_method
def test_a_step_keeps_structure_shapes_dtypes_and_weak_types(name):
    method, data = methods[name], prepared()
    data = core.with_extra(method, data)
    params = jax.tree.map(jnp.float32, method.params)

    def start(key):
        return method.init(key, data, params, 8)

    # The step is traced on the start itself: on its shapes alone, float64 fields that it leaves be come back float32.
    before = jax.eval_shape(start, random.key(0))
    after = jax.eval_shape(lambda key: core.step(method, start(key), data, params), random.key(0))
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for b, a in zip(jax.tree.leaves(before), jax.tree.leaves(after)):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)


@every_method
def test_new_hyper_parameters_compile_nothing(name, caplog):
    method, (views, labels) = methods[name], problem(n=700, c=8, dims=(24, 20), noise=1.5)

    def compiled(run):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            run()
        return sum("Compiling" in record.getMessage() for record in caplog.records)

    def train(factor):
        params = jax.tree.map(lambda leaf: leaf * factor, method.params)
        jaxcmh.train(method, [x[:500] for x in views], labels[:500], bits=16, params=params)

    train(1.0)
    assert compiled(lambda: train(1.5)) == 0
    assert compiled(lambda: jax.jit(lambda x: x + 1)(1.0)) > 0, "a new program must be counted"


@every_method
def test_a_sweep_equals_a_loop_of_fits(name):
    with jax.enable_x64(True):
        method, data = methods[name], prepared()
        keys = random.split(random.key(1), 3)
        factors = np.array([1.0, 0.5, 2.0])
        grid = jax.tree.map(lambda leaf: leaf * factors, method.params)
        states, objectives = core.sweep(method, data, keys, grid, bits=8, max_iterations=3, lanes=2)
        for i, (key, factor) in enumerate(zip(keys, factors)):
            params = jax.tree.map(lambda leaf, factor=factor: leaf * factor, method.params)
            state, objective = core.fit(method, data, key, params, bits=8, max_iterations=3)
            np.testing.assert_allclose(objectives[i], objective, rtol=cases[name].rtol)
            lane = jax.tree.map(lambda leaf, i=i: leaf[i], states)
            np.testing.assert_array_equal(method.codes(lane, data, params), method.codes(state, data, params))


@every_method
def test_a_sweep_in_single_precision_keeps_float64_algebra(name):
    """Away from the global flag, vectorised lanes batch float64 algebra outside the contexts it was written in."""
    method, data = methods[name], prepared()
    keys = random.split(random.key(1), 2)
    _, objectives = core.sweep(method, data, keys, method.params, bits=8, max_iterations=3, lanes=2)
    singles = [core.fit(method, data, key, bits=8, max_iterations=3)[1] for key in keys]
    np.testing.assert_allclose(objectives, singles, rtol=1e-3)


@every_method
def test_the_same_key_gives_the_same_bits(name):
    method, data = methods[name], prepared()
    first, second, other = (core.fit(method, data, random.key(seed), bits=8, max_iterations=3)[0] for seed in (3, 3, 4))
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second)):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other)))


@every_block
def test_an_exact_update_does_not_raise_the_objective(name, update):
    with jax.enable_x64(True):
        method, case = methods[name], cases[name]
        if not case.monotone:
            pytest.skip("its blocks are minimised on different functions")
        if case.blocks[update][1] == "words":
            pytest.skip("an early book chooses as if no later one followed")
        state, data, params = started(method, prepared())
        objective = case.objective or method.objective
        rows = case.rows or (lambda state, data: state)
        for each in method.updates:
            new = each(state, data, params)
            if each is update_named(method, update):
                before, after = (objective(rows(s, data), data, params) for s in (state, new))
                assert after <= before + 1e-9 * abs(before)
            state = new


def tangent(kind, Z, G, data):
    """The part of gradient G along which Z may move."""
    if kind == "real":
        return G
    if kind == "simplex":
        return G - G.mean()
    if Z.shape[0] < Z.shape[1]:
        return tangent(kind, Z.T, G.T, data).T
    scale = 1.0
    if kind == "balanced":
        G, scale = G - G.mean(0), len(data.mask)
    ZG = Z.T @ G / scale
    return G - Z @ (ZG + ZG.T) / 2


@pytest.mark.parametrize("name", [together(name) for name, case in cases.items() if case.rows])
def test_the_objective_is_that_over_all_rows(name):
    with jax.enable_x64(True):
        method, case = methods[name], cases[name]
        state, data, params = started(method, prepared(), steps=2)
        plain = case.objective(case.rows(state, data), data, params)
        np.testing.assert_allclose(method.objective(state, data, params), plain, rtol=1e-9)


@every_block
def test_an_update_is_optimal_in_its_block(name, update):
    if cases[name].blocks[update][1] == "lower":
        pytest.skip("one pass over its columns, each optimal given the others")
    with jax.enable_x64(True):
        method, case = methods[name], cases[name]
        field, kind = case.blocks[update]
        objective = case.objective or method.objective
        state, data, params = started(method, prepared())
        for each in method.updates:
            state = each(state, data, params)
            if each is update_named(method, update):
                break
        state = case.rows(state, data) if case.rows else state

        def in_block(value):
            return objective(state._replace(**{field: value}), data, params)

        value = getattr(state, field)
        if kind == "binary":
            best, rng = in_block(value), np.random.default_rng(0)
            flips = rng.choice(value.size, size=40, replace=False)
            others = jax.vmap(lambda i: in_block(value.ravel().at[i].multiply(-1).reshape(value.shape)))(flips)
            assert others.min() >= best - 1e-9 * abs(best)
            return
        if kind == "words":
            for b in range(len(state.C)):
                so_far = state._replace(C=state.C.at[b + 1 :].set(0))
                best = objective(so_far, data, params)
                for row in range(0, len(value), 5):
                    others = jax.vmap(lambda word, row=row, b=b: value.at[row, b].set(word))(
                        jnp.arange(256, dtype=jnp.uint8)
                    )
                    tried = jax.vmap(lambda A, s=so_far: objective(s._replace(A=A), data, params))(others)
                    assert tried.min() >= best - 1e-9 * abs(best)
            return
        gradients = jax.grad(in_block)(value)
        away = jax.grad(in_block)(jax.tree.map(lambda Z: Z + 0.1 * random.normal(random.key(5), Z.shape), value))
        if kind == "real in turn":
            value, gradients, away, kind = value[-1], gradients[-1], away[-1], "real"
        for Z, G, A in zip(*(jax.tree.leaves(tree) for tree in (value, gradients, away))):
            assert jnp.abs(tangent(kind, Z, G, data)).max() <= 1e-7 * max(float(jnp.abs(A).max()), 1e-300)


@every_method
def test_sharded_rows_give_the_unsharded_result(name):
    with jax.enable_x64(True):
        method, data = methods[name], prepared()
        plain, plain_objective = core.fit(method, data, random.key(0), bits=8, max_iterations=3)
        sharded = mesh.shard_rows(data, mesh.row_mesh())
        state, objective = core.fit(method, sharded, random.key(0), bits=8, max_iterations=3)
        np.testing.assert_allclose(objective, plain_objective, rtol=10 * cases[name].rtol)
        codes = method.codes(state, sharded, method.params)
        np.testing.assert_array_equal(codes[:61], method.codes(plain, data, method.params))


@every_method
def test_a_step_moves_no_array_of_n_rows_between_devices(name):
    if not cases[name].local:
        pytest.skip("its samples are linked to single other samples, wherever those are")
    n, share = 1016, 127  # a prime share, so that a shape with it comes from the samples and from nothing else
    method, rows = methods[name], mesh.row_mesh()
    data = core.with_extra(method, mesh.shard_rows(prepared(n=n, c=4), rows))
    params = jax.tree.map(jnp.float32, method.params)
    state = method.init(random.key(0), data, params, 8)

    def place(leaf):
        spec = jax.sharding.PartitionSpec(*(["rows"] if leaf.shape[:1] == (n,) else []))
        return jax.device_put(leaf, jax.sharding.NamedSharding(rows, spec))

    state = jax.tree.map(place, state)
    step = jax.jit(core.step, static_argnums=0)
    program = step.lower(method._replace(params=None), state, data, params).compile().as_text()
    moved = re.findall(r"= (.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)[\w-]*\(", program)
    touches_samples = any(leaf.shape[:1] == (n,) for leaf in jax.tree.leaves(state))
    assert bool(moved) == touches_samples, "a step over sharded rows must reduce something"
    for shape, operation in moved:
        sizes = {int(size) for dims in re.findall(r"\[([\d,]*)\]", shape) for size in dims.split(",") if size}
        assert not sizes & {n, share}, f"{operation} of {shape}"


@every_method
def test_padding_rows_change_nothing(name):
    with jax.enable_x64(True):
        method, data = methods[name], prepared()
        padded = mesh.pad_rows(data, 8)
        assert len(padded.mask) == 64
        (state, objective), (wide, wide_objective) = (
            core.fit(method, d, random.key(0), bits=8, max_iterations=3) for d in (data, padded)
        )
        np.testing.assert_allclose(wide_objective, objective, rtol=cases[name].rtol)
        codes = method.codes(wide, padded, method.params)
        np.testing.assert_array_equal(codes[:61], method.codes(state, data, method.params))
        for W, wide_W in zip(method.encoder(state, data, method.params), method.encoder(wide, padded, method.params)):
            np.testing.assert_allclose(wide_W, W, rtol=1e-6, atol=1e-6 * float(jnp.abs(W).max()))


def measured(method, bits, views, labels, train, **options):
    """The reports of a model trained on the first rows and queried with the rest."""
    model = jaxcmh.train(method, [x[:train] for x in views], labels[:train], bits=bits, **options)
    queries = [x[train:] for x in views]
    return [
        jaxcmh.evaluate(model, queries, labels[train:], labels[:train], database=kind)
        for kind in ("learned", "encoded")
    ]


def settings(name):
    """Hyper-parameters: a method's own and those that its paper gives for each data set; a variant's own."""
    of_paper = {} if "-" in name else importlib.import_module(f"jaxcmh.methods.{name}").paper_params
    return dict.fromkeys([methods[name].params, *of_paper.values()])


@every_method
def test_float32_and_float64_agree_within_a_hundredth_of_map(name):
    views, labels = problem(n=700, c=8, dims=(24, 20), noise=1.5)
    for params in settings(name):
        single = measured(methods[name], 16, views, labels, 500, params=params)
        with jax.enable_x64(True):
            double = measured(methods[name], 16, views, labels, 500, params=params)
        for a, b in zip(single, double):
            assert abs(a["i2t"] - b["i2t"]) <= 0.01
            assert abs(a["t2i"] - b["t2i"]) <= 0.01


@every_method
def test_a_method_beats_chance(name):
    views, labels = problem(n=700, c=8, dims=(24, 20), density=0.1)
    chance = (labels[500:].astype(int) @ labels[:500].T > 0).mean()
    report, _ = measured(methods[name], 16, views, labels, 500)
    assert min(report["i2t"], report["t2i"]) > chance + 0.1


@pytest.mark.parametrize("bits", [8, 128])
@every_method
def test_awkward_data_leave_no_nan(name, bits):
    """More classes than bits, a class without samples, samples without labels, duplicates, more features than rows."""
    views, labels = problem(n=180, c=12, dims=(6, 200))
    labels[:, 3] = 0
    labels[:4] = 0
    views = [np.concatenate([x[:90], x[:90]]).astype(np.float32) for x in views]
    labels = np.concatenate([labels[:90], labels[:90]])
    for params in settings(name):
        model = jaxcmh.train(methods[name], views, labels, bits=bits, params=params)
        for leaf in jax.tree.leaves(model):
            assert np.isfinite(leaf).all()


@every_method
def test_three_views_are_trained_and_evaluated(name):
    views, labels = problem(n=260, dims=(12, 9, 7))
    report, _ = measured(methods[name], 16, views, labels, 200)
    chance = (labels[200:].astype(int) @ labels[:200].T > 0).mean()
    values = [report[f"view{a}->view{b}"] for a in range(3) for b in range(3) if a != b]
    assert min(values) > chance


@pytest.mark.parametrize("name", [name for name in methods if "-" not in name])
def test_an_independent_numpy_loop_gives_the_same_codes(name):
    reference = importlib.import_module(f"reference.{name}")
    with jax.enable_x64(True):
        method, data = methods[name], prepared()
        state, extended, params = started(method, data, steps=0)
        rows = cases[name].rows
        start = jax.tree.map(np.asarray, rows(state, extended) if rows else state)._asdict()
        for _ in range(5):
            state = core.step(method, state, extended, params)
        codes = np.asarray(method.codes(state, extended, params))
    views, labels = [np.asarray(x) for x in data.views], np.asarray(data.labels)
    np.testing.assert_array_equal(reference.run(views, labels, start, method.params, 5), codes)


def test_every_setting_of_every_paper_is_there_by_name():
    given = {
        "dcgh": ("wiki", "mirflickr25k", "iaprtc12", "nuswide10"),
        "a2lh": ("mirflickr25k", "nuswide10"),
        "acqh": ("wiki", "mirflickr25k", "nuswide10"),
        "aah": ("wiki", "mirflickr25k", "nuswide10"),
        "imads": ("wiki", "mirflickr25k", "nuswide10"),
    }
    for name, datasets in given.items():
        for dataset in datasets:
            assert type(paper_params(name, dataset)) is type(methods[name].params)
    for name, dataset, told in (("a2lh", "wiki", "mirflickr25k, nuswide10; got 'wiki'"), ("no", "wiki", "got 'no'")):
        with pytest.raises(ValueError, match=told):
            paper_params(name, dataset)


def test_sign_of_zero_is_plus_one_and_padding_stays_zero():
    np.testing.assert_array_equal(sign(jnp.array([[0.0], [-1.0], [3.0]]), jnp.array([1, 1, 0])), [[1], [-1], [0]])
