"""What holds of every method and every variant: written once, run over the registry."""

import importlib
import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance_cases import cases, methods
from jax import random

import jaxcmh
from jaxcmh.learning import core, mesh
from jaxcmh.learning.linalg import sign, unit_rows
from jaxcmh.methods import paper_params

# Methods that differ by numbers alone are one program, and go by the name of the first.
_firsts = {core.bare(method)._replace(features=None): name for name, method in reversed(methods.items())}
program = {name: _firsts[core.bare(method)._replace(features=None)] for name, method in methods.items()}


def together(name, *more):
    """A test of a method, kept on one worker with the others of this program, which share what is compiled."""
    return pytest.param(name, *more, marks=pytest.mark.xdist_group(program[name]))


def parametrised(names):
    return pytest.mark.parametrize("name", [together(name) for name in names])


every_method = parametrised(methods)
every_program = parametrised(dict.fromkeys(program.values()))
every_step = parametrised({method.updates: name for name, method in reversed(methods.items())}.values())
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


def prepared(precision="float64", **options):
    views, labels = problem(**options)
    return core.prepare(views, labels, precision)


def numbers(params, data):
    """Hyper-parameters as `core.fit` traces them."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, data.mask.dtype), params)


def as_trained(method, data, bits=8):
    """Data as a training sees them, prepared by the program that it has."""
    return core.ready(method, core.known(method, data, bits), bits)


def started(method, data, bits=8, steps=1, seed=0):
    """Data as a training sees them, the traced hyper-parameters, and the state after a few steps."""
    data, params = as_trained(method, data, bits), numbers(method.params, data)
    state = method.init(random.key(seed), data, params, bits)
    for _ in range(steps):
        state = core.step(method, state, data, params)
    return state, data, params


def test_every_method_and_variant_has_a_case():
    assert set(cases) == set(methods)


@every_program
def test_a_step_keeps_structure_shapes_dtypes_and_weak_types(name):
    method, data = methods[name], prepared(None)
    data, params = core.ready(method, data, 8), numbers(method.params, data)
    before = jax.eval_shape(lambda key: method.init(key, data, params, 8), random.key(0))
    after = jax.eval_shape(lambda state: core.step(method, state, data, params), before)
    chex.assert_trees_all_equal_structs(before, after)
    for b, a in zip(jax.tree.leaves(before), jax.tree.leaves(after)):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)


@every_step
def test_new_hyper_parameters_and_a_new_tolerance_compile_nothing(name, caplog):
    method, (views, labels) = methods[name], problem(n=80)

    def compiled(run):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            run()
        return sum("Compiling" in record.getMessage() for record in caplog.records)

    def train(factor, tolerance):
        params = jax.tree.map(lambda leaf: leaf * factor, method.params)
        jaxcmh.train(method, views, labels, bits=16, params=params, tolerance=tolerance, max_iterations=3)

    train(1.0, 0.0)
    assert compiled(lambda: train(1.5, 1e9)) == 0
    assert compiled(lambda: jax.jit(lambda x: x + 1)(1.0)) > 0, "a new program must be counted"


@every_program
def test_a_sweep_equals_a_loop_of_fits(name):
    """Lanes of hyper-parameters of their own; half of them converge before the others."""
    method, data = methods[name], prepared()
    made, codes = as_trained(method, data), jax.jit(method.codes)
    keys, factors = random.split(random.key(1), 3), np.array([1.0, 1.5, 2.0])
    options = {"bits": 8, "max_iterations": 4, "tolerance": 1e-2}
    grid = jax.tree.map(lambda leaf: leaf * factors, method.params)
    swept = core.sweep(method, data, keys, grid, **options, lanes=2)
    for i, (key, factor) in enumerate(zip(keys, factors)):
        params = jax.tree.map(lambda leaf, factor=factor: leaf * factor, method.params)
        state, objective, converged = core.fit(method, data, key, params, **options)
        lane = jax.tree.map(lambda leaf, i=i: leaf[i], swept)
        np.testing.assert_allclose(lane.objective, objective, rtol=cases[name].rtol)
        assert lane.converged == converged
        with jax.enable_x64(True):
            np.testing.assert_array_equal(*(codes(s, made, params) for s in (lane.state, state)))


@every_step
def test_a_sweep_in_single_precision_equals_a_loop_of_fits(name):
    """Lanes batch what is computed in float64 outside the contexts it was written in."""
    method, data = methods[name], prepared(None)
    keys = random.split(random.key(1), 2)
    options = {"bits": 8, "max_iterations": 3, "tolerance": 0}
    objectives = core.sweep(method, data, keys, method.params, **options, lanes=2).objective
    singles = [core.fit(method, data, key, **options).objective for key in keys]
    np.testing.assert_allclose(objectives, singles, rtol=1e-3)


@every_program
def test_the_same_key_gives_the_same_bits(name):
    method, data = methods[name], prepared(None)
    options = {"bits": 8, "max_iterations": 3, "tolerance": 0}
    first, second, other = (core.fit(method, data, random.key(seed), **options).state for seed in (3, 3, 4))
    chex.assert_trees_all_equal(first, second)
    differ = any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other)))
    assert differ == cases[name].drawn


class Updated(NamedTuple):
    """A state before and after an update, and what it depends on."""

    before: Any
    after: Any
    data: core.Data
    objective: Callable[[Any], jax.Array]  # of states: what the update minimises


@lru_cache(maxsize=1)
def second_step(name):
    """Every update of a method's second step, by its name, on data with no more samples than columns."""
    method, case = methods[name], cases[name]
    with jax.enable_x64(True):
        data = prepared(n=40, dims=(24, 20))
        assert data.turned is None
        state, data, params = started(method, data)

        def objective(state):
            return (case.objective or method.objective)(state, data, params)

        found = {}
        for update in method.updates:
            before, state = state, update(state, data, params)
            found[getattr(update, "func", update).__name__] = Updated(before, state, data, objective)
    return found


