"""What every step of compression gave and cost, for the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nearfar.bundle import Manifest


def show_steps(manifest: Manifest) -> None:
    """Print what each step of compression gave and cost, the trained model first; one that was left out is dimmed."""
    from rich.markup import escape
    from rich.table import Table

    from nearfar.bundle.compression import compression_table, in_words, step_name
    from nearfar.cli.console import out

    heads, *rows = compression_table(manifest)
    table = Table(
        title="Step by step, on the validation part",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for number, head in enumerate(heads):
        last = number == len(heads) - 1
        table.add_column(head, justify="left" if last or not number else "right", no_wrap=not last)
    for row, step in zip(rows, manifest.compression, strict=True):
        table.add_row(*map(escape, row), style="" if step.kept else "dim")
    out.print()
    out.print(table)
    reasons = "; ".join(f"{step_name(step.step)} {step.reason}" for step in manifest.compression if not step.kept)
    if reasons:
        out.print(f"left out: {reasons}", style="dim", markup=False, soft_wrap=True)
    if manifest.agreement is not None:
        out.print(f"this bundle: {in_words(manifest.agreement)}", soft_wrap=True)
