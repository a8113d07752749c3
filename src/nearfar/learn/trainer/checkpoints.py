"""When the state of a run goes to disk: every so many steps, after every validation, and when the user interrupts."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from nearfar.errors import InterruptedRunError


class Checkpoints(Checkpoint):
    """Keeps `last.ckpt` and, by the validation metric, `best.ckpt`.

    A step that is followed by a validation is saved after it rather than before, so that a resumed run does not miss it.
    Lightning calls callbacks of this kind last, so the state of early stopping is part of what is saved.

    Args:
        directory: where the files go; each is written beside its place and renamed, so a full disk or a kill leaves the one before.
        every: steps between two checkpoints.
        validate_every: steps between two validations; None where nothing is validated.
        metric: name of the figure that says which state is best; None takes the last.
    """

    def __init__(self, directory: Path, *, every: int, validate_every: int | None, metric: str | None) -> None:
        self.last, self.best = directory / "last.ckpt", directory / "best.ckpt"
        self.every, self.validate_every, self.metric = every, validate_every, metric
        self.best_value = float("-inf")
        self.best_step = 0
        self._stop = threading.Event()
        self._previous: dict[int, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """The best so far, which a resumed run goes on from."""
        return {"best_value": self.best_value, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best so far."""
        self.best_value, self.best_step = state_dict["best_value"], state_dict["best_step"]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()
        signal.signal(number, self._previous[number])  # a second one stops at once

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on Ctrl-C and SIGTERM let the step finish and save it."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._on_signal)
        # A run that was broken off after early stopping had decided, but before it ended, must not train any further.
        for early in trainer.early_stopping_callbacks:
            if early.wait_count >= early.patience:
                trainer.should_stop = True

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save a step that no validation follows."""
        step = trainer.global_step
        if self.validate_every and step % self.validate_every == 0:
            return
        asked = self._asked_to_leave(trainer)
        if asked or step % self.every == 0:
            _save(trainer, self.last)
        if asked:
            _leave(step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save a validated step, and keep it apart if it is the best so far."""
        if trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[f"validation/{self.metric}"]) if self.metric else self.best_value
        if value > self.best_value:
            self.best_value, self.best_step = value, trainer.global_step
            _save(trainer, self.best)
        _save(trainer, self.last)
        if self._asked_to_leave(trainer):
            _leave(trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save where the run ended; where nothing says otherwise that is also the best."""
        _save(trainer, self.last)
        if not self.validate_every or not self.metric:
            self.best_step = trainer.global_step
            _save(trainer, self.best)

    def _asked_to_leave(self, trainer: L.Trainer) -> bool:
        """Whether any rank was asked to stop; all of them learn it after the same step."""
        return bool(trainer.strategy.reduce_boolean_decision(self._stop.is_set(), all=False))


def _leave(step: int) -> None:
    raise InterruptedRunError(f"stopped after step {step}; the state is saved")


def _save(trainer: L.Trainer, path: Path) -> None:
    """Called by every rank; the first one writes, and no rank goes on before the file is in its place."""
    part = path.with_name(f"{path.name}.part")
    try:
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(path)
    except BaseException:
        if trainer.is_global_zero:
            part.unlink(missing_ok=True)
        raise
    trainer.strategy.barrier()