@every_block
def test_an_exact_update_does_not_raise_the_objective(name, update):
    if cases[name].blocks[update][1] == "words":
        pytest.skip("an early book chooses as if no later one followed")
    with jax.enable_x64(True):
        found = second_step(name)[update]
        before, after = found.objective(found.before), found.objective(found.after)
        assert after <= before + 1e-9 * abs(before)


class Block(NamedTuple):
    """A field of a state after its update, and what the update minimises as a function of it."""

    value: Any
    loss: Callable[[Any], jax.Array]
    update: Updated


def along(kind, Z, G, n):
    """The part of gradient G along which Z may move."""
    if kind == "real":
        return G
    if kind == "simplex":
        return G - G.mean()
    if Z.shape[0] < Z.shape[1]:
        return along(kind, Z.T, G.T, n).T
    scale = 1.0
    if kind == "balanced":
        G, scale = G - G.mean(0), n
    ZG = Z.T @ G / scale
    return G - Z @ (ZG + ZG.T) / 2


def matrices(tree):
    """The arrays of a field, one per view where it holds a stack of them."""
    return [part for leaf in jax.tree.leaves(tree) for part in (leaf if leaf.ndim == 3 else [leaf])]


def stationary(block, kind, only=slice(None)):
    away = jax.tree.map(lambda Z: Z + 0.1 * random.normal(random.key(5), Z.shape), block.value)
    trees = block.value, jax.grad(block.loss)(block.value), jax.grad(block.loss)(away)
    for Z, G, A in list(zip(*map(matrices, trees)))[only]:
        assert jnp.abs(along(kind, Z, G, len(block.update.data.mask))).max() <= 1e-7 * max(
            float(jnp.abs(A).max()), 1e-300
        )


def stationary_within(block, within):
    Z, G = block.value, jax.grad(block.loss)(block.value)
    step = jnp.abs(Z).max() / jnp.abs(G).max()
    np.testing.assert_allclose(within(Z - step * G, block.update.data), Z, atol=1e-7 * float(jnp.abs(Z).max()))


