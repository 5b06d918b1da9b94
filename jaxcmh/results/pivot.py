"""Tables of result lines: mean and standard deviation of mAP over seeds; numbers of two protocols never meet in one."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Annotated, Any, NamedTuple

import numpy as np

from jaxcmh import brief
from jaxcmh.checks import Whole, checked, filled
from jaxcmh.results.lines import (
    CONFIGURATION,
    DIVISOR,
    OF_THE_SETTING,
    Lines,
    describe,
    direction_name,
    one_protocol,
    score,
)

MAP = "mAP"  # the measure that every line has
Digits = Annotated[int, Whole(0, 17)]


class Cell(NamedTuple):
    """mAP of one row and column: mean and sample standard deviation over `seeds` seeds (sd is nan for one seed).

    `published` is the value a paper prints for the same, where there is one.

    >>> cell = Cell(mean=0.3594, sd=0.0131, seeds=5)
    >>> show(cell), show(cell._replace(seeds=1), digits=2)
    ('0.359 ± 0.013', '0.36')
    """

    mean: float
    sd: float
    seeds: int
    published: float | None = None


class Table(NamedTuple):
    """A pivot of results.

    Attributes:
        index: names of the fields that make the rows.
        columns: one tuple of field values per column; `fields` names them.
        fields: names of the fields that make the columns.
        rows: (values of the index fields, one Cell or None per column).
        caption: the protocol all cells share, in words.

    >>> import jaxcmh
    >>> from jaxcmh.studies import runs
    >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
    >>> outcome = runs.run(split, "dcgh", bits=8, data="synthetic")
    >>> made = table(outcome.records, rows=("database",), columns=("direction",))
    >>> made.columns, [names for names, cells in made.rows], made.rows[0][1][0].seeds
    ((('i2t',), ('t2i',)), [('learned',), ('encoded',)], 1)
    """

    index: tuple[str, ...]
    fields: tuple[str, ...]
    columns: tuple[tuple, ...]
    rows: tuple[tuple[tuple, tuple[Cell | None, ...]], ...]
    caption: str

    __repr__ = brief.text

    def _repr_html_(self) -> str:
        heads = [", ".join(map(head, self.fields, top)) for top in self.columns]
        rows = ((*map(str, names), *map(show, cells)) for names, cells in self.rows)
        return brief.rows((*self.index, *heads), rows, self.caption)


@checked
def table(
    records: Lines,
    rows: Annotated[Sequence[str], filled] = ("method",),
    columns: Annotated[Sequence[str], filled] = ("direction", "bits"),
) -> Table:
    """Mean mAP over seeds, one row and column for each value of the named fields.

    Args:
        records: result lines.
        rows, columns: fields of a record, "direction", or names of a hyper-parameter or setting; or "measure", for
            mAP and all else that lines measure, see `beyond_map` of `jaxcmh.evaluate`. Any protocol field that is not
            among them must be equal in all records, and two records in one cell may differ in nothing but the seed.
            "data" among them, or a setting such as the number of training rows, says that the data differ.
    Raises:
        ValueError: the records mix protocols or configurations, or a field does not exist.

    >>> table([])
    Traceback (most recent call last):
    ValueError: records: expected at least one; got []
    """
    rows, columns = tuple(rows), tuple(columns)
    settings_named = {name for line in records for name in line.get("setting", {})} & {*rows, *columns}
    other_data = settings_named or "data" in rows + columns
    protocol = one_protocol(records, rows + columns + (OF_THE_SETTING if other_data else ()))
    cells: dict[tuple[tuple, tuple], dict[int, float]] = {}
    settings: dict[tuple[tuple, tuple], str] = {}
    measures: dict[str, None] = {}
    for line in records:
        for direction, name, value in _scores(line, "measure" in rows + columns):
            measures.setdefault(name)
            entry = {**line["params"], **line.get("setting", {}), **line, "direction": direction, "measure": name}
            unknown = [name for name in rows + columns if name not in entry]
            if unknown:
                raise ValueError(
                    f"results have no field {unknown[0]!r}; there are direction, {', '.join(sorted(line))}"
                )
            place = tuple(_atom(entry[name]) for name in rows), tuple(_atom(entry[name]) for name in columns)
            setting = json.dumps([line.get("setting", {}), *(line[name] for name in CONFIGURATION)], sort_keys=True)
            if settings.setdefault(place, setting) != setting:
                hint = f", such as rows={[*rows, *named]}" if (named := _varied(records, rows + columns)) else ""
                raise ValueError(
                    f"two results of different configuration fall on {dict(zip(rows, place[0]))}: "
                    f"name the field they differ in as a row or column{hint}"
                )
            if cells.setdefault(place, {}).setdefault(line["seed"], value) != value:
                raise ValueError(f"two results for {dict(zip(rows, place[0]))}, seed {line['seed']}, disagree")
    heads = tuple(dict.fromkeys(place[0] for place in cells))
    order = list(measures)

    def sorted_by(top: tuple) -> list[tuple]:
        named = ((order.index(v) if field == "measure" else v) for field, v in zip(columns, top))
        return [(isinstance(v, str), v) for v in named]

    tops = tuple(sorted({place[1] for place in cells}, key=sorted_by))
    body = tuple((head, tuple(averaged(cells.get((head, top))) for top in tops)) for head in heads)
    caption = f"{score(protocol.get('at'), protocol.get('divisor', DIVISOR))}, {describe(protocol)}"
    return Table(rows, columns, tops, body, caption)


def _varied(records: Lines, named: Sequence[str]) -> list[str]:
    """The hyper-parameters and settings that lines differ in, less those that are named already."""
    values = [{**line["params"], **line.get("setting", {})} for line in records]
    every = dict.fromkeys(name for one in values for name in one if name not in named)
    return [name for name in every if len({_atom(one.get(name)) for one in values}) > 1]


def _scores(line: Mapping[str, Any], every: bool) -> Iterator[tuple[str, str, float]]:
    """Direction, measure and value: of mAP alone, or of all that a line measures."""
    for direction, value in line["map"].items():
        yield direction, MAP, value
        for name, more in line.get("measures", {}).get(direction, {}).items() if every else ():
            yield direction, name, more


def _atom(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else json.dumps(value)


@checked
def averaged(values: Mapping[int, float] | None) -> Cell | None:
    """The cell of one value per seed; None of no value.

    Example:
        >>> averaged({0: 0.5, 1: 1.5})
        Cell(mean=1.0, sd=0.7071067811865476, seeds=2, published=None)
    """
    if not values:
        return None
    numbers = list(values.values())
    return Cell(float(np.mean(numbers)), float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan, len(numbers))


@checked
def head(field: str, value: Any) -> str:
    """The head over a column.

    >>> head("bits", 16), head("direction", "i2t"), head("database", "learned")
    ('16 bits', 'image → text', 'learned')
    """
    return f"{value} bits" if field == "bits" else direction_name(str(value))


@checked
def best(table: Table, digits: Digits = 3) -> set[tuple[int, int]]:
    """(row, column) of the best cells; ties at the printed precision are all best, but where all rows tie none is.

    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> best(table(lines, rows=("database",), columns=("direction",))) <= {(0, 0), (0, 1), (1, 0), (1, 1)}
        True
    """
    places = set()
    for j in range(len(table.columns)):
        column = [round(cell.mean, digits) if cell else -math.inf for cell in (cells[j] for _, cells in table.rows)]
        highest = max(column, default=-math.inf)
        if len(column) > 1 and min(column) == highest:  # then marks would tell nothing
            continue
        places |= {(i, j) for i, value in enumerate(column) if value == highest > -math.inf}
    return places


@checked
def show(cell: Cell | None, digits: Digits = 3) -> str:
    """A cell in print: the mean, ± its standard deviation over more than one seed, the published value in parentheses.

    >>> show(Cell(0.3594, 0.0131, 5, 0.3729))
    '0.359 ± 0.013 (0.373)'
    """
    if cell is None:
        return "-"
    spread = "" if cell.seeds == 1 else f" ± {cell.sd:.{digits}f}"
    return f"{cell.mean:.{digits}f}{spread}" + ("" if cell.published is None else f" ({cell.published:.{digits}f})")


@checked
def to_csv(table: Table) -> str:
    """The table as long CSV: index fields, column fields, mean, sd (empty for one seed), seeds, published if known.

    Example:
        >>> import jaxcmh
        >>> from jaxcmh.studies import runs
        >>> split = jaxcmh.load_dataset("synthetic", train=60, query=10)
        >>> lines = runs.run(split, "dcgh", bits=8, data="synthetic").records
        >>> print(to_csv(table(lines, rows=("database",), columns=("direction",))).splitlines()[0])
        database,direction,map,sd,seeds
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    cells = [(*head, *top, cell) for head, row in table.rows for top, cell in zip(table.columns, row) if cell]
    known = any(cell.published is not None for *_, cell in cells)
    score = "value" if "measure" in table.index + table.fields else "map"
    writer.writerow([*table.index, *table.fields, score, "sd", "seeds", *(["published"] if known else [])])
    for *place, cell in cells:
        spread = "" if math.isnan(cell.sd) else repr(cell.sd)
        writer.writerow([*place, repr(cell.mean), spread, cell.seeds, *([cell.published] if known else [])])
    return text.getvalue()
