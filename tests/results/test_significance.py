"""Paired permutation tests: against enumeration and known answers, on run folders, and what is refused."""

import itertools
import json

import fake_lines
import numpy as np
import pytest
from fake_lines import line
from scipy import stats

from jaxcmh import results
from jaxcmh.results import runs, significance, tables


def test_p_is_that_of_all_sign_flips():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 9))
    gaps = first - second
    flipped = [abs((gaps * signs).mean()) for signs in itertools.product((1, -1), repeat=9)]
    expected = np.mean([value >= abs(gaps.mean()) - 1e-12 for value in flipped])
    difference, _, _, p = significance.paired(first, second)
    assert difference == pytest.approx(gaps.mean())
    assert p == pytest.approx(expected)


def test_p_and_interval_agree_with_the_t_test_on_many_queries():
    rng = np.random.default_rng(1)
    first = rng.random(400)
    second = first - 0.01 + rng.normal(0, 0.1, 400)
    difference, low, high, p = significance.paired(first, second)
    test = stats.ttest_rel(first, second)
    interval = test.confidence_interval(0.95)
    assert p == pytest.approx(test.pvalue, abs=0.02)
    assert (low, high) == pytest.approx((interval.low, interval.high), abs=0.001)
    assert low < difference < high


def test_equal_runs_do_not_differ():
    assert significance.paired([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]) == (0.0, 0.0, 0.0, 1.0)


def test_false_alarms_are_as_rare_as_they_should_be():
    rng = np.random.default_rng(2)
    p = [significance.paired(*rng.random((2, 30)), resamples=199)[3] for _ in range(200)]
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.1


def test_holm_keeps_order_and_never_falls():
    assert significance.holm([0.01, 0.02, 0.04]) == pytest.approx([0.03, 0.04, 0.04])
    assert significance.holm([0.9, 0.6]) == [1.0, 1.0]
    # https://en.wikipedia.org/wiki/Holm-Bonferroni_method, its example of four hypotheses
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([0.1], [0.2], "n at least 2"),
        ([0.1, 0.2], [0.1, 0.2, 0.3], "must both have shape"),
        ([0.1, np.nan], [0.1, 0.2], "must be finite"),
    ],
)
def test_bad_ap_is_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        significance.paired(first, second)


def folder(place, method, seed, lift, queries=40, **changes):
    """A run folder with made-up AP of every query; its model and codes are not looked at."""
    place.mkdir()
    rng = np.random.default_rng(seed)
    ap = np.clip(np.random.default_rng(9).random(queries) + lift + rng.normal(0, 0.02, queries), 0, 1)
    (place / "per_query.csv").write_text(
        "query,learned i2t\n" + "".join(f"{i},{'' if i == 3 else repr(float(v))}\n" for i, v in enumerate(ap))
    )
    results.append(place / "results.jsonl", line(method, seed=seed, n_queries=queries, **changes))
    for name in ("config.json", "environment.json"):
        (place / name).write_text(json.dumps({"format": 1}))
    (place / "model.safetensors").touch()
    np.savez(place / "codes.npz", learned=np.zeros(1))
    return place


def test_runs_are_compared_over_queries_and_seeds(tmp_path):
    places = [folder(tmp_path / f"{m}{s}", m, s, lift) for m, lift in (("dcgh", 0.05), ("aah", 0)) for s in (0, 1)]
    (comparison,) = significance.compare(places)
    assert (comparison.first, comparison.second, comparison.seeds, comparison.queries) == ("dcgh", "aah", (2, 2), 39)
    assert comparison.low < comparison.difference < comparison.high
    assert comparison.holm < 0.01
    assert runs.read_run(places[0]).per_query["learned i2t"].shape == (40,)
    text = tables.render(significance.grid([comparison]))
    assert "single seed" not in text
    assert f"{comparison.difference:+.4f}*" in text
    assert "*: corrected p below 0.05." in text
    assert "best" not in text
    assert f"{comparison.difference:+.4f}" in text