def no_flip_is_better(block):
    value, best = block.value, block.loss(block.value)
    flips = np.random.default_rng(0).choice(value.size, size=min(40, value.size), replace=False)
    others = jax.vmap(lambda i: block.loss(value.ravel().at[i].multiply(-1).reshape(value.shape)))(flips)
    assert others.min() >= best - 1e-9 * abs(best)


def no_word_is_better(block):
    state, objective = block.update.after, block.update.objective
    words, rows = jnp.arange(state.C.shape[1], dtype=state.A.dtype), jnp.arange(0, len(state.A), 5)
    for b in range(len(state.C)):
        so_far = state._replace(C=state.C.at[b + 1 :].set(0))

        def loss(row, word, b=b, so_far=so_far):
            return objective(so_far._replace(A=so_far.A.at[row, b].set(word)))

        best = objective(so_far)
        tried = jax.jit(jax.vmap(jax.vmap(loss, (None, 0)), (0, None)))(rows, words)
        assert tried.min() >= best - 1e-9 * abs(best)


optimal = {
    "real": lambda block: stationary(block, "real"),
    "orthonormal": lambda block: stationary(block, "orthonormal"),
    "balanced": lambda block: stationary(block, "balanced"),
    "balanced in turn": lambda block: stationary(block, "balanced", only=slice(-1, None)),
    "simplex": lambda block: stationary(block, "simplex"),
    "real in turn": lambda block: stationary(block, "real", only=slice(-1, None)),
    "binary": no_flip_is_better,
    "words": no_word_is_better,
    "lower": lambda block: pytest.skip("one pass over its columns, each optimal given the others"),
}


@every_block
def test_an_update_is_optimal_in_its_block(name, update):
    field, kind = cases[name].blocks[update]
    with jax.enable_x64(True):
        found = second_step(name)[update]

        def loss(value):
            return found.objective(found.after._replace(**{field: value}))

        block = Block(getattr(found.after, field), loss, found)
        if kind == "bounded":
            stationary_within(block, cases[name].within)
        else:
            optimal[kind](block)


def in_rows(data):
    """The same data set with nothing reduced."""
    labels = data.per_sample(data.sets)
    unit = data.per_sample(unit_rows(data.sets))
    return data._replace(views=data.features, labels=labels, unit_labels=unit, ones=data.mask, turned=None)


def turned_back(state, data, bits):
    """A state of reduced rows as one of n rows, by a turn that has that of the data as its first columns."""
    Q = np.asarray(data.turned.Q)
    p, beside = Q.shape[1], np.random.default_rng(0).normal(size=(len(Q), bits))
    Q = jnp.asarray(np.column_stack([Q, np.linalg.qr(beside - Q @ (Q.T @ beside))[0]]))
    back = jax.tree.map(lambda leaf: Q @ leaf if leaf.ndim > 1 and leaf.shape[-2] == p + bits else leaf, state)
    return back._replace(B_p=state.B) if hasattr(state, "B_p") else back


@every_program
def test_reduced_rows_and_n_rows_learn_the_same_bits(name):
    method, bits = methods[name], 8
    with jax.enable_x64(True):
        state, data, params = started(method, prepared(), bits, steps=0)
        rows = core.ready(method, in_rows(prepared()), bits)
        assert len(data.ones) == 32 + bits
        assert len(rows.ones) == 61
        other = turned_back(state, data, bits)
        step = jax.jit(core.step, static_argnums=0)
        for _ in range(6):
            state, other = (step(core.bare(method), s, d, params) for s, d in ((state, data), (other, rows)))
        objectives = method.objective(state, data, params), method.objective(other, rows, params)
        np.testing.assert_allclose(*objectives, rtol=10 * cases[name].rtol)
        np.testing.assert_array_equal(method.codes(state, data, params), method.codes(other, rows, params))
        encoders = method.encoder(state, data, params), method.encoder(other, rows, params)
        chex.assert_trees_all_close(
            *encoders, rtol=1e-4, atol=1e-6 * max(float(jnp.abs(W).max()) for W in jax.tree.leaves(encoders[0]))
        )


