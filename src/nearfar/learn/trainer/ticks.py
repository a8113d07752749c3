"""How far the training is, for whoever looks."""

from __future__ import annotations

from typing import Any

import lightning as L

from nearfar.progress import Stages, Tick, silent


class ProgressTicks(L.Callback):
    """Ticks once a step, with the loss and the last validation figure beside it.

    Args:
        stages: whom to tell.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages, self._total, self._metric = stages, 0, ""
        self._tick: Tick = silent("training")

    def expect(self, total_steps: int, metric: str) -> None:
        """Say how many steps the whole run has, and which validation figure to show."""
        self._total, self._metric = total_steps, metric

    def say(self, note: str) -> None:
        """Show what is going on until the step is done."""
        self._tick(0, note)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin; a resumed run begins where it was."""
        self._tick = self._stages("training", self._total)
        self._tick(trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step further."""
        figures = trainer.callback_metrics
        note = f"loss {float(figures['loss']):.2f}" if "loss" in figures else ""
        if f"validation/{self._metric}" in figures:
            note += f" val {float(figures[f'validation/{self._metric}']):.3f}"
        surroundings: Any = pl_module.surroundings
        self._tick(1, f"{note} {surroundings.note}".rstrip())
