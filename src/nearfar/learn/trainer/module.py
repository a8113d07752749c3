"""A method as a Lightning module: one step, one validation, one optimiser."""

from __future__ import annotations

from typing import Any, Protocol

import lightning as L
import torch
from torch import Tensor

from nearfar.learn.data.batches import PairBatch
from nearfar.learn.methods.dual_encoder import DualEncoder, Embedded
from nearfar.learn.negatives.ranks import average_gradients, gathered
from nearfar.learn.trainer.caching import Cached, embed_by_chunks
from nearfar.learn.trainer.negatives import PairNegatives, for_loss
from nearfar.recipe.schema import Training


class Validation(Protocol):
    """Measures a method on held-out data."""

    def measure(self, method: DualEncoder) -> dict[str, float]:
        """Figures by name."""
        ...


class ContrastiveModule(L.LightningModule):
    """Runs the two steps of a method, over all ranks, and logs what comes of it.

    Args:
        method: `embed` and `loss`.
        training: the recipe's training block.
        total_steps: optimiser steps of the whole run.
        validation: measured at every validation; None where nothing is held out.
        negatives: those from beyond the batch.
        seed: with the step and the rank it gives the state of all randomness inside a step (dropout).
    """

    def __init__(
        self,
        method: DualEncoder,
        training: Training,
        *,
        total_steps: int,
        validation: Validation | None,
        negatives: PairNegatives,
        seed: int,
    ) -> None:
        super().__init__()
        self.method = method
        self.negatives, self.sources = negatives, negatives.sources
        self.training_settings = training
        self.total_steps = total_steps
        self.validation = validation
        self.seed = seed
        self.ledger_every = max(1, min(50, total_steps // 10))
        self._cached: Cached[PairBatch, Embedded] | None = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make the randomness of this step a function of (seed, step, rank) alone."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step * 1_009 + self.global_rank)

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """One loss, that of the whole batch: of all chunks and all ranks."""
        step = self.global_step
        batch = self.negatives.before(batch, step)
        embedded, sources = self.negatives.given(gathered(self._embedded(batch)), step)
        loss = self.method.loss(embedded, for_loss(embedded, sources))
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(batch.query_ids))
        if (step + 1) % self.ledger_every == 0 and self.logger is not None and self.trainer.is_global_zero:
            # Not by `log`, which repeats a figure until it is logged again.
            self.logger.log_metrics(self.negatives.ledger(embedded, sources), step=step)
        self.negatives.remember(batch, embedded, step)
        if self.method.log_temperature.requires_grad:
            self.log("temperature", self.method.temperature.detach(), batch_size=len(batch.query_ids))
        return loss

    def _embedded(self, batch: PairBatch) -> Embedded:
        """What this rank embeds: at once, or chunk by chunk; then the way back is kept for `backward`."""
        chunks = batch.split(self.training_settings.chunk) if self.training_settings.chunk else [batch]
        if len(chunks) == 1:
            return self.method.embed(batch)
        self._cached = embed_by_chunks(self.method.embed, chunks, self.device)
        return self._cached.embedded

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """The gradient of the whole batch, the same on every rank; before it is unscaled, clipped and used."""
        loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]
        if self._cached is not None:
            self._cached.backward(self.trainer.precision_plugin.forward_context)
            self._cached = None
        average_gradients(self.method.parameters())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Measure the held-out pairs, on the first rank; the batch is only a signal that it is time to."""
        assert self.validation is not None
        figures = self.validation.measure(self.method) if self.trainer.is_global_zero else {}
        for name, value in self.trainer.strategy.broadcast(figures).items():
            self.log(f"validation/{name}", value, prog_bar=name == "ndcg_at_10", batch_size=1)

    def configure_optimizers(self) -> Any:
        """AdamW (arXiv:1711.05101); the rate grows linearly in the warm-up and then falls linearly to zero."""
        settings = self.training_settings
        # Weights of single tokens and biases are not decayed: zero is no natural value for them.
        decayed = [p for p in self.method.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.method.parameters() if p.requires_grad and p.ndim <= 1]
        optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=settings.learning_rate,
        )
        warmup = max(1, round(settings.warmup * self.total_steps))
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda step: min(
                (step + 1) / warmup, max(0.0, (self.total_steps - step) / max(1, self.total_steps - warmup))
            ),
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
