"""Ctrl-C at a chosen step of a training run."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from nearfar.learn.data.batches import PairDataset
from nearfar.learn.data.clip_rows import ClipRows
from nearfar.learn.data.history_batches import TrainingHistories
from nearfar.learn.data.joint_batches import JointRows
from nearfar.learn.data.picture_rows import PictureRows
from nearfar.learn.data.windows import WindowRows


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT) -> None:
    """Ctrl-C (or another signal) while the batch of `step` is made; a real signal to this process."""
    for rows in (PairDataset, PictureRows, ClipRows, WindowRows, TrainingHistories, JointRows):
        original: Any = rows.__getitem__

        def interrupting(self: object, index: tuple[int, ...], original: Any = original) -> object:
            if index[0] == step:
                signal.raise_signal(number)
            return original(self, index)

        monkeypatch.setattr(rows, "__getitem__", interrupting)