def test_a_single_seed_is_flagged_and_holm_counts_all_pairs(tmp_path):
    places = [folder(tmp_path / m, m, 0, lift) for m, lift in (("dcgh", 0.05), ("aah", 0), ("acqh", 0.001))]
    comparisons = significance.compare(places)
    assert [(c.first, c.second) for c in comparisons] == [("dcgh", "aah"), ("dcgh", "acqh"), ("aah", "acqh")]
    assert [c.holm for c in comparisons] == significance.holm([c.p for c in comparisons])
    assert tables.render(significance.grid(comparisons)).count("single seed!") == 3
    assert significance.as_dict(comparisons[0])["single_seed"] is True


def test_runs_that_do_not_compare_are_refused(tmp_path):
    one = folder(tmp_path / "one", "dcgh", 0, 0)
    for name, changes, message in (
        ("ties", {"ties": "stable"}, "mix protocols: ties"),
        ("data", {"data_hash": "x"}, "mix protocols: data_hash"),
        ("queries", {"queries": 30}, "other queries than"),
    ):
        with pytest.raises(ValueError, match=message):
            significance.compare([one, folder(tmp_path / name, "aah", 0, 0, **changes)])
    with pytest.raises(ValueError, match="needs two configurations"):
        significance.compare([one, folder(tmp_path / "seed", "dcgh", 1, 0)])
    with pytest.raises(ValueError, match="a second run of dcgh, seed 0"):
        significance.compare([one, one])
    with pytest.raises(ValueError, match=r"database: the runs have learned codes; got 'encoded'"):
        significance.compare([one, folder(tmp_path / "other", "aah", 0, 0)], ["encoded"])


def test_pairs_of_lines_are_tested_as_pairs_of_run_folders_are():
    lines = fake_lines.paired()
    found = {(one.database, one.direction): one for one in significance.pairs(lines)}
    assert set(found) == {(kind, d) for kind in ("learned", "encoded") for d in ("i2t", "t2i")}
    one = found["learned", "i2t"]
    assert one.methods == ("dcgh-common", "aah-common", "random_codewords-common")
    assert (one.seeds, one.queries) == (2, 19)
    aps = [
        np.mean([x["ap"]["i2t"][1:] for x in lines if (x["method"], x["database"]) == (m, "learned")], axis=0)
        for m in one.methods
    ]
    places = list(itertools.combinations(range(3), 2))
    tested = [significance.paired(aps[i], aps[j]) for i, j in places]
    assert [one.differences[place] for place in places] == pytest.approx([gap for gap, *_ in tested])
    assert [one.holm[place] for place in places] == pytest.approx(significance.holm([p for *_, p in tested]), abs=3e-4)
    np.testing.assert_array_equal(one.differences, -one.differences.T)
    np.testing.assert_array_equal(one.holm, one.holm.T)
    np.testing.assert_allclose(one.means, [ap.mean() for ap in aps])


def test_methods_that_do_not_differ_are_not_told_apart():
    lines = fake_lines.paired(("dcgh", "random_codewords"), seeds=1)
    same = [{**x, "ap": lines[0]["ap"]} for x in lines]
    assert all((one.holm == 1).all() and not one.differences.any() for one in significance.pairs(same))
    text = tables.render(significance.beside_control(significance.pairs(same)), "text")
    assert "*" not in text
    assert "a single seed" in text


def test_gains_are_over_the_control():
    text = tables.render(significance.beside_control(significance.pairs(fake_lines.paired())), "markdown")
    assert "**+0.4" in text.split("dcgh-common")[1].splitlines()[0]
    assert "| random_codewords-common | 0 | 0 | 0 | 0 |" in text
    with pytest.raises(ValueError, match="found: expected random_codewords among the methods"):
        significance.beside_control(significance.pairs(fake_lines.paired(("dcgh", "aah"))))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line()], "one of dcgh without"),
        (fake_lines.paired(("dcgh",)), "needs two methods; got dcgh"),
        ([*fake_lines.paired(), {**fake_lines.paired()[0], "data_hash": "other"}], "mix protocols"),
        ([*fake_lines.paired(), {**fake_lines.paired()[2], "seed": 0}], "dcgh-common, seed 0, disagree"),
    ],
)
def test_lines_that_cannot_be_compared_are_refused(lines, message):
    with pytest.raises(ValueError, match=message):
        significance.pairs(lines)
