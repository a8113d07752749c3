"""A whole training run in its directory: prepare, train, stop, resume."""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from nearfar.errors import InterruptedRunError, RunError
from nearfar.learn.data.batches import StepSampler
from nearfar.learn.reason import first_line
from nearfar.learn.trainer.caching import batch_statistics
from nearfar.learn.trainer.checkpoints import Checkpoints
from nearfar.learn.trainer.module import ContrastiveModule
from nearfar.learn.trainer.strategy import Rank, RanksStrategy
from nearfar.learn.trainer.ticks import ProgressTicks
from nearfar.learn.trainer.workload import Prepared, Rows
from nearfar.progress import Stages, silent
from nearfar.recipe.schema import Recipe
from nearfar.recipe.training import Training


@dataclass(frozen=True)
class FitResult:
    """How the training ended.

    Attributes:
        steps: steps taken.
        planned_steps: steps that the recipe asked for.
        best_step: the step whose weights are exported.
        best_value: its validation figure; None where nothing was held out.
        seconds: wall time of this attempt.
    """

    steps: int
    planned_steps: int
    best_step: int
    best_value: float | None
    seconds: float


class _Batches(L.LightningDataModule):
    """The loaders. The sampler starts at the step that the run has reached."""

    def __init__(self, rows: Rows, recipe: Recipe, *, total_steps: int, validates: bool) -> None:
        super().__init__()
        self.rows, self.recipe, self.total_steps, self.validates = rows, recipe, total_steps, validates

    def train_dataloader(self) -> Any:
        assert self.trainer is not None
        sampler = StepSampler(
            len(self.rows),
            self.recipe.train.batch_size,
            self.total_steps,
            seed=self.recipe.seed,
            start=self.trainer.global_step,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
        )
        return DataLoader(self.rows, sampler=sampler, batch_size=None)  # type: ignore[arg-type]  # rows by Share, not by int

    def val_dataloader(self) -> Any:
        return DataLoader([0] if self.validates else [], batch_size=None)  # type: ignore[arg-type]


