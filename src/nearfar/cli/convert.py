"""`nearfar convert`: a bundle in the form of another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nearfar.cli.options import AsJson


def convert(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle that embeds texts or pictures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for what is made.")],
    to: Annotated[Literal["openvino"], typer.Option(help="The runtime that is going to read it.")] = "openvino",
    as_json: AsJson = False,
) -> None:
    """Write a bundle in the form of another runtime, and check that its vectors are still the same."""
    from rich.table import Table

    from nearfar.bundle import Bundle
    from nearfar.cli.console import notes, out, progress_lines
    from nearfar.connect.openvino import convert_to_openvino

    with progress_lines() as stages:
        made = convert_to_openvino(Bundle.open(bundle), output, stages=stages)
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(made) | {"path": str(made.path)}, indent=1))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for title in ("MB", "cosine", "lowest", "onnxruntime", "OpenVINO"):
        table.add_column(title, justify="right", no_wrap=True)
    for graph in made.graphs:
        table.add_row(
            graph.graph,
            f"{graph.size_bytes / 1e6:.2f}",
            f"{graph.mean:.5f}",
            f"{graph.lowest:.5f}",
            f"{graph.onnxruntime_ms:.3f} ms",
            f"{graph.openvino_ms:.3f} ms",
        )
    out.print(table)
    if any(graph.openvino_ms > 1.2 * graph.onnxruntime_ms for graph in made.graphs):
        notes.print(
            "On this processor OpenVINO is slower than the bundle itself (milliseconds an item, one thread).",
            style="yellow",
            soft_wrap=True,
        )
    out.print(f"\n{to}  {made.path}  ({made.size_bytes / 1e6:.2f} MB)", markup=False, soft_wrap=True)
