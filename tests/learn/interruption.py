"""Ctrl-C at a chosen step of a training run."""

from __future__ import annotations

import signal

import pytest

from nearfar.learn.data.batches import PairDataset


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the batch of `step` is made; a real signal to this process."""
    original = PairDataset.__getitem__

    def interrupting(self: PairDataset, index: tuple[int, int, object]) -> object:
        if index[0] == step:
            signal.raise_signal(signal.SIGINT)
        return original(self, index)  # type: ignore[arg-type]

    monkeypatch.setattr(PairDataset, "__getitem__", interrupting)
