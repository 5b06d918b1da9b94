"""A data set so small that references with n x n matrices are quick, and trainings on it."""

import jax
import numpy as np
from jax import random

from jaxcmh.learning import core


def problem(n=61, c=5, dims=(12, 9)):
    """Views that tell something of the labels, and labels of which a few are set in each row; float64."""
    rng = np.random.default_rng(0)
    labels = rng.random((n, c)) < 0.3
    labels[np.arange(n), rng.integers(c, size=n)] = True
    return [labels @ rng.normal(size=(c, d)) + rng.normal(size=(n, d)) for d in dims], labels.astype(float)


def fitted(method, params=None, bits=8, iterations=2, **options):
    """The state after a few iterations on the problem, in float64; its data, ready; and all objectives."""
    with jax.enable_x64(True):
        views, labels = problem(**options)
        data = core.prepare(views, labels, "float64")
        found = core.fit(method, data, random.key(0), params, bits=bits, max_iterations=iterations, tolerance=0)
        return found.state, core.ready(method, data, bits), np.asarray(found.objective)
