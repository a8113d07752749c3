"""Which columns of sensor data hold what; options of the commands that read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Argument(help="A .csv, .tsv or .parquet file with samples, or a folder of them.")]
Time = Annotated[str | None, typer.Option("--time", help="Column with date and time, or seconds.")]
Channel = Annotated[
    str | None, typer.Option("--channel", help="Of a long table (a row a value): column with the channel.")
]
Value = Annotated[str | None, typer.Option("--value", help="Of a long table: column with the value.")]
MachineColumn = Annotated[str | None, typer.Option("--machine-column", help="Column that says which machine it is.")]
Machine = Annotated[str | None, typer.Option("--machine", help="Look at this machine only.")]
Machines = Annotated[
    str | None,
    typer.Option("--machines", metavar="one|file|folder", help="Without such a column: what is a machine of its own."),
]
Rate = Annotated[float | None, typer.Option("--rate", help="Samples a second of data without times.", min=1e-9)]
Timezone = Annotated[str | None, typer.Option("--timezone", help="Of times that name none, as Europe/Berlin.")]
Threshold = Annotated[float | None, typer.Option("--threshold", help="In place of the bundle's own.", min=0.0)]
Label = Annotated[
    str | None,
    typer.Option("--label", help="Column that is not 0 where a fault is known; by default `label` or `anomaly`."),
]

# What commands call these that take them beside options of other kinds of bundles.
NAMES = ("time", "channel", "value", "machine_column", "machine", "machines", "rate", "timezone")


def show_missing(missing: Mapping[str, Sequence[str]]) -> None:
    """Say which channels of a monitor stored data lacks: figures and alarms are of the others only."""
    from nearfar.cli.console import notes

    for machine, names in missing.items():
        of = f" of {machine}" if machine else ""
        text = f"note: no column{of} for {', '.join(names)}: taken for missing"
        notes.print(text, style="yellow", markup=False, soft_wrap=True)
