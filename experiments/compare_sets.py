"""All methods on all data sets of the comparison in one table, from the committed lines.

    python experiments/compare_sets.py

mAP at 32 bits with each method's own settings, mean of both directions and of five seeds, with learned and with encoded
database codes, stable ties; best of each column in bold.
"""

import statistics
from pathlib import Path

from jaxcmh import methods, results

FOLDER = Path(__file__).parent / "results" / "compare"
SETS = ("wiki", "icons", "mirflickr25k-tags", "synthetic-hard", "synthetic-easy")


def rows() -> list[str]:
    """The table in Markdown, a line per row."""
    columns = {}
    for data in SETS:
        lines = [line for line in results.read(FOLDER / data) if (line["study"]["name"], line["bits"]) == ("bits", 32)]
        for database in ("learned", "encoded"):
            columns[f"{data}, {database}"] = {
                name: statistics.fmean(
                    value
                    for line in lines
                    if (line["method"], line["database"]) == (name, database)
                    for value in line["map"].values()
                )
                for name in methods.registry
            }
    best = {title: max(values.values()) for title, values in columns.items()}
    text = ["| method | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    for name in methods.registry:
        cells = (f"{values[name]:.3f}" for values in columns.values())
        bold = (f"**{cell}**" if cell == f"{top:.3f}" else cell for cell, top in zip(cells, best.values()))
        text.append(f"| {name} | " + " | ".join(bold) + " |")
    return text


if __name__ == "__main__":
    print("\n".join(rows()))
