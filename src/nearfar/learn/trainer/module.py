"""A method as a Lightning module: one step, one validation, one optimiser."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from nearfar.learn.negatives.ranks import average_gradients, gathered
from nearfar.learn.trainer.caching import Cached, embed_by_chunks
from nearfar.learn.trainer.workload import Workload
from nearfar.recipe.training import Training


class ContrastiveModule(L.LightningModule):
    """Runs the two steps of a method, over all ranks, and logs what comes of it.

    Args:
        workload: what to train, and on what.
        training: the recipe's training block.
        seed: with the step and the rank it gives the state of all randomness inside a step (dropout).
    """

    def __init__(self, workload: Workload, training: Training, *, seed: int) -> None:
        super().__init__()
        self.method: Any = workload.method
        self.surroundings, self.sources = workload.surroundings, workload.surroundings.sources
        self.training_settings = training
        self.total_steps = workload.total_steps
        self.validation, self.shown = workload.validation, workload.shown
        self.groups = workload.groups
        self.seed = seed
        self.ledger_every = max(1, min(50, self.total_steps // 10))
        self._cached: Cached[Any, Any] | None = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make the randomness of this step a function of (seed, step, rank) alone."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step * 1_009 + self.global_rank)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One loss, that of the whole batch: of all chunks and all ranks."""
        step = self.global_step
        batch = self.surroundings.before(batch, step)
        embedded, sources = self.surroundings.given(gathered(self._embedded(batch)), step)
        loss: Tensor = self.method.loss(embedded, self.surroundings.for_loss(embedded, sources))
        self.log("loss", loss.detach(), prog_bar=True, batch_size=1)
        if step == 0 or (step + 1) % self.ledger_every == 0:
            figures = self.surroundings.ledger(embedded, sources) if self.trainer.is_global_zero else {}
            if self.logger is not None and figures:
                # Not by `log`, which repeats a figure until it is logged again.
                self.logger.log_metrics(figures, step=step)
        self.surroundings.remember(batch, embedded, step)
        temperature = getattr(self.method, "log_temperature", None)
        if isinstance(temperature, Tensor) and temperature.requires_grad:
            self.log("temperature", self.method.temperature.detach().mean(), batch_size=1)
        return loss

    def _embedded(self, batch: Any) -> Any:
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
            self.log(f"validation/{name}", value, prog_bar=name == self.shown, batch_size=1)

    def configure_optimizers(self) -> Any:
        """The optimiser that the recipe asks for; the rate grows linearly in the warm-up and then falls to zero."""
        settings = self.training_settings
        groups: list[dict[str, Any]] = []
        taken: set[int] = set()
        for module, factor in (*self.groups, (self.method, 1.0)):
            groups += _by_decay(module, taken, rate=factor * settings.learning_rate, decay=settings.weight_decay)
        optimiser: torch.optim.Optimizer
        if settings.optimiser == "sgd":
            optimiser = torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)
        else:
            optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate)
        warmup = max(1, round(settings.warmup * self.total_steps))

        def share(step: int) -> float:
            left = max(0.0, (self.total_steps - step) / max(1, self.total_steps - warmup))
            if settings.decay == "cosine":
                left = (1 - math.cos(math.pi * min(1.0, left))) / 2
            return min((step + 1) / warmup, left)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, share)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _by_decay(module: nn.Module, taken: set[int], *, rate: float, decay: float) -> list[dict[str, Any]]:
    """The parameters of a module that are trained and not yet taken, in two groups: what is decayed, and the rest.

    Weights of single tokens, norms and biases are not decayed: zero is no natural value for them.
    """
    own = [p for p in module.parameters() if p.requires_grad and id(p) not in taken]
    taken.update(map(id, own))
    halves = [([p for p in own if p.ndim > 1], decay), ([p for p in own if p.ndim <= 1], 0.0)]
    return [{"params": part, "weight_decay": weight, "lr": rate} for part, weight in halves]
