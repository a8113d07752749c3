"""What a person sees while waiting, and the tables that they get in the end."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from nearfar.errors import CollapseWarning
from nearfar.progress import Tick

if TYPE_CHECKING:
    from nearfar.bundle import Metric
    from nearfar.bundle.monitor_record import DetectorRecord

out = Console(highlight=False)
notes = Console(stderr=True, highlight=False)

_ROWS = {
    "pixels": "raw pixels",
    "spectrum": "log-mel bands",
    "columns": "columns as they are",
    "raw": "means, no encoder",
    "bm25": "BM25",
    "popularity": "popularity",
    "item_knn": "item neighbours",
    "transitions": "transitions",
    "untrained": "encoder, untrained",
    "model": "trained, float",
    "encoder": "bundle, encoder alone",
    "prior": "bundle, prior alone",
    "bundle": "bundle, dense",
    "teacher": "its teacher",
    "asymmetric": "query by bundle, text by teacher",
    "added": "the same, text added later",
    "hybrid": "bundle, hybrid",
}
_FIGURES = {
    "accuracy": "accuracy",
    "knn_accuracy": "kNN",
    "probe_accuracy": "linear probe",
    "few_label_accuracy": "10 a class",
    "nmi": "NMI",
    "view_recall_at_1": "view R@1",
    "ndcg_at_10": "nDCG@10",
    "recall_at_1": "R@1",
    "recall_at_10": "R@10",
    "recall_at_100": "R@100",
    "mrr_at_10": "MRR@10",
    "coverage": "coverage",
    "popularity_bias": "popularity bias",
    "cold_ndcg_at_10": "cold nDCG@10",
    "eer": "EER",
    "fmr100": "FNMR at FMR 1 %",
    "fmr1000": "at 0.1 %",
    "one_shot_20": "20-way one-shot",
    "one_shot_5": "5-way one-shot",
    "fault_auc_pr": "AUC-PR",
    "false_alarms_per_day": "false/day",
}


_TITLES = {  # by a figure that nothing else has
    "fault_auc_pr": "Faults injected into held-out healthy data",
    "eer": "Held-out identities, against templates as a vault keeps them",
    "popularity_bias": "Held-out actions, all items that the user had not acted on as candidates",
    "ndcg_at_10": "Held-out pairs, all documents as candidates",
}
_TITLE_OF_ROWS = "Held-out rows, training rows as their neighbours"
_TITLE_OF_SOUNDS = "Held-out recordings, training recordings as their neighbours"
_TITLE_OF_PICTURES = "Held-out pictures, training pictures as their neighbours"


class ProgressLines:
    """One progress line a stage; a finished one stays on screen with its count and time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._current: TaskID | None = None

    def __call__(self, name: str, total: int | None = None) -> Tick:
        """Begin a stage; the one before it is over. See `nearfar.progress.Stages`."""
        self.finish()
        task = self._current = self._progress.add_task(name, total=total, note="")

        def tick(count: int, note: str = "") -> None:
            self._progress.update(task, advance=count)
            if note:
                self._progress.update(task, note=note)

        return tick

    def finish(self) -> None:
        """End the current stage."""
        if self._current is None:
            return
        done = next(task.completed for task in self._progress.tasks if task.id == self._current)
        self._progress.update(self._current, total=done or 1, completed=done or 1)
        self._progress.stop_task(self._current)
        self._current = None


@contextmanager
def progress_lines() -> Iterator[ProgressLines]:
    """Show the progress of several stages on standard error."""
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=13, justify="right")),
        TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
        TextColumn("[dim]{task.fields[note]}[/]", table_column=Column(no_wrap=True, overflow="crop")),
    )
    with Progress(*columns, console=notes, refresh_per_second=5) as progress, _warnings_as_lines():
        lines = ProgressLines(progress)
        yield lines
        lines.finish()


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Show what a run warns of as one line above the progress, not as Python does it."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", CollapseWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, CollapseWarning):
                notes.print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)
            else:
                usual(message, category, *where, **more)

        warnings.showwarning = show
        yield


def show_broken_promise(record: DetectorRecord | None) -> None:
    """Warn where later healthy data raised more alarms than a monitor was to raise."""
    from nearfar.bundle.monitor_card import broken_promise

    if record is not None and (broken := broken_promise(record)):
        notes.print(f"warning: {broken}", style="bold red", markup=False, soft_wrap=True)


def figures_table(metrics: Mapping[str, Mapping[str, Metric]]) -> Table:
    """The figures of a bundle, its baselines beside it; half the 95 % interval beside the first figure. No attacks."""
    from nearfar.bundle.joint_card import measured_directions
    from nearfar.bundle.verification_card import is_attack
    from nearfar.cli.joint_figures import joint_table

    if measured_directions(metrics):
        return joint_table(metrics)
    metrics = {row: values for row, values in metrics.items() if row != "privacy" and not is_attack(row)}
    names = [name for name in _FIGURES if any(name in values for values in metrics.values())]
    usual = (
        _TITLE_OF_ROWS if "columns" in metrics else _TITLE_OF_SOUNDS if "spectrum" in metrics else _TITLE_OF_PICTURES
    )
    table = Table(
        title=next((title for name, title in _TITLES.items() if name in names), usual),
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    table.add_column("")
    for name in names:
        table.add_column(_FIGURES[name], justify="right")
    for row, values in metrics.items():
        cells = []
        for name in names:
            metric = values.get(name)
            if metric is None:
                cells.append("")
                continue
            interval = ""
            if name == names[0] and metric.low is not None and metric.high is not None:
                interval = f" ±{(metric.high - metric.low) / 2:.3f}"
            cells.append(f"{metric.value:.3f}{interval}")
        hybrid = "ndcg_at_10" in names and "popularity_bias" not in names
        named = _ROWS.get(row, row) if row != "bundle" or hybrid else "bundle"
        table.add_row(named, *cells, style="bold" if row == list(metrics)[-1] else "")
    return table


def row_name(row: str) -> str:
    """What a row of figures is called on screen."""
    return "bundle" if row == "bundle" else _ROWS.get(row, row)


def show_skipped(skipped: Mapping[str, int], examples: Sequence[str]) -> None:
    """Say what a reader passed over: how many for which reason, and the first few with their place."""
    for reason, number in sorted(skipped.items()):
        notes.print(f"skipped {number:,}: {reason}", style="yellow", markup=False, soft_wrap=True)
    for example in examples:
        notes.print(f"  {example}", style="yellow", markup=False, soft_wrap=True)


def show_recognised(recognised: Mapping[str, str]) -> None:
    """Say which columns of sensor data were taken by their name, and as what."""
    from nearfar.sources.series_columns import sentence_of

    for column, part in recognised.items():
        notes.print(sentence_of(column, part), style="dim", markup=False, soft_wrap=True)


def pairs_table(rows: Sequence[tuple[str, str]]) -> Table:
    """Name and value beside each other."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value.replace("[", "\\["))
    return table
