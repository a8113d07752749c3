"""Write the tables of README.md and docs/*.md from the figures that the benchmarks measured.

A table stands between two comments. The first names the area, which is a file in benchmarks/results, and which figures to
show: row `bm25` and column `ndcg_at_10` is the figure `bm25_ndcg_at_10`. Column `-` is the figure that has the row's name.
Beside other columns `-` is headed `nearfar`. `turned` puts the rows side by side and the columns below each other. `gaps` leaves a
cell empty where a figure was not measured, and the table as it is where nothing of its area was, in place of stopping.

    <!-- figures retrieval: rows=bm25,bundle columns=ndcg_at_10,recall_at_10 -->
    <!-- /figures -->
    <!-- figures images: rows=knn,probe columns=simclr,byol turned -->
    <!-- /figures -->
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TABLE = re.compile(
    r"(?P<opening><!-- figures (?P<area>\w+): rows=(?P<rows>\S+) columns=(?P<columns>\S+)(?P<turned> turned)?(?P<gaps> gaps)? -->\n).*?(?P<closing><!-- /figures -->)",
    re.DOTALL,
)
FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.DOTALL | re.MULTILINE)


def main() -> int:
    """Rewrite the pages, or with --check only say which of them are out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a table is out of date")
    check = parser.parse_args().check
    stale = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if not page.exists():
            continue
        text = page.read_text(encoding="utf-8")
        try:
            filled = fill(text, RESULTS)
        except (OSError, KeyError, ValueError) as error:
            print(f"{page.relative_to(ROOT)}: {error}", file=sys.stderr)
            return 1
        if filled != text:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(filled, encoding="utf-8")
    if check and stale:
        print(f"{', '.join(stale)}: tables differ from benchmarks/results; run: make figures", file=sys.stderr)
        return 1
    print(f"tables written in: {', '.join(stale)}" if stale else "all tables are up to date")
    return 0


def fill(text: str, results: Path) -> str:
    """`text` with every table between figures comments replaced by the figures in `results`; code blocks stay as they are."""
    code = [match.span() for match in FENCE.finditer(text)]

    def table(match: re.Match[str]) -> str:
        if any(start <= match.start() < end for start, end in code):
            return match[0]
        measurements = results / f"{match['area']}.json"
        if match["gaps"] and not measurements.exists():
            return match[0]
        measured = json.loads(measurements.read_text(encoding="utf-8"))
        rows, columns = match["rows"].split(","), match["columns"].split(",")
        lines = render(measured, rows, columns, turned=bool(match["turned"]), gaps=bool(match["gaps"]))
        return match["opening"] + "\n" + "\n".join(lines) + "\n\n" + match["closing"]

    return TABLE.sub(table, text)


def render(
    measured: dict[str, Any], rows: list[str], columns: list[str], *, turned: bool = False, gaps: bool = False
) -> list[str]:
    """The lines of a Markdown table, and one that says on which machine its figures were measured."""
    figures = measured["figures"]

    def cell(row: str, column: str) -> str:
        key = row if column == "-" else f"{row}_{column}"
        if key not in figures and gaps:
            return ""
        if key not in figures:
            raise ValueError(f"no figure {key!r} was measured; there are: {', '.join(sorted(figures))}")
        return as_text(figures[key])

    cells = {(row, column): cell(row, column) for row in rows for column in columns}
    if not any(cells.values()):
        raise ValueError(f"no figure of this table was measured: rows {', '.join(rows)}, columns {', '.join(columns)}")
    across, down = (rows, columns) if turned else (columns, rows)
    alone = "nearfar" if len(columns) > 1 else ""
    lines = ["| | " + " | ".join(alone if name == "-" else name.replace("_", " ") for name in across) + " |"]
    lines.append("|---|" + "---:|" * len(across))
    for name in down:
        places = [(other, name) if turned else (name, other) for other in across]
        lines.append(
            f"| {alone if name == '-' else name.replace('_', ' ')} | "
            + " | ".join(cells[place] for place in places)
            + " |"
        )
    machine = "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in measured["machine"].items())
    return [*lines, "", f"Measured on {machine}."]


def as_text(figure: dict[str, Any]) -> str:
    """One figure with its interval, if it has one, and its unit, unless that is a share."""
    text = number(figure["value"])
    if figure.get("low") is not None and figure.get("high") is not None:
        text += f" ({number(figure['low'])} to {number(figure['high'])})"
    unit = figure.get("unit")
    return text if unit in (None, "", "share") else f"{text} {unit}"


def number(value: float) -> str:
    """Three significant digits; whole numbers from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


if __name__ == "__main__":
    raise SystemExit(main())
