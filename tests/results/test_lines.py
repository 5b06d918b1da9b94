"""Result lines, tables and run folders: nothing mixes, nothing is lost, nothing is half written."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from jaxcmh import results
from jaxcmh.results import lines, tables
from jaxcmh.studies import runs


def line(method: str = "dcgh", bits: int = 16, seed: int = 0, i2t: float = 0.4, **changes) -> dict:
    record = {
        "format": 1,
        "data": "toy",
        "data_hash": "d",
        "split_hash": "s",
        "database": "learned",
        "ties": "expected",
        "at": None,
        "n_queries": 20,
        "n_without_relevant": 1,
        "n_database": 50,
        "method": method,
        "bits": bits,
        "params": {"alpha": 1.0},
        "max_iterations": 3,
        "tolerance": 0.0,
        "features": [{"kind": "rbf"}],
        "hash_function": "ridge",
        "seed": seed,
        "map": {"i2t": i2t, "t2i": 0.7},
        "objective": [3.0, 2.0, 1.5],
        "times": {"train": 0.1},
        "environment": {},
        **changes,
    }
    return {**record, "key": results.key(record)}


def test_lines_come_back_as_written(tmp_path):
    path = tmp_path / "results.jsonl"
    written = [line(), line(seed=1)]
    for record in written:
        results.append(path, record)
    assert results.read(path) == written
    assert results.read(tmp_path) == written
    assert len(path.read_text().splitlines()) == 2


def test_a_half_line_of_a_killed_process_is_passed_over_and_then_cut_off(tmp_path):
    path = tmp_path / "results.jsonl"
    results.append(path, line())
    with open(path, "a") as file:
        file.write('{"format": 1, "met')
    assert results.read(path) == [line()]
    results.append(path, line(seed=1))
    assert results.read(path) == [line(), line(seed=1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "line 1: not JSON"),
        ("[1]", "line 1: a result is a JSON object, got list"),
        ('{"format": 1}', "line 1: the result lacks key, data"),
        (json.dumps(line() | {"format": 99}), "written by a later jaxcmh"),
        (json.dumps(line() | {"map": {"i2t": "high"}}), "map must give a number"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, text, message):
    path = tmp_path / "results.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(ValueError, match=message) as error:
        results.read(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl"):
        results.read(tmp_path / "nothing.jsonl")
    with pytest.raises(FileNotFoundError, match=r"no results.jsonl in"):
        results.read(tmp_path)


@pytest.mark.parametrize("field", ["map", "objective"])
def test_scores_that_are_not_finite_are_refused(tmp_path, field):
    bad = {"map": {"i2t": float("nan")}, "objective": [1.0, float("inf")]}[field]
    with pytest.raises(ValueError, match=f"{field} is not finite"):
        results.append(tmp_path / "r.jsonl", line() | {field: bad})
    assert not (tmp_path / "r.jsonl").exists()


@pytest.mark.parametrize("field", ["data", "data_hash", "split_hash", "database", "ties", "at", "n_queries"])
def test_tables_refuse_mixed_protocols(field):
    with pytest.raises(ValueError, match=f"mix protocols: {field} is"):
        results.table([line(), line(method="aah", **{field: 7})])


def test_a_protocol_field_may_differ_when_it_is_a_column():
    table = results.table([line(), line(database="encoded", i2t=0.2)], columns=("database", "direction"))
    assert table.columns == (("encoded", "i2t"), ("encoded", "t2i"), ("learned", "i2t"), ("learned", "t2i"))
    assert [cell.mean for cell in table.rows[0][1]] == [0.2, 0.7, 0.4, 0.7]
    assert "database codes" not in table.caption


def test_different_parameters_do_not_fall_into_one_cell():
    with pytest.raises(ValueError, match="two results of different configuration"):
        results.table([line(), line(seed=1, params={"alpha": 2.0})])


def test_two_results_that_disagree_are_refused():
    with pytest.raises(ValueError, match="seed 0, disagree"):
        results.table([line(), line(i2t=0.5)])


def test_a_field_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="no field 'colour'"):
        results.table([line()], rows=("colour",))


def test_cells_are_means_over_seeds():
    table = results.table([line(), line(seed=1, i2t=0.6), line(seed=1, i2t=0.6), line(method="aah", i2t=0.3)])
    cells = dict(table.rows)
    mean, sd, seeds, published = cells[("dcgh",)][0]
    assert (mean, seeds, published) == (pytest.approx(0.5), 2, None)
    assert sd == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert cells[("aah",)][0].seeds == 1
    assert results.show(cells[("dcgh",)][0]) == "0.500 ± 0.141"
    assert results.show(cells[("aah",)][0]) == "0.300"


def test_all_tied_bests_are_bold():
    table = results.table([line(), line(method="aah", i2t=0.4001), line(method="acqh", i2t=0.1)])
    assert results.best(table) == {(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)}
    text = tables.render(table, "markdown")
    assert text.count("**0.400**") == 2
    assert text.splitlines()[-1] == table.caption + "."


def test_the_caption_names_the_protocol():
    caption = results.table([line(at=50)]).caption
    assert caption == "mAP@50, data toy, learned database codes, expected ties, 20 queries (1 without a relevant item)"


def test_csv_holds_the_same_numbers():
    table = results.table([line(), line(seed=1, i2t=0.6)])
    rows = [row.split(",") for row in results.to_csv(table).splitlines()]
    assert rows[0] == ["method", "direction", "bits", "map", "sd", "seeds"]
    assert rows[1][:3] == ["dcgh", "i2t", "16"]
    assert float(rows[1][3]) == table.rows[0][1][0].mean


def test_the_key_is_that_of_the_experiment():
    assert line()["key"] == line(times={"train": 9.0}, map={"i2t": 0.9})["key"]
    others = [line(seed=1), line(bits=32), line(ties="stable"), line(params={"alpha": 2.0}), line(data_hash="x")]
    assert len({line()["key"], *(other["key"] for other in others)}) == 6


def part(rows, shift=0.0):
    rng = np.random.default_rng(0)
    views = tuple(rng.normal(size=(10, d))[rows] + shift for d in (3, 2))
    labels = np.eye(2, dtype=np.uint8)[np.arange(10) % 2]
    return SimpleNamespace(views=views, labels=labels[rows], ids=np.arange(10)[rows])


def split(**changes):
    train = part(slice(0, 7))
    return SimpleNamespace(**{"train": train, "query": part(slice(7, 10)), "database": train, **changes})


def test_hashes_change_with_the_data_and_with_the_split():
    same, moved = split(), split(query=part(slice(7, 10), shift=1e-6))
    other = split(query=part(slice(6, 9)))
    assert results.data_hash(same) == results.data_hash(split())
    assert results.data_hash(same) != results.data_hash(moved)
    assert results.split_hash(same) == results.split_hash(moved) != results.split_hash(other)


def test_sparse_views_hash_by_content():
    from scipy import sparse

    dense = part(slice(0, 7))
    one, two = (SimpleNamespace(**{**vars(dense), "views": (sparse.csr_array(x), x)}) for x in dense.views)
    assert results.data_hash(split(train=one)) == results.data_hash(split(train=one))
    assert results.data_hash(split(train=one)) != results.data_hash(split(train=two))


def test_kinds_of_database_codes():
    assert runs.kinds(split()) == ("learned", "encoded")
    assert runs.kinds(split(database=part(slice(7, 10)))) == ("held_out",)
    assert runs.kinds(split(database=part(slice(5, 10)))) == ("encoded",)


def test_chance_is_the_share_of_relevant_items():
    rng = np.random.default_rng(1)
    query, database = (rng.integers(0, 2, (n, 3)) for n in (300, 40))
    query[0] = 0
    relevant = np.array([[bool((q & d).any()) for d in database] for q in query])
    assert results.chance(query, database) == pytest.approx(relevant[relevant.any(1)].mean())
    assert results.chance(np.zeros((2, 3)), database) == 0.0


def test_doubts():
    assert results.doubts({"i2t": 0.4, "t2i": 0.7}, 0.1, {"learned": np.array([[0], [255]], np.uint8)}) == []
    assert "exactly the same mAP" in results.doubts({"i2t": 0.4, "t2i": 0.4}, 0.1)[0]
    assert "no better than chance" in results.doubts({"i2t": 0.1, "t2i": 0.7}, 0.1)[0]
    constant = results.doubts({}, 0.1, {"learned": np.array([[0, 1], [254, 1]], np.uint8)})
    assert constant == ["9 of 16 bits are the same for all items of the learned codes"]


def test_long_curves_are_thinned_and_keep_their_shape():
    recall = np.linspace(0.001, 1, 5000) ** 0.3
    measured = SimpleNamespace(
        pr_recall=recall, pr_precision=1 - recall, topn_precision=[], radius_precision=[], radius_recall=[]
    )
    thin = lines._curves(measured)
    assert 200 < len(thin["recall"]) <= results.POINTS
    assert thin["recall"][-1] == 1
    assert np.abs(np.interp(recall, thin["recall"], thin["precision"]) - (1 - recall)).max() < 1e-3
    short = SimpleNamespace(**{**vars(measured), "pr_recall": recall[:65], "pr_precision": recall[:65]})
    assert len(lines._curves(short)["recall"]) == 65


def test_environment_names_versions_and_device():
    told = results.environment()
    assert told["versions"]["jax"].count(".") >= 1
    assert told["device"].startswith("cpu")
    json.dumps(told)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with runs.folder(tmp_path / "a" / "run") as place:
        (place / "file").write_text("x")
        assert not (tmp_path / "a" / "run").exists()
    assert [p.name for p in (tmp_path / "a").rglob("*")] == ["run", "file"]

    def interrupted():
        with runs.folder(tmp_path / "b" / "run") as place:
            (place / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_is_never_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="is there already"), runs.folder(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / "mine").read_text() == "x"
    assert runs.free(tmp_path / "run") == tmp_path / "run-2"
    assert runs.free(tmp_path / "new") == tmp_path / "new"


def test_text_is_replaced_whole(tmp_path):
    path = results.write_text(tmp_path / "page.html", "one")
    results.write_text(path, "two")
    assert path.read_text() == "two"
    with pytest.raises(TypeError):
        results.write_text(path, b"bytes")  # pyright: ignore[reportArgumentType]
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "two"


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        runs.read_run(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"it has no config.json"):
        runs.read_run(tmp_path)
