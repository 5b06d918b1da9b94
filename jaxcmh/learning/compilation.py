"""Programs for a CPU, compiled in half the time, and without a fault of the compiler."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

# A training spends its time in matrix products and decompositions, which are library calls: what is generated around
# them need not be polished.
QUICK = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 1,
    # These fusions of jaxlib 0.10 read memory that nobody wrote where a factor is all one number: the sum of
    # (X - V @ zeros)² is inf, and so is the first objective of a method that starts at 0.
    "xla_cpu_experimental_ynn_fusion_type": "",
}

MAPS, MOST_MAPS = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")


def make_room(share: float = 0.5) -> None:
    """Forget compiled programs before they fill the process's table of memory maps, for then jaxlib crashes.

    A program takes some ten maps, and Linux allows a process 65,530: a few thousand trainings of many methods.

    Args:
        share: of the maps allowed, above which programs are forgotten.
    """
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > share * int(MOST_MAPS.read_text()):
        jax.clear_caches()


@cache
def options() -> dict[str, Any] | None:
    """Compiler options for trainings, those that the compiler knows; None if it knows none, and on accelerators.

    What the environment's XLA_FLAGS say of them holds.
    """
    if jax.default_backend() != "cpu":
        return None
    flags = os.environ.get("XLA_FLAGS", "")
    wanted = {name: value for name, value in QUICK.items() if name not in flags}
    known = wanted if _knows(wanted) else {name: value for name, value in wanted.items() if _knows({name: value})}
    return known or None


def _knows(option: dict[str, Any]) -> bool:
    try:
        jax.jit(jnp.negative, compiler_options=option).lower(0).compile()
    except (RuntimeError, ValueError):
        return False
    return True


@cache
def _quick(function: Callable[..., Any], static: tuple[str, ...]) -> Callable[..., Any]:
    return jax.jit(function, static_argnames=static, compiler_options=options())


def quickly(function: Callable[..., Any], *arguments: Any, **static: Any) -> Any:
    """`function(*arguments, **static)` of a jitted function, compiled with `options`.

    Args:
        function: jitted, at module level.
        arguments: its arrays.
        static: its static arguments, hashable.

    Example:
        >>> from functools import partial
        >>> power = jax.jit(lambda x, times: x**times, static_argnames="times")
        >>> float(quickly(power, jnp.float32(3), times=2))
        9.0
    """
    within_another_jit = isinstance(jax.device_put(0), Tracer)  # where options can no longer be chosen
    if within_another_jit or not options():
        return function(*arguments, **static)
    return _quick(function, tuple(static))(*arguments, **static)
