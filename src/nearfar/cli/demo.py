"""`nearfar demo`: the whole road on data that every Python has, the docstrings of its own environment."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nearfar.errors import RunError

if TYPE_CHECKING:
    from nearfar.progress import Stages
    from nearfar.sources import ReadReport

QUESTIONS = (
    "delete a folder and everything in it",
    "take away the leading spaces of every line",
    "shortest way between two nodes of a graph",
)
_COLUMNS = {"title": "title", "id": "id", "group": "group", "location": "location"}
_OURS = ("docstrings.jsonl", "run", "bundle", "docs.index")
_QUICK = (
    "data.split.test=0.1",
    "data.split.validation=0.1",
    "train.epochs=6",
    "train.batch_size=512",
    "evaluate.max_queries=300",
    "evaluate.bootstrap=200",
)
_QUICK_FILES = 1_200


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where everything goes; an earlier demo there is replaced.")
    ] = Path("nearfar-demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A small slice, in under a minute.")] = False,
) -> None:
    """Learn from the docstrings of this Python environment, and search them: train, measure, export, index, ask."""
    from rich.markup import escape

    from nearfar.cli.console import figures_table, notes, out, progress_lines, show_skipped
    from nearfar.cli.hits import print_hits
    from nearfar.edge import SearchIndex
    from nearfar.progress import cumulative
    from nearfar.recipe.shipped import shipped_recipe
    from nearfar.road import train
    from nearfar.sources import TableSource

    started = time.perf_counter()
    _clear(output)
    notes.print(
        f"The docstrings of {sys.prefix}: the first paragraph of each learns to find the rest. Nothing leaves this machine.\n",
        soft_wrap=True,
    )
    table = output / "docstrings.jsonl"
    with progress_lines() as stages:
        report = _spool(table, _QUICK_FILES if quick else None, stages)
        source = json.dumps({"kind": "jsonl", "path": str(table.absolute()), "columns": _COLUMNS})
        overrides = [f"data.source={source}", *(_QUICK if quick else ())]
        run = train(shipped_recipe("docs-search"), output / "run", overrides=overrides, stages=stages)
        bundle = run.export(output / "bundle", stages=stages)
        progress = cumulative(stages, {"documents": "indexing every docstring", "graph": "linking neighbours"})
        index = SearchIndex.build(
            bundle, TableSource(table, "jsonl", **_COLUMNS).documents(), output / "docs.index", progress=progress
        )
    show_skipped(report.skipped, [])
    out.print()
    out.print(figures_table(bundle.manifest.metrics))
    with index:
        for question in QUESTIONS:
            out.print(f"\n[bold cyan]? {question}[/]")
            print_hits(index.search(question, 3))
        size = len(index)
    index_mb = sum(f.stat().st_size for f in (output / "docs.index").rglob("*") if f.is_file()) / 1e6
    out.print(
        f"\n{size:,} docstrings, bundle {bundle.size_bytes / 1e6:.1f} MB, index {index_mb:.0f} MB, "
        f"{time.perf_counter() - started:.0f} s, peak memory {_peak_memory_gb():.1f} GB"
    )
    out.print("\n[bold]Next:[/]")
    for command in (
        f'nearfar search {output / "docs.index"} "read a file line by line"',
        f"nearfar inspect {bundle.path}",
        f"nearfar index {bundle.path} YOUR_FOLDER -o your.index",
        f"nearfar train {shipped_recipe('docs-search')} --set data.source='{{kind: folder, path: YOUR_FOLDER}}' "
        "--set data.pairings='[{kind: heading_section}, {kind: spans}]'",
    ):
        out.print(f"  {escape(command)}", soft_wrap=True)


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left; anything else in the folder is somebody's own."""
    if folder.exists():
        foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in _OURS)
        if foreign:
            raise RunError(
                f"{folder} holds {foreign[0]}, which no demo made. Give another folder: nearfar demo -o FOLDER"
            )
        for name in _OURS:
            entry = folder / name
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def _spool(table: Path, limit_files: int | None, stages: Stages) -> ReadReport:
    """Read the docstrings once, for training and for the index."""
    from dataclasses import asdict

    from nearfar.sources import DocstringsSource

    tick = stages("reading docstrings")
    with table.open("w", encoding="utf-8") as file:
        source = DocstringsSource(limit_files=limit_files)
        for document in source.documents():
            file.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")
            tick(1)
    return source.report


def _peak_memory_gb() -> float:
    """Largest resident size that this process had."""
    if sys.platform == "win32":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)