def planned_steps(recipe: Recipe, rows: int) -> int:
    """Optimiser steps of a run over `rows` training rows."""
    per_epoch = StepSampler(rows, recipe.train.batch_size, 1, seed=0).steps_per_epoch
    steps = max(1, round(recipe.train.epochs * per_epoch))
    return min(steps, recipe.train.max_steps or steps)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back Lightning's own announcements, and the warnings that do not apply here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Our sampler starts at the right step, so the loader needs no state of its own.
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*logging interval.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        # The copy that a momentum queue embeds with is in eval mode, as it should be.
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
        # What is logged is the same on all ranks, or logged by the first for all.
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def fit(
    recipe: Recipe,
    prepared: Prepared,
    directory: Path,
    *,
    resume: bool = False,
    stages: Stages = silent,
    rank: Rank | None = None,
) -> FitResult:
    """Train the method of a recipe and leave `checkpoints/best.ckpt` in `directory`.

    Args:
        recipe: what to do.
        prepared: what to learn from.
        directory: the run directory.
        resume: go on from `checkpoints/last.ckpt` where there is one.
        stages: told how far it is.
        rank: which of `train.devices` processes this is; None for one that does it all. See `fit_in_processes`.

    Returns:
        How it ended.

    Raises:
        DataError: where too little is left to train on.
        InterruptedRunError: after Ctrl-C or SIGTERM; the state is saved.
        RunError: where the weights became NaN, a checkpoint cannot be read, the accelerator is not there, or `train.chunk`
            or `train.devices` would not give the gradient of the whole batch.
    """
    started = time.perf_counter()
    training = recipe.train
    is_first = rank is None or rank.number == 0
    threads = threads_each(training)
    torch.set_num_threads(threads)
    ticks = ProgressTicks(stages)
    workload = prepared.workload(recipe, threads=threads, say=ticks.say)
    method, steps = workload.method, workload.total_steps
    _check_shared_out(recipe, len(workload.rows), method)
    validates = workload.validation is not None
    validate_every = min(steps, training.validate_every or max(1, steps // 10)) if validates else None
    metric = training.early_stop.metric if training.early_stop else None
    checkpoints = Checkpoints(
        directory / "checkpoints", every=training.checkpoint_every, validate_every=validate_every, metric=metric
    )
    callbacks: list[L.Callback] = [checkpoints]
    if training.early_stop and validates:
        callbacks.append(EarlyStopping(f"validation/{metric}", mode="max", patience=training.early_stop.patience))
    ticks.expect(steps, workload.shown)
    callbacks.append(ticks)
    attempts = len(list((directory / "logs").glob("attempt-*")))
    module = ContrastiveModule(workload, training, seed=recipe.seed)
    with _quiet():
        try:
            trainer = L.Trainer(
                accelerator=training.accelerator,
                devices=rank.world if rank is not None else 1,
                strategy=RanksStrategy(rank) if rank is not None else "auto",
                precision=training.precision,
                max_steps=steps,
                max_epochs=1,
                val_check_interval=validate_every or 1.0,
                limit_val_batches=1 if validates else 0,
                num_sanity_val_steps=0,
                gradient_clip_val=training.gradient_clip,
                log_every_n_steps=max(1, min(10, steps // 10)),
                callbacks=callbacks,
                logger=CSVLogger(directory, name="logs", version=f"attempt-{attempts + 1}"),
                enable_checkpointing=True,
                enable_model_summary=False,
                enable_progress_bar=False,
                use_distributed_sampler=False,
                detect_anomaly=False,
                default_root_dir=directory,
            )
        except (MisconfigurationException, ValueError) as error:
            several = f"train.devices {training.devices}, " if rank is not None else ""
            mend = "cpu" if rank is not None else "auto or cpu"
            raise RunError(
                f"train.accelerator is {training.accelerator}, {several}train.precision {training.precision}, which does "
                f"not work here: {first_line(error)} Set train.accelerator to {mend}, and train.precision to 32-true. "
                "(A run that has begun keeps its recipe: begin another.)"
            ) from error
        last = checkpoints.last if resume and checkpoints.last.exists() else None
        if last is not None:
            _check_readable(last)
        data = _Batches(workload.rows, recipe, total_steps=steps, validates=validates)
        try:
            trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
        except InterruptedRunError as error:
            raise InterruptedRunError(f"{error} of {steps}. Go on with: nearfar train --resume {directory}") from None
    if not all(bool(torch.isfinite(p).all()) for p in method.parameters()):
        raise RunError(
            f"the weights became NaN or infinite after {trainer.global_step} steps: lower train.learning_rate "
            f"(now {training.learning_rate:g}) or set train.gradient_clip; the log is in {directory / 'logs'}"
        )
    result = FitResult(
        steps=trainer.global_step,
        planned_steps=steps,
        best_step=checkpoints.best_step,
        best_value=checkpoints.best_value if validates and metric else None,
        seconds=time.perf_counter() - started,
    )
    if is_first:
        (directory / "fit.json").write_text(json.dumps(asdict(result), indent=1), "utf-8")
    return result


def threads_each(training: Training) -> int:
    """CPU threads of each process."""
    return max(1, (training.threads or os.cpu_count() or 1) // training.devices)


def _check_shared_out(recipe: Recipe, rows: int, method: nn.Module) -> None:
    """Refuse a batch that cannot be shared out among the processes, or embedded in parts."""
    training = recipe.train
    batch_size = min(training.batch_size, rows)
    if batch_size < training.devices:
        raise RunError(
            f"train.devices is {training.devices}, but a batch has only {batch_size} items (train.batch_size is "
            f"{training.batch_size}, and there are {rows} to train on), so some would have nothing to do: lower train.devices"
        )
    in_chunks = training.chunk is not None and training.chunk < -(-batch_size // training.devices)
    layer = batch_statistics(method) if in_chunks or training.devices > 1 else None
    if layer is not None:
        key, value = ("train.chunk", training.chunk) if in_chunks else ("train.devices", training.devices)
        raise RunError(
            f"{key} is {value}, but the model has {layer}, which normalises by the other items that go through it at the "
            "same time: in parts, the batch would have another gradient than as a whole. "
            + _without(recipe, key, layer)
        )


def _without(recipe: Recipe, key: str, layer: str) -> str:
    """What to do where the batch cannot be whole, as `key` has it, for the statistics that a layer takes of it."""
    if recipe.modality == "joint":
        name = layer.removeprefix("towers.").split(".")[0]
        own = f"set towers.{name}.encoder.norm to group, or " if recipe.towers[name].kind == "image" else ""
        return f"Tower '{name}' has it: {own}set towers.{name}.frozen where it starts from trained weights; or leave {key} out."
    if recipe.modality == "audio":
        return f"All encoders of recordings have such layers: leave {key} out (train.batch_size lowers memory, too)."
    group = "set encoder.norm to group" if recipe.modality == "image" else "use GroupNorm in its place"
    return f"To train so, {group}; or leave {key} out."


def _check_readable(checkpoint: Path) -> None:
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise RunError(
            f"{checkpoint} cannot be read ({first_line(error)}), so the run cannot go on from it. "
            "Delete that file to train from the first step again; the prepared data is kept."
        ) from error


def load_weights(method: nn.Module, checkpoint: Path) -> None:
    """Put the weights of a checkpoint into `method`; only tensors are read, never code.

    Raises:
        RunError: where the file is missing, damaged or of another recipe.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        method.load_state_dict(
            {name.removeprefix("method."): value for name, value in state.items() if name.startswith("method.")}
        )
    except FileNotFoundError:
        raise RunError(
            f"{checkpoint} does not exist: the run has not got that far; go on with nearfar train --resume {checkpoint.parent.parent}"
        ) from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise RunError(
            f"{checkpoint} cannot be read ({first_line(error)}): it is damaged or belongs to another recipe"
        ) from error
