"""Forecasts of memory and time, from measurements that are given and from real ones."""

import pytest

import jaxcmh
from jaxcmh import methods
from jaxcmh.learning import memory
from jaxcmh.learning.features import Features
from jaxcmh.studies import forecasts
from jaxcmh.studies.forecasts import Measured, extended

DIMS, LABELS = (30, 20), 6


def test_time_is_the_line_through_both_and_memory_the_larger_with_what_comes_on_top():
    small, large = Measured(5_000, 0.4, 1.0), Measured(20_000, 0.6, 2.5)
    way = extended("memory", small, large, 1_020_000, lambda n: 0.3 + n * 4e-6)
    assert way.seconds == pytest.approx(2.5 + 1e-4 * 1_000_000)
    assert way.gb == pytest.approx(0.6 + 4.0)
    assert way.measured == (small, large)


def test_a_faster_larger_one_is_no_reason_for_time_to_shrink():
    way = extended("memory", Measured(5_000, 0.4, 2.0), Measured(20_000, 0.6, 1.0), 10**6, lambda n: 0.0)
    assert way.seconds == 1.0


def test_devices_share_what_grows(monkeypatch):
    monkeypatch.setattr(forecasts, "measure", lambda _, n, asked: Measured(n, 0.5 + n * 1e-5, n / 1000))
    found = jaxcmh.forecast("dcgh", 800_000, DIMS, labels=LABELS, features="identity", devices=4)
    ways = {way.way: way for way in found.ways}
    assert list(ways) == ["memory", "devices", "room"]
    assert ways["memory"].seconds == pytest.approx(800)
    assert ways["devices"].seconds == pytest.approx(200)
    assert max(ways["room"].gb, ways["devices"].gb) < ways["memory"].gb


def test_sizes_are_more_than_reduced_rows_and_large_enough_to_see():
    wide = [Features("identity")] * 2
    assert forecasts.sizes_for(wide, (4096, 4096), 10, 32)[0] > 8192 + 21
    assert forecasts.sizes_for(wide, DIMS, LABELS, 32) == (25_000, 100_000)
    assert forecasts.sizes_for([Features()] * 2, (500, 1000), 24, 32) == (5_000, 20_000)


def test_a_training_that_does_not_run_says_why(tmp_path):
    forecasts.write(tmp_path, 20, DIMS, LABELS)
    with pytest.raises(ValueError, match=r"n: a training of 20 pairs does not run here: ValueError: .*bits"):
        forecasts.measure(str(tmp_path), 20, [2, False, None, "dcgh", {"bits": 64, "features": []}])


@pytest.mark.parametrize("method", ["dcgh", "imads"])
def test_the_memory_of_shapes_is_that_of_a_process(method, tmp_path):
    """Within 30 %, of a training large enough for its features to count."""
    dims, n, kinds = (100, 100), 100_000, [Features("identity")] * 2
    forecasts.write(tmp_path, n, dims, LABELS)
    options = {"bits": 32, "max_iterations": 1, "features": [kind._asdict() for kind in kinds]}
    found = forecasts.measure(str(tmp_path), n, [2, False, None, method, options])
    raw = 4 * n * sum(dims) / 1e9
    said = raw + memory.peak_gb(methods.find(method), n, dims, LABELS, 32, kinds)
    print(f"{method}: {found.gb:.2f} GB, as shapes have it {said:.2f} GB, {found.seconds:.1f} s")
    assert found.gb == pytest.approx(said, rel=0.3)