@parametrised(name for name in dict.fromkeys(program.values()) if not methods[name].across)
def test_a_method_that_needs_no_products_between_views_learns_the_same_without(name):
    method, (views, labels) = methods[name], problem(n=200)
    options = {"bits": 8, "max_iterations": 3, "tolerance": 0}
    data = [core.prepare(views, labels, across=across) for across in (True, False)]
    whole, parts = (core.fit(method, d, random.key(0), **options) for d in data)
    np.testing.assert_allclose(parts.objective, whole.objective, rtol=1e-3)
    same = [method.codes(found.state, d, method.params) for found, d in zip((whole, parts), data)]
    assert (same[0] == same[1]).mean() > 0.95


@every_program
def test_sharded_and_padded_rows_give_the_same_result(name):
    method, data = methods[name], prepared()
    options = {"bits": 8, "max_iterations": 3, "tolerance": 0}

    @jax.jit
    def finished(state, data):
        return method.codes(state, data, method.params), method.encoder(state, data, method.params)

    with jax.enable_x64(True):
        plain = core.fit(method, data, random.key(0), **options)
        codes, encoder = finished(plain.state, as_trained(method, data))
        for other in (mesh.pad_rows(data, 8), mesh.shard_rows(data, mesh.row_mesh())):
            assert len(other.mask) == 64
            found = core.fit(method, other, random.key(0), **options)
            wide_codes, wide_encoder = finished(found.state, as_trained(method, other))
            np.testing.assert_allclose(found.objective, plain.objective, rtol=10 * cases[name].rtol)
            np.testing.assert_array_equal(wide_codes[..., :61, :], codes)
            for W, wide_W in zip(*map(jax.tree.leaves, (encoder, wide_encoder))):
                np.testing.assert_allclose(wide_W, W, rtol=1e-6, atol=1e-6 * float(jnp.abs(W).max()))


@every_step
def test_a_step_moves_no_array_of_n_rows_between_devices(name):
    if not cases[name].local:
        pytest.skip("its samples are linked to single other samples, or its factors need all of them")
    n, share = 1016, 127  # a prime share, so that a shape with it comes from the samples and from nothing else
    method, rows = methods[name], mesh.row_mesh()
    data = core.ready(method, mesh.shard_rows(prepared(None, n=n, c=4), rows), 8)
    params = numbers(method.params, data)
    state = method.init(random.key(0), data, params, 8)

    def place(leaf):
        spec = jax.sharding.PartitionSpec(*(["rows"] if leaf.shape[:1] == (n,) else []))
        return jax.device_put(leaf, jax.sharding.NamedSharding(rows, spec))

    state = jax.tree.map(place, state)
    step = jax.jit(core.step, static_argnums=0)
    text = step.lower(core.bare(method), state, data, params).compile().as_text()
    moved = re.findall(r"= (.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)[\w-]*\(", text)
    touches_samples = any(leaf.shape[:1] == (n,) for leaf in jax.tree.leaves(state))
    assert bool(moved) == touches_samples, "a step over sharded rows must reduce something"
    for shape, operation in moved:
        sizes = {int(size) for dims in re.findall(r"\[([\d,]*)\]", shape) for size in dims.split(",") if size}
        assert not sizes & {n, share}, f"{operation} of {shape}"


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
def test_float32_and_float64_agree_within_three_thousandths_of_map(name):
    views, labels = problem(n=1700, c=8, dims=(24, 20), noise=1.5, density=cases[name].density)

    def maps(params, precision):
        """(4,) learned and encoded, both ways."""
        options = {"params": params, "precision": precision}
        found = [measured(methods[name], 16, views, labels, 500, seed=n, **options) for n in range(cases[name].seeds)]
        return np.mean([[report[way] for report in one for way in ("i2t", "t2i")] for one in found], axis=0)

    for params in settings(name):
        double = maps(params, "float64")
        for precision in (None, "float32"):
            single, atol = maps(params, precision), cases[name].float32
            np.testing.assert_allclose(single, double, atol=atol, rtol=0, err_msg=str(params))


