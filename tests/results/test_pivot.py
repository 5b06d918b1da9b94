"""Tables of result lines: no two protocols or configurations in one, and cells that are means over seeds."""

import fake_lines
import numpy as np
import pytest

from jaxcmh import results
from jaxcmh.results import tables


def line(*configuration, i2t=0.4, **changes):
    return fake_lines.line(*configuration, map={"i2t": i2t, "t2i": 0.7}, **changes)


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
    with pytest.raises(ValueError, match=r"two results of different .*, such as rows=\['method', 'alpha', 'beta'\]$"):
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
    assert results.best(table) == {(0, 0), (1, 0)}  # in the other direction all rows tie, and none is marked
    text = tables.render(table, "markdown")
    assert text.count("**0.400**") == 2
    assert text.splitlines()[-1] == f"{table.caption}. In bold: best of its column."


def test_the_caption_names_the_protocol():
    caption = results.table([line(at=50)]).caption
    assert caption == "mAP@50, data toy, learned database codes, expected ties, 20 queries (1 without a relevant item)"


def test_csv_holds_the_same_numbers():
    table = results.table([line(), line(seed=1, i2t=0.6)])
    rows = [row.split(",") for row in results.to_csv(table).splitlines()]
    assert rows[0] == ["method", "direction", "bits", "map", "sd", "seeds"]
    assert rows[1][:3] == ["dcgh", "i2t", "16"]
    assert float(rows[1][3]) == table.rows[0][1][0].mean
