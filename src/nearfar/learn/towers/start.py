"""The weights that an encoder starts with, from a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from nearfar.errors import RunError
from nearfar.learn.reason import first_line

_PREFIXES = ("method.encoder.", "method.query_tower.")
"""Where the encoder stands in a checkpoint: of runs over views of items, and over pairs of texts."""


def checkpoint_of(start: Path) -> Path:
    """The checkpoint that a run, or the name of a checkpoint itself, stands for."""
    return start / "checkpoints" / "best.ckpt" if start.is_dir() else start


def run_of(start: Path) -> Path:
    """The directory of the run that a start is of."""
    return start if start.is_dir() else start.parent.parent


def joint_prefixes(tower: str) -> tuple[str, ...]:
    """Where an encoder may stand in a checkpoint, that of a tower of the same name in a run over several modalities included."""
    return (*_PREFIXES, f"method.towers.{tower}.encoder.encoder.", f"method.towers.{tower}.encoder.")


def check_start(start: Path | None, key: str) -> None:
    """Meet a start that is not there before an hour of reading.

    Args:
        start: a run or a checkpoint; None for none.
        key: of the recipe, for the message.

    Raises:
        RunError: it is neither.
    """
    if start is not None and not checkpoint_of(start).is_file():
        raise RunError(
            f"{key} is {start}, which is neither a finished run of `nearfar train` nor a checkpoint of one: give its directory"
        )


def load_start(encoder: nn.Module, start: Path, key: str, *, prefixes: Sequence[str] = _PREFIXES) -> None:
    """Take the weights of the encoder in a checkpoint; what was measured of its items (mean and deviation) comes with them.

    Args:
        encoder: gets them.
        start: a run or a checkpoint.
        key: of the recipe, for the message.
        prefixes: where the encoder may stand in the checkpoint; the first that is there is taken.

    Raises:
        RunError: they cannot be read, or are those of another encoder.
    """
    path = checkpoint_of(start)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        prefix = next((one for one in prefixes if any(name.startswith(one) for name in state)), prefixes[0])
        encoder.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except Exception as error:  # torch raises many kinds for a damaged file or another encoder
        raise RunError(
            f"{key}: {path} does not hold the weights of such an encoder ({first_line(error)}): "
            "encoder and frontend must be those of the run to start from"
        ) from error