@every_method
def test_a_method_beats_chance(name):
    views, labels = problem(n=700, c=8, dims=(24, 20), density=0.1)
    chance = (labels[500:].astype(int) @ labels[:500].T > 0).mean()
    report, _ = measured(methods[name], 16, views, labels, 500)
    assert min(report["i2t"], report["t2i"]) > chance + 0.1


@pytest.mark.parametrize(
    ("bits", "features", "precision"), [(8, 200, None), (128, 40, None), (8, 40, "float32")], ids=str
)
@pytest.mark.filterwarnings("ignore:labels. 10 of 180 rows have none")
@every_method
def test_awkward_data_leave_no_nan(name, bits, features, precision):
    """More classes than bits, a class without samples, samples without labels, duplicates of rows and of columns."""
    views, labels = problem(n=180, c=12, dims=(6, features))
    labels[:, 3] = 0
    labels[:4] = 0
    views = [np.concatenate([x[:90], x[:90]]).astype(np.float32) for x in views]
    views[0][:, 1] = views[0][:, 0]
    labels = np.concatenate([labels[:90], labels[:90]])
    for params in settings(name):
        model = jaxcmh.train(methods[name], views, labels, bits=bits, params=params, precision=precision)
        chex.assert_tree_all_finite(model)


@every_program
def test_three_views_are_trained_and_evaluated(name):
    if cases[name].views < 3:
        pytest.skip("it is made for two views")
    views, labels = problem(n=260, dims=(12, 9, 7))
    report, _ = measured(methods[name], 16, views, labels, 200)
    chance = (labels[200:].astype(int) @ labels[:200].T > 0).mean()
    values = [report[f"view{a}->view{b}"] for a in range(3) for b in range(3) if a != b]
    assert min(values) > chance


@parametrised(name for name in methods if "-" not in name)
def test_an_independent_numpy_loop_gives_the_same_codes(name):
    reference, method = importlib.import_module(f"reference.{name}"), methods[name]
    with jax.enable_x64(True):
        state, data, params = started(method, prepared(), steps=0)
        back = turned_back(state, data, 8)
        start = jax.tree.map(np.asarray, back)._asdict()
        for _ in range(5):
            state = core.step(method, state, data, params)
        codes = np.asarray(method.codes(state, data, params))
    views, labels = problem()
    views = [np.asarray(x, np.float64) for x in data.features]
    np.testing.assert_array_equal(reference.run(views, labels.astype(float), start, method.params, 5), codes)


def test_every_setting_of_every_paper_is_there_by_name():
    given = {
        "dcgh": ("wiki", "mirflickr25k", "iaprtc12", "nuswide10"),
        "a2lh": ("mirflickr25k", "nuswide10"),
        "acqh": ("wiki", "mirflickr25k", "nuswide10"),
        "aah": ("wiki", "mirflickr25k", "nuswide10"),
        "imads": ("wiki", "mirflickr25k", "nuswide10"),
        "srlch": ("wiki", "mirflickr25k", "nuswide10"),
        "dch": ("wiki", "mirflickr25k", "nuswide10"),
        "fddh": ("wiki", "mirflickr25k"),
        "dlfh": ("wiki", "mirflickr25k", "nuswide10"),
        "amsh": ("mirflickr25k",),
        "mtfh": ("wiki",),
    }
    for name, datasets in given.items():
        for dataset in datasets:
            assert type(paper_params(name, dataset)) is type(methods[name].params)
    for name, dataset, told in (("a2lh", "wiki", "mirflickr25k, nuswide10; got 'wiki'"), ("no", "wiki", "got 'no'")):
        with pytest.raises(ValueError, match=told):
            paper_params(name, dataset)


def test_sign_of_zero_is_plus_one_and_padding_stays_zero():
    np.testing.assert_array_equal(sign(jnp.array([[0.0], [-1.0], [3.0]]), jnp.array([1, 1, 0])), [[1], [-1], [0]])
