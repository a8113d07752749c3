"""What the card and `nearfar inspect` say of an encoder of rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nearfar.bundle.manifest import Manifest
from nearfar.frontend.settings import CategoryColumn, DateColumn, NumberColumn, TableSettings

FIGURES = {
    "knn_accuracy": "share of test rows whose nearest training rows vote for their label",
    "probe_accuracy": "share that a linear classifier on the embeddings gets right, trained on all labels of the training rows",
    "few_label_accuracy": "the same with ten labels a class",
    "nmi": "how far clusters of the embeddings are the labels (normalised mutual information)",
    "view_recall_at_1": "share of test rows that are found by a copy with a fifth of its columns replaced, among all test rows",
}

LIMITS = """## Limits and intended use

- Meant for rows of the table that it was trained on, with the same columns and units. Where values drift, train again.
- A category that training did not have counts as unknown, a number beyond the range of training as its end.
- A cosine orders the rows near one row; it is no probability. Which columns make two rows alike was learned from what columns tell
  of each other, not from what you will decide by.
- The names of columns and the values of categories are in the manifest. Do not hand the bundle to people who may not see them.
- It repeats the leanings of its training data. Do not use it alone to decide about people."""

_SHOWN = 8


def what(manifest: Manifest, frontend: TableSettings) -> str:
    """The first sentences of the card."""
    columns = len(frontend.columns)
    return (
        f"An encoder of table rows: it puts rows that are alike near each other. It looks at {columns} "
        f"column{'s' * (columns != 1)}. {manifest.dim} dimensions, compared by {manifest.similarity}."
    )


def use(manifest: Manifest, frontend: TableSettings) -> str:
    """How to embed rows."""
    one = ", ".join(f"{column.name!r}: {_example(column)}" for column in frontend.columns[:3])
    rest = ", ..." if len(frontend.columns) > 3 else ""
    return f"""## Use

`BUNDLE` is this folder.

```python
from nearfar.edge.encoder import Encoder
encoder = Encoder.open("BUNDLE")
vectors = encoder.embed([{{{one}{rest}}}])  # (1, {manifest.dim})
```

```sh
nearfar similar BUNDLE table.csv --row 2  # the row on line 2, the first below the header
nearfar dedupe BUNDLE table.csv
```

The rows of `embed` are float32, {manifest.dim} components, unit length. A row is a mapping of columns to cells; a column that it
lacks is missing, others are passed over. Cells may be text, as CSV has them, or numbers, dates and booleans."""


def columns(frontend: TableSettings) -> str:
    """What each column is taken for."""
    lines = ["## Columns", "", "| column | taken for | what |", "|---|---|---|"]
    lines += [f"| {_plain(column.name)} | {column.type} | {_plain(shown(column))} |" for column in frontend.columns]
    lines += [f"| {_plain(one.name)} | not looked at | {_plain(one.why)} |" for one in frontend.ignored]
    return "\n".join(lines)


def rows(frontend: TableSettings) -> list[tuple[str, str]]:
    """The columns as `nearfar inspect` shows them."""
    found = [(f"column {column.name}", f"{column.type}: {shown(column)}") for column in frontend.columns]
    return [*found, *((f"column {one.name}", f"ignored: {one.why}") for one in frontend.ignored)]


def shown(column: NumberColumn | DateColumn | CategoryColumn) -> str:
    """Its range or its values, in a few words."""
    if isinstance(column, CategoryColumn):
        more = f", and {len(column.values) - _SHOWN} more" if len(column.values) > _SHOWN else ""
        return ", ".join(column.values[:_SHOWN]) + more
    if isinstance(column, DateColumn):
        cycles = f"; and its place in the {', '.join(column.cycles)}" if column.cycles else ""
        return f"{_day(column.knots[0])} to {_day(column.knots[-1])}{cycles}"
    return f"{column.knots[0]:,.6g} to {column.knots[-1]:,.6g}"


def _example(column: NumberColumn | DateColumn | CategoryColumn) -> str:
    if isinstance(column, CategoryColumn):
        return repr(column.values[0])
    middle = column.knots[len(column.knots) // 2]
    return repr(_day(middle)) if isinstance(column, DateColumn) else f"{middle:.6g}"


def _day(days: float) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days)).date().isoformat()


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
